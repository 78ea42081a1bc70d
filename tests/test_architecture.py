"""The pages about the code name what is there: modules, imports that the contract allows, tests."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = (ROOT / "docs" / "architecture.md").read_text()
TRUST = (ROOT / "docs" / "trust.md").read_text()
FOLDERS = ("radio_ag", "catalog_io", "cli", "weights", "tests", "benchmarks")
PATHS = sorted(set(re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w/.]*)`", HOUSE)))
ARROWS = re.findall(r"^ *(\w+)(?:\[.*?\])? --> (\w+)", HOUSE, re.MULTILINE)


def contract() -> dict:
    """Return the contract of the rooms in ``pyproject.toml``."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["type"] == "rooms")


def rooms() -> dict[str, set[str]]:
    """Return what each room may import, but for what all may."""
    return {room: set(names.split()) for room, _, names in (line.partition(":") for line in contract()["rooms"])}


def full_name(node: str) -> str:
    """Return the room that a box of the picture stands for."""
    (label,) = re.findall(rf'\b{node}\["(?:radio_ag/)?([\w/]+)', HOUSE)
    return label.replace("/", ".")


@pytest.mark.parametrize("path", PATHS)
def test_what_the_house_names_is_there(path):
    assert (ROOT / path).exists()


def test_every_folder_of_the_package_is_in_the_picture():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {package.removeprefix("radio_ag.") for package in packages} - {"radio_ag", "catalog_io"}
    drawn = {full_name(node) for arrow in ARROWS for node in arrow}
    assert drawn <= set(rooms())
    assert {folder for folder in folders if ".page" not in folder} <= drawn


@pytest.mark.parametrize(("importer", "imported"), ARROWS)
def test_arrows_are_imports_that_the_contract_allows(importer, imported):
    assert rooms()[full_name(importer)] & {"*", full_name(imported)}


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)+)`", TRUST))))
def test_tests_that_hold_a_promise_are_there(test):
    path, *names = test.split("::")
    body = ast.parse((ROOT / path).read_text()).body
    for name in names:
        (found,) = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
        body = found.body


def test_every_promise_names_a_test():
    promises, _, _ = TRUST.partition("\n## What is not promised")
    points = re.findall(r"^- .*?(?=^- |^## |\Z)", promises, re.MULTILINE | re.DOTALL)
    assert len(points) > 10
    assert [point for point in points if "`tests/" not in point] == []
