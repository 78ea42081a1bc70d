"""Labels that people gave: their file, other formats, votes, and what becomes of several for one source."""

import json
import os

import numpy as np
import pytest
from astropy.table import Table

from radio_ag.errors import InputError, OutputError
from radio_ag.labelled.labels import Labels, LabelsFile

NAMES = ["J000001.0+000001", 'a "quoted", name', ""]


@pytest.fixture
def labels():
    return Labels.of(
        {
            "name": NAMES,
            "source": [0, 2, 7],
            "ra": [1.25, 359.875, np.nan],
            "dec": [-1.5, 0.0, np.nan],
            "label": ["FRI", "bent", "junk"],
            "confidence": [1.0, 0.5, 0.75],
            "note": ["", "two, or one?", "ü"],
            "who": ["anna", "anna", ""],
            "when": ["2026-01-02T03:04:05Z", "", ""],
        }
    )


def same(first, second):
    return json.dumps(first.records()) == json.dumps(second.records())


def test_a_file_gives_back_what_was_written(labels, tmp_path):
    path = labels.write(tmp_path / "labels.ecsv")
    assert same(Labels.read(path), labels)
    table = Table.read(path, format="ascii.ecsv")
    assert table.colnames == ["name", "source", "ra", "dec", "label", "confidence", "note", "who", "when"]
    assert table["ra"].unit == "deg"
    with pytest.raises(OutputError, match="exists"):
        labels.write(path)


def test_labels_without_rows_are_a_file(labels, tmp_path):
    assert len(Labels.read(labels[:0].write(tmp_path / "none.ecsv"))) == 0


def test_plain_csv_with_a_column_of_labels(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(
        b"\xef\xbb\xbfid,RA,Dec,fr_class,Confidence\r\n007,10.5,-3,FRI,certain\r\n8,11,4,,\r\n9,,,FRII,uncertain\r\n"
    )
    read = Labels.read(path)
    assert read.name.tolist() == ["007", "9"]
    assert read.label.tolist() == ["FRI", "FRII"]
    assert read.confidence.tolist() == [1.0, 0.5]
    assert read.ra[0] == 10.5
    assert np.isnan(read.ra[1])
    path.write_text("name,first,second\na,FRI,bent\n")
    assert Labels.read(path, label_col="second").label.tolist() == ["bent"]


def test_a_fits_table_goes_in(tmp_path):
    Table({"name": ["a", "b"], "class": ["FRI", "x"]}).write(tmp_path / "labels.fits")
    assert Labels.read(tmp_path / "labels.fits").label.tolist() == ["FRI", "x"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,size\na,3\n", "no column of labels"),
        ("name,label\na\n", "row 2 of the CSV has 1 fields, its header 2"),
        ("size,label\n1,FRI\n", "need a column name, or ra and dec"),
        ("name,label,confidence\na,FRI,sure\n", "row 1: confidence must be a number or certain, uncertain, not 'sure'"),
        ("name,label,confidence\na,FRI,1.5\n", "row 1: a confidence is above 0 and at most 1, not 1.5"),
        ("name,ra,dec,label\n,200,100,FRI\n", "row 1 tells no source"),
        ("", "no column of labels"),
        ("{", "is no JSON"),
        ("[{}]", "has no list of annotations"),
    ],
)
def test_what_cannot_be_labels_is_named(tmp_path, text, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        Labels.read(path)
    assert str(error.value).startswith("bad.csv: ")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv cannot be read"):
        Labels.read(tmp_path / "none.csv")


def test_sources_are_matched_by_name_then_by_place(labels):
    names = ["x", NAMES[1], "y"]
    place = labels.match(names, [1.25 + 1.5 / 3600, 20, 1.25 + 1.9 / 3600], [-1.5, 20, -1.5])
    assert place.tolist() == [0, 1, -1]
    assert labels.match(names, [1.25 + 2.5 / 3600, 20, np.nan], [-1.5, 20, np.nan]).tolist() == [-1, 1, -1]


def test_votes_are_joined_by_their_weight():
    votes = Labels.of(
        {
            "name": ["a", "a", "a", "b", "b", "", "", ""],
            "ra": [np.nan] * 5 + [10, 10 + 1 / 3600, 10.1],
            "dec": [np.nan] * 5 + [0, 0, 0],
            "label": ["FRI", "FRII", "FRI", "FRI", "FRII", "bent", "bent", "junk"],
            "confidence": [1, 0.5, 0.5, 1, 1, 0.5, 1, 0.25],
        }
    )
    joined, undecided = votes.consensus()
    assert joined.label.tolist() == ["FRI", "bent", "junk"]
    assert joined.confidence.tolist() == [0.75, 1.0, 0.25]
    assert undecided == ["b"]


def test_a_zooniverse_export(tmp_path):
    rows = Table(
        {
            "user_name": ["u1", "u2", "u3"],
            "created_at": ["2020-01-01 00:00:00 UTC"] * 3,
            "annotations": [
                json.dumps([{"task": "T0", "task_label": "Which?", "value": value}, {"task": "T1", "value": ["x"]}])
                for value in ("FRI", "FRII", "FRI")
            ],
            "subject_data": [
                json.dumps({str(number): {"#name": name, "!RA": "12.5", "dec": "-3.25", "retired": None}})
                for number, name in ((5, "J1"), (5, "J1"), (6, ""))
            ],
        }
    )
    rows.write(tmp_path / "export.csv", format="ascii.csv")
    read = Labels.read(tmp_path / "export.csv")
    assert read.name.tolist() == ["J1", "J1", "6"]
    assert read.label.tolist() == ["FRI", "FRII", "FRI"]
    assert read.who.tolist() == ["u1", "u2", "u3"]
    assert read.ra.tolist() == [12.5] * 3
    assert read.dec.tolist() == [-3.25] * 3
    with pytest.raises(InputError, match="there is no task 'T1' with one answer; there are T0"):
        Labels.read(tmp_path / "export.csv", task="T1")


def test_of_several_tasks_one_is_named(tmp_path):
    answers = [{"task": "T0", "value": "yes"}, {"task": "T2", "value": "bent"}]
    (tmp_path / "e.json").write_text(json.dumps([{"annotations": answers, "subject": {"name": "a"}}]))
    with pytest.raises(InputError, match=r"name the task .*: T0, T2"):
        Labels.read(tmp_path / "e.json")
    assert Labels.read(tmp_path / "e.json", task="T2").label.tolist() == ["bent"]


def test_radio_galaxy_zoo_counts_the_components_of_a_source(tmp_path):
    def line(sources, name):
        answers = [{"radio": {str(n): {"xmax": "1"} for n in range(count)}, "ir": {}} for count in sources]
        subjects = [{"zooniverse_id": name, "coords": [200.5, 30.25]}]
        return json.dumps({"annotations": [*answers, {"user_agent": "x"}], "subjects": subjects, "user_name": "u"})

    lines = [line([2], "ARG1"), line([1], "ARG2"), line([1, 2], "ARG3"), line([7], "ARG4")]
    (tmp_path / "rgz.json").write_text("\n".join(lines))
    read = Labels.read(tmp_path / "rgz.json")
    assert read.name.tolist() == ["ARG1", "ARG2", "ARG4"]  # of ARG3 it is not told which source is meant
    assert read.label.tolist() == ["double", "single", "7"]
    assert read.ra.tolist() == [200.5] * 3


def test_a_labels_file_is_whole_after_each_label(tmp_path):
    path = tmp_path / "labels.ecsv"
    file = LabelsFile(path)
    record = {"name": "a", "source": 1, "ra": 1.0, "dec": 2.0, "label": "FRI", "confidence": 0.5, "when": "2026-01-01"}
    file.put([record])
    inode = os.stat(path).st_ino
    file.put([{**record, "name": "b", "label": "junk"}])
    assert os.stat(path).st_ino != inode  # replaced, never written over
    assert Labels.read(path).label.tolist() == ["FRI", "junk"]
    again = LabelsFile(path)
    again.put([{**record, "label": "FRII", "when": "2026-01-02"}])
    again.put([{**record, "label": "old", "when": "2025-01-01"}])
    assert Labels.read(path).label.tolist() == ["FRII", "junk"]
    again.put([{**record, "label": "", "when": "2026-01-03"}])
    assert Labels.read(path).name.tolist() == ["b"]
    before = path.read_bytes()
    for wrong in ({**record, "confidence": 2}, {**record, "ra": "x"}, {**record, "note": 3}, {"label": "x"}, "text"):
        with pytest.raises(InputError):
            again.put([{**record, "name": "c"}, wrong])
    assert path.read_bytes() == before
    assert len(again.records()) == 1
