"""Columns of a table as JSON: numbers stay numbers, anything else becomes text, missing values null.

JSON is written so that it can stand inside an HTML ``script`` element whatever the values are.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time
from astropy.units import Quantity

from radio_ag.catalog_io.product.columns import (
    ATTENTION_COLUMNS,
    COLUMNS,
    CUTOUT_COLUMNS,
    SOURCE_COLUMNS,
    class_columns,
    with_classes,
)

MAX_TEXT = 500
"""Characters of a value that the page keeps; a longer one ends in an ellipsis."""

_OF_SOURCES = {
    "group_id": "source",
    "primary": "source",
    "size": "las",
}  # columns of rows: what says the same of sources
_EXACT = 2**53  # the largest integer up to which a browser's numbers are exact


def json_for_html(value: Any) -> str:
    """Encode a value as JSON without the characters that could end a ``script`` element or begin a comment in it.

    Parameters
    ----------
    value : object
        Of JSON's types; no NaN.

    Returns
    -------
    str
        All ASCII.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def class_names(table: Table, known: Sequence[str]) -> tuple[list[str], float]:
    """Name the classes that a page tells apart.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of a result.
    known : sequence of str
        Classes of the network, in its order.

    Returns
    -------
    names : list of str
        Those, then what else there is, by name.
    least : float
        The least probability that the likeliest class can have.
    """
    found = set(np.ma.compressed(table["class"]).tolist()) - {"", *known}
    names = [*known, *sorted(found)]
    return names, 1 / max(len(names), 2)


def _ours(table: Table) -> set[tuple[str, str]]:
    """Names and descriptions of our columns, with those of a table's classes."""
    classes = class_columns(table.colnames)
    specs = (
        *with_classes(COLUMNS, classes),
        *CUTOUT_COLUMNS,
        *ATTENTION_COLUMNS,
        *with_classes(SOURCE_COLUMNS, classes),
    )
    return {(spec.name, spec.description) for spec in specs}


def source_entries(rows: Table, sources: Table) -> Table:
    """Join what a result says of sources to their first rows.

    Parameters
    ----------
    rows : `~astropy.table.Table`
        The first row of each source.
    sources : `~astropy.table.Table`
        Of a result, in the same order; what no source has is left out.

    Returns
    -------
    `~astropy.table.Table`
        The sources' columns, then those of their rows that say something else. A column of the input whose name
        equals one of the sources' becomes ``in_<name>``.
    """
    kept = [name for name in sources.colnames if name != "attention_plane" and not _is_missing(sources[name])]
    entries = Table(sources[kept], copy=False)
    ours = _ours(rows)
    for name, column in rows.columns.items():
        if (name, column.info.description) in ours and (name in kept or _OF_SOURCES.get(name) in kept):
            continue
        free = name
        while free in entries.colnames:
            free = f"in_{free}"
        entries.add_column(column, name=free, copy=False)
    return entries


def _is_missing(column: Column) -> bool:
    """Whether no row of a column has a value."""
    return len(column) > 0 and bool(np.all(np.ma.getmaskarray(np.ma.asarray(column.data))))


def table_columns(table: Table) -> list[dict[str, Any]]:
    """Describe each column of a table, with its values.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of a result, any columns.

    Returns
    -------
    list of dict
        Name, kind, unit, description, format, whether it came with the input, and values. The kinds: ``number``;
        ``integer``, text of digits, where a browser's numbers would round; ``text``. Infinities are the texts "inf" and
        "-inf".
    """
    ours = _ours(table)
    described = []
    for name, column in table.columns.items():
        kind, values = _encode(column)
        info = column.info
        described.append(
            {
                "name": str(name),
                "kind": kind,
                "unit": str(info.unit) if info.unit is not None else "",
                "description": str(info.description or ""),
                "format": info.format if isinstance(info.format, str) else "",
                "input": (name, info.description) not in ours,
                "values": values,
            }
        )
    return described


def _encode(column: Any) -> tuple[str, list]:
    if isinstance(column, Time):
        return "text", [_text(value) for value in np.ma.asarray(column.isot).tolist()]
    if isinstance(column, Quantity):
        column = Column(column.value)
    if not isinstance(column, Column | MaskedColumn) or column.ndim > 1:
        return "text", [_text(value) for value in column]
    values = np.ma.asarray(column.data)  # of the column itself astropy would decode bytes, strictly
    if values.dtype.kind in "iu":
        return _integers(values)
    if values.dtype.kind == "f":
        return "number", _floats(values)
    return "text", [_text(value) for value in values.tolist()]


def _integers(values: np.ma.MaskedArray) -> tuple[str, list]:
    numbers = values.tolist()
    if all(number is None or abs(number) <= _EXACT for number in numbers):
        return "number", numbers
    return "integer", [None if number is None else str(number) for number in numbers]


def _floats(values: np.ma.MaskedArray) -> list:
    """As few digits as tell the value from its neighbours in its own precision."""
    if values.dtype.itemsize < 8:
        values = np.ma.array(values.data.astype(str).astype(np.float64), mask=values.mask)
    return [_float(value) for value in values.astype(np.float64).tolist()]


def _float(value: float | None) -> float | str | None:
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _text(value: Any) -> str | None:
    if value is None or value is np.ma.masked:
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
