"""Baselines: sizes against the published numbers, inputs of their parts, and the way to weights and back."""

import numpy as np
import pytest
import torch

from radio_ag.errors import InputError, WeightsError
from radio_ag.network.baselines import (
    KINDS,
    AGSonoNet,
    ClassicArchitecture,
    ClassicCNN,
    SonoNetArchitecture,
    architecture_of,
    build,
    kind_of,
    needs_whole_images,
)
from radio_ag.network.checkpoints import load_weights, save_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import AGCNN, AGGREGATIONS, NORMALISATIONS, Architecture, count_parameters
from radio_ag.simulated import make_field

CARD = {"name": "own", "input": {"size": 150, "clip": 3.0, "stretch": "linear", "value_range": [0, 1]}}
BASELINES = [ClassicArchitecture(), SonoNetArchitecture()]


def test_classic_cnn_has_the_published_size():
    """Bowles et al. 2021: 250 k parameters (section 1), 94 % of them in dense layers (section 3)."""
    network = ClassicCNN()
    assert count_parameters(network) == 250_234
    dense = count_parameters(network.dense) + count_parameters(network.classifier)
    assert round(100 * dense / count_parameters(network)) == 94


def test_ag_sononet_is_the_ag_cnn_without_its_third_gate_and_with_a_third_input():
    """Table 1 of the paper without gate 3 and the aggregation, and an aggregation of 32, 16 and 64 channels."""
    blocks = 72 + 2 * 342 + 912 + 2 * 2352 + 4704 + 2 * 9312 + 18_624 + 37_056
    aggregation = (32 * 2 + 2) + (16 * 2 + 2) + (64 * 2 + 2) + (6 * 2 + 2)
    assert count_parameters(AGSonoNet()) == blocks + 6209 + 5185 + aggregation == 97_018


def test_gates_of_ag_sononet_are_those_of_the_ag_cnn():
    torch.manual_seed(0)
    ours, theirs = AGSonoNet().eval(), AGCNN(Architecture(gates=2)).eval()
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if not k.startswith("classifier")}, strict=False)
    images = torch.rand(2, 1, 80, 64)
    a, b = ours(images), theirs(images)
    torch.testing.assert_close(a.features[:, :48], b.features)
    for x, y in zip(a.gates, b.gates, strict=True):
        torch.testing.assert_close(x, y)
    last = []
    ours.blocks[-1].register_forward_hook(lambda module, inputs, output: last.append(output))
    features = ours(images).features
    torch.testing.assert_close(features[:, 48:], last[0].mean((2, 3)))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_ag_sononet_can_classify_from_the_last_feature_map_alone(aggregation):
    """Section 3.1 of the paper: it does not have to use its gates."""
    torch.manual_seed(0)
    network = AGSonoNet(SonoNetArchitecture(aggregation=aggregation, dropout=0.0))
    images = torch.rand(4, 1, 64, 64) ** torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None, None, None]
    before = network(images).logits
    network._features = lambda attention, x: torch.zeros(x.shape[:2])
    without_gates = network(images).logits
    assert not torch.allclose(without_gates, before)
    assert without_gates.std(0).min() > 1e-3


@pytest.mark.parametrize("architecture", BASELINES, ids=kind_of)
def test_every_parameter_is_used(architecture):
    torch.manual_seed(0)
    network = build(architecture)
    outputs = network(torch.rand(4, 1, 150, 150)).logits
    (outputs * torch.randn(4, 2)).sum().backward()
    # The bias of a gate's score cancels in the range normalisation, that of a convolution in the batch norm after it.
    cancels = {name for name, _ in network.named_parameters() if name.endswith("psi.bias")}
    if architecture == SonoNetArchitecture():
        cancels |= {f"blocks.{i}.{j}.bias" for i in range(4) for j in (0, 3, 6)}
    for name, parameter in network.named_parameters():
        if name not in cancels:
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("architecture", BASELINES, ids=kind_of)
def test_a_source_does_not_depend_on_its_neighbours(architecture):
    torch.manual_seed(0)
    network = build(architecture).eval()
    images = torch.rand(3, 1, 150, 150)
    together = network(images).logits
    alone = torch.cat([network(image[None]).logits for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", BASELINES, ids=kind_of)
def test_weights_come_back_and_classify(architecture, tmp_path):
    torch.manual_seed(0)
    network = build(architecture).eval()
    path = save_weights(tmp_path / "own.safetensors", [network], CARD)
    weights = load_weights(path)
    assert weights.networks[0].architecture == architecture
    assert weights.card.architecture["kind"] == kind_of(architecture)
    images = torch.rand(2, 1, 150, 150)
    assert torch.equal(weights.networks[0](images).logits, network(images).logits)
    classifier = Classifier(weights, device="cpu", orbit=1)
    fields = np.stack([make_field(kind, seed=0)[0] for kind in ("FRI", "FRII")])
    prediction = classifier.predict(fields)
    expected = network(torch.from_numpy(prediction.prepared.images)[:, None]).logits.softmax(1).detach()
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-4)
    assert (prediction.attention is None) == (architecture.gates == 0)


def test_card_of_an_unknown_network_is_named(tmp_path):
    path = save_weights(tmp_path / "own.safetensors", [ClassicCNN()], CARD)
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace("classic_cnn", "resnet"))
    with pytest.raises(WeightsError, match=r"card of own\.safetensors is of no use: architecture must be one of agcnn"):
        load_weights(path)


def test_architectures_come_back_from_their_settings():
    assert architecture_of({"gates": 2}) == Architecture(gates=2)
    assert architecture_of({"kind": "classic_cnn"}) == ClassicArchitecture()
    assert architecture_of({"kind": "ag_sononet", "normalisation": "softmax"}).normalisation == "softmax"
    assert [kind_of(architecture_of({"kind": kind})) for kind in KINDS] == list(KINDS)
    with pytest.raises(InputError, match=r"architecture must be one of agcnn, .*, not 'vgg'"):
        architecture_of({"kind": "vgg"})
    with pytest.raises(InputError, match=r"not an architecture of classic_cnn: .*'gates'; its settings are dropout"):
        architecture_of({"kind": "classic_cnn", "gates": 2})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), not 1.0"),
        ({"classes": 1}, "classes must be a whole number from 2 to 20, not 1"),
        ({"normalisation": "batch"}, f"normalisation must be one of {', '.join(NORMALISATIONS)}, not 'batch'"),
        ({"aggregation": "vote"}, "aggregation must be one of mean, .*, not 'vote'"),
        ({"features": "maximum"}, "features must be one of sum, average, not 'maximum'"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        SonoNetArchitecture(**settings)


def test_dense_layers_need_whole_images():
    assert needs_whole_images(ClassicArchitecture())
    assert needs_whole_images(Architecture(gates=0))
    assert not needs_whole_images(SonoNetArchitecture())
    assert not needs_whole_images(Architecture(gates=1))
