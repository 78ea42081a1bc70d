"""Cutouts that a result keeps: their precision, their place in the product, and the page made from them."""

import base64
import io
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from first_server import FirstServer
from page_examples import RMS, simulated_fields
from PIL import Image
from result_examples import example_columns, example_stores
from typer.testing import CliRunner

from radio_ag.catalog_io.export.cutouts import open_cutouts
from radio_ag.catalog_io.export.page import write_page
from radio_ag.catalog_io.open_images import open_images
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.result import Result
from radio_ag.catalog_io.services.first import SERVICE_VARIABLE
from radio_ag.catalog_io.services.surveys import SURVEYS
from radio_ag.cli import app
from radio_ag.errors import InputError, SourceNotFoundError
from radio_ag.preprocess.images import crop


@pytest.fixture(scope="module")
def images():
    """Six cutouts in Jy/beam, one partly blank, one a thousand times brighter than the others."""
    images = crop(simulated_fields()).copy()
    images[1, :40] = np.nan
    images[2] += 20 * np.exp(-((np.mgrid[:150, :150] - 75) ** 2).sum(axis=0) / 8)
    return images


@pytest.fixture
def result(images):
    """Nine rows; 2, 5 and 8 have no position, hence no cutout."""
    columns = example_columns(9)
    row = np.arange(9)
    columns["cutout_plane"] = np.where(row % 3 == 2, -1, np.cumsum(row % 3 != 2) - 1)
    store = AttentionStore()
    store.append(images, step=np.full(6, RMS / 4))
    return Result.from_columns(Table({"flux": row * 1.5}), columns, example_stores(6), {"images": "m.fits"}, store)


ROWS = [0, 1, 3, 4, 6, 7]  # those with a cutout, in the order of the images


def test_no_pixel_moves_by_more_than_an_eighth_of_the_rms(result, images):
    seen = result.cutouts(ROWS)
    assert np.array_equal(np.isnan(seen), np.isnan(images))
    rounding = np.spacing(np.nanmax(images, axis=(1, 2), keepdims=True))  # of float32, at the peak
    assert np.all(np.isnan(seen) | (np.abs(seen - images) <= RMS / 8 + rounding))


def test_a_step_that_is_unknown_falls_back_to_the_range(images):
    store = AttentionStore()
    store.append(images[:3], step=[np.nan, 0.0, RMS])
    error = np.nanmax(np.abs(store.planes([0, 1, 2]) - images[:3]), axis=(1, 2))
    span = np.nanmax(images[:3], axis=(1, 2)) - np.nanmin(images[:3], axis=(1, 2))
    assert np.all(error[:2] <= 1.001 * span[:2] / 2048)
    assert error[2] <= RMS


def test_a_cutout_has_its_unit_and_place(result, images):
    cutout = result.cutout(3)
    assert cutout.unit == "Jy/beam"
    assert np.allclose(cutout.data, images[2], atol=RMS / 8 + 1e-6)
    at = cutout.wcs.world_to_pixel_values(result.table["cutout_ra"][3], result.table["cutout_dec"][3])
    assert np.allclose(at, (74.3, 74.9))


def test_a_row_without_a_cutout_says_so(result):
    assert np.isnan(result.cutouts([2])).all()
    with pytest.raises(SourceNotFoundError, match="row 2 has no cutout; its flags: BAD_POSITION"):
        result.cutout(2)


def test_a_result_without_cutouts_says_how_to_keep_them():
    columns = example_columns(3)
    result = Result.from_columns(Table({"x": [1, 2, 3]}), columns, example_stores(2))
    assert not result.has_cutouts
    assert "cutout_plane" not in result.table.colnames
    with pytest.raises(InputError, match="--keep-cutouts"):
        result.cutout(0)


@pytest.mark.parametrize("attention", ["mean", "hdus", "none"])
def test_cutouts_survive_the_product(result, tmp_path, attention):
    result.write(tmp_path / "r.fits", attention=attention)
    back = Result.read(tmp_path / "r.fits")
    assert np.array_equal(back.cutouts(range(9)), result.cutouts(range(9)), equal_nan=True)
    assert back.gates == (() if attention == "none" else ("mean",))
    if attention != "none":
        assert np.allclose(back.attention(3).data, result.attention(3).data, atol=1e-3)


def test_other_programs_see_jansky_per_beam(result, images, tmp_path):
    result.write(tmp_path / "r.fits")
    with fits.open(tmp_path / "r.fits", checksum=True) as hdus:
        header, data = hdus["CUTOUTS"].header, hdus["CUTOUTS"].data
        assert header["BUNIT"] == "Jy/beam"
        assert header["QUANTRMS"] == 0.25
        assert data.shape == (6, 150, 150)
        assert np.array_equal(data, result.cutouts(ROWS), equal_nan=True)
        table = Table(hdus["CLASSIFICATION"].data)
    assert table["cutout_plane"].tolist() == [0, 1, -1, 2, 3, -1, 4, 5, -1]
    assert WCS(header).naxis == 3


def test_some_rows_keep_their_own_cutouts(result, images, tmp_path):
    part = result[[7, 2, 0]]
    part.write(tmp_path / "part.fits")
    back = Result.read(tmp_path / "part.fits")
    assert np.allclose(back.cutouts([0, 2]), images[[5, 0]], atol=RMS / 8 + 1e-6)
    with fits.open(tmp_path / "part.fits") as hdus:
        assert hdus["CUTOUTS"].shape == (2, 150, 150)


def test_components_of_one_source_share_a_plane(result, tmp_path):
    result.table["cutout_plane"][:3] = 0
    result.write(tmp_path / "shared.fits")
    back = Result.read(tmp_path / "shared.fits")
    assert np.array_equal(back.cutouts([1, 2]), back.cutouts([0, 0]))


def test_the_page_takes_kept_cutouts(result, images, tmp_path):
    (path,) = write_page(result, tmp_path / "page.html")
    line = path.read_text().split('id="images-0">')[1].split("\n")[3]
    webp = line.split('"webp":"')[1].split('"')[0]
    codes = np.asarray(Image.open(io.BytesIO(base64.b64decode(webp))).convert("L"))[:150, :150]
    # Row 3 has the bright Gaussian in the middle.
    assert codes[74:77, 73:77].min() > 200
    assert '"reason":"no image"' in path.read_text()


def made_from(survey: str) -> Result:
    """Nine rows without cutouts."""
    return Result.from_columns(Table({"x": range(9)}), example_columns(9), example_stores(6), {"survey": survey})


def test_the_first_service_is_asked_again_where_images_were_cut(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = made_from("VLA FIRST 1.4 GHz")
    result.table["ra"] += 0.005  # a component beside the centre of its source
    rows = np.array([0, 2, 3])
    with FirstServer() as server:
        monkeypatch.setenv(SERVICE_VARIABLE, server.url)
        cutouts = open_cutouts(result)(rows)
        asked = sorted(float(request.fields["RA"].split()[0]) for request in server.requests)
    assert [reason == "" for reason in cutouts.reasons] == [True, False, True]
    np.testing.assert_allclose(asked, result.table["cutout_ra"][[0, 3]] / 15, atol=1e-5)
    y, x = np.unravel_index(np.nanargmax(cutouts.images[0]), (150, 150))
    assert abs(x - 74.5) < 3  # the server's double lies along declination
    assert 8 < abs(y - 74.5) < 12


@pytest.mark.filterwarnings("ignore::radio_ag.errors.RadioAGWarning")
@pytest.mark.parametrize("name", ["first", "first-skyview", "vlass"])
def test_a_survey_is_asked_again_by_its_own_service(name):
    assert open_cutouts(made_from(SURVEYS[name].title)).source.survey == SURVEYS[name]


def test_images_that_have_no_name_are_asked_for():
    with pytest.raises(InputError, match="made from images by URL: name the images, or 'none'"):
        open_cutouts(made_from("images by URL"))


def test_classify_keeps_the_cutouts_of_every_row_with_an_image(sky, weights, tmp_path, monkeypatch):
    shutil.copy(sky / "mosaic.fits", tmp_path)
    truth = Table.read(sky / "catalogue.csv")
    catalogue = Table({"ra": [*truth["ra"], np.nan, 10.0], "dec": [*truth["dec"], 0.0, -80.0]})
    catalogue.write(tmp_path / "sky.fits")
    options = ["--images", "mosaic.fits", "--weights", weights, "--orbit", "1", "--device", "cpu"]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["classify", "sky.fits", *options, "--keep-cutouts"])
    assert done.exit_code == 0, done.output
    result = Result.read("sky.radio-ag.fits")
    fields = open_images("mosaic.fits").fetch(truth["ra"], truth["dec"])
    count = len(truth)
    rms = np.asarray(result.table["rms"][:count])[:, None, None]
    truth_cutouts, seen = crop(fields.data), result.cutouts(range(count + 2))
    assert np.isnan(seen[count:]).all()
    assert np.array_equal(np.isnan(seen[:count]), np.isnan(truth_cutouts))
    assert np.nanmax(np.abs(seen[:count] - truth_cutouts) / rms) < 0.126
    assert CliRunner().invoke(app, ["view", "sky.radio-ag.fits"]).exit_code == 0
