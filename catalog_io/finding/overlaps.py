"""Sources that were found in more than one mosaic: which of them are the same, and which one stays."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack
from numpy.typing import NDArray

from radio_ag.sky import connected_groups


def remove_duplicates(tables: list[Table]) -> Table:
    """Join the sources of several mosaics, each once.

    Two sources from different mosaics are the same if they are closer than half the larger one's ``major_fwhm``.
    Islands with a source in common are one island, and all its sources are taken from one mosaic: so no mixture of
    two ways to split it arises. The mosaic is one that does not cut the island if there is one, then that with the
    lowest noise at the island's brightest source.

    Parameters
    ----------
    tables : list of Table
        A table a mosaic, as `~radio_ag.catalog_io.finding.find.find_sources` makes them.

    Returns
    -------
    Table
        In the order of the tables; islands are numbered anew, from 1.
    """
    sources = vstack(tables, metadata_conflicts="silent")
    if not len(sources):
        return sources
    mosaic = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    _, island = np.unique(np.stack([mosaic, sources["island"]]), axis=1, return_inverse=True)
    first, second = _same_sources(sources, mosaic)
    joined = connected_groups(island.max() + 1, np.stack([island[first], island[second]], axis=1))
    keep = _best_mosaic(sources, mosaic, joined[island]) == mosaic
    kept = sources[keep]
    kept["island"] = np.unique(island[keep], return_inverse=True)[1].astype(np.int32) + 1
    return kept


def _same_sources(sources: Table, mosaic: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of rows from different mosaics that are one source."""
    sky = SkyCoord(sources["ra"], sources["dec"], unit=u.deg)
    reach = np.asarray(sources["major_fwhm"]) / 2  # arcsec
    first, second, distance, _ = sky.search_around_sky(sky, reach.max() * u.arcsec)
    same = (mosaic[first] < mosaic[second]) & (distance.arcsec <= np.maximum(reach[first], reach[second]))
    return first[same], second[same]


def _best_mosaic(sources: Table, mosaic: NDArray[np.intp], joined: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each source, the mosaic that its joined island is taken from."""
    cut = np.zeros((joined.max() + 1, mosaic.max() + 1), bool)
    np.logical_or.at(cut, (joined, mosaic), np.asarray(sources["at_edge"]))
    order = np.lexsort((mosaic, sources["rms"], -np.asarray(sources["peak_flux"])))
    _, brightest = np.unique(np.stack([joined[order], mosaic[order]]), axis=1, return_index=True)
    candidates = order[brightest]  # the brightest source of each joined island in each mosaic
    ranked = candidates[
        np.lexsort(
            (
                mosaic[candidates],
                np.asarray(sources["rms"])[candidates],
                cut[joined[candidates], mosaic[candidates]],
                joined[candidates],
            )
        )
    ]
    best = ranked[np.unique(joined[ranked], return_index=True)[1]]
    return mosaic[best][joined]
