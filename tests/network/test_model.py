"""The network against the paper's tables, its own definition, and a gate worked out by hand."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from radio_ag.network.model import (
    AGCNN,
    AGGREGATIONS,
    CLASSES,
    NORMALISATIONS,
    Architecture,
    AttentionGate,
    ConvBlock,
    count_parameters,
    fold_batch_norm,
    place_on_input,
)

VARIANTS = [*product(NORMALISATIONS, AGGREGATIONS, (1, 2, 3)), ("range", "fine_tuned", 0)]


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join(map(str, v)))
def architecture(request) -> Architecture:
    return Architecture(*request.param)


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(3, 1, 150, 150, generator=generator)
    return images * (images > 0.9)  # mostly zero, as clipped images are


def _network(architecture: Architecture) -> AGCNN:
    torch.manual_seed(1)
    return AGCNN(architecture)


def test_total_parameters_of_table_1():
    assert count_parameters(AGCNN()) == 101_447


def test_parameters_of_each_row_of_table_1():
    network = AGCNN()
    convolutions = [
        [count_parameters(block[i]) + count_parameters(block[i + 1]) for i in range(0, len(block), 3)]
        for block in network.blocks
    ]
    assert convolutions == [[72, 342, 342], [912, 2352, 2352], [4704, 9312, 9312], [18624, 37056]]
    assert [count_parameters(gate) for gate in network.gates] == [6209, 5185, 4545]
    assert count_parameters(network.classifier.final) == 14
    # the table's rows leave out W_1..W_3 and b_1..b_3, which its total has
    assert count_parameters(network.classifier.per_gate) == 114
    assert sum(map(sum, convolutions)) + 6209 + 5185 + 4545 + 14 == 101_333


def test_parameters_of_each_row_of_table_2():
    network = AGCNN()
    gate = network.gates[0]
    assert [count_parameters(m) for m in (gate.theta, gate.phi, gate.psi)] == [2048, 4096, 65]
    # its first two rows are the convolutions that feed the gate
    last_of_x, last_of_g = list(network.blocks[2])[6:8], list(network.blocks[3])[3:5]
    assert sum(map(count_parameters, last_of_x)) == 9312
    assert sum(map(count_parameters, last_of_g)) == 37056


def test_shapes_of_table_1(images):
    network = _network(Architecture()).eval()
    shapes = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    output = network(images)
    assert shapes == [(6, 150, 150), (16, 75, 75), (32, 37, 37), (64, 18, 18)]
    assert [tuple(a.shape) for a in output.gates] == [(3, 37, 37), (3, 75, 75), (3, 150, 150)]
    assert output.logits.shape == (3, len(CLASSES))
    assert output.features.shape == (3, 54)
    assert output.mean_attention().shape == (3, 150, 150)


def test_convolution_then_batch_norm_then_relu():
    kinds = [type(m).__name__ for m in ConvBlock(1, (2, 3))]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 2


def test_every_parameter_is_used(architecture, images):
    network = _network(architecture).train()
    torch.manual_seed(2)
    network(images).logits.pow(2).sum().backward()
    for name, parameter in network.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        scale = max(p.grad.abs().max().item() for p in network.parameters())
        if _cancels(name, architecture):
            assert gradient.abs().max() < 1e-3 * scale, name
        else:
            assert gradient.abs().max() > 1e-9 * scale, name


def _cancels(name: str, architecture: Architecture) -> bool:
    """Biases that a following normalisation takes away again."""
    before_batch_norm = name.startswith("blocks.") and name.endswith(".bias") and int(name.split(".")[2]) % 3 == 0
    shift_of_scores = name.endswith("psi.bias") and architecture.normalisation != "sigmoid"
    return before_batch_norm or shift_of_scores


@pytest.mark.parametrize("details", [False, True])
def test_batch_equals_batches_of_one(architecture, images, details):
    architecture = Architecture(*list(vars(architecture).values())[:3], published_details=details)
    network = _network(architecture).eval()
    images = torch.cat([images, torch.zeros(1, 1, 150, 150)])
    with torch.inference_mode():
        together = network(images)
        alone = [network(image[None]) for image in images]
    scale = together.logits.abs().max()
    torch.testing.assert_close(
        together.logits, torch.cat([o.logits for o in alone]), rtol=1e-4, atol=float(1e-5 * scale)
    )
    for i, maps in enumerate(together.gates):
        torch.testing.assert_close(maps, torch.cat([o.gates[i] for o in alone]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_normalisations_of_table_3(normalisation):
    scores = torch.tensor([[-1.0, 0.0], [1.0, 3.0]])[None, None]
    expected = {
        "softmax": scores.exp() / scores.exp().sum(),
        "sigmoid": 1 / (1 + (-scores).exp()),
        "range": (scores + 1) / 4,
        "standardisation": ((scores + 1) / 4 - 0.5) / 0.25,
    }[normalisation]
    torch.testing.assert_close(NORMALISATIONS[normalisation](scores), expected)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_flat_map_is_finite(normalisation):
    flat = torch.full((1, 1, 5, 5), 2.0, requires_grad=True)
    result = NORMALISATIONS[normalisation](flat)
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(flat.grad).all()
    assert (result == result[0, 0, 0, 0]).all()


def test_gate_by_hand():
    """One pixel of signal, weights that keep single channels: eq. 8 fits on the back of an envelope."""
    gate = AttentionGate(2, NORMALISATIONS["range"])
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
        gate.theta.weight[0, 0] = 2.0  # hidden channel 0 sees twice channel 0 of x ...
        gate.theta.weight[1, 1] = 1.0  # ... and channel 1 sees channel 1 of x
        gate.phi.weight[0, 5] = -1.0  # less channel 5 of g, everywhere the same
        gate.psi.weight[0, 0] = 1.0
        gate.psi.weight[0, 1] = -0.5
        gate.psi.bias[:] = 7.0
    x = torch.zeros(1, 2, 4, 4)
    x[0, 0, 1, 2], x[0, 1, 3, 3] = 3.0, 4.0
    g = torch.zeros(1, 64, 2, 2)
    g[0, 5] = 1.0
    # scores: relu(2*3 - 1) = 5 at (1, 2); -0.5*relu(4) = -2 at (3, 3); relu(-1) = 0 elsewhere; the bias cancels
    expected = torch.full((4, 4), 2 / 7)
    expected[1, 2], expected[3, 3] = 1.0, 0.0
    torch.testing.assert_close(gate(x, g)[0, 0], expected)


@pytest.mark.parametrize("channels_and_size", [(32, 37), (16, 75), (6, 150)])
def test_scores_by_tiles_equal_the_layers(channels_and_size):
    channels, size = channels_and_size
    torch.manual_seed(0)
    gate = AttentionGate(channels, NORMALISATIONS["range"])
    x, g = torch.randn(2, channels, size, size), torch.randn(2, 64, 18, 18)
    results = []
    for score in (gate.score, gate.score_by_tiles):
        inputs = [x.clone().requires_grad_(), g.clone().requires_grad_()]
        gate.zero_grad()
        output = score(*inputs)
        (output * torch.linspace(-1, 1, size)).sum().backward()
        results.append([output.detach(), *(i.grad for i in inputs), *(p.grad.clone() for p in gate.parameters())])
    for plain, tiled in zip(*results, strict=True):
        torch.testing.assert_close(tiled, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


def test_scores_in_half_precision_stay_near_those_in_single():
    """Mixed precision hands the gates bfloat16: 8 bits, an error of 0.4 % each time that a number is rounded."""
    torch.manual_seed(0)
    gate = AttentionGate(6, NORMALISATIONS["range"])
    x, g = torch.randn(2, 6, 75, 75).bfloat16(), torch.randn(2, 64, 18, 18)
    results = []
    for features in (x.float(), x):
        features.requires_grad_()
        gate.zero_grad()
        score = gate.score_by_tiles(features, g)
        (score * torch.linspace(-1, 1, 75)).sum().backward()
        assert score.dtype == torch.float32
        results.append([score.detach(), features.grad.float(), *(p.grad.clone() for p in gate.parameters())])
    for single, half in zip(*results, strict=True):
        assert (half - single).norm() < 0.05 * single.norm()


def test_aggregations_are_equations_10_to_13():
    torch.manual_seed(0)
    features = [torch.randn(2, c) for c in (32, 16, 6)]
    joined = torch.cat(features, 1)
    for kind in AGGREGATIONS:
        aggregation = AGCNN(Architecture(aggregation=kind)).classifier
        each = [F.linear(f, layer.weight, layer.bias) for f, layer in zip(features, aggregation.per_gate, strict=False)]
        final = getattr(aggregation, "final", None)
        if kind == "mean":
            expected = sum(each) / 3
        elif kind == "concatenation":
            expected = joined @ final.weight.T + final.bias
        elif kind == "deep_supervised":
            expected = (joined @ final.weight.T + final.bias + sum(each)) / 4
        else:
            expected = torch.cat(each, 1) @ final.weight.T + final.bias
        torch.testing.assert_close(aggregation(features), expected)


def test_features_sum_is_equation_9_and_average_divides_it(images):
    summed, averaged = (_network(Architecture(features=kind)).eval() for kind in ("sum", "average"))
    with torch.inference_mode():
        output, other = summed(images), averaged(images)
        x = summed.blocks[0](images)  # the features that gate 3 attends
    by_hand = (output.attention3[:, None] * x).sum((2, 3))
    torch.testing.assert_close(output.features[:, -6:], by_hand, rtol=1e-4, atol=1e-3)
    total = output.attention3.sum((1, 2))[:, None]
    torch.testing.assert_close(other.features[:, -6:], by_hand / total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 4])
def test_maps_are_placed_at_the_centre_of_the_pixels_they_pool(stride):
    cells = 150 // stride
    ramp = torch.arange(cells, dtype=torch.float32) * stride + (stride - 1) / 2  # each cell holds its own centre
    placed = place_on_input(ramp[None, :].expand(cells, cells), stride)
    inside = slice(stride, 150 - 2 * stride)
    torch.testing.assert_close(placed[0, inside], torch.arange(150, dtype=torch.float32)[inside])
    torch.testing.assert_close(place_on_input(torch.ones(cells, cells), stride), torch.ones(150, 150))


def test_folded_network_gives_the_same(architecture, images):
    network = _network(architecture).train()
    network(images)  # batch norm has seen something
    network.eval()
    with torch.inference_mode():
        plain, folded = network(images), fold_batch_norm(network)(images)
    scale = float(plain.logits.abs().max())
    torch.testing.assert_close(folded.logits, plain.logits, rtol=1e-4, atol=1e-4 * scale)
    for a, b in zip(folded.gates, plain.gates, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())


def test_more_classes():
    assert AGCNN(Architecture(classes=4)).eval()(torch.zeros(1, 1, 150, 150)).logits.shape == (1, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normalisation", "minmax"),
        ("aggregation", "ft"),
        ("gates", 4),
        ("features", "max"),
        ("classes", 1),
        ("dropout", 1.0),
    ],
)
def test_bad_architecture_names_the_argument_and_the_value(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*{value!r}"):
        Architecture(**{name: value})


def test_no_attention_without_gates(images):
    with pytest.raises(ValueError, match="no attention map"):
        _network(Architecture(gates=0)).eval()(images).mean_attention()
