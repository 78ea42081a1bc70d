"""Columns in the types that FITS has, and back; `radio_ag.catalog_io.files.fits_table` tells what becomes what."""

import io
import json
from numbers import Integral, Real
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time
from numpy.typing import NDArray

_ARRAY_TYPES = ("u1", "i2", "i4", "i8", "f4", "f8", "c8", "c16")


def encode_column(column: Any) -> tuple[Any, dict[str, str]]:
    """Encode a column in a type that astropy writes to FITS.

    Parameters
    ----------
    column : `~astropy.table.Column` or mixin
        Of any kind.

    Returns
    -------
    encoded : `~astropy.table.Column` or mixin
        A new object, whose data may be the column's own.
    notes : dict of str to str
        For its meta, by which `decode_column` undoes it.
    """
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
        return _text(np.where(text == "NaT", "", text).tolist())
    if column.dtype.kind == "m":
        seconds = _filled(column, np.timedelta64("NaT")) / np.timedelta64(1, "s")
        return Column(seconds, unit="s"), {}
    return _encode_numbers(column), {}


def decode_column(column: Any, form: str | None, scale: str) -> Any:
    """Undo `encode_column`: text for bytes, and times.

    Parameters
    ----------
    column : `~astropy.table.Column` or mixin
        As it was read.
    form : str or None
        How it was written: ``written_as`` of its notes.
    scale : str
        Time scale, of times.

    Returns
    -------
    `~astropy.table.Column` or mixin
    """
    if not isinstance(column, Column):
        return column
    if column.dtype.kind == "S":
        column = _decode_text(column, escaped=form == "unicode_escape")
    return _decode_time(column, scale) if form == "isot" else column


def undefined_booleans(hdu: fits.BinTableHDU | fits.TableHDU) -> dict[str, NDArray[np.bool_]]:
    """Find the booleans of a FITS table that are neither true nor false, which astropy takes for false.

    Parameters
    ----------
    hdu : `~astropy.io.fits.BinTableHDU` or `~astropy.io.fits.TableHDU`
        A table, n rows.

    Returns
    -------
    dict of str to numpy.ndarray of bool, n rows
        The mask of each column that has such values.
    """
    records = np.asarray(hdu.data)
    logical = {column.name for column in hdu.columns if _is_logical(column.format)}
    masks = {name: ~np.isin(records[name], (ord("T"), ord("F"))) for name in logical & set(records.dtype.names or ())}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _is_logical(form: str) -> bool:
    return str(form).lstrip("0123456789").startswith("L")


def _decode_text(column: Column, escaped: bool) -> Column:
    text = np.strings.decode(_filled(column, b""), "unicode_escape" if escaped else "ascii", "backslashreplace")
    empty = text == ""
    decoded = MaskedColumn(text, mask=empty, unit=column.unit) if empty.any() else Column(text, unit=column.unit)
    decoded.description = column.description
    return decoded


def _decode_time(column: Column, scale: str) -> Time:
    text = _filled(column, "")
    missing = text == ""
    time = Time(np.where(missing, "2000-01-01T00:00:00", text), format="isot", scale=scale, precision=9)
    if missing.any():
        time[missing] = np.ma.masked
    time.info.description = column.info.description
    return time


def _encode_numbers(column: Column) -> Column:
    column = column.astype(_fits_type(column.dtype), copy=False)
    mask = np.ma.getmaskarray(column)
    data = np.asarray(np.ma.getdata(column))
    if not isinstance(column, MaskedColumn) or (column.dtype.kind in "fc" and not mask.any()):
        return Column(data, unit=column.unit, copy=False)
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
    if all(_is_number(value, Real) for value in present) and not all(isinstance(value, Integral) for value in present):
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
            return Column(text, unit=unit, copy=False), {}
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


def _filled(column: Any, fill: Any) -> NDArray:
    return np.asarray(column.filled(fill) if isinstance(column, np.ma.MaskedArray) else column)


def _is_printable(text: NDArray, code: type) -> bool:
    """Whether text, seen as character codes, is printable ASCII followed by nothing but padding."""
    flat: NDArray[Any] = np.ascontiguousarray(text).reshape(-1).view(code)
    codes = flat.reshape(text.size, text.itemsize // flat.itemsize)
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
    following = {"f2": "f4", "i1": "i2", "f16": "f8", "f12": "f8", "c32": "c16", "c24": "c16"}
    return np.dtype(following.get(dtype.str[1:], dtype))


def _unused_value(data: NDArray) -> int | None:
    """An integer of the array's type that the array does not hold."""
    limits = np.iinfo(data.dtype)
    candidates = [limits.max, *range(limits.min, limits.min + 256)] if limits.min else range(255, -1, -1)
    used = set(np.unique(data[(data < limits.min + 256) | (data == limits.max)]).tolist())
    return next((value for value in candidates if value not in used), None)
