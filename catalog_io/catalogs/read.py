"""Catalogues in: anything with positions to one fixed record."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import ConvertError, SkyCoord
from astropy.table import Table
from astropy.utils import iers
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from radio_ag.catalog_io.catalogs import angles as _angles
from radio_ag.catalog_io.catalogs import files as _files
from radio_ag.catalog_io.catalogs import photutils, registry
from radio_ag.catalog_io.catalogs.columns import (
    CDS_PARTS,
    PositionColumns,
    check_column,
    check_frame,
    find_identifier,
    find_positions,
)
from radio_ag.catalog_io.catalogs.dialect import (
    Columns,
    Dialect,
    Grouping,
    Kind,
    Measure,
    flux_of,
    fluxes,
    good_rows,
    group_by,
    groups,
    measures,
    with_units,
)
from radio_ag.errors import CatalogueError


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Positions, beside the table they came in.

    Attributes
    ----------
    table : `~astropy.table.Table`, n rows
        Every input column as it came, in the order it came.
    ra, dec : numpy.ndarray, shape (n,)
        Degrees, ICRS; NaN where ``valid`` is False.
    valid : numpy.ndarray of bool, shape (n,)
        Whether the row has a usable position.
    ra_name, dec_name : str
        Columns that the positions came from; the same for a SkyCoord column, empty for a table without columns.
    source_id_name : str or None
        Column that names the sources.
    origin : str
        Base name of the file, or what kind of object it was.
    sha256 : str or None
        SHA-256 of the file.
    dialect, kind : str or None
        What wrote the catalogue, and which of its tables it is; `None` for a plain table of positions. The items below
        come from the dialect.
    join_keys : tuple of str
        Columns that together identify a row in the tool's own output.
    flux : numpy.ndarray or None, shape (n,)
        Integrated flux density in Jy, NaN where missing.
    group : numpy.ndarray or None, shape (n,)
        Number of the source or island that the row belongs to, from 0.
    named : numpy.ndarray of bool or None, shape (n,)
        Whether that source has a name; see `~radio_ag.catalog_io.catalogs.dialect.Grouping`.
    chosen_group : bool
        Whether the user named the column that the groups come from.
    good : numpy.ndarray of bool or None, shape (n,)
        Whether the row passes the quality cuts that the catalogue's makers recommend.
    measures : dict of str to Measure
        What else the dialect knows of the rows: where `measure` finds it.
    """

    table: Table
    ra: np.ndarray
    dec: np.ndarray
    valid: np.ndarray
    ra_name: str
    dec_name: str
    source_id_name: str | None
    origin: str
    sha256: str | None
    dialect: str | None = None
    kind: str | None = None
    join_keys: tuple[str, ...] = ()
    flux: np.ndarray | None = None
    group: np.ndarray | None = None
    named: np.ndarray | None = None
    chosen_group: bool = False
    good: np.ndarray | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ra)

    def measure(self, name: str, rows: ArrayLike) -> np.ndarray:
        """Return what the catalogue tells of some rows; it is read from the table when it is asked for.

        Parameters
        ----------
        name : {"flux_error", "peak", "rms", "major", "minor", "position_angle"}
            Error of the flux (Jy), peak flux density and local noise (Jy/beam), axes as fitted (full width at half
            maximum, arcsec), and position angle of the major
            one (degrees, east of north).
        rows : array of int, shape (k,)
            Their numbers.

        Returns
        -------
        numpy.ndarray of float64, shape (k,)
            NaN where missing, and where the catalogue does not tell it.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if name not in self.measures:
            return np.full(len(rows), np.nan)
        column, factor, missing = self.measures[name]
        values = _angles.numbers(self.table[column][rows]).astype(np.float64)
        return np.where(values == missing, np.nan, values) * factor


def read_catalogue(
    source: Any,
    *,
    ra_col: str | None = None,
    dec_col: str | None = None,
    ra_unit: str | None = None,
    dialect: str | None = None,
    group_col: str | None = None,
    flux_col: str | None = None,
    name_col: str | None = None,
    table: str | None = None,
    hdu: str | None = None,
    data: ArrayLike | None = None,
    wcs: WCS | None = None,
) -> Catalogue:
    """Read a catalogue and find its positions.

    Parameters
    ----------
    source : path-like, `~astropy.table.Table`, `~astropy.coordinates.SkyCoord`, `pandas.DataFrame`, or of photutils
        A file is FITS, VOTable, ECSV, CSV, text or Parquet, told by its content. It is never changed. Of photutils it
        is a ``SourceCatalog`` or a ``SegmentationImage``.
    ra_col, dec_col : str, optional
        Columns of right ascension and declination. `None`: found by UCD, then by well-known names, then as a SkyCoord
        column. ``ra_col`` alone may name a SkyCoord column.
    ra_unit : {"deg", "hour", "hourangle", "hms", "dms", "rad"}, optional
        Unit of the right ascension, whatever the column says; with hms and dms, plain numbers are digits without
        separators. `None`: the column's own; strings with separators are hours.
    dialect : str, optional
        Name of the source finder's or survey's dialect, or ``"none"`` for a plain table. `None`: recognised by content.
        A dialect supplies the units that a file leaves out.
    group_col, flux_col, name_col : str, optional
        Columns of what is the same for the rows of one source, of the integrated flux density, and of the name of the
        row. `None`: those that the dialect has.
    table, hdu : str, optional
        Which table of a file is taken: its name, or its number among the tables, from 1; of FITS also that among all
        HDUs, where the primary one is 0. `None`: the first that has positions.
    data : array_like, shape (ny, nx), optional
        What the segments of a ``SegmentationImage`` are measured on.
    wcs : `~astropy.wcs.WCS`, optional
        Where the pixel positions of a photutils table are on the sky, if it does not say.

    Returns
    -------
    Catalogue
        One row for each row of the input, in its order. FK5 at J2000 is taken as ICRS, which is true to 0.03 arcsec.

    Raises
    ------
    CatalogueError
        No such file, not a table, no position columns, another frame than equatorial J2000, or right ascensions that
        may be hours as well as degrees.

    Examples
    --------
    >>> from astropy.table import Table
    >>> catalogue = read_catalogue(Table({"RAJ2000": ["10 50 07.2"], "DEJ2000": ["+30 40 37.2"]}))
    >>> print(f"{catalogue.ra[0]:.3f} {catalogue.dec[0]:.3f}")
    162.530 30.677
    """
    if ra_unit is not None and ra_unit not in _angles.RA_UNITS:
        raise CatalogueError(f"ra_unit={ra_unit!r}: accepted are {', '.join(map(repr, _angles.RA_UNITS))}")
    chosen = None if dialect in (None, "none") else registry.get_dialect(dialect)
    wanted = _files.Wanted(table, hdu, ra_col, dec_col)
    rows, origin, sha256 = _as_photutils_table(source, data, wcs) or _as_table(source, chosen, wanted)
    if wcs is not None:
        rows = photutils.with_sky(rows, wcs)
    if not rows.colnames:
        return _empty(rows, origin, sha256)
    found = None if dialect == "none" else _dialect(rows, chosen, placed=ra_col is not None)
    if found is not None and found[1].position is None:
        return _empty(rows, origin, sha256)
    if found is not None:
        rows = with_units(rows, found[1])
    columns = _position_columns(rows, found, ra_col, dec_col)
    check_frame(rows, columns.ra[0])
    ra, dec = _positions(rows, columns, ra_unit)
    valid = np.isfinite(ra) & np.isfinite(dec)
    extras = ({} if found is None else _extras(rows, *found)) | _chosen_extras(rows, group_col, flux_col, name_col)
    return Catalogue(
        table=rows,
        ra=np.where(valid, ra, np.nan),
        dec=np.where(valid, dec, np.nan),
        valid=valid,
        ra_name=columns.ra_name,
        dec_name=columns.dec_name,
        source_id_name=name_col or next(iter(extras.get("join_keys", ())), None) or find_identifier(rows),
        origin=origin,
        sha256=sha256,
        **extras,
    )


def _empty(table: Table, origin: str, sha256: str | None) -> Catalogue:
    """Catalogue of a table that has no rows, and no columns for positions either."""
    nothing = np.empty(0)
    return Catalogue(table, nothing, nothing, nothing.astype(bool), "", "", None, origin, sha256)


def _dialect(table: Table, chosen: Dialect | None, *, placed: bool) -> tuple[Dialect, Kind] | None:
    """Dialect and kind of a table: of the chosen dialect, or recognised."""
    if chosen is None:
        return registry.recognise(table)
    return chosen, chosen.required_kind(table, placed=placed)


def _position_columns(
    table: Table, found: tuple[Dialect, Kind] | None, ra_col: str | None, dec_col: str | None
) -> PositionColumns:
    if found is not None and found[1].position is not None and ra_col is None and dec_col is None:
        columns = Columns(table)
        ra, dec = (columns.name(name) for name in found[1].position)
        if ra is not None and dec is not None:
            return PositionColumns((ra,), (dec,))
    return find_positions(table, ra_col, dec_col)


def _extras(table: Table, dialect: Dialect, kind: Kind) -> dict[str, Any]:
    """Items of a `Catalogue` that only a dialect knows."""
    columns = Columns(table)
    keys = [columns.name(key) for key in kind.join_keys]
    return {
        "dialect": dialect.name,
        "kind": kind.name,
        "join_keys": () if None in keys else tuple(keys),
        "flux": fluxes(table, kind),
        **_grouping(groups(table, kind)),
        "good": good_rows(table, kind),
        "measures": measures(table, kind),
    }


def _chosen_extras(table: Table, group_col: str | None, flux_col: str | None, name_col: str | None) -> dict[str, Any]:
    """Items of a `Catalogue` from columns that the user names."""
    for option, name in (("group_col", group_col), ("flux_col", flux_col), ("name_col", name_col)):
        check_column(table, option, name)
    extras: dict[str, Any] = {}
    if group_col is not None:
        extras = {**group_by([table[group_col]])._asdict(), "chosen_group": True}
    if flux_col is not None:
        extras["flux"] = flux_of(table, flux_col)
    return extras


def _grouping(found: Grouping | None) -> dict[str, Any]:
    return {} if found is None else found._asdict()


def _as_photutils_table(source: Any, data: ArrayLike | None, wcs: WCS | None) -> tuple[Table, str, None] | None:
    """Table and origin of an object of photutils; `None` of anything else."""
    if not photutils.is_object(source):
        return None
    return Table(photutils.to_table(source, data, wcs)), f"photutils {type(source).__name__}", None


def _as_table(source: Any, dialect: Dialect | None, wanted: _files.Wanted) -> tuple[Table, str, str | None]:
    """Table, origin and SHA-256 of whatever the user gave."""
    match source:
        case str() | os.PathLike():
            return _files.read_table(source, dialect, wanted), Path(source).name, _files.sha256(source)
        case Table():
            # A new table over the same columns; a QTable's quantities become columns with units.
            return Table(source, copy=False), f"astropy {type(source).__name__}", None
        case SkyCoord():
            ra, dec = _from_skycoord(source.reshape(-1) if source.shape != () else source.reshape(1), "SkyCoord")
            return Table({"ra": ra, "dec": dec}, units={"ra": "deg", "dec": "deg"}), "SkyCoord", None
    if type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame":
        return _from_pandas(source), "pandas DataFrame", None
    raise CatalogueError(
        f"a catalogue cannot be read from {type(source).__name__!r}; accepted are a file "
        f"({_files.ACCEPTED}), an astropy Table or SkyCoord, a pandas DataFrame, and a SourceCatalog or "
        "SegmentationImage of photutils"
    )


def _from_pandas(frame: Any) -> Table:
    """Table of a data frame's columns, and of its index where that has a name."""
    named = any(name is not None for name in frame.index.names)
    frame = (frame.reset_index() if named else frame).rename(columns=str)
    if not frame.columns.is_unique:
        names = ", ".join(sorted(set(frame.columns[frame.columns.duplicated()])))
        raise CatalogueError(f"the data frame has several columns of one name: {names}")
    return Table.from_pandas(frame)


def _positions(table: Table, columns: PositionColumns, ra_unit: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Degrees, ICRS, of each row; NaN where there is no position."""
    if columns.ra == CDS_PARTS[0]:
        return _angles.from_parts(*(table[name] for name in columns.ra + columns.dec))
    ra, dec = table[columns.ra_name], table[columns.dec_name]
    if isinstance(ra, SkyCoord):
        return _from_skycoord(ra, columns.ra_name)
    if columns.ra == columns.dec:
        return _angles.from_pairs(ra, columns.ra_name)
    names = columns.ra_name, columns.dec_name
    return _angles.positions(ra, dec, names, unit=ra_unit, degrees=columns.degrees)


def _from_skycoord(coordinates: SkyCoord, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with iers.conf.set_temp("auto_download", False):  # of the Earth's rotation, where the frame depends on it
            icrs = coordinates.icrs
    except (ConvertError, AttributeError) as exc:
        raise CatalogueError(f"{name!r} in frame {coordinates.frame.name!r} cannot be converted to ICRS") from exc
    return _angles.right_ascension(icrs.ra, name), _angles.declination(icrs.dec, name)
