"""Tile-compressed pixels, decoded block by block and kept for the next field that needs them."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radio_ag.catalog_io.files.fits_open import one_line
from radio_ag.errors import ImageError

_BLOCK_SIDE = 256  # px: about a field, so that a field touches few blocks and little else is decoded
_BLOCK_PIXELS = 1 << 20  # of blocks of full rows, which is how fpack cuts tiles unless it is told otherwise

_Key = tuple[Hashable, tuple[int, ...]]


class BlockCache:
    """Decoded blocks of several images, the last used ones: bounded in bytes, but for the newest block.

    Parameters
    ----------
    max_bytes : int
        Of the blocks together.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._blocks: OrderedDict[_Key, NDArray] = OrderedDict()
        self._damaged: dict[_Key, str] = {}
        self.n_bytes = 0
        """Bytes that are held."""

    def get(self, owner: Hashable, block: tuple[int, ...], decode: Callable[[], NDArray]) -> NDArray:
        """Return a block of an image.

        Parameters
        ----------
        owner : hashable
            The image's name.
        block : tuple of int
            The block's number along each axis.
        decode : callable
            Gives the block's pixels, if it is not here.

        Returns
        -------
        ndarray

        Raises
        ------
        ImageError
            It is damaged; it is tried once.
        """
        key = owner, block
        if key in self._damaged:
            raise ImageError(self._damaged[key])
        if key not in self._blocks:
            try:
                self._blocks[key] = pixels = decode()
            except Exception as exc:  # astropy and the decompressors raise nearly anything for damaged tiles
                self._damaged[key] = one_line(exc)
                raise ImageError(one_line(exc)) from exc
            self.n_bytes += pixels.nbytes
            while self.n_bytes > self._max_bytes and len(self._blocks) > 1:
                self.n_bytes -= self._blocks.popitem(last=False)[1].nbytes
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def drop(self, owner: Hashable) -> None:
        """Let go of an image's blocks.

        Parameters
        ----------
        owner : hashable
            The image's name.
        """
        for key in [key for key in self._blocks if key[0] == owner]:
            self.n_bytes -= self._blocks.pop(key).nbytes


class DecodedImage:
    """A tile-compressed image that gives arrays for slices, decoding no tile twice while it is in the cache.

    Parameters
    ----------
    section : astropy.io.fits.CompImageSection
        Decodes tiles.
    tile_shape : tuple of int
        Pixels of a tile along each axis, in array order.
    sky_axes : tuple of int
        Array axes of latitude and longitude: blocks span one tile along the others.
    cache : BlockCache
    owner : hashable
        The image's name in the cache.
    """

    def __init__(
        self, section: Any, tile_shape: tuple[int, ...], sky_axes: tuple[int, int], cache: BlockCache, owner: Hashable
    ):
        self.shape: tuple[int, ...] = tuple(section.shape)
        self._section, self._cache, self._owner = section, cache, owner
        self._block_shape = _block_shape(tuple(tile_shape), self.shape, sky_axes)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray:
        """Pixels as stored, for a number or a slice of step 1 along each axis."""
        window = [
            range(*part.indices(length)) if isinstance(part, slice) else range(part, part + 1)
            for part, length in zip(index, self.shape, strict=True)
        ]
        touched = [
            range(part.start // side, -(-part.stop // side)) if part else range(0)
            for part, side in zip(window, self._block_shape, strict=True)
        ]
        pixels = np.empty([len(part) for part in window], self._section.dtype)
        for block in itertools.product(*touched):
            corner = [number * side for number, side in zip(block, self._block_shape, strict=True)]
            decoded = self._cache.get(self._owner, block, partial(self._decode, corner))
            here, there = [], []
            for part, start, length in zip(window, corner, decoded.shape, strict=True):
                low, high = max(part.start, start), min(part.stop, start + length)
                here.append(slice(low - part.start, high - part.start))
                there.append(slice(low - start, high - start))
            pixels[tuple(here)] = decoded[tuple(there)]
        return pixels[tuple(slice(None) if isinstance(part, slice) else 0 for part in index)]

    def _decode(self, corner: list[int]) -> NDArray:
        return self._section[
            tuple(slice(start, start + side) for start, side in zip(corner, self._block_shape, strict=True))
        ]


def _block_shape(tile: tuple[int, ...], shape: tuple[int, ...], sky_axes: tuple[int, int]) -> tuple[int, ...]:
    """Whole tiles of about a field's size, or of some full rows where tiles are rows."""
    latitude, longitude = sky_axes
    block = list(tile)
    block[longitude] = _multiple(tile[longitude], _BLOCK_SIDE)
    wanted = min(_BLOCK_SIDE, _BLOCK_PIXELS // block[longitude])
    block[latitude] = _multiple(tile[latitude], wanted)
    return tuple(min(side, length) for side, length in zip(block, shape, strict=True))


def _multiple(tile: int, wanted: int) -> int:
    """The least number of pixels in whole tiles that is no less than ``wanted``."""
    return tile * max(1, -(-wanted // tile))
