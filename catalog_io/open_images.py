"""Image sources: how one is chosen by what ``images`` names.

An image source takes positions and gives one 300x300 field a position, in Jy/beam on FIRST's pixels. Anything with
``name``, ``fetch`` and ``describe`` as in `ImageSource` is one: a survey's service, files on disk, or a third party's.
Another package gives a source a name with an entry point in the group ``radio_ag.images``: a callable that takes the
source's options and returns it.
"""

import inspect
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from radio_ag.catalog_io.images.fields import ImageSource
from radio_ag.catalog_io.images.local import ArrayImages, LocalImages
from radio_ag.catalog_io.plugins import load_plugins
from radio_ag.catalog_io.services.surveys import SURVEYS, Survey, find_survey, open_survey
from radio_ag.errors import ImageError

GROUP = "radio_ag.images"
"""Entry-point group of image sources."""


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
        `~radio_ag.catalog_io.services.source.ServiceImages`, `~radio_ag.catalog_io.images.local.LocalImages`, or the
        plugin's own documentation.

    Returns
    -------
    ImageSource

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
    members = list(images) if isinstance(images, list | tuple) and not isinstance(images, fits.HDUList) else [images]
    if all(isinstance(member, str | PathLike) for member in members):
        return LocalImages(members, **options)
    return ArrayImages(members, **options)


def named_survey(images: Any) -> Survey | None:
    """Return the survey that ``images`` names, FIRST for None; None for anything else that images may be.

    Parameters
    ----------
    images : object
        As of `open_images`.

    Returns
    -------
    Survey or None
    """
    return find_survey("first" if images is None else images) if images is None or isinstance(images, str) else None


def array_image(data: Any, wcs: WCS | None) -> NDData:
    """Return the image of an array and its WCS, for `open_images`.

    Parameters
    ----------
    data : array_like or Quantity, shape (ny, nx)
        Jy/beam unless it has a unit. An image with a beam of its own comes as an HDU or ``CCDData`` instead.
    wcs : WCS
        Of the array's pixels.

    Returns
    -------
    NDData

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
    """Return the names that ``images`` may be, each with a line on what it is.

    Returns
    -------
    dict of str to str

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
