"""What a network does with single sources: the numbers of their attention, and all that figures of one source show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from radio_ag.attention.augmented import Sources, augmented_views
from radio_ag.attention.statistics import AttentionStatistics, attention_statistics
from radio_ag.errors import InputError
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import AGCNN
from radio_ag.preprocess.images import Prepared, crop, prepare, stretch


def measure_attention(
    classifier: Classifier, chunks: Iterable[Sources]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.str_]]:
    """The statistics of the attention of each source, and its class.

    Parameters
    ----------
    classifier : Classifier
        With gates.
    chunks : iterable of Sources

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
        found = attention_statistics(prediction.attention, crop(chunk.images), prediction.gates)
        empty = prediction.classes == ""
        statistics.append([np.where(empty, np.float32(np.nan), values) for values in found])
        classes.append(prediction.classes)
    if not classes:
        return {name: np.zeros(0, np.float32) for name in AttentionStatistics._fields}, np.zeros(0, str)
    columns = (np.concatenate(parts) for parts in zip(*statistics, strict=True))
    return dict(zip(AttentionStatistics._fields, columns, strict=True)), np.concatenate(classes)


class InspectedSource(NamedTuple):
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
        As of `feature_maps`, of the first network of an ensemble, in one orientation; empty where that is no AG-CNN.
    steps : list of GateSteps
        What happens inside each of its gates.
    """

    clipped: NDArray[np.float32]
    prepared: NDArray[np.float32]
    augmented: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    gates: NDArray[np.float32]
    features: list[NDArray[np.float32]]
    steps: list[GateSteps]


class GateSteps(NamedTuple):
    """What happens inside an attention gate (Figure 1 and eqs. 7 and 8 of the paper), in the order of the steps.

    Attributes
    ----------
    features : ndarray, shape (channels, h, w)
        What the gate attends to: ``x``.
    projected : ndarray, shape (64, h, w)
        That in the intermediate channels, ``x * theta``.
    gating : ndarray, shape (64, h, w)
        The last block's output there, at the resolution of ``x``: ``(g * phi)'``.
    agreement : ndarray, shape (64, h, w)
        ReLU of the sum of both.
    score : ndarray, shape (h, w)
        The compatibility score of eq. 8.
    attention : ndarray, shape (h, w)
        The score normalised.
    attended : ndarray, shape (channels, h, w)
        The attention times ``x`` (eq. 7), whose sums are classified.
    """

    features: NDArray[np.float32]
    projected: NDArray[np.float32]
    gating: NDArray[np.float32]
    agreement: NDArray[np.float32]
    score: NDArray[np.float32]
    attention: NDArray[np.float32]
    attended: NDArray[np.float32]


def inspect_source(classifier: Classifier, image: ArrayLike, *, seed: int = 0) -> InspectedSource:
    """Everything that the figures of one source show.

    Parameters
    ----------
    classifier : Classifier
    image : array_like, shape (300, 300) or (150, 150)
        Clipped.
    seed : int
        Of the augmentations.

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
    known = isinstance(network, AGCNN)
    return InspectedSource(
        clipped=crop(image[None])[0],
        prepared=prepared.images[0],
        augmented=stretch(view.images, classifier.preprocessing.stretch),
        probabilities=prediction.probabilities[0],
        gates=np.zeros((0, 150, 150), np.float32) if prediction.gates is None else prediction.gates[0],
        features=feature_maps(network, prepared.images[0]) if known else [],
        steps=gate_steps(network, prepared.images[0]) if known else [],
    )


def prepare_clipped(images: ArrayLike, classifier: Classifier) -> Prepared:
    """The network's input from images that are clipped already.

    Parameters
    ----------
    images : array_like, shape (n, 300, 300) or (n, 150, 150)
    classifier : Classifier

    Returns
    -------
    Prepared
        For `Classifier.predict`; its noise is 0, which all that is left exceeds.
    """
    return prepare(images, classifier.preprocessing, rms=0.0)


def feature_maps(network: AGCNN, image: ArrayLike) -> list[NDArray[np.float32]]:
    """What each of the four blocks of convolutions makes of one image.

    Parameters
    ----------
    network : AGCNN
        In evaluation mode.
    image : array_like, shape (150, 150)
        The network's input.

    Returns
    -------
    list of ndarray, shapes (6, 150, 150), (16, 75, 75), (32, 37, 37), (64, 18, 18)
    """
    return [block[0].cpu().numpy() for block in _blocks(network, image)]


def gate_steps(network: AGCNN, image: ArrayLike) -> list[GateSteps]:
    """What happens inside each attention gate for one image, gate 1 first.

    Parameters
    ----------
    network : AGCNN
        In evaluation mode.
    image : array_like, shape (150, 150)
        The network's input.
    """
    *blocks, last = _blocks(network, image)
    steps = []
    with torch.inference_mode():
        for gate, x in zip(network.gates, reversed(blocks), strict=False):  # gate 1 sees the deepest block
            projected = gate.theta(x)
            gating = F.interpolate(gate.phi(last), x.shape[2:], mode="bilinear", align_corners=False)
            agreement = F.relu(projected + gating)
            score = gate.psi(agreement)
            attention = gate.normalise(score)
            maps = (x, projected, gating, agreement, score[:, 0], attention[:, 0], attention * x)
            steps.append(GateSteps(*(step[0].cpu().numpy() for step in maps)))
    return steps


def _blocks(network: AGCNN, image: ArrayLike) -> list[Tensor]:
    """Output of each block of convolutions, shapes (1, C, H, W)."""
    device = next(network.parameters()).device
    x = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None].to(device)
    maps = []
    with torch.inference_mode():
        for number, block in enumerate(network.blocks):
            x = block(F.max_pool2d(x, 2) if number else x)
            maps.append(x)
    return maps
