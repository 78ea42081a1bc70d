"""The result in memory: columns, names, lookups, maps with their WCS."""

import subprocess
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable.ucd import check_ucd
from astropy.table import Column, MaskedColumn, QTable, Table
from result_examples import PIXEL, TURN, example_columns, example_maps, example_result

from radio_ag.catalog_io.product.columns import COLUMNS, iau_names
from radio_ag.catalog_io.result import Result
from radio_ag.errors import InputError, SourceNotFoundError
from radio_ag.flags import Flag

NAMES = [
    *("name", "source_id", "ra", "dec", "class", "probability", "p_fri", "p_frii", "p_std", "rms", "peak", "snr"),
    *("size", "n_islands", "flags", "attention_plane", "cutout_ra", "cutout_dec", "crpix1", "crpix2"),
    *("cd1_1", "cd1_2", "cd2_1", "cd2_2", "group_id", "n_components", "primary"),
]


class TestNames:
    def test_every_tenth_of_a_second_keeps_its_name(self):
        tenths = np.r_[np.random.default_rng(1).integers(0, 864000, 20000), 0, 863999]
        expected = [f"J{t // 36000:02}{t // 600 % 60:02}{t // 10 % 60:02}.{t % 10}+000000" for t in tenths.tolist()]
        assert iau_names(tenths / 2400, np.zeros(len(tenths))).tolist() == expected

    def test_every_arcsecond_keeps_its_name(self):
        arcsec = np.r_[np.random.default_rng(2).integers(-324000, 324001, 20000), -324000, 324000]
        expected = [
            f"J000000.0{'-' if a < 0 else '+'}{abs(a) // 3600:02}{abs(a) // 60 % 60:02}{abs(a) % 60:02}"
            for a in arcsec.tolist()
        ]
        assert iau_names(np.zeros(len(arcsec)), arcsec / 3600).tolist() == expected

    def test_names_agree_with_sexagesimal_digits_of_astropy(self):
        rng = np.random.default_rng(3)
        sky = SkyCoord(rng.uniform(0, 360, 200), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 200))), unit="deg")
        ra = [text[:8] for text in sky.ra.to_string("hour", sep="", precision=6, pad=True)]
        dec = [text[:7] for text in sky.dec.to_string("deg", sep="", precision=6, pad=True, alwayssign=True)]
        assert iau_names(sky.ra.deg, sky.dec.deg).tolist() == [f"J{a}{d}" for a, d in zip(ra, dec, strict=True)]

    def test_truncated_not_rounded(self):
        sky = SkyCoord("08h04m04.59s +15d33m35.99s")
        assert iau_names([sky.ra.deg], [sky.dec.deg]).tolist() == ["J080404.5+153335"]

    def test_sign_of_a_small_negative_declination(self):
        assert iau_names([0, 0, 0], [-1e-5, 1e-5, -0.0]).tolist() == [
            "J000000.0-000000",
            "J000000.0+000000",
            "J000000.0+000000",
        ]

    def test_bad_positions_have_no_name(self):
        ra = np.ma.masked_array([1.0, np.nan, 1, 1, np.inf, 1], mask=[0, 0, 0, 0, 0, 1])
        assert iau_names(ra, [1, 1, np.nan, 91, 1, 1]).tolist() == ["J000400.0+010000", "", "", "", "", ""]


class TestTable:
    def test_columns_in_their_order_then_the_input(self):
        catalogue = Table({"b": [1, 2, 3], "a": ["x", "y", "z"]})
        assert example_result(3, catalogue=catalogue).table.colnames == [*NAMES, "b", "a"]

    def test_every_column_says_what_it_is(self):
        table = example_result(3).table
        for name in NAMES:
            assert table[name].description
            assert check_ucd(table[name].meta["ucd"], check_controlled_vocabulary=True)
        units = {name: str(table[name].unit) for name in NAMES if table[name].unit is not None}
        assert units == {
            **dict.fromkeys(("ra", "dec", "cutout_ra", "cutout_dec"), "deg"),
            **dict.fromkeys(("rms", "peak"), "Jy / beam"),
            **dict.fromkeys(("crpix1", "crpix2"), "pix"),
            **dict.fromkeys(("cd1_1", "cd1_2", "cd2_1", "cd2_2"), "deg / pix"),
            "size": "arcsec",
        }

    def test_class_and_probability_are_masked_together(self):
        table = example_result(9).table
        empty_or_lost = np.arange(9) % 3 != 0
        for name in ("class", "probability", "p_fri", "p_frii", "p_std"):
            assert table[name].mask.tolist() == empty_or_lost.tolist()
        assert table["class"].compressed().tolist() == ["FRII", "FRI", "FRII"]
        assert table["rms"].mask.tolist() == (np.arange(9) % 3 == 2).tolist()

    def test_names_that_clash_ignoring_case(self):
        columns = {"RA": [1.0], "Class": ["a"], "in_class": ["b"], "CLASS": ["c"], "in_ra": ["d"], "flux": [2.0]}
        catalogue = Table(columns)
        table = example_result(1, catalogue=catalogue).table
        renamed = dict(zip(columns, table.colnames[len(NAMES) :], strict=True))
        assert renamed == {
            "RA": "in_RA",
            "Class": "in_Class",
            "in_class": "in_in_class",
            "CLASS": "in_in_in_CLASS",
            "in_ra": "in_in_ra",
            "flux": "flux",
        }
        assert len({name.lower() for name in table.colnames}) == len(table.colnames)
        for old, new in renamed.items():
            assert table[new].tolist() == catalogue[old].tolist()
            assert table[new].meta.get("input_name", new) == old

    def test_the_catalogue_is_not_changed(self):
        catalogue = QTable({"RA": [1.0, 2.0] * u.deg, "sky": SkyCoord([1, 2], [3, 4], unit="deg"), "name": ["a", "b"]})
        catalogue.meta["origin"] = "here"
        before = catalogue.copy()
        example_result(2, catalogue=catalogue)
        assert catalogue.colnames == before.colnames == ["RA", "sky", "name"]
        assert catalogue["name"].meta == {}
        assert catalogue["RA"].unit == u.deg
        assert catalogue.meta == before.meta

    def test_row_numbers_stand_in_for_identifiers(self):
        assert example_result(3).table["source_id"].tolist() == [1, 2, 3]

    def test_identifiers_keep_their_type_and_mask(self):
        catalogue = Table({"id": MaskedColumn(["a", "b"], mask=[False, True])})
        result = Result.from_columns(catalogue, example_columns(2) | {"source_id": catalogue["id"]})
        assert result.table["source_id"].tolist() == ["a", None]
        assert catalogue["id"].description is None

    def test_empty_catalogue(self):
        result = example_result(0)
        assert len(result) == 0
        assert result.table.colnames == [*NAMES, "flux"]
        assert result.summary()["rows"] == 0

    def test_lacking_unknown_and_short_columns(self):
        columns = example_columns(3)
        catalogue = Table({"a": [1, 2, 3]})
        with pytest.raises(InputError, match=r"'lacking': \['rms'\].*'unknown': \['noise'\]"):
            Result.from_columns(catalogue, {k.replace("rms", "noise"): v for k, v in columns.items()})
        with pytest.raises(InputError, match="'rms' has 2 values for 3 rows"):
            Result.from_columns(catalogue, columns | {"rms": [1, 2]})

    def test_specifications_are_those_of_the_product(self):
        assert [spec.name for spec in COLUMNS] == NAMES


class TestAttention:
    def test_map_and_its_place_on_the_sky(self):
        result = example_result(9)
        for row, plane in ((0, 0), (1, 1), (3, 2), (6, 4)):
            image = result.attention(row)
            assert image.unit == u.dimensionless_unscaled
            expected = example_maps(plane + 1, 0)[plane]
            assert np.abs(image.data - expected).max() <= np.ptp(expected) / 2000
            # 40 pixels up and 30 to the left, seen from the reference pixel, by spherical trigonometry.
            centre = SkyCoord(result.table["cutout_ra"][row], result.table["cutout_dec"][row], unit="deg")
            angle, distance = np.arctan2(30, 40) + TURN, np.tan(50 * np.deg2rad(PIXEL))
            expected = centre.directional_offset_by(angle * u.rad, np.arctan(distance) * u.rad)
            found = image.wcs.pixel_to_world(74.3 - 30, 74.9 + 40)
            assert found.separation(expected).arcsec < 0.001

    def test_gates(self):
        result = example_result(3, gates=(1, 2, 3))
        assert result.gates == ("mean", 1, 2, 3)
        for gate in (1, 2, 3):
            assert np.abs(result.attention(1, gate).data - example_maps(2, gate)[1]).max() <= 1 / 2000

    def test_rows_without_a_map_and_gates_that_were_not_kept(self):
        result = example_result(3)
        with pytest.raises(SourceNotFoundError, match="row 2 has no attention map; its flags: BAD_POSITION"):
            result.attention(2)
        with pytest.raises(InputError, match="gate 1 were not kept: there are mean"):
            result.attention(0, gate=1)
        with pytest.raises(SourceNotFoundError, match="there is no row 3: rows are numbered from 0 to 2"):
            result.attention(3)


class TestLookup:
    def test_nearest_row_of_one_position(self):
        result = example_result(9)
        source = result.at(SkyCoord(121.018958 + 0.3, 15.559725 - 0.3 + 0.001, unit="deg"))
        assert (source.index, source["source"], source["name"]) == (3, 3, result.table["name"][3])
        assert np.array_equal(source.attention().data, result.attention(3).data)

    @pytest.mark.parametrize(
        "text", ["J080404.5+153335", "08:04:04.55 +15:33:35.0", "08h04m04.55s +15d33m35.0s", "121.018958 15.559722"]
    )
    def test_positions_and_names_as_text(self, text):
        assert example_result(3).at(text).index == 0

    def test_several_positions_give_a_result(self):
        result = example_result(9)
        found = result.at(SkyCoord(result.table["ra"][[6, 0]], result.table["dec"][[6, 0]], unit="deg"))
        assert isinstance(found, Result)
        assert found.table["source_id"].tolist() == [7, 1]
        assert np.array_equal(found.attention(0).data, result.attention(6).data)

    def test_nothing_within_the_radius(self):
        result = example_result(3)
        position = SkyCoord(121.018958, 15.559725 + 30 / 3600, unit="deg")
        with pytest.raises(LookupError, match=r"within 10 arcsec .* nearest, J080404.5\+153335, is 30 arcsec away"):
            result.at(position)
        assert result.at(position, radius=31).index == 0
        assert result.at(position, radius=0.6 * u.arcmin).index == 0
        assert result.at(position, radius="31 arcsec").index == 0

    def test_the_nearest_across_right_ascension_zero(self):
        columns = example_columns(2)
        columns["ra"], columns["dec"] = np.array([359.9999, 180.0]), np.array([0.0, 0.0])
        result = Result.from_columns(Table({"a": [1, 2]}), columns)
        assert result.at(SkyCoord(0.0001, 0, unit="deg")).index == 0

    @pytest.mark.parametrize("text", ["nonsense", "", "1 2 3 4 5 6 7", "J999999.9+999999"])
    def test_text_that_is_no_position(self, text):
        with pytest.raises(InputError, match="neither a name of this result nor a position"):
            example_result(1).at(text)

    @pytest.mark.parametrize("radius", ["10 Jy", "far", None])
    def test_radius_that_is_no_angle(self, radius):
        with pytest.raises(InputError, match="radius must be an angle"):
            example_result(1).at("121.018958 15.559722", radius=radius)

    def test_no_row_has_a_position(self):
        columns = example_columns(1) | {"ra": [np.nan]}
        with pytest.raises(SourceNotFoundError, match="no row"):
            Result.from_columns(Table({"a": [1]}), columns).at("1.0 2.0")


class TestRows:
    def test_slices_and_masks_keep_the_maps(self):
        result = example_result(9)
        clean = result[result.table["flags"] == 0]
        assert clean.table["source_id"].tolist() == [1, 4, 7]
        assert np.array_equal(clean.attention(2).data, result.attention(6).data)
        assert clean.provenance == result.provenance
        assert len(result[2:4]) == 2
        assert result[4]["source_id"] == 5

    def test_columns_are_not_rows(self):
        with pytest.raises(TypeError, match=r"columns are in \.table"):
            example_result(1)["ra"]

    def test_summary(self):
        summary = example_result(9).summary()
        assert summary["rows"] == 9
        assert summary["clean"] == 3
        assert summary["classes"] == {"FRI": 1, "FRII": 2, "none": 6}
        assert set(summary["flags"]) == {flag.name for flag in Flag}
        assert {name: count for name, count in summary["flags"].items() if count} == {"EMPTY": 3, "BAD_POSITION": 3}

    def test_repr(self):
        assert repr(example_result(9)) == "<Result: 9 rows, 1 FRI, 2 FRII, 6 none>"

    def test_provenance_says_which_software(self):
        provenance = example_result(1).provenance
        assert provenance["creator"].startswith("radio-ag ")
        assert "numpy " + np.__version__ in provenance["packages"]
        assert provenance["survey"] == "VLA FIRST 1.4 GHz"


def test_a_result_needs_no_torch():
    code = "import sys, radio_ag.catalog_io.result; assert not {'torch', 'astroquery', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_columns_of_bytes_find_their_rows():
    table = example_result(3, catalogue=Table({"id": Column([b"a", b"b", b"c"])})).table
    assert table["id"].tolist() == ["a", "b", "c"]
