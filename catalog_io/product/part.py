"""One part of a run: the answers for a chunk of sources, as a small FITS file.

====================  =================================================================================================
primary               ``RUN`` and ``PART``: which run, and which of its chunks; ``BATCH``: images that the network took
``PART``              binary table, a row for each source of the chunk, in the chunk's order: its number in the run
                      (``source``), then the columns of the product; planes are counted within the part
``ATTENTION``, ...    compressed images, as in the product
====================  =================================================================================================
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radio_ag.catalog_io.files.fits_append import append_encoded
from radio_ag.catalog_io.product.plain_header import BLOCK, Value, encode_header, read_header
from radio_ag.catalog_io.product.tiles import TILE_COLUMNS, Tiles, encode_rows, read_rows, rows_header

PLANE_COLUMNS = {"attention_plane": "ATTENTION", "cutout_plane": "CUTOUTS"}
"""Columns that count planes, and with what the names of the stacks begin that they are planes of."""


_FORMS = {"i4": "J", "i8": "K", "f4": "E", "f8": "D"}
_SUMS = ("CHECKSUM", ""), ("DATASUM", "")


@dataclass(frozen=True, eq=False)
class Part:
    """The answers for n sources.

    Attributes
    ----------
    sources : ndarray of int64, shape (n,)
        Number of each source in the run.
    columns : dict of ndarray, shape (n,)
        What the product says of each source: numbers, and text as bytes. `PLANE_COLUMNS` count planes of this part,
        -1 for none.
    stacks : dict of Tiles
        Compressed planes by the name of their extension.
    batch : int
        Images that the network took at once.
    """

    sources: NDArray[np.int64]
    columns: Mapping[str, NDArray]
    stacks: Mapping[str, Tiles]
    batch: int

    def __len__(self) -> int:
        return len(self.sources)


class StackPlace(NamedTuple):
    """Where the tiles of a stack lie in a part's file."""

    start: int
    rows: NDArray


def plane_column(stack: str) -> str:
    """The column that counts the planes of a stack."""
    return next(column for column, name in PLANE_COLUMNS.items() if stack.startswith(name))


def gate_of(stack: str) -> str | int:
    """The gate of a stack of attention maps: "mean", 1, 2, 3."""
    return "mean" if stack == "ATTENTION" else int(stack.removeprefix("ATTENTION_"))


def encode_part(part: Part, shape: tuple[int, int], run: str, number: int) -> bytes:
    """The part as a file of planes of one shape (ny, nx)."""
    stream = io.BytesIO()
    primary = {"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True, "RUN": run, "PART": number, "BATCH": part.batch}
    append_encoded(stream, encode_header([*primary.items(), *_SUMS]))
    columns = {"source": part.sources} | dict(part.columns)
    table = np.empty(len(part), dtype=[(name, values.dtype.newbyteorder(">")) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    append_encoded(stream, encode_header([*_table_cards(table), *_SUMS]), [table.tobytes()])
    for name, (rows, heap) in part.stacks.items():
        cards = ((card.keyword, card.value) for card in rows_header(rows, shape).cards)
        append_encoded(stream, encode_header([*cards, ("EXTNAME", name), *_SUMS]), [encode_rows(rows), heap])
    return stream.getvalue()


def read_columns(stream: BinaryIO) -> tuple[dict[str, Value], dict[str, NDArray], dict[str, StackPlace]]:
    """The primary header of a part's file, its columns with ``source`` first, and its stacks; no tile is read."""
    primary, header = read_header(stream), read_header(stream)
    count = header["NAXIS2"]
    table = np.frombuffer(stream.read(count * header["NAXIS1"]), dtype=_record(header))
    columns = {name: table[name].astype(table.dtype[name].newbyteorder("=")) for name in table.dtype.names}
    stream.seek(-stream.tell() % BLOCK, os.SEEK_CUR)
    stacks = {}
    while (header := read_header(stream)) is not None:
        start = stream.tell()
        rows = read_rows(stream, start, header["NAXIS2"], TILE_COLUMNS)
        stacks[header["EXTNAME"]] = StackPlace(stream.tell(), rows)
        end = stream.tell() + header["PCOUNT"]
        stream.seek(end + -end % BLOCK)
    return primary, columns, stacks


def decode_part(content: bytes) -> Part:
    """The part in a file's content."""
    header, columns, places = read_columns(io.BytesIO(content))
    stacks = {
        name: Tiles(place.rows, content[place.start : place.start + int(place.rows["length"].sum())])
        for name, place in places.items()
    }
    return Part(columns.pop("source"), columns, stacks, header["BATCH"])


def _table_cards(table: NDArray) -> list[tuple[str, Value]]:
    """Header of the table's extension."""
    cards = [
        ("XTENSION", "BINTABLE"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", table.dtype.itemsize),
        ("NAXIS2", len(table)),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", len(table.dtype.names)),
        ("EXTNAME", "PART"),
    ]
    for number, name in enumerate(table.dtype.names, start=1):
        dtype = table.dtype[name]
        form = f"{dtype.itemsize}A" if dtype.kind == "S" else _FORMS[dtype.str[1:]]
        cards += [(f"TTYPE{number}", name), (f"TFORM{number}", form)]
    return cards


def _record(header: Mapping[str, Value]) -> np.dtype:
    """Type of the table's rows."""
    types = {form: f">{dtype}" for dtype, form in _FORMS.items()}
    fields = []
    for number in range(1, header["TFIELDS"] + 1):
        form = header[f"TFORM{number}"]
        fields.append((header[f"TTYPE{number}"], types.get(form) or f"S{form.removesuffix('A')}"))
    return np.dtype(fields)
