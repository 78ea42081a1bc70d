"""Networks in the middle of a training, as figures of its course need them."""

import shutil

import numpy as np
import pytest
import torch
from training_examples import write_survey
from typer.testing import CliRunner

from radio_ag.attention.inside import trace_source
from radio_ag.cli import app
from radio_ag.errors import WeightsError
from radio_ag.labelled.data import Labelled
from radio_ag.network.checkpoints import save_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import AGCNN, Architecture
from radio_ag.preprocess.images import clip
from radio_ag.simulated import make_field
from radio_ag.training.loop import Recipe, train
from radio_ag.training.snapshots import (
    MOST,
    expand_snapshots,
    keep_snapshot,
    load_classifier,
    load_snapshot,
    snapshot_label,
)

ARCHITECTURE = Architecture(features="average", dropout=0.0)


@pytest.fixture(scope="module")
def data() -> Labelled:
    kinds = ["FRI", "FRII"] * 3
    fields = np.stack([make_field(kind, seed=seed, peak_flux=20e-3)[0] for seed, kind in enumerate(kinds)])
    n = len(kinds)
    return Labelled(
        fields=clip(fields, np.full(n, 0.15e-3)),
        label=np.array([0, 1] * 3),
        certain=np.ones(n, bool),
        ra=np.arange(n, dtype=float),
        dec=np.zeros(n),
        origin=np.full(n, "made"),
        group=np.arange(n),
    )


@pytest.fixture(scope="module")
def course(data, tmp_path_factory):
    """Folder of a short training whose checkpoint was copied at each of its three looks, and its last network."""
    folder = tmp_path_factory.mktemp("course")
    recipe = Recipe(
        architecture=ARCHITECTURE, samples=12, batch=4, windowed=0, stretch="sqrt", averaging=0.5, mixed_precision=False
    )

    def keep(line):
        if "samples=" in line:
            seen = line.split("samples=")[1].split()[0]
            shutil.copy(folder / "checkpoint.pt", folder / f"after-{seen}.pt")

    rows = np.arange(len(data))
    network = train(data, rows[:4], rows[4:], recipe, folder, every=4, log=keep)
    (folder / "checkpoint.pt").unlink()
    return folder, network


def test_a_folder_stands_for_its_checkpoints_by_the_images_seen(course):
    folder, _ = course
    assert (folder / "weights.pt").exists()  # which is passed over: it does not say what it is
    expected = [str(folder / f"after-{seen}.pt") for seen in (4, 8, 12)]
    assert expand_snapshots(["agcnn-first", str(folder)]) == ["agcnn-first", *expected]
    assert [snapshot_label(path) for path in expected] == ["4 images", "8 images", "12 images"]


def test_many_checkpoints_are_thinned_to_even_steps(course, tmp_path):
    saved = torch.load(course[0] / "after-4.pt", weights_only=True)
    for step in range(22):
        torch.save(saved | {"step": step}, tmp_path / f"{step}.pt")
    assert [snapshot_label(path) for path in expand_snapshots([str(tmp_path)])] == [
        f"{4 * step} images" for step in range(0, 22, 3)
    ]
    assert MOST == 8


def test_a_checkpoint_is_kept_once(course, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    for seen in (4, 4, 12):
        shutil.copy(course[0] / f"after-{seen}.pt", checkpoint)
        assert keep_snapshot(checkpoint).read_bytes() == checkpoint.read_bytes()
    assert [path.name for path in sorted((tmp_path / "course").iterdir())] == ["000000004.pt", "000000012.pt"]


def test_train_keeps_its_checkpoints_when_asked(tmp_path):
    survey = write_survey(tmp_path / "survey.fits", ["FRI", "FRII"] * 6)
    settings = (
        "--samples",
        "6",
        "--set",
        "batch=2",
        "--set",
        "epochs=3",
        "--set",
        "window=32",
        "--device",
        "cpu",
        "--set",
        "mixed_precision=False",
    )
    arguments = ["train", str(survey), "-o", str(tmp_path / "own"), "--keep-checkpoints", *settings]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    kept = expand_snapshots([str(tmp_path / "own" / "seed-0" / "course")])
    assert [snapshot_label(path) for path in kept] == ["2 images", "4 images", "6 images"]


def test_the_last_checkpoint_is_the_network_that_was_kept(course, data):
    folder, network = course
    snapshot = load_snapshot(folder / "after-12.pt")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(snapshot.networks[0].state_dict()[name], value, msg=name)
    classifier = load_classifier(folder / "after-12.pt", device="cpu")
    assert classifier.preprocessing.stretch == "sqrt"
    served = Classifier.load(save_weights(folder / "kept.safetensors", [network], snapshot.card.content), device="cpu")
    for field in data.fields[:2]:
        ours, theirs = (trace_source(one, field) for one in (classifier, served))
        np.testing.assert_array_equal(ours.gates, theirs.gates)
        np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)


def test_earlier_checkpoints_are_other_networks(course):
    folder, _ = course
    first, last = (load_snapshot(folder / f"after-{n}.pt").networks[0].state_dict() for n in (4, 12))
    assert not torch.equal(first["gates.0.theta.weight"], last["gates.0.theta.weight"])


def test_what_is_no_checkpoint_is_named(course, tmp_path):
    folder, _ = course
    with pytest.raises(WeightsError, match=r"weights\.pt is not a checkpoint of a training"):
        load_snapshot(folder / "weights.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(WeightsError, match=r"text\.pt is no file of PyTorch, or is damaged"):
        load_classifier(tmp_path / "text.pt")
    with pytest.raises(WeightsError, match=r"no file .*gone\.pt"):
        load_classifier(tmp_path / "gone.pt")
    with pytest.raises(WeightsError, match="has no checkpoint of a training"):
        expand_snapshots([str(tmp_path)])
    saved = torch.load(folder / "after-4.pt", weights_only=True)
    torch.save(saved | {"averaged": AGCNN(Architecture(gates=1)).state_dict()}, tmp_path / "mixed.pt")
    with pytest.raises(WeightsError, match=r"mixed\.pt does not fit the architecture"):
        load_snapshot(tmp_path / "mixed.pt")


def test_the_course_of_a_training_is_drawn(course, data, tmp_path):
    """The mean attention of each checkpoint (Figure 10), and that of one source (Figure 7)."""
    from astropy.io import fits
    from astropy.table import Table

    table = Table({"ra": data.ra, "dec": data.dec, "fr_class": np.array(["FRI", "FRII"])[data.label]})
    images = fits.ImageHDU((data.fields / data.fields.max((1, 2), keepdims=True) * 255).astype(np.uint8), name="IMAGES")
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table[:2], name="SOURCES")]
    images.data = images.data[:2]
    fits.HDUList([*hdus, images]).writeto(tmp_path / "few.fits")
    for command in (["aggregate", "-n", "1"], ["source"]):
        arguments = [tmp_path / "few.fits", *(["0"] if command == ["source"] else []), "-o", tmp_path / command[0]]
        done = CliRunner().invoke(app, ["attention", *command, *map(str, arguments), "--weights", str(course[0])])
        assert done.exit_code == 0, done.output
        assert (tmp_path / f"{command[0]}.png").exists()
        if command[0] == "aggregate":  # two sources in three networks
            assert "6/6 sources (100 %)" in done.stderr
