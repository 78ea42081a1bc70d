"""FITS headers of plain cards (whole numbers, truth values and short text), in a hundredth of astropy's time.

A run writes and reads three of them for each part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

BLOCK = 2880
"""Bytes that headers and data units are padded to."""

_CARD = 80

Value = bool | int | str


def encode_header(cards: Iterable[tuple[str, Value]]) -> bytes:
    """The header of some cards, with its END and padding."""
    text = b"".join(map(encode_card, cards)) + b"END".ljust(_CARD)
    return text.ljust(len(text) + -len(text) % BLOCK)


def encode_card(card: tuple[str, Value]) -> bytes:
    """A card without a comment, in FITS's fixed format."""
    keyword, value = card
    if isinstance(value, str):
        value = f"'{value.replace(chr(39), 2 * chr(39)):8}'"
    elif isinstance(value, bool):
        value = f"{'FT'[value]:>20}"
    else:
        value = f"{value:20d}"
    text = f"{keyword:8}= {value}".encode("ascii").ljust(_CARD)
    if len(text) > _CARD:
        raise ValueError(f"{keyword} is too long for a card: {value}")
    return text


def read_header(stream: BinaryIO) -> dict[str, Value] | None:
    """The values of such a header, and the stream behind it; None at the end of the stream.

    Raises
    ------
    ValueError
        If the stream ends within the header, or a value is of another kind.
    """
    values: dict[str, Value] = {}
    while block := stream.read(BLOCK):
        text = block.decode("ascii")
        for start in range(0, len(text), _CARD):
            card = text[start : start + _CARD]
            keyword = card[:8].rstrip()
            if keyword == "END":
                return values
            if card[8:10] == "= ":
                values[keyword] = _decode(card[10:])
    if values:
        raise ValueError("the header has no end")
    return None


def _decode(field: str) -> Value:
    field = field.lstrip()
    if field.startswith("'"):
        inside = field[1:].replace("''", "\0")
        return inside[: inside.index("'")].rstrip().replace("\0", "'")
    value = field.partition("/")[0].strip()
    return value == "T" if value in ("T", "F") else int(value)
