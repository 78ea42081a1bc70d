"""Random networks and sources by formula, for the tests of attention."""

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table

from radio_ag import classify
from radio_ag.attention.augmented import Sources
from radio_ag.network.checkpoints import save_weights
from radio_ag.network.model import AGCNN, Architecture
from radio_ag.simulated import make_mosaic

CARD = {
    "name": "made",
    "description": "random",
    "input": {"clip": 3.0, "stretch": "sqrt", "value_range": [-1.0, 1.0]},
    "needs_morphology": False,
}


def network(seed: int = 0, **options) -> AGCNN:
    """A network with random weights and sensible batch norm."""
    torch.manual_seed(seed)
    made = AGCNN(Architecture(dropout=0.0, **options))
    made(torch.rand(4, 1, 150, 150))
    return made.eval()


def write_weights(folder) -> dict:
    """Files of random weights: two with gates, one without."""
    networks = {"a": network(0), "b": network(1, normalisation="softmax"), "none": network(2, gates=0)}
    return {name: save_weights(folder / f"{name}.safetensors", [net], CARD) for name, net in networks.items()}


def blobs(*centres, size=300):
    """Round sources of a peak of 1."""
    y, x = np.mgrid[:size, :size]
    image = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b in centres)
    return np.where(image > 0.05, image, 0).astype(np.float32)


def example_sources() -> Sources:
    """Two of each class, one of them uncertain, and one without emission."""
    images = [blobs((150, 150)), blobs((130, 150), (172, 152)), blobs((150, 155)), blobs((149, 120), (151, 180))]
    images = np.array([*images, np.zeros((300, 300))], np.float32)
    return Sources(images, np.array([0, 1, 0, 1, 0]), np.array([True, True, False, True, True]))


def write_labelled(path):
    """The same sources but the last as labelled images over noise."""
    table = Table(
        {
            "name": ["one", "two", "three", "four"],
            "ra": [10.0, 20.0, 30.0, 40.0],
            "dec": [1.0, 2.0, 3.0, 4.0],
            "z": [0.1, 0.2, 0.3, 0.4],
            "fr_class": ["FRI", "FRII", "FRI", "FRII"],
            "confidence": ["certain", "certain", "uncertain", "certain"],
        }
    )
    noise = np.random.default_rng(3).normal(0, 1e-3, (4, 300, 300))
    images = fits.ImageHDU((example_sources().images[:4] + noise).astype(np.float32), name="IMAGES")
    hdu = fits.table_to_hdu(table)
    hdu.name = "SOURCES"
    fits.HDUList([fits.PrimaryHDU(), hdu, images]).writeto(path)
    return path


def write_product(path, weights):
    """A product that keeps its cutouts, with labels from its own catalogue, and one row without an image."""
    mosaic, truth = make_mosaic(size=700, n_sources=3, seed=4)
    catalogue = Table(
        {
            "ra": [*truth["ra"], truth["ra"][0] + 5],
            "dec": [*truth["dec"], truth["dec"][0]],
            "kind": ["FRII", "FRI", "what", "FRI"],
            "sure": ["certain", "uncertain", "Certain", ""],
            "seen": [False, True, True, False],
        }
    )
    options = {"weights": weights, "device": "cpu", "orbit": 2, "group": "none", "keep_cutouts": True}
    return classify(catalogue, images=mosaic, output=path, **options), path
