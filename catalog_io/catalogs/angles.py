"""Columns of angles to degrees: units, decimal and sexagesimal notation, missing values.

Everything here works on one column and answers with one float64 array of the same length. A value that is missing or
cannot be understood becomes NaN; a column whose meaning is ambiguous is an error.
"""

import re
from collections.abc import Sequence
from numbers import Real
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Column

from radio_ag.errors import CatalogueError

HOUR = 15.0
"""Degrees in an hour of right ascension."""

RA_UNITS = {"deg": 1.0, "hour": HOUR}
"""Units that a user may give for the right ascension, and what they are worth in degrees."""

_UNIT_SPELLINGS = {
    **dict.fromkeys(("deg", "degs", "degree", "degrees", "d:m:s"), 1.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "hourangle", "h:m:s"), HOUR),
}
_NOTHING = {"", "-", "--", "---", "none", "null", "nan"}
"""How tables write that there is no value, or no unit."""

_SEXAGESIMAL = re.compile(
    r"""(?P<sign>[+-]?)\s*
        (?P<first>\d{1,3})   (?P<mark>\s*[:hd°]\s*|\s+)
        (?P<minutes>\d{1,2}) (?:\s*[:m'\u2032]\s*|\s+)
        (?P<seconds>\d{1,2}(?:\.\d*)?)
        \s*(?:s|"|\u2033|'')?""",
    re.VERBOSE,
)
_DOTTED = re.compile(r"(?P<sign>[+-]?)(?P<first>\d{1,3})(?P<mark>\.)(?P<minutes>\d{2})\.(?P<seconds>\d{2}(?:\.\d*)?)")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def right_ascension(column: Any, name: str, *, unit: str | None = None, degrees: bool = False) -> np.ndarray:
    """Return right ascensions in degrees, 0 to 360.

    Parameters
    ----------
    column : `~astropy.table.Column`, `~astropy.units.Quantity` or array, shape (n,)
        Numbers, decimal strings or sexagesimal strings. Sexagesimal strings are hours, unless marked as degrees
        (``162d34m55s``).
    name : str
        Name of the column, for messages.
    unit : {"deg", "hour"}, optional
        Unit of the values. `None`: the column's own.
    degrees : bool
        Whether the name of the column says that plain numbers are degrees.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Degrees; NaN where a value is missing, unreadable or out of range. Decimal degrees from -180 are accepted.

    Raises
    ------
    CatalogueError
        Where degrees or hours is ambiguous, or the column holds no angles.
    """
    given = None if unit is None else RA_UNITS[unit]
    own = _degrees_per_unit(getattr(column, "unit", None), name)
    values, notation = _numbers(column, name)
    if notation is None:
        if given is None and own is None and not degrees:
            _refuse_ambiguous(values, name)
        scale = given or own or 1.0
    elif isinstance(notation, str):
        scale = given or _sexagesimal_scale(values, own, column, name)
    else:
        scale = given or notation
    lowest, highest = (0.0, 24.0) if scale == HOUR else (-180.0 / scale, 360.0 / scale)
    with np.errstate(invalid="ignore"):
        # The slack keeps 2 pi rad and the like inside, whatever the rounding.
        inside = (values >= lowest * (1 + 1e-12)) & (values <= highest * (1 + 1e-12))
    return np.mod(np.where(inside, values * scale, np.nan), 360.0)


def declination(column: Any, name: str) -> np.ndarray:
    """Return declinations in degrees, -90 to 90.

    Parameters
    ----------
    column : `~astropy.table.Column`, `~astropy.units.Quantity` or array, shape (n,)
        Numbers (degrees where there is no unit), decimal strings or sexagesimal strings.
    name : str
        Name of the column, for messages.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Degrees; NaN where a value is missing, unreadable or out of range.

    Raises
    ------
    CatalogueError
        When the column holds no angles.
    """
    own = _degrees_per_unit(getattr(column, "unit", None), name)
    values, notation = _numbers(column, name)
    if notation is None:
        values = values * (own or 1.0)
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
    return right_ascension(ra, name, unit="deg"), declination(dec, name)


def _refuse_ambiguous(values: np.ndarray, name: str) -> None:
    """Stop when plain numbers may be hours as well as degrees."""
    with np.errstate(invalid="ignore"):
        usable = values[values <= 360.0]
    if usable.size and usable.max() <= 24.0:
        raise CatalogueError(
            f"right ascension {name!r} is ambiguous: plain numbers without a unit, none above 24, may be hours or "
            "degrees; give ra_unit='deg' or ra_unit='hour' (--ra-unit), or a unit in the table"
        )


def _sexagesimal_scale(values: np.ndarray, own: float | None, column: Any, name: str) -> float:
    """Hours, unless the column contradicts itself."""
    unit = str(getattr(column, "unit", None) or "").strip("\"' ").lower()
    if own == 1.0 and unit == "d:m:s":
        return 1.0
    if own not in (None, HOUR) or np.nanmax(values, initial=-np.inf) > 24.0:
        raise CatalogueError(
            f"right ascension {name!r} is ambiguous: sexagesimal strings "
            + (f"in a column with unit {unit!r}" if own not in (None, HOUR) else "with values above 24")
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
    hours or degrees, and 1.0 for sexagesimal degrees marked as such.
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
    matches = [_SEXAGESIMAL.fullmatch(value) or _DOTTED.fullmatch(value) for value in text.tolist()]
    if any(matches):
        in_degrees = any(match is not None and match["mark"].strip() in ("d", "°") for match in matches)
        return _from_matches(matches), 1.0 if in_degrees else "sexagesimal"
    decimal = np.array([_DECIMAL.fullmatch(value) is not None for value in text.tolist()], dtype=bool)
    if not decimal.any():
        example = next((value for value in text.tolist() if value.lower() not in _NOTHING), None)
        if example is not None:
            raise CatalogueError(f"position column {name!r} holds no positions, for example {example!r}")
    return np.where(decimal, np.where(decimal, text, "nan").astype(np.float64), np.nan), None


def _from_matches(matches: Sequence[re.Match | None]) -> np.ndarray:
    """Value of each sexagesimal string in its first unit; NaN without a match or with sixtieths above 60."""
    texts = (" ".join(match.group("first", "minutes", "seconds")) if match else "nan nan nan" for match in matches)
    parts = np.fromstring(" ".join(texts), sep=" ").reshape(-1, 3)
    value = parts @ (1.0, 1 / 60, 1 / 3600)
    # The sign is the string's, not the number's: -00 30 00 is south of the equator.
    value = np.where([match is not None and match["sign"] == "-" for match in matches], -value, value)
    with np.errstate(invalid="ignore"):
        # A seconds field of 60.0 comes from rounding and is common in printed catalogues.
        return np.where((parts[:, 1] < 60) & (parts[:, 2] <= 60), value, np.nan)
