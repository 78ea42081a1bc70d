"""Images from the Canadian Astronomy Data Centre, VLASS among them, through astroquery."""

from __future__ import annotations

import threading
import urllib.parse
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

import astropy.units as u
import pyvo
import requests
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astroquery.cadc import CadcClass, conf

from radio_ag.catalog_io.services.answer import fullest
from radio_ag.catalog_io.services.http import Failure, translate
from radio_ag.catalog_io.services.requests import Request
from radio_ag.catalog_io.services.source import ServiceImages
from radio_ag.catalog_io.services.surveys import SURVEYS, Survey

_MOST_IMAGES = 6  # of one position that are asked for, until one has a whole field
_DATALINK = "ivo://ivoa.net/std/DataLink#links-1.0"


class _Endpoints(NamedTuple):
    tap: str
    datalink: str


class CadcImages(ServiceImages):
    """Fields of a collection at the CADC.

    Parameters
    ----------
    survey : Survey, optional
        Its identifier is the collection and, after a colon, what the name of a product must contain.
    service_url : str, optional
        Address of CADC's registry of services; None: astroquery's.
    **options
        See `~radio_ag.catalog_io.services.source.ServiceImages`.

    Notes
    -----
    What there is at a position is asked by TAP, the address of each image's cutout by DataLink, the cutout by SODA:
    three requests or more a field. Where there are several images, as of VLASS's epochs, the last by name that has a
    whole field is taken, else the one with most of it. astroquery makes the query and knows the registry.
    `astroquery.cadc.CadcClass.get_images` is not used: it downloads all images, leaves out without a word those that
    fail, and asks the registry and IVOA's vocabulary by ways that have no timeout.
    """

    turns = 0.1

    def __init__(self, survey: Survey = SURVEYS["vlass"], *, service_url: str | None = None, **options: Any):
        self._collection, _, self._product = survey.identifier.partition(":")
        super().__init__(survey, service_url or conf.CADC_REGISTRY_URL, **options)
        self._resolving = threading.Lock()
        self._endpoints: _Endpoints | None = None

    def _connect(self) -> CadcClass:
        session = self._prepare(requests.Session())
        with self._resolving:
            if self._endpoints is None:
                try:
                    self._endpoints = self._resolve(session)
                except Failure:
                    session.close()
                    raise
        client = CadcClass(url=self._endpoints.tap, auth_session=session)
        client._data_link_url = self._endpoints.datalink
        return client

    def _disconnect(self, client: CadcClass) -> None:
        client._auth_session.close()
        super()._disconnect(client)

    def _resolve(self, session: requests.Session) -> _Endpoints:
        """Where TAP and DataLink are, by the registry."""
        try:
            lines = session.get(self.service_url).text.splitlines()
            pairs = (line.partition("=") for line in lines if not line.startswith("#"))
            capabilities = {name.strip(): address.strip() for name, _, address in pairs}
            tap = capabilities[conf.CADCTAP_SERVICE_URI].removesuffix("capabilities").rstrip("/")
            datalink = _access_url(session.get(capabilities[conf.CADCDATLINK_SERVICE_URI]).content)
        except (KeyError, ElementTree.ParseError) as error:
            raise Failure("not_an_image", f"CADC's registry does not tell: {error!r}", passing=True) from error
        except Exception as error:
            raise translate(error) from error
        return _Endpoints(tap, datalink)

    def _ask(self, client: CadcClass, request: Request) -> fits.HDUList:
        position = SkyCoord(request.ra * u.deg, request.dec * u.deg).transform_to(FK5())
        radius = request.size / 2 * self.survey.pixel_scale * u.arcsec
        try:
            urls = self._image_urls(client, position, radius)
        except (pyvo.dal.DALAccessError, ExpatError, ValueError) as error:  # ValueError: a VOTable that is none
            raise _translate_vo(error) from error
        bodies = (client._auth_session.get(url).content for url in urls[:_MOST_IMAGES])
        best = fullest(bodies, enough=(request.size - 2) ** 2)
        if best is None:
            raise Failure("no_coverage", f"CADC has no image of {self._collection} there", passing=False)
        return best

    def _image_urls(self, client: CadcClass, position: SkyCoord, radius: u.Quantity) -> list[str]:
        """Addresses of cutouts, the last by name first."""
        planes = client.query_region(position, radius=radius, collection=self._collection)
        wanted = [plane["dataProductType"] == "image" and self._product in str(plane["productID"]) for plane in planes]
        if not any(wanted):
            return []
        links = (
            client.data_link_url + "?" + urllib.parse.urlencode({"ID": list(planes["publisherID"][wanted])}, doseq=True)
        )
        circle = {"POS": f"CIRCLE {position.ra.deg} {position.dec.deg} {radius.to_value(u.deg)}"}
        urls = {}
        for link in pyvo.dal.adhoc.DatalinkResults.from_result_url(links, session=client._auth_session):
            if link.semantics != "#cutout" or "/sync" not in link.access_url:
                continue
            given = {param.name: param.value for param in link.input_params if param.name in ("ID", "RUNID")}
            if ".rms." not in given["ID"]:  # the noise goes by the side of each image
                urls[given["ID"]] = f"{link.access_url}?{urllib.parse.urlencode(given | circle)}"
        return [urls[name] for name in sorted(urls, reverse=True)]


def _access_url(capabilities: bytes) -> str:
    """Address of DataLink for the anonymous in an IVOA document of capabilities."""
    for capability in ElementTree.fromstring(capabilities).iter("capability"):
        if capability.get("standardID") == _DATALINK:
            for interface in capability.iter("interface"):
                if all(method.get("standardID") is None for method in interface.iter("securityMethod")):
                    return interface.findtext("accessURL", "").strip()
    raise KeyError(_DATALINK)


def _translate_vo(error: Exception) -> Failure:
    """The `Failure` behind an error of pyvo, which wraps those of the transport."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Failure | requests.RequestException | OSError):
            return translate(cause)
        cause = cause.__cause__ or cause.__context__
    return Failure("not_an_image", f"{type(error).__name__}: {error}", passing=True)
