"""From components to sources: which rows of a catalogue are one radio galaxy, and where its centre is.

A source finder splits a radio galaxy into components, often a lobe each, and a lobe alone has no morphology. Rows of
one source are found by the probability that they belong together (`~radio_ag.catalog_io.catalogs.association`), by the
finder's own islands or sources, by friends of friends on the sky, and, on request, by the flux of what may be the two
lobes of a double. Positions are unit vectors throughout: nothing happens at the poles or at
right ascension 0.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from radio_ag.catalog_io.catalogs import Catalogue
from radio_ag.catalog_io.catalogs.association import associate
from radio_ag.errors import InputError, RadioAGWarning
from radio_ag.preprocess.images import CROP_SIZE, PIXEL_SCALE
from radio_ag.sky import chord, connected_groups, unit_vectors

MAX_RADIUS = CROP_SIZE * PIXEL_SCALE
"""Width of the image that is classified, arcsec: what lies further apart does not fit into it, whoever linked it."""

LARGEST_NAMED = 7200.0
"""Width up to which the rows of one name are one source, arcsec: hardly a radio galaxy is wider."""

LARGEST_ISLAND = 1200.0
"""Width up to which the rows of one number, in one place, are one island, arcsec."""

DOUBLE_SEPARATION = 100.0
"""Separation up to which two lobes of 100 mJy in all are one source, arcsec; it grows as the root of their flux."""

DOUBLE_FLUX_RATIO = 4.0
"""Flux ratio up to which two lobes are one source."""

COMPONENT_KINDS = frozenset(
    {
        ("aegean", "comp"),
        ("aegean", "isle"),
        ("aegean", "simp"),
        ("first", "release"),
        ("first", "vizier"),
        ("photutils", "segments"),
        ("photutils", "segments-2"),
        ("photutils", "peaks"),
        ("pybdsf", "gaul"),
        ("pybdsf", "srl"),
        ("racs", "gaussians"),
        ("radio-ag", "sources"),
        ("selavy", "components"),
        ("selavy", "islands"),
        ("vlass", "vizier"),
    }
)
"""Dialects and kinds of tables whose rows are components or islands, which may or may not be of one source."""

COMPONENTS_OF_SOURCES = frozenset({("lotss", "components"), ("vlass", "components")})
"""Those whose rows are components, and of which some tables say of what source."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows of a catalogue of n rows as m sources.

    Attributes
    ----------
    how : str
        What made them, for the provenance: ``"association (catalogue)"``, ``"none"``, ``"island"``, ``"30 arcsec"``,
        ``"island, doubles"``, …
    group_id : numpy.ndarray of int64, shape (n,)
        Group of each row, from 0 in the order in which they first appear.
    size : numpy.ndarray of int32, shape (m,)
        Rows in each group.
    ra, dec : numpy.ndarray of float64, shape (m,)
        Centre of each group, degrees, ICRS: the mean of its rows on the sphere, weighted by flux. Rows without a
        positive flux do not count, unless no row of the group has one; then all count equally. A group of one row is
        where the row is. NaN for a row without a position, which is a group of its own.
    valid : numpy.ndarray of bool, shape (m,)
        Whether the group has a position.
    association : numpy.ndarray of float64, shape (m,)
        Probability that the rows of a group are all of one source, by the association's weakest link in it; NaN where
        nothing tells it: for a single row, for other ways of grouping, and for groups that ``join_doubles`` made.
    reach : numpy.ndarray of float32, shape (m,)
        How far the rows of each group reach from its centre along RA or Dec, arcsec: half the side of a square that
        holds them. 0 for a single row.
    """

    how: str
    group_id: NDArray[np.int64]
    size: NDArray[np.int32]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    valid: NDArray[np.bool_]
    association: NDArray[np.float64]
    reach: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ra)


def group_sources(
    catalogue: Catalogue, how: str | float | u.Quantity = "auto", *, join_doubles: bool = False
) -> Groups:
    """Group the rows of a catalogue into sources.

    Parameters
    ----------
    catalogue : `~radio_ag.catalog_io.catalogs.Catalogue`, n rows
        Rows without a position stay by themselves.
    how : "auto", "associate", "none", "island", float, str or `~astropy.units.Quantity`
        ``"associate"``: by the probability that they are of one source, as the columns tell it that the
        catalogue's dialect knows; see `~radio_ag.catalog_io.catalogs.association.associate`. ``"island"``: by
        the finder's own islands or sources; those further apart than `MAX_RADIUS` are parted, unless the source
        has a name: tables of several runs number their islands each from 0. An angle (a plain number is in
        arcsec, text may have a unit): friends of friends on the sky, rows linked by steps of no more than that,
        up to `MAX_RADIUS`. ``"none"``: each row by itself. ``"auto"``: association where the rows are known to
        be components or islands; ``"island"`` where the catalogue says of what source each row is; else none,
        as for a plain table of positions or a catalogue of sources.
    join_doubles : bool
        Join afterwards any two groups closer than ``100 arcsec * sqrt(F / 100 mJy)``, where F is the sum of their
        fluxes, and than `MAX_RADIUS`, whose fluxes differ by no more than a factor of 4.

    Returns
    -------
    Groups

    Raises
    ------
    InputError
        An unknown ``how``, islands or fluxes that the catalogue does not have, or a radius out of range.

    References
    ----------
    The criterion for doubles: Magliocchetti et al. 1998, MNRAS 300, 257.
    """
    link = _resolve(how, catalogue)
    if join_doubles and catalogue.flux is None:
        raise InputError("join_doubles: doubles are told by their fluxes, and this catalogue has none that are known")
    vectors = unit_vectors(catalogue.ra, catalogue.dec)
    label = np.arange(len(catalogue))
    certainty = np.full(len(catalogue), np.nan)
    usable = np.flatnonzero(catalogue.valid)
    if link == "island" and catalogue.group is not None:
        named = np.zeros(len(catalogue), bool) if catalogue.named is None else catalogue.named
        label[usable] = _islands(vectors[usable], catalogue.group[usable], named[usable])
    elif link == "associate":
        label, certainty = associate(catalogue)
    elif not isinstance(link, str):
        label[usable] = _friends(vectors[usable], link)
    # Rows without a position keep numbers that no group of the others has.
    label[~catalogue.valid] = len(catalogue) + np.flatnonzero(~catalogue.valid)
    if join_doubles and catalogue.flux is not None:
        joined = _join_doubles(vectors, catalogue.flux, label)
        certainty[_counts(joined) != _counts(label)] = np.nan
        label = joined
    name = {"associate": "association (catalogue)"}.get(link, link) if isinstance(link, str) else f"{link:g} arcsec"
    return _groups(f"{name}, doubles" if join_doubles else name, catalogue, vectors, label, certainty)


def _counts(label: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many rows have the label that each has."""
    _, which, count = np.unique(label, return_inverse=True, return_counts=True)
    return np.asarray(count[which])


def _resolve(how: str | float | u.Quantity, catalogue: Catalogue) -> str | float:
    """The way of grouping: ``"none"``, ``"island"``, ``"associate"``, or a radius in arcsec."""
    if isinstance(how, str) and how == "auto":
        table = (catalogue.dialect, catalogue.kind)
        if catalogue.chosen_group:
            return "island"
        if table in COMPONENT_KINDS:
            return "associate"
        if catalogue.group is not None:
            return "island"
        return "associate" if table in COMPONENTS_OF_SOURCES else "none"
    if isinstance(how, str) and how in ("none", "island", "associate"):
        if how == "island" and catalogue.group is None:
            kind = f"{catalogue.dialect} {catalogue.kind}" if catalogue.dialect else "plain"
            raise InputError(
                f"group='island': this {kind} table has no islands; accepted are auto, associate, none and a radius"
            )
        return how
    accepted = f"accepted are auto, associate, none, island, and an angle above 0 and up to {MAX_RADIUS:g} arcsec"
    try:
        angle = u.Quantity(how)
        radius = float(angle.value if angle.unit == u.dimensionless_unscaled else angle.to_value(u.arcsec))
    except (TypeError, ValueError, u.UnitsError) as exc:
        raise InputError(f"group={how!r}: {accepted}") from exc
    if not 0 < radius <= MAX_RADIUS:
        raise InputError(f"group={how!r}: {accepted}, the width of the image that is classified")
    return radius


def _friends(vectors: NDArray, radius: float, kind: NDArray | None = None) -> NDArray[np.intp]:
    """Labels of friends of friends within ``radius`` arcsec, of rows of one ``kind`` where that is given."""
    if kind is not None:
        # A fourth coordinate keeps rows of different kinds further apart than any two points of the sphere.
        vectors = np.column_stack([vectors, 4.0 * kind])
    # Rows at one and the same place, however many, would make pairs by their square.
    places, place_of = np.unique(vectors, axis=0, return_inverse=True)
    pairs = cKDTree(places).query_pairs(chord(radius), output_type="ndarray")
    return connected_groups(len(places), pairs)[place_of]


def _islands(vectors: NDArray, key: NDArray, named: NDArray) -> NDArray[np.intp]:
    """Labels of the rows that share a key: all of one source's name, and of a number those that are near each other.

    A chain of rows that no image holds is one source where its key can be trusted: where all that share it are in one
    place. Otherwise the key stands for something else, such as "unknown", and its rows are taken one by one.
    """
    _, key = np.unique(key, return_inverse=True)
    label = _friends(vectors, MAX_RADIUS, key)
    width = _width(vectors, key)
    whole = named & (width[key] <= LARGEST_NAMED)
    pieces = np.bincount(key[np.unique(label, return_index=True)[1]], minlength=len(width))
    trusted = whole | ((pieces == 1) & (width <= LARGEST_ISLAND))[key]
    doubtful = ~trusted & (_width(vectors, label) > MAX_RADIUS)[label]
    if doubtful.any():
        warnings.warn(
            f"{doubtful.sum()} rows in {len(np.unique(label[doubtful]))} chains that are wider than the image that is "
            "classified share a group key that others have elsewhere, or no source can have: each is taken as a source "
            "of its own",
            RadioAGWarning,
            stacklevel=3,
        )
    label = np.where(whole, len(label) + key, label)
    return np.where(doubtful, 3 * len(label) + np.arange(len(label)), label)


def _width(vectors: NDArray, label: NDArray) -> NDArray[np.float64]:
    """About how wide each group of labels from 0 is, arcsec: from the row farthest from its first to that from this."""
    _, end = np.unique(label, return_index=True)
    far = np.zeros(len(label))
    for _ in range(2):
        far = np.linalg.norm(vectors - vectors[end[label]], axis=1)
        order = np.lexsort((far, label))
        end = order[np.append(np.flatnonzero(np.diff(label[order])), len(order) - 1)] if len(order) else end
    return 3600 * np.degrees(2 * np.arcsin(np.minimum(far[end] / 2, 1.0)))


def _join_doubles(vectors: NDArray, flux: NDArray, label: NDArray) -> NDArray[np.intp]:
    """Labels after groups that look like two lobes were joined; each group counts with its centre and summed flux."""
    names, label = np.unique(label, return_inverse=True)
    total = np.bincount(label, _positive(flux), len(names))
    centre = _mean_vectors(vectors, flux, label, len(names))
    bright = np.flatnonzero((total > 0) & np.isfinite(centre).all(axis=1))
    pairs = bright[cKDTree(centre[bright]).query_pairs(chord(MAX_RADIUS), output_type="ndarray")]
    distance = np.linalg.norm(centre[pairs[:, 0]] - centre[pairs[:, 1]], axis=1)
    separation = 3600 * np.degrees(2 * np.arcsin(distance / 2))
    fluxes = total[pairs]
    near = separation <= DOUBLE_SEPARATION * np.sqrt(fluxes.sum(axis=1) / 0.1)
    alike = fluxes.max(axis=1) <= DOUBLE_FLUX_RATIO * fluxes.min(axis=1)
    return connected_groups(len(names), pairs[near & alike])[label]


def _groups(how: str, catalogue: Catalogue, vectors: NDArray, label: NDArray, certainty: NDArray) -> Groups:
    _, first, label = np.unique(label, return_index=True, return_inverse=True)
    order = np.argsort(first)
    first = first[order]
    group_id = np.argsort(order)[label]
    size = np.bincount(group_id)
    centres = _mean_vectors(vectors, catalogue.flux, group_id, len(first))
    x, y, z = centres.T
    alone = size == 1
    return Groups(
        how=how,
        group_id=group_id.astype(np.int64),
        size=size.astype(np.int32),
        ra=np.where(alone, catalogue.ra[first], np.degrees(np.arctan2(y, x)) % 360),
        dec=np.where(alone, catalogue.dec[first], np.degrees(np.arctan2(z, np.hypot(x, y)))),
        valid=catalogue.valid[first],
        association=certainty[first],
        reach=_reach(vectors, centres, group_id, alone),
    )


def _reach(vectors: NDArray, centres: NDArray, label: NDArray, alone: NDArray) -> NDArray[np.float32]:
    """Largest offset of a row from the centre of its group, east or north, arcsec; 0 where it is the only one."""
    rows = np.flatnonzero(~alone[label])
    centre = centres[label[rows]]
    east = np.stack([-centre[:, 1], centre[:, 0], np.zeros(len(rows))], axis=1)
    east /= np.maximum(np.linalg.norm(east, axis=1, keepdims=True), np.finfo(float).tiny)
    offsets = [np.abs(np.sum(vectors[rows] * axis, axis=1)) for axis in (east, np.cross(centre, east))]
    reach = np.zeros(len(alone), np.float32)
    np.maximum.at(reach, label[rows], 3600 * np.degrees(np.arcsin(np.minimum(np.maximum(*offsets), 1.0))))
    return reach


def _mean_vectors(vectors: NDArray, flux: NDArray | None, label: NDArray, n: int) -> NDArray[np.float64]:
    """Flux-weighted mean of the unit vectors of each of n groups, on the sphere; (n, 3)."""
    weight = np.ones(len(label)) if flux is None else _positive(flux)
    weight = np.where(np.bincount(label, weight, n)[label] > 0, weight, 1.0)
    mean = np.stack([np.bincount(label, weight * axis, n) for axis in vectors.T], axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _positive(flux: NDArray) -> NDArray[np.float64]:
    """Fluxes that can be weights: 0 where they are missing, negative or infinite."""
    return np.where(np.isfinite(flux) & (flux > 0), flux, 0.0)
