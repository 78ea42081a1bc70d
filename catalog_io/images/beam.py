"""Beams of images: whether they are FIRST's, and the convolution that brings a finer one to FIRST's.

A beam is FIRST's if √(BMAJ·BMIN) is within 20 % of 5.4″. A finer one is convolved to 5.4″; a coarser one can't be
sharpened, and its images are refused or taken on pixels that grow with the beam.
"""

from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from radio_ag.preprocess.images import BEAM_FWHM, PIXEL_SCALE

BEAM_TOLERANCE = 0.2
"""Relative difference of √(BMAJ·BMIN) from FIRST's 5.4″ that is still FIRST's (its southern beam is 6.8″x5.4″)."""
PIXELS_PER_BEAM = BEAM_FWHM / PIXEL_SCALE
"""Pixels of a field across the beam: three, as in FIRST."""

_SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
_KERNEL_SIGMA = 5.0  # half width of a kernel, standard deviations: it ends at 4e-6 of its peak
_LINE_VARIANCE = 0.01  # px²: along an axis that is as wide as the target's already, the kernel is a line
_LEAST_WEIGHT = 0.01  # of a kernel on finite pixels below which the sum is not worth dividing


class Beam(NamedTuple):
    """Elliptical Gaussian beam of an image."""

    major: float
    """Full width at half maximum along the major axis, arcsec."""
    minor: float
    """Along the minor axis, arcsec."""
    angle: float
    """Position angle of the major axis, degrees from North through East."""

    @property
    def fwhm(self) -> float:
        """Return √(major · minor), arcsec."""
        return float(np.sqrt(self.major * self.minor))

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Return the second moments (2, 2) along East and North, arcsec²."""
        theta = np.radians(self.angle)
        along, across = np.array([np.sin(theta), np.cos(theta)]), np.array([np.cos(theta), -np.sin(theta)])
        axes = self.major**2 * np.outer(along, along) + self.minor**2 * np.outer(across, across)
        return _SIGMA_PER_FWHM**2 * axes


class BeamMatch(Enum):
    """How a beam compares with FIRST's."""

    FIRST = "as FIRST's"
    FINER = "finer than FIRST's"
    COARSER = "coarser than FIRST's"


def match_beam(beam: Beam | None) -> BeamMatch:
    """Compare a beam with FIRST's; one that is not known counts as FIRST's.

    A finer one whose major axis alone is so long that no convolution makes it FIRST's is coarser.

    Parameters
    ----------
    beam : Beam or None
        Of an image.

    Returns
    -------
    BeamMatch
    """
    if beam is None or abs(beam.fwhm / BEAM_FWHM - 1) <= BEAM_TOLERANCE:
        return BeamMatch.FIRST
    return BeamMatch.FINER if target_beam(beam).fwhm / BEAM_FWHM - 1 <= BEAM_TOLERANCE else BeamMatch.COARSER


def target_beam(beam: Beam) -> Beam:
    """Return the beam that convolution gives: round with FIRST's width, but for an axis that is longer already.

    Parameters
    ----------
    beam : Beam
        Of an image.

    Returns
    -------
    Beam
    """
    return Beam(max(beam.major, BEAM_FWHM), max(beam.minor, BEAM_FWHM), beam.angle)


def smoothing_kernel(beam: Beam, cd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Gaussian kernel on an image's pixels that convolves Jy/beam of its beam to Jy/beam of `target_beam`.

    Parameters
    ----------
    beam : Beam
        Of the image.
    cd : ndarray, shape (2, 2)
        CD matrix of the image's pixels, degrees a pixel.

    Returns
    -------
    ndarray, shape (2 k + 1, 2 k + 1)
        (ny, nx). Its sum is the ratio of the beam areas: a flux density in Jy/beam grows with the beam.
    """
    target = target_beam(beam)
    to_pixels = np.linalg.inv(3600 * np.asarray(cd))
    variance, axes = np.linalg.eigh(to_pixels @ (target.covariance - beam.covariance) @ to_pixels.T)
    variance = np.maximum(variance, _LINE_VARIANCE)
    half = int(np.ceil(_KERNEL_SIGMA * np.sqrt(variance[-1])))
    offset = np.arange(-half, half + 1)
    x, y = np.meshgrid(offset, offset)
    along = np.tensordot(axes.T, np.stack([x, y]), axes=1)  # coordinates along the kernel's two axes
    kernel = np.exp(-0.5 * (along**2 / variance[:, None, None]).sum(axis=0))
    return kernel / kernel.sum() * (target.fwhm / beam.fwhm) ** 2


def smooth(pixels: NDArray, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolve pixels with a kernel; blank ones stay blank, and their neighbours are made of what is there.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx)
        NaN where blank.
    kernel : ndarray
        Of odd sides, in the pixels' orientation; its sum scales the result.

    Returns
    -------
    ndarray, shape (ny, nx)
    """
    valid = np.isfinite(pixels)
    smoothed = fftconvolve(np.where(valid, pixels, 0.0), kernel, mode="same")
    weight = fftconvolve(valid.astype(float), kernel / kernel.sum(), mode="same")
    return np.where(valid, smoothed / np.maximum(weight, _LEAST_WEIGHT), np.nan)
