"""Where a page's cutouts come from: kept in the result, or fetched again from images."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radio_ag.catalog_io.images import ImageSource, check_service, open_images
from radio_ag.catalog_io.result import Result
from radio_ag.errors import InputError
from radio_ag.preprocess import PIXEL_SCALE, crop

Cutout = NDArray[np.float32] | str
"""Jy/beam (150, 150), row 0 in the south; or, where there is none, why."""

_SCALED = 1.05  # of FIRST's pixels: beyond what is used as it is
_FIRST = "FIRST"  # in the provenance ``survey`` of results made from its service


def open_cutouts(result: Result, images: Any = None) -> Callable[[NDArray[np.intp]], list[Cutout]]:
    """A function that takes rows and gives a cutout, or the reason why there is none, for each.

    Parameters
    ----------
    result : Result
        Its table says where the sources are.
    images : optional
        None: the cutouts that the result keeps, else FIRST's service if the result was made from it. "none": no
        cutouts. Anything else as for `~radio_ag.catalog_io.images.open_images`.

    Raises
    ------
    InputError
        If the result keeps no cutouts and was not made from a service, or the images cannot be used.
    """
    if isinstance(images, str) and images.strip().lower() == "none":
        return lambda rows: ["cutouts were left out"] * len(rows)
    if images is None and result.has_cutouts:
        return lambda rows: [_or_reason(image, "no image") for image in result.cutouts(rows)]
    if images is None and _FIRST not in str(result.provenance.get("survey")):
        origin = result.provenance.get("images") or result.provenance.get("survey") or "unknown images"
        raise InputError(
            f"this result keeps no cutouts and was made from {origin}: "
            "name the images, or 'none' for a page of attention maps alone"
        )
    return _Fetcher(result, open_images(images, **_options(result, images)))


def _options(result: Result, images: Any) -> dict[str, bool]:
    """What brings images onto the pixels that were classified: larger than FIRST's where a coarse beam scaled them."""
    if images is None or images == "first" or isinstance(images, ImageSource):
        return {}
    a, b, c, d = (_numbers(result, name) for name in ("cd1_1", "cd1_2", "cd2_1", "cd2_2"))
    scale = 3600 * np.sqrt(np.abs(a * d - b * c)) / PIXEL_SCALE
    return {"beam_scaled": True} if np.any(scale > _SCALED) else {}


class _Fetcher:
    """Cutouts from an image source, around the places that were classified.

    A service that answers for none of the first rows is an error.
    """

    def __init__(self, result: Result, source: ImageSource) -> None:
        self._ra, self._dec = (_places(result, name) for name in ("ra", "dec"))
        self._source = source
        self._answered = False

    def __call__(self, rows: NDArray[np.intp]) -> list[Cutout]:
        cutouts: list[Cutout] = ["no position"] * len(rows)
        valid = np.flatnonzero(np.isfinite(self._ra[rows]) & np.isfinite(self._dec[rows]))
        if not len(valid):
            return cutouts
        fields = self._source.fetch(self._ra[rows[valid]], self._dec[rows[valid]])
        if not self._answered:
            check_service(fields, self._source)
        self._answered = True
        for place, image, status in zip(valid.tolist(), crop(fields.data), fields.status, strict=True):
            cutouts[place] = _or_reason(image, status.replace("_", " "))
        return cutouts


def _places(result: Result, name: str) -> NDArray[np.float64]:
    """Where each row's cutout was centred, which for components of one source is not where the row is."""
    cutout = _numbers(result, f"cutout_{name}")
    return np.where(np.isfinite(cutout), cutout, _numbers(result, name))


def _numbers(result: Result, name: str) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(result.table[name], dtype=float), np.nan)


def _or_reason(image: NDArray[np.float32], reason: str) -> Cutout:
    return image if np.isfinite(image).any() else reason
