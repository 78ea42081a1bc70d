"""The product as a data set of Parquet files, for catalogues of many millions of rows.

A folder ``NAME.parquet`` of files ``part-00000.parquet``, …, in the order of the rows, with the columns of the FITS
product. A field's metadata have ``unit``, ``description``, ``ucd`` and ``utype``; the schema's have the provenance as
JSON, under ``radio-ag``. What is missing is null. pandas, polars, pyarrow and DuckDB read the folder as one table.
Attention maps and cutouts, which Parquet has no use for, lie beside it in ``NAME.attention.fits``, stacks as in the
FITS product: ``attention_plane`` and ``cutout_plane`` name their planes.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from astropy.table import Column, MaskedColumn, Table
from astropy.table.serialize import represent_mixins_as_columns
from pyarrow import parquet

from radio_ag.catalog_io.files.fits_append import append_hdu
from radio_ag.catalog_io.files.fits_table import Cards
from radio_ag.catalog_io.product import fits as product
from radio_ag.catalog_io.product.columns import COLUMNS, dress_columns
from radio_ag.catalog_io.product.headers import primary_header
from radio_ag.catalog_io.product.merge import MergedParts
from radio_ag.catalog_io.product.rows import ProductRows
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.errors import InputError, OutputError
from radio_ag.writing import written_beside

_KEY = b"radio-ag"
_FILE_NAME = re.compile(r"part-\d{5,}\.parquet")
_GROUP = 1 << 16  # rows written at once
_FILE = 8  # groups in a file
_CARDS = {"TUNIT": "unit", "TCOMM": "description", "TUCD": "ucd", "TUTYP": "utype"}


def maps_beside(path: Path) -> Path:
    """The FITS file with the stacks of a data set."""
    return path.with_suffix(".attention.fits")


def check_output(path: str | os.PathLike, overwrite: bool = False, catalogue: Table | None = None) -> Path:
    """Whether a data set can be written, before a long run; as `radio_ag.catalog_io.product.fits.check_output`.

    Raises
    ------
    OutputError
        Also if the folder has files that are not of a data set.
    """
    path = product.check_output(path, overwrite, catalogue, folder=True)
    if path.exists():
        foreign = [entry.name for entry in path.iterdir() if not _FILE_NAME.fullmatch(entry.name)]
        if foreign:
            raise OutputError(f"{path} holds what is not of a data set ({foreign[0]}): choose another name")
    return path


def write_merged(
    path: Path, rows: ProductRows, merged: MergedParts, meta: Mapping[str, Any], *, attention: str, folder: Path
) -> None:
    """Write the product of a run from its parts as a data set, in pieces; nothing is left behind if that fails.

    Parameters
    ----------
    path : path
        The data set; one that is there is replaced.
    rows : ProductRows
        Its table.
    merged : MergedParts
        The parts, with the stacks to write.
    meta : dict
        Provenance, as a result's.
    attention : {"mean", "gates", "none"}
        What the stacks are.
    folder : path
        Where the data set lies until it is complete; of the same file system.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    part = folder / f".radio-ag-{secrets.token_hex(8)}.part"
    try:
        part.mkdir()
        _write_files(part, rows, meta)
        _write_maps(maps_beside(path), rows.template, merged, meta, attention, folder)
        _replace_folder(part, path, folder)
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_product(path: Path) -> tuple[Table, dict[str | int, AttentionStore], AttentionStore | None]:
    """The table of a data set with the provenance as its ``meta``, its attention maps, and its cutouts if it has any.

    Raises
    ------
    InputError
        If it is no product of radio-ag.
    """
    meta = read_provenance(path)
    table = _from_arrow(parquet.read_table(path))
    lacking = [spec.name for spec in COLUMNS if spec.name not in table.colnames]
    if lacking:
        raise InputError(f"{path} lacks the columns {lacking}: not a product of radio-ag")
    dress_columns(table)
    table.meta.update(meta)
    stores = open_stacks(path)
    cutouts = stores.pop("CUTOUTS", None)
    return table, stores, cutouts


def read_provenance(path: Path) -> dict[str, Any]:
    """Provenance of a data set.

    Raises
    ------
    InputError
        If it is no product of radio-ag.
    """
    try:
        metadata = parquet.read_schema(path / _file_name(0)).metadata or {}
    except (OSError, pyarrow.ArrowException) as exc:
        raise InputError(f"{path} cannot be read as a data set of Parquet files: {exc}") from exc
    if _KEY not in metadata:
        raise InputError(f"{path} has no provenance of radio-ag: not a product of radio-ag")
    return json.loads(metadata[_KEY])


def columns_reader(path: Path, names: Sequence[str]) -> Callable[[], dict[str, Column]]:
    """What reads columns of a data set, as `radio_ag.catalog_io.product.columns.result_table` takes them."""

    def read() -> dict[str, Column]:
        table = _from_arrow(parquet.read_table(path, columns=list(names)))
        return {name: table[name] for name in names}

    return read


def open_stacks(path: Path) -> dict[str | int, AttentionStore]:
    """Stacks of a data set by "mean", 1, 2, 3 and "CUTOUTS"; none where none were kept."""
    maps = maps_beside(path)
    return product.open_stacks(maps) if maps.exists() else {}


def _file_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _write_files(folder: Path, rows: ProductRows, meta: Mapping[str, Any]) -> None:
    groups = [slice(start, min(start + _GROUP, len(rows))) for start in range(0, max(len(rows), 1), _GROUP)]
    cards = rows.cards
    schema_metadata = {_KEY: json.dumps(dict(meta), default=str)}
    for number, start in enumerate(range(0, len(groups), _FILE)):
        with (folder / _file_name(number)).open("xb") as stream:
            writer = None
            for group in groups[start : start + _FILE]:
                table = _to_arrow(rows.encoded(group), cards).replace_schema_metadata(schema_metadata)
                writer = writer or parquet.ParquetWriter(stream, table.schema, compression="zstd")
                writer.write_table(table)
            writer.close()
            stream.flush()
            os.fsync(stream.fileno())


def _write_maps(
    path: Path, template: Table, merged: MergedParts, meta: Mapping[str, Any], attention: str, folder: Path
) -> None:
    """Write the stacks beside the data set; a file of a product that was there goes."""
    if not any(len(stack) for stack in merged.stacks.values()):
        path.unlink(missing_ok=True)
        return
    template.meta.update(meta)
    with written_beside(path, folder) as stream:
        append_hdu(stream, primary_header(template, attention))
        product.append_stacks(stream, merged, meta.get("normalisation"))


def _replace_folder(new: Path, path: Path, folder: Path) -> None:
    """Give a folder its name; one that has it goes."""
    if path.exists():
        old = folder / f".radio-ag-{secrets.token_hex(8)}.part"
        os.replace(path, old)
    os.replace(new, path)


def _to_arrow(encoded: Table, cards: Cards) -> pyarrow.Table:
    """Columns in types that FITS has, as Arrow's."""
    arrays, fields = [], []
    for name, column in encoded.columns.items():
        for part, plain in _plain_columns(name, column):
            array = _to_array(plain)
            notes = {_CARDS[keyword]: text for keyword, text in cards.get(part, ()) if keyword in _CARDS}
            arrays.append(array)
            fields.append(pyarrow.field(part, array.type, metadata=notes or None))
    return pyarrow.table(arrays, schema=pyarrow.schema(fields))


def _plain_columns(name: str, column: Any) -> Iterator[tuple[str, Column]]:
    """A column, or the columns that astropy makes of a mixin."""
    if isinstance(column, Column):
        yield name, column
    else:
        yield from represent_mixins_as_columns(Table([column], names=[name])).columns.items()


def _to_array(column: Column) -> pyarrow.Array:
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
        table[field.name] = _from_array(chunked.combine_chunks())
        notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        column = table[field.name]
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
