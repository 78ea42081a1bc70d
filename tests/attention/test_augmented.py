"""Random augmentations of sources: mean maps, and how often each source gets which class."""

import tracemalloc

import numpy as np
import pytest
import torch
from attention_examples import example_sources, network, write_weights

from radio_ag.attention.augmented import (
    Sources,
    aggregate,
    augmented_views,
    classification_rates,
    false_classification_rate,
    find_outliers,
    least_stable,
)
from radio_ag.attention.statistics import UNLABELLED
from radio_ag.errors import InputError
from radio_ag.network.classifier import Classifier


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def classifier(weights):
    return Classifier.load(weights["a"], device="cpu", orbit=1)


@pytest.fixture(scope="module")
def sources():
    return example_sources()


def test_aggregate_is_the_mean_over_the_views_of_each_source(classifier, sources):
    found = aggregate(classifier, [sources], times=3, seed=5)
    views = [next(augmented_views(classifier, sources.images[k], 3, (5, k))) for k in range(4)]
    assert found.count() == 12  # the empty source is passed over
    for label in (0, 1):
        chosen = [v for v, true in zip(views, sources.label, strict=False) if true == label]
        np.testing.assert_allclose(found.image(label=label), np.mean([v.images.mean(0) for v in chosen], 0), rtol=1e-5)
        expected = np.mean([v.gates.mean((0, 1)) for v in chosen], 0)
        np.testing.assert_allclose(found.attention(label=label), expected, rtol=1e-5)


def test_views_are_the_networks_own_answers(classifier, sources):
    view = next(augmented_views(classifier, sources.images[1], 2, 0))
    x = torch.from_numpy(view.images)[:, None].clamp_min(0).sqrt() * 2 - 1  # stretch and value range of the card
    with torch.inference_mode():
        output = network(0)(x)
    np.testing.assert_array_equal(view.predicted, output.logits.argmax(1))
    np.testing.assert_allclose(view.gates, torch.stack(output.attention(), 1), atol=2e-3)
    np.testing.assert_allclose(view.images.max((1, 2)), 1, atol=1e-6)


def test_rates_do_not_depend_on_chunks(classifier, sources):
    whole = classification_rates(classifier, [sources], times=4)
    parts = [Sources(*(column[rows] for column in sources)) for rows in (slice(0, 1), slice(1, 5))]
    np.testing.assert_array_equal(whole, classification_rates(classifier, parts, times=4))
    np.testing.assert_allclose(whole[:4].sum(1), 1)
    assert np.isnan(whole[4]).all()


def test_false_rate_and_outliers():
    rates = np.array([[0.02, 0.98], [0.97, 0.03], [0.0, 1.0], [np.nan, np.nan], [0.5, 0.5]])
    false = false_classification_rate(rates, [0, 0, 0, 1, UNLABELLED])
    np.testing.assert_allclose(false, [0.98, 0.03, 1.0, np.nan, np.nan])
    np.testing.assert_array_equal(find_outliers(false), [2, 0])
    assert len(find_outliers(false, above=1.0)) == 0


def test_least_stable_are_those_of_the_largest_spread():
    np.testing.assert_array_equal(least_stable([0.1, np.nan, 0.3, 0.2], 2), [2, 3])
    masked = np.ma.masked_array([0.1, 9.0], [False, True])
    np.testing.assert_array_equal(least_stable(masked, 5), [0])


def test_memory_does_not_grow_with_the_sources(classifier, sources):
    def peak(chunks: int) -> int:
        tracemalloc.start()
        aggregate(classifier, (Sources(*(c[:1].copy() for c in sources)) for _ in range(chunks)), times=1)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(8) < peak(2) + 1e6  # a field alone takes 0.36 MB


def test_no_augmentations_are_an_error(classifier, sources):
    with pytest.raises(InputError, match="times must be 1 or more, not 0"):
        aggregate(classifier, [sources], times=0)
