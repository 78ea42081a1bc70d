"""How good is a network, and how sure of it can one be: intervals, calibration, figures for a card."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import norm


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927, JASA 22, 209, eq. for the score interval).

    Parameters
    ----------
    successes, trials : int
        Independent sources, never augmented copies.
    confidence : float

    Returns
    -------
    low, high : float
        (nan, nan) without trials.
    """
    if not trials:
        return float("nan"), float("nan")
    z = norm.ppf(0.5 + confidence / 2)
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Temperature that minimises the negative log-likelihood of ``softmax(logits / temperature)``.

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


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 5) -> float:
    """Expected calibration error over equal-width bins of the larger of two probabilities, 0.5 to 1.

    Parameters
    ----------
    probabilities : array_like, shape (n, 2)
    labels : array_like of int, shape (n,)
    bins : int

    Returns
    -------
    float
        Mean over sources of the gap between accuracy and mean probability in their bin.
    """
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    number = np.clip(((confidence - 0.5) * 2 * bins).astype(int), 0, bins - 1)
    gaps = [abs(np.sum(right[number == b] - confidence[number == b])) for b in range(bins)]
    return float(np.sum(gaps) / len(labels))


def confidence_threshold(probabilities: ArrayLike, labels: ArrayLike, accuracy: float = 0.99) -> float:
    """Smallest probability above which the share ``accuracy`` of the classes is right; 1 if there is none."""
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    order = np.argsort(-confidence)
    reached = np.cumsum(right[order]) / np.arange(1, len(order) + 1) >= accuracy
    if not reached.any():
        return 1.0
    return float(confidence[order][np.flatnonzero(reached)[-1]])


def figures(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> dict:
    """Figures of a card: counts, accuracy with its 95 % interval, recall of each class, log-likelihood, calibration.

    Parameters
    ----------
    logits : array_like, shape (n, 2)
    labels : array_like of int, shape (n,)
        0 for FRI, 1 for FRII.
    temperature : float

    Returns
    -------
    dict
    """
    logits, labels = np.asarray(logits, float) / temperature, np.asarray(labels)
    right: NDArray[np.bool_] = logits.argmax(1) == labels
    return {
        "sources": len(labels),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_interval": [round(v, 4) for v in wilson_interval(int(right.sum()), len(labels))],
        "recall_fri": round(float(right[labels == 0].mean()), 4),
        "recall_frii": round(float(right[labels == 1].mean()), 4),
        "nll": round(float(-log_softmax(logits, 1)[np.arange(len(labels)), labels].mean()), 4),
        "ece": round(calibration_error(softmax(logits, 1), labels), 4),
    }
