"""Standard input and output in place of files."""

import io
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from radio_ag.cli.classify import default_output
from radio_ag.cli.streams import STREAM, as_file, to_file


def test_standard_input_is_kept_in_a_file(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"ra,dec\n")))
    with as_file(STREAM) as path:
        assert path.read_bytes() == path.read_bytes() == b"ra,dec\n"
    assert not path.exists()


def test_a_pipe_is_kept_in_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"ra,dec\n",))
    writer.start()
    with as_file(pipe) as path:
        assert path.read_bytes() == b"ra,dec\n"
    writer.join()


def test_a_file_stays_itself(tmp_path):
    with as_file(tmp_path / "a.csv") as path, to_file(tmp_path / "b.csv", ".csv") as written:
        assert (path, written) == (tmp_path / "a.csv", tmp_path / "b.csv")


def test_what_is_written_goes_to_standard_output(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    with to_file(Path("-"), ".csv") as path:
        path.write_bytes(b"a,b\n")
    assert out.getvalue() == b"a,b\n"


def test_what_is_piped_in_has_no_place_beside_it():
    with pytest.raises(typer.BadParameter, match="--output is needed"):
        default_output(STREAM)
