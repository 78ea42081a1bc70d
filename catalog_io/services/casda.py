"""Images from the CSIRO ASKAP Science Data Archive, RACS among them, through astroquery and the user's own login."""

from __future__ import annotations

import time
import urllib.parse
from typing import Any
from xml.etree import ElementTree

import astropy.units as u
import numpy as np
import requests
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.table import Table
from astroquery.casda import Casda, CasdaClass

from radio_ag.catalog_io.services.answer import fullest
from radio_ag.catalog_io.services.http import Failure
from radio_ag.catalog_io.services.requests import Request
from radio_ag.catalog_io.services.source import ServiceImages
from radio_ag.catalog_io.services.surveys import SURVEYS, Survey
from radio_ag.errors import InputError, ServiceError

_RESTORED = "cont.restored.t0"  # CASDA's word for the image itself, beside its noise and weights
_MOST_IMAGES = 3  # of one position that are asked for at once


class CasdaImages(ServiceImages):
    """Fields of a survey at CASDA, which gives images to those alone who have an OPAL account.

    Parameters
    ----------
    survey : Survey, optional
        Its identifier is what the name of an image's file begins with.
    service_url : str, optional
        Address of CASDA's image search (SIA2); None: the client's.
    client : CasdaClass, optional
        Whose login counts; None: ``astroquery.casda.Casda``.
    username : str, optional
        Of the OPAL account, if the client has not logged in yet; None: the one in astroquery's configuration. The
        password comes from the keyring, or is asked for, by astroquery.
    poll_interval : float
        Seconds between two questions whether a cutout is ready.
    job_time : float
        Seconds after which one that is not counts as failed.
    **options
        See `~radio_ag.catalog_io.services.source.ServiceImages`.

    Raises
    ------
    InputError
        Nobody has logged in, and there is no user name; or the login failed.
    ServiceError
        The login got no answer.

    Notes
    -----
    Of the images that cover a position, those made last that are released are cut, and the one with most of the field
    counts. A cutout is a job of some seconds to minutes; the survey's search has no login.
    """

    turns = 0.4

    def __init__(
        self,
        survey: Survey = SURVEYS["racs-low"],
        *,
        service_url: str | None = None,
        client: CasdaClass = Casda,
        username: str | None = None,
        poll_interval: float = 20.0,
        job_time: float = 1800.0,
        **options: Any,
    ):
        super().__init__(survey, service_url or client.URL, **options)
        self._login = None if self.offline else _login(client, username)
        self._poll_interval, self._job_time = poll_interval, job_time

    def _connect(self) -> CasdaClass:
        client = _Client(self._job_time)
        client.URL = self.service_url
        client.POLL_INTERVAL = self._poll_interval
        client._auth, client._authenticated = self._login, True
        self._prepare(client._session)
        return client

    def _ask(self, client: CasdaClass, request: Request) -> fits.HDUList:
        position = SkyCoord(request.ra * u.deg, request.dec * u.deg).transform_to(FK5())
        found = client.query_region(position, radius=1 * u.arcsec, cache=False)
        if not isinstance(found, Table):
            raise Failure("not_an_image", "CASDA's image search gave no table", passing=True)
        images = self._wanted(found)
        if not len(images):
            raise Failure("no_coverage", f"CASDA has no image {self.survey.identifier}* there", passing=False)
        radius = request.size / 2 * self.survey.pixel_scale * u.arcsec
        client.start()
        try:
            urls = client.cutout(images, coordinates=position, radius=radius)
        except (ValueError, ElementTree.ParseError) as error:  # astroquery's word for a job that failed
            raise Failure("not_an_image", f"CASDA: {error}", passing=True) from error
        images = (url for url in urls if not urllib.parse.urlsplit(url).path.endswith(".checksum"))
        best = fullest((client._session.get(url).content for url in images), enough=(request.size - 2) ** 2)
        if best is None:
            raise Failure("no_coverage", "CASDA's cutouts are blank", passing=False)
        return best

    def _wanted(self, found: Table) -> Table:
        """Released continuum images of the survey, the last by name first."""
        names = np.ma.filled(np.ma.asarray(found["filename"]).astype(str), "")
        released = Casda.filter_out_unreleased(found)["filename"]
        kinds = np.ma.filled(np.ma.asarray(found["dataproduct_subtype"]).astype(str), "")
        wanted = np.char.startswith(names, self.survey.identifier) & (kinds == _RESTORED)
        wanted &= np.isin(names, np.asarray(released).astype(str))
        images = found[wanted]
        return images[np.argsort(names[wanted])[::-1][:_MOST_IMAGES]]


class _Client(CasdaClass):  # type: ignore[misc]  # astroquery has no types
    """astroquery waits for a job without end."""

    def __init__(self, job_time: float):
        super().__init__()
        self._job_time, self._deadline = job_time, 0.0

    def start(self) -> None:
        """Begin to count the time of a job."""
        self._deadline = time.monotonic() + self._job_time

    def _request(self, method: str, url: str, *args: Any, auth: Any = None, **options: Any) -> requests.Response:
        if auth is not None and _domain(url) != _domain(self.URL):
            raise Failure("connection", f"CASDA's answer leads to {url}, which does not get your login", passing=False)
        return super()._request(method, url, *args, auth=auth, **options)

    def _get_job_details_xml(self, async_job_url: str) -> ElementTree.Element:
        if time.monotonic() > self._deadline:
            raise Failure("timeout", f"CASDA's job did not end within {self._job_time:g} s", passing=True)
        return super()._get_job_details_xml(async_job_url)


def _domain(url: str) -> str:
    """What the addresses of one institution have in common: casda.csiro.au and data.csiro.au; of a number all of it."""
    host = urllib.parse.urlsplit(url).hostname or ""
    labels = host.split(".")
    return host if labels[-1].isdigit() else ".".join(labels[-2:])


def _login(client: CasdaClass, username: str | None) -> Any:
    """Credentials of a client that is logged in."""
    if not client.authenticated():
        if not (username or client.USERNAME):
            raise InputError(
                "CASDA gives images to those alone who log in: call astroquery.casda.Casda.login(username=...) first, "
                "or give username, or set it in astroquery's configuration ([casda] username)"
            )
        try:
            client.login(username=username)
        except requests.RequestException as error:
            raise ServiceError(f"CASDA cannot be logged in to: {error}") from error
        if not client.authenticated():
            raise InputError(f"CASDA refused the login of {username or client.USERNAME!r}")
    return client._auth
