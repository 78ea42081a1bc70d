"""The bundled weights: the figures on their cards hold, and the README repeats them."""

import json
from pathlib import Path

import numpy as np
import pytest

from radio_ag.classifier import Classifier
from radio_ag.labelled import assign_folds, load_labelled
from radio_ag.weights import DEFAULT, card, list_weights

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [c["name"] for c in list_weights() if c["name"].startswith("agcnn-")])
def test_card_says_what_a_user_must_know(name):
    content = card(name)
    assert content["classes"] == ["FRI", "FRII"]
    assert content["input"]["size"] == 150
    assert content["training"]["recipe"]["samples"] > 0
    for figures in content["metrics"]["orbit_8"].values():
        low, high = figures["accuracy_interval"]
        assert low < figures["accuracy"] < high
        assert figures["sources"] > 20
    json.dumps(content, allow_nan=False)


def test_default_weights_are_as_good_as_their_card_says(data_dir):
    """Unseen MiraBest sources, raw fields through the classifier as served: at least 90 % right where certain."""
    from astropy.io import fits

    classifier = Classifier.load(DEFAULT, device="cpu")
    data = load_labelled(data_dir / "mirabest_train.fits", data_dir / "rgd_train.fits")
    unseen = data[
        (assign_folds(data) == classifier.card["training"]["fold_left_out"]) & (data.origin == "mirabest_train")
    ]
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        table = hdus["SOURCES"].data
        rows = np.hypot(table["ra"] - unseen.ra[:, None], table["dec"] - unseen.dec[:, None]).argmin(1)
        fields = hdus["IMAGES"].data[rows].astype(np.float32)
    prediction = classifier.predict(fields, attention="none")
    right = prediction.probabilities.argmax(1) == unseen.label
    figures = classifier.card["metrics"]["orbit_8"]
    assert len(right) == figures["all"]["sources"]
    assert right.mean() == pytest.approx(figures["all"]["accuracy"], abs=1.5 / len(right))
    assert right[unseen.certain].mean() == pytest.approx(figures["certain"]["accuracy"], abs=1.5 / unseen.certain.sum())
    assert right[unseen.certain].mean() >= 0.90


def test_readme_repeats_the_card():
    figures = card(DEFAULT)["metrics"]["orbit_8"]
    for name in ("certain", "uncertain", "all"):
        sources, accuracy = figures[name]["sources"], figures[name]["accuracy"]
        low, high = figures[name]["accuracy_interval"]
        row = f"| {sources} | {accuracy:.1%} | {low:.1%} to {high:.1%} |"
        assert row in README, row
