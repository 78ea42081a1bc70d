"""What images show, by headers and names as pipelines write them, and which of a folder's are used."""

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.images.local import ArrayImages, LocalImages
from radio_ag.catalog_io.images.quantities import read_quantity
from radio_ag.errors import ImageError, RadioAGWarning

SIZE = 400
CENTRE = np.array([180.0]), np.array([40.0])


def make_header(**cards):
    header = tangent_wcs(180.0, 40.0, SIZE).to_header()
    header.update({"BUNIT": "Jy/beam", "BMAJ": 0.0015, "BMIN": 0.0015} | cards)
    return header


def pixels(seed=0, scale=1e-3):
    return np.random.default_rng(seed).normal(scale=scale, size=(SIZE, SIZE)).astype(np.float32)


def write(path, seed=0, scale=1e-3, history="", **cards):
    header = make_header(**cards)
    if history:
        header["HISTORY"] = history
    fits.writeto(path, pixels(seed, scale), header)


@pytest.mark.parametrize(
    "name",
    [
        "image.i.VAST_0127-73A.SB50230.cont.taylor.0.restored.conv.fits",
        "VAST_0012+00A.EPOCH01.I.fits",
        "mosaic-blanked.fits",
        "low-mosaic-blanked.fits",
        "VLASS1.1.ql.T01t01.J000228-363000.10.2048.v1.I.iter1.image.pbcor.tt0.subim.fits",
        "wsclean-MFS-image.fits",
        "wsclean-MFS-image-pb.fits",
        "deep.int.restored.fits",
        "field-r0.5.image.tt0.fits",
        "racs25_beam.fits.fz",
        "low-res.fits",
    ],
)
def test_names_of_images(name):
    assert read_quantity(make_header(), name).other == ""


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("noiseMap.image.i.SB1.cont.taylor.0.restored.fits", "noise map"),
        ("meanMap.image.i.SB1.cont.taylor.0.restored.fits", "background"),
        ("weights.i.SB1.cont.taylor.0.fits", "weights"),
        ("image.i.SB1.cont.taylor.1.restored.fits", "higher Taylor term"),
        ("image.v.SB1.cont.taylor.0.restored.fits", "Stokes V"),
        ("residual.i.SB1.cont.taylor.0.fits", "residual"),
        ("VAST_0012+00A.EPOCH01.V.fits", "Stokes V"),
        ("VAST_0012+00A.EPOCH01.I_rms.fits", "noise map"),
        ("VAST_0012+00A.EPOCH01.I_bkg.fits", "background"),
        ("mosaic.rms.fits", "noise map"),
        ("mosaic.resid.fits", "residual"),
        ("mosaic-weights.fits", "weights"),
        ("mosaic.pybdsmmask.fits", "mask"),
        ("VLASS1.1.ql.T01t01.J000228.iter1.image.pbcor.tt0.rms.subim.fits", "noise map"),
        ("VLASS1.1.se.T01t01.J000228.alpha.subim.fits", "spectral index"),
        ("VLASS1.1.se.T01t01.J000228.image.pbcor.tt1.subim.fits", "higher Taylor term"),
        ("wsclean-MFS-dirty.fits", "dirty image"),
        ("wsclean-MFS-model.fits", "model"),
        ("wsclean-MFS-residual-pb.fits", "residual"),
        ("wsclean-MFS-psf.fits", "point-spread function"),
        ("wsclean-Q-image.fits", "Stokes Q"),
        ("wsclean-beam-0.fits", "primary beam"),
        ("field.pb.fits", "primary beam"),
        ("field_uncorrected.fits.gz", "image without primary-beam correction"),
        ("field.nopbcor.fits", "image without primary-beam correction"),
    ],
)
def test_names_of_other_quantities(name, what):
    assert read_quantity(make_header(), name).other == what


@pytest.mark.parametrize(
    ("cards", "what"),
    [
        ({"CTYPE3": "STOKES", "CRVAL3": 4.0, "CRPIX3": 1.0, "CDELT3": 1.0}, "Stokes V"),
        ({"CTYPE4": "STOKES", "CRVAL4": 1.0, "CRPIX4": -1.0, "CDELT4": 1.0}, "Stokes U"),
        ({"CTYPE3": "STOKES", "CRVAL3": -6.0}, "YY"),
        ({"CTYPE3": "STOKES", "CRVAL3": 1.0}, ""),
        ({"CTYPE3": "STOKES"}, ""),
        ({"STOKES": "V"}, "Stokes V"),
        ({"STOKES": "I"}, ""),
        ({"BTYPE": "Intensity"}, ""),
        ({"BTYPE": "Spectral Index"}, "spectral index"),
        ({"BTYPE": "Beam"}, "primary beam"),
        ({"BTYPE": "RMS noise"}, "noise map"),
        ({"BTYPE": "Polarized intensity"}, "polarisation"),
        ({"EXTNAME": "RMS"}, "noise map"),
        ({"EXTNAME": "SCI"}, ""),
        ({"HISTORY": "BANE v1.9.0-(2022-08-17)"}, "noise map or background"),
        ({"HISTORY": "RMSD OPTYPE='HIST'"}, "noise map"),
    ],
)
def test_headers_tell(cards, what):
    assert read_quantity(make_header(**cards)).other == what


def test_a_header_counts_more_than_a_letter_in_the_name():
    assert read_quantity(make_header(CTYPE3="STOKES", CRVAL3=1.0), "survey.v.fits").other == ""


def test_a_folder_of_several_quantities_gives_total_intensity(tmp_path):
    """The image has blank rows and the others none: coverage decides nothing between quantities."""
    write(tmp_path / "image.i.fits", 1)
    with fits.open(tmp_path / "image.i.fits", mode="update") as hdus:
        hdus[0].data[100:103] = np.nan
    write(tmp_path / "noiseMap.image.i.fits", 2)
    write(tmp_path / "image.v.fits", 3)
    write(tmp_path / "stokes.fits", 4, CTYPE3="STOKES", CRVAL3=2.0)
    write(tmp_path / "components.fits", 5, BUNIT="Jy/pixel")
    with pytest.warns(
        RadioAGWarning,
        match=r"left out 4 of 5 images that are not total intensity in Jy/beam: 1 model in Jy/pixel "
        r"\(components.fits\), 1 Stokes V \(image.v.fits\), 1 noise map \(noiseMap.image.i.fits\), "
        r"1 Stokes Q \(stokes.fits\)",
    ):
        source = LocalImages(tmp_path)
    fields = source.fetch(*CENTRE)
    assert source.names == ("image.i.fits",)
    np.testing.assert_array_equal(fields.data[0, 60:], pixels(1)[110:350, 50:350])


@pytest.mark.parametrize("how", ["name", "history"])
def test_the_image_that_is_corrected_for_the_primary_beam_counts(how, tmp_path):
    write(tmp_path / "a-MFS-image.fits", 1, scale=1e-4, history="tclean(pbcor=False)")
    if how == "name":
        write(tmp_path / "a-MFS-image-pb.fits", 2)
    else:
        write(tmp_path / "b.fits", 2, history="AIPS   PBCOR  / corrected")
    with pytest.warns(RadioAGWarning, match=r"1 image without primary-beam correction \(a-MFS-image.fits\)"):
        source = LocalImages(tmp_path)
    np.testing.assert_array_equal(source.fetch(*CENTRE).data[0], pixels(2)[50:350, 50:350])


def test_without_a_corrected_one_an_image_is_used(tmp_path):
    write(tmp_path / "a-MFS-image.fits", history="tclean(pbcor=False)")
    assert LocalImages(tmp_path).names == ("a-MFS-image.fits",)


def test_a_folder_without_total_intensity_is_an_error_and_a_file_that_is_named_is_used(tmp_path):
    write(tmp_path / "mosaic.rms.fits")
    with pytest.raises(ImageError, match=r"no image of total intensity among 1: 1 noise map.*name the files"):
        LocalImages(tmp_path)
    with pytest.warns(RadioAGWarning, match=r"used all the same: 1 noise map \(mosaic.rms.fits\)"):
        source = LocalImages(tmp_path / "mosaic.rms.fits")
    assert source.fetch(*CENTRE).status == ["ok"]


def test_a_pattern_chooses_among_names(tmp_path):
    for name in ("a.low.fits", "b.high.fits"):
        write(tmp_path / name)
    for images in (tmp_path, str(tmp_path / "*")):
        assert LocalImages(images, pattern="*.high.*").names == ("b.high.fits",)
    with pytest.raises(ImageError, match=r"no usable FITS image that matches '\*.mid.\*'"):
        LocalImages(tmp_path, pattern="*.mid.*")


def test_of_two_images_the_one_with_less_noise_then_the_finer_beam(tmp_path):
    """Noise within a tenth is the same. The first by name and the best covered is neither."""
    write(tmp_path / "a.fits", 1, scale=2e-3)
    write(tmp_path / "b.fits", 2, scale=1e-3, BMAJ=0.0017, BMIN=0.0017)
    with fits.open(tmp_path / "b.fits", mode="update") as hdus:
        hdus[0].data[60:65] = np.nan
    assert LocalImages(tmp_path).fetch(*CENTRE).origin == ["b.fits"]
    write(tmp_path / "c.fits", 2, scale=1e-3, BMAJ=0.0014, BMIN=0.0014)
    assert LocalImages(tmp_path).fetch(*CENTRE).origin == ["c.fits"]


def test_coarse_images_are_left_out_of_a_folder_with_finer_ones(tmp_path):
    write(tmp_path / "low-mosaic-blanked.fits", 1, scale=1e-4, BMAJ=20 / 3600, BMIN=20 / 3600)
    write(tmp_path / "mosaic-blanked.fits", 2, BMAJ=6 / 3600, BMIN=6 / 3600)
    with pytest.warns(RadioAGWarning, match=r"left out 1 of 2 images.*coarser.*low-mosaic-blanked.fits \(20 arcsec\)"):
        source = LocalImages(tmp_path)
    assert source.fetch(*CENTRE).origin == ["mosaic-blanked.fits"]
    with pytest.raises(ImageError, match="20 arcsec is coarser"):
        LocalImages([tmp_path / "low-mosaic-blanked.fits", tmp_path / "mosaic-blanked.fits"])


def test_total_intensity_in_a_file_of_several(tmp_path):
    """By HDU, and by plane of a STOKES axis; on disk and in memory."""
    hdus = fits.HDUList([fits.PrimaryHDU(pixels(1), make_header(BTYPE="RMS")), fits.ImageHDU(pixels(2), make_header())])
    hdus.writeto(tmp_path / "two.fits")
    header = make_header(CTYPE3="STOKES", CRVAL3=4.0, CRPIX3=1.0, CDELT3=-3.0)
    fits.writeto(tmp_path / "vi.fits", np.stack([pixels(1), pixels(2)]), header)
    with pytest.warns(RadioAGWarning, match="more than one plane"):
        cube = LocalImages(tmp_path / "vi.fits")
    with fits.open(tmp_path / "vi.fits") as opened:
        in_memory = ArrayImages([opened[0]])
        sources = [LocalImages(tmp_path / "two.fits"), cube, ArrayImages([hdus]), in_memory]
        for source in sources:
            np.testing.assert_array_equal(source.fetch(*CENTRE).data[0], pixels(2)[50:350, 50:350])


def test_the_first_plane_with_data_is_used_where_the_first_is_blank(tmp_path):
    planes = np.stack([np.full((SIZE, SIZE), np.nan), np.zeros((SIZE, SIZE)), pixels(2), pixels(3)]).astype(np.float32)
    fits.writeto(tmp_path / "cube.fits", planes, make_header(CTYPE3="FREQ", CRVAL3=1.4e9, CRPIX3=1.0, CDELT3=1e6))
    with pytest.warns(RadioAGWarning, match="more than one plane"):
        source = LocalImages(tmp_path / "cube.fits")
    with pytest.warns(RadioAGWarning, match=r"cube.fits: plane 3 is used, since those before it are blank"):
        fields = source.fetch(*CENTRE)
    np.testing.assert_array_equal(fields.data[0], pixels(2)[50:350, 50:350])


def test_a_cube_without_data_has_no_coverage(tmp_path):
    header = make_header(CTYPE3="FREQ", CRVAL3=1.4e9, CRPIX3=1.0, CDELT3=1e6)
    fits.writeto(tmp_path / "cube.fits", np.full((3, SIZE, SIZE), np.nan, np.float32), header)
    with pytest.warns(RadioAGWarning, match="more than one plane"):
        source = LocalImages(tmp_path / "cube.fits")
    assert source.fetch(*CENTRE).status == ["no_coverage"]
