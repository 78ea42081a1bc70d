"""Multi-order coverage maps (MOC) as ranges of the smallest HEALPix cells: FITS, JSON and text (IVOA MOC 2.0)."""

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radio_ag.errors import InputError

MAX_ORDER = 29
"""Order of the smallest cells."""

_KEYWORDS = ("MOCORDER", "MOCVERS", "MOCORD_S")
_ORDERINGS = ("NUNIQ", "RANGE", "RANGE29")
_TEXT_START = re.compile(r"\s*\d+/")
_TOKEN = re.compile(r"(?:(\d+)/)?(?:(\d+)(?:-(\d+))?)?")


def is_text(text: str) -> bool:
    """Tell whether a text begins as a MOC does: ``3/1-4 7``.

    Parameters
    ----------
    text : str
        Content of a file.

    Returns
    -------
    bool
    """
    return _TEXT_START.match(text) is not None


def is_table(hdu: Any) -> bool:
    """Tell whether an HDU is a MOC.

    Parameters
    ----------
    hdu : HDU of astropy
        Of any kind.

    Returns
    -------
    bool
    """
    return any(keyword in hdu.header for keyword in _KEYWORDS) or hdu.header.get("ORDERING") in _ORDERINGS


def ranges_of_json(text: str) -> NDArray[np.uint64]:
    """Read a MOC as JSON, ``{"3": [1, 2]}``.

    Parameters
    ----------
    text : str
        Content of a file.

    Returns
    -------
    numpy.ndarray of uint64, shape (n, 2)
        First cell and last + 1 of each range, at order 29, nested.

    Raises
    ------
    InputError
        If it is no such JSON, has no cells, or cells that cannot be.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"is no JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise InputError("is no MOC: an object with the cells of each order is needed")
    cells = []
    for order, listed in content.items():
        if not order.isascii() or not order.isdigit() or not isinstance(listed, list):
            raise InputError(f"is no MOC: {order!r}: {str(listed)[:20]} is no order with a list of cells")
        cells += [(int(order[:9]), cell, cell) for cell in listed]
    return _ranges(cells)


def ranges_of_text(text: str) -> NDArray[np.uint64]:
    """Read a MOC as text, ``3/1-4 7 5/``.

    Parameters
    ----------
    text : str
        Content of a file.

    Returns
    -------
    numpy.ndarray of uint64, shape (n, 2)
        As `ranges_of_json`.

    Raises
    ------
    InputError
        If it is no such text, has no cells, or cells that cannot be.
    """
    order, cells = -1, []
    for token in re.split(r"[\s,]+", text.strip()):
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise InputError(f"is no MOC: {token[:40]!r} is neither an order nor a cell")
        order = order if match[1] is None else int(match[1][:9])
        if match[2] is not None:
            first = int(match[2][:30])
            cells.append((order, first, first if match[3] is None else int(match[3][:30])))
    return _ranges(cells)


def ranges_of_table(hdu: Any) -> NDArray[np.uint64]:
    """Read a MOC as a FITS table of ranges, or of cells numbered through all orders.

    Parameters
    ----------
    hdu : `~astropy.io.fits.BinTableHDU`
        For which `is_table` is true.

    Returns
    -------
    numpy.ndarray of uint64, shape (n, 2)
        As `ranges_of_json`.

    Raises
    ------
    InputError
        If it is no MOC of the sky, has no cells, or cells that cannot be.
    """
    header = hdu.header
    if header.get("MOCDIM", "SPACE") != "SPACE" or header.get("COORDSYS", "C") != "C":
        raise InputError("is a MOC of something else than the sky in ICRS")
    values = np.asarray(hdu.data.field(0))
    if values.dtype.kind not in "iu":
        raise InputError(f"is no MOC: its cells are {values.dtype.name}, not integers")
    values = values.reshape(-1).astype(np.int64)
    if str(header.get("ORDERING", "NUNIQ")).startswith("RANGE"):
        if len(values) % 2:
            raise InputError("is no MOC: a range lacks its end")
        return _checked(values[0::2], values[1::2] - 1, np.full(len(values) // 2, MAX_ORDER))
    if (values < 4).any() or (values >= 4 << 2 * (MAX_ORDER + 1)).any():
        raise InputError("is no MOC: it has cells of no order from 0 to 29")
    # floor(log2) of whole numbers: those above 2^53 are rounded up by floats, if at all, and then by one
    order = np.floor(np.log2(values.astype(np.float64))).astype(np.int64) // 2 - 1
    order -= (np.int64(4) << 2 * order) > values
    cells = values - (np.int64(4) << 2 * order)
    return _checked(cells, cells, order)


def _ranges(cells: Iterable[tuple[int, Any, Any]]) -> NDArray[np.uint64]:
    """Ranges from order, first and last cell of each, whatever these are."""
    cells = list(cells)
    for order, *ends in cells:
        if not 0 <= order <= MAX_ORDER:
            raise InputError(f"is no MOC: it has the order {order}; orders are 0 to {MAX_ORDER}")
        if any(type(cell) is not int or not 0 <= cell < 12 << 2 * order for cell in ends):
            raise InputError(
                f"is no MOC: {str(ends[0])[:40]!r} is no cell of order {order}, of 0 to {(12 << 2 * order) - 1}"
            )
    orders, first, last = np.array(cells, dtype=np.int64).reshape(-1, 3).T
    return _checked(first, last, orders)


def _checked(first: NDArray[np.int64], last: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.uint64]:
    if not len(first):
        raise InputError("is a MOC without cells")
    wrong = np.flatnonzero((first < 0) | (last < first) | (last >= np.int64(12) << 2 * order))
    if len(wrong):
        at = wrong[0]
        raise InputError(f"is no MOC: {first[at]} to {last[at]} are no cells of order {order[at]}")
    shift = 2 * (MAX_ORDER - order)
    return np.stack([first << shift, (last + 1) << shift], axis=-1).astype(np.uint64)
