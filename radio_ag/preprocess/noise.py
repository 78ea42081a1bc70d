"""The noise of fields: the width of a Gaussian fitted to the histogram of each field's pixels.

That is the noise of section 4.2 of Bowles et al. 2021 (MNRAS 501, 4579), measured on the whole field, because sources
fill the crop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.preprocess.stacks import as_stack, run_blocks, to_native

_MIN_PIXELS = 100  # valid pixels below which nothing is known of the noise: ten FIRST beams
_MIN_COUNTS = 500  # pixels in the fitted range below which a histogram is too thin
GRID_STEP = 5  # the first guess takes the pixels of every fifth row and column
_MIN_SAMPLE = 900  # pixels of that grid below which the guess takes all
ONE_SIGMA_BELOW = 0.15866  # of a Gaussian's values lie more than a sigma below its middle
FILL_SHARE = 0.01  # share of uniform 5x5 patches above which their value is a fill value
PATCH = 5

# The histogram's abscissa is (pixel - median) / first guess of the noise.
BIN_WIDTH = 0.1
BIN_CENTRES = np.linspace(-5.95, 5.95, 120)
_POWERS = BIN_CENTRES[:, None] ** np.arange(5)  # (bins, 5)
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
    fields = as_stack(fields, "fields")
    rms = np.empty(len(fields), np.float32)
    fallback = np.empty(len(fields), bool)

    def work(block: slice) -> None:
        rms[block], fallback[block], _ = measure_noise(fields[block])

    run_blocks(work, len(fields))
    return Rms(rms, fallback)


def valid_pixels(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pixels of a field (ny, nx) that are finite and not fill, as a vector.

    Zeros with nothing below them are what clipping leaves, not fill.

    Parameters
    ----------
    field : ndarray, shape (ny, nx), float32
        In any unit, NaN where blank.

    Returns
    -------
    ndarray, shape (k,), float32
        In the order of the rows.
    """
    return _without(field, _blank_value(field))


def _without(pixels: NDArray[np.float32], fill: np.float32 | None) -> NDArray[np.float32]:
    """The finite pixels that are not fill, as a vector."""
    valid = np.isfinite(pixels)
    if fill is not None:
        valid &= pixels != fill
    return pixels.reshape(-1) if valid.all() else pixels[valid]


def _blank_value(field: NDArray[np.float32]) -> np.float32 | None:
    """The fill value of a field, unless it is what clipping leaves."""
    fill = _fill_value(field)
    if fill is None or fill != 0:
        return fill
    others = _without(field, fill)
    return fill if others.size == 0 or others.min() < 0 else None


def symmetric_grid(shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a sample of pixels that is the same for all rotations and flips of a field.

    Parameters
    ----------
    shape : tuple of int
        Of the field, (ny, nx).

    Returns
    -------
    rows, columns
        For the two axes of the field.
    """
    # From the first pixel o to the last whole steps must fit twice: 2 o = n - 1 modulo 5.
    ny, nx = (slice(3 * (n - 1) % GRID_STEP, None, GRID_STEP) for n in shape)
    return ny, nx


def _fill_value(field: NDArray[np.float32]) -> np.float32 | None:
    """The value that fills wide areas of a field, found from patches whose centre equals eight pixels around it.

    Correlated or coarsely quantised noise repeats values from pixel to pixel, but not over whole patches.
    """
    ny, nx = (side - side % PATCH for side in field.shape)
    patches = field[:ny, :nx].reshape(ny // PATCH, PATCH, nx // PATCH, PATCH)
    middle = patches[:, 2, :, 2]
    enough = max(FILL_SHARE * middle.size, 1)
    uniform = np.ones(middle.shape, bool)
    for y, x in ((0, 0), (4, 4), (0, 4), (4, 0), (0, 2), (2, 0), (4, 2), (2, 4)):
        uniform &= patches[:, y, :, x] == middle
        if np.count_nonzero(uniform) < enough:
            return None
    values, counts = np.unique(middle[uniform], return_counts=True)
    return values[counts.argmax()] if counts.max() >= enough else None


def measure_noise(fields: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Return the noise of a few fields, where it is not from the histogram fit, and the blank fraction of each.

    Parameters
    ----------
    fields : ndarray, shape (n, ny, nx)
        Jy/beam.

    Returns
    -------
    rms, fallback, blank
        Jy/beam, (n,); where it is a robust estimate, (n,); share of the pixels, 0 to 1, (n,).
    """
    guess, blank_fraction = np.full(len(fields), np.nan), np.empty(len(fields))
    counts = np.zeros((len(fields), len(BIN_CENTRES)))
    for i, field in enumerate(fields):
        field = to_native(field)
        fill = _blank_value(field)
        pixels = _without(field, fill)
        blank_fraction[i] = 1 - pixels.size / field.size
        if pixels.size >= _MIN_PIXELS:
            sample = _without(field[symmetric_grid(field.shape)], fill)
            centre, guess[i] = _robust_centre_and_scale(sample if sample.size >= _MIN_SAMPLE else pixels)
            if guess[i] > 0:
                counts[i] = _histogram(pixels, centre, guess[i])
    return *noise_from(counts, guess), blank_fraction


def noise_from(counts: NDArray, guess: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the noise from histograms in units of its first guess, and where it is that guess for want of a fit.

    Parameters
    ----------
    counts : ndarray, shape (n, bins)
        Pixels in each bin, of one field a row.
    guess : ndarray, shape (n,)
        Jy/beam.

    Returns
    -------
    rms, fallback
        Jy/beam, (n,); True where it is ``guess``, (n,).
    """
    scale = _fit_gaussians(counts)
    fitted = np.isfinite(scale)
    rms = np.where(fitted, scale, 1) * guess
    return rms.astype(np.float32), ~fitted & np.isfinite(rms)


def _robust_centre_and_scale(sample: NDArray[np.float32]) -> tuple[float, float]:
    """Median, and its distance from the percentile that lies one sigma below it."""
    low, middle = int(ONE_SIGMA_BELOW * (sample.size - 1)), (sample.size - 1) // 2
    ordered = np.partition(sample, (low, middle))
    return float(ordered[middle]), float(ordered[middle]) - float(ordered[low])


def _histogram(pixels: NDArray[np.float32], centre: float, scale: float) -> NDArray[np.int64]:
    """Counts in the bins about `BIN_CENTRES`; what lies beyond falls into a bin at each end and is left out."""
    bins = len(BIN_CENTRES)
    with np.errstate(over="ignore"):
        position = pixels - np.float32(centre)
        position *= np.float32(1 / (BIN_WIDTH * scale))
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
        offset = (BIN_CENTRES - mean[:, None]) / sigma[:, None]
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
    return np.where(fine, np.sqrt(np.maximum(sigma**2 - BIN_WIDTH**2 / 12, 0)), np.nan)
