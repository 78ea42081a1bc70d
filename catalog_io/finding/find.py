"""Source finding in mosaics, with photutils: one mosaic or many, of any size, in bounded memory.

A mosaic is searched in blocks (`~radio_ag.catalog_io.finding.blocks`), and its noise is measured on tiles of its own
(`~radio_ag.catalog_io.finding.noise_map`): the result does not depend on the size of the blocks. Islands of emission
are split into components, each of which is a row.
"""

import glob
import logging
import os
import warnings
from os import PathLike
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.finding.blocks import Found, SearchedMosaic, search_blocks
from radio_ag.catalog_io.finding.measure import Components, Detection, axes_on_sky
from radio_ag.catalog_io.finding.noise_map import measure_noise
from radio_ag.catalog_io.finding.overlaps import remove_duplicates
from radio_ag.catalog_io.images.fields import ImageSource
from radio_ag.catalog_io.images.geometry import locate
from radio_ag.catalog_io.images.headers import ImageFrame
from radio_ag.catalog_io.images.local import Mosaics
from radio_ag.catalog_io.images.regions import Region, open_region
from radio_ag.catalog_io.open_images import open_images
from radio_ag.errors import ImageError, InputError, RadioAGWarning
from radio_ag.preprocess.images import BEAM_FWHM

_TILE_BEAMS = 40  # side of a tile of the noise map: 120 px of FIRST, 1400 independent beams
_MIN_BEAMS = 1 / 3  # least area of an island, beams

_NOTHING = Found(
    Components(
        x=np.empty(0),
        y=np.empty(0),
        peak=np.empty(0),
        rms=np.empty(0),
        flux_sum=np.empty(0),
        covariance=np.empty((0, 2, 2)),
        n_pixels=np.empty(0, np.intp),
        island=np.empty(0, np.intp),
    ),
    np.empty((0, 2), np.intp),
    np.empty(0, bool),
)
COLUMNS = {
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
"""Unit and description of the columns of a table of sources, in order."""


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
        Report only sources whose position is inside; see `~radio_ag.catalog_io.images.regions.open_region`.
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
        If the mosaic, or every one of several, cannot be read or is blank; if one has no celestial WCS.
    InputError
        If a setting is out of its range.

    Warns
    -----
    RadioAGWarning
        If a mosaic has no beam (FIRST's is assumed, and total fluxes depend on it), an island is so large that it is
        cut, or some of several mosaics cannot be searched.
    """
    _check_settings(threshold, island_threshold, contrast, block)
    images = mosaic if isinstance(mosaic, Mosaics) else _open_mosaics(mosaic)
    region = open_region(region)
    if region is not None and region.in_pixels and len(images) > 1:
        raise InputError("a region in pixel coordinates goes with one mosaic, not with several")
    tables = _find_in_each(images, (threshold, island_threshold, contrast), block, region)
    table = remove_duplicates(tables) if len(tables) > 1 else tables[0]
    table["source_id"] = np.arange(1, len(table) + 1, dtype=np.int32)
    for name, (unit, description) in COLUMNS.items():
        table[name].unit, table[name].description = unit, description
    table.meta = {"THRESH": threshold, "ISLTHRES": island_threshold, "CONTRAST": contrast}  # names that FITS takes
    return table


def how_searched(mosaic: Any) -> dict[str, bool]:
    """Return how images are opened to find sources: with coarse beams too, but not beside finer ones of one folder.

    Parameters
    ----------
    mosaic : object
        As for `find_sources`.

    Returns
    -------
    dict
        Options of `~radio_ag.catalog_io.open_images.open_images`.
    """
    members = mosaic if isinstance(mosaic, list | tuple) else [mosaic]
    paths = [str(path) for path in members if isinstance(path, str | PathLike)]
    several = any(os.path.isdir(os.path.expanduser(path)) or glob.has_magic(path) for path in paths)
    # Which pixels fields would be cut on does not matter here.
    return {"beam_scaled": True} | ({"one_beam": True} if several else {})


def _open_mosaics(mosaic: Any) -> Mosaics:
    if mosaic is None or str(mosaic).lower() == "first" or isinstance(mosaic, ImageSource):
        name = getattr(mosaic, "name", mosaic)
        raise ImageError(f"sources are found in local images, not in {name}: give FITS files")
    images = open_images(mosaic, **how_searched(mosaic))
    if not isinstance(images, Mosaics):
        raise ImageError(f"sources are found in local images, not in {images.name}: give FITS files")
    return images


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


def _find_in_each(
    images: Mosaics, settings: tuple[float, float, float], block: int, region: Region | None
) -> list[Table]:
    """A table for each mosaic; of several, those that cannot be searched are left out with a warning."""
    tables, failed = [], []
    for image in range(len(images)):
        try:
            name, frame, plane = images.mosaic(image)
            table = _find_in_mosaic(name, frame, plane, settings, block)
        except ImageError as exc:
            failed.append(exc)
            continue
        tables.append(table if region is None else table[region.contains(table["ra"], table["dec"], frame)])
    if not tables:
        raise failed[0]
    if failed:
        warnings.warn(f"{len(failed)} of {len(images)} mosaics left out: {failed[0]}", RadioAGWarning, stacklevel=3)
    return tables


def _find_in_mosaic(name: str, frame: ImageFrame, plane: Any, levels: tuple[float, float, float], block: int) -> Table:
    """Sources of one mosaic; islands are numbered from 1."""
    width = (BEAM_FWHM if frame.beam is None else frame.beam) / frame.pixel_scale
    beam_area = np.pi / (4 * np.log(2)) * width**2
    threshold, island_threshold, contrast = levels
    settings = Detection(threshold, island_threshold, max(1, round(_MIN_BEAMS * beam_area)), contrast)
    try:
        noise = measure_noise(plane, max(1, round(_TILE_BEAMS * width)), frame.factor)
    except ImageError as exc:
        raise ImageError(f"image {name}: {exc}") from exc
    found = list(search_blocks(SearchedMosaic(name, plane, frame.factor, noise, settings), block))
    table = _as_table(found, frame, beam_area)
    table["mosaic"] = np.full(len(table), name)
    islands = table["island"].max() if len(table) else 0
    logging.getLogger(__name__).info("%s: %d sources in %d islands", name, len(table), islands)
    return table


def _as_table(found: list[Found], frame: ImageFrame, beam_area: float) -> Table:
    """Components in physical units, ordered by the place of their island, then by their own."""
    found = [_NOTHING, *found]
    columns = zip(*(part.components for part in found), strict=True)
    components = Components(*(np.concatenate(column) for column in columns))
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
