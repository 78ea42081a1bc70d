"""Append header-data units to a file in blocks, with CHECKSUM and DATASUM, whatever their size.

astropy computes checksums of units that it holds in memory; attention maps of a large catalogue do not fit there."""

from collections.abc import Iterable
from typing import BinaryIO

from astropy.io import fits

from radio_ag.catalog_io.files.fits_checksum import NO_CHECKSUM, add_words, encode_checksum

_BLOCK = 2880
_CARD = 80
_VALUE = slice(10, 30)  # of a card; its comment follows


def append_hdu(stream: BinaryIO, header: fits.Header, blocks: Iterable[bytes] = ()) -> None:
    """Write one header-data unit at the end of a file.

    Parameters
    ----------
    stream : binary file
        Open for writing, seekable, at a multiple of 2880 bytes.
    header : `~astropy.io.fits.Header`
        Complete but for CHECKSUM and DATASUM, which are set in a copy; it must state the size of the data.
    blocks : iterable of bytes
        The data unit in blocks of any size, without padding.
    """
    header = header.copy()
    header.set("CHECKSUM", NO_CHECKSUM, "sum of this HDU")
    header.set("DATASUM", "0", "sum of the data unit")
    append_encoded(stream, header.tostring().encode("ascii"), blocks)


def append_encoded(stream: BinaryIO, header: bytes, blocks: Iterable[bytes] = ()) -> None:
    """Append an HDU as `append_hdu` does, of a header's bytes; they have CHECKSUM and DATASUM, of whatever value.

    Parameters
    ----------
    stream : binary file
        Open for writing, seekable, at a multiple of 2880 bytes.
    header : bytes
        With its END and padding.
    blocks : iterable of bytes
        The data unit in pieces of any length, without its padding.
    """
    start = stream.tell()
    stream.write(header)
    data_sum = _write_data(stream, blocks)
    header = _with_value(_with_value(header, "DATASUM", str(data_sum)), "CHECKSUM", NO_CHECKSUM)
    header = _with_value(header, "CHECKSUM", encode_checksum(add_words(header, data_sum)))
    end = stream.tell()
    stream.seek(start)
    stream.write(header)
    stream.seek(end)


def _with_value(header: bytes, keyword: str, text: str) -> bytes:
    """The header with another text, of at most 18 characters, in one of its cards."""
    start = next(k for k in range(0, len(header), _CARD) if header.startswith(f"{keyword:8}= '".encode(), k))
    comment = header[start + _VALUE.stop : start + _CARD]
    value = f"'{text:8}'".ljust(_VALUE.stop - _VALUE.start).encode("ascii")
    return header[: start + _VALUE.start] + value + comment + header[start + _CARD :]


def _write_data(stream: BinaryIO, blocks: Iterable[bytes]) -> int:
    """Write the blocks and their padding; return their sum."""
    total, size, rest = 0, 0, b""
    for block in blocks:
        stream.write(block)
        size += len(block)
        words = rest + block
        cut = len(words) - len(words) % 4
        total = add_words(words[:cut], total)
        rest = words[cut:]
    padding = bytes(-size % _BLOCK)
    stream.write(padding)
    return add_words(rest + padding, total)
