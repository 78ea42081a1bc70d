"""Fields of noise as the beam makes it, with and without sources, for the tests of preprocessing."""

import numpy as np
from scipy.ndimage import gaussian_filter

from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE, PIXEL_SCALE

NOISE = 1.5e-4  # Jy/beam
BEAM_SIGMA = BEAM_FWHM / PIXEL_SCALE / np.sqrt(8 * np.log(2))  # pixels


def correlated_noise(n, seed, size=FIELD_SIZE):
    """White noise seen through the beam, of rms NOISE: the kernel's squares sum to 1 / (4 pi sigma^2)."""
    white = np.random.default_rng(seed).standard_normal((n, size, size), np.float32)
    smooth = gaussian_filter(white, (0, BEAM_SIGMA, BEAM_SIGMA), mode="wrap", truncate=6)
    return smooth * np.float32(2 * np.sqrt(np.pi) * BEAM_SIGMA * NOISE)


def add_sources(fields, seed):
    """A bright extended source in the middle and a few others, from 5 to 1000 times the noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: fields.shape[1], : fields.shape[2]]
    for field in fields:
        for i in range(rng.integers(2, 7)):
            x0, y0 = (149.5, 149.5) if i == 0 else rng.uniform(0, fields.shape[1], 2)
            along, across = BEAM_SIGMA * rng.uniform(1, [5, 2])
            angle = rng.uniform(0, np.pi)
            u = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
            v = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
            peak = NOISE * 10 ** rng.uniform(0.7, 3)
            field += (peak * np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))).astype(np.float32)
    return fields
