"""What a network does with random augmentations of sources: mean maps and false classification rates.

Sources come in chunks, so that memory does not grow with their number, and each has random numbers of its own, so that
an answer depends neither on the chunks nor on the other sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from radio_ag.attention.statistics import UNLABELLED, AggregateMaps
from radio_ag.errors import InputError
from radio_ag.labelled.augmentation import Augmentation, augment
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import stretch

AUGMENTATION = Augmentation()
"""The paper's ranges (eq. 15): any angle, 0.9 to 1.1 in scale, 2 px along each axis; and mirror images."""
OUTLIER_RATE = 0.95
"""False classification rate above which a source is an outlier (section 7 of the paper)."""

_CHUNK = 64  # sources: 23 MB of fields
_BLOCK = 20  # augmentations drawn at once

Progress = Callable[[int, int, Mapping[str, int]], None]


class Sources(NamedTuple):
    """A chunk of sources.

    Attributes
    ----------
    images : ndarray, shape (n, 300, 300) or (n, 150, 150), float32
        Clipped: zero where there is no emission. Of a field the corners stay filled when it is turned.
    label : ndarray of int, shape (n,)
        0 for FRI, 1 for FRII, `radio_ag.attention.statistics.UNLABELLED` where it is not known.
    certain : ndarray of bool, shape (n,)
    """

    images: NDArray[np.float32]
    label: NDArray[np.intp]
    certain: NDArray[np.bool_]


class View(NamedTuple):
    """Augmentations of a source: images (b, 150, 150) in 0-1, unstretched; classes (b,); maps (b, gates, 150, 150)."""

    images: NDArray[np.float32]
    predicted: NDArray[np.intp]
    gates: NDArray[np.float32]


def augmented_views(
    classifier: Classifier, image: NDArray[np.float32], times: int, seed: int | tuple[int, ...], *, maps: bool = True
) -> Iterator[View]:
    """Classify random augmentations of a source.

    Parameters
    ----------
    classifier : Classifier
        Network, with its orbit and its preprocessing.
    image : ndarray, shape (300, 300) or (150, 150)
        Clipped.
    times : int
        Number of augmentations.
    seed : int or tuple of int
        Of the random augmentations.
    maps : bool
        Whether the maps are wanted; the views' ``gates`` have no gates otherwise.

    Yields
    ------
    View
    """
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    source = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None]
    settings = classifier.preprocessing
    low, high = settings.value_range
    for start in range(0, times, _BLOCK):
        count = min(_BLOCK, times - start)
        drawn = augment(source.expand(_BLOCK, -1, -1, -1), AUGMENTATION, generator)[:count, 0].numpy()
        prepared = stretch(drawn, settings.stretch) * np.float32(high - low) + np.float32(low)
        logits, gates = classifier.look(prepared, maps=maps)
        yield View(drawn, logits.argmax(1), gates)


def aggregate(
    classifier: Classifier,
    chunks: Iterable[Sources],
    *,
    times: int = 100,
    seed: int = 0,
    total: int = 0,
    progress: Progress | None = None,
) -> AggregateMaps:
    """Take the mean of images and attention over augmented sources, in one pass.

    The images are linear between 0 and 1 whatever stretch the network wants, so that means of networks compare.

    Parameters
    ----------
    classifier : Classifier
        Network, with its orbit and its preprocessing.
    chunks : iterable of Sources
        Sources without emission are passed over.
    times : int
        Augmentations of each source.
    seed : int
        Of the random augmentations.
    total : int
        Number of sources, for ``progress``.
    progress : callable, optional
        Called as ``progress(sources done, total, {})``.

    Returns
    -------
    AggregateMaps

    References
    ----------
    Bowles et al. 2021, MNRAS 501, 4579: section 6.
    """
    _check_times(times)
    maps = AggregateMaps(classifier.gates)
    for number, image, label, certain in _one_by_one(chunks, total, progress):
        if image.any():
            for view in augmented_views(classifier, image, times, (seed, number)):
                maps.add(view.images, view.gates, label=label, certain=certain, predicted=view.predicted)
    return maps


def classification_rates(
    classifier: Classifier,
    chunks: Iterable[Sources],
    *,
    times: int = 1000,
    seed: int = 0,
    total: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Count how often each source gets each class over random augmentations.

    Parameters
    ----------
    classifier : Classifier
        Network, with its orbit and its preprocessing.
    chunks : iterable of Sources
        Sources without emission get NaN.
    times : int
        Augmentations of each source.
    seed : int
        Of the random augmentations.
    total : int
        Number of sources, for ``progress``.
    progress : callable, optional
        Called as ``progress(sources done, total, {})``.

    Returns
    -------
    ndarray, shape (n, 2)
        Share of the augmentations classified as FRI and as FRII; NaN where there is no emission.

    References
    ----------
    Bowles et al. 2021, MNRAS 501, 4579: section 7.
    """
    _check_times(times)
    rates = []
    for number, image, _, _ in _one_by_one(chunks, total, progress):
        counts = np.zeros(len(CLASSES))
        if image.any():
            for view in augmented_views(classifier, image, times, (seed, number), maps=False):
                counts += np.bincount(view.predicted, minlength=len(CLASSES))
        rates.append(counts / counts.sum() if image.any() else counts * np.nan)
    return np.array(rates).reshape(-1, len(CLASSES))


def false_classification_rate(rates: ArrayLike, label: ArrayLike) -> NDArray[np.float64]:
    """Return the share of the augmentations that get another class than the label, shape (n,); NaN without a label.

    Parameters
    ----------
    rates : array_like, shape (n, 2)
        As `classification_rates` gives them.
    label : array_like of int, shape (n,)
        0 for FRI, 1 for FRII, `radio_ag.attention.statistics.UNLABELLED`.

    Returns
    -------
    ndarray, shape (n,)
    """
    rates, label = np.asarray(rates, float), np.asarray(label)
    known = label != UNLABELLED
    right = rates[np.arange(len(label)), np.where(known, label, 0)]
    return np.where(known, 1 - right, np.nan)


def find_outliers(false_rate: ArrayLike, above: float = OUTLIER_RATE) -> NDArray[np.intp]:
    """Return the rows whose false classification rate exceeds ``above``, the highest first.

    Parameters
    ----------
    false_rate : array_like, shape (n,)
        As `false_classification_rate` gives it.
    above : float
        Between 0 and 1.

    Returns
    -------
    ndarray of int
    """
    false_rate = np.asarray(false_rate, float)
    rows = np.flatnonzero(false_rate > above)
    return rows[np.argsort(-false_rate[rows], kind="stable")]


def _check_times(times: int) -> None:
    if times < 1:
        raise InputError(f"times must be 1 or more, not {times!r}")


def _one_by_one(
    chunks: Iterable[Any], total: int, progress: Progress | None
) -> Iterator[tuple[int, NDArray[np.float32], int, bool]]:
    number = 0
    for chunk in chunks:
        for image, label, certain in zip(*chunk, strict=True):
            yield number, image, int(label), bool(certain)
            number += 1
            if progress:
                progress(number, max(total, number), {})


def least_stable(std: ArrayLike, count: int) -> NDArray[np.intp]:
    """Return at most ``count`` rows, those with the largest spread of the probability first; missing ones left out.

    Parameters
    ----------
    std : array_like, shape (n,)
        Spread of the probability over orientations; NaN or masked where there is none.
    count : int
        How many rows at most.

    Returns
    -------
    ndarray of int
    """
    std = np.ma.filled(np.ma.asarray(std, dtype=float), np.nan)
    order = np.argsort(-std, kind="stable")  # NaN comes last
    return order[np.isfinite(std[order])][:count]
