"""Catalogue files and objects: every format gives the same positions and the same columns; every failure reads well."""

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import socket
import sqlite3
import warnings

import astropy.units as u
import numpy as np
import pandas
import pyarrow
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.io import fits, votable
from astropy.table import Column, QTable, Table
from astropy.time import Time
from astropy.utils import iers
from pyarrow import parquet

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.catalogs.files import read_table
from radio_ag.errors import CatalogueError, RadioAGWarning

RA = np.array([162.53, 350.25, 0.125, 10.5])
DEC = np.array([30.677, -0.5, 89.0, -30.0])


@pytest.fixture
def table():
    return Table(
        {
            "id": [7, 8, 9, 10],
            "RA": RA * u.deg,
            "DEC": DEC * u.deg,
            "flux": np.array([1.5, 2.5, np.nan, 4.5]) * u.mJy,
            "note": ["a", "b c", "d", "e"],
        }
    )


FORMATS = {
    "fits": "catalogue.fits",
    "votable": "catalogue.vot",
    "ascii.ecsv": "catalogue.ecsv",
    "ascii.csv": "catalogue.csv",
    "ascii.tab": "catalogue.tab",
    "ascii.basic": "catalogue.txt",
    "ascii.commented_header": "catalogue.dat",
    "ascii.ipac": "catalogue.tbl",
    "parquet": "catalogue.parquet",
}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format(format, table, tmp_path):
    path = tmp_path / FORMATS[format]
    if format == "votable":
        table.write(path, format=format, overwrite=True)
    else:
        table.write(path, format=format)
    catalogue = read_catalogue(path)
    np.testing.assert_allclose(catalogue.ra, RA)
    np.testing.assert_allclose(catalogue.dec, DEC)
    assert catalogue.valid.all()
    assert catalogue.table.colnames == table.colnames
    assert catalogue.table["id"].tolist() == [7, 8, 9, 10]
    assert [str(note) for note in np.char.decode(np.asarray(catalogue.table["note"], "S"))] == ["a", "b c", "d", "e"]
    assert catalogue.source_id_name == "id"
    assert catalogue.origin == path.name
    assert catalogue.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["catalogue.fits", "catalogue", "catalogue.txt", "catalogue.csv"])
def test_content_decides_and_not_the_name(name, table, tmp_path):
    table.write(tmp_path / "first.fits")
    path = (tmp_path / "first.fits").rename(tmp_path / name)
    np.testing.assert_allclose(read_catalogue(str(path)).ra, RA)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("format", ["fits", "ascii.csv", "ascii.ecsv", "votable", "parquet"])
def test_packed(format, pack, table, tmp_path):
    table.write(tmp_path / "plain", format=format)
    path = tmp_path / "catalogue.packed"
    path.write_bytes(pack((tmp_path / "plain").read_bytes()))
    np.testing.assert_allclose(read_catalogue(path).dec, DEC)


class TestObjects:
    def test_a_table_is_not_changed(self, table):
        before = table.copy()
        catalogue = read_catalogue(table)
        catalogue.table["new"] = 1
        catalogue.table.meta["new"] = 1
        assert table.colnames == before.colnames
        assert table.meta == before.meta
        assert (catalogue.origin, catalogue.sha256) == ("astropy Table", None)

    def test_a_qtable(self, table):
        catalogue = read_catalogue(QTable(table))
        np.testing.assert_allclose(catalogue.ra, RA)
        assert type(catalogue.table) is Table
        assert catalogue.table["flux"].unit == u.mJy

    def test_a_data_frame(self, table):
        frame = table.to_pandas()
        catalogue = read_catalogue(frame)
        np.testing.assert_allclose(catalogue.ra, RA)
        assert catalogue.table.colnames == list(frame.columns)
        assert list(frame.columns) == table.colnames

    def test_a_data_frame_with_a_named_index(self, table):
        catalogue = read_catalogue(table.to_pandas().set_index("id"))
        assert catalogue.table["id"].tolist() == [7, 8, 9, 10]

    def test_a_data_frame_with_missing_values(self):
        frame = pandas.DataFrame({"ra": [30.0, None, 40.0], "dec": [1.0, 2.0, None], "name": ["a", None, "c"]})
        assert read_catalogue(frame).valid.tolist() == [True, False, False]

    def test_a_data_frame_with_doubled_names(self):
        with pytest.raises(CatalogueError, match="several columns of one name: ra"):
            read_catalogue(pandas.DataFrame([[1.0, 2.0, 3.0]], columns=["ra", "dec", "ra"]))

    def test_a_coordinate(self):
        catalogue = read_catalogue(SkyCoord(162.53, 30.677, unit="deg"))
        assert (len(catalogue), catalogue.origin) == (1, "SkyCoord")

    @pytest.mark.parametrize("source", [None, 3, [1, 2], {"ra": [1], "dec": [2]}])
    def test_anything_else(self, source):
        with pytest.raises(CatalogueError, match=rf"cannot be read from '{type(source).__name__}'.*FITS.*DataFrame"):
            read_catalogue(source)


class TestEmpty:
    @pytest.mark.parametrize(
        "format", ["fits", "votable", "ascii.ecsv", "ascii.csv", "ascii.commented_header", "parquet"]
    )
    def test_a_table_without_rows(self, format, table, tmp_path):
        path = tmp_path / "empty"
        table[:0].write(path, format=format)
        catalogue = read_catalogue(path)
        assert len(catalogue) == len(catalogue.table) == 0
        assert catalogue.table.colnames == table.colnames
        assert catalogue.ra.dtype == np.float64

    def test_a_table_without_columns(self):
        assert len(read_catalogue(Table())) == 0

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "empty.csv").write_text(" \n")
        with pytest.raises(CatalogueError, match=r"empty\.csv is an empty file"):
            read_catalogue(tmp_path / "empty.csv")


class TestFits:
    def test_the_first_table_of_several(self, table, tmp_path):
        path = tmp_path / "several.fits"
        other = fits.BinTableHDU(Table({"RA": [1.0, 2.0], "DEC": [3.0, 4.0]}, units=["deg", "deg"]))
        image = fits.CompImageHDU(np.zeros((8, 8), "f4"), name="IMAGE")
        fits.HDUList([fits.PrimaryHDU(), image, fits.BinTableHDU(table, name="FIRST"), other]).writeto(path)
        with pytest.warns(RadioAGWarning, match="table 1 'FIRST' is taken; others have positions too: 2 ''"):
            np.testing.assert_allclose(read_catalogue(path).ra, RA)
        np.testing.assert_allclose(read_catalogue(path, table="2").ra, [1.0, 2.0])
        np.testing.assert_allclose(read_catalogue(path, table="first").ra, RA)
        np.testing.assert_allclose(read_catalogue(path, hdu="2").ra, RA)
        np.testing.assert_allclose(read_catalogue(path, hdu="3").ra, [1.0, 2.0])
        with pytest.raises(CatalogueError, match=r"hdu='1' \(--hdu\): there is no such .* 2 'FIRST', 3 ''"):
            read_catalogue(path, hdu="1")

    @pytest.mark.parametrize("name", ["t.fits", "t.vot"])
    def test_the_first_table_with_positions(self, table, tmp_path, name):
        """As in FITS-LDAC, where the header of the image comes first."""
        path = tmp_path / name
        header = Table({"Header": ["x"]})
        if name == "t.fits":
            tables = [fits.BinTableHDU(header, name="LDAC_IMHEAD"), fits.BinTableHDU(table, name="LDAC_OBJECTS")]
            fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path)
        else:
            document = votable.from_table(header)
            document.resources.extend(votable.from_table(table).resources)
            document.to_xml(str(path))
        np.testing.assert_allclose(read_catalogue(path).ra, RA)
        with pytest.raises(CatalogueError, match="no position columns"):
            read_catalogue(path, table="1")

    def test_the_table_that_has_the_users_columns(self, table, tmp_path):
        other = fits.BinTableHDU(Table({"x": [1.0, 2.0], "y": [3.0, 4.0]}, units=["deg", "deg"]))
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table), other]).writeto(tmp_path / "t.fits")
        assert read_catalogue(tmp_path / "t.fits", ra_col="x", dec_col="y").ra.tolist() == [1.0, 2.0]

    def test_a_file_of_one_table_has_no_others(self, table, tmp_path):
        table.write(tmp_path / "t.ecsv")
        with pytest.raises(CatalogueError, match="holds one table"):
            read_catalogue(tmp_path / "t.ecsv", table="2")

    def test_ucds_move_from_the_header_to_the_columns(self, tmp_path):
        path = tmp_path / "ucd.fits"
        meta = {"TUCD2": "pos.eq.ra;meta.main", "TUCD3": "pos.eq.dec;meta.main", "TUCD1": "meta.id;meta.main"}
        Table({"n": ["A"], "x": [162.5], "y": [30.5], "RA": [1.0], "DEC": [2.0]}, meta=meta).write(path)
        catalogue = read_catalogue(path)
        assert (catalogue.ra_name, catalogue.dec_name, catalogue.source_id_name) == ("x", "y", "n")
        assert catalogue.table["x"].info.meta["ucd"] == "pos.eq.ra;meta.main"
        assert not [key for key in catalogue.table.meta if key.startswith("TUCD")]

    def test_values_come_out_as_they_came(self, tmp_path):
        path = tmp_path / "values.fits"
        columns = {"RA": [162.5, 163], "DEC": [1.0, np.nan], "s": ["", "b"], "grid": np.arange(8.0).reshape(2, 2, 2)}
        Table(columns).write(path)
        catalogue = read_catalogue(path)
        assert np.isnan(catalogue.table["DEC"][1])
        assert catalogue.table["s"].tolist() == ["", "b"]
        assert catalogue.table["grid"].shape == (2, 2, 2)
        assert catalogue.valid.tolist() == [True, False]

    def test_a_column_of_coordinates(self, tmp_path):
        path = tmp_path / "photutils.fits"
        QTable({"label": [1], "sky_centroid": SkyCoord([162.5], [30.5], unit="deg")}).write(path)
        catalogue = read_catalogue(path)
        np.testing.assert_allclose(catalogue.ra, 162.5)
        assert catalogue.ra_name == "sky_centroid"

    def test_units_that_no_standard_knows(self, tmp_path):
        path = tmp_path / "units.fits"
        hdu = fits.BinTableHDU(Table({"RA": [162.5], "DEC": [30.5], "flux": [1.0]}))
        hdu.header["TUNIT3"] = "flux units"
        hdu.writeto(path)
        assert str(read_catalogue(path).table["flux"].unit) == "flux units"

    def test_an_image(self, tmp_path):
        fits.writeto(tmp_path / "image.fits", np.zeros((4, 4)))
        with pytest.raises(CatalogueError, match=r"image\.fits is a FITS image.*images= \(--images\)"):
            read_catalogue(tmp_path / "image.fits")

    def test_neither_image_nor_table(self, tmp_path):
        fits.PrimaryHDU().writeto(tmp_path / "bare.fits")
        with pytest.raises(CatalogueError, match=r"bare\.fits is a FITS file without a table"):
            read_catalogue(tmp_path / "bare.fits")

    @pytest.mark.parametrize("keep", [100, 2880, 6000, 9000])
    def test_a_truncated_file(self, keep, tmp_path):
        path = tmp_path / "cut.fits"
        Table({"RA": np.arange(1000.0), "DEC": np.zeros(1000)}).write(path)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(CatalogueError, match=r"cut\.fits"):
            read_catalogue(path)

    def test_columns_of_one_name_are_told_apart(self, tmp_path):
        columns = [
            fits.Column(name=f"column{number}", format="D", array=[value, value + 0.5])
            for number, value in enumerate((150.0, 2.0, 3.0, 4.0, 5.0, 6.0))
        ]
        fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "twice.fits")
        content = (tmp_path / "twice.fits").read_bytes()
        for number, name in enumerate(("ra", "dec", "flux", "flux", "flux_2", "Flux")):
            content = content.replace(f"'column{number} '".encode(), f"'{name:8}'".encode())
        (tmp_path / "twice.fits").write_bytes(content)
        with pytest.warns(RadioAGWarning, match="columns of the same name are told apart: a second 'flux' is 'flux_3'"):
            table = read_catalogue(tmp_path / "twice.fits", ra_unit="deg").table
        assert {name: table[name][1] for name in table.colnames} == {
            "ra": 150.5, "dec": 2.5, "flux": 3.5, "flux_3": 4.5, "flux_2": 5.5, "Flux": 6.5,
        }  # fmt: skip


FIELD = '<FIELD name="{}" datatype="double" unit="deg"/>'
TWICE = {
    "t.csv": "ra,dec,flux,flux\n180,30,1,2\n",
    "t.tsv": "ra\tdec\tflux\tflux\n180\t30\t1\t2\n",
    "t.txt": "# ra dec flux flux\n180 30 1 2\n",
    "t.dat": "ra dec flux flux\n180 30 1 2\n",
    "t.tbl": "|ra    |dec   |flux  |flux  |\n|double|double|double|double|\n 180.0  30.0   1.0    2.0   \n",
    "t.bars": "|ra|dec|flux|flux|\n|180|30|1|2|\n|181|30|1|2|\n",
    "t.vot": f"""<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
        {"".join(map(FIELD.format, ("ra", "dec", "flux", "flux")))}
        <DATA><TABLEDATA><TR><TD>180</TD><TD>30</TD><TD>1</TD><TD>2</TD></TR></TABLEDATA></DATA>
        </TABLE></RESOURCE></VOTABLE>""",
}


@pytest.mark.parametrize("name", [*TWICE, "t.parquet"])
def test_columns_of_one_name_in_every_format(name, tmp_path):
    if name in TWICE:
        (tmp_path / name).write_text(TWICE[name])
    else:
        arrays = [pyarrow.array([value]) for value in (180.0, 30.0, 1.0, 2.0)]
        table = pyarrow.Table.from_arrays(arrays, names=["ra", "dec", "flux", "flux"])
        parquet.write_table(table, tmp_path / name)
    with pytest.warns(RadioAGWarning, match="columns of the same name are told apart: a second 'flux' is 'flux_2'"):
        table = read_catalogue(tmp_path / name).table
    assert {name: float(table[name][0]) for name in table.colnames} == {"ra": 180, "dec": 30, "flux": 1, "flux_2": 2}


class TestVotable:
    FIELDS = (
        '<FIELD name="alpha" ID="col_a" ucd="pos.eq.ra;meta.main" ref="sys" datatype="double" unit="deg"/>'
        '<FIELD name="delta" ID="col_d" ucd="pos.eq.dec;meta.main" ref="sys" datatype="double" unit="deg"/>'
        '<FIELD name="peak" ID="col_p" datatype="float" unit="mJy/beam"/>'
        '<FIELD name="odd" datatype="float" unit="flux units"/>'
    )

    def write(self, tmp_path, system):
        path = tmp_path / "catalogue.xml"
        path.write_text(
            '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
            f'<COOSYS ID="sys" {system}/><RESOURCE><TABLE>{self.FIELDS}<DATA><TABLEDATA>'
            "<TR><TD>162.5</TD><TD>30.5</TD><TD>1</TD><TD>2</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
        )
        return path

    def test_names_and_units(self, tmp_path):
        catalogue = read_catalogue(self.write(tmp_path, 'system="eq_FK5" equinox="J2000"'))
        assert catalogue.table.colnames == ["alpha", "delta", "peak", "odd"]
        assert catalogue.table["peak"].unit == u.mJy / u.beam
        assert str(catalogue.table["odd"].unit) == "flux units"
        assert catalogue.ra.tolist() == [162.5]

    @pytest.mark.parametrize(
        "system", ['system="eq_FK4" equinox="B1950"', 'system="eq_FK5" equinox="1975"', 'system="galactic"']
    )
    def test_other_frames_are_refused(self, tmp_path, system):
        with pytest.raises(CatalogueError, match="'alpha' are in the frame"):
            read_catalogue(self.write(tmp_path, system))

    def test_a_document_without_a_table(self, tmp_path):
        path = tmp_path / "empty.xml"
        path.write_text('<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE/></VOTABLE>')
        with pytest.raises(CatalogueError, match=r"empty\.xml: it has no table"):
            read_catalogue(path)


class TestNotATable:
    def test_no_such_file(self, tmp_path):
        with pytest.raises(CatalogueError, match=r"no such catalogue: .*nothing\.fits"):
            read_catalogue(tmp_path / "nothing.fits")

    def test_a_folder(self, tmp_path):
        with pytest.raises(CatalogueError, match="is a folder"):
            read_catalogue(tmp_path)

    @pytest.mark.parametrize(
        "content",
        [
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\x89HDF\r\n\x1a\n\0\0\0\0",
            b"\x80\x04\x95\x0c\0\0\0",  # a pickle: never opened
            b"<!DOCTYPE html><html><body>not found</body></html>",
            b"caf\xe9\x01,1\n",
        ],
    )
    def test_other_content(self, content, tmp_path):
        (tmp_path / "what.csv").write_bytes(content)
        with pytest.raises(
            CatalogueError, match=r"what\.csv (is not a table|looks like .*); accepted are FITS, VOTable.*Parquet"
        ):
            read_catalogue(tmp_path / "what.csv")

    def test_a_damaged_archive(self, tmp_path):
        (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"RA,DEC\n" + b"1,2\n" * 999)[:30])
        with pytest.raises(CatalogueError, match=r"cut\.csv\.gz cannot be read"):
            read_catalogue(tmp_path / "cut.csv.gz")

    def test_lines_of_different_length(self, tmp_path):
        (tmp_path / "ragged.csv").write_text("RA,DEC\n1,2\n3,4,5\n")
        with pytest.raises(
            CatalogueError, match=r"ragged\.csv cannot be read as a table: .*data line 2|.*columns"
        ) as raised:
            read_catalogue(tmp_path / "ragged.csv")
        assert "\n" not in str(raised.value)
        assert raised.value.__cause__ is not None


class TestNothingBeyondTheFile:
    """What refers to another file or to an address is refused, and a listening socket hears nothing."""

    @pytest.fixture
    def address(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            yield f"127.0.0.1:{server.getsockname()[1]}"
            with pytest.raises(BlockingIOError):
                server.accept()

    def document(self, data, head=""):
        fields = "".join(f'<FIELD name="{name}" datatype="double" unit="deg"/>' for name in ("ra", "dec"))
        return (
            f'<?xml version="1.0"?>{head}<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3" '
            'xmlns:v="http://www.ivoa.net/xml/VOTable/v1.3" xmlns:xi="http://www.w3.org/2001/XInclude"><RESOURCE>'
            f'<TABLE nrows="1">{fields}<DATA>{data}</DATA></TABLE></RESOURCE></VOTABLE>'
        )

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    @pytest.mark.parametrize("place", ["http://{}/x", "ftp://{}/x", "file://{}", "//{}/x", ""])
    @pytest.mark.parametrize("kind", ["BINARY", "BINARY2", "FITS", 'PARQUET type="VOTable-remote-file"', "v:BINARY"])
    def test_streams_of_votables(self, tmp_path, address, kind, place, encoding, pack):
        (tmp_path / "secret").write_bytes(np.array([180.0, 30.0], ">f8").tobytes())
        href = place.format(address if "file" not in place else tmp_path / "secret")
        end = kind.partition(" ")[0]
        data = f'<{kind}><{"v:" * (end[0] == "v")}STREAM href="{href}"/></{end}>'.replace("/></v:", "></v:STREAM></v:")
        path = tmp_path / "catalogue.xml"
        path.write_bytes(pack(self.document(data).encode(encoding)))
        with pytest.raises(CatalogueError, match=r"^catalogue\.xml .*: its data are elsewhere, at '|is not a table"):
            read_catalogue(path)

    @pytest.mark.parametrize(
        "declaration",
        [
            '<!DOCTYPE VOTABLE [<!ENTITY x SYSTEM "http://{}/x">]>',
            '<!DOCTYPE VOTABLE SYSTEM "http://{}/VOTable.dtd">',
            '<!DOCTYPE VOTABLE [<!ENTITY % x SYSTEM "http://{}/x"> %x;]>',
            '<!DOCTYPE VOTABLE [<!ENTITY x "30">]>',
        ],
    )
    def test_entities(self, tmp_path, address, declaration):
        cells = "<TABLEDATA><TR><TD>180</TD><TD>&x;</TD></TR></TABLEDATA>"
        (tmp_path / "catalogue.xml").write_text(self.document(cells, declaration.format(address)))
        with pytest.raises(CatalogueError, match="declares a document type"):
            read_catalogue(tmp_path / "catalogue.xml")

    @pytest.mark.parametrize("place", ["<TABLEDATA>", "<TD>30", "<RESOURCE>"])
    def test_inclusions(self, tmp_path, address, place):
        text = self.document("<TABLEDATA><TR><TD>180</TD><TD>30</TD></TR></TABLEDATA>")
        text = text.replace(place, f'{place}<xi:include href="http://{address}/x"/>')
        (tmp_path / "catalogue.xml").write_text(text)
        with pytest.raises(CatalogueError, match="its data are elsewhere"):
            read_catalogue(tmp_path / "catalogue.xml")

    def test_links_for_people(self, tmp_path, address):
        text = self.document("<TABLEDATA><TR><TD>180</TD><TD>30</TD></TR></TABLEDATA>")
        text = text.replace("<DATA>", f'<LINK href="http://{address}/x"/><DATA>')
        text = text.replace('unit="deg"/>', f'unit="deg"><VALUES ref="http://{address}/x"/></FIELD>')
        (tmp_path / "catalogue.xml").write_text(text)
        assert read_catalogue(tmp_path / "catalogue.xml").ra.tolist() == [180]

    @pytest.mark.parametrize("scheme", ["http", "https", "ftp", "s3", "file"])
    @pytest.mark.parametrize("name", ["c.fits", "c.csv", "c.xml", "c.parquet", "c.ecsv", "c.fits.gz"])
    def test_addresses_are_no_files(self, address, scheme, name):
        with pytest.raises(CatalogueError, match="no such catalogue"):
            read_catalogue(f"{scheme}://{address}/{name}")

    @pytest.mark.parametrize("name", ["*.csv", "@list.csv", "c.csv[1]", "c.csv,c.csv"])
    def test_names_are_not_expanded(self, tmp_path, name):
        for file in ("c.csv", "list.csv"):
            (tmp_path / file).write_text("RA,DEC\n180,30\n")
        with pytest.raises(CatalogueError, match="no such catalogue"):
            read_catalogue(tmp_path / name)

    def test_one_word_is_a_line_of_names_not_the_name_of_a_file(self, tmp_path, address):
        for content in (f"http://{address}/x", "/etc/passwd", "# %ECSV 1.0"):
            (tmp_path / "catalogue.csv").write_text(content)
            with pytest.raises(CatalogueError):
                read_catalogue(tmp_path / "catalogue.csv")

    @pytest.mark.parametrize("tag", ["python/object/apply:os.system ['touch escaped']", "python/name:os.system", "x"])
    def test_tags_of_ecsv(self, tmp_path, monkeypatch, tag):
        monkeypatch.chdir(tmp_path)
        head = f"# %ECSV 1.0\n# ---\n# datatype:\n# - {{name: RA, datatype: float64}}\n# meta: !!{tag}\n"
        (tmp_path / "catalogue.ecsv").write_text(f"{head}RA\n180\n")
        with pytest.raises(CatalogueError, match=r"catalogue\.ecsv cannot be read as a table"):
            read_catalogue(tmp_path / "catalogue.ecsv")
        assert not (tmp_path / "escaped").exists()

    def test_coordinates_that_need_the_earth_s_rotation(self, tmp_path, address):
        """astropy would fetch tables of it."""
        frame = AltAz(obstime=Time("2026-06-01"), location=EarthLocation.from_geodetic(0, 50))
        table = QTable({"sky": SkyCoord([180.0], [60.0], unit="deg", frame=frame)})
        settings = {"iers_auto_url": f"http://{address}/a", "iers_auto_url_mirror": f"http://{address}/b"}
        with contextlib.ExitStack() as stack, warnings.catch_warnings(action="ignore"):
            for name, value in {**settings, "remote_timeout": 1}.items():
                stack.enter_context(iers.conf.set_temp(name, value))
            stack.enter_context(contextlib.suppress(CatalogueError))
            read_catalogue(table)

    def test_parquet_that_is_an_index_of_others(self, tmp_path):
        pandas.DataFrame({"ra": [180.0], "dec": [30.0]}).to_parquet(tmp_path / "data.parquet")
        metadata = parquet.read_metadata(tmp_path / "data.parquet")
        metadata.set_file_path("data.parquet")
        metadata.write_metadata_file(tmp_path / "catalogue.parquet")
        with pytest.raises(CatalogueError, match=r"its data are elsewhere, in 'data\.parquet'"):
            read_catalogue(tmp_path / "catalogue.parquet")

    def test_folders_are_no_columns(self, tmp_path):
        path = tmp_path / "dec=77" / "catalogue.parquet"
        path.parent.mkdir()
        pandas.DataFrame({"ra": [180.0], "DEC": [30.0]}).to_parquet(path)
        catalogue = read_catalogue(path)
        assert (catalogue.table.colnames, catalogue.dec.tolist()) == (["ra", "DEC"], [30.0])

    def test_a_database_without_what_lies_beside_it(self, tmp_path):
        names = ("background", "local_rms", "ra", "dec", "peak_flux", "flags", "uuid", "peak_pixel")
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"CREATE TABLE simples ({', '.join(names)})")
            database.execute("INSERT INTO simples VALUES (0, 1, 180.0, 30.0, 1, 0, 'a', 1)")
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("INSERT INTO simples VALUES (0, 1, 190.0, 40.0, 1, 0, 'b', 1)")
            database.commit()
            assert (tmp_path / "a.db-wal").stat().st_size
            assert read_catalogue(tmp_path / "a.db").ra.tolist() == [180.0]
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert read_catalogue(tmp_path / "a.db").ra.tolist() == [180.0, 190.0]

    @pytest.mark.parametrize(
        "definition",
        [
            "VIEW components AS SELECT * FROM sqlite_master",
            "VIRTUAL TABLE components USING fts5(ra, dec)",
            "TABLE components (ra, dec, x AS (zeroblob(1000000000)))",
        ],
    )
    def test_tables_of_a_database_that_are_computed(self, tmp_path, definition):
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
            database.execute(f"CREATE {definition}")
            if definition.startswith("TABLE"):
                database.execute("INSERT INTO components VALUES (1, 2)")
            database.commit()
        with pytest.raises(CatalogueError, match=r"has no table 'components'|too big"):
            read_catalogue(tmp_path / "a.db")


class TestBounds:
    """Small files that would take much memory or time."""

    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
    def test_packed_files(self, tmp_path, pack):
        (tmp_path / "catalogue.csv.gz").write_bytes(pack(b"RA,DEC\n" + bytes(1 << 20)) * 300)
        with pytest.raises(CatalogueError, match=r"catalogue\.csv\.gz cannot be read: it takes more than 256 MiB"):
            read_catalogue(tmp_path / "catalogue.csv.gz")

    def test_equal_rows_of_parquet(self, tmp_path):
        zeros = pyarrow.array(np.zeros(20_000_000))
        parquet.write_table(pyarrow.table({"ra": zeros, "dec": zeros}), tmp_path / "catalogue.parquet")
        with pytest.raises(CatalogueError, match="takes more than 256 MiB"):
            read_catalogue(tmp_path / "catalogue.parquet")

    def test_equal_texts_of_parquet(self, tmp_path):
        text = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(3000, "i4")), pyarrow.array(["x" * 100_000]))
        numbers = pyarrow.array(np.arange(3000.0))
        columns = {"ra": numbers, "dec": numbers, "note": text}
        parquet.write_table(pyarrow.table(columns), tmp_path / "c.parquet", store_schema=False)
        with pytest.raises(CatalogueError, match="takes more than 256 MiB"):
            read_catalogue(tmp_path / "c.parquet")

    @pytest.mark.parametrize(
        ("attributes", "field", "message"),
        [
            ('nrows="1000000000000"', "", "declares 1000000000000 rows, more than the bytes that it has"),
            ('nrows="100"', '<FIELD name="x" datatype="char" arraysize="10000000"/>', "takes more than 256 MiB"),
            ("", '<FIELD name="x" datatype="char" arraysize="10000000"/>', "takes more than 256 MiB"),
            ("", '<FIELD name="x" datatype="double" arraysize="1000x1000x1000x1000"/>', "takes more than 256 MiB"),
        ],
    )
    def test_votables_that_declare_much(self, tmp_path, attributes, field, message):
        document = TestNothingBeyondTheFile().document(
            "<TABLEDATA>" + "<TR><TD>1</TD><TD/><TD/></TR>" * 100 + "</TABLEDATA>"
        )
        document = document.replace('nrows="1"', attributes).replace("<DATA>", f"{field}<DATA>")
        (tmp_path / "catalogue.xml").write_text(document)
        with pytest.raises(CatalogueError, match=message):
            read_catalogue(tmp_path / "catalogue.xml")

    def test_what_is_no_regular_file_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CatalogueError, match="pipe cannot be read: it is no regular file"):
            read_catalogue(tmp_path / "pipe")


class TestBooleans:
    """Logical columns of FITS: ``T``, ``F`` and a null byte."""

    def written(self, path, values):
        column = fits.Column("ok", "L", array=np.ones(len(values), bool))
        places = [fits.Column(name, "D", unit="deg", array=np.full(len(values), 30.0)) for name in ("RA", "DEC")]
        fits.BinTableHDU.from_columns([*places, column]).writeto(path)
        content = path.read_bytes()
        data = 2 * 2880
        for row, value in enumerate(values):
            place = data + row * 17 + 16
            assert content[place : place + 1] == b"T"
            content = content[:place] + value + content[place + 1 :]
        path.write_bytes(content)

    def test_null_is_neither_true_nor_false(self, tmp_path):
        self.written(tmp_path / "c.fits", [b"T", b"\0", b"F", b"x"])
        assert read_catalogue(tmp_path / "c.fits").table["ok"].tolist() == [True, None, False, None]

    def test_without_null_there_is_no_mask(self, tmp_path):
        self.written(tmp_path / "c.fits", [b"T", b"F"])
        column = read_catalogue(tmp_path / "c.fits").table["ok"]
        assert (type(column), column.tolist()) == (Column, [True, False])


def test_parquet_with_missing_values(tmp_path):
    path = tmp_path / "catalogue.parquet"
    columns = {"ra": [30.0, None], "dec": [1.0, 2.0], "n": pandas.array([2**60 + 1, None], "Int64"), "s": ["a", None]}
    pandas.DataFrame(columns).to_parquet(path)
    catalogue = read_catalogue(path)
    assert catalogue.valid.tolist() == [True, False]
    assert catalogue.table["n"][0] == 2**60 + 1
    assert catalogue.table["n"].mask.tolist() == catalogue.table["s"].mask.tolist() == [False, True]


TRUE_POSITION = (162.58200, 30.63224)
"""The first source of the simulated image that PyBDSF and Aegean ran on, as both found it."""


@pytest.mark.parametrize(
    ("name", "rows", "source_id"),
    [
        *((f"pybdsf.srl.{end}", 8, "Source_id") for end in ("fits", "csv", "txt")),
        *((f"pybdsf.gaul.{end}", 8, "Gaus_id") for end in ("fits", "csv", "txt")),
        *((f"aegean_comp.{end}", 8, "uuid") for end in ("fits", "csv", "tab", "vot")),
        *((f"aegean_isle.{end}", 6, "uuid") for end in ("fits", "csv", "tab", "vot")),
    ],
)
def test_files_that_the_source_finders_wrote(data_dir, name, rows, source_id):
    catalogue = read_catalogue(data_dir / "catalogues" / name)
    assert (len(catalogue), catalogue.source_id_name) == (rows, source_id)
    assert catalogue.valid.all()
    # Aegean's island centres are bounding boxes: good to a beam. Its FITS positions are float32: 0.05 arcsec.
    tolerance = 5.4 / 3600 if "isle" in name else 2e-5
    np.testing.assert_allclose((catalogue.ra[0], catalogue.dec[0]), TRUE_POSITION, rtol=0, atol=tolerance)


def test_files_in_the_form_of_the_archives(data_dir):
    first = read_catalogue(data_dir / "catalogues" / "vizier_first14.xml")
    np.testing.assert_allclose((first.ra[0], first.dec[0]), (162.53, 30.677), atol=1e-9)
    assert first.source_id_name == "FIRST"
    selavy = read_catalogue(data_dir / "catalogues" / "selavy_components.xml")
    np.testing.assert_allclose((selavy.ra[0], selavy.dec[0]), (83.866441, -69.269927))
    assert selavy.table["flux_peak"].unit == u.mJy / u.beam


def test_images_are_no_catalogues(data_dir):
    with pytest.raises(CatalogueError, match="is a FITS image"):
        read_catalogue(data_dir / "catalogues" / "finder_image_4d.fits")


def test_columns_of_one_name_in_ecsv_are_told_apart(tmp_path):
    path = tmp_path / "t.ecsv"
    columns = [("ra", "deg"), ("dec", "deg"), ("flux", "Jy"), ("flux", "mJy")]
    fields = "".join(f"# - {{name: {name}, unit: {unit}, datatype: float64}}\n" for name, unit in columns)
    path.write_text(f"# %ECSV 1.0\n# ---\n# datatype:\n{fields}# schema: astropy-2.0\nra dec flux flux\n10 20 1 2\n")
    with pytest.warns(RadioAGWarning, match="flux_2"):
        table = read_table(path)
    assert table.colnames == ["ra", "dec", "flux", "flux_2"]
    assert (table["flux"][0], table["flux_2"][0], str(table["flux_2"].unit)) == (1, 2, "mJy")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_votables_in_utf_16(tmp_path, encoding):
    path = tmp_path / "t.vot"
    Table({"ra": [10.0], "dec": [20.0], "name": ["a"]}).write(path, format="votable")
    mark = "" if encoding == "utf-16" else "\ufeff"
    path.write_text(mark + path.read_text().replace("utf-8", "utf-16"), encoding=encoding)
    table = read_table(path)
    assert (table["ra"][0], table["dec"][0], table["name"][0]) == (10, 20, "a")


def test_region_files_of_more_lines_than_10_000(tmp_path):
    path = tmp_path / "t.reg"
    path.write_text("icrs\n" + "# comment\n" * 10_000 + 'circle(10,20,5")\n')
    assert read_table(path)["ra"][0] == 10
