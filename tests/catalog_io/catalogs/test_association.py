"""Which components are one source: features of pairs, trees, linkage, and what they make of doubles and strangers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

import radio_ag.weights
from radio_ag.catalog_io.catalogs import Catalogue, read_catalogue
from radio_ag.catalog_io.catalogs.association import (
    FEATURES,
    Model,
    associate,
    bundled_model,
    link,
    neighbourhood,
    pair_features,
)
from radio_ag.catalog_io.catalogs.dialect import Measure
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.errors import InputError, WeightsError

BEAM = 5.4


def make_catalogue(east, north, flux, major=None, minor=BEAM, angle=0.0, island=None, ra=150.0, dec=20.0) -> Catalogue:
    """Components at offsets in arcsec from a place, with fluxes in Jy and observed sizes in arcsec; noise 0.15 mJy."""
    east, north, flux = (np.array(values, float) for values in (east, north, flux))
    n = len(flux)
    major, minor, angle = (np.broadcast_to(BEAM if v is None else v, n).astype(float) for v in (major, minor, angle))
    dec_ = dec + north / 3600
    measured = Table({"major": major, "minor": minor, "position_angle": angle})
    measured["peak"], measured["rms"] = flux * BEAM**2 / (major * minor), 1.5e-4
    return Catalogue(
        table=measured,
        ra=(ra + east / 3600 / np.cos(np.radians(dec_))) % 360,
        dec=dec_,
        valid=np.ones(n, bool),
        ra_name="ra",
        dec_name="dec",
        source_id_name=None,
        origin="test",
        sha256=None,
        dialect="radio-ag",
        kind="sources",
        flux=flux,
        measures={name: Measure(name, 1.0, np.nan) for name in measured.colnames},
        group=np.arange(n) if island is None else np.array(island),
    )


def of(catalogue: Catalogue) -> dict[str, np.ndarray]:
    rows = neighbourhood(catalogue)
    return dict(zip(FEATURES, pair_features(rows, rows.pairs).T, strict=True))


def partition(labels) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


class TestFeatures:
    @pytest.mark.parametrize(("ra", "dec"), [(150, 20), (0, 0), (359.999, -60), (10, 89.9)])
    def test_of_two_components(self, ra, dec):
        """40 arcsec apart North to South; 30 and 10 mJy; one lies along the line, and one across."""
        catalogue = make_catalogue([0, 0], [0, 40], [0.03, 0.01], major=10.8, angle=[0, 90], ra=ra, dec=dec)
        found = {name: float(values[0]) for name, values in of(catalogue).items()}
        expected = {
            "separation": 40,
            "flux": np.log10(0.04),
            "flux_ratio": np.log10(3),
            "separation_for_flux": np.log10(40 / 0.2),
            "gap": 40 - 10.8 / 2 - 5.4 / 2,
            "bright_size": np.sqrt(10.8**2 - BEAM**2),
            "bright_alignment": 0.6,  # (4 - 1) / (4 + 1)
            "faint_alignment": -0.6,
            "bright_extent": np.log10(2),
            "bright_snr": np.log10(0.015 / 1.5e-4),
            "faint_snr": np.log10(0.005 / 1.5e-4),
            "nearer_to_bright": 0,
            "neighbours": 0,
            "same_island": 0,
        }
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-3)

    def test_of_a_component_in_the_middle(self):
        """The core lies 3 : 4 : 5 off the line, so that the way through it is longer than the line by a quarter."""
        catalogue = make_catalogue([0, 0, 30], [0, 80, 40], [0.03, 0.02, 0.001])
        found = of(catalogue)
        lobes = np.argmax(found["separation"])
        assert found["separation"][lobes] == pytest.approx(80, abs=0.01)
        assert found["detour"][lobes] == pytest.approx(100 / 80, abs=1e-3)
        assert found["longest_step"][lobes] == pytest.approx(50 / 80, abs=1e-3)
        assert found["nearer_to_bright"][lobes] == found["nearer_to_faint"][lobes] == found["neighbours"][lobes] == 1
        # A lobe of 30 mJy at 80 arcsec draws the other, and so does the core of 1 mJy at 50.
        assert found["pull"][lobes] == pytest.approx(np.log10((1 / 50**2) / (30 / 80**2) + 1e-3), abs=1e-3)
        assert found["flux_of_others"][lobes] == pytest.approx(np.log10(1 / 50 + 1e-3), abs=1e-3)

    def test_what_is_not_known_is_nan(self):
        catalogue = replace(
            make_catalogue([0, 0], [0, 40], [0.03, 0.01]),
            **dict.fromkeys(("flux", "group")),
            measures={},
        )
        known = {name for name, values in of(catalogue).items() if np.isfinite(values).all()}
        assert {"separation", "detour", "longest_step", "neighbours"} <= known
        assert known.isdisjoint({"flux", "flux_ratio", "gap", "bright_size", "faint_snr", "same_island"})

    def test_pairs_end_at_the_width_of_the_image(self):
        assert len(neighbourhood(make_catalogue([0, 0, 0], [0, 269, 540], [1, 1, 1])).pairs) == 1


class TestModel:
    def test_trees_by_hand(self):
        """Depth 1: a near pair has log odds 0.5 + 2, a far one 0.5 - 1, and one whose feature is missing goes right."""
        model = Model(
            FEATURES, np.array([[0]]), np.array([[10.0]]), np.array([[True]]), np.array([[2.0, -1.0]]), 0.5, 0.5, (0, 1)
        )
        features = np.zeros((4, len(FEATURES)), np.float32)
        features[:, 0] = [9, 10, 11, np.nan]
        expected = 1 / (1 + np.exp(-np.array([2.5, 2.5, -0.5, -0.5])))
        np.testing.assert_allclose(model.probabilities(features), expected)

    def test_other_features_are_refused(self):
        card = json.loads(Path(radio_ag.weights.__file__).with_name("association.json").read_text())
        card["model"]["features"][0] = "colour"
        with pytest.raises(WeightsError, match="other features"):
            Model.read(card)


class TestLink:
    def test_stranger_that_one_end_vouches_for(self):
        """A chain would take the fourth in; of its pairs with the other three the mean is 0.28."""
        pairs = np.array([[0, 1], [1, 2], [0, 2], [2, 3]])
        label, weakest = link(4, pairs, np.array([0.95, 0.9, 0.8, 0.84]), 0.5)
        assert partition(label) == {frozenset({0, 1, 2}), frozenset({3})}
        assert weakest[0] == pytest.approx(0.85)

    def test_as_scipy_links(self):
        """Average linkage of random probabilities, one by one, as scipy does it."""
        from scipy.cluster.hierarchy import fcluster, linkage

        rng = np.random.default_rng(1)
        for n in (2, 5, 12, 30):
            pairs = np.stack(np.triu_indices(n, 1), axis=1)
            probability = rng.random(len(pairs)) ** 2
            label, _ = link(n, pairs, probability, 0.3)
            expected = fcluster(linkage(1 - probability, "average"), 0.7, "distance")
            assert partition(label) == partition(expected)

    def test_equal_probabilities(self):
        label, weakest = link(3, np.array([[0, 1], [1, 2], [0, 2]]), np.full(3, 0.7), 0.5)
        assert label.tolist() == [0, 0, 0]
        assert weakest[0] == pytest.approx(0.7)

    def test_nothing(self):
        label, weakest = link(2, np.zeros((0, 2), int), np.zeros(0), 0.5)
        assert label.tolist() == [0, 1]
        assert np.isnan(weakest).all()


def strewn(n: int, half: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unrelated faint point sources within so many arcsec, none near the middle."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(-half, half, (4 * n, 2))
    place = place[np.hypot(*place.T) > 150][:n]
    return place[:, 0], place[:, 1], 1e-3 * (1 + rng.pareto(1.0, len(place)))


class TestSources:
    @pytest.mark.parametrize("separation", [15, 25, 40])
    def test_double_among_strangers(self, separation):
        east, north, flux = strewn(30, 2000)
        catalogue = make_catalogue(
            [0, 0, *east],
            [-separation / 2, separation / 2, *north],
            [0.05, 0.04, *flux],
            major=np.array([12.0, 12.0, *np.full(30, BEAM)]),
        )
        groups = group_sources(catalogue)
        assert groups.how == "association (catalogue)"
        assert set(np.flatnonzero(groups.group_id == groups.group_id[0]).tolist()) == {0, 1}
        assert (groups.size[groups.group_id[2:]] > 1).mean() < 0.2
        assert 0.7 < groups.association[groups.group_id[0]] <= 1
        np.testing.assert_array_equal(np.isfinite(groups.association), groups.size > 1)

    def test_a_core_holds_lobes_together(self):
        """Lobes 100 arcsec apart are two sources for all that is known, and one with a core in the middle."""
        lobes = make_catalogue([0, 0], [-50, 50], [0.05, 0.04], major=12.0)
        assert len(group_sources(lobes)) == 2
        triple = make_catalogue([0, 0, 0], [-50, 50, 1], [0.05, 0.04, 0.003], major=[12.0, 12.0, BEAM])
        assert len(group_sources(triple)) == 1

    def test_triple_and_a_point_source_beside_it(self):
        """Two lobes, a core between them, and a faint point source across the axis, 75 arcsec from the core."""
        catalogue = make_catalogue(
            [0, 0, 0, 75], [-35, 35, 1, 10], [0.05, 0.04, 0.005, 0.0015], major=[13.0, 13.0, BEAM, BEAM]
        )
        label, _ = associate(catalogue)
        assert partition(label) == {frozenset({0, 1, 2}), frozenset({3})}

    def test_order_of_the_rows_does_not_matter(self):
        east, north, flux = strewn(300, 1200)
        rng = np.random.default_rng(0)
        flux[::3] = 0.002  # equal ones among them
        catalogue = make_catalogue(east, north, flux, major=rng.uniform(BEAM, 15, 300), angle=rng.uniform(0, 180, 300))
        order = rng.permutation(300)
        columns = ("table", "ra", "dec", "valid", "flux", "group")
        shuffled = replace(catalogue, **{name: getattr(catalogue, name)[order] for name in columns})
        label, certainty = associate(catalogue)
        label_shuffled, certainty_shuffled = associate(shuffled)
        assert 10 < len(np.unique(label)) < 300
        assert partition(label) == partition(label_shuffled[np.argsort(order)])
        np.testing.assert_array_equal(certainty, certainty_shuffled[np.argsort(order)])

    def test_an_island_can_be_two_sources(self):
        """Numbers of several runs: the same island, far from each other."""
        catalogue = make_catalogue([0, 0], [0, 200], [0.002, 0.002], island=[0, 0])
        assert len(group_sources(catalogue)) == 2
        assert len(group_sources(catalogue, "island")) == 1

    def test_rows_at_one_place_are_one_component(self):
        n = 50_000
        catalogue = make_catalogue(np.zeros(n), np.zeros(n), np.full(n, 0.01))
        groups = group_sources(catalogue)
        assert groups.size.tolist() == [n]
        assert groups.association.tolist() == [1]

    def test_row_without_a_position(self):
        catalogue = make_catalogue([0, 0, 0], [0, 5, 2], [0.01, 0.01, 0.01], major=8.0, island=[1, 1, 1])
        valid = np.array([True, True, False])
        catalogue = replace(catalogue, valid=valid, ra=np.where(valid, catalogue.ra, np.nan))
        groups = group_sources(catalogue)
        assert groups.group_id.tolist() == [0, 0, 1]
        assert np.isnan(groups.association[1])

    def test_empty(self):
        assert len(group_sources(make_catalogue([], [], []))) == 0

    def test_joined_doubles_have_no_probability(self):
        catalogue = make_catalogue([0, 0], [0, 170], [0.5, 0.5])
        groups = group_sources(catalogue, "none", join_doubles=True)
        assert groups.size.tolist() == [2]
        assert np.isnan(groups.association).all()


class TestWhere:
    def test_plain_positions_ask_for_it(self):
        catalogue = read_catalogue(Table({"ra": [150.0, 150.0], "dec": [20.0, 20.001]}))
        assert group_sources(catalogue).how == "none"
        groups = group_sources(catalogue, "associate")
        assert groups.how == "association (catalogue)"
        assert groups.size.tolist() == [2]

    def test_components_that_know_their_source(self):
        table = {"Component_Name": ["a", "b", "c"], "RA": [10.0, 10.001, 10.002], "DEC": [0.0, 0.0, 0.0]}
        table |= dict.fromkeys(("Total_flux", "Peak_flux"), [5.0] * 3) | {"S_Code": ["S"] * 3}
        assert group_sources(read_catalogue(Table(table))).how == "association (catalogue)"
        groups = group_sources(read_catalogue(Table(table | {"Parent_Source": ["x", "x", "y"]})))
        assert (groups.how, groups.group_id.tolist()) == ("island", [0, 0, 1])

    def test_unknown_ways_name_it(self):
        with pytest.raises(InputError, match="accepted are auto, associate, none, island"):
            group_sources(make_catalogue([0], [0], [1]), "associated")


def test_card_states_a_cross_validation_and_the_floor_that_it_keeps():
    card = json.loads(Path(radio_ag.weights.__file__).with_name("association.json").read_text())
    figures = card["cross_validation"]["radio-ag find"]
    found = figures["association (catalogue)"]
    assert found["sources"] > 700
    assert found["interval"][0] < found["share"] < found["interval"][1]
    assert found["interval"][0] > max(figures[way]["share"] for way in ("island", "60 arcsec", "island, doubles"))
    assert bundled_model().leaf.shape[1] == 16


def test_real_mosaic(data_dir, tmp_path):
    """From pixels to sources in a mosaic of 36 real fields; the bundled model has learnt them: it is the chain that is
    tested, and the figures for unseen fields are on the card."""
    from astropy.io import fits
    from astropy.wcs import WCS

    from radio_ag.catalog_io.finding.find import find_sources

    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        sources = Table(hdus["SOURCES"].data)
        rows = np.flatnonzero((sources["fr_class"] == "FRII") & (sources["confidence"] == "certain"))[:36]
        mosaic = np.block([[hdus["IMAGES"].data[row] for row in rows[6 * y : 6 * y + 6]] for y in range(6)])
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (180, 30), (900.5, 900.5)
    wcs.wcs.cdelt = (-0.0005, 0.0005)
    header = wcs.to_header()
    header.update(BUNIT="Jy/beam", BMAJ=0.0015, BMIN=0.0015, BPA=0.0)
    fits.PrimaryHDU(mosaic.astype(np.float32), header).writeto(tmp_path / "mosaic.fits")
    catalogue = read_catalogue(find_sources(tmp_path / "mosaic.fits"))
    x, y = wcs.all_world2pix(catalogue.ra, catalogue.dec, 0)
    tile = (np.floor((y + 0.5) / 300) * 6 + np.floor((x + 0.5) / 300)).astype(int)
    distance = 1.8 * np.hypot((x + 0.5) % 300 - 150, (y + 0.5) % 300 - 150)
    half = np.asarray(sources["extent"])[rows][tile] / 2

    def whole(how) -> int:
        groups = group_sources(catalogue, how)
        count = 0
        for number in range(36):
            own = (tile == number) & (distance <= half + BEAM)
            members = np.isin(groups.group_id, groups.group_id[own])
            strange = members & ((tile != number) | (distance > half + 30))
            count += len(np.unique(groups.group_id[own])) == 1 and not strange.any()
        return count

    assert group_sources(catalogue).how == "association (catalogue)"
    assert whole("auto") >= 31
    assert whole("auto") > whole("island") + 4
