"""Intervals and calibration against closed forms and simulations."""

import numpy as np
import pytest

from radio_ag.evaluation import calibration_error, confidence_threshold, figures, fit_temperature, wilson_interval


def test_wilson_interval_solves_its_equation():
    """The interval's ends p satisfy |share - p| = z sqrt(p (1 - p) / n)."""
    for successes, trials in [(95, 104), (1, 10), (50, 100)]:
        for end in wilson_interval(successes, trials):
            assert abs(successes / trials - end) == pytest.approx(
                1.959964 * np.sqrt(end * (1 - end) / trials), rel=1e-5
            )
    assert wilson_interval(10, 10)[1] == pytest.approx(1)
    assert wilson_interval(0, 10)[0] == pytest.approx(0)
    assert all(np.isnan(wilson_interval(0, 0)))


@pytest.fixture(scope="module")
def calibrated():
    """Log-odds of 20,000 sources whose labels are drawn with just those odds."""
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 3, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return np.stack([-log_odds / 2, log_odds / 2], 1), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(calibrated, temperature):
    logits, labels = calibrated
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_error_is_small_when_calibrated_and_large_when_not(calibrated):
    logits, labels = calibrated
    assert figures(logits, labels)["ece"] < 0.01
    assert figures(logits * 5, labels)["ece"] > 0.05
    assert figures(logits * 5, labels, temperature=5.0)["ece"] < 0.01


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.45, 0.55], [0.3, 0.7]])
    labels = np.array([0, 1, 1, 0])
    # last bin: |0.9 + 0.95 - 1|; first bin (0.55): |1 - 0.55|; the one of 0.7: |0 - 0.7|
    assert calibration_error(probabilities, labels) == pytest.approx((0.85 + 0.45 + 0.7) / 4)


def test_threshold_by_hand():
    confidence = np.array([0.99, 0.9, 0.8, 0.7, 0.6])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    assert confidence_threshold(probabilities, [0, 0, 0, 1, 0], 0.75) == 0.6
    assert confidence_threshold(probabilities, [0, 0, 0, 1, 0], 0.99) == 0.8
    assert confidence_threshold(probabilities, [1, 1, 1, 1, 1], 0.5) == 1.0


def test_figures_count_sources():
    result = figures(np.array([[2.0, 0], [0, 2.0], [2.0, 0]]), np.array([0, 1, 1]))
    assert result["sources"] == 3
    assert result["accuracy"] == 0.6667
    assert (result["recall_fri"], result["recall_frii"]) == (1.0, 0.5)
