"""Files to tables: the format is told by content, and every reader's failure becomes a `CatalogueError`.

Nothing but the file itself is read. A parser gets its bytes, never its name, and a document that refers to something
else is refused.
"""

import contextlib
import hashlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy import units as u
from astropy.io import ascii as text_formats
from astropy.io import fits
from astropy.table import Column, Table
from astropy.table.meta import get_header_from_yaml

from radio_ag.catalog_io.catalogs import registry
from radio_ag.catalog_io.catalogs import text as _text
from radio_ag.catalog_io.catalogs.columns import find_positions, tell_apart
from radio_ag.catalog_io.catalogs.dialect import Dialect
from radio_ag.catalog_io.catalogs.lists import list_reader
from radio_ag.catalog_io.files.fits_open import in_order, open_checked
from radio_ag.catalog_io.files.fits_table import read_hdu
from radio_ag.catalog_io.files.packed import open_unpacked, refuse_above_limit
from radio_ag.catalog_io.files.votable import read_document
from radio_ag.errors import CatalogueError, RadioAGWarning

ACCEPTED = "FITS, VOTable, ECSV, CSV, ASCII (.txt .tab .tsv .dat), Parquet, sky models, TDAT and region files"
"""Formats of catalogue files, for messages and help."""

_HEAD = 1 << 16
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_OTHER_FORMATS = tuple(
    (re.compile(mark, re.IGNORECASE | re.DOTALL), what)
    for mark, what in (
        (rb"\x89HDF", "HDF5, which is not read: write it as FITS or Parquet, with astropy or pandas"),
        (rb"\xd0\xcf\x11\xe0", "an Excel sheet, which is not read: save it as CSV"),
        (rb"ARROW1|FEA1", "Feather (Arrow), which is not read: write it as Parquet, with pyarrow or pandas"),
        (rb"\x93NUMPY", "a NumPy array, which is not read: write it as FITS or ECSV, with astropy's Table"),
        (rb"\x80[\x02-\x05]", "a pickle, which is never opened: write it as FITS, ECSV or Parquet"),
        (rb"RD[AX]\d\n", "R data, which is not read: write it as CSV, with write.csv"),
        (rb"\x89PNG|\xff\xd8\xff|GIF8", "a picture"),
        (rb"%PDF", "a PDF, which is not read: get the table from VizieR or the journal"),
        (rb"\s*<(?:!doctype\s+html|html)", "a web page: was the download refused?"),
        (rb"\s*<", "XML, but no VOTable: write it as VOTable, with TOPCAT or STILTS"),
        (rb".{257}ustar", "a tar archive: unpack it first"),
    )
)
_WORD = 8  # bytes of a number, and of the place of a text


@dataclass(frozen=True)
class Wanted:
    """Which table of a file is wanted.

    Attributes
    ----------
    table, hdu : str, optional
        Its name or number, among the tables from 1, and among all HDUs from 0.
    ra_col, dec_col : str, optional
        Columns that it has; without a table's name the first that has positions is taken.
    """

    table: str | None = None
    hdu: str | None = None
    ra_col: str | None = None
    dec_col: str | None = None


@dataclass(frozen=True)
class _Candidate:
    """A table of a file that may hold several: its name, its number among the HDUs, its columns with their UCDs."""

    name: str
    hdu: int
    columns: Sequence[tuple[str, str]]


Reader = Callable[[BinaryIO, Path, Wanted], Table]  # of what is in a file; the name is for messages


def read_table(path: str | os.PathLike, dialect: Dialect | None = None, wanted: Wanted = Wanted()) -> Table:
    """Read the table in a file.

    Parameters
    ----------
    path : path-like
        FITS, VOTable, ECSV, CSV, text, or Parquet, plain or packed by gzip,
        bzip2 or xz; or a file that a dialect reads itself.
    dialect : Dialect, optional
        Dialect of the file. `None`: any that reads files like it, else none.
    wanted : Wanted
        Which table of FITS and VOTable.

    Returns
    -------
    `~astropy.table.Table`
        Values as they are in the file. UCDs, also those of a FITS header, are in the columns' ``info.meta["ucd"]``; the
        coordinate system of a VOTable column in ``info.meta["coosys"]``.

    Raises
    ------
    CatalogueError
        When there is no such file, it is not a table, refers to another file, or takes more memory than
        `~radio_ag.catalog_io.files.packed.size_limit` allows.
    """
    path = Path(path).expanduser()
    with _open(path) as stream:
        head = stream.read(_HEAD)
        if not head.strip():
            raise CatalogueError(f"{path.name} is an empty file, without even column names")
        if dialect is None or dialect.reads is None or not dialect.reads(head):
            dialect = registry.reader_for(head)
        stream.seek(0)
        with _translated(path), warnings.catch_warnings():
            # A unit that astropy does not know stays with its column; it is no reason to trouble the user.
            warnings.simplefilter("ignore", u.UnitsWarning)
            if dialect is not None and dialect.read is not None:
                return dialect.read(path)
            reader = _reader(head, path)
            several = ("table", "hdu") if reader is _read_fits else ("table",) if reader is _read_votable else ()
            for option in ("table", "hdu"):
                if getattr(wanted, option) is not None and option not in several:
                    raise CatalogueError(f"{option} (--{option}): {path.name} holds one table, and no others to choose")
            return reader(stream, path, wanted)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises into a `CatalogueError`; the cause is kept."""
    try:
        yield
    except CatalogueError as exc:
        if str(exc).startswith(path.name):
            raise
        raise CatalogueError(f"{path.name}: {exc}") from exc
    except MemoryError as exc:
        raise CatalogueError(f"{path.name} needs more memory than there is") from exc
    except ImportError as exc:
        raise CatalogueError(f"{path.name} needs a package that is not installed: {exc}") from exc
    except Exception as exc:
        raise CatalogueError(f"{path.name} cannot be read as a table: {_one_line(exc)}") from exc


def _open(path: Path) -> BinaryIO:
    try:
        return open_unpacked(path)
    except FileNotFoundError as exc:
        raise CatalogueError(f"no such catalogue: {path}") from exc
    except IsADirectoryError as exc:
        if (path / "table.dat").exists():
            raise CatalogueError(
                f"{path} is a CASA table, which is not read: write DS9 or CRTF regions of it, or CSV, first"
            ) from exc
        raise CatalogueError(f"{path} is a folder; a catalogue file is needed") from exc
    except (OSError, MemoryError, ValueError) as exc:
        if path.suffix.lower() in (".xlsx", ".ods"):
            raise CatalogueError(f"{path.name} looks like a spreadsheet, which is not read: save it as CSV") from exc
        raise CatalogueError(f"{path.name} cannot be read: {_one_line(exc)}") from exc


def sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    str
        In hexadecimal.
    """
    with Path(path).expanduser().open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reader(head: bytes, path: Path) -> Reader:
    """Function that reads a file with such first bytes."""
    reader = _known_reader(head)
    if reader is None:
        looks_like = next((f"looks like {what}" for mark, what in _OTHER_FORMATS if mark.match(head)), "is not a table")
        raise CatalogueError(f"{path.name} {looks_like}; accepted are {ACCEPTED}")
    return reader


def _known_reader(head: bytes) -> Reader | None:
    if head.startswith(b"SIMPLE  ="):
        return _read_fits
    if head.startswith(b"PAR1"):
        return _read_parquet
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        if b"<" not in head[:8]:
            return _read_text
        return _read_votable if b"VOTABLE" in head.replace(b"\0", b"") else None
    if b"\0" in head:
        return _read_votable if b"VOTABLE" in head[:2000].replace(b"\0", b"") else None
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<") and not head.lstrip().lower().startswith(b"<header>"):
        return _read_votable if b"VOTABLE" in head else None
    if head.startswith(b"%PDF"):
        return None
    if head.startswith(b"# %ECSV"):
        return _read_ecsv
    return _read_text if _encoding(head) is not None else None


def _encoding(head: bytes) -> str | None:
    """How a text is encoded, by its first bytes; `None` where it is none."""
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), None)
    if marked is not None:
        return marked
    whole = head[: head.rfind(b"\n") + 1 or None]
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError:
        text = b"\n" in head and not any((byte < 32 and byte not in b"\t\n\r\f") or 127 <= byte < 160 for byte in head)
        return "latin-1" if text else None
    return "utf-8"


def _read_text(stream: BinaryIO, path: Path, wanted: Wanted) -> Table:
    raw = stream.read()
    encoding = _encoding(raw[:_HEAD]) or "utf-8"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise
        encoding = "latin-1"  # what is not ASCII comes late
        text = raw.decode(encoding)
    if encoding == "latin-1":
        warnings.warn(f"{path.name} is not in UTF-8: it is read as Latin-1", RadioAGWarning, stacklevel=2)
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    reader = list_reader(text[:_HEAD])
    return _text.read_text(text) if reader is None else reader(text)


def _read_ecsv(stream: BinaryIO, path: Path, wanted: Wanted) -> Table:
    # Without a line end the reader would take the text for the name of a file.
    text = stream.read().decode("utf-8") + "\n"
    table = text_formats.read(text, format="ecsv", guess=False)
    header = get_header_from_yaml(line[2:] for line in text.splitlines()[1:] if line.startswith("# "))
    names = [str(field["name"]) for field in header["datatype"]]
    if len(names) == len(table.colnames) and len(set(names)) < len(names):  # no mixins, and astropy's own numbers
        for old, new in zip(list(table.colnames), tell_apart(names), strict=True):
            if old != new:
                table.rename_column(old, new)
    return table


def _read_fits(stream: BinaryIO, path: Path, wanted: Wanted) -> Table:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="File may have been truncated")
        with open_checked(stream) as hdus:
            tables = {
                number: hdu
                for number, hdu in enumerate(in_order(hdus))
                if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)
            }
            if not tables:
                raise CatalogueError(_no_table(path, hdus))
            candidates = [_Candidate(hdu.name, number, _fields(hdu.header)) for number, hdu in tables.items()]
            hdu = tables[candidates[_choose(candidates, wanted)].hdu]
            _tell_apart(hdu.header)
            # NaN and empty strings are values here, not masks: the column comes out as it came.
            table = read_hdu(hdu, mask_invalid=False)
    _take_ucds(table)
    return table


def _fields(header: fits.Header) -> list[tuple[str, str]]:
    """Name and UCD of each column."""
    numbers = range(1, header["TFIELDS"] + 1)
    return [(str(header.get(f"TTYPE{number}", "")), str(header.get(f"TUCD{number}", ""))) for number in numbers]


def _choose(tables: Sequence[_Candidate], wanted: Wanted) -> int:
    """Which of the tables of a file is wanted: the one that is named, else the first that has positions."""
    for option in ("table", "hdu"):
        name = getattr(wanted, option)
        if name is not None:
            numbers = [str(table.hdu if option == "hdu" else number + 1) for number, table in enumerate(tables)]
            found = [n for n, table in enumerate(tables) if table.name and table.name.lower() == name.lower()]
            found = found or [n for n, number in enumerate(numbers) if number == name]
            if len(found) != 1:
                listed = ", ".join(f"{number} {table.name!r}" for number, table in zip(numbers, tables, strict=True))
                why = "several tables have that name" if found else "there is no such table"
                raise CatalogueError(f"{option}={name!r} (--{option}): {why}; there are {listed}")
            return found[0]
    placed = [number for number, table in enumerate(tables) if _has_positions(table, wanted)]
    if len(placed) > 1:
        others = ", ".join(f"{number + 1} {tables[number].name!r}" for number in placed[1:])
        message = f"table {placed[0] + 1} {tables[placed[0]].name!r} is taken; others have positions too: {others}"
        warnings.warn(f"{message}; table= (--table) takes one of them", RadioAGWarning, stacklevel=2)
    return placed[0] if placed else 0


def _has_positions(candidate: _Candidate, wanted: Wanted) -> bool:
    columns = {name: Column(np.empty(0), meta={"ucd": ucd}) for name, ucd in candidate.columns if name}
    if any(f"{name.removesuffix('.ra')}.dec" in columns for name in columns if name.endswith(".ra")):
        return True  # a SkyCoord in parts
    try:
        find_positions(Table(columns), wanted.ra_col, wanted.dec_col or wanted.ra_col)
    except CatalogueError:
        return False
    return True


def _tell_apart(header: fits.Header) -> None:
    """Give a number to columns whose name another has: astropy reads no table with two of the same."""
    keys = [f"TTYPE{number}" for number in range(1, header["TFIELDS"] + 1) if f"TTYPE{number}" in header]
    for key, name in zip(keys, tell_apart([str(header[key]) for key in keys]), strict=True):
        if header[key] != name:
            header[key] = name


def _no_table(path: Path, hdus: fits.HDUList) -> str:
    if any(hdu.is_image and len(hdu.shape) > 1 for hdu in hdus):
        return f"{path.name} is a FITS image, not a catalogue; images are given by images= (--images)"
    return f"{path.name} is a FITS file without a table"


def _take_ucds(table: Table) -> None:
    """Move UCDs from numbered header keywords, which go wrong when columns move, to the columns."""
    for number, name in enumerate(table.colnames, start=1):
        ucd = table.meta.pop(f"TUCD{number}", None)
        if ucd:
            table[name].info.meta = {**(table[name].info.meta or {}), "ucd": str(ucd)}


def _read_votable(stream: BinaryIO, path: Path, wanted: Wanted) -> Table:
    document = read_document(stream, path.stat().st_size)
    sources = list(document.iter_tables())
    if not sources:
        raise CatalogueError("it has no table")
    candidates = [
        _Candidate(source.name or source.ID or "", number, [(field.name, field.ucd or "") for field in source.fields])
        for number, source in enumerate(sources)
    ]
    source = sources[_choose(candidates, wanted)]
    table = source.to_table(use_names_over_ids=True)
    for old, new in zip(table.colnames, _names_of(source.fields), strict=True):
        if old != new:
            table.rename_column(old, new)
    systems = {system.ID: f"{system.system or ''} {system.equinox or ''}".strip() for system in document.iter_coosys()}
    for name, field in zip(table.colnames, source.fields, strict=True):
        column = table[name]
        if field.ref in systems:
            column.info.meta = {**(column.info.meta or {}), "coosys": systems[field.ref]}
        if isinstance(column.info.unit, u.UnrecognizedUnit):
            _read_unit_again(column)
    return table


def _names_of(fields: Sequence[Any]) -> list[str]:
    return tell_apart([str(field.name or field.ID) for field in fields])


def _read_unit_again(column: Column) -> None:
    """Units such as mJy/beam, which the unit syntax of older VOTables lacks but others have."""
    with contextlib.suppress(ValueError):  # a unit that nothing knows stays as it came
        column.unit = u.Unit(str(column.unit))


def _read_parquet(stream: BinaryIO, path: Path, wanted: Wanted) -> Table:
    import pandas
    from pyarrow.parquet import ParquetFile

    # Of a file by its name pyarrow would take columns from the names of the folders, too.
    file = ParquetFile(stream)
    size = path.stat().st_size
    _check_parquet(file.metadata, size)
    _check_parquet_text(stream, file.metadata, size)
    stream = _with_told_names(stream, file)
    if b"table_meta_yaml" in (file.schema_arrow.metadata or {}):
        return Table.read(stream, format="parquet")  # written by astropy, with its units
    # astropy's reader stops at a missing string and turns missing integers into NaN.
    return Table.from_pandas(pandas.read_parquet(stream, dtype_backend="numpy_nullable"))


def _with_told_names(stream: BinaryIO, file: Any) -> BinaryIO:
    """The file, or one whose columns have different names."""
    from pyarrow.parquet import write_table

    stream.seek(0)
    names = file.schema_arrow.names
    told = tell_apart(names)
    if told == names:
        return stream
    renamed = io.BytesIO()
    write_table(file.read().rename_columns(told), renamed)
    renamed.seek(0)
    return renamed


def _check_parquet(metadata: Any, size: int) -> None:
    """Check that a Parquet file holds its own data, and that its numbers do not take too much memory."""
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    chunks = [group.column(column) for group in groups for column in range(group.num_columns)]
    elsewhere = next((chunk.file_path for chunk in chunks if chunk.file_path), None)
    if elsewhere is not None:
        raise CatalogueError(f"its data are elsewhere, in {elsewhere!r}: only the file itself is read")
    refuse_above_limit(sum(_WORD * chunk.num_values for chunk in chunks), size)


def _check_parquet_text(stream: BinaryIO, metadata: Any, size: int) -> None:
    """Check that its texts do not take too much memory either: a text that occurs often is kept once in the file."""
    from pyarrow import compute
    from pyarrow.parquet import ParquetFile

    schema = metadata.schema
    texts = [column.path for column in map(schema.column, range(len(schema))) if column.physical_type == "BYTE_ARRAY"]
    needed = 0
    for batch in ParquetFile(stream, read_dictionary=texts).iter_batches(columns=texts):
        for column in batch.columns:
            if hasattr(column, "dictionary"):  # text in lists has none
                lengths = compute.binary_length(column.dictionary)
                needed += compute.sum(lengths.take(column.indices)).as_py() or 0
        refuse_above_limit(needed, size)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
