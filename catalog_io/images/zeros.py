"""Zeros that stand for no data: pipelines fill the border of a mosaic, and what they flagged, with them."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

SIDE = 15
"""Side of a square of exact zeros, pixels, that no noise makes, even one in steps of its own size."""
STRIP = 61
"""Length of a strip of zeros along the array's edge, pixels, of any width, that no noise makes."""


def unobserved(pixels: NDArray) -> NDArray[np.bool_]:
    """Tell which pixels are exact zeros of an area or of a border, where nothing was observed.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx)
        Of an image, or of a window of it.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        Zeros in a square of `SIDE` pixels, or in a strip of `STRIP` along an edge, and those within `SIDE` pixels of
        them without a gap: a slanted border has steps.
    """
    zero = np.asarray(pixels) == 0
    if not zero.any():
        return zero
    core = _opened(zero, (SIDE, SIDE))
    for axis in (0, 1):  # beyond the array there is nothing either, but a strip has to be long
        along = min(STRIP, zero.shape[1 - axis] - 1 | 1)
        beyond = [(0, 0), (0, 0)]
        beyond[axis] = (SIDE, SIDE)
        inside = [slice(None), slice(None)]
        inside[axis] = slice(SIDE, -SIDE)
        padded = np.pad(zero, beyond, constant_values=True)
        core |= _opened(padded, (SIDE, along) if axis == 0 else (along, SIDE))[tuple(inside)]
    core &= zero
    return binary_dilation(core, np.ones((3, 3)), iterations=SIDE, mask=zero) if core.any() else core


def _opened(mask: NDArray[np.bool_], sides: tuple[int, int]) -> NDArray[np.bool_]:
    """The parts of a mask that boxes of odd sides fit into."""
    eroded = minimum_filter(mask.view(np.uint8), sides, mode="constant")
    return maximum_filter(eroded, sides, mode="constant").astype(bool)
