"""Catalogues in: anything with positions to one fixed record."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.coordinates import ConvertError, SkyCoord
from astropy.table import Table

from radio_ag.errors import CatalogueError

from . import _angles, _files, _frames
from ._columns import CDS_PARTS, PositionColumns, find_identifier, find_positions


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

    def __len__(self) -> int:
        return len(self.ra)


def read_catalogue(
    source,
    *,
    ra_col: str | None = None,
    dec_col: str | None = None,
    ra_unit: str | None = None,
    dialect: str | None = None,
) -> Catalogue:
    """Read a catalogue and find its positions.

    Parameters
    ----------
    source : path-like, `~astropy.table.Table`, `~astropy.coordinates.SkyCoord` or `pandas.DataFrame`
        A file is FITS, VOTable, ECSV, CSV, text or Parquet, told by its content. It is never changed.
    ra_col, dec_col : str, optional
        Columns of right ascension and declination. `None`: found by UCD, then by well-known names, then as a SkyCoord
        column. ``ra_col`` alone may name a SkyCoord column.
    ra_unit : {"deg", "hour"}, optional
        Unit of the right ascension. `None`: the column's own; strings with separators are hours.
    dialect : str, optional
        Name of the source finder's or survey's dialect. `None`: recognised by content.

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
        raise CatalogueError(f"ra_unit={ra_unit!r}: accepted are {' and '.join(map(repr, _angles.RA_UNITS))}")
    table, origin, sha256 = _as_table(source)
    if not table.colnames and (ra_col or dec_col) is None:
        nothing = np.empty(0)
        return Catalogue(table, nothing, nothing, nothing.astype(bool), "", "", None, origin, sha256)
    columns = find_positions(table, ra_col, dec_col)
    _frames.check_frame(table, columns.ra[0])
    ra, dec = _positions(table, columns, ra_unit)
    valid = np.isfinite(ra) & np.isfinite(dec)
    return Catalogue(
        table=table,
        ra=np.where(valid, ra, np.nan),
        dec=np.where(valid, dec, np.nan),
        valid=valid,
        ra_name=columns.ra_name,
        dec_name=columns.dec_name,
        source_id_name=find_identifier(table),
        origin=origin,
        sha256=sha256,
    )


def _as_table(source) -> tuple[Table, str, str | None]:
    """Table, origin and SHA-256 of whatever the user gave."""
    match source:
        case str() | os.PathLike():
            return _files.read_table(source), Path(source).name, _files.sha256(source)
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
        f"({_files.ACCEPTED}), an astropy Table or SkyCoord, and a pandas DataFrame"
    )


def _from_pandas(frame) -> Table:
    """Table of a data frame's columns, and of its index where that has a name."""
    named = any(name is not None for name in frame.index.names)
    frame = (frame.reset_index() if named else frame).rename(columns=str)
    if not frame.columns.is_unique:
        raise CatalogueError("the data frame has several columns of one name")
    return Table.from_pandas(frame)


def _positions(table: Table, columns: PositionColumns, ra_unit: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Degrees, ICRS, of each row; NaN where there is no position."""
    if columns.ra == CDS_PARTS[0]:
        return _angles.from_parts(*(table[name] for name in columns.ra + columns.dec))
    ra, dec = table[columns.ra_name], table[columns.dec_name]
    if isinstance(ra, SkyCoord):
        return _from_skycoord(ra, columns.ra_name)
    return (
        _angles.right_ascension(ra, columns.ra_name, unit=ra_unit, degrees=columns.degrees),
        _angles.declination(dec, columns.dec_name),
    )


def _from_skycoord(coordinates: SkyCoord, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        icrs = coordinates.icrs
    except (ConvertError, AttributeError) as exc:
        raise CatalogueError(f"{name!r} in frame {coordinates.frame.name!r} cannot be converted to ICRS") from exc
    return _angles.right_ascension(icrs.ra, name), _angles.declination(icrs.dec, name)
