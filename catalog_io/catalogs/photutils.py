"""photutils: SourceCatalog and its tables, from 2.x and 3.x (which renamed columns), segmentation images, and peaks.

Positions on the sky are in a SkyCoord column, which is there when the catalogue was made with a WCS; with a WCS given,
they come from the pixel positions.
"""

from typing import Any

from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind
from radio_ag.errors import CatalogueError

DIALECT = Dialect(
    name="photutils",
    title="photutils source catalogues and peaks, made with a WCS",
    kinds=(
        Kind(
            name="segments",
            columns=("label", "segment_flux", "sky_centroid"),
            position=("sky_centroid", "sky_centroid"),
            join_keys=("label",),
        ),
        Kind(
            name="segments-2",
            columns=("label", "xcentroid", "segment_flux", "sky_centroid"),
            position=("sky_centroid", "sky_centroid"),
            join_keys=("label",),
        ),
        Kind(
            name="peaks",
            columns=("x_peak", "y_peak", "peak_value", "skycoord_peak"),
            position=("skycoord_peak", "skycoord_peak"),
            join_keys=("id",),
        ),
    ),
)

# Pixel positions of SourceCatalog and the star finders (3.x, 2.x) and of find_peaks, and their place on the sky.
_PIXELS = (
    ("x_centroid", "y_centroid", "sky_centroid"),
    ("xcentroid", "ycentroid", "sky_centroid"),
    ("x_peak", "y_peak", "skycoord_peak"),
)


def is_object(source: Any) -> bool:
    """Tell whether something is a ``SourceCatalog`` or ``SegmentationImage`` of photutils, without importing it.

    Parameters
    ----------
    source : object
        Anything.

    Returns
    -------
    bool
    """
    kind = type(source)
    return kind.__module__.startswith("photutils.segmentation.") and kind.__name__ in (
        "SourceCatalog",
        "SegmentationImage",
    )


def to_table(source: Any, data: Any = None, wcs: WCS | None = None) -> Table:
    """Make a table of a SourceCatalog, or of the segments of a SegmentationImage.

    Parameters
    ----------
    source : SourceCatalog or SegmentationImage
        With n sources or segments.
    data : array_like, shape (ny, nx), optional
        What the segments of a SegmentationImage are measured on.
    wcs : WCS, optional
        Of ``data``.

    Returns
    -------
    `~astropy.table.Table`, n rows
        With a SkyCoord column where the WCS is known.

    Raises
    ------
    CatalogueError
        If a SegmentationImage comes without data, or with data of another shape.
    """
    if hasattr(source, "to_table"):
        table = source.to_table()
        if source.wcs is None:  # the column is there all the same, and has nothing in it
            table.remove_columns([sky for *_, sky in _PIXELS if sky in table.colnames])
        return table
    if data is None:
        raise CatalogueError("a SegmentationImage has no fluxes and no positions: give data and wcs")
    if source.shape != getattr(data, "shape", None):
        raise CatalogueError(
            f"data of shape {getattr(data, 'shape', None)} is not what the SegmentationImage of shape {source.shape} "
            "was made from"
        )
    from photutils.segmentation import SourceCatalog  # slow to import

    if not len(source.labels):  # SourceCatalog takes no image without segments
        return Table()
    return to_table(SourceCatalog(data, source, wcs=None if wcs is None else wcs.celestial))


def with_sky(table: Table, wcs: WCS) -> Table:
    """Add positions on the sky to a table with pixel positions, unless it has them already.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Pixel positions counted from 0, as photutils gives them; it is not changed.
    wcs : WCS
        Of those pixels.

    Returns
    -------
    `~astropy.table.Table`
        With one more column, or as it was.
    """
    for x, y, sky in _PIXELS:
        if x in table.colnames and y in table.colnames and not _has_values(table, sky):
            table = table.copy(copy_data=False)
            table[sky] = wcs.celestial.pixel_to_world(table[x], table[y])
    return table


def _has_values(table: Table, name: str) -> bool:
    """Whether a table has a column that is not wholly empty, as that of a catalogue without a WCS is."""
    if name not in table.colnames:
        return False
    column = table[name]
    return isinstance(column, SkyCoord) or any(str(value) not in ("None", "", "--") for value in column)
