"""Networks that see the middle of their images alone."""

import numpy as np
import pytest
import torch

from radio_ag.network.checkpoints import Weights, load_weights, save_weights
from radio_ag.network.classifier import Classifier, run_network
from radio_ag.preprocess.images import crop, normalise
from radio_ag.simulated import make_field

SIZE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    parent = load_weights("agcnn-first-fast")
    card = parent.card.content
    card = card | {"name": "small", "input": card["input"] | {"window": SIZE}}
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return load_weights(save_weights(path, parent.networks, card, parent.extra))


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    """Two sources of which the first has a neighbour five times as bright, 50 pixels to the right."""
    stack = np.stack([make_field(kind, peak_flux=15e-3, seed=n)[0] for n, kind in enumerate(("FRI", "FRII"))])
    stack[0, 148:151, 198:201] += 0.075
    return stack


def test_what_lies_beyond_the_window_counts_for_nothing(weights, fields):
    """The class scores are those of the network on the middle alone, scaled to its own brightest pixel."""
    classifier = Classifier(weights, device="cpu", orbit=8)
    prepared = classifier.prepare(fields)
    seen = classifier.predict(None, prepared=prepared, attention="none")
    clipped = np.where(fields > 3 * prepared.rms[:, None, None], fields, 0)
    alone = run_network(weights.networks[0], normalise(crop(clipped, SIZE), "sqrt"), views=8)[0].mean(0)
    np.testing.assert_allclose(seen.logits, alone, atol=2e-4)
    fields = fields.copy()
    fields[0, 148:151, 198:201] = 0
    without = classifier.predict(fields, attention="none")
    np.testing.assert_allclose(without.logits[1], seen.logits[1], atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "gates"])
def test_maps_lie_on_the_whole_image(weights, fields, kind):
    """They are those of the window at its place, and level beyond."""
    prediction = Classifier(weights, device="cpu", orbit=1).predict(fields, attention=kind)
    maps = prediction.attention if kind == "mean" else prediction.gates[:, 2]
    edge = (150 - SIZE) // 2
    beyond = maps.copy()
    beyond[:, edge:-edge, edge:-edge] = np.nan
    assert (np.nanmax(beyond, (1, 2)) == np.nanmin(beyond, (1, 2))).all()
    images = torch.from_numpy(normalise(crop(fields * (fields > 3 * 1.5e-4), SIZE), "sqrt"))
    inside = weights.networks[0](images.unsqueeze(1)).attention3.detach().numpy()
    if kind == "gates":
        peak = [np.unravel_index(one.argmax(), one.shape) for one in inside]
        found = [np.unravel_index(one.argmax(), one.shape) for one in maps]
        assert [tuple(place - edge for place in one) for one in found] == peak
