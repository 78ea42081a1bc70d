"""Columns of angles to degrees: units, decimal and sexagesimal notation, missing values.

Everything here works on one column and answers with one float64 array of the same length. A value that is missing or
cannot be understood becomes NaN; a column whose meaning is ambiguous is an error.
"""

import math
import re
from collections.abc import Sequence
from enum import Enum
from numbers import Real
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Column

from radio_ag.errors import CatalogueError

HOUR = 15.0
"""Degrees in an hour of right ascension."""

RA_UNITS = {"deg": 1.0, "hour": HOUR, "hourangle": HOUR, "hms": HOUR, "dms": 1.0, "rad": math.degrees(1.0)}
"""Units that a user may give for the right ascension, and what their first part is worth in degrees."""

_UNIT_SPELLINGS = {
    **dict.fromkeys(("deg", "degs", "degree", "degrees"), 1.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "hourangle"), HOUR),
}
_SEXAGESIMAL_UNITS = {
    **dict.fromkeys(("d:m:s", "dms", "dd:mm:ss", "ddmmss", "d m s", "dd mm ss", "deg:min:sec", "deg min sec"), 1.0),
    **dict.fromkeys(("h:m:s", "hms", "hh:mm:ss", "hhmmss", "h m s", "hh mm ss", "hour:min:sec", "hour min sec"), HOUR),
}
_NOTHING = {"", "-", "--", "---", "none", "null", "nan"}
"""How tables write that there is no value, or no unit."""

_SEXAGESIMAL = re.compile(
    r"""(?P<sign>[+-]?)\s*
        (?P<first>\d{1,3})   (?P<mark>\s*[:hd°]\s*|\s+)
        (?P<minutes>\d{1,2}) (?:\s*[:m']\s*|\s+)
        (?P<seconds>\d{1,2}(?:\.\d*)?)
        \s*(?:s|"|'')?""",
    re.VERBOSE,
)
_TO_MINUTES = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<first>\d{1,3})(?P<mark>\s*[hd°]\s*)(?P<minutes>\d{1,2}(?:\.\d*)?)\s*[m']?(?P<seconds>)"
)
_FIRST_ALONE = re.compile(r"(?P<sign>[+-]?)\s*(?P<first>\d{1,3}(?:\.\d*)?)(?P<mark>\s*[hd°])(?P<minutes>)(?P<seconds>)")
_DOTTED = re.compile(r"(?P<sign>[+-]?)(?P<first>\d{1,3})(?P<mark>\.)(?P<minutes>\d{2})\.(?P<seconds>\d{2}(?:\.\d*)?)")
_NOTATIONS = (_SEXAGESIMAL, _DOTTED, _TO_MINUTES, _FIRST_ALONE)
_PRINTED = re.compile(r"([hdms°'\"])\.(\d+)")  # 07s.2
_IN_DEGREES = re.compile(r"(?<=[\d.])\s*deg(?:rees?)?$")  # 'D' has become 'd'
_COMPACT = re.compile(r"[+-]?\d{6,7}(?:\.\d*)?")
_MARKS = str.maketrans(
    {
        **{"ʰ": "h", "ᵈ": "d", "ᵐ": "m", "ˢ": "s", "H": "h", "D": "d", "M": "m", "S": "s", "º": "°", "˚": "°"},
        **dict.fromkeys("\N{PRIME}\N{RIGHT SINGLE QUOTATION MARK}\N{ACUTE ACCENT}", "'"),
        **dict.fromkeys("\N{DOUBLE PRIME}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
        **dict.fromkeys("\N{EN DASH}\N{HYPHEN}\N{NON-BREAKING HYPHEN}", "-"),
        **dict.fromkeys("\N{NO-BREAK SPACE}\N{THIN SPACE}\N{NARROW NO-BREAK SPACE}", " "),
    }
)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def positions(
    ra: Any, dec: Any, names: tuple[str, str], *, unit: str | None = None, degrees: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions in degrees.

    Parameters
    ----------
    ra, dec : `~astropy.table.Column`, `~astropy.units.Quantity` or array, shape (n,)
        Numbers, decimal strings, sexagesimal strings, or digits without separators (``HHMMSS.s`` and ``DDMMSS.s``),
        which are told by values that are no degrees. Right ascensions with separators are hours, unless marked as
        degrees (``162d34m55s``).
    names : (str, str)
        Of the columns, for messages.
    unit : {"deg", "hour", "hourangle", "hms", "dms", "rad"}, optional
        Unit of the right ascension, whatever the column says; with the sexagesimal ones, plain numbers are digits
        without separators. `None`: the column's own.
    degrees : bool
        Whether the names of the columns say that plain numbers are degrees.

    Returns
    -------
    ra, dec : numpy.ndarray, shape (n,)
        Right ascension 0 to 360, declination -90 to 90; NaN where a value is missing, unreadable or out of range.
        Decimal degrees from -180 are accepted for the right ascension.

    Raises
    ------
    CatalogueError
        Where a column can be read in two ways, or holds no angles.
    """
    east = _Angles(ra, names[0], full=360.0, degrees=degrees, unit=unit)
    north = _Angles(dec, names[1], full=90.0, degrees=degrees)
    compact = _settle(east, north)
    return _right_ascension(east, compact[0]), _declination(north, compact[1])


class _Compact(Enum):
    """Whether numbers are digits without separators."""

    NO = 0
    POSSIBLE = 1  # as well as degrees
    DOUBTFUL = 2  # as well as degrees, of which a few are out of range
    YES = 3


class _Angles:
    """A column of angles: its values, and what is known of what they are worth."""

    def __init__(self, column: Any, name: str, *, full: float, degrees: bool, unit: str | None = None):
        self.name = name
        self.unit = unit
        self.degrees = degrees
        self.full = full
        self.spelling = str(getattr(column, "unit", None) or "").strip("\"'[] ").lower()
        self.declared = None if unit is not None else _SEXAGESIMAL_UNITS.get(self.spelling)
        self.own = None if unit is not None else self.declared or _degrees_per_unit(getattr(column, "unit", None), name)
        self.values, self.notation = _numbers(column, name)
        self.compact = self._is_compact(column)

    def _is_compact(self, column: Any) -> _Compact:
        finite = np.abs(self.values[np.isfinite(self.values)])
        in_degrees = self.unit in ("deg", "rad") or ((self.own or self.degrees) and self.declared is None)
        if self.notation is not None or in_degrees or not finite.size:
            return _Compact.NO
        valid = np.isfinite(_from_digits(finite))
        if self.unit in ("hms", "dms"):
            return _Compact.YES
        if self.declared is not None:
            return self._declared_compact(certain=bool(valid.all() and finite.max() > self.full))
        above = finite > self.full
        most = 2 * int((above & valid).sum()) > len(finite)
        if most or (valid.all() and (finite.max() >= 10000.0 or _is_padded(column))):
            return _Compact.YES
        if not valid.all() or self.unit is not None:
            return _Compact.NO
        return _Compact.DOUBTFUL if above.any() else _Compact.POSSIBLE

    def _declared_compact(self, *, certain: bool) -> _Compact:
        if certain:
            return _Compact.YES
        raise CatalogueError(
            f"{self.name!r} is ambiguous: plain numbers in a column with unit {self.spelling!r} may be decimal, or "
            "digits without separators; give another unit in the table, or that of right ascension (--ra-unit)"
        )

    def example(self) -> str:
        """A value that is no degrees, where there is one."""
        finite = self.values[np.isfinite(self.values)]
        return f"{finite[np.abs(finite).argmax()]:.12g}"


def _settle(east: _Angles, north: _Angles) -> tuple[bool, bool]:
    """Whether right ascension and declination are digits without separators: each may be needed to tell the other."""
    no, yes, known = _Compact.NO, _Compact.YES, (_Compact.NO, _Compact.YES)
    if east.compact is _Compact.DOUBTFUL and north.compact in known:
        return north.compact is yes, north.compact is yes
    if north.compact is _Compact.DOUBTFUL and east.compact is no:
        return False, False
    plain = east.compact in (no, _Compact.POSSIBLE) and north.compact in (no, _Compact.POSSIBLE)
    if plain or (east.compact in known and north.compact in known):
        return east.compact is yes, north.compact is yes
    sure, other = (east, north) if east.compact.value >= north.compact.value else (north, east)
    raise CatalogueError(
        f"{other.name!r} is ambiguous: {sure.name!r} has values such as {sure.example()}, digits without separators, "
        f"and {other.example()} in {other.name!r} can be such too as well as degrees; give the unit of right ascension "
        "(--ra-unit), and that of declination in the table"
    )


def _from_digits(values: np.ndarray) -> np.ndarray:
    """Value in its first unit of each number whose digits are ``HHMMSS.s``; NaN where they are not."""
    digits = np.abs(values)
    with np.errstate(invalid="ignore"):
        first, rest = np.floor(digits / 1e4), digits % 1e4
        minutes, seconds = np.floor(rest / 100), rest % 100
        whole = first + minutes / 60 + seconds / 3600
        return np.where((whole <= 360) & (minutes < 60) & (seconds <= 60), np.copysign(whole, values), np.nan)


def _is_padded(column: Any) -> bool:
    """Whether text has six digits before the point in each row, and a zero for the first in one."""
    data, mask = _data_and_mask(column)
    if data.dtype.kind in "fiu":
        return False
    text = [value.lstrip("+-") for value in _strings(column, "")[~mask].tolist() if value.lower() not in _NOTHING]
    return all(_COMPACT.fullmatch(value) for value in text) and any(value.startswith("0") for value in text)


def _right_ascension(angles: _Angles, compact: bool) -> np.ndarray:
    values, unit = angles.values, angles.unit
    given = None if unit is None else RA_UNITS[unit]
    if compact:
        values = _from_digits(values)
        scale = (HOUR if given is None or unit == "rad" else given) if angles.declared is None else angles.declared
    elif angles.notation is None:
        if given is None and angles.own is None and not angles.degrees:
            _refuse_ambiguous(values, angles.name)
        scale = given or angles.own or 1.0
    elif isinstance(angles.notation, str):
        scale = given or _sexagesimal_scale(angles)
    else:
        scale = given or angles.notation
    lowest, highest = (0.0, 24.0) if scale == HOUR else (-180.0 / scale, 360.0 / scale)
    with np.errstate(invalid="ignore"):
        # The slack keeps 2 pi rad and the like inside, whatever the rounding.
        inside = (values >= lowest * (1 + 1e-12)) & (values <= highest * (1 + 1e-12))
    return np.mod(np.where(inside, values * scale, np.nan), 360.0)


def _declination(angles: _Angles, compact: bool) -> np.ndarray:
    values = angles.values
    if angles.notation == HOUR or (angles.declared == HOUR and angles.notation is None):
        raise CatalogueError(f"declination {angles.name!r} is in hours: is it the right ascension?")
    if compact:
        values = _from_digits(values)
    elif angles.notation is None:
        values = values * (angles.own or 1.0)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= 90.0 * (1 + 1e-12), np.clip(values, -90.0, 90.0), np.nan)


def numbers(column: Any) -> np.ndarray:
    """Return the values of a column of numbers, or of strings that are numbers.

    Parameters
    ----------
    column : `~astropy.table.Column` or array, shape (n,)
        Of any unit.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        In the column's own unit; NaN where missing.
    """
    return _numbers(column, getattr(column, "name", None) or "?")[0]


def right_ascension(column: Any, name: str) -> np.ndarray:
    """Return right ascensions in degrees, 0 to 360.

    Parameters
    ----------
    column : `~astropy.table.Column`, `~astropy.units.Quantity` or array, shape (n,)
        As `positions` takes it; numbers are degrees where there is no unit.
    name : str
        Name of the column, for messages.

    Returns
    -------
    numpy.ndarray, shape (n,)
        NaN where a value is missing, unreadable or out of range.
    """
    return _right_ascension(_Angles(column, name, full=360.0, degrees=True), compact=False)


def declination(column: Any, name: str) -> np.ndarray:
    """Return declinations in degrees, -90 to 90.

    Parameters
    ----------
    column : `~astropy.table.Column`, `~astropy.units.Quantity` or array, shape (n,)
        As `positions` takes it; numbers are degrees where there is no unit.
    name : str
        Name of the column, for messages.

    Returns
    -------
    numpy.ndarray, shape (n,)
        NaN where a value is missing, unreadable or out of range.
    """
    return _declination(_Angles(column, name, full=90.0, degrees=True), compact=False)


def from_parts(
    hours: Column,
    minutes: Column,
    seconds: Column,
    sign: Column,
    degrees: Column,
    arcminutes: Column,
    arcseconds: Column,
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions from the seven columns of a printed CDS table, RAh to DEs.

    Parameters
    ----------
    hours, minutes, seconds : `~astropy.table.Column`, shape (n,)
        Of right ascension.
    sign : `~astropy.table.Column` of str, shape (n,)
        Of the declination: ``-``, or anything else for north.
    degrees, arcminutes, arcseconds : `~astropy.table.Column`, shape (n,)
        Of declination.

    Returns
    -------
    ra, dec : numpy.ndarray, shape (n,)
        Degrees; NaN where a part is missing or out of range.
    """
    whole = [_numbers(part, "RAh … DEs")[0] for part in (hours, minutes, seconds, degrees, arcminutes, arcseconds)]
    ra = HOUR * (whole[0] + whole[1] / 60 + whole[2] / 3600)
    dec = np.abs(whole[3]) + whole[4] / 60 + whole[5] / 3600
    dec = np.where(_strings(sign, "DE-") == "-", -dec, dec)
    with np.errstate(invalid="ignore"):
        return np.where((ra >= 0) & (ra <= 360), np.mod(ra, 360.0), np.nan), np.where(np.abs(dec) <= 90, dec, np.nan)


def from_pairs(column: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return positions from strings like ``162.53,30.677``, which a SkyCoord column is in CSV.

    Parameters
    ----------
    column : `~astropy.table.Column` of str, shape (n,)
        Right ascension and declination in degrees, with a comma between them.
    name : str
        Name of the column, for messages.

    Returns
    -------
    ra, dec : numpy.ndarray, shape (n,)
        Degrees; NaN where they are missing or unreadable.

    Raises
    ------
    CatalogueError
        When no string is such a pair.
    """
    text = _strings(column, name)
    if text.size and not (np.strings.find(text, ",") > 0).any():
        raise CatalogueError(
            f"position column {name!r} holds no pairs 'ra,dec' in degrees, for example {str(text[0])!r}"
        )
    ra, _, dec = np.strings.partition(text, ",")
    return positions(ra, dec, (name, name), unit="deg", degrees=True)


def _refuse_ambiguous(values: np.ndarray, name: str) -> None:
    """Stop when plain numbers may be hours as well as degrees."""
    with np.errstate(invalid="ignore"):
        usable = values[values <= 360.0]
    if usable.size and usable.max() <= 24.0:
        raise CatalogueError(
            f"right ascension {name!r} is ambiguous: plain numbers without a unit, none above 24, may be hours or "
            "degrees; give ra_unit='deg' or ra_unit='hour' (--ra-unit), or a unit in the table"
        )


def _sexagesimal_scale(angles: _Angles) -> float:
    """Hours, unless the column is declared otherwise or contradicts itself."""
    if angles.declared is not None:
        return angles.declared
    if angles.own not in (None, HOUR) or np.nanmax(angles.values, initial=-np.inf) > 24.0:
        raise CatalogueError(
            f"right ascension {angles.name!r} is ambiguous: sexagesimal strings "
            + (
                f"in a column with unit {angles.spelling!r}"
                if angles.own not in (None, HOUR)
                else "with values above 24"
            )
            + "; give ra_unit='deg' or ra_unit='hour' (--ra-unit)"
        )
    return HOUR


def _degrees_per_unit(unit: Any, name: str) -> float | None:
    """Degrees in one unit of an angle; `None` when there is no unit."""
    spelling = str(unit if unit is not None else "").strip("\"'[] ").lower()
    if spelling in _NOTHING:
        return None
    if spelling in _UNIT_SPELLINGS:
        return _UNIT_SPELLINGS[spelling]
    try:
        return float(u.Unit(unit).to(u.deg))
    except (u.UnitConversionError, ValueError, TypeError) as exc:
        raise CatalogueError(
            f"position column {name!r} has unit {str(unit)!r}; an angle is needed (deg, hour)"
        ) from exc


def _numbers(column: Any, name: str) -> tuple[np.ndarray, float | str | None]:
    """Values of a column, and what a value is worth.

    The second item is `None` for plain numbers (their unit decides), ``"sexagesimal"`` for units and sixtieths that are
    hours or degrees, and `HOUR` or 1.0 for those marked as such.
    """
    data, mask = _data_and_mask(column)
    if data.ndim != 1:
        raise CatalogueError(
            f"position column {name!r} has {data.ndim} dimensions; one number or string a row is needed"
        )
    if data.dtype.kind in "fiu":
        values = data.astype(np.float64)
        values[mask] = np.nan
        return np.where(np.isfinite(values), values, np.nan), None
    return _parse(_strings(column, name), name)


def _data_and_mask(column: Any) -> tuple[np.ndarray, np.ndarray]:
    mask = getattr(column, "mask", None)
    data = np.ma.getdata(getattr(column, "unmasked", column))
    data = np.asarray(getattr(data, "value", data))
    return data, np.zeros(data.shape, bool) if mask is None else np.broadcast_to(mask, data.shape)


def _strings(column: Any, name: str) -> np.ndarray:
    """Column of text as stripped strings, empty where missing."""
    data, mask = _data_and_mask(column)
    match data.dtype.kind:
        case "S":
            text = np.strings.decode(data, "utf-8", "replace")
        case "U" | "T":
            text = data.astype(str)
        case "O":
            text = np.array([_text(value) for value in data], dtype=str)
        case _:
            raise CatalogueError(f"position column {name!r} holds {data.dtype}; numbers or strings are needed")
    if text.size:  # NumPy replaces nothing in an empty array, and raises
        text = np.strings.replace(text, "\N{MINUS SIGN}", "-")
    return np.where(mask, "", np.strings.strip(text))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, str | Real) else ""


def _parse(text: np.ndarray, name: str) -> tuple[np.ndarray, float | str | None]:
    """Numbers from strings, decimal or sexagesimal: the column as a whole is one or the other."""
    matches = [_sexagesimal(value) for value in text.tolist()]
    if any(matches):
        marks = {match["mark"].strip() for match in matches if match is not None}
        hours, degrees = "h" in marks, bool(marks & {"d", "°"})
        if hours and degrees:
            raise CatalogueError(f"position column {name!r} is ambiguous: some strings are in hours, others in degrees")
        return _from_matches(matches), HOUR if hours else 1.0 if degrees else "sexagesimal"
    decimal = np.array([_DECIMAL.fullmatch(value) is not None for value in text.tolist()], dtype=bool)
    if not decimal.any():
        example = next((value for value in text.tolist() if value.lower() not in _NOTHING), None)
        if example is not None:
            raise CatalogueError(f"position column {name!r} holds no positions, for example {example!r}")
    return np.where(decimal, np.where(decimal, text, "nan").astype(np.float64), np.nan), None


def _sexagesimal(value: str) -> re.Match | None:
    if _DECIMAL.fullmatch(value):
        return None
    value = _IN_DEGREES.sub("d", _PRINTED.sub(r".\2\1", value.translate(_MARKS)))
    return next((match for notation in _NOTATIONS if (match := notation.fullmatch(value))), None)


def _from_matches(matches: Sequence[re.Match | None]) -> np.ndarray:
    """Value of each sexagesimal string in its first unit; NaN without a match or with sixtieths above 60."""
    texts = (
        " ".join(part or "0" for part in match.group("first", "minutes", "seconds")) if match else "nan nan nan"
        for match in matches
    )
    parts = np.fromstring(" ".join(texts), sep=" ").reshape(-1, 3)
    value = parts @ (1.0, 1 / 60, 1 / 3600)
    # The sign is the string's, not the number's: -00 30 00 is south of the equator.
    value = np.where([match is not None and match["sign"] == "-" for match in matches], -value, value)
    with np.errstate(invalid="ignore"):
        # A seconds field of 60.0 comes from rounding and is common in printed catalogues.
        return np.where((parts[:, 1] < 60) & (parts[:, 2] <= 60), value, np.nan)
