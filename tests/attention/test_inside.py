"""What networks do with single sources, random ones, those bundled and those published."""

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from attention_examples import example_sources, network, write_weights

from radio_ag import weights as registry
from radio_ag.attention.augmented import Sources
from radio_ag.attention.inside import measure_attention, prepare_clipped, trace_source
from radio_ag.attention.sources import open_sources
from radio_ag.attention.statistics import UNLABELLED, attention_statistics
from radio_ag.errors import InputError
from radio_ag.network.checkpoints import import_checkpoint
from radio_ag.network.classifier import Classifier, trace_network
from radio_ag.preprocess.images import clip, crop
from radio_ag.simulated import make_field


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def classifier(weights):
    return Classifier.load(weights["a"], device="cpu", orbit=1)


@pytest.fixture(scope="module")
def sources():
    return example_sources()


def test_measured_attention_is_that_of_the_prediction(classifier, sources):
    values, classes = measure_attention(classifier, [sources])
    prepared = prepare_clipped(sources.images, classifier)
    prediction = classifier.predict(sources.images, attention="gates", prepared=prepared)
    expected = attention_statistics(prediction.attention, crop(sources.images), prediction.gates)
    np.testing.assert_allclose(values["emission_share"][:4], expected.emission_share[:4], rtol=1e-5)
    assert classes[4] == ""
    assert all(np.isnan(column[4]) for column in values.values())
    empty, none = measure_attention(classifier, [])
    assert len(none) == 0
    assert set(empty) == set(values)


def test_clipped_image_is_seen_from_further_angles_as_its_field_is(weights):
    field = make_field("FRII", seed=2)[0][None]
    classifier = Classifier.load(weights["a"], device="cpu", orbit=16)
    expected = classifier.predict(field, attention="gates")
    traced = trace_source(classifier, clip(field, expected.prepared.rms)[0])
    np.testing.assert_allclose(traced.gates, expected.gates[0], atol=1e-4)
    np.testing.assert_allclose(traced.probabilities, expected.probabilities[0], atol=1e-5)


def test_feature_maps_are_the_blocks_outputs(classifier, sources):
    traced = trace_source(classifier, sources.images[1])
    maps, _ = trace_network(network(0), traced.prepared)
    assert [m.shape for m in maps] == [(6, 150, 150), (16, 75, 75), (32, 37, 37), (64, 18, 18)]
    x = torch.from_numpy(traced.prepared)[None, None]
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(maps[0]), network(0).blocks[0](x)[0])
    for folded, plain in zip(traced.features, maps, strict=True):
        np.testing.assert_allclose(folded, plain, atol=1e-3)
    with pytest.raises(InputError, match="no emission"):
        trace_source(classifier, sources.images[4])


@pytest.mark.parametrize("normalisation", ["range", "softmax", "sigmoid", "standardisation"])
def test_steps_inside_the_gates_lead_to_the_networks_own_maps_and_features(normalisation, sources):
    made = network(3, normalisation=normalisation)
    image = torch.from_numpy(crop(sources.images[1:2])) / sources.images[1].max()
    with torch.inference_mode():
        output = made(image[:, None])
    _, steps = trace_network(made, image[0])
    assert [one.features.shape for one in steps] == [(32, 37, 37), (16, 75, 75), (6, 150, 150)]
    assert {one.agreement.shape[0] for one in steps} == {64}
    for one, attention in zip(steps, output.gates, strict=True):
        np.testing.assert_allclose(one.attention, attention[0], atol=1e-4)
        np.testing.assert_array_equal(one.agreement, np.maximum(one.projected + one.gating, 0))
        np.testing.assert_allclose(one.attended, one.attention * one.features, atol=1e-6)
    summed = np.concatenate([one.attended.sum((1, 2)) for one in steps])  # eq. 9
    np.testing.assert_allclose(summed, output.features[0], rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def published_training(data_dir) -> Sources:
    """The published images of every fortieth training source."""
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        images = hdus["PUBLISHED"].data[::40].astype(np.float32)
    return Sources(images, np.full(len(images), UNLABELLED), np.ones(len(images), bool))


@pytest.mark.parametrize(
    ("file", "normalisation", "emission", "halo"),
    [
        ("range_norm_ft_3gates_exp1", "range", (1.4, 2.6), (1.1, 1.7)),  # 2.0 and 1.4 on unseen sources
        ("sigmoid_mean_3gates", "sigmoid", (0.1, 0.8), (0.5, 1.1)),  # 0.2 and 0.6
        ("softmax_concat_3gates", "softmax", (5.0, 15.0), (3.0, 6.0)),  # 7.3 and 4.7
    ],
)
def test_published_networks_look_where_they_were_measured_to(
    file, normalisation, emission, halo, published_training, data_dir, tmp_path
):
    path = data_dir / "published" / "weights" / f"{file}.pt"
    imported = import_checkpoint(path, str(tmp_path / "it.safetensors"), normalisation=normalisation)
    classifier = Classifier.load(imported, device="cpu", orbit=1)
    values, _ = measure_attention(classifier, [published_training])
    assert emission[0] < np.median(values["emission_enrichment"]) < emission[1]
    assert halo[0] < np.median(values["halo_enrichment"]) < halo[1]


PARTNERS = {
    "range": "range_norm_ft_3gates_exp1",
    "sigmoid": "sigmoid_mean_3gates",
    "softmax": "softmax_concat_3gates",
    "standardisation": "std_mean_norm_concat_3gates",
}


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(registry.__file__).parent.glob("*.safetensors")))
def test_bundled_networks_point_at_the_source_at_least_as_well_as_the_published_ones(name, data_dir, tmp_path):
    labelled = open_sources(data_dir / "mirabest_train.fits")
    rows = np.arange(0, len(labelled), 40)
    some = Sources(labelled.clipped(rows, 3.0), labelled.label[rows], labelled.certain[rows])
    normalisation = registry.card(name).architecture["normalisation"]
    path = data_dir / "published" / "weights" / f"{PARTNERS[normalisation]}.pt"
    imported = import_checkpoint(path, str(tmp_path / "it.safetensors"), normalisation=normalisation)
    ours, theirs = (
        measure_attention(Classifier.load(weights, device="cpu", orbit=1), [some])[0] for weights in (name, imported)
    )
    for column in ("emission_enrichment", "halo_enrichment"):
        assert np.median(ours[column]) >= np.median(theirs[column]), column
    assert np.median(ours["emission_enrichment"]) > 1
