"""What a network does with single sources: the numbers of their attention, and all that figures of one source show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.attention.augmented import Sources, augmented_views
from radio_ag.attention.statistics import AttentionStatistics, attention_statistics
from radio_ag.errors import InputError
from radio_ag.network.classifier import Classifier, trace_network
from radio_ag.network.model import AGCNN, GateSteps
from radio_ag.preprocess.images import Prepared, crop, prepare, stretch


def measure_attention(
    classifier: Classifier, chunks: Iterable[Sources]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.str_]]:
    """Measure where the attention of each source lies, and classify it.

    Parameters
    ----------
    classifier : Classifier
        With gates.
    chunks : iterable of Sources
        Sources, some at a time.

    Returns
    -------
    statistics : dict of ndarray, shape (n,)
        The fields of `radio_ag.attention.statistics.AttentionStatistics`.
    classes : ndarray of str, shape (n,)
        Predicted; empty where there is no emission.

    Raises
    ------
    InputError
        If the network has no gates.
    """
    if not classifier.gates:
        raise InputError(f"{classifier.card.name} has no attention gates")
    statistics, classes = [], []
    for chunk in chunks:
        prepared = prepare_clipped(chunk.images, classifier)
        prediction = classifier.predict(chunk.images, attention="gates", prepared=prepared)
        attention: Any = prediction.attention  # there is some where there are gates
        found = attention_statistics(attention, crop(chunk.images), prediction.gates)
        empty = prediction.classes == ""
        statistics.append([np.where(empty, np.float32(np.nan), values) for values in found])
        classes.append(prediction.classes)
    if not classes:
        return {name: np.zeros(0, np.float32) for name in AttentionStatistics._fields}, np.zeros(0, str)
    columns = (np.concatenate(parts) for parts in zip(*statistics, strict=True))
    return dict(zip(AttentionStatistics._fields, columns, strict=True)), np.concatenate(classes)


class SourceTrace(NamedTuple):
    """One source in a network.

    Attributes
    ----------
    clipped, prepared : ndarray, shape (150, 150)
        The clipped crop, and the network's input.
    augmented : ndarray, shape (2, 150, 150)
        Random augmentations in 0-1, stretched as the network wants them.
    probabilities : ndarray, shape (2,)
    gates : ndarray, shape (gates, 150, 150)
        Maps averaged over the orbit, on the pixels of the crop.
    features : list of ndarray
        What each block of convolutions gives, of the first network of an ensemble, in one orientation; empty where
        that is no AG-CNN.
    steps : list of GateSteps
        What happens inside each of its gates.
    orientations : int
        Over which probabilities and maps are means.
    """

    clipped: NDArray[np.float32]
    prepared: NDArray[np.float32]
    augmented: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    gates: NDArray[np.float32]
    features: list[NDArray[np.float32]]
    steps: list[GateSteps]
    orientations: int = 1


def trace_source(classifier: Classifier, image: ArrayLike, *, seed: int = 0) -> SourceTrace:
    """Show one source to a network and keep everything that the figures of one source show.

    Parameters
    ----------
    classifier : Classifier
        Network, with its orbit and its preprocessing.
    image : array_like, shape (300, 300) or (150, 150)
        Clipped.
    seed : int
        Of the augmentations.

    Returns
    -------
    SourceTrace

    Raises
    ------
    InputError
        If there is no emission in the image.
    """
    image = np.asarray(image, np.float32)
    if not crop(image[None]).any():
        raise InputError("the source has no emission above the clip, or no image: there is nothing to draw")
    prepared = prepare_clipped(image[None], classifier)
    prediction = classifier.predict(image[None], attention="gates", prepared=prepared)
    view = next(augmented_views(classifier, image, 2, seed, maps=False))
    network = classifier.networks[0]
    blocks, steps = trace_network(network, prepared.images[0]) if isinstance(network, AGCNN) else ([], [])
    return SourceTrace(
        clipped=crop(image[None])[0],
        prepared=prepared.images[0],
        augmented=stretch(view.images, classifier.preprocessing.stretch),
        probabilities=prediction.probabilities[0],
        gates=np.zeros((0, 150, 150), np.float32) if prediction.gates is None else prediction.gates[0],
        features=blocks,
        steps=steps,
        orientations=classifier.orbit,
    )


def prepare_clipped(images: ArrayLike, classifier: Classifier) -> Prepared:
    """Make the network's input from images that are clipped already.

    Parameters
    ----------
    images : array_like, shape (n, 300, 300) or (n, 150, 150)
        Clipped: zero where there is no emission.
    classifier : Classifier
        Network, with its orbit and its preprocessing.

    Returns
    -------
    Prepared
        For `Classifier.predict`; its noise is 0, which all that is left exceeds.
    """
    return prepare(images, classifier.preprocessing, rms=0.0)
