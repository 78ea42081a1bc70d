"""Attention maps on disk: one compressed tile a plane, so that memory does not grow with the catalogue.

A plane is quantised relative to its own range and compressed (RICE_1) as soon as it comes, into a temporary file. Only an
index of 32 bytes a plane stays in memory. The same tiles, copied and never inflated, become a FITS compressed-image
extension (Pence et al. 2010, A&A 524, A42; FITS standard 4.0, section 10), and can be read back from one, plane by plane.
"""

import io
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from radio_ag.errors import InputError, OutputError

LEVELS = 1024
"""Quantisation steps over the range of a plane: no pixel moves by more than range / 2048."""

_BLANK = np.iinfo(np.int32).min
# A row of the extension's table: the descriptor of the tile (64-bit, so that the heap may pass 2^31 bytes) and its scale.
_ROW = np.dtype([("length", np.int64), ("offset", np.int64), ("scale", np.float64), ("zero", np.float64)])
_FITS_ROW = _ROW.newbyteorder(">")
_CHUNK = 256  # planes compressed or inflated at once
_BLOCK = 4 << 20  # bytes copied at once


class AttentionStore:
    """Planes of one shape, compressed in a temporary file that vanishes with the store.

    Parameters
    ----------
    shape : (int, int)
        Shape (ny, nx) of each plane in pixels.
    directory : path, optional
        Where the temporary file lies; None means the system's folder for temporary files. A plane of 150×150 pixels
        takes about 20 kB.

    Notes
    -----
    Quantisation: value = scale × integer + zero with scale = (max − min) / 1024 for each plane, so the error is at most
    1/2048 of the plane's range (and the rounding of float32); minimum and maximum are exact, as is a constant plane.
    Pixels that are not finite come back as NaN.
    """

    def __init__(self, shape: tuple[int, int] = (150, 150), *, directory: str | os.PathLike | None = None) -> None:
        self.shape = tuple(shape)
        try:
            self._file = tempfile.TemporaryFile(dir=directory)
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
        _check_tiles(header, f"extension {hdu!r} of {path}")
        store = cls.__new__(cls)
        store.shape = (header["ZNAXIS2"], header["ZNAXIS1"])
        store._file = Path(path).open("rb")
        store._writable = False
        store._heap_start = data_start + header.get("THEAP", header["NAXIS1"] * header["NAXIS2"])
        store._heap_size = header["PCOUNT"]
        store._chunks = [_read_rows(store._file, data_start, header["NAXIS2"], columns)]
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

    def append(self, planes: ArrayLike) -> NDArray[np.int64]:
        """Compress planes and add them at the end.

        Parameters
        ----------
        planes : array (n, ny, nx)
            Any real type; kept as float32.

        Returns
        -------
        array (n,) of int64
            The index of each new plane.
        """
        planes = np.asarray(planes, dtype=np.float32)
        if planes.ndim != 3 or planes.shape[1:] != self.shape:
            raise InputError(f"planes must have the shape (n, {self.shape[0]}, {self.shape[1]}), not {planes.shape}")
        first = len(self)
        for start in range(0, len(planes), _CHUNK):
            integers, scale, zero = _quantise(planes[start : start + _CHUNK])
            lengths, heap = _compress(integers)
            self._add(lengths, scale, zero, [heap])
        return np.arange(first, len(self))

    def extend(self, other: "AttentionStore", planes: ArrayLike | None = None) -> None:
        """Add the planes of another store (None: all of them) by copying their tiles as they are."""
        if other.shape != self.shape:
            raise InputError(f"planes of shape {other.shape} cannot join planes of shape {self.shape}")
        rows = other._select(planes)
        self._add(rows["length"], rows["scale"], rows["zero"], other._heap(rows))

    def plane(self, index: int) -> NDArray[np.float32]:
        """One plane (ny, nx); no other is read."""
        return self.planes([index])[0]

    def planes(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Several planes (n, ny, nx) at once, in the order asked for.

        Raises
        ------
        IndexError
            If an index is negative or not below the number of planes.
        """
        rows = self._select(indices)
        result = np.empty((len(rows), *self.shape), dtype=np.float32)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            result[start : start + _CHUNK] = _inflate(part, b"".join(self._heap(part)), self.shape)
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
        rows = _contiguous(source := self._select(planes))
        header = _tile_header(rows, self.shape)

        def blocks() -> Iterator[bytes]:
            yield rows.astype(_FITS_ROW).tobytes()
            yield from self._heap(source)

        return header, blocks()

    @property
    def _rows(self) -> NDArray:
        if len(self._chunks) != 1:
            self._chunks = [np.concatenate(self._chunks) if self._chunks else np.empty(0, dtype=_ROW)]
        return self._chunks[0]

    def _select(self, planes: ArrayLike | None) -> NDArray:
        if planes is None:
            return self._rows
        indices = np.asarray(planes, dtype=np.int64).reshape(-1)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"planes go from 0 to {len(self) - 1}, asked for {indices.min()} to {indices.max()}")
        return self._rows[indices]

    def _add(self, lengths: NDArray, scale: NDArray, zero: NDArray, heap: Sequence[bytes] | Iterator[bytes]) -> None:
        if not self._writable:
            raise InputError("planes of a finished product cannot be added to: copy them to a new store with extend()")
        rows = np.empty(len(lengths), dtype=_ROW)
        rows["length"], rows["scale"], rows["zero"] = lengths, scale, zero
        rows = _contiguous(rows, self._heap_size)
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


def _quantise(planes: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray, NDArray]:
    """Integers 0…LEVELS (n, ny, nx), and the scale (n,) and zero (n,) that turn them back."""
    low = planes.min(axis=(1, 2)).astype(np.float64)
    high = planes.max(axis=(1, 2)).astype(np.float64)
    finite = None
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        finite = np.isfinite(planes)
        low = np.where(finite, planes, np.inf).min(axis=(1, 2)).astype(np.float64)
        high = np.where(finite, planes, -np.inf).max(axis=(1, 2)).astype(np.float64)
        empty = ~finite.any(axis=(1, 2))
        low[empty] = high[empty] = 0.0
        planes = np.where(finite, planes, low[:, None, None].astype(np.float32))
    scale = (high - low) / LEVELS
    scale[scale == 0] = 1.0
    integers = np.rint((planes - low[:, None, None]) / scale[:, None, None]).astype(np.int32)
    if finite is not None:
        integers[~finite] = _BLANK
    return integers, scale, low


def _compress(integers: NDArray[np.int32]) -> tuple[NDArray[np.int64], bytes]:
    """Length (n,) of each plane's RICE_1 tile in bytes, and the tiles one after the other."""
    buffer = io.BytesIO()
    image = fits.CompImageHDU(integers, compression_type="RICE_1", tile_shape=(1, *integers.shape[1:]))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(buffer)
    buffer.seek(0)
    with fits.open(buffer, disable_image_compression=True) as hdus:
        header = hdus[1].header
        start = hdus[1].fileinfo()["datLoc"]
        columns = hdus[1].columns.dtype
        rows = _read_rows(buffer, start, header["NAXIS2"], columns)
        heap_start = start + header["NAXIS1"] * header["NAXIS2"]
        heap = buffer.getvalue()[heap_start : heap_start + header["PCOUNT"]]
    if np.any(rows["offset"] != _contiguous(rows)["offset"]):
        heap = b"".join(heap[o : o + n] for o, n in zip(rows["offset"], rows["length"], strict=True))
    return rows["length"].astype(np.int64), heap


def _inflate(rows: NDArray, heap: bytes, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Planes (n, ny, nx) from their rows and tiles, through a FITS file in memory."""
    rows = _contiguous(rows)
    header = _tile_header(rows, shape)
    data = rows.astype(_FITS_ROW).tobytes() + heap
    padding = bytes(-len(data) % 2880)
    with fits.open(io.BytesIO(_EMPTY_PRIMARY + header.tostring().encode("ascii") + data + padding)) as hdus:
        return hdus[1].data


def _tile_header(rows: NDArray, shape: tuple[int, int]) -> fits.Header:
    heap_size = int(rows["length"].sum())
    longest = int(rows["length"].max(initial=0))
    return fits.Header(
        [
            ("XTENSION", "BINTABLE", "binary table extension"),
            ("BITPIX", 8),
            ("NAXIS", 2),
            ("NAXIS1", _ROW.itemsize, "bytes in a row"),
            ("NAXIS2", len(rows), "number of planes"),
            ("PCOUNT", heap_size, "bytes of compressed tiles"),
            ("GCOUNT", 1),
            ("TFIELDS", 3),
            ("TTYPE1", "COMPRESSED_DATA"),
            ("TFORM1", f"1QB({longest})", "64-bit descriptor"),
            ("TTYPE2", "ZSCALE", "quantisation step"),
            ("TFORM2", "1D"),
            ("TTYPE3", "ZZERO", "minimum of the plane"),
            ("TFORM3", "1D"),
            ("ZIMAGE", True, "a compressed image"),
            ("ZTENSION", "IMAGE"),
            ("ZBITPIX", -32, "float32"),
            ("ZNAXIS", 3),
            ("ZNAXIS1", shape[1]),
            ("ZNAXIS2", shape[0]),
            ("ZNAXIS3", len(rows)),
            ("ZPCOUNT", 0),
            ("ZGCOUNT", 1),
            ("ZTILE1", shape[1]),
            ("ZTILE2", shape[0]),
            ("ZTILE3", 1, "a tile a plane"),
            ("ZCMPTYPE", "RICE_1"),
            ("ZNAME1", "BLOCKSIZE"),
            ("ZVAL1", 32),
            ("ZNAME2", "BYTEPIX"),
            ("ZVAL2", 4),
            ("ZQUANTIZ", "NO_DITHER"),
            ("ZBLANK", _BLANK, "integer that stands for NaN"),
        ]
    )


def _check_tiles(header: fits.Header, where: str) -> None:
    expected = {
        "ZIMAGE": True,
        "ZCMPTYPE": "RICE_1",
        "ZBITPIX": -32,
        "ZNAXIS": 3,
        "ZTILE1": header.get("ZNAXIS1"),
        "ZTILE2": header.get("ZNAXIS2"),
        "ZTILE3": 1,
        "ZQUANTIZ": "NO_DITHER",
        "ZVAL1": 32,
        "ZVAL2": 4,
    }
    for keyword, value in expected.items():
        if header.get(keyword) != value:
            raise InputError(f"{where} is no stack of attention maps: {keyword} is {header.get(keyword)!r}, not {value!r}")


def _read_rows(file: io.BufferedIOBase, start: int, count: int, columns: np.dtype) -> NDArray:
    """Rows of a tile table in our own layout, whatever the width of its descriptors."""
    file.seek(start)
    table = np.frombuffer(file.read(count * columns.itemsize), dtype=columns.newbyteorder(">"))
    rows = np.empty(count, dtype=_ROW)
    rows["length"], rows["offset"] = table["COMPRESSED_DATA"].T
    rows["scale"], rows["zero"] = (table[n] if n in columns.names else np.nan for n in ("ZSCALE", "ZZERO"))
    return rows


def _contiguous(rows: NDArray, start: int = 0) -> NDArray:
    """The rows with their tiles one after the other, the first at ``start``."""
    rows = rows.copy()
    ends = np.cumsum(rows["length"], dtype=np.int64)
    rows["offset"] = start + ends - rows["length"]
    return rows


_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")
