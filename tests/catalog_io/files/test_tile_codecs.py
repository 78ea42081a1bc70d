"""Damaged streams of compressed tiles: none ends or hangs the process, or changes what is read later."""

import gzip
import io
import multiprocessing
import threading

import numpy as np
import pytest
import tile_examples
from astropy.io import fits
from astropy.io.fits.hdu.compressed import _tiled_compression

from radio_ag.catalog_io.files import tile_codecs
from radio_ag.catalog_io.files.fits_open import open_checked


def decode_apart(codecs, seeds, timeout):
    """The counts of `tile_examples.decode_damaged`, in another process."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=tile_examples.decode_damaged, args=(codecs, seeds, results))
    process.start()
    process.join(timeout)
    hangs = process.is_alive()
    process.kill()
    process.join()
    assert not hangs
    assert process.exitcode == 0
    return results.get(timeout=10)


def test_damaged_streams_do_no_harm():
    counts = decode_apart(tile_examples.CODECS, range(20), timeout=200)
    assert set(counts) == set(tile_examples.CODECS)
    for count in counts.values():
        assert count["read"] + count["refused"] == 20
        assert count["refused"] > 0


@pytest.mark.fuzz
@pytest.mark.parametrize("codec", tile_examples.CODECS)
def test_thousands_of_damaged_streams_do_no_harm(codec):
    count = decode_apart([codec], range(1000, 3500), timeout=900)[codec]
    assert count["read"] + count["refused"] == 2500


@pytest.mark.parametrize("codec", tile_examples.CODECS)
def test_whole_streams_give_the_pixels_that_went_in(codec):
    for variant in tile_examples.variants(codec):
        image = tile_examples.decode(tile_examples.packed(codec, *variant)[0])
        lossless = codec == "PLIO_1" or variant[1] == 0
        np.testing.assert_allclose(image, tile_examples.pixels(codec), atol=0 if lossless else 5)


def settings(codec, **cards):
    """The error of an image with other cards in its header."""
    content = tile_examples.packed(codec, None, 16)[0]
    for keyword, value in cards.items():
        place = content.index(f"{keyword:8}=".encode())
        content = content[:place] + f"{keyword:8}= {value:>20}".ljust(80).encode() + content[place + 80 :]
    with open_checked(io.BytesIO(content)) as hdus, pytest.raises(ValueError) as error:  # noqa: PT011 - matched below
        hdus[1].data  # noqa: B018 - reads it
    return str(error.value)


def test_settings_that_c_believes_are_checked():
    """Blocks of no pixels take for ever; dithering by seed -5 reads before a table of random numbers."""
    assert "blocks of 0 pixels" in settings("RICE_1", ZVAL1=0)
    assert "pixels of 8 bytes" in settings("RICE_1", ZVAL2=8)
    assert "seed -5" in settings("RICE_1", ZDITHER0=-5)


@pytest.mark.parametrize(
    ("words", "n_pixels", "reason"),
    [
        ([0, 7, -100, 30_000, 30_000, 0, 0, 4096], 10, "instructions 7 to"),
        ([0, -20_000, -100, 8, 0, 0, 0, 16_394], 10, "instructions -20000 to 8"),
        ([0, 7, -100, 8, 0, 0, 0, 4097], 10, "within an instruction"),
        ([0, 7, -100], 10, "in its head"),
        ([0, 7, -100, 8, 0, 0, 0, 16_394], 1 << 28, "a tile of 268435456 pixels"),
    ],
)
def test_what_plio_says_of_its_length_is_checked(words, n_pixels, reason):
    """The fourth and fifth word are its length, the second where its instructions begin; 16,394 is ten ones."""
    with pytest.raises(ValueError, match=reason):
        tile_codecs.PLIO1(tilesize=n_pixels).decode(np.array(words, ">i2"))


def test_hcompress_takes_the_tile_s_size_not_the_stream_s():
    content, *_ = tile_examples.packed("HCOMPRESS_1", (64, 64), 16)
    with fits.open(io.BytesIO(content), disable_image_compression=True) as hdus:
        stream = np.array(hdus[1].data["COMPRESSED_DATA"][0])
    codec = tile_codecs.HCompress1(scale=0, smooth=False, bytepix=8, nx=64, ny=64)
    whole = codec.decode(stream)
    for place, value, reason in ((2, 127, "pixels in a tile of"), (22, 200, "200 bit planes")):
        wrong = stream.copy()
        wrong[place] = value
        with pytest.raises(ValueError, match=reason):
            codec.decode(wrong)
    for length in range(25, len(stream) - 600, 50):  # the last 512 bytes are signs
        with pytest.raises(Exception, match="bad"):
            codec.decode(stream[:length])
    np.testing.assert_array_equal(codec.decode(stream), whole)


def test_hcompress_decodes_in_several_threads():
    """CFITSIO's place in the stream is a static variable."""
    content, *_ = tile_examples.packed("HCOMPRESS_1", None, 16)
    truth, wrong = tile_examples.decode(content), []

    def read():
        for _ in range(20):
            if not np.array_equal(tile_examples.decode(content), truth):
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_tile_unpacks_to_a_bounded_size():
    bomb = np.frombuffer(gzip.compress(bytes(200 << 20)), np.uint8)
    for codec in (tile_codecs.Gzip1(), tile_codecs.Gzip2(itemsize=4)):
        with pytest.raises(ValueError, match="unpacks to more than"):
            codec.decode(bomb)
    with pytest.raises(ValueError, match="ends too early"):
        tile_codecs.Gzip1().decode(bomb[:1000])


def test_a_tile_that_lies_outside_the_data_is_refused():
    """numpy follows a negative offset to before the file."""
    content, table, *_ = tile_examples.packed("NOCOMPRESS", None, 16)
    for offset in (-1_000_000, 1_000_000):
        moved = content[: table + 4] + offset.to_bytes(4, "big", signed=True) + content[table + 8 :]
        with open_checked(io.BytesIO(moved)) as hdus, pytest.raises(ValueError, match="a tile lies in bytes"):
            hdus[1].section[:1]


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("ALGORITHMS", _tiled_compression.ALGORITHMS | {"ZSTD": None}),
        ("_get_data_from_heap", lambda hdu, size, offset, dtype, cache, bounds: None),
        ("decompress_image_data_section", lambda *_: None),
        ("_decompress_tile", lambda *_: None),
        ("Quantize", None),
    ],
)
def test_an_astropy_that_decodes_otherwise_is_refused(monkeypatch, name, instead):
    """Rather than left to decode what nobody has checked."""
    monkeypatch.setattr(_tiled_compression, name, instead)
    with pytest.raises(ImportError, match=r"^astropy \d.* decodes compressed images otherwise .*: install one"):
        tile_codecs.replace_codecs()
    assert getattr(_tiled_compression, name) is instead


def test_astropy_decodes_by_these():
    assert {name: kind.__module__ for name, kind in _tiled_compression.ALGORITHMS.items()} == {
        **dict.fromkeys(["GZIP_1", "GZIP_2", "RICE_1", "RICE_ONE", "PLIO_1", "HCOMPRESS_1"], tile_codecs.__name__),
        "NOCOMPRESS": "astropy.io.fits.hdu.compressed._codecs",
    }
    assert _tiled_compression.Quantize is tile_codecs.Quantize
