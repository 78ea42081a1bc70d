"""Headers of plain cards: what astropy reads in them, and what it writes."""

import io

import pytest
from astropy.io import fits

from radio_ag.catalog_io.files.fits_append import append_encoded
from radio_ag.catalog_io.product.plain_header import encode_header, read_header

CARDS = [("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", False), ("RUN", "0f" * 32), ("PART", -12)]


def test_astropy_reads_the_same():
    cards = [*CARDS, ("TEXT", "it's"), ("EMPTY", "")]
    header = fits.Header.fromstring(encode_header(cards))
    assert {card.keyword: card.value for card in header.cards} == dict(cards)
    assert encode_header(CARDS[:5]) == fits.Header(CARDS[:5]).tostring().encode()


def test_what_astropy_writes_is_read():
    cards = [*CARDS, *((f"KEY{number}", number) for number in range(50)), ("TEXT", "it's / not a comment")]
    text = fits.Header([(key, value, "" if key == "RUN" else "a comment") for key, value in cards]).tostring().encode()
    stream = io.BytesIO(text + encode_header(CARDS))
    assert read_header(stream) == dict(cards)
    assert read_header(stream) == dict(CARDS)
    assert read_header(stream) is None


def test_a_header_that_is_cut_short():
    cards = [(f"KEY{number}", number) for number in range(50)]
    with pytest.raises(ValueError, match="no end"):
        read_header(io.BytesIO(encode_header(cards)[:2880]))
    with pytest.raises(ValueError, match="RUN is too long"):
        encode_header([("RUN", "0" * 70)])


def test_sums_are_those_of_the_standard():
    stream = io.BytesIO()
    append_encoded(stream, encode_header([*CARDS, ("CHECKSUM", ""), ("DATASUM", "")]))
    cards = [("XTENSION", "IMAGE"), ("BITPIX", 8), ("NAXIS", 1), ("NAXIS1", 5), ("PCOUNT", 0), ("GCOUNT", 1)]
    append_encoded(stream, encode_header([*cards, ("CHECKSUM", ""), ("DATASUM", "")]), [b"abc", b"de"])
    stream.seek(0)
    with fits.open(stream, checksum=True) as hdus:  # astropy warns where a sum is wrong, and warnings are errors here
        assert bytes(hdus[1].data) == b"abcde"
        assert hdus[1].header["DATASUM"] != "0"
        assert len(hdus) == 2
