"""Outputs: where nothing may be written, and what a killed process leaves behind."""

import os
import subprocess
import sys

import pytest
from result_examples import example_result
from run_examples import CARD
from typer.testing import CliRunner

from radio_ag.catalog_io.export.page import write_page
from radio_ag.catalog_io.finding.output import check_sources_output
from radio_ag.catalog_io.product import fits, parquet
from radio_ag.cli import app
from radio_ag.errors import OutputError
from radio_ag.evaluation.report import output_files
from radio_ag.network.checkpoints import save_weights
from radio_ag.network.model import AGCNN, Architecture
from radio_ag.writing import check_output, folder_beside, written_beside

WRITERS = {
    "product": lambda path: example_result(1).write(path, overwrite=True),
    "product check": lambda path: fits.Fits().check_output(path, True),
    "parquet check": lambda path: parquet.Parquet().check_output(path, True),
    "csv": lambda path: example_result(1).export(path, "csv", overwrite=True),
    "regions": lambda path: example_result(1).export(path, "ds9", overwrite=True),
    "cutouts": lambda path: example_result(1).export(path, "cutouts", images="none", overwrite=True),
    "page": lambda path: write_page(example_result(1), path, images="none", overwrite=True),
    "found sources": lambda path: check_sources_output(path.with_suffix(".csv"), overwrite=True),
    "evaluation": lambda path: output_files(path.with_suffix(""), overwrite=True),
    "weights": lambda path: save_weights(path, [AGCNN(Architecture())], CARD, overwrite=True),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_no_regular_file_is_never_replaced(writer, tmp_path):
    path = tmp_path / "out.ecsv"
    for name in ("out.ecsv", "out.csv"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(OutputError, match="is no regular file, and will not be replaced"):
        WRITERS[writer](path)
    assert sorted(os.listdir(tmp_path)) == ["out.csv", "out.ecsv"]
    assert path.is_fifo()


@pytest.mark.parametrize("name", ["/dev/full", "/dev/null", "/dev/stdout"])
def test_devices(name, tmp_path):
    os.symlink(name, tmp_path / "link.fits")
    for path in (name, tmp_path / "link.fits"):
        if not os.path.isfile(path):  # the standard output of a test may be a file
            with pytest.raises(OutputError, match="is no regular file"):
                check_output(path, overwrite=True)


def test_the_folder_of_parts_is_no_product(tmp_path):
    (tmp_path / "a.csv").write_text("ra,dec\n1,2\n")
    for options in ([], ["--format", "parquet"]):
        command = ["classify", str(tmp_path / "a.csv"), "-o", str(tmp_path / "x.parts"), *options]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert "has the name of the folder for the run's parts" in done.stderr
    assert os.listdir(tmp_path) == ["a.csv"]


def test_maps_beside_a_data_set_are_not_replaced_unless_asked(tmp_path):
    (tmp_path / "x.attention.fits").write_text("precious")
    with pytest.raises(OutputError, match=r"x\.attention\.fits exists"):
        parquet.Parquet().check_output(tmp_path / "x.parquet")
    parquet.Parquet().check_output(tmp_path / "x.parquet", overwrite=True)


KILLED = """
import os, signal, sys
from pathlib import Path
from radio_ag.writing import folder_beside, written_beside
with {function}(Path(sys.argv[1])) as opened:
    (opened / "a").write_text("half") if {function} is folder_beside else opened.write(b"half")
    print(flush=True)
    {then}
"""


@pytest.mark.parametrize("function", [written_beside, folder_beside])
def test_what_a_killed_process_has_left_goes_with_the_next_output(function, tmp_path):
    def start(then, path):
        code = KILLED.format(function=function.__name__, then=then)
        return subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    killed = start("os.kill(os.getpid(), signal.SIGTERM)", tmp_path / "out")
    killed.communicate()
    left = os.listdir(tmp_path)
    assert len(left) == 1
    for path in ("other", "out"):
        with function(tmp_path / path):
            pass
        assert (left[0] in os.listdir(tmp_path)) == (path == "other")
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]
    working = start("sys.stdin.read()", tmp_path / "out")
    working.stdout.readline()
    (left,) = set(os.listdir(tmp_path)) - {"other", "out"}
    with function(tmp_path / "out"):
        assert left in os.listdir(tmp_path)  # it is not left behind: its process is at work
    working.communicate()
    assert working.returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]
