"""The snippets of the README run as printed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SOURCES_PAGE = (Path(__file__).parents[1] / "docs" / "sources.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", README, re.DOTALL))


@pytest.fixture
def folder(sky, tmp_path) -> Path:
    """A folder with the files that the snippets name."""
    shutil.copy(sky / "mosaic.fits", tmp_path)
    shutil.copy(sky / "catalogue.csv", tmp_path / "catalog.csv")
    return tmp_path


def test_there_are_snippets():
    assert set(SNIPPETS) == {"pipeline", "tables"}


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet_runs(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(SNIPPETS[name], name, "exec"), {"__name__": "__main__"})
    assert (folder / "classes.fits").exists()


def test_recipe_that_counts_frii_runs(folder, monkeypatch, capsys):
    (snippet,) = re.findall(r"<!-- test: count -->\n```python\n(.*?)```", SOURCES_PAGE, re.DOTALL)
    monkeypatch.chdir(folder)
    exec(compile(snippet, "count", "exec"), {"__name__": "__main__"})
    printed = re.fullmatch(r"(\d+) FRII above 10 mJy \(95 %: (\d+) to (\d+)\)\n", capsys.readouterr().out)
    assert printed
    number, low, high = map(int, printed.groups())
    assert low <= number <= high


def test_command_line_of_the_readme_runs(folder):
    lines = re.findall(r"^(radio-ag classify .*?) +#", README, re.MULTILINE)
    local = next(line for line in lines if "--images" in line)
    script = Path(sys.executable).with_name("radio-ag")
    done = subprocess.run([script, *local.split()[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "catalog.radio-ag.fits").exists()


def test_make_targets_of_the_readme_exist():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
