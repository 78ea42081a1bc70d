"""How a service is spoken to: who asks, how fast, and for how long one waits when it does not answer."""

from __future__ import annotations

import logging
import threading
import time
import urllib.parse
from importlib.metadata import version

import requests
from requests.adapters import HTTPAdapter

from radio_ag.catalog_io.services.http import Failure, retry_after
from radio_ag.errors import InputError

DEFAULT_RATE = 10.0
"""Requests a second, at most, to a service on another machine."""

_ABOUT = "https://arxiv.org/abs/2012.01248"  # what the package is an implementation of
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_LONGEST_PAUSE = 300.0  # seconds between two looks at whether a service is back
_log = logging.getLogger(__name__)


def user_agent(others: str) -> str:
    """How requests introduce themselves: this package, then the libraries that make them."""
    return f"radio-ag/{version('radio-ag')} (+{_ABOUT}) {others}"


def default_rate(url: str) -> float:
    """Requests a second to a service, where nobody says: no limit for one on this machine."""
    return float("inf") if urllib.parse.urlsplit(url).hostname in _LOOPBACK else DEFAULT_RATE


def checked_url(url: str) -> str:
    """A URL of a service; InputError if it cannot be one."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not (url.isascii() and url.isprintable()):
        raise InputError(f"service_url must be an http or https URL, not {url!r}")
    return url


def public(url: str) -> str:
    """The URL without a user's name and password."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class RateLimit:
    """Spaces requests evenly in time, whichever thread makes them.

    Parameters
    ----------
    rate : float
        Requests a second; may be infinite.
    """

    def __init__(self, rate: float):
        self._interval = 1 / rate
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next request may be made."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            time.sleep(turn - now)

    def hold(self, seconds: float) -> None:
        """Make no request for so long: the service wants to be left alone."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class PoliteAdapter(HTTPAdapter):
    """Sends requests within a rate limit, and none without a timeout: astroquery leaves it out here and there.

    Parameters
    ----------
    limit : RateLimit
        Shared by all connections to a service.
    timeout : tuple of float
        Seconds to connect and to read, where the caller gives none.
    longest : float
        Seconds: a ``Retry-After`` up to this holds all connections; a longer one is left to the caller.
    """

    def __init__(self, limit: RateLimit, timeout: tuple[float, float], longest: float):
        super().__init__()
        self._limit, self._timeout, self._longest = limit, timeout, longest

    def send(self, request: requests.PreparedRequest, timeout=None, **options) -> requests.Response:
        """See `requests.adapters.HTTPAdapter.send`."""
        self._limit.wait()
        response = super().send(request, timeout=timeout or self._timeout, **options)
        if response.status_code in (429, 503):
            seconds = retry_after(response)
            if seconds <= self._longest:
                self._limit.hold(seconds)
        return response


class Breaker:
    """Lets requests through while a service answers, and holds them when it has failed again and again.

    After ``limit`` failures in a row that may pass, all threads pause. Then one of them looks whether the service is
    back; if it is not, the next pause is twice as long. A service that has never answered gets no such patience.

    Parameters
    ----------
    name : str
        Of the service, for the log.
    limit : int
        Failures in a row.
    pause : float
        Seconds of the first pause.
    patience : float
        Seconds of pauses in all, after which the service counts as lost.

    Attributes
    ----------
    answered : bool
        The service has answered at least once.
    paused : bool
        There has been a pause since `start`.
    lost : bool
        Nothing is asked any more.
    """

    def __init__(self, name: str, limit: int, pause: float, patience: float):
        self._name, self._limit, self._first_pause, self._patience = name, limit, pause, patience
        self._changed = threading.Condition()
        self.answered = False
        self.start()

    def start(self) -> None:
        """Begin anew: a service that was lost may be back."""
        with self._changed:
            self.lost = self.paused = False
            self._failures, self._pause, self._waited = 0, self._first_pause, 0.0
            self._resume: float | None = None  # when to look again; None while requests go through
            self._looker: int | None = None  # thread that looks

    def admit(self, stop: threading.Event) -> bool:
        """Return True when a request may be made, False if the service is lost or ``stop`` is set."""
        with self._changed:
            while not (self.lost or stop.is_set()):
                if self._resume is None:
                    return True
                left = self._resume - time.monotonic()
                if left <= 0 and self._looker is None:
                    self._looker = threading.get_ident()
                    return True
                self._changed.wait(min(max(left, 0.05), 0.5))  # in steps: nobody tells of stop
            return False

    def succeed(self) -> None:
        """Record an answer, be it that there is no image."""
        with self._changed:
            self.answered = True
            if self._resume is not None:
                _log.warning("%s answers again: going on", self._name)
                self._resume, self._looker = None, None
                self._changed.notify_all()
            self._failures, self._pause, self._waited = 0, self._first_pause, 0.0

    def fail(self, failure: Failure) -> bool:
        """Record that a request came to nothing; True if it is to be made again after the pause."""
        with self._changed:
            self._failures += 1
            if self.lost:
                return False
            if self._resume is not None and self._looker != threading.get_ident():
                return True  # one of those that were under way when the others failed
            if self._resume is None and self._failures < self._limit and failure.retry_after <= _LONGEST_PAUSE:
                return False
            pause = max(self._pause, failure.retry_after)
            self._looker = None
            if not self.answered or self._waited + pause > self._patience:
                self.lost = True
                self._changed.notify_all()
                return False
            _log.warning(
                "%s failed %d times in a row (%s: %s): next try in %.3g s",
                *(self._name, self._failures, failure.status, failure, pause),
            )
            self.paused = True
            self._resume = time.monotonic() + pause
            self._waited += pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return True
