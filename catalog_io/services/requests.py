"""What a service is asked for; cells of the sky, so that a larger image serves positions that are close together.

The cells are fixed: the same image is asked for again when another catalogue has sources in a cell, and is in the cache
by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 6
"""Positions in a cell that are worth a larger image: one of 1020 px is as long as 11 of 306 px."""

_ROOM_USED = 0.97  # of an image: its axes are not quite north and east


class Request(NamedTuple):
    """One image as the service is asked for it: its centre, degrees ICRS, and pixels along each axis."""

    ra: float
    dec: float
    size: int

    def __str__(self) -> str:
        return f"{self.ra:.5f} {self.dec:+.5f}, {self.size} pixels"


def cell_centres(ra: ArrayLike, dec: ArrayLike, room: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of the cells that hold positions: parts of bands of declination.

    Parameters
    ----------
    ra, dec : array-like, shape (n,)
        Degrees.
    room : float
        Degrees: side of the square around an image's centre in which positions have a whole field in the image.

    Returns
    -------
    ra, dec : ndarray, shape (n,)
        Degrees; exactly equal for positions of one cell.
    """
    ra, dec = np.asarray(ra, dtype=float) % 360, np.asarray(dec, dtype=float)
    height = _ROOM_USED * room
    bands = np.ceil(180 / height)
    band = np.clip(np.floor((dec + 90) / 180 * bands), 0, bands - 1)
    centre_dec = (band + 0.5) * 180 / bands - 90
    widest = np.maximum(0, np.abs(centre_dec) - 90 / bands)  # the edge that is nearer to the equator
    cells = np.ceil(360 * np.cos(np.radians(widest)) / height)
    cell = np.minimum(np.floor(ra / 360 * cells), cells - 1)
    return (cell + 0.5) * 360 / cells, centre_dec


def rows_by_request(
    rows: Iterable[int],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    asked: Callable[[float, float], tuple[float, float]],
    size: int,
) -> dict[Request, list[int]]:
    """Return rows by the requests for images around their positions: one for equal ones.

    Parameters
    ----------
    rows : iterable of int, n
        Numbers of the rows of the n positions.
    ra, dec : ndarray, shape (n,)
        Degrees.
    asked : callable
        The position nearest to one that the service can be asked for.
    size : int
        Pixels along each axis of an image.

    Returns
    -------
    dict of Request to list of int
    """
    requests: dict[Request, list[int]] = {}
    for row, *position in zip(rows, ra.tolist(), dec.tolist(), strict=True):
        requests.setdefault(Request(*asked(*position), size), []).append(int(row))
    return requests
