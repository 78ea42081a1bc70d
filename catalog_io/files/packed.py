"""Files that may be packed: unpacked as they are read, or into memory, as far as their size allows."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

MAX_RATIO = 64
"""Times its own size that a file may take when it is read. FITS tables of true catalogues take up to some 20."""

ALWAYS_ALLOWED = 256 << 20
"""Bytes that any file may take, however small it is."""

_STEP = 1 << 20  # bytes unpacked at once
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_OTHER_PACKINGS = {b"\x1f\x9d": "compress", b"PK\x03\x04": "zip"}
_T = TypeVar("_T")


def size_limit(packed: int) -> int:
    """Return how many bytes a file of ``packed`` bytes may take when it is read.

    Parameters
    ----------
    packed : int
        Its size, bytes.

    Returns
    -------
    int
        Bytes.
    """
    return max(MAX_RATIO * packed, ALWAYS_ALLOWED)


def refuse_above_limit(needed: int, packed: int) -> None:
    """Refuse what would take more memory than a file of its size may.

    Parameters
    ----------
    needed, packed : int
        What it takes when it is read, and the size of the file, bytes.

    Raises
    ------
    OSError
        Above `size_limit`.
    """
    if needed > size_limit(packed):
        raise OSError(
            f"it takes more than {size_limit(packed) >> 20} MiB, from a file of {_readable(packed)}: at most "
            f"{MAX_RATIO} times the size of the file, or {ALWAYS_ALLOWED >> 20} MiB, are taken"
        )


class PackedFile(io.BufferedIOBase):
    """A packed file that is unpacked as it is read; what it takes is bounded, and an `OSError` says what is wrong.

    Parameters
    ----------
    path : path
        Of a packed file: see `open_packed`.
    """

    def __init__(self, path: Path):
        self._packed_size = path.stat().st_size
        super().__init__(path, "rb")  # type: ignore[call-arg]  # of the class beside this one

    def read(self, size: int | None = -1) -> bytes:
        """Return the next ``size`` bytes, or all; memory is taken as they come, whatever is asked for.

        Parameters
        ----------
        size : int, optional
            Bytes; None and what is negative mean all.

        Returns
        -------
        bytes
            Fewer at the end of the file.
        """
        content = bytearray()
        left = math.inf if size is None or size < 0 else size
        while left > 0 and (block := self._guarded(super().read, int(min(_STEP, left)))):
            content += block
            left -= len(block)
        return bytes(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, unpacking what lies before it, at most to the end.

        Parameters
        ----------
        offset : int
            Bytes from where ``whence`` says.
        whence : int
            As of `io.IOBase.seek`.

        Returns
        -------
        int
            The place, bytes from the beginning.
        """
        if whence == io.SEEK_END:  # step by step, or it would be too much before that is seen
            while self._guarded(super().read, _STEP):
                pass
        return self._guarded(super().seek, min(offset, size_limit(self._packed_size) + 1), whence)

    def finish(self) -> None:
        """Read to the end, where a packed file has the sum of what is in it."""
        self.seek(0, io.SEEK_END)

    def _guarded(self, function: Callable[..., _T], *args: Any) -> _T:
        try:
            result = function(*args)
        except _DAMAGE as exc:
            raise OSError(f"the packed file is damaged: {exc}") from exc
        refuse_above_limit(super().seek(0, io.SEEK_CUR), self._packed_size)
        return result


class _Gzip(PackedFile, gzip.GzipFile):
    """By its class astropy knows that it is packed, and does not ask for its size, which takes unpacking all of it."""


class _Bzip2(PackedFile, bz2.BZ2File):
    pass


class _Xz(PackedFile, lzma.LZMAFile):
    pass


_PACKINGS: dict[bytes, type[PackedFile]] = {b"\x1f\x8b": _Gzip, b"BZh": _Bzip2, b"\xfd7zXZ\x00": _Xz}


def open_packed(path: Path) -> PackedFile | None:
    """Open a file that is packed by gzip, bzip2 or xz, to be unpacked as it is read.

    Parameters
    ----------
    path : path
        Of any file.

    Returns
    -------
    PackedFile or None
        Seekable, at its beginning; None where the file is not packed.

    Raises
    ------
    OSError
        If it cannot be opened, or is packed in another way. From what is returned: if it is damaged, or takes more than
        `size_limit`.
    """
    with path.open("rb") as stream:
        start = stream.read(6)
    for magic, name in _OTHER_PACKINGS.items():
        if start.startswith(magic):
            raise OSError(f"it is packed by {name}: unpack it first; gzip, bzip2 and xz are read as they are")
    packing = next((packing for magic, packing in _PACKINGS.items() if start.startswith(magic)), None)
    return None if packing is None else packing(path)


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file for reading; one packed by gzip, bzip2 or xz is unpacked into memory.

    Parameters
    ----------
    path : path
        A regular file.

    Returns
    -------
    binary file
        Seekable, at its beginning.

    Raises
    ------
    OSError
        If the file cannot be opened, is packed in another way or damaged, or takes more than `size_limit` when it is
        unpacked.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError("it is no regular file")
    packed = open_packed(path)
    if packed is None:
        return path.open("rb")
    with packed:
        return io.BytesIO(packed.read())


def _readable(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"
