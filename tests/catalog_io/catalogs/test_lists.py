"""Lists of sources that are text, but no plain table, and texts in other encodings."""

import numpy as np
import pytest

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.catalogs.lists import MAX_REGIONS
from radio_ag.errors import CatalogueError, RadioAGWarning

RA, DEC = (166.705, 239.251), (29.898, 41.52)

LISTS = {
    "sextractor.cat": """\
#   1 NUMBER                 Running object number
#   2 FLUX_AUTO              Flux within a Kron-like elliptical aperture                [count]
#   3 ALPHA_J2000            Right ascension of barycenter (J2000)                      [deg]
#   4 DELTA_J2000            Declination of barycenter (J2000)                          [deg]
         1    12.5  166.7050000 +29.8980000
         2    22.5  239.2510000 +41.5200000
""",
    "vectors.cat": """\
# written by hand
# 1 MAG_APER  Magnitudes  [mag]
# 4 RA  Right ascension  [deg]
# 5 DEC  Declination  [deg]
1 2 3 166.705 29.898
4 5 6 239.251 41.52
""",
    "from0.cat": "# 0   NAME  id\n# 1   RA     deg\n# 2   DEC    deg\nA 166.705 29.898\nB 239.251 41.52\n",
    "wsclean.txt": """\
Format = Name, Type, Ra, Dec, I, SpectralIndex, LogarithmicSI, ReferenceFrequency='1.4e9', MajorAxis, Orientation
s0c0,POINT,11:06:49.200,29.53.52.800,0.0007,[-0.0069,-0.085],false,125584411.62,,
s0c1,GAUSSIAN,15:57:00.240,41.31.12.000,0.0007,[-0.0069,-0.085],false,,10,20
""",
    "bbs.skymodel": """\
# (Name, Type, Patch, Ra, Dec, I, Q, U, V, ReferenceFrequency='60e6', SpectralIndex='[]') = format

 , , P0, 00:00:00, +00.00.00
s0, POINT, P0, 11:06:49.200, 29.53.52.800, 1.2, , , , , [-0.7]
s1, POINT, P0, 15:57:00.240, 41.31.12.000, 1.2
""",
    "circles.crtf": """\
#CRTFv0 CASA Region Text Format version 0
circle[[166.705deg, 29.898deg], 5arcsec] coord=ICRS
ellipse[[239.251deg, 41.52deg], [5arcsec, 4arcsec], 30deg] coord=ICRS, label="B"
""",
    "ds9.reg": """\
# Region file format: DS9 version 4.1
global color=green
icrs
ellipse(166.705,29.898,5",4",30) # text={A}
point(15:57:00.24,+41:31:12.0)
""",
    "bare.reg": 'icrs\ncircle(166.705,29.898,5")\nbox(239.251,41.52,5",4",0)\n',
    "short.reg": 'icrs; circle(166.705,29.898,5")\nicrs; circle(239.251,41.52,5")\n',
    "kvis.ann": "COLOR GREEN\nCOORD W\nELLIPSE 166.705 29.898 0.01 0.01 0\nCROSS W 239.251 41.52 0.1 0.1\nTEXT 1 2 x\n",
    "heasarc.tdat": """\
<HEADER>
# TABLE: heasarc_x
table_name = heasarc_x
field[name] = char22  [meta.id;meta.main] (index)
field[lii] = float8_.4f_degree [pos.galactic.lon] (index) // Galactic
field[ra] = float8_.4f_degree [pos.eq.ra] (key) // Right Ascension
field[dec] = float8_.4f_degree [pos.eq.dec] (key) // Declination
line[1] = name lii ra dec
<DATA>
A|1.0|166.705|29.898|
B||239.251|41.52|
<END>
""",
    "profound.csv": """"","segID","RAcen","Deccen","RAmax"\n"1",1,166.705,29.898,1.0\n"2",2,239.251,41.52,1.0\n""",
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", LISTS)
def test_lists(name, line_end, tmp_path, recwarn):
    (tmp_path / name).write_bytes(LISTS[name].replace("\n", line_end).encode())
    catalogue = read_catalogue(tmp_path / name)
    np.testing.assert_allclose((catalogue.ra, catalogue.dec), (RA, DEC), atol=1e-9)
    assert not recwarn


@pytest.fixture
def written(tmp_path):
    def write(name, text=None):
        (tmp_path / name).write_text(LISTS[name] if text is None else text)
        return tmp_path / name

    return write


class TestDetails:
    def test_numbered_comments_above_a_table(self, written, recwarn):
        for names, row in (("ra,dec", "166.705,29.898"), ("ra dec", "166.705 29.898")):
            text = f"# 1 comment here\n# 2 another comment\n{names}\n{row}\n"
            assert read_catalogue(written("t.txt", text)).ra.tolist() == [RA[0]]

    def test_regions_of_several_frames(self, written):
        text = '# Region file format: DS9\ngalactic\ncircle(0,0,5")\nicrs\ncircle(10,20,5")\n'
        catalogue = read_catalogue(written("f.reg", text))
        np.testing.assert_allclose(catalogue.ra, [266.404988, 10.0], atol=1e-5)
        np.testing.assert_allclose(catalogue.dec, [-28.936178, 20.0], atol=1e-5)

    def test_arrays_of_sextractor(self, written):
        table = read_catalogue(written("vectors.cat")).table
        assert [np.ravel(row).tolist() for row in table["MAG_APER"]][:1] in ([[1, 2, 3]], [[1]])
        assert table.colnames[-2:] == ["RA", "DEC"]

    def test_values_that_a_row_leaves_out(self, written):
        table = read_catalogue(written("wsclean.txt")).table
        assert table["ReferenceFrequency"].tolist() == [125584411.62, 1.4e9]
        assert table["SpectralIndex"][0] == "[-0.0069,-0.085]"
        assert table["MajorAxis"].tolist() == [None, 10]
        assert str(table["I"].unit) == "Jy"

    def test_texts_of_regions_are_names(self, written):
        assert read_catalogue(written("ds9.reg")).table["name"].tolist() == ["A", "2"]

    def test_regions_without_a_centre_are_counted(self, written):
        text = LISTS["ds9.reg"] + "line(166,29,167,30)\nimage\ncircle(10,20,3)\n"
        with pytest.warns(RadioAGWarning, match="2 regions have no centre on the sky: left out"):
            assert len(read_catalogue(written("ds9.reg", text))) == 2

    def test_regions_in_pixels(self, written):
        with pytest.raises(CatalogueError, match="without a shape that has its centre on the sky"):
            read_catalogue(written("p.reg", "# Region file format: DS9\nimage\ncircle(10,20,3)\n"))
        with pytest.raises(CatalogueError, match="without a shape in world coordinates"):
            read_catalogue(written("p.ann", "COORD P\nCIRCLE 10 20 3\n"))

    def test_regions_are_bounded(self, written):
        text = "# Region file format: DS9\nicrs\n" + "circle(1,2,3)\n" * MAX_REGIONS
        with pytest.raises(CatalogueError, match=f"more than {MAX_REGIONS} lines"):
            read_catalogue(written("many.reg", text))

    def test_units_of_tdat(self, written):
        table = read_catalogue(written("heasarc.tdat")).table
        assert table["lii"].tolist() == [1.0, None]
        assert table["ra"].info.meta["ucd"] == "pos.eq.ra"

    def test_a_row_of_tdat_with_too_few_values(self, written):
        with pytest.raises(CatalogueError, match="row 2 of the TDAT file has 2 values for 4 fields"):
            read_catalogue(written("heasarc.tdat", LISTS["heasarc.tdat"].replace("B||239.251|41.52|", "B|1")))


class TestEncodings:
    TEXT = "Name,RA,DEC,Größe\nA,166.705,29.898,1\nB,239.251,41.52,2\n"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
    def test_marked_by_the_first_bytes(self, encoding, tmp_path, recwarn):
        (tmp_path / "t.csv").write_bytes(self.TEXT.encode(encoding))
        table = read_catalogue(tmp_path / "t.csv").table
        assert table.colnames == ["Name", "RA", "DEC", "Größe"]
        assert not recwarn

    @pytest.mark.parametrize("before", ["", "# ASCII\n" * 10_000])
    def test_latin_1_is_said(self, before, tmp_path):
        (tmp_path / "t.csv").write_bytes((before + self.TEXT).encode("latin-1"))
        with pytest.warns(RadioAGWarning, match="t.csv is not in UTF-8: it is read as Latin-1"):
            assert read_catalogue(tmp_path / "t.csv").table.colnames[-1] == "Größe"

    def test_a_long_header(self, tmp_path):
        (tmp_path / "t.csv").write_text("# a comment of some length\n" * 10_000 + self.TEXT)
        assert read_catalogue(tmp_path / "t.csv").ra.tolist() == list(RA)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF5.*write it as FITS or Parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "an Excel sheet.*CSV"),
        (b"\x80\x04\x95\x0c\0\0\0", "a pickle"),
        (b"ARROW1\0\0", "Feather.*Parquet"),
        (b"\x93NUMPY\x01\0", "a NumPy array.*FITS or ECSV"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"<kml></kml>", "XML, but no VOTable.*TOPCAT"),
        (b'{"ra": [1.0]}', "JSON.*CSV or FITS"),
        (b'[{"ra": 1.0}]', "JSON"),
        (b"\\begin{table}\n", "LaTeX"),
        (b"%PDF-1.4\n", "a PDF"),
    ],
)
def test_what_stays_unread_is_named(content, what, tmp_path):
    (tmp_path / "t.dat").write_bytes(content)
    with pytest.raises(CatalogueError, match=f"looks like {what}"):
        read_catalogue(tmp_path / "t.dat")
