"""Fields between pixels: against reproject, which sends every pixel through the projections."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from reproject import reproject_interp

from radio_ag.catalog_io.images.geometry import resample_field, tangent_wcs
from radio_ag.catalog_io.images.resample import interpolate, project, project_grid
from radio_ag.preprocess.images import FIELD_SIZE

RA, DEC = 180.0, 40.0
SHAPE = (500, 520)


def image_wcs(ctype, *, scale=1.8, degrees=0.0, at=(RA, DEC), frame="ICRS", sip=False):
    """WCS of an image whose middle is at a position (in ICRS)."""
    sky = SkyCoord(*at, unit="deg")
    centre = sky.galactic if ctype.startswith("G") else sky.transform_to(frame.lower())
    names = ("GLON", "GLAT") if ctype.startswith("G") else ("RA--", "DEC-")
    header = fits.Header({"CTYPE1": f"{names[0]}-{ctype[-3:]}", "CTYPE2": f"{names[1]}-{ctype[-3:]}"})
    header["CRVAL1"], header["CRVAL2"] = centre.spherical.lon.deg, centre.spherical.lat.deg
    header["CRPIX1"], header["CRPIX2"] = (SHAPE[1] + 1) / 2, (SHAPE[0] + 1) / 2
    if ctype[-3:] in ("CAR", "MER"):  # cylindrical ones keep their reference on the equator
        header["CRVAL2"] = 0.0
        header["CRPIX2"] -= centre.spherical.lat.deg / (scale / 3600)
    tilt = np.radians(degrees)
    matrix = scale / 3600 * np.array([[-np.cos(tilt), np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    for i in range(2):
        for j in range(2):
            header[f"CD{i + 1}_{j + 1}"] = matrix[i, j]
    if not ctype.startswith("G"):
        header["RADESYS"] = frame
    if sip:
        header["CTYPE1"], header["CTYPE2"] = header["CTYPE1"] + "-SIP", header["CTYPE2"] + "-SIP"
        header["A_ORDER"] = header["B_ORDER"] = 2
        header["A_2_0"], header["B_1_1"] = 2e-5, -3e-5
    return WCS(header)


IMAGES = {
    "rotated": image_wcs("SIN", degrees=30.0),
    "FK5, finer": image_wcs("SIN", scale=1.5, degrees=-3.0, frame="FK5"),
    "FK4": image_wcs("TAN", frame="FK4", scale=2.5),
    "galactic": image_wcs("GTAN"),
    "plate carree": image_wcs("CAR", degrees=0.0, scale=2.0),
    "SIP": image_wcs("TAN", degrees=10.0, sip=True),
}


def noise(seed=1):
    return np.random.default_rng(seed).normal(size=SHAPE)


@pytest.mark.parametrize("wcs", IMAGES.values(), ids=IMAGES)
def test_field_is_that_of_reproject(wcs):
    data = noise()
    expected = reproject_interp(
        (data, wcs), tangent_wcs(RA, DEC), shape_out=(300, 300), order="bicubic", return_footprint=False
    )
    field = resample_field(data, wcs, RA, DEC)
    # reproject's spline starts from the whole image, ours from the window: their ends are felt within a few pixels.
    np.testing.assert_array_equal(np.isnan(field), np.isnan(expected))
    inside = np.isfinite(expected)
    assert inside.mean() > 0.5
    assert np.abs(field - expected)[inside].max() < 2e-3  # of a noise of 1
    assert np.median(np.abs(field - expected)[inside]) < 2e-6


@pytest.mark.parametrize("wcs", IMAGES.values(), ids=IMAGES)
def test_grid_is_that_of_the_projections(wcs):
    target, sky = tangent_wcs(RA, DEC), wcs_to_celestial_frame(wcs)
    grid = project_grid(target, FIELD_SIZE, wcs, sky)
    exact = project(target, *np.meshgrid(np.arange(FIELD_SIZE), np.arange(FIELD_SIZE)), wcs, sky)
    np.testing.assert_allclose(grid, exact, atol=1e-5)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 90.0), (77.0, -89.97)])
def test_grid_across_a_pole(ra, dec):
    """No polynomial follows the longitude around a pole."""
    wcs = image_wcs("CAR", at=(180.0, 40.0))
    target, sky = tangent_wcs(ra, dec), wcs_to_celestial_frame(wcs)
    grid = project_grid(target, FIELD_SIZE, wcs, sky)
    exact = project(target, *np.meshgrid(np.arange(FIELD_SIZE), np.arange(FIELD_SIZE)), wcs, sky)
    np.testing.assert_allclose(grid, exact, atol=1e-3)
    assert np.ptp(grid[0]) > 100_000  # px: most of the circle


def test_grid_beyond_the_horizon_is_lost():
    wcs = image_wcs("SIN")
    target = tangent_wcs(RA, DEC - 90)
    x, y = project_grid(target, FIELD_SIZE, wcs, wcs_to_celestial_frame(wcs))
    lost = np.isnan(x)
    assert 0.4 < lost.mean() < 0.6
    np.testing.assert_array_equal(lost, np.isnan(y))
    assert lost[:100].all()
    assert not lost[200:].any()


def test_interpolation_is_exact_on_pixels_and_on_cubics():
    y, x = np.mgrid[:40, :30].astype(float)
    cubic = 1 + 0.3 * x - 0.02 * x**2 + 1e-3 * x**2 * y - 2e-4 * y**3
    np.testing.assert_allclose(interpolate(cubic, x, y), cubic, rtol=1e-5, atol=1e-12)
    inner_y, inner_x = np.mgrid[14:26, 10:20] + 0.37  # splines reflect at the ends, which cubics do not
    truth = 1 + 0.3 * inner_x - 0.02 * inner_x**2 + 1e-3 * inner_x**2 * inner_y - 2e-4 * inner_y**3
    np.testing.assert_allclose(interpolate(cubic, inner_x, inner_y), truth, rtol=1e-4)


def test_pixels_reach_to_their_edges():
    x = np.array([-0.51, -0.49, 9.49, 9.51, np.nan])
    values = interpolate(np.ones((20, 10)), x, np.full(5, 5.0))
    np.testing.assert_array_equal(np.isnan(values), [True, False, False, True, True])
    np.testing.assert_allclose(values[1:3], 1)
