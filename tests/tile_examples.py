"""Compressed images with damaged tiles, by thousands: run in a process of their own, which they might end."""

import io
import warnings
from collections import Counter
from functools import cache

import numpy as np
from astropy.io import fits

from radio_ag.catalog_io.files.fits_open import open_checked

CODECS = ["GZIP_1", "GZIP_2", "RICE_1", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS"]
_TILES = [None, (64, 64), (100, 100), (33, 7)]  # None: rows, of HCOMPRESS_1 sixteen together
_EVERY = 20  # damaged files after which a whole one is read


def pixels(codec):
    """Noise with something in it; a mask for PLIO_1, which is made for these."""
    rng = np.random.default_rng(1)
    if codec == "PLIO_1":
        return np.repeat(rng.integers(0, 50_000, (128, 20)), 8, axis=1).astype(np.int32)
    image = rng.normal(0, 50, (128, 160)).astype(np.float32)
    image[40:60, 30:90] += 5000
    return image


@cache
def packed(codec, tile, level):
    """A file of one image, and where in it rows of the table and then the streams are."""
    stream = io.BytesIO()
    fits.CompImageHDU(
        pixels(codec), compression_type=codec, tile_shape=tile, quantize_level=level, quantize_method=2, dither_seed=1
    ).writeto(stream)
    content = stream.getvalue()
    with fits.open(io.BytesIO(content), disable_image_compression=True) as hdus:
        header, table = hdus[1].header, hdus[1].fileinfo()["datLoc"]
    heap = table + header["NAXIS1"] * header["NAXIS2"]
    return content, table, heap, heap + header["PCOUNT"]


def variants(codec):
    """Sizes of tiles, and whether floating-point numbers are quantised or kept."""
    levels = [0, 16] if codec in ("GZIP_1", "GZIP_2") else [16]
    return [(tile, level) for tile in _TILES for level in levels]


def damaged(content, table, heap, end, seed):
    """The file with one to five wounds: bits flipped, words of the table, runs of zeros or of noise in the streams."""
    rng, content = np.random.default_rng(seed), bytearray(content)
    for _ in range(rng.integers(1, 6)):
        place, length = rng.integers(heap, end), rng.integers(1, 200)
        kind = rng.integers(4)
        if kind == 0:
            content[place] ^= 1 << rng.integers(8)
        elif kind == 1:
            content[rng.integers(table, end)] = rng.integers(256)
        else:
            stop = min(end, place + length)
            content[place:stop] = bytes(stop - place) if kind == 2 else rng.bytes(stop - place)
    return bytes(content)


def decode(content):
    """The image, or the name of the error."""
    with warnings.catch_warnings(action="ignore"):
        try:
            with open_checked(io.BytesIO(content)) as hdus:
                return np.array(hdus[1].data)
        except Exception as error:  # any is right, but for the process's end
            return type(error).__name__


def decode_damaged(codecs, seeds, results):
    """Decode damaged files, and whole ones in between; put into a queue how many were read and how many refused."""
    results.put({codec: _decode_damaged(codec, seeds) for codec in codecs})


def _decode_damaged(codec, seeds):
    counts = Counter(read=0, refused=0)
    whole = {variant: packed(codec, *variant) for variant in variants(codec)}
    truth = {variant: decode(whole[variant][0]) for variant in whole}
    for number, seed in enumerate(seeds):
        variant = list(whole)[number % len(whole)]
        content = damaged(*whole[variant], seed)
        first = decode(content)
        counts["refused" if isinstance(first, str) else "read"] += 1
        np.testing.assert_array_equal(first, decode(content))  # nothing of what lies beside the stream is in it
        if number % _EVERY == 0:
            np.testing.assert_array_equal(decode(whole[variant][0]), truth[variant])
    return dict(counts)
