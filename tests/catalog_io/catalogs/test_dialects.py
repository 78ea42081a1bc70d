"""Dialects of source finders and surveys: recognised by content, read as they are, with the traps of each."""

import importlib
import sys
import warnings
from typing import ClassVar

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.wcs import WCS

from radio_ag.catalog_io import astropy_formats as formats
from radio_ag.catalog_io.catalogs import read_catalogue, registry
from radio_ag.catalog_io.catalogs.dialect import group_by
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.errors import CatalogueError, RadioAGWarning

FINDER_FILES = {
    **{f"pybdsf.srl.{end}": ("pybdsf", "srl", ("Source_id",)) for end in ("fits", "csv", "txt")},
    **{f"pybdsf.gaul.{end}": ("pybdsf", "gaul", ("Gaus_id",)) for end in ("fits", "csv", "txt")},
    **{f"aegean_comp.{end}": ("aegean", "comp", ("uuid",)) for end in ("fits", "csv", "tab", "vot")},
    **{f"aegean_isle.{end}": ("aegean", "isle", ("uuid",)) for end in ("fits", "csv", "tab", "vot")},
    "aegean.db": ("aegean", "comp", ("uuid",)),
    "selavy_components.xml": ("selavy", "components", ()),
    "selavy_islands.txt": ("selavy", "islands", ("island_id",)),
    "vizier_first14.xml": ("first", "vizier", ("FIRST",)),
}


@pytest.fixture
def finder_files(data_dir):
    return data_dir / "catalogues"


@pytest.mark.parametrize("name", FINDER_FILES)
def test_files_are_recognised_by_content(finder_files, name):
    catalogue = read_catalogue(finder_files / name)
    assert (catalogue.dialect, catalogue.kind, catalogue.join_keys) == FINDER_FILES[name]
    assert catalogue.valid.all()


@pytest.mark.parametrize("name", FINDER_FILES)
def test_the_dialect_can_be_named(finder_files, name):
    dialect = FINDER_FILES[name][0]
    assert read_catalogue(finder_files / name, dialect=dialect).dialect == dialect
    other = "nvss" if dialect != "nvss" else "pybdsf"
    with pytest.raises(CatalogueError, match=f"not of the dialect '{other}', whose tables are: "):
        read_catalogue(finder_files / name, dialect=other)


def test_a_plain_table_has_none():
    catalogue = read_catalogue(Table({"RA": [162.5], "DEC": [30.5]}))
    assert (catalogue.dialect, catalogue.flux, catalogue.group, catalogue.good) == (None, None, None, None)


def test_an_unknown_dialect():
    with pytest.raises(CatalogueError, match="dialect='topcat' is unknown; there are pybdsf, aegean, selavy"):
        read_catalogue(Table({"RA": [162.5], "DEC": [30.5]}), dialect="topcat")


def test_every_dialect_is_there():
    assert list(registry.dialects())[:13] == [
        *(
            "pybdsf",
            "aegean",
            "selavy",
            "photutils",
            "sofia",
            "radio-ag",
            "first",
            "nvss",
            "lotss",
            "vlass",
            "racs",
            "rgz",
            "fricat",
        )
    ]


class TestPyBDSF:
    @pytest.mark.parametrize("end", ["csv", "txt"])
    @pytest.mark.parametrize("list_", ["srl", "gaul"])
    def test_text_gets_the_units_of_fits(self, finder_files, end, list_):
        truth = Table.read(finder_files / f"pybdsf.{list_}.fits")
        text = read_catalogue(finder_files / f"pybdsf.{list_}.{end}").table
        assert text.colnames == truth.colnames
        assert {name: text[name].unit for name in text.colnames} == {name: truth[name].unit for name in truth.colnames}
        for name in ("RA", "DEC", "Total_flux", "Maj", "Isl_id"):
            np.testing.assert_allclose(text[name], truth[name], rtol=0, atol=1e-12)

    def test_fluxes_and_islands(self, finder_files):
        catalogue = read_catalogue(finder_files / "pybdsf.srl.fits")
        np.testing.assert_array_equal(catalogue.flux, catalogue.table["Total_flux"])
        # The simulated image has six islands; one is a triple that PyBDSF gives as three sources.
        assert np.bincount(catalogue.group).tolist() == [1, 3, 1, 1, 1, 1]
        assert catalogue.good.all()

    def test_islands_without_gaussians_are_not_good(self, finder_files):
        table = Table.read(finder_files / "pybdsf.srl.fits")
        table["Source_id"][2], table["RA"][2] = -1, np.nan
        catalogue = read_catalogue(table)
        assert np.flatnonzero(~catalogue.good).tolist() == [2]
        assert np.flatnonzero(~catalogue.valid).tolist() == [2]

    def test_optional_columns_change_nothing(self, finder_files):
        table = Table.read(finder_files / "pybdsf.srl.fits")
        table.add_column(np.zeros(len(table)), name="Spec_Indx", index=2)
        assert read_catalogue(table).kind == "srl"

    def test_a_run_that_found_nothing(self, tmp_path):
        """The two forms of an empty catalogue, as PyBDSF 1.14.1 writes them with force_output."""
        fits.BinTableHDU.from_columns([fits.Column("Blank", "E", array=np.empty(0))]).writeto(tmp_path / "blank.fits")
        text = "# Source list for noise.fits\n# Generated by PyBDSF version 1.14.1\n# Equinox : 2000.0 \n\n"
        (tmp_path / "blank.csv").write_text(text)
        for name in ("blank.fits", "blank.csv"):
            catalogue = read_catalogue(tmp_path / name)
            assert len(catalogue) == len(catalogue.table) == 0


class TestAegean:
    def test_the_database_holds_what_the_text_does(self, finder_files):
        database = read_catalogue(finder_files / "aegean.db").table
        text = read_catalogue(finder_files / "aegean_comp.csv").table
        assert database.colnames == text.colnames
        for name in text.colnames:
            if text[name].dtype.kind in "fi":
                np.testing.assert_allclose(database[name], text[name], rtol=1e-15)
            else:
                assert database[name].tolist() == text[name].tolist()

    @pytest.mark.parametrize("name", ["aegean_comp.fits", "aegean_comp.vot", "aegean_comp.csv", "aegean.db"])
    def test_units_that_no_format_has(self, finder_files, name):
        catalogue = read_catalogue(finder_files / name)
        units = {name: catalogue.table[name].unit for name in ("ra", "int_flux", "peak_flux", "a", "psf_a")}
        assert units == {"ra": u.deg, "int_flux": u.Jy, "peak_flux": u.Jy / u.beam, "a": u.arcsec, "psf_a": u.arcsec}
        assert np.bincount(catalogue.group).tolist() == [1, 1, 3, 1, 1, 1]

    def test_degrees_are_known_where_plain_numbers_would_be_asked_about(self, finder_files):
        table = Table.read(finder_files / "aegean_comp.fits")
        table["ra"] = np.linspace(10, 11, len(table))
        np.testing.assert_allclose(read_catalogue(table).ra, table["ra"])
        with pytest.raises(CatalogueError, match="ambiguous"):
            read_catalogue(table, dialect="none")

    def test_the_users_table_is_not_changed(self, finder_files):
        table = Table.read(finder_files / "aegean_comp.fits")
        read_catalogue(table)
        assert table["ra"].unit is None

    def test_single_precision_is_good_to_a_tenth_of_an_arcsecond(self, finder_files):
        single = read_catalogue(finder_files / "aegean_comp.fits")
        double = read_catalogue(finder_files / "aegean_comp.csv")
        separation = np.hypot((single.ra - double.ra) * np.cos(np.radians(double.dec)), single.dec - double.dec)
        assert 0 < separation.max() * 3600 < 0.11

    def test_flags_of_failed_fits(self, finder_files):
        table = Table.read(finder_files / "aegean_comp.fits")
        table["flags"] = [0, 1, 2, 4, 8, 16, 32, 64]
        assert read_catalogue(table).good.tolist() == [True, True, False, True, True, False, False, True]

    def test_simple_sources(self):
        names = ["background", "local_rms", "ra", "dec", "peak_flux", "err_peak_flux", "flags", "peak_pixel", "a", "b"]
        table = Table({name: [1.0] for name in names} | {"pa": [0.0], "uuid": ["x"]})
        catalogue = read_catalogue(table)
        assert (catalogue.dialect, catalogue.kind, catalogue.flux, catalogue.group) == ("aegean", "simp", None, None)

    def test_galactic_mode_is_explained(self, finder_files):
        table = Table.read(finder_files / "aegean_comp.fits")
        table.rename_columns(["ra", "dec"], ["lon", "lat"])
        with pytest.raises(CatalogueError, match="It has Galactic coordinates"):
            read_catalogue(table)

    def test_a_database_of_something_else(self, tmp_path):
        import sqlite3

        with sqlite3.connect(tmp_path / "other.db") as database:
            database.execute("CREATE TABLE things (ra FLOAT)")
        database.close()
        with pytest.raises(CatalogueError, match=r"other\.db is a database, but not one that Aegean wrote"):
            read_catalogue(tmp_path / "other.db")

    def test_a_product_of_ours_is_a_plain_table(self, finder_files):
        table = Table.read(finder_files / "aegean_comp.fits")
        table["ra"].unit = "deg"
        table["flags"] = 16  # ours, in the place of Aegean's
        table["probability"] = table["p_std"] = 0.5
        catalogue = read_catalogue(table)
        assert (catalogue.dialect, catalogue.good) == (None, None)
        assert catalogue.valid.all()


class TestSelavy:
    def test_fixed_width_text_with_an_empty_comment(self, finder_files):
        table = read_catalogue(finder_files / "selavy_islands.txt").table
        assert table["island_name"].tolist() == ["J222645-623530", "J231717-613700"]
        np.testing.assert_allclose(table["ra_deg_cont"], [336.689117, 349.323782])
        assert table["flux_int"].unit == u.mJy
        assert table["flag_i4"].tolist() == [0, 0]

    def test_fluxes_are_in_millijansky(self, finder_files):
        catalogue = read_catalogue(finder_files / "selavy_islands.txt")
        np.testing.assert_allclose(catalogue.flux, [1.43677e-3, 1.25480e-3])

    def test_a_comment_with_blanks(self, finder_files, tmp_path):
        lines = (finder_files / "selavy_islands.txt").read_text().splitlines()
        (tmp_path / "islands.txt").write_text("\n".join([*lines[:3], lines[3].rstrip() + "  seen by eye"]) + "\n")
        table = read_catalogue(tmp_path / "islands.txt").table
        assert table["comment"].tolist()[1] == "seen by eye"

    @pytest.mark.parametrize("prefix", ["", "col_"])
    def test_field_ids_for_names(self, prefix):
        names = ["island_id", "component_id", "ra_deg_cont", "dec_deg_cont", "flux_peak", "flux_int", "spectral_index"]
        values = [
            ["i1", "i1", "i2"],
            ["1a", "1b", "2a"],
            [10.0, 10.1, 10.2],
            [1.0] * 3,
            [1.0] * 3,
            [2.0] * 3,
            [-99.0] * 3,
        ]
        catalogue = read_catalogue(Table(values, names=[prefix + name for name in names]))
        assert (catalogue.dialect, catalogue.kind) == ("selavy", "components")
        assert catalogue.join_keys == (prefix + "component_id",)
        np.testing.assert_allclose(catalogue.flux, 2e-3)
        assert catalogue.group.tolist() == [0, 0, 1]
        np.testing.assert_allclose(catalogue.ra, [10.0, 10.1, 10.2])

    def test_minus_99_is_no_spectral_index(self, finder_files):
        path = finder_files / "selavy_components.xml"
        assert read_catalogue(path).table["spectral_index"][0] == -99  # as it came
        formats.register()
        assert Table.read(path, format="radio_ag.selavy")["spectral_index"].mask.tolist() == [True]


@pytest.fixture(scope="module")
def photutils_table():
    from photutils.segmentation import SourceCatalog, detect_sources

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [162.53, 30.677], [32, 32], [-5e-4, 5e-4]
    y, x = np.mgrid[:64, :64]
    image = np.exp(-((x - 31) ** 2 + (y - 31) ** 2) / 18) + np.exp(-((x - 50) ** 2 + (y - 12) ** 2) / 18)
    return SourceCatalog(image, detect_sources(image, 0.2, 5), wcs=wcs).to_table()


class TestPhotutils:
    @pytest.mark.parametrize("format", [None, "fits", "ascii.ecsv", "ascii.csv"])
    def test_a_source_catalogue(self, photutils_table, format, tmp_path):
        table = photutils_table
        source = table
        if format is not None:
            source = tmp_path / "catalogue"
            plain = Table(table)
            plain.meta = {}  # photutils' versions, which no FITS header can hold
            plain.write(source, format=format)
        catalogue = read_catalogue(source)
        assert (catalogue.dialect, catalogue.source_id_name) == ("photutils", "label")
        truth = SkyCoord(table["sky_centroid"])
        found = SkyCoord(catalogue.ra, catalogue.dec, unit="deg")
        assert found.separation(truth).max() < 1e-3 * u.arcsec
        assert found.separation(SkyCoord(162.53, 30.677, unit="deg")).min() < 1e-3 * u.arcsec

    def test_the_names_of_version_2(self):
        coordinates = SkyCoord([162.53], [30.677], unit="deg")
        table = QTable({"label": [1], "xcentroid": [1.0], "ycentroid": [1.0], "segment_flux": [1.0]})
        table["sky_centroid"] = coordinates
        assert read_catalogue(table).dialect == "photutils"

    def test_peaks(self):
        table = QTable({"id": [1], "x_peak": [3], "y_peak": [3], "peak_value": [1.0]})
        table["skycoord_peak"] = SkyCoord([162.53], [30.677], unit="deg")
        catalogue = read_catalogue(table)
        assert (catalogue.dialect, catalogue.kind) == ("photutils", "peaks")

    def test_pixels_alone_are_no_positions(self):
        with pytest.raises(CatalogueError, match=r"no position columns.*pixels only.*wcs="):
            read_catalogue(Table({"label": [1], "x_centroid": [1.0], "y_centroid": [1.0], "segment_flux": [1.0]}))


def table_of(**columns):
    return Table({name.replace("__", "."): values for name, values in columns.items()})


def test_sofia_text_with_numbers_and_units_among_the_header_lines(tmp_path):
    names = "name id x y z ra dec freq f_sum w20 w50 ell_maj ell_min ell_pa rms flag"
    units = "- - pix pix pix deg deg Hz Jy chan chan pix pix deg Jy -"
    values = '"SoFiA J105007.20+304037.2" 1 3 4 5 162.53 30.677 1.4e9 0.1 3 2 5 4 30 1e-3 0'
    lines = ["# SoFiA 2 source catalogue", "#", "# " + " ".join(map(str, range(1, 17)))]
    lines += [f"# {names}", f"# {units}", values]
    (tmp_path / "cube_cat.txt").write_text("\n".join(lines) + "\n")
    catalogue = read_catalogue(tmp_path / "cube_cat.txt")
    assert catalogue.dialect == "sofia"
    assert catalogue.table["name"][0] == "SoFiA J105007.20+304037.2"
    np.testing.assert_allclose((catalogue.ra[0], catalogue.dec[0]), (162.53, 30.677))


class TestSurveys:
    def test_first_and_its_sidelobes(self):
        table = table_of(RA=[10.0, 11.0], DEC=[0.0, 0.0], SIDEPROB=[0.014, 0.3], FPEAK=[1.0, 2.0], FINT=[1.5, 2.5])
        catalogue = read_catalogue(table)
        assert (catalogue.dialect, catalogue.kind) == ("first", "release")
        assert catalogue.good.tolist() == [True, False]
        np.testing.assert_allclose(catalogue.flux, [1.5e-3, 2.5e-3])

    def test_what_finders_measured_in_one_unit(self):
        """The columns that association needs: Jy/beam, arcsec and degrees, whatever the table is in."""
        table = Table({"RA": [10.0], "DEC": [0.0], "SIDEPROB": [0.01], "FPEAK": [1.5], "FINT": [3.0], "RMS": [0.15]})
        table["FITTED_MAJOR"], table["FITTED_MINOR"], table["FITTED_POSANG"] = [9.0], [6.0], [30.0]
        first = read_catalogue(table)
        pybdsf = Table({"Source_id": [0], "Isl_id": [0], "RA": [10.0], "DEC": [0.0], "Total_flux": [3e-3]})
        pybdsf["Peak_flux"], pybdsf["Isl_rms"], pybdsf["Resid_Isl_rms"], pybdsf["S_Code"] = (
            [1.5e-3],
            [1.5e-4],
            1e-4,
            ["S"],
        )
        pybdsf["Maj"], pybdsf["Min"], pybdsf["PA"] = [9.0 / 3600], [6.0 / 3600], [30.0]
        for catalogue in (first, read_catalogue(pybdsf)):
            names = "peak", "rms", "major", "minor", "position_angle"
            measured = [catalogue.flux[0], *(catalogue.measure(name, [0])[0] for name in names)]
            np.testing.assert_allclose(measured, [3e-3, 1.5e-3, 1.5e-4, 9, 6, 30])

    def test_first_from_vizier(self, finder_files):
        catalogue = read_catalogue(finder_files / "vizier_first14.xml")
        assert catalogue.good.tolist() == [True]
        assert catalogue.flux is None  # the file has no Fint
        np.testing.assert_allclose(catalogue.measure("peak", [0]), catalogue.table["Fpeak"] / 1000)  # mJy
        np.testing.assert_allclose(catalogue.ra, 162.53)
        table = catalogue.table
        table.rename_column("p(S)", "p_S_")
        assert read_catalogue(table).good.tolist() == [True]

    def test_nvss(self):
        table = table_of(
            NVSS=["105007+304037"], RAJ2000=["10 50 07.20"], DEJ2000=["+30 40 37.2"], S1__4=[25.0], MajAxis=[20.0]
        )
        table["MinAxis"], table["l_MajAxis"] = [18.0], ["<"]
        catalogue = read_catalogue(table)
        assert (catalogue.dialect, catalogue.join_keys) == ("nvss", ("NVSS",))
        np.testing.assert_allclose((catalogue.ra[0], catalogue.dec[0], catalogue.flux[0]), (162.53, 30.677, 0.025))

    def lotss(self, **more):
        columns = {"Source_Name": ["ILTJ1"], "RA": [10.0], "DEC": [30.0], "Total_flux": [5.0], "Peak_flux": [4.0]}
        return Table(columns | {"S_Code": ["Z"], "Mosaic_ID": ["P1"], "Maj": [6.0], "Isl_rms": [0.1]} | more)

    def test_lotss_is_not_taken_for_pybdsf(self):
        catalogue = read_catalogue(self.lotss())
        assert catalogue.dialect == "lotss"
        np.testing.assert_allclose(catalogue.flux, 5e-3)
        assert catalogue.table["Maj"].unit == u.arcsec
        assert catalogue.table["RA"].unit == u.deg

    def test_a_unit_in_the_file_wins(self):
        catalogue = read_catalogue(self.lotss(Total_flux=Column([5.0], unit="Jy")))
        np.testing.assert_allclose(catalogue.flux, 5.0)

    def test_vlass_duplicates_and_quality(self):
        n = 5
        table = table_of(
            Component_name=[f"VLASS1QLCIR J{i}" for i in range(n)],
            Isl_id=[0] * n,
            RA=np.linspace(1, 5, n),
            DEC=[0.0] * n,
            Total_flux=[1.0] * n,
            Duplicate_flag=[0, 1, 2, 0, 0],
            Quality_flag=[0, 4, 0, 1, 7],
            Tile=["T01t01"] * n,
            Source_name=["A", "A", "B", "C", "C"],
        )
        catalogue = read_catalogue(table)
        assert catalogue.dialect == "vlass"
        assert catalogue.good.tolist() == [True, True, False, False, False]
        assert catalogue.group.tolist() == [0, 0, 1, 2, 2]
        np.testing.assert_allclose(catalogue.flux, 1e-3)

    def test_vlass_from_vizier(self):
        table = table_of(RAJ2000=[10.0, 11.0], DEJ2000=[0.0, 0.0], DupFlag=[0, 2], QualFlag=[0, 0])
        assert read_catalogue(table).good.tolist() == [True, False]

    def test_two_spellings_of_racs(self):
        paper = table_of(Gaussian_ID=["a", "b"], Source_ID=["s", "s"], Tile_ID=["t"] * 2, RA=[1.0, 2.0], Dec=[0.0, 0.0])
        paper["Total_flux_Gaussian"] = [3.0, 4.0]
        catalogue = read_catalogue(paper)
        assert (catalogue.kind, catalogue.join_keys, catalogue.group.tolist()) == (
            "gaussians",
            ("Gaussian_ID",),
            [0, 0],
        )
        names = ["id", "ra", "dec", "peak_flux", "total_flux_source", "maj_axis", "noise", "field_id"]
        catalogue = read_catalogue(Table([[1.0]] * len(names), names=names))
        assert (catalogue.dialect, catalogue.kind) == ("racs", "tap")
        np.testing.assert_allclose(catalogue.flux, 1e-3)

    @pytest.mark.parametrize("name", ["RGZ J105007.2+304037", "RGZJ105007.2+304037", "J105007.2+304037"])
    def test_rgz_is_told_by_its_names(self, name):
        table = table_of(rgz_name=[name, name], ra=[1.0, 1.1], dec=[2.0, 2.0])
        catalogue = read_catalogue(table)
        assert (catalogue.dialect, catalogue.group.tolist()) == ("rgz", [0, 0])
        table["rgz_name"] = ["3C 31", "3C 31"]
        with pytest.raises(CatalogueError, match="ambiguous"):
            read_catalogue(table)

    def test_fricat_is_told_by_the_name_of_its_table(self):
        table = table_of(RAJ2000=["10 50 07.20"], DEJ2000=["+30 40 37.2"], z=[0.1])
        assert read_catalogue(table).dialect is None
        table.meta["name"] = "J/A+A/598/A49/tableb1"
        assert read_catalogue(table).dialect == "fricat"


def vlass_components(source_names):
    n = len(source_names)
    return table_of(
        Component_name=[f"VLASS1QLCIR J{i}" for i in range(n)],
        Isl_id=[0] * n,
        RA=np.linspace(1, 5, n),
        DEC=[0.0] * n,
        Total_flux=[1.0] * n,
        Duplicate_flag=[0] * n,
        Quality_flag=[0] * n,
        Tile=["T01t01"] * n,
        Source_name=source_names,
    )


class TestGroups:
    def test_a_missing_key_is_a_group_of_its_own(self, finder_files):
        table = Table.read(finder_files / "pybdsf.srl.fits")
        table["Isl_id"] = MaskedColumn([3, 3, 7, 7, 0, 0, 0, 0], mask=[0, 0, 0, 0, 0, 0, 1, 1])
        group = read_catalogue(table).group
        assert group.dtype == np.int64
        assert group.tolist() == [1, 1, 2, 2, 0, 0, 3, 4]

    @pytest.mark.parametrize(
        "none", ["N/A", "", "nan", "NULL", "--", "-99", " n/a ", "None", "-1", "unknown", "<NA>", "...", r"\N", "#N/A"]
    )
    @pytest.mark.parametrize("end", ["csv", "fits", "vot", "ecsv", None])
    def test_what_says_that_there_is_no_key(self, none, end, tmp_path):
        """In every dialect with a grouping column, and in every format."""
        table = vlass_components(["J1200+30", "J1200+30", none, none, "J1300+30"])
        if end is not None:
            table.write(tmp_path / f"t.{end}", **{"format": "votable"} if end == "vot" else {})
            table = tmp_path / f"t.{end}"
        catalogue = read_catalogue(table)
        assert len(set(catalogue.group.tolist())) == 4
        assert catalogue.group[0] == catalogue.group[1]
        assert catalogue.named.tolist() == [True, True, False, False, True]

    @pytest.mark.parametrize("end", ["fits", "vot", "ecsv", "csv"])
    def test_masked_keys_after_a_trip_through_a_file(self, end, tmp_path):
        names = MaskedColumn(["J1", "J1", "x", "x", "J2"], mask=[0, 0, 1, 1, 0])
        vlass_components(names).write(tmp_path / f"t.{end}", **{"format": "votable"} if end == "vot" else {})
        assert len(set(read_catalogue(tmp_path / f"t.{end}").group.tolist())) == 4

    @pytest.mark.parametrize(
        "keys",
        [
            np.array([7, 7, -99, -99, 3]),
            np.array([7, 7, np.nan, np.nan, 3]),
            np.array([7, 7, -1.0, np.inf, 3]),
            np.array(["7", "7", None, float("nan"), "3"], object),
            np.array([b"7", b"7", b"N/A", b"", b"3"]),
        ],
    )
    def test_keys_of_every_type(self, keys):
        assert len(set(group_by([Column(keys)]).group.tolist())) == 4

    def test_keys_are_text_without_the_blanks_around_it(self):
        assert group_by([Column(["a1", " a1", "a2"])]).group.tolist() == [0, 0, 1]

    def test_a_table_without_rows(self, finder_files):
        catalogue = read_catalogue(Table.read(finder_files / "pybdsf.srl.fits")[:0])
        assert len(catalogue) == len(catalogue.group) == len(catalogue.flux) == len(catalogue.good) == 0


class TestRecognition:
    """Recognition needs what is used, and a name makes it need even less."""

    TRIMMED: ClassVar = {"Source_id": [0, 1, 2], "Isl_id": [0, 0, 1], "RA": [180.0, 180.01, 180.5], "DEC": [30.0] * 3}

    def test_pybdsf_without_what_is_not_used(self, recwarn):
        catalogue = read_catalogue(table_of(**self.TRIMMED, Total_flux=[0.02, 0.018, 0.005]))
        assert (catalogue.dialect, catalogue.kind) == ("pybdsf", "srl")
        assert catalogue.group.tolist() == [0, 0, 1]
        np.testing.assert_allclose(catalogue.flux, [0.02, 0.018, 0.005])
        assert len(group_sources(read_catalogue(table_of(**self.TRIMMED)), "island")) == 2
        assert len(group_sources(read_catalogue(table_of(**self.TRIMMED)))) <= 3
        assert not recwarn

    def test_a_lookalike_is_said(self):
        sizes = dict.fromkeys(("Total_flux", "Peak_flux", "Maj", "Min", "PA"), [0.1] * 3)
        table = table_of(**{name: values for name, values in self.TRIMMED.items() if name != "Source_id"}, **sizes)
        with pytest.warns(
            RadioAGWarning, match="looks like pybdsf srl, but lacks Source_id, Isl_rms: .*--dialect pybdsf"
        ):
            assert read_catalogue(table).dialect is None
        catalogue = read_catalogue(table, dialect="pybdsf")
        assert catalogue.group.tolist() == [0, 0, 1]
        assert catalogue.flux.tolist() == [0.1] * 3

    def test_islands_alone_are_enough_for_a_named_dialect(self):
        table = table_of(RA=[180.0, 180.01], DEC=[0.0, 0.0], Isl_id=[3, 3])
        assert read_catalogue(table, dialect="pybdsf").group.tolist() == [0, 0]

    def test_a_plain_table_looks_like_none(self, recwarn):
        assert read_catalogue(table_of(ra=[180.0], dec=[0.0], name=["a"], Total_flux=[1.0], flags=[0])).dialect is None
        assert not recwarn

    @pytest.mark.parametrize("parent", ["Source_Name", "Parent_Source"])
    @pytest.mark.parametrize("extra", [{}, {"S_Code": ["S"] * 3, "Mosaic_ID": ["P1"] * 3, "Peak_flux": [1.0] * 3}])
    def test_components_of_lotss(self, parent, extra):
        names = ["ILTJ120000.00+300000.1", "ILTJ120002.88+300000.2", "ILTJ120200.00+300000.0"]
        table = table_of(
            Component_Name=names, RA=[180.0, 180.01, 180.5], DEC=[30.0] * 3, Total_flux=[20.0] * 3, **extra
        )
        table[parent] = ["ILTJ1200", "ILTJ1200", "ILTJ1202"]
        catalogue = read_catalogue(table)
        assert (catalogue.dialect, catalogue.kind, catalogue.source_id_name) == (
            "lotss",
            "components",
            "Component_Name",
        )
        assert catalogue.group.tolist() == [0, 0, 1]
        assert catalogue.flux.tolist() == [0.02] * 3
        assert group_sources(catalogue).group_id.tolist() == [0, 0, 1]

    def test_sources_of_lotss_are_no_components(self):
        table = table_of(Source_Name=["ILTJ1", "ILTJ2"], RA=[180.0, 181.0], DEC=[30.0] * 2, Total_flux=[20.0] * 2)
        assert read_catalogue(table).kind == "sources"


class TestUsersColumns:
    TABLE: ClassVar = {"ra": [180.0, 180.01, 190.0, 190.01], "dec": [0.0] * 4, "s_mJy": [1.0, 3.0, 5.0, np.nan]}

    def test_groups_fluxes_and_names(self):
        table = table_of(**self.TABLE, system=["a", "a", "N/A", "N/A"], label_=["w", "x", "y", "z"])
        catalogue = read_catalogue(table, group_col="system", flux_col="s_mJy", name_col="label_")
        assert catalogue.source_id_name == "label_"
        np.testing.assert_allclose(catalogue.flux, [1e-3, 3e-3, 5e-3, np.nan])
        groups = group_sources(catalogue)
        assert groups.group_id.tolist() == [0, 0, 1, 2]
        assert groups.ra[0] == pytest.approx(180.0075)

    def test_groups_of_a_table_of_components(self, finder_files):
        table = Table.read(finder_files / "pybdsf.srl.fits")
        table["mine"] = np.arange(len(table))
        groups = group_sources(read_catalogue(table, group_col="mine"))
        assert len(groups) == len(table)
        assert groups.how == "island"

    def test_a_flux_without_a_unit_is_said(self):
        with pytest.warns(RadioAGWarning, match="flux column 'flux' has no unit: it is taken as Jy"):
            assert read_catalogue(table_of(ra=[180.0], dec=[0.0], flux=[2.0]), flux_col="flux").flux.tolist() == [2.0]

    @pytest.mark.parametrize(("unit", "worth"), [("mJy", 1e-3), ("uJy", 1e-6), ("mJy/beam", 1e-3)])
    def test_the_unit_of_the_flux(self, unit, worth):
        table = table_of(ra=[180.0], dec=[0.0], flux=[2.0])
        table["flux"].unit = unit
        assert read_catalogue(table, flux_col="flux").flux == pytest.approx([2 * worth])

    def test_a_magnitude_is_no_flux(self):
        table = table_of(ra=[180.0], dec=[0.0], mag=[2.0])
        table["mag"].unit = "mag"
        with pytest.raises(CatalogueError, match="flux column 'mag' has unit 'mag'"):
            read_catalogue(table, flux_col="mag")

    @pytest.mark.parametrize("option", ["group_col", "flux_col", "name_col"])
    def test_a_column_that_is_not_there(self, option):
        with pytest.raises(CatalogueError, match=f"{option}='system' is not a column"):
            read_catalogue(table_of(**self.TABLE), **{option: "system"})


class TestFormats:
    @pytest.fixture(autouse=True)
    def registered(self):
        formats.register()

    @pytest.mark.parametrize("name", FINDER_FILES)
    def test_named_formats(self, finder_files, name):
        table = Table.read(finder_files / name, format=f"radio_ag.{FINDER_FILES[name][0]}")
        assert len(table) == len(read_catalogue(finder_files / name))
        assert QTable.read(finder_files / name, format=f"radio_ag.{FINDER_FILES[name][0]}").colnames == table.colnames

    def test_other_files_stay_unambiguous(self, finder_files):
        assert len(Table.read(finder_files / "pybdsf.srl.fits")) == 8

    def test_a_file_of_another_dialect(self, finder_files):
        with pytest.raises(CatalogueError, match="not of the dialect 'aegean'"):
            Table.read(finder_files / "pybdsf.srl.fits", format="radio_ag.aegean")


PLUGIN = """
from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

DIALECT = Dialect(
    name="lighthouse",
    title="An example",
    kinds=(Kind(name="lamps", columns=("lamp", "azimuth", "height"), position=("azimuth", "height")),),
)
NOTHING = 3
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package with entry points: one good, one that cannot be imported, one of another type."""
    (tmp_path / "lighthouse.py").write_text(PLUGIN)
    info = tmp_path / "lighthouse-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lighthouse\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[radio_ag.catalogues]\ngood = lighthouse:DIALECT\nbroken = lighthouse:MISSING\nodd = lighthouse:NOTHING\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    registry.dialects.cache_clear()
    yield
    registry.dialects.cache_clear()
    sys.modules.pop("lighthouse", None)


@pytest.mark.usefixtures("plugin")
def test_plugins_are_found_and_failures_are_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        catalogue = read_catalogue(Table({"lamp": [1], "azimuth": [162.5], "height": [30.5]}))
    assert catalogue.dialect == "lighthouse"
    assert catalogue.ra.tolist() == [162.5]
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, RadioAGWarning)]
    assert len(messages) == 2
    assert "'broken' cannot be loaded: AttributeError" in messages[0]
    assert "'odd' is 'int', not a Dialect" in messages[1]
