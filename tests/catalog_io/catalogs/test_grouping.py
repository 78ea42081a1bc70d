"""Which rows are one source, where its centre is, and how its answer comes back to the rows."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from run_examples import classify
from typer.testing import CliRunner

from radio_ag import Result
from radio_ag.catalog_io.catalogs import Catalogue, read_catalogue
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.catalog_io.images.local import LocalImages
from radio_ag.catalog_io.product.columns import COLUMNS
from radio_ag.cli import app
from radio_ag.errors import InputError, RadioAGWarning
from radio_ag.flags import Flag
from radio_ag.simulated import make_mosaic


def make_catalogue(ra, dec, flux=None, group=None, **names) -> Catalogue:
    ra, dec = np.array(ra, float), np.array(dec, float)
    valid = np.isfinite(ra) & np.isfinite(dec)
    flux = None if flux is None else np.array(flux, float)
    group = None if group is None else np.array(group)
    return Catalogue(Table(), ra, dec, valid, "ra", "dec", None, "test", None, flux=flux, group=group, **names)


def pair(separation, fluxes, **options):
    """Two rows so many arcsec apart, with fluxes in Jy."""
    return make_catalogue([10, 10], [0, separation / 3600], flux=fluxes, **options)


def partition(labels) -> set[frozenset[int]]:
    """Groups as sets of rows, whatever their numbers."""
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def friends_by_astropy(sky: SkyCoord, radius: u.Quantity) -> set[frozenset[int]]:
    """Friends of friends by astropy's search and merging of sets, as a reference."""
    one, other, _, _ = sky.search_around_sky(sky, radius)
    groups = {row: {row} for row in range(len(sky))}
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        if groups[a] is not groups[b]:
            groups[a] |= groups[b]
            for row in groups[b]:
                groups[row] = groups[a]
    return {frozenset(group) for group in groups.values()}


class TestFriends:
    @pytest.mark.parametrize("centre", [(180, 30), (0, 0), (359.99, -60), (77, 90), (200, -89.99)])
    @pytest.mark.parametrize("radius", [30.0, 100.0, 250.0])
    def test_as_astropy_finds_them(self, centre, radius):
        rng = np.random.default_rng(5)
        sky = SkyCoord(*centre, unit="deg").directional_offset_by(
            rng.uniform(0, 360, 300) * u.deg, 2500 * np.sqrt(rng.random(300)) * u.arcsec
        )
        groups = group_sources(make_catalogue(sky.ra.deg, sky.dec.deg), radius)
        expected = friends_by_astropy(sky, radius * u.arcsec)
        assert 1 < len(expected) < 300
        assert partition(groups.group_id) == expected

    def test_numbers_follow_the_catalogue(self):
        groups = group_sources(make_catalogue([50, 10, 50, 30, 10], [0, 0, 0, 0, 0]), 1)
        assert groups.group_id.tolist() == [0, 1, 0, 2, 1]
        assert groups.size[groups.group_id].tolist() == [2, 2, 2, 1, 2]
        assert groups.size.tolist() == [2, 2, 1]
        assert groups.ra.tolist() == pytest.approx([50, 10, 30])

    def test_thousands_of_rows_at_one_place(self):
        n = 100_000  # as pairs they would not fit into any memory
        groups = group_sources(make_catalogue(np.zeros(n), np.zeros(n)), 30)
        assert len(groups) == 1
        assert groups.size.tolist() == [n]

    @pytest.mark.parametrize("how", ["20", "20arcsec", "20 arcsec", 20, 20.0, 20 * u.arcsec, "0.333334 arcmin"])
    def test_ways_to_write_a_radius(self, how):
        assert len(group_sources(pair(19.99, [1, 1]), how)) == 1
        assert len(group_sources(pair(20.01, [1, 1]), how)) == 2


class TestIslands:
    def test_rows_of_an_island(self):
        catalogue = make_catalogue([1, 2, 1.001, 2, 3], [0] * 5, group=[7, 3, 7, 3, 9])
        groups = group_sources(catalogue, "island")
        assert groups.group_id.tolist() == [0, 1, 0, 1, 2]
        assert groups.how == "island"

    def test_two_islands_at_one_place_stay_two(self):
        assert len(group_sources(make_catalogue([1, 1], [0, 0], group=[0, 1]), "island")) == 2

    def test_numbers_of_several_runs_do_not_join_the_sky(self):
        catalogue = make_catalogue([10, 10.01, 200, 200.01], [0, 0, 50, 50], group=[0, 0, 0, 0])
        groups = group_sources(catalogue, "island")
        assert groups.group_id.tolist() == [0, 0, 1, 1]
        assert groups.ra.tolist() == pytest.approx([10.005, 200.005])

    def test_a_chain_of_a_key_that_others_have_elsewhere_is_split(self):
        """Five rows 100 arcsec apart are a chain of 400 arcsec; one far away shows that their key is no island's."""
        dec = [0, *(i * 100 / 3600 for i in range(5)), 0, 20 / 3600]
        catalogue = make_catalogue([100] + [10] * 5 + [50] * 2, dec, group=[0] * 6 + [1, 1])
        with pytest.warns(RadioAGWarning, match="^5 rows in 1 chains"):
            groups = group_sources(catalogue, "island")
        assert groups.size.tolist() == [1, 1, 1, 1, 1, 1, 2]

    def test_a_chain_that_no_island_can_be_is_split(self):
        catalogue = make_catalogue([10] * 30, np.arange(30) * 100 / 3600, group=[0] * 30)
        with pytest.warns(RadioAGWarning, match="^30 rows"):
            assert len(group_sources(catalogue, "island")) == 30

    def test_a_large_island_stays_one(self, recwarn):
        catalogue = make_catalogue([10] * 5, np.arange(5) * 100 / 3600, group=[0] * 5)
        assert len(group_sources(catalogue, "island")) == 1
        assert not recwarn

    def test_a_source_with_a_name_stays_one_however_far_its_lobes_are_apart(self, recwarn):
        catalogue = make_catalogue([10, 10, 10], [0, 0.2, 5.0], group=[0, 0, 1], named=np.ones(3, bool))
        groups = group_sources(catalogue, "island")
        assert groups.group_id.tolist() == [0, 0, 1]
        assert groups.dec.tolist() == pytest.approx([0.1, 5.0])
        assert not recwarn

    def test_a_name_all_over_the_sky_is_parted(self):
        catalogue = make_catalogue([10, 100, 100], [0, 0, 0.01], group=[0] * 3, named=np.ones(3, bool))
        assert group_sources(catalogue, "island").group_id.tolist() == [0, 1, 1]

    def test_row_without_a_position_leaves_its_island(self):
        catalogue = make_catalogue([1, np.nan, 1.001, np.nan], [0, 0, 0, np.nan], group=[4, 4, 4, 4])
        groups = group_sources(catalogue, "island")
        assert groups.group_id.tolist() == [0, 1, 0, 2]
        assert groups.size[groups.group_id].tolist() == [2, 1, 2, 1]
        assert groups.valid.tolist() == [True, False, False]
        assert np.isnan(groups.ra[1:]).all()


class TestCentres:
    def test_weighted_by_flux(self):
        groups = group_sources(make_catalogue([10, 10], [0, 40 / 3600], flux=[3, 1]), 60)
        assert (groups.ra[0], groups.dec[0] * 3600) == pytest.approx((10, 10), abs=1e-6)

    def test_across_right_ascension_zero(self):
        groups = group_sources(make_catalogue([359.99, 0.01], [0, 0], flux=[1, 1]), 100)
        assert (groups.ra[0] + 180) % 360 == pytest.approx(180, abs=1e-9)

    def test_around_the_pole(self):
        dec = [90 - 20 / 3600] * 4
        groups = group_sources(make_catalogue([0, 90, 180, 270], dec), 60)
        assert groups.dec.tolist() == pytest.approx([90])

    def test_as_spherical_trigonometry_says(self):
        """The centre of two rows divides the great circle between them by their fluxes."""
        one = SkyCoord(123, 70, unit="deg")
        other = one.directional_offset_by(35 * u.deg, 200 * u.arcsec)
        groups = group_sources(
            make_catalogue([one.ra.deg, other.ra.deg], [one.dec.deg, other.dec.deg], flux=[1, 4]), 270
        )
        expected = one.directional_offset_by(one.position_angle(other), 160 * u.arcsec)
        assert SkyCoord(groups.ra, groups.dec, unit="deg")[0].separation(expected).arcsec < 1e-3

    @pytest.mark.parametrize(
        ("flux", "centre"),
        [
            ([1, 1, np.nan], 5),
            ([1, -3, 1], 10),
            ([np.inf, 1, 0], 10),
            ([np.nan, -1, 0], 10),
            (None, 10),
        ],
    )
    def test_fluxes_that_are_no_weights(self, flux, centre):
        groups = group_sources(make_catalogue([10] * 3, np.array([0, 10, 20]) / 3600, flux=flux), 15)
        assert groups.dec * 3600 == pytest.approx([centre], abs=1e-6)

    def test_single_row_is_where_it_is(self):
        rng = np.random.default_rng(0)
        ra, dec = rng.uniform(0, 360, 1000), rng.uniform(-90, 90, 1000)
        for how in ("none", 1e-6):
            groups = group_sources(make_catalogue(ra, dec), how)
            np.testing.assert_array_equal(groups.ra, ra)
            np.testing.assert_array_equal(groups.dec, dec)


class TestDoubles:
    """100 arcsec for 100 mJy, by the root of the flux; ratio 4."""

    @pytest.mark.parametrize(
        ("separation", "fluxes", "joined"),
        [
            (99.9, [0.05, 0.05], True),
            (100.1, [0.05, 0.05], False),
            (49.9, [0.0125, 0.0125], True),
            (50.1, [0.0125, 0.0125], False),
            (30, [0.08, 0.02], True),
            (30, [0.0801, 0.02], False),
            (269, [1, 1], True),
            (271, [1, 1], False),
            (10, [1, np.nan], False),
            (10, [1, -1], False),
        ],
    )
    def test_criterion(self, separation, fluxes, joined):
        groups = group_sources(pair(separation, fluxes), "none", join_doubles=True)
        assert len(groups) == (1 if joined else 2)

    def test_islands_count_as_a_whole(self):
        """Components of 40 and 5 mJy are too unlike; their islands of 45 and 20 mJy are not."""
        dec = np.array([0, 10, 60, 62, 64, 66]) / 3600
        flux = [0.040, 0.005, 0.005, 0.005, 0.005, 0.005]
        catalogue = make_catalogue([10] * 6, dec, flux=flux, group=[0, 0, 1, 1, 1, 1])
        assert len(group_sources(catalogue, "none", join_doubles=True)) > 1
        groups = group_sources(catalogue, "island", join_doubles=True)
        assert groups.how == "island, doubles"
        assert groups.group_id.tolist() == [0] * 6

    def test_without_fluxes(self):
        with pytest.raises(InputError, match="doubles are told by their fluxes"):
            group_sources(make_catalogue([1], [1]), join_doubles=True)


class TestAuto:
    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ({"ra": [40.0, 40.001], "dec": [0.0, 0.0]}, "none"),
            ({"RA": [10.0, 10.001], "DEC": [0.0, 0.0], "SIDEPROB": 0.01, "FPEAK": 1.0, "FINT": 2.0}, "associate"),
            (
                {"Source_Name": ["a", "b"], "RA": [10.0, 10.001], "DEC": [0.0, 0.0], "Total_flux": 1.0}
                | {"Peak_flux": 1.0, "S_Code": "S", "Mosaic_ID": "P1"},
                "none",
            ),
            (
                {"Source_id": [0, 1], "Isl_id": [0, 1], "RA": [10.0, 10.001], "DEC": [0.0, 0.0], "Total_flux": 1.0}
                | {"Peak_flux": 1.0, "Isl_rms": 1e-4, "Resid_Isl_rms": 1e-4, "S_Code": "S"},
                "associate",
            ),
            (
                {"Component_name": ["a", "b"], "RA": [10.0, 10.001], "DEC": [0.0, 0.0], "Total_flux": 1.0, "Isl_id": 0}
                | {"Source_name": ["x", "y"], "Duplicate_flag": 0, "Quality_flag": 0, "Tile": "T"},
                "island",
            ),
        ],
        ids=["positions", "first", "lotss", "pybdsf", "vlass"],
    )
    def test_what_the_dialect_knows_best(self, columns, expected):
        catalogue = read_catalogue(Table({name: np.broadcast_to(values, 2) for name, values in columns.items()}))
        groups = group_sources(catalogue)
        assert groups.how == {"associate": "association (catalogue)"}.get(expected, expected)
        assert len(groups) == (1 if expected == "associate" else 2)  # 3.6 arcsec apart

    def test_files_of_the_finders(self, data_dir):
        for name, n_islands in (("pybdsf.srl.fits", "Isl_id"), ("aegean_comp.csv", "island")):
            catalogue = read_catalogue(data_dir / "catalogues" / name)
            assert group_sources(catalogue).how == "association (catalogue)"
            groups = group_sources(catalogue, "island")
            island = np.asarray(catalogue.table[n_islands])
            assert groups.how == "island"
            assert partition(groups.group_id) == partition(island)
            assert len(groups) < len(catalogue)


class TestProperties:
    @pytest.mark.parametrize("how", ["none", "island", 60])
    @pytest.mark.parametrize("join_doubles", [False, True])
    def test_every_row_has_one_group(self, how, join_doubles):
        rng = np.random.default_rng(3)
        n = 500
        ra, dec = rng.uniform(359, 361, n) % 360, rng.uniform(-1, 1, n)
        ra[::17] = np.nan
        catalogue = make_catalogue(ra, dec, flux=rng.lognormal(-4, 2, n), group=rng.integers(0, 100, n))
        groups = group_sources(catalogue, how, join_doubles=join_doubles)
        assert groups.group_id.dtype == np.int64
        np.testing.assert_array_equal(np.bincount(groups.group_id), groups.size)
        assert groups.size.sum() == n
        np.testing.assert_array_equal(groups.valid[groups.group_id], catalogue.valid)
        assert (groups.size[groups.group_id][~catalogue.valid] == 1).all()
        np.testing.assert_array_equal(np.isfinite(groups.ra), groups.valid)
        first = np.unique(groups.group_id, return_index=True)[1]
        assert (np.diff(first) > 0).all()

    @pytest.mark.parametrize("how", ["auto", "none", 30])
    def test_empty_catalogue(self, how):
        groups = group_sources(make_catalogue([], []), how)
        assert len(groups) == len(groups.group_id) == len(groups.size[groups.group_id]) == 0

    def test_empty_catalogue_with_doubles(self):
        assert len(group_sources(make_catalogue([], [], flux=[], group=np.zeros(0, int)), join_doubles=True)) == 0

    def test_nothing_but_bad_positions(self):
        catalogue = make_catalogue([np.nan] * 3, [0] * 3, flux=[1, 1, 1], group=[0, 0, 0])
        assert group_sources(catalogue, join_doubles=True).group_id.tolist() == [0, 1, 2]


@pytest.mark.parametrize("how", ["islands", "", "30 mJy", "nan", 0, -1, "271arcsec", 270.1, 1 * u.deg, None, [1, 2]])
def test_ways_that_there_are_not(how):
    with pytest.raises(InputError, match=r"group=.*accepted are auto, associate, none, island, and an angle above 0"):
        group_sources(make_catalogue([1], [1]), how)


def test_islands_that_are_not_there():
    with pytest.raises(InputError, match="this plain table has no islands"):
        group_sources(make_catalogue([1], [1]), "island")


# Through the pipeline


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A simulated mosaic of doubles on disk and its sources."""
    mosaic, truth = make_mosaic(size=1200, n_sources=6, seed=2, kinds=("FRII",))
    path = tmp_path_factory.mktemp("sky") / "mosaic.fits"
    mosaic.writeto(path)
    return path, truth


@pytest.fixture
def components(sky):
    """Two components for each source, 40 arcsec to the North and 20 to the South with half and all of a flux, shuffled.

    The last row has no position.
    """
    truth = sky[1]
    n = len(truth)
    table = Table({"ra": np.tile(truth["ra"].value, 2), "dec": np.tile(truth["dec"].value, 2)})
    table["dec"] += np.repeat([40, -20], n) / 3600
    table["Total_flux"] = np.repeat([0.5, 1.0], n)
    table["number"] = np.tile(np.arange(n), 2)
    table = table[np.random.default_rng(4).permutation(2 * n)]
    table.add_row([np.nan, 10.0, 1.0, -1])
    table["n_components"] = "mine"
    return table


def as_pybdsf(table: Table) -> Table:
    """The rows in the dialect that has fluxes and islands."""
    table = table.copy()
    table.rename_columns(["ra", "dec"], ["RA", "DEC"])
    table["Isl_id"] = table["number"] + 5
    table["Source_id"] = np.arange(len(table))
    table["S_Code"] = "C"
    for name in ("Peak_flux", "Isl_rms", "Resid_Isl_rms"):
        table[name] = 1e-3
    return table


class Counting(LocalImages):
    """Local images that remember what they were asked for."""

    def __init__(self, path):
        super().__init__(path)
        self.asked = []

    def fetch(self, ra, dec):
        self.asked += zip(ra.tolist(), dec.tolist(), strict=True)
        return super().fetch(ra, dec)


class TestClassify:
    @pytest.fixture
    def run(self, sky, weights):
        def run(table, images=None, **options):
            return classify(
                table, images=images or Counting(sky[0]), weights=weights, device="cpu", orbit=1, chunk=4, **options
            )

        return run

    def test_one_image_a_source_at_its_centre_and_its_answer_for_every_row(self, sky, run, components):
        truth, images = sky[1], Counting(sky[0])
        seen = []
        table = as_pybdsf(components)
        result = run(table, images, group="island", progress=lambda *args: seen.append(args))

        centres = SkyCoord(images.asked, unit="deg")
        assert len(centres) == len(truth)
        nearest, separation, _ = centres.match_to_catalog_sky(SkyCoord(truth["ra"], truth["dec"]))
        assert sorted(nearest.tolist()) == list(range(len(truth)))
        assert separation.arcsec == pytest.approx(0, abs=1e-3)  # 40 * 0.5 = 20 * 1.0

        alone = run(truth)
        for name in ("p_fri", "rms", "peak", "size", "n_islands", "flags", "cutout_ra", "cutout_dec"):
            expected = np.asarray(alone.table[name])[components["number"][:-1]]
            np.testing.assert_allclose(result.table[name][:-1], expected, rtol=1e-4, err_msg=name)
        np.testing.assert_array_equal(result.table["ra"][:-1], components["ra"][:-1])
        assert result.table["n_components"].tolist() == [2] * (2 * len(truth)) + [1]
        assert partition(result.table["group_id"]) == partition(components["number"])
        assert [done for done, _, _ in seen] == [5, 7]  # sources
        assert seen[-1][2]["FRI"] + seen[-1][2]["FRII"] == 6
        assert result.provenance["grouping"] == "island"

    def test_bad_position_is_flagged_though_its_island_is_not(self, run, components):
        table = as_pybdsf(components)
        table["Isl_id"][-1] = table["Isl_id"][0]
        result = run(table, group="island")
        assert Flag(int(result.table["flags"][-1])) == Flag.BAD_POSITION
        assert np.ma.is_masked(result.table["class"][-1])
        assert not np.ma.is_masked(result.table["class"][0])
        assert result.table["n_components"][0] == 2

    def test_rows_of_a_source_share_its_attention(self, run, components, tmp_path):
        result = run(as_pybdsf(components), output=tmp_path / "out.fits", group="island")
        plane, group = np.asarray(result.table["attention_plane"]), np.asarray(result.table["group_id"])
        assert partition(plane) == partition(group)
        again = Result.read(tmp_path / "out.fits")
        np.testing.assert_array_equal(again.table["attention_plane"], plane)
        for row in range(len(result) - 1):
            np.testing.assert_array_equal(again.attention(row).data, result.attention(row).data)

    def test_columns_come_after_ours_and_survive_the_product(self, run, components, tmp_path):
        result = run(as_pybdsf(components), output=tmp_path / "out.fits", group="island")
        again = Result.read(tmp_path / "out.fits").table
        ours = [spec.name for spec in COLUMNS]
        for table in (result.table, again):
            assert ours[-3:] == ["group_id", "n_components", "primary"]
            assert table.colnames[: len(ours) + 1] == [*ours, "in_RA"]
            assert set(table["in_n_components"]) == {"mine"}
            assert table["group_id"].description
            assert table["group_id"].meta["ucd"] == "meta.id.assoc"
        np.testing.assert_array_equal(again["group_id"], result.table["group_id"])
        np.testing.assert_array_equal(again["n_components"], result.table["n_components"])

    def test_plain_positions_are_left_alone(self, run, components, tmp_path):
        result = run(components, output=tmp_path / "out.fits")
        assert result.table["n_components"].tolist() == [1] * len(components)
        assert result.provenance["grouping"] == "none"
        again = Result.read(tmp_path / "out.fits").table
        assert again.colnames == result.table.colnames
        assert set(again["in_n_components"]) == {"mine"}

    def test_radius_and_doubles(self, run, components):
        """Lobes 60 arcsec apart: steps of 61 arcsec reach, and 1.5 Jy do so by far."""
        table = as_pybdsf(components)
        table["Isl_id"] = np.arange(len(table))
        for options in ({"group": 61}, {"group": "island", "join_doubles": True}):
            assert run(table, **options).table["n_components"].tolist() == [2] * 12 + [1]
        for options in ({"group": 59}, {"group": "island"}):
            assert run(table, **options).table["n_components"].tolist() == [1] * 13


def test_command_line(sky, weights, components, tmp_path):
    as_pybdsf(components).write(tmp_path / "found.fits")
    options = ["--images", sky[0], "--weights", weights, "--orbit", 1, "--device", "cpu"]

    def run(*more):
        command = ["classify", tmp_path / "found.fits", *options, "--overwrite", *more]
        return CliRunner().invoke(app, [str(word) for word in command])

    def sizes():
        return fits.getdata(tmp_path / "found.radio-ag.fits", "CLASSIFICATION")["n_components"].tolist()

    assert run("--group", "island").exit_code == 0
    assert sizes() == [2] * 12 + [1]
    assert run().exit_code == 0
    assert fits.getheader(tmp_path / "found.radio-ag.fits")["GROUPING"] == "association (catalogue)"
    assert run("--group", "1 arcmin", "--join-doubles").exit_code == 0
    assert sizes() == [2] * 12 + [1]
    assert run("--group", "59.9arcsec").exit_code == 0
    assert sizes() == [1] * 13
    assert run("--group", "none").exit_code == 0
    assert sizes() == [1] * 13
    failed = run("--group", "lobes")
    assert failed.exit_code == 2
    assert "accepted are auto, associate, none, island" in failed.stderr


def test_how_far_the_rows_of_a_group_reach():
    """Half the side of the square that holds them: of two rows 200 arcsec apart along a diagonal, 71 arcsec."""
    for dec in (0.0, 60.0, -85.0):
        step = 200 / 2 / np.sqrt(2) / 3600
        ra = np.array([10, 10, 50.0]) + np.array([-step, step, 0]) / np.cos(np.radians(dec))
        table = Table({"ra": ra, "dec": dec + np.array([-step, step, 0]), "name": ["a", "a", "b"]})
        groups = group_sources(read_catalogue(table, group_col="name"))
        np.testing.assert_allclose(groups.reach, [70.7, 0], atol=0.1)
