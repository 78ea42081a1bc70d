"""PyBDSF: what `bdsf.process_image` found, classified without a detour over files of the user's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
from astropy.io import fits

from radio_ag.catalog_io.result import Result
from radio_ag.errors import CatalogueError

if TYPE_CHECKING:
    from astropy import units as u
    from astropy.wcs import WCS

    from radio_ag.catalog_io.images.regions import Region
    from radio_ag.options import AttentionMode, CatalogueOptions, ImageOptions, RunOptions

_TABLES = ("srl", "gaul")


class BdsfOptions(TypedDict, total=False):
    """What `classify_bdsf` takes of the keywords of `radio_ag.classify`."""

    images: Any
    data: Any
    wcs: WCS | None
    group: str | float | u.Quantity
    region: str | os.PathLike[str] | Region | None
    weights: str | os.PathLike[str]
    device: str
    orbit: int
    attention: AttentionMode
    keep_cutouts: bool
    output: str | os.PathLike[str] | None
    overwrite: bool
    catalogue_options: CatalogueOptions
    image_options: ImageOptions
    run_options: RunOptions


def classify_bdsf(img: Any, *, catalog_type: str = "srl", **options: Unpack[BdsfOptions]) -> Result:
    """Classify the sources of a PyBDSF image.

    Parameters
    ----------
    img : bdsf.image.Image
        What ``bdsf.process_image`` returned. Rows are its sources, components are grouped by its islands, and the
        fields are cut from the image that it searched (the average over channels of a cube).
    catalog_type : {"srl", "gaul"}
        Sources or Gaussians, as in ``img.write_catalog``.
    **options
        Keywords of `radio_ag.classify`: ``output``, ``weights``, ``images`` in place of PyBDSF's own, and so on.

    Returns
    -------
    Result
        A row for each row of ``img.write_catalog``, with its columns and in its order. ``source_id`` is ``Source_id``
        (``Gaus_id``), the ``source_id`` (``gaus_num``) of PyBDSF's own objects.

    Raises
    ------
    CatalogueError
        If ``img`` is not such an image, or PyBDSF has not fitted it.
    InputError
        As `radio_ag.classify`.

    Examples
    --------
    >>> import bdsf  # doctest: +SKIP
    >>> img = bdsf.process_image("mosaic.fits", frequency=1.4e9)  # doctest: +SKIP
    >>> result = classify_bdsf(img, output="classes.fits")  # doctest: +SKIP
    """
    from radio_ag.pipeline import classify  # loads torch

    if catalog_type not in _TABLES:
        raise CatalogueError(f"catalog_type must be one of {', '.join(_TABLES)}, not {catalog_type!r}")
    if not hasattr(img, "write_catalog") or not hasattr(img, "ch0_arr"):
        raise CatalogueError(f"img must be what bdsf.process_image returns, not {type(img).__name__}")
    if "images" not in options and "data" not in options:
        options["images"] = searched_image(img)
    with tempfile.TemporaryDirectory(prefix="radio-ag-") as folder:
        path = Path(folder) / f"{img.imagename}.{catalog_type}.fits"
        # Where PyBDSF refuses it says why on its own output, and returns False.
        if not img.write_catalog(outfile=str(path), format="fits", catalog_type=catalog_type, force_output=True):
            raise CatalogueError(f"PyBDSF wrote no {catalog_type} catalogue of {img.imagename}")
        with np.errstate(divide="warn"):  # importing PyBDSF makes numpy raise on every division by zero
            return classify(path, **options)


def searched_image(img: Any) -> fits.ImageHDU:
    """Return the plane that PyBDSF searched, trimmed as it was, with its WCS and its beam.

    Parameters
    ----------
    img : bdsf.image.Image
        What ``bdsf.process_image`` returned.

    Returns
    -------
    `~astropy.io.fits.ImageHDU`
        Jy/beam, (ny, nx).
    """
    header = img.wcs_obj.to_header(relax=True)
    header["BUNIT"] = "Jy/beam"
    header["BMAJ"], header["BMIN"], header["BPA"] = img.beam
    return fits.ImageHDU(img.ch0_arr.T, header, name=Path(img.opts.filename).name)  # PyBDSF's first axis is x
