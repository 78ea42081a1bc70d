"""Services besides FIRST's, each against a loopback server that speaks its protocol."""

import logging
import re

import keyring
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astroquery.casda import CasdaClass
from keyring.backend import KeyringBackend
from service_servers import VOTABLE, Answer, ByUrl, Cadc, Casda, Hips2Fits, PointSky, SkyView, project

from radio_ag.catalog_io.images.fields import Fields, ImageSource
from radio_ag.catalog_io.open_images import open_images
from radio_ag.errors import ImageError, InputError, RadioAGWarning
from radio_ag.flags import Flag

RA, DEC = 180.25, 40.5
OUTSIDE = 190.0, 40.5
OPTIONS = {"pause": 0.001, "retries": 1, "timeout": 20.0}
HTML = Answer("<html>Maintenance. Back soon.</html>")


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """No cache and no proxy but those of the test."""
    (tmp_path / "xdg" / "astropy").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def points_found(fields: Fields, row: int = 0) -> list[tuple[float, float, float]]:
    """East and north offset (arcsec) and peak of the two brightest points of a field, by its own WCS, faint first."""
    data = fields.data[row].astype(float)
    found = []
    for _ in range(2):
        y, x = np.unravel_index(np.nanargmax(data), data.shape)
        window = data[y - 4 : y + 5, x - 4 : x + 5]
        yy, xx = np.indices(window.shape) - 4
        # Near its top a Gaussian is a paraboloid in its logarithm.
        terms = np.stack([np.ones_like(xx), xx, yy, xx**2, yy**2, xx * yy], axis=-1).reshape(-1, 6)
        near = (window > 0.3 * window.max()).ravel()
        c = np.linalg.lstsq(terms[near], np.log(window.ravel()[near]), rcond=None)[0]
        dx, dy = np.linalg.solve([[2 * c[3], c[5]], [c[5], 2 * c[4]]], [-c[1], -c[2]])
        peak = np.exp(c[0] + c[1] * dx / 2 + c[2] * dy / 2)
        offset = fields.cd[row] @ (np.array([x + dx, y + dy]) - 75 + 1 - fields.crpix[row]) * 3600
        found.append((*offset, peak))
        data[max(0, y - 20) : y + 21, max(0, x - 20) : x + 21] = 0
    return sorted(found, key=lambda point: point[2])


def check_points(fields: Fields, sky: PointSky, *, arcsec: float = 0.1, flux: float = 0.01) -> None:
    for found, (east, north, peak) in zip(points_found(fields), sky.points, strict=True):
        on_plane = project(*sky.place(east, north), sky.ra, sky.dec, "TAN")
        assert found[:2] == pytest.approx(np.multiply(on_plane, 3600), abs=arcsec)
        assert found[2] == pytest.approx(peak, rel=flux)


def at(ra: float = RA, dec: float = DEC) -> tuple[np.ndarray, np.ndarray]:
    return np.array([ra]), np.array([dec])


# --- SkyView ----------------------------------------------------------------------------------------------------------


def test_skyview_as_mirabest_was_made(tmp_path):
    with SkyView(PointSky(RA, DEC)) as server:
        source = open_images("first-skyview", service_url=server.url, **OPTIONS)
        fields = source.fetch(*at())
        again = open_images("first-skyview", service_url=server.url, **OPTIONS).fetch(*at())
    assert isinstance(source, ImageSource)
    assert (fields.status, fields.flags.tolist()) == (["ok"], [0])  # FIRST's beam, though no header says so
    check_points(fields, server.sky)
    assert np.abs(fields.crpix[0] - 75.5).max() < 0.51
    np.testing.assert_array_equal(again.data, fields.data)
    assert not list(tmp_path.rglob("*.pickle"))  # astroquery's own cache keeps pages of outages
    form, query, image = server.asked  # the form once, and nothing again
    assert (form.path, query.path) == ("/current/cgi/basicform.pl", "/current/cgi/runquery.pl")
    assert image.path.startswith("/tempspace/fits/")
    assert (query["survey"], query["pixels"], query["projection"]) == ("VLA FIRST (1.4 GHz)", "306", "Tan")
    assert [float(side) for side in query["size"].split(",")] == pytest.approx([306 * 1.8 / 3600] * 2)
    for asked in server.asked:
        assert re.match(r"radio-ag/\S+ \(\+https://\S+\) astroquery/", asked.headers["User-Agent"])


@pytest.mark.usefixtures("punctual")
def test_skyview_asks_for_the_form_once_a_connection():
    with SkyView(PointSky(RA, DEC)) as server:
        source = open_images("first-skyview", service_url=server.url, connections=2, **OPTIONS)
        fields = source.fetch(RA + np.arange(6) / 100, np.full(6, DEC))
    assert fields.status == ["ok"] * 6
    assert server.paths().count("/current/cgi/basicform.pl") <= 2
    assert server.paths().count("/current/cgi/runquery.pl") == 6


@pytest.mark.parametrize("position", [(0.0, 0.0), (1e-7, -1e-7), (359.9999999, 0.00005)])
def test_skyview_never_gets_an_exponent(position):
    with SkyView(PointSky(*position, radius=400)) as server:
        fields = open_images("first-skyview", service_url=server.url, **OPTIONS).fetch(*at(*position))
    assert fields.status == ["ok"]
    assert "e" not in server.asked[1]["Position"]


def test_skyview_outside_the_survey_and_unknown_surveys():
    with SkyView(PointSky(RA, DEC)) as server:
        fields = open_images("first-skyview", service_url=server.url, **OPTIONS).fetch(*at(*OUTSIDE))
        assert (fields.status, fields.flags.tolist()) == (["no_coverage"], [Flag.NO_COVERAGE])
        fields = open_images("skyview:DSS9", service_url=server.url, **OPTIONS).fetch(*at())
        assert (fields.status, fields.flags.tolist()) == (["not_an_image"], [Flag.FETCH_FAILED])
        server.fail = lambda asked: Answer("<html>Sorry</html>") if "runquery" in asked.path else None
        asked = len(server.asked)
        fields = open_images("first-skyview", service_url=server.url, **OPTIONS).fetch(*at())
        assert (fields.status, fields.flags.tolist()) == (["not_an_image"], [Flag.FETCH_FAILED])
        assert len(server.asked) - asked == 3  # the form, and twice the page without a link


# --- hips2fits --------------------------------------------------------------------------------------------------------


def test_hips2fits_with_a_coarse_beam():
    sky = PointSky(RA, DEC, beam=45, points=((-600.0, 420.0, 0.02), (720.0, -540.0, 0.05)))
    with Hips2Fits(sky) as server:
        with pytest.raises(ImageError, match=r"survey nvss-hips: its beam of 45 arcsec is coarser .*--beam-scaled"):
            open_images("nvss-hips", service_url=server.url, **OPTIONS)
        with pytest.warns(RadioAGWarning, match="the beam of nvss-hips is 45 arcsec"):
            source = open_images("nvss-hips", service_url=server.url, beam_scaled=True, **OPTIONS)
        fields = source.fetch(np.array([RA, OUTSIDE[0]]), np.array([DEC, OUTSIDE[1]]))
    assert fields.status == ["ok", "no_coverage"]
    assert fields.flags.tolist() == [Flag.RESAMPLED, Flag.NO_COVERAGE]
    np.testing.assert_allclose(np.abs(np.diag(fields.cd[0])) * 3600, 15.0)  # a third of the beam
    check_points(fields, sky)
    assert server.asked[0]["projection"] == "TAN"
    assert source.describe()["beam"] == "45 arcsec"


def test_hips2fits_errors():
    with Hips2Fits(PointSky(RA, DEC)) as server:
        source = open_images("hips:CDS/P/none", service_url=server.url, **OPTIONS)
        assert source.fetch(*at()).status == ["http_error"]
        server.fail = lambda asked: Answer("<html>Bad gateway</html>", status=502)
        source = open_images("hips:CDS/P/NVSS", beam=5.4, service_url=server.url, **OPTIONS)
        assert source.fetch(*at()).status == ["http_error"]
        assert len(server.asked) == 3
        server.fail = lambda asked: HTML
        assert source.fetch(*at()).status == ["not_an_image"]


# --- CADC -------------------------------------------------------------------------------------------------------------


def _vlass(server, **options):
    with pytest.warns(RadioAGWarning, match=r"the beam of vlass is 2.5 arcsec, not FIRST's 5.4: fields are convolved"):
        return open_images("vlass", service_url=server.url, **OPTIONS | options)


def test_vlass_is_brought_to_the_beam_and_pixels_of_first():
    sky = PointSky(RA, DEC, beam=2.5)
    with Cadc(sky) as server:
        fields = _vlass(server).fetch(*at())
        again = _vlass(server).fetch(*at())
    assert (fields.status, fields.flags.tolist()) == (["ok"], [Flag.RESAMPLED])
    check_points(fields, sky)  # a point has the same peak in Jy/beam of any beam
    y, x = np.unravel_index(np.argmax(fields.data[0]), (300, 300))
    profile = fields.data[0][y, x - 3 : x + 4] / fields.data[0][y, x]
    width = 2 * 1.8 * np.sqrt(np.log(2) / -np.polyfit(np.arange(-3, 4), np.log(profile), 2)[0])
    assert width == pytest.approx(5.4, rel=0.01)
    np.testing.assert_array_equal(again.data, fields.data)
    assert server.paths() == [
        "/reg/resource-caps",
        "/caom2ops/capabilities",
        "/argus/sync",
        "/caom2ops/datalink",
        "/caom2ops/sync",  # one: the last epoch has the whole field
    ]
    assert "VLASS2.1" in server.asked[-1]["ID"]
    assert not any("Authorization" in asked.headers for asked in server.asked)
    assert len(server.asked[3].fields["ID"]) == 2  # the cube is none of them


def test_vlass_takes_the_tile_that_has_the_whole_field():
    sky = PointSky(RA, DEC, beam=2.5)
    with Cadc(sky, short=("VLASS2.1",)) as server:
        fields = _vlass(server).fetch(*at())
    assert fields.status == ["ok"]
    check_points(fields, sky)
    assert ["VLASS1.1" in asked["ID"] for asked in server.asked[4:]] == [False, True]


def test_cadc_outside_and_out_of_order():
    with Cadc(PointSky(RA, DEC, beam=2.5)) as server:
        assert _vlass(server).fetch(*at(*OUTSIDE)).status == ["no_coverage"]
        asked = len(server.asked)
        fields = _vlass(server).fetch(*at(RA, -60.0))  # VLASS ends at -40
        assert (fields.status, fields.flags.tolist()) == (["no_coverage"], [Flag.NO_COVERAGE])
        assert len(server.asked) == asked
        for path, wrong in (
            ("/reg/resource-caps", Answer("", status=503)),
            ("/argus/sync", Answer("", status=500)),
            ("/caom2ops/datalink", Answer("", status=502)),
            ("/caom2ops/sync", Answer("", status=500)),
        ):
            server.fail = lambda asked, path=path, wrong=wrong: wrong if asked.path == path else None
            fields = _vlass(server, cache=False).fetch(*at())
            assert (path, fields.status) == (path, ["http_error"])
        for path in ("/reg/resource-caps", "/argus/sync", "/caom2ops/datalink", "/caom2ops/sync"):
            server.fail = lambda asked, path=path: HTML if asked.path == path else None
            fields = _vlass(server, cache=False).fetch(*at())
            assert (path, fields.status) == (path, ["not_an_image"])


# --- CASDA ------------------------------------------------------------------------------------------------------------


class _Keyring(KeyringBackend):
    """The user's keyring, with one password."""

    priority = 1

    def get_password(self, service, username):
        return {("astroquery:casda.csiro.au", Casda.user): Casda.password}.get((service, username), "wrong")

    def set_password(self, service, username, password):
        raise AssertionError("the password is the user's own")


@pytest.fixture
def own_keyring():
    before = keyring.get_keyring()
    keyring.set_keyring(_Keyring())
    yield
    keyring.set_keyring(before)


def _client(server):
    client = CasdaClass()
    client._login_url = server.login_url
    return client


def _racs(server, **options):
    settings = {"client": _client(server), "username": Casda.user, "poll_interval": 0.01, "beam_scaled": True}
    with pytest.warns(RadioAGWarning, match="the beam of racs-low is 25 arcsec"):
        return open_images("racs-low", service_url=server.url, **OPTIONS | settings | options)


@pytest.mark.usefixtures("own_keyring")
def test_racs_with_the_user_s_own_login():
    sky = PointSky(RA, DEC, beam=25, radius=8, points=((-400.0, 300.0, 0.02), (420.0, -340.0, 0.05)))
    with Casda(sky) as server:
        fields = _racs(server).fetch(np.array([RA, OUTSIDE[0] + 2]), np.array([DEC, OUTSIDE[1]]))
    assert fields.status == ["ok", "no_coverage"]
    assert fields.flags.tolist() == [Flag.RESAMPLED, Flag.NO_COVERAGE]
    check_points(fields, sky)
    np.testing.assert_allclose(np.abs(np.diag(fields.cd[0])) * 3600, 25 / 3)
    assert server.asked[0].path == "/login"
    assert len(server.jobs) == 1
    (job,) = server.jobs.values()
    assert job["tokens"] == ["token-RACS-DR1_1200+40A.fits"]  # neither weights nor RACS-mid nor what is not released


@pytest.mark.usefixtures("own_keyring")
def test_casda_login():
    with Casda(PointSky(RA, DEC, beam=25)) as server:
        with pytest.raises(InputError, match="CASDA gives images to those alone who log in"):
            _racs(server, username=None)
        with pytest.raises(InputError, match="CASDA refused the login of 'someone'"):
            _racs(server, username="someone")
        client = _client(server)
        client.login(username=Casda.user)
        asked = len(server.asked)
        assert _racs(server, client=client, username=None).fetch(*at()).status == ["ok"]
        assert "/login" not in server.paths()[asked:]


@pytest.mark.usefixtures("own_keyring")
def test_casda_jobs_that_fail_and_that_never_end():
    with Casda(PointSky(RA, DEC, beam=25)) as server:
        server.outcome = "ERROR"
        assert _racs(server).fetch(*at()).status == ["not_an_image"]
        server.outcome = "EXECUTING"
        assert _racs(server, job_time=0.05, retries=0).fetch(*at()).status == ["timeout"]


@pytest.mark.usefixtures("own_keyring")
def test_casda_s_answers_do_not_lead_a_login_elsewhere(caplog):
    """The search says that the images are on another host: nobody there learns the password."""
    with Casda(PointSky(RA, DEC, beam=25, radius=8)) as server, caplog.at_level(logging.INFO, "radio_ag"):
        elsewhere = "https://casda.example.org"

        def lead_on(asked):
            if asked.path != "/sia2/query":
                return None
            answer = server.answer(asked)
            return Answer(answer.content.replace(server.root, elsewhere), answer.kind)

        server.fail = lead_on
        assert _racs(server).fetch(*at()).status == ["connection"]
    assert f"CASDA's answer leads to {elsewhere}/links" in caplog.text
    assert "which does not get your login" in caplog.text


@pytest.mark.parametrize("step", ["/reg/resource-caps", "/caom2ops/capabilities", "/caom2ops/datalink"])
def test_cadc_s_answers_do_not_lead_to_files(step, tmp_path):
    with Cadc(PointSky(RA, DEC, beam=2.5)) as server:

        def lead_on(asked):
            if asked.path != step:
                return None
            answer = server.answer(asked)
            return Answer(answer.content.replace(server.root, f"file://{tmp_path}"), answer.kind)

        server.fail = lead_on
        assert _vlass(server).fetch(*at()).status == ["connection"]


@pytest.mark.parametrize("reference", ["file:///etc/passwd", "{root}/stolen"])
def test_a_votable_that_refers_elsewhere_is_not_followed(reference):
    with Cadc(PointSky(RA, DEC, beam=2.5)) as server:
        stream = f'<BINARY><STREAM href="{reference.format(root=server.root)}"/></BINARY>'
        table = f'<TABLE><FIELD name="publisherID" datatype="char" arraysize="*"/><DATA>{stream}</DATA></TABLE>'
        content = VOTABLE.format(f'<RESOURCE type="results">{table}</RESOURCE>')
        server.fail = lambda asked: Answer(content, "text/xml") if asked.path == "/argus/sync" else None
        assert _vlass(server).fetch(*at()).status == ["not_an_image"]
        assert "/stolen" not in server.paths()


# --- by URL -----------------------------------------------------------------------------------------------------------


def test_a_service_by_url():
    sky = PointSky(RA, DEC, beam=6)
    with ByUrl(sky) as server:
        source = open_images(server.url, pixel_scale=1.5, **OPTIONS)
        fields = source.fetch(np.array([RA, OUTSIDE[0]]), np.array([DEC, OUTSIDE[1]]))
        again = open_images(server.url, pixel_scale=1.5, **OPTIONS).fetch(*at())
    assert fields.status == ["ok", "http_error"]  # it does not say that there is nothing
    assert fields.flags.tolist() == [Flag.RESAMPLED, Flag.FETCH_FAILED]  # pixels of 1.5 arcsec
    check_points(fields, sky)
    np.testing.assert_array_equal(again.data[0], fields.data[0])
    assert len(server.asked) == 2
    assert {asked["pos"] for asked in server.asked} == {"180.250000,40.500000", "190.000000,40.500000"}
    assert source.describe()["service"] == server.url


class Beamless(ByUrl):
    """Without a word on the beam."""

    def answer(self, asked):
        return Answer.image(super().answer(asked).content.replace(b"BMAJ", b"SIZE"))


def test_a_service_without_a_beam_is_taken_for_first_aloud():
    with Beamless(PointSky(RA, DEC, beam=6)) as server:
        source = open_images(server.url, pixel_scale=1.5, **OPTIONS)
        with pytest.warns(RadioAGWarning, match=r"no beam in the images of .*FIRST's 5.4 arcsec is assumed.*--beam"):
            fields = source.fetch(*at())
        told = open_images(server.url, pixel_scale=1.5, beam=6.0, **OPTIONS).fetch(*at())
    assert fields.flags.tolist() == [Flag.RESAMPLED | Flag.BEAM_ASSUMED]
    assert "assumed" in source.describe()["beam"]
    assert told.flags.tolist() == [Flag.RESAMPLED]


def test_all_places_of_a_url():
    from radio_ag.catalog_io.services.requests import Request
    from radio_ag.catalog_io.services.template import PLACES, fill

    position = SkyCoord("10:50:07.2 -00:00:37.2", unit=(u.hourangle, u.deg))
    template = "https://host/" + "/".join(f"{{{name}}}" for name in PLACES) + "/{ra:.1f}"
    filled = fill(template, Request(position.ra.deg, position.dec.deg, 300), 1.8)
    assert (
        filled == "https://host/162.530000/-0.010333/10:50:07.200/-00:00:37.20/300/0.150000/9.000000/540.000000/162.5"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("https://host/{ra}", "no place for the position"),
        ("https://host/{ra},{dec},{name}", "name is not one of them; accepted are {ra}"),
        ("https://host/{ra.__class__},{dec}", "ra.__class__ is not one of them"),
        ("https://host/{ra:%Q},{dec}", "url template"),
        ("https://{ra}.host/{dec}", "the host must not depend on the position"),
    ],
)
def test_urls_that_cannot_be(template, message):
    with pytest.raises(InputError, match=message):
        open_images(template)


def test_what_a_service_by_url_may_send():
    sky = PointSky(RA, DEC, beam=6)
    whole = sky.image(RA, DEC, 500, 1.5)
    with ByUrl(sky) as server:
        for content, status in (
            (whole[:100_000], "truncated"),
            (whole.replace(b"NAXIS1  =                  500", b"NAXIS1  =           5000000000"), "truncated"),
            (whole.replace(b"CTYPE1  = 'RA---TAN", b"CTYPE1  = 'LINEAR  "), "not_an_image"),
            (whole.replace(b"BUNIT   = 'JY/BEAM", b"BUNIT   = 'KELVIN "), "not_an_image"),
            (b"PK\x03\x04" + bytes(5000), "not_an_image"),
            (b"", "truncated"),
        ):
            server.fail = lambda asked, content=content: Answer.image(content)
            fields = open_images(server.url, pixel_scale=1.5, cache=False, **OPTIONS).fetch(*at())
            assert fields.status == [status]
            assert fields.flags.tolist() == [Flag.FETCH_FAILED]
        server.fail = lambda asked: Answer.image(bytes(40_000_000))
        fields = open_images(server.url, pixel_scale=1.5, cache=False, **OPTIONS).fetch(*at())
        assert fields.status == ["not_an_image"]


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [{"beam": 0.0}, {"beam": float("nan")}, {"pixel_scale": -1.0}])
def test_numbers_out_of_range(option):
    with pytest.raises(InputError, match=r"must be 0\.1 to 3600 arcsec, not"):
        open_images("skyview:NVSS", **option)
