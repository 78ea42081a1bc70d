"""Parts of a run: their order on the sky, their files, and the product that is joined from them in pieces."""

import tempfile

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy_healpix import HEALPix
from column_examples import every_kind_of_column
from hypothesis import given
from hypothesis import strategies as st
from run_examples import Doubles, classify, data_units, positions

from radio_ag import Result
from radio_ag.catalog_io.files import fits_table as _fits_table
from radio_ag.catalog_io.files.fits_append import append_hdu
from radio_ag.catalog_io.files.fits_table import encode_table, read_hdu, restore_table, table_extension
from radio_ag.catalog_io.files.memory import release_pages
from radio_ag.catalog_io.files.row_file import RowFile
from radio_ag.catalog_io.product import merge as _merge
from radio_ag.catalog_io.product.parts import Part, decode_part, encode_part, read_tiles
from radio_ag.catalog_io.product.tiles import inflate, pack
from radio_ag.chunks import ClassifySettings, blank_columns, sky_order
from radio_ag.errors import InputError

ROWS = 18
OPTIONS = {"device": "cpu", "orbit": 1, "threads": 1, "chunk": 5, "attention": "gates", "keep_cutouts": True}


class TestSkyOrder:
    def test_it_is_that_of_nested_pixels(self):
        rng = np.random.default_rng(0)
        ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
        order = sky_order(ra, dec)
        assert np.array_equal(np.sort(order), np.arange(500))
        pixels = HEALPix(16, order="nested").lonlat_to_healpix(ra[order] * u.deg, dec[order] * u.deg)
        assert (np.diff(pixels) >= 0).all()

    def test_a_chunk_lies_together(self):
        """100 sources to the square degree, shuffled: a chunk of 100 spans some two degrees, not the whole field."""
        x, y = np.meshgrid(np.arange(0, 20, 0.1), np.arange(0, 20, 0.1))
        ra, dec = np.random.default_rng(1).permutation(np.stack([x.ravel() + 150, y.ravel()], 1)).T
        order = sky_order(ra, dec)
        extent = [max(np.ptp(ra[c]), np.ptp(dec[c])) for c in order.reshape(-1, 100)]
        assert np.median(extent) < 3
        assert np.median([np.ptp(ra[c]) for c in np.arange(len(ra)).reshape(-1, 100)]) > 15

    def test_equal_positions_keep_their_order(self):
        assert sky_order(np.full(9, 10.0), np.full(9, -5.0)).tolist() == list(range(9))
        assert sky_order([], []).tolist() == []


def example_part(count=5):
    rng = np.random.default_rng(0)
    settings = ClassifySettings(keep_cutouts=True)
    columns = blank_columns(
        rng.uniform(size=count), rng.uniform(size=count), np.arange(count, dtype=np.int32), settings
    )
    columns["class"][:3] = [b"FRI", b"FRII", b""]
    columns["attention_plane"][:3], columns["cutout_plane"][1:3] = [0, -1, 1], [0, 1]
    planes = rng.normal(size=(2, 20, 30)).astype(np.float32)
    return Part(np.arange(count) * 7, columns, {"ATTENTION": pack(planes), "CUTOUTS": pack(planes[::-1])}, 16)


class TestFile:
    def test_what_is_written_is_read(self):
        part = example_part()
        again = decode_part(encode_part(part))
        assert again.batch == 16
        np.testing.assert_array_equal(again.sources, part.sources)
        assert list(again.columns) == list(part.columns)
        for name, values in part.columns.items():
            assert again.columns[name].dtype == values.dtype
            np.testing.assert_array_equal(again.columns[name], values)
        for name, tiles in part.stacks.items():
            np.testing.assert_array_equal(again.stacks[name].rows, tiles.rows)
            assert again.stacks[name].heap == tiles.heap

    def test_numpy_reads_it(self, tmp_path):
        part = example_part()
        (tmp_path / "part.npz").write_bytes(encode_part(part))
        with np.load(tmp_path / "part.npz") as arrays:
            assert arrays["columns"]["source"].tolist() == part.sources.tolist()
            assert arrays["columns"]["class"].tolist() == [b"FRI", b"FRII", b"", b"", b""]
            rows, tiles = arrays["CUTOUTS.rows"], arrays["CUTOUTS.tiles"].tobytes()
        assert tiles == part.stacks["CUTOUTS"].heap == b"".join(read_tiles(tmp_path / "part.npz", "CUTOUTS", 999))
        np.testing.assert_array_equal(inflate(rows, tiles, (20, 30)), inflate(*part.stacks["CUTOUTS"], (20, 30)))

    def test_a_damaged_one_says_so(self, tmp_path):
        content = bytearray(encode_part(example_part()))
        place = content.index(example_part().stacks["ATTENTION"].heap[:50])
        content[place] ^= 1
        (tmp_path / "part.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"part\.npz is damaged"):
            list(read_tiles(tmp_path / "part.npz", "ATTENTION", 1 << 20))

    def test_what_came_late_is_where_it_would_have_been(self):
        """Sources without planes of a part get theirs: the part is what it would have been if all had come at once."""
        whole = example_part()
        planes = inflate(*whole.stacks["ATTENTION"], (20, 30))
        first = {name: values.copy() for name, values in whole.columns.items()}
        first["attention_plane"][:3], first["cutout_plane"][:3], first["class"][0] = [-1, -1, 0], [-1, -1, 0], b""
        stacks = {name: tiles.taken([1]) for name, tiles in whole.stacks.items()}
        later = {name: values[:2].copy() for name, values in whole.columns.items()}
        part = Part(whole.sources, first, stacks, 16).updated(
            Part(whole.sources[:2], later, {name: tiles.taken([0]) for name, tiles in whole.stacks.items()}, 8)
        )
        assert part.batch == 8
        for name, values in whole.columns.items():
            np.testing.assert_array_equal(part.columns[name], values)
        for name, tiles in whole.stacks.items():
            assert part.stacks[name].heap == tiles.heap
            np.testing.assert_array_equal(part.stacks[name].rows, tiles.rows)
        np.testing.assert_array_equal(inflate(*part.stacks["ATTENTION"], (20, 30)), planes)

    def test_nothing_in_it(self):
        columns = blank_columns(np.zeros(0), np.zeros(0), np.zeros(0, np.int32), ClassifySettings())
        empty = Part(np.zeros(0, np.int64), columns, {"ATTENTION": pack(np.zeros((0, 20, 30), np.float32))}, 1)
        again = decode_part(encode_part(empty))
        assert len(again) == len(again.stacks["ATTENTION"].rows) == 0


@given(st.lists(st.lists(st.integers(0, 60), unique=True, max_size=30), max_size=8))
def test_records_on_disk_are_those_of_an_array(writes):
    dtype = np.dtype([("a", "i8"), ("b", "f4"), ("c", "S3")])
    expected = np.zeros(61, dtype=dtype)
    rng = np.random.default_rng(len(writes))
    with tempfile.TemporaryDirectory() as folder:
        file = RowFile(dtype, folder)
        file.write(np.arange(61), expected)
        for rows in writes:
            records = np.zeros(len(rows), dtype=dtype)
            records["a"], records["b"], records["c"] = rng.integers(0, 99, len(rows)), rng.normal(size=len(rows)), b"xy"
            file.write(np.array(rows, dtype=np.int64), records)
            expected[rows] = records
            asked = rng.integers(0, 61, 20)
            np.testing.assert_array_equal(file.read(asked), expected[asked])
        del file


class TestTableInPieces:
    def written(self, table, path):
        header, blocks = table_extension(*encode_table(table))
        pieces = list(blocks)
        with path.open("wb") as stream:
            append_hdu(stream, fits.PrimaryHDU().header)
            append_hdu(stream, header, pieces)
        return header, pieces

    def test_the_bytes_are_those_of_the_whole(self, tmp_path, monkeypatch):
        table = every_kind_of_column(23)
        header, whole = self.written(table, tmp_path / "whole.fits")
        assert len(whole) == 1
        monkeypatch.setattr(_fits_table, "_BLOCK", 600)
        again, pieces = self.written(table, tmp_path / "pieces.fits")
        assert len(pieces) > 4
        assert again.tostring() == header.tostring()
        assert b"".join(pieces) == whole[0]
        with fits.open(tmp_path / "pieces.fits", character_as_bytes=True) as hdus:
            read = restore_table(read_hdu(hdus[1]))
        assert read["text"][22] == "µ"
        for name in ("masked", "masked_bool", "masked_u2", "limits", "object"):
            mask = np.ma.getmaskarray(table[name]) if name != "object" else np.arange(23) < 22
            assert read[name].mask.tolist() == mask.tolist()

    def test_arrays_of_varying_length_are_written_at_once(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_fits_table, "_BLOCK", 100)
        table = Table({"a": np.arange(7)})
        table["v"] = np.array([np.arange(k) for k in range(7)], dtype=object)
        _, pieces = self.written(table, tmp_path / "a.fits")
        assert len(pieces) == 1
        assert [len(value) for value in Table.read(tmp_path / "a.fits")["v"]] == list(range(7))

    def test_the_table_does_not_change(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_fits_table, "_BLOCK", 1000)
        table, copy = every_kind_of_column(23), every_kind_of_column(23)
        self.written(table, tmp_path / "a.fits")
        assert table.colnames == copy.colnames
        for name in table.colnames:
            assert str(table[name].info.unit) == str(copy[name].info.unit)
            assert list(map(str, table[name])) == list(map(str, copy[name]))


@pytest.fixture(scope="module")
def products(weights, tmp_path_factory):
    """The same run joined from its parts a few rows at a time, and held in memory and written."""
    folder = tmp_path_factory.mktemp("joined")
    catalogue = positions(ROWS)
    catalogue["Source_id"] = MaskedColumn([f"S{row}" if row != 15 else "µ15" for row in range(ROWS)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fits_table, "_BLOCK", 2000)
        patch.setattr(_merge, "_ROWS", 4)
        patch.setattr(_merge, "_BLOCK", 30_000)
        joined = classify(catalogue, images=Doubles(), weights=weights, output=folder / "joined.fits", **OPTIONS)
    in_memory = classify(catalogue, images=Doubles(), weights=weights, **OPTIONS)
    in_memory.write(folder / "memory.fits")
    return joined, in_memory, folder


class TestJoined:
    def test_the_table_is_the_same_to_the_byte(self, products):
        *_, folder = products
        (name, joined), (_, memory) = (data_units(folder / file)[0] for file in ("joined.fits", "memory.fits"))
        assert name == "CLASSIFICATION"
        assert joined == memory

    def test_planes_are_the_same_and_in_the_order_of_the_rows(self, products):
        joined, in_memory, folder = products
        planes = joined.table["attention_plane"]
        assert planes[planes >= 0].tolist() == list(range((planes >= 0).sum()))
        read = Result.read(folder / "joined.fits")
        rows = np.arange(ROWS)
        for gate in ("mean", 1, 2, 3):
            expected = in_memory.attention_maps(rows, gate)
            assert np.isfinite(expected[planes >= 0]).all()
            for result in (joined, read, Result.read(folder / "memory.fits")):
                np.testing.assert_array_equal(result.attention_maps(rows, gate), expected)
        np.testing.assert_array_equal(read.cutouts(rows), in_memory.cutouts(rows))
        with fits.open(folder / "joined.fits") as hdus:  # astropy finds each plane by its own descriptor
            row = int(np.flatnonzero(planes == 5)[0])
            np.testing.assert_array_equal(hdus["ATTENTION_3"].section[5], read.attention(row, 3).data)

    def test_the_headers_are_the_same(self, products):
        *_, folder = products
        joined, memory = (fits.getheader(folder / name) for name in ("joined.fits", "memory.fits"))
        differing = {key for key in {*joined, *memory} if joined.get(key) != memory.get(key)}
        assert differing <= {"RUN", "DATE", "CHECKSUM"}
        with fits.open(folder / "joined.fits", checksum=True, disable_image_compression=True) as hdus:
            assert all(hdu.verify_checksum() == 1 for hdu in hdus)

    def test_the_result_is_the_same(self, products):
        joined, in_memory, _ = products
        assert joined.table.colnames == in_memory.table.colnames
        assert joined.summary() == in_memory.summary()
        for name in joined.table.colnames:
            one, two = joined.table[name], in_memory.table[name]
            assert (type(one), one.dtype, one.unit, one.description) == (
                type(two),
                two.dtype,
                two.unit,
                two.description,
            )
            assert list(map(str, one)) == list(map(str, two))

    def test_the_table_is_made_when_it_is_asked_for(self, weights, tmp_path):
        result = classify(positions(6), images=Doubles(), weights=weights, output=tmp_path / "out.fits", **OPTIONS)
        summary = result.summary()
        assert (len(result), summary["rows"]) == (6, 6)
        (tmp_path / "out.fits").unlink()  # what is open stays readable
        assert len(result._table) == 0
        assert result.table["flux"].tolist() == positions(6)["flux"].tolist()
        assert result.summary() == summary
        assert result.attention(0).shape == (150, 150)

    @pytest.mark.parametrize("attention", ["mean", "hdus", "none"])
    def test_other_ways_to_keep_the_maps(self, weights, tmp_path, attention):
        options = OPTIONS | {"attention": attention, "keep_cutouts": False}
        joined = classify(positions(6), images=Doubles(), weights=weights, output=tmp_path / "out.fits", **options)
        in_memory = classify(positions(6), images=Doubles(), weights=weights, **options)
        in_memory.write(tmp_path / "memory.fits", attention=attention)
        assert data_units(tmp_path / "out.fits")[0] == data_units(tmp_path / "memory.fits")[0]
        assert [n for n, _ in data_units(tmp_path / "out.fits")] == [n for n, _ in data_units(tmp_path / "memory.fits")]
        if attention != "none":
            assert np.array_equal(joined.attention(0).data, Result.read(tmp_path / "out.fits").attention(0).data)

    def test_sources_of_several_rows(self, weights, tmp_path):
        catalogue = positions(8)
        catalogue["Isl_id"] = [0, 1, 2, 3, 4, 5, 6, 7]
        for row, like in ((7, 0), (5, 2)):
            catalogue["ra"][row], catalogue["dec"][row] = catalogue["ra"][like], catalogue["dec"][like]
        options = OPTIONS | {"group": 10.0}
        joined = classify(catalogue, images=Doubles(), weights=weights, output=tmp_path / "out.fits", **options)
        assert joined.table["n_components"].tolist() == [2, 1, 2, 1, 1, 2, 1, 2]
        assert joined.table["group_id"].tolist() == [0, 1, 2, 3, 4, 2, 5, 0]
        classify(catalogue, images=Doubles(), weights=weights, **options).write(tmp_path / "memory.fits")
        assert data_units(tmp_path / "out.fits")[0] == data_units(tmp_path / "memory.fits")[0]
        assert joined.summary() == Result.read(tmp_path / "out.fits").summary()


def test_memory_of_a_mapped_table_is_let_go_and_read_again(tmp_path):
    values = np.arange(300_000.0)
    Table({"a": values, "b": -values}).write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", memmap=True) as hdus:
        table = Table.read(hdus, hdu=1)
    assert table["a"].sum() == values.sum()
    release_pages(table)
    np.testing.assert_array_equal(table["a"], values)
    plain = Table({"a": values.copy()})
    release_pages(plain)
    np.testing.assert_array_equal(plain["a"], values)
