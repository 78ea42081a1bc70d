"""Weights that know a survey with another beam than FIRST's take its images as their own."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from radio_ag import classify
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.errors import ImageError
from radio_ag.flags import Flag
from radio_ag.network.checkpoints import load_weights, save_weights

ROW = Table({"ra": [100.0], "dec": [30.0]})


def image(path, beam: float, pixels: float):
    """A double source of 4 beams on noise."""
    size = 340
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    sigma, apart = beam / pixels / 2.355, 2 * beam / pixels
    pair = sum(np.exp(-((x - side * apart) ** 2 + y**2) / (2 * sigma**2)) for side in (-1, 1))
    header = tangent_wcs(100.0, 30.0, size, pixels).to_header()
    header.update(BUNIT="Jy/beam", BMAJ=beam / 3600, BMIN=beam / 3600)
    noise = np.random.default_rng(0).normal(0, 1e-3, (size, size))
    fits.PrimaryHDU((noise + 0.1 * pair).astype(np.float32), header).writeto(path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that says of itself that it knows NVSS."""
    parent = load_weights("agcnn-first-fast")
    told = parent.card.content["input"] | {"survey": "NVSS 1.4 GHz", "beam": 45.0, "pixel_scale": 15.0}
    card = parent.card.content | {"name": "mine", "input": told}
    return save_weights(tmp_path_factory.mktemp("weights") / "mine.safetensors", parent.networks, card, parent.extra)


def flags(path, weights, **options) -> int:
    return int(classify(ROW, images=path, weights=weights, device="cpu", attention="none", **options).table["flags"][0])


def test_images_of_the_survey_are_the_weights_own(tmp_path, weights):
    """Neither an option nor a flag nor a warning; the network of FIRST refuses them as before."""
    path = image(tmp_path / "nvss.fits", 45.0, 15.0)
    assert not flags(path, weights) & Flag.RESAMPLED
    with pytest.raises(ImageError, match="--beam-scaled"):
        flags(path, "agcnn-first-fast")


def test_pixels_of_another_side_do_not_matter(tmp_path, weights):
    assert not flags(image(tmp_path / "fine.fits", 45.0, 11.0), weights) & Flag.RESAMPLED


def test_images_of_another_beam_are_flagged(tmp_path, weights):
    assert flags(image(tmp_path / "first.fits", 5.4, 1.8), weights) & Flag.RESAMPLED
    assert flags(image(tmp_path / "racs.fits", 25.0, 6.0), weights) & Flag.RESAMPLED
