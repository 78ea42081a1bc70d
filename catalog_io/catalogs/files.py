"""Files to tables: the format is told by content, and every reader's failure becomes a `CatalogueError`."""

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import warnings
from pathlib import Path

from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from radio_ag.catalog_io.catalogs import registry
from radio_ag.catalog_io.catalogs import text as _text
from radio_ag.catalog_io.catalogs.dialect import Dialect
from radio_ag.catalog_io.files.fits_open import in_order, open_checked
from radio_ag.errors import CatalogueError

ACCEPTED = "FITS, VOTable, ECSV, CSV, ASCII (.txt .tab .tsv .dat) and Parquet"
"""Formats of catalogue files, for messages and help."""

_HEAD = 1 << 16
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def read_table(path: str | os.PathLike, dialect: Dialect | None = None) -> Table:
    """Read the table in a file.

    Parameters
    ----------
    path : path-like
        FITS (the first table HDU), VOTable (the first table), ECSV, CSV, text, or Parquet, plain or compressed; or a
        file that a dialect reads itself.
    dialect : Dialect, optional
        Dialect of the file. `None`: any that reads files like it, else none.

    Returns
    -------
    `~astropy.table.Table`
        Values as they are in the file. UCDs, also those of a FITS header, are in the columns' ``info.meta["ucd"]``; the
        coordinate system of a VOTable column in ``info.meta["coosys"]``.

    Raises
    ------
    CatalogueError
        When there is no such file, or it is not a table.
    """
    path = Path(path).expanduser()
    head = read_head(path)
    if dialect is None or dialect.reads is None or not dialect.reads(head):
        dialect = registry.reader_for(head)
    reader = _reader(head) if dialect is None else dialect.read
    if reader is None:
        raise CatalogueError(f"{path.name} is not a table; accepted are {ACCEPTED}")
    try:
        with warnings.catch_warnings():
            # A unit that astropy does not know stays with its column; it is no reason to trouble the user.
            warnings.simplefilter("ignore", u.UnitsWarning)
            return reader(path)
    except (CatalogueError, MemoryError):
        raise
    except ImportError as exc:
        raise CatalogueError(f"{path.name} needs a package that is not installed: {exc}") from exc
    except Exception as exc:  # each reader raises whatever its parser raises; the cause is kept
        raise CatalogueError(f"{path.name} cannot be read as a table: {_one_line(exc)}") from exc


def read_head(path: Path) -> bytes:
    """First bytes of a file, decompressed.

    Raises
    ------
    CatalogueError
        When the file cannot be opened, is a folder, or is empty.
    """
    try:
        with _open(path) as stream:
            head = stream.read(_HEAD)
    except FileNotFoundError as exc:
        raise CatalogueError(f"no such catalogue: {path}") from exc
    except IsADirectoryError as exc:
        raise CatalogueError(f"{path} is a folder; a catalogue file is needed") from exc
    except (OSError, EOFError, lzma.LZMAError) as exc:
        raise CatalogueError(f"{path.name} cannot be read: {_one_line(exc)}") from exc
    if not head.strip():
        raise CatalogueError(f"{path.name} is an empty file, without even column names")
    return head


def _open(path: Path):
    """Open a file for reading bytes, decompressed."""
    with path.open("rb") as stream:
        start = stream.read(8)
    opener = next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), open)
    return opener(path, "rb")


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).expanduser().open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reader(head: bytes):
    """Function that reads a file with such first bytes; `None` when it is no table that we know."""
    if head.startswith(b"SIMPLE  ="):
        return _read_fits
    if head.startswith(b"PAR1"):
        return _read_parquet
    if b"\0" in head:
        return _read_votable if b"VOTABLE" in head[:2000] else None
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        return _read_votable if b"VOTABLE" in head else None
    if head.startswith(b"# %ECSV"):
        return _read_ecsv
    try:
        head[: head.rfind(b"\n") + 1 or None].decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return _read_text


def _read_text(path: Path) -> Table:
    with _open(path) as stream:
        return _text.read_text(stream.read().decode("utf-8-sig"))


def _read_fits(path: Path) -> Table:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="File may have been truncated")
        with _open(path) as stream, open_checked(stream) as hdus:
            tables = [i for i, hdu in enumerate(in_order(hdus)) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
            if not tables:
                raise CatalogueError(_no_table(path, hdus))
            # NaN and empty strings are values here, not masks: the column comes out as it came.
            table = Table.read(hdus, hdu=tables[0], format="fits", mask_invalid=False)
    _take_ucds(table)
    return table


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


def _read_votable(path: Path) -> Table:
    from astropy.io.votable import parse
    from astropy.io.votable.exceptions import VOWarning

    with warnings.catch_warnings():
        # Nearly every service breaks the letter of the standard somewhere.
        warnings.simplefilter("ignore", VOWarning)
        document = parse(path, verify="ignore")
        source = document.get_first_table()
        table = source.to_table(use_names_over_ids=True)
    systems = {system.ID: f"{system.system or ''} {system.equinox or ''}".strip() for system in document.iter_coosys()}
    for name, field in zip(table.colnames, source.fields, strict=True):
        column = table[name]
        if field.ref in systems:
            column.info.meta = {**(column.info.meta or {}), "coosys": systems[field.ref]}
        if isinstance(column.info.unit, u.UnrecognizedUnit):
            _read_unit_again(column)
    return table


def _read_unit_again(column) -> None:
    """Units such as mJy/beam, which the unit syntax of older VOTables lacks but others have."""
    with contextlib.suppress(ValueError):  # a unit that nothing knows stays as it came
        column.unit = u.Unit(str(column.unit))


def _read_ecsv(path: Path) -> Table:
    return Table.read(path, format="ascii.ecsv")


def _read_parquet(path: Path) -> Table:
    import pandas
    from pyarrow import parquet

    if b"table_meta_yaml" in (parquet.read_schema(path).metadata or {}):
        return Table.read(path, format="parquet")  # written by astropy, with its units
    # astropy's reader stops at a missing string and turns missing integers into NaN.
    return Table.from_pandas(pandas.read_parquet(path, dtype_backend="numpy_nullable"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
