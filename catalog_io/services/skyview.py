"""Images from SkyView, through astroquery: the way in which the data set MiraBest was made."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import requests
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astroquery.skyview import SkyViewClass

from radio_ag.catalog_io.services.answer import open_answer
from radio_ag.catalog_io.services.first import off_zero
from radio_ag.catalog_io.services.http import Failure
from radio_ag.catalog_io.services.requests import Request
from radio_ag.catalog_io.services.source import ServiceImages
from radio_ag.catalog_io.services.surveys import SURVEYS, Survey

_LEAST_DEGREES = 1.1e-4  # numbers nearer to 0 are written with an exponent


class SkyViewImages(ServiceImages):
    """Fields of any survey that SkyView has, resampled by it to north-up pixels of the survey's scale.

    Parameters
    ----------
    survey : Survey, optional
        Its identifier is SkyView's name of it.
    service_url : str, optional
        Address of SkyView's form; None: astroquery's.
    **options
        See `~radio_ag.catalog_io.services.source.ServiceImages`.

    Notes
    -----
    SkyView makes an image when it is asked for a page, and the page links to it. For a position outside the survey, the
    link leads nowhere (HTTP 404).
    """

    def __init__(self, survey: Survey = SURVEYS["first-skyview"], *, service_url: str | None = None, **options: Any):
        super().__init__(survey, service_url or SkyViewClass.URL, **options)

    def _connect(self) -> SkyViewClass:
        client = _Client()
        client.URL = self.service_url
        self._prepare(client._session)
        return client

    def _ask(self, client: SkyViewClass, request: Request) -> fits.HDUList:
        side = request.size * self.survey.pixel_scale * u.arcsec
        position = SkyCoord(request.ra * u.deg, request.dec * u.deg).transform_to(FK5())
        ra, dec = (
            off_zero(round(angle.deg, 6), _LEAST_DEGREES) or _LEAST_DEGREES for angle in (position.ra, position.dec)
        )
        try:
            urls = client.get_image_list(
                SkyCoord(ra * u.deg, dec * u.deg, frame=FK5()),
                self.survey.identifier,
                pixels=str(request.size),
                width=side,
                height=side,
                cache=False,
            )
        except ValueError as error:  # the form does not list the survey
            raise Failure(
                "not_an_image", f"SkyView has no {self.survey.identifier!r}: {error}", passing=False
            ) from error
        if not urls:
            raise Failure("not_an_image", "the page has no link to an image", passing=True)
        try:
            content = client._session.get(urls[0]).content
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                raise Failure("no_coverage", "SkyView made no image", passing=False) from error
            raise
        return open_answer(content)


class _Client(SkyViewClass):
    """astroquery asks for the form again for each image; once is enough."""

    _form: requests.Response | None = None

    def _request(self, method: str, url: str, **options: Any) -> requests.Response:
        if url != self.URL:
            return super()._request(method, url, **options)
        if self._form is None:
            self._form = super()._request(method, url, **options)
        return self._form
