"""Which columns of a table hold the position and the identity of a source, and in which frame.

Positions: the user's choice, then VizieR's computed J2000 columns, then UCDs, then exact well-known names, then a
`~astropy.coordinates.SkyCoord` column. Names are compared whole, never in part: ``RA_max``, ``optRA`` or ``E_RA`` are
not the position. Equatorial frames at J2000 are taken, whatever else a catalogue says about itself is refused.
"""

import difflib
import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from astropy.coordinates import SkyCoord
from astropy.table import Table

from radio_ag.errors import CatalogueError, RadioAGWarning


@dataclass(frozen=True)
class PositionColumns:
    """Where the position is.

    Attributes
    ----------
    ra, dec : tuple of str
        Columns of right ascension and declination: one each, or the parts of a printed CDS table. For a
        `~astropy.coordinates.SkyCoord` column ``ra`` and ``dec`` are the same.
    degrees : bool
        Whether the names say that plain numbers are degrees.
    """

    ra: tuple[str, ...]
    dec: tuple[str, ...]
    degrees: bool = False

    @property
    def ra_name(self) -> str:
        """Column of right ascension, for people."""
        return " ".join(self.ra)

    @property
    def dec_name(self) -> str:
        """Column of declination, for people."""
        return " ".join(self.dec)


VIZIER_COMPUTED = (("_RAJ2000", "_DEJ2000"), ("_RA_icrs", "_DE_icrs"), ("_RA.icrs", "_DE.icrs"), ("_RA", "_DE"))
"""Degrees that VizieR computes from a catalogue's own columns, whatever those are in."""

KNOWN_DEGREES = (
    ("ra_deg_cont", "dec_deg_cont"),
    ("RA_ICRS", "DE_ICRS"),
    ("RAdeg", "DEdeg"),
    ("RA_deg", "DEC_deg"),
    ("RAdeg", "DECdeg"),
    ("RAcen", "Deccen"),
    ("ALPHA_J2000", "DELTA_J2000"),
    ("ALPHAWIN_J2000", "DELTAWIN_J2000"),
    ("s_ra", "s_dec"),
    ("sky_centroid.ra", "sky_centroid.dec"),
    ("skycoord_peak.ra", "skycoord_peak.dec"),
)
"""Names that are only ever given to degrees."""

KNOWN_NAMES = (
    ("RA", "DEC"),
    ("ra", "dec"),
    ("RAJ2000", "DEJ2000"),
    ("RAJ2000", "DECJ2000"),
    ("RA_J2000", "DEC_J2000"),
    ("RA2000", "DEC2000"),
    ("RIGHT_ASCENSION", "DECLINATION"),
    ("RightAscension", "Declination"),
)
"""Names whose unit has to come from the table, or from the values."""

CDS_PARTS = (("RAh", "RAm", "RAs"), ("DE-", "DEd", "DEm", "DEs"))
"""The columns of a printed CDS table."""

SKYCOORD_NAMES = ("sky_centroid", "skycoord_peak", "skycoord", "SkyCoord", "coord", "coords", "position")
"""Names of SkyCoord columns, best first, where a table has several."""

IDENTIFIERS = (
    *("source_name", "component_name", "gaus_id", "gaussian_id", "component_id", "uuid", "source_id", "sourceid"),
    *("island_name", "name", "designation", "object", "id", "objid", "obj_id", "label", "recno"),
)
"""Names of the identifying column, in lower case, best first."""

_PIXEL_NAMES = {"x_centroid", "xcentroid", "x_peak"}
_NOT_ICRS = {
    "B1950": ("RAB1950", "_RAB1950", "RA1950", "RA_B1950", "RA_1950", "RA_FK4"),
    "Galactic": ("GLON", "_GLON", "l", "lon", "gal_lon", "GAL_LON", "glon_deg"),
    "ecliptic": ("ELON", "_ELON"),
}
_OTHER_FRAME = re.compile(r"fk4|b1950|galactic|ecliptic", re.IGNORECASE)
_EQUINOX = re.compile(r"[JB]?\s*(\d+(?:\.\d*)?)")


def find_positions(table: Table, ra_col: str | None = None, dec_col: str | None = None) -> PositionColumns:
    """Find the position columns of a table.

    Parameters
    ----------
    table : `~astropy.table.Table`
        UCDs are taken from the ``ucd`` item of the columns' ``info.meta``.
    ra_col, dec_col : str, optional
        Columns chosen by the user, which win over all else. ``ra_col`` alone may name a SkyCoord column.

    Returns
    -------
    PositionColumns
        The best there are.

    Raises
    ------
    CatalogueError
        When there is none, or the chosen columns are not there.
    """
    if ra_col is not None or dec_col is not None:
        return _chosen(table, ra_col, dec_col)
    for find in (_by_vizier, _by_main_ucd, _by_name, _by_parts, _by_skycoord, _by_plain_ucd):
        found = find(table)
        if found is not None:
            return found
    raise CatalogueError(_nothing_found(table))


def find_identifier(table: Table) -> str | None:
    """Find the column that names the sources: by the UCD ``meta.id;meta.main``, else by a well-known name.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With UCDs as `find_positions` takes them.

    Returns
    -------
    str or None
        Its name; `None` where there is none.
    """
    main = _with_ucd(table, "meta.id;meta.main", "id_main")
    if main:
        return main[0]
    folded: dict[str, str] = {}
    for name in table.colnames:
        folded.setdefault(name.lower(), name)
    return next((folded[name] for name in IDENTIFIERS if name in folded), None)


def tell_apart(names: Sequence[str]) -> list[str]:
    """Give a number to each name that another has, from 2.

    Parameters
    ----------
    names : sequence of str
        Of the columns of a table.

    Returns
    -------
    list of str
        ``flux``, ``flux_2``: as many names, all different.

    Warns
    -----
    RadioAGWarning
        Of those that have got another name.
    """
    taken = set(names)
    seen: set[str] = set()
    told, renamed = [], []
    for name in names:
        new = name
        if name in seen:
            number = next(number for number in itertools.count(2) if f"{name}_{number}" not in taken)
            new = f"{name}_{number}"
            taken.add(new)
            renamed.append(f"a second {name!r} is {new!r}")
        seen.add(name)
        told.append(new)
    if renamed:
        warnings.warn(f"columns of the same name are told apart: {', '.join(renamed)}", RadioAGWarning, stacklevel=2)
    return told


def check_column(table: Table, option: str, name: str | None) -> None:
    """Check that a column that the user names is there.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Whose columns are looked through, by their exact names.
    option : str
        By which it is named.
    name : str or None
        `None`: none is named.

    Raises
    ------
    CatalogueError
        When it is not there.
    """
    if name is not None and name not in table.colnames:
        near = difflib.get_close_matches(name, table.colnames, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise CatalogueError(f"{option}={name!r} is not a column of the catalogue.{hint} Columns: {_listed(table)}")


def check_frame(table: Table, ra_name: str) -> None:
    """Check that the right ascension is ICRS, or FK5 at J2000 (which differs by less than 0.03 arcsec).

    The frame is that of the column's COOSYS in a VOTable, or of RADESYS and EQUINOX in a FITS header. A catalogue that
    says nothing is taken as ICRS.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With the header as its ``meta``, and ``coosys`` in the ``info.meta`` of a column.
    ra_name : str
        Column of right ascension.

    Raises
    ------
    CatalogueError
        When the catalogue names another frame or equinox.
    """
    frame = (table[ra_name].info.meta or {}).get("coosys") or _frame_of_header(table.meta)
    equinox = _EQUINOX.search(frame.partition(" ")[2])
    precessed = equinox is not None and abs(float(equinox[1]) - 2000.0) > 0.01 and "icrs" not in frame.lower()
    if _OTHER_FRAME.search(frame) or precessed:
        raise CatalogueError(
            f"the positions in {ra_name!r} are in the frame {frame!r}; ICRS or FK5 at J2000 is needed: "
            "convert them first, with astropy's SkyCoord"
        )


def _frame_of_header(meta: dict) -> str:
    system = meta.get("RADESYS", meta.get("RADECSYS", "FK5"))
    return f"{system} {meta.get('EQUINOX', '')}".strip()


def _chosen(table: Table, ra_col: str | None, dec_col: str | None) -> PositionColumns:
    check_column(table, "ra_col", ra_col)
    check_column(table, "dec_col", dec_col)
    if ra_col is not None and dec_col is None and _holds_coordinates(table[ra_col]):
        return PositionColumns((ra_col,), (ra_col,))
    if ra_col is None or dec_col is None:
        raise CatalogueError("ra_col and dec_col (--ra-col, --dec-col) go together: only one of them was given")
    known = (ra_col, dec_col) in VIZIER_COMPUTED + KNOWN_DEGREES
    return PositionColumns((ra_col,), (dec_col,), degrees=known)


def _by_vizier(table: Table) -> PositionColumns | None:
    return _first_pair(table, VIZIER_COMPUTED, degrees=True)


def _by_main_ucd(table: Table) -> PositionColumns | None:
    """Main UCD, of UCD1+ or of the older UCD1; of several columns the first, as a catalogue lists its own first."""
    ra = _with_ucd(table, "pos.eq.ra;meta.main", "pos_eq_ra_main")
    dec = _with_ucd(table, "pos.eq.dec;meta.main", "pos_eq_dec_main")
    return _from_ucd(ra[:1], dec[:1])


def _by_plain_ucd(table: Table) -> PositionColumns | None:
    """UCD without ``meta.main``, where only one column has it."""
    return _from_ucd(_with_ucd(table, "pos.eq.ra"), _with_ucd(table, "pos.eq.dec"))


def _from_ucd(ra: list[str], dec: list[str]) -> PositionColumns | None:
    if len(ra) != 1 or len(dec) != 1 or ra[0] in _NOT_ICRS["B1950"]:
        return None
    return PositionColumns((ra[0],), (dec[0],), degrees=(ra[0], dec[0]) in KNOWN_DEGREES)


def _with_ucd(table: Table, *accepted: str) -> list[str]:
    ucds = {name: str((table[name].info.meta or {}).get("ucd", "")).replace(" ", "").lower() for name in table.colnames}
    return [name for name, ucd in ucds.items() if ucd in accepted]


def _by_name(table: Table) -> PositionColumns | None:
    return _first_pair(table, KNOWN_DEGREES, degrees=True) or _first_pair(table, KNOWN_NAMES, degrees=False)


def _first_pair(table: Table, pairs: tuple[tuple[str, str], ...], *, degrees: bool) -> PositionColumns | None:
    """First pair whose names are both there, as spelled or else ignoring case."""
    for ra, dec in pairs:
        if ra in table.colnames and dec in table.colnames:
            return PositionColumns((ra,), (dec,), degrees)
    folded = {name.lower(): name for name in reversed(table.colnames)}
    for ra, dec in pairs:
        if ra.lower() in folded and dec.lower() in folded:
            return PositionColumns((folded[ra.lower()],), (folded[dec.lower()],), degrees)
    return None


def _by_parts(table: Table) -> PositionColumns | None:
    ra, dec = CDS_PARTS
    return PositionColumns(ra, dec) if set(ra + dec) <= set(table.colnames) else None


def _by_skycoord(table: Table) -> PositionColumns | None:
    columns = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    # In CSV such a column is text: "162.53,30.677".
    columns = columns or [name for name in table.colnames if name in SKYCOORD_NAMES and _holds_coordinates(table[name])]
    best = columns if len(columns) == 1 else [name for name in SKYCOORD_NAMES if name in columns]
    return PositionColumns((best[0],), (best[0],)) if best else None


def _holds_coordinates(column: Any) -> bool:
    return isinstance(column, SkyCoord) or (column.dtype.kind in "US" and column.ndim == 1)


def _nothing_found(table: Table) -> str:
    frame = next((frame for frame, names in _NOT_ICRS.items() if set(names) & set(table.colnames)), None)
    hint = f" It has {frame} coordinates, which are not taken as right ascension and declination;"
    hint = f"{hint} convert them to ICRS first, with astropy's SkyCoord." if frame else ""
    if _PIXEL_NAMES & set(table.colnames):
        hint = " It has positions in pixels only; photutils adds those on the sky when it is given wcs=."
    return (
        f"no position columns in the catalogue.{hint} Columns: {_listed(table)}. Accepted: the UCDs "
        "pos.eq.ra;meta.main and pos.eq.dec;meta.main, well-known names (RA and DEC, RAJ2000 and DEJ2000, "
        "ra_deg_cont and dec_deg_cont, …), a SkyCoord column, or any columns named by ra_col "
        "and dec_col (--ra-col, --dec-col)"
    )


def _listed(table: Table, most: int = 40) -> str:
    names = " ".join(", ".join(table.colnames[:most]).split()) or "none"
    return names if len(table.colnames) <= most else f"{names}, … ({len(table.colnames)} in all)"
