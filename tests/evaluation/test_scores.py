"""Figures of merit, their intervals and calibration, against closed forms, hand counts and simulations."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import softmax
from scipy.stats import binom, mannwhitneyu

from radio_ag.evaluation.calibration import (
    calibration_error,
    confidence_threshold,
    draw_reliability,
    error_if_calibrated,
    fit_temperature,
    reliability,
    uncertainty_calibration_error,
)
from radio_ag.evaluation.metrics import (
    area_under_curve,
    bootstrap_samples,
    confusion_matrix,
    confusion_scores,
    percentile_intervals,
    wilson_interval,
)
from radio_ag.evaluation.scores import score_copies, score_sources, spread_of
from radio_ag.flags import Flag


def in_two(second) -> np.ndarray:
    """Probabilities of FRI and FRII from that of FRII."""
    second = np.asarray(second, float)
    return np.stack([1 - second, second], -1)


@pytest.fixture(scope="module")
def calibrated():
    """Log-odds of 20,000 sources whose labels are drawn with just those odds."""
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 3, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return np.stack([-log_odds / 2, log_odds / 2], 1), labels


@pytest.fixture(scope="module")
def small():
    """150 sources: probabilities of FRII, labels, certainty."""
    rng = np.random.default_rng(1)
    log_odds = rng.normal(0, 3, 150)
    second = 1 / (1 + np.exp(-log_odds))
    return second, (rng.random(150) < second).astype(int), rng.random(150) < 0.7


# Proportions and the ROC curve


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


def test_scores_of_a_confusion_matrix_by_hand():
    labels, given = np.repeat([0, 0, 1, 1], [8, 2, 5, 15]), np.repeat([0, 1, 0, 1], [8, 2, 5, 15])
    matrix = confusion_matrix(labels, given)
    np.testing.assert_array_equal(matrix, [[8, 2], [5, 15]])
    expected = {
        "accuracy": 23 / 30,
        "precision_fri": 8 / 13,
        "recall_fri": 8 / 10,
        "f1_fri": 16 / 23,
        "precision_frii": 15 / 17,
        "recall_frii": 15 / 20,
        "f1_frii": 30 / 37,
    }
    assert confusion_scores(matrix) == pytest.approx(expected)
    counts = np.stack([np.ones(30), labels == 0])
    both = confusion_scores(confusion_matrix(labels, given, counts))
    assert both["accuracy"] == pytest.approx([23 / 30, 8 / 10])
    assert np.isnan(both["recall_frii"][1])


def test_area_under_curve_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    scores = (rng.normal(0, 1, 200) + labels).round(1)  # with ties
    expected = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    area = area_under_curve(scores, labels)
    assert area == pytest.approx(expected / (labels.sum() * (1 - labels).sum()))
    counts = rng.integers(0, 3, (4, 200))
    for one, found in zip(counts, area_under_curve(scores, labels, counts), strict=True):
        rows = np.repeat(np.arange(200), one)
        assert found == pytest.approx(area_under_curve(scores[rows], labels[rows]))
    assert np.isnan(area_under_curve([0.1, 0.2], [1, 1]))


def test_bootstrap_interval_of_a_mean():
    values = np.random.default_rng(0).normal(5, 2, 400)
    samples = bootstrap_samples(lambda counts: {"mean": counts @ values / 400}, 400, resamples=4000)
    found = percentile_intervals(samples)
    half = 1.96 * values.std() / np.sqrt(400)
    assert found["mean"] == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert bootstrap_samples(lambda counts: {}, 0) == {}


def test_the_calibration_error_of_a_calibrated_model_loses_bias():
    """Of 60 sets of 100 sources with true probabilities; each interval contains its estimate."""
    rng = np.random.default_rng(0)
    plain, debiased = [], []
    for _ in range(60):
        second = rng.beta(0.5, 0.5, 100)
        labels = (rng.random(100) < second).astype(int)
        figures = score_sources(in_two(second), labels)["all"]
        plain.append(figures["ece_plain"])
        debiased.append(figures["ece"])
        assert figures["ece_interval"][0] <= figures["ece"] <= figures["ece_interval"][1]
    assert np.mean(plain) > 0.04
    assert np.mean(debiased) < 0.7 * np.mean(plain)


# Calibration


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(calibrated, temperature):
    logits, labels = calibrated
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_error_is_small_when_calibrated_and_large_when_not(calibrated):
    logits, labels = calibrated
    assert calibration_error(softmax(logits, 1), labels) < 0.01
    assert calibration_error(softmax(5 * logits, 1), labels) > 0.05


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.45, 0.55], [0.3, 0.7]])
    labels = np.array([0, 1, 1, 0])
    # last bin: |0.9 + 0.95 - 1|; first bin (0.55): |1 - 0.55|; the one of 0.7: |0 - 0.7|
    assert calibration_error(probabilities, labels) == pytest.approx((0.85 + 0.45 + 0.7) / 4)
    found = reliability(probabilities, labels)
    np.testing.assert_array_equal(found.sources, [1, 1, 0, 0, 2])
    np.testing.assert_array_equal(found.right, [1, 0, 0, 0, 1])
    np.testing.assert_allclose(found.confidence, [0.55, 0.7, np.nan, np.nan, 0.925])


def test_uncertainty_calibration_error_by_hand():
    """Entropies in bits: 0.469 of 0.1 and 0.9, 0.993 of 0.45 and 0.55, 0.286 of 0.05 and 0.95."""
    probabilities, labels = in_two([0.1, 0.55, 0.95, 0.95]), np.array([0, 0, 0, 1])
    gaps = abs(0 - 0.468996), abs(1 - 0.992774), abs(1 - 2 * 0.286397)  # bins 0.4-0.6, 0.8-1.0 and 0.2-0.4
    assert uncertainty_calibration_error(probabilities, labels) == pytest.approx(sum(gaps) / 4, abs=1e-5)


def test_a_calibrated_model_has_an_uncertainty_calibration_error(calibrated):
    logits, labels = calibrated
    probabilities = softmax(logits, 1)
    mean, (low, high) = error_if_calibrated(uncertainty_calibration_error, probabilities[:2000], draws=200)
    assert mean > 0.1
    assert uncertainty_calibration_error(probabilities[:2000], labels[:2000]) == pytest.approx(mean, abs=high - low)


@pytest.mark.parametrize("n", [104, 30])
def test_error_of_a_perfectly_calibrated_model(n):
    """Where every probability is 0.5, all sources share a bin and the error is |k / n - 0.5| with a binomial k."""
    k = np.arange(n + 1)
    expected = (np.abs(k / n - 0.5) * binom.pmf(k, n, 0.5)).sum()
    mean, (low, high) = error_if_calibrated(calibration_error, np.full((n, 2), 0.5), draws=8000)
    assert mean == pytest.approx(expected, rel=0.03)
    assert low < mean < high


def test_threshold_by_hand():
    probabilities = in_two([0.01, 0.1, 0.2, 0.3, 0.4])
    assert confidence_threshold(probabilities, [0, 0, 0, 1, 0], 0.75) == 0.6
    assert confidence_threshold(probabilities, [0, 0, 0, 1, 0], 0.99) == 0.8
    assert confidence_threshold(probabilities, [1, 1, 1, 1, 1], 0.5) == 1.0


def test_reliability_diagram_shows_each_bin(small):
    second, labels, _ = small
    axes = Figure().subplots()
    draw_reliability(axes, in_two(second), labels)
    found = reliability(in_two(second), labels)
    x, y = axes.lines[1].get_data()
    np.testing.assert_allclose(x, found.confidence)
    np.testing.assert_allclose(y, found.right / found.sources)
    assert [text.get_text() for text in axes.texts] == [f"n={n}" for n in found.sources]


# Figures of a card


def test_figures_are_those_of_each_subset(small):
    second, labels, certain = small
    result = score_sources(in_two(second), labels, certain)
    assert set(result) == {"all", "certain", "uncertain"}
    for name, rows in (("all", np.full(150, True)), ("certain", certain), ("uncertain", ~certain)):
        right = (second[rows] > 0.5) == labels[rows]
        one = result[name]
        given = np.where(labels[rows] == 1, second[rows], 1 - second[rows])
        assert one["sources"] == rows.sum()
        assert one["accuracy"] == pytest.approx(right.mean(), abs=1e-4)
        assert one["accuracy_interval"] == pytest.approx(wilson_interval(right.sum(), len(right)), abs=1e-4)
        assert one["nll"] == pytest.approx(-np.log(given).mean(), abs=1e-4)
        assert one["brier"] == pytest.approx(np.square(1 - given).mean(), abs=1e-4)
        assert one["auc"] == pytest.approx(area_under_curve(second[rows], labels[rows]), abs=1e-4)
        assert np.sum(one["confusion"]) == rows.sum()
        for figure in ("f1_fri", "f1_frii", "auc", "nll", "brier"):
            low, high = one[f"{figure}_interval"]
            assert low < one[figure] < high
    json.dumps(result, allow_nan=False)
    assert result == score_sources(in_two(second), labels, certain)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 200 sets of 100 sources with a true F1 known from a large set, 95 % of the bootstrap intervals hold it."""
    rng = np.random.default_rng(0)

    def draw(n):
        labels = rng.integers(0, 2, n)
        return labels, np.where(rng.random(n) < 0.85, labels, 1 - labels)

    truth = confusion_scores(confusion_matrix(*draw(10**6)))["f1_fri"]
    held = 0
    for seed in range(200):
        labels, given = draw(100)
        samples = bootstrap_samples(
            lambda counts, y=labels, g=given: {"f1": confusion_scores(confusion_matrix(y, g, counts))["f1_fri"]},
            100,
            resamples=400,
            seed=seed,
        )
        interval = percentile_intervals(samples)["f1"]
        held += interval[0] <= truth <= interval[1]
    assert 180 <= held <= 198


def test_sources_without_a_class_and_flags():
    second = np.array([0.9, 0.8, np.nan, 0.1, 0.6])
    labels = np.array([1, 0, 1, 0, 0])
    flags = np.array([0, Flag.LOW_SNR, Flag.EMPTY, 0, Flag.UNCERTAIN])
    result = score_sources(in_two(second), labels, flags=flags)["all"]
    assert (result["sources"], result["unclassified"]) == (5, 1)
    assert result["accuracy"] == 0.5
    assert (result["clean_share"], result["clean_accuracy"]) == (0.4, 1)
    assert (result["sure_share"], result["sure_accuracy"]) == (0.6, 0.6667)
    nothing = score_sources(in_two(second[2:3]), labels[2:3], flags=flags[2:3])["all"]
    assert nothing["accuracy"] is None
    assert nothing["nll_interval"] == [None, None]
    json.dumps(nothing, allow_nan=False)


def test_one_class_alone_has_no_curve():
    result = score_sources(in_two([0.9, 0.8, 0.2]), [1, 1, 1])["all"]
    assert result["auc"] is None
    assert result["accuracy"] == 0.6667
    assert result["precision_fri"] == 0


def test_figures_count_sources():
    probabilities = softmax(np.array([[2.0, 0], [0, 2.0], [2.0, 0]]) / 2.0, 1)
    result = score_sources(probabilities, np.array([0, 1, 1]))["all"]
    assert result["sources"] == 3
    assert result["accuracy"] == 0.6667
    assert (result["recall_fri"], result["recall_frii"]) == (1.0, 0.5)
    assert result["nll"] == pytest.approx((2 * np.log(1 + np.exp(-1)) + np.log(1 + np.e)) / 3, abs=1e-4)


def test_copies_count_once_each_but_their_intervals_are_over_sources(small):
    second, labels, certain = small
    once = score_sources(in_two(second), labels, certain)
    copied = score_copies(np.repeat(second[:, None], 30, 1), labels, certain)
    for subset in once:
        assert copied[subset]["copies"] == 30 * once[subset]["sources"]
        for name in ("accuracy", "f1_fri", "precision_frii", "recall_fri", "auc"):
            assert copied[subset][name] == pytest.approx(once[subset][name], abs=1e-4)
        low, high = np.array(once[subset]["accuracy_interval"])
        found = np.diff(copied[subset]["accuracy_interval"])[0]
        assert found == pytest.approx(high - low, rel=0.15)


def test_copies_are_pooled():
    rng = np.random.default_rng(2)
    copies, labels = rng.random((40, 7)).round(1), rng.integers(0, 2, 40)
    result = score_copies(copies, labels)["all"]
    flat, repeated = copies.ravel(), np.repeat(labels, 7)
    assert result["confusion"] == confusion_matrix(repeated, (flat > 0.5).astype(int)).astype(int).tolist()
    assert result["auc"] == pytest.approx(area_under_curve(flat, repeated), abs=1e-4)


def test_spread_over_networks():
    results = [score_sources(in_two(second), [0, 1, 1, 0]) for second in ([0.1, 0.9, 0.9, 0.1], [0.1, 0.9, 0.2, 0.1])]
    accuracy = spread_of(results)["all"]["accuracy"]
    assert accuracy == {"mean": 0.875, "std": round(0.25 / np.sqrt(2), 4), "networks": 2}
