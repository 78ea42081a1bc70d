"""Text tables: delimiters, headers, units, and what is cut or damaged."""

import itertools
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io.ascii import InconsistentTableError
from astropy.table import Table

from radio_ag.catalog_io.catalogs import read_catalogue, text
from radio_ag.catalog_io.catalogs.text import read_text
from radio_ag.errors import CatalogueError, RadioAGWarning


def read_text_table(tmp_path, text) -> Table:
    (tmp_path / "text.csv").write_text(text)
    return read_catalogue(tmp_path / "text.csv", ra_unit="deg").table


class TestText:
    def read(self, tmp_path, text, encoding="utf-8"):
        path = tmp_path / "catalogue.txt"
        path.write_bytes(text.encode(encoding))
        return read_catalogue(path)

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", [",", ";", "\t", "|", "  "])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_delimiters_line_ends_and_byte_order_marks(self, tmp_path, end, mark, encoding):
        lines = [mark.join(line) for line in (("RA", "DEC", "name"), ("162.5", "30.5", "A"), ("0.5", "-1", "B"))]
        catalogue = self.read(tmp_path, end.join(lines) + end, encoding)
        assert catalogue.ra.tolist() == [162.5, 0.5]
        assert catalogue.table.colnames == ["RA", "DEC", "name"]

    def test_a_last_line_without_an_end(self, tmp_path):
        assert len(self.read(tmp_path, "RA,DEC\n162.5,30.5\n170,1")) == 2

    def test_a_line_of_names_and_no_more(self, tmp_path):
        assert len(self.read(tmp_path, "RA,DEC")) == 0

    def test_text_beyond_ascii(self, tmp_path):
        catalogue = self.read(tmp_path, "RA,DEC,note\n162.5,30.5,Große Quelle\n")
        assert catalogue.table["note"][0] == "Große Quelle"

    def test_comments_above_the_names(self, tmp_path):
        assert len(self.read(tmp_path, "# made by hand\n# RA in degrees\nRA,DEC\n162.5,30.5\n")) == 1

    def test_names_in_a_comment(self, tmp_path):
        text = "# a list of sources\n# name RA DEC\nA 10:50:07.2 +30:40:37.2\nB 10:50:07.2 +30:40:37.2\n"
        catalogue = self.read(tmp_path, text)
        np.testing.assert_allclose(catalogue.ra, 162.53)

    def test_missing_values(self, tmp_path):
        catalogue = self.read(tmp_path, "RA,DEC,name\n162.5,30.5,\n,3,A\n163,,B\n")
        assert catalogue.valid.tolist() == [True, False, False]

    @pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("comment", ["", "# made by hand\n"])
    def test_a_row_of_too_few_fields_loses_its_last_which_may_be_cut(self, tmp_path, mark, comment):
        lines = ("id,ra,dec,flux", "A,188.32,19.481,1.0", "B,164.479,8.6", "C,150,2,3")
        text = comment + "\n".join(lines).replace(",", mark) + "\n"
        with pytest.warns(RadioAGWarning, match=f"^line {3 + bool(comment)} of the catalogue has fewer fields"):
            catalogue = self.read(tmp_path, text)
        assert catalogue.valid.tolist() == [True, False, True]
        assert catalogue.table["id"].tolist() == ["A", "B", "C"]
        assert catalogue.table["ra"][1] == 164.479
        assert catalogue.table["dec"].mask.tolist() == [False, True, False]

    def test_a_file_cut_in_the_middle_of_a_number(self, tmp_path):
        """At each of its bytes: what is left has the true values or none, but for a last field that seems whole."""
        rows = [("A", "188.32000", "19.48100", "1.5"), ("B", "164.47900", "-8.63400", "2.5")]
        text = "\n".join(",".join(row) for row in [("id", "ra", "dec", "flux"), *rows])
        second = text.index("B,")
        for stop in range(second, len(text)):
            with warnings.catch_warnings(action="ignore", category=RadioAGWarning):
                catalogue = self.read(tmp_path, text[:stop])
            table = catalogue.table
            assert len(table) == 1 + (stop > second)
            for name, true in (("ra", 164.479), ("dec", -8.634)):
                value = table[name][-1]
                assert np.ma.is_masked(value) or value == (
                    true if stop > second else float(rows[0][1 + (name == "dec")])
                )

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", [",", ";", "\t"])
    def test_delimiters_in_quotation_marks_are_none(self, tmp_path, mark, end):
        """Also where they make up for what a row lacks."""
        lines = [("name", "ra", "dec"), (f'"a{mark} b"', "100", "2"), ('""', "3", "4")]
        catalogue = self.read(tmp_path, end.join(map(mark.join, lines)))
        assert catalogue.dec.tolist() == [2, 4]
        assert catalogue.table["name"][0] == f"a{mark} b"
        lines.append((f'"c{mark}"', "5"))
        with pytest.warns(RadioAGWarning, match="^line 4 of the catalogue has fewer fields"):
            assert self.read(tmp_path, end.join(map(mark.join, lines)) + end).valid.tolist() == [True, True, False]

    def test_a_quick_look_at_quotation_marks_changes_nothing(self, monkeypatch):
        """Texts of which one in some needs no look at each row give what a look at each row gives."""
        random = np.random.default_rng(3)
        rows = ["".join(random.choice(list('aaa,,,""\n'), size=random.integers(1, 14)).tolist()) for _ in range(400)]
        rows += ['"a,a",,a', '"",a,"a"', 'a"a,a,a', '"a""a",a,a', '"a"a,a,a', 'a,a,"a\na"', '"a,a",a']
        looked: list[bool] = []

        def outcome(row):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    table = read_text(f"a,b,c\nx,y,z\n{row}\n")
                except (CatalogueError, InconsistentTableError) as error:
                    return type(error)
            return table.as_array().tolist(), [str(warning.message) for warning in caught]

        quick = [outcome(row) for row in rows]
        is_even = text.is_even
        monkeypatch.setattr(text, "is_even", lambda *given: looked.append(is_even(*given)))
        assert [outcome(row) for row in rows] == quick
        assert {(even, '"' in row) for even, row in zip(looked, rows, strict=True)} == set(
            itertools.product([False, True], [False, True])
        )

    def test_rows_in_quotation_marks(self, tmp_path):
        text = 'ra,dec,note\n1,2,"a, ""b"""\n3,4,"two\nlines"\n5,"6"\n7,8,x\n'
        with pytest.warns(RadioAGWarning, match="^line 5 of the catalogue has fewer fields"):
            catalogue = read_text_table(tmp_path, text)
        assert catalogue["note"].tolist() == ['a, "b"', "two\nlines", None, "x"]
        assert catalogue["dec"].mask.tolist() == [False, False, True, False]

    @pytest.mark.parametrize("mark", [",", " ", "\t"])
    def test_a_quotation_mark_that_is_not_closed(self, tmp_path, mark):
        text = 'RA,DEC,name\n162.5,30.5,"A\n163,1,B\n'.replace(",", mark)
        with pytest.raises(CatalogueError, match=r"catalogue\.txt: a quotation mark in line 2 is not closed"):
            self.read(tmp_path, text)

    def test_a_row_behind_a_comment_sign_is_told(self, tmp_path):
        with pytest.warns(RadioAGWarning, match="^line 4 of the catalogue has the fields of a row behind '#'"):
            assert len(self.read(tmp_path, "# by hand\nRA,DEC\n162.5,30.5\n#163,1\n164,2\n")) == 2

    def test_bars_part_the_columns_wherever_they_stand(self, tmp_path):
        text = "| id | RA | DEC |\n| A | 162.50 | 30.5 |\n| B | 163.25 | -1.5 |\n| C | 164.5 | 2"
        with pytest.warns(RadioAGWarning, match="^line 4"):
            catalogue = self.read(tmp_path, text)
        assert catalogue.table["RA"].tolist() == [162.5, 163.25, 164.5]
        assert catalogue.valid.tolist() == [True, True, False]

    def test_values_below_the_bars_of_an_ipac_table(self, tmp_path):
        head = "|  id|    RA|   DEC|\n|char|double|double|\n"
        with pytest.raises(CatalogueError, match="line 4 does not keep to the columns"):
            self.read(tmp_path, head + "    A  162.5   30.5 \n    B 1163.25   1.5 \n".replace(" 1163", "21163"))
        with pytest.warns(RadioAGWarning, match="^line 4 of the catalogue has no end"):
            catalogue = self.read(tmp_path, head + "    A  162.5   30.5 \n    B  163.5    1")
        assert catalogue.valid.tolist() == [True, False]

    def test_a_cell_as_wide_as_the_file_takes_no_memory_for_each_row(self, tmp_path):
        text = "RA,DEC,name\n" + "162.5,30.5,A\n" * 40_000 + f"163,1,{'B' * 2_000_000}\n"
        with pytest.raises(CatalogueError, match="takes more than 256 MiB"):
            self.read(tmp_path, text)

    def test_vizier_tsv(self, tmp_path):
        text = (
            "#RESOURCE=yCat_8092\n#Column\tRAJ2000\t(A12)\n\nRAJ2000\tDEJ2000\tFpeak\n"
            '"h:m:s"\t"d:m:s"\tmJy\n------------\t------------\t--------\n'
            "10 50 07.200\t+30 40 37.20\t    6.81\n10 50 07.200\t-00 30 00.00\t\n"
        )
        catalogue = self.read(tmp_path, text)
        np.testing.assert_allclose(catalogue.ra, 162.53)
        np.testing.assert_allclose(catalogue.dec, [30.677, -0.5])
        assert catalogue.table["Fpeak"].unit == u.mJy

    def test_a_machine_readable_table(self, tmp_path):
        text = (
            "Title: Sources\nAuthors: Nobody\nTable: Positions\n" + "=" * 80 + "\n"
            "Byte-by-byte Description of file: table.txt\n" + "-" * 80 + "\n"
            "   Bytes Format Units   Label     Explanations\n" + "-" * 80 + "\n"
            "   1-  2 I2     h       RAh       Hour\n   4-  5 I2     min     RAm       Minute\n"
            "   7- 10 F4.1   s       RAs       Second\n      12 A1     ---     DE-       Sign\n"
            "  13- 14 I2     deg     DEd       Degree\n  16- 17 I2     arcmin  DEm       Arcminute\n"
            "  19- 22 F4.1   arcsec  DEs       Arcsecond\n" + "-" * 80 + "\n"
            "10 50 07.2 +30 40 37.2\n00 00 00.1 -00 30 00.0\n"
        )
        catalogue = self.read(tmp_path, text)
        np.testing.assert_allclose(catalogue.ra, [162.53, 0.1 / 240])
        np.testing.assert_allclose(catalogue.dec, [30.677, -0.5])

    @pytest.mark.parametrize("text", ["162.5 30.5\n163 31\n", "162.5,30.5,A\n", "# two of us\n162.5 30.5\n"])
    def test_columns_without_names(self, tmp_path, text):
        with pytest.raises(CatalogueError, match=r"no names: the first line is '162.5"):
            self.read(tmp_path, text)

    def test_prose(self, tmp_path):
        with pytest.raises(CatalogueError, match=r"catalogue\.txt cannot be read as a table|no position columns"):
            self.read(tmp_path, "Dear colleague,\nplease find attached the catalogue, as promised.\nYours\n")
