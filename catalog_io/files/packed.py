"""Packed files, and how much memory a file may take when it is read."""

import bz2
import gzip
import io
import lzma
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

MAX_RATIO = 64
"""Times its own size that a file may take when it is read. FITS tables of true catalogues take up to some 20."""

ALWAYS_ALLOWED = 1 << 28
"""Bytes that any file may take, however small it is."""

_STEP = 1 << 20  # bytes unpacked at once
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_OTHER_PACKINGS = {b"\x1f\x9d": "compress", b"PK\x03\x04": "zip"}


def size_limit(size: int) -> int:
    """Return how much memory a file may take when it is read.

    Parameters
    ----------
    size : int
        Of the file, bytes.

    Returns
    -------
    int
        Bytes.
    """
    return max(MAX_RATIO * size, ALWAYS_ALLOWED)


def too_much(limit: int) -> str:
    """Say that a file takes more than its `size_limit`.

    Parameters
    ----------
    limit : int
        Bytes.

    Returns
    -------
    str
        For a message, without a full stop.
    """
    return (
        f"it takes more than {limit >> 20} MiB: at most {MAX_RATIO} times the size of the file, or "
        f"{ALWAYS_ALLOWED >> 20} MiB, are taken"
    )


def refuse_above_limit(needed: int, size: int) -> None:
    """Refuse what would take more memory than a file of its size may.

    Parameters
    ----------
    needed, size : int
        What it takes when it is read, and the size of the file, bytes.

    Raises
    ------
    OSError
        Above `size_limit`.
    """
    if needed > size_limit(size):
        raise OSError(too_much(size_limit(size)))


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file that may be packed, for reading to and fro: a packed one is unpacked into memory.

    Parameters
    ----------
    path : path
        Of a regular file.

    Returns
    -------
    binary file
        At its beginning.

    Raises
    ------
    OSError
        If it cannot be opened or is no regular file; if it is packed, and `open_packed` complains of it.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError("it is no regular file")
    if not is_packed(path):
        return path.open("rb")
    with open_packed(path) as stream:
        return io.BytesIO(stream.read())


class PackedFile(io.BufferedIOBase):
    """What a packed file gives: at most `MAX_RATIO` times its size or `ALWAYS_ALLOWED`; an OSError if it is damaged."""

    def __init__(self, path: Path):
        self._most = size_limit(path.stat().st_size)
        super().__init__(path, "rb")  # type: ignore[call-arg]  # of the class that unpacks, which comes next

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
            raise OSError(f"{too_much(self._most)}; unpack it on the disk")
        return result


class _Gzip(PackedFile, gzip.GzipFile):
    """astropy tells packed files by their classes, and does not ask these for their size, which takes unpacking."""


class _Bzip2(PackedFile, bz2.BZ2File):
    pass


class _Xz(PackedFile, lzma.LZMAFile):
    pass


_PACKINGS: dict[bytes, type[PackedFile]] = {b"\x1f\x8b": _Gzip, b"BZh": _Bzip2, b"\xfd7zXZ\x00": _Xz}


def open_packed(path: Path) -> PackedFile:
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
    """Tell whether a file is packed by gzip, bzip2 or xz.

    Parameters
    ----------
    path : path
        Of a regular file.

    Returns
    -------
    bool

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
