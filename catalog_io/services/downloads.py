"""Images from a service, many at a time: how often each is asked for, and what holds them all up.

Nothing here knows a particular survey. `Downloads` makes the tries for one image, each on a free connection and while
the service is there; `Workers` are the threads that ask for many. `astroquery_cache_off` keeps astroquery's own cache,
which holds on to error pages for a week, out of it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import tenacity
from astropy.io import fits
from astroquery import cache_conf

from radio_ag.catalog_io.services.breaker import Breaker
from radio_ag.catalog_io.services.http import Failure
from radio_ag.catalog_io.services.polite import Manners
from radio_ag.catalog_io.services.requests import Request

T = TypeVar("T")

_STRETCH = 3.0  # an image whose answer did not come in time is waited for so many times as long
_MOST_REFUSED = 100_000  # requests that are remembered since the service has no image for them
_UNREAD = 16  # results that may pile up
_log = logging.getLogger(__name__)


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
        """Return whether an image is given up after so many tries.

        Parameters
        ----------
        failure : Failure
            What the last of them came to.
        tries : int
            Those that failed, this one among them.

        Returns
        -------
        bool
            True where the failure cannot pass, ``count`` is used up, or the service asks for too long a wait.
        """
        return not failure.passing or failure.retry_after > self.longest or tries > self.count

    def run(self, ask: Callable[[int], T], stop: threading.Event) -> T:
        """Ask until an answer comes, and pause in between.

        Parameters
        ----------
        ask : callable
            Told which try it is, from 1; raises `Failure` where nothing comes.
        stop : `threading.Event`
            Ends the tries, and the pauses between them.

        Returns
        -------
        object
            What ``ask`` returns.

        Raises
        ------
        Failure
            The last one: it cannot pass, ``count`` is used up, the service is away, or ``stop`` is set.
        """

        def worth_it(state: tenacity.RetryCallState) -> bool:
            failure = _failure(state)
            return failure is not None and not (
                failure.outage or stop.is_set() or self.ends(failure, state.attempt_number)
            )

        def pause(state: tenacity.RetryCallState) -> float:
            failure = _failure(state)
            return max(min(growing(state), self.longest), failure.retry_after if failure else 0.0)

        growing = tenacity.wait_exponential(multiplier=self.pause) + tenacity.wait_random(0, self.pause)
        for attempt in tenacity.Retrying(
            retry=worth_it, wait=pause, sleep=tenacity.sleep_using_event(stop), reraise=True
        ):
            with attempt:
                return ask(attempt.retry_state.attempt_number)
        raise AssertionError("tenacity raises what the last try did")


def _failure(state: tenacity.RetryCallState) -> Failure | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, Failure) else None


@dataclass
class _Tries:
    """What has come of the tries for one image so far."""

    started: float = 0.0
    stretch: float = 1.0
    failed: Failure | None = None

    def fail(self, failure: Failure) -> None:
        self.failed = failure
        if failure.status == "timeout":
            self.stretch *= _STRETCH


class Downloads:
    """Tries for images: those of one are apart by its own pauses, and what it waits for holds up no other.

    Parameters
    ----------
    name : str
        Of the service, for the log.
    answer : callable
        Asks the service for what a `Request` says, once; raises `Failure` where it gives no image.
    manners : Manners
    breaker : Breaker
    retries : Retries
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[Request], fits.HDUList],
        manners: Manners,
        breaker: Breaker,
        retries: Retries,
    ) -> None:
        self._name, self._answer = name, answer
        self._manners, self._breaker, self._retries = manners, breaker, retries
        self._known: Request | None = None  # the last that there was an image for
        self._refused: dict[Request, Failure] = {}

    def get(self, request: Request, stop: threading.Event) -> fits.HDUList:
        """Return the image for a request, after as many tries as it takes.

        Parameters
        ----------
        request : Request
            For an image of one place.
        stop : `threading.Event`
            Ends the tries, and the pauses between them.

        Returns
        -------
        fits.HDUList
            Open, in memory.

        Raises
        ------
        Failure
            There is none.
        """
        tries = _Tries()
        with astroquery_cache_off():  # held here too: a download left to itself outlives whoever wanted it
            while True:
                try:
                    hdus = self._retries.run(lambda number: self._ask(request, stop, tries, number), stop)
                except Failure as failure:
                    if failure.outage and not stop.is_set():
                        continue
                    raise
                self._known = request
                return hdus

    def refuse(self, request: Request, failure: Failure) -> None:
        """Remember a request that came to nothing, so that nobody asks again, unless the failure may pass.

        Parameters
        ----------
        request : Request
            That was made as often as it may be.
        failure : Failure
            What the last try came to.
        """
        _log.info("%s %s: %s (%s)", self._name, request, failure.status, failure)
        if not (failure.passing or failure.silent) and len(self._refused) < _MOST_REFUSED:
            self._refused[request] = failure

    def refused(self, request: Request) -> Failure | None:
        """Return why a request is known to have no image; None where it may have one.

        Parameters
        ----------
        request : Request
            For an image of one place.

        Returns
        -------
        Failure or None
            What it came to before.
        """
        return self._refused.get(request)

    def _ask(self, request: Request, stop: threading.Event, tries: _Tries, number: int) -> fits.HDUList:
        """Ask once, when there is a free connection and the service is not known to be away."""
        while self._breaker.admit(stop):
            with self._manners.connections:
                if not self._breaker.lets_through():  # it closed while this waited for a connection
                    continue
                known = self._known if self._breaker.looks() else None
                self._begin(tries)
                try:
                    hdus = self._answer(known or request)
                except Failure as failure:
                    tries.fail(failure)
                    self._judge(request, failure, number)
                    raise
            self._breaker.succeed()
            if known is None:
                return hdus
            hdus.close()  # the service is there: now for what was asked
        raise Failure("connection", "not asked, since the service was silent", passing=False)

    def _begin(self, tries: _Tries) -> None:
        now = time.monotonic()
        if tries.failed is not None:
            self._manners.tally.count_retry(tries.failed.cause, now - tries.started)
        tries.started, self._manners.first_byte.stretch = now, tries.stretch

    def _judge(self, request: Request, failure: Failure, number: int) -> None:
        """Tell the breaker and the log of a try that came to nothing."""
        _log.debug("%s %s, try %d: %s (%s)", self._name, request, number, failure.cause, failure)
        if failure.passing or failure.silent:
            failure.outage = self._breaker.fail(failure, self._retries.ends(failure, number))
        else:
            self._breaker.succeed()  # an answer, if not an image


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

    def __init__(self, work: Callable[[Any], Any], count: int, stop: threading.Event) -> None:
        self._work, self._stop = work, stop
        self.count = count
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._results: queue.Queue[tuple[Any, Any, Exception | None]] = queue.Queue(_UNREAD)
        self._threads: list[threading.Thread] = []
        self._open = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)
        with contextlib.suppress(queue.Empty):  # lets go of those that wait to deliver
            while True:
                self._results.get_nowait()

    def submit(self, task: Any) -> None:
        """Add a task.

        Parameters
        ----------
        task : object
            Not None.
        """
        self._open += 1
        self._tasks.put(task)
        self._start()

    def grow(self, count: int) -> None:
        """Work at more tasks at a time from now on.

        Parameters
        ----------
        count : int
            Less than the present number changes nothing.
        """
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
        """Yield each task with its result, as they come, until ``stop`` is set; raise what ``work`` raises."""
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
