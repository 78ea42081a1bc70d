"""Zeros that stand for no data, and those that are chance."""

import numpy as np
import pytest

from radio_ag.catalog_io.images.zeros import SIDE, STRIP, unobserved


def noise(shape=(120, 150)):
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize(
    "window",
    [np.s_[:, :1], np.s_[-2:, :], np.s_[40 : 40 + SIDE, 50 : 50 + SIDE], np.s_[0:1, 20 : 20 + STRIP], np.s_[:, :]],
)
def test_areas_and_strips_along_an_edge(window):
    data = noise()
    data[window] = 0.0
    np.testing.assert_array_equal(unobserved(data), data == 0)


@pytest.mark.parametrize("window", [np.s_[60, 60], np.s_[60:62, 20:140], np.s_[:1, :40], np.s_[:0]])
def test_a_few_zeros_are_chance(window):
    data = noise()
    data[window] = 0.0
    assert not unobserved(data).any()


def test_a_slanted_border_has_no_gaps():
    data = noise()
    y, x = np.indices(data.shape)
    data[y + 2 * x < 90] = 0.0
    np.testing.assert_array_equal(unobserved(data), data == 0)
