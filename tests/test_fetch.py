"""Images ahead of a run, runs without a network, and runs whose service goes away in the middle."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from first_server import FirstServer
from service_servers import ByUrl, PointSky
from typer.testing import CliRunner

from radio_ag import ImageOptions, Result, RunOptions, classify
from radio_ag.cli import app
from radio_ag.errors import ImageError, RadioAGWarning, ServiceError
from radio_ag.fetch import fetch_images
from radio_ag.flags import Flag


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """No cache and no proxy but those of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def catalogue(tmp_path):
    """Twelve sources inside FIRST, one far outside, one without a position, and one twice."""
    random = np.random.default_rng(8)
    ra, dec = random.uniform(150, 220, 15), random.uniform(5, 55, 15)
    dec[12], dec[13], ra[14], dec[14] = -70, np.nan, ra[0], dec[0]
    Table({"ra": ra, "dec": dec}).write(tmp_path / "catalogue.csv")
    return tmp_path / "catalogue.csv"


def invoke(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def flags(product):
    return Table.read(product, hdu="CLASSIFICATION")["flags"] & (
        Flag.NO_COVERAGE | Flag.FETCH_FAILED | Flag.BAD_POSITION
    )


def test_fetched_ahead_and_classified_without_a_network(catalogue, weights, tmp_path):
    folder, product = tmp_path / "cutouts", tmp_path / "product.fits"
    settings = ("--orbit", 1, "--weights", weights, "--attention", "none", "-q")
    with FirstServer() as server:
        fetched = invoke("fetch", catalogue, "-o", folder, "--service-url", server.url, "--summary-json")
        assert fetched.exit_code == 0, fetched.output
        traffic = {"requests": 12, "retries": {}, "waited": 0.0}
        came = {"sources": 14, "images": {"ok": 13, "no_coverage": 1}, "incomplete": 0}
        assert json.loads(fetched.stdout) == came | {"traffic": traffic}
        assert len(server.requests) == 12
        again = invoke("fetch", catalogue, "-o", folder, "--service-url", server.url)
        assert again.stdout == "14 sources: 13 ok, 1 no coverage\n0 requests\n"
        assert "fetching: 14/14 sources (100 %)" in again.stderr
        assert len(server.requests) == 12
        url = server.url
    done = invoke("classify", catalogue, "--offline", "--cache-dir", folder, "-o", product, *settings)
    assert (done.exit_code, done.output) == (0, "")
    expected = np.zeros(15, int)
    expected[12], expected[13] = Flag.NO_COVERAGE, Flag.BAD_POSITION
    np.testing.assert_array_equal(flags(product), expected)
    with FirstServer() as server:
        online = tmp_path / "online.fits"
        assert invoke("classify", catalogue, "--service-url", server.url, "-o", online, *settings).exit_code == 0
    ours, theirs = (Table.read(path, hdu="CLASSIFICATION") for path in (product, online))
    for name in ("p_fri", "rms", "flags"):
        np.testing.assert_array_equal(np.ma.filled(ours[name], -1), np.ma.filled(theirs[name], -1))
    assert url  # the service is gone by now


def test_offline_with_an_empty_cache_asks_nobody_and_is_incomplete_until_the_images_are_there(
    catalogue, weights, tmp_path
):
    product, parts, cache = tmp_path / "product.fits", tmp_path / "product.parts", tmp_path / "cache"
    run = ("classify", catalogue, "--weights", weights, "-o", product, "--orbit", 1, "-q", "--cache-dir", cache)
    with FirstServer() as server:
        run += ("--service-url", server.url)
        done = invoke(*run, "--offline")
        assert (done.exit_code, done.stdout) == (3, "")
        said = f"radio-ag: error: 13 of 13 rows with coverage have no image (FETCH_FAILED): {product} is incomplete"
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1
        assert server.requests == []
        assert np.count_nonzero(flags(product) & Flag.FETCH_FAILED) == 13
        assert (fits.getval(product, "INCOMPLE"), Result.read(product).incomplete, parts.is_dir()) == (13, 13, True)
        assert invoke("fetch", catalogue, "-o", cache, "--service-url", server.url).exit_code == 0
    done = invoke(*run, "--offline")
    assert (done.exit_code, done.output) == (0, "")
    assert not flags(product)[:12].any()
    assert (Result.read(product).incomplete, parts.exists()) == (0, False)
    assert invoke(*run, "--offline").exit_code == 2  # a whole product is not replaced
    assert "INCOMPLE" not in fits.getheader(product)


def test_fetch_says_what_is_missing(catalogue, tmp_path):
    ra = Table.read(catalogue)["ra"][5]
    with FirstServer(decide=lambda request: "404" if abs(request.position[0] - ra) < 0.01 else "ok") as server:
        run = ("fetch", catalogue, "-o", tmp_path / "cache", "--service-url", server.url, "--connections", 1)
        assert (result := invoke(*run, "--max-failed", 0.1)).exit_code == 0, result.output
        result = invoke(*run, "--summary-json")
        assert result.exit_code == 3
        assert json.loads(result.stdout)["images"]["http_error"] == 1
        said = "radio-ag: error: 1 of 13 images could not be had (1 http_error): the same command asks for them again\n"
        assert said in result.stderr
        server.decide = None
        assert invoke(*run).exit_code == 0
        assert len(server.requests) == 12 + 1 + 1


def test_a_service_by_url(tmp_path, weights):
    catalogue, product = tmp_path / "two.csv", tmp_path / "product.fits"
    Table({"ra": [185.0, 185.01], "dec": [30.0, 30.0]}).write(catalogue)
    with ByUrl(PointSky(185.0, 30.0, beam=6)) as server:
        options = ("--url-template", server.url, "--pixel-scale", 1.5, "--beam", 6, "--cache-dir", tmp_path / "cache")
        run = ("classify", catalogue, "-o", product, "--weights", weights, "--orbit", 1, "-q")
        done = invoke(*run, *options)
        assert (done.exit_code, done.output) == (0, "")
        assert len(server.asked) == 2
    table = Table.read(product, hdu="CLASSIFICATION")
    assert (table["flags"] & Flag.RESAMPLED > 0).all()
    assert 0.85 * 0.05 < table["peak"][0] < 0.051  # the brightest pixel lies up to half a pixel beside the point


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("classify", "--images", "first", "--url-template", "https://host/{ra},{dec}"), "leave one out"),
        (("classify", "--url-template", "https://host/"), "is not a URL with places"),
        (("classify", "--url-template", "https://host/{name}"), "name is not one of them"),
        (("classify", "--images", "catalogue.csv", "--offline"), "options of a survey's service"),
        (("classify", "--offline", "--no-cache"), "offline uses the cache alone"),
        (("classify", "--images", "nvss"), "its beam of 45 arcsec is coarser"),
        (("classify", "--images", "first", "--beam-scaled"), "FIRST's needs no scaling"),
        (("fetch", "--images", "mosaic.fits"), "no survey with a service"),
        (("fetch", "--url-template", "https://host/{ra},{dec}", "--service-url", "https://host"), "two addresses"),
        (("fetch", "--rate", "0"), "--rate"),
    ],
)
def test_what_cannot_be(catalogue, args, message):
    command, *options = args
    result = invoke(command, catalogue, *options)
    assert result.exit_code == 2
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


def test_fetch_is_for_services(catalogue, tmp_path):
    with pytest.raises(ImageError, match="leave out cache=False"):
        fetch_images(catalogue, image_options=ImageOptions(cache=False))
    with FirstServer() as server:
        settings = ImageOptions(service_url=server.url, cache_dir=tmp_path / "small", cache_size=500_000)
        with pytest.warns(RadioAGWarning, match=r"14 images of about 90 kB are more than the cache keeps"):
            assert fetch_images(catalogue, image_options=settings).statuses["ok"] == 13


def test_a_service_that_is_down_is_exit_code_3(catalogue, tmp_path):
    with FirstServer(decide=lambda request: "404") as server:
        result = invoke("fetch", catalogue, "-o", tmp_path / "cutouts", "--service-url", server.url)
    assert result.exit_code == 3
    assert "none of the first" in result.stderr


def test_a_service_that_goes_away_for_good_is_exit_code_3(catalogue, weights, tmp_path):
    count = iter(range(1000))
    gone = {"decide": lambda request: "ok" if next(count) < 5 else "503", "retry_after": "1000"}
    with FirstServer(**gone) as server:
        options = ("--service-url", server.url, "--cache-dir", tmp_path / "cache", "--patience", 500)
        options += ("--connections", 1, "--weights", weights, "--orbit", 1)
        run = ("classify", catalogue, "-o", tmp_path / "product.fits", *options)
        result = invoke(*run)
        assert result.exit_code == 3
        assert "answers no more; what is done is kept: try again later" in result.stderr
        server.decide = None
        server.forget()
        assert invoke(*run).exit_code == 0
        assert len(server.requests) == 12 - 5


def test_a_run_whose_service_goes_away_goes_on_where_it_stopped(catalogue, weights, tmp_path):
    """The error is the one of exit code 3; what is done stays in the parts and in the cache."""
    count = iter(range(1000))
    settings = {"weights": weights, "orbit": 1, "attention": "none", "output": tmp_path / "product.fits"}
    settings["run_options"] = RunOptions(chunk=4)
    with FirstServer(decide=lambda request: "ok" if next(count) < 7 else "503") as server:
        settings["image_options"] = ImageOptions(
            service_url=server.url,
            cache_dir=tmp_path / "cache",
            connections=1,
            patience=0.1,
            extra={"retries": 0, "pause": 1e-4},
        )
        with pytest.raises(ServiceError, match="answers no more; what is done is kept"):
            classify(catalogue, **settings)
        assert not settings["output"].exists()
        server.decide = None
        server.forget()
        result = classify(catalogue, **settings)
        assert 12 - 7 <= len(server.requests) <= 12 - 6  # one may have been on its way when the run ended
    assert np.count_nonzero(result.table["flags"] & Flag.FETCH_FAILED) == 0
    assert np.count_nonzero(~result.table["p_fri"].mask) == 13


class Late:
    """Gives no image before so many others have come, or at all before that many tries."""

    def __init__(self, tries):
        self.tries, self.came = tries, []

    def __call__(self, request):
        if request.position[1] > 30.05 and request.attempt <= self.tries:
            return "500"
        self.came.append(request.fields["RA"])
        return "ok"


@pytest.mark.parametrize("attention", ["none", "mean"])
def test_what_did_not_come_is_asked_for_once_more_at_the_end(catalogue, weights, tmp_path, attention):
    """The product is the one without faults, whichever parts the late images belong to."""
    settings = {"weights": weights, "orbit": 1, "attention": attention}
    cut = {"chunk": 4, "batch": 1}
    options = {"extra": {"retries": 1, "pause": 1e-4}, "cache": False}
    with FirstServer() as server:
        images = ImageOptions(service_url=server.url, **options)
        whole = classify(catalogue, image_options=images, run_options=RunOptions(**cut), **settings)
    once = Counter(request.fields["RA"] for request in server.requests)
    with FirstServer(decide=Late(2)) as server:
        images = ImageOptions(service_url=server.url, **options)
        told = []
        written = classify(
            catalogue,
            image_options=images,
            output=tmp_path / "product.fits",
            run_options=RunOptions(
                progress=lambda done, total, counts: told.append((done, counts["FETCH_FAILED"])), **cut
            ),
            **settings,
        )
        late = len({request.fields["RA"] for request in server.requests if request.attempt == 3})
        assert 2 < late < len(once)
        assert Counter(server.decide.came) == once
        assert max(failed for _, failed in told) >= late
        assert told[-1] == (15, 0)
        assert written.traffic.retries == {"HTTP 500": late}
        server.forget()
        in_memory = classify(catalogue, image_options=images, run_options=RunOptions(**cut), **settings)
    for result in (written, in_memory):
        for name in ("flags", "p_fri", "rms", "attention_plane"):
            ours, theirs = (np.ma.filled(table[name], -1) for table in (result.table, whole.table))
            np.testing.assert_array_equal(ours, theirs)
        if attention == "mean":
            rows = np.flatnonzero(whole.table["attention_plane"] >= 0)
            for row in rows:
                np.testing.assert_array_equal(result.attention(row).data, whole.attention(row).data)


def test_an_interrupted_run_asks_for_what_did_not_come_alone(catalogue, weights, tmp_path):
    settings = {"weights": weights, "orbit": 1, "attention": "none", "output": tmp_path / "product.fits"}
    with FirstServer(decide=Late(2)) as server:
        settings["image_options"] = ImageOptions(
            service_url=server.url, cache=False, extra={"retries": 0, "pause": 1e-4}
        )
        first = classify(catalogue, run_options=RunOptions(chunk=4, max_failed=1.0, keep_parts=True), **settings)
        failed = np.count_nonzero(first.table["flags"] & Flag.FETCH_FAILED)
        asked = len(server.requests)
        again = classify(catalogue, run_options=RunOptions(chunk=4, resume=True), **settings)
        assert len(server.requests) - asked == len({r.fields["RA"] for r in server.requests if r.attempt == 3})
    assert failed > 2
    assert np.count_nonzero(again.table["flags"] & Flag.FETCH_FAILED) == 0


def test_fetch_asks_once_more_at_the_end(catalogue, tmp_path):
    with FirstServer(decide=Late(2)) as server:
        options = {"service_url": server.url, "cache_dir": tmp_path / "images"}
        fetched = fetch_images(catalogue, image_options=ImageOptions(**options, extra={"retries": 1, "pause": 1e-4}))
        assert len({request.fields["RA"] for request in server.requests if request.attempt == 3}) > 2
    assert fetched.statuses == {"ok": 13, "no_coverage": 1}


def test_what_the_wait_was_for(catalogue, tmp_path):
    with FirstServer(decide=Late(1)) as server:
        done = invoke("fetch", catalogue, "-o", tmp_path / "images", "--service-url", server.url, "-v")
        late = len({request.fields["RA"] for request in server.requests if request.attempt == 2})
    assert done.exit_code == 0
    assert late > 2
    first, second = done.stdout.splitlines()
    assert first == "14 sources: 13 ok, 1 no coverage"
    expected = rf"{12 + late} requests; {late} tries again \({late} HTTP 500\); images waited \d+ s for them"
    assert re.fullmatch(expected, second)
    failed = [line for line in done.stderr.splitlines() if "try 1: HTTP 500 (HTTP 500 Internal Server Error)" in line]
    assert len(failed) == late
    assert all(line.startswith("radio-ag: debug: FIRST ") for line in failed)
