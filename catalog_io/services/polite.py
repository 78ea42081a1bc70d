"""How a service is spoken to: who asks, how fast, and for how long one waits when it does not answer."""

from __future__ import annotations

import contextlib
import math
import re
import statistics
import threading
import time
import urllib.parse
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from radio_ag.catalog_io.images.fields import Traffic
from radio_ag.catalog_io.services.addresses import LOOPBACK, leads_inward
from radio_ag.catalog_io.services.http import Failure, retry_after

DEFAULT_RATE = 10.0
"""Requests a second, at most, to a service on another machine."""

_ABOUT = "https://arxiv.org/abs/2012.01248"  # what the package is an implementation of
_CONNECT_SECONDS = 10.0
_RECENT = 50  # answers whose times count
_TIMES_MEDIAN = 10.0
_HANGS_AFTER = 4.0  # times the median: it goes on being waited for, and another is asked for meanwhile
_SOON = 0.001  # seconds: clocks differ
_UNKNOWN = 6.0  # times the least wait for an answer: before the first one has come


def user_agent(others: str) -> str:
    """Return how requests introduce themselves: this package, then the libraries that make them.

    Parameters
    ----------
    others : str
        What the libraries say.

    Returns
    -------
    str
        The value of the header User-Agent.
    """
    return f"radio-ag/{version('radio-ag')} (+{_ABOUT}) {others}"


def default_rate(url: str) -> float:
    """Return the requests a second to a service, where nobody says: no limit for one on this machine.

    Parameters
    ----------
    url : str
        Of the service.

    Returns
    -------
    float
        `DEFAULT_RATE`, or infinity.
    """
    return float("inf") if urllib.parse.urlsplit(url).hostname in LOOPBACK else DEFAULT_RATE


class RateLimit:
    """Spaces requests evenly in time, whichever thread makes them.

    Parameters
    ----------
    rate : float
        Requests a second; may be infinite.
    """

    def __init__(self, rate: float) -> None:
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
        """Make no request for so long: the service wants to be left alone.

        Parameters
        ----------
        seconds : float
            From now on.
        """
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Connections:
    """Requests at a time, as a context manager around each: as many as allowed, half of them while the service is busy.

    One that `hangs` does not count, so that another goes on in its place: there are never more than twice as many. Who
    allows one alone means it, and then there is one.

    Parameters
    ----------
    count : int
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._hangs_from: dict[int, float] = {}  # of each request, by its thread
        self._busy_until = self._spared_until = 0.0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            while (wait := self._wait()) is None or wait > 0:
                self._changed.wait(wait)
            self._hangs_from[threading.get_ident()] = math.inf
            self._changed.notify()  # there may be room for another

    def __exit__(self, *exc_info: object) -> None:
        with self._changed:
            self._hangs_from.pop(threading.get_ident(), None)
            self._changed.notify()

    def _wait(self) -> float | None:
        """Seconds after which there may be room, 0 where there is; None: not before something changes."""
        now, most = time.monotonic(), self.most()
        hanging = sum(start <= now for start in self._hangs_from.values()) if self.count > 1 else 0
        if len(self._hangs_from) - min(hanging, most) < most:
            return 0.0
        ends = [start for start in self._hangs_from.values() if now < start < math.inf]
        ends += [self._busy_until] if most < self.count else []
        return max(min(ends) - now, _SOON) if ends else None

    @contextlib.contextmanager
    def hangs(self, seconds: float) -> Iterator[None]:
        """Wait for an answer, which after so many seconds takes up no room any more.

        Parameters
        ----------
        seconds : float
            From now on; may be infinite.
        """
        self._expect(time.monotonic() + seconds)
        try:
            yield
        finally:
            self._expect(math.inf)

    def _expect(self, hangs_from: float) -> None:
        with self._changed:
            if threading.get_ident() in self._hangs_from:
                self._hangs_from[threading.get_ident()] = hangs_from
                self._changed.notify()

    def most(self) -> int:
        """Return how many requests there may be now, without those that hang.

        Returns
        -------
        int
            ``count``, or half of it, but at least 1.
        """
        return self.count if time.monotonic() >= self._busy_until else max(1, self.count // 2)

    def halve(self, seconds: float) -> None:
        """Make do with half of them for so long. Then they come back, and stay for as long whatever is asked.

        Parameters
        ----------
        seconds : float
            From now on.
        """
        with self._changed:
            now = time.monotonic()
            if now >= self._spared_until:
                self._busy_until, self._spared_until = now + seconds, now + 2 * seconds


class FirstByte:
    """How long an answer is waited for before its first byte: ten times as long as the recent ones took.

    Addresses count apart, but for numbers in them: one page of a service may take a hundred times as long as another.
    Before the first answer it is six times the least.

    Parameters
    ----------
    least : float
        Seconds.
    most : float
        Seconds.

    """

    def __init__(self, least: float, most: float) -> None:
        self._least, self._most = least, most
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))
        self._own = threading.local()

    @property
    def stretch(self) -> float:
        """Factor for the requests of this thread: of an image that was not waited for long enough before."""
        return getattr(self._own, "stretch", 1.0)

    @stretch.setter
    def stretch(self, factor: float) -> None:
        self._own.stretch = factor

    def limit(self, url: str) -> float:
        """Return the seconds to wait for an answer from an address.

        Parameters
        ----------
        url : str
            Of the request.

        Returns
        -------
        float
            From ``least`` to ``most``.
        """
        usual = self._usual(url)
        limit = _UNKNOWN * self._least if usual is None else _TIMES_MEDIAN * usual
        return min(self.stretch * max(limit, self._least), self._most)

    def hangs_after(self, url: str) -> float:
        """Return the seconds after which an answer is so late that others need not wait for it.

        Parameters
        ----------
        url : str
            Of the request.

        Returns
        -------
        float
            Infinite before the first answer.
        """
        usual = self._usual(url)
        return math.inf if usual is None else _HANGS_AFTER * usual

    def _usual(self, url: str) -> float | None:
        recent = list(self._recent[_page(url)])
        return statistics.median(recent) if recent else None

    def record(self, url: str, seconds: float) -> None:
        """Learn from an answer, or from none in time: a service that has become slow is waited for longer.

        Parameters
        ----------
        url : str
            Of the request.
        seconds : float
            That it took, or that it was waited for in vain.
        """
        self._recent[_page(url)].append(seconds)


def _page(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts.netloc + re.sub(r"[-+.\d]+", "", parts.path)


class Tally:
    """What was asked, and what for again, of all threads together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests, self._retries, self._waited = 0, Counter[str](), 0.0

    def count_request(self) -> None:
        """Count a request."""
        with self._lock:
            self._requests += 1

    def count_retry(self, cause: str, seconds: float) -> None:
        """Count another try.

        Parameters
        ----------
        cause : str
            Of the failure before.
        seconds : float
            From the start of the try that failed.
        """
        with self._lock:
            self._retries[cause] += 1
            self._waited += seconds

    def traffic(self) -> Traffic:
        """Return what it has come to.

        Returns
        -------
        Traffic
            Requests, retries by their cause, and seconds that were waited for them.
        """
        with self._lock:
            return Traffic(self._requests, dict(self._retries.most_common()), self._waited)


class Manners:
    """What all requests to a service share.

    Parameters
    ----------
    home : str
        URL of the service.
    rate : float
        Requests a second.
    connections : int
        Requests at a time, and as many again whose answers are late.
    least, timeout : float
        Seconds to wait for the first byte of an answer, at least and at most.
    longest : float
        Seconds: a ``Retry-After`` beyond this is left to the caller.
    """

    def __init__(self, home: str, rate: float, connections: int, least: float, timeout: float, longest: float) -> None:
        self.home = home
        self.limit = RateLimit(rate)
        self.connections = Connections(connections)
        self.first_byte = FirstByte(least, timeout)
        self.tally = Tally()
        self.connect = min(_CONNECT_SECONDS, timeout)
        self._longest = longest
        self._turned_away: deque[bool] = deque(maxlen=4 * connections)
        self._lock = threading.Lock()

    def heed(self, seconds: float) -> None:
        """Take note that an answer came which asks for patience, 0 for none.

        That request waits for itself. Half of the connections rest meanwhile; all do where most answers ask for it.

        Parameters
        ----------
        seconds : float
            Of the header Retry-After.
        """
        seconds = seconds if seconds <= self._longest else 0.0
        with self._lock:
            self._turned_away.append(seconds > 0)
            enough = 2 * len(self._turned_away) >= (self._turned_away.maxlen or 0)
            most = enough and 2 * sum(self._turned_away) > len(self._turned_away)
            if most:
                self._turned_away.clear()
        if seconds:
            self.connections.halve(seconds)
        if most:
            self.limit.hold(seconds)


class PoliteAdapter(HTTPAdapter):
    """Sends requests within a rate limit, and waits as long as is worth it, whatever the caller says.

    Parameters
    ----------
    manners : Manners
        Shared by all connections to a service.
    """

    def __init__(self, manners: Manners) -> None:
        super().__init__()
        self._manners = manners

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        *args: Any,
        **options: Any,
    ) -> requests.Response:
        """Send a request when its turn has come; see `requests.adapters.HTTPAdapter.send`.

        Parameters
        ----------
        request : requests.PreparedRequest
            As a session has prepared it.
        stream : bool
            Leave the body to be read later.
        timeout : object
            Not heeded: the manners say how long is waited.
        *args
            Of the adapter of requests.
        **options
            Of the adapter of requests.

        Returns
        -------
        requests.Response
            Of any status.
        """
        manners, url = self._manners, str(request.url)
        if leads_inward(url, manners.home):
            raise Failure("connection", f"an answer leads to {url}, which is not asked", passing=False)
        manners.limit.wait()
        manners.tally.count_request()
        limit = manners.first_byte.limit(url)
        start = time.monotonic()
        try:
            with manners.connections.hangs(manners.first_byte.hangs_after(url)):
                response = super().send(request, stream, (manners.connect, limit), *args, **options)
        except requests.ReadTimeout:
            manners.first_byte.record(url, limit)
            raise
        manners.first_byte.record(url, time.monotonic() - start)
        manners.heed(retry_after(response) if response.status_code in (429, 503) else 0.0)
        return response
