"""Do probabilities mean what they say? Calibration errors, what chance alone would make of them, and temperature.

A calibration error is never zero on a finite set of sources, so each comes with what a perfectly calibrated model
with the same probabilities would get: `error_if_calibrated`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import entr, log_softmax

from radio_ag.evaluation.metrics import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 5
"""Bins of a calibration error: about twenty sources in each of the published test set's certain ones."""
_LABELS_AT_ONCE = 200_000  # drawn in one call: they stay in the cache
_TINY = 1e-12  # a probability of 0 that turns out wrong would cost an infinite log-likelihood


class Bins(NamedTuple):
    """Sources in equal-width bins of the largest probability, from 1/K for K classes to 1.

    Attributes
    ----------
    edges : ndarray, shape (bins + 1,)
    sources, right : ndarray of int, shape (bins,)
        How many fell into each bin, and how many of these got the class of their label.
    confidence : ndarray, shape (bins,)
        Mean of the larger probability; NaN in an empty bin.
    """

    edges: NDArray[np.float64]
    sources: NDArray[np.intp]
    right: NDArray[np.intp]
    confidence: NDArray[np.float64]


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> Bins:
    """Count sources and right classes in bins of the largest probability.

    Parameters
    ----------
    probabilities : array_like, shape (n, K)
    labels : array_like of int, shape (n,)
    bins : int

    Returns
    -------
    Bins
    """
    confidence, right = _confidence(probabilities, labels)
    lowest = _lowest(probabilities)
    number = _bin(_place(confidence, lowest), bins)
    sources = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(number, confidence, bins) / sources
    return Bins(np.linspace(lowest, 1, bins + 1), sources, np.bincount(number[right], minlength=bins), mean)


def calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS, counts: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """Return the expected calibration error over equal-width bins of the largest of K probabilities, 1/K to 1.

    Parameters
    ----------
    probabilities : array_like, shape (n, K)
    labels : array_like of int, shape (n,) or (k, n)
    bins : int
    counts : array_like, shape (k, n), optional
        How often each source counts, for k samples at once. None: once.

    Returns
    -------
    float, or ndarray of shape (k,)
        Mean over sources of the gap between accuracy and mean probability in their bin (Guo et al. 2017,
        arXiv:1706.04599, eq. 3).
    """
    confidence, right = _confidence(probabilities, labels)
    return _mean_gap(right - confidence, _place(confidence, _lowest(probabilities)), bins, counts)


def uncertainty_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS, counts: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """Return the uncertainty calibration error over equal-width bins of the predictive uncertainty, 0 to 1.

    The uncertainty of a source is the entropy of its K probabilities over log K, so that it runs from 0 to 1. In each
    bin b of n_b sources, err(b) is the share of wrong classes and uncert(b) the mean uncertainty; the error is
    the sum over bins of ``n_b / n * |err(b) - uncert(b)|``. Entropy exceeds the chance of an error everywhere but at 0
    (a coin's is 1, its error rate 1/2), so even a perfectly calibrated model is far from 0 here: compare with
    `error_if_calibrated`.

    Parameters
    ----------
    probabilities, labels, bins, counts
        As for `calibration_error`.

    Returns
    -------
    float, or ndarray of shape (k,)

    References
    ----------
    Laves et al. 2019 (arXiv:1909.13550); used for radio galaxies by Mohan et al. 2022 (MNRAS 511, 3722).
    """
    _, right = _confidence(probabilities, labels)
    uncertainty = entr(np.asarray(probabilities, float)).sum(1) / np.log(np.shape(probabilities)[1])
    return _mean_gap(~right - uncertainty, uncertainty, bins, counts)


def error_if_calibrated(
    error: Callable[..., Any],
    probabilities: ArrayLike,
    *,
    bins: int = BINS,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """Draw labels with the given probabilities to see what a calibration error would be if all were true.

    Parameters
    ----------
    error : callable
        `calibration_error` or `uncertainty_calibration_error`.
    probabilities : array_like, shape (n, K)
    bins, draws, seed : int

    Returns
    -------
    mean : float
        NaN without sources.
    interval : tuple of float
        From the 2.5th to the 97.5th percentile of the draws.
    """
    probabilities = np.asarray(probabilities, float)
    if not len(probabilities):
        return float("nan"), (float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    n = len(probabilities)
    block = max(1, _LABELS_AT_ONCE // n)
    parts = []
    for start in range(0, draws, block):
        drawn = rng.random((min(block, draws - start), n))
        parts.append(error(probabilities, _drawn_labels(drawn, probabilities), bins))
    errors = np.concatenate(parts)
    low, high = np.quantile(errors, (0.025, 0.975))
    return float(errors.mean()), (float(low), float(high))


def _drawn_labels(drawn: NDArray[np.float64], probabilities: NDArray[np.float64]) -> NDArray:
    """Labels (k, n) with the given probabilities, of numbers drawn between 0 and 1."""
    above = np.cumsum(probabilities[:, :0:-1], axis=1)  # the last class takes the lowest numbers
    labels = np.zeros(drawn.shape, int)
    for share in above.T:
        labels += drawn < share
    return labels


def _lowest(probabilities: ArrayLike) -> float:
    """What the largest of K probabilities is at least."""
    return 1 / np.shape(probabilities)[1]


def _place(confidence: NDArray[np.float64], lowest: float) -> NDArray[np.float64]:
    """Where largest probabilities lie between the lowest possible and 1, from 0 to 1."""
    return 2 * confidence - 1 if lowest == 0.5 else (confidence - lowest) / (1 - lowest)


def _confidence(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    probabilities = np.asarray(probabilities, float)
    return probabilities.max(1, initial=0), probabilities.argmax(1) == np.asarray(labels)


def _bin(value: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    """Number of the equal-width bin between 0 and 1 that each value lies in."""
    return np.clip((value * bins).astype(int), 0, bins - 1)


def _mean_gap(gap: NDArray, place: NDArray, bins: int, counts: ArrayLike | None) -> float | NDArray[np.float64]:
    """Mean over sources of the absolute mean gap in their bin; NaN without sources.

    The gaps (n,) or (k, n) of sources, which lie at ``place`` (n,) between 0 and 1; ``counts`` (k, n) of the sources.
    """
    if not len(place):
        return float("nan") if counts is None else np.full(len(np.asarray(counts)), np.nan)
    weighted = gap if counts is None else gap * np.asarray(counts)
    sums = weighted @ np.eye(bins)[_bin(place, bins)]
    whole = len(place) if counts is None else np.sum(counts, axis=-1)
    error = np.abs(sums).sum(-1) / whole
    return float(error) if error.ndim == 0 else error


def log_losses(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return ``-ln p(label)`` of each source, whose mean is the negative log-likelihood, shape (n,).

    Parameters
    ----------
    probabilities : array_like, shape (n, K)
    labels : array_like of int, shape (n,)
    """
    return -np.log(np.maximum(_of_label(probabilities, labels), _TINY))


def brier_losses(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return ``(1 - p(label))**2`` of each source, whose mean is the Brier score for one of two classes, shape (n,).

    Parameters
    ----------
    probabilities : array_like, shape (n, K)
    labels : array_like of int, shape (n,)
    """
    return (1 - _of_label(probabilities, labels)) ** 2


def _of_label(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    labels = np.asarray(labels)
    return np.asarray(probabilities, float)[np.arange(len(labels)), labels]


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Fit the temperature that minimises the negative log-likelihood of ``softmax(logits / temperature)``.

    Parameters
    ----------
    logits : array_like, shape (n, classes)
        Averaged exactly as they are served, on sources that the network has not learnt from.
    labels : array_like of int, shape (n,)

    Returns
    -------
    float
        Between 0.05 and 20 (Guo et al. 2017, arXiv:1706.04599, sect. 4.2).
    """
    logits, labels = np.asarray(logits, float), np.asarray(labels)

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), 1)[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def confidence_threshold(probabilities: ArrayLike, labels: ArrayLike, accuracy: float = 0.99) -> float:
    """Return the least probability above which the share ``accuracy`` of the classes is right; 1 if there is none.

    Parameters
    ----------
    probabilities : array_like, shape (n, K)
        Calibrated.
    labels : array_like of int, shape (n,)
    accuracy : float
        Between 0 and 1.
    """
    confidence, right = _confidence(probabilities, labels)
    order = np.argsort(-confidence)
    reached = np.cumsum(right[order]) / np.arange(1, len(order) + 1) >= accuracy
    if not reached.any():
        return 1.0
    return float(confidence[order][np.flatnonzero(reached)[-1]])


def draw_reliability(axes: Axes, probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> None:
    """Draw a reliability diagram: accuracy against mean probability in bins, with Wilson intervals and counts.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    probabilities : array_like, shape (n, K)
    labels : array_like of int, shape (n,)
    bins : int
    """
    found = reliability(probabilities, labels, bins)
    filled = np.flatnonzero(found.sources)
    accuracy = found.right[filled] / found.sources[filled]
    ends = np.array([wilson_interval(found.right[b], found.sources[b]) for b in filled]).reshape(-1, 2)
    lowest = float(found.edges[0])
    axes.plot([lowest, 1], [lowest, 1], color="0.6", linestyle="--", linewidth=0.8, label="calibrated")
    axes.errorbar(
        found.confidence[filled],
        accuracy,
        np.abs(ends.T - accuracy),
        fmt="o-",
        color="black",
        markersize=3,
        linewidth=0.8,
        label="network, 95 % intervals",
    )
    for number, b in enumerate(filled):  # in a strip below the data, in two lines: bins may lie close together
        place = (found.confidence[b], -0.07 - 0.06 * (number % 2))
        axes.annotate(f"n={found.sources[b]}", place, ha="center", va="center", fontsize=7)
    axes.axhline(0, color="0.8", linewidth=0.5)
    axes.set(xlim=(lowest, 1.01), ylim=(-0.17, 1.02), xlabel="probability of the class", ylabel="share that is right")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=7)
