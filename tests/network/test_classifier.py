"""The classifier: orbit, attention on the sky, batches, calibration, devices."""

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from torch import nn
from torch.nn import functional as F

from radio_ag.errors import DeviceError, ImageError, InputError, RadioAGWarning
from radio_ag.flags import Flag
from radio_ag.network.checkpoints import Weights, import_checkpoint, load_weights, save_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.devices import choose_device
from radio_ag.network.model import AGCNN, Architecture, Output
from radio_ag.network.orbit import turn, turn_back
from radio_ag.preprocess.images import normalise
from radio_ag.simulated import make_field
from radio_ag.weights import Card

CARD = {"name": "test", "input": {"clip": 3.0, "stretch": "linear", "value_range": [0.0, 1.0]}}


@pytest.fixture
def fields() -> np.ndarray:
    """Five noisy fields with a lopsided pair of blobs near their centres."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:300, :300]
    fields = rng.normal(0, 1e-4, (5, 300, 300))
    for field, (dy, dx) in zip(fields, rng.uniform(-20, 20, (5, 2)), strict=True):
        field += 0.02 * np.exp(-((y - 149.5 - dy) ** 2 + (x - 149.5 - dx) ** 2) / 20)
        field += 0.01 * np.exp(-((y - 149.5 + dy) ** 2 + (x - 149.5 + dx / 2) ** 2) / 40)
    return fields.astype(np.float32)


def _network(**options) -> AGCNN:
    torch.manual_seed(4)
    network = AGCNN(Architecture(**options))
    network(torch.rand(8, 1, 150, 150))  # gives batch norm something to remember
    return network.eval()


def _classifier(card=CARD, networks=None, **options) -> Classifier:
    networks = tuple(networks or [_network(features="average")])
    return Classifier(Weights(networks, Card.of(card), {}), device="cpu", **options)


@pytest.mark.parametrize("view", range(8))
def test_views_are_the_eight_symmetries(view):
    image = torch.arange(12.0).view(1, 3, 4)[:, :, :3]
    assert torch.equal(turn_back(turn(image, view), view), image)
    others = [turn(image, other) for other in range(8) if other != view]
    assert not any(torch.equal(turn(image, view), other) for other in others)


@pytest.mark.parametrize("view", range(1, 8))
def test_class_does_not_depend_on_the_orientation(view, fields):
    classifier = _classifier()
    upright = classifier.predict(fields)
    turned = classifier.predict(turn(torch.from_numpy(fields), view).numpy())
    np.testing.assert_allclose(turned.probabilities, upright.probabilities, atol=1e-5)
    np.testing.assert_allclose(turned.std, upright.std, atol=1e-5)
    expected = turn(torch.from_numpy(upright.attention), view)
    np.testing.assert_allclose(turned.attention, expected, atol=1e-3)


def test_orbit_averages_the_logits_of_the_eight_views(fields):
    network = _network(features="average")
    classifier = _classifier(networks=[network])
    prediction = classifier.predict(fields)
    with torch.inference_mode():
        images = torch.from_numpy(prediction.prepared.images)[:, None]
        logits = torch.stack([network(turn(images, view)).logits for view in range(8)])
    np.testing.assert_allclose(prediction.probabilities, logits.mean(0).softmax(1), atol=1e-5)
    np.testing.assert_allclose(prediction.std, logits.softmax(2)[..., 1].numpy().std(0), atol=1e-5)


class Probe(nn.Module):
    """Stands in for the network: each gate's map is the image itself, averaged over the gate's cells."""

    architecture = Architecture()
    blocks = ()

    def forward(self, images):
        image = images[:, 0]
        maps = [F.avg_pool2d(image, 4)[:, :37, :37], F.avg_pool2d(image, 2), image]
        return Output(torch.zeros(len(image), 2), torch.zeros(len(image), 54), *maps)


@pytest.mark.parametrize("orbit", [1, 8])
@pytest.mark.parametrize("view", range(8))
def test_each_gate_is_placed_where_the_emission_is(view, orbit):
    """An off-axis, asymmetric probe: its centroid in every gate's map is its own, however it is turned."""
    y, x = np.mgrid[:300, :300] - 75
    field = np.exp(-((y - 41) ** 2 + (x - 97) ** 2) / 60) + np.exp(-((y - 52) ** 2 + (x - 104) ** 2) / 40) / 2
    field = turn(torch.from_numpy(field[None].astype(np.float32)), view).numpy()
    classifier = _classifier(networks=[Probe()], orbit=orbit)
    prediction = classifier.predict(field, attention="gates")
    y, x = np.mgrid[:150, :150]
    truth = prediction.prepared.images[0]
    expected = [(truth * axis).sum() / truth.sum() for axis in (y, x)]
    for maps in (*prediction.gates[0], prediction.attention[0]):
        centroid = [(maps * axis).sum() / maps.sum() for axis in (y, x)]
        np.testing.assert_allclose(centroid, expected, atol=0.05)


def test_a_source_does_not_depend_on_its_neighbours(fields):
    classifier = _classifier(batch=3)
    together = classifier.predict(fields, attention="gates")
    for i, field in enumerate(fields):
        alone = classifier.predict(field[None], attention="gates")
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[i], atol=1e-5)
        np.testing.assert_allclose(alone.gates[0], together.gates[i], atol=1e-3)


def test_further_angles_agree_with_the_exact_ones(fields):
    """A round probe looks the same from every angle, so that 16 views see what 8 see, and maps come back upright."""
    prediction8 = _classifier(networks=[Probe()], orbit=8).predict(fields)
    prediction16 = _classifier(networks=[Probe()], orbit=16).predict(fields)
    difference = np.abs(prediction16.attention - prediction8.attention).max((1, 2))
    assert (difference < 0.15 * prediction8.attention.max((1, 2))).all()
    y, x = np.mgrid[:150, :150]
    for a, b in zip(prediction8.attention, prediction16.attention, strict=True):
        for axis in (y, x):
            assert (a * axis).sum() / a.sum() == pytest.approx((b * axis).sum() / b.sum(), abs=0.3)


class Compass(Probe):
    """Like the probe, with scores that tell sources along the axes from those between them."""

    n_features = 1

    def __init__(self, gain):
        super().__init__()
        y, x = np.mgrid[:150, :150] - 74.5
        self.template = torch.tensor(gain * np.cos(4 * np.arctan2(y, x)), dtype=torch.float32)

    def forward(self, images):
        score = (images[:, 0] * self.template).sum((1, 2))
        output = super().forward(images)
        return output._replace(logits=torch.stack([-score, score], 1), features=score[:, None] + output.features)


class Observed:
    """Stands in for the model of the features: remembers what it is asked about."""

    def distance(self, features):
        self.features = features
        return np.zeros(len(features))


@pytest.mark.parametrize("members", [1, 2])
def test_doubtful_sources_are_seen_from_further_angles(fields, members):
    """Rows within the card's bound are as an orbit of 24 has them, the others as one of 8; blank ones are not seen."""
    fields[2] = 0
    networks = [Compass(0.01), Compass(0.03)][:members]
    seen = []

    def look(orbit, within=0.0, further=True):
        card = CARD | {"calibration": {"further_within": within}, "novelty": {"threshold": 1.0}}
        shapes = {"means": (2, members), "precision": (members, members), "centre": (members,), "scale": (members,)}
        extra = {f"novelty.{name}": torch.zeros(shape) for name, shape in shapes.items()}
        classifier = Classifier(Weights(tuple(networks), Card.of(card), extra), device="cpu", orbit=orbit)
        classifier.feature_model = Observed()
        for network in classifier._served:
            network.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
        prediction = classifier.predict(fields, attention="gates", further=further)
        names = "logits", "probabilities", "std", "attention", "gates"
        return {name: getattr(prediction, name) for name in names} | {"features": classifier.feature_model.features}

    exact, further = look(8), look(24)
    difference = np.abs(exact["logits"][:, 1] - exact["logits"][:, 0])
    bound = float(np.median(np.delete(difference, 2)))
    doubtful = (difference < bound) & (np.arange(5) != 2)
    assert doubtful.sum() == 2
    seen.clear()
    got = look(8, within=bound)
    assert sum(seen) == members * (5 * 8 + 2 * 16)
    for name, values in got.items():
        np.testing.assert_allclose(values[doubtful], further[name][doubtful], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(values[~doubtful], exact[name][~doubtful], rtol=1e-4, atol=1e-4)
        assert not np.allclose(exact[name][doubtful], further[name][doubtful], rtol=1e-3, atol=1e-3), name
    seen.clear()
    look(8, within=bound, further=np.arange(5) == np.flatnonzero(doubtful)[0])
    assert sum(seen) == members * (5 * 8 + 16)


def test_doubtful_sources_are_shown_to_the_networks_that_were_not_asked(fields):
    """Rows below the card's bound are as the whole ensemble has them, the others as the network asked first."""
    networks = [Compass(0.01), Compass(0.03), Compass(-0.005)]
    calibration = {"temperature": 1.5, "temperature_of_all": {"1": 2.0, "8": 3.0}}

    def look(members, **settings):
        card = CARD | {"calibration": calibration | settings}
        prediction = _classifier(card, networks[:members], orbit=8).predict(fields, attention="gates")
        return {name: getattr(prediction, name) for name in ("logits", "std", "attention", "gates")}, prediction

    first, alone = look(1)
    whole, _ = look(3, temperature=3.0)
    bound = float(np.median(alone.probability))
    doubtful = alone.probability < bound
    assert doubtful.sum() == 2
    got, prediction = look(3, asked_first=1, doubt_below=bound)
    for name, values in got.items():
        np.testing.assert_allclose(values[doubtful], whole[name][doubtful], rtol=1e-4, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(values[~doubtful], first[name][~doubtful], rtol=1e-4, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(prediction.probabilities[~doubtful], alone.probabilities[~doubtful], atol=1e-6)
    odds = np.diff(whole["logits"][doubtful], axis=1)[:, 0] / 3
    np.testing.assert_allclose(prediction.probabilities[doubtful, 1], 1 / (1 + np.exp(-odds)), atol=1e-5)


def test_each_orbit_has_its_own_calibration(fields):
    calibration = {"temperature": {"1": 2.0, "4": 3.0, "8": 4.0}, "uncertain_below": {"1": 0.9, "8": 0.6}}
    card = CARD | {"calibration": calibration}
    found = {
        orbit: (one.temperature, one.uncertain_below)
        for orbit in (1, 2, 4, 8, 24)
        for one in [_classifier(card, orbit=orbit)]
    }
    assert found == {1: (2.0, 0.9), 2: (2.0, 0.9), 4: (3.0, 0.9), 8: (4.0, 0.6), 24: (4.0, 0.6)}


def test_weights_without_calibration_are_said(fields, tmp_path):
    path = save_weights(tmp_path / "mine.safetensors", [_network(features="average")], CARD | {"name": "mine"})
    with pytest.warns(RadioAGWarning, match="mine is not calibrated: no source will be UNCERTAIN or OUT_OF_DIST"):
        classifier = Classifier.load(path, device="cpu")
    assert not classifier.predict(fields).flags.any()


def test_units_are_converted_or_refused(fields):
    classifier = _classifier(orbit=1)
    plain = classifier.predict(fields).prepared
    milli = classifier.predict((fields.astype(float) * 1000) << u.Unit("mJy/beam")).prepared
    np.testing.assert_allclose(milli.rms, plain.rms, rtol=1e-6)
    np.testing.assert_allclose(milli.images, plain.images, atol=1e-5)
    for unit in ("K", "Jy", "Jy/pix"):
        with pytest.raises(ImageError, match=r"fields are in .*: accepted is Jy/beam and what converts to it"):
            classifier.predict(fields << u.Unit(unit))


@pytest.mark.parametrize("shape", [(300, 300), (2, 150, 150), (1, 301, 300), (2, 1, 300, 300)])
def test_sizes_that_the_card_does_not_allow_are_refused(shape):
    with pytest.raises(ImageError, match=r"fields must be of shape \(n, 300, 300\)"):
        _classifier().predict(np.zeros(shape, np.float32))


@pytest.mark.parametrize("orbit", [8, 16])
def test_right_angles_and_mirror_images_change_nothing(data_dir, orbit):
    """Of real fields, with the bundled weights: noise exactly, probabilities to 1e-6, class and flags the same."""
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        raw = hdus["IMAGES"].data[40:1000:120].astype(np.float32)
    classifier = Classifier.load(device="cpu", orbit=orbit)
    upright = classifier.predict(raw)
    for view in range(1, 8):
        turned = classifier.predict(np.ascontiguousarray(turn(torch.from_numpy(raw), view).numpy()))
        np.testing.assert_array_equal(turned.prepared.rms, upright.prepared.rms)
        np.testing.assert_allclose(turned.probabilities, upright.probabilities, atol=1e-6)
        np.testing.assert_array_equal(turned.classes, upright.classes)
        np.testing.assert_array_equal(turned.flags, upright.flags)


def test_further_angles_need_the_fields(fields):
    classifier = _classifier(orbit=16)
    with pytest.raises(InputError, match="an orbit of 16 needs the fields, not only the images prepared from them"):
        classifier.predict(None, prepared=classifier.prepare(fields))


def test_ensemble_averages_its_members(fields):
    networks = [_network(features="average"), _network(features="average", normalisation="sigmoid")]
    single = [_classifier(networks=[n], orbit=1).predict(fields).probabilities for n in networks]
    both = _classifier(networks=networks, orbit=1).predict(fields)
    log_odds = np.mean([np.log(p[:, 1] / p[:, 0]) for p in single], axis=0)
    np.testing.assert_allclose(both.probabilities[:, 1], 1 / (1 + np.exp(-log_odds)), atol=1e-5)
    np.testing.assert_allclose(both.std, np.abs(single[0] - single[1])[:, 1] / 2, atol=1e-5)


def test_temperature_of_the_card_softens_and_threshold_flags(fields):
    plain = _classifier().predict(fields).probabilities
    card = CARD | {"calibration": {"temperature": {"1": 1.0, "8": 4.0}, "uncertain_below": 0.999}}
    calibrated = _classifier(card).predict(fields)
    np.testing.assert_allclose(
        np.log(calibrated.probabilities[:, 1] / calibrated.probabilities[:, 0]),
        np.log(plain[:, 1] / plain[:, 0]) / 4,
        atol=1e-4,
    )
    uncertain = calibrated.probabilities.max(1) < 0.999
    np.testing.assert_array_equal((calibrated.flags & Flag.UNCERTAIN) != 0, uncertain)
    assert uncertain.any()


def test_blank_field_has_no_class(fields):
    fields[1], fields[3] = 0, np.nan
    prediction = _classifier().predict(fields)
    assert list(np.isnan(prediction.probabilities[:, 0])) == [False, True, False, True, False]
    assert list(prediction.classes == "") == [False, True, False, True, False]
    assert set(prediction.classes[[0, 2, 4]]) <= {"FRI", "FRII"}


@pytest.mark.parametrize("attention", ["mean", "gates", "none"])
def test_no_fields(attention):
    prediction = _classifier().predict(np.zeros((0, 300, 300), np.float32), attention=attention)
    assert prediction.probabilities.shape == (0, 2)
    assert prediction.classes.shape == (0,)
    if attention == "gates":
        assert prediction.gates.shape == (0, 3, 150, 150)


def test_without_gates_there_is_no_attention(fields):
    prediction = _classifier(networks=[_network(gates=0)]).predict(fields)
    assert prediction.attention is None
    assert np.isfinite(prediction.probabilities).all()


def test_batch_is_halved_when_memory_runs_out(fields):
    class Hungry(Probe):
        def forward(self, images):
            if len(images) > 2:
                raise RuntimeError("CUDA out of memory. Tried to allocate everything")
            return super().forward(images)

    classifier = _classifier(networks=[Hungry()], batch=16)
    prediction = classifier.predict(fields)
    assert classifier.batch == 2
    expected = _classifier(networks=[Probe()]).predict(fields)
    np.testing.assert_allclose(prediction.attention, expected.attention, atol=1e-6)


def test_other_errors_are_not_taken_for_lack_of_memory(fields):
    class Broken(Probe):
        def forward(self, images):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        _classifier(networks=[Broken()]).predict(fields)


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(DeviceError, match=r"device 'cuda:99' is not there; accepted here: auto, .*cpu"):
        choose_device("cuda:99")


@pytest.mark.parametrize(("option", "value"), [("orbit", 3), ("orbit", 12), ("orbit", 0), ("batch", 0)])
def test_bad_options_are_named(option, value):
    with pytest.raises(InputError, match=f"{option} must be .*{value}"):
        _classifier(**{option: value})


def test_bad_attention_is_named(fields):
    with pytest.raises(InputError, match="attention must be one of mean, gates, none, not 'all'"):
        _classifier().predict(fields, attention="all")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu(fields):
    weights = Weights((_network(features="average"),), Card.of(CARD), {})
    cpu = Classifier(weights, device="cpu").predict(fields)
    gpu = Classifier(weights, device="cuda").predict(fields)
    np.testing.assert_allclose(gpu.probabilities, cpu.probabilities, atol=1e-3)
    np.testing.assert_allclose(gpu.attention, cpu.attention, atol=1e-2)


def test_published_network_from_raw_fields_and_from_published_images(data_dir, tmp_path):
    """Raw FIRST fields through our noise fit, clip and crop give the classes of the published 8-bit images."""
    path = import_checkpoint(
        data_dir / "published" / "weights" / "range_norm_ft_3gates_exp1.pt",
        str(tmp_path / "published.safetensors"),
        normalisation="range",
    )
    classifier = Classifier.load(path, device="cpu", orbit=1)
    rows = slice(None, None, 7)
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        fields = hdus["IMAGES"].data[rows].astype(np.float32)
        published = hdus["PUBLISHED"].data[rows].astype(np.float32)
    ours = classifier.predict(fields, attention="none").probabilities
    images = torch.from_numpy(normalise(published, value_range=(-1, 1)))[:, None]
    with torch.inference_mode():
        theirs = torch.cat([classifier.networks[0](batch).logits for batch in images.split(16)]).softmax(1).numpy()
    agreement = (ours.argmax(1) == theirs.argmax(1)).mean()
    print(f"same class for {agreement:.1%} of {len(ours)} sources")
    assert agreement >= 0.95


def test_features_are_the_mean_over_the_orbit_of_what_is_classified():
    """The last layer makes the class scores of them."""
    fields = np.stack([make_field(kind, seed=n)[0] for n, kind in enumerate(("FRI", "FRII", "FRI"))])
    weights = load_weights("agcnn-first-fast")
    classifier = Classifier(weights, device="cpu", orbit=8)
    features = classifier.features(fields)
    assert features.shape == (3, 54)
    scores = weights.networks[0].classifier(list(torch.from_numpy(features).split((32, 16, 6), 1)))
    expected = classifier.predict(fields, attention="none", further=False).logits
    np.testing.assert_allclose(scores.detach().numpy(), expected, atol=1e-4)
    assert classifier.features(fields[:0]).shape == (0, 54)
