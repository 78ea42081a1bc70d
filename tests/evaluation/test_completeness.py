"""Counts corrected for what is lost and confused."""

import json

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from radio_ag.errors import InputError, WeightsError
from radio_ag.evaluation.completeness import Completeness, count_sources
from radio_ag.weights import locate

SHARES = np.array([[[0.4, 0.1, 0.5], [0.05, 0.55, 0.4]], [[0.9, 0.02, 0.08], [0.03, 0.87, 0.1]]])
"""Of FRI and FRII below and above a signal to noise of 20: clean FRI, clean FRII, neither."""


@pytest.fixture
def completeness() -> Completeness:
    return Completeness(np.array([5.0, 20.0, 100.0]), (SHARES * 10000).round().astype(int), {})


def drawn(numbers, rng):
    """Signal to noise and classes of clean sources, of so many FRI and FRII in the two bins."""
    snr, classes = [], []
    for number, shares, ratio in zip(numbers, SHARES, (10.0, 50.0), strict=True):
        for true in (0, 1):
            outcome = rng.multinomial(number[true], shares[true])[:2]
            classes += ["FRI"] * outcome[0] + ["FRII"] * outcome[1]
            snr += [ratio] * outcome.sum()
    return np.array(snr), np.array(classes)


def test_shares_by_hand(completeness):
    np.testing.assert_allclose(completeness.completeness, [[0.4, 0.55], [0.9, 0.87]])
    np.testing.assert_allclose(completeness.purity, [[0.4 / 0.45, 0.55 / 0.65], [0.9 / 0.93, 0.87 / 0.89]])


def test_the_true_numbers_come_out_and_lie_in_their_intervals(completeness):
    """400 FRI and 250 FRII, more of them faint: of 100 skies the mean is right and the intervals hold in 95 %."""
    rng = np.random.default_rng(0)
    found, held = [], 0
    for seed in range(100):
        counts = completeness.count(*drawn([(300, 200), (100, 50)], rng), seed=seed)
        found.append([counts["FRI"].number, counts["FRII"].number])
        held += sum(
            counts[name].interval[0] <= true <= counts[name].interval[1] for name, true in (("FRI", 400), ("FRII", 250))
        )
    np.testing.assert_allclose(np.mean(found, 0), [400, 250], rtol=0.02)
    assert held >= 184


def test_what_cannot_be_counted_is_named(completeness):
    with pytest.raises(InputError, match="nothing is known of sources below a signal to noise of 5"):
        completeness.count([4.0], ["FRI"])
    with pytest.raises(InputError, match="classes must be FRI or FRII, not ''"):
        completeness.count([40.0], [""])


def test_a_table_of_sources(completeness):
    table = Table({"flags": [0, 0, 2048, 0], "snr": [50.0, 50.0, 50.0, 50.0]})
    table["class"] = MaskedColumn(["FRI", "FRII", "FRII", "FRII"])
    table["total_flux"] = MaskedColumn([0.02, 0.02, 0.02, 0.005])
    expected = completeness.count([50.0, 50.0], ["FRI", "FRII"])
    assert count_sources(table, completeness, minimum_flux=0.01) == expected
    table["total_flux"].mask[0] = True
    with pytest.raises(InputError, match="flux density of some clean sources is not known"):
        count_sources(table, completeness, minimum_flux=0.01)


def test_what_is_bundled_is_of_the_bundled_weights(tmp_path):
    found = Completeness.load()
    assert found.counts.sum((1, 2)).min() > 100
    assert (np.diff(found.completeness.mean(1)) > -0.02).all()  # the brighter, the more complete
    assert found.completeness[-1].mean() > 0.7
    with pytest.raises(WeightsError, match=r"agcnn-paper has no agcnn-paper.completeness.json"):
        Completeness.load("agcnn-paper")
    path = locate("agcnn-first")
    for suffix in (".safetensors", ".json", ".completeness.json"):
        (tmp_path / f"mine{suffix}").write_bytes(path.with_suffix(suffix).read_bytes())
    beside = tmp_path / "mine.completeness.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"sha256": "0" * 64}))
    with pytest.raises(WeightsError, match=r"mine.completeness.json was measured with other weights"):
        Completeness.load(tmp_path / "mine.safetensors")
