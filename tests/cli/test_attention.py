"""``radio-ag attention``: what each command writes, and what is refused before the work."""

import sys

import numpy as np
import pytest
from astropy.table import Table
from attention_examples import write_labelled, write_product, write_weights
from matplotlib.figure import Figure
from typer.testing import CliRunner

from radio_ag.attention.augmented import Sources, classification_rates, false_classification_rate, find_outliers
from radio_ag.attention.inside import measure_attention
from radio_ag.attention.statistics import AggregateMaps
from radio_ag.cli import app
from radio_ag.cli.attention_figures import draw_course, output_names
from radio_ag.labelled.data import load_labelled
from radio_ag.network.classifier import Classifier


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def labelled_file(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("labelled") / "few.fits")


@pytest.fixture(scope="module")
def product(tmp_path_factory, weights):
    return write_product(tmp_path_factory.mktemp("product") / "it.fits", weights["a"])


def run(*arguments):
    return CliRunner().invoke(app, ["attention", *map(str, arguments)])


def in_one(data) -> list[Sources]:
    """Labelled sources in one chunk."""
    return [Sources(data.fields, data.label, data.certain)]


def test_outliers_command_lists_what_the_rates_say(labelled_file, weights, tmp_path):
    output = tmp_path / "odd.ecsv"
    done = run("outliers", labelled_file, "-o", output, "-n", 2, "--above", 0.4, "--weights", weights["a"])
    assert done.exit_code == 0, done.output
    table = Table.read(output)
    classifier = Classifier.load(weights["a"], device="cpu")
    data = load_labelled(labelled_file)
    false = false_classification_rate(classification_rates(classifier, in_one(data), times=2), data.label)
    expected = find_outliers(false, 0.4)
    assert len(expected) > 0  # both classes get the same answer from random weights
    np.testing.assert_array_equal(table["ra"], data.ra[expected])
    np.testing.assert_array_equal(table["false_rate"], false[expected])
    lines = [f"  {row['name']}: labelled {row['label']}, {row['false_rate']:.1%} wrong" for row in table]
    assert done.stdout.splitlines()[: 1 + len(lines)] == [f"{len(lines)} of 4 sources", *lines]
    assert {"name", "dec", "z", "label", "certain"} <= set(table.colnames)
    assert output.with_suffix(".png").exists()


def test_compare_command_prints_and_writes(labelled_file, weights, tmp_path):
    output = tmp_path / "each.ecsv"
    done = run("compare", labelled_file, "--weights", weights["a"], "--weights", weights["b"], "-o", output)
    assert done.exit_code == 0, done.output
    assert done.output.count("FRII") == 2  # a line for each of the networks
    table = Table.read(output)
    assert list(table["weights"]) == ["a"] * 4 + ["b"] * 4
    values, _ = measure_attention(Classifier.load(weights["b"], device="cpu"), in_one(load_labelled(labelled_file)))
    np.testing.assert_allclose(table["halo_enrichment"][4:], values["halo_enrichment"], rtol=1e-4)


def test_without_labels_the_least_stable_are_listed(product, weights, tmp_path):
    result, path = product
    done = run("outliers", path, "-o", tmp_path / "odd", "--count", 2, "--weights", weights["a"])
    assert done.exit_code == 0, done.output
    table = Table.read(tmp_path / "odd.ecsv")
    spread = np.ma.filled(result.table["p_std"], np.nan)
    np.testing.assert_allclose(table["p_std"], np.sort(spread[:3])[::-1][:2])


@pytest.mark.parametrize("command", ["aggregate", "outliers"])
def test_figures_that_exist_are_seen_before_the_work(command, labelled_file, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "radio_ag.attention.augmented.augmented_views", lambda *args, **options: pytest.fail("work was done")
    )
    (tmp_path / ("it-class.pdf" if command == "aggregate" else "it.pdf")).write_text("mine")
    done = run(command, labelled_file, "-o", tmp_path / "it", "--weights", weights["a"])
    assert done.exit_code == 2
    assert "exists" in done.stderr
    done = run(command, labelled_file, "-o", tmp_path / "no folder" / "it", "--weights", weights["a"])
    assert done.exit_code == 2
    assert "there is no folder" in done.stderr


@pytest.mark.parametrize("command", [["source", 0], ["aggregate"], ["outliers"]])
def test_without_matplotlib_figures_say_what_to_install(command, labelled_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(command[0], labelled_file, *command[1:], "-o", tmp_path / "it")
    assert done.exit_code == 2
    assert "pip install 'radio-ag[plot]'" in done.stderr


def test_aggregate_of_a_result_uses_predicted_classes(product, weights, tmp_path):
    _, path = product
    done = run("aggregate", path, "-o", tmp_path / "mean", "-n", 1, "--weights", weights["a"])
    assert done.exit_code == 0, done.output
    written = sorted(file.name for file in tmp_path.iterdir() if file.suffix == ".png")
    assert written == ["mean-certainty.png", "mean-class.png", "mean-difference.png"]
    done = run("aggregate", path, "-o", tmp_path / "mean", "-n", 1, "--by", "label")
    assert done.exit_code == 2
    assert "--label-column" in done.stderr


def test_labelled_sources_may_be_averaged_by_predicted_class(labelled_file, weights, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("radio_ag.attention.figures.aggregate_figure", lambda maps, by: drawn.append(by) or Figure())
    done = run(
        "aggregate", labelled_file, "-o", tmp_path / "m", "-n", 1, "--by", "predicted", "--weights", weights["a"]
    )
    assert done.exit_code == 0, done.output
    assert drawn == ["predicted"]
    assert (tmp_path / "m-confusion.png").exists()


def test_many_networks_have_a_figure_a_class_with_the_mean_image_first():
    labels = [f"{number} images" for number in range(1, 8)]
    images = np.stack([np.full((150, 150), value) for value in (0.2, 0.4)])
    found = [AggregateMaps(1) for _ in labels]
    for number, maps in enumerate(found):
        gates = np.random.default_rng(number).random((2, 1, 150, 150))
        maps.add(images, gates, label=[0, 1], certain=True, predicted=[0, 1])
    drawn = draw_course(found, labels, "label")
    assert list(drawn) == output_names(len(found), confusion=True) == ["-FRI", "-FRII"]
    bars = [panel for panel in drawn["-FRII"].axes if panel.get_label() == "<colorbar>"]
    assert [bar.get_xlabel() for bar in bars] == ["flux / peak", *["attention"] * len(labels)]
    panels = [panel for panel in drawn["-FRII"].axes if panel.get_visible() and panel not in bars]
    assert [panel.get_title() for panel in panels] == ["image", *labels]
    for panel, maps in zip(panels[1:], found, strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), maps.attention(label=1))


@pytest.mark.parametrize("figure", ["gates", "preprocessing", "network", "gate-steps"])
def test_source_command_draws_each_figure(figure, product, weights, tmp_path):
    _, path = product
    done = run("source", path, 1, "-o", tmp_path / "one", "--figure", figure, "--weights", weights["a"])
    assert done.exit_code == 0, done.output
    assert {file.name for file in tmp_path.iterdir()} == {"one.png", "one.pdf"}


def test_networks_side_by_side_may_be_without_gates(product, weights, tmp_path):
    _, path = product
    several = [option for name in ("none", "a") for option in ("--weights", weights[name])]
    done = run("source", path, 0, "-o", tmp_path / "it", *several)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "it.pdf").exists()


def test_row_without_an_image_cannot_be_drawn(product, weights, tmp_path):
    done = run("source", product[1], 3, "-o", tmp_path / "one", "--weights", weights["a"])
    assert done.exit_code == 2
    assert "no image" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("source", "DATA", "nobody", "-o", "x"), "nobody"),
        (("compare", "missing.fits"), "missing.fits"),
        (("compare", "DATA", "--label-column", "class"), "for results"),
        (("compare", "DATA", "--weights", "NONE"), "no attention gates"),
        (("source", "DATA", "0", "-o", "x", "--weights", "NONE"), "--figure network"),
    ],
)
def test_errors_are_one_line(arguments, message, labelled_file, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"DATA": labelled_file, "NONE": weights["none"]}
    weighty = () if "--weights" in arguments else ("--weights", weights["a"])
    done = run(*(places.get(word, word) for word in arguments), *weighty)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
