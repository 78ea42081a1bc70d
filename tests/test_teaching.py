"""Learning from what another network says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch.nn import functional as F
from training_examples import blobs

from radio_ag.augmentation import turned
from radio_ag.errors import InputError
from radio_ag.model import AGCNN, Architecture
from radio_ag.recipes import Recipe
from radio_ag.teaching import teach
from radio_ag.training import Trainer, predict, refresh_statistics, train

TAUGHT = Recipe(samples=8, windowed=0, batch=4, epochs=1, teacher_share=0.25, mixed_precision=False)


@pytest.fixture(scope="module")
def data():
    return blobs()


def networks(data, count: int) -> list[AGCNN]:
    """Untrained, with statistics of these images, so that their scores differ."""
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = AGCNN(Architecture(features="average", dropout=0.0)).eval()
        refresh_statistics(network, torch.from_numpy(data.fields)[:, None], TAUGHT, images=8)
        made.append(network)
    return made


def test_teacher_is_the_mean_over_the_orbit(data):
    """Of right angles, which are exact."""
    (network,) = networks(data, 1)
    logits = predict(network, data, "sqrt", orbit=True)[0].mean(0)
    taught = teach([network], data, "sqrt", angles=4)
    assert np.ptp(taught) > 1e-3
    np.testing.assert_allclose(taught, softmax(logits, 1)[:, 1], atol=2e-5)


def test_several_teachers_share_the_orientations(data):
    """Half of the 24 views of the field are each network's: every other angle, mirrored or not."""
    one, other = networks(data, 2)
    fields = torch.from_numpy(data.fields)[:, None]
    logits = torch.zeros(len(data), 2)
    with torch.no_grad():
        for degrees in range(0, 360, 30):
            for mirrored in (False, True):
                network = other if degrees % 60 else one
                logits += network(turned(fields, np.radians(degrees), mirrored, "sqrt")).logits
    np.testing.assert_allclose(teach([one, other], data, "sqrt"), softmax(logits / 24, 1)[:, 1], atol=2e-5)
    with pytest.raises(InputError, match="multiple of the number of networks, 2, not 5"):
        teach([one, other], data, "sqrt", angles=5)


def test_teacher_does_not_depend_on_how_a_source_lies(data):
    mirrored = replace(data, fields=data.fields.transpose(0, 2, 1).copy())
    taught = teach(networks(data, 1), data, "sqrt")
    np.testing.assert_allclose(teach(networks(data, 1), mirrored, "sqrt"), taught, atol=2e-5)


def test_loss_is_shared_between_labels_and_teacher():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(4, 1, 150, 150, generator=generator)
    labels, weights = torch.tensor([0, 1, 1, 0]), torch.tensor([1.0, 0.5, 1.0, 0.5])
    taught = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.5, 0.5]])
    losses = []
    for share in (0.0, 0.25, 1.0):
        trainer = Trainer(replace(TAUGHT, teacher_share=share))
        with torch.no_grad():
            logits = trainer.network(images).logits
        losses.append(trainer.update(images, labels, weights, taught).item())
    assert losses[2] == pytest.approx(-(taught * F.log_softmax(logits, 1)).sum(1).mean().item(), rel=1e-5)
    assert losses[1] == pytest.approx(0.75 * losses[0] + 0.25 * losses[2], rel=1e-6)
    assert abs(losses[2] - losses[0]) > 1e-3


@pytest.mark.parametrize(
    ("share", "taught", "given"), [(0.5, None, "none"), (0.0, np.ones(8), "8"), (0.5, np.ones(7), "7")]
)
def test_teacher_and_recipe_must_fit(data, tmp_path, share, taught, given):
    rows = np.arange(len(data))
    message = rf"taught must have a value .* got .*{given}.* for a teacher_share of {share}"
    with pytest.raises(InputError, match=message):
        train(data, rows, rows, replace(TAUGHT, teacher_share=share), tmp_path, taught=taught)
    assert not any(tmp_path.iterdir())


def test_checkpoint_of_another_teacher_is_refused(data, tmp_path):
    rows = np.arange(len(data))
    taught = np.linspace(0.1, 0.9, len(data))
    train(data, rows, rows, TAUGHT, tmp_path, taught=taught, log=lambda line: None)
    train(data, rows, rows, TAUGHT, tmp_path, taught=taught, log=lambda line: None)
    with pytest.raises(InputError, match="belongs to other training or validation sources"):
        train(data, rows, rows, TAUGHT, tmp_path, taught=taught[::-1], log=lambda line: None)
