"""Tiles of compressed images, decoded so that no stream of bytes ends the process or writes where it should not.

astropy hands the stream of a tile to C code of CFITSIO that believes what the stream says of its own size, reads on
until it has all pixels, and keeps its place in variables that threads share. A damaged stream ends the process then,
or changes what lies beside it in memory. The codecs here check first what C believes, put bytes behind the stream at
which C comes to a stop, and let one thread decode at a time where that is needed; a bounded number of bytes comes out.

Importing this module puts them in the place of astropy's, in the whole process: pixels of good streams are the same,
what is wrong with others raises `ValueError`, or the error of the C code.

References: FITS standard 4.0, section 10.4; White 1992, in Space and Earth Science Data Compression Workshop, NASA.
"""

from __future__ import annotations

import inspect
import struct
import threading
import zlib
from typing import Any

import astropy
import numpy as np
from astropy.io.fits.hdu.compressed import _codecs, _tiled_compression
from numpy.typing import NDArray

MAX_RATIO = 64
"""A tile may take so many times its packed size, ..."""
MAX_SMALL = 1 << 26
"""... or so many bytes, whichever is more."""

_MAX_PIXELS = 1 << 27  # of a tile: C counts its bytes, up to eight a pixel, in 32 bits
_RICE_BLOCKS = range(1, 1025)  # pixels; 16 and 32 are in use
_RICE_BYTES = (1, 2, 4)
_HCOMPRESS_HEAD = struct.Struct(">2s3iq3B")  # magic, sides, scale, sum, bit planes of the quadrants
_HCOMPRESS_MAGIC = b"\xdd\x99"
_HCOMPRESS_PLANES = 64
_PLIO_HEAD = 7  # words
_PLIO_SET_HIGH = 1  # the instruction that reads the word after it, too


class Gzip1(_codecs.Gzip1):
    """GZIP_1, up to a bound."""

    def decode(self, buf: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the bytes of a tile.

        Parameters
        ----------
        buf : ndarray
            Stream of a tile.

        Returns
        -------
        ndarray of uint8
        """
        return np.frombuffer(_inflate(buf.tobytes()), np.uint8)


class Gzip2(_codecs.Gzip2):
    """GZIP_2, up to a bound."""

    def decode(self, buf: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the bytes of a tile, those of a pixel together again.

        Parameters
        ----------
        buf : ndarray
            Stream of a tile.

        Returns
        -------
        ndarray of uint8
        """
        shuffled = np.frombuffer(_inflate(buf.tobytes()), np.uint8)
        return shuffled.reshape((self.itemsize, -1)).T.ravel()


class Rice1(_codecs.Rice1):
    """RICE_1, whose C code looks only now and then whether its input has ended, and skips zeros without looking."""

    def decode(self, buf: NDArray[Any]) -> NDArray[np.signedinteger]:
        """Return the pixels of a tile.

        Parameters
        ----------
        buf : ndarray
            Stream of a tile.

        Returns
        -------
        ndarray of int8, int16 or int32
        """
        if self.blocksize not in _RICE_BLOCKS or self.bytepix not in _RICE_BYTES:
            raise ValueError(f"RICE_1 with blocks of {self.blocksize!r} pixels of {self.bytepix!r} bytes")
        _check_pixels(self.tilesize)
        # A pixel takes some four bytes at most, and the zeros before it end at the first byte behind.
        padded = _padded(buf, 8 * self.blocksize + 16, 0xFF)
        pixels = _codecs.decompress_rice_1_c(padded[: buf.nbytes], self.blocksize, self.bytepix, self.tilesize)
        return np.frombuffer(pixels, f"i{self.bytepix}")


class PLIO1(_codecs.PLIO1):
    """PLIO_1, which begins and ends where the first words of the stream say."""

    def decode(self, buf: NDArray[Any]) -> NDArray[np.int32]:
        """Return the pixels of a tile.

        Parameters
        ----------
        buf : ndarray
            Stream of a tile.

        Returns
        -------
        ndarray of int32
        """
        _check_pixels(self.tilesize)
        words = np.frombuffer(_native(buf).tobytes(), np.int16)
        if len(words) < _PLIO_HEAD:
            raise ValueError("PLIO_1: the stream ends in its head")
        old, head, low, high = (int(words[place]) for place in (2, 1, 3, 4))
        first, stop = (3, old) if old > 0 else (head, (high << 15) + low)
        if not 3 <= first <= stop <= len(words):
            raise ValueError(f"PLIO_1: instructions {first} to {stop} of a stream of {len(words)}")
        if words[stop - 1] >> 12 == _PLIO_SET_HIGH:
            raise ValueError("PLIO_1: the stream ends within an instruction")
        return super().decode(words)


class HCompress1(_codecs.HCompress1):
    """HCOMPRESS_1, whose C code takes the image's size from the stream, and reads on without an end.

    Behind the stream comes a pattern that is no code of a bit plane at any offset: C finishes the plane that it is in,
    for which there is room, and says that the next is bad.
    """

    _one_at_a_time = threading.Lock()  # C keeps its place in static variables, and astropy lets other threads run

    def decode(self, buf: NDArray[Any]) -> NDArray[np.int32]:
        """Return the pixels of a tile.

        Parameters
        ----------
        buf : ndarray
            Stream of a tile.

        Returns
        -------
        ndarray of int32
        """
        n_pixels = self.nx * self.ny
        _check_pixels(n_pixels)
        if buf.nbytes < _HCOMPRESS_HEAD.size:
            raise ValueError("HCOMPRESS_1: the stream ends in its head")
        padded = _padded(buf, n_pixels // 4 + 64, 0x55)  # a plane takes 3/16 of a byte a pixel, signs take 1/8
        head = padded[: _HCOMPRESS_HEAD.size].tobytes()
        magic, *sides, _, _, planes1, planes2, planes3 = _HCOMPRESS_HEAD.unpack(head)
        if magic != _HCOMPRESS_MAGIC or sides != [self.nx, self.ny]:
            raise ValueError(f"HCOMPRESS_1: a stream of {sides} pixels in a tile of {[self.nx, self.ny]}")
        if max(planes1, planes2, planes3) > _HCOMPRESS_PLANES:
            raise ValueError(f"HCOMPRESS_1: {max(planes1, planes2, planes3)} bit planes")
        with self._one_at_a_time:
            return super().decode(padded)


class Quantize(_tiled_compression.Quantize):
    """Scaling of floating-point pixels, whose C code looks up random numbers wherever it is told."""

    def decode_quantized(self, buf: NDArray[Any], scale: float, zero: float) -> Any:
        """Return floating-point pixels of integers.

        Parameters
        ----------
        buf : ndarray
            Integers of a tile.
        scale, zero : float
            Its ZSCALE and ZZERO.

        Returns
        -------
        array-like
        """
        dithered = self.dither_method != _tiled_compression.DITHER_METHODS["NO_DITHER"]
        if dithered and not (self.row > 0 and np.asarray(buf).dtype.itemsize <= 4):
            raise ValueError(f"dithering of {np.asarray(buf).dtype} pixels by the seed {self.row}: ZDITHER0 is from 1")
        return super().decode_quantized(buf, scale, zero)


def _read_stream(table: Any, size: int, offset: int, dtype: np.dtype, heap_cache: NDArray[Any] | None = None) -> Any:
    """Return the stream that a row of the table points to; numpy would follow it to before the file's first byte."""
    first, length = (table._theap, table._data_size) if heap_cache is None else (0, len(heap_cache))
    start, n_bytes = first + int(offset), int(size) * dtype.itemsize
    if not 0 <= start <= start + n_bytes <= length:
        raise ValueError(f"a tile lies in bytes {start} to {start + n_bytes} of {length}")
    if heap_cache is None:
        return table._get_raw_data(size, dtype, table._data_offset + start)
    return heap_cache[start : start + n_bytes].view(dtype)


def _native(buf: NDArray[Any]) -> NDArray[Any]:
    """Return a stream with its words in the byte order that C takes them in."""
    return buf if buf.dtype.isnative else buf.astype(buf.dtype.newbyteorder("="))


def _padded(buf: NDArray[Any], behind: int, byte: int) -> NDArray[np.uint8]:
    """Return a copy of a stream with so many bytes of one value behind it."""
    padded = np.empty(buf.nbytes + behind, np.uint8)
    padded[: buf.nbytes] = _native(buf).view(np.uint8)
    padded[buf.nbytes :] = byte
    return padded


def _check_pixels(n_pixels: int) -> None:
    if not 0 < n_pixels <= _MAX_PIXELS:
        raise ValueError(f"a tile of {n_pixels} pixels; {_MAX_PIXELS} are decoded at most")


def _inflate(stream: bytes) -> bytes:
    """Unpack a gzip stream of one member, with its sum checked, up to the bound."""
    most = max(MAX_RATIO * len(stream), MAX_SMALL)
    member = zlib.decompressobj(wbits=31)  # of gzip
    unpacked = member.decompress(stream, most + 1)
    if len(unpacked) > most:
        raise ValueError(f"a tile unpacks to more than {most} bytes")
    if not member.eof:
        raise ValueError("the compressed stream of a tile ends too early")
    return unpacked


_CODECS = {
    "GZIP_1": Gzip1,
    "GZIP_2": Gzip2,
    "RICE_1": Rice1,
    "RICE_ONE": Rice1,
    "PLIO_1": PLIO1,
    "HCOMPRESS_1": HCompress1,
}


def _check_replaceable() -> None:
    """Check that astropy decodes by what is replaced here: one that does it otherwise is not to pass unnoticed."""
    reads = set(_tiled_compression.decompress_image_data_section.__code__.co_names)
    unknown = set(_tiled_compression.ALGORITHMS) ^ {*_CODECS, "NOCOMPRESS"}
    if unknown or not {"_decompress_tile", "_get_data_from_heap", "Quantize"} <= reads:
        raise AttributeError(f"codecs {', '.join(sorted(unknown)) or 'are called elsewhere'}")
    if "ALGORITHMS" not in _tiled_compression._decompress_tile.__code__.co_names:
        raise AttributeError("ALGORITHMS is not used")
    for own, theirs in (
        (_read_stream, _tiled_compression._get_data_from_heap),
        (Quantize.decode_quantized, _tiled_compression.Quantize.decode_quantized),
    ):
        if len(inspect.signature(own).parameters) != len(inspect.signature(theirs).parameters):
            raise AttributeError(f"{theirs.__name__} takes other arguments")


def replace_codecs() -> None:
    """Put the codecs in the place of astropy's.

    Raises
    ------
    ImportError
        astropy decodes otherwise than those that were tried: nothing is decoded unprotected.
    """
    try:
        _check_replaceable()
    except AttributeError as error:
        raise ImportError(
            f"astropy {astropy.__version__} decodes compressed images otherwise than radio-ag can protect ({error}): "
            "install one that was tried, 7.2 to 8.0"
        ) from error
    _tiled_compression._get_data_from_heap = _read_stream
    _tiled_compression.ALGORITHMS.update(_CODECS)
    _tiled_compression.Quantize = Quantize


replace_codecs()
