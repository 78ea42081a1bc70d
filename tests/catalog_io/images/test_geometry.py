"""Fields out of images: against Cutout2D, the full WCS, and analytic sources."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from image_examples import field_at

from radio_ag.catalog_io.images.geometry import (
    cut_field,
    locate,
    quarter_turns,
    resample_field,
    tangent_wcs,
    turn_field,
)
from radio_ag.catalog_io.images.headers import read_frame

PIXEL = 1.8 / 3600
BEAM = 5.4


def make_wcs(ctype=("RA---SIN", "DEC--SIN"), crval=(180.0, 40.0), crpix=(350.5, 300.5), cd=None):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ctype
    wcs.wcs.crval = crval
    wcs.wcs.crpix = crpix
    wcs.wcs.cd = np.diag([-PIXEL, PIXEL]) if cd is None else cd
    wcs.wcs.set()
    return wcs


def frame_of(wcs, unit="Jy/beam"):
    header = wcs.to_header()
    header["BUNIT"] = unit
    return read_frame(header)


def noise(shape=(600, 700), seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sky_at(wcs, x, y):
    position = wcs.pixel_to_world(x, y).icrs
    return float(position.ra.deg), float(position.dec.deg)


def crop_wcs(cutout):
    """The 150x150 crop's tangent-plane WCS, as a reader of the product would build it."""
    return make_wcs(("RA---TAN", "DEC--TAN"), cutout.crval, cutout.crpix, cutout.cd)


# --- to the pixel ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_field_equals_cutout2d(seed):
    """Also where the field hangs over the image's edges."""
    rng = np.random.default_rng(seed)
    wcs, data = make_wcs(), noise()
    x, y = rng.uniform(0, 699), rng.uniform(0, 599)
    ra, dec = sky_at(wcs, x, y)
    reference = Cutout2D(data, SkyCoord(ra, dec, unit="deg"), 300, wcs=wcs, mode="partial", fill_value=np.nan)
    cutout = field_at(data, frame_of(wcs), ra, dec)
    np.testing.assert_array_equal(cutout.data, reference.data)
    # CRPIX is where the position is on the crop, counted from 1.
    expected = np.array(reference.wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))) - 75 + 1
    np.testing.assert_allclose(cutout.crpix, expected, atol=1e-6)
    assert cutout.crval == (ra, dec)
    assert cutout.data.dtype == np.float32
    assert cutout.data.flags.c_contiguous
    assert not cutout.resampled


def test_position_is_within_half_a_pixel_of_the_middle():
    for pixel in np.random.default_rng(2).uniform(150, 400, (50, 2)):
        _, x0, y0 = cut_field(np.zeros((600, 700)), pixel)
        assert np.abs(pixel - (x0, y0) - 149.5).max() <= 0.5


@pytest.mark.parametrize("pixel", [(-1000.0, 300.0), (300.0, 5000.0), (-151.0, -151.0)])
def test_field_beyond_the_image_is_blank(pixel):
    field, _, _ = cut_field(noise(), np.array(pixel))
    assert field.shape == (300, 300)
    assert np.isnan(field).all()


def test_an_image_smaller_than_the_field_is_padded_all_round():
    data = noise((100, 80))
    field, x0, y0 = cut_field(data, np.array([40.0, 50.0]))
    np.testing.assert_array_equal(field[-y0 : 100 - y0, -x0 : 80 - x0], data)
    assert np.isfinite(field).sum() == data.size


def test_stored_byte_order_and_input_are_left_alone():
    data = noise().astype(">f4")
    before = data.copy()
    cutout = field_at(data, frame_of(make_wcs(), "mJy/beam"), 180.0, 40.0)
    assert cutout.data.dtype.isnative
    np.testing.assert_array_equal(data, before)
    x, y = (int(value) for value in np.rint(locate(frame_of(make_wcs()), 180.0, 40.0).pixel[0] - 149.5))
    np.testing.assert_allclose(cutout.data, data[y : y + 300, x : x + 300] * 1e-3, rtol=1e-6)


# --- right angles ---------------------------------------------------------------------------------------------------


def turned_mosaic(data, wcs, turns, mirrored):
    """A mosaic turned by numpy, with the WCS found from where its pixel indices went."""
    ny, nx = data.shape
    turn = lambda array: np.rot90(array[:, ::-1] if mirrored else array, turns)  # noqa: E731
    columns, rows = (turn(grid) for grid in np.meshgrid(np.arange(nx), np.arange(ny)))
    steps = np.array(
        [
            [columns[0, 1] - columns[0, 0], columns[1, 0] - columns[0, 0]],
            [rows[0, 1] - rows[0, 0], rows[1, 0] - rows[0, 0]],
        ]
    )
    first = np.array([columns[0, 0], rows[0, 0]])  # the old pixel that is now the first
    crpix = np.linalg.solve(steps, wcs.wcs.crpix - 1 - first) + 1
    return turn(data), make_wcs(tuple(wcs.wcs.ctype), tuple(wcs.wcs.crval), crpix, wcs.wcs.cd @ steps)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("rotation", [0.0, 0.6])
def test_turned_mosaics_give_the_same_field_exactly(turns, mirrored, rotation):
    angle = np.radians(rotation)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs, data = make_wcs(cd=tilt @ np.diag([-PIXEL, PIXEL])), noise()
    turned_data, turned_wcs = turned_mosaic(data, wcs, turns, mirrored)
    for x, y in [(331.3, 287.9), (60.2, 555.7)]:
        ra, dec = sky_at(wcs, x, y)
        expected = field_at(data, frame_of(wcs), ra, dec)
        cutout = field_at(turned_data, frame_of(turned_wcs), ra, dec)
        np.testing.assert_array_equal(cutout.data, expected.data)
        np.testing.assert_allclose(cutout.crpix, expected.crpix, atol=1e-6)
        np.testing.assert_allclose(cutout.cd, expected.cd, atol=1e-5 * PIXEL)
        assert not cutout.resampled


def test_turn_field_undoes_numpy_s_rotations():
    """Eight different turns, each undone: the transformation group of the square."""
    field, seen = noise((300, 300)), set()
    for x_sign in (1, -1):
        for y_sign in (1, -1):
            for turn in (np.diag([x_sign, y_sign]), np.fliplr(np.diag([x_sign, y_sign]))):
                turned = turn_field(field, turn)
                np.testing.assert_array_equal(turn_field(turned, turn.T), field)
                seen.add(turned.tobytes())
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("scale", "rotation", "used"),
    [(1.0, 0.1, True), (1.009, 0.0, True), (0.991, 0.9, True), (1.011, 0.0, False), (0.989, 0.0, False)]
    + [(1.0, 90 + angle, abs(angle) < 1) for angle in (-1.1, -0.9, 0.9, 1.1)]
    + [(1.0, 45.0, False), (0.5, 0.0, False), (0.01, 0.0, False), (100.0, 0.0, False)],
)
def test_when_pixels_are_used_as_they_are(scale, rotation, used):
    angle = np.radians(rotation)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = quarter_turns(scale * (tilt @ np.diag([-PIXEL, PIXEL]))[None])[0]
    assert turn.any() == used
    if used:
        assert abs(np.linalg.det(turn)) == pytest.approx(1)


def test_sheared_and_lost_pixels_have_no_turn():
    sheared = np.array([[-PIXEL, 0.03 * PIXEL], [0, PIXEL]])
    lattice = np.array([[-PIXEL, -PIXEL], [0, PIXEL]])  # integer steps reach every pixel, but no right angle does
    lost = np.full((2, 2), np.nan)
    assert not quarter_turns(np.stack([sheared, lattice, lost, np.zeros((2, 2))])).any()


# --- the crop's own WCS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ctype", "crval", "tolerance"),
    [
        (("RA---SIN", "DEC--SIN"), (180.0, 40.0), 0.05),
        (("RA---TAN", "DEC--TAN"), (0.01, -5.0), 0.05),
        (("RA---ARC", "DEC--ARC"), (120.0, 10.0), 0.05),
        (("RA---ZEA", "DEC--ZEA"), (210.0, -30.0), 0.05),
        (("RA---STG", "DEC--STG"), (330.0, 20.0), 0.05),
        (("RA---CAR", "DEC--CAR"), (150.0, 0.0), 0.05),
        (("GLON-CAR", "GLAT-CAR"), (123.0, 0.0), 0.05),  # both norths agree: the celestial pole is at l = 122.93
        (("RA---NCP", "DEC--NCP"), (150.0, 50.0), 0.1),  # curved along Dec: 0.08 arcsec in the crop's corners
    ],
)
def test_crop_wcs_agrees_with_the_full_one(ctype, crval, tolerance):
    """Over the crop, up to 3 degrees from the reference point, wherever pixels are used as they are."""
    wcs = make_wcs(ctype, crval, crpix=(6000.5, 6000.5))
    frame = frame_of(wcs)
    pixels = np.random.default_rng(5).uniform(0, 12000, (300, 2))
    positions = wcs.pixel_to_world(*pixels.T).icrs
    found = locate(frame, positions.ra.deg, positions.dec.deg)
    np.testing.assert_allclose(found.pixel, pixels, atol=1e-5)
    usable = np.flatnonzero(found.turn.any(axis=(1, 2)))
    assert len(usable) >= 10
    steps = np.linspace(0, 149, 7)
    x, y = (grid.ravel() for grid in np.meshgrid(steps, steps))
    for row in usable:
        assert (found.turn[row] == np.eye(2)).all()
        start = np.rint(pixels[row] - 149.5) + 75  # image pixel of the crop's first pixel
        crpix = pixels[row] - start + 1
        crop = make_wcs(("RA---TAN", "DEC--TAN"), (positions[row].ra.deg, positions[row].dec.deg), crpix, found.cd[row])
        truth = wcs.pixel_to_world(x + start[0], y + start[1]).icrs
        assert crop.pixel_to_world(x, y).icrs.separation(truth).max() < tolerance * u.arcsec


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.99999, 12.0), (45.0, 89.9), (200.0, -89.9)])
def test_locate_near_the_seam_and_the_poles(ra, dec):
    wcs = tangent_wcs(ra, dec)
    found = locate(frame_of(wcs), ra, dec)
    np.testing.assert_allclose(found.pixel[0], 149.5, atol=1e-6)
    np.testing.assert_allclose(found.cd[0], np.diag([-PIXEL, PIXEL]), atol=1e-6 * PIXEL)


def test_position_on_the_other_side_of_the_sky_is_blank():
    cutout = field_at(noise(), frame_of(make_wcs()), 0.0, -40.0)
    assert np.isnan(cutout.data).all()
    assert np.isnan(cutout.cd).all()


def test_fk4_images_are_placed_by_their_own_equinox():
    wcs = make_wcs(crval=(180.0, 40.0))
    wcs.wcs.radesys, wcs.wcs.equinox = "FK4", 1950.0
    position = SkyCoord(180.0, 40.0, unit="deg", frame="fk4").icrs
    found = locate(frame_of(wcs), position.ra.deg, position.dec.deg)
    np.testing.assert_allclose(found.pixel[0], (349.5, 299.5), atol=1e-4)
    assert position.separation(SkyCoord(180.0, 40.0, unit="deg")) > 0.5 * u.deg


# --- resampling -----------------------------------------------------------------------------------------------------


def gaussians(wcs, shape, sources):
    """Analytic round Gaussians of FIRST's beam, evaluated pixel by pixel on the sky (Jy/beam)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    sky = wcs.pixel_to_world(x, y).icrs
    image = np.zeros(shape)
    for ra, dec, peak in sources:
        distance = sky.separation(SkyCoord(ra, dec, unit="deg")).arcsec
        image += peak * np.exp(-4 * np.log(2) * (distance / BEAM) ** 2)
    return image


SOURCES = ((180.0, 40.0, 1.0), (180.03, 40.02, 0.5), (179.96, 39.97, 0.7))


def rotated(scale, degrees, ctype=("RA---SIN", "DEC--SIN"), crpix=(350.5, 300.5)):
    angle = np.radians(degrees)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return make_wcs(ctype, crpix=crpix, cd=scale / 3600 * tilt @ np.diag([-1, 1]))


@pytest.mark.parametrize(("scale", "degrees"), [(1.8, 30.0), (1.5, 0.0), (1.0, 77.0), (1.85, -3.0)])
def test_resampled_sources_keep_place_and_flux(scale, degrees):
    wcs = rotated(scale, degrees)
    truth = gaussians(tangent_wcs(180.0, 40.0), (300, 300), SOURCES)
    cutout = field_at(gaussians(wcs, (600, 700), SOURCES), frame_of(wcs), 180.0, 40.0)
    assert cutout.resampled
    covered = np.isfinite(cutout.data)
    assert covered[75:225, 75:225].all()
    field = np.where(covered, cutout.data, 0)
    assert np.abs(np.where(covered, field - truth, 0)).max() < 0.015  # of a peak of 1 Jy/beam
    middle = np.s_[140:160, 140:160]
    y, x = np.mgrid[140:160, 140:160]
    for moment, expected in ((x, 149.5), (y, 149.5)):
        assert abs((field[middle] * moment).sum() / field[middle].sum() - expected) < 0.02
    assert field[middle].sum() == pytest.approx(truth[middle].sum(), rel=0.005)
    np.testing.assert_array_equal(cutout.crpix, [75.5, 75.5])
    np.testing.assert_array_equal(cutout.cd, np.diag([-PIXEL, PIXEL]))


def test_resampled_crop_wcs_points_at_the_sources():
    wcs = rotated(1.5, 20.0)
    cutout = field_at(gaussians(wcs, (600, 700), SOURCES), frame_of(wcs), 180.0, 40.0)
    x, y = crop_wcs(cutout).world_to_pixel(SkyCoord(SOURCES[1][0], SOURCES[1][1], unit="deg"))
    crop = cutout.data[75:225, 75:225]
    left, bottom = int(np.rint(x)) - 5, int(np.rint(y)) - 5
    patch = crop[bottom : bottom + 11, left : left + 11]
    rows, columns = np.mgrid[bottom : bottom + 11, left : left + 11]
    assert abs((patch * columns).sum() / patch.sum() - x) < 0.1
    assert abs((patch * rows).sum() / patch.sum() - y) < 0.1


def test_galactic_image_is_resampled_to_north_up():
    centre = SkyCoord(180.0, 40.0, unit="deg").galactic
    wcs = make_wcs(("GLON-SIN", "GLAT-SIN"), (centre.l.deg, centre.b.deg))
    truth = gaussians(tangent_wcs(180.0, 40.0), (300, 300), SOURCES)
    cutout = field_at(gaussians(wcs, (600, 700), SOURCES), frame_of(wcs), 180.0, 40.0)
    assert cutout.resampled
    assert np.nanmax(np.abs(cutout.data - truth)) < 0.015


def test_blanks_stay_blank_and_do_not_spread():
    wcs = rotated(1.8, 30.0)
    data = gaussians(wcs, (600, 700), SOURCES)
    clean = resample_field(data, wcs, 180.0, 40.0)
    holed = data.copy()
    holed[400:420, 340:360] = np.nan
    field = resample_field(holed, wcs, 180.0, 40.0)
    hole = np.isnan(field) & ~np.isnan(clean)
    assert hole.sum() == pytest.approx(400, rel=0.03)  # as many pixels of the same size
    x, y = wcs.world_to_pixel(tangent_wcs(180.0, 40.0).pixel_to_world(*np.nonzero(hole)[::-1]))
    assert x.min() > 339
    assert x.max() < 360
    assert y.min() > 399
    assert y.max() < 420
    away = ~np.isnan(field)
    np.testing.assert_allclose(field[away], clean[away], atol=1e-3)


def test_resampling_pads_beyond_the_edge():
    wcs = rotated(1.8, 30.0)
    ra, dec = sky_at(wcs, 2.0, 300.0)
    field = resample_field(noise(), wcs, ra, dec)
    assert 0.4 < np.isnan(field).mean() < 0.6


class Recorder:
    """An image that remembers which pixels were asked for."""

    def __init__(self, data):
        self.data, self.shape, self.asked = data, data.shape, []

    def __getitem__(self, window):
        part = self.data[window]
        self.asked.append(part.size)
        return part


@pytest.mark.parametrize(("degrees", "bound"), [(0.0, 300**2), (30.0, 440**2)])
def test_only_a_window_of_the_image_is_read(degrees, bound):
    """A square of 300 px turned by 30 degrees fits 410 px, and the interpolation wants a margin."""
    wcs = rotated(1.8, degrees, crpix=(1000.5, 1000.5))
    image = Recorder(np.zeros((2000, 2000), dtype=np.float32))
    field_at(image, frame_of(wcs), 180.0, 40.0)
    assert len(image.asked) == 1
    assert image.asked[0] <= bound


def test_beam_unlike_first_is_marked():
    header = make_wcs().to_header()
    header["BUNIT"], header["BMAJ"], header["BMIN"] = "Jy/beam", 12 / 3600, 10 / 3600
    cutout = field_at(noise(), read_frame(header), 180.0, 40.0)
    assert cutout.resampled
    np.testing.assert_array_equal(cutout.data, field_at(noise(), frame_of(make_wcs()), 180.0, 40.0).data)
