"""Sources classified as they are served, after the paper, turned, off centre and resampled."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table

from radio_ag.errors import InputError
from radio_ag.evaluation.robustness import (
    accuracy_by_offset,
    classes_when_turned,
    rotation_consistency,
)
from radio_ag.evaluation.scores import score_sources
from radio_ag.evaluation.served import (
    classify_copies,
    classify_served,
    learnt_positions,
    predict_clipped,
    single_networks,
)
from radio_ag.flags import Flag
from radio_ag.labelled.data import Labelled, load_labelled
from radio_ag.network.checkpoints import Weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import AGCNN, Architecture
from radio_ag.preprocess.images import Preprocessing, crop
from radio_ag.preprocess.islands import measure_islands
from radio_ag.simulated import make_field
from radio_ag.weights import Card


def weights(members: int = 1, seed: int = 0, clip: float = 3.0) -> Weights:
    """Untrained networks, made more sensitive."""
    torch.manual_seed(seed)
    networks = []
    for _ in range(members):
        network = AGCNN(Architecture(features="average")).eval()
        with torch.no_grad():
            for layer in network.classifier.modules():
                if isinstance(layer, torch.nn.Linear):
                    layer.weight.mul_(5)
        networks.append(network)
    card = {
        "name": "untrained",
        "sha256": "0" * 64,
        "input": {"clip": clip, "stretch": "sqrt", "value_range": [0.0, 1.0]},
        "calibration": {"temperature": {"1": 2.0, "8": 3.0}, "uncertain_below": 0.6},
    }
    return Weights(tuple(networks), Card.of(card), {})


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    """Simulated fields: two doubles, two plumes, a point, and noise alone."""
    made = [make_field(kind, seed=k, extent=80.0)[0] for k, kind in enumerate(["FRI", "FRII", "FRI", "FRII"])]
    point = make_field("compact", seed=4)[0]
    noise = make_field("compact", seed=5, peak_flux=1e-6)[0]
    return np.stack([*made, point, noise])


@pytest.fixture(scope="module")
def data(raw, tmp_path_factory) -> Labelled:
    n = len(raw)
    columns = {"ra": np.arange(n) * 10.0, "dec": np.zeros(n), "fr_class": ["FRI", "FRII"] * (n // 2)}
    table = fits.table_to_hdu(Table(columns))
    table.name = "SOURCES"
    path = tmp_path_factory.mktemp("own") / "own.fits"
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(raw, name="IMAGES")]).writeto(path)
    return load_labelled(path)


@pytest.mark.parametrize("orbit", [1, 16])
def test_served_outcome_is_the_classifiers_own_for_raw_fields(raw, data, orbit):
    classifier = Classifier(weights(members=2), device="cpu", orbit=orbit)
    outcome = classify_served(classifier, data)
    direct = classifier.predict(raw, attention="none")
    np.testing.assert_array_equal((outcome.flags & Flag.UNRESOLVED) != 0, [False] * 4 + [True, False])
    np.testing.assert_array_equal((outcome.flags & Flag.EMPTY) != 0, [False] * 5 + [True])
    assert np.isnan(outcome.probabilities[4:]).all()
    np.testing.assert_allclose(outcome.probabilities[:4], direct.probabilities[:4], atol=1e-5)
    np.testing.assert_allclose(outcome.std[:4], direct.std[:4], atol=1e-5)
    islands = measure_islands(raw, direct.prepared.rms)
    np.testing.assert_array_equal(outcome.flags, islands.flags | direct.flags)
    assert score_sources(outcome.probabilities, data.label, flags=outcome.flags)["all"]["unclassified"] == 2


def test_a_point_source_has_a_class_where_the_card_needs_no_morphology(raw, data):
    network = weights().described(needs_morphology=False)
    outcome = classify_served(Classifier(network, device="cpu", orbit=1), data)
    assert (outcome.flags[4] & Flag.UNRESOLVED) != 0
    assert outcome.probabilities[4].sum() == pytest.approx(1, abs=1e-6)


def test_fields_of_another_clip_are_refused(data):
    classifier = Classifier(weights(clip=4.0), device="cpu")
    with pytest.raises(InputError, match="untrained wants fields clipped at 4 times the noise"):
        classify_served(classifier, data)
    with pytest.raises(InputError, match="no labelled source has a class"):
        classify_served(Classifier(weights(), device="cpu"), data[:0])


def test_copies_of_the_normalised_image(data, monkeypatch):
    """The network is given the normalised image turned and shifted, not normalised again, with empty corners."""
    classifier = Classifier(weights(), device="cpu", orbit=1)
    predict, given = classifier.predict, []

    def watch(fields, **options):
        given.append(options["prepared"].images)
        return predict(fields, **options)

    monkeypatch.setattr(classifier, "predict", watch)
    fields = np.zeros((2, 300, 300), np.float32)
    fields[0, 150, 150] = 4  # a single pixel
    fields[1] = 7  # emission everywhere
    outcome = classify_copies(classifier, replace(data[:2], fields=fields), times=70)
    point, flat = np.concatenate(given[:2]), np.concatenate(given[2:])
    assert point.shape == flat.shape == (70, 150, 150)
    assert np.median(point.max((1, 2))) < 0.9  # interpolated, and not scaled to 1 again
    x = (np.indices((150, 150))[1] - 74.5).astype(np.float32)
    weight = point.sum((1, 2))
    # 2 px along each axis, and the half that it began with
    assert np.abs((point * x).sum((1, 2)) / weight).max() < 2.5 * 1.1 * np.sqrt(2)
    np.testing.assert_allclose(flat[:, 60:90, 60:90], 1, rtol=1e-5)
    assert (flat[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).mean() > 0.8
    assert outcome.copies.shape == (2, 70)
    np.testing.assert_allclose(outcome.probabilities[:, 1], outcome.copies.mean(1), rtol=1e-5)
    np.testing.assert_allclose(outcome.std, outcome.copies.std(1), rtol=1e-4)
    assert (outcome.std > 0).all()


def test_copies_are_repeatable_and_each_sources_own(data):
    classifier = Classifier(weights(), device="cpu", orbit=1)
    first = classify_copies(classifier, data[:2], times=3, seed=1).copies
    np.testing.assert_array_equal(first, classify_copies(classifier, data[:2], times=3, seed=1).copies)
    np.testing.assert_array_equal(first[:1], classify_copies(classifier, data[:1], times=3, seed=1).copies)
    assert (first != classify_copies(classifier, data[:2], times=3, seed=2).copies).any()
    with pytest.raises(InputError, match="times must be 1 or more"):
        classify_copies(classifier, data, times=0)


def test_members_of_an_ensemble_alone(data):
    both = weights(members=2)
    outcomes = [classify_served(Classifier(one, device="cpu", orbit=1), data) for one in single_networks(both)]
    alone = classify_served(Classifier(replace(both, networks=both.networks[1:]), device="cpu", orbit=1), data)
    np.testing.assert_array_equal(outcomes[1].probabilities, alone.probabilities)
    assert not np.allclose(outcomes[0].probabilities, outcomes[1].probabilities, equal_nan=True)


def test_positions_that_weights_learnt_from():
    plain = weights()
    assert learnt_positions(plain) is None
    kept = torch.tensor([[10.0, 20.0], [359.9, -89.123456789]], dtype=torch.float64)
    np.testing.assert_array_equal(learnt_positions(replace(plain, extra={"training.positions": kept})), kept.numpy())


# Robustness


class Watching:
    """Stands for a classifier: FRII where the brightest pixel lies further than ``reach`` from the centre."""

    preprocessing = Preprocessing()
    card = Card.of({"name": "watching", "input": {"clip": 3.0, "stretch": "linear", "value_range": [0, 1]}})

    def __init__(self, orbit=1, reach=10.0, direction=None):
        self.orbit, self.reach, self.direction, self.seen = orbit, reach, direction, 0

    def predict(self, fields, *, prepared=None, **_):
        images = crop(fields) if prepared is None else prepared.images
        images = np.nan_to_num(images)
        self.seen += len(images)
        y, x = np.unravel_index(images.reshape(len(images), -1).argmax(1), images.shape[1:])
        offset = np.stack([x - 74.5, y - 74.5], 1)
        far = np.hypot(*offset.T) if self.direction is None else offset @ self.direction
        second = np.where(far > self.reach, 0.9, 0.1)
        return SimpleNamespace(probabilities=np.stack([1 - second, second], 1))


def spots(*places) -> Labelled:
    """Fields with a small Gaussian at each place (x, y) from the centre, pixels."""
    y, x = np.mgrid[:300, :300] - 149.5
    fields = np.stack([np.exp(-((x - a) ** 2 + (y - b) ** 2) / 4) for a, b in places]).astype(np.float32)
    n = len(places)
    return Labelled(
        fields,
        np.zeros(n, int),
        np.arange(n) % 2 == 0,
        np.arange(n) * 1.0,
        np.zeros(n),
        np.full(n, "made"),
        np.arange(n),
    )


def test_classes_that_change_when_turned():
    """FRII where the spot is more than 10 px to the right: the one 5 px away never is, the one 24 px away at times."""
    data = spots((5, 0), (24, 0), (0, 24))
    watching = Watching(direction=np.array([1.0, 0.0]))
    classes = classes_when_turned(watching, data, angles=36)
    angles = np.radians(np.arange(36) * 10)
    np.testing.assert_array_equal(classes[0], [0, 1, 0])
    assert not classes[:, 0].any()
    np.testing.assert_array_equal(classes[:, 1] == 1, 24 * np.cos(angles) > 10)
    assert watching.seen == 36 * 3
    result = rotation_consistency(classes, data.certain)
    assert result["all"]["changed"] == pytest.approx(2 / 3, abs=1e-4)
    assert result["certain"]["changed"] == 0.5
    assert result["uncertain"]["changed"] == 1


def test_right_angles_are_classified_once_by_an_orbit_that_holds_them():
    data = spots((5, 0), (30, 10))
    watching = Watching(orbit=8)
    classes = classes_when_turned(watching, data, angles=36)
    assert classes.shape == (36, 2)
    assert watching.seen == 9 * 2
    np.testing.assert_array_equal(classes, np.repeat([[0, 1]], 36, axis=0))


def test_an_orbit_gives_the_same_class_at_right_angles(data):
    """What the shortcut rests on, with a network."""
    classifier = Classifier(weights(), device="cpu", orbit=8)
    fields = data.fields[:4]
    once, turned = (predict_clipped(classifier, f).probabilities for f in (fields, np.rot90(fields, 1, (1, 2))))
    np.testing.assert_allclose(once, turned, atol=1e-5)


def test_accuracy_falls_where_the_offset_passes_the_limit():
    """FRII beyond 10 px: sources at the centre are taken for FRI up to an offset of 18 arcsec."""
    result = accuracy_by_offset(Watching(), spots(*[(0, 0)] * 40), offsets=(0, 5, 15, 22, 30))
    assert [step["accuracy"] for step in result["all"]] == [1, 1, 1, 0, 0]
    assert [step["changed"] for step in result["all"]] == [0, 0, 0, 1, 1]
    assert [step["offset_arcsec"] for step in result["certain"]] == [0, 5, 15, 22, 30]
    assert result["uncertain"][0]["sources"] == 20
