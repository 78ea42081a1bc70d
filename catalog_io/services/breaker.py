"""What holds requests to a service that has failed again and again, until it is back or counts as lost."""

from __future__ import annotations

import logging
import threading
import time

from radio_ag.catalog_io.services.http import Failure

_LONGEST_PAUSE = 300.0  # seconds between two looks at whether a service is back
_log = logging.getLogger(__name__)


class Breaker:
    """Lets requests through while a service answers, and holds them when it has failed again and again.

    After ``limit`` failures in a row that may pass, one thread looks whether the service is there, by what has come
    from it before: some images may never come. If it is not, all pause, look again, and pause for twice as long. A
    service that has never answered gets no such patience.

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

    def __init__(self, name: str, limit: int, pause: float, patience: float) -> None:
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
            self._down = False  # it has looked, and there was nothing

    def admit(self, stop: threading.Event) -> bool:
        """Return True when a request may be made, False if the service is lost or ``stop`` is set.

        Parameters
        ----------
        stop : `threading.Event`
            Ends the wait.

        Returns
        -------
        bool
            It may wait for as long as the service is away.
        """
        with self._changed:
            while not (self.lost or stop.is_set()):
                if self._resume is None:
                    return True
                left = self._resume - time.monotonic()
                if left <= 0 and self._looker in (None, threading.get_ident()):
                    self._looker = threading.get_ident()
                    return True
                self._changed.wait(min(max(left, 0.05), 0.5))  # in steps: nobody tells of stop
            return False

    def lets_through(self) -> bool:
        """Return whether this thread may ask now, without a wait.

        Returns
        -------
        bool
            True where the service is there, or this thread looks whether it is.
        """
        with self._changed:
            return not self.lost and (self._resume is None or self._looks())

    def looks(self) -> bool:
        """Return whether it is for this thread to look whether the service is there.

        Returns
        -------
        bool
            True in one thread at a time, of a service that may be away.
        """
        with self._changed:
            return self._looks()

    def _looks(self) -> bool:
        return self._resume is not None and self._looker == threading.get_ident()

    def succeed(self) -> None:
        """Record an answer, be it that there is no image."""
        with self._changed:
            self.answered = True
            if self._resume is not None:
                if self._down:
                    _log.warning("%s answers again: going on", self._name)
                self._resume, self._looker, self._down = None, None, False
                self._changed.notify_all()
            self._failures, self._pause, self._waited = 0, self._first_pause, 0.0

    def fail(self, failure: Failure, last: bool = True) -> bool:
        """Record that a try came to nothing.

        Parameters
        ----------
        failure : Failure
            What the try came to.
        last : bool
            There is no further try for the image.

        Returns
        -------
        bool
            It is the service's outage, and not the image's fault.
        """
        with self._changed:
            self._failures += 1
            if self.lost:
                return False
            if self._resume is None:
                obeyed = failure.retry_after <= _LONGEST_PAUSE
                if obeyed and (self._failures < self._limit or self.answered):
                    self._resume = time.monotonic() if self._failures >= self._limit else None
                    return False
            elif not self._looks():
                return self._down  # one of those that were under way
            elif not last:
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
            self.paused = self._down = True
            self._resume = time.monotonic() + pause
            self._waited += pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return True
