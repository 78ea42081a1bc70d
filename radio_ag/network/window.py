"""Networks that see the middle of the image alone: where sources are small, their neighbours would be in the way."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radio_ag.network.model import GATE_STRIDE, INPUT_SIZE, Network, Output, place_on_input

_EPS = 1e-30


class _Seen(NamedTuple):
    """What a network says of the middle of images: as `radio_ag.network.model.Output`."""

    logits: Tensor
    features: Tensor
    gates: tuple[Tensor, ...]
    size: int

    def attention(self) -> tuple[Tensor, ...]:
        """Return each gate's map on the pixels of the whole image, (B, 150, 150): its least value beyond the middle."""
        margin = (INPUT_SIZE - self.size) // 2
        placed = (place_on_input(a, stride, self.size) for a, stride in zip(self.gates, GATE_STRIDE, strict=False))
        return tuple(_padded(a, margin) for a in placed)

    def mean_attention(self) -> Tensor:
        """Return the mean of the gates' maps on the pixels of the image, shape (B, 150, 150)."""
        return torch.stack(self.attention()).mean(0)


class Windowed(nn.Module):
    """A network behind a window in the middle of its images.

    Parameters
    ----------
    network : Network
        Takes images of ``size`` pixels.
    size : int
        Even.
    """

    def __init__(self, network: Network, size: int):
        super().__init__()
        self.network, self.size = network, size
        self.architecture, self.n_features = network.architecture, network.n_features

    def forward(self, images: Tensor) -> Output | _Seen:
        """Classify the middle of images (B, 1, 150, 150), scaled to its own maximum.

        Parameters
        ----------
        images : Tensor, shape (B, 1, 150, 150)
            From 0 to 1, with a stretch that is linear or a root.

        Returns
        -------
        Output
        """
        margin = (images.shape[-1] - self.size) // 2
        middle = images[..., margin : margin + self.size, margin : margin + self.size]
        output = self.network(middle / middle.amax((2, 3), keepdim=True).clamp_min(_EPS))
        return _Seen(output.logits, output.features, output.gates, self.size)


def _padded(maps: Tensor, margin: int) -> Tensor:
    """Maps (B, h, w) with their least value around them."""
    low = maps.amin((1, 2), keepdim=True)
    return F.pad(maps - low, (margin,) * 4) + low
