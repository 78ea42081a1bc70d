"""A product and people's labels become labelled images, and weights that go on from others."""

import json

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS
from page_examples import page_result
from typer.testing import CliRunner

from radio_ag import Result, classify
from radio_ag.cli import app
from radio_ag.errors import InputError
from radio_ag.labelled.data import LabelledFile
from radio_ag.labelled.labels import Labels
from radio_ag.labelled_product import label_product
from radio_ag.options import ImageOptions
from radio_ag.simulated import make_mosaic

pytestmark = pytest.mark.filterwarnings("ignore:the beam of mosaic.fits is 16.2 arcsec")


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A product with cutouts of a survey whose beam and pixels are three times FIRST's, and what its sources are."""
    folder = tmp_path_factory.mktemp("survey")
    mosaic, truth = make_mosaic(size=1500, n_sources=16, seed=5, kinds=("FRI", "FRII"))
    x, y = WCS(mosaic.header).all_world2pix(truth["ra"], truth["dec"], 0)
    for card in ("CDELT1", "CDELT2", "BMAJ", "BMIN"):
        mosaic.header[card] *= 3
    ra, dec = WCS(mosaic.header).all_pix2world(x, y, 0)
    mosaic.writeto(folder / "mosaic.fits")
    options = ImageOptions(beam_scaled=True)
    classify(
        Table({"ra": ra, "dec": dec}),
        images=folder / "mosaic.fits",
        device="cpu",
        orbit=1,
        keep_cutouts=True,
        image_options=options,
        output=folder / "p.fits",
    )
    return folder / "p.fits", np.asarray(truth["kind"], dtype=str)


def labelled(result, rows, labels, **columns):
    return Labels.of({"name": result.sources["name"][rows], "label": labels} | columns)


def test_cutouts_of_a_product_become_labelled_images(survey, tmp_path):
    path, kinds = survey
    result = Result.read(path)
    rows = [3, 0, 7]
    labels = labelled(result, rows, kinds[rows], confidence=[1, 0.5, 0.75])
    made = label_product(result, labels, tmp_path / "labelled.fits")
    assert (made.sources, made.without_image, made.elsewhere, made.undecided) == (3, [], [], [])
    file = LabelledFile(tmp_path / "labelled.fits")
    assert file.name.tolist() == result.sources["name"][rows].tolist()
    assert [file.classes[number] for number in file.label] == kinds[rows].tolist()
    assert file.certain.tolist() == [True, False, True]
    assert file.own.pixel_scale == pytest.approx(5.4, rel=1e-3)
    assert file.own.beam.fwhm == pytest.approx(16.2, rel=1e-3)
    images = file.images(np.arange(3))
    crop = images[:, 75:225, 75:225] if images.shape[1] == 300 else images
    assert np.array_equal(crop, result.cutouts(rows), equal_nan=True)


def test_what_is_left_out_is_told(survey, tmp_path):
    path, _ = survey
    result = Result.read(path)
    names = [*result.sources["name"][[1, 2, 2]], "J000000.0+000000"]
    labels = Labels.of({"name": names, "label": ["FRI", "FRI", "FRII", "FRII"]})
    made = label_product(result, labels, tmp_path / "labelled.fits")
    assert made.sources == 1
    assert made.elsewhere == ["J000000.0+000000"]
    assert made.undecided == [names[1]]
    with pytest.raises(InputError, match="none of the 1 labelled sources is in this product"):
        label_product(result, labels[[3]], tmp_path / "labelled.fits")
    bare = page_result(6)
    labels = Labels.of({"name": bare.sources["name"][[0]], "label": ["FRI"]})
    with pytest.raises(InputError, match=r"none of the 1 labelled sources has an image: .*cutouts were left out"):
        label_product(bare, labels, tmp_path / "labelled.fits", images="none")


def test_weights_learn_from_labels_and_know_their_survey(survey, tmp_path):
    path, kinds = survey
    result = Result.read(path)
    labels = labelled(result, np.arange(16), kinds)
    labels.write(tmp_path / "labels.ecsv")
    settings = ["--set", "epochs=1", "--set", "batch=8", "--samples", "16", "--folds", "4", "--device", "cpu", "-q"]
    command = ["train", path, "--labels", tmp_path / "labels.ecsv", "--from", "agcnn-first-fast"]
    done = CliRunner().invoke(app, [*map(str, command), "--out", str(tmp_path / "mine"), *settings])
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "mine" / "mine.json").read_text())
    assert card["input"]["pixel_scale"] == pytest.approx(5.4, rel=1e-3)
    assert card["input"]["beam"] == pytest.approx(16.2, rel=1e-3)
    assert (tmp_path / "mine" / "labelled.fits").exists()


def test_labels_are_of_one_product(survey, tmp_path):
    path, _ = survey
    (tmp_path / "labels.csv").write_text("name,label\nx,FRI\n")
    command = ["train", path, path, "--labels", tmp_path / "labels.csv", "--out", tmp_path / "mine"]
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 2
    assert "--labels are those of one product, not of 2 files" in done.stderr
