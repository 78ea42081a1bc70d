"""FITS files that may be damaged or packed, opened so that neither astropy nor memory comes to an end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from astropy.io import fits

import radio_ag.catalog_io.files.tile_codecs  # noqa: F401 - whatever opens FITS may meet compressed tiles

MAX_COUNT = 999
"""Axes of an image, or columns of a table, that a FITS file has at most (FITS standard 4.0, 4.4.1.1 and 7.2.1)."""
MAX_RATIO = 64
"""A packed file may take so many times its size, ..."""
ALWAYS_ALLOWED = 1 << 28
"""... or so many bytes, whichever is more."""

_BLOCK = 2880  # bytes
_CARD = 80
_MAX_BLOCKS = 1000  # a header that does not end is none
_MAX_SIZE = 1 << 60  # bytes: no file holds as much
_INTEGER = re.compile(rb"(NAXIS\d*|TFIELDS|BITPIX|PCOUNT|GCOUNT) *= *([+-]?\d+)")
_STEP = 1 << 20  # bytes unpacked at once
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_OTHER_PACKINGS = {b"\x1f\x9d": "compress", b"PK\x03\x04": "zip"}


def unpacked_limit(path: Path) -> int:
    """Return how many bytes a packed file may take when it is unpacked."""
    return max(MAX_RATIO * path.stat().st_size, ALWAYS_ALLOWED)


class _Bounded(io.BufferedIOBase):
    """What a packed file gives: at most `MAX_RATIO` times its size or `ALWAYS_ALLOWED`; an OSError if it is damaged."""

    def __init__(self, path: Path):
        self._most = unpacked_limit(path)
        super().__init__(path, "rb")

    def read(self, size: int | None = -1) -> bytes:
        """Return the next ``size`` bytes, or all; memory is taken as they come, whatever is asked for."""
        content = bytearray()
        left = math.inf if size is None or size < 0 else size
        while left > 0 and (block := self._guarded(super().read, int(min(_STEP, left)))):
            content += block
            left -= len(block)
        return bytes(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, unpacking what lies before it, at most to the end."""
        if whence == io.SEEK_END:  # which would unpack all before it could be too much
            while self._guarded(super().read, _STEP):
                pass
        return self._guarded(super().seek, min(offset, self._most + 1), whence)

    def finish(self) -> None:
        """Read to the end, where a packed file has the sum of what is in it."""
        self.seek(0, io.SEEK_END)

    def _guarded(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            result = function(*args)
        except _DAMAGE as exc:
            raise OSError(f"the packed file is damaged: {exc}") from exc
        if super().seek(0, io.SEEK_CUR) > self._most:
            raise OSError(too_much(self._most))
        return result


def too_much(most: int) -> str:
    """Return what to say of a packed file that takes more than its `unpacked_limit`."""
    return (
        f"it takes more than {most >> 20} MiB unpacked: at most {MAX_RATIO} times the size of the file, or "
        f"{ALWAYS_ALLOWED >> 20} MiB, are taken; unpack it on the disk"
    )


class _Gzip(_Bounded, gzip.GzipFile):
    """astropy tells packed files by their classes, and does not ask these for their size, which takes unpacking."""


class _Bzip2(_Bounded, bz2.BZ2File):
    pass


class _Xz(_Bounded, lzma.LZMAFile):
    pass


_PACKINGS: dict[bytes, type[_Bounded]] = {b"\x1f\x8b": _Gzip, b"BZh": _Bzip2, b"\xfd7zXZ\x00": _Xz}


def open_packed(path: Path) -> _Bounded:
    """Open a packed file, to be unpacked as it is read.

    Parameters
    ----------
    path : path
        Of a file for which `is_packed` is true.

    Returns
    -------
    binary file
        Seekable. It gives at most `MAX_RATIO` times the file's size or `ALWAYS_ALLOWED`, whichever is more, and then
        raises an `OSError`, as where the file turns out to be damaged; ``finish()`` reads on to its end, where a packed
        file has the sum of what is in it.
    """
    with open(path, "rb") as file:
        start = file.read(6)
    return next(_PACKINGS[magic] for magic in _PACKINGS if start.startswith(magic))(path)


def is_packed(path: Path) -> bool:
    """Return whether a file is packed by gzip, bzip2 or xz.

    Raises
    ------
    OSError
        If it cannot be opened, or is packed in another way.
    """
    with open(path, "rb") as file:
        start = file.read(6)
    for magic, name in _OTHER_PACKINGS.items():
        if start.startswith(magic):
            raise OSError(f"it is packed by {name}: unpack it first; gzip, bzip2 and xz are read as they are")
    return start.startswith(tuple(_PACKINGS))


def in_order(hdus: fits.HDUList) -> Iterator[Any]:
    """Yield the HDUs one after another, read as they are asked for.

    The next one begins where the data of the last one end. Where a damaged header makes their size negative, astropy
    would go back, and round for ever.

    Raises
    ------
    OSError
        There is such a header.
    """
    for number, hdu in enumerate(hdus):
        if hdu.size < 0:
            raise OSError(f"the header of HDU {number} is damaged")
        yield hdu


def open_checked(source: Path | BinaryIO, **options: Any) -> fits.HDUList:
    """Open a FITS file that may be damaged or packed: `astropy.io.fits.open` after `check_counts`.

    Parameters
    ----------
    source : path or binary file
        A packed file by its path is unpacked by `open_packed`.
    **options
        Of `astropy.io.fits.open`.

    Raises
    ------
    OSError
        As `open_packed`, `check_counts` or astropy raise it.
    """
    if not isinstance(source, Path):
        check_counts(source, packed=not isinstance(source, io.BytesIO | io.BufferedReader))
        return fits.open(source, **options)
    if not is_packed(source):
        with open(source, "rb") as plain:
            check_counts(plain)
        return fits.open(source, **options)  # by its name, since astropy maps what it opens itself
    packed = open_packed(source)
    try:
        check_counts(packed, packed=True)
        return fits.open(packed, **options)
    except BaseException:
        packed.close()
        raise


def one_line(error: Exception) -> str:
    """Return an error's message in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__} {words}".strip() if isinstance(error, LookupError) or not words else words


def check_counts(file: BinaryIO, *, packed: bool = False) -> None:
    """Refuse a number of axes or columns that no FITS file has: astropy would count so far, and run out of memory.

    Headers are read one after another, up to one that makes no sense: astropy says what is wrong with it.

    Parameters
    ----------
    file : binary file
        Afterwards it is at its beginning.
    packed : bool
        Whether reading on takes unpacking: then nothing behind the first data is looked at.

    Raises
    ------
    OSError
        There is such a number.
    """
    place = 0
    while (header := _integers_at(file, place)) is not None:
        integers, place = header
        for name in ("NAXIS", "TFIELDS"):
            if integers.get(name, 0) > MAX_COUNT:
                raise OSError(f"{name} is {integers[name]}; a FITS file has at most {MAX_COUNT}")
        axes = [integers.get(f"NAXIS{axis + 1}", 0) for axis in range(integers.get("NAXIS", 0))]
        elements = integers.get("PCOUNT", 0) + (math.prod(axes) if axes else 0)
        size = abs(integers.get("BITPIX", 0)) // 8 * integers.get("GCOUNT", 1) * elements
        if not 0 <= size < _MAX_SIZE or (size and packed):
            break
        place += -(-size // _BLOCK) * _BLOCK
    file.seek(0)


def _integers_at(file: BinaryIO, place: int) -> tuple[dict[str, int], int] | None:
    """What a header says of its data's size, and where these begin; None where there is no header."""
    file.seek(place)
    integers: dict[str, int] = {}
    for number in range(_MAX_BLOCKS):
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or (not number and not block.startswith((b"SIMPLE  =", b"XTENSION="))):
            return None
        for start in range(0, _BLOCK, _CARD):
            card = block[start : start + _CARD]
            if card.rstrip() == b"END":
                return integers, place + (number + 1) * _BLOCK
            if found := _INTEGER.match(card):
                integers.setdefault(found[1].decode(), int(found[2]))
    return None
