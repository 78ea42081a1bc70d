"""How a result shows itself in a notebook: a small table with thumbnails."""

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radio_ag.catalog_io.page.sprites import cutout_scale, encode_cutout, encode_map
from radio_ag.flags import decode

if TYPE_CHECKING:
    from radio_ag.catalog_io.result import Result

MAX_ROWS = 10
"""Rows shown."""

_SIDE = 75  # pixels of a thumbnail on the screen


def result_html(result: "Result") -> str:
    """A result as HTML for a notebook: its first rows with name, class, probability, flags and thumbnails.

    Parameters
    ----------
    result : Result

    Returns
    -------
    str
        One ``<div>``. Every value is escaped. Thumbnails are grey PNG in ``data:`` addresses, north up and east left:
        the cutout, if the result keeps them, on an asinh scale, and the mean attention map from its least value (black)
        to its greatest (white).
    """
    shown = range(min(len(result), MAX_ROWS))
    images = [*(["cutout"] if result.has_cutouts else []), *(["attention"] if result.gates else [])]
    heading = _cells(map(escape, ("row", "name", "class", "probability", "flags", *images)), "th")
    rows = [_cells([*_words(result, row), *_thumbnails(result, row)], "td") for row in shown]
    rest = f"<p>… and {len(result) - len(shown)} more rows</p>" if len(result) > len(shown) else ""
    table = "".join(f"<tr>{cells}</tr>" for cells in (heading, *rows))
    return f"<div><p>{escape(repr(result).strip('<>'))}</p><table>{table}</table>{rest}</div>"


def _cells(contents: Iterable[str], tag: str) -> str:
    return "".join(f"<{tag}>{content}</{tag}>" for content in contents)


def _words(result: "Result", row: int) -> list[str]:
    entry = result.table[row]
    source_class, probability, spread = (
        None if np.ma.is_masked(entry[name]) else entry[name] for name in ("class", "probability", "p_std")
    )
    figures = "" if probability is None else f"{probability:.2f}"
    if figures and spread is not None:
        figures += f" ± {spread:.2f}"
    flags = ", ".join(decode(int(entry["flags"])))
    return [escape(str(text)) for text in (row, entry["name"], source_class or "", figures, flags)]


def _thumbnails(result: "Result", row: int) -> list[str]:
    thumbnails = []
    if result.has_cutouts:
        cutout = result.cutout(row).data
        codes = None
        if np.isfinite(cutout).any():
            noise = np.ma.filled(np.ma.asarray(result.table["rms"][row], dtype=float), np.nan)
            codes = encode_cutout(cutout, cutout_scale(cutout, float(noise)))
        thumbnails.append(_image(codes, "cutout"))
    if result.gates:
        has_map = result.table["attention_plane"][row] >= 0
        thumbnails.append(_image(encode_map(result.attention(row).data)[0] if has_map else None, "attention map"))
    return thumbnails


def _image(codes: NDArray[np.uint8] | None, what: str) -> str:
    """An ``<img>`` of codes 0–255 (ny, nx), row 0 in the south; empty without them."""
    if codes is None:
        return ""
    stream = io.BytesIO()
    Image.fromarray(codes[::-1]).save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{what}" width="{_SIDE}" height="{_SIDE}">'
