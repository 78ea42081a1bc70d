"""What the tests of services share."""

import math

import pytest

from radio_ag.catalog_io.services import breaker, polite


class Clock:
    """Time that passes only while one sleeps."""

    def __init__(self):
        self.now, self.slept = 100.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (polite, breaker):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def punctual(monkeypatch):
    """No answer is late, so that a busy machine lets no further requests run in its place."""
    monkeypatch.setattr(polite, "_HANGS_AFTER", math.inf)
