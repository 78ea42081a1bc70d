"""Images for positions: what every image source gives, and how one is chosen.

An image source takes positions and gives one 300x300 field a position, in Jy/beam on FIRST's pixels. Anything with
``name``, ``fetch`` and ``describe`` as in `ImageSource` is one: a survey's service, files on disk, or a third party's.
Another package gives a source a name with an entry point in the group ``radio_ag.images``: a callable that takes the
source's options and returns it.
"""

import inspect
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from typing import Any, Protocol, runtime_checkable

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from radio_ag.catalog_io.geometry import Cutout
from radio_ag.catalog_io.plugins import load_plugins
from radio_ag.catalog_io.services.surveys import SURVEYS, Survey, find_survey, open_survey
from radio_ag.errors import ImageError, ServiceError
from radio_ag.flags import Flag
from radio_ag.preprocess import FIELD_SIZE

GROUP = "radio_ag.images"
"""Entry-point group of image sources."""

_SERVICE_DOWN = frozenset({"connection", "timeout", "http_error"})


@dataclass
class Fields:
    """Fields fetched for n positions, in the order of the positions.

    Attributes
    ----------
    data : ndarray, shape (n, 300, 300), float32
        Jy/beam, (ny, nx), north up and east left, centred on the position to the pixel; NaN where blank.
    flags : ndarray, shape (n,), int32
        ``NO_COVERAGE``, ``FETCH_FAILED`` and ``RESAMPLED`` bits.
    status : list of str
        ``ok``, ``partial`` (part of the field is blank), ``no_coverage``, or in a word why it failed.
    origin : list of str
        File name or URL of each field; empty where there is none.
    cutout_ra, cutout_dec : ndarray, shape (n,), float64
        Reference position (CRVAL) of the cutout's tangent-plane WCS, degrees ICRS; NaN where there is no image.
    crpix : ndarray, shape (n, 2), float64
        Reference pixel (x, y), counted from 1 on the central 150x150 crop.
    cd : ndarray, shape (n, 2, 2), float64
        CD matrix, degrees a pixel.
    """

    data: np.ndarray
    flags: np.ndarray
    status: list[str]
    origin: list[str]
    cutout_ra: np.ndarray
    cutout_dec: np.ndarray
    crpix: np.ndarray
    cd: np.ndarray

    @classmethod
    def blank(cls, n: int, data: np.ndarray | None = None) -> "Fields":
        """``n`` fields that nothing covers, for a source to fill with `put` and `fail`.

        ``data`` are the pixels, from a source that sees to each of them itself.
        """
        return cls(
            data=np.full((n, FIELD_SIZE, FIELD_SIZE), np.nan, dtype=np.float32) if data is None else data,
            flags=np.full(n, Flag.NO_COVERAGE, dtype=np.int32),
            status=["no_coverage"] * n,
            origin=[""] * n,
            cutout_ra=np.full(n, np.nan),
            cutout_dec=np.full(n, np.nan),
            crpix=np.full((n, 2), np.nan),
            cd=np.full((n, 2, 2), np.nan),
        )

    def __len__(self) -> int:
        return len(self.data)

    def wcs_columns(self) -> dict[str, np.ndarray]:
        """WCS of each crop, in the columns that a result has for it."""
        columns = {"cutout_ra": self.cutout_ra, "cutout_dec": self.cutout_dec}
        columns["crpix1"], columns["crpix2"] = self.crpix.T
        columns["cd1_1"], columns["cd1_2"], columns["cd2_1"], columns["cd2_2"] = self.cd.reshape(-1, 4).T
        return columns

    def put(self, row: int, cutout: Cutout, origin: str) -> None:
        """Store a cutout; a wholly blank one is kept as ``no_coverage``."""
        self.origin[row] = origin
        finite = np.isfinite(cutout.data)
        if not finite.any():
            self.fail(row, "no_coverage", origin, Flag.NO_COVERAGE)
            return
        self.data[row] = cutout.data if finite.all() else np.where(finite, cutout.data, np.nan)
        self.flags[row] = Flag.RESAMPLED if cutout.resampled else 0
        self.status[row] = "ok" if finite.all() else "partial"
        self.cutout_ra[row], self.cutout_dec[row] = cutout.crval
        self.crpix[row] = cutout.crpix
        self.cd[row] = cutout.cd

    def fail(self, row: int, status: str, origin: str = "", flag: Flag = Flag.FETCH_FAILED) -> None:
        """Record that a row has no image, and why."""
        self.data[row] = np.nan
        self.flags[row] = flag
        self.status[row] = status
        self.origin[row] = origin
        self.cutout_ra[row] = self.cutout_dec[row] = np.nan
        self.crpix[row] = np.nan
        self.cd[row] = np.nan


@runtime_checkable
class ImageSource(Protocol):
    """Positions in, fields out."""

    @property
    def name(self) -> str:
        """Short name for headers, such as ``"FIRST"`` or a file name."""

    def fetch(self, ra: np.ndarray, dec: np.ndarray) -> Fields:
        """Fields for one chunk of finite positions.

        Parameters
        ----------
        ra, dec : ndarray, shape (n,), float64
            Degrees ICRS.

        Returns
        -------
        Fields
            One field a position, in the same order: a position without an image is flagged, never dropped.
        """

    def describe(self) -> dict[str, str]:
        """Provenance for the product's header: survey, service or file names (never absolute paths)."""


def check_service(fields: Fields, source: ImageSource) -> None:
    """Find out from a run's first fields whether its image source answers at all.

    Raises
    ------
    ServiceError
        If not one of the images came, and each for want of a usable answer.
    """
    told = list(zip(fields.status, fields.origin, strict=True))
    asked = [row for row, pair in enumerate(told) if pair != ("no_coverage", "")]  # which is known without asking
    statuses = {fields.status[row] for row in asked}
    if asked and statuses <= _SERVICE_DOWN:
        raise ServiceError(
            f"{source.name}: none of the first {len(asked)} images came ({', '.join(sorted(statuses))}); "
            f"asked {fields.origin[asked[0]]}. Nothing was written"
        )


def open_images(images: Any = None, **options: Any) -> ImageSource:
    """Choose the image source that ``images`` names.

    Parameters
    ----------
    images : None, str, path, image in memory, list of paths or images, or ImageSource
        ``None`` or ``"first"``: the VLA FIRST survey's cutout service. The name of another survey, ``SERVICE:SURVEY``
        or a URL with places for a position: see `~radio_ag.catalog_io.services.surveys.find_survey`. The name of a
        plugin: its source (a folder of that name is ``./name``). A path, a folder, a glob or a list of them: local
        FITS files. A FITS HDU, ``CCDData`` or ``NDData`` with a WCS, or a list of them: images in memory.
        An object with ``fetch`` and ``describe``: itself.
    **options
        Passed to the source: see `~radio_ag.catalog_io.services.surveys.open_survey` and
        `~radio_ag.catalog_io.services.source.ServiceImages`, `~radio_ag.catalog_io.local.LocalImages`, or the plugin's
        own documentation.

    Raises
    ------
    ImageError
        If ``images`` is none of these, a file is missing or unreadable, or an image cannot be used.
    """
    if isinstance(images, ImageSource):
        if options:
            raise ImageError(f"images={images.name!r} is open already; options {sorted(options)} cannot apply to it")
        return images
    if survey := named_survey(images):
        return open_survey(survey, **options)
    if isinstance(images, str) and (plugins := entry_points(group=GROUP, name=images)):
        return _open_plugin(plugins[images], options)

    from radio_ag.catalog_io.local import ArrayImages, LocalImages  # it imports Fields from here

    members = list(images) if isinstance(images, list | tuple) and not isinstance(images, fits.HDUList) else [images]
    if all(isinstance(member, str | PathLike) for member in members):
        return LocalImages(members, **options)
    return ArrayImages(members, **options)


def named_survey(images: Any) -> Survey | None:
    """The survey that ``images`` names, FIRST for None; None for anything else that images may be."""
    return find_survey("first" if images is None else images) if images is None or isinstance(images, str) else None


def array_image(data: Any, wcs: WCS | None) -> NDData:
    """Image of an array and its WCS, for `open_images`.

    Parameters
    ----------
    data : array_like or Quantity, shape (ny, nx)
        Jy/beam unless it has a unit. An image with a beam of its own comes as an HDU or ``CCDData`` instead.
    wcs : WCS
        Of the array's pixels.

    Raises
    ------
    ImageError
        If the array is not two-dimensional, or there is no WCS.
    """
    unit = getattr(data, "unit", u.Jy / u.beam)
    pixels = np.asarray(data)
    if pixels.ndim != 2 or pixels.dtype.kind not in "fiu":
        raise ImageError(
            f"data must be a two-dimensional array of numbers, not {pixels.ndim}-dimensional of {pixels.dtype}"
        )
    if not isinstance(wcs, WCS):
        raise ImageError(f"data needs an astropy.wcs.WCS as wcs, not {type(wcs).__name__}")
    return NDData(pixels, unit=unit, wcs=wcs.celestial)


def named_sources() -> dict[str, str]:
    """Names that ``images`` may be, each with a line on what it is.

    Warns
    -----
    RadioAGWarning
        Of each plugin that fails to load; it is left out.
    """
    sources = {survey.name: survey.title for survey in SURVEYS.values()}
    for name, factory in load_plugins(GROUP, "image"):
        sources.setdefault(name, _first_line(factory))
    return sources


def _first_line(factory: Any) -> str:
    return (inspect.getdoc(factory) or "").partition("\n")[0]


def _open_plugin(plugin: EntryPoint, options: dict[str, Any]) -> ImageSource:
    """Image source that a plugin makes."""
    try:
        factory = plugin.load()
    except Exception as exc:  # a plugin may fail in any way; the user asked for this one
        raise ImageError(f"image plugin {plugin.name!r} cannot be loaded: {exc!r}") from exc
    source = factory(**options) if callable(factory) else factory
    if not isinstance(source, ImageSource):
        raise ImageError(
            f"image plugin {plugin.name!r} gives {type(source).__name__!r}, which lacks name, fetch() or describe()"
        )
    return source
