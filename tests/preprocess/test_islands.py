"""Islands against hand-made and brute-force cases, and each flag's hit and false-alarm rate."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from radio_ag.errors import ImageError, InputError
from radio_ag.flags import Flag
from radio_ag.preprocess.islands import extent, hide_others, measure_islands
from radio_ag.simulated import correlated_noise, make_field

RMS = 0.15e-3


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "flags.py"
    spec = importlib.util.spec_from_file_location("benchmark_flags", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blank(n=1):
    return np.zeros((n, 300, 300), np.float32)


def block(value, rows=5, columns=5, y=148, x=148):
    """A field of zeros with a rectangle of one value, in units of rms = 1."""
    field = blank()
    field[0, y : y + rows, x : x + columns] = value
    return field


def points(*sources, size=300):
    """Noise-free sum of point sources given as (peak in rms, east, north)."""
    return np.sum(
        [
            make_field("compact", size=size, peak_flux=snr * RMS, offset=(east, north), rms=0)[0]
            for snr, east, north in sources
        ],
        axis=0,
    )[None]


def flags_of(fields, rms=RMS, **options):
    result = measure_islands(fields, rms, **options).flags
    assert len(result) == 1
    return Flag(int(result[0]))


class TestWhatCountsAsAnIsland:
    @pytest.mark.parametrize(("value", "n"), [(4.99, 0), (5.0, 1), (20.0, 1)])
    def test_peaks_at_five_rms(self, value, n):
        assert measure_islands(block(value), 1.0).n_islands == [n]

    @pytest.mark.parametrize(("columns", "n"), [(10, 0), (11, 1)])
    def test_covers_a_beam_of_10_2_pixels(self, columns, n):
        assert measure_islands(block(9.0, rows=1, columns=columns), 1.0).n_islands == [n]

    def test_pixels_at_three_rms_do_not_count(self):
        field = block(9.0, rows=1, columns=10)
        field[0, 150, 140:160] = 3.0
        assert measure_islands(field, 1.0).n_islands == [0]
        field[0, 147, 148] = 3.001
        assert measure_islands(field, 1.0).n_islands == [1]

    def test_pixels_that_touch_by_a_corner_are_one_island(self):
        field = blank()
        along = np.arange(100, 130)
        field[0, along, along] = 9
        result = measure_islands(field, 1.0)
        assert result.n_islands == [1]
        assert result.size == pytest.approx(29 * np.sqrt(2) * 1.8)

    def test_neighbouring_fields_do_not_touch(self):
        fields = np.concatenate([block(9.0, rows=1, columns=8)] * 5)
        np.testing.assert_array_equal(measure_islands(fields, 1.0).n_islands, 0)

    def test_only_the_crop_counts(self):
        assert flags_of(block(9.0, y=68, x=150), 1.0) == Flag.EMPTY
        assert flags_of(block(9.0, y=150, x=226), 1.0) == Flag.EMPTY

    def test_beam_sets_the_area(self):
        assert measure_islands(block(9.0), 1.0, beam_fwhm=10).n_islands == [0]
        assert measure_islands(block(9.0, rows=1, columns=1), 1.0, beam_fwhm=1.5).size == [0.0]

    def test_against_a_flood_fill(self):
        rng = np.random.default_rng(3)
        fields = np.stack([correlated_noise((300, 300), 1.0, rng) for _ in range(6)])
        fields[:, ::31, ::29] += 8  # spikes, some of which make an island and some do not
        fields += 1.5
        result = measure_islands(fields, 1.0)
        expected = []
        for field in fields:
            crop = field[75:225, 75:225]
            left = {(int(y), int(x)) for y, x in np.argwhere(crop > 3)}
            count = 0
            while left:
                stack, island = [left.pop()], []
                while stack:
                    y, x = stack.pop()
                    island.append(crop[y, x])
                    near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
                    left -= near
                    stack += near
                count += max(island) >= 5 and len(island) >= np.pi / (4 * np.log(2)) * 9
            expected.append(count)
        assert min(expected) > 0
        np.testing.assert_array_equal(result.n_islands, expected)


class TestMeasures:
    def test_point_source(self):
        fields = points((100, 0.9, -0.9))  # on the pixel (149, 149)
        result = measure_islands(fields, RMS)
        assert result.peak[0] == pytest.approx(100 * RMS, rel=1e-5)
        assert result.snr[0] == pytest.approx(100, rel=1e-5)
        # The pixels above 3 rms reach sqrt(ln(100/3) / ln 16) FWHM from the middle: 1.12 beams, 3 px along an axis.
        assert result.size[0] == pytest.approx(2 * np.hypot(3, 1) * 1.8)

    def test_size_of_a_double_is_from_end_to_end(self):
        fields = points((100, 0.9, 63.9), (100, 0.9, -62.1))  # 70 px apart
        result = measure_islands(fields, RMS)
        assert result.size[0] == pytest.approx(np.hypot(70 + 6, 2) * 1.8)
        assert result.n_islands[0] == 2

    def test_extent_against_all_pairs(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            pixels = np.argwhere(rng.random((30, 40)) < rng.uniform(0.01, 0.5)) * 1.8
            distance, angle = extent(pixels)
            assert distance == pytest.approx(pdist(pixels).max())
            step = distance * np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
            apart = pixels[:, None] - pixels
            assert np.isclose(apart, step).all(-1).any()

    @pytest.mark.parametrize("angle", [0, 30, 77, 90, 135, 178])
    def test_position_angle_of_a_double(self, angle):
        east, north = 60 * np.sin(np.radians(angle)), 60 * np.cos(np.radians(angle))
        result = measure_islands(points((100, east, north), (100, -east, -north)), RMS)
        assert (result.pa[0] - angle + 90) % 180 - 90 == pytest.approx(0, abs=3)

    def test_position_angle_of_one_pixel(self):
        assert extent(np.array([[3.0, 4.0]])) == (0, 0)

    def test_empty(self):
        result = measure_islands(blank(), 1.0)
        assert result.flags == [Flag.EMPTY]
        assert result.n_islands == [0]
        assert np.isnan([result.size, result.pa, result.peak, result.snr]).all()

    def test_a_field_does_not_depend_on_its_neighbours(self):
        kinds = ("FRI", "FRII", "compact") * 30
        fields = np.stack([make_field(kind, seed=seed)[0] for seed, kind in enumerate(kinds)])
        rms = np.linspace(0.1e-3, 0.3e-3, len(fields))
        together = measure_islands(fields, rms)
        alone = [measure_islands(fields[i : i + 1], rms[i]) for i in range(len(fields))]
        for name in together._fields:
            np.testing.assert_array_equal(
                getattr(together, name), np.concatenate([getattr(one, name) for one in alone]), err_msg=name
            )
        assert together.flags.dtype == together.n_islands.dtype == np.int32
        assert together.size.dtype == together.peak.dtype == together.snr.dtype == np.float32

    @pytest.mark.parametrize("seed", range(3))
    def test_turning_and_flipping_the_sky_changes_nothing(self, seed):
        field, _ = make_field("FRII", seed=seed, peak_flux=3e-3)
        turned = np.stack([np.rot90(plane, turns) for plane in (field, field.T) for turns in range(4)])
        result = measure_islands(turned, RMS)
        for name in ("flags", "n_islands", "size", "peak"):
            values = getattr(result, name)
            np.testing.assert_allclose(values, values[0], rtol=1e-5, err_msg=name)

    def test_scale_does_not_matter(self):
        field, _ = make_field("FRI", seed=2)
        jansky, millijansky = measure_islands(field[None], RMS), measure_islands(field[None] * 1000, RMS * 1000)
        assert jansky.flags == millijansky.flags
        assert jansky.size == millijansky.size
        assert millijansky.peak == pytest.approx(jansky.peak * 1000, rel=1e-5)


class TestInput:
    @pytest.mark.parametrize("rms", [np.nan, 0.0, -1.0, np.inf])
    def test_without_noise_there_is_nothing(self, rms):
        assert flags_of(block(9.0), rms) == Flag.EMPTY

    def test_blank_and_infinite_pixels_count_as_nothing(self):
        assert flags_of(np.full((1, 300, 300), np.nan)) == Flag.EMPTY
        assert flags_of(np.full((1, 300, 300), np.inf)) == Flag.EMPTY
        field = block(9.0, rows=3, columns=11)
        field[0, 149] = np.nan
        assert measure_islands(field, 1.0).n_islands == [2]

    def test_a_noise_far_too_small(self):
        field, _ = make_field("FRI", seed=1)
        result = measure_islands(np.stack([field, field]), [1e-12, 1e-42])
        assert result.snr[0] > 1e9
        assert result.flags[0] & Flag.TRUNCATED

    def test_no_field(self):
        assert all(len(values) == 0 for values in measure_islands(np.empty((0, 300, 300)), np.empty(0)))

    def test_fields_stay_as_they_are_and_may_be_big_endian(self):
        field = make_field("FRII", seed=1)[0][None]
        fits_order = field.astype(">f4")
        field.flags.writeable = False
        assert measure_islands(field, RMS).flags == measure_islands(fits_order, RMS).flags

    def test_errors(self):
        with pytest.raises(InputError, match="rms"):
            measure_islands(blank(3), [1.0, 2.0])
        with pytest.raises(InputError, match="beam_fwhm"):
            measure_islands(blank(), 1.0, beam_fwhm=0)
        with pytest.raises(ImageError, match="stack"):
            measure_islands(blank()[0], 1.0)


class TestFlagsByHand:
    def test_nothing_to_complain_about(self):
        assert flags_of(points((50, 0, 30), (50, 0, -30))) == Flag(0)

    @pytest.mark.parametrize(("snr", "low"), [(9.9, True), (10.1, False)])
    def test_low_snr(self, snr, low):
        field = make_field("FRI", extent=40, peak_flux=snr * RMS, rms=0, seed=1)[0][None]
        assert (Flag.LOW_SNR in flags_of(field)) == low

    @pytest.mark.parametrize("snr", [20, 200, 2000, 20000])
    def test_a_point_is_unresolved_whatever_its_peak(self, snr):
        assert flags_of(points((snr, 0.9, -0.9))) == Flag.UNRESOLVED
        assert flags_of(points((snr, 0, 0))) == Flag.UNRESOLVED

    @pytest.mark.parametrize("snr", [50, 1000])
    @pytest.mark.parametrize(("fwhm", "unresolved"), [(4.3, True), (5.4, False)])
    def test_width_at_which_a_round_source_is_resolved(self, snr, fwhm, unresolved):
        # Its flux is 1 + (fwhm / beam)^2 point sources of its peak: 1.63 and 2.
        options = {"peak_flux": snr * RMS, "rms": 0, "offset": (0.9, -0.9)}
        field = make_field("compact", extent=fwhm, **options)[0][None]
        assert flags_of(field) == (Flag.UNRESOLVED if unresolved else Flag(0))

    @pytest.mark.parametrize("separation", [20, 40, 100])
    def test_a_double_of_two_points_is_resolved(self, separation):
        flags = flags_of(points((30, separation / 2, 0), (40, -separation / 2, 0)))
        assert flags == Flag(0)

    def test_the_beam_of_the_southern_sky(self):
        wide = make_field("compact", extent=np.sqrt(8.0**2 - 5.4**2), peak_flux=0.1, rms=0)[0][None]
        assert flags_of(wide) == Flag(0)
        assert flags_of(wide, beam_fwhm=8.0) == Flag.UNRESOLVED

    @pytest.mark.parametrize(("x", "truncated"), [(75, True), (76, False)])
    def test_truncated(self, x, truncated):
        assert (Flag.TRUNCATED in flags_of(block(20.0, columns=80, x=x), 1.0)) == truncated
        turned = block(20.0, columns=80, x=x)[:, ::-1, ::-1]
        assert (Flag.TRUNCATED in flags_of(turned, 1.0)) == truncated

    def test_a_stranger_on_the_edge_does_not_truncate(self):
        field = block(20.0) + block(9.0, x=75, y=190)
        result = measure_islands(field, 1.0)
        assert result.n_islands == [2]
        assert Flag.TRUNCATED not in Flag(int(result.flags[0]))

    @pytest.mark.parametrize(("columns_off", "off"), [(8, False), (9, True)])
    def test_off_centre_from_15_arcsec(self, columns_off, off):
        # The position lies between four pixels, at 149.5 px along either axis.
        field = block(20.0, rows=9, columns=9, x=150 + columns_off - 1, y=150)
        nearest = np.hypot(columns_off - 0.5, 0.5) * 1.8
        assert (nearest > 15) == off
        assert (Flag.OFF_CENTRE in flags_of(field, 1.0)) == off

    def test_lobes_on_both_sides_are_not_off_centre_but_on_one_side_they_are(self):
        assert flags_of(points((50, 40, 0), (50, -60, 10))) == Flag(0)
        assert Flag.OFF_CENTRE in flags_of(points((50, 40, 0), (50, 60, 10)))
        assert Flag.OFF_CENTRE in flags_of(points((50, 25, 0), (50, -100, 0)))  # too unlike in distance

    def test_confused_beside_an_island_ten_times_as_bright(self):
        assert flags_of(points((50, 0, 0), (490, 80, 0))) == Flag.UNRESOLVED
        assert flags_of(points((50, 0, 0), (510, 80, 0))) == Flag.UNRESOLVED | Flag.CONFUSED

    def test_outshone_by_a_brighter_island(self):
        assert measure_islands(points((50, 0, 0), (49, 80, 0)), RMS).outshone.tolist() == [False]
        assert measure_islands(points((50, 0, 0), (51, 80, 0)), RMS).outshone.tolist() == [True]

    def test_outshone_by_a_galaxy_with_most_of_the_flux(self):
        small = block(20.0, rows=9, columns=9)
        assert not measure_islands(small + block(19.0, rows=8, columns=9, y=195), 1.0).outshone
        result = measure_islands(small + block(19.0, rows=20, columns=9, y=195), 1.0)
        assert result.outshone
        assert result.flags == [0]

    def test_fragments_are_linked_through_each_other(self):
        chain = [(50, 0, 36 * k) for k in range(3)]  # 25 arcsec from edge to edge
        result = measure_islands(points(*chain), RMS)
        assert result.n_islands == [3]
        assert result.size[0] > 72
        assert result.flags == [0]
        assert measure_islands(points(chain[0], chain[2]), RMS).size[0] < 20

    def test_source_of_a_wrong_position_is_the_nearest_island(self):
        result = measure_islands(points((50, 0, 40), (200, 100, -90)), RMS)
        assert result.n_islands == [2]
        assert result.snr[0] == pytest.approx(50, rel=0.2)
        assert Flag(int(result.flags[0])) == Flag.OFF_CENTRE | Flag.CONFUSED | Flag.UNRESOLVED


class TestHideOthers:
    def test_the_source_alone_is_left(self):
        source, other = points((50, 0, 0), (50, 20, 0)), points((80, 100, -60))
        noise = np.random.default_rng(3).normal(0, RMS, source.shape).astype(np.float32)
        alone = hide_others(source + other + noise, RMS)
        assert np.array_equal(alone[other < RMS], (source + noise + other)[other < RMS])
        assert alone[other > 5 * RMS].max() == 0
        assert measure_islands(source + other + noise, RMS).n_islands == [3]
        assert measure_islands(alone, RMS).n_islands == [2]

    def test_turns_with_the_field(self):
        field = points((50, 0, 0), (80, 100, -60), (70, -90, 10))
        assert np.array_equal(
            np.rot90(hide_others(field, RMS), 1, (1, 2)), hide_others(np.rot90(field, 1, (1, 2)), RMS)
        )

    @pytest.mark.parametrize("size", [149, 100])
    def test_of_a_field_smaller_than_the_crop(self, size):
        field = np.zeros((1, size, size), np.float32)
        middle = size // 2
        field[0, middle - 2 : middle + 3, middle - 2 : middle + 3] = 50
        field[0, 3:8, 3:8] = 80
        alone = hide_others(field, 1.0)
        assert alone[0, middle, middle] == 50
        assert alone.sum() == 25 * 50

    def test_of_no_fields(self):
        assert hide_others(np.zeros((0, 300, 300)), 1.0).shape == (0, 300, 300)


class TestRates:
    def test_interval_is_wilsons(self, benchmark):
        # Table I of Newcombe 1998 (Statistics in Medicine 17, 857), method 3: 81/263 and 0/20.
        rate = benchmark.Rate("", Flag.EMPTY, True, 81, 263)
        assert rate.interval == pytest.approx((0.2553, 0.3662), abs=1e-4)
        rate = benchmark.Rate("", Flag.EMPTY, True, 0, 20)
        assert rate.interval == pytest.approx((0, 0.1611), abs=1e-4)

    def test_pure_correlated_noise_is_empty(self):
        rng = np.random.default_rng(11)
        noise = np.stack([correlated_noise((150, 150), RMS, rng) for _ in range(1000)])
        assert np.count_nonzero(measure_islands(noise, RMS).flags == Flag.EMPTY) >= 990

    def test_simulated_sources(self, benchmark):
        for rate in benchmark.simulated_rates(n=60):
            if rate.expected:
                assert rate.share >= 0.9, rate
            else:
                assert rate.share <= 0.05, rate

    def test_real_sources(self, benchmark, data_dir):
        # The limits of a pair were tuned on the even rows.
        measured = {(rate.sample, rate.flag): rate.share for rate in benchmark.real_rates(data_dir, slice(1, None, 2))}
        certain = "certain FRI and FRII"
        assert measured[certain, Flag.EMPTY] == 0
        assert measured[certain, Flag.LOW_SNR] <= 0.03
        assert measured[certain, Flag.UNRESOLVED] <= 0.03
        assert measured[certain, Flag.TRUNCATED] <= 0.03
        assert measured[certain, Flag.OFF_CENTRE] <= 0.02
        assert measured[certain, Flag.CONFUSED] <= 0.08
        assert sum(measured[certain, flag] for flag in benchmark.FLAGS) <= 0.12
        assert measured["compact", Flag.UNRESOLVED] >= 0.95
        assert measured["dimmed to 7 rms", Flag.LOW_SNR] >= 0.9
        assert measured["smaller than 60, 75 arcsec off", Flag.OFF_CENTRE] >= 0.9
        assert measured["beside a point 15 times as bright", Flag.CONFUSED] >= 0.88
        assert measured["negative images of them", Flag.EMPTY] >= 0.85
