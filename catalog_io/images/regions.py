"""Regions of the sky that limit a run: DS9, CRTF and FITS region files, and multi-order coverage maps (MOC)."""

from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord, UnitSphericalRepresentation
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from radio_ag.catalog_io.files.fits_open import in_order, open_checked
from radio_ag.catalog_io.images.geometry import sky_to_pixel
from radio_ag.catalog_io.images.headers import ImageFrame
from radio_ag.errors import InputError

_FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".moc")
_MOC_KEYWORDS = ("MOCORDER", "MOCVERS", "MOCORD_S")
_ACCEPTED = "a DS9 (.reg), CRTF (.crtf) or FITS region file, or a MOC (.fits, .json)"


class Region(Protocol):
    """A part of the sky."""

    name: str
    """Short name for headers."""
    in_pixels: bool
    """The region is given in the pixels of a mosaic, and means nothing without it."""

    def contains(self, ra: ArrayLike, dec: ArrayLike, frame: ImageFrame | None = None) -> NDArray[np.bool_]:
        """Which positions are inside.

        Parameters
        ----------
        ra, dec : array-like, shape (n,)
            Degrees ICRS; one that is not finite is outside.
        frame : ImageFrame, optional
            Of the mosaic, which a region in pixel coordinates needs.
        """


def open_region(region: str | PathLike | Region | None) -> Region | None:
    """Read a region file or a MOC; what is a region already, or None, is given back.

    Parameters
    ----------
    region : path-like, Region or None
        DS9 (``.reg``), CRTF (``.crtf``) or FITS region file; MOC as FITS or JSON (``.json``), which needs mocpy.

    Raises
    ------
    InputError
        If the file is missing, cannot be read, has no shape with an area, or is a MOC and mocpy is not installed.
    """
    if not isinstance(region, str | PathLike):
        return region
    path = Path(region).expanduser()
    if not path.is_file():
        raise InputError(f"region={str(path)!r} is no file; accepted are {_ACCEPTED}")
    name = path.name.lower()
    if name.endswith(".json") or (name.endswith(_FITS_SUFFIXES) and _is_moc(path)):
        return MocRegion(path)
    return ShapeRegion(path)


def _is_moc(path: Path) -> bool:
    try:
        with open_checked(path) as hdus:
            headers = [hdu.header for hdu in in_order(hdus)][1:]
            return any(keyword in header for header in headers for keyword in _MOC_KEYWORDS) or any(
                header.get("ORDERING") in ("NUNIQ", "RANGE", "RANGE29") for header in headers
            )
    except OSError as exc:
        raise InputError(f"region={str(path)!r} is not a readable FITS file: {exc}") from exc


class ShapeRegion:
    """Shapes of a region file: inside any that includes, and outside all that exclude.

    Shapes on the sky are drawn on the sphere, not in a mosaic: distances from the centre of a circle, an ellipse, an
    annulus or a box are true angles, and the sides of a polygon are great circles.
    """

    def __init__(self, path: Path):
        from regions import PixelRegion  # slow to import

        self.name = path.name
        shapes = _read_shapes(path)
        self._included = [shape for shape, excluded in shapes if not excluded]
        self._excluded = [shape for shape, excluded in shapes if excluded]
        self.in_pixels = any(isinstance(shape, PixelRegion) for shape, _ in shapes)

    def contains(self, ra: ArrayLike, dec: ArrayLike, frame: ImageFrame | None = None) -> NDArray[np.bool_]:
        """See `Region`; shapes in pixels need ``frame``."""
        ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        finite = np.isfinite(ra) & np.isfinite(dec)
        sky = SkyCoord(ra[finite], dec[finite], unit=u.deg, frame=ICRS())
        inside = np.full(len(sky), not self._included)  # a file that only excludes includes the rest
        for shape in self._included:
            inside |= _contains(shape, sky, frame)
        for shape in self._excluded:
            inside &= ~_contains(shape, sky, frame)
        result = np.zeros(len(ra), bool)
        result[finite] = inside
        return result


def _read_shapes(path: Path) -> list[tuple[Any, bool]]:
    """Shapes with an area, and whether each excludes."""
    import regions

    try:
        found = regions.Regions.read(str(path))
    except Exception as exc:  # the parsers raise whatever they stumble on
        reason = " ".join(str(exc).split())
        raise InputError(f"region={str(path)!r} cannot be read ({reason}); accepted are {_ACCEPTED}") from exc
    without_area = tuple(
        getattr(regions, f"{kind}{space}Region") for kind in ("Point", "Text", "Line") for space in ("Pixel", "Sky")
    )
    shapes = []
    for shape in found:
        if isinstance(shape, without_area):
            continue
        excluded = shape.meta.get("include", True) in (False, "-")
        shape.meta["include"] = True  # whether it excludes is settled here
        shapes.append((shape, excluded))
    if not shapes:
        raise InputError(f"region={str(path)!r} has no shape with an area; accepted are {_ACCEPTED}")
    return shapes


def _contains(shape: Any, sky: SkyCoord, frame: ImageFrame | None) -> NDArray[np.bool_]:
    from regions import PixCoord, SkyRegion

    if isinstance(shape, SkyRegion):
        shape, wcs, sky = _draw(shape, sky)
    elif frame is None:
        raise InputError("the region is in pixel coordinates, which mean nothing for a catalogue: give sky coordinates")
    else:
        wcs, sky = frame.wcs, sky.transform_to(frame.sky)
    x, y = sky_to_pixel(wcs, sky.spherical.lon.deg, sky.spherical.lat.deg)
    reached = np.isfinite(x) & np.isfinite(y)
    inside = np.zeros(len(sky), bool)
    if reached.any():
        inside[reached] = shape.contains(PixCoord(x[reached], y[reached]))
    return inside


def _draw(shape: Any, sky: SkyCoord) -> tuple[Any, WCS, SkyCoord]:
    """A shape in pixels of 1 arcsec about itself, the projection, and positions in the shape's own frame.

    A gnomonic projection draws great circles as straight lines, a zenithal equidistant one keeps distances from the
    centre. As angles are told from the axes of the shape's frame, that takes the place of ICRS here.
    """
    name, projection = ("vertices", "TAN") if hasattr(shape, "vertices") else ("center", "ARC")
    points = getattr(shape, name)
    sky = sky.transform_to(points.frame.replicate_without_data())
    points = SkyCoord(points.spherical.lon, points.spherical.lat, frame=ICRS())
    middle = points.reshape(-1).cartesian.mean().represent_as(UnitSphericalRepresentation)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = f"RA---{projection}", f"DEC--{projection}"
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = middle.lon.deg, middle.lat.deg
    wcs.wcs.crpix = 1, 1
    wcs.wcs.cdelt = -1 / 3600, 1 / 3600
    wcs.wcs.set()
    return shape.copy(**{name: points}).to_pixel(wcs), wcs, sky


class MocRegion:
    """A multi-order coverage map, read with mocpy."""

    in_pixels = False

    def __init__(self, path: Path):
        self.name = path.name
        try:
            from mocpy import MOC
        except ImportError as exc:
            raise InputError(f"region={str(path)!r} is a MOC, which needs mocpy: pip install 'radio-ag[moc]'") from exc
        try:
            self._moc = MOC.load(path, format="json" if path.name.lower().endswith(".json") else "fits")
        except Exception as exc:  # the parser raises whatever it stumbles on
            reason = " ".join(str(exc).split())
            raise InputError(f"region={str(path)!r} cannot be read as a MOC: {reason}") from exc

    def contains(self, ra: ArrayLike, dec: ArrayLike, frame: ImageFrame | None = None) -> NDArray[np.bool_]:
        """See `Region`."""
        ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        inside = np.isfinite(ra) & np.isfinite(dec)
        inside[inside] = self._moc.contains_lonlat(ra[inside] * u.deg, dec[inside] * u.deg)
        return inside
