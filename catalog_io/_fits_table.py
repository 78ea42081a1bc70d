"""Any astropy table as a FITS binary table, and back: what a column becomes where FITS has no such type.

=============================================  =====================================================================
in the table                                   in the file
=============================================  =====================================================================
numbers, booleans, fixed-size arrays           as they are; float16, int8 and long double take the next type of FITS
masked float, complex or text                  NaN or empty text: a NaN or an empty text comes back masked
masked integer                                 TNULL, a value that the column does not hold
masked boolean, unsigned or array of integers  as they are, with a second column ``<name>.mask``
text that is not printable ASCII               Python's ``unicode_escape``
Time, datetime64                               ISO 8601 text to the nanosecond; an observer's location is lost
timedelta64                                    seconds
SkyCoord and other mixins that astropy stores  one column a component, which astropy joins again on reading
any other mixin                                its text
one-dimensional arrays of varying length       variable-length arrays, empty where None
objects: text, numbers, None                   text or numbers, masked where None
any other object, arrays without elements      JSON text
=============================================  =====================================================================

Names, descriptions and units that are not printable ASCII are escaped in the same way; names beyond 60 characters are cut.
Of a column's ``meta``, text, numbers and booleans are kept. How a column was written is noted there as ``written_as``, and
`restore_table` undoes it for escaped text and for times.
"""

import io
import json
import re
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time
from numpy.typing import NDArray

from radio_ag.errors import OutputError

MAX_FIELDS = 999
"""Columns that a FITS table can have."""

_MAX_NAME = 60
_BLOCK = 4 << 20
_ARRAY_TYPES = ("u1", "i2", "i4", "i8", "f4", "f8", "c8", "c16")
_DISPLAY_FORMAT = re.compile(r"\{?:?%?\d*\.\d+[fFeEgG]\}?")  # what TDISP can say


def table_extension(table: Table, scratch: BinaryIO) -> tuple[fits.Header, Iterator[bytes]]:
    """A table as header and data of a binary-table extension.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Any columns; it is not changed. Its ``meta`` is left out.
    scratch : binary file
        Empty, open for reading and writing; holds the data until the blocks are read.

    Returns
    -------
    header : `~astropy.io.fits.Header`
        With TTYPE, TFORM, TUNIT, TNULL, TUCD, TUTYP and TCOMM as each column has them, without EXTNAME.
    blocks : iterator of bytes
        The data unit, without padding.

    Raises
    ------
    OutputError
        If there are more columns than FITS can number.
    """
    check_field_count(len(table.columns))
    encoded, cards = encode_table(table)
    check_field_count(len(encoded.columns))
    encoded.write(scratch, format="fits")
    scratch.seek(0)
    hdu = fits.open(scratch, memmap=False)[1]
    check_field_count(hdu.header["TFIELDS"])
    size = hdu.header["NAXIS1"] * hdu.header["NAXIS2"] + hdu.header["PCOUNT"]
    return _with_cards(hdu.header, cards), _read_blocks(scratch, hdu.fileinfo()["datLoc"], size)


def check_field_count(count: int) -> None:
    """Raise `OutputError` if a FITS table cannot have so many columns."""
    if count > MAX_FIELDS:
        raise OutputError(f"the table would have {count} columns: FITS allows {MAX_FIELDS}")


def restore_table(table: Table) -> Table:
    """Undo the forms of `table_extension` in a table that ``Table.read`` has read: names, text, times, descriptions."""
    restored = Table()
    for name, column in table.columns.items():
        meta = dict(column.info.meta or {})
        form = meta.pop("written_as", None)
        if isinstance(column, Column) and column.dtype.kind == "S":
            column = _decode_text(column, escaped=form == "unicode_escape")
        if isinstance(column, Column) and form == "isot":
            column = _decode_time(column, meta.pop("scale", "utc"))
        restored.add_column(column, name=_unescape(name), copy=False)
        info = restored.columns[-1].info
        info.meta = meta or None
        info.description = _unescape(info.description) if info.description else None
    return restored


def encode_table(table: Table) -> tuple[Table, dict[str, list[tuple[str, str]]]]:
    """The table in types that astropy writes, and for each column the cards that astropy does not write."""
    encoded, cards = Table(), {}
    for name, column in Table(table, copy=False).columns.items():
        field = _field_name(name, encoded.colnames)
        meta = _plain_meta(column.info.meta)
        description = _escape(column.info.description) if column.info.description else None
        display = column.info.format
        new, form = _encode_column(column)
        unit = new.unit if isinstance(new, Column) else None
        if isinstance(new, Column):
            new.unit = None  # astropy refuses or warns about units that FITS does not define
        encoded.add_column(new, name=field, copy=False)
        info = encoded[field].info
        info.meta, info.description = meta | form, description
        if isinstance(display, str) and _DISPLAY_FORMAT.fullmatch(display) and new.dtype.kind in "iuf":
            info.format = display
        texts = {
            "TUNIT": _unit_text(unit),
            "TUCD": meta.get("ucd"),
            "TUTYP": meta.get("utype"),
            "TCOMM": description,
        }
        cards[field] = [(keyword, str(text)) for keyword, text in texts.items() if text]
    return encoded, cards


def _encode_column(column: Any) -> tuple[Any, dict[str, str]]:
    """A column that astropy writes (a new object), and the notes for its meta."""
    if isinstance(column, Time):
        return _encode_time(column)
    if not isinstance(column, Column) or column.dtype.kind == "V":
        column = column.copy()
        column.info.meta = column.info.description = column.info.format = None
        return (column, {}) if _is_writable(column) else _text([str(value) for value in column])
    if column.dtype.kind == "O":
        return _encode_objects(column)
    if 0 in column.shape[1:]:
        return _json(column.tolist())
    if column.dtype.kind in "US":
        return _text(_filled(column, ""), unit=column.unit)
    if column.dtype.kind == "M":
        text = np.datetime_as_string(_filled(column, np.datetime64("NaT")), unit="ns")
        return _text(np.where(text == "NaT", "", text))
    if column.dtype.kind == "m":
        seconds = _filled(column, np.timedelta64("NaT")) / np.timedelta64(1, "s")
        return Column(seconds, unit="s"), {}
    return _encode_numbers(column), {}


def _encode_numbers(column: Column) -> Column:
    column = column.astype(_fits_type(column.dtype), copy=False)
    mask = np.ma.getmaskarray(column)
    data = np.ma.getdata(column)
    if not isinstance(column, MaskedColumn):
        return Column(data, unit=column.unit)
    if column.dtype.kind in "fc":
        return Column(_filled(column, np.nan), unit=column.unit)
    null = _unused_value(data[~mask]) if column.dtype.str[1:] in ("u1", "i2", "i4", "i8") and column.ndim == 1 else None
    if null is not None:
        return MaskedColumn(data, mask=mask, fill_value=null, unit=column.unit)
    encoded = MaskedColumn(data, mask=mask, unit=column.unit)
    encoded.info.serialize_method["fits"] = "data_mask"
    return encoded


def _encode_time(column: Time) -> tuple[Column, dict[str, str]]:
    text = Time(column.unmasked, precision=9).isot
    encoded, _ = _text(np.where(column.mask, "", text))
    return encoded, {"written_as": "isot", "scale": column.scale}


def _encode_objects(column: Column) -> tuple[Column, dict[str, str]]:
    if column.ndim > 1:
        return _json(column.tolist())
    masked = np.ma.getmaskarray(column)
    values = [None if m or _is_nan(v) else v for v, m in zip(np.ma.getdata(column), masked, strict=True)]
    present = [value for value in values if value is not None]
    mask = np.array([value is None for value in values], dtype=bool)

    def filled(fill: Any, dtype: type) -> NDArray:
        return np.array([fill if value is None else value for value in values], dtype=dtype)

    if all(isinstance(value, str) for value in present):
        return _text(filled("", str), unit=column.unit)
    if all(isinstance(value, bool | np.bool_) for value in present):
        return _encode_numbers(MaskedColumn(filled(False, bool), mask=mask)), {}
    if all(_is_number(value, Integral) and -(2**63) <= value < 2**63 for value in present):
        return _encode_numbers(MaskedColumn(filled(0, np.int64), mask=mask, unit=column.unit)), {}
    if all(_is_number(value, Real) and not isinstance(value, Integral) for value in present):
        return Column(filled(np.nan, np.float64), unit=column.unit), {}
    if all(isinstance(value, np.ndarray) and value.ndim == 1 for value in present):
        dtype = _fits_type(np.result_type(*present))
        if dtype.str[1:] in _ARRAY_TYPES:
            arrays = np.empty(len(values), dtype=object)
            arrays[:] = [np.asarray([] if value is None else value, dtype=dtype) for value in values]
            return Column(arrays, unit=column.unit), {}
    return _json(values)


def _text(values: Any, unit: Any = None) -> tuple[Column, dict[str, str]]:
    """A column of bytes, escaped if a value is not printable ASCII."""
    text = np.asarray(values, dtype=None if len(values) else str)
    if text.dtype.kind == "S":
        if _is_printable(text, np.uint8):
            return Column(text, unit=unit), {}
        text = np.strings.decode(text, "utf-8", "backslashreplace")
    text = np.ascontiguousarray(text, dtype=text.dtype.newbyteorder("="))
    if _is_printable(text, np.uint32):
        return Column(text.astype("S"), unit=unit), {}
    return Column(np.strings.encode(text, "unicode_escape"), unit=unit), {"written_as": "unicode_escape"}


def _json(values: list) -> tuple[Column, dict[str, str]]:
    encoded, _ = _text([json.dumps(value, default=_json_value) for value in values])
    return encoded, {"written_as": "json"}


def _json_value(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _decode_text(column: Column, escaped: bool) -> Column:
    filled = _filled(column, b"")
    text = np.strings.decode(filled, "unicode_escape" if escaped else "ascii", "backslashreplace")
    decoded = MaskedColumn(text, mask=text == "", unit=column.unit) if column.dtype.kind == "S" else column
    if not decoded.mask.any():
        decoded = Column(text, unit=column.unit)
    decoded.info.meta, decoded.info.description = column.info.meta, column.info.description
    return decoded


def _decode_time(column: Column, scale: str) -> Time:
    text = _filled(column, "")
    missing = text == ""
    time = Time(np.where(missing, "2000-01-01T00:00:00", text), format="isot", scale=scale, precision=9)
    if missing.any():
        time[missing] = np.ma.masked
    time.info.description = column.info.description
    return time


def _filled(column: Any, fill: Any) -> NDArray:
    return np.asarray(column.filled(fill) if isinstance(column, np.ma.MaskedArray) else column)


def _is_printable(text: NDArray, code: type) -> bool:
    """Whether text, seen as character codes, is printable ASCII followed by nothing but padding."""
    codes = np.ascontiguousarray(text).reshape(-1).view(code).reshape(text.size, -1)
    resumes = (codes[:, :-1] == 0) & (codes[:, 1:] != 0)
    return bool(((codes == 0) | ((codes >= 32) & (codes <= 126))).all() and not resumes.any())


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


def _is_writable(column: Any) -> bool:
    """Whether astropy can write a mixin: it is asked, since every class has its own way to refuse."""
    try:
        Table({"x": column[:1]}).write(io.BytesIO(), format="fits")
    except Exception:
        return False
    return True


def _fits_type(dtype: np.dtype) -> np.dtype:
    """The dtype itself, or the next one that FITS has."""
    following = {"f2": "f4", "i1": "i2"} | {np.dtype(t).str[1:]: d for t, d in ((np.longdouble, "f8"), (np.clongdouble, "c16"))}
    return np.dtype(following.get(dtype.str[1:], dtype))


def _unused_value(data: NDArray) -> int | None:
    """An integer of the array's type that the array does not hold."""
    limits = np.iinfo(data.dtype)
    candidates = [limits.max, *range(limits.min, limits.min + 256)] if limits.min else range(255, -1, -1)
    used = set(np.unique(data[(data < limits.min + 256) | (data == limits.max)]).tolist())
    return next((value for value in candidates if value not in used), None)


def _field_name(name: str, taken: list[str]) -> str:
    base = _escape(name).strip()[:_MAX_NAME] or "column"
    field, number = base, 1
    while field in taken:
        number += 1
        field = f"{base}_{number}"
    return field


def _plain_meta(meta: dict | None) -> dict[str, str | int | float | bool]:
    plain = {}
    for key, value in (meta or {}).items():
        if isinstance(value, str):
            plain[_escape(str(key))] = _escape(value)
        elif isinstance(value, bool | int | float):
            plain[_escape(str(key))] = value
    return plain


def _unit_text(unit: Any) -> str:
    if unit is None:
        return ""
    try:
        return unit.to_string("fits")
    except ValueError:  # a unit that FITS does not define is written as it came
        return _escape(unit.to_string())


def _escape(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _unescape(text: str) -> str:
    try:
        return text.encode("ascii").decode("unicode_escape")
    except UnicodeError:
        return text


def _with_cards(header: fits.Header, cards: dict[str, list[tuple[str, str]]]) -> fits.Header:
    """The header with further cards of each column after its TFORM, in one pass."""
    names = {f"TFORM{k}": header[f"TTYPE{k}"] for k in range(1, header["TFIELDS"] + 1)}
    result = []
    for card in header.cards:
        result.append(card)
        if card.keyword in names:
            number = card.keyword.removeprefix("TFORM")
            result += [fits.Card(keyword + number, text) for keyword, text in cards.get(names[card.keyword], ())]
    return fits.Header(result)


def _read_blocks(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    file.seek(start)
    for position in range(0, size, _BLOCK):
        yield file.read(min(_BLOCK, size - position))
