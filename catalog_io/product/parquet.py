"""The product as a data set of Parquet files, for catalogues of many millions of rows.

A folder ``NAME.parquet`` of files ``part-00000.parquet``, …, in the order of the rows, with the columns of the FITS
product, and beside it ``NAME.sources.parquet``, of the same layout, with its table of sources. A field's metadata have
``unit``, ``description``, ``ucd`` and ``utype``; the schema's have the provenance as JSON, under ``radio-ag``. What is
missing is null. pandas, polars, pyarrow and DuckDB read either folder as one table.
Attention maps and cutouts, which Parquet has no use for, lie beside it in ``NAME.attention.fits``, stacks as in the
FITS product: ``attention_plane`` and ``cutout_plane`` name their planes.

Each file tells how many files and rows there are in all (``radio-ag-set``), and the SHA-256 of itself with zeros in the
place of that (``radio-ag-sha256``).
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow
from astropy.table import Column, MaskedColumn, Table
from astropy.table.serialize import represent_mixins_as_columns
from pyarrow import parquet

from radio_ag import writing
from radio_ag.catalog_io.files.fits_append import append_hdu
from radio_ag.catalog_io.files.fits_checksum import UNCHECKED
from radio_ag.catalog_io.files.fits_table import Cards, unescape
from radio_ag.catalog_io.product import fits
from radio_ag.catalog_io.product.columns import dress_columns, lacking_columns
from radio_ag.catalog_io.product.headers import primary_header, warn_of_renamed
from radio_ag.catalog_io.product.merge import JoinedStack
from radio_ag.catalog_io.product.rows import ProductRows
from radio_ag.catalog_io.product.sources import SourceRows, checked_sources
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.errors import InputError, OutputError
from radio_ag.writing import folder_beside, written_beside

_KEY = b"radio-ag"
_FILE_NAME = re.compile(r"part-\d{5,}\.parquet")
_SOURCES = "number of sources"  # beside the provenance
_SET, _SUM = b"radio-ag-set", b"radio-ag-sha256"
_SUM_PLACE = re.compile(re.escape(_SUM) + rb"..([0-9a-f]{64})", re.DOTALL)  # between them: type and length
_NO_SUM = b"0" * 64
_TAIL = 8  # bytes behind the footer: its length, and PAR1
_BLOCK = 4 << 20  # bytes read at once
_GROUP = 1 << 16  # rows written at once
_FILE = 8  # groups in a file
_CARDS = {"TUNIT": "unit", "TCOMM": "description", "TUCD": "ucd", "TUTYP": "utype"}


@dataclass(frozen=True)
class Parquet:
    """A folder of Parquet files; a `radio_ag.catalog_io.product.formats.Format`."""

    name: str = "parquet"
    attention_modes: tuple[str, ...] = ("mean", "gates", "none")

    def check_output(self, path: str | os.PathLike, overwrite: bool = False, catalogue: Table | None = None) -> Path:
        """Return the path with links resolved, or say why it cannot be written; also a folder with other files.

        Parameters
        ----------
        path : path
            Folder of the product.
        overwrite : bool
            A product there may be replaced.
        catalogue : Table, optional
            The input.

        Returns
        -------
        Path
            Absolute.
        """
        path = fits.check_output(path, overwrite, catalogue, folder=True)
        writing.check_output(maps_beside(path), overwrite)
        writing.check_output(sources_beside(path), overwrite, folder=True)
        for folder in filter(Path.exists, (path, sources_beside(path))):
            foreign = [entry.name for entry in folder.iterdir() if not _FILE_NAME.fullmatch(entry.name)]
            if foreign:
                raise OutputError(f"{folder} holds what is not of a data set ({foreign[0]}): choose another name")
        return path

    def write(
        self,
        path: Path,
        rows: ProductRows,
        sources: SourceRows,
        stacks: Mapping[str, JoinedStack],
        *,
        attention: str,
        folder: Path,
    ) -> None:
        """Write the product of a run, in pieces.

        Parameters
        ----------
        path : Path
            Folder of the product, which is replaced if it is there.
        rows : ProductRows
            Of the catalogue.
        sources : SourceRows
            Of the table of sources.
        stacks : mapping of str, JoinedStack
            By their names in the parts.
        attention : str
            "mean", "gates" or "none".
        folder : Path
            Where it lies until it is whole.
        """
        meta = dict(rows.template.meta)
        with folder_beside(path, folder) as part:
            _write_files(part, rows, meta | {_SOURCES: sources.counts.rows})
            _read_back(part, rows)
            with folder_beside(sources_beside(path), folder) as second:
                _write_files(second, sources, meta)
                _read_back(second, sources)
            _write_maps(maps_beside(path), rows, stacks, attention, folder)
        warn_of_renamed(rows.template, rows.fields)

    def read(self, path: Path, *, verify: bool = True) -> tuple[Table, fits.Stores, AttentionStore | None]:
        """Read the table, the attention maps, and the cutouts if any.

        Parameters
        ----------
        path : Path
            Folder of the product.
        verify : bool
            Check sums, also of the planes that are read later.

        Returns
        -------
        table, stores, cutouts
            None for cutouts that were not kept.
        """
        meta = self.read_provenance(path)
        table = _from_arrow(_read_arrow(path, verify=verify))
        lacking = lacking_columns(table)
        if lacking:
            raise InputError(f"{path} lacks the columns {lacking}: not a product of radio-ag")
        dress_columns(table)
        table.meta.update(meta)
        stores = self.open_stacks(path, verify=verify)
        cutouts = stores.pop("CUTOUTS", None)
        fits.check_planes(path, table, stores, cutouts, str(meta.get("attention", "none")))
        return table, stores, cutouts

    def read_sources(self, path: Path, *, verify: bool = True) -> Table | None:
        """Read the table of sources; None of a product that was written before there was one.

        Parameters
        ----------
        path : Path
            Folder of the product.
        verify : bool
            Check its sum.

        Returns
        -------
        Table or None
            With types and masks as it was written.
        """
        expected = _metadata(path).get(_SOURCES)
        if expected is None:
            return None
        folder = sources_beside(path)
        if not folder.is_dir():
            raise InputError(f"{folder}, the sources of {path}, is not there")
        of_sources, of_rows = _metadata(folder), _metadata(path)
        table = checked_sources(folder, _from_arrow(_read_arrow(folder, verify=verify)))
        if of_sources.get("run") != of_rows.get("run") or len(table) != expected:
            raise InputError(f"{folder} is not of the same product as {path}")
        return table

    def open_stacks(self, path: Path, *, verify: bool = True) -> fits.Stores:
        """Open the stacks beside the data set; none where none were kept.

        Parameters
        ----------
        path : Path
            Folder of the product.
        verify : bool
            Check sums, also of the planes that are read later.

        Returns
        -------
        fits.Stores
            By "mean", 1, 2, 3 and "CUTOUTS".
        """
        maps = maps_beside(path)
        return fits.Fits().open_stacks(maps, verify=verify) if maps.exists() else {}

    def read_provenance(self, path: Path) -> dict[str, Any]:
        """Return the provenance.

        Parameters
        ----------
        path : Path
            Folder of the product.

        Returns
        -------
        dict of str to object
            Of the schema's metadata.
        """
        provenance = _metadata(path)
        provenance.pop(_SOURCES, None)
        return provenance

    def find_faults(self, path: Path) -> dict[str, str | None]:
        """Return for each file, and each HDU beside them, what is wrong with it.

        Parameters
        ----------
        path : Path
            Folder of the product.

        Returns
        -------
        dict of str to str or None
            By the names of files and HDUs; None for nothing.
        """
        self.read_provenance(path)
        faults = {file.name: _fault(file) for file in _files(path)}
        if not any(faults.values()):
            faults["files"] = _lacking(path)
        folder = sources_beside(path)
        if folder.is_dir():
            found = {file.name: _fault(file) for file in _files(folder)}
            faults |= {f"{name} of {folder.name}": fault for name, fault in found.items()}
            if not any(found.values()):
                faults[f"files of {folder.name}"] = _lacking(folder)
        maps = maps_beside(path)
        if maps.exists():
            faults |= {f"{name} of {maps.name}": fault for name, fault in fits.Fits().find_faults(maps).items()}
        return faults


def maps_beside(path: Path) -> Path:
    """Return the FITS file with the stacks of a data set.

    Parameters
    ----------
    path : Path
        Folder of the product.

    Returns
    -------
    Path
        It need not exist.
    """
    return path.with_suffix(".attention.fits")


def sources_beside(path: Path) -> Path:
    """Return the data set with the table of sources of a data set.

    Parameters
    ----------
    path : Path
        Folder of the product.

    Returns
    -------
    Path
        It need not exist.
    """
    return path.with_suffix(f".sources{path.suffix}")


def _metadata(path: Path) -> dict[str, Any]:
    """The provenance in the first file of a data set, and in that of rows the number of their sources."""
    try:
        metadata = parquet.read_schema(path / _file_name(0)).metadata or {}
        provenance = json.loads(metadata.get(_KEY, "null"))
    except (OSError, ValueError, pyarrow.ArrowException) as exc:
        raise InputError(f"{path} cannot be read as a data set of Parquet files: {exc}") from exc
    if not isinstance(provenance, dict):
        raise InputError(f"{path} has no provenance of radio-ag: not a product of radio-ag")
    return provenance


def _files(path: Path) -> list[Path]:
    """The files of a data set in the order of their rows."""
    files = [entry for entry in path.iterdir() if _FILE_NAME.fullmatch(entry.name)]
    return sorted(files, key=lambda file: int(file.stem.removeprefix("part-")))


def _read_arrow(path: Path, *, columns: list[str] | None = None, verify: bool = True) -> pyarrow.Table:
    """The rows of a data set, whose files were held against their sums."""
    for file in _files(path) if verify else ():
        if (fault := _fault(file)) not in (None, UNCHECKED):
            raise InputError(f"{file} {fault}: it is damaged (Result.read(path, verify=False) takes it as it is)")
    try:
        if verify and (lacking := _lacking(path)):
            raise InputError(f"{path} {lacking}")
        return parquet.read_table(path, columns=columns)
    except (OSError, pyarrow.ArrowException) as exc:
        raise InputError(f"{path} cannot be read as a data set of Parquet files: {exc}") from exc


def _lacking(path: Path) -> str | None:
    """What is wrong with a data set by what its first file says of all."""
    files = _files(path)
    stated = json.loads((parquet.read_metadata(files[0]).metadata or {}).get(_SET, "{}"))
    there = {"files": len(files), "rows": sum(parquet.read_metadata(file).num_rows for file in files)}
    if not stated or stated == there:
        return None
    return f"has {there['rows']} rows in {there['files']} files, of {stated['rows']} in {stated['files']}"


def _fault(path: Path) -> str | None:
    """What is wrong with a file by its sum."""
    with path.open("rb") as stream:
        start, footer = _footer(stream)
        found = _SUM_PLACE.search(footer)
        if found is None:
            return "has a footer that is damaged" if _SUM in footer or _SET in footer else UNCHECKED
        return None if _sha256(stream, start, footer) == found[1].decode() else "does not match its SHA-256"


def _footer(stream: BinaryIO) -> tuple[int, bytes]:
    """Where the footer of a file begins, and all that follows; nothing where it makes no sense."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - _TAIL, 0))
    length = int.from_bytes(stream.read(_TAIL)[:4], "little")
    start = max(size - _TAIL - length, 0)
    stream.seek(start)
    return start, stream.read()


def _sha256(stream: BinaryIO, start: int, footer: bytes) -> str:
    """SHA-256 of a file with zeros where its sum stands, in blocks."""
    digest = hashlib.sha256()
    stream.seek(0)
    for position in range(0, start, _BLOCK):
        digest.update(stream.read(min(_BLOCK, start - position)))
    digest.update(_SUM_PLACE.sub(lambda match: match[0][:-64] + _NO_SUM, footer, count=1))
    return digest.hexdigest()


def _write_sum(stream: BinaryIO) -> None:
    """Put the sum of a file where its zeros stand."""
    start, footer = _footer(stream)
    found = _SUM_PLACE.search(footer)
    if found is None:
        raise OutputError("pyarrow has left out what the footer is to say: the product is not kept")
    digest = _sha256(stream, start, footer)
    stream.seek(start + found.start(1))
    stream.write(digest.encode())


def _read_back(folder: Path, rows: ProductRows | SourceRows) -> None:
    """Open a data set before it takes its name, as its users will: one that pyarrow alone cannot read is none."""
    found = 0
    for file in _files(folder):
        metadata = parquet.read_metadata(file)
        found += metadata.num_rows
        names = metadata.schema.to_arrow_schema().names
        if len(names) != len(set(names)) or len(names) < len(rows.fields):
            raise OutputError(f"the product cannot be read back, and is not kept: it has {len(set(names))} columns")
    if found != (expected := rows.counts.rows):
        raise OutputError(f"the product cannot be read back, and is not kept: {found} of {expected} rows are there")


def _file_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _write_files(folder: Path, rows: ProductRows | SourceRows, meta: Mapping[str, Any]) -> None:
    size, cards = rows.counts.rows, rows.cards
    groups = [slice(start, min(start + _GROUP, size)) for start in range(0, max(size, 1), _GROUP)]
    count = {"files": -(-len(groups) // _FILE), "rows": size}
    schema_metadata = {_KEY: json.dumps(meta, default=str), _SET: json.dumps(count)}
    for number, start in enumerate(range(0, len(groups), _FILE)):
        with (folder / _file_name(number)).open("x+b") as stream:
            tables = (_to_arrow(rows.encoded(group), cards) for group in groups[start : start + _FILE])
            tables = (table.replace_schema_metadata(schema_metadata) for table in tables)
            first = next(tables)
            with parquet.ParquetWriter(stream, first.schema, compression="zstd") as writer:
                for table in chain([first], tables):
                    writer.write_table(table)
                writer.add_key_value_metadata({_SUM: _NO_SUM})
            _write_sum(stream)
            stream.flush()
            os.fsync(stream.fileno())


def _write_maps(path: Path, rows: ProductRows, stacks: Mapping[str, JoinedStack], attention: str, folder: Path) -> None:
    """Write the stacks beside the data set; a file of a product that was there goes."""
    kept = {name: stack.extension for name, stack in stacks.items() if len(stack)}
    if not kept:
        path.unlink(missing_ok=True)
        return
    meta = rows.template.meta
    with written_beside(path, folder) as stream:
        append_hdu(stream, primary_header(meta, rows.counts, attention))
        fits.append_stacks(stream, kept, meta.get("normalisation"))


def _to_arrow(encoded: Table, cards: Cards) -> pyarrow.Table:
    """Columns in types that FITS has, as Arrow's."""
    arrays, fields = [], []
    for name, column in encoded.columns.items():
        for part, plain in _plain_columns(name, column):
            array = to_array(plain)
            notes = {_CARDS[keyword]: text for keyword, text in cards.get(part, ()) if keyword in _CARDS}
            notes |= {"written_from": from_name} if (from_name := (plain.info.meta or {}).get("written_from")) else {}
            arrays.append(array)
            fields.append(pyarrow.field(part, array.type, metadata=notes or None))
    return pyarrow.table(arrays, schema=pyarrow.schema(fields))


def _plain_columns(name: str, column: Any) -> Iterator[tuple[str, Column]]:
    """A column, or the columns that astropy makes of a mixin."""
    if isinstance(column, Column):
        yield name, column
    else:
        yield from represent_mixins_as_columns(Table([column], names=[name])).columns.items()


def to_array(column: Column) -> pyarrow.Array:
    """Return a column of numbers or text as Arrow's, null where it is masked, NaN or empty.

    Parameters
    ----------
    column : Column
        Masked or not.

    Returns
    -------
    pyarrow.Array
        Of the same length.
    """
    data, mask = np.ma.getdata(column), np.ma.getmaskarray(column)
    if data.dtype.kind == "O":
        return pyarrow.array([None if value is None else np.asarray(value) for value in data])
    if data.dtype.kind == "S":
        escaped = (column.info.meta or {}).get("written_as") == "unicode_escape"
        data = np.strings.decode(np.asarray(data), "unicode_escape" if escaped else "ascii")
        data, mask = data.astype(object), mask | (data == "")
    if data.dtype.kind == "c":
        data = np.ascontiguousarray(data).view(data.real.dtype).reshape(*data.shape, 2)
        mask = np.repeat(mask[..., None], 2, -1)
    if data.dtype.kind == "f":
        mask = mask | np.isnan(data)
    data = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
    array = pyarrow.array(
        data.reshape(-1), mask=mask.reshape(-1), type=pyarrow.string() if data.dtype == object else None
    )
    for size in data.shape[:0:-1]:
        array = pyarrow.FixedSizeListArray.from_arrays(array, size)
    return array


def _from_arrow(arrow: pyarrow.Table) -> Table:
    """The table, masked where a value is null, with units and descriptions."""
    table = Table()
    for field, chunked in zip(arrow.schema, arrow.columns, strict=True):
        notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        column = _from_array(chunked.combine_chunks())
        table.add_column(column, name=unescape(notes.pop("written_from", field.name)), copy=False)
        column = table.columns[-1]
        column.unit, column.description = notes.pop("unit", None), notes.pop("description", None)
        column.meta.update(notes)
    return table


def _from_array(array: pyarrow.Array) -> Column:
    shape = []
    while pyarrow.types.is_fixed_size_list(array.type):
        shape.append(array.type.list_size)
        array = array.flatten()
    if pyarrow.types.is_list(array.type):
        return Column(np.array([*array.to_numpy(zero_copy_only=False), None], dtype=object)[:-1])
    missing = array.is_null().to_numpy(zero_copy_only=False)
    fill = "" if pyarrow.types.is_string(array.type) else False if pyarrow.types.is_boolean(array.type) else 0
    values = array.fill_null(fill).to_numpy(zero_copy_only=False)
    values = values.astype(str) if fill == "" else values
    values, missing = values.reshape(-1, *shape), missing.reshape(-1, *shape)
    return MaskedColumn(values, mask=missing) if missing.any() else Column(values)
