"""Does a class depend on how a source lies, or on where its centre is taken to be?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from radio_ag.evaluation.metrics import wilson_interval
from radio_ag.evaluation.scores import subset_rows
from radio_ag.evaluation.served import as_shown, predict_clipped
from radio_ag.labelled.data import Labelled
from radio_ag.network.classifier import Classifier
from radio_ag.preprocess.images import FIELD_SIZE, PIXEL_SCALE, crop

ANGLES = 36
"""Orientations of the rotation test, 10 degrees apart."""
OFFSETS = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
"""Offsets of the centre, arcsec."""

_TURNED_SIZE = 216  # px: the crop's diagonal, and two for the interpolation
_CHUNK = 64

Progress = Callable[[int, int, Mapping[str, int]], None]


def classes_when_turned(
    classifier: Classifier, data: Labelled, *, angles: int = ANGLES, progress: Progress | None = None
) -> NDArray[np.intp]:
    """Classify each source at evenly spaced orientations.

    The clipped field is turned bilinearly about its centre, cropped and normalised. Where the classifier's orbit has
    all four right angles, orientations that differ by one of them have the same class and are classified once.

    Parameters
    ----------
    classifier : Classifier
    data : Labelled
        Of images that are known to 150 pixels alone, turned corners are empty.
    angles : int
    progress : callable, optional
        Called as ``progress(sources done, sources in all, {})``.

    Returns
    -------
    ndarray of int, shape (angles, n)
        0 for FRI, 1 for FRII, -1 for none.
    """
    degrees = np.arange(angles) * 360 / angles
    if classifier.orbit >= 4:
        degrees = degrees % 90
    distinct, which = np.unique(degrees.round(9), return_inverse=True)
    classes = np.empty((len(distinct), len(data)), int)
    for rows in _chunks(len(data)):
        fields, flags = as_shown(data[rows])
        fields = crop(fields, _TURNED_SIZE)
        for row, angle in enumerate(distinct):
            turned = ndimage.rotate(fields, angle, axes=(2, 1), reshape=False, order=1) if angle else fields
            classes[row, rows] = _classes(classifier, turned, flags)
        if progress:
            progress(min(rows.stop, len(data)), len(data), {})
    return classes[which]


def rotation_consistency(classes: ArrayLike, certain: ArrayLike | None = None) -> dict[str, dict]:
    """Return the share of sources that get another class at any angle, with its Wilson interval, by subset.

    Parameters
    ----------
    classes : array_like of int, shape (angles, n)
        As `classes_when_turned` gives them; the first row is the field as it is.
    certain : array_like of bool, shape (n,), optional
    """
    classes = np.asarray(classes)
    changed = (classes != classes[0]).any(0)
    return {
        name: {"angles": len(classes), **_share(changed[rows], "changed")}
        for name, rows in subset_rows(len(changed), certain).items()
    }


def accuracy_by_offset(
    classifier: Classifier,
    data: Labelled,
    *,
    offsets: Sequence[float] = OFFSETS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, list[dict]]:
    """Measure the accuracy where the position is off by so much, in a direction drawn for each source, by subset.

    Parameters
    ----------
    classifier : Classifier
    data : Labelled
        Of images that are known to 150 pixels alone, what moves in from beyond is empty.
    offsets : sequence of float
        Arcsec; the crop is moved by whole pixels.
    seed : int
    progress : callable, optional
        Called as ``progress(offsets done, offsets in all, {})``.

    Returns
    -------
    dict of list
        For each offset ``offset_arcsec``, ``sources``, ``accuracy`` and its Wilson interval, and ``changed``: the share
        of sources with another class than at the first offset.
    """
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(data))
    direction = np.stack([np.cos(angle), np.sin(angle)], 1)
    middle = (FIELD_SIZE - 1) / 2
    classes = np.empty((len(offsets), len(data)), int)
    shown = [as_shown(data[rows]) for rows in _chunks(len(data))]
    for number, offset in enumerate(offsets):
        centres = middle + np.round(direction * offset / PIXEL_SCALE)
        for rows, (fields, flags) in zip(_chunks(len(data)), shown, strict=True):
            moved = crop(fields, _TURNED_SIZE, centres[rows])
            classes[number, rows] = _classes(classifier, moved, flags)
        if progress:
            progress(number + 1, len(offsets), {})
    return {
        name: [
            {
                "offset_arcsec": float(offset),
                "sources": len(rows),
                **_share(found[rows] == data.label[rows], "accuracy"),
                **_share(found[rows] != classes[0, rows], "changed"),
            }
            for offset, found in zip(offsets, classes, strict=True)
        ]
        for name, rows in subset_rows(len(data), data.certain).items()
    }


def _classes(classifier: Classifier, clipped: NDArray[np.float32], flags: NDArray[np.int32]) -> NDArray[np.intp]:
    probabilities = predict_clipped(classifier, clipped, flags).probabilities
    return np.where(np.isnan(probabilities).any(1), -1, probabilities.argmax(1))


def _share(hits: NDArray[np.bool_], name: str) -> dict:
    """A share with its Wilson interval, to four digits."""
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {name: round(float(hits.mean()), 4), f"{name}_interval": [round(low, 4), round(high, 4)]}


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, _CHUNK):
        yield slice(start, start + _CHUNK)
