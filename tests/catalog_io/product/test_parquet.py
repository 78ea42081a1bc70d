"""The product as a data set of Parquet files: what other programs read of it, and what comes back."""

import json
import os

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from column_examples import every_kind_of_column
from run_examples import Doubles, classify, positions

from radio_ag import Result
from radio_ag.errors import InputError, OutputError

pandas = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")
OPTIONS = {"device": "cpu", "orbit": 1, "threads": 1, "chunk": 5, "attention": "gates", "keep_cutouts": True}
ROWS = 18


@pytest.fixture(scope="module")
def products(weights, tmp_path_factory):
    """The same run as a data set, a few rows a group and file, and as a FITS file."""
    from radio_ag.catalog_io.product import parquet as module

    folder = tmp_path_factory.mktemp("products")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GROUP", 4)
        patch.setattr(module, "_FILE", 2)
        result = classify(positions(ROWS), images=Doubles(), weights=weights, output=folder / "out.parquet", **OPTIONS)
    classify(positions(ROWS), images=Doubles(), weights=weights, output=folder / "out.fits", **OPTIONS)
    return folder / "out.parquet", Result.read(folder / "out.fits"), result


def test_files_and_nothing_else(products):
    path = products[0]
    assert sorted(os.listdir(path)) == [f"part-{number:05d}.parquet" for number in range(3)]
    assert sorted(os.listdir(path.parent)) == [
        *("out.attention.fits", "out.fits", "out.parquet", "out.sources.parquet")
    ]
    assert [parquet.read_metadata(path / name).num_row_groups for name in sorted(os.listdir(path))] == [2, 2, 1]


def test_pandas_reads_the_rows_in_their_order(products):
    path, expected, _ = products
    frame = pandas.read_parquet(path)
    assert list(frame.columns) == expected.table.colnames
    for name in expected.table.colnames:
        column = expected.table[name]
        missing = np.array([str(value) in ("--", "nan") for value in column])
        np.testing.assert_array_equal(frame[name].isna(), missing)
        assert frame[name][~missing].tolist() == np.asarray(column)[~missing].tolist()
    assert frame["note"][12] == "5 µJy"


def test_polars_reads_them_too(products):
    polars = pytest.importorskip("polars")
    path, expected, _ = products
    frame = polars.read_parquet(path)
    assert frame.columns == expected.table.colnames
    assert frame["class"].to_list() == [value or None for value in expected.table["class"].filled("")]
    assert frame["flags"].to_list() == expected.table["flags"].tolist()
    assert frame["number"].null_count() == 1


def test_metadata(products):
    path, expected, _ = products
    schema = parquet.read_schema(path / "part-00002.parquet")
    provenance = json.loads(schema.metadata[b"radio-ag"])
    assert provenance["weights"] == "untrained"
    assert provenance["orbit"] == 1
    for name in ("ra", "peak", "flags", "cd1_1"):
        notes = schema.field(name).metadata
        column = expected.table[name]
        assert notes[b"ucd"].decode() == column.meta["ucd"]
        assert notes[b"description"].decode() == column.description
        assert notes.get(b"unit", b"").decode() == (column.unit.to_string("fits") if column.unit else "")


def test_what_comes_back(products):
    path, expected, result = products
    read = Result.read(path)
    assert read.summary() == expected.summary() == result.summary()
    assert read.table.colnames == result.table.colnames == expected.table.colnames
    for name, column in expected.table.columns.items():
        assert list(map(str, read.table[name])) == list(map(str, column))
        assert read.table[name].unit == result.table[name].unit == column.unit
    for name in expected.table.colnames[:24]:
        assert list(map(str, result.table[name])) == list(map(str, expected.table[name]))
    rows = np.arange(ROWS)
    for product in (read, result):
        for gate in ("mean", 1, 2, 3):
            np.testing.assert_array_equal(product.attention_maps(rows, gate), expected.attention_maps(rows, gate))
        np.testing.assert_array_equal(product.cutouts(rows), expected.cutouts(rows))


def test_every_kind_of_column(weights, tmp_path):
    catalogue = every_kind_of_column(9)
    catalogue["ra"], catalogue["dec"] = np.arange(9.0) * u.deg, np.zeros(9) * u.deg
    catalogue["complex"] = np.arange(9) * 1j
    catalogue["lists"] = np.array([np.arange(k) for k in range(9)], dtype=object)
    catalogue["empty"] = MaskedColumn(np.zeros(9, dtype="i4"), mask=True)
    output = tmp_path / "out.parquet"
    options = OPTIONS | {"attention": "none", "keep_cutouts": False}
    classify(catalogue, images=Doubles(), weights=weights, output=output, **options)
    assert sorted(os.listdir(tmp_path)) == ["out.parquet", "out.sources.parquet"]
    frame = pandas.read_parquet(output)
    assert frame["text"].tolist() == ["a"] * 8 + ["µ"]
    assert frame["masked"].isna().tolist() == [row == 7 for row in range(9)]
    assert frame["masked_bool"].isna().tolist() == [row == 8 for row in range(9)]
    assert frame["sky.ra"].tolist() == list(range(9))
    assert frame["time"][1].startswith("1995-10-11T00:00:00")
    assert frame["empty"].isna().all()
    assert frame["complex"][2].tolist() == [0, 2]
    read = Result.read(output).table
    assert read["cube"].tolist() == catalogue["cube"].tolist()
    assert [list(value) for value in read["lists"]] == [list(range(k)) for k in range(9)]
    assert read["q"].unit == "mJy"


def test_an_empty_catalogue(weights, tmp_path):
    classify(positions(0), images=Doubles(), weights=weights, output=tmp_path / "out.parquet", **OPTIONS)
    assert len(Result.read(tmp_path / "out.parquet")) == 0


def test_what_is_there_is_replaced_only_when_asked(weights, tmp_path):
    output = tmp_path / "out.parquet"

    def run(**options):
        return classify(positions(4), images=Doubles(), weights=weights, output=output, **OPTIONS | options)

    run()
    with pytest.raises(OutputError, match="exists: choose another name"):
        run()
    run(overwrite=True, attention="none", keep_cutouts=False)
    assert sorted(os.listdir(tmp_path)) == ["out.parquet", "out.sources.parquet"]
    assert Result.read(output).gates == ()
    images = Doubles()
    classify(positions(4), images=images, weights=weights, output=output, resume=True,
             **OPTIONS | {"attention": "none", "keep_cutouts": False})  # fmt: skip
    assert images.asked == []
    (output / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match=r"not of a data set \(thesis\.tex\)"):
        run(overwrite=True)
    (tmp_path / "file.parquet").write_text("precious")
    with pytest.raises(OutputError, match="is a file: name a folder"):
        classify(positions(4), images=Doubles(), weights=weights, output=tmp_path / "file.parquet", overwrite=True)


def test_options_that_do_not_go_together(weights, tmp_path):
    with pytest.raises(InputError, match="format must be one of fits, parquet, not 'hdf5'"):
        classify(positions(1), images=Doubles(), weights=weights, output=tmp_path / "out.h5", format="hdf5")
    with pytest.raises(InputError, match="attention='hdus' is for FITS"):
        classify(positions(1), images=Doubles(), weights=weights, output=tmp_path / "o.parquet", attention="hdus")


def test_folders_that_are_no_product(tmp_path):
    with pytest.raises(InputError, match="cannot be read as a data set"):
        Result.read(tmp_path)
    Table({"a": [1]}).to_pandas().to_parquet(tmp_path / "part-00000.parquet")
    with pytest.raises(InputError, match="no provenance of radio-ag"):
        Result.read(tmp_path)
