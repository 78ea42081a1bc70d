"""Networks run in full float32 wherever they are run, and the process keeps its own precision afterwards."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from training_examples import blobs

from radio_ag.attention.augmented import Sources, aggregate
from radio_ag.attention.inside import measure_attention, trace_source
from radio_ag.evaluation.served import classify_copies, classify_served
from radio_ag.labelled.data import Labelled
from radio_ag.network.checkpoints import Weights
from radio_ag.network.classifier import Classifier, run_network, trace_network
from radio_ag.network.devices import half_suffices, inference, with_half_gates
from radio_ag.network.model import AGCNN, Architecture
from radio_ag.training.loop import score
from radio_ag.training.recipes import Recipe
from radio_ag.weights import Card

SETTINGS = (torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends.mkldnn.conv)


def precisions() -> list[str]:
    return [setting.fp32_precision for setting in SETTINGS]


@pytest.fixture(autouse=True)
def coarse():
    """A user who lets everything run in TF32."""
    before = precisions()
    for setting in SETTINGS:
        setting.fp32_precision = "tf32"
    yield
    for setting, value in zip(SETTINGS, before, strict=True):
        setting.fp32_precision = value


@pytest.fixture
def network():
    torch.manual_seed(0)
    return AGCNN(Architecture(features="average")).eval()


@pytest.fixture
def seen(network):
    """The precision in which each pass of the network's first convolution was made."""
    found = []
    network.blocks[0][0].register_forward_pre_hook(lambda *_: found.append((precisions(), torch.is_grad_enabled())))
    return found


@pytest.fixture
def classifier(network):
    settings = {"clip": 3.0, "stretch": "linear", "value_range": [0.0, 1.0]}
    made = Classifier(Weights((network,), Card.of({"name": "it", "input": settings}), {}), device="cpu", orbit=2)
    made.networks[:] = made._served[:] = [network]  # folding replaces the layer that is watched
    return made


def pair() -> Labelled:
    return blobs(2)


RUNS = {
    "predict": lambda classifier, data: classifier.predict(data.fields),
    "served": lambda classifier, data: classify_served(classifier, data),
    "copies": lambda classifier, data: classify_copies(classifier, data, times=2),
    "aggregate": lambda classifier, data: aggregate(
        classifier, [Sources(data.fields, data.label, data.certain)], times=2
    ),
    "measure": lambda classifier, data: measure_attention(classifier, [Sources(data.fields, data.label, data.certain)]),
    "inside": lambda classifier, data: trace_source(classifier, data.fields[1]),
    "score": lambda classifier, data: score(classifier.networks[0], data, Recipe()),
    "run": lambda classifier, data: run_network(classifier.networks[0], data.fields[:, 75:225, 75:225], views=8),
    "look inside": lambda classifier, data: trace_network(classifier.networks[0], data.fields[0, 75:225, 75:225]),
    "half": lambda classifier, data: half_suffices(
        classifier.networks[0], with_half_gates(classifier.networks[0]), 1.0, torch.device("cpu")
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_that_is_no_training_is_in_full_float32(name, classifier, seen):
    RUNS[name](classifier, pair())
    assert seen
    assert {(tuple(precision), gradients) for precision, gradients in seen} == {(("ieee",) * 3, False)}
    assert precisions() == ["tf32"] * 3
    assert torch.is_grad_enabled()


def test_precision_comes_back_after_an_error(classifier):
    with pytest.raises(RuntimeError), inference():
        raise RuntimeError("no")
    assert precisions() == ["tf32"] * 3


def test_threads_keep_it_until_the_last_one_is_done():
    barrier = Barrier(2, timeout=30)

    def first() -> list[str]:
        with inference():
            barrier.wait()  # both are in
            barrier.wait()  # the second has left
            return precisions()

    def second() -> None:
        with inference():
            barrier.wait()
        barrier.wait()

    with ThreadPoolExecutor(2) as pool:
        inside = pool.submit(first)
        pool.submit(second).result()
        assert inside.result() == ["ieee"] * 3
    assert precisions() == ["tf32"] * 3


def test_orbit_of_one_network(network):
    """Each view is the network's own answer for the turned image."""
    images = pair().fields[:, 75:225, 75:225].copy()
    logits, features = run_network(network, images, views=8)
    assert logits.shape == (8, 2, 2)
    assert features.shape == (8, 2, 54)
    turned = [np.rot90(images[:, :, ::-1] if view >= 4 else images, view % 4, (1, 2)) for view in range(8)]
    for view, stack in enumerate(turned):
        with torch.inference_mode():
            expected = network(torch.from_numpy(stack.copy())[:, None]).logits
        np.testing.assert_allclose(logits[view], expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(logits, axis=0).max() > 0
