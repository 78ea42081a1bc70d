"""Beams: what convolution and scaling do to Gaussians whose flux, width and place are known."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from image_examples import field_at

from radio_ag.catalog_io.images.beam import Beam, BeamMatch, match_beam, smooth, smoothing_kernel, target_beam
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.images.headers import read_beam, read_frame
from radio_ag.catalog_io.open_images import open_images
from radio_ag.errors import ImageError, RadioAGWarning
from radio_ag.flags import Flag

RA, DEC = 180.0, 40.0
FWHM_TO_VARIANCE = 1 / (8 * np.log(2))


def image_of(beam, pixel_scale, sources, *, size=800, turned=0.0):
    """An HDU with Gaussians of the beam's shape: (East, North) offsets in arcsec and peaks in Jy/beam."""
    wcs = tangent_wcs(RA, DEC, size, pixel_scale)
    angle = np.radians(turned)
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    y, x = np.indices((size, size), dtype=float) - (size - 1) / 2
    east, north = np.tensordot(wcs.wcs.pc * wcs.wcs.cdelt[:, None] * 3600, np.stack([x, y]), axes=1)
    precision = np.linalg.inv(beam.covariance)
    data = np.zeros((size, size))
    for (at_east, at_north), peak in sources:
        offset = np.stack([east - at_east, north - at_north])
        data += peak * np.exp(-0.5 * np.einsum("iyx,ij,jyx->yx", offset, precision, offset))
    header = wcs.to_header()
    header.update(BUNIT="Jy/beam", BMAJ=beam.major / 3600, BMIN=beam.minor / 3600, BPA=beam.angle)
    return fits.ImageHDU(data.astype(np.float32), header)


def integrated(field, beam_fwhm, pixel_scale):
    """Jy of a field in Jy/beam."""
    return field.sum() * pixel_scale**2 / (2 * np.pi * FWHM_TO_VARIANCE * beam_fwhm**2)


def moments(field, pixel_scale):
    """Centroid (East, North) in arcsec from the field's middle, and second moments in arcsec²."""
    y, x = (np.indices(field.shape) - (len(field) - 1) / 2) * pixel_scale
    offset = np.stack([-x, y])
    weight = field / field.sum()
    centre = (offset * weight).sum(axis=(1, 2))
    away = offset - centre[:, None, None]
    return centre, np.einsum("iyx,jyx,yx->ij", away, away, weight)


# --- which beams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("major", "minor", "expected"),
    [
        (5.4, 5.4, BeamMatch.FIRST),
        (6.8, 5.4, BeamMatch.FIRST),  # FIRST's own in the south
        (6.0, 6.0, BeamMatch.FIRST),  # LoTSS
        (6.4, 6.4, BeamMatch.FIRST),
        (6.6, 6.6, BeamMatch.COARSER),
        (25.0, 25.0, BeamMatch.COARSER),
        (4.4, 4.4, BeamMatch.FIRST),
        (4.2, 4.2, BeamMatch.FINER),
        (2.9, 2.2, BeamMatch.FINER),  # VLASS
        (7.0, 2.5, BeamMatch.FINER),  # its minor axis can be brought to 5.4", and √(7.0 x 5.4) is FIRST's
        (9.0, 2.0, BeamMatch.COARSER),  # √(9.0 x 5.4) is not
    ],
)
def test_beams_are_compared_by_their_area(major, minor, expected):
    assert match_beam(Beam(major, minor, 30.0)) is expected


def test_an_unknown_beam_counts_as_that_of_first():
    assert match_beam(None) is BeamMatch.FIRST


def test_beam_of_a_header_has_its_angle():
    assert read_beam(fits.Header({"BMAJ": 2.9 / 3600, "BMIN": 2.2 / 3600, "BPA": -30.0})) == pytest.approx(
        (2.9, 2.2, -30)
    )
    history = fits.Header()
    history["HISTORY"] = "AIPS   CLEAN BMAJ=  1.8889E-03 BMIN=  1.5000E-03 BPA= -12.50"
    assert read_beam(history) == pytest.approx((6.8, 5.4, -12.5), abs=1e-3)


def test_covariance_is_along_the_position_angle():
    """An angle of 90 degrees is East."""
    np.testing.assert_allclose(Beam(4, 2, 90).covariance, np.diag([16, 4]) * FWHM_TO_VARIANCE, atol=1e-12)
    np.testing.assert_allclose(Beam(4, 2, 0).covariance, np.diag([4, 16]) * FWHM_TO_VARIANCE, atol=1e-12)
    assert Beam(4, 2, 45).covariance[0, 1] > 0


# --- the kernel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beam", [Beam(2.5, 2.5, 0), Beam(2.9, 2.2, 40), Beam(4.3, 4.0, -70)])
@pytest.mark.parametrize(
    "cd", [np.diag([-1.0, 1.0]), np.array([[-0.6, 0.8], [0.8, 0.6]]) * 0.7], ids=["north", "turned"]
)
def test_kernel_makes_up_the_difference_of_the_beams(beam, cd):
    """Second moments of a convolution add up; the sum is the ratio of the beam areas."""
    kernel = smoothing_kernel(beam, cd / 3600)
    y, x = np.indices(kernel.shape) - len(kernel) // 2
    sky = np.tensordot(cd, np.stack([x, y]), axes=1)
    spread = np.einsum("iyx,jyx,yx->ij", sky, sky, kernel / kernel.sum())
    np.testing.assert_allclose(beam.covariance + spread, np.eye(2) * 5.4**2 * FWHM_TO_VARIANCE, atol=0.02)
    assert kernel.sum() == pytest.approx(5.4**2 / (beam.major * beam.minor))


def test_kernel_of_a_long_beam_leaves_its_long_axis():
    beam = Beam(7.0, 2.5, 0.0)
    assert target_beam(beam) == (7.0, 5.4, 0.0)
    kernel = smoothing_kernel(beam, np.diag([-1.0, 1.0]) / 3600)
    y, x = np.indices(kernel.shape) - len(kernel) // 2
    assert (kernel * y**2).sum() < 1e-6 * kernel.sum()
    assert (kernel * x**2).sum() / kernel.sum() == pytest.approx((5.4**2 - 2.5**2) * FWHM_TO_VARIANCE, rel=1e-3)


def test_blank_pixels_stay_blank_and_do_not_darken_their_neighbours():
    kernel = smoothing_kernel(Beam(2.5, 2.5, 0), np.diag([-1.0, 1.0]) / 3600)
    plane = np.ones((60, 60))
    plane[20:30, 25:40] = np.nan
    smoothed = smooth(plane, kernel)
    assert np.array_equal(np.isnan(smoothed), np.isnan(plane))
    np.testing.assert_allclose(smoothed[np.isfinite(plane)], kernel.sum(), rtol=1e-9)


# --- fields ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beam", "pixel_scale", "turned"),
    [
        (Beam(2.5, 2.5, 0), 1.0, 0),
        (Beam(2.9, 2.2, 40), 1.0, 0),
        (Beam(3.5, 3.0, -20), 0.6, 25),
        (Beam(4.2, 4.2, 0), 1.4, 0),
    ],
    ids=["VLASS", "elliptical", "turned", "nearly as wide"],
)
def test_finer_beam_is_convolved_to_that_of_first(beam, pixel_scale, turned):
    """Integrated flux within 2 %, width and place: of two sources in the field, of 3 mJy and 1 mJy."""
    size = round(850 / pixel_scale)
    hdu = image_of(beam, pixel_scale, [((0.0, 0.0), 3e-3), ((70.3, -40.9), 1e-3)], size=size, turned=turned)
    cutout = field_at(hdu.data, read_frame(hdu.header), RA, DEC)
    assert cutout.resampled
    assert integrated(cutout.data, 5.4, 1.8) == pytest.approx(4e-3, rel=0.02)
    near = cutout.data[130:170, 130:170]
    assert integrated(near, 5.4, 1.8) == pytest.approx(3e-3, rel=0.02)
    centre, spread = moments(near, 1.8)
    np.testing.assert_allclose(centre, 0, atol=0.02)
    np.testing.assert_allclose(spread, np.eye(2) * 5.4**2 * FWHM_TO_VARIANCE, atol=0.04 * 5.4**2 * FWHM_TO_VARIANCE)


def test_peak_after_convolution_is_that_of_the_sampled_beam():
    """The position lies between four pixels: their centres are at 0.858 of the peak of a 5.4" beam."""
    hdu = image_of(Beam(2.5, 2.5, 0), 1.0, [((0.0, 0.0), 1e-3)])
    cutout = field_at(hdu.data, read_frame(hdu.header), RA, DEC)
    expected = np.exp(-4 * np.log(2) * (1.8**2 / 2) / 5.4**2)
    assert cutout.data.max() == pytest.approx(expected * 1e-3, rel=0.01)


def test_without_convolution_most_of_the_flux_would_be_lost():
    """What the convolution is for: the same pixels read as Jy per 5.4" beam."""
    hdu = image_of(Beam(2.5, 2.5, 0), 1.0, [((0.0, 0.0), 1e-3)])
    del hdu.header["BMAJ"], hdu.header["BMIN"]
    cutout = field_at(hdu.data, read_frame(hdu.header), RA, DEC)
    assert integrated(cutout.data, 5.4, 1.8) < 0.25e-3


def test_convolution_reads_a_bounded_window():
    hdu = image_of(Beam(2.5, 2.5, 0), 1.0, [((0.0, 0.0), 1e-3)], size=1500)

    class Recorder:
        shape = hdu.data.shape
        asked = ()

        def __getitem__(self, window):
            self.asked = tuple(part.stop - part.start for part in window)
            return hdu.data[window]

    recorder = Recorder()
    field_at(recorder, read_frame(hdu.header), RA, DEC)
    assert max(recorder.asked) <= 540 + 2 * (8 + 12) + 4  # the field, and a margin for spline and kernel


def test_fields_of_a_finer_mosaic_say_that_they_were_resampled():
    hdu = image_of(Beam(2.5, 2.5, 0), 1.0, [((0.0, 0.0), 1e-3)])
    with pytest.warns(RadioAGWarning, match=r"2\.5 arcsec, not FIRST's 5\.4"):
        fields = open_images(hdu).fetch(np.array([RA]), np.array([DEC]))
    assert fields.flags[0] == Flag.RESAMPLED
    np.testing.assert_allclose(fields.cd[0] * 3600, np.diag([-1.8, 1.8]), atol=1e-9)


def test_coarser_beam_is_refused():
    hdu = image_of(Beam(25, 25, 0), 5.0, [((0.0, 0.0), 1e-3)], size=300)
    with pytest.raises(ImageError, match=r"beam of 25 arcsec is coarser than FIRST's.*--beam-scaled"):
        open_images(hdu)


@pytest.mark.parametrize("pixel_scale", [2.5, 25 / 3])
def test_coarser_beam_on_request_gives_three_pixels_a_beam(pixel_scale):
    beam = Beam(25, 25, 0)
    hdu = image_of(beam, pixel_scale, [((0.0, 0.0), 3e-3), ((400.0, 300.0), 1e-3)], size=1100)
    with pytest.warns(RadioAGWarning, match="25 arcsec, not FIRST's"):
        source = open_images(hdu, beam_scaled=True)
    fields = source.fetch(np.array([RA]), np.array([DEC]))
    assert fields.flags[0] == Flag.RESAMPLED
    np.testing.assert_allclose(fields.cd[0] * 3600, np.diag([-25 / 3, 25 / 3]), atol=1e-9)
    assert integrated(fields.data[0], 25, 25 / 3) == pytest.approx(4e-3, rel=0.02)
    _, spread = moments(fields.data[0, 130:170, 130:170], 25 / 3)
    np.testing.assert_allclose(spread, beam.covariance, atol=0.03 * beam.covariance[0, 0])


def test_beam_scaled_leaves_the_others_alone():
    hdu = image_of(Beam(5.4, 5.4, 0), 1.8, [((0.0, 0.0), 1e-3)], size=400)
    plain = open_images(hdu).fetch(np.array([RA]), np.array([DEC]))
    scaled = open_images(hdu, beam_scaled=True).fetch(np.array([RA]), np.array([DEC]))
    np.testing.assert_array_equal(plain.data, scaled.data)
    assert plain.flags[0] == scaled.flags[0] == 0


def test_beam_of_an_array_comes_with_its_meta():
    hdu = image_of(Beam(2.9, 2.2, 40), 1.0, [((0.0, 0.0), 1e-3)])
    meta = {key: hdu.header[key] for key in ("BMAJ", "BMIN", "BPA")}
    image = CCDData(hdu.data, wcs=tangent_wcs(RA, DEC, 800, 1.0), unit="Jy/beam", meta=meta)
    with pytest.warns(RadioAGWarning, match=r"not FIRST's"):
        in_memory = open_images(image).fetch(np.array([RA]), np.array([DEC])).data[0]
    np.testing.assert_allclose(in_memory, field_at(hdu.data, read_frame(hdu.header), RA, DEC).data, atol=1e-9)
