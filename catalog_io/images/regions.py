"""Regions of the sky that limit a run: DS9, CRTF and FITS region files, and multi-order coverage maps (MOC)."""

import re
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord, UnitSphericalRepresentation
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from radio_ag.catalog_io.files.fits_open import in_order, open_checked
from radio_ag.catalog_io.files.packed import open_unpacked
from radio_ag.catalog_io.images import moc
from radio_ag.catalog_io.images.headers import ImageFrame
from radio_ag.catalog_io.images.resample import sky_to_pixel
from radio_ag.errors import InputError

if TYPE_CHECKING:
    from regions import Regions

MAX_SHAPES = 2000
"""Shapes that a region may have: each takes some milliseconds to read, and again to look into."""

_FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".moc")
_SHAPE = re.compile(r"\s*[-+!]?\s*(?!global)[a-z]+\s*[\[(\s]", re.IGNORECASE)  # its name, and what follows
_TEXT_FORMATS = {"crtf": ("#CRTF", ".crtf"), "ds9": ("# Region file format: DS9", ".reg")}  # signature, suffix
_ACCEPTED = "a DS9 (.reg), CRTF (.crtf) or FITS region file, or a MOC (.fits, .json, .txt)"


class Region(Protocol):
    """A part of the sky."""

    name: str
    """Short name for headers."""
    in_pixels: bool
    """The region is given in the pixels of a mosaic, and means nothing without it."""

    def contains(self, ra: ArrayLike, dec: ArrayLike, frame: ImageFrame | None = None) -> NDArray[np.bool_]:
        """Tell which positions are inside.

        Parameters
        ----------
        ra, dec : array-like, shape (n,)
            Degrees ICRS; one that is not finite is outside.
        frame : ImageFrame, optional
            Of the mosaic, which a region in pixel coordinates needs.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
        """


def open_region(region: str | PathLike | Region | None) -> Region | None:
    """Read a region file or a MOC; what is a region already, or None, is given back.

    Parameters
    ----------
    region : path-like, Region or None
        DS9 (``.reg``), CRTF (``.crtf``) or FITS region file of at most `MAX_SHAPES` shapes; MOC as FITS, JSON or text,
        which needs mocpy. Each may be packed by gzip, bzip2 or xz.

    Returns
    -------
    Region or None
        None where ``region`` is.

    Raises
    ------
    InputError
        If the file is missing, cannot be read, has no shape with an area or too many, describes a MOC that cannot be,
        or is a MOC and mocpy is not installed.
    """
    if not isinstance(region, str | PathLike):
        return region
    path = Path(region).expanduser()
    if not path.is_file():
        raise InputError(f"region={str(path)!r} is no file; accepted are {_ACCEPTED}")
    try:
        # The parsers get what is in the file, never its name: some would unpack it without bound, or fetch it.
        with open_unpacked(path) as stream, warnings.catch_warnings():
            warnings.filterwarnings("error", message="File may have been truncated")
            return _read_region(path, stream)
    except ImportError as exc:
        raise InputError(f"region={str(path)!r} is a MOC, which needs mocpy: pip install 'radio-ag[moc]'") from exc
    except InputError as exc:
        raise InputError(f"region={str(path)!r} {exc}") from exc
    except Exception as exc:  # the parsers raise whatever they stumble on
        reason = " ".join(str(exc).split())[:200] or type(exc).__name__
        raise InputError(f"region={str(path)!r} cannot be read ({reason}); accepted are {_ACCEPTED}") from exc


def _read_region(path: Path, stream: BinaryIO) -> Region:
    name = path.name.lower()
    start = stream.read(len(b"SIMPLE  ="))
    stream.seek(0)
    if start == b"SIMPLE  =":
        with open_checked(stream) as hdus:
            return _read_fits(path.name, list(in_order(hdus)))
    if name.endswith(_FITS_SUFFIXES):
        raise InputError("is not a readable FITS file")
    text = stream.read().decode("utf-8-sig")
    if name.endswith(".json") or text.lstrip().startswith("{"):
        return MocRegion(path.name, moc.ranges_of_json(text))
    if moc.is_text(text):
        return MocRegion(path.name, moc.ranges_of_text(text))
    for format, (signature, suffix) in _TEXT_FORMATS.items():
        if text.startswith(signature) or suffix in name:
            return ShapeRegion(path.name, _parse_shapes(text, format))
    raise InputError(f"cannot be read: its name and content tell no format; accepted are {_ACCEPTED}")


def _read_fits(name: str, hdus: list[Any]) -> Region:
    import regions

    table = next((hdu for hdu in hdus[1:] if moc.is_table(hdu)), None)
    if table is not None:
        return MocRegion(name, moc.ranges_of_table(table))
    table = next((hdu for hdu in hdus[1:] if hdu.name == "REGION"), None)
    if table is None:
        raise InputError("is a FITS file with neither a table REGION nor a MOC")
    _check_count(table.header["NAXIS2"])
    return ShapeRegion(name, regions.Regions.parse(QTable.read(table), format="fits"))


def _parse_shapes(text: str, format: str) -> "Regions":
    import regions

    _check_count(sum(_SHAPE.match(piece) is not None for piece in re.split(r"[\n;]", text)))
    return regions.Regions.parse(text, format=format)


def _check_count(count: int) -> None:
    if count > MAX_SHAPES:
        raise InputError(f"has {count} shapes; at most {MAX_SHAPES} are taken: a MOC holds any number")


class ShapeRegion:
    """Shapes of a region file: inside any that includes, and outside all that exclude.

    Shapes on the sky are drawn on the sphere, not in a mosaic: distances from the centre of a circle, an ellipse, an
    annulus or a box are true angles, and the sides of a polygon are great circles.

    Parameters
    ----------
    name : str
        Of the file.
    found : `~regions.Regions`
        What is in it.
    """

    def __init__(self, name: str, found: "Regions"):
        from regions import PixelRegion  # slow to import

        self.name = name
        shapes = _with_area(found)
        self._included = [shape for shape, excluded in shapes if not excluded]
        self._excluded = [shape for shape, excluded in shapes if excluded]
        self.in_pixels = any(isinstance(shape, PixelRegion) for shape, _ in shapes)

    def contains(self, ra: ArrayLike, dec: ArrayLike, frame: ImageFrame | None = None) -> NDArray[np.bool_]:
        """Tell which positions are inside; see `Region`.

        Parameters
        ----------
        ra, dec : array-like, shape (n,)
            Degrees ICRS.
        frame : ImageFrame, optional
            Of the mosaic, for shapes in pixels.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)

        Raises
        ------
        InputError
            If there are shapes in pixels, and no mosaic.
        """
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


def _with_area(found: "Regions") -> list[tuple[Any, bool]]:
    """Shapes with an area, and whether each excludes."""
    import regions

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
        raise InputError(f"has no shape with an area; accepted are {_ACCEPTED}")
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
    """A multi-order coverage map, as mocpy holds it.

    Parameters
    ----------
    name : str
        Of the file.
    ranges : numpy.ndarray of uint64, shape (n, 2)
        As `radio_ag.catalog_io.images.moc` gives them.
    """

    in_pixels = False

    def __init__(self, name: str, ranges: NDArray[np.uint64]):
        from mocpy import MOC

        self.name = name
        self._moc = MOC.from_depth29_ranges(moc.MAX_ORDER, ranges)

    def contains(self, ra: ArrayLike, dec: ArrayLike, frame: ImageFrame | None = None) -> NDArray[np.bool_]:
        """Tell which positions are inside; see `Region`.

        Parameters
        ----------
        ra, dec : array-like, shape (n,)
            Degrees ICRS.
        frame : ImageFrame, optional
            Not needed.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
        """
        ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        inside = np.isfinite(ra) & np.isfinite(dec)
        inside[inside] = self._moc.contains_lonlat(ra[inside] * u.deg, dec[inside] * u.deg)
        return inside
