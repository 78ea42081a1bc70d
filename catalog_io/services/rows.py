"""The rows of a chunk, and the fields that are cut for them from the images that a service gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from astropy.coordinates import BaseCoordinateFrame
from numpy.typing import NDArray

from radio_ag.catalog_io.images.fields import Fields
from radio_ag.catalog_io.images.geometry import Cutout, stencil
from radio_ag.catalog_io.services.answer import Served
from radio_ag.catalog_io.services.http import Failure
from radio_ag.flags import Flag


class ServedRows:
    """The rows of one call of `~radio_ag.catalog_io.services.source.ServiceImages.fetch`.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees ICRS.
    service : str
        Where images that do not say so come from.
    cut : callable
        Cuts the field of a position out of an image.

    Attributes
    ----------
    fields : Fields
        What has come so far.
    """

    def __init__(self, ra: NDArray, dec: NDArray, service: str, cut: Callable[..., Cutout]):
        self.ra, self.dec = ra, dec
        self.fields = Fields.blank(len(ra))
        self._service, self._cut = service, cut
        self._stencils: dict[str, tuple[NDArray, NDArray]] = {}

    def put(self, rows: list[int], outcome: Served | Failure, *, whole: bool) -> list[int]:
        """Fill rows, or flag them; those that are given back are served with less than a whole field.

        With ``whole``, such rows stay as they are, for a request of their own.
        """
        if isinstance(outcome, Failure):
            if whole:
                return rows
            flag = Flag.NO_COVERAGE if outcome.status == "no_coverage" else Flag.FETCH_FAILED
            for row in rows:
                self.fields.fail(row, outcome.status, self._service, flag)
            return []
        lacking = []
        longitude, latitude = self._stencil(outcome.frame.sky)
        for row in rows:
            cutout = self._cut(outcome, (self.ra[row], self.dec[row]), longitude[row], latitude[row])
            if whole and not np.isfinite(cutout.data).all():
                lacking.append(row)
            else:
                self.fields.put(row, cutout, outcome.header.get("SERVICE", ""))
        return lacking

    def _stencil(self, sky: BaseCoordinateFrame) -> tuple[NDArray, NDArray]:
        """All positions and their neighbours in a frame; row by row this would take a third of the time."""
        name = repr(sky)
        if name not in self._stencils:
            moved = stencil(self.ra, self.dec).transform_to(sky).spherical
            self._stencils[name] = moved.lon.deg, moved.lat.deg
        return self._stencils[name]
