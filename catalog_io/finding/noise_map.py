"""Background and noise of a mosaic, on a grid of tiles that is fixed to the mosaic's first pixel.

The tiles do not depend on how the mosaic is cut up later for source finding, and neither does anything found with
them. Only one row of tiles is in memory at a time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.stats import sigma_clipped_stats
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from radio_ag.catalog_io.images.zeros import unobserved
from radio_ag.errors import ImageError
from radio_ag.preprocess.noise import estimate_rms

_MIN_SHARE = 0.25  # of a tile's pixels that must be finite for it to be measured
_CLIP = 3.0  # sigma
_MAX_EXCESS = 3.0  # times the noise around a tile above which it is emission; a primary beam changes it by less


@dataclass(frozen=True)
class NoiseMap:
    """Background and noise at the centres of square tiles, interpolated linearly between them.

    Attributes
    ----------
    tile : int
        Side of a tile, pixels.
    background, rms : ndarray, shape (rows of tiles, columns of tiles), float32
        In the unit of the pixels they were measured on; finite everywhere.
    """

    tile: int
    background: NDArray[np.float32]
    rms: NDArray[np.float32]

    def window(self, rows: slice, columns: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Interpolate background and noise of the pixels in a window.

        Parameters
        ----------
        rows, columns : slice
            Of the mosaic's pixels.

        Returns
        -------
        background, rms : ndarray of float32 (ny, nx)
            In the unit of the pixels they were measured on.
        """
        return self._interpolate(self.background, rows, columns), self._interpolate(self.rms, rows, columns)

    def _interpolate(self, mesh: NDArray[np.float32], rows: slice, columns: slice) -> NDArray[np.float32]:
        (top, bottom, y), (left, right, x) = (
            self._neighbours(part, n) for part, n in zip((rows, columns), mesh.shape, strict=True)
        )
        strip = mesh[top] * (1 - y[:, None]) + mesh[bottom] * y[:, None]
        return np.asarray(strip[:, left] * (1 - x) + strip[:, right] * x, dtype=np.float32)

    def _neighbours(self, pixels: slice, n: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Of each pixel along one axis: the tiles before and after it, and how far it is from one to the other."""
        place = (np.arange(pixels.start, pixels.stop) - (self.tile - 1) / 2) / self.tile
        place = np.clip(place, 0, n - 1)
        before = place.astype(np.intp)
        return before, np.minimum(before + 1, n - 1), (place - before).astype(np.float32)


def measure_noise(plane: Any, tile: int, factor: float = 1.0) -> NoiseMap:
    """Measure background and noise of a mosaic tile by tile.

    The noise is the width of a Gaussian fitted to the histogram of a tile's pixels
    (`~radio_ag.preprocess.images.estimate_rms`), the background their median after clipping at 3 sigma. A tile that is
    mostly blank, or so full of emission that its histogram cannot be fitted or is three times as wide as those
    around it, takes the values of the nearest one that was measured.

    Parameters
    ----------
    plane : array-like, shape (ny, nx)
        Pixels: an array, or anything with ``shape`` that gives arrays for pairs of slices.
    tile : int
        Side of a tile, pixels.
    factor : float
        Pixel values are multiplied by it.

    Returns
    -------
    NoiseMap

    Raises
    ------
    ImageError
        If no tile has noise: the mosaic is blank, or constant.
    """
    ny, nx = plane.shape
    rows = [_measure_row(_row_of_tiles(plane, start, tile, factor)) for start in range(0, ny, tile)]
    background, rms, fitted = (np.stack(mesh) for mesh in zip(*rows, strict=True))
    measured = np.isfinite(background) & (rms > 0)
    if not measured.any():
        raise ImageError(f"no noise can be measured in the mosaic of {nx}x{ny} pixels: it is blank or constant")
    trusted = measured & fitted if (measured & fitted).any() else measured
    trusted &= rms <= _MAX_EXCESS * _median_around(np.where(trusted, rms, np.nan))
    nearest = tuple(distance_transform_edt(~trusted, return_distances=False, return_indices=True))
    return NoiseMap(tile, background[nearest], rms[nearest])


def _median_around(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of the eight neighbours of each tile that are finite; infinite where there is none."""
    padded = np.pad(mesh, 1, constant_values=np.nan)
    around = sliding_window_view(padded, (3, 3)).reshape(*mesh.shape, 9)
    neighbours = np.ma.masked_invalid(np.delete(around, 4, axis=-1))
    return np.ma.median(neighbours, axis=-1).filled(np.inf)


def _row_of_tiles(plane: Any, start: int, tile: int, factor: float) -> NDArray[np.float32]:
    """The tiles of one row, (n, tile, tile), NaN beyond the mosaic's edges."""
    ny, nx = plane.shape
    strip = np.asarray(plane[start : min(start + tile, ny), 0:nx])
    padded = np.full((tile, -(-nx // tile) * tile), np.nan, np.float32)
    padded[: len(strip), :nx] = strip
    padded[: len(strip), :nx][unobserved(strip)] = np.nan
    padded[~np.isfinite(padded)] = np.nan
    return padded.reshape(tile, -1, tile).swapaxes(0, 1) * np.float32(factor)


def _measure_row(tiles: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray]:
    """Background, noise (NaN where there is none) and whether the histogram was fitted, for n tiles."""
    n = len(tiles)
    background, rms = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    fitted = np.zeros(n, bool)
    enough = np.flatnonzero(np.isfinite(tiles).mean(axis=(1, 2)) >= _MIN_SHARE)
    if len(enough):
        noise = estimate_rms(tiles[enough])
        rms[enough], fitted[enough] = noise.rms, ~noise.fallback
        pixels = tiles[enough].reshape(len(enough), -1)
        background[enough] = sigma_clipped_stats(pixels, mask=np.isnan(pixels), sigma=_CLIP, axis=1)[1]
    return background, rms, fitted
