"""What headers say: units, beams and WCS, against known conversions and real headers' oddities."""

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.catalog_io.images.headers import image_wcs, jy_per_beam, read_beam, read_frame, warn_of_assumptions
from radio_ag.errors import ImageError, RadioAGWarning

# Solid angle of a Gaussian beam of 5.4 arcsec: pi / (4 ln 2) FWHM^2, one arcsec being 4.84813681e-6 rad.
BEAM_SR = 1.1330900354567985 * (5.4 * 4.84813681e-6) ** 2


def header(**cards):
    """A FIRST-like header of a plane; a value of None leaves a card out."""
    default = {
        "CTYPE1": "RA---SIN",
        "CTYPE2": "DEC--SIN",
        "CRVAL1": 162.5,
        "CRVAL2": 30.5,
        "CRPIX1": 150.5,
        "CRPIX2": 150.5,
        "CDELT1": -0.0005,
        "CDELT2": 0.0005,
        "BUNIT": "JY/BEAM ",
        "BMAJ": 0.0015,
        "BMIN": 0.0015,
    }
    return fits.Header({key: value for key, value in (default | cards).items() if value is not None})


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("Jy/beam", 1),
        ("JY/BEAM", 1),
        ("Jy beam-1", 1),
        ("Jy beam**-1", 1),
        ("Jy beam^-1", 1),
        ("Jy.beam-1", 1),
        ("jy/beam", 1),
        ("Jy / beam", 1),
        ("mJy/beam", 1e-3),
        ("mJy beam-1", 1e-3),
        ("mJy/BEAM", 1e-3),
        ("uJy/beam", 1e-6),
        ("UJY/BEAM", 1e-6),
        ("µJy/beam", 1e-6),
        ("nJy/beam", 1e-9),
        ("Jy/sr", BEAM_SR),
        ("MJy/sr", 1e6 * BEAM_SR),
        ("Jy/arcsec2", 33.0409),
        ("JY/PIXEL", 33.0409 / 1.8**2),
        ("Jy/pix", 33.0409 / 1.8**2),
    ],
)
def test_units(unit, factor):
    assert jy_per_beam(unit, beam=5.4, pixel_scale=1.8) == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize("unit", ["K", "MJY/BEAM", "Jy", "counts", "furlong", "mag", "Jy/beam/s"])
def test_units_that_cannot_be_converted_are_named(unit):
    with pytest.raises(ImageError, match=rf"BUNIT='{unit}'.*mJy/beam"):
        jy_per_beam(unit, beam=5.4, pixel_scale=1.8)


@pytest.mark.parametrize("unit", ["Jy/sr", "Jy/pixel"])
def test_surface_brightness_needs_a_beam(unit):
    with pytest.raises(ImageError, match="needs the beam"):
        jy_per_beam(unit, beam=None, pixel_scale=1.8)


def test_beam_from_the_cards_and_from_history():
    assert read_beam(header(BMAJ=6.8 / 3600, BMIN=5.4 / 3600)).fwhm == pytest.approx(np.sqrt(6.8 * 5.4))
    old = header(BMAJ=None, BMIN=None)
    assert read_beam(old) is None
    old["HISTORY"] = "AIPS   CLEAN BMAJ=  3.0000E-03 BMIN=  3.0000E-03 BPA=   0.00"
    old["HISTORY"] = "AIPS   CLEAN BMAJ=  1.8889E-03 BMIN=  1.5000E-03 BPA=   0.00"
    assert read_beam(old).fwhm == pytest.approx(3600 * np.sqrt(1.8889e-3 * 1.5e-3))


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"CLEANBMJ": 8 / 3600, "CLEANBMN": 6 / 3600, "CLEANBPA": 30.0}, (8, 6, 30)),
        ({"BMAJ": 8 / 3600}, (8, 8, 0)),
        ({"BMAJ": "0.0015", "BMIN": " 1.5E-3"}, (5.4, 5.4, 0)),
        ({"BMAJ": (6.0, "[arcsec] major axis"), "BMIN": (5.0, "[arcsec]"), "BPA": -20.0}, (6, 5, -20)),
        ({"HISTORY": "AIPS   CLEAN BMAJ=  1.5D-03 BMIN=  1.5D-03 BPA=   0.00"}, (5.4, 5.4, 0)),
        ({"HISTORY": "AIPS  CLEAN BMAJ = .0015 BMIN = .0015"}, (5.4, 5.4, 0)),
    ],
)
def test_beams_as_programs_write_them(cards, expected):
    found = header(BMAJ=None, BMIN=None)
    for keyword, value in cards.items():
        found[keyword] = value
    np.testing.assert_allclose(read_beam(found), expected, rtol=1e-6)


@pytest.mark.parametrize("keyword", ["BMAJ", "CLEANBMJ"])
def test_a_beam_in_arcsec_is_asked_about(keyword):
    with pytest.raises(ImageError, match=rf"{keyword} is 6 degrees: is that arcsec\?.*--beam"):
        read_frame(header(**({"BMAJ": None, "BMIN": None} | {keyword: 6.0})))


@pytest.mark.parametrize("equinox", ["J2000", "2000", "2000.0", "", "  ", "now", fits.card.Undefined()])
def test_equinox_beside_radesys_is_as_astropy_reads_it(equinox):
    """Positions of wcslib, which leaves a text or a blank out and takes FK5 for J2000."""
    odd = header(RADESYS="FK5")
    odd["EQUINOX"] = equinox
    frame = read_frame(odd)
    assert frame.sky.name == "fk5"
    assert frame.sky.equinox.jyear == 2000.0


@pytest.mark.parametrize(("equinox", "expected"), [("J2000", "fk5"), ("B1950", "fk4"), ("", "icrs")])
def test_equinox_alone(equinox, expected):
    assert read_frame(header(EQUINOX=equinox)).sky.name == expected


def test_an_equinox_that_is_none_and_no_frame():
    with pytest.raises(ImageError, match="EQUINOX is 'now': a number is needed"):
        read_frame(header(EQUINOX="now"))


@pytest.mark.parametrize("value", [0.0, -1.0, "unknown"])
def test_unusable_beam_counts_as_missing(value):
    assert read_beam(header(BMAJ=value)) is None


@pytest.mark.parametrize(
    ("bmaj", "bmin", "differs"),
    [(6.8, 5.4, False), (6.4, 6.4, False), (6.6, 6.6, True), (4.4, 4.4, False), (2.5, 2.5, True)],
)
def test_beams_within_a_fifth_are_those_of_first(bmaj, bmin, differs):
    assert read_frame(header(BMAJ=bmaj / 3600, BMIN=bmin / 3600)).beam_differs is differs


def test_oddities_of_first_headers_pass_in_silence():
    """CTYPE3/4 over a plane, EPOCH beside EQUINOX, an invalid DATE-OBS; warnings are errors in these tests."""
    odd = header(CTYPE3="FREQ", CRVAL3=1.3649e9, CTYPE4="STOKES", CRVAL4=1.0, EPOCH=2000.0, EQUINOX=2000.0)
    odd["NAXIS"], odd["NAXIS1"], odd["NAXIS2"] = 2, 300, 300
    odd["DATE-OBS"] = "19930417"
    odd["HISTORY"] = "AIPS   IMNAM 'first'"
    frame = read_frame(odd)
    assert frame.wcs.naxis == 2
    assert frame.sky.name == "fk5"
    assert frame.axes == (0, 1)
    assert frame.unit == "JY/BEAM"
    assert frame.pixel_scale == pytest.approx(1.8)
    np.testing.assert_allclose(frame.wcs.wcs_pix2world([[149.5, 149.5]], 0), [[162.5, 30.5]])


@pytest.mark.parametrize("card", ["OBSERVER= 'tab\there'", "OBSERVER= 'unclosed", "OBSERVER= 12abc", "OBS.RVER= 3"])
def test_cards_that_are_no_fits_do_no_harm(card):
    """SkyView's headers hold tabs; only the cards that matter are read."""
    text = header().tostring(endcard=False, padding=False)
    frame = read_frame(fits.Header.fromstring(text + card.ljust(80)))
    np.testing.assert_allclose(frame.wcs.wcs_pix2world([[149.5, 149.5]], 0), [[162.5, 30.5]])


def test_old_spelling_of_radesys():
    assert read_frame(header(RADECSYS="FK4", EQUINOX=1950.0)).sky.name == "fk4"


def test_header_is_left_as_it_was():
    original = header(EPOCH=2000.0)
    before = original.tostring()
    read_frame(original)
    assert original.tostring() == before


def test_distorted_wcs_keeps_its_distortion():
    sip = header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2, A_2_0=1e-5, B_0_2=1e-5)
    wcs = image_wcs(sip)
    assert wcs.has_distortion
    plain = image_wcs(header(CTYPE1="RA---TAN", CTYPE2="DEC--TAN"))
    moved = np.abs(wcs.all_pix2world([[250, 250]], 0) - plain.all_pix2world([[250, 250]], 0)) * 3600
    assert (moved > 0.1).all()


@pytest.mark.parametrize("radesys", ["FK5", "ICRS", None])
def test_galactic_axes_count_more_than_a_leftover_radesys(radesys):
    frame = read_frame(header(CTYPE1="GLON-SIN", CTYPE2="GLAT-SIN", RADESYS=radesys, EQUINOX=2000.0))
    assert frame.sky.name == "galactic"


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, "no celestial WCS"),
        ({"CTYPE2": None}, "WCS"),
        ({"CTYPE1": "ELON-SIN", "CTYPE2": "ELAT-SIN"}, "celestial frame"),
        ({"CTYPE1": "TLON-SIN", "CTYPE2": "TLAT-SIN", "DATE-OBS": "2020-01-01"}, "celestial frame"),
        ({"RADESYS": "GAPPT"}, "RADESYS='GAPPT'"),
        ({"CPDIS1": "LOOKUP"}, "distortion tables"),
        ({"CDELT1": 0.0}, "WCS"),
        ({"CDELT1": -1e-6, "CDELT2": 1e-6}, "pixels of"),
    ],
)
def test_unusable_wcs_is_an_image_error(cards, message):
    with pytest.raises(ImageError, match=message):
        read_frame(header(**cards))


def test_assumptions_are_said_once():
    frames = [read_frame(header(BUNIT=None)), read_frame(header(BMAJ=0.01, BMIN=0.01)), read_frame(header())]
    with pytest.warns(RadioAGWarning) as caught:
        warn_of_assumptions(frames, ["a.fits", "b.fits", "c.fits"])
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "BUNIT" in messages[0]
    assert "a.fits" in messages[0]
    assert "36 arcsec" in messages[1]
    assert "b.fits" in messages[1]
