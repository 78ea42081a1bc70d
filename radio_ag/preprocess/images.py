"""From raw fields to the network's input: measure the noise, clip, crop and scale to 0-1.

The steps are those of section 4.2 of Bowles et al. 2021 (MNRAS 501, 4579). Every function takes a stack of shape
(n, ny, nx) and never changes it; see `radio_ag.preprocess.stacks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.errors import InputError
from radio_ag.preprocess.noise import measure_noise, valid_pixels
from radio_ag.preprocess.stacks import as_stack, per_image, run_blocks, to_native

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

    def taken(self, rows: NDArray[np.intp]) -> Prepared:
        """Return the images and measurements of some rows.

        Parameters
        ----------
        rows : ndarray (k,) of int
            Which.

        Returns
        -------
        Prepared
            Of k fields.
        """
        return Prepared(
            self.images[rows], self.rms[rows], self.fallback[rows], self.blank_fraction[rows], self.peak[rows]
        )


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

    def __post_init__(self) -> None:
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
    fields = as_stack(fields, "fields")
    n = len(fields)
    given = None if rms is None else per_image(rms, n, "rms")
    images = np.empty((n, CROP_SIZE, CROP_SIZE), np.float32)
    noise, blank_fraction, peak = np.empty((3, n), np.float32)
    fallback = np.zeros(n, bool)

    def work(block: slice) -> None:
        if given is None:
            noise[block], fallback[block], blank_fraction[block] = measure_noise(fields[block])
        else:
            noise[block] = given[block]
            blank_fraction[block] = [1 - valid_pixels(to_native(field)).size / field.size for field in fields[block]]
        central = images[block]  # worked on in place
        _cut(fields[block], central, _centre_of(fields))
        peak[block] = _peak(central)
        _clip(central, np.float32(settings.clip) * noise[block])
        _normalise(central, settings.stretch, settings.value_range)

    run_blocks(work, n)
    return Prepared(images, noise, fallback, blank_fraction, peak)


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
    clipped = np.array(as_stack(fields, "fields"), np.float32, order="C")
    _clip(clipped, np.float32(threshold) * per_image(rms, len(clipped), "rms"))
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
        In any unit.
    size : int
        Side of the square in pixels.
    centre : array_like (2,) or (n, 2), optional
        Pixel coordinates (x, y), counted from 0 at the centre of the first pixel; one for all or one a field. None
        means the centre of the fields, ``((nx - 1) / 2, (ny - 1) / 2)``.

    Returns
    -------
    ndarray (n, size, size) of float32
    """
    fields = as_stack(fields, "fields")
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
    scaled = np.array(as_stack(images, "images"), np.float32, order="C")
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
        whole = np.arcsinh(softened.dtype.type(1 / ASINH_SOFTENING))  # by the same routine: 1 stays exactly 1
        return np.divide(np.arcsinh(softened, out=out), whole, out=out)
    return np.array(images) if out is None else np.positive(images, out=out)


def _check_stretch(kind: str) -> None:
    if kind not in STRETCHES:
        raise InputError(f"stretch must be one of {', '.join(STRETCHES)}, not {kind!r}")


def _check_value_range(value_range: tuple[float, float]) -> tuple[float, float]:
    if len(value_range) != 2 or not all(map(isfinite, value_range)) or value_range[0] >= value_range[1]:
        raise InputError(f"value_range must be two finite numbers, the lower first, not {value_range!r}")
    return value_range


def _peak(images: NDArray[np.float32]) -> NDArray[np.float32]:
    brightest = images.max(axis=(1, 2))
    odd = ~np.isfinite(brightest)
    if odd.any():
        brightest[odd] = np.where(np.isfinite(images[odd]), images[odd], np.float32(-np.inf)).max(axis=(1, 2))
    return np.where(brightest > -np.inf, brightest, np.float32(np.nan))
