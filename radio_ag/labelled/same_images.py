"""Which images show the same source? Cross-correlation under shifts and the 8 symmetries, for data without positions.

Two images are of the same source where, in one of the 8 rotations and flips and at the shift that fits best, they
correlate at `SIMILAR` or more as a whole, and at `SAME` or more where they overlap: one may have been cut off at its
edge.

Measured on 130 training images of FR-DEEP-F against the 1099 of MiraBest, both as published: by eye 33 of the 130 are
in MiraBest too, shifted by up to 54 pixels, none turned or flipped. As a whole they correlate at 0.881 or more, where
they overlap at 0.975 or more. These limits find all 33, and 8 more, which are mostly images of a single unresolved
source: nobody can tell these apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

SIMILAR = 0.85
"""Least correlation of two whole images of one source: what lies beyond the edge of either is missing."""
SAME = 0.97
"""Least correlation where they overlap."""

_BLOCK = 256  # pairs transformed at once


class _Spectra(NamedTuple):
    """Images scaled to a sum of squares of 1, their transforms, and the moduli of these as vectors of norm 1."""

    images: NDArray[np.float32]
    transform: NDArray[np.complex64]
    modulus: NDArray[np.float32]


def find_same_images(images: ArrayLike, others: ArrayLike | None = None) -> NDArray[np.intp]:
    """Find the pairs of images that show the same source.

    Parameters
    ----------
    images, others : array_like, shape (n, size, size) and (m, size, size)
        Clipped, in any unit, all of one size, which is even. Empty ones match nothing. Without ``others`` the images
        are compared with each other.

    Returns
    -------
    ndarray of int, shape (pairs, 2)
        Rows of ``images`` and of ``others``, each pair once, in order.

    Notes
    -----
    The sum of the products of two moduli of Fourier transforms is a bound of the correlation at any shift, and most
    pairs are settled by that.
    """
    images = np.asarray(images, np.float32)
    among_themselves = others is None
    theirs = _spectra(images if others is None else others)
    found: set[tuple[int, int]] = set()
    for view in range(4):  # turned by 180 degrees an image has the same modulus
        turned = np.rot90(images[..., ::-1] if view >= 2 else images, view % 2, (1, 2))
        for once in (turned, turned[:, ::-1, ::-1]):
            ours = _spectra(once)
            bound = ours.modulus @ theirs.modulus.T
            candidates = np.argwhere((np.triu(bound, 1) if among_themselves else bound) >= SIMILAR)
            found |= _same(ours, theirs, candidates)
    return np.array(sorted(found), np.intp).reshape(-1, 2)


def _spectra(images: ArrayLike) -> _Spectra:
    images = np.ascontiguousarray(images, np.float32)
    norm = np.sqrt(np.square(images).sum((1, 2), keepdims=True))
    images = images / np.where(norm > 0, norm, np.float32(1))
    transform = fft.rfft2(images)
    weight = np.full(transform.shape[-1], 2, np.float32)  # the half that rfft2 leaves out is its mirror image
    weight[[0, -1]] = 1
    modulus = np.abs(transform) * np.sqrt(weight) / images.shape[-1]
    rows, columns = transform.shape[1:]
    return _Spectra(np.asarray(images, np.float32), transform, modulus.reshape(len(images), rows * columns))


def _same(ours: _Spectra, others: _Spectra, candidates: NDArray[np.intp]) -> set[tuple[int, int]]:
    size = others.images.shape[-1]
    found = set()
    for start in range(0, len(candidates), _BLOCK):
        first, second = candidates[start : start + _BLOCK].T
        correlation = fft.irfft2(ours.transform[first] * np.conj(others.transform[second]), s=(size, size))
        flat = correlation.reshape(len(correlation), -1)
        best = flat.argmax(1)
        for k in np.flatnonzero(flat[np.arange(len(flat)), best] >= SIMILAR):
            shift = [int(s) - size * (s >= size // 2) for s in divmod(best[k], size)]
            if _overlap_correlation(ours.images[first[k]], others.images[second[k]], *shift) >= SAME:
                found.add((int(first[k]), int(second[k])))
    return found


def _overlap_correlation(image: NDArray, other: NDArray, dy: int, dx: int) -> float:
    """Correlation of the parts that overlap when ``other`` is shifted by (dy, dx) pixels."""
    here = image[max(dy, 0) : len(image) + min(dy, 0), max(dx, 0) : len(image) + min(dx, 0)]
    there = other[max(-dy, 0) : len(image) + min(-dy, 0), max(-dx, 0) : len(image) + min(-dx, 0)]
    norm = np.sqrt(np.square(here).sum() * np.square(there).sum())
    return float((here * there).sum() / norm) if norm > 0 else 0.0
