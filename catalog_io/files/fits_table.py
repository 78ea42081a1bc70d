"""Any astropy table as a FITS binary table, and back: what a column becomes where FITS has no such type.

=============================================  =====================================================================
in the table                                   in the file
=============================================  =====================================================================
numbers, booleans, fixed-size arrays           as they are; float16, int8 and long double take the next type of FITS
masked float, complex or text                  NaN or empty text: a NaN or an empty text comes back masked
masked integer                                 TNULL, a value that the column does not hold
masked boolean                                 null, and a second column ``<name>.mask``, as astropy knows no null
masked unsigned or array of integers           as they are, with a second column ``<name>.mask``
text that is not printable ASCII               Python's ``unicode_escape``
Time, datetime64                               ISO 8601 text to the nanosecond; an observer's location is lost
timedelta64                                    seconds
SkyCoord and other mixins that astropy stores  one column a component, which astropy joins again on reading
any other mixin                                its text
one-dimensional arrays of varying length       variable-length arrays, empty where None
objects: text, numbers, None                   text or numbers, masked where None
any other object, arrays without elements      JSON text
=============================================  =====================================================================

Names, descriptions and units that are not printable ASCII are escaped in the same way. Names beyond 60 characters are
cut, an empty one becomes ``column``, and a name such as ``sky.ra`` beside a mixin ``sky`` becomes ``sky_ra``. Text of
the form ``S: 1.4`` is what astropy takes in a header for a record of a name and a number: such a name becomes
``S_ 1.4``, other text ``S : 1.4``. Of a column's ``meta``, text, numbers and booleans are kept. How a column was
written is noted there as ``written_as``, its name as ``written_from``, and `restore_table` undoes it for names, escaped
text and times.
"""

import io
import re
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError, VerifyWarning
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from radio_ag.catalog_io.files.fits_columns import decode_column, encode_column, undefined_booleans
from radio_ag.errors import OutputError

MAX_FIELDS = 999
"""Columns that a FITS table can have."""

Rows = slice | NDArray[np.int64]
Cards = dict[str, list[tuple[str, str]]]

_MAX_NAME = 60
_BLOCK = 4 << 20
_DISPLAY_FORMAT = re.compile(r"\{?:?%?\d*\.\d+[fFeEgG]\}?")  # what TDISP can say


def table_extension(encoded: Table, cards: Cards) -> tuple[fits.Header, Iterator[bytes]]:
    """Return what `encode_table` gave as header and data of a binary-table extension; as `rows_extension`.

    Parameters
    ----------
    encoded : Table
        Of `encode_table`.
    cards : Cards
        Of `encode_table`.

    Returns
    -------
    header, blocks
        The header, and the data unit in pieces.
    """
    return rows_extension(lambda rows: encoded[rows], len(encoded), cards, masked_rows(encoded))


def rows_extension(
    rows_of: Callable[[Rows], Table], count: int, cards: Cards, masked: NDArray[np.int64]
) -> tuple[fits.Header, Iterator[bytes]]:
    """Return header and data of a binary-table extension, of rows that are made when they are written.

    Parameters
    ----------
    rows_of : callable
        Some rows of the table, encoded as `encode_table` does it. Each column has the same type in all of them.
    count : int
        Rows in all.
    cards : dict
        What `encode_table` gave beside the table.
    masked : ndarray of int
        The `masked_rows` of the whole table.

    Returns
    -------
    header : `~astropy.io.fits.Header`
        With TTYPE, TFORM, TUNIT, TNULL, TUCD, TUTYP and TCOMM as each column has them, without EXTNAME.
    blocks : iterator of bytes
        The data unit, without padding, a few MB at a time.

    Raises
    ------
    OutputError
        If there are more columns than FITS can number.
    """
    block = _rows_in_a_block(rows_of(slice(0, 1)), count)
    whole = block >= count

    def chosen(start: int) -> Table:
        rows = slice(start, min(start + block, count))
        # astropy gives a column of masks to blocks that have a masked value: every block begins with the same ones.
        return rows_of(rows if whole else np.r_[masked, np.arange(rows.start, rows.stop)])

    first = chosen(0)
    header, data = _written_by_astropy(first)
    quick = not whole and _packed(first, header) == data
    skip = 0 if whole else len(masked) * header["NAXIS1"]
    header["NAXIS2"] = count

    def blocks() -> Iterator[bytes]:
        yield data[skip:]
        for start in range(block, count, block):
            table = chosen(start)
            packed = _packed(table, header) if quick else None
            yield (_written_by_astropy(table)[1] if packed is None else packed)[skip:]

    return _with_cards(header, cards), blocks()


def _rows_in_a_block(row: Table, count: int) -> int:
    plain = [column for column in row.itercols() if isinstance(column, Column)]
    if any(column.dtype.kind == "O" for column in plain):
        return max(count, 1)  # arrays of varying length lie in one heap behind all rows
    return max(_BLOCK // max(sum(column.nbytes for column in plain), 100), 1)


def masked_rows(encoded: Table) -> NDArray[np.int64]:
    """Find a row of each column that astropy writes with a column of its mask; without a masked value it does not.

    Parameters
    ----------
    encoded : Table
        Of `encode_table`.

    Returns
    -------
    ndarray of int64
        Numbers of rows, each once.
    """
    columns = [column for column in encoded.itercols() if isinstance(column, MaskedColumn)]
    masks = (np.ma.getmaskarray(column).reshape(len(column), -1).any(1) for column in columns if len(column))
    return np.array(sorted({int(mask.argmax()) for mask in masks if mask.any()}), dtype=np.int64)


def _written_by_astropy(table: Table) -> tuple[fits.Header, bytes]:
    """Header and data unit of a table of columns that FITS has."""
    scratch = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)  # the names are the catalogue's, whatever FITS recommends
        try:
            table.write(scratch, format="fits")
        except VerifyError as exc:  # mixins take several columns each
            raise OutputError(f"the table has more columns in FITS than the {MAX_FIELDS} allowed") from exc
    scratch.seek(0)
    fits.Header.fromfile(scratch)  # the primary header: no data follow it
    header = fits.Header.fromfile(scratch)
    return header, _with_nulls(table, header, scratch.read(header["NAXIS1"] * header["NAXIS2"] + header["PCOUNT"]))


def _with_nulls(table: Table, header: fits.Header, data: bytes) -> bytes:
    """The data unit of a table, with a null for each masked boolean."""
    masks = {name: np.ma.getmaskarray(c) for name, c in table.columns.items() if _has_masked(c) and c.dtype.kind == "b"}
    if not masks:
        return data
    hdu = fits.BinTableHDU.fromstring(header.tostring().encode("ascii") + data)
    records = np.asarray(hdu.data).copy()
    for name, mask in masks.items():
        records[name][mask.reshape(records[name].shape)] = 0
    return records.tobytes() + data[records.nbytes :]


def _has_masked(column: Any) -> bool:
    return isinstance(column, MaskedColumn) and bool(np.ma.getmaskarray(column).any())


def _packed(table: Table, header: fits.Header) -> bytes | None:
    """The data unit of a table of plain numbers, booleans and text; None where a column is of another kind.

    astropy takes several times as long. Whoever uses this makes sure with one block that it gives the same.
    """
    columns = table.columns.values()
    if any(type(c) is not Column or c.ndim != 1 or c.dtype.kind not in "bifSU" or c.dtype == "i1" for c in columns):
        return None
    if len(columns) != header["TFIELDS"]:
        return None
    fields = []
    for number, column in enumerate(columns, start=1):
        form = header[f"TFORM{number}"]
        is_text = column.dtype.kind in "bSU"  # a boolean is a letter
        fields.append((f"f{number}", f"S{form[:-1] or 1}" if is_text else column.dtype.newbyteorder(">")))
    records = np.empty(len(table), dtype=fields)
    if records.dtype.itemsize != header["NAXIS1"]:
        return None
    for (name, _), column in zip(fields, columns, strict=True):
        records[name] = np.where(column.data, b"T", b"F") if column.dtype.kind == "b" else column.data
    return records.tobytes()


def check_field_count(count: int) -> None:
    """Raise `OutputError` if a FITS table cannot have so many columns.

    Parameters
    ----------
    count : int
        With those that one of several components is written as.

    Raises
    ------
    OutputError
        It is above `MAX_FIELDS`.
    """
    if count > MAX_FIELDS:
        raise OutputError(f"the table would have {count} columns: FITS allows {MAX_FIELDS}")


def read_hdu(hdu: fits.BinTableHDU | fits.TableHDU, **options: Any) -> Table:
    """Read a table of a FITS file, in which booleans may be null.

    Parameters
    ----------
    hdu : `~astropy.io.fits.BinTableHDU` or `~astropy.io.fits.TableHDU`
        The table.
    **options
        As ``Table.read`` takes them.

    Returns
    -------
    `~astropy.table.Table`
        What ``Table.read`` gives, in which booleans that are neither true nor false are masked.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Column .* contains NULL", category=AstropyUserWarning)
        table = Table.read(hdu, format="fits", **options)
        undefined = undefined_booleans(hdu)
    for name in undefined.keys() & set(table.colnames):
        column = table[name]
        mask = undefined[name].reshape(column.shape) | np.ma.getmaskarray(column)
        table.replace_column(name, MaskedColumn(column, mask=mask, copy=False))
    return table


def restore_table(table: Table) -> Table:
    """Undo the forms of `table_extension` in a table that ``Table.read`` has read: names, text, times, descriptions.

    Parameters
    ----------
    table : Table
        As ``Table.read`` gave it; its columns may be shared.

    Returns
    -------
    Table
        The table as it was before `encode_table`.
    """
    restored = Table()
    for name, column in table.columns.items():
        meta = {
            key: unescape(value) if isinstance(value, str) else value for key, value in (column.info.meta or {}).items()
        }
        form = meta.pop("written_as", None)
        column = decode_column(column, form, meta.pop("scale", "utc") if form == "isot" else "utc")
        restored.add_column(column, name=meta.pop("written_from", None) or unescape(name), copy=False)
        info = restored.columns[-1].info
        info.meta = meta or None
        info.description = unescape(info.description) if info.description else None
    return restored


def encode_table(table: Table, taken: Collection[str] = ()) -> tuple[Table, Cards]:
    """Return the table in types that astropy writes, and for each column the cards that astropy does not write.

    No column gets a name that is ``taken``. Numbers without a mask are shared with the table, not copied.

    Parameters
    ----------
    table : Table
        With columns of any kind that astropy has.
    taken : collection of str
        Names that are in use, whatever their case.

    Returns
    -------
    encoded, cards
        The table, and by column the keywords and their values.
    """
    encoded, cards = Table(), {}
    columns = Table(table, copy=False).columns
    several = tuple(f"{_escape(name)}." for name, column in columns.items() if not isinstance(column, Column))
    masks = {f"{_escape(name)}.mask" for name, column in columns.items() if isinstance(column, MaskedColumn)}
    for name, column in columns.items():
        field = _field_name(name)
        if field in masks or field.startswith(several):  # the name of a component that astropy writes
            field = field.replace(".", "_")
        field = _unique(field, {*taken, *encoded.colnames})
        meta = _plain_meta(column.info.meta)
        description = _escape(column.info.description) if column.info.description else None
        display = column.info.format
        new, form = encode_column(column)
        unit = new.unit if isinstance(new, Column) else None
        if isinstance(new, Column):
            new.unit = None  # astropy refuses or warns about units that FITS does not define
        if unescape(field) != name:
            form = form | {"written_from": _escape(name)}
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
        cards[field] = [(keyword, card_text(str(text))) for keyword, text in texts.items() if text]
    return encoded, cards


def card_text(text: str) -> str:
    """Return printable ASCII as a header can hold it: no record of a name and a number, which astropy would see.

    Parameters
    ----------
    text : str
        Printable ASCII.

    Returns
    -------
    str
        With a space before a colon that would make a record of it.
    """
    return text if _is_kept(text) else text.replace(": ", " : ")


def _field_name(name: str) -> str:
    """A name of a column as a header can hold it, in one card."""
    field = _escape(name).strip()[:_MAX_NAME].strip() or "column"
    if field.count("'") + len(field) > _MAX_NAME:  # each quote takes two places
        field = field.replace("'", "_")
    return field if _is_kept(field) else field.replace(":", "_")


def _is_kept(text: str) -> bool:
    """Whether text in a header is read as it was written."""
    card = fits.Card.fromstring(fits.Card("TTYPE1", text).image)
    return (card.keyword, card.value) == ("TTYPE1", text.rstrip())


def _unique(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _plain_meta(meta: dict | None) -> dict[str, str | int | float | bool]:
    plain: dict[str, str | int | float | bool] = {}
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


def unescape(text: str) -> str:
    """Return text that was escaped because it is not printable ASCII, as it was.

    Parameters
    ----------
    text : str
        As it stands in the file.

    Returns
    -------
    str
        Any characters.
    """
    try:
        return text.encode("ascii").decode("unicode_escape")
    except UnicodeError:
        return text


def _with_cards(header: fits.Header, cards: Cards) -> fits.Header:
    """The header with further cards of each column after its TFORM, in one pass."""
    names = {f"TFORM{k}": header[f"TTYPE{k}"] for k in range(1, header["TFIELDS"] + 1)}
    result = []
    for card in header.cards:
        result.append(card)
        if card.keyword in names:
            number = card.keyword.removeprefix("TFORM")
            result += [fits.Card(keyword + number, text) for keyword, text in cards.get(names[card.keyword], ())]
    return fits.Header(result)
