"""What the components of a source tell of it: total flux, lobes, core, and how the lobes lie to their line.

The **lobes** of a source of two components or more are its outer ones: the one furthest from the middle of its
components, and the one furthest from that. Lobe 1 is the brighter, or the earlier in the catalogue where fluxes do not
tell. The **core** of a source of three components or more is the one nearest to the point midway between the lobes, if
it is no further from there than a quarter of their separation. The quantities are those of the table of DRAGNs in
VLASS, in which the order of the lobes is arbitrary.

Reference: Gordon et al. 2023, ApJS 267, 37.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs import Catalogue
from radio_ag.catalog_io.catalogs.grouping import Groups
from radio_ag.sky import bearings, unit_vectors

CORE_OFFSET = 0.25
"""How far from the point midway between the lobes a core may be, over their separation: arms of 3 to 1."""

_NAMES = ("core_ra", "core_dec", "core_prom", "lobe_flux_ratio", "misalign_1", "misalign_2")


class Components:
    """The rows of a catalogue by source.

    Parameters
    ----------
    catalogue : Catalogue
        n rows.
    groups : Groups
        The m sources that they are of.

    Attributes
    ----------
    primary : ndarray of bool, shape (n,)
        Whether a row is the first of its source.
    """

    def __init__(self, catalogue: Catalogue, groups: Groups) -> None:
        self._catalogue, self._groups = catalogue, groups
        self.primary = primary_rows(groups.group_id)
        self._order: NDArray[np.int64] | None = None  # of rows by source; None: each row is a source
        if len(groups) < len(groups.group_id):
            self._order = np.argsort(groups.group_id, kind="stable")
            self._start = np.cumsum(groups.size, dtype=np.int64) - groups.size

    def rows(self, sources: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of some sources, source by source, and of which of them each is.

        Parameters
        ----------
        sources : ndarray of int, shape (k,)
            Their numbers.

        Returns
        -------
        rows : ndarray of int, shape (r,)
        place : ndarray of int, shape (r,)
            Index in ``sources``.
        """
        if self._order is None:
            return sources, np.arange(len(sources))
        size = self._groups.size[sources].astype(np.int64)
        place = np.repeat(np.arange(len(sources)), size)
        within = np.arange(len(place)) - np.repeat(np.cumsum(size) - size, size)
        return self._order[self._start[sources][place] + within], place

    def measure(self, sources: NDArray[np.int64]) -> dict[str, NDArray]:
        """Measure some sources by their components.

        Parameters
        ----------
        sources : ndarray of int, shape (k,)
            Their numbers.

        Returns
        -------
        dict of ndarray, shape (k,)
            ``first_row``; ``total_flux``, the sum, and ``total_flux_err`` (Jy); ``core_ra``, ``core_dec`` (deg);
            ``core_prom``, flux of the core over the total; ``lobe_flux_ratio``, flux of lobe 1 over that of lobe 2;
            ``misalign_1``, ``misalign_2``, angle from 0 to 90 between the major axis of each lobe and the line that
            joins them (deg). NaN where the components do not tell.
        """
        rows, place = self.rows(sources)
        n, catalogue = len(sources), self._catalogue
        flux = np.full(len(rows), np.nan) if catalogue.flux is None else catalogue.flux[rows]
        error = catalogue.measure("flux_error", rows)
        error = np.where(error >= 0, error, np.nan)  # Aegean writes -1 for an error that it does not know
        columns: dict[str, NDArray] = {
            "first_row": rows[np.flatnonzero(np.diff(place, prepend=-1))],
            "total_flux": np.bincount(place, flux, n),
            "total_flux_err": np.sqrt(np.bincount(place, error**2, n)),
        } | {name: np.full(n, np.nan) for name in _NAMES}
        several = np.flatnonzero(self._groups.size[sources] > 1)
        if len(several):
            kept = np.isin(place, several)
            found = self._structure(rows[kept], flux[kept], np.searchsorted(several, place[kept]), len(several))
            found["core_prom"] = found.pop("core_flux") / columns["total_flux"][several]
            for name, values in found.items():
                columns[name][several] = values
        return columns

    def _structure(self, rows: NDArray, flux: NDArray, source: NDArray, n: int) -> dict[str, NDArray[np.float64]]:
        """Lobes and core of n sources of two components or more, whose rows lie source by source."""
        ra, dec = self._catalogue.ra[rows], self._catalogue.dec[rows]
        vectors = unit_vectors(ra, dec)
        middle = np.stack([np.bincount(source, axis, n) for axis in vectors.T], 1)
        middle = middle / np.linalg.norm(middle, axis=1, keepdims=True)
        far = _extreme(-_distance(vectors, middle[source]), source)
        other = _extreme(-_distance(vectors, vectors[far][source]), source)
        lobes = np.sort(np.stack([far, other]), axis=0)
        lobes = np.where(flux[lobes[1]] > flux[lobes[0]], lobes[::-1], lobes)
        first, second = vectors[lobes]
        separation = _distance(first, second)
        apart = separation > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(apart & (flux[lobes] > 0).all(0), flux[lobes[0]] / flux[lobes[1]], np.nan)
        inner = ~np.isin(np.arange(len(rows)), lobes)
        midway = (first + second) / 2  # but for the curvature of the sky, which is nothing over arcminutes
        offset = np.where(inner, _distance(vectors, midway[source]), np.inf)
        core = _extreme(offset, source)
        is_core = apart & (offset[core] <= CORE_OFFSET * separation)
        axis = self._major_axes(rows[lobes])
        line = np.stack([bearings(first, second), bearings(second, first)])
        misalign = np.where(apart, np.abs((axis - line + 90) % 180 - 90), np.nan)
        return {
            "core_ra": np.where(is_core, ra[core], np.nan),
            "core_dec": np.where(is_core, dec[core], np.nan),
            "core_flux": np.where(is_core, flux[core], np.nan),
            "lobe_flux_ratio": ratio,
            "misalign_1": misalign[0],
            "misalign_2": misalign[1],
        }

    def _major_axes(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Position angles of rows (2, n); NaN for a round component, which has none."""
        flat = rows.reshape(-1)
        major, minor, angle = (self._catalogue.measure(name, flat) for name in ("major", "minor", "position_angle"))
        return np.where(major <= minor, np.nan, angle).reshape(rows.shape)


def primary_rows(group_id: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which rows are the first of their source, where sources are numbered in the order of their first rows.

    Parameters
    ----------
    group_id : ndarray of int, shape (n,)
        Source of each row.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    return np.diff(np.maximum.accumulate(group_id), prepend=-1) > 0


def _distance(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    return np.linalg.norm(first - second, axis=1)


def _extreme(value: NDArray, source: NDArray) -> NDArray[np.intp]:
    """Where the least value of each source is, the first of several; rows lie source by source."""
    order = np.lexsort((value, source))
    return order[np.flatnonzero(np.diff(source, prepend=-1))]
