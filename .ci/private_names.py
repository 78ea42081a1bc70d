#!/usr/bin/env python3
"""Check that nothing takes a private name of another folder: ``from radio_ag.network.orbit import _turn``.

A private module's public names belong to its folder too; tests, benchmarks and examples are folders like others.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
OF_NAMED_TUPLES = {"_asdict", "_fields", "_field_defaults", "_make", "_replace"}  # public, and named so by Python
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]


def is_private(name: str) -> bool:
    """Return whether a name belongs to its folder alone."""
    return name.startswith("_") and not name.startswith("__") and name not in OF_NAMED_TUPLES


def imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, local name and full name of what a module imports from the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "radio_ag":
            yield from ((node.lineno, name.asname or name.name, f"{node.module}.{name.name}") for name in node.names)
        elif isinstance(node, ast.Import):
            names = [name for name in node.names if name.name.partition(".")[0] == "radio_ag"]
            yield from ((node.lineno, name.asname or name.name, name.name) for name in names)


def taken(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of each private thing of the package that a module imports or looks into."""
    local = {}
    for line, name, full in imports(tree):
        local[name] = full
        yield line, full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in local:
            yield node.lineno, f"{local[ast.unparse(node.value)]}.{node.attr}"


def folder_of(full: str) -> str:
    """Return the longest package that a full name lies in."""
    return max((package for package in PACKAGES if f"{full}.".startswith(f"{package}.")), key=len)


def main() -> int:
    """Print each private name that is taken from another folder."""
    own = {ROOT / folder: package for package, folder in PACKAGES.items()}
    found = 0
    for top in (*{Path(folder).parts[0] for folder in PACKAGES.values()}, "tests", "benchmarks", "examples", "docs"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for line, full in taken(ast.parse(path.read_text())):
                if any(map(is_private, full.split("."))) and own.get(path.parent) != folder_of(full):
                    print(f"{path.relative_to(ROOT)}:{line}: {full} is private to {folder_of(full)}")
                    found += 1
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
