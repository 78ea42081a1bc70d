"""Records on disk, read and written by number: what would not fit into memory for a large catalogue."""

import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from radio_ag.errors import OutputError

_reading = threading.Lock()


def read_at(file: BinaryIO, position: int, size: int) -> bytes:
    """Return the bytes at a place, fewer at the end of the file, whatever other threads and processes read of it.

    Processes that forked share the position that ``seek`` sets: between a seek and a read another may move it.

    Parameters
    ----------
    file : binary file
        Open for reading; its position stays where it is.
    position : int
        Bytes from the start.
    size : int
        Bytes to read.

    Returns
    -------
    bytes
        Of ``size``, or as many as there are.
    """
    if not hasattr(os, "pread"):  # Windows, where no process forks
        with _reading:
            file.seek(position)
            return file.read(size)
    blocks = []
    while size > 0 and (block := os.pread(file.fileno(), size, position)):
        blocks.append(block)
        position, size = position + len(block), size - len(block)
    return b"".join(blocks)


class RowFile:
    """Records of one type in a temporary file without a name, which vanishes with the object.

    Parameters
    ----------
    dtype : numpy.dtype
        Of a record.
    folder : path
        Where the file lies.
    """

    def __init__(self, dtype: np.dtype, folder: Path) -> None:
        self.dtype = dtype
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open as long as the object lives
        except OSError as exc:
            raise self._error(exc) from exc
        weakref.finalize(self, self._file.close)

    def write(self, rows: NDArray[np.int64], records: NDArray) -> None:
        """Write records (n,) at the numbers ``rows`` (n,), each of which occurs once.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Counted from 0.
        records : structured ndarray, shape (n,)
            Of the file's type.
        """
        order = np.argsort(rows, kind="stable")
        rows, size = rows[order], self.dtype.itemsize
        all_content = memoryview(records[order].tobytes())
        try:
            for start, stop in _runs(rows):
                self._file.seek(int(rows[start]) * size)
                content = all_content[start * size : stop * size]
                while content:  # a disk that fills up takes part of it first
                    content = content[self._file.write(content) :]
        except OSError as exc:
            raise self._error(exc) from exc

    def read(self, rows: NDArray[np.int64]) -> NDArray:
        """Return the records (n,) at the numbers ``rows`` (n,), in any order.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Counted from 0, repeated or not.

        Returns
        -------
        structured ndarray, shape (n,)
            Of the file's type.
        """
        wanted, place = np.unique(rows, return_inverse=True)
        records = np.empty(len(wanted), dtype=self.dtype)
        for start, stop in _runs(wanted):
            size = self.dtype.itemsize
            content = read_at(self._file, int(wanted[start]) * size, (stop - start) * size)
            records[start:stop] = np.frombuffer(content, dtype=self.dtype)
        return records[place]

    def _error(self, exc: OSError) -> OutputError:
        return OutputError(f"no temporary file can be written in {self._folder}: {exc.strerror or exc}")


def _runs(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and last + 1 of each stretch of consecutive numbers in ascending ``rows``."""
    if not len(rows):
        return []
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return list(zip([0, *breaks.tolist()], [*breaks.tolist(), len(rows)], strict=True))
