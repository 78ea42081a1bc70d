"""Figures of merit of a classifier, and their intervals over sources.

The definitions are those of appendix A of Bowles et al. 2021 (MNRAS 501, 4579). Everything counts sources: an interval
over augmented copies of the same source would be too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from radio_ag.class_names import DEFAULT_CLASSES, key_of

CONFIDENCE = 0.95
"""Of every interval."""
RESAMPLES = 1000
"""Bootstrap samples of an interval."""

_COUNTS_AT_ONCE = 200_000  # numbers in the counts of one call: they stay in the cache


def confusion_matrix(
    labels: ArrayLike, shares: ArrayLike, counts: ArrayLike | None = None, *, classes: int = len(DEFAULT_CLASSES)
) -> NDArray[np.float64]:
    """Count sources by label and by the class that they get.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
    shares : array_like of int, shape (n,), or of float, shape (n, K)
        The class of each source; or the share of its augmented copies that get each class, which sum to 1.
    counts : array_like, shape (k, n), optional
        How often each source counts, for k samples at once. None: once.
    classes : int
        How many there are.

    Returns
    -------
    ndarray, shape (K, K) or (k, K, K)
        Rows are labels, columns are classes given, in their order: FRI, FRII as a rule.
    """
    one_hot, given = np.eye(classes), np.asarray(shares)
    of_class = one_hot[given] if given.ndim == 1 else given
    of_source = one_hot[np.asarray(labels)][:, :, None] * of_class[:, None, :]
    return of_source.sum(0) if counts is None else np.tensordot(np.asarray(counts, float), of_source, 1)


def confusion_scores(matrix: ArrayLike, classes: Sequence[str] = DEFAULT_CLASSES) -> dict[str, NDArray[np.float64]]:
    """Return accuracy, and precision, recall and F1 of each class (paper eqs. A1-A4); NaN where a denominator is 0.

    Parameters
    ----------
    matrix : array_like, shape (..., K, K)
        As `confusion_matrix` gives it.
    classes : sequence of str
        Names of the K classes.

    Returns
    -------
    dict of ndarray, shape (...)
        ``accuracy``, and for each class ``precision_fri``, ``recall_fri``, ``f1_fri`` and so on; of more than two
        classes also their plain means ``macro_precision``, ``macro_recall`` (the balanced accuracy) and ``macro_f1``.
    """
    matrix = np.asarray(matrix, float)
    scores = {"accuracy": ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))}
    keys = [key_of(name) for name in classes]
    for k, key in enumerate(keys):
        right, given, labelled = matrix[..., k, k], matrix[..., :, k].sum(-1), matrix[..., k, :].sum(-1)
        scores[f"precision_{key}"] = ratio(right, given)
        scores[f"recall_{key}"] = ratio(right, labelled)
        scores[f"f1_{key}"] = ratio(2 * right, given + labelled)
    if len(keys) > len(DEFAULT_CLASSES):
        scores |= {f"macro_{kind}": _mean_over(scores, kind, keys) for kind in ("precision", "recall", "f1")}
    return scores


def _mean_over(scores: Mapping[str, NDArray[np.float64]], kind: str, keys: Sequence[str]) -> NDArray[np.float64]:
    """Mean over the classes, NaN where it is not defined for one of them."""
    return np.mean([scores[f"{kind}_{key}"] for key in keys], axis=0)


def areas_under_curves(
    probabilities: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike | None = None,
    classes: Sequence[str] = DEFAULT_CLASSES,
) -> dict[str, float | NDArray[np.float64]]:
    """Return the area under the ROC curve, of more than two classes that of each against the others and their mean.

    Parameters
    ----------
    probabilities : array_like, shape (n, K)
        Of each class.
    labels : array_like of int, shape (n,)
        Number of the class, from 0.
    counts : array_like, shape (k, n), optional
        As for `area_under_curve`.
    classes : sequence of str
        Names of the K classes.

    Returns
    -------
    dict
        ``auc``; of more than two classes the mean, and ``auc_NAME`` of each.
    """
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels)
    if len(classes) == len(DEFAULT_CLASSES):
        return {"auc": area_under_curve(probabilities[:, 1], labels, counts)}
    areas: dict[str, Any] = {
        f"auc_{key_of(name)}": area_under_curve(probabilities[:, k], (labels == k).astype(int), counts)
        for k, name in enumerate(classes)
    }
    return {"auc": np.mean(list(areas.values()), axis=0), **areas}


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """Return parts of wholes of the same shape; NaN where a whole is 0.

    Parameters
    ----------
    part, whole : array_like
    """
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def area_under_curve(
    scores: ArrayLike, labels: ArrayLike, counts: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """Return the area under the ROC curve: the chance that an FRII scores higher than an FRI, ties counting half.

    Parameters
    ----------
    scores : array_like, shape (n,)
        Grows with the probability of FRII.
    labels : array_like of int, shape (n,)
    counts : array_like, shape (k, n), optional
        How often each source counts, for k samples at once. None: once.

    Returns
    -------
    float, or ndarray of shape (k,)
        NaN where a class has no source (Mann & Whitney 1947).
    """
    scores, second = np.asarray(scores, float), np.asarray(labels) == 1
    weights = np.ones((1, len(scores))) if counts is None else np.asarray(counts, float)
    steps, step = np.unique(scores, return_inverse=True)
    # Counts of each class at each distinct score; FRIs below it count whole, those at it half.
    table = [np.stack([np.bincount(step[rows], w[rows], len(steps)) for w in weights]) for rows in (~second, second)]
    below = np.cumsum(table[0], axis=1) - table[0] / 2
    area = ratio((table[1] * below).sum(1), table[0].sum(1) * table[1].sum(1))
    return float(area[0]) if counts is None else area


def wilson_interval(successes: float, trials: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a proportion (Wilson 1927, JASA 22, 209, eq. for the score interval).

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


def wilson_intervals(matrix: ArrayLike, classes: Sequence[str] = DEFAULT_CLASSES) -> dict[str, tuple[float, float]]:
    """Return Wilson intervals of a confusion matrix's proportions: accuracy, precision and recall of each class.

    Parameters
    ----------
    matrix : array_like, shape (K, K)
        As `confusion_matrix` gives it.
    classes : sequence of str
        Names of the K classes.
    """
    matrix = np.asarray(matrix)
    intervals = {"accuracy": wilson_interval(np.trace(matrix), matrix.sum())}
    for k, name in enumerate(classes):
        intervals[f"precision_{key_of(name)}"] = wilson_interval(matrix[k, k], matrix[:, k].sum())
        intervals[f"recall_{key_of(name)}"] = wilson_interval(matrix[k, k], matrix[k].sum())
    return intervals


def bootstrap_samples(
    statistics: Callable[[NDArray[np.intp]], dict[str, NDArray[np.float64]]],
    sources: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Draw sources with replacement, and work out statistics of each sample (Efron 1979).

    Parameters
    ----------
    statistics : callable
        Takes how often each source was drawn, shape (k, sources), and gives named arrays of shape (k,); NaN where one
        is not defined.
    sources : int
    resamples : int
    seed : int

    Returns
    -------
    dict
        For each name the values that are defined. Empty without sources.
    """
    if not sources:
        return {}
    rng = np.random.default_rng(seed)
    block = max(1, _COUNTS_AT_ONCE // sources)
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    parts = [statistics(rng.multinomial(sources, np.full(sources, 1 / sources), size=size)) for size in sizes]
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: value[np.isfinite(value)] for name, value in values.items()}


def percentile_intervals(
    samples: Mapping[str, NDArray[np.float64]], confidence: float = CONFIDENCE
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of each statistic of bootstrap samples; NaN where it was defined for none.

    Parameters
    ----------
    samples : mapping of str to ndarray
        As `bootstrap_samples` gives them.
    confidence : float

    Returns
    -------
    dict
        ``(low, high)`` for each name.
    """
    return {name: _quantiles(values, confidence) for name, values in samples.items()}


def without_bias(
    value: float, samples: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, tuple[float, float]]:
    """Take the bias that a bootstrap shows off a statistic that cannot be negative, with the basic interval.

    A mean of absolute gaps, as a calibration error is, comes out too large on few sources, and larger still in samples
    of these. Where the truth is 0 the correction takes two fifths of the value away (2 - sqrt(2) of it remain); where
    the truth is large it takes nearly all of the bias.

    Parameters
    ----------
    value : float
        Of all sources.
    samples : ndarray
        Of the bootstrap.
    confidence : float

    Returns
    -------
    estimate : float
        ``2 value - mean(samples)``, at least 0.
    interval : tuple of float
        Davison & Hinkley 1997, eq. 5.6, at least 0; it contains the estimate.
    """
    if not len(samples):
        return value, (float("nan"), float("nan"))
    low, high = _quantiles(samples, confidence)
    return max(0.0, 2 * value - float(samples.mean())), (max(0.0, 2 * value - high), max(0.0, 2 * value - low))


def _quantiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    tails = (1 - confidence) / 2
    low, high = np.quantile(values, (tails, 1 - tails)) if len(values) else (np.nan, np.nan)
    return float(low), float(high)


def spread(values: ArrayLike) -> dict[str, float]:
    """Return the mean and sample standard deviation over networks, such as seeds or the members of an ensemble.

    Parameters
    ----------
    values : sequence of float
        One a network.
    """
    values = np.asarray(values, float)
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        "networks": len(values),
    }
