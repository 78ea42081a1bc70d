"""Text tables: where the names of the columns are, and what separates the values.

Left to guess, a reader of text may take a commented header for a comment and lose the names (as PyBDSF writes it), or
take an unnamed first row for names. Here the first lines decide the layout, and `astropy.io.ascii` reads it without
guessing.
"""

import csv
import re
from dataclasses import dataclass

from astropy.io import ascii as text_formats
from astropy.table import Table

from radio_ag.errors import CatalogueError

_HEAD = 1 << 16
_DELIMITERS = ("\t", ",", ";", "|")
_VALUE = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?\d{1,3}[:hd ]\s*\d{1,2}[:m ].*|nan|inf", re.IGNORECASE
)
_NAME = re.compile(r"[^\W\d]")
_IPAC_TYPE = re.compile(r"double|float|real|int|integer|long|char|date|[dfrilct]", re.IGNORECASE)
_RULE = re.compile(r"[-\s;,|]*-{1,}[-\s;,|]*")


@dataclass(frozen=True)
class Layout:
    """How a text table is laid out.

    Attributes
    ----------
    format : str
        Reader of `astropy.io.ascii`.
    options : dict
        Its options.
    units : dict of str to str
        Units by column, from a line of units (VizieR's TSV).
    """

    format: str
    options: dict
    units: dict[str, str]


def read_text(text: str) -> Table:
    """Table in a text.

    Raises
    ------
    CatalogueError
        When the columns have no names.
    """
    layout = find_layout(text[:_HEAD])
    # Without a line end the reader would take the text for the name of a file.
    table = text_formats.read(text.rstrip("\r\n") + "\n", format=layout.format, guess=False, **layout.options)
    for name, unit in layout.units.items():
        table[name].unit = unit
    return table


def find_layout(head: str) -> Layout:
    """Layout of a text table, from its first lines (the last of which may be cut off)."""
    if head.startswith(("\\", "|")):
        return Layout("ipac" if head.startswith("\\") or _is_ipac(head) else "fixed_width", {}, {})
    if "Byte-by-byte Description" in head:
        return Layout("mrt" if head.startswith("Title:") else "cds", {}, {})
    lines = [line for line in head.splitlines() if line.strip()]
    comments = [line[1:] for line in lines if line.startswith("#")]
    content = [line for line in lines if not line.startswith("#")]
    if not content:
        # A commented header and no rows: an empty catalogue.
        content, comments = comments[-1:], []
        return _commented(content[0], len(lines) - 1) if content else _unnamed("")
    first = content[0]
    delimiter = next((mark for mark in _DELIMITERS if len(_split(first, mark)) > 1), " ")
    fields = _split(first, delimiter)
    if not any(_VALUE.fullmatch(field) for field in fields):
        return _plain(delimiter, fields, content, commented=bool(comments))
    for index in reversed(range(len(comments))):
        names = _split(comments[index], delimiter)
        # Lines of units and of column numbers may stand below the names (SoFiA).
        if len(names) == len(set(names)) == len(fields) and all(_NAME.match(name) for name in names):
            return Layout("commented_header", {"delimiter": delimiter, "header_start": index}, {})
    return _unnamed(first)


def _is_ipac(head: str) -> bool:
    """Whether a table with bars is IPAC's: there only names, types and units have them."""
    below = "".join(head.splitlines()[1:2]).strip()
    return not below.startswith("|") or all(_IPAC_TYPE.fullmatch(field.strip()) for field in below[1:-1].split("|"))


def _plain(delimiter: str, names: list[str], content: list[str], *, commented: bool) -> Layout:
    """Names on the first line, perhaps with a line of units and a rule below it, as VizieR writes."""
    options: dict = {} if delimiter in " \t" else {"delimiter": delimiter}
    if commented and delimiter not in " \t":
        options["comment"] = "#"
    units = {}
    if len(content) > 2 and _RULE.fullmatch(content[2]):
        options["data_start"] = 3
        given = _split(content[1], delimiter)
        units = {name: unit for name, unit in zip(names, given, strict=False) if unit}
    return Layout({" ": "basic", "\t": "tab"}.get(delimiter, "csv"), options, units)


def _commented(header: str, index: int) -> Layout:
    delimiter = next((mark for mark in _DELIMITERS if len(_split(header, mark)) > 1), " ")
    return Layout("commented_header", {"delimiter": delimiter, "header_start": index}, {})


def _unnamed(first: str) -> Layout:
    raise CatalogueError(f"the columns have no names: the first line is {first[:60]!r}")


def _split(line: str, delimiter: str) -> list[str]:
    line = line.strip(" ") if delimiter != "\t" else line
    return [
        field.strip() for field in next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter, skipinitialspace=True))
    ]
