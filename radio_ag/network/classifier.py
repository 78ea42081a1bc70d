"""From fields to classes: the network over an orbit of rotations and flips, calibrated, on any device."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from radio_ag.errors import DeviceError, InputError
from radio_ag.flags import Flag
from radio_ag.network.checkpoints import Weights, load_weights
from radio_ag.network.model import CLASSES, fold_batch_norm
from radio_ag.network.novelty import FeatureModel
from radio_ag.network.orbit import (
    Seen,
    Task,
    ahead,
    exactly,
    half_suffices,
    plan,
    rotate,
    see,
    side_by_side,
    to_arrays,
    with_half_gates,
)
from radio_ag.network.orbit import turn as turn  # training uses it
from radio_ag.preprocess.images import CROP_SIZE, Prepared, clip, crop, normalise, prepare
from radio_ag.preprocess.on_gpu import prepare_on
from radio_ag.weights import DEFAULT

ATTENTION_KINDS = ("mean", "gates", "none")
FURTHER_ORBIT = 24
"""Orientations in which a source is seen whose classes are nearly as likely as each other: steps of 30 degrees."""
FURTHER_WITHIN = 0.7
"""Difference of the class scores below which it is, odds of two to one; ``further_within`` on the card of weights."""
_EXACT = 8  # rotations and flips of the square
_CPU_BATCH = 16  # larger batches leave the cache and are slower
_GPU_BYTES = 60e6  # memory an image takes on a GPU, all gates at once


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of n sources.

    Attributes
    ----------
    logits : ndarray, shape (n, 2)
        Class scores before the temperature and the softmax, averaged over the orbit and the members of an ensemble.
    probabilities : ndarray, shape (n, 2)
        Calibrated, columns FRI and FRII. NaN where the field holds nothing.
    std : ndarray, shape (n,)
        Standard deviation of the probability over the orbit and the members of an ensemble.
    attention : ndarray, shape (n, 150, 150), or None
        Mean of the gates' maps on the pixels of the crop.
    gates : ndarray, shape (n, gates, 150, 150), or None
        The map of each gate on the pixels of the crop.
    flags : ndarray of int32, shape (n,)
        Bits that follow from the network (``UNCERTAIN``, ``OUT_OF_DISTRIBUTION``) and the noise fit (``RMS_FALLBACK``).
    prepared : Prepared
        The network's input with noise, peak and blank fraction of each field.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    std: NDArray[np.float32]
    attention: NDArray[np.float32] | None
    gates: NDArray[np.float32] | None
    flags: NDArray[np.int32]
    prepared: Prepared

    @property
    def classes(self) -> NDArray[np.str_]:
        """The class of larger probability; empty where there is none."""
        names = np.array([*CLASSES, ""])
        empty = np.isnan(self.probabilities).any(1)
        return names[np.where(empty, len(CLASSES), np.argmax(self.probabilities, 1))]

    @property
    def probability(self) -> NDArray[np.float32]:
        """Probability of that class."""
        return self.probabilities.max(1)


class _Part(NamedTuple):
    """Some b sources: every view's logits; features and maps averaged over the views, maps turned back."""

    logits: NDArray[np.float32]  # (views * members, b, 2)
    features: NDArray[np.float32]  # (b, features of all members)
    maps: NDArray[np.float32] | None  # (b, planes, 150, 150)


class Classifier:
    """Classifies fields with one set of weights.

    Parameters
    ----------
    weights : Weights
    device : str
        ``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    orbit : int
        Orientations averaged over: 1, 2, 4, 8 (the exact rotations and flips of the square, so that a class does not
        depend on how the source lies), or a multiple of 8, with further angles in between. With 8, a source whose
        classes are nearly as likely as each other is seen in 24, if the weights' card says how near: its class would
        otherwise depend on how it lies between the right angles.
    batch : int, optional
        Images that the network sees at once; chosen from the device's memory by default.

    Notes
    -----
    On a GPU the gates compute in half precision, if that leaves the probabilities of some simulated images as they are.
    """

    def __init__(self, weights: Weights, *, device: str = "auto", orbit: int = 8, batch: int | None = None):
        if orbit not in (1, 2, 4) and (orbit < 8 or orbit % 8):
            raise InputError(f"orbit must be 1, 2, 4, 8 or a multiple of 8, not {orbit!r}")
        if batch is not None and batch < 1:
            raise InputError(f"batch must be 1 or more, not {batch!r}")
        self.card = weights.card
        self.device = choose_device(device)
        self.orbit = orbit
        self.batch = batch or _choose_batch(self.device)
        layout = torch.contiguous_format if self.device.type == "mps" else torch.channels_last
        self.networks = [fold_batch_norm(net).to(self.device, memory_format=layout) for net in weights.networks]
        self.preprocessing = self.card.preprocessing
        temperatures = self.card.temperatures
        self.temperature = temperatures.get(str(orbit), temperatures.get("8" if orbit > 8 else "1", 1.0))
        self._served = [self._serve(network) for network in self.networks]
        self.feature_model = None
        if self.card.novelty is not None:
            self.feature_model = FeatureModel.of(weights.extra, sum(net.n_features for net in self.networks))

    @classmethod
    def load(cls, weights: str | os.PathLike = DEFAULT, **options) -> Classifier:
        """Load weights by name or path; ``options`` as for the class.

        Raises
        ------
        WeightsError
            Unknown or damaged weights.
        DeviceError
            A device that is not there.
        """
        return cls(load_weights(weights), **options)

    @property
    def gates(self) -> int:
        """Number of attention gates of the network."""
        return self.networks[0].architecture.gates

    def prepare(self, fields: ArrayLike) -> Prepared:
        """The network's input from raw fields: `~radio_ag.preprocess.images.prepare`, on a GPU where there is one."""
        if self.device.type == "cuda":
            return prepare_on(self.device, fields, self.preprocessing)
        return prepare(fields, self.preprocessing)

    def predict(
        self,
        fields: ArrayLike | None,
        *,
        attention: str = "mean",
        prepared: Prepared | None = None,
        further: ArrayLike = True,
    ) -> Prediction:
        """Classify fields.

        Parameters
        ----------
        fields : array_like, shape (n, 300, 300)
            Images in Jy/beam with pixels of 1.8 arcsec, centred on the sources; NaN where blank.
        attention : {"mean", "gates", "none"}
            Which maps to keep.
        prepared : Prepared, optional
            What :meth:`prepare` gave for these fields, if it has been called already. Without fields (None) there are
            no further angles.
        further : array_like of bool, shape (n,)
            Sources that are worth further angles; the pipeline leaves out those without a morphology (``UNRESOLVED``).

        Returns
        -------
        Prediction
        """
        if attention not in ATTENTION_KINDS:
            raise InputError(f"attention must be one of {', '.join(ATTENTION_KINDS)}, not {attention!r}")
        if not self.gates:
            attention = "none"
        prepared = prepared or self.prepare(fields)
        seen = self._run([(0.0, prepared.images), *self._turned(fields, prepared, self.orbit)], attention)
        mean, std = self._average(seen.logits)
        something = prepared.images.max((1, 2), initial=-np.inf) > self.preprocessing.value_range[0]
        doubtful = something & further & (np.abs(mean[:, 1] - mean[:, 0]) < self.card.further_within)
        if self.orbit == _EXACT and fields is not None and doubtful.any():
            rows = np.flatnonzero(doubtful)
            some = Prepared(*(column[rows] for column in prepared))
            more = self._run(self._turned(np.asarray(fields)[rows], some, FURTHER_ORBIT), attention)
            mean[rows], std[rows] = self._average(np.concatenate([seen.logits[:, rows], more.logits]))
            share = len(more.logits) / (len(seen.logits) + len(more.logits))
            for whole, part in ((seen.features, more.features), (seen.maps, more.maps)):
                if whole is not None:
                    whole[rows] += share * (part - whole[rows])
        probabilities = softmax(mean / self.temperature, 1)
        probabilities[~something], std[~something] = np.nan, np.nan
        return Prediction(
            logits=mean,
            probabilities=probabilities,
            std=std,
            attention=None if seen.maps is None else seen.maps.mean(1),
            gates=seen.maps if attention == "gates" else None,
            flags=self._flags(probabilities, seen.features, prepared),
            prepared=prepared,
        )

    def _turned(self, fields, prepared: Prepared, orbit: int) -> list[tuple[float, NDArray[np.float32]]]:
        """Angles between 0 and 90 degrees that an orbit beyond 8 has, each with the images of the fields turned by it.

        Angles are in radians.
        """
        steps = orbit // _EXACT
        if steps < 2:
            return []
        if fields is None:
            raise InputError(f"an orbit of {orbit} needs the fields, not only the images prepared from them")
        clipped = torch.from_numpy(clip(fields, prepared.rms, self.preprocessing.clip)).unsqueeze(1)
        settings = self.preprocessing
        angles = [step * np.pi / 2 / steps for step in range(1, steps)]
        turned = (crop(rotate(clipped, angle).squeeze(1).numpy()) for angle in angles)
        return [
            (angle, normalise(images, settings.stretch, settings.value_range))
            for angle, images in zip(angles, turned, strict=True)
        ]

    def _run(self, turned: list[tuple[float, NDArray[np.float32]]], attention: str) -> _Part:
        """Show the networks images (n, 150, 150) that were turned by some angles, in the exact orientations each."""
        parts: list[_Part] = []
        start, count = 0, len(turned[0][1])
        while start < count:
            try:
                for part in self._parts([(angle, images[start:]) for angle, images in turned], attention):
                    parts.append(part)
                    start += len(part.features)
            except RuntimeError as exc:  # torch.OutOfMemoryError on a GPU; a plain RuntimeError on a CPU
                if "memory" not in str(exc) or self.batch == 1:
                    raise
                self.batch //= 2
        planes = self.gates if attention == "gates" else 1
        if not parts:
            shapes = (1, 0, len(CLASSES)), (0, 0), (0, planes, CROP_SIZE, CROP_SIZE)
            parts = [_Part(*(np.zeros(shape, np.float32) for shape in shapes))]
        logits, features, maps = zip(*parts, strict=True)
        maps = None if attention == "none" else np.concatenate(maps)
        return _Part(np.concatenate(logits, 1), np.concatenate(features), maps)

    def _average(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of logits (views * members, n, 2) the mean (n, 2), and the spread (n,) of the calibrated probability."""
        return logits.mean(0), softmax(logits / self.temperature, 2)[:, :, 1].std(0)

    def _parts(self, turned: list[tuple[float, NDArray[np.float32]]], attention: str) -> Iterator[_Part]:
        """A part for each batch of images, in order."""
        on_gpu = self.device.type == "cuda"
        parts = plan(turned, min(self.orbit, _EXACT), self.batch, together=on_gpu)
        tasks = [task for part in parts for task in part]

        def work(task: Task) -> Seen:
            with torch.inference_mode():
                return to_arrays(self._see(task, torch.from_numpy(task.images).to(self.device), attention))

        def launch(task: Task, images: torch.Tensor) -> Seen:
            with torch.inference_mode(), exactly():
                return self._see(task, images, attention)

        if on_gpu:
            seen = ahead(launch, tasks, self.device)
        else:
            seen = side_by_side(work, tasks, torch.get_num_threads() if self.device.type == "cpu" else 1)
        for part in parts:
            whole = list(itertools.islice(seen, len(part)))
            views = sum(len(task.views) for task in part)
            logits = np.concatenate([each.logits for each in whole])
            maps = None if attention == "none" else sum(each.maps for each in whole) / len(logits)
            yield _Part(logits, sum(each.features for each in whole) / views, maps)

    def _see(self, task: Task, images: torch.Tensor, attention: str) -> Seen:
        return see(self._served, images.unsqueeze(1), task, attention)

    def _serve(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network as it is run on this device."""
        if self.device.type != "cuda" or not network.architecture.gates:
            return network
        half = with_half_gates(network)
        return half if half_suffices(network, half, self.temperature, self.device) else network

    def _flags(self, probabilities, features, prepared: Prepared) -> NDArray[np.int32]:
        flags = np.where(prepared.fallback, Flag.RMS_FALLBACK, 0).astype(np.int32)
        with np.errstate(invalid="ignore"):
            flags[probabilities.max(1) < self.card.uncertain_below] |= Flag.UNCERTAIN
        if self.feature_model and len(features):
            distance = self.feature_model.distance(features)
            flags[distance > self.card.novelty] |= Flag.OUT_OF_DISTRIBUTION
        return flags


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name.

    Raises
    ------
    DeviceError
        It is not there; the message says which are.
    """
    present = ["cpu"]
    if torch.cuda.is_available():
        present = [*(f"cuda:{i}" for i in range(torch.cuda.device_count())), *present]
    elif torch.backends.mps.is_available():
        present = ["mps", *present]
    if name == "auto":
        return torch.device(present[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in present:
        raise DeviceError(f"device {name!r} is not there; accepted here: auto, {', '.join(present)}")
    return torch.device(wanted)


def _choose_batch(device: torch.device) -> int:
    if device.type != "cuda":
        return _CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    return int(np.clip(2 ** np.floor(np.log2(0.5 * free / _GPU_BYTES)), 1, 1024))
