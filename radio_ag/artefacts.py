"""Simulated imaging artefacts of FIRST-like fields: what a classifier must not take for a source.

Caricatures for tests and for figures on the flag ``OUT_OF_DISTRIBUTION``; nothing is ever trained on them. The same
generator state gives the same fields.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE, PIXEL_SCALE
from radio_ag.simulated import TYPICAL_RMS, correlated_noise

_BEAM_SIGMA = BEAM_FWHM / PIXEL_SCALE / np.sqrt(8 * np.log(2))  # pixels
_ARMS = 3  # arms of the Y of the VLA: each gives a spoke to either side of a bright source


def stripes(n: int, rng: np.random.Generator, rms: float = TYPICAL_RMS) -> NDArray[np.float32]:
    """Plane waves, as a single bad baseline leaves them.

    Parameters
    ----------
    n : int
        Number of fields.
    rng : numpy.random.Generator
    rms : float
        Of the noise, Jy/beam. The stripes' amplitude is 5 to 20 times that, their period 8 to 40 pixels.

    Returns
    -------
    ndarray, shape (n, 300, 300), float32
        Jy/beam.
    """
    fields = np.empty((n, FIELD_SIZE, FIELD_SIZE), np.float32)
    y, x = np.mgrid[:FIELD_SIZE, :FIELD_SIZE].astype(float)
    for field in fields:
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        wave = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(8, 40) + phase)
        field[:] = correlated_noise((FIELD_SIZE, FIELD_SIZE), rms, rng) + rng.uniform(5, 20) * rms * wave
    return fields


def sidelobes(n: int, rng: np.random.Generator, rms: float = TYPICAL_RMS) -> NDArray[np.float32]:
    """Rings and six spokes around a bright source near the field, whose dirty beam was not cleaned away.

    Parameters
    ----------
    n : int
        Number of fields.
    rng : numpy.random.Generator
    rms : float
        Of the noise, Jy/beam. The source peaks at 1,000 to 10,000 times that, 30 to 130 pixels from the centre; next
        to it the sidelobes reach a few per cent of it, and they fall as the inverse of the distance.

    Returns
    -------
    ndarray, shape (n, 300, 300), float32
        Jy/beam.
    """
    fields = np.empty((n, FIELD_SIZE, FIELD_SIZE), np.float32)
    y, x = np.mgrid[:FIELD_SIZE, :FIELD_SIZE] - (FIELD_SIZE - 1) / 2
    for field in fields:
        distance, direction, turn = rng.uniform(30, 130), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        peak = 10 ** rng.uniform(3, 4) * rms
        dx, dy = x - distance * np.cos(direction), y - distance * np.sin(direction)
        radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        spokes = np.abs(np.cos(_ARMS * (angle - turn))) ** 8
        rings = np.cos(2 * np.pi * radius / rng.uniform(6, 12))
        level = rng.uniform(0.02, 0.06) / (1 + radius / 10)
        beam = np.exp(-(radius**2) / (2 * _BEAM_SIGMA**2))
        field[:] = correlated_noise((FIELD_SIZE, FIELD_SIZE), rms, rng) + peak * (
            beam + level * (0.3 * rings + spokes * rings)
        )
    return fields
