"""How a result shows itself in a notebook: a small table with thumbnails."""

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radio_ag.catalog_io.export.page.sprites import cutout_scale, encode_cutout, encode_map
from radio_ag.flags import decode

if TYPE_CHECKING:
    from radio_ag.catalog_io.result import Result

MAX_ROWS = 10
"""Sources shown."""


def result_html(result: "Result") -> str:
    """Show a result as HTML in a notebook: its first sources with name, class, probability, flags and thumbnails.

    Parameters
    ----------
    result : Result
        At most `MAX_ROWS` of its sources are shown.

    Returns
    -------
    str
        One ``<div>``. Every value is escaped. Thumbnails are the cutouts, if they were kept, and the mean attention
        maps, as grey PNG in ``data:`` addresses, north up and east left: a cutout in equal steps of asinh from its
        noise to its peak, a map from its least value (black) to its greatest (white).
    """
    heading_text = escape(repr(result).strip("<>"))
    result = result.first_rows()
    shown = range(min(len(result), MAX_ROWS))
    pictures = {"image": _cutout} if result.has_cutouts else {}
    pictures["attention"] = _attention
    heading = _cells(("source", "name", "class", "probability", "flags", *pictures), "th")
    rows = [_cells((*_words(result, row), *(make(result, row) for make in pictures.values())), "td") for row in shown]
    rest = f"<p>… and {len(result) - len(shown)} more sources</p>" if len(result) > len(shown) else ""
    table = "".join(f"<tr>{cells}</tr>" for cells in (heading, *rows))
    return f"<div><p>{heading_text}</p><table>{table}</table>{rest}</div>"


def _cells(contents: Iterable[str], tag: str) -> str:
    return "".join(f"<{tag}>{content}</{tag}>" for content in contents)


def _words(result: "Result", row: int) -> list[str]:
    entry = result.table[row]
    name, source_class, probability, spread = (
        None if np.ma.is_masked(entry[column]) else entry[column]
        for column in ("name", "class", "probability", "p_std")
    )
    figures = "" if probability is None else f"{probability:.2f}"
    if figures and spread is not None:
        figures += f" ± {spread:.2f}"
    flags = ", ".join(decode(int(entry["flags"])))
    return [escape(str(text)) for text in (row, name or "", source_class or "", figures, flags)]


def _attention(result: "Result", row: int) -> str:
    """The mean attention map; empty where there is none."""
    if result.table["attention_plane"][row] < 0:
        return ""
    codes, _, _ = encode_map(result.attention(row).data)
    return _thumbnail(codes, "attention map")


def _cutout(result: "Result", row: int) -> str:
    """The cutout; empty where there is none."""
    if result.table["cutout_plane"][row] < 0:
        return ""
    image = result.cutout(row).data
    codes = encode_cutout(image, cutout_scale(image, float(np.ma.filled(result.table["rms"][row], np.nan))))
    return _thumbnail(encode_map(codes.astype(np.float32))[0], "cutout")


def _thumbnail(codes: NDArray[np.uint8], words: str) -> str:
    """An ``<img>`` of codes from 0 (black) to 255, row 0 in the south."""
    stream = io.BytesIO()
    Image.fromarray(codes[::-1]).save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    ny, nx = codes.shape
    return f'<img src="data:image/png;base64,{data}" alt="{words}" width="{nx}" height="{ny}">'
