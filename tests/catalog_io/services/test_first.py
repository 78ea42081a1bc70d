"""VLA FIRST through astroquery, against a loopback server that speaks the service's protocol and fails in its ways."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astroquery import cache_conf
from astroquery.image_cutouts import first as astroquery_first
from first_server import STATUS_MODES, CoaddSky, FirstServer, MosaicSky, closed_port, sin_project
from hypothesis import given
from hypothesis import strategies as st

from radio_ag.catalog_io.images.fields import Fields, ImageSource
from radio_ag.catalog_io.images.geometry import locate
from radio_ag.catalog_io.open_images import open_images
from radio_ag.catalog_io.services.answer import check_body, read_served
from radio_ag.catalog_io.services.cache import FieldKey, rounded
from radio_ag.catalog_io.services.first import SERVICE_VARIABLE, FirstImages, nearest_position
from radio_ag.catalog_io.services.http import Failure
from radio_ag.errors import InputError, ServiceError
from radio_ag.flags import Flag

AWKWARD = [
    (162.53, 30.677),
    (0.0, 0.0),
    (1e-9, -1e-9),
    (0.0007, 0.00004),  # between 0 and the smallest number that is written without an exponent
    (0.0008, -0.00006),
    (0.0015, 0.0001),
    (359.9999999, 0.00005),
    (359.9993, -0.00005),
    (15.0000001, 64.3),
    (330.25, -11.3),
]
TOLERANCE = 0.5e-5 * 1.01  # Jy/beam: half a quantum


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """No cache, proxy or service but those of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(SERVICE_VARIABLE, raising=False)


@pytest.fixture
def server():
    with FirstServer() as running:
        yield running


def _images(server, **options):
    """Of positions anywhere: the server has images of the whole sky."""
    settings = {"service_url": server.url, "pause": 0.001, "timeout": 20.0, "check_coverage": False}
    return FirstImages(**(settings | options))


def _positions(n, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 360, n), np.degrees(np.arcsin(random.uniform(np.sin(np.radians(-11)), 0.9, n)))


def _expected(sky, ra, dec):
    """The field as it should be, and the position's pixel in it, by the server's own projection."""
    data, cards = sky.cutout(*nearest_position(ra, dec), 320)  # the server draws its source there
    fk5 = SkyCoord(ra * u.deg, dec * u.deg).fk5  # 0.01 px from ICRS, which matters where a field's edge is a tie
    east, north = sin_project(fk5.ra.deg, fk5.dec.deg, cards["CRVAL1"], cards["CRVAL2"])
    x = cards["CRPIX1"] - 1 + east / cards["CDELT1"]
    y = cards["CRPIX2"] - 1 + north / cards["CDELT2"]
    left, bottom = round(x - 149.5), round(y - 149.5)
    return data[bottom : bottom + 300, left : left + 300], (x - left, y - bottom)


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_requests_as_they_arrive(server):
    ra, dec = np.transpose(AWKWARD)
    fields = _images(server).fetch(ra, dec)
    assert fields.status == ["ok"] * len(ra)
    assert len(server.requests) <= len(ra)  # two of them are the same to the service
    for request in server.requests:
        assert (request.method, request.path) == ("POST", "/cgi-bin/firstcutout")
        assert re.match(r"radio-ag/\S+ \(\+https://\S+\) astroquery/", request.headers["User-Agent"])
        assert "e" not in request.fields["RA"].lower()
        del request.fields["RA"]
        assert request.fields == {
            "Equinox": "J2000",
            "ImageSize": "9.18",
            "ImageType": "FITS File",
            "MaxImSize": "1024",
        }


@given(ra=st.floats(0, 360) | st.floats(0, 0.01), dec=st.floats(-90, 90) | st.floats(-0.001, 0.001))
def test_no_exponent_is_ever_sent(ra, dec):
    asked_ra, asked_dec = nearest_position(ra, dec)
    position = SkyCoord(round(asked_ra / 15, 7) * u.hourangle, asked_dec * u.deg)
    payload = astroquery_first.First.get_images(position, get_query_payload=True)
    hours, degrees = payload["RA"].split(" ")
    assert "e" not in payload["RA"].lower()
    offset = SkyCoord(float(hours) * u.hourangle, float(degrees) * u.deg).separation(SkyCoord(ra * u.deg, dec * u.deg))
    assert offset.arcsec < 2.75  # 1.5 px, half of what is asked for beyond the field


def test_equal_positions_are_asked_for_once(server):
    ra, dec = _positions(5)
    order = [0, 1, 0, 2, 3, 3, 4, 0]
    fields = _images(server).fetch(ra[order], dec[order])
    assert len(server.requests) == 5
    np.testing.assert_array_equal(fields.cutout_ra, ra[order])
    np.testing.assert_array_equal(fields.data[0], fields.data[7])
    assert not np.array_equal(fields.data[0], fields.data[1])


@pytest.mark.usefixtures("punctual")
def test_connections_are_bounded_and_kept(server):
    server.latency = 0.05
    ra, dec = _positions(24)
    _images(server, connections=3).fetch(ra, dec)
    assert server.max_concurrent == 3
    assert server.connections == 3


def test_astroquery_s_cache_stays_out_of_it(server, tmp_path):
    (tmp_path / "xdg" / "astropy").mkdir(parents=True)
    during = []
    server.decide = lambda request: during.append(cache_conf.cache_active) or "html"
    assert cache_conf.cache_active
    ra, dec = _positions(3)
    _images(server, retries=0).fetch(ra, dec)
    assert during == [False] * 3
    assert cache_conf.cache_active
    assert not list(tmp_path.rglob("*.pickle"))


# --- what comes back --------------------------------------------------------------------------------------------------


def test_fields_are_exact_to_the_pixel(server):
    ra, dec = (np.concatenate(pair) for pair in zip(np.transpose(AWKWARD), _positions(30), strict=True))
    fields = _images(server).fetch(ra, dec)
    assert fields.data.shape == (len(ra), 300, 300)
    assert fields.data.dtype == np.float32
    assert fields.data.dtype.isnative
    assert np.isfinite(fields.data).all()
    assert not fields.flags.any()
    for row in range(len(ra)):
        field, pixel = _expected(server.sky, ra[row], dec[row])
        assert np.abs(np.array(pixel) - 149.5).max() <= 0.501
        np.testing.assert_allclose(fields.crpix[row], np.array(pixel) - 75 + 1, atol=1e-4)
        np.testing.assert_allclose(fields.data[row], field, atol=TOLERANCE)


def test_sources_are_where_the_position_is_even_next_to_zero():
    """A sky that does not turn with the request: a point in it shows where a field really lies."""
    for ra, dec in AWKWARD:
        with FirstServer(_sky_with_a_point(ra, dec)) as server:
            fields = _images(server, cache=False).fetch(np.array([ra]), np.array([dec]))
        assert fields.status == ["ok"]
        y, x = np.indices((300, 300))
        weight = np.where(fields.data[0] > 1e-3, fields.data[0], 0)
        centroid = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
        # the point is 60 arcsec west and 40 north of the position, which is at crpix on the crop
        offset = fields.cd[0] @ (centroid - (fields.crpix[0] - 1 + 75)) * 3600
        np.testing.assert_allclose(offset, [-60.0, 40.0], atol=0.1)
        assert np.abs(fields.crpix[0] - 75.5).max() <= 0.501


def _sky_with_a_point(ra, dec):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.radesys, wcs.wcs.equinox = "FK5", 2000.0
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (ra, dec), (250.3, 240.8), (-0.0005, 0.0005)
    point = SkyCoord(ra * u.deg, dec * u.deg).spherical_offsets_by(-60 * u.arcsec, 40 * u.arcsec)
    x0, y0 = wcs.world_to_pixel(point)
    y, x = np.indices((480, 500))
    data = 0.05 * np.exp(-4 * np.log(2) * ((x - x0) ** 2 + (y - y0) ** 2) / 3**2)
    data += np.random.default_rng(0).normal(0, 1e-5, x.shape)
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "BMAJ": 0.0015, "BMIN": 0.0015, "BPA": 0.0}
    cards |= {"CRVAL1": ra, "CRPIX1": 250.3, "CDELT1": -0.0005, "CRVAL2": dec, "CRPIX2": 240.8, "CDELT2": 0.0005}
    return MosaicSky(data.astype(np.float32), lambda ra, dec: wcs.wcs_world2pix(ra, dec, 0), cards)


def test_an_image_source_with_provenance(server):
    images = _images(server)
    assert isinstance(images, ImageSource)
    assert images.describe()["service"] == server.url
    fields = images.fetch(*_positions(2))
    assert isinstance(fields, Fields)
    assert fields.origin == [server.url] * 2
    assert len(images.fetch(np.array([]), np.array([]))) == 0


def test_the_user_s_password_is_not_published(server):
    images = _images(server, service_url=server.url.replace("http://", "http://me:secret@"))
    fields = images.fetch(*_positions(1))
    assert fields.status == ["ok"]
    assert "secret" not in repr(images.describe()) + repr(fields.origin)
    assert "secret" not in repr(images.fetch(*_positions(1)).origin)  # nor kept in the cache


@pytest.mark.parametrize(
    ("mode", "status", "flags"),
    [("partial", "partial", 0), ("zeros", "partial", 0), ("blank", "no_coverage", Flag.NO_COVERAGE)],
)
def test_blank_pixels_are_nan(server, mode, status, flags):
    server.decide = lambda request: mode
    for fields in (_images(server).fetch(*_positions(1)), _images(server).fetch(*_positions(1))):  # service, then cache
        assert (fields.status, fields.flags[0]) == ([status], flags)
        blank = np.isnan(fields.data[0])
        if mode == "zeros":
            assert blank[:70].all()
            assert not blank[80:].any()
        if mode == "partial":
            assert blank[:70, :70].all()
            assert not blank[80:].any()
            assert not blank[:, 80:].any()
    assert len(server.requests) == 1


@pytest.mark.parametrize("mode", ["chunked", "closing", "gzip"])
def test_the_ways_of_http(server, mode):
    server.decide = lambda request: mode
    ra, dec = _positions(3)
    fields = _images(server).fetch(ra, dec)
    assert len(server.requests) == 3
    for row in range(3):
        np.testing.assert_allclose(fields.data[row], _expected(server.sky, ra[row], dec[row])[0], atol=TOLERANCE)


def test_the_southern_beam_is_first_s_and_a_coarse_one_is_not():
    for beam, flags in (((6.8 / 3600, 5.4 / 3600, 0.0), 0), ((45 / 3600, 45 / 3600, 0.0), Flag.RESAMPLED)):
        with FirstServer(CoaddSky(beam=beam)) as server:
            assert _images(server, cache=False).fetch(*_positions(1)).flags[0] == flags


# --- what goes wrong --------------------------------------------------------------------------------------------------

PASSING = {"500": "http_error", "502": "http_error", "503": "http_error", "429": "http_error"} | {
    "html": "not_an_image",
    "garbage": "not_an_image",
    "truncated": "truncated",
    "short": "truncated",
    "empty": "truncated",
    "reset": "connection",
}
LASTING = {"404": "http_error", "403": "http_error", "pre": "no_coverage"}


@pytest.mark.parametrize("mode", [*PASSING, *LASTING])
def test_what_goes_wrong_for_good(server, mode):
    server.decide = lambda request: mode
    fields = _images(server, retries=2).fetch(*_positions(1))
    assert fields.status == [(PASSING | LASTING)[mode]]
    assert fields.flags[0] == (Flag.NO_COVERAGE if mode == "pre" else Flag.FETCH_FAILED)
    assert np.isnan(fields.data).all()
    assert np.isnan(fields.crpix).all()
    assert fields.origin == [server.url]
    assert len(server.requests) == (3 if mode in PASSING else 1)
    server.decide = None
    assert _images(server).fetch(*_positions(1)).status == ["ok"]  # no failure is kept in the cache


@pytest.mark.parametrize("mode", PASSING)
def test_what_passes_is_asked_for_again(server, mode):
    server.decide = lambda request: mode if request.attempt <= 2 else "ok"
    fields = _images(server, retries=2).fetch(*_positions(1))
    assert fields.status == ["ok"]
    assert len(server.requests) == 3
    np.testing.assert_allclose(fields.data[0], _expected(server.sky, *np.concatenate(_positions(1)))[0], atol=TOLERANCE)


@pytest.mark.parametrize("mode", ["slow", "trickle"])
def test_no_answer_in_time(server, mode):
    """A trickle sends a byte now and then, so that no single wait is long."""
    server.decide = lambda request: mode
    fields = _images(server, timeout=0.3, retries=1).fetch(*_positions(1))
    assert fields.status == ["timeout"]
    assert fields.flags[0] == Flag.FETCH_FAILED
    assert len(server.requests) == 2


def test_a_long_retry_after_is_not_worked_around(server):
    server.decide, server.retry_after = (lambda request: "429"), "86400"
    ra, dec = _positions(40)
    fields = _images(server, connections=2).fetch(ra, dec)
    assert set(fields.flags) == {Flag.FETCH_FAILED}
    assert len(server.requests) <= 6  # not 40, let alone 40 times 5


def test_refused():
    with closed_port() as url:
        images = FirstImages(service_url=url, retries=2, pause=0.001, cache=False, check_coverage=False)
        fields = images.fetch(*_positions(60))
    assert Counter(fields.status) == {"connection": 60}
    assert set(fields.flags) == {Flag.FETCH_FAILED}


def test_a_silent_service_is_not_asked_for_each_row(server):
    server.decide = lambda request: "reset"
    ra, dec = _positions(60)
    images = _images(server, retries=2, connections=2)
    fields = images.fetch(ra, dec)
    assert Counter(fields.status) == {"connection": 60}
    asked = len({request.fields["RA"] for request in server.requests})
    assert 4 <= asked <= 7  # in four threads
    server.decide = None
    assert Counter(images.fetch(ra, dec).status) == {"ok": 60}  # the next chunk finds out anew


def test_rows_without_a_host():
    settings = {"retries": 0, "pause": 0.001, "cache": False, "check_coverage": False}
    fields = FirstImages(service_url="http://radio-ag.invalid/cutout", **settings).fetch(*_positions(2))
    assert fields.status == ["connection"] * 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<PRE>\nanything at all", "no_coverage"),
        (b"  \n<pre>Sorry, 12 34 56 is not in the FIRST survey", "no_coverage"),
        (b"<html><body>Location not in FIRST</body></html>", "no_coverage"),
        (b"<PRE>Error: cannot open /tmp/cutout.fits</PRE>", "not_an_image"),
        (b"<PRE>Service temporarily unavailable", "not_an_image"),
        (b"<html><body>The FIRST archive is down for maintenance</body></html>", "not_an_image"),
        (b"<html><h1>It works!</h1></html>", "not_an_image"),
        (b"", "truncated"),
        (b"\n", "truncated"),
    ],
)
def test_words(body, status):
    with pytest.raises(Failure) as caught:
        check_body(body)
    assert caught.value.status == status
    assert caught.value.passing == (status != "no_coverage")


# --- images of other kinds --------------------------------------------------------------------------------------------


def _hdus(shape=(306, 306), kind=np.float32, **cards):
    header = {"CTYPE1": "RA---SIN", "CRVAL1": 162.0, "CRPIX1": 153.0, "CDELT1": -0.0005, "CTYPE2": "DEC--SIN"}
    header |= {"CRVAL2": 30.0, "CRPIX2": 153.0, "CDELT2": 0.0005, "BUNIT": "JY/BEAM", "EPOCH": 2000.0}
    header = {key: value for key, value in (header | cards).items() if value is not None}
    return fits.HDUList([fits.PrimaryHDU(np.full(shape, 3, kind), fits.Header(header))])


@pytest.mark.parametrize(
    ("hdus", "value"),
    [
        (_hdus(), 3.0),
        (_hdus(BUNIT="mJy/beam"), 3e-3),
        (_hdus(kind=np.int16), 3.0),
        (_hdus(kind=np.float64), 3.0),
        (_hdus(shape=(1, 1, 306, 306)), 3.0),
    ],
)
def test_images_of_other_kinds(hdus, value):
    served = read_served(hdus, 162.0, 30.0)
    assert served.data.shape == (306, 306)
    assert served.data.dtype == np.float32
    np.testing.assert_allclose(served.data, value, rtol=1e-6)
    assert (served.header["BUNIT"], served.header["EQUINOX"]) == ("Jy/beam", 2000.0)
    assert served.frame.factor == 1.0


@pytest.mark.parametrize(
    ("hdus", "status"),
    [
        (_hdus(CTYPE1=None, CTYPE2=None), "not_an_image"),
        (_hdus(CDELT1="wide"), "not_an_image"),
        (_hdus(CDELT1=0.0), "not_an_image"),
        (_hdus(BUNIT="K"), "not_an_image"),
        (_hdus(shape=(3, 306, 306)), "not_an_image"),
        (_hdus(shape=(306,)), "not_an_image"),
        (fits.HDUList([fits.PrimaryHDU()]), "not_an_image"),
        (_hdus(CRVAL1=163.0), "misplaced"),
        (_hdus(CRVAL1=342.0, CRVAL2=-30.0), "misplaced"),
    ],
)
def test_images_that_are_of_no_use(hdus, status):
    with pytest.raises(Failure) as caught:
        read_served(hdus, 162.0, 30.0)
    assert (caught.value.status, caught.value.passing) == (status, False)


def test_a_cutout_of_the_real_service():
    """astroquery's own test image, which the service gave for 10 50 07.200 +30 40 37.20 in 2020."""
    path = Path(astroquery_first.__file__).parent / "tests" / "data" / "image.fits"
    if not path.exists():
        pytest.skip("astroquery was installed without its test data")
    target = SkyCoord("10 50 07.200 +30 40 37.20", unit=(u.hourangle, u.deg))
    check_body(path.read_bytes())
    with fits.open(path) as hdus:
        served = read_served(hdus, target.ra.deg, target.dec.deg)
        pixel = locate(served.frame, target.ra.deg, target.dec.deg).pixel[0]
        header = hdus[0].header
        np.testing.assert_array_equal(served.data, hdus[0].data)
        # the service says where it thinks that the target is, counted from 1 on the coadd
        expected = [header["OBJCTX"] - header["XCORN"], header["OBJCTY"] - header["YCORN"]]
    np.testing.assert_allclose(pixel, expected, atol=0.05)
    assert served.frame.beam == pytest.approx(5.4)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_second_run_asks_for_nothing_and_gives_the_same(server):
    ra, dec = _positions(12)
    fresh = _images(server).fetch(ra, dec)
    again = _images(server).fetch(ra, dec)
    assert len(server.requests) == 12
    uncached = _images(server, cache=False).fetch(ra, dec)
    assert len(server.requests) == 24
    for other in (again, uncached):
        assert other.status == fresh.status
        assert other.origin == fresh.origin
        for name in ("data", "flags", "cutout_ra", "cutout_dec", "crpix", "cd"):
            np.testing.assert_array_equal(getattr(other, name), getattr(fresh, name))


def test_no_bit_is_lost_with_a_quantum_of_zero():
    ra, dec = _positions(1)
    with FirstServer(CoaddSky(peak=0)) as server:
        for _ in range(2):
            fields = _images(server, quantum=0).fetch(ra, dec)
            np.testing.assert_array_equal(fields.data[0], _expected(server.sky, ra[0], dec[0])[0])
    assert len(server.requests) == 1


def test_a_damaged_entry_is_fetched_again(server, tmp_path):
    ra, dec = _positions(1)
    fresh = _images(server, cache_dir=tmp_path / "cache").fetch(ra, dec)
    (entry,) = (tmp_path / "cache").rglob("*.fits.gz")
    content = entry.read_bytes()
    for damaged in (content[:-100], b"", content[:5000] + b"\0" * 100 + content[5100:]):
        entry.write_bytes(damaged)
        server.forget()
        again = _images(server, cache_dir=tmp_path / "cache").fetch(ra, dec)
        assert again.status == ["ok"]
        assert len(server.requests) == 1
        np.testing.assert_array_equal(again.data, fresh.data)
        assert entry.read_bytes() == content


def test_an_entry_without_coordinates_is_fetched_again(server):
    ra, dec = _positions(1)
    images = _images(server)
    key = FieldKey("FIRST", *nearest_position(ra[0], dec[0]), 306)
    images.cache.put(key, np.zeros((306, 306), np.float32), fits.Header())
    assert images.fetch(ra, dec).status == ["ok"]
    assert len(server.requests) == 1


# --- arguments --------------------------------------------------------------------------------------------------------


def test_where_the_service_is(monkeypatch):
    assert FirstImages(cache=False).service_url == astroquery_first.FirstClass.URL
    monkeypatch.setenv(SERVICE_VARIABLE, "http://127.0.0.1:1/from-the-environment")
    assert FirstImages(cache=False).service_url.endswith("environment")
    assert FirstImages(service_url="http://127.0.0.1:1/given", cache=False).service_url.endswith("given")
    assert open_images("first", cache=False).service_url.endswith("environment")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"service_url": "sundog.stsci.edu"}, "service_url must be an http or https URL, not 'sundog.stsci.edu'"),
        ({"service_url": "file:///etc/passwd"}, "service_url must be"),
        ({"service_url": "http:///nowhere"}, "service_url must be"),
        ({"connections": 0}, "connections must be 1 or more, not 0"),
        ({"timeout": 0}, "timeout must be"),
        ({"retries": -1}, "retries must be 0 or more, not -1"),
        ({"pause": float("nan")}, "pause must be"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        FirstImages(**options)


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_closing_ends_a_fetch_in_another_thread(server):
    server.decide, server.slow = (lambda request: "slow"), 300.0
    images = _images(server)
    caught = []

    def fetch():
        try:
            images.fetch(*_positions(20))
        except ServiceError as error:
            caught.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    server.arrived.wait(60)
    images.close()
    thread.join(120)  # an answer would take 300 s
    assert not thread.is_alive()
    assert len(caught) == 1
    server.stopping.set()
    for left in threading.enumerate():
        if left.name == "radio-ag-download":
            left.join(60)
    assert cache_conf.cache_active


_CHILD = """
import signal, sys, numpy as np
from radio_ag.catalog_io.services.first import FirstImages
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
FirstImages(service_url=sys.argv[1], cache=False, check_coverage=False).fetch(np.arange(10.0), np.arange(10.0))
"""


def test_ctrl_c_does_not_wait_for_answers(server, tmp_path):
    server.decide, server.slow = (lambda request: "slow"), 300.0
    command = [sys.executable, "-c", _CHILD, server.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ.copy()) as child:
        try:
            assert server.arrived.wait(120)
            child.send_signal(signal.SIGINT)
            _, printed = child.communicate(timeout=55)  # the client would wait for 60 s, five times
        finally:
            child.kill()
    assert child.returncode != 0
    assert "KeyboardInterrupt" in printed


# --- all at once ------------------------------------------------------------------------------------------------------


def _asked(request):
    """Hours and degrees of a request, as they were rounded."""
    hours, degrees = map(float, request.fields["RA"].split(" "))
    return round(hours, 7), round(degrees, 6)


def _check_fields(fields, ra, dec, sky):
    """Check that flags, pixels and places are those that the states of the rows ask for."""
    flags = {"ok": 0, "partial": 0, "no_coverage": Flag.NO_COVERAGE}
    np.testing.assert_array_equal(fields.flags, [flags.get(word, Flag.FETCH_FAILED) for word in fields.status])
    shown = np.isin(fields.status, ["ok", "partial"])
    np.testing.assert_array_equal(np.isnan(fields.data).all(axis=(1, 2)), ~shown)
    np.testing.assert_array_equal(fields.cutout_ra, np.where(shown, ra, np.nan))
    for i in np.flatnonzero(np.array(fields.status) == "ok")[::10]:
        truth, _ = _expected(sky, ra[i], dec[i])
        np.testing.assert_allclose(fields.data[i], truth, atol=TOLERANCE)


@pytest.mark.usefixtures("punctual")
def test_hundreds_of_rows_and_every_failure(tmp_path):
    """Each row comes out in its place, with the right flag; a second run asks only for what failed."""
    n, retries = 160, 3
    ra, dec = _positions(n, seed=4)
    ra[7], dec[7] = ra[6], dec[6]  # one source twice in the catalogue
    random = np.random.default_rng(5)
    fates = ["ok"] * 20 + ["partial", "blank", *PASSING, *LASTING]
    fate = [fates[i] for i in random.integers(len(fates), size=n)]
    fate[6] = fate[7] = "ok"
    attempts = random.integers(1, retries + 1, n)  # failed ones, where it passes
    passes = random.random(n) < 0.5
    slow = {row for row in range(8, 128) if fate[row] == "ok"}
    slow = set(random.choice(sorted(slow), 3, replace=False).tolist())  # in one chunk: waiting is all that they cost
    asked_for = map(nearest_position, ra, dec)
    row_of = {(round(asked[0] / 15, 7), asked[1]): row for row, asked in enumerate(asked_for) if row != 7}

    def decide(request):
        row = row_of[_asked(request)]
        if row in slow:
            return "slow" if request.attempt == 1 else "ok"
        if fate[row] in PASSING and passes[row] and request.attempt > attempts[row]:
            return "ok"
        return fate[row]

    def outcome(row):
        if fate[row] in PASSING and not passes[row]:
            return PASSING[fate[row]]
        return {"partial": "partial", "blank": "no_coverage"}.get(fate[row]) or LASTING.get(fate[row], "ok")

    expected = [outcome(row) for row in range(n)]
    assert set(expected) == {"ok", "partial", "no_coverage", *PASSING.values()}
    with FirstServer(decide=decide) as server:
        options = {"cache_dir": tmp_path / "cache", "retries": retries, "timeout": 8.0, "first_byte": 8.0}
        images = _images(server, **options)
        chunks = [slice(start, start + 128) for start in range(0, n, 128)]
        status, first_data = [], []
        for chunk in chunks:
            fields = images.fetch(ra[chunk], dec[chunk])
            status += fields.status
            _check_fields(fields, ra[chunk], dec[chunk], server.sky)
            first_data.append(fields.data[::16].copy())
        assert status == expected
        assert server.max_concurrent <= 4 + len(slow)  # the server does not see that a client has given up
        assert set(server.modes()) == {"slow", *fates}
        failing = {row for row in range(n) if row != 7 and fate[row] in PASSING}
        asked = Counter(row_of[_asked(request)] for request in server.requests)
        for row in range(n):
            tries = 0 if row == 7 else 2 if row in slow else 1
            if row in failing:
                tries = attempts[row] + 1 if passes[row] else retries + 1
            assert asked[row] == tries

        server.forget()
        server.decide = None
        images = _images(server, **options)
        status = []
        for chunk, before in zip(chunks, first_data, strict=True):
            fields = images.fetch(ra[chunk], dec[chunk])
            status += fields.status
            unchanged = np.isfinite(before).any(axis=(1, 2))
            np.testing.assert_array_equal(fields.data[::16][unchanged], before[unchanged])
        kept = {"partial": "partial", "blank": "no_coverage"}
        assert status == [kept.get(word, "ok") for word in fate]
        to_ask = {row for row in range(n) if expected[row] not in ("ok", "partial") and fate[row] != "blank"}
        assert {row_of[_asked(request)] for request in server.requests} == to_ask
        assert len(server.requests) == len(to_ask)


def test_rounding_is_that_of_the_cache(server):
    ra, dec = _positions(1)
    exact = _images(server, quantum=0, cache=False).fetch(ra, dec).data
    np.testing.assert_array_equal(_images(server, cache=False).fetch(ra, dec).data, rounded(exact, 1e-5))


def test_every_http_status_of_the_server_is_tried():
    assert {mode for mode in (*PASSING, *LASTING) if mode.isdigit()} == set(STATUS_MODES)
