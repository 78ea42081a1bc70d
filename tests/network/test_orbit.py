"""The networks as they are served, against the plain ones: every architecture, layer by layer, one image at a time."""

import copy
from itertools import product

import numpy as np
import pytest
import torch

from radio_ag.network.baselines import ClassicArchitecture, SonoNetArchitecture, build
from radio_ag.network.checkpoints import Weights, load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.devices import MAX_HALF_ERROR, choose_batch, half_suffices, side_by_side, with_half_gates
from radio_ag.network.model import AGGREGATIONS, NORMALISATIONS, Architecture, AttentionGate
from radio_ag.network.orbit import Task, plan, see, turn, turn_back
from radio_ag.preprocess.images import Prepared, prepare
from radio_ag.weights import Card

CARD = {"name": "test", "input": {"clip": 3.0, "stretch": "linear", "value_range": [0.0, 1.0]}}
ARCHITECTURES = [
    *(Architecture(*variant, features="average") for variant in product(NORMALISATIONS, AGGREGATIONS, (1, 2, 3))),
    *(Architecture(*variant) for variant in product(NORMALISATIONS, AGGREGATIONS)),
    Architecture(gates=0),
    Architecture(normalisation="standardisation", published_details=True, features="average"),
    ClassicArchitecture(),
    *(SonoNetArchitecture(normalisation=normalisation) for normalisation in NORMALISATIONS),
]
GPU = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)


class PlainGate(AttentionGate):
    """Layer by layer on every device."""

    score_by_tiles = AttentionGate.score


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Three images of blobs that lie askew, mostly zero as clipped ones are."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:150, :150]
    images = np.where(rng.random((3, 150, 150)) > 0.99, 0.05, 0.0)
    for image in images:
        for brightness in (1.0, 0.6):
            dy, dx = rng.uniform(50, 100, 2)
            image += brightness * np.exp(-((y - dy) ** 2 / 60 + (x - dx) ** 2 / 30))
    images[images < 0.01] = 0
    return (images / images.max((1, 2), keepdims=True)).astype(np.float32)


def network_of(architecture, images: np.ndarray) -> torch.nn.Module:
    """A network whose batch norms have seen the images."""
    torch.manual_seed(4)
    network = build(architecture)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # what it has seen counts alike, and the values that it begins with do not
    with torch.no_grad():
        network(torch.from_numpy(images)[:, None])
    return network.eval()


def known(images: np.ndarray) -> Prepared:
    n = len(images)
    return Prepared(images, np.ones(n, np.float32), np.zeros(n, bool), np.zeros(n, np.float32), np.ones(n, np.float32))


def predict_plainly(network, images: np.ndarray, orbit: int, temperature: float):
    """Probabilities, and each gate's map on the image's pixels: one image and one orientation at a time."""
    plain = copy.deepcopy(network)
    for gate in getattr(plain, "gates", ()):
        gate.__class__ = PlainGate
    probabilities, maps = [], []
    with torch.inference_mode():
        for image in torch.from_numpy(images):
            outputs = [plain(turn(image, view)[None, None]) for view in range(orbit)]
            logits = torch.stack([output.logits[0] for output in outputs]).mean(0)
            probabilities.append((logits / temperature).softmax(0))
            if outputs[0].gates:
                turned = [torch.stack(output.attention(), 1)[0] for output in outputs]
                maps.append(torch.stack([turn_back(t, view) for view, t in enumerate(turned)]).mean(0))
    return torch.stack(probabilities).numpy(), torch.stack(maps).numpy() if maps else None


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=repr)
def test_every_architecture_as_served_is_the_plain_network(architecture, device, images):
    network = network_of(architecture, images)
    with torch.inference_mode():
        logits = network(torch.from_numpy(images)[:, None]).logits
    temperature = max(1.0, float(logits.abs().max()) / 5)  # sums over pixels saturate a softmax, which hides errors
    expected, maps = predict_plainly(network, images, 2, temperature)
    card = CARD | {"calibration": {"temperature": {"1": temperature}}}
    classifier = Classifier(Weights((network,), Card.of(card), {}), device=device, orbit=2, batch=2)
    got = classifier.predict(None, prepared=known(images), attention="gates")
    tolerance = 1 if device == "cpu" else 10
    np.testing.assert_allclose(got.probabilities, expected, atol=tolerance * 1e-4)
    if maps is None:
        assert got.gates is None
    else:
        np.testing.assert_allclose(got.gates, maps, atol=tolerance * 1e-3)


def test_views_at_once_are_the_views_one_by_one(images):
    network = network_of(Architecture(features="average"), images)
    batch = torch.from_numpy(images)[:, None]
    with torch.inference_mode():
        at_once = see([network, network], batch, Task(images, tuple(range(8))), "gates")
        alone = [see([network, network], batch, Task(images, (view,)), "gates") for view in range(8)]
    torch.testing.assert_close(at_once.logits, torch.cat([each.logits for each in alone]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(at_once.features, sum(each.features for each in alone), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(at_once.maps, sum(each.maps for each in alone), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 8, 20])
@pytest.mark.parametrize("orbit", [1, 4, 8])
def test_a_plan_has_each_image_in_each_orientation_once(orbit, batch, together):
    numbers = np.arange(23)
    turned = [(0.0, numbers[:, None, None]), (np.pi / 4, 100 + numbers[:, None, None])]
    parts = plan(turned, orbit, batch, together)
    seen = [
        (task.angle, image, view)
        for part in parts
        for task in part
        for image in task.images.ravel().tolist()
        for view in task.views
    ]
    expected = [(turned[k][0], 100 * k + i, view) for k in (0, 1) for i in range(23) for view in range(orbit)]
    assert sorted(seen) == sorted(expected)
    assert all(len(task.images) * len(task.views) <= batch for part in parts for task in part)
    for part in parts:  # its tasks are of the same sources
        assert len({tuple(task.images.ravel() % 100) for task in part}) == 1


def test_threads_change_nothing(images):
    """Six tasks on one, two and three threads: the same bits, in order; and torch's own threads are as before."""
    network = network_of(Architecture(features="average"), images)
    tasks = plan([(0.0, np.concatenate([images, images[:, ::-1]]))], 2, 2, together=False)
    tasks = [task for part in tasks for task in part]

    def work(task):
        with torch.inference_mode():
            return see([network], torch.from_numpy(task.images.copy())[:, None], task, "mean")

    before = torch.get_num_threads()
    alone = list(side_by_side(work, tasks, 1))
    try:
        for threads in (2, 3, 7):
            torch.set_num_threads(threads)
            for ours, theirs in zip(side_by_side(work, tasks, threads), alone, strict=True):
                if threads < 7:
                    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
                else:  # more threads than tasks: each layer is shared, which may change the last bits
                    torch.testing.assert_close(ours.maps, theirs.maps, rtol=1e-4, atol=1e-5)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_is_raised():
    def fail(task):
        raise RuntimeError(f"task {task} is broken")

    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="task 0 is broken"):
        list(side_by_side(fail, range(10), 2))
    torch.set_num_threads(before)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("architecture", [Architecture, SonoNetArchitecture])
def test_gates_in_half_precision(architecture, normalisation, images):
    """What a GPU computes in float16, on the CPU: not the same numbers, and within 1e-3."""
    network = network_of(architecture(normalisation=normalisation, features="average"), images)
    half = with_half_gates(network)
    x = torch.from_numpy(images)[:, None]
    with torch.inference_mode():
        exact, near = network(x), half(x)
    assert {gate.dtype for gate in near.gates} == {near.logits.dtype} == {torch.float32}
    assert not torch.equal(near.gates[0], exact.gates[0])
    torch.testing.assert_close(near.logits.softmax(1), exact.logits.softmax(1), rtol=0, atol=MAX_HALF_ERROR)
    assert half_suffices(network, half, 1.0, torch.device("cpu"))


def test_half_precision_is_refused_where_it_overflows(images):
    """The same network, but for its first gate's weights: in float16 their product with the features is infinite."""
    network = network_of(Architecture(features="average"), images)
    with torch.no_grad():
        network.gates[0].theta.weight *= 1e6
    assert not half_suffices(network, with_half_gates(network), 1.0, torch.device("cpu"))


@pytest.mark.parametrize("name", ["agcnn-first-fast", "agcnn-first"])
def test_half_precision_on_real_sources(name, data_dir):
    from astropy.io import fits

    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        fields = hdus["IMAGES"].data[::60].astype(np.float32)
    classifier = Classifier(load_weights(name), device="cpu", orbit=1)
    x = torch.from_numpy(prepare(fields, classifier.preprocessing).images)[:, None]
    for network in classifier.networks:
        half = with_half_gates(network)
        assert half_suffices(network, half, classifier.temperature, classifier.device)
        with torch.inference_mode():
            exact, near = network(x), half(x)
        p, q = ((output.logits / classifier.temperature).softmax(1) for output in (exact, near))
        print(f"{name}: {len(x)} sources, largest difference of probabilities {(p - q).abs().max():.1e}, "
              f"of attention {(exact.mean_attention() - near.mean_attention()).abs().max():.1e}")  # fmt: skip
        assert (p - q).abs().max() <= MAX_HALF_ERROR


@pytest.mark.parametrize(("free", "batch"), [(70e9, 512), (500e9, 1024), (4e9, 32), (1e6, 1)])
def test_batch_follows_from_the_memory_of_a_gpu(free, batch, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80e9))
    assert choose_batch(torch.device("cuda:0")) == batch


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("batch", [1, 5, 16, None])
def test_gpu_gives_every_batch_in_order(batch, images):
    network = network_of(Architecture(features="average"), images)
    many = np.concatenate([np.roll(images, shift, 2) for shift in range(20)])
    weights = Weights((network,), Card.of(CARD), {})
    cpu = Classifier(weights, device="cpu").predict(None, prepared=known(many))
    gpu = Classifier(weights, device="cuda", batch=batch).predict(None, prepared=known(many))
    np.testing.assert_allclose(gpu.probabilities, cpu.probabilities, atol=1e-3)
    np.testing.assert_allclose(gpu.attention, cpu.attention, atol=1e-2)
