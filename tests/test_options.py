"""The option records: what they take, that command line and docs say the same, and what a type checker sees."""

import dataclasses
import importlib
import inspect
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

import radio_ag
import radio_ag.pipeline
from radio_ag import CatalogueOptions, ImageOptions, RunOptions
from radio_ag.catalog_io.product.fits import ATTENTION_MODES
from radio_ag.catalog_io.product.formats import FORMATS
from radio_ag.cli import app
from radio_ag.errors import InputError
from radio_ag.inputs import open_source
from radio_ag.options import AttentionMode, declared

ROOT = Path(__file__).parents[1]
RECORDS = CatalogueOptions, ImageOptions, RunOptions


def test_classify_has_at_most_fifteen_keywords():
    keywords = list(inspect.signature(radio_ag.classify).parameters.values())[1:]
    assert all(keyword.kind is keyword.KEYWORD_ONLY for keyword in keywords)
    assert len(keywords) <= 15


@pytest.mark.parametrize("record", RECORDS)
def test_records_are_frozen_and_know_their_fields(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        record().anything = 1
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        record(nonsense=3)
    for field in declared(record):
        assert field.option.help.endswith(".")
        assert f"{field.name} : {field.type_in_words}\n    {field.option.help}" in record.__doc__
    assert hash(record()) == hash(record())


def test_unknown_keywords_are_type_errors():
    with pytest.raises(TypeError, match="unexpected keyword argument 'chunk'"):
        radio_ag.classify("catalog.fits", chunk=3)


@pytest.mark.parametrize(
    ("record", "name", "value", "message"),
    [
        (RunOptions, "max_failed", 10, "max_failed must be from 0 to 1, not 10"),
        (RunOptions, "max_failed", float("nan"), "max_failed must be from 0 to 1, not nan"),
        (RunOptions, "chunk", 0, "chunk must be 1 or more, not 0"),
        (RunOptions, "threads", "two", "threads must be 1 or more, not 'two'"),
        (ImageOptions, "connections", 0, "connections must be 1 or more, not 0"),
        (ImageOptions, "timeout", -1, "timeout must be 0 or more, not -1"),
        (CatalogueOptions, "threshold", -5, "threshold must be 0 or more, not -5"),
    ],
)
def test_bounds_are_those_of_the_declaration(record, name, value, message):
    with pytest.raises(InputError) as caught:
        record(**{name: value})
    assert str(caught.value) == message


def test_resume_and_restart_exclude_each_other():
    with pytest.raises(InputError, match="leave one out"):
        RunOptions(resume=True, restart=True)


def test_an_image_source_is_told_what_is_not_the_default():
    assert ImageOptions().keywords() == {}
    given = ImageOptions(cache=False, rate=2.0, extra={"retries": 0})
    assert given.keywords() == {"cache": False, "rate": 2.0, "retries": 0}


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (
            "mosaic.fits",
            ImageOptions(cache=False, rate=2.0),
            r"cache \(--no-cache\), rate \(--rate\): options of a survey",
        ),
        ("first", ImageOptions(verify_images=True), r"verify_images \(--verify-images\): for images of your own"),
        (None, ImageOptions(beam_scaled=True), r"FIRST's needs no scaling"),
    ],
)
def test_options_that_mean_nothing_with_such_images_are_refused(images, options, message):
    with pytest.raises(InputError, match=message):
        open_source(images, options)


def test_the_command_has_every_option_with_its_default():
    parameters = {parameter.name: parameter for parameter in get_command(app).commands["classify"].params}
    for record in RECORDS:
        for field in declared(record):
            name = field.flag[2:].replace("-", "_")
            if field.option.panel is None:
                assert name not in parameters
                continue
            parameter = parameters[name]
            assert "/".join(parameter.opts + parameter.secondary_opts) == field.flags
            assert parameter.help == (field.option.off or field.option.help)
            default = getattr(record(), field.name)
            assert parameter.default == (not default if field.option.off else default)


@pytest.mark.parametrize(
    ("given", "verify"), [([], None), (["--verify-images"], True), (["--no-verify-images"], False)]
)
def test_sums_of_images_are_checked_as_asked(given, verify):
    parsed = get_command(app).commands["classify"].make_context("classify", ["catalogue.csv", *given])
    assert parsed.params["verify_images"] is verify
    assert ImageOptions(verify_images=verify).keywords() == ({} if verify is None else {"verify_images": verify})


def test_choices_are_those_of_the_product():
    assert get_args(AttentionMode) == ATTENTION_MODES
    (kind,) = (field.kind for field in declared(RunOptions) if field.name == "format")
    assert get_args(kind) == FORMATS


def test_the_page_is_that_of_the_records():
    page = runpy.run_path(str(ROOT / "docs" / "make_options.py"))["page"]()
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == page


SNIPPET = """\
import radio_ag
reveal_type(radio_ag.classify)
reveal_type(radio_ag.classify("x").incomplete)
radio_ag.classify("x", nonsense=3)
radio_ag.classify("x", attention="all")
radio_ag.RunOptions(chunk="many")
from radio_ag.bdsf import classify_bdsf
classify_bdsf(None, orbit=1, nonsense=3)
classify_bdsf(None, attention="all")
from radio_ag.partitions import classify_hats, classify_partition
classify_hats(None, images="mosaics/", output="x.fits")
classify_partition(None, run_options=radio_ag.RunOptions(), group="none")
"""


def test_a_type_checker_sees_the_signature(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "snippet.py").write_text(SNIPPET)
    subprocess.run([ROOT / ".ci" / "one-tree", tmp_path / "tree"], check=True)
    modules = ("__init__", "bdsf", "options", "partitions", "pipeline", "catalog_io/result")
    seen = [f"radio_ag/{name}.py" for name in modules]
    command = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--config-file", ROOT / "pyproject.toml"]
    done = subprocess.run(
        [*command, "--cache-dir", tmp_path / "cache", "../snippet.py", *seen],
        capture_output=True,
        text=True,
        cwd=tmp_path / "tree",
    )
    lines = [line.partition("snippet.py:")[2] for line in done.stdout.splitlines() if "snippet.py:" in line]
    told = {number: "\n".join(line for line in lines if line.startswith(f"{number}:")) for number in range(2, 13)}
    assert 'Revealed type is "def (catalogue: Any, *, images: Any =' in told[2]
    assert "-> radio_ag.catalog_io.result.Result" in told[2]
    assert 'Revealed type is "int"' in told[3].replace("builtins.", "")
    assert 'Unexpected keyword argument "nonsense" for "classify"' in told[4]
    assert 'Argument "attention" to "classify" has incompatible type' in told[5]
    assert 'Argument "chunk" to "RunOptions" has incompatible type "str"' in told[6]
    assert 'Unexpected keyword argument "nonsense" for "classify_bdsf"' in told[8]
    assert 'Argument "attention" to "classify_bdsf" has incompatible type' in told[9]
    assert 'Unexpected keyword argument "output" for "classify_hats"' in told[11]
    assert 'Unexpected keyword argument "group" for "classify_partition"' in told[12]


@pytest.mark.parametrize(("module", "record"), [("bdsf", "BdsfOptions"), ("partitions", "FrameOptions")])
def test_what_other_ways_in_take_is_what_classify_takes(module, record):
    """The same types, as they are written, under the same names."""
    taken = getattr(importlib.import_module(f"radio_ag.{module}"), record).__annotations__
    signature = inspect.signature(radio_ag.pipeline.classify).parameters
    expected = {name: str(signature[name].annotation) for name in taken}
    assert {name: kind.__forward_arg__ for name, kind in taken.items()} == expected
    if module == "bdsf":
        assert set(taken) == set(signature) - {"catalogue"}
