"""VOTables: documents read that may be hostile, and tables written so that other programs take them."""

import math
import os
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.parsers import expat

from astropy.table import Table

from radio_ag.catalog_io.files.packed import refuse_above_limit

_HEAD = 1 << 16  # bytes parsed at once
_WIDE = 1 << 10  # elements of a row that a TR of a few bytes may not have

_Event = tuple[bool, str, Any, tuple[int, int]]  # start or end, tag, attributes or text, place


def read_document(stream: BinaryIO, size: int) -> Any:
    """Read a VOTable that is to have all its data in itself.

    Parameters
    ----------
    stream : binary file
        The document, unpacked.
    size : int
        Of the file that it came from, bytes: it may take `~radio_ag.catalog_io.files.packed.size_limit` of it.

    Returns
    -------
    `~astropy.io.votable.tree.VOTableFile`
        Breaches of the standard are let pass: nearly every service breaks its letter somewhere.

    Raises
    ------
    OSError
        If its data are elsewhere, it declares a document type, or it declares more than it may take: before anything
        else is opened, and before memory is taken.
    Exception
        Whatever astropy raises of a document that it cannot read.
    """
    from astropy.io.votable.exceptions import VOWarning
    from astropy.io.votable.tree import VOTableFile
    from astropy.utils.xml.iterparser import get_xml_iterator

    _refuse_doctype(stream)
    unpacked = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    settings = {"verify": "ignore", "invalid": "exception", "columns": None, "table_number": None}
    with warnings.catch_warnings(), get_xml_iterator(stream) as events:
        warnings.simplefilter("ignore", VOWarning)
        return VOTableFile(config=settings, pos=(1, 1)).parse(_within(events, unpacked, size), settings)


def make_document(table: Table, name: str | None = None) -> Any:
    """Make a VOTable whose booleans may be null.

    Parameters
    ----------
    table : `~astropy.table.Table`
        In types that VOTable has.
    name : str, optional
        Identifier of the table.

    Returns
    -------
    `~astropy.io.votable.tree.VOTableFile`
        Names, units and UCDs are the table's, whatever VOTable says of them.
    """
    from astropy.io.votable import from_table
    from astropy.io.votable.exceptions import VOWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VOWarning)
        document = from_table(table, table_id=name)
        for field in document.get_first_table().fields:
            if field.datatype == "bit":  # astropy's choice for booleans: it has no null
                field.datatype = "boolean"
            elif field.datatype in ("char", "unicodeChar") and field.arraysize == "1":
                field.arraysize = "*"  # one letter is never empty, and "1" is deprecated
    return document


def write_document(document: Any, stream: BinaryIO) -> None:
    """Write a VOTable, its values as text.

    Parameters
    ----------
    document : `~astropy.io.votable.tree.VOTableFile`
        Of `make_document`.
    stream : binary file
        Open for writing; stays open.
    """
    # In astropy 8.0 the writer in C writes beyond its memory where cells of text are long.
    document.to_xml(stream, tabledata_format="tabledata", _debug_python_based_parser=True)


def _refuse_doctype(stream: BinaryIO) -> None:
    """Refuse a document type, which may define entities and fetch them: no version of VOTable since 2004 has one."""
    parser = expat.ParserCreate()
    started: list[bool] = []

    def refuse(*_: object) -> None:
        raise OSError("it declares a document type (DOCTYPE), which may refer to other files: take it out")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda *_: started.append(True)
    while not started and (block := stream.read(_HEAD)):
        parser.Parse(block)


def _within(events: Iterator[_Event], unpacked: int, size: int) -> Iterator[_Event]:
    """XML events up to one that leads outside the document, or takes more memory than the file may."""
    rows = width = 0
    for event in events:
        start, tag, attributes, _ = event
        if start and tag in ("STREAM", "include") and "href" in attributes:
            raise OSError(f"its data are elsewhere, at {attributes['href']!r}: only the file itself is read")
        if start and tag == "TABLE":
            width, rows = 0, int(attributes.get("nrows") or 0)
            if rows > unpacked:
                raise OSError(f"it declares {rows} rows, more than the bytes that it has")
        elif start and tag == "FIELD":
            width += _field_width(attributes)
            refuse_above_limit(max(rows, 1) * width, size)
        elif start and tag == "TR" and width > _WIDE:
            rows += 1
            refuse_above_limit(rows * width, size)
        yield event


def _field_width(field: dict[str, str]) -> int:
    """Bytes of a cell, at least: as many as an array of fixed size has elements."""
    axes = field.get("arraysize", "1").split("x")
    return math.prod(int(axis) for axis in axes if axis.strip().isdigit()) or 1
