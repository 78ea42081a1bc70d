"""Images of the same source, found by their pixels alone."""

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.labelled.same_images import find_same_images
from radio_ag.preprocess.images import clip, crop
from radio_ag.simulated import make_field


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    """Clipped fields of six different extended sources."""
    made = [make_field(kind, seed=seed, extent=90.0)[0] for seed in range(3) for kind in ("FRI", "FRII")]
    return clip(np.stack(made), 0.15e-3)


def test_shifted_turned_and_scaled_images_are_found(fields):
    middle = 149.5
    images = crop(fields)
    altered = [
        3.0 * np.rot90(crop(fields[view : view + 1], 150, (middle + 9, middle - 14))[0], view)[:, :: 1 - 2 * (view % 2)]
        for view in range(6)
    ]
    pairs = find_same_images(altered, images)
    np.testing.assert_array_equal(pairs, [[k, k] for k in range(6)])


def test_different_sources_are_not(fields):
    assert len(find_same_images(crop(fields))) == 0


def test_images_among_themselves_each_pair_once(fields):
    images = crop(fields)[[0, 1, 0, 2, 1]]
    np.testing.assert_array_equal(find_same_images(images), [[0, 2], [1, 4]])


def test_empty_images_match_nothing(fields):
    images = crop(fields)[:2].copy()
    images[0] = 0
    np.testing.assert_array_equal(find_same_images(images, images), [[1, 1]])


def test_an_image_that_is_cut_off_is_found():
    """A double of which one image has lost a fifth of the flux beyond its edge."""
    y, x = np.mgrid[:300, :300]
    spots = ((140, 150, 9.0), (160, 140, 6.0), (90, 165, 5.0))
    field = sum(a * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8) for u, v, a in spots).astype(np.float32)
    cut = crop(field[None], 150, (170.5, 149.5))  # begins at x = 96
    assert cut.sum() < 0.8 * field.sum()
    np.testing.assert_array_equal(find_same_images(cut, crop(field[None])), [[0, 0]])


def test_frdeep_sources_that_are_in_mirabest(data_dir):
    """Told by eye: in the same sky, and not."""
    same = {2: 805, 57: 892, 95: 560, 119: 858, 48: 854, 5: 772, 37: 356}
    other = [1, 3, 12, 41, 49, 99]
    with fits.open(data_dir / "frdeep_train.fits") as hdus:
        ours = hdus["IMAGES"].data[[*same, *other]]
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        theirs = hdus["PUBLISHED"].data[[*same.values(), *range(100)]]
    found = find_same_images(ours, theirs)
    np.testing.assert_array_equal(found, [[k, k] for k in range(len(same))])
