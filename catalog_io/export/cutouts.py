"""Cutouts of a result's sources: kept in the result, or fetched again from images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.images.fields import DATE_LENGTH, Fields, ImageSource, check_service
from radio_ag.catalog_io.open_images import open_images
from radio_ag.catalog_io.product.sources import observations
from radio_ag.catalog_io.services.surveys import SURVEYS, Survey
from radio_ag.errors import InputError
from radio_ag.preprocess.images import CROP_SIZE, PIXEL_SCALE, crop

if TYPE_CHECKING:
    from radio_ag.catalog_io.result import Result

_SCALED = 1.05  # of FIRST's pixels: beyond what is used as it is
_PLACES = tuple(Fields.blank(0).wcs_columns())


class Cutouts(NamedTuple):
    """Cutouts of n rows.

    Attributes
    ----------
    images : ndarray, shape (n, 150, 150), float32
        Jy/beam; NaN where there is none.
    reasons : list of str
        Why there is none; empty where there is one.
    places : `~astropy.table.Table`
        The columns of each cutout's WCS, for `radio_ag.catalog_io.product.fits.cutout_wcs`; NaN where there is none.
    observed : `~astropy.table.Table`
        Beam, frequency and date of each image, for `radio_ag.catalog_io.product.fits.cutout_header`.
    """

    images: NDArray[np.float32]
    reasons: list[str]
    places: Table
    observed: Table


def open_cutouts(result: Result, images: Any = None) -> Callable[[NDArray[np.intp]], Cutouts]:
    """Return a function that takes row numbers and gives their cutouts.

    Parameters
    ----------
    result : Result
        Its table says where the sources are: images are cut around the places that were classified.
    images : optional
        None: the cutouts that the result keeps, else the survey that it was made from, asked again. "none": no
        cutouts. Anything else as for `~radio_ag.catalog_io.open_images.open_images`.

    Returns
    -------
    callable
        An array of n row numbers to `Cutouts`.

    Raises
    ------
    InputError
        If the result keeps no cutouts and was not made from a survey that has a name, or the images cannot be used.
    """
    if isinstance(images, str) and images.strip().lower() == "none":
        return lambda rows: _none(result, rows, "cutouts were left out")
    if images is None and result.has_cutouts:
        return partial(_kept, result)
    survey = survey_of(result)
    images = survey.name if images is None and survey else images
    if images is None:
        origin = result.provenance.get("images") or result.provenance.get("survey") or "unknown images"
        raise InputError(
            f"this result keeps no cutouts and was made from {origin}: "
            "name the images, or 'none' for the attention maps alone"
        )
    return _Fetcher(result, open_images(images, **_options(result, images)))


def survey_of(result: Result) -> Survey | None:
    """Return the survey that a result's images came from.

    Parameters
    ----------
    result : Result
        With its provenance.

    Returns
    -------
    Survey or None
        None where it is not one that has a name.
    """
    told = str(result.provenance.get("survey"))
    return next((survey for survey in SURVEYS.values() if told == survey.title), None)


def _none(result: Result, rows: NDArray[np.intp], reason: str) -> Cutouts:
    n = len(rows)
    images = np.full((n, CROP_SIZE, CROP_SIZE), np.nan, np.float32)
    places = Table({name: np.full(n, np.nan) for name in _PLACES})
    return Cutouts(images, [reason] * n, places, observations(result.sources, result.table[rows]))


def _kept(result: Result, rows: NDArray[np.intp]) -> Cutouts:
    images = result.cutouts(rows)
    reasons = ["" if found else "no image" for found in np.any(np.isfinite(images), axis=(1, 2))]
    table = result.table[rows]
    return Cutouts(images, reasons, table[list(_PLACES)], observations(result.sources, table))


def _options(result: Result, images: Any) -> dict[str, bool]:
    """What brings images onto the pixels that were classified: larger than FIRST's where a coarse beam scaled them."""
    if images == "first" or isinstance(images, ImageSource):
        return {}
    a, b, c, d = (_numbers(result, name) for name in ("cd1_1", "cd1_2", "cd2_1", "cd2_2"))
    scale = 3600 * np.sqrt(np.abs(a * d - b * c)) / PIXEL_SCALE
    return {"beam_scaled": True} if np.any(scale > _SCALED) else {}


class _Fetcher:
    """Cutouts from an image source. A service that answers for none of the first rows is an error."""

    def __init__(self, result: Result, source: ImageSource) -> None:
        self._result = result
        self._ra, self._dec = (_centres(result, name) for name in ("ra", "dec"))
        self.source = source
        self._answered = False

    def __call__(self, rows: NDArray[np.intp]) -> Cutouts:
        cutouts = _none(self._result, rows, "no position")
        valid = np.flatnonzero(np.isfinite(self._ra[rows]) & np.isfinite(self._dec[rows]))
        if not len(valid):
            return cutouts
        fields = self.source.fetch(self._ra[rows[valid]], self._dec[rows[valid]])
        if not self._answered:
            check_service(fields, self.source)
        self._answered = True
        cutouts.images[valid] = crop(fields.data)
        for name, values in fields.wcs_columns().items():
            cutouts.places[name][valid] = values
        for name, values in fields.observation_columns().items():  # as these images have them
            column = np.ma.filled(cutouts.observed[name], "" if name == "date_obs" else np.nan)
            column = column.astype(f"U{DATE_LENGTH}") if name == "date_obs" else column
            column[valid] = values.astype(column.dtype)
            cutouts.observed.replace_column(name, column)
        for place, status in zip(valid.tolist(), fields.status, strict=True):
            there = np.isfinite(cutouts.images[place]).any()
            cutouts.reasons[place] = "" if there else status.replace("_", " ")
        return cutouts


def _centres(result: Result, name: str) -> NDArray[np.float64]:
    """Where each row's cutout was centred, which for components of one source is not where the row is."""
    cutout = _numbers(result, f"cutout_{name}")
    return np.where(np.isfinite(cutout), cutout, _numbers(result, name))


def _numbers(result: Result, name: str) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(result.table[name], dtype=float), np.nan)
