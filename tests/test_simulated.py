"""The simulated sky against what is known of it analytically."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from radio_ag.errors import InputError
from radio_ag.simulated import KINDS, beam_kernel, correlated_noise, make_field, make_mosaic

BEAM_AREA = np.pi / (4 * np.log(2)) * 9  # px, of 5.4 arcsec at 1.8 arcsec a pixel


@pytest.fixture(scope="module")
def mosaic():
    hdu, truth = make_mosaic(size=900, n_sources=6, seed=3)
    return hdu, truth, WCS(hdu.header)


def moments(image):
    """Centroid (x, y) and covariance of an image, in pixels."""
    y, x = np.indices(image.shape)
    place = np.stack([x.ravel(), y.ravel()])
    return place @ image.ravel() / image.sum(), np.cov(place, aweights=image.ravel(), ddof=0)


class TestBeam:
    def test_area_peak_and_width(self):
        kernel = beam_kernel()
        middle = kernel.shape[0] // 2
        assert kernel.sum() == pytest.approx(BEAM_AREA, rel=1e-6)
        assert kernel[middle, middle] == kernel.max() == 1
        assert np.exp(-4 * np.log(2) / 9) == pytest.approx(kernel[middle, middle + 1])

    def test_other_beam(self):
        assert beam_kernel(8.0, 2.0).sum() == pytest.approx(np.pi / (4 * np.log(2)) * 16, rel=1e-6)


class TestNoise:
    def test_standard_deviation_and_autocorrelation_are_the_beams(self):
        rng = np.random.default_rng(0)
        noise = np.stack([correlated_noise((200, 150), 2.0, rng) for _ in range(60)]).astype(float)
        assert noise.mean() == pytest.approx(0, abs=0.02)
        assert noise.std() == pytest.approx(2, rel=0.01)
        for dy, dx in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 1), (0, 3), (0, 6), (20, 20)):
            product = noise[:, dy:, dx:] * noise[:, : 200 - dy, : 150 - dx]
            assert product.mean() / 4 == pytest.approx(np.exp(-4 * np.log(2) * (dx**2 + dy**2) / 9), abs=0.01)

    def test_opposite_edges_are_independent(self):
        rng = np.random.default_rng(0)
        noise = np.stack([correlated_noise((64, 64), 1.0, rng) for _ in range(300)]).astype(float)
        assert abs((noise[:, 0] * noise[:, -1]).mean()) < 0.05
        assert abs((noise[:, :, 0] * noise[:, :, -1]).mean()) < 0.05

    def test_tails_are_gaussian(self):
        noise = correlated_noise((1500, 1500), 1.0, np.random.default_rng(2))
        assert (noise > 3).mean() == pytest.approx(0.00135, rel=0.1)

    def test_real_noise_correlates_like_it(self, data_dir):
        from astropy.io import fits

        with fits.open(data_dir / "mirabest_train.fits") as hdus:
            corners = hdus["IMAGES"].section[:200, :70, :]
        quiet = corners[np.isfinite(corners).all(axis=(1, 2)) & (np.abs(corners).max(axis=(1, 2)) < 1e-3)].astype(float)
        assert len(quiet) > 50
        variance = (quiet**2).mean()
        along = (quiet[:, :, 1:] * quiet[:, :, :-1]).mean() / variance
        across = (quiet[:, 1:] * quiet[:, :-1]).mean() / variance
        assert (along + across) / 2 == pytest.approx(np.exp(-4 * np.log(2) / 9), abs=0.04)

    def test_same_seed_same_noise(self):
        first, second = (correlated_noise((50, 70), 1.0, np.random.default_rng(5)) for _ in range(2))
        assert first.shape == (50, 70)
        assert first.dtype == np.float32
        np.testing.assert_array_equal(first, second)


class TestField:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("seed", range(4))
    def test_flux_is_conserved_and_the_peak_as_asked(self, kind, seed):
        image, truth = make_field(kind, seed=seed, rms=0, peak_flux=0.02)
        assert image.shape == (300, 300)
        assert image.dtype == np.float32
        assert image.max() == pytest.approx(0.02, rel=1e-6)
        assert truth.peak_flux == 0.02
        assert image.sum(dtype=float) / BEAM_AREA == pytest.approx(truth.total_flux, rel=1e-4)

    def test_point_is_the_beam(self):
        image, truth = make_field("compact", size=31, rms=0, peak_flux=1.0)
        np.testing.assert_allclose(image, np.pad(beam_kernel(), 7)[:31, :31], atol=1e-7)
        assert (truth.x, truth.y, truth.extent) == (15, 15, 0)
        assert truth.total_flux == pytest.approx(1)

    def test_width_of_a_compact_source_adds_to_the_beam_in_quadrature(self):
        image, truth = make_field("compact", extent=7.2, rms=0)
        _, covariance = moments(image)
        assert np.sqrt(np.diag(covariance) * 8 * np.log(2)) * 1.8 == pytest.approx([9, 9], rel=1e-3)
        assert truth.total_flux > truth.peak_flux

    def test_offset_is_to_the_east_on_the_left_and_north_up(self):
        image, truth = make_field("compact", offset=(45.3, 27.1), rms=0)
        centroid, _ = moments(image)
        assert centroid == pytest.approx([149.5 - 45.3 / 1.8, 149.5 + 27.1 / 1.8], abs=1e-3)
        assert (truth.x, truth.y) == pytest.approx(tuple(centroid), abs=1e-3)

    def test_a_source_beyond_the_field_leaves_it_empty(self):
        image, _ = make_field("FRI", offset=(-900, 0), rms=0)
        assert not image.any()

    @pytest.mark.parametrize("angle", [0, 30, 90, 135])
    def test_position_angle_turns_from_north_to_east(self, angle):
        image, truth = make_field("FRII", position_angle=angle, extent=100, rms=0)
        _, covariance = moments(image)
        x, y = np.linalg.eigh(covariance)[1][:, -1]
        assert abs(np.sin(np.arctan2(-x, y) - np.radians(angle))) < 1e-3
        assert truth.position_angle == angle

    @pytest.mark.parametrize("seed", range(10))
    def test_fanaroff_riley_ratio(self, seed):
        # Fanaroff & Riley 1974: the distance between the brightest places on either side of the core over the extent.
        for kind in ("FRI", "FRII"):
            image, truth = make_field(kind, seed=seed, extent=120, position_angle=0, rms=0)
            row = np.arange(300) - truth.y
            profile = np.where(abs(row) > 5, image.max(axis=1), 0)  # without the core
            north, south = (profile * (row > 0)).argmax(), (profile * (row < 0)).argmax()
            ratio = (north - south) * 1.8 / truth.extent
            assert ratio < 0.5 if kind == "FRI" else ratio > 0.8

    def test_extent_of_a_double_is_the_distance_of_its_hotspots(self):
        image, truth = make_field("FRII", extent=150, position_angle=90, rms=0, seed=4)
        bright = np.flatnonzero(image.max(axis=0) > 0.1 * image.max())
        assert truth.extent == 150
        assert (bright[-1] - bright[0]) * 1.8 == pytest.approx(150 + 2 * 5.4, abs=6)

    def test_seed_gives_the_same_field_and_the_noise_does_not_depend_on_the_source(self):
        fields = {kind: make_field(kind, seed=8)[0] for kind in KINDS}
        np.testing.assert_array_equal(fields["FRI"], make_field("FRI", seed=8)[0])
        assert not np.array_equal(fields["FRI"], make_field("FRI", seed=9)[0])
        noise = {kind: fields[kind] - make_field(kind, seed=8, rms=0)[0] for kind in KINDS}
        np.testing.assert_allclose(noise["FRI"], noise["compact"], atol=1e-8)
        assert noise["FRI"].std() == pytest.approx(0.15e-3, rel=0.05)

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ({"kind": "FR0"}, "kind"),
            ({"kind": "FRI", "peak_flux": 0}, "peak_flux"),
            ({"kind": "FRI", "rms": -1}, "rms"),
            ({"kind": "FRI", "extent": 0}, "extent"),
            ({"kind": "compact", "extent": -1}, "extent"),
            ({"kind": "FRI", "size": 0}, "size"),
        ],
    )
    def test_errors_name_the_argument(self, arguments, word):
        with pytest.raises(InputError, match=word):
            make_field(**arguments)


class TestMosaic:
    def test_header_is_that_of_first(self, mosaic):
        hdu, _, wcs = mosaic
        assert hdu.data.shape == (900, 900)
        assert hdu.data.dtype == np.float32
        assert hdu.header["BUNIT"] == "JY/BEAM"
        assert hdu.header["RADESYS"] == "ICRS"
        assert [hdu.header[key] * 3600 for key in ("BMAJ", "BMIN", "BPA")] == pytest.approx([5.4, 5.4, 0])
        assert list(wcs.wcs.ctype) == ["RA---SIN", "DEC--SIN"]
        scales = [scale.to_value("arcsec") for scale in wcs.proj_plane_pixel_scales()]
        assert scales == pytest.approx([1.8, 1.8])

    def test_tangent_projection_and_place(self):
        hdu, _ = make_mosaic(size=301, n_sources=0, projection="TAN", centre=(10.0, -5.0))
        wcs = WCS(hdu.header)
        assert list(wcs.wcs.ctype) == ["RA---TAN", "DEC--TAN"]
        middle = wcs.pixel_to_world(150, 150)
        assert (middle.ra.deg, middle.dec.deg) == pytest.approx((10, -5))

    def test_truth_has_units_and_one_row_a_source(self, mosaic):
        _, truth, _ = mosaic
        assert truth.colnames == ["ra", "dec", "kind", "peak_flux", "total_flux", "extent", "position_angle"]
        assert len(truth) == 6
        assert truth["ra"].unit == units.deg
        assert truth["peak_flux"].unit == units.Jy / units.beam
        assert set(truth["kind"]) <= set(KINDS)

    def test_sources_are_where_the_truth_says(self):
        hdu, truth = make_mosaic(size=900, n_sources=8, seed=1, kinds=("compact",))
        x, y = WCS(hdu.header).world_to_pixel(SkyCoord(truth["ra"], truth["dec"]))
        for column, row, source in zip(x, y, truth, strict=True):
            i, j = round(float(row)), round(float(column))
            cutout = hdu.data[i - 6 : i + 7, j - 6 : j + 7].astype(float)
            centroid, _ = moments(np.clip(cutout - 5 * 0.15e-3, 0, None))
            assert centroid == pytest.approx([column - j + 6, row - i + 6], abs=0.15)
            assert cutout.max() == pytest.approx(source["peak_flux"], abs=5 * 0.15e-3)

    def test_sources_keep_their_distance_and_their_fields(self, mosaic):
        _, truth, wcs = mosaic
        position = SkyCoord(truth["ra"], truth["dec"])
        _, separation, _ = position.match_to_catalog_sky(position, nthneighbor=2)
        assert separation.arcsec.min() > 269
        x, y = wcs.world_to_pixel(position)
        assert min(x.min(), y.min()) >= 149.9
        assert max(x.max(), y.max()) <= 900 - 150.9

    def test_position_angle_is_that_of_the_sky(self):
        # At this declination North turns by more than a degree from the middle to the side.
        hdu, truth = make_mosaic(size=1500, n_sources=12, seed=2, kinds=("FRII",), rms=0, centre=(200.0, 75.0))
        wcs = WCS(hdu.header)
        north_angle = []
        for source in truth:
            position = SkyCoord(source["ra"], source["dec"], unit="deg")
            x, y = (round(float(value)) for value in wcs.world_to_pixel(position))
            centroid, covariance = moments(hdu.data[y - 70 : y + 71, x - 70 : x + 71].astype(float))
            centroid += (x - 70, y - 70)
            direction = np.linalg.eigh(covariance)[1][:, -1]
            ends = wcs.pixel_to_world(*(centroid[:, None] + 10 * direction[:, None] * (-1, 1)))
            measured = ends[0].position_angle(ends[1]).deg
            assert (measured - source["position_angle"] + 90) % 180 - 90 == pytest.approx(0, abs=0.2)
            north_angle.append(position.position_angle(wcs.pixel_to_world(x, y + 1)).wrap_at(180 * units.deg).deg)
        assert np.ptp(north_angle) > 1

    def test_same_seed_same_mosaic(self, mosaic):
        hdu, truth = make_mosaic(size=900, n_sources=6, seed=3)
        np.testing.assert_array_equal(hdu.data, mosaic[0].data)
        assert hdu.header == mosaic[0].header
        for name in truth.colnames:
            np.testing.assert_array_equal(truth[name], mosaic[1][name])

    def test_no_source(self):
        _, truth = make_mosaic(size=301, n_sources=0)
        assert len(truth) == 0

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ({"size": 300}, "size"),
            ({"size": 600, "n_sources": 50}, "n_sources=50"),
            ({"n_sources": -1}, "n_sources"),
            ({"projection": "CAR"}, "projection"),
            ({"kinds": ()}, "kinds"),
            ({"kinds": ("FRI", "quasar")}, "kind"),
            ({"peak_flux": (2e-3, 1e-3)}, "peak_flux"),
            ({"rms": float("nan")}, "rms"),
        ],
    )
    def test_errors_name_the_argument(self, arguments, word):
        with pytest.raises(InputError, match=word):
            make_mosaic(**arguments)
