"""Tile-compressed images: the same pixels as astropy's, each tile decoded once."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.catalog_io.images.compressed import BlockCache, DecodedImage
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.images.local import LocalImages


class Counter:
    """An image in sections, as `astropy.io.fits.CompImageSection`, that counts how often each pixel is read."""

    def __init__(self, data):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.reads = np.zeros(data.shape, dtype=int)

    def __getitem__(self, window):
        self.reads[window] += 1
        return self.data[window].copy()


def image(shape, seed=0):
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def decoded(section, tile, max_bytes=10**9, sky_axes=None):
    ndim = len(section.shape)
    return DecodedImage(section, tile, sky_axes or (ndim - 2, ndim - 1), BlockCache(max_bytes), "image")


TILES = [(1, 700), (600, 1), (32, 32), (100, 64), (300, 300), (600, 700)]


@pytest.mark.parametrize("tile", TILES)
def test_any_window_is_that_of_the_image(tile):
    data = image((600, 700))
    pixels = decoded(Counter(data), tile, max_bytes=300_000)
    rng = np.random.default_rng(1)
    for _ in range(30):
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, length + 1, 2)) for length in data.shape)
        window = pixels[y0:y1, x0:x1]
        np.testing.assert_array_equal(window, data[y0:y1, x0:x1])
        assert window.dtype == data.dtype
    np.testing.assert_array_equal(pixels[:, :], data)


@pytest.mark.parametrize("tile", TILES)
def test_no_tile_is_decoded_twice(tile):
    section = Counter(image((600, 700)))
    pixels = decoded(section, tile)
    for x, y in np.random.default_rng(2).integers(0, (400, 300), (20, 2)):
        pixels[y : y + 300, x : x + 300]
    assert section.reads.max() == 1


def test_little_is_decoded_for_one_field():
    section = Counter(image((2000, 3000)))
    decoded(section, (64, 64))[1000:1300, 1500:1800]
    assert section.reads.sum() <= (300 + 2 * 256) ** 2


def test_blocks_of_wide_rows_are_narrow():
    """A row of 30,000 pixels in a tile of its own: 256 of them would be 61 MB, of which a field needs 1 %."""
    section = Counter(np.zeros((400, 30_000), np.float32))
    decoded(section, (1, 30_000))[100:101, 5:6]
    assert section.reads.sum() <= 1 << 20


def test_first_plane_of_a_cube_alone_is_decoded():
    section = Counter(image((3, 2, 300, 280)))
    pixels = decoded(section, (1, 1, 50, 40))
    np.testing.assert_array_equal(pixels[0, 0, 10:290, 3:277], section.data[0, 0, 10:290, 3:277])
    assert section.reads[1:].sum() == section.reads[0, 1].sum() == 0


def test_sky_axes_may_come_in_any_order():
    section = Counter(image((500, 2, 400)))
    pixels = decoded(section, (20, 1, 20), sky_axes=(2, 0))
    np.testing.assert_array_equal(pixels[30:480, 0, 100:], section.data[30:480, 0, 100:])
    assert section.reads[:, 1].sum() == 0


def test_cache_is_bounded_and_forgets_the_oldest():
    cache, decoded_blocks = BlockCache(max_bytes=3000), []

    def get(owner, number):
        def decode():
            decoded_blocks.append((owner, number))
            return np.full(1000, number, np.int8)

        return cache.get(owner, (number,), decode)

    for number in (0, 1, 2, 0, 3):  # 1 is the oldest when 3 comes
        assert (get("a", number) == number).all()
        assert cache.n_bytes <= 3000
    get("a", 0)
    assert decoded_blocks == [("a", 0), ("a", 1), ("a", 2), ("a", 3)]
    get("b", 0)  # of another image
    assert decoded_blocks[-1] == ("b", 0)
    cache.drop("a")
    assert cache.n_bytes == 1000
    get("b", 0)
    assert len(decoded_blocks) == 5
    huge = cache.get("c", (0,), lambda: np.zeros(10_000, np.int8))
    assert len(huge) == cache.n_bytes == 10_000


@pytest.mark.parametrize("tile", [None, (64, 64), (1, 700)])
@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_2"])
def test_fields_of_a_packed_mosaic(kind, tile, tmp_path: Path):
    """Rice-compressed pixels are quantised with subtractive dithering, by tile: astropy's own are the truth."""
    data = np.random.default_rng(3).normal(size=(600, 700)).astype(np.float32)
    header = tangent_wcs(180.0, 40.0, 600).to_header()
    header["BUNIT"], header["BMAJ"], header["BMIN"] = "Jy/beam", 0.0015, 0.0015
    hdu = fits.CompImageHDU(data, header, compression_type=kind, tile_shape=tile, quantize_method=2)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "packed.fits.fz")
    with fits.open(tmp_path / "packed.fits.fz") as hdus:
        truth = hdus[1].data.astype(np.float32)
    fits.writeto(tmp_path / "plain.fits", truth, header)
    rng = np.random.default_rng(4)
    ra, dec = 180 + rng.uniform(-0.2, 0.2, 20), 40 + rng.uniform(-0.14, 0.14, 20)
    packed, plain = (LocalImages(tmp_path / name).fetch(ra, dec) for name in ("packed.fits.fz", "plain.fits"))
    assert packed.status == plain.status
    np.testing.assert_array_equal(packed.data, plain.data)
