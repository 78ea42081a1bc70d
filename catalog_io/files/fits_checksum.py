"""CHECKSUM and DATASUM of header-data units: made, and held against what is there.

References: FITS standard 4.0, section 4.4.2.7 and appendix J.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radio_ag.errors import InputError

NO_CHECKSUM = "0" * 16
UNCHECKED = "has neither CHECKSUM nor DATASUM"
"""The fault of a unit that says nothing about its sums."""

_CARD = 80
_BLOCK = 4 << 20  # bytes read at once
_MINUS_ZERO = 0xFFFFFFFF


class Place(NamedTuple):
    """Where a unit lies in its file: first byte of the header and of the data, and the end of their padding."""

    header: int
    data: int
    end: int


def add_words(data: bytes | memoryview, total: int) -> int:
    """Return the ones' complement sum of ``total`` and of 32-bit words, a multiple of 4 bytes.

    Parameters
    ----------
    data : bytes or memoryview
        Whole 32-bit words, big-endian.
    total : int
        The sum so far; 0 to begin with.

    Returns
    -------
    int
        The 32-bit sum, with carries added at its end (FITS 4.0, appendix J).
    """
    total += int(np.frombuffer(data, dtype=">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode_checksum(total: int) -> str:
    """Return the 16 characters whose sum, in place of 16 zeros, makes the sum of the unit -0 (all bits set).

    Parameters
    ----------
    total : int
        32-bit sum of the unit with 16 zeros for the value of CHECKSUM.

    Returns
    -------
    str
        Letters and digits alone.
    """
    complement = 0xFFFFFFFF - total
    code = bytearray(16)
    for index, value in enumerate(complement.to_bytes(4, "big")):
        letters = [value // 4 + value % 4 + 48, value // 4 + 48, value // 4 + 48, value // 4 + 48]
        for j in (0, 2):
            while not (chr(letters[j]).isalnum() and chr(letters[j + 1]).isalnum()):
                letters[j] += 1
                letters[j + 1] -= 1
        code[index::4] = bytes(letters)
    # The value begins one byte before a word's boundary, hence the rotation.
    return (code[-1:] + code[:-1]).decode("ascii")


def find_fault(header: bytes, data_sum: int | None = None) -> str | None:
    """Return what is wrong with a unit by its sums, or None.

    Parameters
    ----------
    header : bytes
        With its END and padding.
    data_sum : int, optional
        The sum of the data unit, with its padding. None: the data are not looked at, and the header alone is checked,
        with the sum of the data that it states.

    Returns
    -------
    str or None
        For a message, after the name of the unit: "has data that do not match its DATASUM".
    """
    check_sum, stated = (_text_of(header, keyword) for keyword in ("CHECKSUM", "DATASUM"))
    if check_sum is None and stated is None:
        return UNCHECKED
    if stated is not None and not stated.isdecimal():
        return "has a DATASUM that is no number"
    if data_sum is not None and stated is not None and int(stated) != data_sum:
        return "has data that do not match its DATASUM"
    total = data_sum if data_sum is not None else None if stated is None else int(stated)
    if check_sum is not None and total is not None and add_words(header, total) != _MINUS_ZERO:
        return "has a header that does not match its CHECKSUM"
    return None


def place_of(hdu: Any) -> Place:
    """Return where a unit of an open file lies.

    Parameters
    ----------
    hdu : object
        Of `astropy.io.fits`, read from a file.

    Returns
    -------
    Place
        Bytes from the start of the file.
    """
    info = hdu.fileinfo()
    return Place(info["hdrLoc"], info["datLoc"], info["datLoc"] + info["datSpan"])


def header_fault(hdu: Any) -> str | None:
    """Return what is wrong with the header of a unit; its data are not read.

    Parameters
    ----------
    hdu : object
        Of `astropy.io.fits`, whose file is still open.

    Returns
    -------
    str or None
        As of `find_fault`: `UNCHECKED` where the header has no sums.
    """
    return find_fault(_header(hdu))


def unit_fault(hdu: Any) -> str | None:
    """Return what is wrong with a unit, header and data, read in blocks.

    Parameters
    ----------
    hdu : object
        Of `astropy.io.fits`, whose file is still open.

    Returns
    -------
    str or None
        As of `find_fault`: `UNCHECKED` where the header has no sums.
    """
    header, place, file = _header(hdu), place_of(hdu), hdu.fileinfo()["file"]
    total, size = _sum_data(file, place.end - place.data)
    return "ends too early" if size < place.end - place.data else find_fault(header, total)


def stored_fault(path: Path, place: Place) -> tuple[str | None, bool]:
    """Return what is wrong with a unit of a file that is not packed, read in blocks.

    Parameters
    ----------
    path : path
        Of the file.
    place : Place
        Its end may be that of the data; the padding may be missing in the file.

    Returns
    -------
    fault : str or None
        As of `find_fault`.
    of_header : bool
        Its DATASUM holds, so that its data are sound.
    """
    padded = -(-(place.end - place.data) // 2880) * 2880
    with path.open("rb") as file:
        file.seek(place.header)
        header = file.read(place.data - place.header)
        if find_fault(header) == UNCHECKED:
            return UNCHECKED, False
        fault = find_fault(header, _sum_data(file, padded)[0])
    return fault, fault is not None and fault == find_fault(header)


def refuse_fault(fault: str | None, name: str) -> None:
    """Raise `InputError` for a unit that does not match its sums; one without sums is taken as it is.

    Parameters
    ----------
    fault : str or None
        What `find_fault` gives.
    name : str
        What the message calls the unit and its file.

    Raises
    ------
    InputError
        ``fault`` is neither None nor `UNCHECKED`.
    """
    if fault not in (None, UNCHECKED):
        raise InputError(
            f"{name} {fault}: it is damaged, or was changed by a program that does not keep checksums "
            "(Result.read(path, verify=False) takes it as it is)"
        )


def _text_of(header: bytes, keyword: str) -> str | None:
    """The text in a card; None without such a card, or where it is blank, which means that it is not known."""
    start = f"{keyword:8}= '".encode()
    for place in range(0, len(header), _CARD):
        if header.startswith(start, place):
            return header[place + len(start) : place + _CARD].split(b"'")[0].decode("latin-1").strip() or None
    return None


def _sum_data(file: Any, size: int) -> tuple[int, int]:
    """The sum of the next bytes of a file, filled up with zeros, and how many there were."""
    total, left = 0, size
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        left -= len(block)
        total = add_words(block + bytes(-len(block) % 4), total)
    return total, size - left


def _header(hdu: Any) -> bytes:
    """The header of a unit as it stands in its file, and the file at the data."""
    place, file = place_of(hdu), hdu.fileinfo()["file"]
    file.seek(place.header)
    return file.read(place.data - place.header)
