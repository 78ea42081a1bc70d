"""Source finding in mosaics, with photutils: one mosaic or many, of any size, in bounded memory.

A mosaic is searched in blocks. Each block is read with a margin, and an island of emission belongs to the block that
its brightest pixel is in, so that a source on a seam appears once. An island that reaches the end of the margin is
looked at again with a wider one. As the noise is measured on tiles of its own (`~radio_ag.catalog_io.background`),
the result does not depend on the size of the blocks.
"""

import logging
import warnings
from collections.abc import Iterator
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from radio_ag.catalog_io._duplicates import remove_duplicates
from radio_ag.catalog_io._measure import Components, Detection, axes_on_sky, find_islands, measure_components
from radio_ag.catalog_io.background import NoiseMap, measure_noise
from radio_ag.catalog_io.geometry import locate
from radio_ag.catalog_io.headers import ImageFrame
from radio_ag.catalog_io.images import ImageSource, open_images
from radio_ag.catalog_io.local import Mosaics
from radio_ag.catalog_io.regions import Region, open_region
from radio_ag.errors import ImageError, InputError, RadioAGWarning
from radio_ag.preprocess import BEAM_FWHM

_TILE_BEAMS = 40  # side of a tile of the noise map: 120 px of FIRST, 1400 independent beams
_MARGIN = 128  # px around a block at first
_MAX_MARGIN = 2048  # px; with blocks of 2048 px this bounds the memory at about 2 GB
_MIN_BEAMS = 1 / 3  # least area of an island, beams

_COLUMNS = {  # unit and description, in order
    "source_id": (None, "Number of the source, from 1"),
    "island": (None, "Number of the island of emission that the source is a part of, from 1"),
    "ra": (u.deg, "Right ascension of the centroid (ICRS)"),
    "dec": (u.deg, "Declination of the centroid (ICRS)"),
    "peak_flux": (u.Jy / u.beam, "Brightest pixel above the background"),
    "total_flux": (u.Jy, "Integrated flux density"),
    "rms": (u.Jy / u.beam, "Local noise at the brightest pixel"),
    "snr": (None, "peak_flux / rms"),
    "major_fwhm": (u.arcsec, "Full width at half maximum along the major axis, not deconvolved from the beam"),
    "minor_fwhm": (u.arcsec, "Full width at half maximum along the minor axis, not deconvolved from the beam"),
    "position_angle": (u.deg, "Position angle of the major axis, North through East"),
    "n_pixels": (None, "Pixels of the source above the island's threshold"),
    "at_edge": (None, "The island touches the mosaic's edge or blank pixels, and may be cut"),
    "mosaic": (None, "Image that the source was found in"),
}


def find_sources(
    mosaic: Any,
    *,
    threshold: float = 5.0,
    island_threshold: float = 3.0,
    contrast: float = 0.01,
    region: str | PathLike | Region | None = None,
    block: int = 2048,
) -> Table:
    """Find the sources in a mosaic, or in several that may overlap.

    Parameters
    ----------
    mosaic : path, glob, folder, list of paths, image in memory, or local image source
        FITS images with a celestial WCS; two axes or more, of which the first plane is used.
    threshold : float
        Least peak of a source, in units of the local noise.
    island_threshold : float
        The pixels of a source are those above this many times the local noise.
    contrast : float
        An island is split where each part keeps at least this share of its flux; 1 for no splitting.
    region : path or Region, optional
        Report only sources whose position is inside; see `~radio_ag.catalog_io.regions.open_region`.
    block : int
        Side of the blocks that are searched one at a time, pixels. It decides the memory, not the result.

    Returns
    -------
    Table
        A row a source, ordered by mosaic and place: ``source_id``, ``island``, ``ra``, ``dec`` (deg, ICRS),
        ``peak_flux`` (Jy/beam), ``total_flux`` (Jy), ``rms`` (Jy/beam), ``snr``, ``major_fwhm``, ``minor_fwhm``
        (arcsec), ``position_angle`` (deg), ``n_pixels``, ``at_edge``, ``mosaic``. A source in several mosaics is
        reported from one of them: the one with the lowest noise there that does not cut it.

    Raises
    ------
    ImageError
        If a mosaic cannot be read, has no celestial WCS, or is blank.
    InputError
        If a setting is out of its range.

    Warns
    -----
    RadioAGWarning
        If a mosaic has no beam (FIRST's is assumed, and total fluxes depend on it), or an island is larger than the
        widest margin and is cut.
    """
    _check_settings(threshold, island_threshold, contrast, block)
    images = mosaic if isinstance(mosaic, Mosaics) else _open_mosaics(mosaic)
    region = open_region(region)
    if region is not None and region.in_pixels and len(images) > 1:
        raise InputError("a region in pixel coordinates goes with one mosaic, not with several")
    tables = []
    for name, frame, plane in images.mosaics():
        table = _find_in_mosaic(name, frame, plane, (threshold, island_threshold, contrast), block)
        if region is not None:
            table = table[region.contains(table["ra"], table["dec"], frame)]
        tables.append(table)
    table = remove_duplicates(tables) if len(tables) > 1 else tables[0]
    table["source_id"] = np.arange(1, len(table) + 1, dtype=np.int32)
    for name, (unit, description) in _COLUMNS.items():
        table[name].unit, table[name].description = unit, description
    table.meta = {"THRESH": threshold, "ISLTHRES": island_threshold, "CONTRAST": contrast}  # names that FITS takes
    return table


def _open_mosaics(mosaic: Any) -> Mosaics:
    if mosaic is None or str(mosaic).lower() == "first" or isinstance(mosaic, ImageSource):
        name = getattr(mosaic, "name", mosaic)
        raise ImageError(f"sources are found in local images, not in {name}: give FITS files")
    return open_images(mosaic, beam_scaled=True)  # which pixels fields would be cut on does not matter here


def _check_settings(threshold: float, island_threshold: float, contrast: float, block: int) -> None:
    if not 0 < island_threshold < threshold < np.inf:
        raise InputError(
            "threshold must be more than island_threshold, and both positive (units of the noise), "
            f"not {threshold!r} and {island_threshold!r}"
        )
    if not 0 <= contrast <= 1:
        raise InputError(f"contrast must be from 0 to 1 (share of an island's flux), not {contrast!r}")
    if block < 1:
        raise InputError(f"block must be at least 1 pixel, not {block!r}")


class _Found(NamedTuple):
    """Components of one block, in the mosaic's pixels."""

    components: Components
    island_peak: NDArray[np.intp]
    """(n, 2) brightest pixel (y, x) of each component's island."""
    at_edge: NDArray[np.bool_]


_NOTHING = _Found(
    Components(*np.empty((5, 0)), np.empty((0, 2, 2)), *np.empty((2, 0), np.intp)),
    np.empty((0, 2), np.intp),
    np.empty(0, bool),
)


def _find_in_mosaic(name: str, frame: ImageFrame, plane: Any, levels: tuple[float, float, float], block: int) -> Table:
    """Sources of one mosaic; islands are numbered from 1."""
    if frame.beam is None:
        warnings.warn(
            f"no beam in {name}: FIRST's {BEAM_FWHM} arcsec is assumed, and total fluxes depend on it",
            RadioAGWarning,
            stacklevel=3,
        )
    width = (BEAM_FWHM if frame.beam is None else frame.beam) / frame.pixel_scale
    beam_area = np.pi / (4 * np.log(2)) * width**2
    settings = Detection(*levels[:2], max(1, round(_MIN_BEAMS * beam_area)), levels[2])
    noise = measure_noise(plane, max(1, round(_TILE_BEAMS * width)), frame.factor)
    found = list(_search_blocks(name, plane, frame.factor, noise, settings, block))
    table = _as_table(found, frame, beam_area)
    table["mosaic"] = np.full(len(table), name)
    logging.getLogger(__name__).info(
        "%s: %d sources in %d islands", name, len(table), table["island"].max() if len(table) else 0
    )
    return table


# --- blocks ---------------------------------------------------------------------------------------------------------


def _search_blocks(
    name: str, plane: Any, factor: float, noise: NoiseMap, settings: Detection, block: int
) -> Iterator[_Found]:
    ny, nx = plane.shape
    for y in range(0, ny, block):
        for x in range(0, nx, block):
            core = slice(y, min(y + block, ny)), slice(x, min(x + block, nx))
            found = _search_block(name, plane, factor, noise, settings, core)
            if found is not None:
                yield found


def _search_block(
    name: str, plane: Any, factor: float, noise: NoiseMap, settings: Detection, core: tuple[slice, slice]
) -> _Found | None:
    """Components of the islands whose brightest pixel is in a block; None where there is none."""
    margin = _MARGIN
    while True:
        window = tuple(
            slice(max(part.start - margin, 0), min(part.stop + margin, side))
            for part, side in zip(core, plane.shape, strict=True)
        )
        pixels = np.asarray(plane[window]) * np.float32(factor)
        background, rms = noise.window(*window)
        flux = np.asarray(pixels - background, dtype=np.float32)
        blank = ~np.isfinite(flux)
        flux[blank] = 0
        islands = find_islands(flux / rms, settings)
        if islands is None:
            return None
        corner = np.array([part.start for part in window])
        peaks = islands.peaks + corner
        inside = [(part.start <= at) & (at < part.stop) for part, at in zip(core, peaks.T, strict=True)]
        if not np.all(inside, axis=0).any():
            return None
        islands = islands.select(np.all(inside, axis=0))
        ends, edges = _sides(window, plane.shape)
        cut = islands.touching(ends)
        if not cut.any():
            break
        if margin >= _MAX_MARGIN:
            warnings.warn(
                f"{name}: {cut.sum()} island(s) reach more than {margin} pixels beyond their block and are cut there; "
                "raise the threshold, or take larger blocks",
                RadioAGWarning,
                stacklevel=5,
            )
            break
        margin *= 2
    at_edge = cut | islands.touching(edges | binary_dilation(blank, np.ones((3, 3))))
    components = measure_components(flux, rms, islands, settings)
    moved = components._replace(y=components.y + corner[0], x=components.x + corner[1])
    return _Found(moved, islands.peaks[moved.island] + corner, at_edge[moved.island])


def _sides(window: tuple[slice, slice], shape: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Outermost pixels of a window: on its sides within the mosaic, and on those that are the mosaic's own."""
    ends, edges = (np.zeros([part.stop - part.start for part in window], bool) for _ in range(2))
    for axis, (part, side) in enumerate(zip(window, shape, strict=True)):
        for index, is_edge in ((0, part.start == 0), (-1, part.stop == side)):
            outermost = [slice(None), slice(None)]
            outermost[axis] = index
            (edges if is_edge else ends)[tuple(outermost)] = True
    return ends, edges


# --- the table ------------------------------------------------------------------------------------------------------


def _as_table(found: list[_Found], frame: ImageFrame, beam_area: float) -> Table:
    """Components in physical units, ordered by the place of their island, then by their own."""
    found = [_NOTHING, *found]
    components = Components(
        *(np.concatenate(column) for column in zip(*(part.components for part in found), strict=True))
    )
    island_peak = np.concatenate([part.island_peak for part in found])
    order = np.lexsort((components.x, components.y, island_peak[:, 1], island_peak[:, 0]))
    components = Components(*(column[order] for column in components))
    _, island = np.unique(island_peak[order], axis=0, return_inverse=True)
    sky = _to_icrs(frame, components.x, components.y)
    ra, dec = sky.ra.deg, sky.dec.deg
    major, minor, angle = axes_on_sky(components.covariance, locate(frame, ra, dec).cd)
    return Table(
        {
            "source_id": np.zeros(len(order), np.int32),
            "island": np.asarray(island.reshape(-1) + 1, np.int32),
            "ra": ra,
            "dec": dec,
            "peak_flux": components.peak,
            "total_flux": components.flux_sum / beam_area,
            "rms": components.rms,
            "snr": components.peak / components.rms,
            "major_fwhm": major,
            "minor_fwhm": minor,
            "position_angle": angle,
            "n_pixels": np.asarray(components.n_pixels, np.int32),
            "at_edge": np.concatenate([part.at_edge for part in found])[order],
        }
    )


def _to_icrs(frame: ImageFrame, x: NDArray, y: NDArray) -> SkyCoord:
    """Positions of pixels (x, y), counted from 0."""
    world = frame.wcs.all_pix2world(np.stack([x, y], axis=-1), 0) if len(x) else np.empty((0, 2))
    return SkyCoord(*world.T, unit=u.deg, frame=frame.sky).transform_to(ICRS())
