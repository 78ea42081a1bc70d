"""Files and folders that are there when they are whole, whatever happens meanwhile."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from radio_ag.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: what another process is writing is not told apart from what it left behind
    fcntl = None  # type: ignore[assignment]


def check_output(path: str | os.PathLike, overwrite: bool = False, *, folder: bool = False) -> Path:
    """Return the path of an output with links resolved, or say why nothing can be written there.

    Parameters
    ----------
    path : path
        What is to be written.
    overwrite : bool
        Whether what has that name may be replaced.
    folder : bool
        The output is a folder, not a file.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    OutputError
        If it exists and ``overwrite`` is not set, it is neither a regular file nor a folder, it is the other of the
        two, or its folder is not there or not writable.
    """
    given, path = path, Path(os.path.realpath(path))
    # unlike Path's, the functions of os.path take a name that is too long
    if os.path.exists(given) and not os.path.isfile(given) and not os.path.isdir(given):
        raise OutputError(f"{given} is no regular file, and will not be replaced: choose another name")
    if os.path.isdir(path) and not folder:
        raise OutputError(f"{path} is a folder: name a file")
    if os.path.isfile(path) and folder:
        raise OutputError(f"{path} is a file: name a folder")
    if os.path.exists(path) and not overwrite:
        raise OutputError(f"{path} exists: choose another name, or allow overwriting (--overwrite, overwrite=True)")
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path} cannot be written: the folder {path.parent} is not writable")
    return path


@contextmanager
def written_beside(path: Path, folder: Path | None = None, *, sync_name: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the name ``path`` when the block ends well, and vanishes otherwise.

    Until then it lies in ``folder``, of the same file system, by default beside ``path``. Both the file and its name
    are on the disk when the block has ended; without ``sync_name`` a power cut may still take the name away. What a
    process that was killed has left of the same output is removed, but not from a ``folder`` of parts.

    Parameters
    ----------
    path : Path
        Of the file in the end.
    folder : Path, optional
        Where it lies until then; None: beside ``path``.
    sync_name : bool
        Wait until the name is on the disk, too.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    part = _part_path(path, folder, clean=sync_name)
    try:
        with part.open("xb") as stream:
            _lock(stream.fileno())
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


@contextmanager
def folder_beside(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Make a folder that takes the name ``path`` when the block ends well, and vanishes otherwise.

    A folder that has the name is removed then; it is never half there. As `written_beside` else.

    Parameters
    ----------
    path : Path
        Of the folder in the end.
    folder : Path, optional
        Where it lies until then; None: beside ``path``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    part, old = _part_path(path, folder), _part_path(path, folder)
    descriptor = None
    try:
        part.mkdir()
        descriptor = os.open(part, os.O_RDONLY) if fcntl is not None else None
        _lock(descriptor)
        yield part
        if path.is_dir():
            os.replace(path, old)
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    finally:
        if descriptor is not None:
            os.close(descriptor)
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)


def _part_path(path: Path, folder: Path | None, *, clean: bool = True) -> Path:
    """Where an output lies until it is whole; what was left there of the same output goes."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    if clean and folder is None:
        for left in path.parent.glob(f".radio-ag-{digest}-*.part"):
            _discard_if_left(left)
    return (folder or path.parent) / f".radio-ag-{digest}-{secrets.token_hex(8)}.part"


def _discard_if_left(path: Path) -> None:
    """Remove a file or folder that no process has locked."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):  # another process was quicker, or it is not ours
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        finally:
            os.close(descriptor)


def _lock(descriptor: int | None) -> None:
    """Tell other processes that this one is writing, where the file system can."""
    if fcntl is not None and descriptor is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
