"""``radio-ag labels``: conversion, comparison and merge from the command line."""

import json

import pytest
from typer.testing import CliRunner

from radio_ag.cli import app
from radio_ag.labelled.labels import Labels


def invoke(*args):
    return CliRunner().invoke(app, ["labels", *map(str, args)])


@pytest.fixture
def files(tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("name,label,confidence\n" + "".join(f"s{n},{'FRI' if n < 5 else 'FRII'},0.5\n" for n in range(10)))
    second.write_text("name,label,confidence\n" + "".join(f"s{n},{'FRI' if n < 6 else 'FRII'},1\n" for n in range(10)))
    return first, second


def test_compare_prints_agreement_and_kappa(files):
    told = invoke("compare", *files)
    assert told.exit_code == 0, told.output
    assert "sources in both: 10; in one alone: 0, 0" in told.stdout
    assert "agreement: 0.900 (95 %: 0.596 to 0.982)" in told.stdout
    assert "Cohen's kappa: 0.800 (95 %" in told.stdout
    assert "differing: s5" in told.stdout
    figures = json.loads(invoke("compare", *files, "--json").stdout)
    assert figures["kappa"] == pytest.approx(0.8)
    assert figures["table"] == [[5, 0], [1, 4]]


def test_merge_writes_one_file_or_refuses(files, tmp_path):
    refused = invoke("compare", *files, "--merge", "refuse", "-o", tmp_path / "m.ecsv")
    assert refused.exit_code == 2
    assert "labels differ for 1 of 10 sources: s5" in refused.stderr
    assert not (tmp_path / "m.ecsv").exists()
    assert invoke("compare", *files, "--merge", "confidence", "-o", tmp_path / "m.ecsv").exit_code == 0
    assert Labels.read(tmp_path / "m.ecsv").label.tolist() == ["FRI"] * 6 + ["FRII"] * 4
    assert invoke("compare", *files, "--merge", "confidence").exit_code == 2


def test_convert_takes_the_majority_and_says_what_it_leaves_out(tmp_path):
    (tmp_path / "votes.csv").write_text("name,label\na,FRI\na,FRII\na,FRI\nb,FRI\nb,FRII\n")
    done = invoke("convert", tmp_path / "votes.csv", "-o", tmp_path / "labels.ecsv")
    assert done.exit_code == 0, done.output
    assert "left out for two labels with as many votes: 1 (b)" in done.stderr
    read = Labels.read(tmp_path / "labels.ecsv")
    assert (read.name.tolist(), read.label.tolist()) == (["a"], ["FRI"])
    assert read.confidence[0] == pytest.approx(2 / 3)
    invoke("convert", tmp_path / "votes.csv", "-o", tmp_path / "all.ecsv", "--votes")
    assert len(Labels.read(tmp_path / "all.ecsv")) == 5
