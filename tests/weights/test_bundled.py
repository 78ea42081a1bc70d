"""The bundled weights: the figures on their cards hold, and the README repeats them."""

import json
from pathlib import Path

import numpy as np
import pytest

from radio_ag.evaluation.served import learnt_positions, predict_clipped
from radio_ag.flags import Flag
from radio_ag.labelled.data import load_labelled
from radio_ag.labelled.splits import near
from radio_ag.network.checkpoints import load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.preprocess.islands import measure_islands
from radio_ag.simulated import sidelobes, stripes
from radio_ag.weights import DEFAULT, card, list_weights

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [c.name for c in list_weights() if c.name.startswith("agcnn-")])
def test_card_says_what_a_user_must_know(name):
    content = card(name).content
    assert content["classes"] == ["FRI", "FRII"]
    assert content["input"]["size"] == 150
    assert content["training"]["recipe"]["samples"] > 0
    assert content["known_failures"]
    for figures in content["metrics"]["orbit_8"].values():
        low, high = figures["accuracy_interval"]
        assert low < figures["accuracy"] < high
        assert figures["sources"] > 20
    json.dumps(content, allow_nan=False)


def test_network_of_nvss_knows_its_survey_and_its_parent():
    known = card("agcnn-nvss")
    assert (known.survey, known.beam, known.pixel_scale, known.window) == ("NVSS 1.4 GHz", 45.0, 15.0, 64)
    assert known.content["started_from"] == {"name": "agcnn-first", "sha256": card("agcnn-first").sha256}
    assert {*known.temperature.values} == {1, 2, 4, 8}


@pytest.mark.real
def test_network_of_nvss_is_right_where_that_of_first_guesses(data_dir):
    """On images that it has learnt from: four in five; the network of FIRST is right for about half."""
    data = load_labelled(data_dir / "frdeep_nvss_train.fits")[np.arange(0, 450, 9)]
    right = {}
    for name in ("agcnn-nvss", "agcnn-first-fast"):
        classifier = Classifier.load(name, device="cpu", orbit=1)
        right[name] = (predict_clipped(classifier, data.fields).probabilities.argmax(1) == data.label).mean()
    assert right["agcnn-nvss"] > 0.8
    assert right["agcnn-first-fast"] < 0.7


@pytest.fixture(scope="module")
def raw(data_dir):
    """Labelled FRI and FRII of MiraBest, and their raw fields."""
    from astropy.io import fits

    data = load_labelled(data_dir / "mirabest_train.fits")
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        table = hdus["SOURCES"].data
        rows = np.hypot(table["ra"] - data.ra[:, None], table["dec"] - data.dec[:, None]).argmin(1)
        return data, hdus["IMAGES"].data[rows].astype(np.float32)


@pytest.mark.parametrize("name", [DEFAULT, "agcnn-first-fast"])
def test_weights_are_as_good_as_their_card_says(name, raw):
    """MiraBest sources far from all that were learnt from, raw fields as served: at least 90 % right where certain."""
    weights = load_weights(name)
    data, fields = raw
    unseen = ~near(data.ra, data.dec, learnt_positions(weights))
    data, fields = data[unseen], fields[unseen]
    prediction = Classifier(weights, device="cpu").predict(fields, attention="none")
    flags = measure_islands(fields, prediction.prepared.rms).flags
    figures = weights.card.content["metrics"]["orbit_8"]
    assert len(fields) == figures["all"]["sources"]
    for name, rows in (("all", np.ones(len(data), bool)), ("certain", data.certain)):
        kept = rows & ((flags & (Flag.EMPTY | Flag.UNRESOLVED)) == 0)
        assert rows.sum() - kept.sum() == figures[name]["unclassified"]
        right = prediction.probabilities[kept].argmax(1) == data.label[kept]
        assert right.mean() == pytest.approx(figures[name]["accuracy"], abs=1.5 / len(right))
    assert right.mean() >= 0.90


@pytest.mark.parametrize("make", [stripes, sidelobes])
def test_artefacts_do_not_pass_for_sources(make):
    fields = make(12, np.random.default_rng(0))
    prediction = Classifier.load(DEFAULT, device="cpu").predict(fields, attention="none")
    flags = prediction.flags | measure_islands(fields, prediction.prepared.rms).flags
    assert (flags != 0).all()
    assert np.mean(prediction.flags & Flag.OUT_OF_DISTRIBUTION != 0) > 0.5


def test_cross_validation_counts_each_certain_source_once():
    figures = card(DEFAULT).content["cross_validation"]
    certain = figures["pooled"]["certain"]
    shares = figures["certain by class and size"].values()
    classified = certain["sources"] - certain["unclassified"]
    assert sum(part["fields"] for part in shares) == classified
    right = sum(round(part["share"] * part["fields"]) for part in shares)
    assert right / classified == pytest.approx(certain["accuracy"], abs=1e-4)


def test_readme_repeats_the_card():
    figures = card(DEFAULT).content["metrics"]["orbit_8"]
    for name in ("certain", "uncertain", "all"):
        sources, accuracy = figures[name]["sources"], figures[name]["accuracy"]
        low, high = figures[name]["accuracy_interval"]
        classified = sources - figures[name]["unclassified"]
        row = f"| {classified} of {sources} | {accuracy:.1%} | {low:.1%} to {high:.1%} |"
        assert row in README, row
