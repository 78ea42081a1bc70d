"""The FITS product: round trips of every kind of column and every attention mode, checksums, failures."""

import resource
import signal
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time, TimeDelta
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from result_examples import PROVENANCE, example_columns, example_maps, example_result

from radio_ag.catalog_io.files.fits_append import append_hdu
from radio_ag.catalog_io.product.columns import COLUMNS
from radio_ag.catalog_io.product.fits import check_output
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.result import Result
from radio_ag.errors import InputError, OutputError, RadioAGWarning
from radio_ag.flags import Flag

OURS = len(COLUMNS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.radio-ag.fits"


def objects(*values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def written_and_read(path, column, name="x"):
    """The column after a round trip through a product, and as Table.read gives it."""
    catalogue = Table()
    catalogue[name] = column
    example_result(len(catalogue), catalogue=catalogue).write(path)
    with fits.open(path) as hdus:
        hdus["CLASSIFICATION"].verify("exception")
    restored, plain = Result.read(path).table, Table.read(path, hdu="CLASSIFICATION")
    assert len(restored.colnames) == OURS + 1
    return restored.columns[OURS], plain


def header_units(path):
    """Where each HDU begins and ends in the file."""
    with fits.open(path, disable_image_compression=True) as hdus:
        infos = [hdu.fileinfo() for hdu in hdus]
        return [
            (hdu.name, info["hdrLoc"], info["datLoc"] + info["datSpan"]) for hdu, info in zip(hdus, infos, strict=True)
        ]


class TestAttentionModes:
    def check_maps(self, path, gates=("mean",)):
        result = Result.read(path)
        assert set(result.gates) == set(gates)
        rows, planes = (0, 1, 3, 6, 7), (0, 1, 2, 4, 5)
        for gate in gates:
            expected = example_maps(6, 0 if gate == "mean" else gate)
            for row, plane in zip(rows, planes, strict=True):
                image = result.attention(row, gate)
                assert np.abs(image.data - expected[plane]).max() <= np.ptp(expected[plane]) / 2000
                # The reference pixel (0-based) lies at the reference position.
                place = image.wcs.pixel_to_world(74.3, 74.9)
                there = SkyCoord(result.table["cutout_ra"][row], result.table["cutout_dec"][row], unit="deg")
                assert place.separation(there).arcsec < 1e-6

    def test_mean(self, path):
        example_result(gates=(1, 2, 3)).write(path, attention="mean")
        assert [name for name, _, _ in header_units(path)] == ["PRIMARY", "CLASSIFICATION", "SOURCES", "ATTENTION"]
        self.check_maps(path)
        with fits.open(path) as hdus:
            header = hdus["ATTENTION"].header
            assert hdus["ATTENTION"].shape == (6, 150, 150)
            assert not WCS(header).has_celestial
            assert (header["NORMALIS"], header["MAPRANGE"], header["GATE"]) == ("range", "0 to 1 in each map", "mean")
            assert header["QUANTERR"] == 1 / 2048
            assert not any(keyword in header for keyword in ("CTYPE3", "CRPIX3", "CDELT3"))  # a part of a WCS is none

    def test_gates(self, path):
        example_result(gates=(1, 2, 3)).write(path, attention="gates")
        names = ["PRIMARY", "CLASSIFICATION", "SOURCES", "ATTENTION", "ATTENTION_1", "ATTENTION_2", "ATTENTION_3"]
        assert [name for name, _, _ in header_units(path)] == names
        self.check_maps(path, ("mean", 1, 2, 3))

    def test_hdus(self, path):
        result = example_result()
        result.table["name"][3] = result.table["name"][0]
        result.write(path, attention="hdus")
        self.check_maps(path)
        result = Result.read(path)
        with fits.open(path) as hdus:
            names = result.table["name"][[0, 1, 3, 4, 6, 7]].tolist()
            assert [(hdu.name, hdu.ver) for hdu in hdus[3:]] == [
                (name, 2 if k == 2 else 1) for k, name in enumerate(names)
            ]
            for hdu, row in zip(hdus[3:], (0, 1, 3, 4, 6, 7), strict=True):
                assert np.array_equal(hdu.data, result.attention(row).data)
                image_wcs, row_wcs = WCS(hdu.header), result.attention(row).wcs
                corners = ([0, 149, 0, 149], [0, 0, 149, 149])
                assert image_wcs.celestial.pixel_to_world(*corners).separation(
                    row_wcs.pixel_to_world(*corners)
                ).arcsec == pytest.approx(0, abs=1e-6)
                assert hdu.header["RADESYS"] == "ICRS"

    def test_none(self, path):
        example_result().write(path, attention="none")
        assert [name for name, _, _ in header_units(path)] == ["PRIMARY", "CLASSIFICATION", "SOURCES"]
        result = Result.read(path)
        assert result.gates == ()
        assert set(result.table["attention_plane"]) == {-1}

    @pytest.mark.parametrize(("gates", "mode"), [((), "mean"), ((1, 2, 3), "gates")])
    def test_all_that_was_kept_is_the_default(self, path, gates, mode):
        example_result(gates=gates).write(path)
        assert fits.getheader(path)["ATTMODE"] == mode

    @pytest.mark.parametrize("mode", ["mean", "gates", "hdus"])
    def test_no_row_has_a_map(self, path, mode):
        columns = example_columns(3) | {"attention_plane": np.full(3, -1)}
        stores = {gate: AttentionStore() for gate in ("mean", 1)}
        Result.from_columns(Table({"a": [1, 2, 3]}), columns, stores).write(path, attention=mode)
        assert len(Result.read(path)) == 3
        assert [name for name, _, _ in header_units(path)] == ["PRIMARY", "CLASSIFICATION", "SOURCES"]

    def test_what_was_not_kept_cannot_be_written(self, path):
        with pytest.raises(InputError, match="attention='gates' cannot be written: this result keeps 'mean'"):
            example_result().write(path, attention="gates")
        with pytest.raises(InputError, match="one of mean, gates, hdus, none, not 'all'"):
            example_result().write(path, attention="all")

    @pytest.mark.parametrize("mode", ["mean", "hdus"])
    def test_a_selection_carries_its_own_planes(self, path, mode):
        result = example_result()
        chosen = result[[6, 2, 0]]
        chosen.write(path, attention=mode)
        again = Result.read(path)
        assert again.table["attention_plane"].tolist() == [0, -1, 1]
        assert again.table["source_id"].tolist() == [7, 3, 1]
        assert np.array_equal(again.attention(0).data, result.attention(6).data)
        assert np.array_equal(again.attention(2).data, result.attention(0).data)
        assert fits.getheader(path)["NPLANE"] == 2
        assert chosen.table["attention_plane"].tolist() == [4, -1, 0]

    def test_planes_in_another_order_than_the_rows_stay(self, path):
        columns = example_columns(3) | {"attention_plane": np.array([1, -1, 0])}
        store = AttentionStore()
        store.append(example_maps(2, 0))
        Result.from_columns(Table({"a": [1, 2, 3]}), columns, {"mean": store}).write(path)
        result = Result.read(path)
        assert result.table["attention_plane"].tolist() == [1, -1, 0]
        assert np.array_equal(result.attention(0).data, store.plane(1))

    def test_written_again_the_maps_do_not_change(self, path, tmp_path):
        example_result(gates=(1,)).write(path)
        Result.read(path).write(tmp_path / "again.fits")
        first, second = path.read_bytes(), (tmp_path / "again.fits").read_bytes()
        (_, start, _), (_, again, _) = header_units(path)[2], header_units(tmp_path / "again.fits")[2]
        assert first[start:] == second[again:]
        # A product may replace the very file that its maps are read from.
        result = Result.read(path)
        result[:2].write(path, overwrite=True)
        assert np.array_equal(Result.read(path).attention(1, 1).data, result.attention(1, 1).data)


class TestFile:
    @pytest.mark.parametrize("mode", ["mean", "gates", "hdus", "none"])
    def test_checksums_of_every_unit(self, path, mode):
        example_result(gates=(1, 2)).write(path, attention=mode)
        with fits.open(path, checksum=True, disable_image_compression=True) as hdus:
            for hdu in hdus:
                hdu.verify("exception")
                assert hdu.verify_checksum() == hdu.verify_datasum() == 1
                assert hdu.name

    def test_checksums_of_data_in_any_blocks(self, path):
        rng = np.random.default_rng(0)
        for size in (1, 2, 3, 4, 5, 2879, 2880, 2881, 10000):
            data = rng.integers(0, 256, size, dtype=np.uint8)
            raw = data.tobytes()
            cuts = sorted(rng.integers(0, size + 1, 3).tolist())
            with open(path, "wb") as stream:
                append_hdu(stream, fits.PrimaryHDU().header)
                blocks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
                append_hdu(stream, fits.ImageHDU(data).header, blocks)
            with fits.open(path, checksum=True) as hdus:
                assert hdus[1].verify_checksum() == hdus[1].verify_datasum() == 1
                assert np.array_equal(hdus[1].data, data)

    @pytest.mark.parametrize("mode", ["gates", "hdus"])
    def test_the_same_result_gives_the_same_bytes_but_for_the_primary_header(self, tmp_path, mode):
        files = [tmp_path / "a.fits", tmp_path / "b.fits"]
        for file in files:
            example_result(gates=(1,)).write(file, attention=mode)
        first, second = (file.read_bytes() for file in files)
        start = header_units(files[0])[1][1]
        assert first[start:] == second[start:]
        assert {k for k, v in fits.getheader(files[0]).items() if v != fits.getheader(files[1])[k]} <= {
            "DATE",
            "CHECKSUM",
        }
        with fits.open(files[0]) as hdus:
            assert not any("DATE" in hdu.header for hdu in hdus[1:])

    def test_provenance(self, path):
        provenance = PROVENANCE | {
            "images": "/home/somebody/images/mosaic.fits",
            "files": ["/data/a.fits", "b.fits"],
            "service": "https://third.ucllnl.org/cgi-bin/firstcutout",
            "note": "tab\there, \u00b5Jy, " + "long " * 30,
            "naxis": 7,
            "rate": np.float32(1.5),
            "nothing": float("nan"),
        }
        result = example_result(provenance=provenance)
        result.write(path)
        header = fits.getheader(path)
        assert header["MODEL"] == "agcnn-first"
        assert header["MODELSHA"] == "ab" * 32
        assert (header["NSRC"], header["NCLASS"], header["NPLANE"]) == (9, 3, 6)
        assert header["CREATOR"].startswith("radio-ag ")
        assert "torch" in header["PACKAGES"]
        assert header["CLIP"] == 3.0
        assert header["BEAM_FWHM"] == 5.4
        text = path.read_bytes()[: header_units(path)[0][2]]
        assert b"/home" not in text
        assert b"/data" not in text
        assert b"\t" not in text
        read = Result.read(path).provenance
        told = {name: value for name, value in result.provenance.items() if value is not None}
        assert read == told | {
            "value_range": "0.0, 1.0",
            "images": "mosaic.fits",
            "files": "a.fits, b.fits",
            "note": "tab here, \\xb5Jy, " + ("long " * 30).strip(),
            "nothing": "nan",
        }

    def test_the_header_explains_flags_and_renamed_columns(self, path):
        example_result(1, catalogue=Table({"Flags": [1], "flux": [2.0]})).write(path)
        header = fits.getheader(path, "CLASSIFICATION")
        for bit, flag in enumerate(Flag):
            assert flag == 1 << bit
            assert header[f"FLAG{bit}"] == f"{flag.name}: {flag.description}"
        assert header["INCOL1"] == "Flags -> in_Flags"
        assert "INCOL2" not in header

    def test_an_existing_file_stays(self, path):
        path.write_text("precious")
        with pytest.raises(OutputError, match="exists"):
            example_result().write(path)
        assert path.read_text() == "precious"
        example_result().write(path, overwrite=True)
        assert len(Result.read(path)) == 9

    def test_places_where_nothing_can_be_written(self, tmp_path):
        with pytest.raises(OutputError, match="is a folder"):
            check_output(tmp_path)
        with pytest.raises(OutputError, match="there is no folder"):
            check_output(tmp_path / "nowhere" / "a.fits")
        with pytest.raises(OutputError, match="cannot be written: File name too long"):
            example_result(1).write(tmp_path / ("a" * 300))
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_leaves_nothing(self, tmp_path):
        result = example_result(catalogue=Table({"a": np.zeros((9, 10000))}))
        (tmp_path / "a.fits").write_text("precious")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(OutputError, match=r"a.fits cannot be written: \w+"):
                result.write(tmp_path / "a.fits", overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert [file.name for file in tmp_path.iterdir()] == ["a.fits"]
        assert (tmp_path / "a.fits").read_text() == "precious"

    def test_an_interrupted_write_leaves_nothing(self, tmp_path, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        result = example_result()
        monkeypatch.setattr(AttentionStore, "_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            result.write(tmp_path / "a.fits")
        assert list(tmp_path.iterdir()) == []

    def test_files_that_are_no_product(self, tmp_path):
        with pytest.raises(InputError, match="cannot be read as FITS"):
            Result.read(tmp_path / "nowhere.fits")
        (tmp_path / "text.fits").write_text("no FITS at all")
        with pytest.raises(InputError, match="cannot be read as FITS"):
            Result.read(tmp_path / "text.fits")
        Table({"a": [1]}).write(tmp_path / "table.fits")
        with pytest.raises(InputError, match="no extension CLASSIFICATION"):
            Result.read(tmp_path / "table.fits")
        other = fits.BinTableHDU(Table({"a": [1]}), name="CLASSIFICATION")
        fits.HDUList([fits.PrimaryHDU(), other]).writeto(tmp_path / "other.fits")
        with pytest.raises(InputError, match="lacks the columns"):
            Result.read(tmp_path / "other.fits")


class TestTable:
    def test_read_by_astropy_alone(self, path):
        result = example_result()
        result.write(path)
        table = Table.read(path, hdu="CLASSIFICATION")
        assert table.colnames == result.table.colnames
        for name in table.colnames[:OURS]:
            assert table[name].unit == result.table[name].unit
            assert table[name].description == result.table[name].description
            assert table[name].meta["ucd"] == result.table[name].meta["ucd"]
        assert table["class"].mask.tolist() == result.table["class"].mask.tolist()
        assert table["probability"].mask.tolist() == result.table["class"].mask.tolist()
        assert table["class"].compressed().tolist() == ["FRII", "FRI", "FRII"]

    def test_cards_of_the_columns(self, path):
        example_result().write(path)
        with fits.open(path) as hdus:
            header = hdus["CLASSIFICATION"].header
            numbers = {name: k for k, name in enumerate(hdus["CLASSIFICATION"].columns.names, start=1)}
        assert header[f"TUCD{numbers['ra']}"] == "pos.eq.ra;meta.main"
        assert header[f"TCOMM{numbers['size']}"] == "largest extent of the source's islands"
        assert header[f"TUNIT{numbers['peak']}"] == "Jy beam-1"
        assert header[f"TDISP{numbers['ra']}"] == "F15.6"

    def test_read_again_the_table_is_the_same(self, path):
        result = example_result()
        result.write(path)
        again = Result.read(path)
        for name in result.table.colnames:
            old, new = result.table[name], again.table[name]
            assert type(old) is type(new)
            assert old.dtype.newbyteorder("=") == new.dtype.newbyteorder("=")
            assert (old.unit, old.description, old.format, old.meta) == (
                new.unit,
                new.description,
                new.format,
                new.meta,
            )
            assert old.tolist() == new.tolist() or name in ("rms", "snr", "peak", "size", "ra", "dec") or "c" in name[0]
            assert np.array_equal(
                np.ma.filled(old, "" if old.dtype.kind == "U" else -9),
                np.ma.filled(new, "" if old.dtype.kind == "U" else -9),
            )
        assert again.summary() == result.summary()

    def test_empty_catalogue(self, path):
        catalogue = Table({"flux": np.zeros(0), "name": np.zeros(0, dtype="U5"), "o": np.zeros(0, dtype=object)})
        catalogue["sky"] = SkyCoord([], [], unit="deg")
        example_result(0, catalogue=catalogue).write(path)
        table = Result.read(path).table
        assert len(table) == 0
        assert table.colnames[OURS:] == ["flux", "in_name", "o", "sky"]

    def test_many_columns(self, path):
        catalogue = Table({f"col_{k}": np.full(2, k) for k in range(999 - OURS)})
        example_result(2, catalogue=catalogue).write(path)
        table = Result.read(path).table
        assert table.colnames[OURS:] == catalogue.colnames
        assert table["col_900"].tolist() == [900, 900]
        catalogue["one_more"] = 0
        with pytest.raises(OutputError, match="1000 columns: FITS allows 999"):
            check_output(path, overwrite=True, catalogue=catalogue)
        with pytest.raises(OutputError, match="1000 columns: FITS allows 999"):
            example_result(2, catalogue=catalogue).write(path, overwrite=True)
        catalogue.remove_columns(["one_more", "col_0"])
        catalogue["sky"] = SkyCoord([1, 2], [3, 4], unit="deg")  # two columns in the file
        with pytest.raises(OutputError, match="more columns in FITS than the 999 allowed"):
            example_result(2, catalogue=catalogue).write(path, overwrite=True)

    def test_a_product_is_a_catalogue_too(self, path, tmp_path):
        first = example_result(3)
        first.write(path)
        second = example_result(3, catalogue=Result.read(path).table)
        second.write(tmp_path / "again.fits")
        table = Result.read(tmp_path / "again.fits").table
        assert table["in_class"].tolist() == first.table["class"].tolist()
        assert len(table.colnames) == 2 * OURS + 1


EXACT = {
    "f4": np.array([1.5, -2.5, 0], dtype="f4"),
    "f8": np.array([1.5, np.inf, 1e300], dtype=">f8"),
    "u1": np.array([1, 255, 0], dtype="u1"),
    "i2": np.array([-(2**15), 2**15 - 1, 0], dtype="i2"),
    "i4": np.array([-(2**31), 2**31 - 1, 0], dtype="i4"),
    "i8": np.array([-(2**63), 2**63 - 1, 0], dtype="i8"),
    "u2": np.array([0, 2**16 - 1, 1], dtype="u2"),
    "u4": np.array([0, 2**32 - 1, 1], dtype="u4"),
    "u8": np.array([0, 2**64 - 1, 1], dtype="u8"),
    "complex": np.array([1 + 2j, -3j, 0]),
    "bool": np.array([True, False, True]),
    "text": np.array(["a", "bcd", " e"]),
    "backslash": np.array(["a\\b", "c", "\\x41"]),
    "cube": np.arange(18).reshape(3, 3, 2),
    "texts": np.array([["a", "bb"], ["cc", "d"], ["e", "f"]]),
    "bools": np.array([[True, False], [False, False], [True, True]]),
    "struct": np.array([(1, 2.5), (3, 4.5), (5, 6)], dtype=[("a", "i4"), ("b", "f8")]),
}
NEXT_TYPE = {
    "f4": np.array([1.5, -2.5, 0], dtype="f2"),
    "f8": np.array([1.5, -2.5, 0], dtype=np.longdouble),
    "c16": np.array([1.5, -2.5j, 0], dtype=np.clongdouble),
    "i2": np.array([-128, 127, 0], dtype="i1"),
}
MASKED = {
    "default_fill": np.array([999999, 5, 7], dtype="i8"),
    "limits": np.array([2**63 - 1, -(2**63), 7], dtype="i8"),
    "i2": np.array([-1, 5, 7], dtype="i2"),
    "u1": np.array([255, 0, 7], dtype="u1"),
    "u2": np.array([65535, 0, 7], dtype="u2"),
    "u8": np.array([2**64 - 1, 0, 7], dtype="u8"),
    "integers": np.array([[1, 999999], [2, 3], [4, 5]]),
    "bool": np.array([True, False, True]),
    "bools": np.array([[True, False], [False, True], [True, True]]),
    "f8": np.array([1.5, 2.5, -99.0]),
    "floats": np.array([[1.5, 2.5], [3.5, -99.0], [1e20, 1]]),
    "text": np.array(["N/A", "b", "c"]),
}
MASKED = {
    # A fill value that the data hold must not become a null.
    name: MaskedColumn(
        values, mask=(np.arange(3) == 1).reshape(3, *[1] * (values.ndim - 1)) | np.zeros_like(values, bool)
    )
    for name, values in MASKED.items()
}
for _column in MASKED.values():
    _column.fill_value = np.asarray(_column).reshape(-1)[0]
ESCAPED = {
    "accent": ["é", "b", ""],
    "mixed": ["a\\b", "ü\\x41", "c"],
    "control": ["tab\t", "new\nline", "nul\0inside"],
    "far": ["日本", "😀", "a"],
    "bytes": [b"bytes", "é".encode(), b"c"],
    "pairs": [["é", "a"], ["b", "c"], ["d", "e"]],
}
OBJECTS = {
    "text": (objects("a", None, "é"), ["a", None, "é"]),
    "text_nan": (objects("a", float("nan"), "b"), ["a", None, "b"]),
    "integer": (objects(1, None, 2**40), [1, None, 2**40]),
    "real": (objects(1.5, None, 2), [1.5, None, 2.0]),
    "bool": (objects(True, None, False), [True, None, False]),
    "nothing": (objects(None, None, None), [None, None, None]),
    "mixed": (objects({"a": [1, np.float32(2)]}, None, "x"), ['{"a": [1, 2.0]}', "null", '"x"']),
    "large": (objects(2**70, 1, 2), [str(2**70), "1", "2"]),
    "other": (objects(1 + 2j, b"\xff", {1}), ['"(1+2j)"', '"\\\\xff"', '"{1}"']),
    "lists": (objects([1, 2], [], [3]), ["[1, 2]", "[]", "[3]"]),
    "table": (np.array([[1, None], ["a", 2], [3, 4]], dtype=object), ["[1, null]", '["a", 2]', "[3, 4]"]),
    "no_elements": (np.zeros((3, 0)), ["[]", "[]", "[]"]),
    "missing": (np.array(["", "a", "b"]), [None, "a", "b"]),
    "nan": (np.array([1.0, np.nan, 2.0]), [1.0, None, 2.0]),
}


@pytest.fixture(scope="module")
def many_kinds(tmp_path_factory):
    """One product with all these columns: as read by `Result.read` and by ``Table.read``."""
    catalogue = Table()
    groups = {"exact": EXACT, "next": NEXT_TYPE, "masked": MASKED, "escaped": ESCAPED}
    groups["object"] = {name: values for name, (values, _) in OBJECTS.items()}
    for group, columns in groups.items():
        for name, values in columns.items():
            catalogue[f"{group}_{name}"] = values if isinstance(values, MaskedColumn) else Column(np.array(values))
    path = tmp_path_factory.mktemp("kinds") / "a.fits"
    example_result(3, catalogue=catalogue).write(path)
    with warnings.catch_warnings():  # astropy itself knows no null, but finds the mask beside it
        warnings.filterwarnings("ignore", "Column .* contains NULL", AstropyUserWarning)
        return Result.read(path).table, Table.read(path, hdu="CLASSIFICATION")


class TestColumns:
    """What each kind of input column becomes; the table is in `radio_ag.catalog_io.files.fits_table`."""

    @pytest.mark.parametrize("name", EXACT)
    def test_exact(self, many_kinds, name):
        column, values = many_kinds[0][f"exact_{name}"], EXACT[name]
        assert type(column) is Column
        assert column.dtype.newbyteorder("=") == values.dtype.newbyteorder("=")
        assert np.array_equal(column, values)

    @pytest.mark.parametrize("name", NEXT_TYPE)
    def test_types_that_fits_lacks_take_the_next(self, many_kinds, name):
        column = many_kinds[0][f"next_{name}"]
        assert column.dtype == np.dtype(name).newbyteorder(">")
        assert column.tolist() == NEXT_TYPE[name].tolist()

    @pytest.mark.parametrize("name", MASKED)
    def test_masked(self, many_kinds, name):
        column, expected = many_kinds[0][f"masked_{name}"], MASKED[name]
        assert np.array_equal(column.mask, expected.mask)
        assert column.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        assert column.tolist() == expected.tolist()

    @pytest.mark.parametrize("name", ESCAPED)
    def test_text_beyond_ascii_is_escaped(self, many_kinds, name):
        column, plain = (table[f"escaped_{name}"] for table in many_kinds)
        expected = np.array([v.decode() if isinstance(v, bytes) else v for v in ESCAPED[name]])
        assert np.array_equal(np.ma.filled(column, ""), expected)
        assert plain.meta["written_as"] == "unicode_escape"
        assert plain.tobytes().isascii()

    def test_plain_text_with_a_backslash_is_not_escaped(self, many_kinds):
        plain = many_kinds[1]["exact_backslash"]
        assert "written_as" not in plain.meta
        assert plain.tolist() == ["a\\b", "c", "\\x41"]

    @pytest.mark.parametrize("name", OBJECTS)
    def test_objects_and_what_counts_as_missing(self, many_kinds, name):
        assert many_kinds[0][f"object_{name}"].tolist() == OBJECTS[name][1]

    def test_every_value_of_a_byte_and_a_mask(self, path):
        given_column = MaskedColumn(np.arange(257) % 256, dtype="u1", mask=np.arange(257) == 256)
        column, _ = written_and_read(path, given_column)
        assert column.tolist() == given_column.tolist()

    def test_quantities(self, path):
        catalogue = QTable({"q": [1, 2] * u.mJy, "m": Masked([1.0, 2.0] * u.erg, mask=[False, True])})
        example_result(2, catalogue=catalogue).write(path)
        table = Result.read(path).table
        assert table["q"].unit == u.mJy
        assert table["q"].tolist() == [1, 2]
        assert table["m"].unit == u.erg
        assert table["m"].tolist() == [1.0, None]

    @pytest.mark.parametrize("unit", ["mJy/bm", "3.5 Jy", "Angstrom"])
    def test_units_that_fits_does_not_define(self, path, unit):
        catalogue = Table({"x": Column([1.0], unit=u.Unit(unit, parse_strict="silent"))})
        example_result(1, catalogue=catalogue).write(path)
        assert Result.read(path).table["x"].unit.to_string() == catalogue["x"].unit.to_string()
        assert fits.getheader(path, 1)[f"TUNIT{OURS + 1}"] == catalogue["x"].unit.to_string()

    def test_coordinates(self, path):
        sky = SkyCoord([1, 2], [3, 4], unit="deg", frame="galactic")
        column, plain = written_and_read(path, sky)
        for result in (column, plain["x"]):
            assert np.all(result.separation(sky).arcsec < 1e-9)
        assert {"x.l", "x.b"} <= set(fits.getdata(path, 1).names)

    @pytest.mark.parametrize("location", [None, EarthLocation(lon=-107.6 * u.deg, lat=34 * u.deg)])
    def test_times(self, path, location):
        times = Time(["2020-01-01T01:02:03.123456789", "1993-04-05"], scale="tai", location=location)
        column, plain = written_and_read(path, times)
        assert column.scale == "tai"
        assert np.all(np.abs((column - Time(times, location=None)).to_value("ns")) < 1)
        assert plain["x"][0] == "2020-01-01T01:02:03.123456789"

    def test_masked_times(self, path):
        times = Time(["2020-01-01", "1993-04-05"])
        times[1] = np.ma.masked
        column, _ = written_and_read(path, times)
        assert np.asarray(column.mask).tolist() == [False, True]
        assert column[0].isot == "2020-01-01T00:00:00.000000000"

    def test_dates_and_spans_of_numpy(self, path):
        column, _ = written_and_read(path, np.array(["2020-01-01T01:02:03", "NaT"], dtype="M8[s]"))
        assert column.tolist() == ["2020-01-01T01:02:03.000000000", None]
        path.unlink()
        column, _ = written_and_read(path, np.array([90, "NaT"], dtype="m8[m]"))
        assert column.tolist() == [5400.0, None]
        assert column.unit == u.s

    def test_other_mixins(self, path):
        catalogue = Table()
        catalogue["span"] = TimeDelta([1, 2] * u.s)
        catalogue["place"] = EarthLocation([1, 2] * u.m, [3, 4] * u.m, [5, 6] * u.m)
        example_result(2, catalogue=catalogue).write(path)
        table = Result.read(path).table
        assert np.allclose(table["span"].to_value("s"), [1, 2], atol=1e-12)
        assert np.allclose(table["place"].z.to_value("m"), [5, 6])

    def test_arrays_of_varying_length(self, path):
        column, _ = written_and_read(path, Column(objects(np.array([1.5, 2.5]), None, np.array([3]))))
        assert [array.tolist() for array in column] == [[1.5, 2.5], [], [3.0]]

    def test_arrays_of_varying_length_beside_a_mask(self, path):
        catalogue = Table(
            {"v": Column(objects(np.array([1, 2]), np.array([3]))), "m": MaskedColumn([1, 2], mask=[0, 1])}
        )
        example_result(2, catalogue=catalogue).write(path)
        table = Result.read(path).table
        assert [array.tolist() for array in table["v"]] == [[1, 2], [3]]
        assert table["m"].tolist() == [1, None]

    def test_descriptions_and_meta(self, path):
        column = Column([1, 2], description="flux in µJy\nof the peak", format="%8.3f")
        column.meta = {"ucd": "phot.flux", "utype": "a:b", "note": "é", "object": object(), "list": [1]}
        restored, _ = written_and_read(path, column)
        assert restored.description == "flux in µJy\nof the peak"
        assert restored.meta == {"ucd": "phot.flux", "utype": "a:b", "note": "é"}
        header = fits.getheader(path, 1)
        assert (header[f"TUCD{OURS + 1}"], header[f"TUTYP{OURS + 1}"]) == ("phot.flux", "a:b")
        assert header[f"TCOMM{OURS + 1}"] == "flux in \\xb5Jy\\nof the peak"

    def test_strange_names(self, path):
        names = ["Größe", "a b", "back\\slash", "x" * 99, "x" * 98, "flux", "FLUX", "TUNIT1", "it's"]
        names += [
            "S: 1.4",
            "Flux: 0",
            "Flux_ 0",
            "a.b: -1E5",
            "   ",
            " blank ",
            "=1+1",
            "'" * 50,
            "HISTORY",
            "S:1.4",
            "/",
        ]
        catalogue = Table({name: [k] for k, name in enumerate(names)})
        with pytest.warns(RadioAGWarning, match="'Größe' is 'Gr.*'S: 1.4' is 'S_ 1.4', and 6 more"):
            example_result(1, catalogue=catalogue).write(path)
        table = Result.read(path).table
        assert table.colnames[OURS:] == names
        assert [table[name][0] for name in names] == list(range(len(names)))
        with warnings.catch_warnings(action="ignore", category=VerifyWarning):
            plain = Table.read(path, hdu="CLASSIFICATION")
        assert plain.colnames[OURS + 3 : OURS + 5] == ["x" * 60, "x" * 60 + "_2"]
        assert plain.colnames[OURS + 9 :] == [
            *(
                "S_ 1.4",
                "Flux_ 0",
                "Flux_ 0_2",
                "a.b_ -1E5",
                "column",
                "blank",
                "=1+1",
                "_" * 50,
                "HISTORY",
                "S:1.4",
                "/",
            )
        ]
        assert [plain.columns[OURS + k][0] for k in range(len(names))] == list(range(len(names)))
        header = fits.getheader(path, "CLASSIFICATION")
        assert "Flux: 0 -> Flux_ 0" in header["INCOL*"].values()

    def test_texts_that_look_like_records(self, path):
        """``Flux: 0`` in a header is a record of a name and a number to astropy, wherever it stands."""
        catalogue = Table(
            {"a": Column([1.0], unit="Jy", description="Flux: 0", meta={"ucd": "phot: 1", "utype": "a: 2"})}
        )
        result = example_result(1, catalogue=catalogue)
        result.table.meta["region"] = result.table.meta["catalogue"] = "S: 1.4"
        result.write(path)
        read = Result.read(path)
        assert read.provenance["region"] == read.provenance["catalogue"] == "S : 1.4"
        assert read.table["a"].description == "Flux: 0"
        header = fits.getheader(path, "CLASSIFICATION")
        number = next(key for key, value in header["TTYPE*"].items() if value == "a").removeprefix("TTYPE")
        assert (header[f"TUCD{number}"], header[f"TCOMM{number}"]) == ("phot : 1", "Flux : 0")

    def test_names_of_components(self, path):
        catalogue = Table(
            {"sky": SkyCoord([1, 2], [3, 4], unit="deg"), "sky.ra": [5, 6], "flux": [7, 8], "flux.err": [9, 9]}
        )
        catalogue["bad"] = MaskedColumn([True, False], mask=[False, True])
        catalogue["bad.mask"] = [10, 11]
        with pytest.warns(RadioAGWarning, match="'sky.ra' is 'sky_ra', 'bad.mask' is 'bad_mask'"):
            example_result(2, catalogue=catalogue).write(path)
        with warnings.catch_warnings(action="ignore", category=AstropyUserWarning):
            assert Table.read(path, hdu="CLASSIFICATION")["sky_ra"].tolist() == [5, 6]
        table = Result.read(path).table
        assert table.colnames[OURS:] == ["sky", "sky.ra", "flux", "flux.err", "bad", "bad.mask"]
        assert table["sky.ra"].tolist() == [5, 6]
        assert table["sky"].ra.deg.tolist() == [1, 2]
        assert table["bad"].tolist() == [True, None]
        assert table["bad.mask"].tolist() == [10, 11]

    text = st.text(max_size=6)
    values = st.one_of(
        st.lists(text, min_size=2, max_size=2).map(np.array),
        st.lists(
            st.one_of(st.none(), text, st.integers(), st.floats(), st.booleans(), st.lists(text)),
            min_size=2,
            max_size=2,
        ).map(lambda v: Column(objects(*v))),
        st.lists(st.binary(max_size=5), min_size=2, max_size=2).map(np.array),
    )

    @settings(max_examples=settings.default.max_examples // 2)  # each writes a product
    @given(columns=st.dictionaries(text.filter(bool), values, max_size=4))
    @pytest.mark.filterwarnings("ignore:It is strongly recommended")  # strange names, read by astropy alone
    @pytest.mark.filterwarnings("ignore:columns with names that FITS cannot hold")
    def test_no_column_is_lost(self, path, columns):
        catalogue = Table(columns) if columns else Table({"a": [1, 2]})
        example_result(2, catalogue=catalogue).write(path, overwrite=True)
        table = Result.read(path).table
        given = [column.info.name for column in catalogue.itercols()]
        assert [name.removeprefix("in_") for name in table.colnames[OURS:]] == given
        for k, column in enumerate(catalogue.itercols(), start=OURS):
            if column.dtype.kind == "U":
                assert np.ma.filled(table.columns[k], "").tolist() == [text.rstrip(" ") for text in column.tolist()]
        content = path.read_bytes()
        with fits.open(path, checksum=True, disable_image_compression=True) as hdus:
            for hdu in hdus:
                header = content[hdu.fileinfo()["hdrLoc"] : hdu.fileinfo()["datLoc"]].decode("ascii")
                assert header.isprintable()
                assert hdu.verify_checksum() == 1
