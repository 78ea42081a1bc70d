"""`radio_ag.preprocess.images.prepare` on a GPU: the same steps in the same float32 arithmetic, many fields at once.

Fields of nothing but finite pixels go this way, which is nearly all. Fields that are blank in part, may hold a fill
value, or have no noise are left to the processor, whose code knows what to make of them. So is the fit, for which the
histograms alone come back: a few thousandths of a field's bytes.
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from radio_ag.preprocess.images import ASINH_SOFTENING, CROP_SIZE, Prepared, Preprocessing, prepare
from radio_ag.preprocess.noise import (
    BIN_CENTRES,
    BIN_WIDTH,
    FILL_SHARE,
    ONE_SIGMA_BELOW,
    PATCH,
    noise_from,
    symmetric_grid,
)
from radio_ag.preprocess.stacks import as_stack, to_native

_BLOCK = 256  # fields: 92 MB of pixels, and four times that while they are counted


def prepare_on(device: torch.device, fields: ArrayLike, settings: Preprocessing | None = None) -> Prepared:
    """Turn raw fields (n, ny, nx) into the network's input, on a device; see `radio_ag.preprocess.images.prepare`.

    Parameters
    ----------
    device : torch.device
        Where the fields are measured, and stay.
    fields : array_like, shape (n, ny, nx)
        Jy/beam.
    settings : Preprocessing, optional
        None means the paper's.

    Returns
    -------
    Prepared
        Whose images are on the device.
    """
    settings = Preprocessing() if settings is None else settings
    fields = as_stack(fields, "fields")
    if min(fields.shape[1:]) < CROP_SIZE or not len(fields):
        return prepare(fields, settings)
    blocks = (fields[start : start + _BLOCK] for start in range(0, len(fields), _BLOCK))
    on_gpu = device.type == "cuda"  # on a stream of its own: a network may be at work beside it
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream(device)) if on_gpu else nullcontext():
        parts = [_prepare(to_native(block), settings, device) for block in blocks]
    return Prepared(*map(np.concatenate, zip(*parts, strict=True)))


def _prepare(fields: NDArray[np.float32], settings: Preprocessing, device: torch.device) -> Prepared:
    there = torch.from_numpy(fields).to(device)
    low, centre = _percentiles(there)
    guess = centre - low
    ordinary = torch.isfinite(there).all(2).all(1).cpu().numpy() & ~_may_have_fill(there) & (guess > 0)
    counts = _histograms(there, centre, np.where(ordinary, guess, 1))
    rms, fallback = noise_from(counts, guess)
    central = there[:, *(slice(start := -((CROP_SIZE + 1 - n) // 2), start + CROP_SIZE) for n in fields.shape[1:])]
    images = _scale(central, np.float32(settings.clip) * rms, settings)
    peak = central.amax((1, 2)).cpu().numpy()
    prepared = Prepared(images.cpu().numpy(), rms, fallback, np.zeros(len(fields), np.float32), peak)
    if not ordinary.all():
        for ours, theirs in zip(prepared, prepare(fields[~ordinary], settings), strict=True):
            ours[~ordinary] = theirs
    return prepared


def _percentiles(fields: Tensor) -> NDArray[np.float64]:
    """What lies one sigma below the median, and the median, of each field, from the pixels that the CPU takes."""
    rows, columns = symmetric_grid((fields.shape[1], fields.shape[2]))
    sample = fields[:, rows, columns].flatten(1)
    last = sample.shape[1] - 1
    ordered = sample.sort(1).values
    return ordered[:, [int(ONE_SIGMA_BELOW * last), last // 2]].double().T.cpu().numpy()


def _may_have_fill(fields: Tensor) -> NDArray[np.bool_]:
    """Whether enough patches of a field are of one value each, though perhaps of several values."""
    side = PATCH
    ny, nx = (length - length % side for length in fields.shape[1:])
    patches = fields[:, :ny, :nx].unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (n, patches, side, patches, side)
    uniform = (patches.amax((2, 4)) == patches.amin((2, 4))).flatten(1)
    return (uniform.sum(1) >= max(FILL_SHARE * uniform.shape[1], 1)).cpu().numpy()


def _histograms(fields: Tensor, centre: NDArray, scale: NDArray) -> NDArray[np.int64]:
    """Counts (n, bins) of each field's pixels about its centre."""
    bins = len(BIN_CENTRES)
    middle, factor = (
        torch.from_numpy(values.astype(np.float32)[:, None]).to(fields.device)
        for values in (centre, 1 / (BIN_WIDTH * scale))
    )
    position = (fields.flatten(1) - middle).mul_(factor).add_(bins / 2 + 1).nan_to_num_(0).clamp_(0, bins + 1).long()
    counts = torch.zeros(len(fields), bins + 2, dtype=torch.int64, device=fields.device)
    counts.scatter_add_(1, position, torch.ones_like(position))
    return counts[:, 1:-1].cpu().numpy()


def _scale(central: Tensor, limit: NDArray[np.float32], settings: Preprocessing) -> Tensor:
    """Clip at the limits (n,), and scale as `radio_ag.preprocess.images.normalise` does."""
    bound = torch.from_numpy(limit).to(central.device)[:, None, None]
    images = torch.where((central > bound) & (central < torch.inf), central, 0.0)
    low = images.amin((1, 2), keepdim=True)
    span = images.amax((1, 2), keepdim=True) - low
    images.sub_(low).div_(torch.where(span > 0, span, 1.0))
    if settings.stretch == "sqrt":
        images.sqrt_()
    elif settings.stretch == "asinh":
        images.div_(ASINH_SOFTENING).asinh_().div_(np.arcsinh(1 / ASINH_SOFTENING))
    bottom, top = settings.value_range
    return images.mul_(top - bottom).add_(bottom)
