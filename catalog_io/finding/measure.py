"""Islands of emission in one window of a mosaic, split into components and measured."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from photutils.segmentation import SegmentationImage, deblend_sources, detect_sources
from photutils.utils.exceptions import NoDetectionsWarning

_FWHM_PER_SIGMA = np.sqrt(8 * np.log(2))
_PIXEL_VARIANCE = 1 / 12  # of a square of one pixel, pixels²


@dataclass(frozen=True)
class Detection:
    """What counts as a source.

    Attributes
    ----------
    threshold : float
        Least peak of a source, in units of the local noise.
    island_threshold : float
        An island is bounded at this many times the local noise.
    min_pixels : int
        Least area of an island and of a component, pixels.
    contrast : float
        Least share of an island's flux that a component has to have to be split off; 1 for no splitting.
    """

    threshold: float
    island_threshold: float
    min_pixels: int
    contrast: float


class Islands(NamedTuple):
    """Islands of a window, those whose peak reaches the threshold.

    Attributes
    ----------
    segments : SegmentationImage
        A label an island.
    labels : ndarray (n,)
    peaks : ndarray (n, 2)
        Brightest pixel (y, x) of each, in the window.
    """

    segments: SegmentationImage
    labels: NDArray[np.intp]
    peaks: NDArray[np.intp]

    def select(self, chosen: NDArray[np.bool_]) -> "Islands":
        """Select some of the islands.

        Parameters
        ----------
        chosen : ndarray of bool (n,)
            Which of them.

        Returns
        -------
        Islands
        """
        segments = self.segments.copy()
        segments.keep_labels(self.labels[chosen])
        return Islands(segments, self.labels[chosen], self.peaks[chosen])

    def touching(self, sides: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which islands touch some pixels.

        Parameters
        ----------
        sides : ndarray of bool (ny, nx)
            The pixels.

        Returns
        -------
        ndarray of bool (n,)
        """
        return np.isin(self.labels, self.segments.data[sides])


def find_islands(significance: NDArray[np.float32], settings: Detection) -> Islands | None:
    """Find the islands above ``island_threshold`` that peak above ``threshold``.

    Parameters
    ----------
    significance : ndarray (ny, nx)
        Pixels in units of the local noise; blank ones are not positive.
    settings : Detection
        Both thresholds, and the least area.

    Returns
    -------
    Islands or None
        None where there is none.
    """
    with warnings.catch_warnings(action="ignore", category=NoDetectionsWarning):
        segments = detect_sources(significance, settings.island_threshold, settings.min_pixels)
    if segments is None:
        return None
    labels = segments.labels
    peaks = _brightest_pixels(significance, segments)
    bright = significance[tuple(peaks.T)] >= settings.threshold
    return Islands(segments, labels, peaks).select(bright) if bright.any() else None


def _brightest_pixels(values: NDArray, segments: SegmentationImage) -> NDArray[np.intp]:
    """(y, x) of the brightest pixel of each label; of several the first, wherever the window begins."""
    pixels = np.flatnonzero(segments.data)
    labels = segments.data.ravel()[pixels]
    order = np.lexsort((-values.ravel()[pixels], labels))
    first = np.unique(labels[order], return_index=True)[1]
    return np.stack(np.unravel_index(pixels[order[first]], values.shape), axis=-1)


class Components(NamedTuple):
    """Components of n islands, in the window's pixels and the pixels' unit.

    Attributes
    ----------
    x, y : ndarray (n,)
        Centroid, counted from 0.
    peak, rms : ndarray (n,)
        Brightest pixel, and the noise there.
    flux_sum : ndarray (n,)
        Sum of the pixels, with what a Gaussian has outside the island's contour.
    covariance : ndarray (n, 2, 2)
        Second moments (x, y), pixels², of the Gaussian.
    n_pixels : ndarray (n,)
    island : ndarray (n,)
        Index of the island.
    """

    x: NDArray
    y: NDArray
    peak: NDArray
    rms: NDArray
    flux_sum: NDArray
    covariance: NDArray
    n_pixels: NDArray[np.intp]
    island: NDArray[np.intp]


def measure_components(
    flux: NDArray[np.float32], rms: NDArray[np.float32], islands: Islands, settings: Detection
) -> Components:
    """Split islands into components and measure those that reach the threshold.

    The pixels inside a contour miss a part of the flux and of the width. Both are made up for as for a Gaussian of
    peak P cut at the level T: the sum is the share ``1 - T / P`` of its flux, and the second moments are the share
    ``1 - t / (exp(t) - 1)`` of its own, with ``t = ln(P / T)``.

    Parameters
    ----------
    flux, rms : ndarray of float32 (ny, nx)
        Flux above the background and noise, in one unit.
    islands : Islands
        Of that window.
    settings : Detection
        What counts as a component.

    Returns
    -------
    Components
        In the pixels of the window.
    """
    with warnings.catch_warnings(action="ignore"):  # another spacing of the levels in crowded islands
        segments = deblend_sources(
            flux / rms, islands.segments, settings.min_pixels, contrast=settings.contrast, progress_bar=False
        )
    peaks = _brightest_pixels(flux / rms, segments)
    at = tuple(peaks.T)
    bright = flux[at] >= settings.threshold * rms[at]
    at = tuple(peaks[bright].T)
    segments.keep_labels(segments.labels[bright])
    (x, y), covariance, flux_sum, n_pixels = moments(flux, segments, peaks[bright])
    peak, noise = flux[at].astype(float), rms[at].astype(float)
    share = 1 - settings.island_threshold * noise / peak
    cut = -np.log1p(-share)
    width = 1 - cut / np.expm1(cut)
    return Components(
        x,
        y,
        peak,
        noise,
        flux_sum / share,
        covariance / width[:, None, None],
        n_pixels,
        np.searchsorted(islands.labels, islands.segments.data[at]),
    )


def moments(
    flux: NDArray[np.float32], segments: SegmentationImage, origins: NDArray[np.intp]
) -> tuple[NDArray, NDArray, NDArray, NDArray[np.intp]]:
    """Measure centroids, second moments, sums and areas of labelled pixels.

    Each label has an origin of its own, so that nothing depends on where the window begins. A pixel's own width is the
    least that a second moment can be.

    Parameters
    ----------
    flux : ndarray (ny, nx)
        Pixels.
    segments : SegmentationImage
        With n labels.
    origins : ndarray (n, 2)
        A pixel (y, x) of each label.

    Returns
    -------
    centroid : ndarray (2, n)
        In x and y, pixels.
    covariance : ndarray (n, 2, 2)
        In x and y, pixels².
    total : ndarray (n,)
        Sum of the pixels.
    n_pixels : ndarray (n,)
        Area.
    """
    pixels = np.flatnonzero(segments.data)
    label = np.searchsorted(segments.labels, segments.data.ravel()[pixels])
    y, x = np.stack(np.unravel_index(pixels, flux.shape)) - origins[label].T
    weight = flux.ravel()[pixels].astype(float)
    n = len(origins)
    total = np.bincount(label, weight, n)
    mean_x, mean_y, xx, xy, yy = (
        np.bincount(label, weight * power, n) / total for power in (x, y, x * x, x * y, y * y)
    )
    xx, xy, yy = xx - mean_x**2, xy - mean_x * mean_y, yy - mean_y**2
    values, vectors = np.linalg.eigh(np.stack([xx, xy, xy, yy], axis=-1).reshape(n, 2, 2))
    values = np.maximum(values, _PIXEL_VARIANCE)
    covariance = vectors * values[:, None, :] @ vectors.swapaxes(1, 2)
    return (
        np.stack([mean_x + origins[:, 1], mean_y + origins[:, 0]]),
        covariance,
        total,
        np.bincount(label, minlength=n),
    )


def axes_on_sky(covariance: NDArray, cd: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return full widths at half maximum and position angle on the sky of Gaussians given by their moments in pixels.

    Parameters
    ----------
    covariance : ndarray (n, 2, 2)
        Pixels².
    cd : ndarray (n, 2, 2)
        Local CD matrices, degrees a pixel.

    Returns
    -------
    major, minor : ndarray (n,)
        Arcsec.
    position_angle : ndarray (n,)
        Of the major axis, degrees from North through East, 0-180.
    """
    values, vectors = np.linalg.eigh(cd @ covariance @ cd.swapaxes(1, 2))
    minor, major = 3600 * _FWHM_PER_SIGMA * np.sqrt(values).T
    east, north = vectors[:, :, 1].T
    return major, minor, np.degrees(np.arctan2(east, north)) % 180
