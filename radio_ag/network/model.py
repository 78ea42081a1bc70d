"""The attention-gated network AG-CNN of Bowles et al. 2021 (MNRAS 501, 4579), Tables 1-3, eqs. 7-13.

Shape letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from radio_ag.class_names import DEFAULT_CLASSES, MOST_CLASSES
from radio_ag.errors import InputError
from radio_ag.network.gate import compatibility

CLASSES = DEFAULT_CLASSES
"""Those of weights whose card does not tell others."""
INPUT_SIZE = 150
_EPS = 1e-6
_BLOCK_CHANNELS = ((6, 6, 6), (16, 16, 16), (32, 32, 32), (64, 64))  # Table 1
_GATE_CHANNELS = (32, 16, 6)  # channels seen by attention gates 1, 2, 3
GATE_STRIDE = (4, 2, 1)
"""Input pixels for each cell of the maps of gates 1, 2, 3."""
_GATING_CHANNELS = 64  # the last block: gating signal and intermediate width of each gate


@dataclass(frozen=True)
class Architecture:
    """Which AG-CNN to build; the defaults are the paper's primary network (101,447 parameters).

    Attributes
    ----------
    normalisation : {"range", "softmax", "sigmoid", "standardisation"}
        sigma_2 of eq. 7 (Table 3), always taken over each image alone.
    aggregation : {"mean", "concatenation", "deep_supervised", "fine_tuned"}
        Eqs. 10-13. Without gates there is nothing to aggregate and it is ignored.
    gates : int
        Number of attention gates, 0 to 3. With 0, a further max pooling and one dense layer classify.
    classes : int
        Number of output classes.
    dropout : float
        Dropout probability on the summed features (the paper does not state its rate).
    features : {"sum", "average"}
        "sum" is eq. 9; "average" divides it by the sum of the attention's absolute value, which keeps
        the features' scale independent of how much of the image is attended.
    published_details : bool
        Follow the published checkpoints where they differ from the paper: a ReLU on the class
        scores of each gate before the last layer of "fine_tuned", and "standardisation" as
        ``((a - min(a)) / max(a) - 0.5) / 0.25``. Only imported weights need it.
    """

    normalisation: str = "range"
    aggregation: str = "fine_tuned"
    gates: int = 3
    classes: int = 2
    dropout: float = 0.5
    features: str = "sum"
    published_details: bool = False

    def __post_init__(self) -> None:
        check_choice("normalisation", self.normalisation, NORMALISATIONS)
        check_choice("aggregation", self.aggregation, AGGREGATIONS)
        check_choice("gates", self.gates, (0, 1, 2, 3))
        check_choice("features", self.features, ("sum", "average"))
        check_choice("published_details", self.published_details, (False, True))
        check_common(self)


def check_common(architecture: Any) -> None:
    """Check the settings that the architectures of all networks have.

    Parameters
    ----------
    architecture : Architecture, or one of a baseline

    Raises
    ------
    InputError
        One of them cannot be used.
    """
    if type(architecture.classes) is not int or not 2 <= architecture.classes <= MOST_CLASSES:
        raise InputError(f"classes must be a whole number from 2 to {MOST_CLASSES}, not {architecture.classes!r}")
    if type(architecture.dropout) not in (int, float) or not 0 <= architecture.dropout < 1:
        raise InputError(f"dropout must be in [0, 1), not {architecture.dropout!r}")


def check_choice(name: str, value: Any, accepted: Iterable[Any]) -> None:
    """Check that a setting is one of those accepted, and of the same type.

    Parameters
    ----------
    name : str
    value : object
    accepted : iterable

    Raises
    ------
    InputError
        It is not.
    """
    accepted = tuple(accepted)
    if not any(type(value) is type(one) and value == one for one in accepted):
        raise InputError(f"{name} must be one of {', '.join(map(str, accepted))}, not {value!r}")


class Output(NamedTuple):
    """What the network gives for a batch.

    Attributes
    ----------
    logits : Tensor, shape (B, K)
        Class scores before the softmax, in the order of the classes: FRI, FRII where the card tells no others.
    features : Tensor, shape (B, F)
        What is classified: the attended features of the gates one after another (54 with three gates).
    attention1, attention2, attention3 : Tensor or None, shapes (B, 37, 37), (B, 75, 75), (B, 150, 150)
        The normalised attention map of each gate; None for a gate that the network does not have.
    """

    logits: Tensor
    features: Tensor
    attention1: Tensor | None = None
    attention2: Tensor | None = None
    attention3: Tensor | None = None

    @property
    def gates(self) -> tuple[Tensor, ...]:
        """The maps of the gates that exist, in order."""
        return tuple(a for a in (self.attention1, self.attention2, self.attention3) if a is not None)

    def attention(self) -> tuple[Tensor, ...]:
        """Return each gate's map on the pixels of the input: a tuple of (B, 150, 150).

        A cell is placed at the centre of the pixels that it pools; plain upsampling would
        shift gates 1 and 2 by up to 1.8 px, since pooling drops the last rows.
        """
        return tuple(place_on_input(a, stride) for a, stride in zip(self.gates, GATE_STRIDE, strict=False))

    def mean_attention(self) -> Tensor:
        """Return the mean of the gates' maps on the pixels of the input, shape (B, 150, 150)."""
        maps = self.attention()
        if not maps:
            raise ValueError("a network without attention gates has no attention map")
        return torch.stack(maps).mean(0)


def _normalise_softmax(scores: Tensor) -> Tensor:
    return scores.flatten(2).softmax(-1).view_as(scores)


def _normalise_range(scores: Tensor) -> Tensor:
    low, high = scores.amin((2, 3), keepdim=True), scores.amax((2, 3), keepdim=True)
    return (scores - low) / (high - low).clamp_min(_EPS)


def _normalise_standardisation(scores: Tensor) -> Tensor:
    # Table 3 (iv) leaves mu = 0.5 and sigma = 0.25 to be read as constants of a map already in 0-1
    return (_normalise_range(scores) - 0.5) / 0.25


def _normalise_standardisation_published(scores: Tensor) -> Tensor:
    low, high = scores.amin((2, 3), keepdim=True), scores.amax((2, 3), keepdim=True)
    divisor = torch.where(high.abs() < _EPS, torch.full_like(high, _EPS), high)
    return ((scores - low) / divisor - 0.5) / 0.25


NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "range": _normalise_range,
    "softmax": _normalise_softmax,
    "sigmoid": torch.sigmoid,
    "standardisation": _normalise_standardisation,
}
AGGREGATIONS = ("mean", "concatenation", "deep_supervised", "fine_tuned")


class GateSteps(NamedTuple):
    """What happens inside an attention gate (Figure 1, eqs. 7 and 8), in the order of the steps.

    Tensors of a batch have B before these shapes.

    Attributes
    ----------
    features : Tensor or ndarray, shape (C, h, w)
        What the gate attends to: ``x``.
    projected : Tensor or ndarray, shape (64, h, w)
        That in the intermediate channels, ``x * theta``.
    gating : Tensor or ndarray, shape (64, h, w)
        The last block's output there, at the resolution of ``x``: ``(g * phi)'``.
    agreement : Tensor or ndarray, shape (64, h, w)
        ReLU of the sum of both.
    score : Tensor or ndarray, shape (h, w)
        The compatibility score of eq. 8.
    attention : Tensor or ndarray, shape (h, w)
        The score normalised.
    attended : Tensor or ndarray, shape (C, h, w)
        The attention times ``x`` (eq. 7), whose sums are classified.
    """

    features: Any
    projected: Any
    gating: Any
    agreement: Any
    score: Any
    attention: Any
    attended: Any


class ConvBlock(nn.Sequential):
    """3x3 convolutions, each followed by batch norm and ReLU."""

    def __init__(self, channels_in: int, channels: tuple[int, ...]):
        layers: list[nn.Module] = []
        for channels_out in channels:
            layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU()]
            channels_in = channels_out
        super().__init__(*layers)


class AttentionGate(nn.Module):
    """Additive attention gate (eqs. 7, 8; Table 2): which pixels of ``x`` agree with the gating signal ``g``."""

    def __init__(self, channels: int, normalise: Callable[[Tensor], Tensor]):
        super().__init__()
        self.theta = nn.Conv2d(channels, _GATING_CHANNELS, 1, bias=False)
        self.phi = nn.Conv2d(_GATING_CHANNELS, _GATING_CHANNELS, 1, bias=False)
        self.psi = nn.Conv2d(_GATING_CHANNELS, 1, 1)
        self.normalise = normalise

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """Return the normalised map.

        Parameters
        ----------
        x : Tensor, shape (B, C, H, W)
            Features to be gated.
        g : Tensor, shape (B, 64, h, w)
            Gating signal.

        Returns
        -------
        Tensor, shape (B, 1, H, W)
        """
        score = self.score_by_tiles if x.device.type == "cpu" else self.score
        return self.normalise(score(x, g).float())

    def score(self, x: Tensor, g: Tensor) -> Tensor:
        """Return the compatibility score of eq. 8, shape (B, 1, H, W).

        Parameters
        ----------
        x : Tensor, shape (B, C, H, W)
            Features to be gated.
        g : Tensor, shape (B, 64, h, w)
            Gating signal.
        """
        gating = F.interpolate(self.phi(g), x.shape[2:], mode="bilinear", align_corners=False)  # (B, 64, H, W)
        return self.psi(F.relu(self.theta(x) + gating))

    def steps(self, x: Tensor, g: Tensor) -> GateSteps:
        """Return what `forward` makes of ``x`` (B, C, H, W) and ``g`` (B, 64, h, w), step by step.

        Parameters
        ----------
        x : Tensor, shape (B, C, H, W)
            Features to be gated.
        g : Tensor, shape (B, 64, h, w)
            Gating signal.
        """
        projected = self.theta(x)
        gating = F.interpolate(self.phi(g), x.shape[2:], mode="bilinear", align_corners=False)  # (B, 64, H, W)
        agreement = F.relu(projected + gating)
        score = self.psi(agreement)
        attention = self.normalise(score)
        return GateSteps(x, projected, gating, agreement, score[:, 0], attention[:, 0], attention * x)

    def score_by_tiles(self, x: Tensor, g: Tensor) -> Tensor:
        """Return the same score, several times as fast on a CPU.

        Parameters
        ----------
        x : Tensor, shape (B, C, H, W)
            Features to be gated.
        g : Tensor, shape (B, 64, h, w)
            Gating signal.
        """
        with torch.autocast(x.device.type, enabled=False):
            gating = F.conv2d(g.float(), self.phi.weight)  # (B, 64, h, w)
            score = compatibility(x, gating, self.theta.weight[:, :, 0, 0], self.psi.weight[0, :, 0, 0])
            return (score + self.psi.get_parameter("bias")).unsqueeze(1)


class Aggregation(nn.Module):
    """From the features of each gate to the logits (eqs. 10-13)."""

    def __init__(self, kind: str, channels: tuple[int, ...], classes: int, relu: bool):
        super().__init__()
        self.kind, self.relu = kind, relu
        self.per_gate = nn.ModuleList()
        if kind != "concatenation":
            self.per_gate.extend(nn.Linear(c, classes) for c in channels)
        if kind in ("concatenation", "deep_supervised"):
            self.final = nn.Linear(sum(channels), classes)
        elif kind == "fine_tuned":
            self.final = nn.Linear(len(channels) * classes, classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return logits (B, K) from the features (B, C) of each gate."""
        scores = [layer(f) for layer, f in zip(self.per_gate, features, strict=False)]
        if self.kind == "mean":
            return torch.stack(scores).mean(0)
        if self.kind == "concatenation":
            return self.final(torch.cat(features, 1))
        if self.kind == "deep_supervised":
            return torch.stack([self.final(torch.cat(features, 1)), *scores]).mean(0)
        joined = torch.cat(scores, 1)
        return self.final(F.relu(joined) if self.relu else joined)


class Network(nn.Module):
    """A network that classifies images, with or without attention gates.

    Attributes
    ----------
    architecture : Architecture
        Or that of a baseline, see `radio_ag.network.baselines`.
    n_features : int
        Length of `Output.features` of each image.
    blocks : ModuleList or tuple
        Blocks of convolutions whose batch norm `fold_batch_norm` can fold.
    """

    architecture: Any
    n_features: int
    blocks: Any


NetworkT = TypeVar("NetworkT", bound=Network)


class AGCNN(Network):
    """Attention-gated CNN: four blocks of convolutions, gates on the first three, classes from the gates alone.

    Parameters
    ----------
    architecture : Architecture
        Which variant; the default has 101,447 parameters.

    References
    ----------
    Bowles et al. 2021, MNRAS 501, 4579: Tables 1-3, Figures 1-2, eqs. 7-13. Each convolution is followed by
    batch norm, then ReLU, as in the published networks (Table 1 prints the other order).
    """

    def __init__(self, architecture: Architecture | None = None):
        super().__init__()
        self.architecture = a = architecture or Architecture()
        inputs = (1, *(channels[-1] for channels in _BLOCK_CHANNELS))
        self.blocks = nn.ModuleList(ConvBlock(i, c) for i, c in zip(inputs, _BLOCK_CHANNELS, strict=False))
        channels = _GATE_CHANNELS[: a.gates]
        normalise = NORMALISATIONS[a.normalisation]
        if a.published_details and a.normalisation == "standardisation":
            normalise = _normalise_standardisation_published
        self.n_features = sum(channels) if a.gates else _GATING_CHANNELS * (INPUT_SIZE // 16) ** 2
        self.gates = nn.ModuleList(AttentionGate(c, normalise) for c in channels)
        self.dropout = nn.Dropout(a.dropout)
        self.classifier: nn.Module
        if a.gates:
            self.classifier = Aggregation(a.aggregation, channels, a.classes, a.published_details)
        else:
            self.classifier = nn.Linear(self.n_features, a.classes)

    def forward(self, images: Tensor) -> Output:
        """Classify normalised images.

        Parameters
        ----------
        images : Tensor, shape (B, 1, 150, 150)
            Clipped and normalised, in the range that the weights' card states.

        Returns
        -------
        Output
            Logits (B, K) and each gate's map.
        """
        *maps, g = self.block_outputs(images)  # g: (B, 64, 18, 18)
        if not self.gates:
            last = _pool(g).flatten(1)  # (B, 64 * 9 * 9)
            return Output(self.classifier(self.dropout(last)), last)
        maps.reverse()  # gate 1 sees the deepest block
        attention = [gate(x, g) for gate, x in zip(self.gates, maps, strict=False)]  # (B, 1, H, W) each
        features = [self._features(a, x) for a, x in zip(attention, maps, strict=False)]  # (B, C) each
        logits = self.classifier([self.dropout(f) for f in features])
        return Output(logits, torch.cat(features, 1), *(a.squeeze(1) for a in attention))

    def block_outputs(self, images: Tensor) -> list[Tensor]:
        """Return what each block of convolutions makes of images (B, 1, H, W): (B, C, H / 2^i, W / 2^i) each.

        Parameters
        ----------
        images : Tensor, shape (B, 1, H, W)
        """
        outputs: list[Tensor] = []
        for block in self.blocks:
            outputs.append(block(_pool(outputs[-1]) if outputs else images))
        return outputs

    def _features(self, attention: Tensor, x: Tensor) -> Tensor:
        summed = torch.einsum("bhw,bchw->bc", attention.squeeze(1), x.float())  # eq. 9
        if self.architecture.features == "average":
            summed = summed / (attention.abs().sum((2, 3)) + _EPS)
        return summed


def _pool(x: Tensor) -> Tensor:
    """Largest of each 2x2 pixels, (B, C, H, W) to (B, C, H // 2, W // 2)."""
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return F.max_pool2d(x, 2)
    height, width = (side - side % 2 for side in x.shape[2:])  # ten times as fast on a CPU where channels are few
    rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def fold_batch_norm(network: NetworkT) -> NetworkT:
    """Return a copy for inference alone, with each batch norm folded into the convolution before it.

    Parameters
    ----------
    network : Network
        In evaluation mode.

    Returns
    -------
    Network
        Gives the same outputs but for rounding, without the passes over memory that batch norm takes.
    """
    folded = copy.deepcopy(network)
    for block in folded.blocks:
        for i in range(0, len(block), 3):
            block[i] = fuse_conv_bn_eval(block[i], block[i + 1])
            block[i + 1] = nn.Identity()
            block[i + 2] = nn.ReLU(inplace=True)
    return folded


def place_on_input(maps: Tensor, stride: int, size: int = INPUT_SIZE) -> Tensor:
    """Interpolate a gate's map bilinearly onto the pixels of the input, each cell at its true centre.

    Parameters
    ----------
    maps : Tensor, shape (..., h, w)
        Maps at the resolution of their gate.
    stride : int
        Input pixels for each cell: 4, 2, 1 for gates 1, 2, 3. Cell i is centred on pixel
        ``stride * i + (stride - 1) / 2``.
    size : int
        Pixels of the input along each axis.

    Returns
    -------
    Tensor, shape (..., size, size)
        Beyond the outermost centres the nearest cell's value holds.
    """
    if stride == 1:
        return maps
    weights = _placement(maps.shape[-1], stride, size).to(maps)
    return weights @ maps @ weights.T


def _placement(cells: int, stride: int, size: int) -> Tensor:
    position = ((torch.arange(size) - (stride - 1) / 2) / stride).clamp(0, cells - 1)
    distance = (position[:, None] - torch.arange(cells)[None, :]).abs()
    return (1 - distance).clamp_min(0)  # (size, cells), rows sum to 1


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters.

    Parameters
    ----------
    network : Module
    """
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
