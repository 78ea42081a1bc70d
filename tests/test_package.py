"""The package as a whole: what importing it loads, its metadata, and the files that describe it."""

import importlib.metadata
import importlib.resources
import json
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import radio_ag
from radio_ag.flags import Flag

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "astroquery", "matplotlib", "astropy.table", "photutils", "reproject", "regions", "pandas", "scipy"}
PUBLIC_NAMES = {
    "CatalogueOptions",
    "Classifier",
    "Flag",
    "ImageOptions",
    "Result",
    "RunOptions",
    "__version__",
    "classify",
}


def modules_after(program: str, *, check: bool = True) -> set[str]:
    """Names of the modules that a program leaves loaded in a fresh interpreter."""
    report = "import atexit, json, sys; atexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n"
    done = subprocess.run([sys.executable, "-c", report + program], capture_output=True, text=True, check=check)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_probe_sees_a_heavy_module():
    assert "astropy.table" in modules_after("import astropy.table")


@pytest.mark.parametrize(
    "program",
    [
        "import radio_ag",
        "import radio_ag.flags, radio_ag.errors",
        "import radio_ag; radio_ag.__version__; radio_ag.Flag; dir(radio_ag)",
        "from radio_ag.cli import app; app(['--help'], standalone_mode=False)",
        "from radio_ag.cli import app; app(['classify', '--help'], standalone_mode=False)",
        "from radio_ag.cli import app; app(['weights', 'list'], standalone_mode=False)",
    ],
)
def test_light_programs_load_nothing_heavy(program):
    assert modules_after(program) & HEAVY == set()


def test_public_names_are_these_and_no_others():
    assert set(radio_ag.__all__) == PUBLIC_NAMES
    for name in PUBLIC_NAMES:
        assert getattr(radio_ag, name) is not None
    assert set(dir(radio_ag)) >= PUBLIC_NAMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = radio_ag.no_such_name


def test_version_is_the_distributions():
    assert radio_ag.__version__ == importlib.metadata.version("radio-ag")


def test_citation_and_changes_name_the_version():
    assert f"\nversion: {radio_ag.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {radio_ag.__version__}" in (ROOT / "CHANGES.md").read_text()
    assert json.loads((ROOT / "codemeta.json").read_text())["version"] == radio_ag.__version__
    assert f'set version = "{radio_ag.__version__}"' in (ROOT / "recipe/meta.yaml").read_text()


def test_recipe_has_the_bounds_of_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    bounds = {"python" + project["project"]["requires-python"], *project["project"]["dependencies"]}
    run = (ROOT / "recipe/meta.yaml").read_text().partition("  run:\n")[2].partition("\n\n")[0]
    assert {line.strip().removeprefix("- ").replace(" ", "") for line in run.splitlines()} == {
        bound.replace("torch", "pytorch") for bound in bounds
    }


def test_types_are_published():
    assert importlib.resources.files("radio_ag").joinpath("py.typed").is_file()


def test_console_script_is_the_command_line():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="radio-ag")
    from radio_ag.cli import main

    assert script.load() is main


def test_flags_page_is_that_of_the_registry():
    page = runpy.run_path(str(ROOT / "docs" / "make_flags.py"))["page"]()
    assert (ROOT / "docs" / "flags.md").read_text() == page
    assert all(flag.name in page for flag in Flag)


def test_every_folder_and_file_of_the_package_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name: ROOT / folder for name, folder in settings["package-dir"].items()}
    assert set(settings["packages"]) == set(folders)
    found = [path for top in ("radio_ag", "catalog_io", "cli", "weights") for path in (ROOT / top).rglob("*")]
    found = [path for path in found if path.is_file() and path.parent.name != "__pycache__"]
    assert {path.parent for path in found} == set(folders.values())
    data = {path for name, globs in settings["package-data"].items() for g in globs for path in folders[name].glob(g)}
    assert {path for path in found if path.suffix != ".py"} == data


def test_every_dependency_is_pinned():
    def names(path: Path) -> set[str]:
        lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
        return {line.partition("==")[0] for line in lines if line}

    required = {
        requirement.partition(">=")[0].lower()
        for requirement in importlib.metadata.requires("radio-ag")
        if not requirement.startswith("radio-ag")
    }
    assert required <= names(ROOT / "constraints.txt")
