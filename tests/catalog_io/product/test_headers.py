"""Provenance: what a product says of the software that made it."""

import ast
import importlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from radio_ag.catalog_io.product.headers import software_versions


@cache
def imported_names():
    """First names of all that the package's modules import, wherever in them."""
    names = set()
    for package in ("radio_ag", "radio_ag.catalog_io", "radio_ag.cli"):
        folder = Path(importlib.import_module(package).__file__).parent
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names.update(alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names.add(node.module.partition(".")[0])
    return names


PACKAGES = dict(text.split(" ") for text in software_versions()["packages"].split(", "))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_named_is_imported(name):
    assert name in imported_names()
    assert PACKAGES[name] == version(name)


def test_what_the_numbers_come_from_is_named():
    assert {"numpy", "scipy", "astropy", "torch", "photutils"} <= PACKAGES.keys()
    assert "reproject" not in imported_names()
