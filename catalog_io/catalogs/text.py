"""Text tables: where the names of the columns are, and what separates the values.

Left to guess, a reader of text may take a commented header for a comment and lose the names (as PyBDSF writes it), or
take an unnamed first row for names. Here the first lines decide the layout, and `astropy.io.ascii` reads it without
guessing.
"""

import csv
import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from astropy.io import ascii as text_formats
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs.columns import tell_apart
from radio_ag.catalog_io.files.packed import refuse_above_limit
from radio_ag.errors import CatalogueError, RadioAGWarning

_HEAD = 1 << 16
_LONG = 1000  # bytes of a line: none that is shorter is looked at closely
_COMMENTS = re.compile(r"(?:#.*\n)*")
_OTHER_TEXT = tuple(
    (re.compile(mark, re.IGNORECASE), what)
    for mark, what in (
        (r"\s*[\[{]\s*[\"\[{\]}]", "JSON, which is not read: write it as CSV or FITS, with pandas or astropy"),
        (r"\s*\\(?:begin|documentclass|table)", "LaTeX: write it as CSV, with astropy's reader ascii.latex"),
        (r"\s*%", "LaTeX or MATLAB text, whose comments begin with %: change them to #"),
        (r"---\s*\n", "YAML, which is not read: write it as CSV or ECSV"),
        (r"@(?:relation|attribute)", "ARFF, which is not read: write it as CSV"),
    )
)
_LEADING = re.compile(r"(?:#[^\n]*\n|[ \t\r]*\n)*+")
_NAMED = 5  # lines that a warning names
_END = "\0"  # a line that no text has
_DELIMITERS = ("\t", ",", ";", "|")
_VALUE = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?\d{1,3}[:hd ]\s*\d{1,2}[:m ].*|nan|inf", re.IGNORECASE
)
_NAME = re.compile(r"[^\W\d]")
_IPAC_TYPE = re.compile(r"double|float|real|int|integer|long|char|date|[dfrilct]", re.IGNORECASE)
_PADDED_ANGLE = re.compile(r"(?<![\w.])[+-]?0\d[0-5]\d[0-6]\d(?:\.\d*)?(?![\w.])")
_DIGITS_OF_ANGLE = re.compile(r"[+-]?\d\d[0-5]\d[0-6]\d(?:\.\d*)?")
_RULE = re.compile(r"[-\s;,|]*-{1,}[-\s;,|]*")


@dataclass(frozen=True)
class Layout:
    """How a text table is laid out.

    Attributes
    ----------
    format : str
        Reader of `astropy.io.ascii`.
    delimiter : str
        What separates the fields; empty where columns are told by their place in the line.
    columns : tuple of str
        The line of names, where it is known: some may be the same.
    header_start : int, optional
        Number of the comment that holds the names, from 0.
    data_start : int
        Lines above the data, without comments and blank lines.
    comments : bool
        Whether lines that begin with ``#`` are no rows.
    units : dict of str to str
        Units by column, from a line of units (VizieR's TSV).
    """

    format: str
    delimiter: str = ""
    columns: tuple[str, ...] = ()
    header_start: int | None = None
    data_start: int = 1
    comments: bool = False
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> int:
        """Fields of the line of names. With another delimiter than a blank, a row may have fewer."""
        return len(self.columns)

    @property
    def options(self) -> dict[str, Any]:
        """What `astropy.io.ascii` has to be told."""
        if self.header_start is not None:
            return {"delimiter": self.delimiter, "header_start": self.header_start}
        options: dict[str, Any] = {} if self.delimiter in ("", " ", "\t") else {"delimiter": self.delimiter}
        if options and self.comments:
            options["comment"] = "#"
        return options | ({"data_start": self.data_start} if self.data_start > 1 else {})


def read_text(text: str) -> Table:
    """Read the table in a text.

    Of a row with too few fields the last may be cut off in the middle of a number: it is taken as missing.

    Parameters
    ----------
    text : str
        The whole file.

    Returns
    -------
    `~astropy.table.Table`
        A row for each row of the text.

    Raises
    ------
    CatalogueError
        When the columns have no names, a quotation mark is not closed, or values do not stand in their columns.
    OSError
        When one cell is so long that a column of its width would take too much memory.

    Warns
    -----
    RadioAGWarning
        Of rows with too few fields, and of what looks like a row behind a comment sign, by their lines.
    """
    if "\0" in text:
        raise CatalogueError("it has a null character, which no text has")
    comments = _LEADING.match(text)
    layout = find_layout(text[: _HEAD + (comments.end() if comments else 0)])
    text = text.rstrip("\r") if layout.delimiter else _without_cut_word(text)
    if layout.format == "ipac":
        _check_places(text)
    elif layout.delimiter not in ("", " "):
        text = _without_cut_fields(text, layout)
    elif '"' in text and _quoted(_bytes(text), ord(" ")) is None:
        sum(1 for _ in _quoted_rows(text, layout))  # complains of quotation marks
    if layout.format == "bars":
        text = "\n".join(line.strip().removeprefix("|").removesuffix("|") for line in text.splitlines())
    # Without a line end the reader would take the text for the name of a file.
    format = "csv" if layout.format == "bars" else layout.format
    read = functools.partial(text_formats.read, format=format, guess=False, **layout.options)
    table = read(text.rstrip("\r\n") + "\n")
    padded = _padded_angles(text[:_HEAD], table, read)
    if padded:
        as_text = {name: [text_formats.convert_numpy(str)] for name in padded}
        table = read(text.rstrip("\r\n") + "\n", converters=as_text)
    for name, unit in layout.units.items():
        table[name].unit = unit
    return _with_told_names(table, [name for name in layout.columns if name])


def _with_told_names(table: Table, names: Sequence[str]) -> Table:
    """The table, with columns of the same name told apart as in other formats."""
    if len(set(names)) < len(names) == len(table.colnames):
        told = tell_apart(names)
        pairs = [(old, f"\0{new}", new) for old, new in zip(table.colnames, told, strict=True) if old != new]
        for old, between, _ in pairs:
            table.rename_column(old, between)
        for _, between, new in pairs:
            table.rename_column(between, new)
    return table


def _padded_angles(head: str, table: Table, read: Callable[..., Table]) -> list[str]:
    """Columns of angles whose digits have no separators, which would lose the zeros that tell them as numbers."""
    numeric = {name for name in table.colnames if table[name].dtype.kind in "if"}
    if not numeric or _PADDED_ANGLE.search(head) is None:
        return []
    whole = head[: head.rfind("\n") + 1] or f"{head}\n"
    first = read(whole, converters={"*": [text_formats.convert_numpy(str)]})
    return [name for name in first.colnames if name in numeric and _are_padded(name, list(first[name].astype(str)))]


def _are_padded(name: str, values: list[str]) -> bool:
    marked = any(value.startswith(("+", "-")) or "." in value for value in values)
    named = name.lower().lstrip("_").startswith(("ra", "de", "alpha", "delta"))
    return (
        (marked or named)
        and all(_DIGITS_OF_ANGLE.fullmatch(value) for value in values)
        and any(value.lstrip("+-").startswith("0") for value in values)
    )


def find_layout(head: str) -> Layout:
    """Find the layout of a text table.

    Parameters
    ----------
    head : str
        Its first lines, the last of which may be cut off.

    Returns
    -------
    Layout

    Raises
    ------
    CatalogueError
        When the columns have no names.
    """
    _refuse_other(head)
    if head.startswith(("\\", "|")):
        if head.startswith("\\") or _is_ipac(head):
            return Layout("ipac", columns=_ipac_names(head))
        names = [name.strip() for name in head.splitlines()[0].rstrip().removeprefix("|").removesuffix("|").split("|")]
        return Layout("bars", "|", ("", *names, ""))  # a bar before the first and behind the last
    if "Byte-by-byte Description" in head:
        return Layout("mrt" if head.startswith("Title:") else "cds")
    lines = [line for line in head.splitlines() if line.strip()]
    comments = [line[1:] for line in lines if line.startswith("#")]
    content = [line for line in lines if not line.startswith("#")]
    if not content:
        # A commented header and no rows: an empty catalogue.
        return _commented(comments[-1], len(lines) - 1) if comments else _unnamed("")
    first = content[0]
    delimiter = _delimiter(first)
    fields = _split(first, delimiter)
    if not any(_VALUE.fullmatch(value) for value in fields):
        return _plain(delimiter, fields, content, commented=bool(comments))
    for allow_repeated in (False, True):
        for index in reversed(range(len(comments))):
            names = _split(comments[index], delimiter)
            # Lines of units and of column numbers may stand below the names (SoFiA).
            different = allow_repeated or len(names) == len(set(names))
            if different and len(names) == len(fields) and all(_NAME.match(name) for name in names):
                return Layout("commented_header", delimiter, tuple(names), index, data_start=0, comments=True)
    return _unnamed(first)


def _ipac_names(head: str) -> tuple[str, ...]:
    line = next((line for line in head.splitlines() if line.startswith("|")), "")
    return tuple(name.strip() for name in line.strip().strip("|").split("|"))


def _refuse_other(head: str) -> None:
    """Refuse text that is something else than a table, by its name."""
    what = next((what for mark, what in _OTHER_TEXT if mark.match(head)), None)
    if what is not None:
        raise CatalogueError(f"it looks like {what}")


def _is_ipac(head: str) -> bool:
    """Whether a table with bars is IPAC's: there only names, types and units have them."""
    below = "".join(head.splitlines()[1:2]).strip()
    return not below.startswith("|") or all(_IPAC_TYPE.fullmatch(field.strip()) for field in below[1:-1].split("|"))


def _plain(delimiter: str, names: list[str], content: list[str], *, commented: bool) -> Layout:
    """Names on the first line, perhaps with a line of units and a rule below it, as VizieR writes."""
    format = {" ": "basic", "\t": "tab"}.get(delimiter, "csv")
    if len(content) <= 2 or not _RULE.fullmatch(content[2]):
        return Layout(format, delimiter, tuple(names), comments=commented)
    given = _split(content[1], delimiter)
    units = {name: unit for name, unit in zip(names, given, strict=False) if unit}
    return Layout(format, delimiter, tuple(names), data_start=3, comments=commented, units=units)


def _commented(header: str, index: int) -> Layout:
    return Layout("commented_header", _delimiter(header), header_start=index, data_start=0, comments=True)


def _delimiter(line: str) -> str:
    return next((mark for mark in _DELIMITERS if len(_split(line, mark)) > 1), " ")


def _unnamed(first: str) -> Layout:
    raise CatalogueError(f"the columns have no names: the first line is {first[:60]!r}")


def _split(line: str, delimiter: str) -> list[str]:
    line = line.strip(" ") if delimiter != "\t" else line
    return [
        value.strip() for value in next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter, skipinitialspace=True))
    ]


class _Row(NamedTuple):
    """A row of a text table: where it stands in the text, the number of its line, and its fields."""

    start: int
    stop: int
    line: int
    fields: Sequence[str]


def _without_cut_fields(text: str, layout: Layout) -> str:
    """The text, with the last field of each row that has too few left empty."""
    if is_even(text, layout):
        return text
    short, commented, pieces, done = [], [], [], 0
    rows = longest = 0
    for row in (_quoted_rows if '"' in text else _plain_rows)(text, layout):
        if layout.comments and row.fields[0].startswith("#"):
            if rows and len(row.fields) == layout.names:
                commented.append(row.line)
            continue
        rows += 1
        if row.stop - row.start > _LONG:
            longest = max(longest, *map(len, row.fields))
        if len(row.fields) < layout.names and rows > layout.data_start:
            short.append(row.line)
            empty = [""] * (layout.names - len(row.fields) + 1)
            pieces += [text[done : row.start], _joined([*row.fields[:-1], *empty], layout.delimiter)]
            done = row.stop
    refuse_above_limit(4 * rows * longest, len(text))
    if short:
        _warn_of_lines(short, "fewer fields than there are columns: the last of them may be cut, and is left out")
    if commented:
        _warn_of_lines(commented, "the fields of a row behind '#': taken as a comment")
    return "".join(pieces) + text[done:]


def is_even(text: str, layout: Layout) -> bool:
    """Return whether each row has as many fields as there are columns, as far as that is seen without a look at each.

    Short rows could only hide behind longer ones, which the reader refuses.

    Parameters
    ----------
    text : str
        The table, with any comments above it.
    layout : Layout
        With a delimiter.

    Returns
    -------
    bool
        False where a look at each row has to decide.
    """
    comments = _COMMENTS.match(text)
    text = text[comments.end() :] if comments else text
    raw, mark = _bytes(text), ord(layout.delimiter)
    line_ends = np.flatnonzero(raw == ord("\n"))
    if np.diff(line_ends).max() > _LONG or (raw[line_ends[:-1] + 1] == ord("#")).any():
        return False
    lines = len(line_ends) - 1 - text.endswith("\n")
    marks = raw == mark
    if '"' in text:
        quoted = _quoted(raw, mark)
        if quoted is None:
            return False
        marks &= ~quoted
    return int(np.count_nonzero(marks)) == (layout.names - 1) * lines


def _bytes(text: str) -> NDArray[np.uint8]:
    """The bytes of a text, with line ends before and behind it."""
    return np.frombuffer(f"\n{text}\n".encode(), np.uint8)


def _quoted(raw: NDArray[np.uint8], mark: int) -> NDArray[np.bool_] | None:
    """Which of the `_bytes` lie in quoted fields; None where one is not closed in its line, or has a quote in it."""
    quotes = np.flatnonzero(raw == ord('"'))
    opening, closing = raw[quotes[::2] - 1], raw[quotes[1::2] + 1]
    lengths = np.diff(quotes, prepend=0, append=len(raw))
    quoted = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    whole = (
        len(opening) == len(closing)
        and ((opening == mark) | (opening == ord("\n"))).all()
        and ((closing == mark) | (closing == ord("\r")) | (closing == ord("\n"))).all()
        and not any(quoted[raw == ord(line_end)].any() for line_end in "\r\n")
    )
    return quoted if whole else None


def _plain_rows(text: str, layout: Layout) -> Iterator[_Row]:
    """Rows of a text without quotation marks, without blank lines."""
    start, line = 0, 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line += 1
        content = text[start:end].rstrip("\r")
        if content.strip():
            yield _Row(start, start + len(content), line, content.split(layout.delimiter))
        start = end + 1


def _quoted_rows(text: str, layout: Layout) -> Iterator[_Row]:
    """Rows of a text with quotation marks, in which there may be delimiters and line ends."""
    ends = [0]

    def lines() -> Iterator[str]:
        for content in io.StringIO(text, newline="\n"):
            ends.append(ends[-1] + len(content))
            yield content
        yield _END

    reader, line = csv.reader(lines(), delimiter=layout.delimiter, skipinitialspace=True), 1
    try:
        for fields in reader:
            if reader.line_num == len(ends):  # the line behind the last
                break
            start, stop = ends[line - 1], ends[reader.line_num]
            if len(fields) > 1 or "".join(fields).strip():
                yield _Row(start, start + len(text[start:stop].rstrip("\r\n")), line, fields)
            line = reader.line_num + 1
    except csv.Error as exc:
        raise CatalogueError(f"line {line}: {exc}") from exc
    if fields != [_END]:
        raise CatalogueError(f"a quotation mark in line {line} is not closed")


def _joined(fields: list[str], delimiter: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(fields)
    return line.getvalue()


def _without_cut_word(text: str) -> str:
    """A text of fixed columns, without the last word where the last line ends early, and without a line end."""
    if text.endswith(("\n", "\r")):
        return text
    rest, _, last = text.rpartition("\n")
    if len(last) >= len(rest.rpartition("\n")[2].rstrip()):
        return text
    _warn_of_lines([rest.count("\n") + 2], "no end: its last field may be cut, and is left out")
    return f"{rest}\n{last.rpartition(' ')[0]} "


def _check_places(text: str) -> None:
    """Check that nothing stands below the bars that part the columns of an IPAC table."""
    lines = text.splitlines()
    header = next((number for number, line in enumerate(lines) if line.startswith("|")), len(lines))
    bars = [place for place, letter in enumerate("".join(lines[header : header + 1])) if letter == "|"]
    for number, line in enumerate(lines[header:], start=header + 1):
        if not line.startswith(("|", "\\")) and any(line[place : place + 1].strip() for place in bars):
            raise CatalogueError(f"line {number} does not keep to the columns: a value stands below a bar '|'")


def _warn_of_lines(lines: list[int], what: str) -> None:
    named = ", ".join(map(str, lines[:_NAMED])) + (", …" if len(lines) > _NAMED else "")
    count = f"line {named} of the catalogue has" if len(lines) == 1 else f"{len(lines)} lines ({named}) have"
    warnings.warn(f"{count} {what}", RadioAGWarning, stacklevel=2)
