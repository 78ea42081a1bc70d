"""Which components are one radio source: a calibrated probability for each pair, and groups that keep strangers out.

The features of a pair come from the catalogue: separation, fluxes, sizes, how each component lies to the line between
them, what lies in the middle, and how crowded the field is. A small ensemble of decision trees makes a probability of
them. Groups grow by average linkage: two join where the mean probability over all pairs of their components is high
enough, so that a component that only one end of a source vouches for stays outside.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import expit, logit

import radio_ag.weights
from radio_ag.catalog_io.catalogs.read import Catalogue
from radio_ag.errors import WeightsError
from radio_ag.preprocess.images import CROP_SIZE, PIXEL_SCALE
from radio_ag.sky import chord, unit_vectors

REACH = CROP_SIZE * PIXEL_SCALE
"""Separation up to which two components can be of one source, arcsec: the width of the image that is classified."""

FEATURES = (
    "separation",
    "flux",
    "flux_ratio",
    "separation_for_flux",
    "gap",
    "bright_size",
    "faint_size",
    "bright_alignment",
    "faint_alignment",
    "bright_extent",
    "faint_extent",
    "bright_snr",
    "faint_snr",
    "detour",
    "longest_step",
    "nearer_to_bright",
    "nearer_to_faint",
    "neighbours",
    "pull",
    "flux_of_others",
    "same_island",
)
"""Features of a pair, of which one component is the brighter and one the fainter; see `pair_features`."""

_BLOCK = 1 << 16  # pairs whose features are worked out at a time


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Rows of a catalogue, brightest first, with those around each: n rows with a position, NaN where not known.

    Attributes
    ----------
    row : numpy.ndarray of int, shape (n,)
        Place in the catalogue: of rows at one and the same position the first.
    twins : numpy.ndarray of int, shape (m, 2)
        The others of such rows, each with the first; they are one component.
    vectors : numpy.ndarray, shape (n, 3)
    flux, snr, extent, size, major, minor : numpy.ndarray, shape (n,)
        Jy; peak over noise; total over peak flux density; and major axis deconvolved, both axes, arcsec.
    axis : numpy.ndarray, shape (n, 3)
        Unit vector along the major axis.
    island : numpy.ndarray, shape (n,)
    pairs : numpy.ndarray of int, shape (k, 2)
        All pairs within `REACH`, the brighter first.
    start, neighbour : numpy.ndarray of int, shapes (n + 1,) and (2 k,)
        The neighbours of row i are ``neighbour[start[i]:start[i + 1]]``.
    """

    row: NDArray[np.intp]
    twins: NDArray[np.intp]
    vectors: NDArray[np.float64]
    flux: NDArray[np.float64]
    snr: NDArray[np.float64]
    extent: NDArray[np.float64]
    size: NDArray[np.float64]
    major: NDArray[np.float64]
    minor: NDArray[np.float64]
    axis: NDArray[np.float64]
    island: NDArray[np.float64]
    pairs: NDArray[np.intp]
    start: NDArray[np.intp]
    neighbour: NDArray[np.intp]


def neighbourhood(catalogue: Catalogue) -> Neighbourhood:
    """Put the rows of a catalogue in an order that does not depend on that of the table, and find all close pairs.

    Parameters
    ----------
    catalogue : `~radio_ag.catalog_io.catalogs.Catalogue`
        With fluxes and sizes where its finder gave them.

    Returns
    -------
    Neighbourhood
        Of the rows that have a position, each position once.
    """
    flux = _known(catalogue.flux, len(catalogue))
    order = np.lexsort((catalogue.dec, catalogue.ra, -np.where(np.isfinite(flux) & (flux > 0), flux, 0)))
    row, twins = _places(catalogue, order[catalogue.valid[order]])
    flux = np.where(np.isfinite(flux) & (flux > 0), flux, np.nan)[row]
    island = _known(catalogue.group, len(catalogue))[row]
    peak, rms, major, minor, angle = (
        catalogue.measure(name, row) for name in ("peak", "rms", "major", "minor", "position_angle")
    )
    ra, dec = np.radians(catalogue.ra[row]), np.radians(catalogue.dec[row])
    vectors = unit_vectors(catalogue.ra[row], catalogue.dec[row])
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=1)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros(len(ra))], axis=1)
    angle = np.radians(angle)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        extent = np.where(peak > 0, flux / peak, np.nan)
        beam = major * minor / extent
        beam_squared = np.nanmedian(beam) if np.isfinite(beam).any() else np.nan
        snr = np.where(rms > 0, peak / rms, np.nan)
    pairs = np.sort(cKDTree(vectors).query_pairs(chord(REACH), output_type="ndarray"), axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    return Neighbourhood(
        row=row,
        twins=twins,
        vectors=vectors,
        flux=flux,
        snr=snr,
        extent=extent,
        size=np.sqrt(np.maximum(major**2 - beam_squared, 0)),
        major=major,
        minor=minor,
        axis=np.cos(angle) * north + np.sin(angle) * east,
        island=island,
        pairs=pairs,
        start=np.searchsorted(both[:, 0], np.arange(len(row) + 1)),
        neighbour=both[:, 1],
    )


def _places(catalogue: Catalogue, row: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first row at each position, and pairs of each other with it: as neighbours they would go by their square."""
    place = catalogue.ra[row] + 1j * catalogue.dec[row]
    _, first, which = np.unique(place, return_index=True, return_inverse=True)
    other = np.setdiff1d(np.arange(len(row)), first)
    return row[np.sort(first)], np.stack([row[other], row[first[which[other]]]], axis=1)


def _known(values: NDArray | None, n: int) -> NDArray[np.float64]:
    return np.full(n, np.nan) if values is None else np.asarray(values, float)


def pair_features(rows: Neighbourhood, pairs: NDArray[np.intp]) -> NDArray[np.float32]:
    """Work out the features of pairs.

    Angles and distances are on the sky; fluxes, ratios, extents and S/N are logarithms to base 10, sizes are in arcsec.

    Parameters
    ----------
    rows : Neighbourhood
        Of the catalogue that the pairs are of.
    pairs : numpy.ndarray of int, shape (k, 2)
        The brighter first.

    Returns
    -------
    numpy.ndarray of float32, shape (k, `FEATURES`)
        ``separation``, ``gap`` (what remains of it beyond half of each component's width along the line),
        ``separation_for_flux`` (over the root of the summed flux); ``bright_…`` and ``faint_…``: deconvolved size,
        total over peak flux, S/N, and alignment (1 along the line, -1 across, 0 round); of the other components around:
        the shortest ``detour`` through one and the least ``longest_step`` that way, in separations, how many are
        ``nearer_to_bright`` or ``nearer_to_faint`` than the pair to each other, how many ``neighbours`` there are,
        ``flux_of_others`` over that of the pair, and the most that another one draws the fainter by flux over distance
        squared, over what the brighter does (``pull``); ``same_island`` is 1 or 0. NaN where not known.
    """
    bright, faint = pairs.T
    line = rows.vectors[faint] - rows.vectors[bright]
    length = np.linalg.norm(line, axis=1)
    separation = 3600 * np.degrees(2 * np.arcsin(length / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        line = line / length[:, None]
        widths, alignments = zip(*(_along(rows, end, line) for end in (bright, faint)), strict=True)
        total = rows.flux[bright] + rows.flux[faint]
        features = {
            "separation": separation,
            "flux": np.log10(total),
            "flux_ratio": np.log10(rows.flux[bright] / rows.flux[faint]),
            "separation_for_flux": np.log10(separation / np.sqrt(total)),
            "gap": separation - (widths[0] + widths[1]) / 2,
            "bright_size": rows.size[bright],
            "faint_size": rows.size[faint],
            "bright_alignment": alignments[0],
            "faint_alignment": alignments[1],
            "bright_extent": np.log10(rows.extent[bright]),
            "faint_extent": np.log10(rows.extent[faint]),
            "bright_snr": np.log10(rows.snr[bright]),
            "faint_snr": np.log10(rows.snr[faint]),
            "same_island": np.where(np.isnan(rows.island[bright]), np.nan, rows.island[bright] == rows.island[faint]),
        } | _among_others(rows, pairs, length)
    return np.stack([features[name] for name in FEATURES], axis=1).astype(np.float32)


def _along(rows: Neighbourhood, end: NDArray[np.intp], line: NDArray) -> tuple[NDArray, NDArray]:
    """Full width of each component along the line, arcsec, and how well it points along it: 1 along, -1 across."""
    cosine = np.einsum("ij,ij->i", rows.axis[end], line) ** 2
    major, minor = rows.major[end] ** 2, rows.minor[end] ** 2
    width = np.sqrt(major * minor / (minor * cosine + major * (1 - cosine)))
    return width, (2 * cosine - 1) * (major - minor) / (major + minor)


def _among_others(rows: Neighbourhood, pairs: NDArray[np.intp], length: NDArray) -> dict[str, NDArray]:
    """Features of a pair that depend on the other rows around it."""
    n = len(pairs)
    found: dict[str, NDArray] = {name: np.zeros(n) for name in ("nearer_to_bright", "nearer_to_faint", "neighbours")}
    to = []
    for end in range(2):
        first = rows.start[pairs[:, end]]
        count = rows.start[pairs[:, end] + 1] - first
        pair = np.repeat(np.arange(n), count)
        other = rows.neighbour[np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count) + first[pair]]
        keep = other != pairs[pair, 1 - end]
        pair, other = pair[keep], other[keep]
        near, far = (
            np.linalg.norm(rows.vectors[other] - rows.vectors[pairs[pair, side]], axis=1) for side in (end, 1 - end)
        )
        to.append((pair, other, near / length[pair], far / length[pair]))
        name = ("nearer_to_bright", "nearer_to_faint")[end]
        found[name] = np.bincount(pair[near < length[pair]], minlength=n)
        found["neighbours"] = np.maximum(found["neighbours"], np.bincount(pair, minlength=n))
    pair, other, near, far = to[0]
    found["detour"] = _least(n, pair, near + far)
    found["longest_step"] = _least(n, pair, np.maximum(near, far))
    flux = np.where(np.isnan(rows.flux), 0, rows.flux)
    found["flux_of_others"] = np.log10(
        (np.bincount(pair, flux[other], n)) / (flux[pairs[:, 0]] + flux[pairs[:, 1]]) + 1e-3
    )
    # The fainter is drawn to the brighter as light would be; is it drawn more by another one?
    pair, other, near, far = to[1]
    found["pull"] = np.log10(-_least(n, pair, -(flux[other] / near**2), 0.0) / flux[pairs[:, 0]] + 1e-3)
    return found


def _least(n: int, pair: NDArray[np.intp], values: NDArray, none: float = 4.0) -> NDArray:
    """Least value of each pair, no more than ``none``."""
    least = np.full(n, none)
    np.minimum.at(least, pair, values)
    return least


def catalogue_features(rows: Neighbourhood) -> Iterator[NDArray[np.float32]]:
    """Work out the features of all close pairs, a block at a time.

    Parameters
    ----------
    rows : Neighbourhood
        Its own pairs are taken, in their order.

    Yields
    ------
    numpy.ndarray, shape (up to 65536, `FEATURES`)
    """
    for start in range(0, len(rows.pairs), _BLOCK):
        yield pair_features(rows, rows.pairs[start : start + _BLOCK])


@dataclass(frozen=True, eq=False)
class Model:
    """Decision trees, t of them and each of depth d, whose sum is the log odds that a pair is one source.

    Attributes
    ----------
    features : tuple of str
        What ``feature`` counts.
    feature, threshold, missing_right : numpy.ndarray, shape (t, 2**d - 1)
        Of each node, those of a level after those above it: right where the feature is above the threshold, and where
        it is not known if ``missing_right``.
    leaf : numpy.ndarray, shape (t, 2**d)
        Log odds, of the leaves from left to right.
    baseline : float
        Log odds to begin with.
    least : float
        Mean probability from which two groups are one source.
    purity : tuple of float
        Offset and slope: the log odds that a group is one source, by those of its weakest link.
    """

    features: tuple[str, ...]
    feature: NDArray[np.intp]
    threshold: NDArray[np.float32]
    missing_right: NDArray[np.bool_]
    leaf: NDArray[np.float64]
    baseline: float
    least: float
    purity: tuple[float, float]

    @classmethod
    def read(cls, card: dict[str, Any]) -> Model:
        """Read a model from its card.

        Parameters
        ----------
        card : dict
            With ``"model"``; see ``association.json`` beside the weights.

        Returns
        -------
        Model

        Raises
        ------
        WeightsError
            It needs features that are not known here.
        """
        told = card["model"]
        if tuple(told["features"]) != FEATURES:
            raise WeightsError("the association model was made for other features than this version has")
        return cls(
            features=FEATURES,
            feature=np.array(told["feature"], np.intp),
            threshold=np.array(told["threshold"], np.float32),
            missing_right=np.array(told["missing_right"], bool),
            leaf=np.array(told["leaf"], float),
            baseline=float(told["baseline"]),
            least=float(told["least"]),
            purity=(float(told["purity"][0]), float(told["purity"][1])),
        )

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability that the components of a pair are of one source.

        Parameters
        ----------
        features : numpy.ndarray, shape (k, f)
            From `pair_features`; NaN where not known.

        Returns
        -------
        numpy.ndarray, shape (k,)
        """
        columns = np.ascontiguousarray(features.T)
        every = np.arange(len(features))
        odds = np.full(len(features), self.baseline)
        depth = int(np.log2(self.leaf.shape[1]))
        for feature, threshold, missing_right, leaf in zip(
            self.feature, self.threshold, self.missing_right, self.leaf, strict=True
        ):
            node = np.zeros(len(features), np.intp)
            for _ in range(depth):
                value = columns[feature[node], every]
                right = (value > threshold[node]) | (np.isnan(value) & missing_right[node])
                node = 2 * node + 1 + right
            odds += leaf[node - len(feature)]
        return np.asarray(expit(odds))

    def certainty(self, weakest: NDArray) -> NDArray[np.float64]:
        """Return the probability that groups hold one source each.

        Parameters
        ----------
        weakest : numpy.ndarray, shape (m,)
            Least mean probability by which parts of the group were joined, as `link` gives it.

        Returns
        -------
        numpy.ndarray, shape (m,)
        """
        return np.asarray(expit(self.purity[0] + self.purity[1] * logit(np.clip(weakest, 1e-6, 1 - 1e-6))))


@functools.cache
def bundled_model() -> Model:
    """Return the model that lies beside the weights.

    Returns
    -------
    Model
        Read once in a process.
    """
    return Model.read(json.loads(Path(radio_ag.weights.__file__).with_name("association.json").read_bytes()))


def associate(catalogue: Catalogue, model: Model | None = None) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Group the components of a catalogue into sources.

    Parameters
    ----------
    catalogue : `~radio_ag.catalog_io.catalogs.Catalogue`, n rows
        Whatever it does not have, from fluxes to islands, the model does without.
    model : Model, optional
        `None`: the bundled one.

    Returns
    -------
    label : numpy.ndarray of int, shape (n,)
        The same for rows of one source; rows without a position are by themselves.
    certainty : numpy.ndarray, shape (n,)
        Probability that the row's group is one source; NaN for a row by itself, 1 for rows at one position.
    """
    model = bundled_model() if model is None else model
    label, certainty = np.arange(len(catalogue)), np.full(len(catalogue), np.nan)
    rows = neighbourhood(catalogue)
    probability = np.concatenate(
        [np.zeros(0), *(model.probabilities(features) for features in catalogue_features(rows))]
    )
    group, weakest = link(len(rows.row), rows.pairs, probability, model.least)
    label[rows.row] = rows.row[group]
    certainty[rows.row] = model.certainty(weakest)[group]
    twin, first = rows.twins.T
    label[twin] = label[first]
    certainty[first] = np.where(np.isnan(certainty[first]), 1.0, certainty[first])
    certainty[twin] = certainty[first]
    return label, certainty


def link(n: int, pairs: NDArray[np.intp], probability: NDArray, threshold: float) -> tuple[NDArray, NDArray]:
    """Group n things by average linkage: as long as two groups have a mean probability above the threshold, they join.

    Pairs that are not given have a probability of 0. The two with the highest mean join first; those that are each
    other's best can join in any order, or at once.

    Parameters
    ----------
    n : int
        How many things there are, numbered from 0.
    pairs : numpy.ndarray of int, shape (k, 2)
        Numbers of two things each, every pair once.
    probability : numpy.ndarray, shape (k,)
        That the two of each pair belong together, 0 to 1.
    threshold : float
        Mean probability between two groups from which on they join.

    Returns
    -------
    label : numpy.ndarray of int, shape (n,)
        Of each thing's group: the least number in it.
    weakest : numpy.ndarray, shape (n,)
        By label: the least mean probability that a group was joined by; NaN for one by itself.
    """
    label = np.arange(n)
    size = np.ones(n)
    weakest = np.full(n, np.nan)
    keep = probability > 0
    low, high = np.sort(pairs[keep], axis=1).T
    total = np.asarray(probability[keep], float)
    while len(total):
        mean = total / (size[low] * size[high])
        best = np.zeros(n)
        np.maximum.at(best, low, mean)
        np.maximum.at(best, high, mean)
        candidates = np.flatnonzero((mean >= threshold) & (mean == best[low]) & (mean == best[high]))
        if not len(candidates):
            break
        # Of equal means a group takes the first: each joins one other at a time.
        first = np.full(n, len(total))
        np.minimum.at(first, low[candidates], candidates)
        np.minimum.at(first, high[candidates], candidates)
        joined = candidates[(first[low[candidates]] == candidates) & (first[high[candidates]] == candidates)]
        into = np.arange(n)
        into[high[joined]] = low[joined]
        weakest[low[joined]] = np.fmin(np.fmin(weakest[low[joined]], weakest[high[joined]]), mean[joined])
        size[low[joined]] += size[high[joined]]
        label = into[label]
        low, high = np.sort(np.stack([into[low], into[high]]), axis=0)
        apart = low != high
        key, which = np.unique(low[apart] * n + high[apart], return_inverse=True)
        total = np.bincount(which, total[apart], len(key))
        low, high = np.divmod(key, n)
    return label, weakest
