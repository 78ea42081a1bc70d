"""From parts to the product: what is said of a run that lacks images, and what is left of one that was stopped."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
from astropy.io import fits
from astropy.table import Table
from run_examples import Doubles, classify, data_units, failed_rows, positions

from radio_ag import Result
from radio_ag.errors import IncompleteWarning
from radio_ag.flags import Flag

ROWS = 14
OPTIONS = {"device": "cpu", "orbit": 1, "threads": 1, "batch": 16, "chunk": 3}


@pytest.mark.parametrize("name", ["out.fits", "out.parquet", None])
@pytest.mark.parametrize(("max_failed", "incomplete"), [(0.1, True), (0.9, False), (1, False)])
def test_a_run_that_lacks_too_many_images_is_incomplete(weights, tmp_path, name, max_failed, incomplete):
    output = name and tmp_path / name
    options = OPTIONS | {"weights": weights, "output": output, "attention": "none", "max_failed": max_failed}
    failing = frozenset(positions(ROWS)["ra"][:6].tolist())
    with pytest.warns(IncompleteWarning) if incomplete else nullcontext():
        result = classify(positions(ROWS), images=Doubles(failing), **options)
    failed = failed_rows(result.table)
    assert failed > 3
    assert result.incomplete == incomplete * failed
    if name is None:
        return
    assert Result.read(output).incomplete == incomplete * failed
    assert (tmp_path / "out.parts").is_dir() == incomplete
    if name == "out.fits":
        header = fits.getheader(output)
        assert header.get("INCOMPLE", 0) == incomplete * failed
    if incomplete:
        images = Doubles()
        result = classify(positions(ROWS), images=images, resume=True, **options)
        assert result.incomplete == Result.read(output).incomplete == failed_rows(result.table) == 0
        assert failing.issuperset(images.asked) or len(images.asked) < ROWS
        assert set(os.listdir(tmp_path)) == {name, *(["out.sources.parquet"] if name == "out.parquet" else [])}


def test_the_number_is_known_before_the_table_is_made(weights, tmp_path, monkeypatch):
    failing = frozenset(positions(ROWS)["ra"].tolist()[:6])
    options = OPTIONS | {"weights": weights, "output": tmp_path / "o.fits"}
    with pytest.warns(IncompleteWarning):
        result = classify(positions(ROWS), images=Doubles(failing), **options)
    monkeypatch.setattr("radio_ag.run.result_table", None)
    assert result.incomplete > 0


STOPPED = """
import os, signal, sys
import radio_ag.catalog_io.product.fits as product
from run_examples import Doubles, classify, positions
product._append_images = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
classify(positions({rows}), images=Doubles(), weights=sys.argv[1], output=sys.argv[2], attention="hdus", **{options})
"""


def test_a_run_that_is_stopped_while_it_joins_leaves_its_parts_alone(weights, tmp_path):
    def run(output):
        classify(positions(ROWS), images=images, weights=weights, output=output, attention="hdus", **OPTIONS)

    code = STOPPED.format(rows=ROWS, options=OPTIONS)
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    output = tmp_path / "out.fits"
    stopped = subprocess.run([sys.executable, "-c", code, weights, output], env=environment, cwd=tmp_path)
    assert stopped.returncode == -signal.SIGTERM
    assert os.listdir(tmp_path) == ["out.parts"]
    assert any(name.endswith(".part") for name in os.listdir(tmp_path / "out.parts"))
    images = Doubles()
    run(output)
    assert images.asked == []
    assert os.listdir(tmp_path) == ["out.fits"]
    run(tmp_path / "expected.fits")
    assert data_units(output) == data_units(tmp_path / "expected.fits")


def test_a_source_wider_than_its_image_is_truncated(weights):
    """A catalogue's own sources of two and three components, 200 and 400 arcsec apart: 270 arcsec are seen."""
    table = Table({"name": ["a", "a", "b", "b", "b", "c"], "dec": [-100, 100, -200, 0, 200, 0]})
    table["ra"] = [170, 170, 172, 172, 172, 174.0]
    table["dec"] = table["dec"] / 3600
    result = classify(table, images=Doubles(), weights=weights, group_col="name", **OPTIONS)
    truncated = (result.sources["flags"] & Flag.TRUNCATED) != 0
    alone = classify(
        Table({"ra": [170.0, 172.0, 174.0], "dec": [0.0] * 3}), images=Doubles(), weights=weights, **OPTIONS
    )
    expected = (alone.table["flags"] & Flag.TRUNCATED) != 0
    assert not expected[1]
    assert truncated.tolist() == [expected[0], True, expected[2]]
