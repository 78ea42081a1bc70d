"""Files that may be packed: unpacked into memory, as far as their size allows."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import BinaryIO

MAX_RATIO = 64
"""Times its own size that a file may take when it is read. FITS tables of true catalogues take up to some 20."""

ALWAYS_ALLOWED = 256 << 20
"""Bytes that any file may take, however small it is."""

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_STEP = 1 << 20


def size_limit(packed: int) -> int:
    """Return how many bytes a file of ``packed`` bytes may take when it is read."""
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
        If the file cannot be opened, is damaged, or takes more than `size_limit` when it is unpacked.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError("it is no regular file")
    stream = path.open("rb")
    start = stream.read(6)
    stream.seek(0)
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    if opener is None:
        return stream
    with stream:
        return io.BytesIO(_unpack(opener(stream), path.stat().st_size))


def _unpack(stream: BinaryIO, packed: int) -> bytearray:
    content = bytearray()
    try:
        while block := stream.read(_STEP):
            content += block
            refuse_above_limit(len(content), packed)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as exc:
        raise OSError(f"it is damaged: {exc}") from exc
    return content


def _readable(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"
