"""Catalogues at random: each row comes out with its true position or none, and nothing raises what it should not."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle
from astropy.table import MaskedColumn, Table
from hypothesis import example, given
from hypothesis import strategies as st
from run_examples import Doubles

from radio_ag import Result, classify
from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.export import export
from radio_ag.errors import CatalogueError, InputError
from radio_ag.flags import Flag

NAMES = [("RA", "DEC"), ("ra", "dec"), ("RAJ2000", "DEJ2000"), ("ra_deg_cont", "dec_deg_cont"), ("RAdeg", "DEdeg")]
UNITS = ["deg", "hourangle", "rad", "sexagesimal"]
FORMATS = {"fits": ".fits", "votable": ".xml", "ascii.ecsv": ".ecsv", "csv": ".csv", "ascii.fixed_width": ".txt"}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)

pytestmark = pytest.mark.fuzz

right_ascensions = st.floats(0, 359.9999) | st.sampled_from([0.0, 30.0, 359.9999, np.nan, np.inf, -1e9, 720.0])
declinations = st.floats(-90, 90) | st.sampled_from([90.0, -90.0, 0.0, -0.001, np.nan, -np.inf, 91.0])
rows = st.lists(st.tuples(right_ascensions, declinations, st.booleans()), max_size=8)


def position_columns(places, unit):
    """Right ascension and declination as columns of a unit, and which rows can be understood."""
    ra, dec, masked = (np.array(values) for values in zip(*places, strict=True)) if places else np.zeros((3, 0))
    ra, dec, masked = ra.astype(float), dec.astype(float), masked.astype(bool)
    good = np.isfinite(ra) & np.isfinite(dec) & (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90) & ~masked
    if unit == "sexagesimal":
        with np.errstate(invalid="ignore"):
            hours = Angle(np.where(good, ra, 0), u.deg).to_string(u.hourangle, sep=":", precision=6)
            degrees = Angle(np.where(good, dec, 0), u.deg).to_string(u.deg, sep=":", precision=5)
        return np.array(hours, "U30"), np.array(degrees, "U30"), good, masked | ~good
    scale = {"deg": 1.0, "hourangle": 1 / 15, "rad": np.pi / 180}[unit]
    declination_unit = u.rad if unit == "rad" else u.deg
    with np.errstate(invalid="ignore"):
        dec = dec * (np.pi / 180 if unit == "rad" else 1.0)
        return u.Quantity(ra * scale, unit), u.Quantity(dec, declination_unit), good, masked


def make_table(places, unit, names, extra, note):
    ra, dec, good, masked = position_columns(places, unit)
    table = Table()
    for name, values in zip(names, (ra, dec), strict=True):
        table[name] = MaskedColumn(getattr(values, "value", values), mask=masked, unit=getattr(values, "unit", None))
    table["note"] = np.array([note] * len(places), dtype=object).astype("U16")
    for number in range(extra):
        table[f"column_{number}"] = np.arange(len(places)) % 3 == 0 if number % 2 else np.arange(len(places)) * 1.5
    return table, good


@given(
    places=rows,
    unit=st.sampled_from(UNITS),
    names=st.sampled_from(NAMES),
    kind=st.sampled_from(["memory", *FORMATS]),
    extra=st.sampled_from([0, 1, 3]),
    note=TEXT,
)
@example(places=[], unit="deg", names=("RA", "DEC"), kind="fits", extra=0, note="")
@example(places=[], unit="sexagesimal", names=("RA", "DEC"), kind="csv", extra=0, note="")
@example(places=[], unit="sexagesimal", names=("RA", "DEC"), kind="memory", extra=0, note="")
@example(places=[(180.0, 30.0, False)], unit="hourangle", names=("ra", "dec"), kind="votable", extra=300, note="µJy ☉")
@example(places=[(180.0, 30.0, False)] * 5, unit="deg", names=("ra", "dec"), kind="fits", extra=0, note="twice")
@example(places=[(180.0, 30.0, True)] * 3, unit="deg", names=("ra", "dec"), kind="ascii.ecsv", extra=0, note="none")
def test_every_position_is_the_true_one_or_none(tmp_path, places, unit, names, kind, extra, note):
    table, good = make_table(places, unit, names, extra, note)
    truth = np.array([place[:2] for place in places]).reshape(-1, 2)
    source = table
    if kind != "memory":
        source = tmp_path / f"catalogue{FORMATS[kind]}"
        try:
            with warnings.catch_warnings(action="ignore"):
                table.write(source, format=kind, overwrite=True)
        except (ValueError, TypeError, UnicodeError):  # astropy cannot write such a table
            return
    keeps_units = kind in ("memory", "fits", "votable", "ascii.ecsv") or unit == "sexagesimal"
    try:
        catalogue = read_catalogue(source, dialect="none")
    except CatalogueError:
        assert not keeps_units or not places  # hours or degrees: it has to be said; or an empty file, of no format
        return
    assert len(catalogue) == len(places)
    assert catalogue.table.colnames == table.colnames
    if keeps_units or unit == "deg":
        np.testing.assert_array_equal(catalogue.valid, good)
        offset = (catalogue.ra[good] - truth[good, 0] + 180) % 360 - 180
        np.testing.assert_allclose(offset, 0, atol=2e-8 if unit != "sexagesimal" else 1e-7)
        np.testing.assert_allclose(catalogue.dec[good], truth[good, 1], atol=1e-7)
    assert np.isnan(catalogue.ra[~catalogue.valid]).all()


@given(content=st.binary(max_size=400), suffix=st.sampled_from([*FORMATS.values(), ".parquet", ".db"]))
@example(content=b"", suffix=".csv")
@example(content=b"SIMPLE  =                    T", suffix=".fits")
@example(content=b"<?xml version='1.0'?><VOTABLE>", suffix=".xml")
@example(content=b"# %ECSV 1.0\n# ---\n# datatype:\n# - !!python/object/apply:os.system ['true']\n", suffix=".ecsv")
@example(content=b"PAR1" * 4, suffix=".parquet")
@example(content=b"SQLite format 3\x00" + bytes(84), suffix=".db")
@example(content=b"ra,dec\n1e400,nan\n-,\n", suffix=".csv")
def test_what_is_no_catalogue_is_said_to_be_none(tmp_path, content, suffix):
    path = tmp_path / f"catalogue{suffix}"
    path.write_bytes(content)
    message = ""
    with warnings.catch_warnings(action="ignore"):  # what astropy thinks of it is not the question
        try:
            catalogue = read_catalogue(path)
        except InputError as error:
            message = str(error)
    assert len(message.splitlines()) <= 1
    assert message or len(catalogue) == len(catalogue.table)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("columns", [0, 300])
def test_from_end_to_end(weights, tmp_path, count, columns):
    places = [(180.0, 30.0, False), (180.0, 30.0, False), (np.nan, 10.0, False)][:count]
    table, good = make_table(places, "deg", ("RA", "DEC"), columns, "µJy ☉")
    path, output = tmp_path / "catalogue.ecsv", tmp_path / "product.fits"
    table.write(path)
    result = classify(path, images=Doubles(), weights=weights, orbit=1, attention="none", output=output)
    written = Table.read(output, hdu="CLASSIFICATION")
    assert len(result) == len(written) == count
    np.testing.assert_array_equal(written["flags"] & Flag.BAD_POSITION == 0, good)
    assert set(table.colnames[2:]) <= set(written.colnames)


def test_names_in_a_catalogue_reach_no_file_system(weights, tmp_path):
    """Names and paths of every kind as values, as column names and as units."""
    evil = ["../../escaped", "/etc/passwd", "$(touch escaped)", "`id`", "a\\..\\b", "con.fits", "-rf", "file:///x"]
    table = Table({"RA": np.linspace(170, 190, len(evil)), "DEC": np.full(len(evil), 30.0), "Source_name": evil})
    table["../column"] = evil
    table["image_file"] = evil
    path = tmp_path / "in" / "catalogue.ecsv"
    path.parent.mkdir()
    table.write(path)
    folder = tmp_path / "work" / "inner"
    folder.mkdir(parents=True)
    settings = {"weights": weights, "orbit": 1, "output": folder / "product.fits", "keep_cutouts": True}
    result = classify(path, images=Doubles(), **settings)
    export(result, folder / "sources", "cutouts")
    assert {file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*")} == {"in", "work"}
    files = {file for file in (tmp_path / "work").rglob("*") if file.is_file()}
    assert {file.parent for file in files} == {folder, folder / "sources"}
    assert len(files) == len(evil) + 2  # the product, and the index of the folder
    assert list(Result.read(folder / "product.fits").table["Source_name"]) == evil
