"""The stimela cabs: the same parameters as the command line, and stimela itself runs them."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from typer.main import get_command

import radio_ag
from radio_ag.cli import app

CABS_FILE = Path(radio_ag.__file__).with_name("cabs.yml")
CABS = yaml.safe_load(CABS_FILE.read_text(encoding="utf-8"))["cabs"]
MAKE_CABS = Path(__file__).parents[2] / "docs" / "make_cabs.py"

RECIPE = """
_include: (radio_ag)cabs.yml

morphology:
  info: Classify the sources of a catalogue
  inputs:
    catalogue:
      dtype: File
      required: true
  steps:
    classify:
      cab: radio-ag-classify
      params:
        catalogue: "{recipe.catalogue}"
        images: ["mosaic2*.fits", mosaic.fits]
        weights: untrained.safetensors
        device: cpu
        orbit: 1
        keep_cutouts: true
        attention: none
        output: classes.fits
"""


def options_of(command: str) -> dict[str, tuple[str, bool, bool]]:
    """Option, whether it is a flag, and whether it may come several times: of each parameter that a command takes."""
    parameters = get_command(app).commands[command].params
    return {
        parameter.name: (
            parameter.opts[0] if parameter.param_type_name == "option" else "",
            bool(getattr(parameter, "is_flag", False)),
            parameter.multiple or parameter.nargs == -1,
        )
        for parameter in parameters
    }


def test_the_file_is_what_the_commands_say():
    assert CABS_FILE.read_text(encoding="utf-8") == runpy.run_path(str(MAKE_CABS))["page"]()


@pytest.mark.parametrize("cab", CABS)
def test_a_cab_has_the_parameters_of_its_command(cab):
    cab = CABS[cab]
    program, command = cab["command"].split()
    assert program == "radio-ag"
    parameters = cab["inputs"] | cab["outputs"]
    assert not set(cab["inputs"]) & set(cab["outputs"])
    replaced = cab["policies"]["replace"]
    found = {
        name: (
            "" if schema.get("policies", {}).get("positional") else f"--{name.replace('_', replaced['_'])}",
            schema["dtype"] == "bool",
            schema["dtype"].startswith("List["),
        )
        for name, schema in parameters.items()
    }
    assert found == options_of(command)
    assert [name for name, schema in parameters.items() if schema.get("required")] == [
        name for name, (option, *_) in options_of(command).items() if not option
    ]


def test_every_command_that_makes_a_file_of_sources_has_a_cab():
    assert {cab["command"] for cab in CABS.values()} == {"radio-ag classify", "radio-ag find"}


@pytest.fixture(scope="module")
def recipe(sky, weights, tmp_path_factory) -> Path:
    """Folder with a recipe and what it needs."""
    folder = tmp_path_factory.mktemp("stimela")
    for source, name in ((sky, "mosaic.fits"), (sky, "catalogue.csv"), (Path(weights).parent, "untrained.*")):
        for path in source.glob(name):
            shutil.copy(path, folder)
    shutil.copy(sky / "mosaic.fits", folder / "mosaic2.fits")
    (folder / "recipe.yml").write_text(RECIPE)
    return folder


@pytest.fixture
def stimela(recipe):
    """Run stimela in the recipe's folder: exit status, and all it says."""
    executable = os.environ.get("RADIO_AG_STIMELA")
    if not executable:
        pytest.skip("RADIO_AG_STIMELA is not set: make cab-check sets it")
    executable = Path(executable).absolute()

    def stimela(*args: str) -> tuple[int, str]:
        ours = str(Path(sys.executable).parent)  # where radio-ag is
        environment = os.environ | {"PATH": f"{ours}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "400"}
        environment |= {"OMP_NUM_THREADS": "1", "HOME": str(recipe)}
        command = [executable, "-B", "-C", *args]
        done = subprocess.run(command, capture_output=True, text=True, cwd=recipe, env=environment)
        return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)

    return stimela


def test_stimela_knows_the_cabs(stimela):
    status, said = stimela("doc", "recipe.yml", "radio-ag-classify")
    assert status == 0, said
    for name, schema in (CABS["radio-ag-classify"]["inputs"] | CABS["radio-ag-classify"]["outputs"]).items():
        assert f" {name} {schema['dtype']} " in said, name


def test_stimela_runs_a_recipe(stimela, recipe):
    status, said = stimela("run", "recipe.yml", "morphology", "catalogue=catalogue.csv")
    assert status == 0, said
    assert "radio-ag returns exit code 0" in said
    with fits.open(recipe / "classes.fits") as hdus:
        assert len(hdus["CLASSIFICATION"].data) == len(Table.read(recipe / "catalogue.csv"))
        assert "CUTOUTS" in hdus
        assert "ATTENTION" not in hdus


def test_stimela_tells_why_a_step_failed(stimela):
    status, said = stimela("run", "recipe.yml", "radio-ag-classify", "catalogue=catalogue.csv", "ra_col=nowhere")
    assert status != 0
    assert "radio-ag returns error code 2" in said
    assert re.search(r"└── [^└]*'nowhere'[^└]*├── radio-ag returns|├── [^├]*'nowhere'[^├]*└── radio-ag returns", said)
