"""The HDUs of a file that may be damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from astropy.io import fits


def in_order(hdus: fits.HDUList) -> Iterator[Any]:
    """The HDUs one after another, read as they are asked for.

    What follows a damaged header begins where the file ends. Of a packed file astropy does not know where that is: it
    would go back, and round for ever.

    Raises
    ------
    OSError
        There is such a header in a packed file.
    """
    for number, hdu in enumerate(hdus):
        if not hasattr(hdu, "fileinfo") and hdu.size < 0:  # only damaged ones have no place in the file
            raise OSError(f"the header of HDU {number} is damaged")
        yield hdu
