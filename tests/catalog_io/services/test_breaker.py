"""Pauses after failures: how they grow, when they end, and when a service counts as lost."""

import logging
import threading

from radio_ag.catalog_io.services.breaker import Breaker
from radio_ag.catalog_io.services.http import Failure

FAILED = Failure("http_error", "HTTP 503", passing=True)


def test_the_breaker_s_pauses_grow_until_its_patience_ends(clock):
    breaker, stop = Breaker("FIRST", limit=3, pause=30.0, patience=250.0), threading.Event()
    breaker.succeed()
    assert not any(breaker.fail(FAILED) for _ in range(3))
    pauses = []
    while breaker._resume is not None and not breaker.lost:
        pauses.append(breaker._resume - clock.now)
        clock.now = breaker._resume
        assert breaker.admit(stop)  # one looks
        breaker.fail(FAILED)
    assert pauses == [0.0, 30.0, 60.0, 120.0]  # 240 more would be too much
    assert breaker.lost
    assert not breaker.admit(stop)
    breaker.start()
    assert breaker.admit(stop)


def test_an_answer_closes_the_breaker(clock, caplog):
    breaker, stop = Breaker("FIRST", limit=2, pause=30.0, patience=900.0), threading.Event()
    breaker.succeed()
    with caplog.at_level(logging.WARNING, "radio_ag"):
        assert not any(breaker.fail(FAILED) for _ in range(2))
        assert breaker.admit(stop)
        assert breaker.fail(FAILED)
        clock.now += 30
        assert breaker.admit(stop)
        breaker.succeed()
        assert breaker.admit(stop)
    assert [record.message for record in caplog.records] == [
        "FIRST failed 3 times in a row (http_error: HTTP 503): next try in 30 s",
        "FIRST answers again: going on",
    ]
    assert not breaker.fail(FAILED)  # it counts anew


def test_a_service_that_never_answered_gets_no_pause(clock):
    breaker = Breaker("FIRST", limit=2, pause=30.0, patience=900.0)
    assert [breaker.fail(FAILED) for _ in range(2)] == [False, False]
    assert breaker.lost


def test_a_long_retry_after_is_obeyed_or_given_up_at_once(clock):
    breaker = Breaker("FIRST", limit=8, pause=30.0, patience=900.0)
    breaker.succeed()
    assert breaker.fail(Failure("http_error", "HTTP 429", passing=True, retry_after=600.0))
    assert breaker._resume == clock.now + 600
    breaker.start()
    assert not breaker.fail(Failure("http_error", "HTTP 429", passing=True, retry_after=86400.0))
    assert breaker.lost
