"""What the terminal shows while a command works, and how numbers are printed."""

import contextlib
import io
import json
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer

from radio_ag.cli.console import (
    check_answered,
    lost_output,
    print_attention,
    print_error,
    print_json,
    print_summary,
    reporting,
    secure_streams,
)
from radio_ag.errors import IncompleteWarning, OutputError, RadioAGWarning

SUMMARY = {"sources": 2, "rows": 2, "classes": {"FRI": 1, "FRII": 0, "none": 1}, "flags": {"BLANKED": 1}}
ODD = "größte → [/b] :smile: \udcff.fits"


def write_everything():
    """All that a command prints, with a file name that few encodings have."""
    with reporting(verbose=True) as progress:
        progress(2, 2, {"FRI": 1})
        warnings.simplefilter("always")
        warnings.warn(ODD, RadioAGWarning, stacklevel=1)
    print_summary(SUMMARY, ODD, 1.0)
    print_json({"path": ODD})
    print_error(ODD)
    typer.echo(ODD)


@pytest.fixture
def redirect(monkeypatch):
    """Make stdout or stderr go to a file or a descriptor, as if Python had opened it so."""
    streams = []

    def redirect(name, target, encoding="utf-8"):
        streams.append(io.TextIOWrapper(open(target, "wb"), encoding))  # noqa: SIM115 - closed below
        monkeypatch.setattr(sys, name, streams[-1])

    yield redirect
    for stream in streams:
        with contextlib.suppress(OSError):
            stream.close()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252", "koi8-r"])
def test_any_text_is_printed_in_any_encoding(encoding, tmp_path, redirect):
    paths = [tmp_path / "out", tmp_path / "err"]
    for name, path in zip(("stdout", "stderr"), paths, strict=True):
        redirect(name, path, encoding)
    secure_streams()
    write_everything()
    check_answered()
    out, err = (path.read_bytes().decode("utf-8" if encoding == "ascii" else encoding) for path in paths)
    assert "[/b] :smile:" in out
    assert json.loads(out[out.index("{") : out.index("}") + 1]) == {"path": ODD}
    assert "\nradio-ag: error: gr" in err
    assert ODD.encode(encoding, "backslashreplace").decode(encoding) in err or encoding == "ascii"


@pytest.mark.parametrize("kind", ["full", "gone", "closed"])
def test_what_nobody_takes_is_no_error(kind, redirect, monkeypatch):
    """No room on the disk, a reader that went away, and streams that were closed from the start."""
    for name in ("stdout", "stderr"):
        if kind == "full":
            redirect(name, "/dev/full")
        elif kind == "gone":
            read, write = os.pipe()
            os.close(read)
            redirect(name, write)
        else:
            monkeypatch.setattr(sys, name, None)
    secure_streams()
    write_everything()
    sys.stdout.flush()
    sys.stderr.flush()
    if kind != "full":
        assert lost_output() is None
        check_answered()  # a reader may have had enough
    else:
        assert lost_output() == "No space left on device"
        with pytest.raises(OutputError, match="standard output cannot be written: No space left on device"):
            check_answered()


def test_a_stream_that_has_no_room_for_a_moment_is_waited_for(redirect):
    read, write = os.pipe()
    os.set_blocking(write, False)
    redirect("stdout", write)
    secure_streams()
    text = "0123456789" * 50_000  # more than a pipe holds
    with ThreadPoolExecutor(1) as pool, os.fdopen(read, "rb") as reader:
        coming = pool.submit(lambda: reader.read(len(text)))
        sys.stdout.write(text)
        sys.stdout.flush()
        assert coming.result(timeout=30) == text.encode()


def test_why_a_command_ends_with_an_exit_code_is_said_as_an_error(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with reporting(quiet=True):
            warnings.warn("2 of 9 rows have no image", IncompleteWarning, stacklevel=1)
            warnings.warn("never mind", RadioAGWarning, stacklevel=1)
    assert capsys.readouterr().err == "radio-ag: error: 2 of 9 rows have no image\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_says_what_is_being_done(terminal, monkeypatch, capsys):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the stream for a terminal
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    with reporting(doing="writing the page") as progress:
        progress(9, 9, {})
    shown = capsys.readouterr().err
    assert ("━" in shown) == terminal
    assert "writing the page" in shown
    assert "classifying" not in shown


def test_numbers_that_are_not_finite_are_null_in_json(capsys):
    print_json({"rows": 3, "medians": [{"a": float("nan"), "b": 0.5}, (float("inf"), None, True, "NaN")]})
    read = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert read == {"rows": 3, "medians": [{"a": None, "b": 0.5}, [None, None, True, "NaN"]]}


def test_medians_are_printed_by_class_and_by_network_where_there_are_several(capsys):
    names = ("emission_enrichment", "halo_enrichment", "emission_offset", "centre_offset", "gate_agreement")
    line = {"class": "FRII", "sources": 7} | {f"{name}_median": 1.25 + k for k, name in enumerate(names)}
    print_attention([line])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["FRII", "│", "7"] + [
        part for k in range(5) for part in ("│", f"{1.25 + k:.2f}")
    ]
    print_attention([{"weights": "mine", **line}])
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["mine", "│", "FRII"]
