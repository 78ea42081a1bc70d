"""What is known of surveys before anything is asked: names, beams, and where there is no image."""

import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from first_server import FirstServer
from typer.testing import CliRunner

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.open_images import named_sources, open_images
from radio_ag.catalog_io.services.cache import FieldKey
from radio_ag.catalog_io.services.surveys import (
    MARGIN,
    SERVICES,
    SURVEYS,
    declinations,
    find_survey,
    may_be_in_first,
    survey_coordinates,
)
from radio_ag.cli import app
from radio_ag.errors import ImageError, RadioAGWarning
from radio_ag.flags import Flag

# Farthest sources with FIRST pixels that are known: RA in hours, Dec in degrees.
FARTHEST = [(7.008, 49.0), (17.7144, 60.5), (17.2247, 64.377), (14.585, -7.88), (3.1965, 1.0), (21.2465, -7.5)]
FARTHEST += [(1.5572, -11.351), (2.5885, 1.43)]


def around(ra, dec, degrees=MARGIN):
    """Points at a distance all around each position."""
    angles = np.arange(0, 360, 15) * u.deg
    points = SkyCoord(ra, dec, unit="deg")[:, None].directional_offset_by(angles, degrees * u.deg)
    return points.ra.deg.ravel(), points.dec.deg.ravel()


# --- coverage ---------------------------------------------------------------------------------------------------------


def test_no_source_of_the_real_data_is_outside_first_nor_within_a_degree_of_it(data_dir):
    tables = [Table.read(data_dir / name, hdu=1) for name in ("mirabest_train.fits", "rgd_train.fits")]
    ra, dec = (np.concatenate([np.asarray(table[name], float) for table in tables]) for name in ("ra", "dec"))
    found = read_catalogue(data_dir / "catalogues" / "vizier_first14.xml")
    ra, dec = np.append(ra, found.ra), np.append(dec, found.dec)
    assert len(ra) > 2000
    assert may_be_in_first(ra, dec).all()
    assert may_be_in_first(*around(ra, dec)).all()


def test_what_is_known_of_first_s_edges_has_a_degree_of_room():
    hours, dec = np.transpose(FARTHEST)
    assert may_be_in_first(*around(15 * hours, dec)).all()


def test_what_is_certainly_not_in_first_is_excluded():
    galactic = SkyCoord(np.arange(0, 360, 10), np.zeros(36), unit="deg", frame="galactic").icrs
    inside = may_be_in_first(galactic.ra.deg, galactic.dec.deg)
    assert inside.mean() < 0.1  # the box in the south begins at 20h, near the plane
    assert not may_be_in_first([150.0, 0.0, 90.0, 270.0], [-60.0, -40.0, 30.0, 10.0]).any()


def test_how_much_of_the_sky_is_excluded():
    random = np.random.default_rng(0)
    ra, dec = random.uniform(0, 360, 200_000), np.degrees(np.arcsin(random.uniform(-1, 1, 200_000)))
    square_degrees = 41253 * may_be_in_first(ra, dec).mean()
    assert 10_575 < square_degrees < 18_500  # FIRST's own area, and what the documentation says


def test_survey_coordinates_of_sdss():
    """The points by which Stoughton et al. 2002 define them."""
    for ra, dec, expected in ((185.0, 32.5, (0.0, 0.0)), (275.0, 0.0, (90.0, None)), (0.0, 90.0, (0.0, 57.5))):
        longitude, latitude = survey_coordinates(ra, dec)
        assert longitude == pytest.approx(expected[0], abs=1e-9)
        if expected[1] is not None:
            assert latitude == pytest.approx(expected[1], abs=1e-9)


def test_declinations():
    band = declinations(south=-40, north=49)
    assert band.may_cover([0.0, 0, 0, 0], [-41.1, -40.9, 49.9, 50.1]).tolist() == [False, True, True, False]
    assert band.words == "Dec -40 to +49"
    assert declinations(south=-40).words == "north of -40"
    assert declinations(north=41).words == "south of +41"


def test_what_is_outside_is_flagged_without_a_request(tmp_path):
    ra, dec = np.array([185.0, 185.0, 90.0]), np.array([32.5, -60.0, 30.0])
    with FirstServer() as server:
        settings = {"service_url": server.url, "cache_dir": tmp_path}
        fields = open_images("first", **settings).fetch(ra, dec)
        assert fields.status == ["ok", "no_coverage", "no_coverage"]
        assert fields.flags.tolist() == [0, Flag.NO_COVERAGE, Flag.NO_COVERAGE]
        assert len(server.requests) == 1
        fields = open_images("first", check_coverage=False, **settings).fetch(ra, dec)
        assert fields.status == ["ok"] * 3


# --- names ------------------------------------------------------------------------------------------------------------


def test_every_survey_has_what_the_list_shows():
    assert {survey.service for survey in SURVEYS.values()} == set(SERVICES) - {"url"}
    for name, survey in SURVEYS.items():
        assert find_survey(f" {name.upper()} ") is survey
        assert survey.beam.fwhm >= 2 * survey.pixel_scale
        assert survey.coverage.may_cover(np.zeros(3), np.zeros(3)).shape == (3,)
        assert named_sources()[name] == survey.title


@pytest.mark.parametrize(
    ("images", "service", "identifier"),
    [
        ("skyview:SUMSS 843 MHz", "skyview", "SUMSS 843 MHz"),
        ("hips:CSIRO/P/RACS/mid/I", "hips", "CSIRO/P/RACS/mid/I"),
        ("https://host/cutout?ra={ra}&dec={dec}", "url", "https://host/cutout?ra={ra}&dec={dec}"),
    ],
)
def test_surveys_without_a_name(images, service, identifier):
    survey = find_survey(images)
    assert (survey.service, survey.identifier) == (service, identifier)


@pytest.mark.parametrize(
    "images", ["mosaic.fits", "./first", "skyview:", "https://host/image.fits", "c:/first", "firs"]
)
def test_what_is_no_survey(images):
    assert find_survey(images) is None


@pytest.mark.filterwarnings("ignore::radio_ag.errors.RadioAGWarning")
def test_no_two_surveys_share_a_place_in_the_cache(tmp_path):
    sources = [
        open_images(name, beam_scaled=True, cache_dir=tmp_path)
        for name in SURVEYS
        if SURVEYS[name].service != "casda"  # it needs a login
    ]
    sources += [
        open_images(f"https://host/{path}?{{ra}},{{dec}}", cache_dir=tmp_path)
        for path in ("a", "b", "../../etc/passwd")
    ]
    sources += [open_images("skyview:NVSS", pixel_scale=scale, cache_dir=tmp_path) for scale in (10, 12)]
    paths = [source.cache.path(FieldKey(source._cache_name, 1.0, 2.0, 306)) for source in sources]
    assert len(set(paths)) == len(paths)
    assert all(path.resolve().is_relative_to(tmp_path.resolve()) for path in paths)


def test_a_beam_that_the_user_knows_better():
    with pytest.raises(ImageError, match="its beam of 45 arcsec is coarser"):
        open_images("skyview:SUMSS 843 MHz", beam=45, pixel_scale=11)
    with pytest.warns(RadioAGWarning, match=r"the beam of skyview:VLASS is 2\.5 arcsec"):
        open_images("skyview:VLASS", beam=2.5, pixel_scale=1)


def test_the_command_lists_them():
    result = CliRunner().invoke(app, ["surveys"], env={"COLUMNS": "200"})
    assert (result.exit_code, result.stderr) == (0, "")
    for name, survey in SURVEYS.items():
        line = re.search(rf"^ {re.escape(name)} +│.*$", result.stdout, re.MULTILINE)[0]
        for shown in (survey.title, f"{survey.beam.fwhm:g}″", f"{survey.pixel_scale:g}″", survey.coverage.words):
            assert shown in line
