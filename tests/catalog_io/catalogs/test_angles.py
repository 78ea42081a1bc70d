"""Columns of angles: units, sexagesimal notation, bad rows."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Angle
from astropy.table import Column, MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.errors import CatalogueError

RA, DEC = 162.53, 30.677
"""10 50 07.2 +30 40 37.2"""


def position(catalogue, row=0):
    return catalogue.ra[row], catalogue.dec[row]


def assert_at(catalogue, ra=RA, dec=DEC, row=0):
    np.testing.assert_allclose(position(catalogue, row), (ra, dec), rtol=0, atol=1e-9)


class TestUnits:
    @pytest.mark.parametrize("unit", ["deg", "hourangle", "h", "rad", "arcmin", "arcsec"])
    def test_the_columns_unit(self, unit):
        angle = RA * u.deg if unit != "h" else RA / 15 * u.h
        table = Table({"RA": Column([angle.to_value(unit)], unit=unit), "DEC": Column([DEC], unit="deg")})
        assert_at(read_catalogue(table))

    @pytest.mark.parametrize(
        ("spelling", "scale"), [("degrees", 1), ("Deg", 1), ("[deg]", 1), ("hours", 15), ("HR", 15)]
    )
    def test_units_that_astropy_does_not_know(self, spelling, scale):
        unit = u.Unit(spelling, parse_strict="silent")
        assert_at(read_catalogue(Table({"RA": Column([RA / scale], unit=unit), "DEC": Column([DEC], unit="--")})))

    def test_a_unit_that_is_no_angle(self):
        with pytest.raises(CatalogueError, match="'RA' has unit 'Jy'"):
            read_catalogue(Table({"RA": Column([1.0], unit="Jy"), "DEC": [1.0]}))

    @pytest.mark.parametrize(
        "values", [[10.0], [0.5, 23.9], [1, 2, 24], ["10.5", "11.5"], [10.0, np.nan, 999.0], [1.0, -99.0]]
    )
    def test_hours_or_degrees_is_asked(self, values):
        with pytest.raises(CatalogueError, match=r"'RA' is ambiguous.*ra_unit='deg' or ra_unit='hour' \(--ra-unit\)"):
            read_catalogue(Table({"RA": values, "DEC": np.zeros(len(values))}))

    @pytest.mark.parametrize(("unit", "expected"), [("deg", 10.5), ("hour", 157.5)])
    @pytest.mark.parametrize("value", [10.5, "10.5", b"10.5"])
    def test_the_user_answers(self, unit, expected, value):
        assert_at(read_catalogue(Table({"RA": [value], "DEC": [DEC]}), ra_unit=unit), ra=expected)

    @pytest.mark.parametrize("name", ["RAdeg", "RA_ICRS", "_RAJ2000", "ra_deg_cont", "ALPHA_J2000"])
    def test_names_that_say_degrees(self, name):
        partner = {"RAdeg": "DEdeg", "RA_ICRS": "DE_ICRS", "_RAJ2000": "_DEJ2000"}.get(name)
        partner = partner or {"ra_deg_cont": "dec_deg_cont", "ALPHA_J2000": "DELTA_J2000"}[name]
        assert_at(read_catalogue(Table({name: [10.5], partner: [DEC]})), ra=10.5)

    def test_one_value_above_24_settles_it(self):
        assert_at(read_catalogue(Table({"RA": [10.5, 24.5], "DEC": [DEC, 0]})), ra=10.5)


class TestSexagesimal:
    @pytest.mark.parametrize(
        ("ra", "dec"),
        [
            ("10 50 07.2", "+30 40 37.2"),
            ("10:50:07.20", "30:40:37.2"),
            ("10h50m07.2s", "+30d40m37.2s"),
            (" 10h 50m 07.2s ", "+30° 40' 37.2\""),
            ("10:50:07.2", "+30.40.37.2"),
            ("162d31m48s", "+30d40m37.2s"),
            ("162.53deg", "30.677 deg"),
            ("10ʰ50ᵐ07ˢ.2", "+30°40\N{PRIME}37\N{DOUBLE PRIME}.2"),
            ("10h50m07s.2", "+30º40\N{RIGHT SINGLE QUOTATION MARK}37.2\N{RIGHT DOUBLE QUOTATION MARK}"),
            ("10H50M07.2S", "+30D40M37.2S"),
            ("10h50.12m", "+30d40.62m"),
            ("10.83533333333333h", "+30.677d"),
            ("10\N{NO-BREAK SPACE}50\N{NO-BREAK SPACE}07.2", "+30 40 37.2"),
            ("105007.2", "+304037.2"),
        ],
    )
    @pytest.mark.parametrize("kind", ["U", "S", "O"])
    def test_spellings(self, ra, dec, kind):
        if kind == "S":
            ra, dec = ra.encode("utf-8"), dec.encode("utf-8")
        columns = [Column(np.array([value], dtype=kind)) for value in (ra, dec)]
        assert_at(read_catalogue(Table(columns, names=("RA", "DEC"))))

    def test_units_as_vizier_writes_them(self):
        unit = u.Unit('"h:m:s"', parse_strict="silent")
        table = Table({"RAJ2000": Column(["10 50 07.2"], unit=unit), "DEJ2000": Column(["+30 40 37.2"])})
        assert_at(read_catalogue(table))
        table["RAJ2000"] = Column(["162 31 48.0"], unit=u.Unit('"d:m:s"', parse_strict="silent"))
        assert_at(read_catalogue(table))

    def test_minutes_without_seconds(self):
        assert_at(read_catalogue(Table({"RA": ["15h17m"], "DEC": ["-07d30m"]})), ra=229.25, dec=-7.5)

    @pytest.mark.parametrize("ra", ["hms", "h:m:s", "hh:mm:ss", '"h:m:s"'])
    @pytest.mark.parametrize("dec", ["dms", "d:m:s", "dd:mm:ss"])
    @pytest.mark.parametrize("text", [("10:50:07.2", "30:40:37.2"), ("105007.2", "304037.2")])
    def test_declared_units(self, ra, dec, text):
        columns = [
            Column([value], unit=u.Unit(unit, parse_strict="silent"))
            for value, unit in zip(text, (ra, dec), strict=True)
        ]
        assert_at(read_catalogue(Table(columns, names=("RA", "DEC"))))

    def test_declared_degrees_of_right_ascension(self):
        unit = u.Unit("dms", parse_strict="silent")
        assert_at(read_catalogue(Table({"RA": Column(["10:30:00"], unit=unit), "DEC": [DEC]})), ra=10.5)

    @pytest.mark.parametrize(
        ("unit", "given", "value", "expected"),
        [
            ("deg", "hour", 10.5, 157.5),
            ("hourangle", "deg", 10.5, 10.5),
            ("deg", "hms", "10:30:00", 157.5),
            ("hms", "dms", "10:30:00", 10.5),
            ("Jy", "hourangle", 10.5, 157.5),
            ("deg", "hms", 103000.0, 157.5),
            ("deg", "hms", 312.5, 0.8020833333333),
        ],
    )
    def test_the_users_unit_outweighs_the_columns(self, unit, given, value, expected):
        column = Column([value], unit=u.Unit(unit, parse_strict="silent"))
        assert_at(read_catalogue(Table({"RA": column, "DEC": Column([DEC], unit="deg")}), ra_unit=given), ra=expected)

    def test_hours_and_degrees_in_one_column(self):
        with pytest.raises(CatalogueError, match="'RA' is ambiguous: some strings are in hours, others in degrees"):
            read_catalogue(Table({"RA": ["10h50m07.2s", "162d31m48s"], "DEC": [DEC, DEC]}))

    def test_a_declination_in_hours(self):
        with pytest.raises(CatalogueError, match="declination 'DEC' is in hours"):
            read_catalogue(Table({"RA": [RA], "DEC": ["10h50m07.2s"]}))

    def test_the_sign_of_minus_zero(self):
        catalogue = read_catalogue(Table({"RA": ["00 00 00.1"] * 2, "DEC": ["-00 30 00", "\N{MINUS SIGN}00 30 00"]}))
        np.testing.assert_allclose(catalogue.dec, -0.5, atol=1e-12)

    def test_degrees_in_disguise_are_refused(self):
        with pytest.raises(CatalogueError, match="'RA' is ambiguous: sexagesimal strings with values above 24"):
            read_catalogue(Table({"RA": ["162:31:48"], "DEC": ["+30:40:37.2"]}))
        with pytest.raises(CatalogueError, match="'RA' is ambiguous: sexagesimal strings in a column with unit 'deg'"):
            read_catalogue(Table({"RA": Column(["10:50:07.2"], unit="deg"), "DEC": ["+30:40:37.2"]}))
        assert_at(read_catalogue(Table({"RA": ["162:31:48"], "DEC": ["+30:40:37.2"]}), ra_unit="deg"))

    @pytest.mark.parametrize("bad", ["", "--", "10 61 00", "10 00 61", "10.5", "unknown", "10 50"])
    def test_a_bad_row_is_flagged(self, bad):
        catalogue = read_catalogue(Table({"RA": [bad, "10 50 07.2"], "DEC": ["+30 40 37.2"] * 2}))
        assert catalogue.valid.tolist() == [False, True]
        assert_at(catalogue, row=1)

    def test_sixty_seconds_come_from_rounding(self):
        assert_at(read_catalogue(Table({"RA": ["10 49 60.00"], "DEC": ["+30 40 37.2"]})), ra=162.5)

    def test_strings_without_any_position(self):
        with pytest.raises(CatalogueError, match="'RA' holds no positions, for example 'NGC 315'"):
            read_catalogue(Table({"RA": ["", "NGC 315"], "DEC": [1.0, 2.0]}))

    @given(
        st.lists(
            st.tuples(st.integers(0, 23), st.integers(0, 59), st.floats(0, 59.999), st.booleans(), st.integers(0, 89)),
            min_size=1,
            max_size=8,
        ),
        st.sampled_from([": ", " ", ":"]),
    )
    def test_agrees_with_astropy(self, rows, mark):
        ra = [mark.join((f"{hour:02d}", f"{minute:02d}", f"{second:08.5f}")) for hour, minute, second, _, _ in rows]
        dec = [
            ("-" if south else "+") + mark.join((f"{degree:02d}", f"{minute:02d}", f"{second:08.5f}"))
            for _, minute, second, south, degree in rows
        ]
        catalogue = read_catalogue(Table({"RA": ra, "DEC": dec}))
        np.testing.assert_allclose(catalogue.ra, Angle(ra, unit="hourangle").deg, rtol=0, atol=1e-10)
        np.testing.assert_allclose(catalogue.dec, Angle(dec, unit="deg").deg, rtol=0, atol=1e-10)

    def test_the_columns_of_a_printed_cds_table(self):
        table = Table({"RAh": [10, 0], "RAm": [50, 0], "RAs": [7.2, 0.1], "DE-": ["+", "-"]})
        table.add_columns([[30, 0], [40, 30], [37.2, 0.0]], names=["DEd", "DEm", "DEs"])
        catalogue = read_catalogue(table)
        assert_at(catalogue)
        np.testing.assert_allclose(catalogue.dec[1], -0.5)
        assert catalogue.ra_name == "RAh RAm RAs"


class TestWithoutSeparators:
    """HHMMSS.s: numbers that are no degrees, of which some look as if they were."""

    RA = (110649.20, 155700.24, 312.5)
    DEC = (295352.8, 413112.0, 42.3)
    EXPECTED = ((166.705, 239.251, 0.8020833333333), (29.898, 41.52, 0.01175))

    def test_numbers(self):
        catalogue = read_catalogue(Table({"RA": self.RA, "DEC": self.DEC}))
        np.testing.assert_allclose((catalogue.ra, catalogue.dec), self.EXPECTED, atol=1e-9)

    @pytest.mark.parametrize("rows", [slice(None), slice(2, 3)])
    @pytest.mark.parametrize("delimiter", [",", "\t", " "])
    def test_text_keeps_its_zeros(self, rows, delimiter, tmp_path):
        lines = ["A,110649.20,+295352.8", "B,155700.24,+413112.0", "C,000312.5,+000042.3"][rows]
        text = "\n".join(["name,ra,dec", *lines]) + "\n"
        (tmp_path / "t.txt").write_text(text.replace(",", delimiter))
        catalogue = read_catalogue(tmp_path / "t.txt")
        np.testing.assert_allclose((catalogue.ra, catalogue.dec), np.array(self.EXPECTED)[:, rows], atol=1e-9)

    def test_south_of_the_equator(self):
        catalogue = read_catalogue(Table({"RA": ["000312.5", "103000"], "DEC": ["-000042.3", "-203000"]}))
        np.testing.assert_allclose(catalogue.dec, [-0.01175, -20.5], atol=1e-9)

    def test_a_bad_row_is_flagged(self):
        table = Table({"RA": [110649.2, 155700.24, 106099.0], "DEC": [295352.8, 413112.0, 413112.0]})
        assert read_catalogue(table).valid.tolist() == [True, True, False]

    @pytest.mark.parametrize(
        ("ra", "dec"),
        [
            ([110649.2], [29.5]),  # degrees, or 29.5 arcsec
            ([312.5], [413112.0]),
            ([10.5, 20.25, 400.0], [1.0, 2.0, 3.0]),  # a bad row, or all without separators
        ],
    )
    def test_two_ways_to_read_are_an_error(self, ra, dec):
        with pytest.raises(CatalogueError, match=r"is ambiguous: .*digits without separators"):
            read_catalogue(Table({"RA": ra, "DEC": dec}))

    def test_declinations_that_can_only_be_degrees(self):
        assert_at(read_catalogue(Table({"RA": [105007.2, 110000.0], "DEC": [DEC, 75.5]})))

    def test_declared_degrees_are_degrees(self):
        catalogue = read_catalogue(Table({"RA": Column([312.5, 110649.2], unit="deg"), "DEC": [42.3, 1.0]}))
        assert catalogue.valid.tolist() == [True, False]
        assert_at(catalogue, ra=312.5, dec=42.3)

    def test_identifiers_with_zeros_stay_numbers(self, tmp_path):
        (tmp_path / "t.csv").write_text("id,ra,dec\n000123,162.5,30.0\n000124,163.5,31.0\n")
        assert read_catalogue(tmp_path / "t.csv").table["id"].dtype.kind == "i"


class TestBadRows:
    def test_nan_infinity_and_out_of_range(self):
        ra = [RA, np.nan, np.inf, 361.0, -181.0, 10.0, 10.0, 10.0, -np.inf]
        dec = [DEC, 1.0, 1.0, 1.0, 1.0, 91.0, np.nan, -np.inf, 1.0]
        catalogue = read_catalogue(Table({"RA": ra, "DEC": dec, "id": np.arange(9)}))
        assert catalogue.valid.tolist() == [True] + [False] * 8
        assert np.isnan(catalogue.ra[1:]).all()
        assert np.isnan(catalogue.dec[1:]).all()
        np.testing.assert_array_equal(catalogue.table["RA"], ra)
        assert len(catalogue) == len(catalogue.table) == 9

    def test_a_mask_hides_the_number_below_it(self):
        table = Table({"RA": MaskedColumn([RA, 20.0], mask=[False, True], unit="deg"), "DEC": [DEC, 1.0]})
        catalogue = read_catalogue(table)
        assert catalogue.valid.tolist() == [True, False]
        assert catalogue.table["RA"].mask.tolist() == [False, True]

    def test_masked_strings_and_objects(self):
        text = MaskedColumn(["10 50 07.2", "11 00 00"], mask=[False, True])
        objects = Column(np.array(["10 50 07.2", None], dtype=object))
        for column in (text, objects):
            assert read_catalogue(Table({"RA": column, "DEC": [DEC, 1.0]})).valid.tolist() == [True, False]

    def test_a_masked_quantity(self):
        from astropy.utils.masked import Masked

        table = QTable({"RA": Masked([RA, 20.0], mask=[False, True]) * u.deg, "DEC": [DEC, 1.0] * u.deg})
        assert read_catalogue(table).valid.tolist() == [True, False]

    def test_every_row_bad(self):
        catalogue = read_catalogue(Table({"RA": [np.nan] * 3, "DEC": [1.0] * 3}))
        assert not catalogue.valid.any()
        assert len(catalogue) == 3

    def test_negative_right_ascension_is_wrapped(self):
        catalogue = read_catalogue(Table({"RAdeg": [-10.0, 360.0], "DEdeg": [0.0, 0.0]}))
        np.testing.assert_allclose(catalogue.ra, [350.0, 0.0])

    def test_hours_beyond_24_are_flagged(self):
        assert read_catalogue(Table({"RA": [1.0, 25.0], "DEC": [0.0, 0.0]}), ra_unit="hour").valid.tolist() == [
            True,
            False,
        ]

    def test_numbers_of_every_type(self):
        for dtype in ("f4", ">f4", ">f8", "i2", ">i4", "u8"):
            catalogue = read_catalogue(Table({"RA": np.array([162, 30], dtype), "DEC": np.array([30, 0], dtype)}))
            assert catalogue.ra.dtype == np.float64
            assert catalogue.ra.tolist() == [162.0, 30.0]

    def test_more_than_a_value_a_row_is_refused(self):
        with pytest.raises(CatalogueError, match="'RA' has 2 dimensions"):
            read_catalogue(Table({"RA": np.ones((3, 2)), "DEC": np.ones(3)}))

    @pytest.mark.parametrize("values", [np.array([True]), np.array([1j])])
    def test_types_that_are_no_angles(self, values):
        with pytest.raises(CatalogueError, match=r"'RA' holds (bool|complex128)"):
            read_catalogue(Table({"RA": values, "DEC": [1.0]}))
