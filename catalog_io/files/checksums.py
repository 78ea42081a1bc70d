"""Sums that a FITS file carries of itself: whether they hold.

References: FITS standard 4.0, section 4.4.2.7 and appendix J.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

_STEP = 1 << 20  # bytes summed at once: they stay in the processor's cache
_ALL_SET = 0xFFFFFFFF  # -0 in ones' complement, which the sum of a whole HDU is
_CARD = re.compile(rb"(DATASUM|CHECKSUM) *= *'([^']*)'")


class Extent(NamedTuple):
    """Where a header-data unit lies in a file, bytes."""

    header: int
    data: int
    end: int
    """Of the data; padding may follow."""


class Sums(NamedTuple):
    """Which sums of an HDU are wrong; one that the header does not have is not."""

    data_wrong: bool
    header_wrong: bool
    """Its CHECKSUM is wrong, and it is not the data's fault."""


def check_sums(path: Path, extent: Extent) -> Sums:
    """Compare an HDU with its DATASUM and CHECKSUM.

    Parameters
    ----------
    path : path
        A FITS file that is not packed.
    extent : Extent
        Of the HDU.

    Returns
    -------
    Sums
        Without DATASUM, a wrong CHECKSUM is counted as the data's.
    """
    with open(path, "rb") as file:
        file.seek(extent.header)
        header = file.read(extent.data - extent.header)
        cards = {found[1]: found[2].strip() for found in map(_CARD.match, _cards(header)) if found}
        declared, checksum = cards.get(b"DATASUM", b""), cards.get(b"CHECKSUM", b"")
        if not declared.isdigit() and not checksum:
            return Sums(False, False)
        data = _sum_file(file, extent.end - extent.data)
    data_wrong = declared.isdigit() and int(declared) != data
    whole_wrong = bool(checksum) and _fold(data + _sum_words(header)) not in (0, _ALL_SET)
    if not declared.isdigit():
        return Sums(whole_wrong, False)
    return Sums(data_wrong, whole_wrong and not data_wrong)


def _cards(header: bytes) -> list[bytes]:
    return [header[start : start + 80] for start in range(0, len(header), 80)]


def _sum_file(file: BinaryIO, size: int) -> int:
    """Sum of the next bytes of a file as 32-bit words, filled up with zeros."""
    total = 0
    while size > 0 and (block := file.read(min(_STEP, size))):
        total = _fold(total + _sum_words(block))
        size -= len(block)
    return total


def _sum_words(block: bytes) -> int:
    """Ones' complement sum of 32-bit words."""
    return _fold(int(np.frombuffer(block + bytes(-len(block) % 4), ">u4").sum(dtype=np.uint64)))


def _fold(total: int) -> int:
    while total >> 32:
        total = (total & _ALL_SET) + (total >> 32)
    return total
