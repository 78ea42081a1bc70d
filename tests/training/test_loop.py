"""Training: the loop that resumes, what it logs, early stopping, and that every kind of network learns."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_examples import blobs

from radio_ag.errors import InputError, OutputError
from radio_ag.labelled.augmentation import augment
from radio_ag.labelled.data import Labelled
from radio_ag.network.baselines import ClassicArchitecture, SonoNetArchitecture
from radio_ag.network.model import AGCNN, AGGREGATIONS, NORMALISATIONS, Architecture
from radio_ag.training.log import read_entries
from radio_ag.training.loop import Trainer, refresh_statistics, score, source_weights, train
from radio_ag.training.recipes import RECIPES, Recipe

SMALL = Recipe(samples=24, windowed=20, window=40, batch=4, epochs=3, averaging=0.5, mixed_precision=False)
PAPER = replace(RECIPES["paper"], epochs=3, passes=1, batch=4, rate=3e-3)  # 3 epochs of 8 images
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def data() -> Labelled:
    return blobs()


class Stop(Exception):
    pass


def run(data, recipe, folder, *, stop_after=None, **options):
    """Train on all sources and watch them too; ``stop_after`` so many images the run breaks off."""

    def log(line):
        if line.startswith(f"samples={stop_after} "):
            raise Stop

    rows = np.arange(len(data))
    return train(data, rows, rows, recipe, folder, log=log, **options)


def logged(folder) -> list[dict]:
    """The entries of a log without what the clock says."""
    return [{k: v for k, v in e.items() if k != "images_per_s"} for e in read_entries(folder / "log.jsonl")]


def same(ours: dict, theirs: dict) -> bool:
    return all(torch.equal(ours[key], theirs[key]) for key in theirs)


# Resumption


@pytest.mark.parametrize("recipe", [replace(SMALL, mixed_precision=True), PAPER], ids=["default", "paper"])
def test_resumed_run_gives_the_same_weights_and_log(data, tmp_path, recipe):
    """Broken off between two looks, with what a killed process leaves behind."""
    undisturbed = run(data, recipe, tmp_path / "undisturbed").state_dict()
    folder = tmp_path / "resumed"
    with pytest.raises(Stop):
        run(data, recipe, folder, stop_after=12, checkpoint_seconds=0)
    (folder / "checkpoint.pt.part").write_bytes(b"half a checkpo")
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"samples": 16, "loss": 0.5}\n{"samples": 2')
    resumed = run(data, recipe, folder).state_dict()
    assert same(resumed, undisturbed)
    assert same(torch.load(folder / "weights.pt", weights_only=True), undisturbed)
    assert [entry["samples"] for entry in logged(folder)] == [4, 8, 12, 16, 24]
    assert [entry["samples"] for entry in logged(tmp_path / "undisturbed")] == [8, 16, 24]
    assert logged(folder)[-1] == logged(tmp_path / "undisturbed")[-1]


def test_finished_run_is_not_done_again(data, tmp_path):
    first = run(data, SMALL, tmp_path).state_dict()
    lines = []
    rows = np.arange(len(data))
    again = train(data, rows, rows, SMALL, tmp_path, log=lines.append).state_dict()
    assert same(again, first)
    assert lines == ["going on after 24 of 24 images"]


def test_checkpoint_of_something_else_is_refused(data, tmp_path):
    run(data, SMALL, tmp_path)
    with pytest.raises(InputError, match=r"another recipe: rate is 0\.06 there, 0\.001 here, seed is 0 there, 1 here"):
        run(data, replace(SMALL, rate=1e-3, seed=1), tmp_path)
    relabelled = replace(data, label=1 - data.label)
    with pytest.raises(InputError, match=r"checkpoint\.pt belongs to other training or validation sources"):
        run(relabelled, SMALL, tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"something else")
    with pytest.raises(OutputError, match=r"checkpoint\.pt cannot be read .*remove it to begin anew"):
        run(data, SMALL, tmp_path)


def test_random_numbers_of_the_caller_are_left_alone(data, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(data, SMALL, tmp_path)
    assert torch.equal(torch.rand(3), expected)


# What is logged and kept


def test_losses_are_means_over_the_steps_since_the_last_entry(data, tmp_path):
    """The last entry comes after one step alone."""
    recipe = replace(SMALL, samples=20, epochs=1)
    run(data, recipe, tmp_path, every=8)
    entries = logged(tmp_path)
    assert [entry["samples"] for entry in entries] == [8, 16, 20]
    trainer = Trainer(recipe)
    fields = torch.from_numpy(data.fields)[:, None]
    losses = []
    for step in range(5):
        order = [np.random.default_rng([0, epoch]).permutation(8) for epoch in (0, 1, 2)]
        rows = np.concatenate(order)[4 * step : 4 * step + 4]
        images = augment(fields[rows], recipe.augmentation, trainer.generator, 40)
        losses.append(float(trainer.update(images, torch.from_numpy(data.label[rows]), torch.ones(4))))
    means = [np.mean(losses[:2]), np.mean(losses[2:4]), losses[4]]
    np.testing.assert_allclose([entry["loss"] for entry in entries], means, rtol=1e-5)


def test_learning_curve_is_a_picture(data, tmp_path):
    run(data, SMALL, tmp_path)
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "curve.png", "log.jsonl", "weights.pt"]


def test_early_stopping_keeps_the_lowest_validation_loss(data, tmp_path):
    """The validation sources have the wrong labels: the more is learnt, the higher their loss."""
    wrong = blobs()
    joined = Labelled(
        *(np.concatenate([getattr(data, name), getattr(wrong, name)]) for name in Labelled.__dataclass_fields__)
    )
    joined.label[8:] = 1 - joined.label[8:]
    recipe = replace(PAPER, architecture=Architecture(features="average"), epochs=3, passes=3, rate=0.02)
    network = train(joined, np.arange(8), np.arange(8, 16), recipe, tmp_path, log=lambda line: None)
    losses = [entry["nll"] for entry in logged(tmp_path)]
    assert len(losses) == 3
    assert min(losses) < losses[-1]
    assert score(network, joined[8:], recipe)["nll"] == pytest.approx(min(losses))


def test_paper_recipe_runs_for_fewer_images(data, tmp_path):
    recipe = RECIPES["paper"].shortened(32)
    assert recipe.prescribed(len(data)) == 100 * 72 * 8
    run(data, recipe, tmp_path, every=16)
    entries = logged(tmp_path)
    assert [entry["samples"] for entry in entries] == [16, 32]
    assert {entry["rate"] for entry in entries} == {5e-5}


def test_a_loss_that_is_no_number_ends_the_run(data, tmp_path):
    with pytest.raises(InputError, match=r"the loss is nan after .* images: rate 1e\+20 is too high"):
        run(data, replace(SMALL, rate=1e20), tmp_path)


def test_folder_that_cannot_be_made_is_named(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot make the folder .*file"):
        run(data, SMALL, tmp_path / "file")


# Learning


def losses_of(architecture, steps: int, size: int, rate: float, sources: int = 4) -> list[float]:
    """Loss of each step of a short training on the blobs, without averaging or a schedule."""
    data = blobs(sources)
    recipe = Recipe(
        architecture,
        samples=sources * steps,
        windowed=0,
        batch=sources,
        optimizer="adam",
        rate=rate,
        schedule="constant",
        mixed_precision=False,  # bfloat16 is slow on a CPU
        offset=2.0,
    )
    trainer = Trainer(recipe)
    fields, labels = torch.from_numpy(data.fields)[:, None], torch.from_numpy(data.label)
    return [
        float(
            trainer.update(augment(fields, recipe.augmentation, trainer.generator, size), labels, torch.ones(sources))
        )
        for _ in range(steps)
    ]


def fell(losses: list[float]) -> bool:
    return np.median(losses[-8:]) < 0.5 * np.median(losses[:4])


def each_once() -> list:
    """All pairs of a normalisation and an aggregation, those marked that repeat one of the others."""
    pairs = itertools.product(enumerate(NORMALISATIONS), enumerate(AGGREGATIONS))
    return [pytest.param(a, b, marks=[pytest.mark.thorough] if i != j else []) for (i, a), (j, b) in pairs]


@pytest.mark.parametrize(("normalisation", "aggregation"), each_once())
def test_loss_falls_for_each_normalisation_and_aggregation(normalisation, aggregation):
    losses = losses_of(Architecture(normalisation, aggregation), steps=25, size=40, rate=3e-3)
    assert fell(losses)


@pytest.mark.parametrize("gates", [1, 2])
def test_loss_falls_for_fewer_gates(gates):
    losses = losses_of(Architecture(gates=gates), steps=25, size=40, rate=3e-3)
    assert fell(losses)


@pytest.mark.parametrize(
    ("architecture", "steps", "size", "rate", "sources"),
    [
        pytest.param(Architecture(gates=0), 12, 150, 1e-3, 4, marks=pytest.mark.thorough),
        pytest.param(ClassicArchitecture(), 25, 150, 3e-3, 8, marks=pytest.mark.thorough),
        (SonoNetArchitecture(), 25, 40, 3e-3, 4),
    ],
    ids=["no gates", "classic", "AG-SonoNet"],
)
def test_loss_falls_for_the_baselines(architecture, steps, size, rate, sources):
    losses = losses_of(architecture, steps, size, rate, sources)
    assert fell(losses)


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 128, "windowed": 80, "window": 64, "mixed_precision": False},
        pytest.param({"samples": 200, "windowed": 0}, marks=pytest.mark.thorough),
    ],
    ids=["brief", "bfloat16"],
)
def test_network_learns_to_tell_the_classes_apart(changes, data, tmp_path):
    """Through the whole loop: with averaging and measured statistics, on images that it has not seen."""
    recipe = Recipe(batch=8, epochs=1, averaging=0.8, offset=2.0, **changes)
    network = run(data, recipe, tmp_path)
    unseen = blobs(separation=14.0)
    assert score(network, unseen, recipe)["accuracy"] == 1
    assert logged(tmp_path)[-1]["loss"] < np.log(2)


def test_weights_of_sources(data):
    uncertain = replace(data, certain=np.arange(8) >= 4, label=np.array([0, 1, 1, 1, 0, 1, 1, 1]))
    rows = np.arange(8)
    plain = source_weights(uncertain, rows, replace(SMALL, balanced=False, uncertain_weight=0.25))
    np.testing.assert_allclose(plain[:4] / plain[4:], 0.25)
    balanced = source_weights(uncertain, rows, SMALL)
    assert balanced[[0, 4]].sum() == pytest.approx(balanced[[1, 2, 3, 5, 6, 7]].sum())
    np.testing.assert_allclose(balanced[:4] / balanced[4:], 0.5)
    np.testing.assert_allclose([plain.mean(), balanced.mean()], 1)


def test_refreshed_statistics_are_those_of_the_training_images(data):
    """Of the first layer, against its outputs for the very images, 64 of them in one batch."""
    torch.manual_seed(0)
    network = AGCNN().eval()
    fields = torch.from_numpy(data.fields)[:, None]
    refresh_statistics(network, fields, SMALL, size=40, images=64)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(8, generator=generator).repeat(8)
    images = augment(fields[rows], SMALL.augmentation, generator, 40)
    convolved = network.blocks[0][0](images)
    layer = network.blocks[0][1]
    torch.testing.assert_close(layer.running_mean, convolved.mean((0, 2, 3)))
    torch.testing.assert_close(layer.running_var, convolved.var((0, 2, 3)), rtol=1e-4, atol=1e-7)
    assert not network.training
    assert not layer.training


def test_sources_without_certain_labels_have_no_accuracy_of_these(data):
    network = AGCNN().eval()
    assert set(score(network, data, SMALL, 40)) == {"accuracy", "accuracy_certain", "nll"}
    uncertain = replace(data, certain=np.zeros(8, bool))
    assert set(score(network, uncertain, SMALL, 40)) == {"accuracy", "nll"}


def test_half_a_line_of_a_log_is_no_entry(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_entries(path) == []
    path.write_text(json.dumps({"samples": 8}) + '\n{"samples": 1')
    assert read_entries(path) == [{"samples": 8}]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_trains_and_resumes(data, tmp_path):
    with pytest.raises(Stop):
        run(data, SMALL, tmp_path, device="cuda", stop_after=12, checkpoint_seconds=0)
    network = run(data, SMALL, tmp_path, device="cuda")
    assert next(network.parameters()).device.type == "cuda"
    assert [entry["samples"] for entry in logged(tmp_path)][-1] == 24
