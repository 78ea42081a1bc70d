"""What a classifier says of labelled sources: as it is served, or after the protocol of the paper.

Both go through :class:`radio_ag.network.classifier.Classifier`, with its own average over the orbit and the members of
an ensemble and its own temperature, so that figures are those of what users get.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from radio_ag.errors import InputError
from radio_ag.flags import Flag
from radio_ag.labelled.augmentation import PAPER_AUGMENTATION, augment
from radio_ag.labelled.data import CLIP, Labelled
from radio_ag.network.checkpoints import Weights
from radio_ag.network.classifier import Classifier, Prediction
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import Prepared, crop, prepare
from radio_ag.preprocess.islands import measure_islands

PAPER_COPIES = 360
"""Augmented copies of each source that the paper's figures count (its section 4.3)."""

_CHUNK = 64  # sources: 23 MB of fields
_COPIES_AT_ONCE = 60

Progress = Callable[[int, int, Mapping[str, int]], None]


class Outcome(NamedTuple):
    """What a classifier says of n sources.

    Attributes
    ----------
    probabilities : ndarray, shape (n, K)
        Calibrated; NaN where a source gets no class.
    std : ndarray, shape (n,)
        Standard deviation of the probability over the orbit and the ensemble, or over augmented copies.
    flags : ndarray of int32, shape (n,)
        Bits of `radio_ag.flags.Flag`, as the pipeline sets them; where the noise is not known, those of the network
        alone.
    copies : ndarray, shape (n, copies), or None
        Probability of FRII of each augmented copy.
    """

    probabilities: NDArray[np.float32]
    std: NDArray[np.float32]
    flags: NDArray[np.int32]
    copies: NDArray[np.float32] | None = None


def classify_served(classifier: Classifier, data: Labelled, progress: Progress | None = None) -> Outcome:
    """Classify labelled fields as the pipeline does.

    Parameters
    ----------
    classifier : Classifier
    data : Labelled
    progress : callable, optional
        Called as ``progress(sources done, sources in all, {})``.

    Raises
    ------
    InputError
        The network wants another clip than the fields were given.
    """
    parts = []
    for rows in _chunks(len(data)):
        own = known_flags(data[rows])
        prediction = predict_clipped(classifier, data.fields[rows], own)
        flags = own | prediction.flags
        unclassified = (flags & classifier.masked) != 0
        prediction.probabilities[unclassified], prediction.std[unclassified] = np.nan, np.nan
        parts.append(Outcome(prediction.probabilities, prediction.std, flags))
        if progress:
            progress(min(rows.stop, len(data)), len(data), {})
    return _joined(parts)


def classify_copies(
    classifier: Classifier,
    data: Labelled,
    *,
    times: int = PAPER_COPIES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Outcome:
    """Classify random augmentations of the normalised 150-pixel images (paper eq. 15), empty corners filled with zeros.

    Parameters
    ----------
    classifier : Classifier
        Its orbit, at most 8, applies to each copy; the paper's is 1.
    data : Labelled
    times : int
        Copies of each source.
    seed : int
    progress : callable, optional
        As for `classify_served`.

    Returns
    -------
    Outcome
        The probabilities of a source are the mean over its copies.
    """
    if times < 1:
        raise InputError(f"times must be 1 or more, not {times!r}")
    _check_clip(classifier)
    settings = classifier.preprocessing
    augmentation = replace(PAPER_AUGMENTATION, stretch=settings.stretch)
    low, high = settings.value_range
    parts = []
    for number, image in enumerate(crop(data.fields)):
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))
        source = torch.from_numpy(image)[None, None]
        second = []
        for start in range(0, times, _COPIES_AT_ONCE):
            count = min(_COPIES_AT_ONCE, times - start)
            drawn = augment(source.expand(count, -1, -1, -1), augmentation, generator)[:, 0].numpy()
            second.append(_predict_images(classifier, drawn * np.float32(high - low) + np.float32(low)))
        copies = np.concatenate(second)[None]
        mean = copies.mean(1)
        flags = np.zeros(1, np.int32)
        parts.append(Outcome(np.stack([1 - mean, mean], 1), copies.std(1), flags, copies))
        if progress:
            progress(number + 1, len(data), {})
    return _joined(parts)


def known_flags(data: Labelled) -> NDArray[np.int32]:
    """Return the flags of labelled fields before the network sees them, of islands too where the noise is known.

    Parameters
    ----------
    data : Labelled
    """
    flags, noisy = data.flags.copy(), np.isfinite(data.rms)
    flags[noisy] |= measure_islands(data.fields[noisy], data.rms[noisy]).flags
    return flags


def predict_clipped(classifier: Classifier, fields: NDArray[np.float32], flags: ArrayLike = 0) -> Prediction:
    """Classify fields that are clipped already, without attention maps.

    Parameters
    ----------
    classifier : Classifier
    fields : ndarray, shape (n, 300, 300)
        Clipped at 3 times the noise, on any scale.
    flags : array_like of int, shape (n,)
        As `known_flags` gives them: sources without a morphology are not seen from further angles.

    Returns
    -------
    Prediction
    """
    _check_clip(classifier)
    prepared = prepare(fields, classifier.preprocessing, rms=0.0)  # what is left above nothing
    further = (np.asarray(flags) & Flag.UNRESOLVED) == 0
    return classifier.predict(fields, attention="none", prepared=prepared, further=further)


def served_logits(weights: Weights, data: Labelled, *, orbit: int = 8) -> NDArray[np.float32]:
    """Return the class scores (n, K) of labelled fields as the classifier averages them, before the temperature.

    Parameters
    ----------
    weights : Weights
    data : Labelled
    orbit : int
    """
    classifier = Classifier(weights, device="cpu", orbit=orbit)
    parts = (data[rows] for rows in _chunks(len(data)))
    return np.concatenate([predict_clipped(classifier, part.fields, known_flags(part)).logits for part in parts])


def single_networks(weights: Weights) -> Iterator[Weights]:
    """Yield each member of an ensemble as weights of its own, with the ensemble's temperature, without its novelty.

    Parameters
    ----------
    weights : Weights
    """
    for network in weights.networks:
        yield replace(weights.described(novelty=None), networks=(network,), extra={})


def learnt_positions(weights: Weights) -> NDArray[np.float64] | None:
    """Return the positions (m, 2), degrees, of the sources that any member learnt from, if the weights' file tells.

    They are kept as the tensor ``training.positions`` beside the networks' own.

    Parameters
    ----------
    weights : Weights
    """
    kept = weights.extra.get("training.positions")
    return None if kept is None else kept.double().numpy()


def _predict_images(classifier: Classifier, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of FRII for images (n, 150, 150) that are the network's input."""
    n = len(images)
    nothing = np.zeros(n, np.float32)
    prepared = Prepared(images, nothing, np.zeros(n, bool), nothing, nothing)
    return classifier.predict(None, attention="none", prepared=prepared).probabilities[:, CLASSES.index("FRII")]


def _check_clip(classifier: Classifier) -> None:
    if classifier.preprocessing.clip != CLIP:
        raise InputError(
            f"{classifier.card.name} wants fields clipped at {classifier.preprocessing.clip:g} times the noise; "
            f"labelled fields are clipped at {CLIP:g}"
        )


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, _CHUNK):
        yield slice(start, start + _CHUNK)


def _joined(parts: list[Outcome]) -> Outcome:
    if not parts:
        raise InputError("no labelled source has a class")
    probabilities, std, flags, copies = zip(*parts, strict=True)
    return Outcome(
        np.concatenate(probabilities),
        np.concatenate(std),
        np.concatenate(flags),
        None if copies[0] is None else np.concatenate(copies),
    )
