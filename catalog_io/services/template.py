"""Images by a URL into which the position is written: for any service that answers a GET with FITS."""

from __future__ import annotations

import hashlib
import string
import urllib.parse
from typing import Any

import astropy.units as u
import requests
from astropy.coordinates import SkyCoord
from astropy.io import fits

from radio_ag.catalog_io.services.addresses import public
from radio_ag.catalog_io.services.answer import open_answer
from radio_ag.catalog_io.services.requests import Request
from radio_ag.catalog_io.services.source import ServiceImages
from radio_ag.catalog_io.services.surveys import Survey
from radio_ag.errors import InputError

PLACES = {
    "ra": "right ascension, degrees",
    "dec": "declination, degrees",
    "ra_hms": "right ascension as 10:50:07.200",
    "dec_dms": "declination as +30:40:37.20",
    "size_px": "pixels along each axis",
    "size_deg": "side in degrees",
    "size_arcmin": "side in arcmin",
    "size_arcsec": "side in arcsec",
}
"""What may stand in braces in a URL, ICRS."""


class TemplateImages(ServiceImages):
    """Fields of a service that gives a FITS image for a URL.

    Parameters
    ----------
    survey : Survey
        Its identifier is the URL, with `PLACES` in braces: ``https://host/cutout?pos={ra},{dec}&size={size_arcmin}``.
        A format may follow a name: ``{ra:.4f}``.
    service_url : str, optional
        Not accepted: the URL is the survey's identifier.
    **options
        See `~radio_ag.catalog_io.services.source.ServiceImages`.

    Raises
    ------
    InputError
        The URL has other places, lacks one for the position, or cannot be a URL.

    Notes
    -----
    Without more ado, pixels of FIRST's size are expected, and FIRST's beam in a header that has none: ``pixel_scale``
    and ``beam`` say otherwise.
    """

    turns = 0.1

    def __init__(self, survey: Survey, *, service_url: None = None, **options: Any):
        if service_url is not None:
            raise InputError(f"service_url={service_url!r} and a URL template are two addresses: leave one out")
        template = survey.identifier
        _check_template(template)
        self._template = template
        super().__init__(survey, template.partition("{")[0], **options)

    @property
    def _cache_name(self) -> str:
        digest = hashlib.sha256(self._template.encode()).hexdigest()[:16]
        return f"url-{urllib.parse.urlsplit(self._template).hostname}-{digest}-{self.survey.pixel_scale:g}"

    def describe(self) -> dict[str, str]:
        """Return the provenance for the product's header.

        Returns
        -------
        dict of str to str
            As of any service; ``service`` is the URL with its places in braces, without a password.
        """
        return super().describe() | {"service": public(self._template)}

    def _connect(self) -> requests.Session:
        return self._prepare(requests.Session())

    def _disconnect(self, client: requests.Session) -> None:
        client.close()

    def _ask(self, client: requests.Session, request: Request) -> fits.HDUList:
        return open_answer(client.get(fill(self._template, request, self.survey.pixel_scale)).content)


def fill(template: str, request: Request, pixel_scale: float) -> str:
    """Return the URL of a request.

    Parameters
    ----------
    template : str
        With `PLACES` in braces.
    request : Request
        For an image of one place.
    pixel_scale : float
        Arcsec.

    Returns
    -------
    str
        With position, size and pixels in it.
    """
    position = SkyCoord(request.ra * u.deg, request.dec * u.deg)
    side = request.size * pixel_scale
    return template.format(
        ra=_Plain(request.ra),
        dec=_Plain(request.dec),
        ra_hms=position.ra.to_string(u.hourangle, sep=":", precision=3, pad=True),
        dec_dms=position.dec.to_string(u.deg, sep=":", precision=2, pad=True, alwayssign=True),
        size_px=request.size,
        size_deg=_Plain(side / 3600),
        size_arcmin=_Plain(side / 60),
        size_arcsec=_Plain(side),
    )


class _Plain(float):
    """A number that is written without an exponent unless a format is given."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec or ".6f")


def _check_template(template: str) -> None:
    accepted = ", ".join(f"{{{name}}}" for name in PLACES)
    try:
        places = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        if not places or not set(places) <= set(PLACES):
            raise ValueError(f"{', '.join(sorted(set(places) - set(PLACES))) or 'no place'} is not one of them")
        fill(template, Request(180.0, 0.0, 306), 1.8)
    except ValueError as error:
        raise InputError(f"url template {template!r}: {error}; accepted are {accepted}") from error
    if not {"ra", "ra_hms"} & set(places) or not {"dec", "dec_dms"} & set(places):
        raise InputError(f"url template {template!r} has no place for the position; accepted are {accepted}")
    parts = urllib.parse.urlsplit(template)
    if "{" in parts.netloc:
        raise InputError(f"url template {template!r}: the host must not depend on the position")
