"""A source's cutout and attention maps as one small WebP, in 8 bits that keep both noise and peak apart.

The cutout is coded in equal steps of asinh(flux / softening), softening = 4 rms, from -2 rms to its peak: near the
noise a step is a small part of the rms, at the peak a few percent of the peak. Attention maps are coded linearly over
their own range, on half as many pixels a side (they are smooth). The browser turns codes back into Jy/beam before it
stretches.
"""

import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radio_ag.preprocess.images import CROP_SIZE

MAP_SIZE = CROP_SIZE // 2
"""Pixels a side of an attention map in a sprite."""

_LOWEST = -2.0  # rms
_SOFTENING = 4.0  # rms
_LEAST_PEAK = 5.0  # rms: noise alone is not stretched over the whole range
_QUALITY = 50  # of WebP: noise keeps its look, pixels move by 5.5 of 255 (standard deviation)


class Scale(NamedTuple):
    """Codes of a cutout: flux = softening * sinh(y), y in equal steps from low (code 0) to high (code 255), Jy/beam."""

    low: float
    high: float
    softening: float


def cutout_scale(cutout: NDArray[np.float32], rms: float) -> Scale:
    """Find the scale that suits a cutout.

    Parameters
    ----------
    cutout : ndarray (ny, nx)
        Jy/beam, NaN where blank, some pixel finite.
    rms : float
        Noise in Jy/beam; where it is unknown (NaN) or 0, a thousandth of the brightest pixel stands in.

    Returns
    -------
    Scale
    """
    peak = float(np.nanmax(np.abs(cutout)))
    if not (np.isfinite(rms) and rms > 0):
        rms = peak / 1000 or 1.0
    return Scale(_LOWEST * rms, max(float(np.nanmax(cutout)), _LEAST_PEAK * rms), _SOFTENING * rms)


def encode_cutout(cutout: NDArray[np.float32], scale: Scale) -> NDArray[np.uint8]:
    """Encode a cutout in 8 bits.

    Parameters
    ----------
    cutout : ndarray (ny, nx)
        Jy/beam.
    scale : Scale
        What the codes mean.

    Returns
    -------
    ndarray of uint8 (ny, nx)
        Blank pixels take the lowest code.
    """
    steps = np.arcsinh(np.nan_to_num(cutout, nan=scale.low, posinf=scale.high, neginf=scale.low) / scale.softening)
    low, high = np.arcsinh(scale.low / scale.softening), np.arcsinh(scale.high / scale.softening)
    return np.rint(255 * np.clip((steps - low) / (high - low), 0, 1)).astype(np.uint8)


def encode_map(attention: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, float]:
    """Encode an attention map in 8 bits, on half the pixels a side.

    Parameters
    ----------
    attention : ndarray (150, 150)
        Of any range.

    Returns
    -------
    codes : ndarray of uint8 (75, 75)
        From 0 to 255.
    low, high : float
        The values of the codes 0 and 255.
    """
    small = attention.reshape(MAP_SIZE, 2, MAP_SIZE, 2).mean(axis=(1, 3))
    finite = small[np.isfinite(small)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    codes = (np.nan_to_num(small, nan=low) - low) / ((high - low) or 1.0)
    return np.rint(255 * codes).astype(np.uint8), low, high


def panel_places(gates: tuple[str | int, ...]) -> dict[str, tuple[int, int, int]]:
    """Place the panels of a sprite: the cutout, and at its right the maps, two a column.

    Parameters
    ----------
    gates : tuple of str or int
        Gates of the maps, in order.

    Returns
    -------
    dict of str to (int, int, int)
        Left, top and size of each, pixels.
    """
    places = {"cutout": (0, 0, CROP_SIZE)}
    for number, gate in enumerate(gates):
        places[str(gate)] = (CROP_SIZE + MAP_SIZE * (number // 2), MAP_SIZE * (number % 2), MAP_SIZE)
    return places


def encode_sprite(
    cutout: NDArray[np.float32] | None,
    rms: float,
    maps: dict[str | int, NDArray[np.float32]],
    places: dict[str, tuple[int, int, int]],
) -> tuple[bytes, dict[str, Any]]:
    """Encode a source's images as WebP, north up.

    Parameters
    ----------
    cutout : ndarray (150, 150) or None
        Jy/beam, row 0 in the south; None where there is no image.
    rms : float
        Noise in Jy/beam.
    maps : dict of ndarray (150, 150)
        Attention maps by gate; empty where there are none.
    places : dict
        From `panel_places`, for all gates of the result.

    Returns
    -------
    webp : bytes
        Empty if there is neither a cutout nor a map.
    ranges : dict
        ``cutout``: its `Scale`; each gate's name: the values of the codes 0 and 255.
    """
    width = max(left + size for left, _, size in places.values())
    canvas = np.zeros((CROP_SIZE, width), dtype=np.uint8)
    ranges: dict[str, Any] = {}
    if cutout is not None and np.isfinite(cutout).any():
        ranges["cutout"] = cutout_scale(cutout, rms)
        _put(canvas, encode_cutout(cutout, ranges["cutout"]), places["cutout"])
    for gate, attention in maps.items():
        codes, *ranges[str(gate)] = encode_map(attention)
        _put(canvas, codes, places[str(gate)])
    if not ranges:
        return b"", {}
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue(), ranges


def _put(canvas: NDArray[np.uint8], codes: NDArray[np.uint8], place: tuple[int, int, int]) -> None:
    left, top, size = place
    canvas[top : top + size, left : left + size] = codes[::-1]
