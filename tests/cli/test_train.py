"""``radio-ag train``: from labelled images to weights that classify, and what is refused before anything is learnt."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from training_examples import write_survey
from typer.testing import CliRunner

from radio_ag.cli import app
from radio_ag.evaluation.calibration import fit_temperature
from radio_ag.evaluation.served import classify_served, learnt_positions
from radio_ag.labelled.data import load_labelled
from radio_ag.network.checkpoints import load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.simulated import make_field
from radio_ag.training.log import read_entries

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
KINDS = ["FRI", "FRII"] * 10
QUICK = (
    "--samples",
    "16",
    "--set",
    "batch=8",
    "--set",
    "epochs=2",
    "--set",
    "window=32",
    "--set",
    "mixed_precision=False",
    "--device",
    "cpu",
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Path:
    """Twenty simulated sources."""
    return write_survey(tmp_path_factory.mktemp("survey") / "survey.fits", KINDS)


def invoke(*args):
    return CliRunner().invoke(app, ["train", *map(str, args)])


def refused(*args) -> str:
    """The error of a command that cannot do what it is asked, on one line."""
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    assert not result.stdout
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def ensemble(survey, tmp_path_factory) -> Path:
    """Weights of two networks."""
    folder = tmp_path_factory.mktemp("trained") / "own"
    result = invoke(survey, "--out", folder, "--seeds", 2, *QUICK)
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(folder / "own.safetensors")]
    assert "seed 1: samples=16" in result.stderr
    return folder / "own.safetensors"


def test_weights_classify(ensemble):
    classifier = Classifier.load(ensemble, device="cpu")
    assert len(classifier.networks) == 2
    assert classifier.feature_model is not None
    prediction = classifier.predict(np.stack([make_field(kind, seed=90)[0] for kind in ("FRI", "FRII")]))
    np.testing.assert_allclose(prediction.probabilities.sum(1), 1, rtol=1e-6)
    assert prediction.attention.shape == (2, 150, 150)


def test_card_says_what_was_done(ensemble):
    card = load_weights(ensemble).card.content
    assert card["name"] == "own"
    assert card["members"] == 2
    as_made = {"clip": 3.0, "stretch": "sqrt", "value_range": [0, 1]}
    assert card["input"] == {"size": 150, "pixel_scale": 1.8, "beam": 5.4} | as_made
    training = card["training"]
    assert training["recipe"]["batch"] == 8
    assert (training["images"], training["images_of_the_recipe"]) == (16, 104_000)
    assert training["share_of_the_recipe"] == pytest.approx(16 / 104_000, rel=1e-2)
    assert training["seeds"] == [0, 1]
    assert training["kept_after_images"] == [16, 16]
    parts = sum(training["sources"].values()) + training["validation_sources"] + training["calibration_sources"]
    assert parts == len(KINDS)
    assert card["metrics"]["orbit_8"]["all"]["sources"] == training["validation_sources"]


def test_calibration_is_what_is_served_and_its_sources_serve_nothing_else(ensemble, survey):
    """The temperature fitted to the classifier's own answers for the reserved sources is the one on the card."""
    part = np.asarray(Table.read(ensemble.with_name("split.ecsv"), format="ascii.ecsv")["part"])
    data = load_labelled(survey)
    assert set(part) == {"training", "validation", "calibration"}
    weights = load_weights(ensemble)
    for orbit in (1, 8):
        classifier = Classifier(weights, device="cpu", orbit=orbit)
        temperature = classifier.temperature
        reserved = data[np.flatnonzero(part == "calibration")]
        served = classify_served(classifier, reserved).probabilities
        logits = np.log(served) * temperature
        assert fit_temperature(logits, reserved.label) == pytest.approx(temperature, rel=1e-2)
    learnt = data[np.flatnonzero(part == "training")]
    np.testing.assert_allclose(learnt_positions(weights), np.stack([learnt.ra, learnt.dec], 1))


def test_run_goes_on_and_gives_the_same_weights(ensemble, survey, tmp_path):
    """Where only the first network of two is there, as after a run that was stopped."""
    folder = tmp_path / "own"
    shutil.copytree(ensemble.parent, folder, ignore=shutil.ignore_patterns("seed-1", "own.*"))
    result = invoke(survey, "--out", folder, "--seeds", 2, *QUICK)
    assert result.exit_code == 0
    assert "seed 0: going on after 16 of 16 images" in result.stderr
    assert (folder / "own.safetensors").read_bytes() == ensemble.read_bytes()


def test_folder_of_another_run_is_refused(ensemble, survey):
    folder = ensemble.parent
    before = ensemble.read_bytes()
    error = refused(survey, "--out", folder, *QUICK, "--set", "rate=0.01", "--samples", 80)
    assert "belongs to another recipe: samples is 16 there, 80 here" in error
    assert "rate is 0.06 there, 0.01 here" in error
    error = refused(survey, "--out", folder, *QUICK, "--fold", 1)
    assert "holds another run: fold is 0 there, 1 here" in error
    assert ensemble.read_bytes() == before


def test_paper_recipe_with_a_baseline_states_its_share(survey, tmp_path):
    folder = tmp_path / "classic"
    result = invoke(
        survey, "-o", folder, "--recipe", "paper", "--samples", 16, "--set", "architecture=classic_cnn", "--set",
        "epochs=2", "--device", "cpu", "--threads", 1, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert not result.stderr
    weights = load_weights(folder / "classic.safetensors")
    training = weights.card.content["training"]
    assert weights.card.parameters == 250_234
    assert training["images_of_the_recipe"] == 2 * 72 * sum(training["sources"].values())
    assert training["share_of_the_recipe"] == pytest.approx(16 / training["images_of_the_recipe"], rel=1e-2)
    entries = read_entries(folder / "seed-0" / "log.jsonl")
    assert training["kept_after_images"] == [min(entries, key=lambda entry: entry["nll"])["samples"]]
    classifier = Classifier(weights, device="cpu")
    assert classifier.predict(make_field("FRI", seed=1)[0][None]).attention is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fr_class": ["FRI", "FR2"] * 10}, "survey.fits: fr_class is 'FR2' in row 1 (10 such rows)"),
        ({"fr_class": ["FRI", "bent"] * 10}, "no source is labelled FRII: both classes are needed"),
        ({"fr_class": ["FRI"] * 18 + ["FRII"] * 2}, "too few sources: of 18 FRI and 2 FRII, no FRII is left"),
        ({"images": np.ones((20, 150, 150), np.float32)}, "IMAGES has shape (20, 150, 150), expected (20, 300, 300)"),
        ({"images": np.zeros((20, 300, 300), np.float32)}, "no source is labelled FRI: both classes are needed"),
    ],
    ids=["label", "empty class", "few", "size", "nothing"],
)
def test_data_that_cannot_be_learnt_from_are_named(tmp_path, changes, message):
    changes = {"images": np.random.default_rng(0).normal(0, 1e-4, (20, 300, 300)).astype(np.float32)} | changes
    changes["images"][:, 149:151, 149:151] *= 1e3
    path = write_survey(tmp_path / "survey.fits", KINDS, **changes)
    assert message in refused(path, "--out", tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_settings_that_cannot_be_are_named(survey, tmp_path):
    out = ("--out", tmp_path / "own")
    assert "batch must be a whole number, not 'big'" in refused(survey, *out, "--set", "batch=big")
    assert "'batch' is not KEY=VALUE" in refused(survey, *out, "--set", "batch")
    assert "fold must be from 0 to folds - 1" in refused(survey, *out, "--fold", 5)
    assert "there is no file or folder" in refused(tmp_path / "none.fits", *out)
    assert "device 'cuda:99' is not there" in refused(survey, *out, "--device", "cuda:99")
    assert not (tmp_path / "own").exists()


@pytest.mark.cluster
def test_page_runs(tmp_path):
    """The worked example, as printed."""
    blocks = re.findall(r"<!-- test -->\n```(python|sh)\n(.*?)```", PAGE, re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "sh", "python", "sh"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for language, block in blocks:
        command = [sys.executable, "-W", "error", "-c"] if language == "python" else ["sh", "-e", "-c"]
        done = subprocess.run([*command, block], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    table = Table.read(tmp_path / "sky.radio-ag.fits", hdu="CLASSIFICATION")
    assert set(table["class"]) <= {"FRI", "FRII"}
    card = json.loads((tmp_path / "own" / "own.json").read_text())
    assert card["metrics"]["orbit_8"]["all"]["sources"] == card["training"]["validation_sources"]
