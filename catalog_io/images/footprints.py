"""Which images may contain a position: circles around the images, indexed on the sphere."""

from collections.abc import Sequence

import numpy as np
from astropy.coordinates import ICRS, BaseCoordinateFrame, SkyCoord
from scipy.spatial import cKDTree

from radio_ag.catalog_io.images.headers import ImageFrame

_EDGE_POINTS = 9


class Footprints:
    """Circles that enclose images, in one tree for each octave of their radii.

    One great mosaic among many small images therefore does not make every image a candidate everywhere.

    Parameters
    ----------
    frames : sequence of ImageFrame
    shapes : sequence of tuple of int
        (ny, nx) of each image.
    """

    def __init__(self, frames: Sequence[ImageFrame], shapes: Sequence[tuple[int, int]]):
        circles = [_circle(frame, shape) for frame, shape in zip(frames, shapes, strict=True)]
        centre = np.array([circle[:2] for circle in circles]).reshape(-1, 2)
        self._centre = unit_vectors(*_to_icrs(frames, centre))
        self._chord = 2 * np.sin(np.array([circle[2] for circle in circles]) / 2)
        octave = np.floor(np.log2(self._chord)).astype(int)
        self._trees = []
        for value in np.unique(octave):
            members = np.flatnonzero(octave == value)
            self._trees.append((members, cKDTree(self._centre[members]), self._chord[members].max()))

    def candidates(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs of position and image whose circle holds it.

        Parameters
        ----------
        ra, dec : ndarray, shape (n,)
            Degrees ICRS.

        Returns
        -------
        rows, images : ndarray, shape (pairs,), int
            Indices of the positions and the images.
        """
        points = unit_vectors(ra, dec)
        none = np.empty(0, dtype=int)
        pairs = [(none, none)]
        for members, tree, chord in self._trees:
            near = tree.query_ball_point(points, chord)
            owners = np.repeat(np.arange(len(points)), [len(found) for found in near])
            pairs.append((owners, members[np.concatenate([none, *near]).astype(int)]))
        rows, images = (np.concatenate(part) for part in zip(*pairs, strict=True))
        within = np.linalg.norm(points[rows] - self._centre[images], axis=1) <= self._chord[images]
        return rows[within], images[within]


def unit_vectors(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the unit vectors of directions.

    Parameters
    ----------
    longitude, latitude : ndarray, shape (n,)
        Degrees.

    Returns
    -------
    ndarray, shape (n, 3)
    """
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=-1
    )


def _circle(frame: ImageFrame, shape: tuple[int, int]) -> tuple[float, float, float]:
    """Longitude and latitude (degrees, the image's own frame) and radius (radians) of a circle around an image."""
    ny, nx = shape
    x, y = np.linspace(-0.5, nx - 0.5, _EDGE_POINTS), np.linspace(-0.5, ny - 0.5, _EDGE_POINTS)
    edge = np.concatenate([[(px, py) for px in x for py in y[[0, -1]]], [(px, py) for px in x[[0, -1]] for py in y]])
    pixels = np.concatenate([[((nx - 1) / 2, (ny - 1) / 2)], edge])
    world = frame.wcs.all_pix2world(pixels, 0)
    if not np.isfinite(world).all():  # the image reaches beyond the sky's edge
        return 0.0, 0.0, np.pi
    vectors = unit_vectors(world[:, 0], world[:, 1])
    radius = 2 * np.arcsin(min(1.0, np.linalg.norm(vectors[1:] - vectors[0], axis=1).max() / 2))
    # Between the edge points the edge may bulge: by less than 2 % of the radius where the image is a small one.
    return world[0, 0], world[0, 1], min(np.pi, 1.02 * radius) if radius < 0.5 else np.pi


def _to_icrs(frames: Sequence[ImageFrame], centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec of centres that are in their own frames, one transformation a kind of frame."""
    ra, dec = np.empty(len(centre)), np.empty(len(centre))
    for sky, members in group_by_sky(frames):
        icrs = SkyCoord(*centre[members].T, unit="deg", frame=sky).transform_to(ICRS())
        ra[members], dec[members] = icrs.ra.deg, icrs.dec.deg
    return ra, dec


def group_by_sky(frames: Sequence[ImageFrame]) -> list[tuple[BaseCoordinateFrame, np.ndarray]]:
    """Return the coordinate frames of images, each with the indices of its images.

    Parameters
    ----------
    frames : sequence of ImageFrame
        Of the images.

    Returns
    -------
    list of (BaseCoordinateFrame, ndarray of int)
    """
    groups: dict[str, tuple[BaseCoordinateFrame, list[int]]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(repr(frame.sky), (frame.sky, []))[1].append(index)
    return [(sky, np.array(members)) for sky, members in groups.values()]
