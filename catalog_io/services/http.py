"""Asking an image service through astroquery: what can go wrong, what is worth asking again, and how many at a time.

Nothing here knows a particular survey. `Guard` watches over the HTTP session of an astroquery client, `translate` is
the one place where foreign errors become a `Failure`, `Workers` asks for many things at once, and
`astroquery_cache_off` keeps astroquery's own cache, which holds on to error pages for a week, out of it.
"""

from __future__ import annotations

import contextlib
import email.utils
import io
import itertools
import math
import queue
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.parsers import expat

import astroquery.exceptions
import requests
import tenacity
import urllib3
from astroquery import cache_conf

from radio_ag.catalog_io.files.fits_open import check_counts

_PASSING_STATUS = frozenset({408, 425, 429})  # besides 5xx
_FITS_BLOCK = 2880
_STRUCTURE = re.compile(rb"(BITPIX|NAXIS\d*) *= *([-+]?\d+) *(?:/|$)")
_ROOM = 4  # a body may be so many times larger than expected
_MOST_REDIRECTS = 5
_UNREAD = 16  # results that may pile up


class Failure(Exception):
    """A service gave no usable image.

    Attributes
    ----------
    status : str
        "no_coverage", "http_error", "timeout", "connection", "truncated", "not_an_image" or "misplaced".
    passing : bool
        Whether the same request may succeed later.
    retry_after : float
        Seconds for which the service wants to be left alone.
    cause : str
        The same as ``status``, with the number of an HTTP error: "HTTP 503".
    outage : bool
        The service is away, whatever is asked for: this does not count as a try.
    """

    def __init__(self, status: str, message: str, *, passing: bool, retry_after: float = 0.0, cause: str = ""):
        super().__init__(message)
        self.status, self.passing, self.retry_after = status, passing, retry_after
        self.cause = cause or status
        self.outage = False

    @property
    def silent(self) -> bool:
        """Whether there was no answer at all."""
        return self.status in ("connection", "timeout")


_TRANSLATIONS: tuple[tuple[type[Exception], str, bool], ...] = (  # the first that fits
    (requests.exceptions.SSLError, "connection", False),
    (requests.exceptions.Timeout, "timeout", True),
    (requests.exceptions.ChunkedEncodingError, "truncated", True),
    (requests.exceptions.ContentDecodingError, "truncated", True),
    (requests.exceptions.ConnectionError, "connection", True),
    (requests.exceptions.RequestException, "connection", False),  # a URL that cannot be, too many redirects
    (urllib3.exceptions.TimeoutError, "timeout", True),
    (urllib3.exceptions.ProxySchemeUnsupported, "connection", False),
    (urllib3.exceptions.HTTPError, "connection", True),
    (astroquery.exceptions.TimeoutError, "timeout", True),
    (astroquery.exceptions.InvalidQueryError, "not_an_image", True),
    (astroquery.exceptions.TableParseError, "not_an_image", True),
    (astroquery.exceptions.EmptyResponseError, "not_an_image", True),
    (astroquery.exceptions.RemoteServiceError, "http_error", True),
    (astroquery.exceptions.LoginError, "http_error", False),
    (astroquery.exceptions.ResolverError, "connection", True),
    (TimeoutError, "timeout", True),
    (OSError, "connection", True),
)


def translate(error: Exception) -> Failure:
    """The `Failure` that an error of requests, urllib3, astroquery or the socket stands for.

    Raises
    ------
    Exception
        ``error`` itself, if it is none of these: a mistake in the program must not pass for an outage.
    """
    if isinstance(error, Failure):
        return error
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return _http_failure(error.response)
    if isinstance(error, requests.exceptions.ConnectionError) and _caused_by_timeout(error):
        return Failure("timeout", str(error), passing=True)
    for kind, status, passing in _TRANSLATIONS:
        if isinstance(error, kind):
            return Failure(status, f"{type(error).__name__}: {_innermost(error)}", passing=passing)
    raise error


def _innermost(error: Exception) -> Exception:
    """What requests and urllib3 have wrapped: ``[Errno 111] Connection refused`` without three names around it."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, Exception):
            return error
        error = inner


def _caused_by_timeout(error: Exception) -> bool:
    # requests raises its ConnectionError, not its Timeout, when the body stops coming
    return any(isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in error.args)


def _http_failure(response: requests.Response) -> Failure:
    code = response.status_code
    passing = code in _PASSING_STATUS or code >= 500
    cause = f"HTTP {code}"
    return Failure(
        "http_error", f"{cause} {response.reason}", passing=passing, retry_after=retry_after(response), cause=cause
    )


def retry_after(response: requests.Response) -> float:
    """Seconds that a Retry-After header asks for: a number or a date; what cannot be read asks for none."""
    header = response.headers.get("Retry-After", "").strip()
    if header.isdigit():
        return float(header)
    try:
        until = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


@dataclass(frozen=True)
class Retries:
    """How often and after what pauses to ask again for what can pass.

    Attributes
    ----------
    count : int
        Further requests after the first has failed.
    pause : float
        Seconds before the first of them; each later pause is twice as long, and all have a random part.
    longest : float
        Seconds: bound on each pause. A service that wants to be left alone for longer counts as silent.
    """

    count: int = 4
    pause: float = 1.0
    longest: float = 60.0

    def ends(self, failure: Failure, tries: int) -> bool:
        """Return whether an image is given up after so many tries, of which the last came to ``failure``."""
        return not failure.passing or failure.retry_after > self.longest or tries > self.count

    def run(self, ask: Callable[[int], Any], stop: threading.Event) -> Any:
        """Ask, and ask again, until an answer comes; ``ask`` is told which try it is, from 1.

        Raises
        ------
        Failure
            The last one: it cannot pass, ``count`` is used up, the service is away, or ``stop`` is set.
        """

        def worth_it(state: tenacity.RetryCallState) -> bool:
            failure = state.outcome.exception()
            if not isinstance(failure, Failure):
                return False
            return not (failure.outage or stop.is_set() or self.ends(failure, state.attempt_number))

        def pause(state: tenacity.RetryCallState) -> float:
            return max(min(growing(state), self.longest), state.outcome.exception().retry_after)

        growing = tenacity.wait_exponential(multiplier=self.pause) + tenacity.wait_random(0, self.pause)
        for attempt in tenacity.Retrying(
            retry=worth_it, wait=pause, sleep=tenacity.sleep_using_event(stop), reraise=True
        ):
            with attempt:
                return ask(attempt.retry_state.attempt_number)


class Guard:
    """A response hook for the session of an astroquery client, which looks at neither the HTTP status nor the body.

    It reads the body within bounds of size and time (the timeout of requests starts anew with each byte) and hands it
    to ``check``, so that astroquery and astropy meet only what is worth reading. A service that has moved is followed
    with what it was asked, to where HTTP leads and no further.

    Parameters
    ----------
    check : callable
        Given the body, raises `Failure` unless it is good.
    expected_bytes : int
        Size of a good body, about.
    seconds : float
        Time for the body to arrive.
    """

    def __init__(self, check: Callable[[bytes], None], expected_bytes: int, seconds: float):
        self.check, self.max_bytes, self.seconds = check, _ROOM * expected_bytes, seconds
        self._moved: set[str] = set()  # addresses that redirects have led to

    def watch(self, session: requests.Session) -> None:
        """Become the only response hook of ``session``; astroquery's own takes 8 ms to make text of each image."""
        session.hooks["response"] = [self]
        session.max_redirects = _MOST_REDIRECTS

    def __call__(self, response: requests.Response, **_) -> None:
        try:
            response.raw = _BoundedBody(response.raw, self.max_bytes, self.seconds)
            if response.is_redirect:
                self._follow(response)
                return
            if response.url in self._moved and response.status_code in (404, 405, 410):
                cause = f"HTTP {response.status_code}"
                message = f"the address has moved to {response.url}, which answers {cause} {response.reason}"
                raise Failure("http_error", message, passing=False, cause=cause)
            response.raise_for_status()
            self.check(response.content)
            refuse_references(response.content)
            response.raw = _read_again(response)
        except Exception:
            response.close()
            raise

    def _follow(self, response: requests.Response) -> None:
        """Let requests follow a redirect: as a POST where it was one, and never out of HTTP, or out of encryption."""
        target = urllib.parse.urljoin(response.url, response.headers["Location"])
        schemes = urllib.parse.urlsplit(response.url).scheme, urllib.parse.urlsplit(target).scheme
        if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
            raise Failure("connection", f"the address has moved to {target}, where it is not followed", passing=False)
        self._moved.add(target)
        _ = response.content  # read here, where the connection is closed if it has no end
        if response.request.method == "POST" and response.status_code in (301, 302):
            response.status_code = 308  # for either, requests makes a GET of it, and forgets what was asked


def _read_again(response: requests.Response) -> urllib3.HTTPResponse:
    """The body that has been read, for clients that read it from the raw response, as pyvo does."""
    return urllib3.HTTPResponse(io.BytesIO(response.content), status=response.status_code, preload_content=False)


class _BoundedBody:
    """The raw body of a response; reading it fails when it grows too large or takes too long."""

    def __init__(self, raw, max_bytes: float, seconds: float):
        self._raw, self._max_bytes, self._seconds = raw, max_bytes, seconds

    def stream(self, amt: int, decode_content: bool | None = None) -> Iterator[bytes]:
        deadline = time.monotonic() + self._seconds
        received = 0
        while piece := self._raw.read1(amt, decode_content):  # read() would wait for all of amt
            received += len(piece)
            if received > self._max_bytes:
                raise Failure("not_an_image", f"the answer is longer than {self._max_bytes:.0f} bytes", passing=False)
            if time.monotonic() > deadline:
                raise Failure("timeout", f"the answer did not end within {self._seconds:g} s", passing=True)
            yield piece

    def __getattr__(self, name: str):
        return getattr(self._raw, name)


def refuse_references(content: bytes) -> None:
    """Check that an answer in XML is all there is: astropy opens what a VOTable refers to, be it a file here.

    Raises
    ------
    Failure
        "not_an_image": it has a stream or an entity that lies elsewhere.
    """

    def refuse(what: str) -> None:
        raise Failure("not_an_image", f"the answer refers to {what}, which is not opened", passing=False)

    def start(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "STREAM" and "href" in attributes:
            refuse(attributes["href"])

    def declare(name: str, is_parameter: bool, value: str | None, base: str | None, system: str | None, *_) -> None:
        if system is not None:
            refuse(system)

    if content[:4].lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \r\n\t")[:1] not in (b"<", b""):
        return
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EntityDeclHandler = start, declare
    with contextlib.suppress(expat.ExpatError):  # what is no XML is not read as any
        parser.Parse(content, True)


def check_fits(content: bytes) -> None:
    """Check that a body is one whole FITS image.

    Asked before astropy reads it, which would warn, and filters for warnings are shared by all threads.

    Raises
    ------
    Failure
        "not_an_image" or "truncated".
    """
    if not content.startswith(b"SIMPLE  ="):
        raise Failure("not_an_image", f"the answer is not FITS: it starts {content[:60]!r}", passing=True)
    cards = (content[start : start + 80] for start in range(0, len(content), 80))
    header = list(itertools.takewhile(lambda card: card.rstrip() != b"END", cards))
    if not b"".join(header).isascii():
        raise Failure("not_an_image", "the FITS header is not ASCII", passing=True)
    try:
        check_counts(io.BytesIO(content))
    except OSError as error:
        raise Failure("not_an_image", str(error), passing=True) from error
    numbers = {found[1]: int(found[2]) for found in map(_STRUCTURE.match, header) if found}
    axes = [numbers.get(b"NAXIS%d" % (axis + 1), 0) for axis in range(numbers.get(b"NAXIS", 0))]
    length = _FITS_BLOCK * math.ceil(80 * (len(header) + 1) / _FITS_BLOCK)
    if axes:
        length += abs(numbers.get(b"BITPIX", 0)) // 8 * math.prod(axes)
    if len(content) < length:
        raise Failure("truncated", f"{len(content)} bytes came of a FITS file of {length} or more", passing=True)


class Workers:
    """Threads that work through a queue, as a context manager.

    They are daemons, and leaving the context does not wait for them: a ``concurrent.futures`` pool would hold Ctrl-C
    until the last request has timed out.

    Parameters
    ----------
    work : callable
        Takes a task, returns its result; runs in the threads.
    count : int
        Threads at most; it may grow. One starts with each task, as long as there are fewer.
    stop : `threading.Event`
        Set on leaving; set it from elsewhere to end `results` early.
    """

    def __init__(self, work: Callable[[Any], Any], count: int, stop: threading.Event):
        self._work, self._stop = work, stop
        self.count = count
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        self._results: queue.Queue = queue.Queue(_UNREAD)
        self._threads: list[threading.Thread] = []
        self._open = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc_info) -> None:
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)
        with contextlib.suppress(queue.Empty):  # lets go of those that wait to deliver
            while True:
                self._results.get_nowait()

    def submit(self, task: Any) -> None:
        """Add a task, which must not be None."""
        self._open += 1
        self._tasks.put(task)
        self._start()

    def grow(self, count: int) -> None:
        """Work at up to ``count`` tasks at a time from now on."""
        if count > self.count:
            self.count = count
            for _ in range(self._tasks.qsize()):
                self._start()

    def _start(self) -> None:
        if len(self._threads) < self.count:
            thread = threading.Thread(target=self._loop, name="radio-ag-download", daemon=True)
            self._threads.append(thread)
            thread.start()

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Each task with its result, as they come, until ``stop`` is set. What ``work`` raises is raised here."""
        while self._open and not self._stop.is_set():
            try:
                task, result, error = self._results.get(timeout=0.1)
            except queue.Empty:
                continue
            self._open -= 1
            if error is not None:
                raise error
            yield task, result

    def _loop(self) -> None:
        while (task := self._tasks.get()) is not None and not self._stop.is_set():
            try:
                self._results.put((task, self._work(task), None))
            except Exception as error:  # raised again in results()
                self._results.put((task, None, error))


_cache_lock = threading.Lock()
_cache_users = 0
_cache_before = True


@contextlib.contextmanager
def astroquery_cache_off() -> Iterator[None]:
    """Keep astroquery from caching while inside.

    The switch is one for the whole process, and astroquery's own way to throw it for each request is not safe between
    threads: one that ends late can leave it off for good. So it is thrown when the first user enters, and back when the
    last one leaves; every thread that makes requests must be inside.
    """
    global _cache_users, _cache_before
    with _cache_lock:
        if _cache_users == 0:
            _cache_before = cache_conf.cache_active
            cache_conf.cache_active = False
        _cache_users += 1
    try:
        yield
    finally:
        with _cache_lock:
            _cache_users -= 1
            if _cache_users == 0:
                cache_conf.cache_active = _cache_before
