"""The primary header of a plain FITS file without its history, straight from the file.

Opening a file with astropy takes several times as long, and FIRST's images have hundreds of lines of history: with ten
thousand files that is felt.
"""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits

_BLOCK = 2880  # bytes
_CARD = 80
_MAX_BLOCKS = 1000  # a header that does not end is none
_REMARKS = ("HISTORY", "COMMENT", "")


def read_primary_header(path: Path) -> tuple[fits.Header, int] | None:
    """The primary header, and where its data begin (bytes); None if the file is packed or no FITS file.

    Of remarks only those on CLEAN are kept, which tell the beam.
    """
    cards, blocks = [], 0
    with open(path, "rb") as file:
        while blocks < _MAX_BLOCKS and len(block := file.read(_BLOCK)) == _BLOCK:
            if not blocks and not block.startswith(b"SIMPLE  ="):
                return None
            blocks += 1
            text = block.decode("latin-1")
            for start in range(0, _BLOCK, _CARD):
                keyword, card = text[start : start + 8].rstrip(), text[start : start + _CARD]
                if keyword == "END":
                    return fits.Header.fromstring("".join(cards)), blocks * _BLOCK
                if keyword not in _REMARKS or "CLEAN" in card:
                    cards.append(card)
    return None
