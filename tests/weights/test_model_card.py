"""Cards as model cards of Hugging Face."""

import yaml

from radio_ag.weights import card
from radio_ag.weights.cards import Card
from radio_ag.weights.model_card import model_card

INPUT = {"size": 150, "pixel_scale": 1.8, "clip": 3.0, "stretch": "sqrt", "value_range": [0.0, 1.0]}


def parts(text):
    before, front, body = text.split("---\n", 2)
    assert before == ""
    return yaml.safe_load(front), body


def test_the_front_matter_is_what_the_hub_reads():
    told = card("agcnn-first")
    front, body = parts(model_card(told))
    assert front["license"] == "bsd-3-clause"
    assert front["pipeline_tag"] == "image-classification"
    (index,) = front["model-index"]
    assert index["name"] == "agcnn-first"
    found = {result["dataset"]["name"]: result["metrics"] for result in index["results"]}
    accuracy = told.content["metrics"]["orbit_8"]["all"]["accuracy"]
    assert {"type": "accuracy", "value": accuracy} in found["orbit 8, all"]
    assert body.startswith("\n# agcnn-first\n")


def test_people_read_all_that_the_card_says():
    told = card("agcnn-first")
    body = model_card(told)
    counted = "mirabest train FRI certain"
    for words in (*told.content["known_failures"], told.sha256, told.content["reference"], counted):
        assert words in body
    low, high = told.content["metrics"]["orbit_8"]["all"]["accuracy_interval"]
    assert f"({low:.3g} to {high:.3g})" in body


def test_what_a_card_does_not_say_is_not_made_up():
    front, body = parts(model_card(Card.of({"name": "mine", "input": INPUT, "licence": "my own: see me"})))
    assert front["license"] == "other"
    assert front["license_name"] == "my own: see me"
    assert "model-index" not in front
    assert "## Figures" not in body
    assert "## Training" not in body


def test_text_of_a_card_is_no_markup():
    evil = "<script>x</script> | [a](b) `c`\n---\n# d"
    text = model_card(Card.of({"name": "mine", "input": INPUT, "licence": evil, "known_failures": [evil]}))
    assert parts(text)[0]["license_name"] == evil
    assert "<script>" not in text.partition("## ")[2]
    assert "\n# d" not in text
