"""Resampling of an image's window to the square pixels of a field.

The map from a field's pixels to those of the image is smooth: over 300 pixels a polynomial in x and y gives it far
better than to a thousandth of a pixel, from some hundred points instead of 90,000. Held-out points decide field by
field whether it does; where it does not (a field across a pole of a cylindrical projection, say), every pixel goes
through the projections.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, BaseCoordinateFrame
from astropy.wcs import WCS
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

_NODES = 12  # along each axis
_HELD_OUT = 7
_TOLERANCE = 1e-3  # px of the image

Pixels = tuple[NDArray[np.float64], NDArray[np.float64]]


def sky_to_pixel(wcs: WCS, longitude: NDArray, latitude: NDArray) -> Pixels:
    """Return pixels of positions on the sky.

    Parameters
    ----------
    wcs : WCS
        Celestial, longitude first.
    longitude, latitude : ndarray
        Degrees in the image's own frame.

    Returns
    -------
    x, y : ndarray
        From 0; NaN where the projection does not reach.
    """
    world = np.stack([np.ravel(longitude), np.ravel(latitude)], axis=-1)
    if not len(world):
        return np.empty(np.shape(longitude)), np.empty(np.shape(longitude))
    pixel = wcs.all_world2pix(world, 0, quiet=True) if wcs.has_distortion else wcs.wcs_world2pix(world, 0)
    return pixel[:, 0].reshape(np.shape(longitude)), pixel[:, 1].reshape(np.shape(longitude))


def project(target: WCS, x: NDArray, y: NDArray, wcs: WCS, sky: BaseCoordinateFrame) -> Pixels:
    """Return where pixels of a field are in an image, through both projections.

    Parameters
    ----------
    target : WCS
        Of the field, ICRS without distortion.
    x, y : ndarray
        Pixels of the field, counted from 0.
    wcs, sky : WCS, BaseCoordinateFrame
        Of the image.

    Returns
    -------
    x, y : ndarray
        Pixels of the image, NaN where its projection does not reach.
    """
    longitude, latitude = target.wcs_pix2world(np.ravel(x), np.ravel(y), 0)
    if not isinstance(sky, ICRS):
        native = ICRS(longitude * u.deg, latitude * u.deg).transform_to(sky).spherical
        longitude, latitude = native.lon.deg, native.lat.deg
    found = sky_to_pixel(wcs, longitude, latitude)
    return found[0].reshape(np.shape(x)), found[1].reshape(np.shape(x))


def project_grid(target: WCS, size: int, wcs: WCS, sky: BaseCoordinateFrame) -> Pixels:
    """Return where each of the ``size``x``size`` pixels of a field is in an image, to a thousandth of its pixels.

    Parameters
    ----------
    target : WCS
        Of the field, ICRS without distortion.
    size : int
        Pixels along each of its sides.
    wcs, sky : WCS, BaseCoordinateFrame
        Of the image.

    Returns
    -------
    x, y : ndarray, shape (size, size)
    """
    nodes, to_pixels = _interpolation(size)
    held_out = np.linspace(0, size - 1, _HELD_OUT).astype(int)
    x, y = (
        np.concatenate([np.ravel(a), np.ravel(b)])
        for a, b in zip(np.meshgrid(nodes, nodes), np.meshgrid(held_out, held_out), strict=True)
    )
    grids = []
    for exact in project(target, x, y, wcs, sky):
        grid = to_pixels @ exact[: _NODES**2].reshape(_NODES, _NODES) @ to_pixels.T
        misses = np.abs(grid[np.ix_(held_out, held_out)].ravel() - exact[_NODES**2 :])
        if not misses.max() <= _TOLERANCE:  # not a number, too: beyond the projection
            return project(target, *np.meshgrid(np.arange(size), np.arange(size)), wcs, sky)
        grids.append(grid)
    return grids[0], grids[1]


@lru_cache(maxsize=4)
def _interpolation(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chebyshev nodes on 0 to size - 1, and the matrix (size, nodes) from values there to values at each pixel."""
    nodes = chebyshev.chebpts1(_NODES)
    pixels = np.linspace(-1, 1, size)
    degree = _NODES - 1
    matrix = chebyshev.chebvander(pixels, degree) @ np.linalg.inv(chebyshev.chebvander(nodes, degree))
    return (nodes + 1) / 2 * (size - 1), matrix


def interpolate(pixels: NDArray, x: NDArray, y: NDArray) -> NDArray[np.float32]:
    """Return values between pixels by cubic splines; blank pixels stay blank and do not spread.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx)
        NaN where blank.
    x, y : ndarray
        Where, counted from 0 at the centre of the first pixel.

    Returns
    -------
    ndarray, of the shape of ``x``
        NaN where the nearer pixels are blank, and beyond the outer edges of the outermost pixels.
    """
    ny, nx = pixels.shape
    with np.errstate(invalid="ignore"):
        outside = ~((x >= -0.5) & (x <= nx - 0.5) & (y >= -0.5) & (y <= ny - 0.5))
    place = np.stack([np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)])
    place[:, outside] = 0
    blank = ~np.isfinite(pixels)
    filled = np.where(blank, 0.0, pixels)  # a spline would spread NaN over the whole window
    values = map_coordinates(filled, place, order=3)
    if blank.any():
        outside |= map_coordinates(blank.astype(float), place, order=3) > 0.5
    values[outside] = np.nan
    return values.astype(np.float32)
