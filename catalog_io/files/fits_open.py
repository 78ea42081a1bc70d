"""FITS files that may be damaged or packed: their headers scanned, and opened so that astropy comes to an end."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from astropy.io import fits

import radio_ag.catalog_io.files.tile_codecs  # noqa: F401 - whatever opens FITS may meet compressed tiles
from radio_ag.catalog_io.files.packed import open_packed

BinaryFile = BinaryIO | io.BufferedIOBase

MAX_COUNT = 999
"""Axes of an image, or columns of a table, that a FITS file has at most (FITS standard 4.0, 4.4.1.1 and 7.2.1)."""

_BLOCK = 2880  # bytes
_CARD = 80
_MAX_BLOCKS = 1000  # a header that does not end is none
_MAX_SIZE = 1 << 60  # bytes: no file holds as much
_INTEGER = re.compile(rb"(NAXIS\d*|TFIELDS|BITPIX|PCOUNT|GCOUNT) *= *([+-]?\d+)")
_TELLING = re.compile(rb"CLEAN|PB|BANE|RMSD|LINMOS|PRIMARY", re.IGNORECASE)
_REMARKS = (b"HISTORY ", b"COMMENT ", b"        ")


def open_checked(source: Path | BinaryFile, **options: Any) -> fits.HDUList:
    """Open a FITS file that may be damaged or packed: `astropy.io.fits.open` after `check_counts`.

    Parameters
    ----------
    source : path or binary file
        A packed file by its path is unpacked by `~radio_ag.catalog_io.files.packed.open_packed`.
    **options
        Of `astropy.io.fits.open`.

    Returns
    -------
    HDUList

    Raises
    ------
    OSError
        As `open_packed`, `check_counts` or astropy raise it.
    """
    if not isinstance(source, Path):
        check_counts(source, packed=not isinstance(source, io.BytesIO | io.BufferedReader))
        return fits.open(source, **options)
    packed = open_packed(source)
    if packed is None:
        with source.open("rb") as plain:
            check_counts(plain)
        return fits.open(source, **options)  # by its name, since astropy maps what it opens itself
    try:
        check_counts(packed, packed=True)
        return fits.open(packed, **options)
    except BaseException:
        packed.close()
        raise


def is_packed(hdus: fits.HDUList) -> bool:
    """Return whether a file is packed as a whole.

    Parameters
    ----------
    hdus : HDUList
        As `open_checked` opened it.

    Returns
    -------
    bool
    """
    return hdus.fileinfo(0)["file"].compression is not None


def in_order(hdus: fits.HDUList) -> Iterator[Any]:
    """Yield the HDUs one after another, read as they are asked for.

    The next one begins where the data of the last one end. Where a damaged header makes their size negative, astropy
    would go back, and round for ever.

    Parameters
    ----------
    hdus : HDUList
        Of a file that is open.

    Raises
    ------
    OSError
        There is such a header.
    """
    for number, hdu in enumerate(hdus):
        if hdu.size < 0:
            raise OSError(f"the header of HDU {number} is damaged")
        yield hdu


def check_counts(file: BinaryFile, *, packed: bool = False) -> None:
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
    while (header := _cards_at(file, place)) is not None:
        cards, place = header
        integers = _integers(cards)
        for name in ("NAXIS", "TFIELDS"):
            if integers.get(name, 0) > MAX_COUNT:
                raise OSError(f"{name} is {integers[name]}; a FITS file has at most {MAX_COUNT}")
        size = _data_size(integers)
        if not 0 <= size < _MAX_SIZE or (size and packed):
            break
        place += -(-size // _BLOCK) * _BLOCK
    file.seek(0)


def first_header(file: BinaryFile) -> tuple[bytes, int] | None:
    """Return the first header of a FITS file without its END, and where its data end (bytes, without padding).

    Parameters
    ----------
    file : binary file
        That `check_counts` lets pass.

    Returns
    -------
    (bytes, int) or None
        None where the header has no end.
    """
    found = _cards_at(file, 0)
    return None if found is None else (b"".join(found[0]), found[1] + max(0, _data_size(_integers(found[0]))))


def read_primary_header(path: Path) -> tuple[fits.Header, int] | None:
    """Return the primary header of a plain FITS file, and where its data begin (bytes).

    Opening a file with astropy takes several times as long, and FIRST's images have hundreds of lines of history: with
    ten thousand files that is felt. Of remarks only those are kept that may tell the beam, or what the image shows.

    Parameters
    ----------
    path : path
        Of any file.

    Returns
    -------
    (Header, int) or None
        None if the file is packed or no FITS file.
    """
    with open(path, "rb") as file:
        found = _cards_at(file, 0)
    if found is None or not found[0][0].startswith(b"SIMPLE  ="):
        return None
    cards = [card for card in found[0] if not card.startswith(_REMARKS) or _TELLING.search(card)]
    return fits.Header.fromstring(b"".join(cards).decode("latin-1")), found[1]


def one_line(error: BaseException) -> str:
    """Return an error's message in one line.

    Parameters
    ----------
    error : Exception
        Its class is named where the message alone tells little.

    Returns
    -------
    str
    """
    words = " ".join(str(error).split())
    return f"{type(error).__name__} {words}".strip() if isinstance(error, LookupError) or not words else words


def _cards_at(file: BinaryFile, place: int) -> tuple[list[bytes], int] | None:
    """Return the cards of a header, and where its data begin; None where there is no header, or no end of it."""
    file.seek(place)
    cards: list[bytes] = []
    for number in range(_MAX_BLOCKS):
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or (not number and not block.startswith((b"SIMPLE  =", b"XTENSION="))):
            return None
        for start in range(0, _BLOCK, _CARD):
            card = block[start : start + _CARD]
            if card.rstrip() == b"END":
                return cards, place + (number + 1) * _BLOCK
            cards.append(card)
    return None


def _integers(cards: list[bytes]) -> dict[str, int]:
    """Return what the cards say of the size of the data; the first counts of several."""
    integers: dict[str, int] = {}
    for found in filter(None, map(_INTEGER.match, cards)):
        integers.setdefault(found[1].decode(), int(found[2]))
    return integers


def _data_size(integers: dict[str, int]) -> int:
    """Return the bytes of the data unit, without padding."""
    axes = [integers.get(f"NAXIS{axis + 1}", 0) for axis in range(integers.get("NAXIS", 0))]
    elements = integers.get("PCOUNT", 0) + (math.prod(axes) if axes else 0)
    return abs(integers.get("BITPIX", 0)) // 8 * integers.get("GCOUNT", 1) * elements
