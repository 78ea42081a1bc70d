"""The table of a result as VOTable, CSV or ECSV.

A catalogue may hold columns that these formats do not know. Times and dates become ISO 8601 text; a `SkyCoord` becomes
a column for each of its coordinates; objects, complex numbers, arrays of text and arrays with masked integers become
JSON text, as does in CSV every array. Bytes are read as UTF-8, and characters that XML forbids are escaped as Python
does (``\\x00``).
"""

import csv
import io
import json
import os
import re
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from astropy import units as u
from astropy.io.votable.exceptions import VOWarning
from astropy.io.votable.tree import CooSys, Info, VOTableFile
from astropy.table import Column, MaskedColumn, Table
from astropy.table.serialize import represent_mixins_as_columns

from radio_ag.catalog_io.files.fits_columns import decode_column, encode_column
from radio_ag.catalog_io.files.votable import make_document, write_document
from radio_ag.catalog_io.product.columns import COLUMNS, class_columns, with_classes
from radio_ag.catalog_io.product.headers import header_text
from radio_ag.flags import Flag
from radio_ag.writing import check_output, written_beside

if TYPE_CHECKING:
    from radio_ag.catalog_io.result import Result

_META = ("ucd", "utype")  # of a column, what the formats share
_FRAME = "radio_ag_icrs"  # XML ID of the coordinate system that ra and dec refer to
_BLOCK = 100_000  # rows written at once
_FORMULA_STARTS = ("=", "@", "\t", "\r", "\n")
_SIGNS = ("+", "-")
_NUMBER_OR_ANGLE = re.compile(
    r"[+-](?:[\d.][\d.\s:hdms°'\"\u2032\u2033]*|(?:\d+\.?\d*|\.\d+)[eE][+-]?\d+|inf|nan)", re.IGNORECASE
)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# VOTable has neither signed bytes, nor unsigned integers of several bytes, nor half and long floats.
_VOTABLE_TYPES = {"i1": "i2", "u2": "i4", "u4": "i8", "f2": "f4", "f12": "f8", "f16": "f8"}


def write_table(
    result: "Result",
    path: str | os.PathLike,
    format: str,
    *,
    rows: bool = False,
    spreadsheet_safe: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the table of sources of a result, or that of its rows, every row and every column.

    Where each row is a source, all columns of the rows follow those of the sources.

    Parameters
    ----------
    result : Result
        What to write.
    path : path
        The file. It appears when it is complete.
    format : {"votable", "csv", "ecsv"}
    rows : bool
        The rows of the catalogue instead of the sources.
    spreadsheet_safe : bool
        For ``csv`` alone; see `quote_formulas`.
    overwrite : bool
        Replace a file of that name.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    OutputError
        If the file exists, or cannot be written.
    """
    path = check_output(path, overwrite)
    table = result.table if rows else _sources_with_rows(result)
    with written_beside(path) as stream:
        if format == "csv":
            plain = plain_table(table, arrays=False)
            write_csv(quote_formulas(plain) if spreadsheet_safe else plain, stream)
        elif format == "ecsv":
            _write_ecsv(table, result.provenance, stream)
        else:
            _write_votable(table, "CLASSIFICATION" if rows else "SOURCES", result.provenance, stream)
    return path


def _sources_with_rows(result: "Result") -> Table:
    """The sources, and of a catalogue of sources what else its rows have."""
    table = result.sources.copy(copy_data=False)
    if len(table) == len(result.table):
        taken = {name.lower() for name in table.colnames}
        ours = {spec.name for spec in with_classes(COLUMNS, class_columns(table.colnames))}
        for name, column in result.table.columns.items():
            if name in ours and name in taken:
                continue
            free = name
            while free.strip().lower() in taken:
                free = f"in_{free}"
            table.add_column(column, name=free, copy=False)
            taken.add(free.strip().lower())
    return table


def plain_table(table: Table, *, arrays: bool) -> Table:
    """Make a table of numbers, booleans and text, whatever the columns were.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Any columns; it is not changed.
    arrays : bool
        Keep columns of arrays of numbers; else they become JSON text.

    Returns
    -------
    `~astropy.table.Table`
        As many rows. Columns keep unit, description and the ``ucd`` and ``utype`` of their meta, but not their display
        format, which would cost digits. No ``meta``.
    """
    plain = Table()
    for name, column in table.columns.items():
        description = _xml_text(column.info.description) if column.info.description else None
        meta = {key: _xml_text(value) for key, value in (column.info.meta or {}).items() if key in _META}
        for part_name, part in _parts(name, column):
            new = _plain_column(part, arrays)
            new.unit, new.description, new.meta = part.unit, description, dict(meta)
            plain.add_column(new, name=_free_name(_xml_text(part_name), plain.colnames))
    return plain


def quote_formulas(table: Table) -> Table:
    """Return a table that no spreadsheet takes for formulas.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As `plain_table` gives it; it is changed.

    Returns
    -------
    `~astropy.table.Table`
        The table, in which names and text that begin with ``=``, ``@``, a tab or a line end, or with a sign where they
        are neither a number nor an angle, have an apostrophe before them.
    """
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "U":
            text = np.array([f"'{cell}" if _is_formula(cell) else cell for cell in np.ma.getdata(column).tolist()], str)
            new = MaskedColumn(text, mask=column.mask) if isinstance(column, MaskedColumn) else Column(text)
            table.replace_column(name, new)
        if _is_formula(name):
            table.rename_column(name, _free_name(f"'{name}", table.colnames))
    return table


def _is_formula(text: str) -> bool:
    first = unicodedata.normalize("NFKC", text[:1])  # wide letters are taken for the plain ones
    return first in _FORMULA_STARTS or (first in _SIGNS and not _NUMBER_OR_ANGLE.fullmatch(text))


def write_csv(table: Table, stream: BinaryIO) -> None:
    """Write a table as CSV, as text comes: astropy strips it, and leaves a carriage return without quotation marks.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As `plain_table` gives it, without arrays.
    stream : binary file
        It is left open.
    """

    class Lines:
        """Takes lines with a carriage return at their end, so that text with one is quoted, and leaves that out."""

        def write(self, line: str) -> None:
            stream.write(line.removesuffix("\r\n").encode("utf-8") + b"\n")

    writer = csv.writer(Lines(), lineterminator="\r\n")
    writer.writerow(table.colnames)
    for start in range(0, len(table), _BLOCK):
        writer.writerows(zip(*(column[start : start + _BLOCK].tolist() for column in table.itercols()), strict=True))


def _write_ecsv(table: Table, provenance: dict[str, Any], stream: BinaryIO) -> None:
    plain = plain_table(table, arrays=True)
    plain.meta = _provenance(provenance)
    text = io.StringIO()
    plain.write(text, format="ascii.ecsv")
    stream.write(text.getvalue().encode("utf-8"))


def _write_votable(table: Table, name: str, provenance: dict[str, Any], stream: BinaryIO) -> None:
    plain = plain_table(table, arrays=True)
    for column in plain.colnames:
        plain.replace_column(column, _votable_column(plain[column]))
    document = make_document(plain, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VOWarning)  # names, units and UCDs are the catalogue's, whatever VOTable says
        _describe(document, provenance)
        write_document(document, stream)


def _parts(name: str, column: Any) -> list[tuple[str, Column]]:
    """A column of any kind as columns of numbers, booleans, text or arrays, with their names."""
    if isinstance(column, Column) and column.dtype.kind in "biufcUS" and 0 not in column.shape[1:]:
        return [(name, column)]
    encoded, notes = encode_column(column)
    escaped = notes.get("written_as") == "unicode_escape"
    decoded = decode_column(encoded, "unicode_escape" if escaped else None, "utc")
    if isinstance(decoded, Column):
        return [(name, decoded)]
    return list(represent_mixins_as_columns(Table({name: decoded})).columns.items())


def _free_name(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _plain_column(column: Column, arrays: bool) -> Column:
    kind = column.dtype.kind
    if kind in "US" and column.ndim == 1:
        return _text(column)
    if kind in "biuf" and column.ndim == 1:
        return MaskedColumn(column.data) if isinstance(column, MaskedColumn) else Column(column.data)
    if kind in "biuf" and arrays:
        if not np.ma.getmaskarray(column).any():
            return Column(np.asarray(column))
        if kind == "f":
            return Column(np.ma.filled(column.data, np.nan))
    return Column([json.dumps(_plain_value(cell)) for cell in column], dtype=None if len(column) else str)


def _text(column: Column) -> Column:
    """Text that every format can hold; what was masked stays so."""
    values = (_decoded(value) for value in np.asarray(column).tolist())
    text = np.array([_xml_text(value) for value in values], dtype=None if len(column) else str)
    return MaskedColumn(text, mask=column.mask) if isinstance(column, MaskedColumn) else Column(text)


def _xml_text(text: str) -> str:
    return _NOT_XML.sub(lambda match: ascii(match[0])[1:-1], str(text))


def _decoded(value: str | bytes) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _plain_value(value: Any) -> Any:
    """Numbers, booleans, text, None and lists of them, for JSON and YAML."""
    if isinstance(value, np.ndarray | np.generic):  # of a masked array, masked elements become None
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain_value(item) for item in value]
    if isinstance(value, bytes):
        return _decoded(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _provenance(meta: dict[str, Any]) -> dict[str, Any]:
    """Plain values; of a path on this computer only the last part, as in the FITS product."""
    plain = {str(name): _plain_value(value) for name, value in meta.items()}
    return {name: header_text(value) if isinstance(value, str) else value for name, value in plain.items()}


def _votable_column(column: Column) -> Column:
    """The column with a type and a unit of VOTable."""
    code = column.dtype.str[1:]
    if code == "u8":
        fits = not len(column) or np.ma.max(column) is np.ma.masked or np.max(column) < 2**63
        new = column.astype("i8" if fits else str)
    else:
        new = column.astype(_VOTABLE_TYPES.get(code, column.dtype))
    new.unit, new.description, new.meta = _votable_unit(column.unit), column.description, dict(column.meta)
    return new


def _votable_unit(unit: u.UnitBase | None) -> u.UnitBase | None:
    """The unit, or one of the same name without meaning where VOUnit does not define it."""
    if unit is None:
        return None
    try:
        unit.to_string("vounit")
    except ValueError:
        return u.Unit(unit.to_string(), format="vounit", parse_strict="silent")
    return unit


def _describe(document: VOTableFile, provenance: dict[str, Any]) -> None:
    """Name the coordinate system of ra and dec, the provenance, and the bits of ``flags``."""
    resource = document.resources[0]
    resource.description = "FRI/FRII classification of radio sources by radio-ag"
    resource.coordinate_systems.append(CooSys(ID=_FRAME, system="ICRS"))
    fields = {field.name: field for field in resource.tables[0].fields}
    for name in ("ra", "dec"):
        fields[name].ref = _FRAME
    facts = {name: str(value) for name, value in _provenance(provenance).items() if value is not None}
    facts |= {f"FLAG{bit}": f"{flag.name}: {flag.description}" for bit, flag in enumerate(Flag)}
    for number, (name, value) in enumerate(facts.items()):
        resource.infos.append(Info(ID=f"radio_ag_info_{number}", name=_xml_text(name), value=_xml_text(value)))
