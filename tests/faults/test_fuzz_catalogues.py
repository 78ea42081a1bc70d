"""Catalogues at random: each row comes out with its true position or none, and nothing raises what it should not."""

import bz2
import contextlib
import gzip
import io
import lzma
import signal
import sqlite3
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle
from astropy.io.votable import from_table
from astropy.table import MaskedColumn, Table
from hypothesis import example, given, settings
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


POSITIONS = np.linspace(100, 200, 30).round(4), np.linspace(-40, 80, 30).round(4)


def undamaged(folder) -> dict[str, bytes]:
    """Catalogues of 30 rows in every form, by the name of the file."""
    ra, dec = POSITIONS
    row = np.arange(len(ra))
    table = Table(
        {"name": [f"J{number:03d}" for number in row], "RA": ra, "DEC": dec}, units={"RA": "deg", "DEC": "deg"}
    )
    table["note"] = np.array(["plain", "a, b", 'c "d"'])[row % 3]
    plain = table.copy()
    table["ok"] = MaskedColumn(row % 2 == 0, mask=row % 5 == 0)
    table["n"] = MaskedColumn(row, mask=row % 7 == 0)
    files = {}
    kinds = {**FORMATS, "ascii.tab": ".tab", "ascii.ipac": ".tbl", "parquet": ".parquet"}
    for kind, suffix in kinds.items():
        table.write(folder / f"c{suffix}", format=kind)
        files[f"c{suffix}"] = (folder / f"c{suffix}").read_bytes()
    for form in ("binary", "binary2"):
        stream = io.BytesIO()
        from_table(plain).to_xml(stream, tabledata_format=form)
        files[f"{form}.xml"] = stream.getvalue()
    names = ("background", "local_rms", "ra", "dec", "peak_flux", "flags", "uuid", "peak_pixel")
    with contextlib.closing(sqlite3.connect(folder / "c.db")) as database:
        database.execute(f"CREATE TABLE simples ({', '.join(names)})")
        rows = [(0.0, 1.0, *place, 1.0, 0, f"u{number}", 1.0) for number, place in enumerate(zip(ra, dec, strict=True))]
        database.executemany("INSERT INTO simples VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        database.commit()
    files["c.db"] = (folder / "c.db").read_bytes()
    for name in ("c.csv", "c.fits", "c.xml"):
        for suffix, pack in {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.items():
            files[f"{name}.{suffix}"] = pack(files[name])
    return files


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """With some bits turned, a byte changed, a piece cut out or doubled, or the end missing."""
    changed = bytearray(content)
    place, length = int(rng.integers(len(changed))), int(rng.integers(1, 60))
    match rng.integers(5):
        case 0:
            for other in rng.integers(len(changed), size=3):
                changed[other] ^= 1 << int(rng.integers(8))
        case 1:
            changed[place] = int(rng.integers(256))
        case 2:
            del changed[place : place + length]
        case 3:
            other = int(rng.integers(len(changed)))
            changed[place:place] = changed[other : other + length]
        case 4:
            del changed[place:]
    return bytes(changed)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    return undamaged(tmp_path_factory.mktemp("whole"))


NAMES_OF_FILES = [
    *("c.fits", "c.xml", "c.ecsv", "c.csv", "c.txt", "c.tab", "c.tbl", "c.parquet"),
    *("binary.xml", "binary2.xml", "c.db"),
    *(f"c.{kind}.{suffix}" for kind in ("csv", "fits", "xml") for suffix in ("gz", "bz2", "xz")),
]


def read_damaged(path):
    """The catalogue, or None where it is refused, in a line; no other exception, and nothing that never ends."""
    message = ""
    with time_limit(20), warnings.catch_warnings(action="ignore"):
        try:
            return read_catalogue(path)
        except CatalogueError as error:
            message = str(error)
    assert len(message.splitlines()) == 1
    return None


@pytest.mark.parametrize("name", NAMES_OF_FILES)
def test_damaged_files_are_refused_in_a_line_or_read(tmp_path, whole_files, name):
    assert set(whole_files) == set(NAMES_OF_FILES)
    rng = np.random.default_rng([7, NAMES_OF_FILES.index(name)])
    path = tmp_path / name
    path.write_bytes(whole_files[name])
    np.testing.assert_allclose(read_catalogue(path).ra, POSITIONS[0], rtol=1e-6)
    for _ in range(settings.default.max_examples):
        path.write_bytes(damaged(whole_files[name], rng))
        catalogue = read_damaged(path)
        assert catalogue is None or len(catalogue) == len(catalogue.table)
        if catalogue is not None and name.endswith((".gz", ".bz2", ".xz")):  # they have sums
            np.testing.assert_allclose(catalogue.ra, POSITIONS[0], rtol=1e-6)


@pytest.mark.parametrize("name", ["c.csv", "c.tab", "c.txt", "c.tbl"])
def test_what_is_cut_off_changes_no_other_row(tmp_path, whole_files, name):
    """Text that ends anywhere: each row that is left has its own position, or none."""
    content = whole_files[name]
    rng = np.random.default_rng([8, len(content)])
    read = 0
    for stop in rng.integers(len(content) // 3, len(content), size=3 * settings.default.max_examples).tolist():
        (tmp_path / name).write_bytes(content[:stop])
        catalogue = read_damaged(tmp_path / name)
        if catalogue is None:  # cut off between quotation marks
            assert content[:stop].count(b'"') % 2
            continue
        read += 1
        rows = len(catalogue)
        assert rows >= content[:stop].count(b"\n") - 4
        for measured, true in zip((catalogue.ra, catalogue.dec), POSITIONS, strict=True):
            assert (np.isnan(measured) | (measured == true[:rows])).all()
        assert catalogue.valid[: rows - 1].all()
    assert read > settings.default.max_examples


@contextlib.contextmanager
def time_limit(seconds: int):
    def stop(*_):
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
