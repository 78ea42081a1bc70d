"""Positions as unit vectors, so that nothing happens at the poles or at 0 h, and what belongs together."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Return positions as unit vectors.

    Parameters
    ----------
    ra, dec : array-like, shape (n,)
        Degrees.

    Returns
    -------
    numpy.ndarray, shape (n, 3)
    """
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def chord(angle: float) -> float:
    """Return the distance of two unit vectors.

    Parameters
    ----------
    angle : float
        Between them, arcsec.

    Returns
    -------
    float
    """
    return float(2 * np.sin(np.radians(angle / 3600) / 2))


def connected_groups(n: int, pairs: ArrayLike) -> NDArray[np.intp]:
    """Group things that pairs of them join.

    Parameters
    ----------
    n : int
        Of the things.
    pairs : array-like of int, shape (k, 2)
        Numbers of two of them each.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        Number of each one's group, from 0.
    """
    first, second = np.asarray(pairs, dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1])


def bearings(origin: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the position angles of places as seen from others.

    Parameters
    ----------
    origin, target : numpy.ndarray, shape (n, 3)
        As `unit_vectors` gives them.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Degrees east of north from -180 to 180; at a pole as on the meridian of 0 h.
    """
    x, y, z = origin.T
    x = np.where(np.hypot(x, y) > 0, x, 1.0)
    flat = np.hypot(x, y)
    dx, dy, dz = (target - origin).T
    east = (x * dy - y * dx) / flat
    north = dz * flat - z * (x * dx + y * dy) / flat
    return np.degrees(np.arctan2(east, north))
