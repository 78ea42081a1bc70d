"""CHECKSUM and DATASUM of header-data units: made, and held against what is there.

References: FITS standard 4.0, section 4.4.2.7 and appendix J.
"""

import re
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from radio_ag.errors import InputError

NO_CHECKSUM = "0" * 16
UNCHECKED = "has neither CHECKSUM nor DATASUM"
"""The fault of a unit that says nothing about its sums."""
HEADER_FAULT = "has a header that does not match its CHECKSUM"
"""The fault of a unit whose data match their own sum."""

_CARD = 80
_SUM_CARD = re.compile(r"(CHECKSUM|DATASUM )= *'([^']*)'")
_BLOCK = 1 << 20  # bytes read at once: they stay in the processor's cache
_MINUS_ZERO = 0xFFFFFFFF


class Place(NamedTuple):
    """Where a unit lies in its file: first byte of the header and of the data, and the end of these."""

    header: int
    data: int
    end: int


def add_words(data: bytes | memoryview, total: int) -> int:
    """Return the ones' complement sum of ``total`` and of 32-bit words, the last of them filled up with zeros."""
    if rest := len(data) % 4:
        data = bytes(data) + bytes(4 - rest)
    total += int(np.frombuffer(data, dtype=">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode_checksum(total: int) -> str:
    """Return the 16 characters whose sum, in place of 16 zeros, makes the sum of the unit -0 (all bits set)."""
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
    """
    sums = _stated_sums(header)
    check_sum, stated = sums.get("CHECKSUM"), sums.get("DATASUM")
    if not sums:
        return UNCHECKED
    if stated is not None and not stated.isdecimal():
        return "has a DATASUM that is no number"
    if data_sum is not None and stated is not None and int(stated) != data_sum:
        return "has data that do not match its DATASUM"
    total = data_sum if data_sum is not None else None if stated is None else int(stated)
    if check_sum is not None and total is not None and add_words(header, total) != _MINUS_ZERO:
        return "does not match its CHECKSUM" if stated is None else HEADER_FAULT
    return None


def place_of(hdu: Any) -> Place:
    """Return where a unit of an open file lies."""
    info = hdu.fileinfo()
    return Place(info["hdrLoc"], info["datLoc"], info["datLoc"] + info["datSpan"])


def header_fault(hdu: Any) -> str | None:
    """Return what is wrong with the header of a unit of an open file; its data are not read."""
    return find_fault(_read_header(hdu.fileinfo()["file"], place_of(hdu)))


def unit_fault(hdu: Any) -> str | None:
    """Return what is wrong with a unit of an open file, header and data."""
    return fault_at(hdu.fileinfo()["file"], place_of(hdu))


def fault_at(file: BinaryIO, place: Place) -> str | None:
    """Return what is wrong with the unit at a place in a file, read in blocks; without sums its data are not read."""
    header = _read_header(file, place)
    if not _stated_sums(header):
        return UNCHECKED
    total = 0
    for position in range(place.data, place.end, _BLOCK):
        block = file.read(min(_BLOCK, place.end - position))
        if len(block) != min(_BLOCK, place.end - position):
            return "ends too early"
        total = add_words(block, total)
    return find_fault(header, total)


def refuse_fault(fault: str | None, name: str) -> None:
    """Raise `InputError` for a unit that does not match its sums; one without sums is taken as it is."""
    if fault not in (None, UNCHECKED):
        raise InputError(
            f"{name} {fault}: it is damaged, or was changed by a program that does not keep checksums "
            "(Result.read(path, verify=False) takes it as it is)"
        )


def _stated_sums(header: bytes) -> dict[str, str]:
    """The sums in a header by keyword; one that is blank is not known."""
    cards = (header[start : start + _CARD].decode("latin-1") for start in range(0, len(header), _CARD))
    found = filter(None, map(_SUM_CARD.match, cards))
    return {match[1].strip(): match[2].strip() for match in found if match[2].strip()}


def _read_header(file: BinaryIO, place: Place) -> bytes:
    """The header of a unit as it stands in its file, which is at the data then."""
    file.seek(place.header)
    return file.read(place.data - place.header)
