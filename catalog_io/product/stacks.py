"""Attention maps on disk: one compressed tile a plane, so that memory does not grow with the catalogue.

A plane is quantised relative to its own range and compressed (RICE_1) as soon as it comes, into a temporary file. Only
an index of 40 bytes a plane stays in memory. The same tiles, copied and never inflated, become a FITS compressed-image
extension, and can be read back from one, plane by plane. Each plane that is asked for is held against the sum that was
taken when it was compressed.
"""

import os
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from radio_ag.catalog_io.files.fits_checksum import find_fault, place_of, refuse_fault
from radio_ag.catalog_io.files.row_file import read_at
from radio_ag.catalog_io.product.tiles import (
    ROW,
    check_tiles,
    contiguous,
    encode_rows,
    inflate,
    pack,
    read_rows,
    rows_header,
    tile_sums,
)
from radio_ag.errors import InputError, OutputError

_CHUNK = 256  # planes compressed or inflated at once
_BLOCK = 4 << 20  # bytes copied at once
_opening = threading.Lock()


class AttentionStore:
    """Planes of one shape, compressed in a temporary file that vanishes with the store.

    Parameters
    ----------
    shape : (int, int)
        Shape (ny, nx) of each plane in pixels.
    directory : path, optional
        Where the temporary file lies; None means the system's folder for temporary files. A plane of 150 x 150
        pixels takes about 20 kB.

    Notes
    -----
    Quantisation: value = scale * integer + zero with scale = (max - min) / 1024 for each plane, so the error is at most
    1/2048 of the plane's range (and the rounding of float32); minimum and maximum are exact, as is a constant plane.
    Pixels that are not finite come back as NaN.
    """

    def __init__(self, shape: tuple[int, int] = (150, 150), *, directory: Path | None = None) -> None:
        self.shape = (shape[0], shape[1])
        self._origin: _Origin | None = None
        try:
            self._file: BinaryIO | None = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - open as long as the store lives
        except OSError as exc:
            raise OutputError(f"no temporary file for attention maps can be made: {exc}") from exc
        self._heap_start = 0
        self._heap_size = 0
        self._chunks: list[NDArray] = []
        weakref.finalize(self, self._file.close)

    @classmethod
    def open(cls, path: str | os.PathLike, hdu: str | int = "ATTENTION", *, verify: bool = True) -> "AttentionStore":
        """Open the planes of a compressed-image extension, each to be read when it is asked for.

        Parameters
        ----------
        path : path
            A FITS file written from a store.
        hdu : str or int
            The extension's name or index.
        verify : bool
            Hold the header, and each plane that is read, against its sum; those that have none are taken as they are.

        Returns
        -------
        AttentionStore
            Whose file stays open as long as it is there.

        Raises
        ------
        InputError
            If there is no such extension, it is damaged, or its tiles are of another kind.
        """
        path = Path(os.path.abspath(path))
        try:
            with fits.open(path, disable_image_compression=True) as hdus:
                header = hdus[hdu].header
                place = place_of(hdus[hdu])
                columns = hdus[hdu].columns.dtype if header.get("ZIMAGE") else np.dtype([])
        except KeyError as exc:
            raise InputError(f"{path} has no extension {hdu!r}") from exc
        except Exception as exc:  # astropy raises nearly anything for a file that makes no sense
            raise InputError(f"extension {hdu} of {path} cannot be read: {type(exc).__name__} {exc}") from exc
        check_tiles(header, f"extension {hdu!r} of {path}")
        store = cls.__new__(cls)
        store.shape = (header["ZNAXIS2"], header["ZNAXIS1"])
        store._heap_start = place.data + header.get("THEAP", header["NAXIS1"] * header["NAXIS2"])
        store._heap_size = header["PCOUNT"]
        file = path.open("rb")
        store._keep(file)
        content = read_at(file, place.header, place.data - place.header)
        refuse_fault(find_fault(content) if verify else None, f"extension {hdu} of {path}")
        store._origin = _Origin(path, str(hdu), place.header, len(content), zlib.crc32(content), verify)
        store._chunks = [read_rows(file, place.data, header["NAXIS2"], columns)]
        return store

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: of planes in a product where they are, of others the planes."""
        state = {"shape": self.shape, "rows": self._rows, "heap_size": self._heap_size, "heap_start": self._heap_start}
        return state | (
            {"heap": b"".join(self._heap(self._rows))} if self._origin is None else {"origin": self._origin}
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.shape, self._chunks = state["shape"], [state["rows"]]
        self._origin, self._file = state.get("origin"), None
        self._heap_start, self._heap_size = state["heap_start"], state["heap_size"]
        if self._origin is None:
            self._heap_start, self._heap_size = 0, 0
            self._keep(tempfile.TemporaryFile())  # noqa: SIM115 - open as long as the store lives
            self._chunks = []
            self._add(contiguous(state["rows"]), [state["heap"]])

    def __copy__(self) -> "AttentionStore":
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict) -> "AttentionStore":
        """A store of its own; planes of a product stay in the product, even if that has lost its name."""
        copied = type(self).__new__(type(self))
        copied.__setstate__(self.__getstate__())
        if self._origin is not None:
            copied._keep(os.fdopen(os.dup(self._stream().fileno()), "rb"))
        return copied

    def _keep(self, file: BinaryIO) -> None:
        """Read from this file as long as the store lives."""
        self._file = file
        weakref.finalize(self, file.close)

    def _stream(self) -> BinaryIO:
        """The file; in another process than the one that opened it, it is opened when it is first asked for."""
        with _opening:
            if self._file is None and self._origin is not None:
                self._keep(self._origin.open())
            if self._file is None:
                raise ValueError("the store is closed")
            return self._file

    def __len__(self) -> int:
        return sum(len(chunk) for chunk in self._chunks)

    def __enter__(self) -> "AttentionStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a temporary one is gone then."""
        if self._file is not None:
            self._file.close()

    @property
    def nbytes(self) -> int:
        """Compressed size of all planes in bytes."""
        return int(self._rows["length"].sum())

    def append(self, planes: ArrayLike, step: ArrayLike | None = None) -> NDArray[np.int64]:
        """Compress planes and add them at the end.

        Parameters
        ----------
        planes : array (n, ny, nx)
            Any real type; kept as float32.
        step : array (n,), optional
            Quantisation step of each plane, in the unit of its values; None, NaN and 0 mean range / 1024. A step that
            follows the noise suits images whose peak is far above it.

        Returns
        -------
        array (n,) of int64
            The index of each new plane.
        """
        planes = np.asarray(planes, dtype=np.float32)
        if planes.ndim != 3 or planes.shape[1:] != self.shape:
            raise InputError(f"planes must have the shape (n, {self.shape[0]}, {self.shape[1]}), not {planes.shape}")
        first = len(self)
        step = None if step is None else np.asarray(step, dtype=np.float64)
        for start in range(0, len(planes), _CHUNK):
            part = slice(start, start + _CHUNK)
            tiles = pack(planes[part], None if step is None else step[part])
            self.append_tiles(tiles.rows, [tiles.heap])
        return np.arange(first, len(self))

    def append_tiles(self, rows: NDArray, heap: Iterable[bytes]) -> None:
        """Add planes of the store's shape that are compressed already: their rows, and blocks of their tiles.

        Parameters
        ----------
        rows : ndarray
            As `Tiles` has them.
        heap : iterable of bytes
            Their tiles, one after the other, in blocks of any length.
        """
        rows = rows.copy()
        rows["offset"] += self._heap_size
        self._add(rows, heap)

    def extend(self, other: "AttentionStore", planes: ArrayLike | None = None) -> None:
        """Add the planes of another store (None: all of them) by copying their tiles as they are.

        Parameters
        ----------
        other : AttentionStore
            Of the same shape.
        planes : array_like of int, optional
            Numbers of its planes, in the order in which they are added.
        """
        if other.shape != self.shape:
            raise InputError(f"planes of shape {other.shape} cannot join planes of shape {self.shape}")
        rows = other._select(planes)
        self._add(contiguous(rows, self._heap_size), other._heap(rows))

    def plane(self, index: int) -> NDArray[np.float32]:
        """Return one plane (ny, nx); no other is read.

        Parameters
        ----------
        index : int
            From 0.

        Returns
        -------
        ndarray, shape (ny, nx), float32
            In the unit of what was appended.
        """
        return self.planes([index])[0]

    def planes(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Return several planes (n, ny, nx) at once, in the order asked for.

        Parameters
        ----------
        indices : array_like of int, shape (n,)
            From 0.

        Returns
        -------
        ndarray, shape (n, ny, nx), float32
            In the unit of what was appended.

        Raises
        ------
        IndexError
            If an index is negative or not below the number of planes.
        InputError
            If the file is damaged.
        """
        rows, numbers = self._select(indices), np.asarray(indices).reshape(-1)
        result = np.empty((len(rows), *self.shape), dtype=np.float32)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            heap = b"".join(self._heap(part))
            self._check(part, heap, numbers[start : start + _CHUNK])
            try:
                result[start : start + _CHUNK] = inflate(part, heap, self.shape)
            except Exception as exc:  # astropy raises nearly anything for bytes that make no sense
                raise InputError(f"{self.name} is damaged: {type(exc).__name__} {exc}") from exc
        return result

    def find_damaged(self) -> NDArray[np.int64]:
        """Return the numbers of the planes that do not match their sums; none are inflated.

        Returns
        -------
        ndarray of int64
            In order; empty where all is well, or there are no sums.
        """
        found = []
        for start in range(0, len(self), _CHUNK):
            rows = self._rows[start : start + _CHUNK]
            found += [start + place for place in _mismatches(rows, b"".join(self._heap(rows)))]
        return np.array(found, dtype=np.int64)

    @property
    def name(self) -> str:
        """What messages call it: extension and file, of a product."""
        return "the stack of planes" if self._origin is None else self._origin.name

    def _check(self, rows: NDArray, heap: bytes, indices: NDArray[np.int64]) -> None:
        if self._origin is not None and not self._origin.verify:
            return
        wrong = _mismatches(rows, heap)
        if wrong:
            raise InputError(f"{self.name} is damaged: plane {indices[wrong[0]]} does not match its CRC32")

    def extension(self, planes: ArrayLike | None = None) -> tuple[fits.Header, Iterator[bytes]]:
        """Return the planes as a FITS compressed-image extension.

        Parameters
        ----------
        planes : array (n,) of int, optional
            Which planes, in which order; None means all. Tiles are copied, never inflated.

        Returns
        -------
        header : `~astropy.io.fits.Header`
            Header of the binary table, without EXTNAME.
        blocks : iterator of bytes
            The data unit, without padding, in blocks of a few MB.
        """
        rows = contiguous(source := self._select(planes))
        header = rows_header(rows, self.shape)

        def blocks() -> Iterator[bytes]:
            yield encode_rows(rows)
            yield from self._heap(source)

        return header, blocks()

    @property
    def _rows(self) -> NDArray:
        if len(self._chunks) != 1:
            self._chunks = [np.concatenate(self._chunks) if self._chunks else np.empty(0, dtype=ROW)]
        return self._chunks[0]

    def _select(self, planes: ArrayLike | None) -> NDArray:
        if planes is None:
            return self._rows
        indices = np.asarray(planes, dtype=np.int64).reshape(-1)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"planes go from 0 to {len(self) - 1}, asked for {indices.min()} to {indices.max()}")
        return self._rows[indices]

    def _add(self, rows: NDArray, heap: Iterable[bytes]) -> None:
        """Add planes whose rows say where in this file their tiles will be."""
        if self._origin is not None:
            raise InputError("planes of a finished product cannot be added to: copy them to a new store with extend()")
        try:
            file = self._stream()
            file.seek(self._heap_size)
            for block in heap:
                file.write(block)
            file.flush()
        except OSError as exc:
            raise OutputError(f"attention maps cannot be kept in the temporary file: {exc.strerror}") from exc
        self._heap_size += int(rows["length"].sum())
        self._chunks.append(rows)

    def _heap(self, rows: NDArray) -> Iterator[bytes]:
        """The tiles of ``rows``, one after the other; tiles that are neighbours in the file are read together."""
        if not len(rows):
            return
        ends = rows["offset"] + rows["length"]
        breaks = np.flatnonzero(rows["offset"][1:] != ends[:-1]) + 1
        starts = rows["offset"][np.r_[0, breaks]].tolist()
        stops = ends[np.r_[breaks - 1, len(rows) - 1]].tolist()
        for start, stop in zip(starts, stops, strict=True):
            if start < 0 or stop > self._heap_size:
                raise InputError(f"{self.name} is damaged: a tile lies outside the data")
            for position in range(start, stop, _BLOCK):
                yield self._read(position, min(_BLOCK, stop - position))

    def _read(self, position: int, size: int) -> bytes:
        block = read_at(self._stream(), self._heap_start + position, size)
        if len(block) != size:
            raise InputError(f"{self.name} is damaged: the file ends too early")
        return block


@dataclass(frozen=True)
class _Origin:
    """Where the planes of a product are, and how to tell that they still are there."""

    path: Path
    hdu: str
    header: int
    size: int
    crc: int
    verify: bool

    @property
    def name(self) -> str:
        return f"extension {self.hdu} of {self.path}"

    def open(self) -> BinaryIO:
        try:
            file = self.path.open("rb")
        except OSError as exc:
            raise InputError(f"{self.name} cannot be read: {exc.strerror}") from exc
        if zlib.crc32(read_at(file, self.header, self.size)) != self.crc:
            file.close()
            raise InputError(f"{self.name} has changed since it was opened")
        return file


def _mismatches(rows: NDArray, heap: bytes) -> list[int]:
    """Which of some planes do not match their sums, where they have them; their tiles one after the other."""
    return np.flatnonzero((rows["crc"] >= 0) & (rows["crc"] != tile_sums(rows, heap))).tolist()
