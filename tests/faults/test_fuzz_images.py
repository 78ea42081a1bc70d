"""FITS images at random: right pixels in the right unit, or a word on what is wrong; never a traceback or a hang."""

import gzip
import io
import re
import signal
import tracemalloc
import warnings
from functools import cache

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import assume, given
from hypothesis import strategies as st

from radio_ag.attention.sources import open_sources
from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.images.planes import is_image
from radio_ag.catalog_io.images.regions import open_region
from radio_ag.catalog_io.open_images import open_images
from radio_ag.catalog_io.result import Result
from radio_ag.catalog_io.services.answer import open_answer, read_served
from radio_ag.catalog_io.services.http import Failure
from radio_ag.errors import ImageError, InputError
from radio_ag.flags import Flag
from radio_ag.labelled.data import load_labelled

RA, DEC = 180.0, 30.0
SIDE = 310
PEAK = 0.0131  # Jy/beam, everywhere in an image
BEAM = 5.4  # arcsec
PER_PIXEL = 4 * np.log(2) / np.pi * (1.8 / BEAM) ** 2  # beams in a pixel
UNITS = {  # Jy/beam; None: refused
    **{"Jy/beam": 1.0, "JY/BEAM ": 1.0, "Jy beam-1": 1.0, "mJy/beam": 1e-3, "mJy.beam**-1": 1e-3, "uJy/beam": 1e-6},
    **{"Jy/pixel": 1 / PER_PIXEL, "mJy/pix": 1e-3 / PER_PIXEL, "Jy/arcsec2": 1 / (PER_PIXEL / 1.8**2)},
    **{"MJY/BEAM": None, "K": None, "Jy": None, "m/s": None, "beam": None, "5": None, "Jy/beam/Hz": None},
}
PACKINGS = ["", ".gz", "RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"]
CARDS = ["NAXIS", "NAXIS1", "NAXIS2", "BITPIX", "BSCALE", "BZERO", "BLANK", "BUNIT", "BMAJ", "BMIN", "BPA", "CTYPE1"]
CARDS += ["CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "CUNIT1", "RADESYS", "SIMPLE", "END"]
CARDS += ["ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZBITPIX", "ZTILE1", "ZTILE2", "ZCMPTYPE", "ZIMAGE", "ZNAME1", "ZVAL1"]
CARDS += ["TFORM1", "TTYPE1", "TFIELDS", "PCOUNT", "GCOUNT", "XTENSION"]
VALUES = ["0", "1", "-1", "7", "64", "-64", "999", "2147483648", "1E400", "-1E308", "1E-308", "NaN", "Inf", "T", "''"]
VALUES += ["'abc'", "'RA---SIN'", "'DEC--TAN'", "'GLON-CAR'", "'FREQ'", "'deg'", "'FK9'", "'GZIP_1'", "'1PB(99999999)'"]
VALUES += ["", "'never ends", "1 2 3", "(1.0, 2.0)", "\x80\xff"]

# What astropy leaves open when it raises, it closes when the error is forgotten.
pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def no_hang():
    """Ends a test that would go on for minutes."""

    def stop(*_):
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_header():
    cards = {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": RA, "CRVAL2": DEC, "BUNIT": "Jy/beam"}
    cards |= {"CRPIX1": SIDE / 2, "CRPIX2": SIDE / 2, "CDELT1": -1.8 / 3600, "CDELT2": 1.8 / 3600}
    return cards | {"BMAJ": BEAM / 3600, "BMIN": BEAM / 3600}


def encode(data, cards, packing=""):
    """A file of one image, its numbers as they are."""
    stream = io.BytesIO()
    if packing in ("", ".gz"):
        hdus = fits.HDUList([fits.PrimaryHDU(data)])
    else:
        level = 0 if packing.startswith("GZIP") else 16  # all bits are kept, or floats are quantised
        packed = fits.CompImageHDU(data, compression_type=packing, quantize_level=level)
        hdus = fits.HDUList([fits.PrimaryHDU(), packed])
    hdus[-1].header.update(cards)
    hdus.writeto(stream)
    return gzip.compress(stream.getvalue(), 1) if packing == ".gz" else stream.getvalue()


def stored(bitpix, value):
    """An image of one value as a file has it, and the cards that scale it."""
    if bitpix < 0:
        return np.full((SIDE, SIDE), value, f">f{-bitpix // 8}"), {}
    cards = {"BSCALE": value / 50, "BZERO": value / 2, "BLANK": 99}  # 25 steps and an offset
    return np.full((SIDE, SIDE), 25, np.dtype(f">i{bitpix // 8}" if bitpix > 8 else "u1")), cards


def fetch(path):
    with warnings.catch_warnings(action="ignore"):
        return open_images(str(path)).fetch(np.array([RA, RA + 0.01]), np.array([DEC, DEC]))


def patched(content, keyword, value):
    """The file with another value on the first card of that name; as it is if there is none."""
    place = content.find(f"{keyword:8}".encode() + (b"" if keyword == "END" else b"= "))
    card = f"{keyword:8}= {value:>20}".ljust(80)[:80].encode("latin-1")
    return content if place < 0 else content[:place] + card + content[place + 80 :]


@given(
    bitpix=st.sampled_from([8, 16, 32, 64, -32, -64]),
    unit=st.sampled_from(list(UNITS)),
    packing=st.sampled_from(PACKINGS),
    axes=st.sampled_from([(), (1,), (1, 1), (2,)]),
    blank=st.sampled_from([None, np.nan, np.inf, -np.inf]),
)
def test_every_pixel_has_its_value_in_jy_per_beam(tmp_path, bitpix, unit, packing, axes, blank):
    lossy = packing in ("RICE_1", "HCOMPRESS_1")
    assume(not lossy or (bitpix != 64 and blank not in (np.inf, -np.inf)))  # astropy writes no such file
    assume(not (packing == "HCOMPRESS_1" and axes))
    data, cards = stored(bitpix, PEAK / (UNITS[unit] or 1.0))
    if blank is not None:
        data[: SIDE // 2] = blank if bitpix < 0 else 99
    cards = make_header() | cards | {"BUNIT": unit}
    path = tmp_path / f"image.fits{packing if packing == '.gz' else ''}"
    path.write_bytes(encode(np.broadcast_to(data, (*axes, *data.shape)), cards, packing))
    if UNITS[unit] is None:
        with pytest.raises(ImageError, match=r"BUNIT|not a readable FITS file"):
            fetch(path)
        return
    fields = fetch(path)
    assert fields.status == ["partial" if blank is not None else "ok", "partial"]
    assert not np.isinf(fields.data).any()
    finite = np.isfinite(fields.data)
    np.testing.assert_allclose(fields.data[finite], PEAK, rtol=2e-3)
    share = np.mean(finite[0])
    assert share == 1 if blank is None else 0.4 < share < 0.6


@given(bitpix=st.sampled_from([16, 32, -32, -64]), unit=st.sampled_from(list(UNITS)), size=st.sampled_from([None, 306]))
def test_a_service_s_image_has_its_values_too(bitpix, unit, size):
    data, cards = stored(bitpix, PEAK / (UNITS[unit] or 1.0))
    hdus = open_answer(encode(data, make_header() | cards | {"BUNIT": unit}))
    if UNITS[unit] is None:
        with pytest.raises(Failure, match="BUNIT") as failure:
            read_served(hdus, RA, DEC, size=size)
        assert failure.value.status == "not_an_image"
        return
    served = read_served(hdus, RA, DEC, size=size)
    assert served.data.shape == (size or SIDE,) * 2
    assert served.header["BUNIT"] == "Jy/beam"
    np.testing.assert_allclose(served.data, PEAK, rtol=2e-3)


@cache
def whole(packing):
    """A file with nothing wrong."""
    noise = np.random.default_rng(0).normal(0, 1e-4, (SIDE, SIDE)).astype(np.float32)
    return encode(PEAK + noise, make_header(), packing)


damage = st.one_of(
    st.tuples(st.just("card"), st.sampled_from(CARDS), st.sampled_from(VALUES)),
    st.tuples(st.just("drop"), st.sampled_from(CARDS), st.just("")),
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(None)),
)


def damaged(content, what, where, how):
    if what == "card":
        return patched(content, where, how)
    if what == "drop":
        return content.replace(f"{where:8}=".encode(), b"REMARK  =", 1)
    place = int(where * len(content))
    if what == "cut" or not content:
        return content[:place]
    return content[:place] + bytes([content[place] ^ how]) + content[place + 1 :]


@given(packing=st.sampled_from(PACKINGS), wounds=st.lists(damage, min_size=1, max_size=3))
def test_damaged_files_are_refused_or_flagged(tmp_path, packing, wounds):
    content = whole(packing.replace(".gz", ""))
    for wound in wounds:
        content = damaged(content, *wound)
    path = tmp_path / f"image.fits{packing if packing == '.gz' else ''}"
    path.write_bytes(content if packing != ".gz" else gzip.compress(content, 1))
    message, fields = "", None
    try:
        fields = fetch(path)
    except ImageError as error:
        message = str(error)
    assert len(message.splitlines()) == (fields is None)
    for row, status in enumerate(fields.status if fields else ()):
        flags = {"no_coverage": Flag.NO_COVERAGE, "unreadable": Flag.FETCH_FAILED}.get(status, 0)
        assert fields.flags[row] & (Flag.NO_COVERAGE | Flag.FETCH_FAILED) == flags
        assert np.isfinite(fields.data[row]).any() == (status in ("ok", "partial"))
        assert not np.isinf(fields.data[row]).any()


@given(wounds=st.lists(damage, min_size=1, max_size=3))
def test_damaged_answers_are_failures(wounds):
    content = whole("")
    for wound in wounds:
        content = damaged(content, *wound)
    status, data = "ok", np.zeros((306, 306))
    try:
        with warnings.catch_warnings(action="ignore"):
            data = read_served(open_answer(content), RA, DEC, size=306).data
    except Failure as failure:
        status = failure.status
    assert status in ("ok", "not_an_image", "truncated", "misplaced")
    assert max(data.shape) <= 306
    assert not np.isinf(data).any()


DAMAGED = "header of HDU 0 is damaged|No SIMPLE card found"


@pytest.mark.parametrize("negative", [False, True])
def test_a_damaged_header_in_a_packed_file_is_refused(negative, tmp_path):
    """What astropy would go round in for ever: of no known end, or one that ends before it begins."""
    content = patched(whole(""), "SIMPLE", "Inf")
    readers = [fetch, open_sources, load_labelled, Result.read, read_catalogue]
    if negative:
        content = b"0" + patched(whole(""), "NAXIS2", "-64")[1:]
        readers.remove(read_catalogue)  # which takes it for no FITS file at all
    path = tmp_path / "image.fits.gz"
    path.write_bytes(gzip.compress(content, 1))
    for read in readers:
        with warnings.catch_warnings(action="ignore"), pytest.raises(InputError, match=DAMAGED):
            read(path)


@pytest.mark.parametrize("packing", ["", ".gz", "RICE_1"])
def test_more_axes_or_columns_than_a_file_has_are_refused(packing, tmp_path):
    """What astropy would count for minutes, until memory runs out."""
    content = whole(packing.replace(".gz", ""))
    keyword = "TFIELDS" if packing == "RICE_1" else "NAXIS"
    content = patched(content, keyword, "2147483648")
    path = tmp_path / f"image.fits{packing if packing == '.gz' else ''}"
    path.write_bytes(gzip.compress(content, 1) if packing == ".gz" else content)
    for read in (fetch, read_catalogue, open_sources, load_labelled, Result.read):
        with pytest.raises(InputError, match=f"{keyword} is 2147483648; a FITS file has at most 999"):
            read(path)
    assert not is_image(path)
    with pytest.raises(InputError, match=f"{keyword} is 2147483648"):
        open_region(path)
    with pytest.raises(Failure):
        open_answer(content)


BOMBS = {
    "a plain file": ({"NAXIS1": 10**9, "NAXIS2": 10**9}, ""),
    "more bytes than 64 bits count": ({"NAXIS1": 2**62, "NAXIS2": 2**62}, ""),
    "a cube": ({"NAXIS": 3, "NAXIS1": 306, "NAXIS2": 306, "NAXIS3": 10**12}, ""),
    "gzip": ({"NAXIS1": 50_000, "NAXIS2": 50_000}, ".gz"),
    "one tile": ({"ZNAXIS1": 10**9, "ZNAXIS2": 10**9, "ZTILE1": 10**9, "ZTILE2": 10**9}, "RICE_1"),
    "a row of one tile": ({"ZNAXIS1": 2**40, "ZTILE1": 2**40}, "GZIP_1"),
    "many tiles": ({"ZNAXIS1": 10**9, "ZNAXIS2": 10**9}, "GZIP_2"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_declares_to_be_huge_takes_no_memory(bomb, tmp_path):
    cards, packing = BOMBS[bomb]
    content = whole(packing.replace(".gz", ""))
    for keyword, value in cards.items():
        content = patched(content, keyword, str(value))
    path = tmp_path / f"image.fits{packing if packing == '.gz' else ''}"
    path.write_bytes(gzip.compress(content, 1) if packing == ".gz" else content)
    outcome = ""
    tracemalloc.start()
    try:
        outcome = "".join(fetch(path).status)
    except ImageError as error:
        outcome = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert re.search("truncated|GiB unpacked|not a readable FITS file|unreadableunreadable", outcome)
    assert peak < 100e6
    if not packing:
        with pytest.raises(Failure):
            open_answer(content)


def test_a_packed_answer_of_a_service_is_not_unpacked():
    """No service packs its images; what unpacks to any size is not looked at."""
    for packing in ("RICE_1", "GZIP_1"):
        with pytest.raises(Failure) as failure:
            read_served(open_answer(whole(packing)), RA, DEC)
        assert failure.value.status == "not_an_image"
    with pytest.raises(Failure, match="not FITS"):
        open_answer(whole(".gz"))
