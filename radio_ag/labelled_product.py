"""A product and labels that people gave to its sources, as a file of labelled images to train on."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.export.cutouts import open_cutouts
from radio_ag.catalog_io.images.beam import PIXELS_PER_BEAM
from radio_ag.catalog_io.result import Result
from radio_ag.errors import InputError
from radio_ag.labelled.labels import Labels
from radio_ag.writing import check_output, written_beside

CERTAIN = 0.75
"""Least confidence of a label that is certain."""

_CHUNK = 64  # images held apart from the file at once
_SAME = 0.01  # relative difference of pixels that count as the same


class LabelledProduct(NamedTuple):
    """A file of labelled images, and what is not in it.

    Attributes
    ----------
    path : Path
        For `radio_ag.labelled.data.load_labelled`.
    sources : int
        Labelled sources with an image.
    without_image : list of str
        Labelled sources that have none, with the reason.
    elsewhere : list of str
        Labelled sources that are not in the product.
    undecided : list of str
        Sources with two labels of the same weight.
    """

    path: Path
    sources: int
    without_image: list[str]
    elsewhere: list[str]
    undecided: list[str]


def label_product(result: Result, labels: Labels, path: str | os.PathLike, *, images: Any = None) -> LabelledProduct:
    """Write the images of a product's sources that have labels, with these.

    Parameters
    ----------
    result : Result
        Its cutouts are taken, else those of the survey that it was made from, asked again.
    labels : Labels
        Told by the names of sources or of their rows, else by positions; several of a source are joined.
    path : path-like
        FITS file with ``SOURCES`` and ``IMAGES``; one that is there is replaced.
    images : optional
        Where the cutouts come from instead, as in `radio_ag.classify`.

    Returns
    -------
    LabelledProduct

    Raises
    ------
    InputError
        If no labelled source has an image, or images of different pixels would come together.
    ServiceError
        If an image service answered for none of the first sources.
    OutputError
        If the file cannot be written.
    """
    path = check_output(path, overwrite=True)
    labels, undecided = labels.consensus()
    first, rows = _rows_of(result, labels)
    there = np.flatnonzero(rows >= 0)
    elsewhere = [labels.called(int(place)) for place in np.flatnonzero(rows < 0)]
    if not len(there):
        raise InputError(f"none of the {len(labels)} labelled sources is in this product")
    stack, scales, reasons = _images(first, rows[there], images)
    kept = np.flatnonzero([not reason for reason in reasons])
    without = [f"{labels.called(int(there[n]))} ({reason})" for n, reason in enumerate(reasons) if reason]
    if not len(kept):
        raise InputError(f"none of the {len(there)} labelled sources has an image: {', '.join(without[:3])}")
    scale = float(np.median(scales[kept]))
    if np.any(np.abs(scales[kept] / scale - 1) > _SAME):
        low, high = scales[kept].min(), scales[kept].max()
        raise InputError(f"the images have pixels of {low:.3g} to {high:.3g} arcsec: train on those of one survey")
    chosen, at = there[kept], rows[there[kept]]
    sources = Table(
        {
            "name": [labels.called(int(place)) for place in chosen],
            "ra": _numbers(first.table["ra"])[at],
            "dec": _numbers(first.table["dec"])[at],
            "fr_class": labels.label[chosen],
            "confidence": np.where(labels.confidence[chosen] >= CERTAIN, "certain", "uncertain"),
            "rms": _numbers(first.table["rms"])[at],
        }
    )
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(sources, name="SOURCES"), _cube(stack[kept], scale, result)]
    content = io.BytesIO()  # astropy wants no file that was opened to be new
    fits.HDUList(hdus).writeto(content)
    with written_beside(path) as stream:
        stream.write(content.getbuffer())
    return LabelledProduct(path, len(kept), without, elsewhere, undecided)


def _rows_of(result: Result, labels: Labels) -> tuple[Result, NDArray[np.intp]]:
    """The first rows of the sources, and which of them each label is of; -1 for none."""
    first = result.first_rows()
    rows = labels.match(first.table["name"], _numbers(first.table["ra"]), _numbers(first.table["dec"]))
    sources = result.sources
    order = np.argsort(np.asarray(sources["first_row"])) if first is result else np.arange(len(sources))
    told = labels.match(sources["name"][order], _numbers(sources["ra"][order]), _numbers(sources["dec"][order]))
    return first, np.where(told >= 0, told, rows)


def _images(
    result: Result, rows: NDArray[np.intp], images: Any
) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str]]:
    """Cutouts of some rows, the sides of their pixels in arcsec, and why there is none."""
    cutouts = open_cutouts(result, images)
    stack, scales, reasons = [], [], []
    for start in range(0, len(rows), _CHUNK):
        found = cutouts(rows[start : start + _CHUNK])
        stack.append(found.images)
        reasons += found.reasons
        a, b, c, d = (_numbers(found.places[name]) for name in ("cd1_1", "cd1_2", "cd2_1", "cd2_2"))
        scales.append(3600 * np.sqrt(np.abs(a * d - b * c)))
    return np.concatenate(stack), np.concatenate(scales), reasons


def _cube(stack: NDArray[np.float32], scale: float, result: Result) -> fits.ImageHDU:
    """Images whose header tells pixels and beam: a third of a beam each, as every image that is classified."""
    cube = fits.ImageHDU(stack, name="IMAGES")
    cube.header["BUNIT"] = "Jy/beam"
    cube.header["CDELT1"], cube.header["CDELT2"] = -scale / 3600, scale / 3600
    beam = PIXELS_PER_BEAM * scale / 3600
    cube.header["BMAJ"], cube.header["BMIN"], cube.header["BPA"] = beam, beam, 0.0
    survey = str(result.provenance.get("survey") or "")
    if survey.isascii() and survey.isprintable():
        cube.header["SURVEY"] = survey[:60]
    return cube


def _numbers(column: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
    return values
