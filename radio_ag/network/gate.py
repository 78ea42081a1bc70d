"""The compatibility score of an attention gate (eq. 8) on the CPU, a few rows of one image at a time.

Written layer by layer, a gate holds 64 channels at the resolution of its input several times over (gate 3: 5.8 MB an
image each), and memory bandwidth sets its speed. Here a tile of those channels lives and dies in the cache, forward and
backward.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_TILE_PIXELS = 2400  # x 64 channels x 4 bytes = 0.6 MB


def compatibility(x: Tensor, gating: Tensor, theta: Tensor, psi: Tensor) -> Tensor:
    """Score of each pixel, without the bias of Psi, in float32; computed in the precision of ``x``.

    Parameters
    ----------
    x : Tensor, shape (B, C, H, W)
        Features to be gated.
    gating : Tensor, shape (B, D, h, w)
        The gating signal after its 1x1 convolution Phi, before it is upsampled bilinearly.
    theta : Tensor, shape (D, C)
        Weights of the 1x1 convolution of ``x``.
    psi : Tensor, shape (D,)
        Weights of the 1x1 convolution to one channel.

    Returns
    -------
    Tensor, shape (B, H, W)
    """
    height, width = x.shape[2:]
    precision = x.dtype
    rows = _upsampling(gating.shape[2], height).to(precision)
    gating = gating.to(precision, memory_format=torch.channels_last)
    widened = F.interpolate(gating, (gating.shape[2], width), mode="bilinear", align_corners=False)
    widened = widened.permute(0, 2, 3, 1).contiguous()  # (B, h, W, D)
    pixels = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    theta, psi = theta.to(precision), psi.to(precision)
    return _Compatibility.apply(pixels, widened, theta.t().contiguous(), psi.contiguous(), rows).float()


@lru_cache
def _upsampling(size_in: int, size_out: int) -> Tensor:
    """Matrix (size_out, size_in) of bilinear interpolation along one axis, as ``F.interpolate`` does it."""
    with torch.inference_mode(False):  # the cached matrix serves training as well
        identity = torch.eye(size_in)[None]
        return F.interpolate(identity, size=size_out, mode="linear", align_corners=False)[0].T.contiguous()


class _Compatibility(torch.autograd.Function):
    """relu(rows @ widened + pixels @ theta) @ psi, recomputed tile by tile for the gradients."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, widened: Tensor, theta: Tensor, psi: Tensor, rows: Tensor) -> Tensor:
        batch, height, width, _ = pixels.shape
        score = pixels.new_empty(batch, height * width)
        tiles = _tiles(height, width, rows.shape[1])
        for b in range(batch):
            for tile in tiles:
                hidden = _hidden(pixels[b], widened[b], theta, rows, tile)
                torch.mv(hidden, psi, out=score[b, tile.pixels])
        ctx.save_for_backward(pixels, widened, theta, psi, rows)
        return score.view(batch, height, width)

    @staticmethod
    def backward(ctx: Any, d_score: Tensor) -> tuple[Tensor | None, ...]:
        pixels, widened, theta, psi, rows = ctx.saved_tensors
        batch, height, width, channels = pixels.shape
        d_score = d_score.reshape(batch, height * width, 1)
        d_pixels, d_widened = torch.empty_like(pixels), torch.zeros_like(widened)
        d_theta, d_psi = torch.zeros_like(theta, dtype=torch.float32), torch.zeros_like(psi, dtype=torch.float32)
        theta_t, rows_t = theta.t().contiguous(), rows.t().contiguous()
        tiles = _tiles(height, width, rows.shape[1])
        for b in range(batch):
            flat = pixels[b].view(-1, channels)
            for tile in tiles:
                r, h, p = tile
                hidden = _hidden(pixels[b], widened[b], theta, rows, tile)
                d_psi += torch.mm(hidden.t(), d_score[b, p])[:, 0]
                d_hidden = torch.ops.aten.threshold_backward(d_score[b, p] * psi, hidden, 0)
                torch.mm(d_hidden, theta_t, out=d_pixels[b].view(-1, channels)[p])
                d_theta += torch.mm(flat[p].t(), d_hidden)
                d_widened[b].view(rows.shape[1], -1)[h].addmm_(rows_t[h, r], d_hidden.view(r.stop - r.start, -1))
        return d_pixels, d_widened, d_theta.to(theta.dtype), d_psi.to(psi.dtype), None


class _Tile(NamedTuple):
    """Rows of the image, the rows of the gating signal that they are interpolated from, and the flattened pixels."""

    rows: slice
    gating_rows: slice
    pixels: slice


@lru_cache
def _tiles(height: int, width: int, gating_height: int) -> tuple[_Tile, ...]:
    tiles = []
    step = max(1, _TILE_PIXELS // width)
    for start in range(0, height, step):
        stop = min(start + step, height)
        touched = _upsampling(gating_height, height)[start:stop].any(0).nonzero().flatten().tolist()
        pixels = slice(start * width, stop * width)
        tiles.append(_Tile(slice(start, stop), slice(touched[0], touched[-1] + 1), pixels))
    return tuple(tiles)


def _hidden(pixels: Tensor, widened: Tensor, theta: Tensor, rows: Tensor, tile: _Tile) -> Tensor:
    """The gate's hidden channels for one tile of one image, shape (pixels of the tile, D)."""
    gating = widened[tile.gating_rows].view(-1, widened.shape[1] * widened.shape[2])
    hidden = torch.mm(rows[tile.rows, tile.gating_rows], gating).view(-1, widened.shape[-1])
    return hidden.addmm_(pixels.view(-1, pixels.shape[-1])[tile.pixels], theta).relu_()
