"""Packed and damaged FITS files: a line on what is wrong, in bounded time and memory."""

import bz2
import gzip
import lzma
import tracemalloc
import warnings
import zipfile
from functools import cache

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.catalog_io.files import packed
from radio_ag.catalog_io.files.fits_open import open_checked
from radio_ag.catalog_io.files.packed import PackedFile, open_packed
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.images.local import LocalImages
from radio_ag.errors import ImageError
from radio_ag.flags import Flag

# What astropy leaves open when it raises, it closes when the error is forgotten.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

PACKINGS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SIDE = 310


@cache
def whole(packing):
    data = np.random.default_rng(0).normal(0, 1e-3, (SIDE, SIDE)).astype(np.float32)
    header = tangent_wcs(180.0, 30.0, SIDE).to_header()
    header.update({"BUNIT": "Jy/beam", "BMAJ": 0.0015, "BMIN": 0.0015})
    hdu = fits.PrimaryHDU(data, header)
    return PACKINGS[packing](hdu.header.tostring().encode() + data.astype(">f4").tobytes() + bytes(-data.nbytes % 2880))


def fetch(path):
    with warnings.catch_warnings(action="ignore"):
        return LocalImages(path).fetch(np.array([180.0]), np.array([30.0]))


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_damaged_packed_image_is_refused_or_flagged(packing, tmp_path):
    """Every byte is covered by a sum of gzip, bzip2 or xz, but for names and dates in their heads."""
    path = tmp_path / f"image.fits{packing}"
    path.write_bytes(whole(packing))
    truth = fetch(path).data
    outcomes = []
    for seed in range(60):
        rng, content = np.random.default_rng(seed), bytearray(whole(packing))
        place = int(rng.integers(len(content) if seed % 2 else 3000))
        if seed % 3:
            content[place] ^= 1 << rng.integers(8)
        else:
            del content[place:]
        path.write_bytes(content)
        fields, message = None, ""
        try:
            fields = fetch(path)
        except ImageError as error:
            message = str(error)
        assert len(message.splitlines()) == (fields is None)
        outcomes.append("refused" if fields is None else "flagged" if fields.flags[0] else "read")
        if outcomes[-1] == "refused":
            assert path.name in message
        elif outcomes[-1] == "flagged":
            assert fields.flags[0] == Flag.FETCH_FAILED
        else:
            np.testing.assert_array_equal(fields.data, truth)
    assert "refused" in outcomes
    assert "flagged" in outcomes or packing != ".gz"  # the others unpack nothing of so small a file if it is damaged


@pytest.mark.parametrize("packing", PACKINGS)
def test_what_unpacks_beyond_bounds_is_refused(packing, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "ALWAYS_ALLOWED", 1 << 22)
    path = tmp_path / f"image.fits{packing}"
    header = fits.PrimaryHDU(np.zeros((2, 2), np.float32), tangent_wcs(180.0, 30.0).to_header()).header
    header["NAXIS1"] = header["NAXIS2"] = 4000
    with OPENERS[packing](path, "wb") as stream:
        stream.write(header.tostring().encode())
        for _ in range(64):
            stream.write(bytes(1_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"takes more than 4 MiB, from a file of .*: at most 64 times .* or 4 MiB"):
            fetch(path)  # which is told by its header
        with open_packed(path) as stream, pytest.raises(OSError, match="more than 4 MiB"):
            stream.read()
        with open_packed(path) as stream, pytest.raises(OSError, match="more than 4 MiB"):
            stream.seek(60_000_000)
        with open_packed(path) as stream, pytest.raises(OSError, match="more than 4 MiB"):
            stream.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40e6


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_header_alone_is_unpacked_to_find_the_image(packing, tmp_path, monkeypatch):
    path = tmp_path / f"image.fits{packing}"
    path.write_bytes(whole(packing))
    read = []
    read_on = PackedFile.read
    monkeypatch.setattr(PackedFile, "read", lambda stream, size: read.append(size) or read_on(stream, size))
    LocalImages(path)
    assert max(read) < 3000
    assert sum(read) < 50_000  # of 384,400


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_file_is_read_as_any_file(packing, tmp_path):
    path = tmp_path / f"image.fits{packing}"
    path.write_bytes(whole(packing))
    content = gzip.decompress(whole(".gz"))
    with open_packed(path) as stream:
        assert stream.read(10) == content[:10]
        assert stream.seek(2880) == stream.tell() == 2880
        assert stream.read(100) == content[2880:2980]
        assert stream.seek(-50, 1) == 2930
        assert stream.read() == content[2930:]
        assert stream.seek(-7, 2) == len(content) - 7
        assert stream.read(100) == content[-7:]


def test_other_packings_are_named(tmp_path):
    path = tmp_path / "image.fits.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.fits", gzip.decompress(whole(".gz")))
    with pytest.raises(ImageError, match="packed by zip: unpack it first; gzip, bzip2 and xz are read as they are"):
        fetch(path)
    path.write_bytes(b"\x1f\x9d\x90" + bytes(3000))
    with pytest.raises(OSError, match="packed by compress"):
        open_checked(path)
