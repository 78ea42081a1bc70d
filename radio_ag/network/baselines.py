"""Networks that the AG-CNN is measured against, and the way from an architecture to its network.

Shape letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from radio_ag.errors import InputError
from radio_ag.network.model import (
    AGCNN,
    AGGREGATIONS,
    NORMALISATIONS,
    Aggregation,
    Architecture,
    Network,
    Output,
    check_choice,
    check_common,
)

_CLASSIC_CONVOLUTIONS = ((6, 11, 2), (16, 5, 3), (24, 3, 1), (24, 3, 1), (16, 3, 5))  # channels, kernel, pooling
_CLASSIC_DENSE = (400, 256, 256, 256)  # 16 channels of 5x5 pixels, then the hidden layers
_SONONET_CHANNELS = (32, 16, 64)  # of the two gates, and of the last feature map


@dataclass(frozen=True)
class ClassicArchitecture:
    """The Classic CNN of Tang et al. 2019, the baseline of Table 6.

    Attributes
    ----------
    dropout : float
        Dropout probability after each hidden dense layer.
    classes : int
        Number of output classes.
    kind : str
        Tells its settings from those of other networks.
    """

    dropout: float = 0.5
    classes: int = 2
    kind: str = "classic_cnn"

    def __post_init__(self) -> None:
        check_common(self)

    @property
    def gates(self) -> int:
        """Number of attention gates."""
        return 0

    @property
    def normalisation(self) -> str:
        """Normalisation of the attention maps, of which there are none."""
        return "none"


@dataclass(frozen=True)
class SonoNetArchitecture:
    """The arrangement of AG-SonoNet (Schlemper et al. 2018) on the blocks of the AG-CNN.

    Attributes
    ----------
    normalisation, aggregation, dropout, features, classes
        As those of `radio_ag.network.model.Architecture`.
    kind : str
        Tells its settings from those of other networks.
    """

    normalisation: str = "range"
    aggregation: str = "fine_tuned"
    dropout: float = 0.5
    features: str = "sum"
    classes: int = 2
    kind: str = "ag_sononet"

    def __post_init__(self) -> None:
        check_common(self)
        for name, accepted in (
            ("normalisation", NORMALISATIONS),
            ("aggregation", AGGREGATIONS),
            ("features", ("sum", "average")),
        ):
            check_choice(name, getattr(self, name), accepted)

    @property
    def gates(self) -> int:
        """Number of attention gates."""
        return 2


AnyArchitecture = Architecture | ClassicArchitecture | SonoNetArchitecture


class ClassicCNN(Network):
    """Five convolutions with three max poolings, and four dense layers.

    The paper gives two numbers: 250 k parameters, of which 94 % are in the dense layers. The sizes of the layers are
    those with which the authors of the paper rebuilt the network (AstroAttention, which uses one of the two inner dense
    layers twice); with two layers of 256x256 they give 250,234 parameters, 93.8 % of them dense. Each convolution keeps
    the size of the image and is followed by ReLU, then batch norm.

    Parameters
    ----------
    architecture : ClassicArchitecture, optional

    References
    ----------
    Tang, Scaife & Leahy 2019, MNRAS 488, 3358; Bowles et al. 2021, MNRAS 501, 4579, sections 1 and 3.
    """

    blocks = ()  # batch norm follows the ReLU and cannot be folded

    def __init__(self, architecture: ClassicArchitecture | None = None):
        super().__init__()
        self.architecture = architecture or ClassicArchitecture()
        convolutions: list[nn.Module] = []
        channels_in = 1
        for channels, kernel, pooling in _CLASSIC_CONVOLUTIONS:
            convolutions += [
                nn.Conv2d(channels_in, channels, kernel, padding=kernel // 2),
                nn.ReLU(),
                nn.BatchNorm2d(channels),
            ]
            if pooling > 1:
                convolutions.append(nn.MaxPool2d(pooling))
            channels_in = channels
        self.convolutions = nn.Sequential(*convolutions)
        dense: list[nn.Module] = []
        for inputs, outputs in pairwise(_CLASSIC_DENSE):
            dense += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(self.architecture.dropout)]
        self.dense = nn.Sequential(*dense)
        self.n_features = _CLASSIC_DENSE[-1]
        self.classifier = nn.Linear(self.n_features, self.architecture.classes)

    def forward(self, images: Tensor) -> Output:
        """Classify normalised images; there are no attention maps.

        Parameters
        ----------
        images : Tensor, shape (B, 1, 150, 150)
        """
        features = self.dense(self.convolutions(images).flatten(1))  # (B, 256)
        return Output(self.classifier(features), features)


class AGSonoNet(AGCNN):
    """Two attention gates, and the mean of the last feature map as a third input of the aggregation.

    In AG-SonoNet the network can classify from the last feature map alone; in the AG-CNN it cannot (section 3.1 of the
    paper). Blocks and gates are those of the AG-CNN, so that the arrangement is all that differs: the published
    AG-SonoNet, for ultrasound images, has wider and more layers (696 k parameters).

    Parameters
    ----------
    architecture : SonoNetArchitecture, optional

    References
    ----------
    Schlemper et al. 2018, arXiv:1804.05338; Schlemper et al. 2019, Medical Image Analysis 53, 197.
    """

    def __init__(self, architecture: SonoNetArchitecture | None = None):
        a = architecture or SonoNetArchitecture()
        super().__init__(
            Architecture(
                normalisation=a.normalisation,
                aggregation=a.aggregation,
                gates=2,
                classes=a.classes,
                dropout=a.dropout,
                features=a.features,
            )
        )
        self.architecture = a
        self.n_features = sum(_SONONET_CHANNELS)
        self.classifier = Aggregation(a.aggregation, _SONONET_CHANNELS, a.classes, relu=False)

    def forward(self, images: Tensor) -> Output:
        """Classify normalised images.

        Parameters
        ----------
        images : Tensor, shape (B, 1, H, W)
            H and W at least 16.
        """
        g, *gated = reversed(self.block_outputs(images))
        attention = [gate(x, g) for gate, x in zip(self.gates, gated, strict=False)]  # (B, 1, H, W) each
        features = [self._features(a, x) for a, x in zip(attention, gated, strict=False)]  # (B, C) each
        features.append(g.float().mean((2, 3)))  # (B, 64)
        logits = self.classifier([self.dropout(f) for f in features])
        return Output(logits, torch.cat(features, 1), *(a.squeeze(1) for a in attention))


_KINDS = {"agcnn": (Architecture, AGCNN), "classic_cnn": (ClassicArchitecture, ClassicCNN),
          "ag_sononet": (SonoNetArchitecture, AGSonoNet)}  # fmt: skip
KINDS = tuple(_KINDS)
"""Names of the networks that can be trained."""


def kind_of(architecture: AnyArchitecture) -> str:
    """Name of an architecture's network, one of `KINDS`.

    Parameters
    ----------
    architecture : Architecture, ClassicArchitecture or SonoNetArchitecture
    """
    return getattr(architecture, "kind", "agcnn")


def architecture_of(settings: Mapping[str, Any]) -> AnyArchitecture:
    """Return the architecture whose settings a card or a checkpoint holds.

    Parameters
    ----------
    settings : mapping
        ``kind`` says which network it is, the AG-CNN where it is missing.

    Raises
    ------
    InputError
        An unknown kind, or a setting that it does not have.
    """
    kind = settings.get("kind", "agcnn")
    if kind not in _KINDS:
        raise InputError(f"architecture must be one of {', '.join(KINDS)}, not {kind!r}")
    own = {name: value for name, value in settings.items() if name != "kind"}
    try:
        return _KINDS[kind][0](**own)
    except (TypeError, ValueError) as exc:
        known = ", ".join(name for name in asdict(_KINDS[kind][0]()) if name != "kind")
        raise InputError(f"not an architecture of {kind}: {exc}; its settings are {known}") from exc


def build(architecture: AnyArchitecture) -> Network:
    """Return a new network with random parameters.

    Parameters
    ----------
    architecture : Architecture, ClassicArchitecture or SonoNetArchitecture
    """
    return _KINDS[kind_of(architecture)][1](architecture)


def needs_whole_images(architecture: AnyArchitecture) -> bool:
    """Return whether the network takes images of 150x150 pixels alone: its dense layers count the pixels.

    Parameters
    ----------
    architecture : Architecture, ClassicArchitecture or SonoNetArchitecture
    """
    return architecture.gates == 0
