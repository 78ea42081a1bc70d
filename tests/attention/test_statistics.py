"""Where attention lies: shares and offsets by hand, quartiles by class, and aggregates against plain means."""

import subprocess
import sys

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from attention_examples import example_sources

from radio_ag.attention.statistics import (
    UNLABELLED,
    AggregateMaps,
    AttentionStatistics,
    attention_statistics,
    gate_agreement,
    summarise_by_class,
    summarise_result,
)
from radio_ag.errors import InputError
from radio_ag.preprocess.images import crop


@pytest.fixture(scope="module")
def sources():
    return example_sources()


def test_share_of_a_map_by_hand():
    emission = np.zeros((2, 10, 10))
    emission[:, 4:6, 4:6] = 1  # 4 of 100 pixels
    maps = np.full((2, 10, 10), 1.0)
    maps[0, 4, 4] = 5  # 8 of 104
    maps[1, 0, 0] = 5
    found = attention_statistics(maps, emission, halo_radius=1)
    np.testing.assert_allclose(found.emission_share, [8 / 104, 4 / 104], rtol=1e-6)
    np.testing.assert_allclose(found.emission_enrichment, [8 / 104 / 0.04, 4 / 104 / 0.04], rtol=1e-6)
    # a radius of 1 adds the 8 pixels that share a side
    np.testing.assert_allclose(found.halo_share, [16 / 104, 12 / 104], rtol=1e-6)
    np.testing.assert_allclose(found.halo_enrichment, [16 / 104 / 0.12, 12 / 104 / 0.12], rtol=1e-6)
    shift = np.array([0.5, 4.5]) * 4 / 104  # one pixel with 4 more, so far from the middle
    np.testing.assert_allclose(found.centre_offset, 1.8 * np.sqrt(2) * shift, rtol=1e-5)
    np.testing.assert_allclose(found.emission_offset, found.centre_offset, rtol=1e-5)
    assert np.isnan(found.gate_agreement).all()


def test_offset_is_from_the_brightness_and_scales_with_the_pixel():
    emission, attention = np.zeros((1, 21, 21)), np.zeros((1, 21, 21))
    emission[0, 10, 5], emission[0, 10, 8] = 2, 1  # centroid at x = 6
    attention[0, 14, 9] = 1
    found = attention_statistics(attention, emission, pixel_scale=[2.0])
    np.testing.assert_allclose(found.emission_offset, 2 * 5)  # 3, 4, 5
    np.testing.assert_allclose(found.centre_offset, 2 * np.hypot(1, 4), rtol=1e-6)


def test_signed_maps_count_as_the_range_normalisation_of_the_same_scores(sources):
    scores = np.random.default_rng(0).normal(size=(4, 150, 150))
    low, high = scores.min((1, 2), keepdims=True), scores.max((1, 2), keepdims=True)
    ranged = (scores - low) / (high - low)
    emission = crop(sources.images[:4])
    for one, other in zip(
        attention_statistics(ranged, emission), attention_statistics((ranged - 0.5) / 0.25, emission), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_nothing_is_said_of_flat_maps_nan_and_empty_images():
    maps, emission = np.ones((3, 9, 9)), np.zeros((3, 9, 9))
    maps[1] = np.nan
    maps[2, 3, 3], emission[:2, 4, 4] = 2, 1
    found = attention_statistics(maps, emission)
    assert np.isnan(found.emission_share).all()
    assert np.isnan(found.halo_enrichment).all()
    assert np.isnan(found.emission_offset).all()
    np.testing.assert_array_equal(np.isnan(found.centre_offset), [True, True, False])


def test_shapes_that_do_not_go_together_are_named():
    with pytest.raises(InputError, match=r"\(2, 4, 4\) and \(3, 4, 4\)"):
        attention_statistics(np.ones((2, 4, 4)), np.ones((3, 4, 4)))


def test_agreement_is_the_mean_correlation_of_the_pairs():
    gates = np.random.default_rng(1).random((2, 3, 12, 12))
    expected = [np.corrcoef(one.reshape(3, -1))[np.triu_indices(3, 1)].mean() for one in gates]
    np.testing.assert_allclose(gate_agreement(gates), expected, rtol=1e-5)
    assert np.isnan(gate_agreement(gates[:, :1])).all()


def test_summary_has_the_quartiles_of_each_class():
    lines = summarise_by_class({"share": [1, 2, 3, 10, np.nan, 99]}, ["FRI", "FRI", "FRI", "FRII", "FRII", ""])
    assert [(line["class"], line["sources"]) for line in lines] == [("FRI", 3), ("FRII", 2), ("all", 5)]
    assert [line["share_median"] for line in lines] == [2, 10, 2.5]
    assert (lines[0]["share_q25"], lines[0]["share_q75"]) == (1.5, 2.5)


def test_summary_of_a_product_counts_a_group_once():
    table = Table({f"attention_{name}": np.arange(5.0) for name in AttentionStatistics._fields}, masked=True)
    table["class"] = MaskedColumn(["FRI", "FRI", "FRII", "FRII", "-"], mask=[False] * 4 + [True])
    table["attention_halo_share"].mask[3] = True
    table["group_id"] = [0, 0, 1, 2, 3]
    fri, frii, every = summarise_result(table)
    assert [line["sources"] for line in (fri, frii, every)] == [1, 2, 3]
    assert (fri["emission_share_median"], frii["emission_share_median"]) == (0, 2.5)
    assert frii["halo_share_median"] == 2


def test_aggregate_maps_are_means_of_what_was_added():
    rng = np.random.default_rng(2)
    images, gates = rng.random((40, 8, 8)), rng.random((40, 2, 8, 8))
    label, predicted = rng.integers(-1, 2, 40), rng.integers(0, 2, 40)
    certain = rng.random(40) < 0.5
    maps = AggregateMaps(2, size=8)
    for rows in (slice(0, 7), slice(7, 40)):
        chosen = {"label": label[rows], "certain": certain[rows], "predicted": predicted[rows]}
        maps.add(images[rows], gates[rows], **chosen)
    rows = (label == 1) & ~certain
    assert maps.count(label=1, certain=False) == rows.sum()
    assert maps.count(label=UNLABELLED) == (label == -1).sum()
    np.testing.assert_allclose(maps.image(label=1, certain=False), images[rows].mean(0))
    np.testing.assert_allclose(maps.attention(2, predicted=0), gates[predicted == 0, 1].mean(0))
    np.testing.assert_allclose(maps.attention(), gates.mean((0, 1)))
    with pytest.raises(InputError, match="from 1 to 2, not 3"):
        maps.attention(3)


def test_mean_of_no_images_is_nan():
    assert np.isnan(AggregateMaps(1, size=4).attention(label=0)).all()


def test_numbers_need_no_matplotlib():
    program = (
        "import sys; from radio_ag.attention import augmented, inside, statistics; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
