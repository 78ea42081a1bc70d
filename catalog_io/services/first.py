"""Images of the VLA FIRST survey from its cutout service, through astroquery."""

from __future__ import annotations

import math
import os
from typing import Any

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astroquery.image_cutouts.first import FirstClass

from radio_ag.catalog_io.services.answer import check_body
from radio_ag.catalog_io.services.requests import Request
from radio_ag.catalog_io.services.source import ServiceImages
from radio_ag.catalog_io.services.surveys import SURVEYS, Survey
from radio_ag.preprocess.images import PIXEL_SCALE

SERVICE_VARIABLE = "RADIO_AG_FIRST_URL"
"""Environment variable that names the cutout service, where ``service_url`` does not."""

_LEAST_HOURS, _LEAST_DEGREES = 1.001e-4, 1e-4  # numbers nearer to 0 are written with an exponent


class FirstImages(ServiceImages):
    """Fields of VLA FIRST, 1.4 GHz, by `astroquery.image_cutouts.first`.

    Parameters
    ----------
    survey : Survey, optional
    service_url : str, optional
        Where the service is; None: the environment variable ``RADIO_AG_FIRST_URL``, or astroquery's own.
    **options
        See `~radio_ag.catalog_io.services.source.ServiceImages`.
    """

    name = "FIRST"
    largest = 1020  # px; the service gives 1024

    def __init__(self, survey: Survey = SURVEYS["first"], *, service_url: str | None = None, **options: Any):
        super().__init__(survey, service_url or os.environ.get(SERVICE_VARIABLE) or FirstClass.URL, **options)

    _cache_name = "FIRST"
    _check_body = staticmethod(check_body)

    def _connect(self) -> FirstClass:
        client = FirstClass()
        client.URL = self.service_url
        self._prepare(client._session)
        return client

    def _ask(self, client: FirstClass, request: Request) -> fits.HDUList:
        position = SkyCoord(round(request.ra / 15, 7) * u.hourangle, request.dec * u.deg, frame="icrs")
        return client.get_images(position, image_size=round(request.size * PIXEL_SCALE / 60, 6) * u.arcmin)

    def _asked(self, ra: float, dec: float) -> tuple[float, float]:
        return nearest_position(ra, dec)


def nearest_position(ra: float, dec: float) -> tuple[float, float]:
    """Return the position nearest to one whose numbers the service never gets with an exponent.

    Parameters
    ----------
    ra, dec : float
        Degrees.

    Returns
    -------
    ra, dec : float
        Degrees.
    """
    hours = round(ra % 360 / 15, 7) % 24
    return 15 * off_zero(hours, _LEAST_HOURS), off_zero(round(dec, 6), _LEAST_DEGREES)


def off_zero(value: float, least: float) -> float:
    """Return the nearest number that is 0 or not nearer to 0 than ``least``.

    Parameters
    ----------
    value, least : float
        In the same unit.

    Returns
    -------
    float
        0, ``value``, or plus or minus ``least``.
    """
    if abs(value) >= least:
        return value
    return math.copysign(least, value) if abs(value) > least / 2 else 0.0
