"""The example that puts networks of every kind beside each other, with few of them and nothing learnt."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from radio_ag.network.model import AGGREGATIONS, NORMALISATIONS

EXAMPLE = Path(__file__).parents[2] / "examples" / "attention_variants.py"


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("attention_variants", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_kind_of_network_is_there(example):
    kinds = [(one.normalisation, one.aggregation, one.gates) for one in example.COMBINATIONS.values()]
    assert kinds == [(n, a, 3) for n in NORMALISATIONS for a in AGGREGATIONS]
    assert [one.gates for one in example.GATES.values()] == [0, 1, 2, 3]


def test_the_figures_are_drawn_and_say_that_the_training_was_brief(example, tmp_path, monkeypatch):
    drawn = {}

    def keep(figure: Figure, path, **options):
        drawn[path.name] = figure
        return [path]

    monkeypatch.setattr(example, "COMBINATIONS", dict(list(example.COMBINATIONS.items())[3:5]))
    monkeypatch.setattr(example, "GATES", dict(list(example.GATES.items())[:2]))
    few = example.simulated(8)
    monkeypatch.setattr(example, "simulated", lambda: few)
    monkeypatch.setattr(example.figures, "save_figure", keep)
    monkeypatch.setattr(sys, "argv", ["it", str(tmp_path), "--samples", "8", "--times", "1"])
    example.main()
    assert list(drawn) == ["combinations-FRI", "combinations-FRII", "gates", "means-FRI", "means-FRII"]
    for name, figure in drawn.items():
        assert "networks trained briefly: 8 images each" in figure.get_suptitle(), name
        panels = [panel for panel in figure.axes if panel.get_visible() and panel.images]
        assert len(panels) == {"gates": 6}.get(name, 3 if name.startswith("combinations") else 2)
        maps = [np.asarray(panel.images[0].get_array(), float) for panel in panels[-2:]]
        assert not np.array_equal(*maps, equal_nan=True)
