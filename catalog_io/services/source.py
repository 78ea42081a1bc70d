"""Fields of a survey from its service: what all services have in common, from the cache to the retries."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import requests
from astropy.coordinates import BaseCoordinateFrame
from astropy.io import fits
from numpy.typing import NDArray

from radio_ag.catalog_io.images.beam import PIXELS_PER_BEAM, BeamMatch, match_beam
from radio_ag.catalog_io.images.fields import Fields, Traffic
from radio_ag.catalog_io.images.geometry import SCALE_TOLERANCE, Cutout, extract, place, stencil
from radio_ag.catalog_io.services import cache as field_cache
from radio_ag.catalog_io.services.addresses import check_passwords, checked_url, public
from radio_ag.catalog_io.services.answer import Served, read_kept, read_served, refuse_references
from radio_ag.catalog_io.services.breaker import Breaker
from radio_ag.catalog_io.services.cache import FieldCache, FieldKey
from radio_ag.catalog_io.services.downloads import Downloads, Retries, Workers, astroquery_cache_off
from radio_ag.catalog_io.services.http import Failure, Guard, translate
from radio_ag.catalog_io.services.polite import Manners, PoliteAdapter, default_rate, user_agent
from radio_ag.catalog_io.services.requests import LEAST, Request, cell_centres, rows_by_request
from radio_ag.catalog_io.services.surveys import Survey
from radio_ag.errors import ImageError, InputError, RadioAGWarning, ServiceError
from radio_ag.flags import Flag
from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE, PIXEL_SCALE

_CENTRING = 6  # px, more than the field: a service may centre to a pixel, and be asked 1.5 px beside the position
_UNKNOWN_BEAM = "of each header, FIRST's assumed without one"
_KERNEL_REACH = 12.0  # arcsec: half width of the widest kernel that brings a beam to FIRST's
_SPLINE_REACH = 10  # px: what resampling reads around a field
_LEAST_BODY = 1 << 20  # bytes: pages of HTML and VOTables may be as long as a small image
_FIRST_PAUSE = 30.0  # of a breaker, in first pauses between retries
_THREADS = 2  # for each connection, to begin with: while one reads what has come, another asks
_MOST_THREADS = 128  # once the service has answered: images that wait for another try hold up no other
_log = logging.getLogger(__name__)


class ServedRows:
    """The rows of one call of `ServiceImages.fetch`, and the fields that are cut for them.

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

    def __init__(self, ra: NDArray, dec: NDArray, service: str, cut: Callable[..., Cutout]) -> None:
        self.ra, self.dec = ra, dec
        self.fields = Fields.blank(len(ra))
        self._service, self._cut = service, cut
        self._stencils: dict[str, tuple[NDArray, NDArray]] = {}

    def put(self, rows: list[int], outcome: Served | Failure, *, whole: bool) -> list[int]:
        """Fill rows, or flag them; return those that are served with less than a whole field.

        Parameters
        ----------
        rows : list of int
            Numbers of rows of the chunk.
        outcome : Served or Failure
            The image that serves them, or why there is none.
        whole : bool
            Such rows stay as they are, for a request of their own.

        Returns
        -------
        list of int
            Empty unless ``whole``.
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
        """Return all positions and their neighbours in a frame; row by row this would take a third of the time."""
        name = repr(sky)
        if name not in self._stencils:
            moved = stencil(self.ra, self.dec).transform_to(sky).spherical
            self._stencils[name] = moved.lon.deg, moved.lat.deg
        return self._stencils[name]


class _Coming(NamedTuple):
    """What has been asked for the rows of a chunk, and is still to come."""

    chunk: ServedRows
    workers: Workers
    rows_of: dict[Request, list[int]]


class ServiceImages:
    """Fields of a survey from its service.

    Parameters
    ----------
    survey : Survey
    service_url : str
        Where the service is.
    cache : bool
        Keep the fields on disk.
    cache_dir : path, optional
        Where; None: `radio_ag.catalog_io.services.cache.default_directory`.
    cache_size : int
        Bytes; beyond them the fields unused for longest go first.
    offline : bool
        Use nothing but the cache; a position whose field is not there gets the status "offline".
    quantum : float, optional
        Jy/beam: pixels are rounded to whole multiples of it, cached or not, so that results do not depend on the cache.
        None: the survey's; 10 µJy/beam adds 2 % of FIRST's noise in quadrature. 0 keeps all bits at four times the
        disk space.
    connections : int
        Requests at a time; beyond 1, as many again in the place of those whose answers are late.
    rate : float, optional
        Requests a second. None: 10, or any number of a service on this machine.
    timeout : float
        Seconds to wait for the first byte of an answer, at most, and again for the rest of it.
    first_byte : float
        Seconds to wait for the first byte, at least; in between, ten times as long as recent answers took.
    retries : int
        Further requests after one has failed in a way that may pass.
    pause : float
        Seconds before the first of them; later ones are longer, and random in part.
    patience : float
        Seconds to wait in all, from time to time asking, for a service that has answered and does not any more.
    check_coverage : bool
        Flag positions that are clearly outside the survey without asking for them.
    share : bool
        Ask for one larger image where many positions are close together, if the service gives it.
    beam_scaled : bool
        Take a survey whose beam is coarser than FIRST's as well, on pixels of a third of its beam.

    Raises
    ------
    InputError
        An argument is out of range, or ``service_url`` is not the URL of an HTTP service.
    ImageError
        The survey's beam is coarser than FIRST's, and not ``beam_scaled``.

    Warns
    -----
    RadioAGWarning
        The survey's beam is not FIRST's.

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

    FIRST's exact text outside the survey is not documented, so text that begins ``<PRE>`` but apologises (error,
    unavailable, …) counts as a failure.

    Where so many tries in a row have failed in a way that may pass as twice as many images as there are connections
    have in all, nothing is asked for a while unless an image comes that came before: see
    `~radio_ag.catalog_io.services.breaker.Breaker`. When ``patience`` is used up, `fetch` raises. Where the service has
    not answered once, the rest of the chunk gets the status "connection" instead. What cannot pass is not asked for
    again by the same object. `fetch` may be called from several threads at a time.
    """

    chunks_at_once = 3
    """Chunks that are worth fetching at a time: one whose last images wait for another try holds up no other."""
    largest: int | None = None
    """Pixels along each axis of the largest image that positions may share; None: each has its own."""
    turns: float = 0.0
    """Share by which a north-up field may stick out of as large an image: of one that is not north up."""

    def __init__(
        self,
        survey: Survey,
        service_url: str,
        *,
        cache: bool = True,
        cache_dir: str | os.PathLike | None = None,
        cache_size: int = field_cache.MAX_BYTES,
        offline: bool = False,
        quantum: float | None = None,
        connections: int = 4,
        rate: float | None = None,
        timeout: float = 60.0,
        first_byte: float = 5.0,
        retries: int = 4,
        pause: float = 1.0,
        patience: float = 900.0,
        check_coverage: bool = True,
        share: bool = True,
        beam_scaled: bool = False,
    ):
        self.survey = survey
        self.service_url = checked_url(service_url)
        rate = default_rate(service_url) if rate is None else rate
        for name, value, least in (
            *(("connections", connections, 1), ("rate", rate, 0.001), ("timeout", timeout, 0.001)),
            *(("first_byte", first_byte, 0.001), ("retries", retries, 0), ("pause", pause, 0)),
            ("patience", patience, 0),
        ):
            if not value >= least:
                raise InputError(f"{name} must be {least:g} or more, not {value!r}")
        if offline and not cache:
            raise InputError("offline uses the cache alone: leave out cache=False (--no-cache)")
        self._match_beam(beam_scaled)
        self.connections, self.timeout, self.offline, self.share = connections, timeout, offline, share
        self.quantum = survey.quantum if quantum is None else quantum
        self.cache = FieldCache(cache_dir, cache_size, self.quantum) if cache else None
        self.check_coverage = check_coverage
        self._guard = Guard(self._check, max(4 * self._size**2, _LEAST_BODY), timeout)
        tries = Retries(retries, pause)
        self._manners = Manners(self.service_url, rate, connections, first_byte, timeout, tries.longest)
        self._answered = False
        self._breaker = Breaker(self.name, 2 * connections * (1 + retries), _FIRST_PAUSE * pause, patience)
        self._downloads = Downloads(self.name, self._answer, self._manners, self._breaker, tries)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._fetches: set[threading.Event] = set()  # each stops a call of `fetch` that is under way
        self._lock = threading.Lock()

    # --- what a service's class brings --------------------------------------------------------------------------------

    def _connect(self) -> Any:
        """A client of the service, for one thread at a time; its sessions have gone through `_prepare`."""
        raise NotImplementedError

    def _ask(self, client: Any, request: Request) -> fits.HDUList:
        """What the service gives for a request; any error of requests, astroquery or `Failure` where there is none."""
        raise NotImplementedError

    def _disconnect(self, client: Any) -> None:
        """Close a client's connections."""
        client._session.close()

    def _asked(self, ra: float, dec: float) -> tuple[float, float]:
        """The position nearest to one, degrees, that the service can be asked for."""
        return round(ra % 360, 6) % 360, round(dec, 6)

    @staticmethod
    def _check_body(content: bytes) -> None:
        """Check each body that comes, before the client sees it; `Failure` unless it is good."""

    def _check(self, content: bytes) -> None:
        refuse_references(content)
        self._check_body(content)

    @property
    def _cache_name(self) -> str:
        """What the survey is called in the cache: all that decides the pixels, but position and size."""
        return f"{self.survey.service}-{self.survey.identifier}-{self.survey.pixel_scale:g}"

    # --- the image source ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Short name of the survey."""
        return self.survey.name

    def describe(self) -> dict[str, str]:
        """Return the provenance for the product's header.

        Returns
        -------
        dict of str to str
            ``survey``, ``service`` without a password, ``quantum``, and ``pixel_scale`` and ``beam`` where they are not
            FIRST's.
        """
        provenance = {"survey": self.survey.title, "service": public(self.service_url)}
        if self.survey.beam is None or match_beam(self.survey.beam) is not BeamMatch.FIRST or not self._own_pixels:
            provenance["pixel_scale"] = f"{self.survey.pixel_scale:g} arcsec"
            provenance["beam"] = f"{self.survey.beam.fwhm:.3g} arcsec" if self.survey.beam else _UNKNOWN_BEAM
        return provenance | {"quantum": f"{self.quantum:g} Jy/beam"}

    def fetch(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> Fields:
        """Fetch the fields of one chunk of positions, from the cache or the service; equal ones are asked for once.

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
            The service had answered and does not any more, or `close` was called meanwhile.
        """
        chunk = ServedRows(np.asarray(ra, float), np.asarray(dec, float), public(self.service_url), self._cut)
        with self._fetching() as stop, astroquery_cache_off():
            threads = _MOST_THREADS if self._breaker.answered else _THREADS * self.connections
            with Workers(lambda request: self._download(request, stop), threads, stop) as workers:
                self._fill(chunk, workers)
                if stop.is_set():
                    raise ServiceError(f"{self.name}: closed while images were being fetched")
        if self.offline:
            self._fill_from_shared(chunk)
        if self._breaker.lost and self._breaker.answered and (chunk.fields.flags & Flag.FETCH_FAILED).any():
            raise ServiceError(
                f"{self.name}: {public(self.service_url)} answers no more; what is done is kept: try again later"
            )
        return chunk.fields

    @property
    def keeps_images(self) -> bool:
        """Whether what has come once is not asked for again."""
        return self.cache is not None

    def asks_again(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for which positions an image that did not come may come if it is asked for once more.

        Parameters
        ----------
        ra, dec : ndarray, shape (n,), float64
            Degrees ICRS.

        Returns
        -------
        ndarray of bool, shape (n,)
            False for those that are known to have none, and for all offline.
        """
        if self.offline:
            return np.zeros(len(ra), bool)
        asked = (Request(*self._asked(*position), self._size) for position in zip(ra, dec, strict=True))
        return np.array([self._downloads.refused(request) is None for request in asked], bool)

    @property
    def answered(self) -> bool:
        """Whether an image has come from the service."""
        return self._answered

    @property
    def traffic(self) -> Traffic:
        """What asking the service has taken so far."""
        return self._manners.tally.traffic()

    def close(self) -> None:
        """End each `fetch` in another thread at once, and the connections that are not in use."""
        with self._lock:
            for stop in self._fetches:
                stop.set()
        while (client := self._idle_client()) is not None:
            self._disconnect(client)

    def __enter__(self) -> ServiceImages:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- beams and sizes ----------------------------------------------------------------------------------------------

    def _match_beam(self, beam_scaled: bool) -> None:
        beam, match = self.survey.beam, match_beam(self.survey.beam)
        fwhm = beam.fwhm if beam else BEAM_FWHM
        if match is BeamMatch.COARSER and not beam_scaled:
            raise ImageError(
                f"survey {self.name}: its beam of {fwhm:.3g} arcsec is coarser than FIRST's {BEAM_FWHM} and "
                "cannot be sharpened; to take fields that grow with the beam (pixels of a third of it), which the "
                "network was not trained on, give beam_scaled=True (--beam-scaled)"
            )
        if match is not BeamMatch.FIRST:
            done = "convolved to it" if match is BeamMatch.FINER else "scaled with the beam"
            warnings.warn(
                f"the beam of {self.name} is {fwhm:.3g} arcsec, not FIRST's {BEAM_FWHM}: fields are {done}; the "
                "network was not trained on such images, and their rows are flagged RESAMPLED",
                RadioAGWarning,
                stacklevel=5,
            )
        self._beam_scaled, self._beam_told = beam_scaled, False
        self._own_pixels = abs(self.survey.pixel_scale / PIXEL_SCALE - 1) <= SCALE_TOLERANCE
        if match is BeamMatch.FIRST and self._own_pixels and not self.turns:
            self._size = FIELD_SIZE + _CENTRING
            return
        side = fwhm / PIXELS_PER_BEAM if match is BeamMatch.COARSER else PIXEL_SCALE
        reach = (1 + self.turns) * FIELD_SIZE * side + 2 * _KERNEL_REACH
        self._size = math.ceil(reach / self.survey.pixel_scale) + 2 * _SPLINE_REACH

    def _cut(self, served: Served, position: tuple[float, float], longitude: NDArray, latitude: NDArray) -> Cutout:
        placed = place(served.frame.wcs, longitude[None], latitude[None])
        pixel, cd, turn = (part[0] for part in placed)
        cutout = extract(served.data, served.frame, *position, pixel, cd, turn, beam_scaled=self._beam_scaled)
        if cutout.beam_assumed and not self._beam_told:
            self._beam_told = True
            warnings.warn(
                f"no beam in the images of {self.name}: FIRST's {BEAM_FWHM} arcsec is assumed. If it is another one, "
                "classes are wrong: give it with beam= (--beam). Rows are flagged BEAM_ASSUMED",
                RadioAGWarning,
                stacklevel=2,
            )
        return cutout._replace(resampled=cutout.resampled or self.survey.resampled)

    # --- requests -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _fetching(self) -> Iterator[threading.Event]:
        """Yield what stops a call of `fetch`; where it is the only one, a service that was lost may be back."""
        stop = threading.Event()
        with self._lock:
            if not self._fetches:
                self._breaker.start()
            self._fetches.add(stop)
        try:
            yield stop
        finally:
            with self._lock:
                self._fetches.remove(stop)

    def _fill(self, chunk: ServedRows, workers: Workers) -> None:
        """Fill the rows of a chunk from the cache, and have the rest downloaded."""
        coming = _Coming(chunk, workers, {})
        self._serve(coming, self._plan(chunk))
        failed = self._collect(coming)
        if self._breaker.paused and not self._breaker.lost:  # the outage is over that some of them fell victim to
            for request in failed:
                workers.submit(request)
            self._collect(coming)

    def _serve(self, coming: _Coming, requests_of: dict[Request, list[int]]) -> None:
        for request, rows in requests_of.items():
            served = self._from_cache(request)
            if served is not None:
                self._take(coming, request, rows, served)
            elif self.offline:
                self._take(coming, request, rows, Failure("offline", "not in the cache", passing=False))
            else:
                coming.rows_of[request] = rows
                coming.workers.submit(request)

    def _take(self, coming: _Coming, request: Request, rows: list[int], outcome: Served | Failure) -> None:
        self._answered = self._answered or isinstance(outcome, Served)
        lacking = coming.chunk.put(rows, outcome, whole=request.size > self._size)
        self._serve(coming, self._requests(coming.chunk, lacking))

    def _collect(self, coming: _Coming) -> list[Request]:
        """Take what is downloaded; return the requests whose failure may pass."""
        failed = []
        for request, outcome in coming.workers.results():
            if self._breaker.answered:
                coming.workers.grow(_MOST_THREADS)
            self._take(coming, request, coming.rows_of[request], outcome)
            if isinstance(outcome, Failure) and outcome.passing and request.size == self._size:
                failed.append(request)
        return failed

    def _plan(self, chunk: ServedRows) -> dict[Request, list[int]]:
        """Rows by the request that serves them; those that are clearly outside the survey have none."""
        rows = np.arange(len(chunk.ra))
        if self.check_coverage:
            rows = rows[self.survey.coverage.may_cover(chunk.ra, chunk.dec)]
        shared = self._shared_requests(chunk, rows) if self.share else {}
        shared = {request: members for request, members in shared.items() if len(members) >= LEAST}
        own = np.setdiff1d(rows, [row for members in shared.values() for row in members])
        return shared | self._requests(chunk, own.tolist())

    def _shared_requests(self, chunk: ServedRows, rows: NDArray[np.intp]) -> dict[Request, list[int]]:
        """Rows by requests of larger images; none where the service does not give any."""
        if self.largest is None or self.largest <= self._size:
            return {}
        room = (self.largest - self._size) * self.survey.pixel_scale / 3600
        centres = cell_centres(chunk.ra[rows], chunk.dec[rows], room)
        return rows_by_request(rows, *centres, self._asked, self.largest)

    def _fill_from_shared(self, chunk: ServedRows) -> None:
        """Fill rows from larger images that were fetched when more positions were close together."""
        offline = np.flatnonzero([status == "offline" for status in chunk.fields.status])
        for request, rows in self._shared_requests(chunk, offline).items():
            if (served := self._from_cache(request)) is not None:
                chunk.put(rows, served, whole=True)

    def _requests(self, chunk: ServedRows, rows: Sequence[int]) -> dict[Request, list[int]]:
        """Rows by requests of their own, one for equal positions."""
        return rows_by_request(rows, chunk.ra[rows], chunk.dec[rows], self._asked, self._size)

    def _key(self, request: Request) -> FieldKey:
        return FieldKey(self._cache_name, *request)

    def _from_cache(self, request: Request) -> Served | None:
        if self.cache is None or (found := self.cache.get(self._key(request))) is None:
            return None
        data, header = found
        try:
            return Served(data, header, read_kept(header, self.survey.beam))
        except ImageError as error:  # nothing that was kept here
            _log.warning("cache entry %s is of no use (%s)", self.cache.path(self._key(request)), error)
            return None

    def _download(self, request: Request, stop: threading.Event) -> Served | Failure:
        """Return one image from the service, or why there is none; runs in the worker threads."""
        if (known := self._downloads.refused(request)) is not None:
            return known
        try:
            hdus = self._downloads.get(request, stop)
            with hdus:
                served = read_served(hdus, request.ra, request.dec, size=request.size, beam=self.survey.beam)
        except Failure as failure:
            self._downloads.refuse(request, failure)
            return failure
        served.header["SERVICE"] = public(self.service_url)  # a comment might not find room beside it
        served = served._replace(data=field_cache.rounded(served.data, self.quantum))
        if self.cache:
            self.cache.put(self._key(request), served.data, served.header)
        return served

    def _answer(self, request: Request) -> fits.HDUList:
        """What the service answers to a request.

        Raises
        ------
        Failure
            It gave no image.
        """
        client = self._idle_client()
        try:
            client = client or self._connect()
            return self._ask(client, request)
        except Exception as error:
            raise translate(error) from error  # or the error itself, where it is a mistake of ours
        finally:
            if client is not None:
                self._idle.put(client)

    def _idle_client(self) -> Any | None:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return None

    def _prepare(self, session: requests.Session) -> requests.Session:
        """Make a session polite, and guard what it receives."""
        check_passwords(self.service_url)
        session.headers["User-Agent"] = user_agent(session.headers["User-Agent"])
        adapter = PoliteAdapter(self._manners)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        self._guard.watch(session)
        return session
