"""Images of the VLA FIRST survey from its cutout service, through astroquery."""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import urllib.parse
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import BaseCoordinateFrame, SkyCoord
from astroquery.image_cutouts.first import FirstClass

from radio_ag.catalog_io import cache as field_cache
from radio_ag.catalog_io.cache import FieldCache, FieldKey
from radio_ag.catalog_io.download import (
    Failure,
    Guard,
    Retries,
    Workers,
    astroquery_cache_off,
    translate,
)
from radio_ag.catalog_io.first_answer import Served, check_body, read_served
from radio_ag.catalog_io.geometry import Cutout, extract, place, stencil
from radio_ag.catalog_io.headers import read_frame
from radio_ag.catalog_io.images import Fields
from radio_ag.errors import ImageError, InputError, ServiceError
from radio_ag.flags import Flag
from radio_ag.preprocess import FIELD_SIZE, PIXEL_SCALE

SERVICE_VARIABLE = "RADIO_AG_FIRST_URL"
"""Environment variable that names the cutout service, where ``service_url`` does not."""

_SURVEY = "FIRST"
_SIZE = FIELD_SIZE + 6  # px; the service centres to 1 px, and a request near 0h may lie 1.5 px beside the position
_SIZE_ARCMIN = round(_SIZE * PIXEL_SCALE / 60, 6)
_LEAST_HOURS, _LEAST_DEGREES = 1.001e-4, 1e-4  # numbers nearer to 0 are written with an exponent
_CONNECT_SECONDS = 10.0
_log = logging.getLogger(__name__)


class FirstImages:
    """Fields of VLA FIRST, 1.4 GHz, by `astroquery.image_cutouts.first`.

    Parameters
    ----------
    service_url : str, optional
        Where the service is; None: the environment variable ``RADIO_AG_FIRST_URL``, or astroquery's own.
    cache : bool
        Keep the fields on disk.
    cache_dir : path, optional
        Where; None: `radio_ag.catalog_io.cache.default_directory`.
    cache_size : int
        Bytes; beyond them the fields unused for longest go first.
    quantum : float
        Jy/beam: pixels are rounded to whole multiples of it, cached or not, so that results do not depend on the cache.
        The default, 10 µJy/beam, adds 2 % of the noise in quadrature; 0 keeps all bits at four times the disk space.
    connections : int
        Requests at a time.
    timeout : float
        Seconds without an answer, and again for the answer to arrive.
    retries : int
        Further requests after one has failed in a way that may pass.
    pause : float
        Seconds before the first of them; later ones are longer, and random in part.

    Raises
    ------
    InputError
        An argument is out of range, or ``service_url`` is not the URL of an HTTP service.

    Notes
    -----
    An answer is taken as follows. What may pass is asked for again before the row gets its flag.

    =====================================================  ===============  ================  ======
    answer                                                 status           flag              passes
    =====================================================  ===============  ================  ======
    FITS image                                             ok, partial      none
    FITS image, wholly blank                               no_coverage      ``NO_COVERAGE``   no
    text that begins ``<PRE>`` or says "not in FIRST"      no_coverage      ``NO_COVERAGE``   no
    any other text, as of a page of maintenance            not_an_image     ``FETCH_FAILED``  yes
    FITS without celestial coordinates or of another unit  not_an_image     ``FETCH_FAILED``  no
    FITS image of another place                            misplaced        ``FETCH_FAILED``  no
    less than a whole file                                 truncated        ``FETCH_FAILED``  yes
    HTTP 408, 425, 429, 5xx                                http_error       ``FETCH_FAILED``  yes
    other HTTP errors                                      http_error       ``FETCH_FAILED``  no
    none in time                                           timeout          ``FETCH_FAILED``  yes
    refused, reset, host unknown                           connection       ``FETCH_FAILED``  yes
    =====================================================  ===============  ================  ======

    The exact text outside the survey is not documented, so text that begins ``<PRE>`` but apologises (error,
    unavailable, …) counts as a failure. Where twice as many positions in a row as there are connections got no answer
    at all, the rest of the chunk is not asked for, and has the status "connection".
    """

    name = _SURVEY

    def __init__(
        self,
        *,
        service_url: str | None = None,
        cache: bool = True,
        cache_dir: str | os.PathLike | None = None,
        cache_size: int = field_cache.MAX_BYTES,
        quantum: float = field_cache.QUANTUM,
        connections: int = 4,
        timeout: float = 60.0,
        retries: int = 4,
        pause: float = 1.0,
    ):
        self.service_url = _checked_url(service_url or os.environ.get(SERVICE_VARIABLE) or FirstClass.URL)
        _check_at_least("connections", connections, 1)
        _check_at_least("timeout", timeout, 0.001)
        _check_at_least("retries", retries, 0)
        _check_at_least("pause", pause, 0)
        self.connections = connections
        self.timeout = timeout
        self.quantum = quantum
        self.cache = FieldCache(cache_dir, cache_size, quantum) if cache else None
        self._retries = Retries(retries, pause)
        self._guard = Guard(check_body, 4 * _SIZE**2, timeout)
        self._idle: queue.SimpleQueue[FirstClass] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._silent = 0

    def describe(self) -> dict[str, str]:
        """Provenance for the product's header."""
        service = _public(self.service_url)
        return {"survey": "VLA FIRST 1.4 GHz", "service": service, "quantum": f"{self.quantum:g} Jy/beam"}

    def fetch(self, ra: np.ndarray, dec: np.ndarray) -> Fields:
        """Fields for one chunk of positions, from the cache or the service; equal positions are asked for once.

        Parameters
        ----------
        ra, dec : ndarray, shape (n,), float64
            Finite, degrees ICRS.

        Returns
        -------
        Fields

        Raises
        ------
        ServiceError
            `close` was called meanwhile.
        """
        chunk = _Chunk(np.asarray(ra, float), np.asarray(dec, float), _public(self.service_url))
        self._silent = 0
        self._stop = stop = threading.Event()
        downloads = Workers(lambda target: self._download(target, stop), self.connections, stop)
        with astroquery_cache_off(), downloads as workers:
            for target in chunk.rows_of:
                served = self._from_cache(target)
                if served is None:
                    workers.submit(target)
                else:
                    chunk.put(target, served)
            for target, outcome in workers.results():
                chunk.put(target, outcome)
            if stop.is_set():
                raise ServiceError("FIRST: closed while images were being fetched")
        return chunk.fields

    def close(self) -> None:
        """End a `fetch` in another thread at once, and the connections that are not in use."""
        self._stop.set()
        while (client := self._idle_client()) is not None:
            client._session.close()

    def __enter__(self) -> FirstImages:
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()

    def _from_cache(self, target: _Target) -> Served | None:
        found = self.cache.get(target.key) if self.cache else None
        if found is None:
            return None
        data, header = found
        try:
            return Served(data, header, read_frame(header))
        except ImageError as error:  # nothing that was kept here
            _log.warning("cache entry %s is of no use (%s)", self.cache.path(target.key), error)
            return None

    def _download(self, target: _Target, stop: threading.Event) -> Served | Failure:
        """One field from the service; runs in the worker threads, each with a client of its own."""
        if self._silent >= 2 * self.connections:
            return Failure("connection", "not asked, since the service was silent", passing=True)
        client = self._idle_client() or self._new_client()
        try:
            with astroquery_cache_off():  # held here too: a download that was left to itself outlives the call of fetch
                served = self._retries.run(lambda: self._ask(client, target), stop)
        except Failure as failure:
            _log.info("FIRST %s: %s (%s)", target, failure.status, failure)
            self._count_silence(failure.silent or failure.retry_after > self._retries.longest)
            return failure
        finally:
            self._idle.put(client)
        self._count_silence(False)
        if self.cache:
            self.cache.put(target.key, served.data, served.header)
        return served

    def _count_silence(self, silent: bool) -> None:
        with self._lock:
            self._silent = self._silent + 1 if silent else 0

    def _idle_client(self) -> FirstClass | None:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return None

    def _new_client(self) -> FirstClass:
        client = FirstClass()
        client.URL = self.service_url
        client.TIMEOUT = (min(_CONNECT_SECONDS, self.timeout), self.timeout)
        self._guard.watch(client._session)
        return client

    def _ask(self, client: FirstClass, target: _Target) -> Served:
        try:
            hdus = client.get_images(target.coordinates, image_size=_SIZE_ARCMIN * u.arcmin)
        except Exception as error:
            raise translate(error) from error  # or the error itself, where it is a mistake of ours
        with hdus:
            served = read_served(hdus, target.key.ra, target.key.dec)
        served.header["SERVICE"] = (_public(self.service_url), "it gave this field")
        return served._replace(data=field_cache.rounded(served.data, self.quantum))


@dataclass(frozen=True)
class _Target:
    """A position as the service is asked for it: numbers that are never written with an exponent."""

    hours: float
    degrees: float

    @classmethod
    def nearest(cls, ra: float, dec: float) -> _Target:
        hours = round(ra % 360 / 15, 7) % 24
        return cls(_off_zero(hours, _LEAST_HOURS), _off_zero(round(dec, 6), _LEAST_DEGREES))

    @property
    def coordinates(self) -> SkyCoord:
        return SkyCoord(self.hours * u.hourangle, self.degrees * u.deg, frame="icrs")

    @property
    def key(self) -> FieldKey:
        return FieldKey(_SURVEY, self.hours * 15, self.degrees, _SIZE)


def _off_zero(value: float, least: float) -> float:
    """The nearest number that is 0 or not nearer to 0 than ``least``."""
    if abs(value) >= least:
        return value
    return math.copysign(least, value) if abs(value) > least / 2 else 0.0


class _Chunk:
    """The rows of one call of `FirstImages.fetch`, and the fields that are cut for them from what is served."""

    def __init__(self, ra: np.ndarray, dec: np.ndarray, service: str):
        self.fields = Fields.blank(len(ra))
        self.rows_of: dict[_Target, list[int]] = {}
        for row, position in enumerate(zip(ra.tolist(), dec.tolist(), strict=True)):
            self.rows_of.setdefault(_Target.nearest(*position), []).append(row)
        self._ra, self._dec, self._service = ra, dec, service
        self._stencils: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def put(self, target: _Target, outcome: Served | Failure) -> None:
        """Fill the rows of a target, or flag them."""
        for row in self.rows_of[target]:
            if not isinstance(outcome, Failure):
                self.fields.put(row, self._cut(row, outcome), outcome.header.get("SERVICE", ""))
            elif outcome.status == "no_coverage":
                self.fields.fail(row, outcome.status, self._service, Flag.NO_COVERAGE)
            else:
                self.fields.fail(row, outcome.status, self._service)

    def _cut(self, row: int, served: Served) -> Cutout:
        longitude, latitude = self._stencil(served.frame.sky)
        placed = place(served.frame.wcs, longitude[row, None], latitude[row, None])
        return extract(served.data, served.frame, self._ra[row], self._dec[row], *(part[0] for part in placed))

    def _stencil(self, sky: BaseCoordinateFrame) -> tuple[np.ndarray, np.ndarray]:
        """All positions and their neighbours in a frame; row by row this would take a third of the time."""
        name = repr(sky)
        if name not in self._stencils:
            moved = stencil(self._ra, self._dec).transform_to(sky).spherical
            self._stencils[name] = moved.lon.deg, moved.lat.deg
        return self._stencils[name]


def _checked_url(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not (url.isascii() and url.isprintable()):
        raise InputError(f"service_url must be an http or https URL, not {url!r}")
    return url


def _public(url: str) -> str:
    """The URL without a user's name and password."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _check_at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise InputError(f"{name} must be {least:g} or more, not {value!r}")
