"""What a run is made of, opened: the rows of a catalogue, the sources that they are of, and their images."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.wcs import WCS
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs import Catalogue, read_catalogue
from radio_ag.catalog_io.catalogs.grouping import Groups, group_sources
from radio_ag.catalog_io.files.memory import release_pages
from radio_ag.catalog_io.images.fields import ImageSource
from radio_ag.catalog_io.images.planes import is_image
from radio_ag.catalog_io.images.regions import Region, open_region
from radio_ag.catalog_io.open_images import array_image, named_survey, open_images
from radio_ag.errors import InputError
from radio_ag.options import CatalogueOptions, ImageOptions, declared


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run is made of: the rows, which of them are one source, and where the images come from.

    Attributes
    ----------
    rows : Catalogue
    groups : Groups
        The n sources.
    wanted : array (n,) of bool
        Those that have a position, in the region.
    source : ImageSource
    ours : bool
        Whether it was opened here, and is to be closed.
    images, keywords
        What it was opened from, and with: a worker of a cluster opens it again.
    mapped : bool
        The table's values are as in a file, and nobody else changes them.
    provenance : dict
        How the sources were found, and the region.
    """

    rows: Catalogue
    groups: Groups
    wanted: NDArray[np.bool_]
    source: ImageSource
    ours: bool
    images: Any
    keywords: dict[str, Any]
    mapped: bool
    provenance: dict[str, Any]


def open_inputs(
    catalogue: Any,
    images: Any,
    group: str | float | u.Quantity,
    region: str | os.PathLike[str] | Region | None,
    options: CatalogueOptions,
    image_options: ImageOptions,
    *,
    data: Any = None,
    wcs: WCS | None = None,
) -> Inputs:
    """Open a catalogue, or find the sources of an image, and open the images to cut from.

    Parameters
    ----------
    catalogue, images : object
        As for `radio_ag.classify`.
    group : str, float or Quantity
        As for `radio_ag.classify`.
    region : path, Region or None
        As for `radio_ag.classify`.
    options : CatalogueOptions
        Of columns, grouping and the finding of sources.
    image_options : ImageOptions
        Of the images that ``images`` names.
    data : array_like or Quantity, shape (ny, nx), optional
        As for `radio_ag.classify`.
    wcs : WCS, optional
        Of ``data``.

    Returns
    -------
    Inputs

    Raises
    ------
    InputError
        The catalogue, the images, the region or an option cannot be used.
    """
    area = open_region(region)
    if data is not None:
        if images is not None:
            raise InputError("images and data are two ways to give the images: leave one out")
        images = array_image(data, getattr(catalogue, "wcs", None) if wcs is None else wcs)
    found = is_image(catalogue)
    named = catalogue if found and images is None else images
    keywords = _keywords(named, image_options)
    provenance: dict[str, Any] = {}
    if found:
        source = open_images(named, **keywords)
        searched = source if images is None else open_images(catalogue, **_how_searched(catalogue))
        rows = _find_rows(searched, options.threshold, area)
        provenance = {"found_in": searched.name, "find_threshold": options.threshold}
    else:
        of_images = ("join_doubles", "threshold")
        columns = {told.name: getattr(options, told.name) for told in fields(options) if told.name not in of_images}
        rows = read_catalogue(catalogue, **columns, data=data, wcs=wcs)
        source = open_images(named, **keywords)
    mapped = isinstance(catalogue, str | os.PathLike)
    if mapped:
        release_pages(rows.table)  # most of it is not needed before the end
    groups = group_sources(rows, group, join_doubles=options.join_doubles)
    wanted = groups.valid
    if area is not None:
        provenance["region"] = area.name
        if not found:
            wanted = wanted & area.contains(groups.ra, groups.dec)
    return Inputs(rows, groups, wanted, source, source is not named, named, keywords, mapped, provenance)


def _how_searched(mosaic: Any) -> dict[str, bool]:
    from radio_ag.catalog_io.finding.find import how_searched  # photutils is slow to import

    return how_searched(mosaic)


def _find_rows(searched: ImageSource, threshold: float, region: Region | None) -> Catalogue:
    """Sources found in a mosaic."""
    from radio_ag.catalog_io.finding.find import find_sources  # photutils is slow to import

    rows = read_catalogue(find_sources(searched, threshold=threshold, region=region))
    return replace(rows, origin=searched.name)


def open_source(images: Any, options: ImageOptions, **further: Any) -> ImageSource:
    """Open what ``images`` names with the options that it can have.

    Parameters
    ----------
    images : object
        As for `radio_ag.catalog_io.open_images.open_images`.
    options : ImageOptions
        Of which most belong to one kind of images.
    **further
        What else `~radio_ag.catalog_io.open_images.open_images` is told.

    Returns
    -------
    ImageSource

    Raises
    ------
    InputError
        An option means nothing with such images.
    ImageError
        ``images`` cannot be used.
    """
    return open_images(images, **(_keywords(images, options) | further))


def _keywords(images: Any, options: ImageOptions) -> dict[str, Any]:
    """What the image source is to be told; an option that means nothing to it is refused before anything is opened."""
    keywords = options.keywords()
    if isinstance(images, ImageSource):  # it is open, and takes none at all
        return keywords
    survey = named_survey(images)
    misplaced = "files" if survey else "service"
    refused = [told for told in declared(ImageOptions) if told.option.of == misplaced and told.name in keywords]
    if refused:
        names = ", ".join(f"{told.name} ({told.flag})" for told in refused)
        if survey:
            raise InputError(f"{names}: for images of your own, those of a service are checked as they come")
        raise InputError(f"{names}: options of a survey's service, they mean nothing with your own images")
    if survey and survey.name == "first" and options.beam_scaled:
        raise InputError("beam_scaled (--beam-scaled) is for images with other beams: FIRST's needs no scaling")
    return keywords
