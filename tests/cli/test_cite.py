"""`radio-ag --cite` prints BibTeX of what was used."""

import re

import pytest
from run_examples import Doubles, positions, untrained
from typer.testing import CliRunner

from radio_ag import classify
from radio_ag.catalog_io.services.surveys import SURVEYS
from radio_ag.cli.app import app
from radio_ag.cli.cite import REFERENCES


def keys(text):
    return re.findall(r"@\w+\{(\w+),", text)


def test_package_and_paper():
    done = CliRunner().invoke(app, ["--cite"])
    assert done.exit_code == 0
    assert keys(done.output) == ["radio_ag", "Bowles2021"]
    assert done.output.count("{") == done.output.count("}")


def test_the_survey_of_a_product(tmp_path):
    images = Doubles()
    images.describe = lambda: {"survey": "VLA FIRST 1.4 GHz", "service": "memory"}
    path = tmp_path / "out.fits"
    weights = untrained(tmp_path)
    classify(positions(2), images=images, weights=weights, device="cpu", orbit=1, attention="none", output=path)
    assert keys(CliRunner().invoke(app, ["--cite", str(path)]).output) == ["radio_ag", "Bowles2021", "Becker1995"]


def test_images_of_no_known_survey_are_said(product):
    done = CliRunner().invoke(app, ["--cite", str(product)])
    assert keys(done.output) == ["radio_ag", "Bowles2021"]
    assert "no reference is known" in done.output


def test_no_product(tmp_path):
    done = CliRunner().invoke(app, ["--cite", str(tmp_path / "missing.fits")])
    assert done.exit_code == 2
    assert "missing.fits cannot be read" in " ".join(done.output.split())


@pytest.mark.parametrize("survey", SURVEYS.values(), ids=lambda survey: survey.name)
def test_every_named_survey_has_one_reference(survey):
    assert sum(word.lower() in survey.title.lower() for word in REFERENCES) == 1
