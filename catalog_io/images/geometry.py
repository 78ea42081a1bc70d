"""Fields out of images: place a position, cut to the pixel, turn by right angles, resample where nothing else will do.

Arrays are (ny, nx). Pixel positions are (x, y), counted from 0 at the centre of the first pixel. A *turn* is a 2x2
matrix of 0 and ±1 that takes the pixel axes of a north-up field to those of the image: one of the eight right-angle
rotations and flips, or all zeros where none of them will do and the field must be resampled.

The usual way is `~radio_ag.catalog_io.images.headers.read_frame`, `locate`, `extract`.
"""

from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from radio_ag.catalog_io.images.beam import (
    PIXELS_PER_BEAM,
    Beam,
    BeamMatch,
    match_beam,
    smooth,
    smoothing_kernel,
    target_beam,
)
from radio_ag.catalog_io.images.headers import ImageFrame
from radio_ag.catalog_io.images.resample import interpolate, project_grid, sky_to_pixel
from radio_ag.catalog_io.images.zeros import unobserved
from radio_ag.preprocess.images import CROP_SIZE, FIELD_SIZE, PIXEL_SCALE

SCALE_TOLERANCE = 0.01
"""Relative difference of the pixel scale from FIRST's up to which pixels are used as they are."""
ROTATION_TOLERANCE = 1.0
"""Rotation, degrees, up to which pixels are used as they are (raw FIRST cutouts are turned by 0.1°)."""

_PIXEL_DEGREES = PIXEL_SCALE / 3600
_CENTRE = (FIELD_SIZE - 1) / 2
_MARGIN = (FIELD_SIZE - CROP_SIZE) // 2
_STENCIL_STEP = np.radians(_PIXEL_DEGREES * CROP_SIZE / 2)


class Cutout(NamedTuple):
    """A field of 300x300 px and the tangent-plane WCS of its central 150x150 px."""

    data: np.ndarray
    """(300, 300) float32, Jy/beam, NaN where blank."""
    crval: tuple[float, float]
    """RA and Dec of the reference pixel, degrees ICRS: the position itself."""
    crpix: np.ndarray
    """(2,) reference pixel (x, y), counted from 1 on the crop."""
    cd: np.ndarray
    """(2, 2) degrees a pixel."""
    resampled: bool
    """Pixels were resampled, or the beam is not FIRST's."""
    beam_assumed: bool = False
    """The image has no beam, and FIRST's is assumed."""
    beam: Beam | None = None
    """Of the pixels as they are here; None where it is assumed."""
    frequency: float | None = None
    """Hz; None where the image does not tell it."""
    date: str = ""
    """Of the observation; empty where the image does not tell it."""


class Placement(NamedTuple):
    """Where n positions are in an image."""

    pixel: np.ndarray
    """(n, 2) pixel position (x, y) from 0; NaN where the projection does not reach."""
    cd: np.ndarray
    """(n, 2, 2) CD matrix of the local tangent plane, degrees a pixel."""
    turn: np.ndarray
    """(n, 2, 2) int8 turn to north up, east left; zeros where the field must be resampled."""


# --- where a position is --------------------------------------------------------------------------------------------


def stencil(ra: np.ndarray, dec: np.ndarray) -> SkyCoord:
    """Return positions, each with those half a crop to its east, west, north and south.

    Parameters
    ----------
    ra, dec : float or ndarray, shape (n,)
        Degrees ICRS.

    Returns
    -------
    SkyCoord, shape (n, 5)
        ICRS.
    """
    ra, dec = np.radians(np.atleast_1d(ra)), np.radians(np.atleast_1d(dec))
    zero = np.zeros_like(ra)
    centre = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    east = np.stack([-np.sin(ra), np.cos(ra), zero], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    step = _STENCIL_STEP
    points = np.stack(
        [centre, centre + step * east, centre - step * east, centre + step * north, centre - step * north], 1
    )
    longitude = np.arctan2(points[..., 1], points[..., 0])
    latitude = np.arctan2(points[..., 2], np.hypot(points[..., 0], points[..., 1]))
    longitude[:, 0], latitude[:, 0] = ra, dec  # exact, whatever the trigonometry rounds
    return SkyCoord(longitude, latitude, unit=u.rad, frame=ICRS())


def place(wcs: WCS, longitude: np.ndarray, latitude: np.ndarray) -> Placement:
    """Place stencils in an image.

    Parameters
    ----------
    wcs : WCS
        Celestial, longitude first.
    longitude, latitude : ndarray, shape (n, 5)
        Of `stencil`, degrees in the image's own frame.

    Returns
    -------
    Placement
    """
    return place_pixels(*sky_to_pixel(wcs, longitude, latitude))


def place_pixels(x: np.ndarray, y: np.ndarray) -> Placement:
    """Place positions by the pixels of their stencils, in one image or several.

    The CD matrix is the inverse of the central differences of the projection over the crop.

    Parameters
    ----------
    x, y : ndarray, shape (n, 5)
        Pixels from 0 of the positions of `stencil`.

    Returns
    -------
    Placement
    """
    step = 2 * np.degrees(_STENCIL_STEP)
    jacobian = np.stack(
        [
            np.stack([x[:, 1] - x[:, 2], x[:, 3] - x[:, 4]], axis=-1),
            np.stack([y[:, 1] - y[:, 2], y[:, 3] - y[:, 4]], axis=-1),
        ],
        axis=1,
    )
    cd = _inverse(jacobian / step)
    return Placement(np.stack([x[:, 0], y[:, 0]], axis=-1), cd, quarter_turns(cd))


def locate(frame: ImageFrame, ra: np.ndarray, dec: np.ndarray) -> Placement:
    """Place positions in an image.

    Parameters
    ----------
    frame : ImageFrame
        Of the image.
    ra, dec : float or ndarray, shape (n,)
        Degrees ICRS.

    Returns
    -------
    Placement
    """
    sky = stencil(ra, dec).transform_to(frame.sky)
    return place(frame.wcs, sky.spherical.lon.deg, sky.spherical.lat.deg)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverses of 2x2 matrices, (n, 2, 2); not finite where there is none."""
    (a, b), (c, d) = np.moveaxis(matrix, 0, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.moveaxis(np.array([[d, -b], [-c, a]]) / (a * d - b * c), -1, 0)


def quarter_turns(cd: np.ndarray) -> np.ndarray:
    """Return the right-angle turn that brings each image to FIRST's pixels, zeros where there is none.

    Parameters
    ----------
    cd : ndarray, shape (n, 2, 2)
        Local CD matrices, degrees a pixel.

    Returns
    -------
    ndarray, shape (n, 2, 2), int8
        Turns: ``cd @ turn`` is diagonal (-1.8″, +1.8″) within 1 % and 1°; all zeros where no turn does that.
    """
    ideal = np.diag([-_PIXEL_DEGREES, _PIXEL_DEGREES])
    nearest = np.rint(_inverse(cd) @ ideal)
    nearest[~np.isfinite(nearest).all(axis=(1, 2)) | (np.abs(nearest) > 1).any(axis=(1, 2))] = 0
    turned = cd @ nearest
    scale = np.hypot(turned[:, 0], turned[:, 1]) / _PIXEL_DEGREES
    with np.errstate(invalid="ignore"):
        angle = np.degrees(
            [np.arctan2(turned[:, 1, 0], -turned[:, 0, 0]), np.arctan2(turned[:, 0, 1], turned[:, 1, 1])]
        )
        fits_first = (np.abs(scale - 1) <= SCALE_TOLERANCE).all(axis=1) & (np.abs(angle) <= ROTATION_TOLERANCE).all(
            axis=0
        )
    is_turn = (np.abs(nearest).sum(axis=1) == 1).all(axis=1) & (np.abs(nearest).sum(axis=2) == 1).all(axis=1)
    return np.where((fits_first & is_turn)[:, None, None], nearest, 0).astype(np.int8)


# --- the field ------------------------------------------------------------------------------------------------------


def extract(
    data: Any,
    frame: ImageFrame,
    ra: float,
    dec: float,
    pixel: np.ndarray,
    cd: np.ndarray,
    turn: np.ndarray,
    *,
    beam_scaled: bool = False,
) -> Cutout:
    """Take the field of a position that has been placed in an image.

    A beam finer than FIRST's is convolved to it. A coarser one is left as it is, on FIRST's pixels unless
    ``beam_scaled`` says otherwise.

    Parameters
    ----------
    data : array-like, shape (ny, nx)
        Pixels as stored: an array, or anything with ``shape`` that gives arrays for slices.
    frame : ImageFrame
        Of this image.
    ra, dec : float
        Position, degrees ICRS.
    pixel, cd, turn : ndarray, shapes (2,), (2, 2), (2, 2)
        One row of a `Placement`.
    beam_scaled : bool
        Give an image with a coarser beam on pixels of a third of the beam instead of 1.8″.

    Returns
    -------
    Cutout
        All NaN where the image does not reach.
    """
    assumed = frame.beam_axes is None
    if not np.isfinite(pixel).all():
        blank = np.full((FIELD_SIZE, FIELD_SIZE), np.nan, dtype=np.float32)
        return Cutout(blank, (ra, dec), np.full(2, np.nan), np.full((2, 2), np.nan), frame.beam_differs, assumed)
    beam, pixel_scale, kernel = frame.beam_axes, PIXEL_SCALE, None
    if beam is not None and match_beam(beam) is BeamMatch.FINER:
        kernel, beam = smoothing_kernel(beam, cd), target_beam(beam)
    elif beam is not None and beam_scaled and match_beam(beam) is BeamMatch.COARSER:
        pixel_scale = beam.fwhm / PIXELS_PER_BEAM
    if kernel is not None or pixel_scale != PIXEL_SCALE or not turn.any():
        field = resample_field(data, frame.wcs, ra, dec, pixel_scale=pixel_scale, kernel=kernel)
        crpix, cd, resampled = np.full(2, (CROP_SIZE + 1) / 2), np.diag([-pixel_scale, pixel_scale]) / 3600, True
    else:
        field, x0, y0 = cut_field(data, pixel)
        offset = turn.T @ (pixel - (x0, y0) - _CENTRE)
        field = turn_field(field, turn)
        crpix, cd, resampled = offset + _CENTRE - _MARGIN + 1, cd @ turn, frame.beam_differs
    if frame.factor != 1:
        field = field * np.float32(frame.factor)
    observed = beam, frame.frequency, frame.date
    return Cutout(np.ascontiguousarray(field), (ra, dec), crpix, cd, resampled, assumed, *observed)


def cut_field(data: Any, pixel: np.ndarray, size: int = FIELD_SIZE) -> tuple[np.ndarray, int, int]:
    """Cut a square of pixels centred on a pixel position, NaN beyond the image's edges.

    Parameters
    ----------
    data : array-like, shape (ny, nx)
        An array, or anything with ``shape`` that gives arrays for slices.
    pixel : ndarray, shape (2,)
        Position (x, y) from 0.
    size : int
        Pixels along each side.

    Returns
    -------
    field : ndarray, shape (size, size), float32
    x0, y0 : int
        Image pixel of the field's first pixel.
    """
    x0, y0 = (int(start) for start in np.rint(np.asarray(pixel) - (size - 1) / 2))
    ny, nx = data.shape
    left, right = np.clip((x0, x0 + size), 0, nx)
    bottom, top = np.clip((y0, y0 + size), 0, ny)
    field = np.full((size, size), np.nan, dtype=np.float32)
    if left < right and bottom < top:
        field[bottom - y0 : top - y0, left - x0 : right - x0] = _observed(data[bottom:top, left:right])
    return field, x0, y0


def _observed(pixels: np.ndarray) -> np.ndarray:
    """Pixels, NaN where zeros stand for no data; where none is negative there is no noise, and zeros are data."""
    if not (pixels < 0).any():
        return pixels
    blank = unobserved(pixels)
    return np.where(blank, np.nan, pixels) if blank.any() else pixels


def turn_field(field: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Turn an image's field to north up and east left by exact transposition and flips.

    Parameters
    ----------
    field : ndarray, shape (size, size)
        Cut from an image.
    turn : ndarray, shape (2, 2)
        Of a `Placement`, not zeros.

    Returns
    -------
    ndarray, shape (size, size)
        A view.
    """
    turned = field.T if turn[0, 0] == 0 else field
    x_sign, y_sign = turn.sum(axis=0)
    return turned[::y_sign, ::x_sign]


def tangent_wcs(ra: float, dec: float, size: int = FIELD_SIZE, pixel_scale: float = PIXEL_SCALE) -> WCS:
    """Return the north-up TAN WCS (ICRS) of a square with a position at its middle.

    Parameters
    ----------
    ra, dec : float
        Degrees ICRS.
    size : int
        Pixels along each side.
    pixel_scale : float
        Arcsec.

    Returns
    -------
    WCS
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = (size + 1) / 2, (size + 1) / 2
    wcs.wcs.cdelt = -pixel_scale / 3600, pixel_scale / 3600
    wcs.pixel_shape = size, size
    wcs.wcs.set()
    return wcs


def resample_field(
    data: Any,
    wcs: WCS,
    ra: float,
    dec: float,
    *,
    pixel_scale: float = PIXEL_SCALE,
    kernel: np.ndarray | None = None,
) -> np.ndarray:
    """Resample the window of an image around a position to square pixels, keeping the surface brightness.

    Bicubic interpolation: with three pixels a beam, bilinear would take up to 14 % from a peak. Blank pixels stay
    blank and do not spread.

    Parameters
    ----------
    data : array-like, shape (ny, nx)
        An array, or anything with ``shape`` that gives arrays for slices.
    wcs : WCS
        Of the image, celestial, longitude first.
    ra, dec : float
        Degrees ICRS.
    pixel_scale : float
        Of the field, arcsec.
    kernel : ndarray, optional
        Convolves the window first: see `~radio_ag.catalog_io.images.beam.smoothing_kernel`.

    Returns
    -------
    ndarray, shape (300, 300), float32
        The image's unit, NaN where blank, on `tangent_wcs`.
    """
    target = tangent_wcs(ra, dec, pixel_scale=pixel_scale)
    x, y = project_grid(target, FIELD_SIZE, wcs, wcs_to_celestial_frame(wcs))
    window = _window(data.shape, x, y, margin=8 + (0 if kernel is None else len(kernel) // 2))
    if window is None:
        return np.full((FIELD_SIZE, FIELD_SIZE), np.nan, dtype=np.float32)
    pixels = _observed(np.array(data[window], dtype=np.float64))
    pixels[np.isinf(pixels)] = np.nan
    if kernel is not None:
        pixels = smooth(pixels, kernel)
    return interpolate(pixels, x - window[1].start, y - window[0].start)


def _window(shape: tuple[int, int], x: np.ndarray, y: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """The part of an image that holds some of its pixels (x, y), with a margin; None where there is none."""
    if not (np.isfinite(x).any() and np.isfinite(y).any()):
        return None
    slices = []
    for values, length in ((y, shape[0]), (x, shape[1])):
        start = max(0, int(np.floor(np.nanmin(values))) - margin)
        stop = min(length, int(np.ceil(np.nanmax(values))) + margin + 1)
        if start >= stop:
            return None
        slices.append(slice(start, stop))
    return slices[0], slices[1]
