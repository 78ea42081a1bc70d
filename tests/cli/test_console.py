"""What the terminal shows while a command works, and how numbers are printed."""

import json

import pytest

from radio_ag.cli.console import print_attention, print_json, reporting


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
