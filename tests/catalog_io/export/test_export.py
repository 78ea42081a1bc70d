"""Exports read back with other readers: regions, VOTable, CSV, ECSV, and a folder of FITS files."""

import csv
import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits, votable
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.wcs import WCS
from regions import CircleSkyRegion, Regions
from result_examples import PROVENANCE, example_columns, example_maps, example_result, example_stores
from typer.testing import CliRunner

from radio_ag import classify
from radio_ag.catalog_io.export import FORMATS, export, format_of
from radio_ag.catalog_io.export.regions import COLOURS, to_regions
from radio_ag.catalog_io.export.sources import INDEX, file_name
from radio_ag.catalog_io.finding.find import find_sources
from radio_ag.catalog_io.images.fields import Fields
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.open_images import open_images
from radio_ag.catalog_io.product.columns import COLUMNS, SOURCE_COLUMNS
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.result import Result
from radio_ag.cli import app
from radio_ag.cli.export import ExportFormat
from radio_ag.errors import ImageError, InputError, OutputError, RadioAGWarning, ServiceError
from radio_ag.flags import Flag
from radio_ag.options import ImageOptions
from radio_ag.preprocess.images import BEAM_FWHM, crop
from radio_ag.simulated import make_mosaic

SUFFIXES = {"ds9": ".reg", "crtf": ".crtf", "votable": ".xml", "csv": ".csv", "ecsv": ".ecsv"}
FILES = tuple(SUFFIXES)


def placed(count=4, **changes) -> Result:
    """A result whose every row has a position, FRI and FRII in turn."""
    columns = example_columns(3 * count)
    columns = {name: np.resize(values[::3], count) for name, values in columns.items()}
    columns["ra"] = columns["cutout_ra"] = 121.0 + 0.1 * np.arange(count)
    columns["attention_plane"] = np.arange(count)
    return Result.from_columns(Table({"a": np.arange(count)}), columns | changes, example_stores(count), PROVENANCE)


def read_votable(path, **options) -> Table:
    return votable.parse(path, **options).get_first_table().to_table(use_names_over_ids=True)


# Formats and files


def test_formats_of_suffixes():
    assert {name: format_of(f"some.where/OUT{suffix}") for name, suffix in SUFFIXES.items()} == dict(
        zip(FILES, FILES, strict=True)
    )
    assert format_of("out.VOT") == "votable"
    assert set(FORMATS) == {*FILES, "cutouts"} == {member.value for member in ExportFormat}


@pytest.mark.parametrize("path", ["out", "out.fits", "out.txt", "cutouts/"])
def test_a_suffix_that_tells_nothing(tmp_path, path):
    with pytest.raises(InputError, match=r"does not tell the format: use \.reg.*or name one of ds9"):
        export(placed(), tmp_path / path)


def test_an_unknown_format(tmp_path):
    with pytest.raises(InputError, match=r"format must be one of ds9, crtf.*not 'fits'"):
        placed().export(tmp_path / "out.fits", "fits")


def test_images_without_cutouts(tmp_path):
    with pytest.raises(InputError, match="images='first' means something to the format 'cutouts' only"):
        placed().export(tmp_path / "out.csv", images="first")


@pytest.mark.parametrize("format", FILES)
def test_a_file_is_replaced_only_when_asked(tmp_path, format):
    path = tmp_path / f"out{SUFFIXES[format]}"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        placed().export(path)
    assert path.read_text() == "mine"
    assert placed().export(path, overwrite=True) == path
    assert path.read_text() != "mine"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("format", FORMATS)
def test_a_folder_that_is_not_there(tmp_path, format):
    with pytest.raises(OutputError, match="there is no folder"):
        placed().export(tmp_path / "missing" / "out", format)


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_result(tmp_path, format):
    path = placed(0).export(tmp_path / "out", format, rows=True)
    if format in ("ds9", "crtf"):
        assert len(Regions.read(path, format=format)) == 0
    elif format == "votable":
        assert len(read_votable(path)) == 0
    elif format == "cutouts":
        assert [file.name for file in path.iterdir()] == [INDEX]
    else:
        table = Table.read(path, format=f"ascii.{format}")
        assert (len(table), table.colnames) == (0, placed(0).table.colnames)


# Regions


@pytest.mark.parametrize("format", ["ds9", "crtf"])
def test_regions_lie_on_the_sources(tmp_path, format):
    result = placed(size=np.array([60.0, 3.0, np.nan, 100.0]))
    path = result.export(tmp_path / f"out{SUFFIXES[format]}")
    circles = Regions.read(path, format=format)
    assert all(isinstance(circle, CircleSkyRegion) for circle in circles)
    centres = SkyCoord([circle.center for circle in circles])
    assert centres.frame.name == "icrs"
    sky = SkyCoord(result.table["ra"], result.table["dec"], unit="deg")
    assert centres.separation(sky).max() < 0.001 * u.arcsec
    radii = u.Quantity([circle.radius for circle in circles]).to_value("arcsec")
    assert radii == pytest.approx([30.0, BEAM_FWHM, BEAM_FWHM, 50.0], abs=1e-3)


@pytest.mark.parametrize("format", ["ds9", "crtf"])
def test_regions_tell_name_class_and_probability(tmp_path, format):
    path = placed().export(tmp_path / f"out{SUFFIXES[format]}")
    key = "text" if format == "ds9" else "label"
    circles = Regions.read(path, format=format)
    assert [circle.meta[key] for circle in circles] == [
        "J080400.0+153335 FRII 0.80",
        "J080424.0+151535 FRI 0.90",
        "J080448.0+145735 FRII 0.80",
        "J080512.0+143935 FRI 0.90",
    ]


@pytest.mark.parametrize("format", ["ds9", "crtf"])
def test_regions_have_the_colour_of_their_class_and_dashes_for_flags(tmp_path, format):
    result = placed(**{"class": np.array(["FRI", "FRII", "", "FRI"]), "flags": np.array([0, 0, 8, 32])})
    path = result.export(tmp_path / f"out{SUFFIXES[format]}")
    visual = [circle.visual for circle in Regions.read(path, format=format)]
    colours = [entry["edgecolor" if format == "ds9" else "color"] for entry in visual]
    assert colours == [COLOURS["FRI"], COLOURS["FRII"], COLOURS[""], COLOURS["FRI"]]
    assert ["linestyle" in entry and entry["linestyle"] != "solid" for entry in visual] == [False, False, True, True]


def test_ds9_regions_are_grouped_by_class():
    regions = to_regions(placed(**{"class": np.array(["FRI", "FRII", "", "FRI"])}))
    assert [region.meta["tag"] for region in regions] == [["FRI"], ["FRII"], ["no class"], ["FRI"]]


@pytest.mark.parametrize("format", ["ds9", "crtf"])
def test_rows_without_a_position_have_no_region_and_a_warning_says_so(tmp_path, format):
    path = tmp_path / f"out{SUFFIXES[format]}"
    with pytest.warns(RadioAGWarning, match="3 of 9 sources have no position"):
        example_result(9).export(path)
    circles = Regions.read(path, format=format)
    expected = example_columns(9)["ra"]
    assert [circle.center.ra.deg for circle in circles] == pytest.approx(expected[np.isfinite(expected)], abs=1e-6)


@pytest.mark.parametrize("format", ["ds9", "crtf"])
@pytest.mark.parametrize("name", ["} color=red", "a'\ncircle(1,2,3)", 'a"b\\', "{{", "ü\x1b\u2028x", ""])
def test_a_name_cannot_break_out_of_its_text(tmp_path, format, name):
    result = placed(3)
    result.table["name"] = [name, "plain", name]
    path = result.export(tmp_path / f"out{SUFFIXES[format]}")
    circles = Regions.read(path, format=format)
    assert len(circles) == 3
    assert sum("circle" in line for line in path.read_text(encoding="ascii").splitlines()) == 3
    colour = [circle.visual["edgecolor" if format == "ds9" else "color"] for circle in circles]
    assert colour == [COLOURS["FRII"], COLOURS["FRI"], COLOURS["FRII"]]


# Tables


def test_votable_says_what_its_columns_are(tmp_path):
    path = example_result(9).export(tmp_path / "out.xml", rows=True)
    document = votable.parse(path, verify="exception")  # refuses what the standard forbids
    table = document.get_first_table()
    assert table.ID == "CLASSIFICATION"
    fields = {field.name: field for field in table.fields}
    assert {spec.name: fields[spec.name].ucd for spec in COLUMNS} == {spec.name: spec.ucd for spec in COLUMNS}
    assert {spec.name: " ".join(fields[spec.name].description.split()) for spec in COLUMNS} == {
        spec.name: spec.description for spec in COLUMNS
    }
    units = {spec.name: u.Unit(spec.unit) for spec in COLUMNS if spec.unit}
    assert {name: fields[name].unit for name in units} == units
    (system,) = document.resources[0].coordinate_systems
    assert (system.system, fields["ra"].ref, fields["dec"].ref) == ("ICRS", system.ID, system.ID)


def test_votable_tells_provenance_and_flags(tmp_path):
    document = votable.parse(example_result(3).export(tmp_path / "out.xml"))
    infos = {info.name: info.value for info in document.resources[0].infos}
    assert infos["weights_sha256"] == PROVENANCE["weights_sha256"]
    assert infos["value_range"] == "[0.0, 1.0]"
    assert infos["creator"].startswith("radio-ag ")
    assert "seed" not in infos
    for bit, flag in enumerate(Flag):
        assert infos[f"FLAG{bit}"] == f"{flag.name}: {flag.description}"


def grouped():
    """Five rows of three sources, and columns of the catalogue with the names of ours."""
    columns = example_columns(5) | {"group_id": [0, 0, 1, 0, 2], "n_components": [3, 3, 1, 3, 1]}
    columns |= {"primary": [True, False, True, False, True]}
    return Result.from_columns(Table({"LAS": np.arange(5.0)}), columns, example_stores(4), PROVENANCE)


@pytest.mark.parametrize("format", ["votable", "ecsv", "csv"])
def test_a_line_a_source_and_on_request_a_row(tmp_path, format):
    sources, rows = (grouped().export(tmp_path / f"{k}{SUFFIXES[format]}", rows=k) for k in (False, True))
    sources, rows = (read_votable(path) if format == "votable" else Table.read(path) for path in (sources, rows))
    assert sources.colnames == [spec.name for spec in SOURCE_COLUMNS]
    assert sources["n_components"].tolist() == [3, 1, 1]
    assert rows.colnames == grouped().table.colnames
    assert rows["LAS"].tolist() == [0, 1, 2, 3, 4]


def test_the_columns_of_a_catalogue_of_sources_follow(tmp_path):
    result = example_result(3, catalogue=Table({"LAS": [1.0, 2.0, 3.0], "flux": [4.0, 5.0, 6.0]}))
    table = Table.read(result.export(tmp_path / "out.ecsv"))
    ours = [spec.name for spec in SOURCE_COLUMNS]
    assert table.colnames[: len(ours)] == ours
    assert table.colnames[-2:] == ["in_LAS", "flux"]
    assert table["in_LAS"].tolist() == [1, 2, 3]
    assert table["las"].tolist() == result.sources["las"].tolist()
    assert {"source_id", "size", "cd1_1"} <= set(table.colnames)


def test_a_region_and_a_file_a_source_and_on_request_a_row(tmp_path):
    result = grouped()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RadioAGWarning)
        counts = [len(Regions.read(result.export(tmp_path / f"{k}.reg", rows=k))) for k in (False, True)]
    assert counts == [2, 4]  # one source, a row, has no position
    folders = [result.export(tmp_path / f"{k}", "cutouts", images="none", rows=k) for k in (False, True)]
    assert [len(Table.read(folder / INDEX, format="ascii.csv")) for folder in folders] == [3, 5]
    assert [len(list(folder.glob("*.fits"))) for folder in folders] == [2, 4]


@pytest.mark.parametrize("format", ["votable", "ecsv"])
def test_every_value_comes_back(tmp_path, format):
    result = example_result(9)
    path = result.export(tmp_path / f"out{SUFFIXES[format]}", rows=True)
    table = read_votable(path) if format == "votable" else Table.read(path)
    assert table.colnames == result.table.colnames
    for name in result.table.colnames:
        old, new = result.table[name], table[name]
        assert new.dtype.kind == old.dtype.kind, name
        assert [None if value in (None, "") or value != value else value for value in new.tolist()] == [
            None if value in (None, "") or value != value else value for value in old.tolist()
        ]
        assert new.unit == old.unit
        assert " ".join((new.description or "").split()) == (old.description or "")  # XML wraps lines


def test_csv_keeps_every_digit(tmp_path):
    columns = example_columns(300)
    columns["ra"] = columns["ra"] + 1 / 3
    result = Result.from_columns(
        Table({"flux": np.random.default_rng(1).normal(size=300)}), columns, example_stores(200)
    )
    with result.export(tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["ra"] for row in rows[2::3]] == [""] * 100
    assert [float(row["ra"]) for row in rows[::3]] == result.table["ra"][::3].tolist()
    assert [float(row["flux"]) for row in rows] == result.table["flux"].tolist()
    assert [np.float32(row["probability"]) for row in rows[::3]] == result.table["probability"][::3].tolist()
    assert {row["class"] for row in rows[1::3]} == {""}


def test_ecsv_keeps_provenance_and_ucds(tmp_path):
    table = Table.read(example_result(3).export(tmp_path / "out.ecsv"))
    assert table.meta["weights"] == "agcnn-first"
    assert table.meta["value_range"] == [0.0, 1.0]
    assert table.meta["calibrated"] is True
    assert table.meta["seed"] is None
    assert {spec.name: table[spec.name].meta["ucd"] for spec in COLUMNS} == {spec.name: spec.ucd for spec in COLUMNS}


@pytest.mark.parametrize("format", ["votable", "ecsv"])
def test_paths_of_this_computer_are_not_told(tmp_path, format):
    provenance = {"catalogue": tmp_path / "mine.csv", "images": f"{tmp_path}/mosaic.fits"}
    result = Result.from_columns(Table({"a": [1]}), example_columns(1), example_stores(1), provenance)
    text = result.export(tmp_path / f"out{SUFFIXES[format]}").read_text()
    assert "mine.csv" in text
    assert "mosaic.fits" in text
    assert str(tmp_path) not in text


DATES = np.array(["2020-01-01", "NaT"], "M8[D]")
OBJECTS = np.array([{"a": [1, None]}, None], dtype=object)
VARIABLE = np.array([np.arange(2), np.arange(3)], dtype=object)
KINDS = {
    "int8": (np.array([1, -2], "i1"), [1, -2]),
    "uint16": (np.array([1, 65535], "u2"), [1, 65535]),
    "uint32": (np.array([1, 2**32 - 1], "u4"), [1, 2**32 - 1]),
    "uint64": (np.array([1, 2**63 - 1], "u8"), [1, 2**63 - 1]),
    "float16": (np.array([1, 2.5], "f2"), [1, 2.5]),
    "long double": (np.array([1, 2.5], "g"), [1, 2.5]),
    "big endian": (np.array([1, 2.5], ">f8"), [1, 2.5]),
    "bool": ([True, False], [True, False]),
    "masked bool": (MaskedColumn([True, False], mask=[False, True]), [True, None]),
    "masked int": (MaskedColumn([1, 2], mask=[False, True]), [1, None]),
    "masked text": (MaskedColumn(["a", "b"], mask=[False, True]), ["a", None]),
    "text": (['é, "quoted"', "<b>&amp;\n]]>"], ['é, "quoted"', "<b>&amp;\n]]>"]),
    "bytes": (np.array([b"ab", b"\xff\xc3"]), ["ab", "\\xff\\xc3"]),
    "control": (["a\x00b", "\x1b\ud800"], ["a\\x00b", "\\x1b\\ud800"]),
    "text arrays": ([["a", "bc"], ["d", "e"]], ['["a", "bc"]', '["d", "e"]']),
    "masked arrays": (MaskedColumn([[0, 1], [2, 3]], mask=[[0, 1], [0, 0]]), ["[0, null]", "[2, 3]"]),
    "nothing": (np.zeros((2, 0)), ["[]", "[]"]),
    "complex": ([1j, 2], ['"1j"', '"(2+0j)"']),
    "dates": (DATES, ["2020-01-01T00:00:00.000000000", None]),
    "objects": (OBJECTS, [json.dumps(OBJECTS[0]), "null"]),
    "variable arrays": (VARIABLE, ["[0, 1]", "[0, 1, 2]"]),
    "times": (Time(["2020-01-01", "2021-01-01"]), ["2020-01-01T00:00:00.000000000", "2021-01-01T00:00:00.000000000"]),
    "odd unit": (Column([1, 2], unit=u.Unit("furlong/xx", parse_strict="silent")), [1, 2]),
    "magnitudes": ([1.0, 2.0] * u.ABmag, [1, 2]),
}


@pytest.mark.parametrize("format", ["votable", "csv", "ecsv"])
@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_any_kind(tmp_path, format, kind):
    values, expected = KINDS[kind]
    catalogue = Table({"a column": values})
    result = Result.from_columns(catalogue, example_columns(2), example_stores(2))
    path = result.export(tmp_path / f"out{SUFFIXES[format]}")
    if format == "csv":
        with path.open(newline="", encoding="utf-8") as stream:
            found = [row["a column"] for row in csv.DictReader(stream)]
        expected = ["" if value is None else str(value) for value in expected]
        if all(re.fullmatch(r"[-\d.]+", value) for value in [*found, *expected]):
            found, expected = [float(value) for value in found], [float(value) for value in expected]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", votable.exceptions.VOWarning)  # the name has a space, the unit is unknown
            table = read_votable(path) if format == "votable" else Table.read(path)
        found = [None if value in (None, "") else value for value in table["a column"].tolist()]
    assert found == expected


@pytest.mark.parametrize("format", ["votable", "ecsv", "csv"])
def test_positions_and_arrays_of_the_catalogue(tmp_path, format):
    catalogue = Table({"sky": SkyCoord([1.0, 2], [3, 4], unit="deg"), "sky.ra": [7, 8]})
    catalogue["flux"] = [[1.5, np.nan], [2, 3]] * u.Jy
    result = Result.from_columns(catalogue, example_columns(2), example_stores(2))
    path = result.export(tmp_path / f"out{SUFFIXES[format]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", votable.exceptions.VOWarning)
        table = {"votable": read_votable, "ecsv": Table.read, "csv": Table.read}[format](path)
    assert table.colnames[-4:] == ["sky.ra", "sky.dec", "sky.ra_", "flux"]
    assert [table[name].tolist() for name in table.colnames[-4:-1]] == [[1, 2], [3, 4], [7, 8]]
    if format == "csv":
        assert table["flux"].tolist() == ["[1.5, NaN]", "[2.0, 3.0]"]
    else:
        assert table["sky.ra"].unit == u.deg
        assert np.array_equal(np.ma.filled(table["flux"], np.nan), [[1.5, np.nan], [2, 3]], equal_nan=True)
        assert table["flux"].unit == u.Jy


FORMULAS = [
    "=1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "+cmd|' /C calc'!A0",
    "-1+1",
    "-2-3",
    "+A1",
    "\uff1d1+1",
    "-",
    "+1e",
]
HARMLESS = [
    "",
    "a=b",
    " =1",
    "-1",
    "+1.5e-3",
    "-.5",
    "-inf",
    "+nan",
    "+30:40:37.2",
    "-00 30 00",
    "+30d40m37.2s",
    "'=1",
    "1-2",
]


def test_a_spreadsheet_runs_nothing(tmp_path):
    """An apostrophe before what it would run; all else, and by default everything, comes out as it came."""
    texts = [*FORMULAS, *HARMLESS]
    catalogue = Table({"a": texts, "=b": np.arange(len(texts)), "masked": MaskedColumn(texts, mask=True)})
    catalogue["number"] = -1.5 * np.arange(len(texts))
    result = Result.from_columns(catalogue, example_columns(len(texts)), {}, PROVENANCE)

    def rows(name, **options):
        result.export(tmp_path / name, **options)
        with (tmp_path / name).open(newline="") as stream:
            return list(csv.DictReader(stream))

    plain, safe = rows("plain.csv"), rows("safe.csv", spreadsheet_safe=True)
    assert [row["a"] for row in plain] == texts
    assert [row["a"] for row in safe] == [f"'{text}" for text in FORMULAS] + HARMLESS
    assert [row["=b"] for row in plain] == [row["'=b"] for row in safe]
    same = set(plain[0]) - {"a", "=b"}
    assert [{name: row[name] for name in same} for row in plain] == [{name: row[name] for name in same} for row in safe]


def test_the_index_of_cutouts_too(tmp_path):
    result = placed(2)
    result.table["source_id"] = np.array(["=1+1", "-5"])
    result.export(tmp_path / "plain", "cutouts", images="none")
    result.export(tmp_path / "safe", "cutouts", images="none", spreadsheet_safe=True)
    assert list(Table.read(tmp_path / "plain" / INDEX, format="ascii.csv")["source_id"]) == ["=1+1", "-5"]
    assert list(Table.read(tmp_path / "safe" / INDEX, format="ascii.csv")["source_id"]) == ["'=1+1", "-5"]


@pytest.mark.parametrize("format", ["ds9", "crtf", "votable", "ecsv"])
def test_other_formats_are_not_for_spreadsheets(tmp_path, format):
    with pytest.raises(InputError, match=f"spreadsheet_safe means something to the formats 'csv' and.*{format!r}"):
        placed().export(tmp_path / "out", format, spreadsheet_safe=True)


def every_column_of_a_votable(count=9) -> Table:
    row = np.arange(count)
    mask = row % 3 == 1
    return QTable(
        {
            "ok": MaskedColumn(row % 2 == 0, mask=mask),
            "oks": MaskedColumn(np.ones((count, 2), bool), mask=np.stack([mask, ~mask], axis=1)),
            "true": np.ones(count, bool),
            "flux": row * u.mJy / u.beam,
            "note": np.array(["a", "", "ü"])[row % 3],
            "S: 1.4": row * 1.5,
            "has space": row,
            "when": Time(50000 + row, format="mjd"),
            "sky": SkyCoord(row, row, unit="deg"),
            "byte": row.astype("i1"),
            "masked": MaskedColumn(row, mask=mask),
            "object": np.array([None, "a", 1])[row % 3].astype(object),
            "grid": np.ones((count, 2, 3)),
            "complex": row + 1j,
        }
    )


def test_booleans_of_a_votable_may_be_null(tmp_path):
    example_result(9, catalogue=every_column_of_a_votable()).export(tmp_path / "out.xml")
    field = votable.parse(tmp_path / "out.xml").get_first_table().get_field_by_id_or_name("ok")
    assert field.datatype == "boolean"
    column = read_votable(tmp_path / "out.xml")["ok"]
    assert column.tolist() == [True, None, True, False, None, False, True, None, True]


@pytest.fixture
def stilts():
    program = shutil.which("stilts")
    if program is None:
        pytest.skip("stilts is not installed")
    return lambda *arguments: (
        subprocess.run([program, *arguments], capture_output=True, text=True, check=True, timeout=100).stdout
    )


def test_votlint_has_nothing_to_say(tmp_path, stilts):
    example_result(9, catalogue=every_column_of_a_votable()).export(tmp_path / "out.xml")
    assert stilts("votlint", f"votable={tmp_path / 'out.xml'}") == ""


@pytest.mark.parametrize("name", ["out.xml", "out.fits"])
def test_stilts_reads_null_as_null(tmp_path, stilts, name):
    catalogue = every_column_of_a_votable()
    catalogue.remove_column("S: 1.4")  # FITS cannot hold it, which is said
    result = example_result(9, catalogue=catalogue)
    (result.export if name == "out.xml" else result.write)(tmp_path / name)
    text = stilts("tpipe", f"in={tmp_path / name}", "cmd=keepcols 'ok true'", "omode=out", "ofmt=csv", "out=-")
    values = [line.partition(",")[0] for line in text.split()[1:]]
    assert values == ["true", "", "true", "false", "", "false", "true", "", "true"]


def test_names_and_descriptions_that_xml_forbids(tmp_path):
    catalogue = Table({"a\x01<b>": Column([1, 2], description="\x02 & <c>", meta={"ucd": "phot\x03", "links": [{}]})})
    path = Result.from_columns(catalogue, example_columns(2), example_stores(2)).export(tmp_path / "out.xml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", votable.exceptions.VOWarning)
        field = votable.parse(path).get_first_table().fields[-1]
    assert (field.name, field.description) == ("a\\x01<b>", "\\x02 & <c>")


# A folder of FITS files


@pytest.fixture(scope="module")
def mosaic():
    hdu, truth = make_mosaic(size=700, n_sources=2, seed=5)
    return hdu, truth


def on_mosaic(truth, gates=()) -> Result:
    """Rows on the sources of a mosaic, and one far from it."""
    columns = example_columns(1 + 2 * len(truth))
    columns = {name: np.resize(values[::3], len(truth) + 1) for name, values in columns.items()}
    columns["ra"], columns["dec"] = np.append(truth["ra"], 10.0), np.append(truth["dec"], -60.0)
    columns["cutout_ra"], columns["cutout_dec"] = np.append(truth["ra"], np.nan), np.append(truth["dec"], np.nan)
    columns["attention_plane"] = np.array([*range(len(truth)), -1])
    columns["flags"] = np.array([0] * len(truth) + [int(Flag.NO_COVERAGE)])
    return Result.from_columns(
        Table({"id": [f"s{i}" for i in range(len(truth) + 1)]}), columns, example_stores(len(truth), gates), PROVENANCE
    )


def test_a_source_s_file_holds_cutout_and_maps_on_the_sky(tmp_path, mosaic):
    hdu, truth = mosaic
    result = on_mosaic(truth, gates=(1, 2, 3))
    folder = result.export(tmp_path / "out", "cutouts", images=hdu)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"{row}_{result.table['name'][row]}.fits" for row in range(len(truth))),
        INDEX,
    ]
    sky = WCS(hdu.header)
    for row in range(len(truth)):
        with fits.open(folder / file_name(row, result.table["name"][row]), checksum=True) as hdus:
            assert [h.name for h in hdus] == [
                "PRIMARY",
                "CUTOUT",
                "ATTENTION",
                "ATTENTION_1",
                "ATTENTION_2",
                "ATTENTION_3",
            ]
            cutout = hdus["CUTOUT"]
            assert cutout.header["BUNIT"] == "Jy/beam"
            assert cutout.shape == (150, 150)
            y, x = np.mgrid[:150:7, :150:7]
            mosaic_x, mosaic_y = sky.world_to_pixel(WCS(cutout.header).pixel_to_world(x, y))
            assert np.abs(mosaic_x - np.rint(mosaic_x)).max() < 0.05  # the same pixels
            expected = hdu.data[np.rint(mosaic_y).astype(int), np.rint(mosaic_x).astype(int)]
            assert np.array_equal(cutout.data[y, x], expected)
            for gate, name in (("mean", "ATTENTION"), (1, "ATTENTION_1"), (3, "ATTENTION_3")):
                attention = result.attention(row, gate)
                assert np.array_equal(hdus[name].data, attention.data)
                assert (
                    np.abs(hdus[name].data - example_maps(len(truth), 0 if gate == "mean" else gate)[row]).max() < 1e-3
                )
                assert hdus[name].header["GATE"] == gate
                assert_same_sky(WCS(hdus[name].header), attention.wcs)


def assert_same_sky(wcs, expected):
    corners = np.array([[0, 0], [149, 0], [0, 149], [149, 149], [70, 80]])
    np.testing.assert_allclose(wcs.wcs_pix2world(corners, 0), expected.wcs_pix2world(corners, 0), rtol=0, atol=1e-10)
    assert abs(wcs.wcs.cdelt[1] - 0.0005) < 1e-6  # degrees, not 1


def test_the_primary_header_tells_of_the_source(tmp_path, mosaic):
    result = on_mosaic(mosaic[1])
    result.table["flags"][0] = Flag.LOW_SNR | Flag.TRUNCATED
    folder = result.export(tmp_path / "out", "cutouts", images="none")
    header = fits.getheader(folder / file_name(0, result.table["name"][0]))
    entry = result.table[0]
    assert {name: header[name] for name in ("OBJECT", "FRCLASS", "FLAGS", "FLAGNAME", "MODEL", "SURVEY", "CLIP")} == {
        "OBJECT": entry["name"],
        "FRCLASS": "FRII",
        "FLAGS": 80,
        "FLAGNAME": "LOW_SNR, TRUNCATED",
        "MODEL": "agcnn-first",
        "SURVEY": "VLA FIRST 1.4 GHz",
        "CLIP": 3.0,
    }
    assert (header["RA_OBJ"], header["DEC_OBJ"]) == (entry["ra"], entry["dec"])
    assert header["FRPROB"] == pytest.approx(0.8)
    assert "NSRC" not in header


def test_without_images_there_are_the_maps_alone(tmp_path):
    folder = example_result(3).export(tmp_path / "out", "cutouts", images="none")
    with fits.open(folder / "0_J080404.5+153335.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "ATTENTION"]


@pytest.mark.filterwarnings("ignore:the beam of")
@pytest.mark.parametrize(("beam", "expected"), [(4.0, 5.4), (5.4, 5.4), (20.0, 20.0)])
@pytest.mark.parametrize("kept", [True, False])
def test_flux_is_integrated_over_a_cutout_that_was_written(tmp_path, beam, expected, kept):
    """A source of 1 Jy with the shape of the beam: finer beams are convolved, coarser ones have larger pixels."""
    path = write_point(tmp_path / "image.fits", beam)
    result = classify(
        Table({"ra": [150.0], "dec": [2.0]}),
        images=path,
        orbit=1,
        keep_cutouts=True,
        image_options=ImageOptions(beam_scaled=True),
    )
    result = (
        result
        if kept
        else Result.from_columns(
            Table({"id": [1]}),
            {
                name: result.table[name]
                for name in result.table.colnames
                if name not in ("name", "cutout_plane", "in_ra", "in_dec")
            },
        )
    )
    folder = result.export(tmp_path / "out", "cutouts", images=None if kept else path)
    (file,) = folder.glob("*.fits")
    with fits.open(file) as hdus:
        header, image = hdus["CUTOUT"].header, hdus["CUTOUT"].data
        assert (header["RESTFRQ"], header["DATE-OBS"]) == (1.4e9, "1994-04-05T01:02:03")
        assert header["OBJECT"] == result.table["name"][0]
        assert 3600 * np.array([header["BMAJ"], header["BMIN"]]) == pytest.approx([expected] * 2)
        area = np.pi / (4 * np.log(2)) * header["BMAJ"] * header["BMIN"]
        pixel = header["CDELT2"] ** 2
    inner = image[45:105, 45:105].astype(float)
    assert inner.sum() * pixel / area == pytest.approx(1, abs=0.01)
    found = find_sources(file)
    assert found["total_flux"][0] == pytest.approx(1, abs=0.02)


def write_point(path, beam):
    pixel = 1.8 if beam == BEAM_FWHM else beam / 4
    header = tangent_wcs(150.0, 2.0, 700, pixel).to_header()
    header.update({"BUNIT": "Jy/beam", "BMAJ": beam / 3600, "BMIN": beam / 3600, "BPA": 0.0})
    header.update({"RESTFRQ": 1.4e9, "DATE-OBS": "1994-04-05T01:02:03"})
    y, x = np.mgrid[:700, :700] - 349.5
    image = np.exp(-4 * np.log(2) * (x**2 + y**2) * (pixel / beam) ** 2)
    image += np.random.default_rng(1).normal(0, 1e-4, image.shape)
    fits.writeto(path, image.astype(np.float32), header)
    return path


def test_attention_maps_are_no_images_to_classify(tmp_path, mosaic):
    """A folder that was written is read again: its cutouts are, and files with maps alone are left out."""
    hdu, truth = mosaic
    result = on_mosaic(truth)
    folder = result.export(tmp_path / "out", "cutouts", images=hdu)
    images = open_images(folder)
    fields = images.fetch(np.asarray(truth["ra"]), np.asarray(truth["dec"]))
    for row, file in enumerate(images.names):
        with fits.open(folder / file) as hdus:
            np.testing.assert_array_equal(crop(fields.data)[row], hdus["CUTOUT"].data)
    alone = result.export(tmp_path / "alone", "cutouts", images="none")
    with pytest.raises(ImageError, match="2 attention map"):
        open_images(alone)


def test_kept_cutouts_are_exported_without_asking_for_images(tmp_path):
    columns = example_columns(3) | {"cutout_plane": np.array([0, 1, -1])}
    kept = AttentionStore()
    kept.append(example_maps(2, 7), step=np.full(2, 1e-4))
    result = Result.from_columns(Table({"a": [1, 2, 3]}), columns, example_stores(2), {"images": "gone.fits"}, kept)
    folder = result.export(tmp_path / "out", "cutouts")
    for row, path in enumerate(sorted(folder.glob("*.fits"))):
        with fits.open(path) as hdus:
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "CUTOUT", "ATTENTION"]
            assert np.array_equal(hdus["CUTOUT"].data, result.cutouts([row])[0])
            assert hdus["CUTOUT"].header["BUNIT"] == "Jy/beam"
            assert_same_sky(WCS(hdus["CUTOUT"].header), result.cutout(row).wcs)


def test_a_result_that_keeps_no_cutouts_says_where_it_was_made_from(tmp_path):
    columns = example_columns(3)
    result = Result.from_columns(Table({"a": [1, 2, 3]}), columns, example_stores(2), {"images": "mosaic.fits"})
    with pytest.raises(InputError, match=r"made from mosaic\.fits: name the images, or 'none'"):
        result.export(tmp_path / "out", "cutouts")
    assert list(tmp_path.iterdir()) == []


def test_components_of_a_source_have_its_cutout_not_their_own(tmp_path, mosaic):
    """Rows that were grouped are not where their cutout and their map were cut: at the centre of their source."""
    hdu, truth = mosaic
    fields = open_images(hdu).fetch(truth["ra"], truth["dec"])
    result = on_mosaic(truth)
    for name, values in fields.wcs_columns().items():
        result.table[name][: len(truth)] = values
    result.table["ra"] += 20 / 3600
    result.table["dec"] -= 15 / 3600
    folder = result.export(tmp_path / "out", "cutouts", images=hdu)
    for row in range(len(truth)):
        with fits.open(folder / file_name(row, result.table["name"][row])) as hdus:
            assert np.array_equal(hdus["CUTOUT"].data, crop(fields.data)[row], equal_nan=True)
            assert WCS(hdus["CUTOUT"].header).wcs.compare(WCS(hdus["ATTENTION"].header).wcs, tolerance=1e-9)


def test_the_index_has_a_line_for_each_row(tmp_path):
    result = example_result(12)
    folder = result.export(tmp_path / "out", "cutouts", images="none")
    index = Table.read(folder / INDEX, format="ascii.csv")
    assert index["row"].tolist() == list(range(12))
    assert index["source_id"].tolist() == result.table["source_id"].tolist()
    files = np.ma.filled(index["file"], "").tolist()
    assert [bool(name) for name in files] == (result.table["attention_plane"] >= 0).tolist()
    assert sorted(filter(None, files)) == sorted(path.name for path in folder.glob("*.fits"))
    for row, name in enumerate(files):
        if name:
            assert fits.getval(folder / name, "SRCID") == str(result.table["source_id"][row])


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "..", "a/b\\c:d*?", "\x00", "x" * 500, "-rf", "", "é\n", "con", ".hidden"]
)
def test_names_from_a_catalogue_stay_in_the_folder(tmp_path, name):
    result = placed(2)
    result.table["name"] = [name, name]
    (tmp_path / "deep").mkdir()
    folder = result.export(tmp_path / "deep" / "out", "cutouts", images="none")
    files = sorted(path.name for path in folder.iterdir())
    assert len(files) == 3
    assert all(re.fullmatch(r"[01](_[A-Za-z0-9.+_-]{1,60})?\.fits", file) for file in files[:2])
    assert not any(".." in file for file in files)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder] == []


def test_a_folder_is_replaced_only_when_asked_and_only_if_it_was_exported(tmp_path):
    folder = placed(3).export(tmp_path / "out", "cutouts", images="none")
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(OutputError, match="exists and is not empty"):
        placed(2).export(folder, "cutouts", images="none")
    assert sorted(path.name for path in folder.iterdir()) == before
    placed(2).export(folder, "cutouts", images="none", overwrite=True)
    assert len(list(folder.glob("*.fits"))) == 2
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"files that no export made, such as 'thesis\.tex'"):
        placed(3).export(folder, "cutouts", images="none", overwrite=True)
    assert (folder / "thesis.tex").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_fits_files_of_someone_else_are_not_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.fits").write_text("mine")
    with pytest.raises(OutputError, match=r"but no index\.csv"):
        placed(3).export(tmp_path / "out", "cutouts", images="none", overwrite=True)
    assert (tmp_path / "out" / "1.fits").read_text() == "mine"


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    folder = placed(2).export(tmp_path / "out", "cutouts", images="none")
    assert len(list(folder.iterdir())) == 3


def test_a_file_in_the_folder_s_place(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        placed(2).export(tmp_path / "out", "cutouts", images="none", overwrite=True)


class FailingImages:
    """Images of a service that fails: at once, or after a first chunk."""

    name = "failing"

    def __init__(self, status, chunks):
        self._status, self._chunks = status, chunks

    def fetch(self, ra, dec):
        self._chunks -= 1
        fields = Fields.blank(len(ra))
        if self._chunks < 0:
            if self._status == "interrupt":
                raise KeyboardInterrupt
            for row in range(len(ra)):
                fields.fail(row, self._status, "http://127.0.0.1/")
        return fields

    def describe(self):
        return {}


def test_a_service_that_is_down_writes_nothing(tmp_path):
    with pytest.raises(ServiceError, match=r"none of the first 3 images came \(timeout\)"):
        placed(3).export(tmp_path / "out", "cutouts", images=FailingImages("timeout", 0))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_nothing_and_the_old_folder_stays(tmp_path):
    placed(1).export(tmp_path / "out", "cutouts", images="none")
    with pytest.raises(KeyboardInterrupt):
        placed(70).export(tmp_path / "out", "cutouts", images=FailingImages("interrupt", 1), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((tmp_path / "out").glob("*.fits"))) == 1


def test_images_that_fail_later_leave_the_maps(tmp_path):
    folder = placed(70).export(tmp_path / "out", "cutouts", images=FailingImages("timeout", 1))
    assert len(list(folder.glob("*.fits"))) == 70
    with fits.open(next(folder.glob("69_*.fits"))) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "ATTENTION"]


# The command line


def invoke(*args):
    return CliRunner().invoke(app, ["export", *map(str, args)])


@pytest.fixture
def product(six_rows, tmp_path):
    return Path(shutil.copy(six_rows, tmp_path))


@pytest.mark.filterwarnings("always::radio_ag.errors.RadioAGWarning")
@pytest.mark.parametrize("format", FILES)
def test_export_takes_the_format_from_the_suffix(product, tmp_path, format):
    output = tmp_path / f"out{SUFFIXES[format]}"
    done = invoke(product, "-o", output)
    assert (done.exit_code, done.stdout) == (0, f"{output}\n")
    expected = tmp_path / f"expected{SUFFIXES[format]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RadioAGWarning)
        Result.read(product).export(expected)
    if format != "votable":  # which tells the time of writing
        assert output.read_bytes() == expected.read_bytes()
    warned = done.stderr.splitlines()
    assert len(warned) == (format in ("ds9", "crtf"))
    assert all("2 of 6 sources have no position" in line for line in warned)


def test_export_of_a_folder(product, tmp_path):
    done = invoke(product, "-o", tmp_path / "out", "--format", "cutouts", "--images", "none")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'out'}\n")
    assert "exporting: 6/6 sources" in done.stderr
    assert len(list((tmp_path / "out").glob("*.fits"))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out"], "does not tell the format"),
        (["-o", "there.csv"], "exists"),
        (["-o", "out.csv", "--images", "first"], "format 'cutouts' only"),
        (["-o", "out.csv", "--format", "fits"], "'fits' is not one of"),
    ],
)
def test_export_that_cannot_be_done_is_exit_code_2(product, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    done = invoke(product, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_export_replaces_when_asked(product, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    assert invoke(product, "-o", tmp_path / "out.csv", "--overwrite").exit_code == 0
    assert len(Table.read(tmp_path / "out.csv")) == 6
