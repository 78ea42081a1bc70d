"""Networks as ONNX, run by ONNX Runtime beside PyTorch."""

import json
import sys

import numpy as np
import pytest
import torch

from radio_ag import weights as registry
from radio_ag.errors import InputError, OutputError
from radio_ag.network.baselines import build
from radio_ag.network.checkpoints import Weights, load_weights
from radio_ag.network.model import NORMALISATIONS, Architecture
from radio_ag.network.onnx import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")

INPUT = {"size": 150, "pixel_scale": 1.8, "clip": 3.0, "stretch": "sqrt", "value_range": [0.0, 1.0]}
CARD = {"name": "made", "input": INPUT}


def run(path, images):
    return onnxruntime.InferenceSession(str(path)).run(None, {"image": images.numpy()})


def images(count):
    """Mostly blank, as clipped crops are, with a source."""
    noise = torch.rand(count, 1, 150, 150, generator=torch.Generator().manual_seed(0))
    return torch.where(noise > 0.9, noise, 0.0)


@pytest.mark.parametrize("name", [card.name for card in registry.list_weights()])
def test_bundled_weights_give_the_same(tmp_path, name):
    weights = load_weights(name)
    path = export_onnx(weights, tmp_path / "default.onnx")
    seen = images(3)
    with torch.no_grad():
        outputs = [network(seen) for network in weights.networks]
    logits, attention = run(path, seen)
    assert logits.shape == (3, len(weights.networks), len(weights.card.classes))
    assert np.abs(logits - np.stack([o.logits.numpy() for o in outputs], 1)).max() < 1e-4
    expected = np.mean([o.mean_attention().numpy() for o in outputs], 0)
    assert np.abs(attention - expected).max() < 1e-4
    assert np.ptp(attention) > 0.1 * expected.max()
    told = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert json.loads(told["card"]) == registry.card(name).content


@pytest.mark.parametrize("normalisation", list(NORMALISATIONS))
@pytest.mark.parametrize(("aggregation", "gates"), [("mean", 3), ("concatenation", 1), ("deep_supervised", 2)])
def test_variants_give_the_same(tmp_path, normalisation, aggregation, gates):
    torch.manual_seed(1)
    network = build(Architecture(normalisation=normalisation, aggregation=aggregation, gates=gates)).eval()
    path = export_onnx(Weights((network,), registry.Card.of(CARD), {}), tmp_path / "variant.onnx")
    seen = images(2)
    with torch.no_grad():
        output = network(seen)
    logits, attention = run(path, seen)
    np.testing.assert_allclose(logits[:, 0], output.logits.numpy(), rtol=1e-4, atol=1e-4)  # untrained: up to 100
    np.testing.assert_allclose(attention, output.mean_attention().numpy(), rtol=1e-4, atol=1e-4)


def test_a_network_without_gates_has_no_attention(tmp_path):
    network = build(Architecture(gates=0)).eval()
    path = export_onnx(Weights((network,), registry.Card.of(CARD), {}), tmp_path / "plain.onnx")
    (logits,) = run(path, images(2))
    with torch.no_grad():
        assert np.abs(logits[:, 0] - network(images(2)).logits.numpy()).max() < 1e-4


def test_a_file_that_exists_stays(tmp_path):
    (tmp_path / "x.onnx").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        export_onnx(load_weights("agcnn-first-fast"), tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_text() == "mine"


def test_without_onnx_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"radio-ag\[onnx\]"):
        export_onnx(load_weights("agcnn-first-fast"), tmp_path / "x.onnx")
