"""How good is a network, and how sure of it can one be: the figures of a card, for all, certain and uncertain sources.

What a classifier says of labelled sources comes from :mod:`radio_ag.evaluation.served`; the figures are those of
:mod:`radio_ag.evaluation.metrics` and :mod:`radio_ag.evaluation.calibration`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.class_names import DEFAULT_CLASSES
from radio_ag.evaluation.calibration import (
    brier_losses,
    calibration_error,
    error_if_calibrated,
    log_losses,
    uncertainty_calibration_error,
)
from radio_ag.evaluation.metrics import (
    areas_under_curves,
    bootstrap_samples,
    confusion_matrix,
    confusion_scores,
    percentile_intervals,
    ratio,
    spread,
    wilson_interval,
    wilson_intervals,
    without_bias,
)
from radio_ag.flags import Flag

SUBSETS = ("all", "certain", "uncertain")
"""What figures are given for: every source, those with a certain label, and the others."""

_DIGITS = 4


def score_sources(
    probabilities: ArrayLike,
    labels: ArrayLike,
    certain: ArrayLike | None = None,
    *,
    flags: ArrayLike | None = None,
    seed: int = 0,
    classes: Sequence[str] = DEFAULT_CLASSES,
) -> dict[str, dict]:
    """Work out the figures for all, certain and uncertain sources, ready for JSON.

    Parameters
    ----------
    probabilities : array_like, shape (n, K)
        Calibrated, as they are served; columns in the order of ``classes``; NaN where a source got no class.
    labels : array_like of int, shape (n,)
        Number of the class, from 0.
    certain : array_like of bool, shape (n,), optional
        Whether each label is certain. None: the answer has ``all`` alone.
    flags : array_like of int, shape (n,), optional
        Bits of :class:`radio_ag.flags.Flag`, for the coverage.
    seed : int
        Of the bootstrap.
    classes : sequence of str
        Names of the K classes.

    Returns
    -------
    dict
        By name of the subset, where it has sources: ``sources``, ``unclassified`` (got no class; in no other figure),
        ``confusion`` (rows: label), ``accuracy``, ``precision_fri``, ``recall_fri``, ``f1_fri``, the same for
        ``frii``, ``auc``, ``nll``, ``brier``, ``ece``, ``uce``, each with its 95 % interval (``accuracy_interval`` …:
        Wilson for proportions, else bootstrap over sources). ``ece`` and ``uce`` have 5 bins of equal width, and are
        less the bias that the bootstrap shows; ``ece_plain`` and ``uce_plain`` have it, as ``ece_if_calibrated`` and
        ``uce_if_calibrated`` have, which are what a perfectly calibrated model would get. With flags there are
        ``clean_share``, the share with ``flags == 0``, and ``clean_accuracy`` on these, and ``sure_share`` and
        ``sure_accuracy`` for those without ``UNCERTAIN``. Numbers that are not defined are None.
    """
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels)
    flags = None if flags is None else np.asarray(flags)
    return {
        name: _figures(probabilities[rows], labels[rows], None if flags is None else flags[rows], seed, classes)
        for name, rows in subset_rows(len(labels), certain).items()
    }


def score_copies(copies: ArrayLike, labels: ArrayLike, certain: ArrayLike | None = None, *, seed: int = 0) -> dict:
    """Work out figures that count augmented copies, as the paper's do; their intervals are over sources all the same.

    Parameters
    ----------
    copies : array_like, shape (n, copies)
        Probability of FRII of every copy of every source.
    labels : array_like of int, shape (n,)
    certain : array_like of bool, shape (n,), optional
    seed : int

    Returns
    -------
    dict
        As `score_sources` gives it: ``sources``, ``copies``, ``confusion`` in copies, ``accuracy``, ``precision_fri``
        and so on, ``auc``.
    """
    copies, labels = np.asarray(copies, float), np.asarray(labels)
    result = {}
    for name, rows in subset_rows(len(labels), certain).items():
        here, label = copies[rows], labels[rows]
        share = (here > 0.5).mean(1)
        shares = np.stack([1 - share, share], 1)
        pairs = _pairwise_auc(here, label)

        def statistics(counts: Any, label: Any = label, shares: Any = shares, pairs: Any = pairs) -> dict[str, Any]:
            scores = confusion_scores(confusion_matrix(label, shares, counts))
            return scores | {"auc": _auc(pairs, counts[:, label == 0], counts[:, label == 1])}

        intervals = percentile_intervals(bootstrap_samples(statistics, len(label), seed=seed))
        result[name] = _rounded(
            {
                "sources": len(label),
                "copies": here.size,
                "confusion": (confusion_matrix(label, shares) * copies.shape[1]).round().astype(int).tolist(),
                **_with_intervals(_once(statistics, len(label)), intervals),
            }
        )
    return result


def subset_rows(n: int, certain: ArrayLike | None) -> dict[str, NDArray[np.intp]]:
    """Return the row numbers of the subsets of n sources that are not empty, by name.

    Parameters
    ----------
    n : int
    certain : array_like of bool, shape (n,), or None
        None: ``all`` alone.
    """
    masks = {"all": np.ones(n, bool)}
    if certain is not None:
        masks |= {"certain": np.asarray(certain, bool), "uncertain": ~np.asarray(certain, bool)}
    return {name: np.flatnonzero(mask) for name, mask in masks.items() if mask.any()}


def spread_of(results: Sequence[Mapping[str, Mapping]]) -> dict[str, dict]:
    """Return mean and standard deviation over networks of what `score_sources` gave for each, on the same sources.

    Parameters
    ----------
    results : sequence of dict
        One a network: a seed, or a member of an ensemble.

    Returns
    -------
    dict
        By subset, then by figure: ``{"mean", "std", "networks"}``.
    """
    return {
        subset: {
            name: {key: _rounded(value) for key, value in spread([one[subset][name] for one in results]).items()}
            for name, value in results[0][subset].items()
            if isinstance(value, float) and not name.endswith("_if_calibrated")
        }
        for subset in results[0]
    }


def _figures(probabilities: NDArray, labels: NDArray, flags: NDArray | None, seed: int, classes: Sequence[str]) -> dict:
    known = np.isfinite(probabilities).all(1)
    p, label = probabilities[known], labels[known]

    predicted, log_loss, brier_loss = p.argmax(1), log_losses(p, label), brier_losses(p, label)

    def statistics(counts: NDArray[np.intp]) -> dict[str, Any]:
        drawn = counts.sum(1)
        matrices = confusion_matrix(label, predicted, counts, classes=len(classes))
        return (
            confusion_scores(matrices, classes)
            | areas_under_curves(p, label, counts, classes)
            | {
                "nll": ratio(counts @ log_loss, drawn),
                "brier": ratio(counts @ brier_loss, drawn),
                "ece": calibration_error(p, label, counts=counts),
                "uce": uncertainty_calibration_error(p, label, counts=counts),
            }
        )

    matrix = confusion_matrix(label, predicted, classes=len(classes))
    samples = bootstrap_samples(statistics, len(label), seed=seed)
    intervals = percentile_intervals(samples) | wilson_intervals(matrix, classes)
    result = {
        "sources": len(labels),
        "unclassified": int((~known).sum()),
        "confusion": matrix.astype(int).tolist(),
        **_with_intervals(_once(statistics, len(label)), intervals),
    }
    for name, error in (("ece", calibration_error), ("uce", uncertainty_calibration_error)):
        if name in samples:
            plain = result[name]
            result[name], interval = without_bias(plain, samples[name])
            result |= {f"{name}_interval": list(interval), f"{name}_plain": plain}
        mean, interval = error_if_calibrated(error, p, seed=seed)
        result |= _with_intervals({f"{name}_if_calibrated": mean}, {f"{name}_if_calibrated": interval})
    if flags is not None:
        result |= _covered("clean", probabilities, labels, flags == 0)
        result |= _covered("sure", probabilities, labels, (flags & Flag.UNCERTAIN) == 0)
    return _rounded(result)


def _once(statistics: Callable[[NDArray[np.intp]], dict], sources: int) -> dict[str, float]:
    """Statistics where each source counts once."""
    return {name: float(value[0]) for name, value in statistics(np.ones((1, sources), int)).items()}


def _covered(name: str, probabilities: NDArray, labels: NDArray, kept: NDArray[np.bool_]) -> dict:
    """Share of the sources that are kept and have a class, and the accuracy on these."""
    kept = kept & np.isfinite(probabilities).all(1)
    right = probabilities[kept].argmax(1) == labels[kept]
    return _with_intervals(
        {f"{name}_share": kept.mean(), f"{name}_accuracy": right.mean() if len(right) else np.nan},
        {
            f"{name}_share": wilson_interval(int(kept.sum()), len(kept)),
            f"{name}_accuracy": wilson_interval(int(right.sum()), len(right)),
        },
    )


def _with_intervals(values: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> dict:
    """Each number, with its interval behind it as ``NAME_interval``."""
    return {
        key: content
        for name, value in values.items()
        for key, content in ((name, float(value)), (f"{name}_interval", list(intervals.get(name, (np.nan, np.nan)))))
    }


def _rounded(value: Any) -> Any:
    """Numbers to four digits, those that are not finite as None: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _rounded(content) for key, content in value.items()}
    if isinstance(value, list):
        return [_rounded(content) for content in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if np.isfinite(value) else None
    return value


def _pairwise_auc(copies: NDArray, labels: NDArray) -> NDArray[np.float64]:
    """For each FRII source (rows) and FRI source (columns), the chance that a copy of the first scores higher."""
    first = np.sort(copies[labels == 0], axis=1)
    pairs = np.empty(((labels == 1).sum(), len(first)))
    for row, scores in enumerate(copies[labels == 1]):
        for column, others in enumerate(first):
            below = np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")
            pairs[row, column] = below.mean() / (2 * len(others))
    return pairs


def _auc(pairs: NDArray[np.float64], first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.float64]:
    """AUC over copies where FRI and FRII sources count so often (k, sources): a mean over pairs of sources."""
    total = np.einsum("ks,sf,kf->k", second, pairs, first, optimize=True)
    return ratio(total, first.sum(1) * second.sum(1))
