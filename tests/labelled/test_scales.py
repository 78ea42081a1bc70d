"""The pixel scale and beam of labelled images: read, honoured, refused."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from radio_ag.errors import ImageError
from radio_ag.labelled.data import LabelledFile, Reading, load_labelled
from radio_ag.labelled.scales import OwnPixels, Scale

ARCSEC = 1 / 3600


def blob(size: int, fwhm: float, dx: float = 0.0) -> np.ndarray:
    """A Gaussian, pixels, ``dx`` to the right of the middle."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.exp(-4 * np.log(2) * ((x - dx) ** 2 + y**2) / fwhm**2)


def write(path, images, *, beam=None, pixels=None, unit="Jy/beam", **cards):
    """Two sources whose images have a header with what is given."""
    table = fits.table_to_hdu(Table({"ra": [10.0, 20.0], "dec": [0.0, 0.0], "fr_class": ["FRI", "FRII"]}))
    table.name = "SOURCES"
    cube = fits.ImageHDU(images, name="IMAGES")
    if beam:
        cube.header.update(BMAJ=beam * ARCSEC, BMIN=beam * ARCSEC)
    if pixels:
        cube.header.update(CDELT1=-pixels * ARCSEC, CDELT2=pixels * ARCSEC)
    if unit:
        cube.header["BUNIT"] = unit
    cube.header.update(cards)
    fits.HDUList([fits.PrimaryHDU(), table, cube]).writeto(path, overwrite=True)
    return path


def noisy(size: int, fwhm: float, dx: float = 0.0) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 1e-3, (2, size, size))
    return (noise + blob(size, fwhm, dx)).astype(np.float32)


def width(image: np.ndarray) -> float:
    """Full width at half maximum of the row through the peak, pixels."""
    row = image[np.unravel_index(image.argmax(), image.shape)[0]]
    above = np.flatnonzero(row > row.max() / 2)
    first, last = above[0], above[-1]
    left = first - (row[first] - row.max() / 2) / (row[first] - row[first - 1])
    return float(last + (row[last] - row.max() / 2) / (row[last] - row[last + 1]) - left)


@pytest.mark.parametrize(("side", "beam", "pixels"), [(200, 45.0, 15.0), (240, 25.0, 2.5), (64, 15.0, 3.0)])
def test_a_coarser_beam_is_three_pixels_wide(tmp_path, side, beam, pixels):
    """On pixels of a third of it, with a source 12 arcsec to the right where it belongs."""
    data = load_labelled(write(tmp_path / "x.fits", noisy(side, beam / pixels, 12 / pixels), beam=beam, pixels=pixels))
    assert data.scale == pytest.approx(("", beam, beam / 3))
    assert width(data.fields[0]) == pytest.approx(3, rel=0.05)
    centroid = (data.fields[0].sum(0) * (np.arange(300) - 149.5)).sum() / data.fields[0].sum()
    assert centroid * beam / 3 == pytest.approx(12, abs=0.05 * beam)
    assert data.notes == ()


def test_a_finer_beam_is_convolved_to_that_of_first(tmp_path):
    data = load_labelled(write(tmp_path / "x.fits", noisy(600, 2.5 / 0.6), beam=2.5, pixels=0.6))
    assert data.scale == Scale()
    assert width(data.fields[0]) == pytest.approx(5.4 / 1.8, rel=0.08)
    assert data.fields[0].max() == pytest.approx(np.exp(-4 * np.log(2) * 0.5 / 9), rel=0.05)  # between four pixels


def test_pixels_of_first_stay_as_they_are(tmp_path):
    images = noisy(300, 3.0)
    told = load_labelled(write(tmp_path / "x.fits", images, beam=5.4, pixels=1.8))
    plain = load_labelled(write(tmp_path / "y.fits", images))
    np.testing.assert_array_equal(told.fields, plain.fields)
    assert told.notes == ()
    assert [note.split(": ", 1)[1][:35] for note in plain.notes] == [
        "the header does not tell the pixel ",
        "the header does not tell the beam: ",
    ]


def test_what_is_given_stands_for_what_the_header_lacks(tmp_path):
    path = write(tmp_path / "x.fits", (255 * blob(150, 3)[None].repeat(2, 0)).astype(np.uint8))
    data = load_labelled(path, reading=Reading(beam=45.0, pixel_scale=15.0))
    assert data.scale.pixel_scale == 15.0
    assert data.notes == ()
    assert load_labelled(path).scale == Scale()


def test_a_missing_unit_is_told(tmp_path):
    file = LabelledFile(write(tmp_path / "x.fits", noisy(300, 3), beam=5.4, pixels=1.8, unit=None))
    assert file.notes == ["x.fits: the header does not tell the unit (BUNIT): Jy/beam is assumed"]


def test_eight_bit_images_have_nothing_below_zero(tmp_path):
    images = (255 * blob(100, 5)[None].repeat(2, 0)).astype(np.uint8)
    data = load_labelled(write(tmp_path / "x.fits", images, beam=15.0, pixels=4.0, unit=None))
    assert data.fields.min() == 0
    assert np.isfinite(data.fields).all()
    assert data.known.tolist() == [80, 80]


def test_images_of_several_beams_are_refused(tmp_path):
    coarse = write(tmp_path / "x.fits", noisy(200, 3.0), beam=45.0, pixels=15.0)
    with pytest.raises(ImageError, match=r"beams of 45 and 5.4 arcsec: one network learns from"):
        load_labelled(coarse, write(tmp_path / "y.fits", noisy(300, 3.0), beam=5.4, pixels=1.8))


@pytest.mark.parametrize(
    ("side", "cards", "message"),
    [
        (60, {"beam": 45.0, "pixels": 15.0}, "sides of 60 pixels, accepted are 64 to 600"),
        (602, {"beam": 45.0, "pixels": 15.0}, "sides of 602 pixels, accepted are 64 to 600"),
        (150, {}, "expected .2, 300, 300.: the noise .* of another size where the header"),
        (300, {"beam": 5.0, "pixels": 9.0}, "pixels of 9 arcsec are wider than the beam of 5"),
        (300, {"beam": 45.0, "CDELT1": -15 * ARCSEC, "CDELT2": 10 * ARCSEC}, "15 by 10 arcsec are not square"),
        (300, {"CDELT1": "x", "CDELT2": 1.0}, "CDELT1 and CDELT2 are 'x' and 1.0"),
    ],
)
def test_images_that_cannot_be_placed_are_refused(tmp_path, side, cards, message):
    with pytest.raises(ImageError, match=message):
        LabelledFile(write(tmp_path / "x.fits", np.zeros((2, side, side), np.float32), **cards))


def test_the_survey_tells_its_beam():
    own = OwnPixels.read(fits.Header({"SURVEY": "NVSS 1.4 GHz", "CDELT1": -1 / 240, "CDELT2": 1 / 240}))
    assert own.scale == ("NVSS 1.4 GHz", 45.0, 15.0)
