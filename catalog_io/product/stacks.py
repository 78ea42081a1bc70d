"""Attention maps on disk: one compressed tile a plane, so that memory does not grow with the catalogue.

A plane is quantised relative to its own range and compressed (RICE_1) as soon as it comes, into a temporary file. Only
an index of 32 bytes a plane stays in memory. The same tiles, copied and never inflated, become a FITS compressed-image
extension, and can be read back from one, plane by plane.
"""

import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from radio_ag.catalog_io.product.tiles import (
    ROW,
    Tiles,
    check_tiles,
    contiguous,
    encode_rows,
    inflate,
    pack,
    read_rows,
    rows_header,
)
from radio_ag.errors import InputError, OutputError

_CHUNK = 256  # planes compressed or inflated at once
_BLOCK = 4 << 20  # bytes copied at once


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

    def __init__(self, shape: tuple[int, int] = (150, 150), *, directory: str | os.PathLike | None = None) -> None:
        self.shape = tuple(shape)
        try:
            self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - open as long as the store lives
        except OSError as exc:
            raise OutputError(f"no temporary file for attention maps can be made: {exc}") from exc
        self._writable = True
        self._heap_start = 0
        self._heap_size = 0
        self._chunks: list[NDArray] = []
        weakref.finalize(self, self._file.close)

    @classmethod
    def open(cls, path: str | os.PathLike, hdu: str | int = "ATTENTION") -> "AttentionStore":
        """The planes of a compressed-image extension, each read from its place in the file when it is asked for.

        Parameters
        ----------
        path : path
            A FITS file written from a store.
        hdu : str or int
            The extension's name or index.

        Raises
        ------
        InputError
            If there is no such extension, or its tiles are of another kind.
        """
        try:
            with fits.open(path, disable_image_compression=True) as hdus:
                header = hdus[hdu].header
                data_start = hdus[hdu].fileinfo()["datLoc"]
                columns = hdus[hdu].columns.dtype if header.get("ZIMAGE") else None
        except KeyError as exc:
            raise InputError(f"{path} has no extension {hdu!r}") from exc
        check_tiles(header, f"extension {hdu!r} of {path}")
        store = cls.__new__(cls)
        store.shape = (header["ZNAXIS2"], header["ZNAXIS1"])
        store._file = Path(path).open("rb")  # noqa: SIM115 - open as long as the store lives
        store._writable = False
        store._heap_start = data_start + header.get("THEAP", header["NAXIS1"] * header["NAXIS2"])
        store._heap_size = header["PCOUNT"]
        store._chunks = [read_rows(store._file, data_start, header["NAXIS2"], columns)]
        weakref.finalize(store, store._file.close)
        return store

    def __len__(self) -> int:
        return sum(len(chunk) for chunk in self._chunks)

    def __enter__(self) -> "AttentionStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a temporary one is gone then."""
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
            self.append_tiles(pack(planes[part], None if step is None else step[part]))
        return np.arange(first, len(self))

    def append_tiles(self, tiles: Tiles) -> None:
        """Add planes of the store's shape that are compressed already."""
        self._add(tiles.rows, [tiles.heap])

    def reorder(self, order: NDArray[np.int64]) -> None:
        """Give the planes new numbers: ``order`` (n,) are the present ones, all of them. No tile moves."""
        if not np.array_equal(np.sort(order), np.arange(len(self))):
            raise InputError(f"order must name each of the {len(self)} planes once")
        self._chunks = [self._rows[order]]

    def extend(self, other: "AttentionStore", planes: ArrayLike | None = None) -> None:
        """Add the planes of another store (None: all of them) by copying their tiles as they are."""
        if other.shape != self.shape:
            raise InputError(f"planes of shape {other.shape} cannot join planes of shape {self.shape}")
        rows = other._select(planes)
        self._add(rows, other._heap(rows))

    def plane(self, index: int) -> NDArray[np.float32]:
        """One plane (ny, nx); no other is read."""
        return self.planes([index])[0]

    def planes(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Several planes (n, ny, nx) at once, in the order asked for.

        Raises
        ------
        IndexError
            If an index is negative or not below the number of planes.
        InputError
            If the file is damaged.
        """
        rows = self._select(indices)
        result = np.empty((len(rows), *self.shape), dtype=np.float32)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            heap = b"".join(self._heap(part))
            try:
                result[start : start + _CHUNK] = inflate(part, heap, self.shape)
            except Exception as exc:  # astropy raises nearly anything for bytes that make no sense
                raise InputError(f"the attention maps are damaged: {type(exc).__name__} {exc}") from exc
        return result

    def extension(self, planes: ArrayLike | None = None) -> tuple[fits.Header, Iterator[bytes]]:
        """The planes as a FITS compressed-image extension.

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

    def _add(self, rows: NDArray, heap: Sequence[bytes] | Iterator[bytes]) -> None:
        if not self._writable:
            raise InputError("planes of a finished product cannot be added to: copy them to a new store with extend()")
        rows = contiguous(rows, self._heap_size)
        try:
            self._file.seek(self._heap_size)
            for block in heap:
                self._file.write(block)
            self._file.flush()
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
                raise InputError("the attention maps are damaged: a tile lies outside the data")
            for position in range(start, stop, _BLOCK):
                yield self._read(position, min(_BLOCK, stop - position))

    def _read(self, position: int, size: int) -> bytes:
        self._file.seek(self._heap_start + position)
        block = self._file.read(size)
        if len(block) != size:
            raise InputError("the attention maps are damaged: the file ends too early")
        return block
