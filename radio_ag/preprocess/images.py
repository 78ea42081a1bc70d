"""From raw fields to the network's input: measure the noise, clip, crop and scale to 0-1.

The steps are those of section 4.2 of Bowles et al. 2021 (MNRAS 501, 4579). The noise is that of the whole field,
because sources fill the crop: the width of a Gaussian fitted to the histogram of the field's pixels.

Every function takes a stack of shape (n, ny, nx) and never changes it. `prepare` and `estimate_rms` go through it a
field at a time on all processors, so it may be a memory map larger than memory: beyond the result (90 kB a field from
`prepare`) they need a few MB a processor.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import asinh, isfinite
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
"""Names of the stretches."""
ASINH_SOFTENING = 0.1
"""Where the asinh stretch turns from linear to logarithmic, as a fraction of the peak."""

_BLOCK = 128  # fields a task at most: they share the cost of the fit, and of passing on Python's lock
_MIN_PIXELS = 100  # valid pixels below which nothing is known of the noise: ten FIRST beams
_MIN_COUNTS = 500  # pixels in the fitted range below which a histogram is too thin
_SUBSAMPLE = 23  # the first guess takes every 23rd pixel, which is no divisor of a field's side
_ONE_SIGMA_BELOW = 0.15866  # of a Gaussian's values lie more than a sigma below its middle
_FILL_SHARE = 0.01  # share of uniform 5x5 patches above which their value is a fill value
_PATCH = 5

# The histogram's abscissa is (pixel - median) / first guess of the noise.
_BIN_WIDTH = 0.1
_BIN_CENTRES = np.linspace(-5.95, 5.95, 120)
_POWERS = _BIN_CENTRES[:, None] ** np.arange(5)  # (bins, 5)
_WINDOW = (-3.0, 2.0)  # fitted range in sigma about the mean: sources fill the positive wing
_ITERATIONS = 10
_MAX_SHIFT = 1.0  # a fit further than this from the first guess has caught something else than the noise
_SCALE_LIMITS = (0.5, 2.0)
_MAX_MISFIT = 0.1  # largest difference of the cumulative distributions of the counts and the fit


class Rms(NamedTuple):
    """Noise of a stack of fields.

    Attributes
    ----------
    rms : ndarray (n,) of float32
        Noise in the fields' unit (Jy/beam), NaN for a blank or constant field.
    fallback : ndarray (n,) of bool
        True where the histogram could not be fitted and `rms` is a robust estimate instead.
    """

    rms: NDArray[np.float32]
    fallback: NDArray[np.bool_]


class Prepared(NamedTuple):
    """The network's input and what was measured on the way.

    Attributes
    ----------
    images : ndarray (n, 150, 150) of float32
        Clipped, cropped and scaled images.
    rms : ndarray (n,) of float32
        Noise of the whole field, Jy/beam; NaN for a blank or constant field.
    fallback : ndarray (n,) of bool
        True where `rms` is not from the histogram fit; False where it was given.
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
    """Settings of `prepare`. The defaults are the paper's, scaled to 0-1 instead of 0-255.

    Attributes
    ----------
    clip : float
        Pixels at or below this many times the noise become zero.
    stretch : {"linear", "sqrt", "asinh"}
        Applied to the image scaled to 0-1, see `stretch`.
    value_range : tuple of float
        Values that 0 and 1 are mapped to.
    """

    clip: float = 3.0
    stretch: str = "linear"
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self):
        if not (isfinite(self.clip) and self.clip >= 0):
            raise InputError(f"clip must be a finite number of at least 0 (in units of the noise), not {self.clip!r}")
        _check_stretch(self.stretch)
        _check_value_range(self.value_range)


def prepare(fields: ArrayLike, settings: Preprocessing | None = None, rms: ArrayLike | None = None) -> Prepared:
    """Turn raw fields into the network's input: noise, clip, central crop, scale.

    Parameters
    ----------
    fields : array_like (n, ny, nx)
        Fields in Jy/beam, centred on the source, NaN where blank; 300x300 px of 1.8 arcsec as a rule.
    settings : Preprocessing, optional
        None means the defaults, which are the paper's.
    rms : array_like, optional
        Known noise, Jy/beam, one for all or one a field. None means that it is measured by `estimate_rms`.

    Returns
    -------
    Prepared
        One row for each field, in order. A blank field gives a blank image.

    Raises
    ------
    ImageError
        If `fields` is no stack of real images.
    InputError
        If `rms` does not have one value a field.
    """
    settings = Preprocessing() if settings is None else settings
    fields = _as_stack(fields, "fields")
    n = len(fields)
    given = None if rms is None else _per_image(rms, n, "rms")
    images = np.empty((n, CROP_SIZE, CROP_SIZE), np.float32)
    noise, blank_fraction, peak = np.empty((3, n), np.float32)
    fallback = np.zeros(n, bool)

    def work(block: slice) -> None:
        if given is None:
            noise[block], fallback[block], blank_fraction[block] = _measure_noise(fields[block])
        else:
            noise[block] = given[block]
            blank_fraction[block] = [1 - _valid_pixels(_to_native(field)).size / field.size for field in fields[block]]
        central = images[block]  # worked on in place
        _cut(fields[block], central, _centre_of(fields))
        peak[block] = _peak(central)
        _clip(central, np.float32(settings.clip) * noise[block])
        _normalise(central, settings.stretch, settings.value_range)

    _run_blocks(work, n)
    return Prepared(images, noise, fallback, blank_fraction, peak)


def estimate_rms(fields: ArrayLike) -> Rms:
    """Measure the noise of each field by a Gaussian fitted to the histogram of its pixels.

    The fit is the maximum of the Poisson likelihood of the counts between -3 and +2 sigma about the fitted mean,
    so that neither sources nor deep sidelobes enter it. Pixels that are not finite do not count, nor do those of a
    fill value (wide areas of exactly the same value, such as zeros beyond the edge of a survey).

    Where the histogram cannot be fitted (fewer than about 600 valid pixels, coarse steps, no single peak, sources
    over half of the field) the estimate is the distance of the 16th percentile from the median. A field that has
    been clipped already has no noise left: it is zero there.

    Parameters
    ----------
    fields : array_like (n, ny, nx)
        Fields in Jy/beam, NaN where blank; the source need not be centred.

    Returns
    -------
    Rms
        The noise, and where it is not from the fit. It is NaN for a field that is wholly blank, constant, or has
        fewer than 100 valid pixels.

    Raises
    ------
    ImageError
        If `fields` is no stack of real images.
    """
    fields = _as_stack(fields, "fields")
    rms = np.empty(len(fields), np.float32)
    fallback = np.empty(len(fields), bool)

    def work(block: slice) -> None:
        rms[block], fallback[block], _ = _measure_noise(fields[block])

    _run_blocks(work, len(fields))
    return Rms(rms, fallback)


def clip(fields: ArrayLike, rms: ArrayLike, threshold: float = 3.0) -> NDArray[np.float32]:
    """Set pixels to zero that do not exceed `threshold` times the noise, and those that are not finite.

    Parameters
    ----------
    fields : array_like (n, ny, nx)
        Images in Jy/beam.
    rms : array_like
        Noise in Jy/beam, one for all or one an image; where it is NaN the image becomes zero.
    threshold : float
        In units of the noise.

    Returns
    -------
    ndarray (n, ny, nx) of float32
    """
    clipped = np.array(_as_stack(fields, "fields"), np.float32, order="C")
    _clip(clipped, np.float32(threshold) * _per_image(rms, len(clipped), "rms"))
    return clipped


def _clip(images: NDArray[np.float32], limits: NDArray[np.float32]) -> None:
    """Set to zero, in place, what does not exceed the limit of its image or is not finite."""
    for image, limit in zip(images, limits, strict=True):
        np.copyto(image, 0, where=~((image > limit) & (image < np.inf)))


def crop(fields: ArrayLike, size: int = CROP_SIZE, centre: ArrayLike | None = None) -> NDArray[np.float32]:
    """Cut squares out of fields, padded with NaN where they reach beyond the edge.

    The square begins at pixel ``ceil(centre - size / 2)``, as that of `astropy.nddata.Cutout2D`.

    Parameters
    ----------
    fields : array_like (n, ny, nx)
    size : int
        Side of the square in pixels.
    centre : array_like (2,) or (n, 2), optional
        Pixel coordinates (x, y), counted from 0 at the centre of the first pixel; one for all or one a field. None
        means the centre of the fields, ``((nx - 1) / 2, (ny - 1) / 2)``.

    Returns
    -------
    ndarray (n, size, size) of float32
    """
    fields = _as_stack(fields, "fields")
    n = len(fields)
    if size < 1:
        raise InputError(f"size must be at least 1 pixel, not {size}")
    centre = _centre_of(fields) if centre is None else np.asarray(centre, float)
    if centre.shape not in ((2,), (n, 2)) or not np.isfinite(centre).all():
        raise InputError(f"centre must be finite and of shape (2,) or ({n}, 2), not {centre!r}")
    squares = np.empty((n, size, size), np.float32)
    _cut(fields, squares, centre)
    return squares


def _centre_of(fields: NDArray) -> NDArray[np.float64]:
    return (np.array(fields.shape[:0:-1]) - 1) / 2


def _cut(fields: NDArray, squares: NDArray[np.float32], centre: NDArray[np.float64]) -> None:
    """Fill squares (n, size, size) with what lies about the centre, of all or of each."""
    size = squares.shape[-1]
    starts = np.clip(np.ceil(centre - size / 2), -size, max(fields.shape[1:])).astype(int)
    for square, field, (x, y) in zip(squares, fields, np.broadcast_to(starts, (len(fields), 2)), strict=True):
        inside = field[max(y, 0) : y + size, max(x, 0) : x + size]
        if inside.shape != square.shape:
            square[:] = np.nan
        below, left = max(-y, 0), max(-x, 0)
        square[below : below + inside.shape[0], left : left + inside.shape[1]] = inside


def normalise(
    images: ArrayLike, kind: str = "linear", value_range: tuple[float, float] = (0.0, 1.0)
) -> NDArray[np.float32]:
    """Scale each image to 0-1 by its own minimum and maximum (paper eq. 14 without the 255), then stretch it.

    Parameters
    ----------
    images : array_like (n, ny, nx)
        Clipped images in any unit. Pixels that are not finite count as zero.
    kind : {"linear", "sqrt", "asinh"}
        Stretch of the scaled image, see `stretch`.
    value_range : tuple of float
        Values that 0 and 1 are mapped to in the end.

    Returns
    -------
    ndarray (n, ny, nx) of float32
        A constant image comes out at the lower end of `value_range`.
    """
    _check_stretch(kind)
    _check_value_range(value_range)
    scaled = np.array(_as_stack(images, "images"), np.float32, order="C")
    scaled[~np.isfinite(scaled)] = 0
    _normalise(scaled, kind, value_range)
    return scaled


def _normalise(images: NDArray[np.float32], kind: str, value_range: tuple[float, float]) -> None:
    """Scale and stretch finite images in place."""
    bottom, top = value_range
    for image in images:
        low = image.min()
        span = image.max() - low
        image -= low
        image /= span if span > 0 else np.float32(1)
        _stretch(image, kind, out=image)
        image *= np.float32(top - bottom)
        image += np.float32(bottom)


def stretch(images: ArrayLike, kind: str) -> NDArray:
    """Stretch images that are scaled to 0-1; 0 and 1 stay where they are.

    Parameters
    ----------
    images : array_like
        Values from 0 to 1, of any shape.
    kind : {"linear", "sqrt", "asinh"}
        "linear" leaves them as they are, as the paper does, "sqrt" takes the root, "asinh" is
        ``asinh(x / a) / asinh(1 / a)`` with a softening a = 0.1.

    Returns
    -------
    ndarray
        A new array of the same shape.
    """
    _check_stretch(kind)
    return _stretch(images, kind)


def _stretch(images: ArrayLike, kind: str, out: NDArray | None = None) -> NDArray:
    if kind == "sqrt":
        return np.sqrt(images, out=out)
    if kind == "asinh":
        softened = np.divide(images, ASINH_SOFTENING, out=out)
        return np.divide(np.arcsinh(softened, out=out), asinh(1 / ASINH_SOFTENING), out=out)
    return np.array(images) if out is None else np.positive(images, out=out)


def _check_stretch(kind: str) -> None:
    if kind not in STRETCHES:
        raise InputError(f"stretch must be one of {', '.join(STRETCHES)}, not {kind!r}")


def _check_value_range(value_range: tuple[float, float]) -> tuple[float, float]:
    if len(value_range) != 2 or not all(map(isfinite, value_range)) or value_range[0] >= value_range[1]:
        raise InputError(f"value_range must be two finite numbers, the lower first, not {value_range!r}")
    return value_range


def _as_stack(array: ArrayLike, name: str) -> NDArray:
    """A stack (n, ny, nx) of any real type and byte order, masked pixels as NaN."""
    array = np.asanyarray(array)
    if array.ndim != 3:
        hint = ": give a single image as image[None]" if array.ndim == 2 else ""
        raise ImageError(f"{name} must be a stack of shape (n, ny, nx), not {array.shape}{hint}")
    if 0 in array.shape[1:]:
        raise ImageError(f"{name} must have pixels, but is of shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ImageError(f"{name} must hold real numbers, not {array.dtype}")
    return array.astype(np.float32).filled(np.nan) if isinstance(array, np.ma.MaskedArray) else array


def _to_native(array: NDArray) -> NDArray[np.float32]:
    """Contiguous float32 of the machine's byte order; no copy where it is that already."""
    return np.ascontiguousarray(array, np.float32)


def _per_image(values: ArrayLike, n: int, name: str) -> NDArray[np.float32]:
    values = np.asarray(values, np.float32)
    if values.shape not in ((), (n,)):
        raise InputError(f"{name} must be one number or one for each of the {n} images, not of shape {values.shape}")
    return np.broadcast_to(values, (n,))


def _run_blocks(work: Callable[[slice], None], n: int) -> None:
    """Call `work` for slices that cover n fields, on all processors: NumPy's loops run side by side."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = min(_BLOCK, max(-(-n // processors), 1))
    blocks = [slice(start, start + size) for start in range(0, n, size)]
    if len(blocks) <= 1 or processors == 1:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(processors) as pool:
        list(pool.map(work, blocks))  # taking the results raises what a task raised


def _peak(images: NDArray[np.float32]) -> NDArray[np.float32]:
    brightest = images.max(axis=(1, 2))
    odd = ~np.isfinite(brightest)
    if odd.any():
        brightest[odd] = np.where(np.isfinite(images[odd]), images[odd], np.float32(-np.inf)).max(axis=(1, 2))
    return np.where(brightest > -np.inf, brightest, np.float32(np.nan))


def _valid_pixels(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels of a field (ny, nx) that are finite and not fill, as a vector.

    Zeros with nothing below them are what clipping leaves, not fill.
    """
    valid = np.isfinite(field)
    fill = _fill_value(field)
    if fill is not None:
        others = field[valid & (field != fill)]
        if others.size == 0 or fill != 0 or others.min() < 0:
            return others
    return field.reshape(-1) if valid.all() else field[valid]


def _fill_value(field: NDArray[np.float32]) -> np.float32 | None:
    """The value that fills wide areas of a field, found from patches whose centre equals eight pixels around it.

    Correlated or coarsely quantised noise repeats values from pixel to pixel, but not over whole patches.
    """
    ny, nx = (side - side % _PATCH for side in field.shape)
    patches = field[:ny, :nx].reshape(ny // _PATCH, _PATCH, nx // _PATCH, _PATCH)
    middle = patches[:, 2, :, 2]
    enough = max(_FILL_SHARE * middle.size, 1)
    uniform = np.ones(middle.shape, bool)
    for y, x in ((0, 0), (4, 4), (0, 4), (4, 0), (0, 2), (2, 0), (4, 2), (2, 4)):
        uniform &= patches[:, y, :, x] == middle
        if np.count_nonzero(uniform) < enough:
            return None
    values, counts = np.unique(middle[uniform], return_counts=True)
    return values[counts.argmax()] if counts.max() >= enough else None


def _measure_noise(fields: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Noise of a few fields, where it is not from the histogram fit, and the blank fraction of each."""
    guess, blank_fraction = np.full(len(fields), np.nan), np.empty(len(fields))
    counts = np.zeros((len(fields), len(_BIN_CENTRES)))
    for i, field in enumerate(fields):
        pixels = _valid_pixels(_to_native(field))
        blank_fraction[i] = 1 - pixels.size / field.size
        if pixels.size >= _MIN_PIXELS:
            centre, guess[i] = _robust_centre_and_scale(pixels)
            if guess[i] > 0:
                counts[i] = _histogram(pixels, centre, guess[i])
    return *_noise_from(counts, guess), blank_fraction


def _noise_from(counts: NDArray, guess: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Noise from histograms in units of its first guess, and where it is that guess for want of a fit."""
    scale = _fit_gaussians(counts)
    fitted = np.isfinite(scale)
    rms = np.where(fitted, scale, 1) * guess
    return rms.astype(np.float32), ~fitted & np.isfinite(rms)


def _robust_centre_and_scale(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """Median, and its distance from the percentile that lies one sigma below it."""
    sample = pixels[::_SUBSAMPLE] if pixels.size > 1000 * _SUBSAMPLE else pixels
    low, middle = int(_ONE_SIGMA_BELOW * (sample.size - 1)), (sample.size - 1) // 2
    ordered = np.partition(sample, (low, middle))
    return float(ordered[middle]), float(ordered[middle]) - float(ordered[low])


def _histogram(pixels: NDArray[np.float32], centre: float, scale: float) -> NDArray[np.int64]:
    """Counts in the bins about `_BIN_CENTRES`; what lies beyond falls into a bin at each end and is left out."""
    bins = len(_BIN_CENTRES)
    with np.errstate(over="ignore"):
        position = pixels - np.float32(centre)
        position *= np.float32(1 / (_BIN_WIDTH * scale))
    position += np.float32(bins / 2 + 1)
    np.clip(position, 0, bins + 1, out=position)
    return np.bincount(position.astype(np.int32), minlength=bins + 2)[1:-1]


def _fit_gaussians(counts: NDArray) -> NDArray[np.float64]:
    """Width of the Gaussian fitted to each of n histograms (n, bins), in units of the abscissa; NaN where it fails.

    The logarithm of a Gaussian is a parabola, so this is a Poisson regression with a logarithmic link, solved for
    all histograms at once by iteratively reweighted least squares. The first iteration is the parabola through the
    logarithm of the counts, weighted by the counts; the window follows the fit. Sheppard's correction removes the
    width of the bins.
    """
    mean, sigma = np.zeros(len(counts)), np.ones(len(counts))
    model = np.maximum(counts, 0.5)
    logarithm = np.log(model)
    fine = np.ones(len(counts), bool)
    for _ in range(_ITERATIONS):
        offset = (_BIN_CENTRES - mean[:, None]) / sigma[:, None]
        window = (offset > _WINDOW[0]) & (offset < _WINDOW[1])
        fine &= (counts * window).sum(axis=1) >= _MIN_COUNTS
        moments = (model * window) @ _POWERS
        residual = (model * logarithm + counts - model) * window @ _POWERS[:, :3]
        normal = moments[:, np.add.outer(np.arange(3), np.arange(3))]
        normal[~fine], residual[~fine] = np.eye(3), (0, 0, -0.5)
        parabola = np.linalg.solve(normal, residual[..., None])[..., 0]
        fine &= parabola[:, 2] < -0.5 / _SCALE_LIMITS[1] ** 2
        parabola[~fine] = (0, 0, -0.5)
        logarithm = parabola @ _POWERS[:, :3].T
        model = np.exp(np.minimum(logarithm, 25))
        sigma = np.sqrt(-0.5 / parabola[:, 2])
        mean = parabola[:, 1] * sigma**2
        fine &= (np.abs(mean) < _MAX_SHIFT) & (sigma > _SCALE_LIMITS[0])
    misfit = np.abs(np.cumsum((counts - model) * window, axis=1)).max(axis=1)
    fine &= misfit < _MAX_MISFIT * (counts * window).sum(axis=1)
    return np.where(fine, np.sqrt(np.maximum(sigma**2 - _BIN_WIDTH**2 / 12, 0)), np.nan)
