"""From fields to classes: networks over an orbit of rotations and flips, calibrated, on any device.

Here alone networks are run but for the steps of a training: as they are served (`Classifier.predict`), on images as
they lie (`Classifier.look`, `run_network`), and with all that happens inside of them (`trace_network`).
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from radio_ag.errors import ImageError, InputError, RadioAGWarning
from radio_ag.flags import UNCLASSIFIED, Flag
from radio_ag.network.checkpoints import Weights, load_weights
from radio_ag.network.devices import (
    ahead,
    choose_batch,
    choose_device,
    half_suffices,
    in_layout,
    inference,
    layout_on,
    side_by_side,
    with_half_gates,
)
from radio_ag.network.model import AGCNN, CLASSES, INPUT_SIZE, GateSteps, Network, fold_batch_norm
from radio_ag.network.novelty import FeatureModel
from radio_ag.network.orbit import Seen, Task, plan, rotate, see, to_arrays, turn
from radio_ag.network.window import Windowed
from radio_ag.preprocess.images import CROP_SIZE, FIELD_SIZE, Prepared, clip, crop, normalise, prepare
from radio_ag.preprocess.on_gpu import prepare_on
from radio_ag.prior import with_prior
from radio_ag.weights import DEFAULT

ATTENTION_KINDS = ("mean", "gates", "none")
FURTHER_ORBIT = 24
"""Orientations in which a source is seen whose classes are nearly as likely as each other: steps of 30 degrees."""
FURTHER_WITHIN = 0.7
"""Difference of the class scores below which it is, odds of two to one; ``further_within`` on the card of weights."""
_EXACT = 8  # rotations and flips of the square


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of n sources.

    Attributes
    ----------
    logits : ndarray, shape (n, K)
        Class scores before the temperature and the softmax, averaged over the orbit and the members of an ensemble.
    probabilities : ndarray, shape (n, K)
        Calibrated, columns in the order of ``names``: FRI and FRII as a rule. NaN where the field holds nothing.
    std : ndarray, shape (n,)
        Standard deviation of the probability, of the likeliest class where there are more than two, over the orbit and
        the members of an ensemble.
    attention : ndarray, shape (n, 150, 150), or None
        Mean of the gates' maps on the pixels of the crop.
    gates : ndarray, shape (n, gates, 150, 150), or None
        The map of each gate on the pixels of the crop.
    flags : ndarray of int32, shape (n,)
        Bits that follow from the network (``UNCERTAIN``, ``OUT_OF_DISTRIBUTION``) and the noise fit (``RMS_FALLBACK``).
    prepared : Prepared
        The network's input with noise, peak and blank fraction of each field.
    names : tuple of str
        Of the K classes.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    std: NDArray[np.float32]
    attention: NDArray[np.float32] | None
    gates: NDArray[np.float32] | None
    flags: NDArray[np.int32]
    prepared: Prepared
    names: tuple[str, ...] = CLASSES

    @property
    def classes(self) -> NDArray[np.str_]:
        """The class of larger probability; empty where there is none."""
        names = np.array([*self.names, ""])
        empty = np.isnan(self.probabilities).any(1)
        return names[np.where(empty, len(self.names), np.argmax(self.probabilities, 1))]

    @property
    def probability(self) -> NDArray[np.float32]:
        """Probability of that class."""
        return self.probabilities.max(1)


class _Part(NamedTuple):
    """Some b sources: every view's logits; features and maps averaged over the views, maps turned back."""

    logits: NDArray[np.float32]  # (views * members, b, K)
    features: NDArray[np.float32]  # (b, features of all members)
    maps: Any  # ndarray (b, planes, 150, 150), or None


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
    prior : float, optional
        Share of FRII among the sources, to which the probabilities are re-weighted; by default they hold for that of
        the training set.

    Notes
    -----
    On a GPU the gates compute in half precision, if that leaves the probabilities of some simulated images as they are.

    Where the card says that some networks are asked first, the others see what these leave in doubt, and the answer for
    such a source is the mean over all.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "auto",
        orbit: int = 8,
        batch: int | None = None,
        prior: float | None = None,
    ):
        if orbit not in (1, 2, 4) and (orbit < 8 or orbit % 8):
            raise InputError(f"orbit must be 1, 2, 4, 8 or a multiple of 8, not {orbit!r}")
        if batch is not None and batch < 1:
            raise InputError(f"batch must be 1 or more, not {batch!r}")
        self.card = weights.card
        self.prior = prior
        if prior is not None and self.card.frii_share is None:
            if self.card.classes != CLASSES:
                raise InputError(f"prior: the share of FRII means nothing for {', '.join(self.card.classes)}")
            raise InputError(f"prior: the card of {self.card.name} does not tell the share of FRII that it learnt from")
        self.device = choose_device(device)
        self.orbit = orbit
        self.batch = batch or choose_batch(self.device)
        layout = layout_on(self.device)
        networks: list[Any] = [in_layout(fold_batch_norm(net).to(self.device), layout) for net in weights.networks]
        if self.card.window != INPUT_SIZE:
            networks = [Windowed(network, self.card.window) for network in networks]
        self.preprocessing = self.card.preprocessing
        self.temperature = self.card.temperature.at(orbit)
        self.uncertain_below = self.card.uncertain_below.at(orbit)
        served = [self._serve(network) for network in networks]
        first = self.card.asked_first or len(networks)
        self.networks = networks[:first]
        self._served, self._others = served[:first], served[first:]
        self.feature_model = None
        if self.card.novelty is not None:
            self.feature_model = FeatureModel.of(
                weights.extra, sum(net.n_features for net in self.networks), len(self.card.classes)
            )

    @classmethod
    def load(cls, weights: str | os.PathLike = DEFAULT, **options: Any) -> Classifier:
        """Load weights by name or path.

        Parameters
        ----------
        weights : str or path-like
            A name that ``radio-ag weights list`` shows, or a path to a safetensors file.
        **options
            As for the class.

        Raises
        ------
        WeightsError
            Unknown or damaged weights.
        DeviceError
            A device that is not there.

        Warns
        -----
        RadioAGWarning
            The weights are not calibrated: nothing will be ``UNCERTAIN`` or ``OUT_OF_DISTRIBUTION``.
        """
        classifier = cls(load_weights(weights), **options)
        classifier.warn_if_not_calibrated()
        return classifier

    def warn_if_not_calibrated(self) -> None:
        """Warn where the weights' card has no calibration."""
        if not self.card.temperature.values:
            warnings.warn(
                f"{self.card.name} is not calibrated: no source will be UNCERTAIN or OUT_OF_DISTRIBUTION",
                RadioAGWarning,
                stacklevel=3,
            )

    @property
    def gates(self) -> int:
        """Number of attention gates of the network."""
        return self.networks[0].architecture.gates

    @property
    def masked(self) -> Flag:
        """Flags of sources that get no class from these weights."""
        return UNCLASSIFIED | Flag.UNRESOLVED if self.card.needs_morphology else UNCLASSIFIED

    def prepare(self, fields: ArrayLike | u.Quantity) -> Prepared:
        """Make the network's input from raw fields, as `radio_ag.preprocess.images.prepare` does.

        Parameters
        ----------
        fields : array_like or Quantity, shape (n, 300, 300)
            Jy/beam where no unit is given, NaN where blank.

        Returns
        -------
        Prepared

        Raises
        ------
        ImageError
            Fields of another shape, or in a unit that is no flux density a beam.
        """
        fields = _in_jy_per_beam(fields)
        if fields.ndim != 3 or fields.shape[1:] != (FIELD_SIZE, FIELD_SIZE):
            raise ImageError(
                f"fields must be of shape (n, {FIELD_SIZE}, {FIELD_SIZE}), pixels of 1.8 arcsec, not {fields.shape}"
            )
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
        fields : array_like or Quantity, shape (n, 300, 300)
            Images in Jy/beam where no unit is given, with pixels of 1.8 arcsec, centred on the sources; NaN where
            blank.
        attention : {"mean", "gates", "none"}
            Which maps to keep.
        prepared : Prepared, optional
            What :meth:`prepare` gave for these fields, if it has been called already. Without fields (None) there are
            no further angles.
        further : array_like of bool, shape (n,)
            Sources that are worth a second look where they are in doubt; the pipeline leaves out those without a
            morphology (``UNRESOLVED``).

        Returns
        -------
        Prediction

        Raises
        ------
        ImageError
            Fields of another shape, or in a unit that is no flux density a beam.
        """
        if attention not in ATTENTION_KINDS:
            raise InputError(f"attention must be one of {', '.join(ATTENTION_KINDS)}, not {attention!r}")
        if not self.gates:
            attention = "none"
        if prepared is None:
            if fields is None:
                raise InputError("predict needs the fields, or the images prepared from them")
            prepared = self.prepare(fields)
        if fields is not None:
            fields = _in_jy_per_beam(fields)
        seen = self._run(self._orbit(fields, prepared), attention, self._served)
        temperature = np.full(len(prepared.images), self.temperature, np.float32)
        mean, std = self._average(seen.logits, temperature)
        something = prepared.images.max((1, 2), initial=-np.inf) > self.preprocessing.value_range[0]
        rows = np.flatnonzero(something & further & self._in_doubt(mean, fields))
        if len(rows):
            more = self._look_again(fields, prepared, rows, attention)
            if self._others:
                temperature[rows] = self.card.temperature_of_all.at(self.orbit)
            share = len(more.logits) / (len(seen.logits) + len(more.logits))
            mean[rows], std[rows] = self._average(
                np.concatenate([seen.logits[:, rows], more.logits]), temperature[rows]
            )
            if not self._others:  # the novelty is that of the networks asked first
                seen.features[rows] += share * (more.features - seen.features[rows])
            if seen.maps is not None:
                seen.maps[rows] += share * (more.maps - seen.maps[rows])
        probabilities = self._probabilities(mean / temperature[:, None])
        probabilities[~something], std[~something] = np.nan, np.nan
        return Prediction(
            logits=mean,
            probabilities=probabilities,
            std=std,
            attention=None if seen.maps is None else seen.maps.mean(1),
            gates=seen.maps if attention == "gates" else None,
            flags=self._flags(probabilities, seen.features, prepared),
            prepared=prepared,
            names=self.card.classes,
        )

    def features(self, fields: ArrayLike | u.Quantity) -> NDArray[np.float32]:
        """Return the features that the networks classify, for one's own regression, map or search for odd sources.

        They are the attended features of each gate one after another, 54 a network with three gates, of the networks
        that are asked first, averaged over the orbit: the same for the same weights (the card's sha256) and orbit.

        Parameters
        ----------
        fields : array_like or Quantity, shape (n, 300, 300)
            As for :meth:`predict`.

        Returns
        -------
        ndarray, shape (n, F)

        Raises
        ------
        ImageError
            Fields of another shape, or in a unit that is no flux density a beam.
        """
        prepared = self.prepare(fields)
        width = sum(network.n_features for network in self.networks)
        found = self._run(self._orbit(_in_jy_per_beam(fields), prepared), "none", self._served).features
        return found.reshape(len(prepared.images), width)

    def _probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, K) of calibrated class scores, for the share of FRII that was asked for."""
        probabilities = softmax(scores, 1)
        if self.prior is None or self.card.frii_share is None:
            return probabilities
        second = with_prior(probabilities[:, 1], self.card.frii_share, self.prior)
        return np.stack([1 - second, second], 1).astype(np.float32)

    def _orbit(self, fields: ArrayLike | None, prepared: Prepared) -> list[tuple[float, NDArray[np.float32]]]:
        """The images at the angles of the orbit, as `_turned` gives them."""
        return [(0.0, prepared.images), *self._turned(fields, prepared, self.orbit)]

    def _in_doubt(self, logits: NDArray[np.float32], fields: ArrayLike | None) -> NDArray[np.bool_]:
        """Sources (n,) that are to be looked at again after the class scores (n, K) of the networks asked first."""
        if self._others:
            return softmax(logits / self.temperature, 1).max(1) < self.card.doubt_below.at(self.orbit)
        second, first = np.sort(logits, 1)[:, -2:].T
        near = first - second < self.card.further_within
        return near & (self.orbit == _EXACT and fields is not None)

    def _look_again(
        self, fields: ArrayLike | None, prepared: Prepared, rows: NDArray[np.intp], attention: str
    ) -> _Part:
        """Show sources in doubt to the networks that were not asked yet, or from further angles if there are none."""
        fields, some = None if fields is None else np.asarray(fields)[rows], prepared.taken(rows)
        if self._others:
            return self._run(self._orbit(fields, some), attention, self._others)
        return self._run(self._turned(fields, some, FURTHER_ORBIT), attention, self._served)

    def look(
        self, images: NDArray[np.float32], *, maps: bool = True
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Show images to the networks as they lie, without an orbit.

        Parameters
        ----------
        images : ndarray, shape (n, 150, 150), float32
            The networks' input, n at least 1.
        maps : bool
            Whether the gates' maps are wanted.

        Returns
        -------
        logits : ndarray, shape (n, K)
            Mean over the members of an ensemble.
        gates : ndarray, shape (n, gates, 150, 150)
            The same of each gate's map on the pixels of the image; no gates where they are not wanted.
        """
        gates = self.gates if maps else 0
        logits, attention = [], []
        with inference():
            for batch in torch.from_numpy(images).unsqueeze(1).split(self.batch):
                x = batch.to(self.device).contiguous(memory_format=torch.channels_last)
                outputs = [network(x) for network in self.networks]
                logits.append(torch.stack([output.logits for output in outputs]).mean(0).cpu())
                members = [torch.stack(output.attention(), 1) for output in outputs] if gates else [x[:, :0]]
                attention.append(torch.stack(members).mean(0).float().cpu())
        return torch.cat(logits).numpy(), torch.cat(attention).numpy()

    def _turned(
        self, fields: ArrayLike | None, prepared: Prepared, orbit: int
    ) -> list[tuple[float, NDArray[np.float32]]]:
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

    def _run(
        self, turned: list[tuple[float, NDArray[np.float32]]], attention: str, networks: Sequence[Network]
    ) -> _Part:
        """Show the networks images (n, 150, 150) that were turned by some angles, in the exact orientations each."""
        parts: list[_Part] = []
        start, count = 0, len(turned[0][1])
        while start < count:
            try:
                for part in self._parts([(angle, images[start:]) for angle, images in turned], attention, networks):
                    parts.append(part)
                    start += len(part.features)
            except RuntimeError as exc:  # torch.OutOfMemoryError on a GPU; a plain RuntimeError on a CPU
                if "memory" not in str(exc) or self.batch == 1:
                    raise
                self.batch //= 2
        planes = self.gates if attention == "gates" else 1
        if not parts:
            shapes = (1, 0, len(self.card.classes)), (0, 0), (0, planes, CROP_SIZE, CROP_SIZE)
            parts = [_Part(*(np.zeros(shape, np.float32) for shape in shapes))]
        logits, features, maps = zip(*parts, strict=True)
        kept = None if attention == "none" else np.concatenate(maps)
        return _Part(np.concatenate(logits, 1), np.concatenate(features), kept)

    def _average(
        self, logits: NDArray[np.float32], temperature: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of logits (views * members, n, K) the mean (n, K), and the spread (n,) of the calibrated probability.

        Of two classes either has the same; of more, it is that of the likeliest one.
        """
        mean = logits.mean(0, dtype=np.float64).astype(np.float32)  # whatever the order of the views
        spread = softmax(logits / temperature[:, None], 2).std(0)
        likeliest = np.ones(len(mean), int) if len(self.card.classes) == len(CLASSES) else mean.argmax(1)
        return mean, spread[np.arange(len(mean)), likeliest]

    def _parts(
        self, turned: list[tuple[float, NDArray[np.float32]]], attention: str, networks: Sequence[Network]
    ) -> Iterator[_Part]:
        """A part for each batch of images, in order."""
        on_gpu = self.device.type == "cuda"
        parts = plan(turned, min(self.orbit, _EXACT), self.batch, together=on_gpu)
        tasks = [task for part in parts for task in part]

        def work(task: Task) -> Seen:
            with inference():
                return to_arrays(self.see(task, torch.from_numpy(task.images).to(self.device), attention, networks))

        def launch(task: Task, images: torch.Tensor) -> Seen:
            with inference():
                return self.see(task, images, attention, networks)

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

    def see(self, task: Task, images: torch.Tensor, attention: str, networks: Sequence[Network] | None = None) -> Seen:
        """Show the networks a batch of images, in the orientations that the task has.

        Parameters
        ----------
        task : Task
            The orientations, and how maps are put together.
        images : Tensor (B, 150, 150)
            As `prepare` gives them, on the classifier's device.
        attention : str
            Which maps are wanted: one of `ATTENTION_KINDS`.
        networks : sequence of Network, optional
            Those that are asked first by default.

        Returns
        -------
        Seen
        """
        return see(self._served if networks is None else networks, images.unsqueeze(1), task, attention)

    def _serve(self, network: Network) -> Network:
        """Return the network as it is run on this device."""
        if self.device.type != "cuda" or not network.architecture.gates or isinstance(network, Windowed):
            return network
        half = with_half_gates(network)
        return half if half_suffices(network, half, self.temperature, self.device) else network

    def _flags(self, probabilities: NDArray, features: NDArray, prepared: Prepared) -> NDArray[np.int32]:
        flags = np.where(prepared.fallback, Flag.RMS_FALLBACK, 0).astype(np.int32)
        with np.errstate(invalid="ignore"):
            flags[probabilities.max(1) < self.uncertain_below] |= Flag.UNCERTAIN
        if self.feature_model and self.card.novelty is not None and len(features):
            distance = self.feature_model.distance(features)
            flags[distance > self.card.novelty.at(self.orbit)] |= Flag.OUT_OF_DISTRIBUTION
        return flags


def _in_jy_per_beam(fields: ArrayLike | u.Quantity) -> NDArray:
    """Fields as an array, converted where they have a unit."""
    if not isinstance(fields, u.Quantity):
        return np.asarray(fields)
    try:
        return fields.to_value(u.Jy / u.beam)
    except u.UnitConversionError as exc:
        raise ImageError(
            f"fields are in {fields.unit or 'no unit'}: accepted is Jy/beam and what converts to it"
        ) from exc


def run_network(
    network: Network, images: NDArray[np.float32], *, views: int = 1, batch: int = 32
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Show images to a network in some of the exact orientations, on the device where it is.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    images : ndarray, shape (n, ny, nx), float32
        The network's input, n at least 1; of another size than 150 pixels for networks that take it.
    views : int
        Orientations, 1 to 8, of which the first is the image as it lies.
    batch : int
        Images at once.

    Returns
    -------
    logits : ndarray, shape (views, n, 2)
    features : ndarray, shape (views, n, F)
    """
    device = next(network.parameters()).device
    stack = torch.from_numpy(images).unsqueeze(1)
    logits, features = [], []
    with inference():
        for view in range(views):
            outputs = [network(some.to(device)) for some in turn(stack, view).split(batch)]
            logits.append(torch.cat([output.logits for output in outputs]).cpu())
            features.append(torch.cat([output.features for output in outputs]).cpu())
    return torch.stack(logits).numpy(), torch.stack(features).numpy()


def trace_network(network: AGCNN, image: ArrayLike) -> tuple[list[NDArray[np.float32]], list[GateSteps]]:
    """Show one image to a network and keep what its parts make of it.

    Parameters
    ----------
    network : AGCNN
        In evaluation mode.
    image : array_like, shape (150, 150)
        The network's input.

    Returns
    -------
    blocks : list of ndarray, shapes (6, 150, 150), (16, 75, 75), (32, 37, 37), (64, 18, 18)
        What each block of convolutions gives.
    steps : list of GateSteps
        What happens inside each attention gate, gate 1 first, as arrays without the axis of the batch.
    """
    x = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None]
    with inference():
        blocks = network.block_outputs(x.to(next(network.parameters()).device))
        *gated, last = blocks
        gates: Any = network.gates
        steps = [gate.steps(x, last) for gate, x in zip(gates, reversed(gated), strict=False)]
    return [block[0].cpu().numpy() for block in blocks], [
        GateSteps(*(part[0].cpu().numpy() for part in one)) for one in steps
    ]
