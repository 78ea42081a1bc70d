"""Training: augmentation against exact transformations, resumption, learning."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from radio_ag.labelled import Labelled
from radio_ag.model import AGCNN, Architecture
from radio_ag.preprocess import crop, normalise
from radio_ag.training import Recipe, augment, predict, train

SMALL = Recipe(samples=24, batch=4, averaging=0.5, scale=(1.0, 1.0))


@pytest.fixture
def data() -> Labelled:
    """FRI-like: one blob; FRII-like: two; four sources each."""
    y, x = np.mgrid[:300, :300] - 149.5
    fields, labels = [], []
    for i in range(8):
        angle, separation = i * 0.7, 20.0 * (i % 2)
        dx, dy = separation * np.cos(angle), separation * np.sin(angle)
        fields.append(sum(np.exp(-((x - s * dx) ** 2 + (y - s * dy) ** 2) / 30) for s in (-1, 1)))
        labels.append(i % 2)
    fields = np.array(fields, np.float32)
    fields[fields < 0.01] = 0
    n = len(labels)
    return Labelled(
        fields, np.array(labels), np.ones(n, bool), np.arange(n) * 1.0, np.zeros(n), np.full(n, "made"), np.arange(n)
    )


def test_exact_augmentations_are_flips_turns_and_shifts_of_the_field(data):
    recipe = replace(SMALL, exact_share=1.0, offset=3.0, stretch="linear")
    field = data.fields[3:4].copy()
    field[0, 149:175] *= 0.5  # no symmetry left
    possible = {}
    for view in range(8):
        turned = np.rot90(field[:, :, ::-1] if view >= 4 else field, view, (1, 2))
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                image = normalise(crop(np.roll(turned, (dy, dx), (1, 2))))
                possible[image.round(3).tobytes()] = view
    generator = torch.Generator().manual_seed(0)
    batch = augment(torch.from_numpy(field).unsqueeze(1).expand(40, 1, 300, 300), recipe, generator)
    seen = {possible.get(image.round(decimals=3).add(0.0).numpy().tobytes()) for image in batch}
    assert None not in seen
    assert len(seen) == 8


def test_augmented_images_keep_the_range_and_stay_within_the_offset(data):
    recipe = replace(SMALL, scale=(0.9, 1.1), offset=8.0)
    fields = torch.from_numpy(data.fields[::2]).unsqueeze(1).repeat(8, 1, 1, 1)  # single blobs at the centre
    images = augment(fields, recipe, torch.Generator().manual_seed(1))
    assert images.shape == (32, 1, 150, 150)
    assert images.min() >= 0
    torch.testing.assert_close(images.amax((1, 2, 3)), torch.ones(32))
    y, x = torch.meshgrid(torch.arange(150.0) - 74.5, torch.arange(150.0) - 74.5, indexing="ij")
    total = images.sum((1, 2, 3))
    radius = torch.hypot((images[:, 0] * x).sum((1, 2)) / total, (images[:, 0] * y).sum((1, 2)) / total)
    assert radius.max() < 8 * 2**0.5 * 1.1 + 0.5
    assert radius.max() > 4


def test_resumed_run_gives_the_same_weights(data, tmp_path):
    rows = np.arange(len(data))

    def run(folder, recipe=SMALL, **options):
        return train(data, rows, rows, recipe, folder, every=8, log=lambda line: None, **options).state_dict()

    undisturbed = run(tmp_path / "undisturbed")

    class Stop(Exception):
        pass

    def stop_at_second_checkpoint(line):
        if "samples=16" in line:
            raise Stop

    with pytest.raises(Stop):
        train(data, rows, rows, SMALL, tmp_path / "resumed", every=8, log=stop_at_second_checkpoint)
    resumed = run(tmp_path / "resumed")
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)
    log = [json.loads(line) for line in (tmp_path / "undisturbed" / "log.jsonl").read_text().splitlines()]
    assert [entry["samples"] for entry in log] == [8, 16, 24]

    with pytest.raises(ValueError, match=r"another recipe: rate is 0\.003 there, 0\.001 here"):
        run(tmp_path / "resumed", replace(SMALL, rate=1e-3))


@pytest.mark.parametrize("features", ["sum", "average"])
def test_loss_falls(data, tmp_path, features):
    recipe = Recipe(
        architecture=Architecture(features=features), samples=480, batch=8, rate=3e-3, averaging=0.8, offset=2.0
    )
    rows = np.arange(len(data))
    train(data, rows, rows, recipe, tmp_path, every=80, log=lambda line: None)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.8 * losses[0]


def test_orbit_of_logits(data):
    torch.manual_seed(0)
    network = AGCNN().eval()
    (alone, _), (orbit, features) = (predict(network, data, "linear", orbit=flag) for flag in (False, True))
    assert orbit.shape == (8, len(data), 2)
    assert features.shape == (8, len(data), 54)
    np.testing.assert_allclose(orbit[:1], alone, rtol=1e-5)
    assert np.ptp(orbit, axis=0).max() > 0
