"""A mosaic searched block by block, with a result that does not depend on the blocks.

Each block is read with a margin, and an island of emission belongs to the block that its brightest pixel is in. One
that reaches the end of the margin is looked at again with a wider one, so that it is whole wherever it is measured.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from radio_ag.catalog_io.finding.measure import Components, Detection, Islands, find_islands, measure_components
from radio_ag.catalog_io.finding.noise_map import NoiseMap
from radio_ag.catalog_io.images.zeros import unobserved
from radio_ag.errors import RadioAGWarning

MARGIN = 128
"""Pixels around a block at first."""

MAX_MARGIN = 2048
"""Pixels around a block at most; with blocks of 2048 pixels this bounds the memory at about 2 GB."""

Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class SearchedMosaic:
    """Pixels to search, and by which noise and settings.

    Attributes
    ----------
    name : str
    plane : array-like, shape (ny, nx)
        An array, or anything with ``shape`` that gives arrays for pairs of slices.
    factor : float
        Pixel values are multiplied by it, to Jy/beam.
    noise : NoiseMap
        In Jy/beam.
    settings : Detection
    """

    name: str
    plane: Any
    factor: float
    noise: NoiseMap
    settings: Detection

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Read the pixels of a window, and by which noise they are searched.

        Parameters
        ----------
        window : (slice, slice)
            Rows and columns.

        Returns
        -------
        flux : ndarray of float32 (ny, nx)
            Above the background, Jy/beam; 0 where blank.
        rms : ndarray of float32 (ny, nx)
            Jy/beam.
        blank : ndarray of bool (ny, nx)
            Which pixels are not finite, or zeros where nothing was observed.
        """
        background, rms = self.noise.window(*window)
        pixels = np.asarray(self.plane[window], dtype=np.float32)
        flux = pixels * np.float32(self.factor) - background
        blank = ~np.isfinite(flux) | unobserved(pixels)
        flux[blank] = 0
        return flux, rms, blank


class Found(NamedTuple):
    """Components of one block, in the mosaic's pixels."""

    components: Components
    island_peak: NDArray[np.intp]
    """(n, 2) brightest pixel (y, x) of each component's island."""
    at_edge: NDArray[np.bool_]
    """Whether the island touches blank pixels or the mosaic's edge."""


def search_blocks(mosaic: SearchedMosaic, block: int) -> Iterator[Found]:
    """Search a mosaic block by block.

    Parameters
    ----------
    mosaic : SearchedMosaic
        What is searched.
    block : int
        Side of a block, pixels.

    Yields
    ------
    Found
        Of each block that has a source.

    Warns
    -----
    RadioAGWarning
        If an island outgrows the widest margin, and is cut there.
    """
    ny, nx = mosaic.plane.shape
    for y in range(0, ny, block):
        for x in range(0, nx, block):
            found = _search_block(mosaic, (slice(y, min(y + block, ny)), slice(x, min(x + block, nx))))
            if found is not None:
                yield found


def _search_block(mosaic: SearchedMosaic, core: Window) -> Found | None:
    margin = MARGIN
    while True:
        window = _widened(core, margin, mosaic.plane.shape)
        flux, rms, blank = mosaic.read(window)
        islands = find_islands(flux / rms, mosaic.settings)
        islands = None if islands is None else _peaking_in(core, islands, window)
        if islands is None:
            return None
        ends, edges = _sides(window, mosaic.plane.shape)
        cut = islands.touching(ends)
        if not cut.any() or margin >= MAX_MARGIN:
            break
        margin *= 2
    if cut.any():
        warnings.warn(
            f"{mosaic.name}: {cut.sum()} island(s) reach more than {margin} pixels beyond their block and are cut "
            "there; raise the threshold, or take larger blocks",
            RadioAGWarning,
            stacklevel=2,
        )
    at_edge = cut | islands.touching(edges | binary_dilation(blank, np.ones((3, 3))))
    components = measure_components(flux, rms, islands, mosaic.settings)
    y0, x0 = (part.start for part in window)
    moved = components._replace(y=components.y + y0, x=components.x + x0)
    return Found(moved, islands.peaks[moved.island] + (y0, x0), at_edge[moved.island])


def _widened(core: Window, margin: int, shape: tuple[int, int]) -> Window:
    """A block with a margin, as far as the mosaic goes."""
    y, x = (
        slice(max(part.start - margin, 0), min(part.stop + margin, side))
        for part, side in zip(core, shape, strict=True)
    )
    return y, x


def _peaking_in(core: Window, islands: Islands, window: Window) -> Islands | None:
    """Those of a window's islands whose brightest pixel is in the block; None where there is none."""
    inside = np.ones(len(islands.labels), bool)
    for part, around, peak in zip(core, window, islands.peaks.T, strict=True):
        inside &= (part.start <= peak + around.start) & (peak + around.start < part.stop)
    return islands.select(inside) if inside.any() else None


def _sides(window: Window, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Outermost pixels of a window: on its sides within the mosaic, and on those that are the mosaic's own."""
    ends, edges = (np.zeros([part.stop - part.start for part in window], bool) for _ in range(2))
    for axis, (part, side) in enumerate(zip(window, shape, strict=True)):
        for index, is_edge in ((0, part.start == 0), (-1, part.stop == side)):
            outermost: list[slice | int] = [slice(None), slice(None)]
            outermost[axis] = index
            (edges if is_edge else ends)[tuple(outermost)] = True
    return ends, edges
