"""What HTTP may bring, whatever the service: `Guard` bounds it, `translate` makes a `Failure` of what went wrong."""

from __future__ import annotations

import email.utils
import io
import time
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import astroquery.exceptions
import requests
import urllib3

_PASSING_STATUS = frozenset({408, 425, 429})  # besides 5xx
_ROOM = 4  # a body may be so many times larger than expected
_MOST_REDIRECTS = 5


class Failure(Exception):
    """A service gave no usable image.

    Parameters
    ----------
    status : str
        "no_coverage", "http_error", "timeout", "connection", "truncated", "not_an_image" or "misplaced".
    message : str
        One line for the user.
    passing : bool
        The same request may succeed later.
    retry_after : float
        Seconds for which the service wants to be left alone.
    cause : str
        What the tally of retries calls it, if not ``status``.

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

    def __init__(self, status: str, message: str, *, passing: bool, retry_after: float = 0.0, cause: str = "") -> None:
        super().__init__(message)
        self.status, self.passing, self.retry_after = status, passing, retry_after
        self.cause = cause or status
        self.outage = False

    @property
    def silent(self) -> bool:
        """True where there was no answer at all."""
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
    """Return the `Failure` that an error of requests, urllib3, astroquery or the socket stands for.

    Parameters
    ----------
    error : Exception
        As it was raised.

    Returns
    -------
    Failure
        With the status that rows get.

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
    """Return what requests and urllib3 have wrapped: ``[Errno 111] Connection refused`` without three names."""
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
    """Return the seconds that a Retry-After header asks for: a number or a date; what cannot be read asks for none.

    Parameters
    ----------
    response : requests.Response
        With or without that header.

    Returns
    -------
    float
        0 where nothing is asked for, or the date is past.
    """
    header = response.headers.get("Retry-After", "").strip()
    if header.isdigit():
        return float(header)
    try:
        until = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


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

    def __init__(self, check: Callable[[bytes], None], expected_bytes: int, seconds: float) -> None:
        self.check, self.max_bytes, self.seconds = check, _ROOM * expected_bytes, seconds
        self._moved: set[str] = set()  # addresses that redirects have led to

    def watch(self, session: requests.Session) -> None:
        """Become the only response hook of a session; astroquery's own takes 8 ms to make text of each image.

        Parameters
        ----------
        session : requests.Session
            Of requests, or of astroquery.
        """
        session.hooks["response"] = [self]
        session.max_redirects = _MOST_REDIRECTS

    def __call__(self, response: requests.Response, **_: Any) -> None:
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
    """Return the body that has been read, for clients that read it from the raw response, as pyvo does."""
    return urllib3.HTTPResponse(io.BytesIO(response.content), status=response.status_code, preload_content=False)


class _BoundedBody:
    """The raw body of a response; reading it fails when it grows too large or takes too long."""

    def __init__(self, raw: Any, max_bytes: float, seconds: float) -> None:
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

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)
