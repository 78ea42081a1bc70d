"""Files that are there when they are whole, whatever happens meanwhile."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from radio_ag.errors import OutputError


@contextmanager
def written_beside(path: Path, folder: Path | None = None, *, sync_name: bool = True) -> Iterator[BinaryIO]:
    """A file that takes the name ``path`` when the block ends well, and vanishes otherwise.

    Until then it lies in ``folder``, of the same file system, by default beside ``path``. Both the file and its name
    are on the disk when the block has ended; without ``sync_name`` a power cut may still take the name away.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    part = (folder or path.parent) / f".radio-ag-{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
        if sync_name:
            _sync_folder(path.parent)
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
