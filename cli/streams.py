"""Standard input and output in place of files."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STREAM = Path("-")
"""What stands for standard input or output."""


@contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """Give a file that can be read more than once: what is piped in is kept in a temporary one.

    Parameters
    ----------
    path : path
        A file; ``-`` for standard input; or a pipe, such as ``/dev/stdin``.

    Yields
    ------
    path
        The file itself, or a copy that is called ``stdin``.
    """
    if path != STREAM and not path.is_fifo():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="radio-ag-") as folder:
        copy = Path(folder, "stdin")
        with copy.open("wb") as kept:
            if path == STREAM:
                shutil.copyfileobj(sys.stdin.buffer, kept)
            else:
                with path.open("rb") as pipe:
                    shutil.copyfileobj(pipe, kept)
        yield copy


@contextmanager
def to_file(path: Path, suffix: str) -> Iterator[Path]:
    """Give a file to write, whose content goes to standard output in the end where ``-`` was asked for.

    Parameters
    ----------
    path : path
        A file, or ``-``.
    suffix : str
        Of the temporary file.

    Yields
    ------
    path
        The file itself, or a temporary one.
    """
    if path != STREAM:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="radio-ag-") as folder:
        written = Path(folder, f"stdout{suffix}")
        yield written
        with written.open("rb") as content:
            shutil.copyfileobj(content, sys.stdout.buffer)
        sys.stdout.flush()
