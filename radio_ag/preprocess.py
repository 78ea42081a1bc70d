"""From raw fields to the network's input: noise, clip at 3 rms, crop to 150x150, scale to 0-1.

This follows section 4.2 of Bowles et al. 2021 (MNRAS 501, 4579). The noise is that of the whole field,
since sources fill the crop, and is the width of a Gaussian fitted to the histogram of its pixels.

All functions take fields of shape (n, ny, nx), never change their input, and go through it a few
fields at a time, so that `fields` may be a memory map larger than memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.errors import ImageError, InputError

FIELD_SIZE = 300
"""Side of a field, in pixels."""
CROP_SIZE = 150
"""Side of the network's input, in pixels."""
PIXEL_SCALE = 1.8
"""Side of a pixel, in arcsec."""
BEAM_FWHM = 5.4
"""Full width at half maximum of the FIRST beam, in arcsec."""
STRETCHES = ("linear", "sqrt", "asinh")
"""Stretches that `normalise` knows."""

_ASINH_SOFTENING = 0.1  # of the peak: linear below, logarithmic above
_BLOCK = 16  # fields a task: large enough to batch the fit, small enough to balance the threads

_SUBSAMPLE = 11  # every 11th pixel (not a divisor of the side) gives the first guess of centre and scale
_BIN_WIDTH = 0.1  # of the first guess of the scale
_HALF_RANGE = 6.0  # of the first guess of the scale
_BIN_EDGES_CENTRES = np.arange(-_HALF_RANGE + _BIN_WIDTH / 2, _HALF_RANGE, _BIN_WIDTH)
_POWERS = np.stack([_BIN_EDGES_CENTRES**k for k in range(5)], axis=1)  # (bins, 5)
_WINDOW = (-4.0, 2.0)  # of the fitted scale about the fitted centre: sources fill the positive wing
_WINDOW_RENEWALS = 4
_NEWTON_STEPS = 3
_MIN_PIXELS = 1000
_MIN_FILL_FRACTION = 0.02


class Rms(NamedTuple):
    """Noise of a stack of fields.

    Attributes
    ----------
    rms : ndarray (n,) of float32
        Noise in the unit of the fields (Jy/beam), NaN for a wholly blank field.
    fallback : ndarray (n,) of bool
        True where the histogram fit failed and `rms` is a robust estimate instead.
    """

    rms: NDArray[np.float32]
    fallback: NDArray[np.bool_]


class Prepared(NamedTuple):
    """The network's input, and what was measured on the way.

    Attributes
    ----------
    images : ndarray (n, 150, 150) of float32
        Clipped, cropped and scaled images.
    rms : ndarray (n,) of float32
        Noise of the whole field, Jy/beam; NaN for a wholly blank field.
    fallback : ndarray (n,) of bool
        True where the noise is not from the histogram fit.
    blank_fraction : ndarray (n,) of float32
        Share of the field's pixels that are not finite or hold a fill value.
    peak : ndarray (n,) of float32
        Brightest finite pixel of the crop, Jy/beam; NaN where there is none.
    """

    images: NDArray[np.float32]
    rms: NDArray[np.float32]
    fallback: NDArray[np.bool_]
    blank_fraction: NDArray[np.float32]
    peak: NDArray[np.float32]


@dataclass(frozen=True)
class Preprocessing:
    """Settings of `prepare`; the defaults are the paper's, scaled to 0-1 instead of 0-255.

    Attributes
    ----------
    clip : float
        Pixels at or below this many times the noise become zero.
    stretch : {"linear", "sqrt", "asinh"}
        Applied to the image scaled to 0-1.
    value_range : tuple of float
        What 0 and 1 are mapped to.
    """

    clip: float = 3.0
    stretch: str = "linear"
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self):
        _check_stretch(self.stretch)


def prepare(fields: ArrayLike, settings: Preprocessing | None = None, rms: ArrayLike | None = None) -> Prepared:
    settings = settings or Preprocessing()
    fields = _stack(fields, "fields")
    n = len(fields)
    given = None if rms is None else np.broadcast_to(np.asarray(rms, np.float32), (n,))
    images = np.empty((n, CROP_SIZE, CROP_SIZE), np.float32)
    noise, blank, peak = (np.empty(n, np.float32) for _ in range(3))
    fallback = np.zeros(n, bool)

    def work(block: slice) -> None:
        data = _native(fields[block])
        if given is None:
            noise[block], fallback[block], blank[block] = _measure(data)
        else:
            noise[block] = given[block]
            blank[block] = [1 - _valid_pixels(field).size / field.size for field in data]
        central = crop(data)
        finite = np.where(np.isfinite(central), central, -np.inf).max(axis=(1, 2))
        peak[block] = np.where(np.isfinite(finite), finite, np.nan)
        images[block] = normalise(clip(central, noise[block], settings.clip), settings.stretch, settings.value_range)

    _for_blocks(work, n)
    return Prepared(images, noise, fallback, blank, peak)


def estimate_rms(fields: ArrayLike) -> Rms:
    fields = _stack(fields, "fields")
    rms = np.empty(len(fields), np.float32)
    fallback = np.empty(len(fields), bool)

    def work(block: slice) -> None:
        rms[block], fallback[block], _ = _measure(_native(fields[block]))

    _for_blocks(work, len(fields))
    return Rms(rms, fallback)


def clip(fields: ArrayLike, rms: ArrayLike, threshold: float = 3.0) -> NDArray[np.float32]:
    fields = _native(_stack(fields, "fields"))
    limit = np.float32(threshold) * np.broadcast_to(np.asarray(rms, np.float32), (len(fields),))
    return np.where((fields > limit[:, None, None]) & np.isfinite(fields), fields, np.float32(0))


def crop(fields: ArrayLike, size: int = CROP_SIZE, centre: ArrayLike | None = None) -> NDArray:
    fields = _stack(fields, "fields")
    n, ny, nx = fields.shape
    if centre is None:
        centre = ((nx - 1) / 2, (ny - 1) / 2)
    centre = np.broadcast_to(np.asarray(centre, float), (n, 2))
    starts = np.floor(centre - (size - 1) / 2 + 0.5).astype(int)
    result = np.full((n, size, size), np.nan, np.float32)
    for image, field, (x0, y0) in zip(result, fields, starts, strict=True):
        y, x = slice(max(y0, 0), min(y0 + size, ny)), slice(max(x0, 0), min(x0 + size, nx))
        if y.start < y.stop and x.start < x.stop:
            image[y.start - y0 : y.stop - y0, x.start - x0 : x.stop - x0] = field[y, x]
    return result


def stretch(images: ArrayLike, kind: str) -> NDArray:
    _check_stretch(kind)
    images = np.asarray(images)
    if kind == "sqrt":
        return np.sqrt(images)
    if kind == "asinh":
        return np.arcsinh(images / _ASINH_SOFTENING) / np.arcsinh(1 / _ASINH_SOFTENING)
    return images.copy()


def normalise(
    images: ArrayLike, kind: str = "linear", value_range: tuple[float, float] = (0.0, 1.0)
) -> NDArray[np.float32]:
    images = _native(_stack(images, "images"))
    low = images.min(axis=(1, 2), keepdims=True)
    span = images.max(axis=(1, 2), keepdims=True) - low
    scaled = (images - low) / np.where(span > 0, span, np.float32(1))
    low, high = value_range
    return (stretch(scaled, kind) * np.float32(high - low) + np.float32(low)).astype(np.float32, copy=False)


def _check_stretch(kind: str) -> None:
    if kind not in STRETCHES:
        raise InputError(f"stretch {kind!r} is unknown: choose one of {', '.join(STRETCHES)}")


def _stack(array: ArrayLike, name: str) -> NDArray:
    array = np.asanyarray(array)
    if array.ndim != 3:
        raise ImageError(f"{name} must be a stack of shape (n, ny, nx), not {array.shape}: give one field as field[None]")
    return array


def _native(array: NDArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)


def _for_blocks(work: Callable[[slice], None], n: int) -> None:
    blocks = [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
    threads = min(len(blocks), len(os.sched_getaffinity(0)))
    if threads <= 1:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, blocks):
            pass


def _valid_pixels(field: NDArray[np.float32]) -> NDArray[np.float32]:
    repeated = field[:, 1:] == field[:, :-1]
    if np.count_nonzero(repeated) > _MIN_FILL_FRACTION * field.size:
        values, counts = np.unique(field[:, 1:][repeated], return_counts=True)
        if counts.max() > _MIN_FILL_FRACTION * field.size:
            field = field[field != values[counts.argmax()]]
    return field[np.isfinite(field)] if not np.isfinite(field).all() else field.reshape(-1)


def _measure(fields: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray]:
    """Noise, whether it is the fallback, and the blank fraction of a few fields."""
    n = len(fields)
    centre, scale, blank = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32), np.ones(n, np.float32)
    counts = np.zeros((n, len(_POWERS)))
    for i, field in enumerate(fields):
        pixels = _valid_pixels(field)
        blank[i] = 1 - pixels.size / field.size
        if pixels.size == 0:
            continue
        centre[i], scale[i] = _robust_centre_scale(pixels)
        if scale[i] > 0 and pixels.size >= _MIN_PIXELS:
            counts[i] = _histogram(pixels, centre[i], scale[i])
    fitted = _fit_gaussian(counts)
    good = np.isfinite(fitted)
    rms = np.where(good, np.where(good, fitted, 1) * scale, scale).astype(np.float32)
    return rms, ~good & np.isfinite(rms), blank


def _robust_centre_scale(pixels: NDArray[np.float32]) -> tuple[float, float]:
    sample = pixels[::_SUBSAMPLE] if pixels.size > 20000 else pixels
    low, middle = int(0.1587 * (sample.size - 1)), (sample.size - 1) // 2
    ordered = np.partition(sample, (low, middle))
    return ordered[middle], ordered[middle] - ordered[low]


def _histogram(pixels: NDArray[np.float32], centre: np.float32, scale: np.float32) -> NDArray:
    bins = len(_POWERS)
    position = (pixels - centre) * np.float32(1 / (scale * _BIN_WIDTH))
    position += np.float32(bins / 2 + 1)
    np.clip(position, 0, bins + 1, out=position)
    return np.bincount(position.astype(np.intp), minlength=bins + 2)[1:-1]


def _fit_gaussian(counts: NDArray) -> NDArray:
    """Scale of the Gaussian fitted to each histogram, in units of the bins' abscissa, NaN where it fails.

    log(expected counts) = a + b x + c x^2 is a log-linear Poisson regression, whose likelihood is concave: Newton's
    steps need only the moments of the model and the data.
    """
    x = _POWERS[:, 1]
    n = len(counts)
    mean, sigma = np.zeros(n), np.ones(n)
    usable = counts.sum(axis=1) >= _MIN_PIXELS / 2
    coefficients = None
    index = np.arange(3)[:, None] + np.arange(3)
    for _ in range(_WINDOW_RENEWALS):
        window = (x >= (mean + _WINDOW[0] * sigma)[:, None]) & (x <= (mean + _WINDOW[1] * sigma)[:, None])
        observed = np.where(window, counts, 0)
        total = observed.sum(axis=1)
        shape = np.where(window, np.exp(-0.5 * ((x - mean[:, None]) / sigma[:, None]) ** 2), 0)
        amplitude = np.maximum(total, 1) / np.maximum(shape.sum(axis=1), 1e-30)
        coefficients = np.stack(
            [np.log(amplitude) - 0.5 * (mean / sigma) ** 2, mean / sigma**2, -0.5 / sigma**2], axis=1
        )
        target = observed @ _POWERS[:, :3]
        for _ in range(_NEWTON_STEPS):
            model = np.where(window, np.exp(np.minimum(coefficients @ _POWERS[:, :3].T, 30)), 0)
            moments = model @ _POWERS
            normal = np.where(usable[:, None, None], moments[:, index], np.eye(3))
            gradient = np.where(usable[:, None], target - moments[:, :3], 0)
            coefficients = coefficients + np.linalg.solve(normal, gradient[..., None])[..., 0]
        usable &= np.isfinite(coefficients).all(axis=1) & (coefficients[:, 2] < -0.05)
        coefficients[~usable] = (0, 0, -0.5)
        sigma = np.sqrt(-0.5 / coefficients[:, 2])
        mean = coefficients[:, 1] * sigma**2
        usable &= (np.abs(mean) < 1) & (sigma < 2) & (sigma > 0.3)
        mean, sigma = np.where(usable, mean, 0), np.where(usable, sigma, 1)
    sigma = np.sqrt(np.maximum(sigma**2 - _BIN_WIDTH**2 / 12, 0))
    return np.where(usable, sigma, np.nan)
