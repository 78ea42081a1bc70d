"""How often an image is asked for, and by how many threads."""

import threading

import numpy as np
import pytest
from astroquery import cache_conf

from radio_ag.catalog_io.services.downloads import Retries, Workers, astroquery_cache_off
from radio_ag.catalog_io.services.http import Failure


class _Pauses(threading.Event):
    """An event that nobody waits for, and that remembers how long they wanted to."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def wait(self, timeout=None):
        self.asked.append(timeout)
        return super().wait(0)


def _failing(failures):
    left = list(failures)

    def ask(number):
        if left:
            raise left.pop(0)
        return "image"

    return ask


def test_pauses_grow_and_are_random_and_bounded():
    stops = [_Pauses() for _ in range(20)]
    for stop in stops:
        failures = [Failure("timeout", "", passing=True) for _ in range(8)]
        assert Retries(count=8, pause=1.0, longest=20.0).run(_failing(failures), stop) == "image"
    pauses = np.array([stop.asked for stop in stops])
    assert pauses.shape == (20, 8)
    growing = 2.0 ** np.arange(8)
    assert (pauses >= np.minimum(growing, 20)).all()
    assert (pauses <= np.minimum(growing + 1, 20)).all()
    assert pauses[:, :4].std(axis=0).min() > 0.1


def test_retry_after_is_obeyed():
    stop = _Pauses()
    failures = [Failure("http_error", "", passing=True, retry_after=17.0)]
    assert Retries(count=3, pause=0.1).run(_failing(failures), stop) == "image"
    assert stop.asked == [17.0]


@pytest.mark.parametrize(
    ("failure", "asked"),
    [
        (Failure("timeout", "", passing=True), 4),
        (Failure("http_error", "", passing=False), 1),
        (Failure("http_error", "", passing=True, retry_after=3600.0), 1),
    ],
)
def test_how_often_it_is_asked(failure, asked):
    count = 0

    def ask(number):
        nonlocal count
        count += 1
        assert number == count
        raise failure

    with pytest.raises(Failure):
        Retries(count=3, pause=0.0).run(ask, threading.Event())
    assert count == asked


def test_asking_ends_when_stopped():
    stop = threading.Event()
    count = 0

    def ask(number):
        nonlocal count
        count += 1
        stop.set()
        raise Failure("timeout", "", passing=True)

    with pytest.raises(Failure):
        Retries(count=50, pause=30.0).run(ask, stop)
    assert count == 1


def test_workers_do_every_task_once_and_no_more_at_a_time():
    lock, running, most = threading.Lock(), 0, 0

    def work(task):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1
        return task * task

    with Workers(work, 3, threading.Event()) as workers:
        for task in range(50):
            workers.submit(task)
        results = dict(workers.results())
    assert results == {task: task * task for task in range(50)}
    assert most == 3


def test_what_the_work_raises_comes_out():
    with Workers(lambda task: 1 / task, 2, threading.Event()) as workers:
        workers.submit(0)
        with pytest.raises(ZeroDivisionError):
            next(workers.results())


def _downloading():
    return [thread for thread in threading.enumerate() if thread.name == "radio-ag-download"]


def test_leaving_does_not_wait_for_the_work():
    release, started = threading.Event(), threading.Event()

    def work(task):
        started.set()
        release.wait(60)

    def interrupted():
        with Workers(work, 2, threading.Event()) as workers:
            for task in range(1, 10):
                workers.submit(task)
            started.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    left = _downloading()
    assert left  # still at work
    assert all(thread.daemon for thread in left)  # and the interpreter does not wait for them
    release.set()
    for thread in left:
        thread.join(60)
        assert not thread.is_alive()


def test_workers_waiting_to_deliver_are_let_go():
    with Workers(lambda task: task, 2, threading.Event()) as workers:
        for task in range(1, 100):
            workers.submit(task)
        next(workers.results())
    for thread in _downloading():
        thread.join(60)
        assert not thread.is_alive()


def test_astroquery_cache_is_off_until_the_last_one_leaves():
    assert cache_conf.cache_active
    inside, leave = threading.Barrier(2), threading.Event()

    def other():
        with astroquery_cache_off():
            inside.wait()
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with astroquery_cache_off():
        assert not cache_conf.cache_active
    assert not cache_conf.cache_active
    leave.set()
    thread.join()
    assert cache_conf.cache_active
