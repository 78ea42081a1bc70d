"""The distance from the training set against closed forms."""

import numpy as np
import pytest
from scipy.stats import chi2

from radio_ag.network.novelty import FeatureModel


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 20_000)
    mixing = rng.normal(size=(6, 6))
    return rng.normal(size=(20_000, 6)) @ mixing + 8 * labels[:, None], labels


def test_distances_of_gaussian_classes_follow_chi(features):
    model = FeatureModel.fit(*features, shrinkage=0.0)
    for share in (0.5, 0.95):
        inside = (model.distance(features[0]) < np.sqrt(chi2.ppf(share, 6))).mean()
        assert inside == pytest.approx(share, abs=0.02)


def test_distance_does_not_depend_on_units(features):
    scales = np.array([1e-4, 1, 10, 1e3, 5, 2])
    plain = FeatureModel.fit(*features).distance(features[0][:50])
    scaled = FeatureModel.fit(features[0] * scales, features[1]).distance(features[0][:50] * scales)
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)


def test_outliers_are_far_and_constant_features_do_no_harm(features):
    padded = np.hstack([features[0], np.ones((len(features[0]), 1))])
    model = FeatureModel.fit(padded, features[1])
    inliers = model.distance(padded[:100])
    outliers = model.distance(padded[:100] + 100)
    assert np.isfinite(inliers).all()
    assert outliers.min() > 3 * inliers.max()
