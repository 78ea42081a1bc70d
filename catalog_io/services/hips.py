"""Images made from a HiPS by the service hips2fits of the CDS, through astroquery."""

from __future__ import annotations

from typing import Any

import astropy.units as u
from astropy.coordinates import Angle, Latitude, Longitude
from astropy.io import fits
from astroquery.hips2fits import conf, hips2fitsClass

from radio_ag.catalog_io.services.answer import check_body
from radio_ag.catalog_io.services.requests import Request
from radio_ag.catalog_io.services.source import ServiceImages
from radio_ag.catalog_io.services.surveys import SURVEYS, Survey


class HipsImages(ServiceImages):
    """Fields of any survey that is a HiPS.

    A HiPS is the survey resampled to HEALPix, without unit and beam: pixels are taken for Jy/beam, and every row is
    flagged ``RESAMPLED``. It is for looking through a survey; for results to publish ask for the survey's own images.

    Parameters
    ----------
    survey : Survey, optional
        Its identifier is that of the HiPS, such as ``CDS/P/NVSS``.
    service_url : str, optional
        Address of hips2fits; None: the first of astroquery's.
    **options
        See `~radio_ag.catalog_io.services.source.ServiceImages`.
    """

    _check_body = staticmethod(check_body)

    def __init__(self, survey: Survey = SURVEYS["nvss-hips"], *, service_url: str | None = None, **options: Any):
        super().__init__(survey, service_url or conf.server, **options)

    def _connect(self) -> hips2fitsClass:
        client = hips2fitsClass()
        client.server = self.service_url
        self._prepare(client._session)
        return client

    def _ask(self, client: hips2fitsClass, request: Request) -> fits.HDUList:
        return client.query(
            hips=self.survey.identifier,
            width=request.size,
            height=request.size,
            projection="TAN",
            ra=Longitude(request.ra * u.deg),
            dec=Latitude(request.dec * u.deg),
            fov=Angle(request.size * self.survey.pixel_scale * u.arcsec),
        )
