"""Splits of labelled sources that never divide a source: groups on the sky, folds, and their record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from radio_ag.errors import InputError, OutputError
from radio_ag.sky import chord, unit_vectors
from radio_ag.writing import check_output

if TYPE_CHECKING:
    from radio_ag.labelled.data import Labelled

SAME_SOURCE = 270.0  # arcsec: two cutouts closer than this can show the same emission


def group_by_position(
    ra: ArrayLike, dec: ArrayLike, radius: float = SAME_SOURCE, links: ArrayLike = ()
) -> NDArray[np.intp]:
    """Number the friends-of-friends groups of positions.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Degrees; NaN where the position is not known.
    radius : float
        Linking length, arcsec.
    links : array_like of int, shape (k, 2)
        Further pairs of rows that belong together.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    n = len(np.asarray(ra))
    pairs = np.concatenate([close_pairs(ra, dec, radius), np.asarray(links, np.intp).reshape(-1, 2)])
    matrix = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(n, n))
    return connected_components(matrix, directed=False)[1]


def close_pairs(ra: ArrayLike, dec: ArrayLike, radius: float) -> NDArray[np.intp]:
    """Find the pairs of rows whose positions are closer than ``radius`` arcsec, shape (k, 2), the earlier row first.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Degrees; NaN where the position is not known.
    radius : float
        Arcsec.
    """
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known):
        return np.zeros((0, 2), np.intp)
    tree = cKDTree(unit_vectors(np.asarray(ra, float)[known], np.asarray(dec, float)[known]))
    return known[tree.query_pairs(chord(radius), output_type="ndarray")]


def near(ra: ArrayLike, dec: ArrayLike, positions: ArrayLike, radius: float = SAME_SOURCE) -> NDArray[np.bool_]:
    """Return whether each position (n,) lies within ``radius`` arcsec of one of ``positions`` (m, 2), in degrees.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Degrees; NaN where the position is not known: near nothing.
    positions : array_like, shape (m, 2)
        Degrees.
    radius : float
        Arcsec.
    """
    known = np.isfinite(ra) & np.isfinite(dec)
    positions = np.asarray(positions, float).reshape(-1, 2)
    found = np.zeros(len(known), bool)
    if known.any() and len(positions):
        tree = cKDTree(unit_vectors(*positions.T))
        vectors = unit_vectors(np.asarray(ra, float)[known], np.asarray(dec, float)[known])
        found[known] = tree.query(vectors, distance_upper_bound=chord(radius))[0] < np.inf
    return found


def assign_folds(data: Labelled, folds: int = 5, seed: int = 0) -> NDArray[np.intp]:
    """Distribute groups over folds, stratified by data set, class and certainty.

    Parameters
    ----------
    data : Labelled
    folds : int
        Number of folds.
    seed : int

    Returns
    -------
    ndarray of int, shape (n,)
        The fold of each source; a group is never divided.
    """
    rng = np.random.default_rng(seed)
    stratum, group = _strata(data)
    fold_of_group = np.empty(len(stratum), int)
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        fold_of_group[members] = (rng.permutation(len(members)) + rng.integers(folds)) % folds
    return fold_of_group[group]


def divide_sources(data: Labelled, shares: Mapping[str, float], seed: int = 0) -> NDArray[np.str_]:
    """Divide sources into named parts, stratified by data set, class and certainty.

    Parameters
    ----------
    data : Labelled
    shares : mapping of str to float
        Share of each part, such as ``{"train": 0.8, "validation": 0.2}``; together 1.
    seed : int

    Returns
    -------
    ndarray of str, shape (n,)
        The part of each source; a group is never divided.

    Raises
    ------
    InputError
        The shares are negative or do not add up to 1.
    """
    if min(shares.values()) < 0 or not np.isclose(sum(shares.values()), 1):
        raise InputError(f"shares must be 0 or more and add up to 1, not {dict(shares)}")
    rng = np.random.default_rng(seed)
    stratum, group = _strata(data)
    size = np.bincount(group)
    part_of_group = np.empty(len(stratum), int)
    bounds = np.cumsum(list(shares.values()))
    for value in np.unique(stratum):
        members = rng.permutation(np.flatnonzero(stratum == value))
        middle = (np.cumsum(size[members]) - size[members] / 2) / size[members].sum()
        part_of_group[members] = np.minimum(np.searchsorted(bounds, middle), len(bounds) - 1)
    return np.array(list(shares))[part_of_group[group]]


def reserve_calibration(data: Labelled, share: float = 0.1, seed: int = 0) -> NDArray[np.bool_]:
    """Reserve sources, certain and uncertain, for the calibration and nothing else, shape (n,).

    Parameters
    ----------
    data : Labelled
    share : float
        Of the sources.
    seed : int
    """
    return divide_sources(data, {"calibration": share, "others": 1 - share}, seed) == "calibration"


def _strata(data: Labelled) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The stratum of each group, which is that of its first member, and the number of each source's group."""
    _, leaders, group = np.unique(data.group, return_index=True, return_inverse=True)
    traits = np.stack([np.unique(data.origin, return_inverse=True)[1], data.label, data.certain])
    return np.unique(traits, axis=1, return_inverse=True)[1][leaders], group


def write_split(
    path: str | os.PathLike, data: Labelled, part: ArrayLike, *, seed: int, overwrite: bool = False
) -> Path:
    """Record which source is in which part, as ECSV, so that a split can be repeated and read by others.

    Parameters
    ----------
    path : path-like
    data : Labelled
    part : array_like, shape (n,)
        Fold numbers, or names as `divide_sources` gives them.
    seed : int
        What the split was drawn with, for the record.
    overwrite : bool

    Raises
    ------
    OutputError
        The file exists already, or cannot be written.
    """
    from astropy.table import Table

    from radio_ag import __version__

    path = Path(path)
    check_output(path, overwrite)
    table = Table(
        {
            "origin": data.origin,
            "name": data.name,
            "ra": data.ra,
            "dec": data.dec,
            "fr_class": np.array(data.classes)[data.label],
            "certain": data.certain,
            "group": data.group,
            "part": np.asarray(part),
        },
        units={"ra": "deg", "dec": "deg"},
        meta={"creator": f"radio-ag {__version__}", "seed": seed, "never divided within": f"{SAME_SOURCE:g} arcsec"},
    )
    try:
        table.write(path, format="ascii.ecsv", overwrite=overwrite)
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc
    return path
