"""Manners towards a service: rate, Retry-After, pauses after failures, and one image for many positions."""

import contextlib
import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from astropy.wcs import WCS
from first_server import FirstServer, MosaicSky

from radio_ag.catalog_io.images.fields import check_service
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.services import polite
from radio_ag.catalog_io.services.first import FirstImages
from radio_ag.catalog_io.services.polite import FirstByte, Manners, PoliteAdapter, RateLimit, default_rate
from radio_ag.catalog_io.services.requests import LEAST, cell_centres
from radio_ag.errors import InputError, ServiceError
from radio_ag.flags import Flag

FAST = {"pause": 0.001, "timeout": 20.0, "check_coverage": False}


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """No cache and no proxy but those of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def scattered(n, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 360, n), random.uniform(-10, 60, n)


# --- rate -------------------------------------------------------------------------------------------------------------


def test_requests_are_spaced(clock):
    limit = RateLimit(4.0)
    for _ in range(9):
        limit.wait()
    assert clock.now - 100 == pytest.approx(8 / 4)
    clock.now += 10  # what was not used does not add up
    for _ in range(3):
        limit.wait()
    assert clock.now - 112 == pytest.approx(2 / 4)


def test_no_limit(clock):
    limit = RateLimit(float("inf"))
    for _ in range(1000):
        limit.wait()
    assert clock.slept == []


def test_all_connections_are_held(clock):
    limit = RateLimit(10.0)
    limit.wait()
    limit.hold(30.0)
    limit.wait()
    assert clock.now - 100 == pytest.approx(30.0)


def manners(**options):
    settings = {
        "home": "http://127.0.0.1",
        "rate": float("inf"),
        "connections": 4,
        "least": 5.0,
        "timeout": 60.0,
        "longest": 60.0,
    }
    return Manners(**(settings | options))


@contextlib.contextmanager
def session_of(shared):
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", PoliteAdapter(shared))
        yield session


FORM = {"RA": "10.5 30.0", "ImageSize": "9.18", "MaxImSize": "1024"}


@pytest.mark.parametrize(("header", "most"), [("7", 2), ("100", 4), (None, 4)])
def test_retry_after_halves_the_connections_for_as_long(clock, header, most):
    """A wait that is longer than any pause is told to the caller alone."""
    shared = manners()
    with FirstServer(decide=lambda request: "503", retry_after=header or "") as server, session_of(shared) as session:
        assert session.post(server.url, data=FORM).status_code == 503
    assert shared.connections.most() == most
    clock.now += 6.9
    assert shared.connections.most() == most
    clock.now += 0.2
    assert shared.connections.most() == 4  # they come back
    shared.limit.wait()
    assert clock.slept == []  # and no other request was held


def test_the_connections_come_back_even_where_patience_is_asked_for_all_the_time(clock):
    connections = manners().connections
    most = []
    for _ in range(40):
        connections.halve(5.0)
        most.append(connections.most())
        clock.now += 1.0
    assert Counter(most) == {2: 20, 4: 20}


def test_one_connection_stays_one():
    shared = manners(connections=1)
    shared.connections.halve(60.0)
    with shared.connections:
        assert shared.connections.most() == 1


def test_all_wait_where_most_answers_ask_for_it(clock):
    shared = manners()
    for seconds in (0.0, 7.0) * 20:
        shared.heed(seconds)  # half of them is not most
    shared.limit.wait()
    assert clock.slept == []
    for _ in range(2):
        shared.heed(7.0)
    shared.limit.wait()
    assert sum(clock.slept) == pytest.approx(7.0)
    shared.heed(7.0)  # those that were under way
    shared.limit.wait()
    assert sum(clock.slept) == pytest.approx(7.0)


def test_how_long_the_first_byte_is_waited_for():
    wait = FirstByte(least=5.0, most=60.0)
    url = "http://host/cgi-bin/cutout"
    assert wait.limit(url) == 30.0  # nothing is known
    for seconds in (0.2, 0.3, 0.4, 40.0):
        wait.record(url, seconds)
    assert wait.limit(url) == 5.0
    for _ in range(60):
        wait.record(url, 2.0)
    assert wait.limit(url) == 20.0
    wait.stretch = 2.0
    assert wait.limit(url) == 40.0
    wait.stretch = 9.0
    assert wait.limit(url) == 60.0
    wait.stretch = 1.0
    for number in range(60):
        wait.record(f"http://host/images/{number}/skv{number}.fits", 0.01)
    assert wait.limit("http://host/images/77/skv77.fits?x=1") == 5.0
    assert wait.limit(url) == 20.0  # another page


def test_a_service_that_has_become_slow_is_waited_for_longer_in_the_end():
    wait = FirstByte(least=5.0, most=60.0)
    for _ in range(50):
        wait.record("http://host/x", 0.2)
    tries = 0
    while (limit := wait.limit("http://host/x")) < 8.0:  # what it takes from now on
        wait.record("http://host/x", limit)
        tries += 1
    assert tries <= 26


def test_no_request_is_without_a_limit():
    """Whatever the caller says."""
    shared = manners(timeout=0.2)
    with FirstServer(decide=lambda request: "slow") as server, session_of(shared) as session:
        for timeout in (None, 600):
            with pytest.raises(requests.ReadTimeout):
                session.post(server.url, data={"RA": "10.5 30.0"}, timeout=timeout)
    assert shared.tally.traffic().requests == 2


def test_which_services_are_limited():
    assert default_rate("https://sundog.stsci.edu/cgi-bin/firstcutout") == polite.DEFAULT_RATE
    assert default_rate("http://127.0.0.1:8080/x") == default_rate("http://localhost/x") == float("inf")
    with pytest.raises(InputError, match="rate must be"):
        FirstImages(rate=0)


@pytest.mark.parametrize("named", [True, False])
def test_a_file_of_passwords_that_is_no_text_is_named_in_one_line(tmp_path, monkeypatch, named):
    content = b"machine other login \xff\xfe password x\n"
    (tmp_path / ".netrc").write_bytes(content)
    monkeypatch.setenv("HOME", str(tmp_path))
    if named:
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with FirstServer() as server:
        source = FirstImages(service_url=server.url, **FAST)
        with pytest.raises(InputError, match=r"\.netrc, where requests looks for passwords, cannot be read: .* 0xff"):
            source.fetch(*scattered(3))
        assert server.requests == []
        (tmp_path / ".netrc").write_bytes(content.replace(b"\xff\xfe", b"me"))
        assert set(source.fetch(*scattered(3)).status) == {"ok"}


# --- pauses after failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["503", "reset", "html"])
def test_an_outage_in_the_middle_costs_no_row(mode, caplog):
    """The outage lasts for 24 requests: without the pause, a dozen rows would use up their tries in it."""
    count = iter(range(10_000))
    ra, dec = scattered(80)
    with (
        FirstServer(decide=lambda request: mode if 20 <= next(count) < 44 else "ok") as server,
        caplog.at_level(logging.WARNING, "radio_ag"),
    ):
        fields = FirstImages(service_url=server.url, retries=1, connections=2, **FAST | {"pause": 1e-4}).fetch(ra, dec)
    assert set(fields.status) == {"ok"}
    messages = [record.message for record in caplog.records]
    assert any("times in a row" in message for message in messages)
    assert messages[-1] == "FIRST answers again: going on"


def test_a_service_that_goes_for_good_ends_the_run_with_everything_kept(tmp_path):
    count = iter(range(10_000))
    ra, dec = scattered(60)
    with FirstServer(decide=lambda request: "ok" if next(count) < 25 else "503") as server:
        settings = {"service_url": server.url, "retries": 1, "patience": 0.2, "cache_dir": tmp_path} | FAST
        source = FirstImages(**settings)
        with pytest.raises(ServiceError, match=r"FIRST: http://127.* answers no more; what is done is kept"):
            source.fetch(ra, dec)
        assert len(list(tmp_path.rglob("*.fits.gz"))) == 25
        assert len({request.fields["RA"] for request in server.requests}) < 60  # the rest was not asked for
        server.decide = None
        server.forget()
        assert set(source.fetch(ra, dec).status) == {"ok"}
        assert len(server.requests) == 35


def test_a_bad_row_or_two_stop_nothing():
    ra, dec = scattered(40)
    with FirstServer(decide=lambda request: "500" if request.position[1] > 50 else "ok") as server:
        fields = FirstImages(service_url=server.url, retries=1, **FAST).fetch(ra, dec)
    assert 1 < np.count_nonzero(dec > 50) < 8
    np.testing.assert_array_equal(np.array(fields.status) == "http_error", dec > 50)


def test_rows_that_never_come_are_not_taken_for_an_outage(caplog):
    """However many they are: the service has what it had before, and so nobody waits for it."""
    ra, dec = scattered(80)
    with (
        FirstServer(decide=lambda request: "500" if request.position[1] > 20 else "ok") as server,
        caplog.at_level(logging.WARNING, "radio_ag"),
    ):
        source = FirstImages(service_url=server.url, retries=2, connections=2, **FAST | {"pause": 1e-4})
        fields = source.fetch(ra, dec)
        again = source.fetch(ra[dec > 20], dec[dec > 20])
    assert np.count_nonzero(dec > 20) > 30
    np.testing.assert_array_equal(np.array(fields.status) == "http_error", dec > 20)
    assert set(again.status) == {"http_error"}
    assert caplog.records == []


def test_rows_outside_the_survey_do_not_hide_that_the_service_is_down():
    with FirstServer(decide=lambda request: "404") as server:
        source = FirstImages(service_url=server.url, pause=0.001)
        fields = source.fetch(np.array([185.0, 90.0]), np.array([32.5, 30.0]))
        assert fields.flags.tolist() == [Flag.FETCH_FAILED, Flag.NO_COVERAGE]
        with pytest.raises(ServiceError, match="none of the first 1 images came"):
            check_service(fields, source)
        check_service(source.fetch(np.array([90.0]), np.array([30.0])), source)  # nothing was asked


# --- what a row is waited for -----------------------------------------------------------------------------------------


def test_an_answer_that_never_comes_does_not_take_the_whole_timeout(caplog):
    """The service answers at once but for some first tries; those are given up before it closes the connection."""
    ra, dec = scattered(30)
    with (
        FirstServer(
            decide=lambda request: "slow" if request.attempt == 1 and request.position[1] > 45 else "ok"
        ) as server,
        caplog.at_level(logging.DEBUG, "radio_ag"),
    ):
        source = FirstImages(service_url=server.url, first_byte=4.0, **FAST | {"timeout": 600.0})
        fields = source.fetch(ra, dec)
    hung = np.count_nonzero(dec > 45)
    assert set(fields.status) == {"ok"}
    assert hung > 2
    assert source.traffic.requests == 30 + hung
    assert source.traffic.retries == {"timeout": hung}
    assert source.traffic.waited >= 4.0 * hung
    failed = [record.message for record in caplog.records if record.levelno == logging.DEBUG]
    assert len(failed) == hung
    assert all(", try 1: timeout (" in message for message in failed)


def test_a_position_that_takes_long_is_waited_for_longer_each_time(monkeypatch):
    """One of them takes many times as long as the others are waited for; the fifth try would wait for 4 s."""
    ra, dec = scattered(20)
    stretched = []
    limit = FirstByte.limit

    def noted(self, url):
        stretched.append(self.stretch)
        return limit(self, url)

    monkeypatch.setattr(FirstByte, "limit", noted)

    def decide(request):
        return "late" if abs(request.position[0] - ra[3]) < 1e-4 else "ok"

    with FirstServer(slow=1.2, decide=decide) as server:
        source = FirstImages(service_url=server.url, first_byte=0.05, **FAST)
        assert set(source.fetch(ra[10:], dec[10:]).status) == {"ok"}
        assert set(source.fetch(ra[:10], dec[:10]).status) == {"ok"}
    again = Counter(request.attempt for request in server.requests if request.attempt > 1)
    assert source.traffic.retries.get("timeout", 0) == again.total()
    assert Counter(stretched) == {3.0 ** (attempt - 1): count for attempt, count in again.items()} | {1.0: 20}


def test_retry_after_holds_its_own_row_alone():
    """Those of which no patience is asked all come while four wait for a minute, of which nobody sees the end."""
    ra, dec = scattered(14)
    held = set(np.round(ra[2::3], 4))
    others_came = threading.Event()
    came = iter(range(1, 15))

    def decide(request):
        if next(came) == 14:
            others_came.set()
        return "429" if round(request.position[0], 4) in held else "ok"

    with (
        FirstServer(decide=decide, retry_after="60") as server,
        ThreadPoolExecutor(1) as pool,
        FirstImages(service_url=server.url, connections=4, **FAST) as source,
    ):
        call = pool.submit(source.fetch, ra, dec)
        assert others_came.wait(50)
        source.close()
        with pytest.raises(ServiceError, match="closed while"):
            call.result(timeout=60)
        assert [request.attempt for request in server.requests] == [1] * 14
        assert server.modes() == {"ok": 10, "429": 4}


def test_after_retry_after_a_row_is_asked_for_again():
    ra, dec = scattered(14)
    held = set(np.round(ra[2::3], 4))

    def decide(request):
        return "429" if request.attempt == 1 and round(request.position[0], 4) in held else "ok"

    with FirstServer(decide=decide, retry_after="1") as server:
        source = FirstImages(service_url=server.url, connections=4, **FAST)
        assert set(source.fetch(ra, dec).status) == {"ok"}
        assert sorted(request.attempt for request in server.requests) == [1] * 14 + [2] * 4
    assert source.traffic.retries == {"HTTP 429": 4}


def hanging_source(server, connections):
    """A source that never gives up an answer, after some that came."""
    source = FirstImages(service_url=server.url, connections=connections, first_byte=600.0, **FAST | {"timeout": 600.0})
    ra, dec = scattered(4, seed=1)
    assert set(source.fetch(ra, dec).status) == {"ok"}
    server.forget()
    return source


def test_an_answer_that_never_comes_holds_no_place():
    """As many as there are connections hang, and are never given up; all others come."""
    ra, dec = scattered(14)
    hung = set(np.round(ra[:4], 4))
    others_came = threading.Event()
    came = iter(range(1, 15))

    def decide(request):
        if round(request.position[0], 4) in hung:
            return "slow"
        if next(came) == 10:
            others_came.set()
        return "ok"

    with FirstServer() as server, ThreadPoolExecutor(1) as pool, hanging_source(server, connections=4) as source:
        server.decide = decide
        call = pool.submit(source.fetch, ra, dec)
        assert others_came.wait(50)
        source.close()
        with pytest.raises(ServiceError, match="closed while"):
            call.result(timeout=60)


def test_where_all_hang_there_are_twice_as_many_and_no_more():
    ra, dec = scattered(30)
    twice_as_many = threading.Event()
    with FirstServer() as server, ThreadPoolExecutor(1) as pool, hanging_source(server, connections=3) as source:

        def decide(request):
            if len(server.requests) >= 5:
                twice_as_many.set()
            return "slow"

        server.decide = decide
        call = pool.submit(source.fetch, ra, dec)
        assert twice_as_many.wait(50)
        while source._manners.connections._wait() is not None:  # until nothing makes room but an answer
            time.sleep(0.01)
        source.close()
        with pytest.raises(ServiceError, match="closed while"):
            call.result(timeout=60)
        assert server.max_concurrent == 6


def test_who_allows_one_connection_gets_one():
    ra, dec = scattered(8)
    with FirstServer(slow=0.5) as server:
        source = hanging_source(server, connections=1)
        server.decide = lambda request: "late" if abs(request.position[0] - ra[3]) < 1e-4 else "ok"
        assert set(source.fetch(ra, dec).status) == {"ok"}
        assert server.max_concurrent == 1


@pytest.mark.usefixtures("punctual")
def test_no_image_is_asked_for_again_once_it_has_come():
    """Neither by rows that fail beside it, nor by several calls at a time."""
    ra, dec = scattered(60)
    faults = "500", "503", "429", "reset", "truncated", "empty", "html"
    random = np.random.default_rng(5)
    with FirstServer(decide=lambda request: random.choice(faults) if random.random() < 0.3 else "ok") as server:
        source = FirstImages(service_url=server.url, retries=20, cache=False, **FAST)
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(source.fetch, ra[part::3], dec[part::3]) for part in range(3)]
            assert {status for call in calls for status in call.result().status} == {"ok"}
        came = Counter(request.fields["RA"] for request in server.requests if request.mode == "ok")
        assert set(came.values()) == {1}
        assert len(came) == 60
        failed = len(server.requests) - 60
        assert source.traffic.requests == len(server.requests)
        assert sum(source.traffic.retries.values()) == failed
        assert server.max_concurrent <= 4


def test_closing_ends_all_calls_at_once():
    ra, dec = scattered(6)
    with FirstServer(decide=lambda request: "slow") as server:
        source = FirstImages(service_url=server.url, **FAST)
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(source.fetch, ra[part::2], dec[part::2]) for part in range(2)]
            server.arrived.wait(20)
            while len(server.requests) < 4:
                time.sleep(0.01)
            source.close()
            for call in calls:
                with pytest.raises(ServiceError, match="closed while"):
                    call.result(timeout=60)


# --- one image for many positions -------------------------------------------------------------------------------------


def test_positions_of_a_cell_have_room_in_its_image():
    room = 714 * 1.8 / 3600
    random = np.random.default_rng(1)
    ra = random.uniform(0, 360, 100_000)
    dec = np.concatenate([np.degrees(np.arcsin(random.uniform(-1, 1, 99_000))), random.uniform(-89.9, 89.9, 1000)])
    centre_ra, centre_dec = cell_centres(ra, dec, room)
    separation = np.abs((ra - centre_ra + 180) % 360 - 180) * np.cos(np.radians(dec))
    assert (separation <= room / 2).all()
    assert (np.abs(dec - centre_dec) <= room / 2).all()
    again = cell_centres(centre_ra, centre_dec, room)
    np.testing.assert_array_equal(again[0], centre_ra)
    np.testing.assert_array_equal(again[1], centre_dec)
    cells = len(np.unique(np.stack([centre_ra, centre_dec]), axis=1).T)
    assert cells > 80_000  # of the 320,000 there are: positions of different places are not put together


def noisy_sky(side, ra=180.25, dec=40.5, shape=1500):
    """One image of noise, ``side`` pixels of it, around a place."""
    data = np.random.default_rng(2).normal(0, 1.5e-4, (side, side)).astype(np.float32)
    wcs = tangent_wcs(ra, dec, side)
    wcs.wcs.radesys, wcs.wcs.equinox = "FK5", 2000.0
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "BMAJ": 0.0015, "BMIN": 0.0015, "BPA": 0.0}
    cards |= {f"{key}{axis + 1}": getattr(wcs.wcs, key.lower())[axis] for axis in (0, 1) for key in ("CRVAL", "CRPIX")}
    cards |= {"CDELT1": -0.0005, "CDELT2": 0.0005}
    plain = WCS(naxis=2)
    plain.wcs = wcs.wcs
    return MosaicSky(
        data,
        lambda ra, dec: plain.wcs_world2pix(ra, dec, 0),
        {k: float(v) if not isinstance(v, str) else v for k, v in cards.items()},
    )


@pytest.fixture(scope="module")
def crowd():
    """Positions of one cell, which is 20.8 arcmin across."""
    random = np.random.default_rng(3)
    (ra,), (dec,) = cell_centres([180.25], [40.5], 714 * 1.8 / 3600)
    return ra + random.uniform(-0.2, 0.2, 12), dec + random.uniform(-0.15, 0.15, 12), noisy_sky(1800, ra, dec)


def test_many_positions_share_an_image_pixel_for_pixel(crowd, tmp_path):
    ra, dec, sky = crowd
    with FirstServer(sky) as server:
        settings = {"service_url": server.url} | FAST
        shared = FirstImages(cache_dir=tmp_path, **settings).fetch(ra, dec)
        (request,) = server.requests
        assert request.fields["ImageSize"] == "30.6"
        again = FirstImages(cache_dir=tmp_path, **settings).fetch(ra, dec)
        assert len(server.requests) == 1
        own = FirstImages(share=False, cache=False, **settings).fetch(ra, dec)
        assert len(server.requests) == 13
    assert shared.status == own.status == ["ok"] * 12
    for name in ("data", "crpix", "cutout_ra", "cutout_dec"):
        np.testing.assert_allclose(getattr(shared, name), getattr(own, name), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(getattr(again, name), getattr(shared, name))


def test_few_positions_are_asked_for_one_by_one(crowd):
    ra, dec, sky = crowd
    with FirstServer(sky) as server:
        fields = FirstImages(service_url=server.url, **FAST).fetch(ra[: LEAST - 1], dec[: LEAST - 1])
    assert fields.status == ["ok"] * (LEAST - 1)
    assert {request.fields["ImageSize"] for request in server.requests} == {"9.18"}


def test_what_a_shared_image_lacks_is_asked_for_by_itself(crowd):
    """The image ends within the cell: there a field of its own may come from another image."""
    ra, dec, _ = crowd
    (centre_ra,), (centre_dec,) = cell_centres(ra[:1], dec[:1], 714 * 1.8 / 3600)
    with FirstServer(noisy_sky(700, centre_ra, centre_dec)) as server:
        settings = {"service_url": server.url} | FAST
        fields = FirstImages(**settings).fetch(ra, dec)
        sizes = [request.fields["ImageSize"] for request in server.requests]
        own = FirstImages(share=False, cache=False, **settings).fetch(ra, dec)
    assert fields.status == own.status
    lacking = sum(status != "ok" for status in own.status)
    assert 0 < lacking < 12
    assert sorted(sizes) == ["30.6"] + ["9.18"] * lacking
    np.testing.assert_allclose(fields.data, own.data, rtol=0, atol=1e-6)


def test_a_shared_image_that_does_not_come_costs_no_row(crowd):
    ra, dec, sky = crowd
    with FirstServer(sky, decide=lambda request: "404" if request.fields["ImageSize"] == "30.6" else "ok") as server:
        fields = FirstImages(service_url=server.url, **FAST).fetch(ra, dec)
    assert fields.status == ["ok"] * 12
    assert len(server.requests) == 13


# --- offline ----------------------------------------------------------------------------------------------------------


def test_offline_uses_the_cache_alone(crowd, tmp_path):
    ra, dec, sky = crowd
    with FirstServer(sky) as server:
        settings = {"service_url": server.url, "cache_dir": tmp_path} | FAST
        before = FirstImages(**settings).fetch(ra[:9], dec[:9])
        server.forget()
        source = FirstImages(offline=True, **settings)
        after = source.fetch(ra, dec)
        few = source.fetch(ra[[2, 11]], dec[[2, 11]])  # of which one was in a shared image
        assert server.requests == []
    assert after.status == ["ok"] * 12  # the others lie in the same image
    np.testing.assert_array_equal(after.data[:9], before.data)
    np.testing.assert_array_equal(few.data[0], before.data[2])


def test_offline_flags_what_is_not_there(tmp_path):
    ra, dec = scattered(4)
    with FirstServer() as server:
        settings = {"service_url": server.url, "cache_dir": tmp_path} | FAST
        FirstImages(**settings).fetch(ra[:2], dec[:2])
        source = FirstImages(offline=True, **settings)
        fields = source.fetch(ra, dec)
        assert len(server.requests) == 2
    assert fields.status == ["ok", "ok", "offline", "offline"]
    assert fields.flags.tolist() == [0, 0, Flag.FETCH_FAILED, Flag.FETCH_FAILED]
    check_service(source.fetch(ra[2:], dec[2:]), source)  # no service that is down
    with pytest.raises(InputError, match="offline uses the cache alone"):
        FirstImages(offline=True, cache=False)
