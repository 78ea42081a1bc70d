"""Cards of weights: each field is checked where the card is read, whatever stands in its place."""

import copy
import json
import math
import shutil

import numpy as np
import pytest
import torch

from radio_ag.errors import RadioAGWarning, WeightsError
from radio_ag.network.checkpoints import load_weights, save_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import AGCNN
from radio_ag.preprocess.images import CROP_SIZE, Prepared
from radio_ag.simulated import make_field
from radio_ag.weights import Card, card, list_weights

DELETED = object()
VALUES = ("x", "", "NaN", math.nan, math.inf, None, [], {}, [1], {"a": 1}, True, False, 1.5, -1, 0, 10**9, 10**400,
          1e308, "../../etc/passwd", DELETED)  # fmt: skip
CONTENT = {
    "name": "mine",
    "description": "made",
    "input": {
        "survey": "FIRST",
        "size": 150,
        "pixel_scale": 1.8,
        "clip": 3.0,
        "stretch": "sqrt",
        "value_range": [0.0, 1.0],
    },
    "calibration": {"temperature": {"1": 1.1, "8": 1.2}, "uncertain_below": 0.9, "further_within": 0.7},
    "novelty": {"threshold": 7.5, "sources": "made"},
}
FEATURES = 54


def novelty(**changes) -> dict[str, torch.Tensor]:
    model = {"means": torch.zeros(2, FEATURES), "precision": torch.eye(FEATURES)}
    model |= {"centre": torch.zeros(FEATURES), "scale": torch.ones(FEATURES)}
    return {f"novelty.{name}": value for name, value in (model | changes).items() if value is not None}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    torch.manual_seed(0)
    return save_weights(tmp_path_factory.mktemp("good") / "mine.safetensors", [AGCNN()], CONTENT, novelty())


@pytest.fixture
def weights(good, tmp_path):
    """A copy of good weights, and what their card says."""
    for path in (good, good.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    return tmp_path / good.name, json.loads(good.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def prepared():
    """What a card of any clip and stretch makes of a field is known; one small image is enough."""
    image = np.clip(make_field("FRII", seed=0)[0][75:225, 75:225] / 0.05, 0, 1).astype(np.float32)[None]
    assert image.shape[1:] == (CROP_SIZE, CROP_SIZE)
    return Prepared(image, *(np.zeros(1, kind) for kind in (np.float32, bool, np.float32, np.float32)))


def fields_of(content, place=()):
    """Places of all fields of a card, sections and members of lists too."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in pairs:
        yield (*place, name)
        yield from fields_of(value, (*place, name))


def changed(content, place, value):
    content = copy.deepcopy(content)
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    if value is DELETED:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return content


def test_no_field_makes_anything_but_one_line_or_a_sound_answer(weights, prepared):
    """Each field with each of 20 values: about 600 cards."""
    path, content = weights
    refused = 0
    for place in fields_of(content):
        for value in VALUES:
            path.with_suffix(".json").write_text(json.dumps(changed(content, place, value)))
            try:
                classifier = Classifier(load_weights(path), device="cpu", orbit=1)
            except WeightsError as exc:
                message = str(exc)
                assert "\n" not in message
                assert len(message) < 300
                refused += 1
                continue
            prediction = classifier.predict(None, prepared=prepared, attention="none")
            assert np.isfinite(prediction.probabilities).all(), (place, value)
            assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert refused > 300


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("input", "clip"), "x", "mine.json: input.clip is 'x', accepted is a number from 0 to 1e+06 (times"),
        (("input", "clip"), math.nan, "mine.json: input.clip is nan, accepted is a number"),
        (("input", "clip"), True, "mine.json: input.clip is True, accepted is a number"),
        (("input", "stretch"), DELETED, "mine.json lacks input.stretch: one of linear, sqrt, asinh"),
        (("input", "stretch"), ["sqrt"], "mine.json: input.stretch is ['sqrt'], accepted is one of linear"),
        (("input", "value_range"), [0, 1, 2], "mine.json: input.value_range is [0, 1, 2], accepted is two numbers"),
        (("input", "value_range"), [1, 0], "mine.json: input.value_range is [1, 0], accepted is two numbers, the"),
        (("input", "size"), 300, "mine.json: input.size is 300, accepted is 150"),
        (("input", "pixel_scale"), 1e308, "mine.json: input.pixel_scale is 1e+308, accepted is a number from"),
        (("input",), None, "mine.json: input is None, accepted is an object with names"),
        (("calibration",), [], "mine.json: calibration is [], accepted is an object with names"),
        (("calibration", "temperature"), "x", "mine.json: calibration.temperature is 'x', accepted is a number"),
        (("calibration", "temperature"), {"two": 1.0}, "calibration.temperature is for the orbit 'two', no number"),
        (("calibration", "asked_first"), 2, "calibration.asked_first is 2, accepted is a whole number from 1"),
        (("needs_morphology",), 1, "mine.json: needs_morphology is 1, accepted is true or false"),
        (("calibration", "temperature", "8"), 0, "mine.json: calibration.temperature.8 is 0, accepted is a number"),
        (("calibration", "uncertain_below"), 10**9, "mine.json: calibration.uncertain_below is 1000000000, accepted"),
        (("novelty", "threshold"), {}, "mine.json: novelty.threshold is {}, accepted is a number from 0 to 1e+06"),
        (("members",), 1.5, "mine.json: members is 1.5, accepted is a whole number from 1 to 100"),
        (("members",), 2, "mine.safetensors does not fit the architecture: blocks.0.0.weight is missing"),
        (("members",), 10**400, "mine.json: members is 1000000000"),
        (("name",), "../../etc/passwd", "mine.json: name is '../../etc/passwd', accepted is a name without folders"),
        (("name",), "a\\b", "accepted is a name without folders"),
        (("classes",), ["FRII", "FRI", "bent"], "it names the classes FRII, FRI, bent, and its architecture has 2"),
        (("architecture",), None, "the card of mine.safetensors lacks its architecture"),
        (("architecture", "gates"), 1.0, "is of no use: not an architecture of agcnn: gates must be one of 0, 1, 2, 3"),
        (("architecture", "classes"), 10**9, "is of no use: not an architecture of agcnn: classes must be a whole"),
        (("architecture", "kind"), "resnet", "is of no use: architecture must be one of agcnn"),
        (("architecture", "depth"), 7, "is of no use: not an architecture of agcnn"),
        (("sha256",), "0" * 64, "mine.safetensors is damaged or not the file of its card: sha256"),
        (("sha256",), "x", "mine.json: sha256 is 'x', accepted is 64 hexadecimal digits"),
        (("sha256",), DELETED, "the card of mine.safetensors lacks its sha256"),
    ],
)  # fmt: skip
def test_the_message_names_the_field_its_value_and_what_is_accepted(weights, place, value, message):
    path, content = weights
    content = changed(content, place, value) if place[-1] not in ("kind", "depth") else content | {
        "architecture": content["architecture"] | {place[-1]: value}
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "mine.json is not a card: maximum recursion depth"),
        (b'{"a":' * 100_000, "mine.json is not a card: maximum recursion depth"),
        (b"[]", "mine.json is not a card: it is [], expected an object with names"),
        (b"null", "mine.json is not a card: it is None, expected an object with names"),
        (b'{"name": "a", "name": "b"}', "mine.json is not a card: a name stands there twice"),
        (b'{"name": "\xff"}', "mine.json is not a card: 'utf-8' codec"),
        (b'{"members": ' + b"9" * 5000 + b"}", "mine.json is not a card: Exceeds the limit"),
        (b" " * (17 << 20), "mine.json is not a card: larger than 16 MiB"),
        (b"", "mine.json is not a card: Expecting value"),
    ],
)
def test_what_is_no_card_is_refused(weights, text, message):
    path, _ = weights
    path.with_suffix(".json").write_bytes(text)
    with pytest.raises(WeightsError) as caught:
        card(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_card_is_refused(weights):
    path, _ = weights
    path.with_suffix(".json").unlink()
    path.with_suffix(".json").mkdir()
    with pytest.raises(WeightsError, match=r"the card .*mine\.json cannot be read: Is a directory"):
        card(path)


def test_a_broken_card_among_good_ones_is_named_and_the_others_are_listed(weights, monkeypatch):
    path, content = weights
    monkeypatch.setenv("RADIO_AG_WEIGHTS", str(path.parent))
    whole = [one.name for one in list_weights()]
    assert whole[-1] == "mine"
    path.with_suffix(".json").write_text(json.dumps(content | {"members": -1}))
    with pytest.warns(RadioAGWarning, match=r"mine\.safetensors cannot be used: mine\.json: members is -1"):
        assert [one.name for one in list_weights()] == whole[:-1]
    assert card("agcnn-first").name == "agcnn-first"
    with pytest.raises(WeightsError, match=r"no weights 'yours'.*, mine$"):
        card("yours")


def test_a_card_that_could_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(WeightsError, match="name is 'a/b'"):
        save_weights(tmp_path / "new.safetensors", [AGCNN()], CONTENT | {"name": "a/b"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": None}, r"the tensor novelty\.scale is missing, expected finite numbers of shape \(54,\)"),
        ({"means": torch.zeros(2, 3)}, r"the tensor novelty\.means is torch\.float32 of shape \(2, 3\), expected"),
        (
            {"centre": torch.full((54,), math.nan)},
            r"the tensor novelty\.centre is torch\.float32 of shape \(54,\)",
        ),
        ({"precision": torch.eye(54, dtype=torch.int64)}, r"the tensor novelty\.precision is torch\.int64"),
    ],
)
def test_the_tensors_that_a_card_tells_of_must_be_there(tmp_path, changes, message):
    path = save_weights(tmp_path / "mine.safetensors", [AGCNN()], CONTENT, novelty(**changes))
    with pytest.raises(WeightsError, match=message):
        Classifier.load(path, device="cpu")


def test_bundled_cards_are_read_as_they_are():
    for one in list_weights():
        assert Card.of(one.content) == one
        assert one.preprocessing.stretch in ("sqrt", "linear")
