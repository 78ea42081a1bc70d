"""Choosing an image source, and the record that every source fills."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData

from radio_ag.catalog_io.images.fields import Fields, ImageSource
from radio_ag.catalog_io.images.geometry import Cutout, tangent_wcs
from radio_ag.catalog_io.images.local import ArrayImages, LocalImages
from radio_ag.catalog_io.open_images import open_images
from radio_ag.errors import ImageError
from radio_ag.flags import Flag

RA, DEC = np.array([180.0]), np.array([40.0])


@pytest.fixture
def plane():
    return np.random.default_rng(3).normal(size=(400, 400)).astype(np.float32)


@pytest.fixture
def header():
    header = tangent_wcs(180.0, 40.0, 400).to_header()
    header["BUNIT"], header["BMAJ"], header["BMIN"] = "Jy/beam", 0.0015, 0.0015
    return header


class ThirdParty:
    """An image source that knows nothing of this package but the protocol."""

    name = "elsewhere"

    def fetch(self, ra, dec):
        return Fields.blank(len(ra))

    def describe(self):
        return {"survey": "elsewhere"}


def cutout(value=1.0, resampled=False):
    data = np.full((300, 300), value, dtype=np.float32)
    return Cutout(data, (10.0, 20.0), np.array([75.2, 75.7]), np.diag([-0.0005, 0.0005]), resampled)


def test_blank_fields_are_flagged():
    fields = Fields.blank(2)
    assert len(fields) == 2
    assert fields.data.shape == (2, 300, 300)
    assert fields.data.dtype == np.float32
    assert (fields.flags == Flag.NO_COVERAGE).all()
    assert fields.flags.dtype == np.int32
    assert fields.status == ["no_coverage"] * 2
    for values in (fields.data, fields.cutout_ra, fields.cutout_dec, fields.crpix, fields.cd):
        assert np.isnan(values).all()


def test_no_fields_at_all():
    assert Fields.blank(0).data.shape == (0, 300, 300)


def test_put_and_fail():
    fields = Fields.blank(4)
    fields.put(1, cutout(), "a.fits")
    partial = cutout(resampled=True)
    partial.data[:10] = np.nan
    fields.put(2, partial, "b.fits")
    fields.put(3, cutout(np.nan), "c.fits")
    assert fields.status == ["no_coverage", "ok", "partial", "no_coverage"]
    assert fields.flags.tolist() == [Flag.NO_COVERAGE, 0, Flag.RESAMPLED, Flag.NO_COVERAGE]
    assert fields.origin == ["", "a.fits", "b.fits", "c.fits"]
    assert (fields.data[1] == 1).all()
    np.testing.assert_array_equal(fields.crpix[1], [75.2, 75.7])
    assert (fields.cutout_ra[1], fields.cutout_dec[1]) == (10.0, 20.0)
    assert np.isnan(fields.crpix[3]).all()

    fields.fail(1, "timeout", "https://example.org")
    assert fields.flags[1] == Flag.FETCH_FAILED
    assert fields.status[1] == "timeout"
    assert np.isnan(fields.data[1]).all()
    assert np.isnan(fields.cd[1]).all()


def test_paths_open_local_images(tmp_path, plane, header):
    path = tmp_path / "mosaic.fits"
    fits.writeto(path, plane, header)
    for images in (str(path), path, [path], (str(path),), str(tmp_path), tmp_path / "*.fits"):
        source = open_images(images)
        assert isinstance(source, LocalImages)
        assert isinstance(source, ImageSource)
        assert source.name == "mosaic.fits"
        assert open_images(images, hdu=0).fetch(RA, DEC).status == ["ok"]


def test_a_source_is_itself():
    source = ThirdParty()
    assert open_images(source) is source
    with pytest.raises(ImageError, match="hdu"):
        open_images(source, hdu=1)


@pytest.mark.parametrize("images", [None, "first", "FIRST"])
def test_first_is_the_default(images):
    source = open_images(images)
    assert isinstance(source, ImageSource)
    assert source.name == "FIRST"


def in_memory(plane, header):
    wcs = tangent_wcs(180.0, 40.0, 400)
    hdu = fits.PrimaryHDU(plane, header)
    beam = {"BMAJ": 0.0015, "BMIN": 0.0015}
    return {
        "PrimaryHDU": hdu,
        "HDUList": fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(plane, header)]),
        "ImageHDU": fits.ImageHDU(plane, header),
        "CCDData": CCDData(plane, wcs=wcs, unit=u.Jy / u.beam, meta=beam),
        "NDData": NDData(plane * 1000, wcs=wcs, unit=u.mJy / u.beam, meta=beam),
        "NDData with meta": NDData(plane * 1000, wcs=wcs, meta=beam | {"BUNIT": "mJy/beam", "OBSERVER": object()}),
        "list": [hdu],
    }


@pytest.mark.parametrize("kind", in_memory(np.zeros((400, 400)), fits.Header()))
def test_images_in_memory(kind, plane, header):
    source = open_images(in_memory(plane, header)[kind])
    assert isinstance(source, ArrayImages)
    fields = source.fetch(RA, DEC)
    assert fields.status == ["ok"]
    np.testing.assert_allclose(fields.data[0], plane[50:350, 50:350], rtol=1e-6)


def test_masked_pixels_are_blank(plane):
    mask = np.zeros(plane.shape, dtype=bool)
    mask[200, 210] = True
    source = open_images(CCDData(plane, wcs=tangent_wcs(180.0, 40.0, 400), unit="Jy/beam", mask=mask), beam=5.4)
    field = source.fetch(RA, DEC).data[0]
    assert np.isnan(field).sum() == 1
    assert np.isnan(field[150, 160])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("vlas", "images='vlas' is neither 'first' nor"),
        ([], "no usable FITS image"),
        (3, "type int cannot be used"),
        (np.zeros((400, 400)), "type ndarray cannot be used"),
        (["mosaic.fits", 3], "type str cannot be used"),
        (fits.PrimaryHDU(), "no pixels"),
        (fits.PrimaryHDU(np.zeros((400, 400))), "no usable celestial WCS"),
        (NDData(np.zeros((400, 400))), "needs an astropy.wcs.WCS"),
        (fits.HDUList([fits.PrimaryHDU()]), "no image"),
    ],
)
def test_errors_name_what_was_given(images, message):
    with pytest.raises(ImageError, match=message):
        open_images(images)
