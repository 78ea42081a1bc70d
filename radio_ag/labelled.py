"""Labelled radio galaxies for training and evaluation: reading, grouping on the sky, splitting by source."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from radio_ag.errors import CatalogueError, ImageError
from radio_ag.model import CLASSES
from radio_ag.preprocess import FIELD_SIZE, clip, crop, estimate_rms

SAME_SOURCE = 270.0  # arcsec: two cutouts closer than this can show the same emission
_DUPLICATE = 30.0  # arcsec: two entries of one source
_FAINTEST_PEAK = 64  # of 255: an 8-bit crop with a fainter peak has too few grey levels left


@dataclass(frozen=True)
class Labelled:
    """Sources with labels.

    Attributes
    ----------
    fields : ndarray, shape (n, 300, 300), float32
        Clipped fields, blank pixels 0; the scale of each is arbitrary: images are normalised after cropping.
    label : ndarray of int
        0 for FRI, 1 for FRII.
    certain : ndarray of bool
        Whether the label is certain.
    ra, dec : ndarray of float
        Degrees, ICRS.
    origin : ndarray of str
        The data set that the source comes from.
    group : ndarray of int
        Entries within 270 arcsec of each other, directly or in a chain, share a group.
    """

    fields: np.ndarray
    label: np.ndarray
    certain: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    origin: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows) -> Labelled:
        return Labelled(*(getattr(self, f.name)[rows] for f in fields(self)))


def load_labelled(*paths) -> Labelled:
    """Read FITS files of labelled fields.

    Parameters
    ----------
    *paths : path-like
        Each with a table ``SOURCES`` (``ra``, ``dec`` in deg, ``fr_class``; optional ``confidence``) and a cube
        ``IMAGES`` (n, 300, 300): raw fields in Jy/beam (floating point), or fields already clipped and scaled (8-bit).

    Returns
    -------
    Labelled
        FRI and FRII alone. Of two entries of one source (within 30 arcsec) in different files the first file's stays;
        8-bit fields whose crop is nearly empty are left out.
    """
    parts = [_read(Path(path)) for path in paths]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    kept = _without_duplicates(columns["ra"], columns["dec"], columns["origin"])
    columns = {name: values[kept] for name, values in columns.items()}
    return Labelled(**columns, group=group_by_position(columns["ra"], columns["dec"], SAME_SOURCE))


def _read(path: Path) -> dict[str, np.ndarray]:
    from astropy.io import fits

    with fits.open(path) as hdus:
        names = [hdu.name for hdu in hdus]
        if "SOURCES" not in names or "IMAGES" not in names:
            raise CatalogueError(f"{path.name}: needs the HDUs SOURCES and IMAGES, has {', '.join(names)}")
        table, images = hdus["SOURCES"].data, hdus["IMAGES"].data
        missing = {"ra", "dec", "fr_class"} - {n.lower() for n in table.names}
        if missing:
            raise CatalogueError(f"{path.name}: SOURCES lacks the columns {', '.join(sorted(missing))}")
        if images.shape != (len(table), FIELD_SIZE, FIELD_SIZE):
            raise ImageError(f"{path.name}: IMAGES has shape {images.shape}, expected {(len(table), 300, 300)}")
        rows = np.flatnonzero(np.isin(np.char.strip(table["fr_class"].astype(str)), CLASSES))
        scaled = images.dtype.kind == "u"
        if scaled:
            rows = rows[crop(images[rows].astype(np.float32)).max((1, 2)) >= _FAINTEST_PEAK]
        stack = images[rows].astype(np.float32)
        if not scaled:
            stack = clip(stack, estimate_rms(stack).rms)
        confidence = (
            table["confidence"][rows].astype(str) if "confidence" in table.names else np.full(len(rows), "certain")
        )
        return {
            "fields": stack,
            "label": np.array([CLASSES.index(c.strip()) for c in table["fr_class"][rows]]),
            "certain": np.char.strip(confidence) == "certain",
            "ra": table["ra"][rows].astype(float),
            "dec": table["dec"][rows].astype(float),
            "origin": np.full(len(rows), path.stem),
        }


def _pairs(ra, dec, radius) -> np.ndarray:
    """Pairs of rows closer than ``radius`` arcsec, shape (n, 2)."""
    lon, lat = np.radians(ra), np.radians(dec)
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    chord = 2 * np.sin(np.radians(radius / 3600) / 2)
    return cKDTree(vectors).query_pairs(chord, output_type="ndarray")


def _without_duplicates(ra, dec, origin) -> np.ndarray:
    first, second = _pairs(ra, dec, _DUPLICATE).T
    kept = np.ones(len(ra), bool)
    kept[np.maximum(first, second)[origin[first] != origin[second]]] = False
    return kept


def group_by_position(ra: np.ndarray, dec: np.ndarray, radius: float = SAME_SOURCE) -> np.ndarray:
    """Number the friends-of-friends groups of positions.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees.
    radius : float
        Linking length, arcsec.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    first, second = _pairs(ra, dec, radius).T
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(ra), len(ra)))
    return connected_components(links, directed=False)[1]


def assign_folds(data: Labelled, folds: int = 5, seed: int = 0) -> np.ndarray:
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
    _, leaders = np.unique(data.group, return_index=True)  # a group is stratified as its first member
    stratum = np.unique(
        np.stack([np.unique(data.origin, return_inverse=True)[1], data.label, data.certain]),
        axis=1,
        return_inverse=True,
    )[1]
    fold_of_group = np.empty(len(leaders), int)
    for value in np.unique(stratum[leaders]):
        members = np.flatnonzero(stratum[leaders] == value)
        fold_of_group[members] = (rng.permutation(len(members)) + rng.integers(folds)) % folds
    return fold_of_group[np.unique(data.group, return_inverse=True)[1]]
