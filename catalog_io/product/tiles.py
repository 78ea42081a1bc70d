"""Tiles of a FITS compressed image: a stack of maps, a tile a map, quantised relative to the map's own range (RICE_1).

References: Pence et al. 2010, A&A 524, A42; FITS standard 4.0, section 10.1.
"""

import io
import zlib
from typing import BinaryIO, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

import radio_ag.catalog_io.files.tile_codecs  # noqa: F401 - by which astropy decodes
from radio_ag.errors import InputError

LEVELS = 1024
"""Quantisation steps over the range of a plane: no pixel moves by more than range / 2048."""

# A row of the extension's table: the tile's descriptor, of 64 bits since the heap may pass 2^31 bytes, its scale, and
# the CRC-32 of all that the plane is made of, from when it was compressed; -1 where a file does not tell it.
ROW = np.dtype([(name, np.int64) for name in ("length", "offset")]
               + [(name, np.float64) for name in ("scale", "zero")] + [("crc", np.int64)])  # fmt: skip


class Tiles(NamedTuple):
    """Compressed planes: a row of type `ROW` for each, and their tiles one after the other."""

    rows: NDArray
    heap: bytes

    def joined(self, others: "Tiles") -> "Tiles":
        """Return these planes and after them others.

        Parameters
        ----------
        others : Tiles
            Of the same shape.

        Returns
        -------
        Tiles
            New ones.
        """
        return Tiles(contiguous(np.concatenate([self.rows, others.rows])), self.heap + others.heap)

    def taken(self, order: NDArray[np.integer]) -> "Tiles":
        """Return the planes of these numbers, in this order.

        Parameters
        ----------
        order : ndarray of integer
            Numbers from 0.

        Returns
        -------
        Tiles
            New ones.
        """
        rows = self.rows[order]
        places = zip(rows["offset"].tolist(), rows["length"].tolist(), strict=True)
        return Tiles(contiguous(rows), b"".join(self.heap[start : start + size] for start, size in places))


_BLANK = np.iinfo(np.int32).min
_MOST_LEVELS = 2**24  # as many as a float32 tells apart
_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")


def pack(planes: NDArray[np.float32], step: NDArray[np.float64] | None = None) -> Tiles:
    """Return planes (n, ny, nx) quantised, by ``step`` (n,) as in `quantise`, and compressed.

    Parameters
    ----------
    planes : ndarray, shape (n, ny, nx), float32
        In any unit.
    step : ndarray, shape (n,), optional
        As in `quantise`.

    Returns
    -------
    Tiles
        Of n planes.
    """
    rows = np.zeros(len(planes), dtype=ROW)
    if not len(planes):
        return Tiles(rows, b"")
    integers, rows["scale"], rows["zero"] = quantise(planes, step)
    rows["length"], heap = compress(integers)
    rows = contiguous(rows)
    rows["crc"] = tile_sums(rows, heap)
    return Tiles(rows, heap)


def tile_sums(rows: NDArray, heap: bytes) -> NDArray[np.int64]:
    """Return the CRC-32 (n,) of each tile, its scale and its zero; the tiles lie in ``heap`` one after the other.

    Parameters
    ----------
    rows : structured ndarray, shape (n,)
        Of `Tiles`.
    heap : bytes
        Of `Tiles`.

    Returns
    -------
    ndarray of int64, shape (n,)
        From 0 to 2**32 - 1.
    """
    scales = np.stack([rows["scale"], rows["zero"]], 1).astype(">f8")
    tiles, stops = memoryview(heap), np.cumsum(rows["length"]).tolist()
    starts = [0, *stops[:-1]]
    sums = (zlib.crc32(scale, zlib.crc32(tiles[a:b])) for scale, a, b in zip(scales, starts, stops, strict=True))
    return np.fromiter(sums, dtype=np.int64, count=len(rows))


def quantise(
    planes: NDArray[np.float32], step: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int32], NDArray, NDArray]:
    """Return integers from 0 up (n, ny, nx), and the scale (n,) and zero (n,) that turn them back.

    The scale is ``step`` (n,) where that is above 0, else the plane's range over `LEVELS`.

    Parameters
    ----------
    planes : ndarray, shape (n, ny, nx), float32
        In any unit.
    step : ndarray, shape (n,), optional
        In the unit of the planes; None: 0 for each.

    Returns
    -------
    integers, scale, zero
        A pixel is ``integer * scale + zero``.
    """
    integers = np.empty(planes.shape, dtype=np.int32)
    scale, zero = np.empty(len(planes)), np.empty(len(planes))
    for k, plane in enumerate(planes):  # quicker than all at once: a plane stays in the processor's cache
        scale[k], zero[k] = _quantise_plane(plane, integers[k], 0.0 if step is None else float(step[k]))
    return integers, scale, zero


def _quantise_plane(plane: NDArray[np.float32], integers: NDArray[np.int32], step: float) -> tuple[float, float]:
    """Fill ``integers`` and return scale and zero."""
    low, high = float(plane.min()), float(plane.max())
    finite = None
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = np.isfinite(plane)
        values = plane[finite]
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        plane = np.where(finite, plane, np.float32(low))
    scale = max(step, (high - low) / _MOST_LEVELS) if step > 0 else (high - low) / LEVELS or 1.0
    steps = np.subtract(plane, low, dtype=np.float64)
    steps /= scale
    integers[...] = np.rint(steps, out=steps)
    if finite is not None:
        integers[~finite] = _BLANK
    return scale, low


def compress(integers: NDArray[np.int32]) -> tuple[NDArray[np.int64], bytes]:
    """Return the length (n,) of each plane's RICE_1 tile in bytes, and the tiles one after the other.

    Parameters
    ----------
    integers : ndarray of int32, shape (n, ny, nx)
        Of `quantise`.

    Returns
    -------
    lengths, heap
        The sum of the lengths is that of the heap.
    """
    buffer = io.BytesIO()
    image = fits.CompImageHDU(integers, compression_type="RICE_1", tile_shape=(1, *integers.shape[1:]))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(buffer)
    buffer.seek(0)
    with fits.open(buffer, disable_image_compression=True) as hdus:
        header = hdus[1].header
        start = hdus[1].fileinfo()["datLoc"]
        columns = hdus[1].columns.dtype
        rows = read_rows(buffer, start, header["NAXIS2"], columns)
        heap_start = start + header["NAXIS1"] * header["NAXIS2"]
        heap = buffer.getvalue()[heap_start : heap_start + header["PCOUNT"]]
    if np.any(rows["offset"] != contiguous(rows)["offset"]):
        heap = b"".join(heap[o : o + n] for o, n in zip(rows["offset"], rows["length"], strict=True))
    return rows["length"].astype(np.int64), heap


def inflate(rows: NDArray, heap: bytes, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return planes (n, ny, nx) from their rows and tiles, through a FITS file in memory.

    Parameters
    ----------
    rows : structured ndarray, shape (n,)
        Of `Tiles`.
    heap : bytes
        Of `Tiles`.
    shape : (int, int)
        Of a plane, (ny, nx).

    Returns
    -------
    ndarray, shape (n, ny, nx), float32
        In the unit of what was packed.
    """
    rows = contiguous(rows)
    header = rows_header(rows, shape)
    data = encode_rows(rows) + heap
    padding = bytes(-len(data) % 2880)
    with fits.open(io.BytesIO(_EMPTY_PRIMARY + header.tostring().encode("ascii") + data + padding)) as hdus:
        return hdus[1].data


def rows_header(rows: NDArray, shape: tuple[int, int]) -> fits.Header:
    """Return the header of the extension that the rows are the table of, without EXTNAME.

    Parameters
    ----------
    rows : structured ndarray, shape (n,)
        Of `Tiles`.
    shape : (int, int)
        Of a plane, (ny, nx).

    Returns
    -------
    fits.Header
        Of a compressed image.
    """
    return tile_header(len(rows), int(rows["length"].sum()), int(rows["length"].max(initial=0)), shape)


def tile_header(count: int, heap_size: int, longest: int, shape: tuple[int, int]) -> fits.Header:
    """Return the header, without EXTNAME, of ``count`` planes, by the bytes of all tiles and of the longest.

    Parameters
    ----------
    count : int
        Of planes.
    heap_size : int
        Bytes of all tiles.
    longest : int
        Bytes of the longest tile.
    shape : (int, int)
        Of a plane, (ny, nx).

    Returns
    -------
    fits.Header
        Of a compressed image.
    """
    return fits.Header(
        [
            ("XTENSION", "BINTABLE", "binary table extension"),
            ("BITPIX", 8),
            ("NAXIS", 2),
            ("NAXIS1", ROW.itemsize, "bytes in a row"),
            ("NAXIS2", count, "number of planes"),
            ("PCOUNT", heap_size, "bytes of compressed tiles"),
            ("GCOUNT", 1),
            ("TFIELDS", 4),
            ("TTYPE1", "COMPRESSED_DATA"),
            ("TFORM1", f"1QB({longest})", "64-bit descriptor"),
            ("TTYPE2", "ZSCALE", "quantisation step"),
            ("TFORM2", "1D"),
            ("TTYPE3", "ZZERO", "minimum of the plane"),
            ("TFORM3", "1D"),
            ("TTYPE4", "CRC32", "of tile, ZSCALE and ZZERO"),
            ("TFORM4", "1K"),
            ("ZIMAGE", True, "a compressed image"),
            ("ZTENSION", "IMAGE"),
            ("ZBITPIX", -32, "float32"),
            ("ZNAXIS", 3),
            ("ZNAXIS1", shape[1]),
            ("ZNAXIS2", shape[0]),
            ("ZNAXIS3", count),
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


def check_tiles(header: fits.Header, where: str) -> None:
    """Raise `InputError` unless the header is of the kind that `tile_header` makes.

    Parameters
    ----------
    header : fits.Header
        Of a compressed image, as it was read.
    where : str
        What the message calls it.
    """
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
            found = header.get(keyword)
            raise InputError(f"{where} is no stack of attention maps: {keyword} is {found!r}, not {value!r}")


def read_rows(file: BinaryIO, start: int, count: int, columns: np.dtype) -> NDArray:
    """Return the rows of a tile table in our own layout, whatever the width of its descriptors.

    Parameters
    ----------
    file : binary file
        Open for reading.
    start : int
        Bytes from its start to the table.
    count : int
        Of rows.
    columns : np.dtype
        Of the table in the file.

    Returns
    -------
    structured ndarray, shape (count,)
        As `Tiles` has them.
    """
    file.seek(start)
    table = np.frombuffer(file.read(count * columns.itemsize), dtype=columns.newbyteorder(">"))
    rows = np.empty(count, dtype=ROW)
    rows["length"], rows["offset"] = table["COMPRESSED_DATA"].T
    names = columns.names or ()
    rows["scale"], rows["zero"] = (table[n] if n in names else np.nan for n in ("ZSCALE", "ZZERO"))
    rows["crc"] = table["CRC32"] if "CRC32" in names else -1
    return rows


def encode_rows(rows: NDArray) -> bytes:
    """Return the rows as the table's bytes.

    Parameters
    ----------
    rows : structured ndarray, shape (n,)
        Of `Tiles`.

    Returns
    -------
    bytes
        Big-endian.
    """
    return rows.astype(ROW.newbyteorder(">")).tobytes()


def contiguous(rows: NDArray, start: int = 0) -> NDArray:
    """Return the rows with their tiles one after the other, the first at ``start``.

    Parameters
    ----------
    rows : structured ndarray, shape (n,)
        Of `Tiles`.
    start : int
        Bytes from the start of the heap.

    Returns
    -------
    ndarray
        A copy.
    """
    rows = rows.copy()
    ends = np.cumsum(rows["length"], dtype=np.int64)
    rows["offset"] = start + ends - rows["length"]
    return rows
