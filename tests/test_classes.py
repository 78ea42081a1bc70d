"""Other classes than FRI and FRII, from labels through training to a product, an evaluation, a page and back."""

import json
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

from radio_ag import Result, classify
from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.export.page.write import write_page
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.cli.app import app
from radio_ag.errors import InputError
from radio_ag.evaluation.report import evaluate
from radio_ag.flags import Flag
from radio_ag.labelled.data import load_labelled
from radio_ag.network.checkpoints import load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.options import RunOptions
from radio_ag.training.recipes import named_recipe
from radio_ag.training.weights import train_weights

KINDS = ("single", "double", "triple")
COLUMNS = ["p_double", "p_single", "p_triple"]
RMS = 1.5e-4
SHORT = {"samples": "32", "windowed": "0", "epochs": "1", "batch": "8", "averaging": "0.5", "mixed_precision": "False"}


def field(kind: str, seed: int, size: int = 300) -> np.ndarray:
    """One, two or three Gaussians of FIRST's beam in a row, 14 pixels apart, over noise; Jy/beam."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    angle = rng.uniform(0, np.pi)
    noise = rng.normal(0, RMS, (size, size))
    for place in {"single": (0,), "double": (-14, 14), "triple": (-28, 0, 28)}[kind]:
        dx, dy = place * np.cos(angle), place * np.sin(angle)
        noise += 0.02 * np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / (2 * 1.3**2))
    return noise.astype(np.float32)


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A labelled file of 45 sources whose header tells FIRST's pixels and beam."""
    kinds = [KINDS[n % 3] for n in range(45)]
    table = fits.table_to_hdu(Table({"ra": np.arange(45) * 3.0, "dec": np.full(45, 30.0), "kind": kinds}))
    table.name = "SOURCES"
    images = fits.ImageHDU(np.stack([field(kind, n) for n, kind in enumerate(kinds)]), name="IMAGES")
    images.header.update(BUNIT="Jy/beam", CDELT1=-0.0005, CDELT2=0.0005, BMAJ=0.0015, BMIN=0.0015)
    path = tmp_path_factory.mktemp("survey") / "kinds.fits"
    fits.HDUList([fits.PrimaryHDU(), table, images]).writeto(path)
    return path


@pytest.fixture(scope="module")
def weights(survey, tmp_path_factory):
    """Weights of a few steps on it, through the command line."""
    folder = tmp_path_factory.mktemp("training") / "kinds"
    settings = [word for name, value in SHORT.items() for word in ("--set", f"{name}={value}")]
    command = ["train", str(survey), "--out", str(folder), "--label-col", "kind", *settings, "--device", "cpu"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return folder / "kinds.safetensors"


@pytest.fixture(scope="module")
def made(weights, tmp_path_factory):
    """A product of three sources, one in the middle of each image."""
    folder = tmp_path_factory.mktemp("product")
    for number, kind in enumerate(KINDS):
        header = tangent_wcs(100.0 + 10 * number, 30.0, 320).to_header()
        header.update(BUNIT="Jy/beam", BMAJ=0.0015, BMIN=0.0015)
        fits.PrimaryHDU(field(kind, 100 + number, 320), header).writeto(folder / f"{kind}.fits")
    catalogue = Table({"ra": [100.0, 110.0, 120.0], "dec": [30.0] * 3, "p_value": [1, 2, 3]})
    output = tmp_path_factory.mktemp("output") / "product.fits"
    return classify(catalogue, images=folder, weights=weights, device="cpu", output=output, keep_cutouts=True), output


@pytest.fixture(scope="module")
def product(made):
    return made[0]


@pytest.fixture(scope="module")
def path(made):
    return made[1]


def test_the_card_tells_the_classes(weights):
    card = load_weights(weights).card
    assert card.classes == ("double", "single", "triple")
    assert card.architecture["classes"] == 3
    assert not card.needs_morphology
    assert card.content["metrics"]["orbit_8"]["all"].keys() >= {"f1_single", "macro_f1", "auc_triple", "confusion"}
    assert {*card.temperature.values} == {1, 2, 4, 8} == {*card.uncertain_below.values}


def test_the_product_has_a_column_a_class(path):
    """They add up to 1, the class is the likeliest, and a point keeps its class."""
    table = Result.read(path).table
    p = np.stack([table[name] for name in COLUMNS], 1)
    assert table.colnames[6:10] == [*COLUMNS, "p_std"]
    assert "p_fri" not in table.colnames
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    assert list(table["class"]) == [("double", "single", "triple")[k] for k in p.argmax(1)]
    np.testing.assert_array_equal(table["probability"], p.max(1))
    assert table["flags"][0] & Flag.UNRESOLVED
    assert table["class"][0]
    assert table["p_single"].info.description == "calibrated probability of single"
    assert list(table["p_value"]) == [1, 2, 3]


def test_probabilities_are_those_of_the_network(product, weights):
    classifier = Classifier.load(weights, device="cpu")
    prediction = classifier.predict(field("triple", 102, 320)[None, 10:310, 10:310], attention="none")
    assert prediction.names == classifier.card.classes
    assert prediction.classes[0] == product.table["class"][2]
    np.testing.assert_allclose(prediction.probabilities[0], [product.table[name][2] for name in COLUMNS], atol=2e-4)


@pytest.mark.parametrize("rows", [False, True])
def test_what_was_read_counts_the_same(product, path, rows):
    read = Result.read(path)
    assert read.classes == product.classes == ("double", "single", "triple")
    assert read.summary(rows=rows) == product.summary(rows=rows)
    assert sum(read.summary(rows=rows)["classes"].values()) == 3
    assert read.sources.colnames[4:9] == ["class", "probability", *COLUMNS]


def test_another_share_of_frii_means_nothing(product, weights):
    with pytest.raises(InputError, match="means nothing for the classes double, single, triple"):
        product.with_prior(0.5)
    with pytest.raises(InputError, match="means nothing for double, single, triple"):
        classify(Table({"ra": [100.0], "dec": [0.0]}), weights=weights, run_options=RunOptions(prior=0.3))


def test_a_product_is_a_catalogue_again(path):
    """It is known as one of ours, though it has neither p_fri nor p_frii."""
    again = read_catalogue(path, table="CLASSIFICATION")
    assert again.dialect is None
    assert list(again.ra) == [100.0, 110.0, 120.0]


def test_the_page_knows_the_classes(product, tmp_path):
    page = write_page(product, tmp_path / "page.html")
    text = (page[0] if isinstance(page, list) else page).read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', text, re.DOTALL)[1])
    assert data["classes"] == ["double", "single", "triple"]
    assert not next(column for column in data["columns"] if column["name"] == "p_triple")["input"]


@pytest.mark.filterwarnings("ignore:kinds learnt from")
def test_an_evaluation_has_figures_of_each_class(survey, weights, tmp_path):
    command = ["evaluate", "--data", str(survey), "--label-col", "kind", "--weights", str(weights), "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "report"), "-q"])
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "report.json").read_text())["evaluations"][0]
    figures = content["figures"]["all"]
    assert content["classes"] == ["double", "single", "triple"]
    assert np.sum(figures["confusion"]) == 45
    assert np.sum(figures["confusion"], 1).tolist() == [15, 15, 15]
    right = np.diag(figures["confusion"])
    assert figures["recall_triple"] == pytest.approx(right[2] / 15, abs=1e-4)
    assert figures["macro_recall"] == pytest.approx(right.mean() / 15, abs=1e-4)
    assert figures["auc"] == pytest.approx(np.mean([figures[f"auc_{k}"] for k in KINDS]), abs=2e-4)
    assert Table.read(tmp_path / "report.ecsv").colnames[7:10] == COLUMNS


def test_labels_that_the_weights_do_not_know_are_named(survey, weights, survey_of_two):
    data = load_labelled(survey_of_two)
    with pytest.raises(InputError, match="tells double, single, triple apart, and sources are labelled FRI, FRII"):
        evaluate(load_weights(weights), data)


@pytest.fixture(scope="module")
def survey_of_two(tmp_path_factory):
    kinds = ["FRI", "FRII"] * 12
    table = fits.table_to_hdu(Table({"ra": np.arange(24) * 3.0, "dec": np.full(24, 30.0), "fr_class": kinds}))
    table.name = "SOURCES"
    shapes = [field("single" if kind == "FRI" else "double", n) for n, kind in enumerate(kinds)]
    path = tmp_path_factory.mktemp("two") / "two.fits"
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(np.stack(shapes), name="IMAGES")]).writeto(path)
    return path


def test_settings_and_labels_that_contradict_each_other(survey_of_two, tmp_path):
    with pytest.raises(InputError, match=r"architecture\.classes is 3, and the labels have 2: FRI, FRII"):
        train_weights([survey_of_two], named_recipe("default", {"architecture.classes": "3"}), tmp_path / "run")


# Going on from weights


@pytest.mark.parametrize(("freeze", "learnt"), [(True, {"classifier"}), (False, {"classifier", "blocks", "gates"})])
def test_going_on_from_weights(survey_of_two, tmp_path, freeze, learnt):
    """What is frozen stays as the parent has it to the bit; the card names the parent."""
    parent, lines = load_weights("agcnn-first"), []
    recipe = named_recipe("finetune", {**SHORT, "batch": "4"})
    path = train_weights(
        [survey_of_two], recipe, tmp_path / "mine", parent=parent, freeze=freeze, folds=2, log=lines.append
    )
    weights = load_weights(path)
    before, after = (one.networks[0].state_dict() for one in (parent, weights))
    changed = {name.split(".")[0] for name, value in before.items() if not value.equal(after[name])}
    assert changed == learnt
    assert weights.card.content["started_from"] == {"name": "agcnn-first", "sha256": parent.card.sha256}
    assert any("going on from agcnn-first" in line for line in lines)
    assert any("does not tell the pixel scale: FIRST's 1.8" in line for line in lines)


def test_few_sources_let_the_last_layers_learn_alone(survey_of_two, tmp_path):
    recipe = named_recipe("finetune", {**SHORT, "batch": "4"})
    path = train_weights([survey_of_two], recipe, tmp_path / "mine", parent=load_weights("agcnn-first"), folds=2)
    assert load_weights(path).card.content["training"]["recipe"]["frozen"]


def test_freeze_without_weights_to_go_on_from():
    done = CliRunner().invoke(app, ["train", "x.fits", "--out", "y", "--freeze"])
    assert done.exit_code == 2
    assert "--from" in done.output
