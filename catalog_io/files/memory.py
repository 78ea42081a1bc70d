"""Memory that maps a file: what has been read of it can be let go, and is read again when it is needed."""

import mmap
from typing import Any

from astropy.table import Table


def release_pages(table: Table) -> None:
    """Let go of the memory that holds what was read of a table, where its columns lie in mapped files.

    Only for a table whose values nobody has changed: what was changed in place would be as in the file again.

    Parameters
    ----------
    table : Table
        In memory, or read from files that are mapped.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    for mapped in {
        id(mapped): mapped for column in table.itercols() if (mapped := _mapped(column)) is not None
    }.values():
        mapped.madvise(mmap.MADV_DONTNEED)


def _mapped(array: Any) -> mmap.mmap | None:
    """The mapped file that an array is a view of."""
    while array is not None and not isinstance(array, mmap.mmap):
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return array
