"""The straightforward way: one source after another, by the usual tools. The other benchmarks compare with it.

`Cutout2D` cuts the field, `sigma_clipped_stats` and a `curve_fit` of a Gaussian to the pixel histogram give its noise,
the network is written layer by layer in eager PyTorch (float32, contiguous NCHW, batch of one), and each of the
orbit's orientations is a call of its own. Nothing here is imported from what it is to be compared with, but for the
network's layers and the definition of the products: the mean attention, and the calibration's temperature.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.stats import sigma_clipped_stats
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.special import softmax

from radio_ag.network.model import AGCNN, AttentionGate
from radio_ag.weights import Card

FIELD, CROP = 300, 150


class _PlainGate(AttentionGate):
    """A gate that upsamples, adds, and convolves as eq. 8 is written, on any device."""

    score_by_tiles = AttentionGate.score


def plain_network(network: AGCNN) -> AGCNN:
    """A copy of a network with nothing folded, fused or laid out otherwise."""
    plain = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    for gate in plain.gates:
        gate.__class__ = _PlainGate
    return plain


def fit_noise(field: NDArray) -> float:
    """Noise of one field (ny, nx)."""
    _, median, deviation = sigma_clipped_stats(field, sigma=3)
    counts, edges = np.histogram(field, bins=100, range=(median - 3 * deviation, median + 2 * deviation))
    centres = (edges[:-1] + edges[1:]) / 2

    def gaussian(x, amplitude, mean, sigma):
        return amplitude * np.exp(-0.5 * ((x - mean) / sigma) ** 2)

    parameters, _ = curve_fit(gaussian, centres, counts, p0=(counts.max(), median, deviation))
    return abs(parameters[2])


def prepare_field(field: NDArray, stretch: str = "linear") -> tuple[NDArray, float]:
    """The network's input (150, 150) of one field (300, 300), and its noise."""
    rms = fit_noise(field)
    start = (FIELD - CROP) // 2
    image = field[start : start + CROP, start : start + CROP].copy()
    image[~(image > 3 * rms)] = 0
    span = image.max() - image.min()
    image = (image - image.min()) / (span if span > 0 else 1)
    return (np.sqrt(image) if stretch == "sqrt" else image).astype(np.float32), rms


def cut_field(data: NDArray, wcs: WCS, ra: float, dec: float) -> NDArray:
    """The field (300, 300) of one position, NaN beyond the image."""
    position = SkyCoord(ra, dec, unit="deg")
    return Cutout2D(data, position, FIELD, wcs=wcs, mode="partial", fill_value=np.nan).data


def classify_image(
    network: AGCNN, image: NDArray, orbit: int, temperature: float = 1.0
) -> tuple[NDArray, NDArray[np.float32]]:
    """Probabilities (2,) and the mean attention (150, 150) of one image, over up to 8 orientations."""
    logits, attention = [], np.zeros((CROP, CROP), np.float32)
    with torch.no_grad():
        for view in range(orbit):
            turned = np.rot90(image[:, ::-1] if view >= 4 else image, view % 4)
            output = network(torch.from_numpy(turned.copy())[None, None])
            logits.append(output.logits[0].numpy())
            back = np.rot90(output.mean_attention()[0].numpy(), -(view % 4))
            attention += back[:, ::-1] if view >= 4 else back
    return softmax(np.mean(logits, 0) / temperature), attention / orbit


def classify_mosaic(
    path: Path, positions: Iterable[tuple[float, float]], network: AGCNN, card: Card, orbit: int, output: Path
) -> NDArray:
    """Classify positions (degrees) in a mosaic, and write the classes and the attention to a FITS file.

    Parameters
    ----------
    path : path
        FITS file, Jy/beam on pixels of 1.8 arcsec, north up.
    positions : iterable of tuple
    network : AGCNN
        Of `plain_network`.
    card : Card
        Of the weights.
    orbit : int
    output : path

    Returns
    -------
    ndarray, shape (n, 2)
        Probabilities of FRI and FRII.
    """
    temperature = card.temperature.at(orbit)
    rows, planes = [], []
    with fits.open(path, memmap=True) as hdus:
        data, wcs = hdus[0].data, WCS(hdus[0].header).celestial
        for ra, dec in positions:
            image, rms = prepare_field(cut_field(data, wcs, ra, dec), card.preprocessing.stretch)
            probabilities, attention = classify_image(network, image, orbit, temperature)
            rows.append((ra, dec, rms, *probabilities))
            planes.append(attention)
    table = fits.BinTableHDU(Table(rows=rows, names=("ra", "dec", "rms", "p_fri", "p_frii")))
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(np.array(planes))]).writeto(output, overwrite=True)
    return np.array(rows)[:, 3:]
