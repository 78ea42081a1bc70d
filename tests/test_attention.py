"""Where attention lies: shares and offsets by hand, aggregates against plain means, rates, and the command line."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from matplotlib.figure import Figure
from typer.testing import CliRunner

from radio_ag import classify
from radio_ag.attention import (
    UNLABELLED,
    AggregateMaps,
    AttentionStatistics,
    attention_statistics,
    gate_agreement,
    summarise_by_class,
    summarise_result,
)
from radio_ag.augmented import (
    Sources,
    aggregate,
    augmented_views,
    classification_rates,
    false_classification_rate,
    find_outliers,
    labelled_chunks,
    least_stable,
)
from radio_ag.catalog_io.inspected import open_sources
from radio_ag.checkpoints import import_checkpoint, save_weights
from radio_ag.classifier import Classifier
from radio_ag.cli import app
from radio_ag.datasets import make_mosaic
from radio_ag.errors import CatalogueError, ImageError, InputError, SourceNotFoundError
from radio_ag.flags import Flag
from radio_ag.inspection import feature_maps, gate_steps, inspect_source, measure_attention, prepare_clipped
from radio_ag.labelled import load_labelled
from radio_ag.model import AGCNN, Architecture
from radio_ag.preprocess import crop
from radio_ag.weights import DEFAULT

CARD = {
    "name": "made",
    "description": "random",
    "input": {"clip": 3.0, "stretch": "sqrt", "value_range": [-1.0, 1.0]},
}


def network(seed: int = 0, **options) -> AGCNN:
    """A network with random weights and sensible batch norm."""
    torch.manual_seed(seed)
    made = AGCNN(Architecture(dropout=0.0, **options))
    made(torch.rand(4, 1, 150, 150))
    return made.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of random weights: two with gates, one without."""
    folder = tmp_path_factory.mktemp("weights")
    networks = {"a": network(0), "b": network(1, normalisation="softmax"), "none": network(2, gates=0)}
    return {name: save_weights(folder / f"{name}.safetensors", [net], CARD) for name, net in networks.items()}


@pytest.fixture(scope="module")
def classifier(weights):
    return Classifier.load(weights["a"], device="cpu", orbit=1)


def blobs(*centres, size=300):
    y, x = np.mgrid[:size, :size]
    image = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b in centres)
    return np.where(image > 0.05, image, 0).astype(np.float32)


@pytest.fixture(scope="module")
def sources():
    """Two of each class, one of them uncertain, and one without emission."""
    images = [blobs((150, 150)), blobs((130, 150), (172, 152)), blobs((150, 155)), blobs((149, 120), (151, 180))]
    images = np.array([*images, np.zeros((300, 300))], np.float32)
    return Sources(images, np.array([0, 1, 0, 1, 0]), np.array([True, True, False, True, True]))


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


def test_aggregate_is_the_mean_over_the_views_of_each_source(classifier, sources):
    found = aggregate(classifier, [sources], times=3, seed=5)
    views = [next(augmented_views(classifier, sources.images[k], 3, (5, k))) for k in range(4)]
    assert found.count() == 12  # the empty source is passed over
    for label in (0, 1):
        chosen = [v for v, true in zip(views, sources.label, strict=False) if true == label]
        np.testing.assert_allclose(found.image(label=label), np.mean([v.images.mean(0) for v in chosen], 0), rtol=1e-5)
        expected = np.mean([v.gates.mean((0, 1)) for v in chosen], 0)
        np.testing.assert_allclose(found.attention(label=label), expected, rtol=1e-5)


def test_views_are_the_networks_own_answers(classifier, sources):
    view = next(augmented_views(classifier, sources.images[1], 2, 0))
    x = torch.from_numpy(view.images)[:, None].clamp_min(0).sqrt() * 2 - 1  # stretch and value range of the card
    with torch.inference_mode():
        output = network(0)(x)
    np.testing.assert_array_equal(view.predicted, output.logits.argmax(1))
    np.testing.assert_allclose(view.gates, torch.stack(output.attention(), 1), atol=2e-3)
    np.testing.assert_allclose(view.images.max((1, 2)), 1, atol=1e-6)


def test_rates_do_not_depend_on_chunks(classifier, sources):
    whole = classification_rates(classifier, [sources], times=4)
    parts = [Sources(*(column[rows] for column in sources)) for rows in (slice(0, 1), slice(1, 5))]
    np.testing.assert_array_equal(whole, classification_rates(classifier, parts, times=4))
    np.testing.assert_allclose(whole[:4].sum(1), 1)
    assert np.isnan(whole[4]).all()


def test_false_rate_and_outliers():
    rates = np.array([[0.02, 0.98], [0.97, 0.03], [0.0, 1.0], [np.nan, np.nan], [0.5, 0.5]])
    false = false_classification_rate(rates, [0, 0, 0, 1, UNLABELLED])
    np.testing.assert_allclose(false, [0.98, 0.03, 1.0, np.nan, np.nan])
    np.testing.assert_array_equal(find_outliers(false), [2, 0])
    assert len(find_outliers(false, above=1.0)) == 0


def test_least_stable_are_those_of_the_largest_spread():
    np.testing.assert_array_equal(least_stable([0.1, np.nan, 0.3, 0.2], 2), [2, 3])
    masked = np.ma.masked_array([0.1, 9.0], [False, True])
    np.testing.assert_array_equal(least_stable(masked, 5), [0])


def test_memory_does_not_grow_with_the_sources(classifier, sources):
    def peak(chunks: int) -> int:
        tracemalloc.start()
        aggregate(classifier, (Sources(*(c[:1].copy() for c in sources)) for _ in range(chunks)), times=1)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(8) < peak(2) + 1e6  # a field alone takes 0.36 MB


def test_no_augmentations_are_an_error(classifier, sources):
    with pytest.raises(InputError, match="times must be 1 or more, not 0"):
        aggregate(classifier, [sources], times=0)


def test_measured_attention_is_that_of_the_prediction(classifier, sources):
    values, classes = measure_attention(classifier, [sources])
    prepared = prepare_clipped(sources.images, classifier)
    prediction = classifier.predict(sources.images, attention="gates", prepared=prepared)
    expected = attention_statistics(prediction.attention, crop(sources.images), prediction.gates)
    np.testing.assert_allclose(values["emission_share"][:4], expected.emission_share[:4], rtol=1e-5)
    assert classes[4] == ""
    assert all(np.isnan(column[4]) for column in values.values())
    empty, none = measure_attention(classifier, [])
    assert len(none) == 0
    assert set(empty) == set(values)


def test_feature_maps_are_the_blocks_outputs(classifier, sources):
    inspected = inspect_source(classifier, sources.images[1])
    maps = feature_maps(network(0), inspected.prepared)
    assert [m.shape for m in maps] == [(6, 150, 150), (16, 75, 75), (32, 37, 37), (64, 18, 18)]
    x = torch.from_numpy(inspected.prepared)[None, None]
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(maps[0]), network(0).blocks[0](x)[0])
    for folded, plain in zip(inspected.features, maps, strict=True):
        np.testing.assert_allclose(folded, plain, atol=1e-3)
    with pytest.raises(InputError, match="no emission"):
        inspect_source(classifier, sources.images[4])


@pytest.mark.parametrize("normalisation", ["range", "softmax", "sigmoid", "standardisation"])
def test_steps_inside_the_gates_lead_to_the_networks_own_maps_and_features(normalisation, sources):
    made = network(3, normalisation=normalisation)
    image = torch.from_numpy(crop(sources.images[1:2])) / sources.images[1].max()
    with torch.inference_mode():
        output = made(image[:, None])
    steps = gate_steps(made, image[0])
    assert [one.features.shape for one in steps] == [(32, 37, 37), (16, 75, 75), (6, 150, 150)]
    assert {one.agreement.shape[0] for one in steps} == {64}
    for one, attention in zip(steps, output.gates, strict=True):
        np.testing.assert_allclose(one.attention, attention[0], atol=1e-4)
        np.testing.assert_array_equal(one.agreement, np.maximum(one.projected + one.gating, 0))
        np.testing.assert_allclose(one.attended, one.attention * one.features, atol=1e-6)
    summed = np.concatenate([one.attended.sum((1, 2)) for one in steps])  # eq. 9
    np.testing.assert_allclose(summed, output.features[0], rtol=1e-3, atol=1e-3)


def test_numbers_need_no_matplotlib():
    program = (
        "import radio_ag.attention, radio_ag.augmented, radio_ag.inspection, sys; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def labelled_file(tmp_path_factory, sources):
    path = tmp_path_factory.mktemp("labelled") / "few.fits"
    table = Table(
        {
            "name": ["one", "two", "three", "four"],
            "ra": [10.0, 20.0, 30.0, 40.0],
            "dec": [1.0, 2.0, 3.0, 4.0],
            "z": [0.1, 0.2, 0.3, 0.4],
            "fr_class": ["FRI", "FRII", "FRI", "FRII"],
            "confidence": ["certain", "certain", "uncertain", "certain"],
        }
    )
    noise = np.random.default_rng(3).normal(0, 1e-3, (4, 300, 300))
    images = fits.ImageHDU((sources.images[:4] + noise).astype(np.float32), name="IMAGES")
    hdu = fits.table_to_hdu(table)
    hdu.name = "SOURCES"
    fits.HDUList([fits.PrimaryHDU(), hdu, images]).writeto(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["attention", *map(str, arguments)])


def test_labelled_sources_are_opened_with_what_the_table_knows(labelled_file):
    sources = open_sources(labelled_file)
    assert sources.labelled
    np.testing.assert_array_equal(sources.label, [0, 1, 0, 1])
    np.testing.assert_array_equal(sources.table["z"], [0.1, 0.2, 0.3, 0.4])
    assert [sources.find(text) for text in ("2", "three", "30.001 3.0")] == [2, 2, 2]
    for missing, words in (("9", "no row 9"), ("31.0 3.0", "no source is within"), ("what", "neither")):
        with pytest.raises(SourceNotFoundError, match=words):
            sources.find(missing)
    np.testing.assert_allclose(sources.wcs(1).pixel_to_world_values(74.5, 74.5), (20, 2))


@pytest.mark.parametrize("kind", ["raw", "compressed", "8-bit", "8-bit crops"])
def test_labelled_images_are_read_as_a_training_reads_them(kind, labelled_file, tmp_path):
    with fits.open(labelled_file) as hdus:
        table, images = Table(hdus["SOURCES"].data), hdus["IMAGES"].data
    table["fr_class"] = ["FRI", "hybrid", "FRI", "FRII"]  # the second is no class of ours: left out
    if kind.startswith("8-bit"):
        images = np.clip(255 * images, 0, 255).astype(np.uint8)
    if kind == "8-bit crops":
        images = images[:, 75:225, 75:225]
        table = table["name", "fr_class", "confidence"]
    stack = fits.CompImageHDU if kind == "compressed" else fits.ImageHDU
    options = {"tile_shape": (1, 300, 300), "quantize_level": 0, "compression_type": "GZIP_2"}
    hdu = stack(images, name="IMAGES", **(options if kind == "compressed" else {}))
    path = tmp_path / "it.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table, name="SOURCES"), hdu]).writeto(path)
    sources = open_sources(path)
    (chunk,) = sources.chunks(3.0)
    expected = images[[0, 2, 3]] if kind == "8-bit crops" else load_labelled(path).fields
    np.testing.assert_array_equal(chunk.images, expected)
    np.testing.assert_array_equal(chunk.label, [0, 0, 1])
    np.testing.assert_array_equal(chunk.certain, [True, False, True])
    assert (sources.wcs(0) is None) == (kind == "8-bit crops")
    np.testing.assert_array_equal(sources.observed(np.array([1])), images[2:3])
    if kind == "raw":
        assert (sources.clipped(np.array([0]), 5.0) > 0).sum() < (chunk.images[:1] > 0).sum()


def test_a_chunk_of_labelled_images_is_in_memory_at_a_time(labelled_file, tmp_path):
    with fits.open(labelled_file) as hdus:
        table, images = Table(hdus["SOURCES"].data), hdus["IMAGES"].data
    repeats = 16
    path = tmp_path / "many.fits"
    hdu = fits.BinTableHDU(table[np.arange(4 * repeats) % 4], name="SOURCES")
    fits.HDUList([fits.PrimaryHDU(), hdu, fits.ImageHDU(np.tile(images, (repeats, 1, 1)), name="IMAGES")]).writeto(path)
    sources = open_sources(path)
    tracemalloc.start()
    seen = sum(len(chunk.label) for chunk in sources.chunks(3.0, chunk=4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 4 * repeats
    assert peak < path.stat().st_size / 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda table, images: (table["name", "ra", "dec"], images), CatalogueError, "lacks the column fr_class"),
        (lambda table, images: (table[:3], images), ImageError, r"has shape \(4, 300, 300\), expected \(3, 300, 300\)"),
    ],
)
def test_labelled_files_that_cannot_be_used(change, error, words, labelled_file, tmp_path):
    with fits.open(labelled_file) as hdus:
        table, images = change(Table(hdus["SOURCES"].data), hdus["IMAGES"].data)
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table, name="SOURCES"), fits.ImageHDU(images, name="IMAGES")]
    fits.HDUList(hdus).writeto(tmp_path / "it.fits")
    with pytest.raises(error, match=words):
        open_sources(tmp_path / "it.fits")


def test_outliers_command_lists_what_the_rates_say(labelled_file, weights, tmp_path):
    output = tmp_path / "odd.ecsv"
    done = run("outliers", labelled_file, "-o", output, "-n", 2, "--above", 0.4, "--weights", weights["a"])
    assert done.exit_code == 0, done.output
    table = Table.read(output)
    classifier = Classifier.load(weights["a"], device="cpu")
    data = load_labelled(labelled_file)
    false = false_classification_rate(classification_rates(classifier, labelled_chunks(data), times=2), data.label)
    expected = find_outliers(false, 0.4)
    assert len(expected) > 0  # both classes get the same answer from random weights
    np.testing.assert_array_equal(table["ra"], data.ra[expected])
    np.testing.assert_array_equal(table["false_rate"], false[expected])
    assert {"name", "dec", "z", "label", "certain"} <= set(table.colnames)
    assert output.with_suffix(".png").exists()


def test_compare_command_prints_and_writes(labelled_file, weights, tmp_path):
    output = tmp_path / "each.ecsv"
    done = run("compare", labelled_file, "--weights", weights["a"], "--weights", weights["b"], "-o", output)
    assert done.exit_code == 0, done.output
    assert done.output.count("FRII") == 2  # a line for each of the networks
    table = Table.read(output)
    assert list(table["weights"]) == ["a"] * 4 + ["b"] * 4
    values, _ = measure_attention(
        Classifier.load(weights["b"], device="cpu"), labelled_chunks(load_labelled(labelled_file))
    )
    np.testing.assert_allclose(table["halo_enrichment"][4:], values["halo_enrichment"], rtol=1e-4)


@pytest.fixture(scope="module")
def product(tmp_path_factory, weights):
    """A product that keeps its cutouts, with labels from its own catalogue, and one row without an image."""
    mosaic, truth = make_mosaic(size=700, n_sources=3, seed=4)
    catalogue = Table(
        {
            "ra": [*truth["ra"], truth["ra"][0] + 5],
            "dec": [*truth["dec"], truth["dec"][0]],
            "kind": ["FRII", "FRI", "what", "FRI"],
            "sure": ["certain", "uncertain", "Certain", ""],
            "seen": [False, True, True, False],
        }
    )
    path = tmp_path_factory.mktemp("product") / "it.fits"
    options = {"weights": weights["a"], "device": "cpu", "orbit": 2, "group": "none", "keep_cutouts": True}
    return classify(catalogue, images=mosaic, output=path, **options), path


def test_result_is_opened_with_its_cutouts_and_labels(product):
    result, path = product
    sources = open_sources(path, label_column="kind")
    np.testing.assert_array_equal(sources.label, [1, 0, UNLABELLED, 0])
    assert sources.labelled
    (chunk,) = sources.chunks(3.0)
    rms = np.asarray(result.table["rms"])[:3, None, None]
    cutouts = result.cutouts([0, 1, 2])
    np.testing.assert_array_equal(chunk.images[:3], np.where(cutouts > 3 * rms, cutouts, 0))
    assert not chunk.images[3].any()  # no image: empty, not lost
    assert sources.find(str(result.table["name"][1])) == 1
    with pytest.raises(InputError, match="no column 'nothing'"):
        open_sources(path, label_column="nothing")
    with pytest.raises(InputError, match="no value of column 'name' is FRI or FRII"):
        open_sources(path, label_column="name")


def test_certainty_of_a_result_is_that_of_its_classes_or_of_a_column(product):
    result, path = product
    flags = np.asarray(result.table["flags"])
    np.testing.assert_array_equal(open_sources(path).certain, flags & Flag.UNCERTAIN == 0)
    for column, expected in (("sure", [True, False, True, False]), ("seen", [False, True, True, False])):
        np.testing.assert_array_equal(open_sources(path, confidence_column=column).certain, expected)
    with pytest.raises(InputError, match="no value of column 'kind' is certain or true"):
        open_sources(path, confidence_column="kind")


def test_without_labels_the_least_stable_are_listed(product, weights, tmp_path):
    result, path = product
    done = run("outliers", path, "-o", tmp_path / "odd", "--count", 2, "--weights", weights["a"])
    assert done.exit_code == 0, done.output
    table = Table.read(tmp_path / "odd.ecsv")
    spread = np.ma.filled(result.table["p_std"], np.nan)
    np.testing.assert_allclose(table["p_std"], np.sort(spread[:3])[::-1][:2])


@pytest.mark.parametrize("command", ["aggregate", "outliers"])
def test_figures_that_exist_are_seen_before_the_work(command, labelled_file, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("radio_ag.augmented.augmented_views", lambda *args, **options: pytest.fail("work was done"))
    (tmp_path / ("it-class.pdf" if command == "aggregate" else "it.pdf")).write_text("mine")
    done = run(command, labelled_file, "-o", tmp_path / "it", "--weights", weights["a"])
    assert done.exit_code == 2
    assert "exists" in done.stderr
    done = run(command, labelled_file, "-o", tmp_path / "no folder" / "it", "--weights", weights["a"])
    assert done.exit_code == 2
    assert "there is no folder" in done.stderr


@pytest.mark.parametrize("command", [["source", 0], ["aggregate"], ["outliers"]])
def test_without_matplotlib_figures_say_what_to_install(command, labelled_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(command[0], labelled_file, *command[1:], "-o", tmp_path / "it")
    assert done.exit_code == 2
    assert "pip install 'radio-ag[plot]'" in done.stderr


def test_components_of_a_source_count_once(weights, tmp_path):
    mosaic, truth = make_mosaic(size=700, n_sources=3, seed=4)
    places = truth[[0, 1, 0, 2, 0]]
    catalogue = Table({"ra": places["ra"], "dec": places["dec"] + np.array([0, 0, 8, 0, -8]) / 3600})
    catalogue["Z"], catalogue["kind"] = np.arange(5) / 10, ["FRI", "FRII", "FRII", "FRII", "FRII"]
    path = tmp_path / "grouped.fits"
    options = {"weights": weights["a"], "device": "cpu", "orbit": 1, "group": 20.0, "keep_cutouts": True}
    result = classify(catalogue, images=mosaic, output=path, **options)
    assert len(set(result.table["group_id"])) == 3
    assert len(open_sources(path)) == 5
    once = open_sources(path, label_column="kind", once=True)
    np.testing.assert_array_equal(once.table["ra"], result.table["ra"][[0, 1, 3]])
    np.testing.assert_array_equal(once.table["Z"], [0, 0.1, 0.3])
    np.testing.assert_array_equal(once.label, [0, 1, 1])
    np.testing.assert_array_equal(once.observed(np.arange(3)), result.cutouts([0, 1, 3]))


def test_aggregate_of_a_result_uses_predicted_classes(product, weights, tmp_path):
    _, path = product
    done = run("aggregate", path, "-o", tmp_path / "mean", "-n", 1, "--weights", weights["a"])
    assert done.exit_code == 0, done.output
    written = sorted(file.name for file in tmp_path.iterdir() if file.suffix == ".png")
    assert written == ["mean-certainty.png", "mean-class.png", "mean-difference.png"]
    done = run("aggregate", path, "-o", tmp_path / "mean", "-n", 1, "--by", "label")
    assert done.exit_code == 2
    assert "--label-column" in done.stderr


def test_labelled_sources_may_be_averaged_by_predicted_class(labelled_file, weights, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("radio_ag.figures.aggregate_figure", lambda maps, by: drawn.append(by) or Figure())
    done = run(
        "aggregate", labelled_file, "-o", tmp_path / "m", "-n", 1, "--by", "predicted", "--weights", weights["a"]
    )
    assert done.exit_code == 0, done.output
    assert drawn == ["predicted"]
    assert (tmp_path / "m-confusion.png").exists()


@pytest.mark.parametrize("figure", ["gates", "preprocessing", "network", "gate-steps"])
def test_source_command_draws_each_figure(figure, product, weights, tmp_path):
    _, path = product
    done = run("source", path, 1, "-o", tmp_path / "one", "--figure", figure, "--weights", weights["a"])
    assert done.exit_code == 0, done.output
    assert {file.name for file in tmp_path.iterdir()} == {"one.png", "one.pdf"}


def test_networks_side_by_side_may_be_without_gates(product, weights, tmp_path):
    _, path = product
    several = [option for name in ("none", "a") for option in ("--weights", weights[name])]
    done = run("source", path, 0, "-o", tmp_path / "it", *several)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "it.pdf").exists()


def test_row_without_an_image_cannot_be_drawn(product, weights, tmp_path):
    done = run("source", product[1], 3, "-o", tmp_path / "one", "--weights", weights["a"])
    assert done.exit_code == 2
    assert "no image" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("source", "DATA", "nobody", "-o", "x"), "nobody"),
        (("compare", "missing.fits"), "missing.fits"),
        (("compare", "DATA", "--label-column", "class"), "for results"),
        (("compare", "DATA", "--weights", "NONE"), "no attention gates"),
        (("source", "DATA", "0", "-o", "x", "--weights", "NONE"), "--figure network"),
    ],
)
def test_errors_are_one_line(arguments, message, labelled_file, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"DATA": labelled_file, "NONE": weights["none"]}
    weighty = () if "--weights" in arguments else ("--weights", weights["a"])
    done = run(*(places.get(word, word) for word in arguments), *weighty)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "normalisation", "emission", "halo"),
    [
        ("range_norm_ft_3gates_exp1", "range", (1.4, 2.6), (1.1, 1.7)),  # 2.0 and 1.4 on unseen sources
        ("sigmoid_mean_3gates", "sigmoid", (0.1, 0.8), (0.5, 1.1)),  # 0.2 and 0.6
        ("softmax_concat_3gates", "softmax", (5.0, 15.0), (3.0, 6.0)),  # 7.3 and 4.7
    ],
)
def test_published_networks_look_where_they_were_measured_to(
    file, normalisation, emission, halo, published_training, data_dir, tmp_path
):
    path = data_dir / "published" / "weights" / f"{file}.pt"
    imported = import_checkpoint(path, str(tmp_path / "it.safetensors"), normalisation=normalisation)
    classifier = Classifier.load(imported, device="cpu", orbit=1)
    values, _ = measure_attention(classifier, [published_training])
    assert emission[0] < np.median(values["emission_enrichment"]) < emission[1]
    assert halo[0] < np.median(values["halo_enrichment"]) < halo[1]


def test_the_bundled_network_points_at_the_source_at_least_as_well_as_the_published_one(data_dir, tmp_path):
    labelled = open_sources(data_dir / "mirabest_train.fits")
    rows = np.arange(0, len(labelled), 40)
    some = Sources(labelled.clipped(rows, 3.0), labelled.label[rows], labelled.certain[rows])
    path = data_dir / "published" / "weights" / "range_norm_ft_3gates_exp1.pt"
    imported = import_checkpoint(path, str(tmp_path / "it.safetensors"), normalisation="range")
    ours, theirs = (
        measure_attention(Classifier.load(weights, device="cpu", orbit=1), [some])[0] for weights in (DEFAULT, imported)
    )
    for name in ("emission_enrichment", "halo_enrichment"):
        assert np.median(ours[name]) >= np.median(theirs[name]) > 1


@pytest.fixture(scope="module")
def published_training(data_dir) -> Sources:
    """The published images of every fortieth training source."""
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        images = hdus["PUBLISHED"].data[::40].astype(np.float32)
    return Sources(images, np.full(len(images), UNLABELLED), np.ones(len(images), bool))
