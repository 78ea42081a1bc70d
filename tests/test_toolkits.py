"""Beside the source finders: photutils and PyBDSF in one process, plugins, astropy formats, recipes of the docs."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from importlib.util import find_spec
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.wcs import WCS
from photutils.detection import DAOStarFinder, find_peaks
from photutils.segmentation import SegmentationImage, SourceCatalog, detect_sources
from result_examples import example_result
from typer.testing import CliRunner

import radio_ag.catalog_io  # noqa: F401 : registers the formats
from radio_ag import ImageOptions, Result, classify
from radio_ag.catalog_io.catalogs import read_catalogue, registry
from radio_ag.catalog_io.open_images import named_sources, open_images
from radio_ag.cli import app
from radio_ag.errors import CatalogueError, ImageError, InputError, OutputError, RadioAGWarning
from radio_ag.flags import Flag
from radio_ag.simulated import make_mosaic

HERE = Path(__file__).parent
pytestmark = pytest.mark.filterwarnings("ignore:no beam in array:radio_ag.errors.RadioAGWarning")


@pytest.fixture(scope="module")
def sky(tmp_path_factory) -> tuple[Path, Table]:
    """A simulated mosaic on disk and its sources."""
    mosaic, truth = make_mosaic(size=700, n_sources=4, seed=2)
    path = tmp_path_factory.mktemp("sky") / "mosaic.fits"
    mosaic.writeto(path)
    return path, truth


@pytest.fixture(scope="module")
def pixels(sky) -> tuple[np.ndarray, WCS]:
    """The mosaic in memory."""
    with fits.open(sky[0]) as hdus:
        return np.squeeze(hdus[0].data).astype(np.float32), WCS(hdus[0].header).celestial


@pytest.fixture(scope="module")
def settings(weights) -> dict:
    return {"weights": weights, "device": "cpu", "orbit": 1, "attention": "none"}


# photutils


@pytest.fixture(scope="module")
def segments(pixels) -> SegmentationImage:
    return detect_sources(pixels[0], 5 * 1.5e-4, 8)


def check_same_answers(result: Result, expected: Result) -> None:
    np.testing.assert_allclose(result.table["ra"], expected.table["ra"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.table["p_frii"], expected.table["p_frii"], atol=1e-6)
    np.testing.assert_array_equal(result.table["flags"], expected.table["flags"])


def test_a_source_catalogue_is_classified_on_its_own_data(sky, pixels, segments, settings):
    data, wcs = pixels
    catalogue = SourceCatalog(data, segments, wcs=wcs)
    result = classify(catalogue, data=data, image_options=ImageOptions(beam=5.4), **settings)
    assert list(result.table["source_id"]) == list(catalogue.labels)
    assert result.table["p_frii"].count() == len(catalogue) > 0
    check_same_answers(result, classify(catalogue.to_table(), images=sky[0], **settings))
    places = SkyCoord(sky[1]["ra"], sky[1]["dec"], unit="deg")
    found = SkyCoord(result.table["ra"], result.table["dec"], unit="deg")
    assert (places.match_to_catalog_sky(found)[1].arcsec < np.maximum(sky[1]["extent"], 5.4)).all()


def test_segments_need_data_and_wcs(sky, pixels, segments, settings):
    data, wcs = pixels
    expected = classify(SourceCatalog(data, segments, wcs=wcs), data=data, **settings)
    check_same_answers(classify(segments, data=data, wcs=wcs, **settings), expected)
    blind = SourceCatalog(data, segments)
    for source in (blind, blind.to_table()):
        check_same_answers(classify(source, data=data, wcs=wcs, **settings), expected)
    with pytest.raises(CatalogueError, match=r"no position columns.*pixels only.*wcs="):
        classify(blind, images=sky[0], **settings)
    with pytest.raises(CatalogueError, match="SegmentationImage has no fluxes and no positions: give data and wcs"):
        classify(segments, images=sky[0], **settings)
    with pytest.raises(CatalogueError, match=r"shape \(10, 10\) is not what the SegmentationImage of shape"):
        classify(segments, data=np.zeros((10, 10)), wcs=wcs, **settings)


def test_segments_of_an_empty_image(pixels, settings):
    data, wcs = pixels
    result = classify(SegmentationImage(np.zeros(data.shape, int)), data=data, wcs=wcs, **settings)
    assert len(result) == 0


def test_data_have_a_unit(pixels, segments, settings):
    data, wcs = pixels
    plain = classify(segments, data=data, wcs=wcs, **settings)
    milli = classify(segments, data=1e3 * data * (u.mJy / u.beam), wcs=wcs, **settings)
    np.testing.assert_allclose(milli.table["peak"], plain.table["peak"], rtol=1e-5)
    np.testing.assert_allclose(milli.table["p_frii"], plain.table["p_frii"], atol=1e-5)


@pytest.mark.parametrize("finder", ["stars", "peaks"])
def test_pixel_positions_are_placed_by_the_wcs(pixels, finder, tmp_path):
    data, wcs = pixels
    if finder == "stars":
        table, (x, y) = DAOStarFinder(threshold=10 * 1.5e-4, fwhm=3)(data), ("x_centroid", "y_centroid")
    else:
        table, (x, y) = find_peaks(data, 10 * 1.5e-4, box_size=9), ("x_peak", "y_peak")
    table.meta = {}
    table.write(tmp_path / "found.csv")
    expected = wcs.pixel_to_world(table[x], table[y])
    for source in (table, tmp_path / "found.csv"):
        catalogue = read_catalogue(source, wcs=wcs)
        assert len(catalogue) == len(table) > 0
        assert SkyCoord(catalogue.ra, catalogue.dec, unit="deg").separation(expected).max() < 1e-3 * u.arcsec
        assert catalogue.source_id_name == "id"
    assert not {"sky_centroid", "skycoord_peak"} & set(table.colnames)


def test_positions_that_a_table_has_are_not_placed_again(pixels, segments):
    data, wcs = pixels
    table = SourceCatalog(data, segments, wcs=wcs).to_table()
    other = wcs.deepcopy()
    other.wcs.crval = wcs.wcs.crval + 5
    np.testing.assert_array_equal(read_catalogue(table, wcs=other).ra, read_catalogue(table).ra)


def test_data_that_cannot_be_used(sky, pixels, segments, settings):
    data, wcs = pixels
    positions = sky[1]["ra", "dec"]
    with pytest.raises(InputError, match="images and data are two ways"):
        classify(positions, images=sky[0], data=data, wcs=wcs, **settings)
    with pytest.raises(ImageError, match=r"data needs an astropy\.wcs\.WCS as wcs, not NoneType"):
        classify(positions, data=data, **settings)
    with pytest.raises(ImageError, match="two-dimensional array of numbers, not 3-dimensional of float32"):
        classify(positions, data=data[None], wcs=wcs, **settings)


def test_an_image_with_a_beam_goes_in_as_images(pixels, segments, settings):
    data, wcs = pixels
    beam = {"BMAJ": 5.4 / 3600, "BMIN": 5.4 / 3600, "BPA": 0.0}
    image = CCDData(data, unit=u.Jy / u.beam, wcs=wcs, meta=beam)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no beam")
        result = classify(SourceCatalog(data, segments, wcs=wcs), images=image, **settings)
    assert result.provenance["beam"] == "5.4 arcsec"


# PyBDSF


@pytest.mark.cluster
@pytest.mark.skipif(find_spec("bdsf") is None, reason="PyBDSF is not installed: radio-ag[finders]")
class TestPyBDSF:
    PROGRAM = """
import sys
import bdsf
from radio_ag.bdsf import classify_bdsf

mosaic, weights, catalog_type, *trim = sys.argv[1:]
options = {"trim_box": tuple(map(int, trim))} if trim else {}
img = bdsf.process_image(mosaic, frequency=1.4e9, rms_box=(100, 30), ncores=1, quiet=True, **options)
img.write_catalog(outfile="found.fits", format="fits", catalog_type=catalog_type, clobber=True, force_output=True)
classify_bdsf(img, catalog_type=catalog_type, weights=weights, device="cpu", orbit=1, output="classes.fits")
"""

    @pytest.fixture
    def run(self, weights, tmp_path):
        """Run PyBDSF and classify its image in one process: what it wrote, and the product."""

        def run(mosaic: Path, *args) -> tuple[Table, Result]:
            command = [sys.executable, "-c", self.PROGRAM, mosaic, weights, *args]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, done.stderr[-3000:]
            return read_catalogue(tmp_path / "found.fits").table, Result.read(tmp_path / "classes.fits")

        return run

    @pytest.mark.parametrize(("kind", "key"), [("srl", "Source_id"), ("gaul", "Gaus_id")])
    def test_rows_are_those_that_pybdsf_writes(self, sky, settings, run, kind, key):
        found, result = run(sky[0], kind)
        assert len(found) > 0
        assert list(result.table["source_id"]) == list(found[key])
        for name in ("Isl_id", "Total_flux", "Maj"):
            np.testing.assert_array_equal(result.table[name], found[name])
        check_same_answers(result, classify(found, images=sky[0], **settings))

    def test_a_trimmed_image_keeps_its_place_on_the_sky(self, sky, settings, run):
        found, result = run(sky[0], "srl", 40, 690, 20, 660)
        whole = classify(found, images=sky[0], **settings)
        assert len(found) > 0
        covered = (result.table["flags"] & (Flag.NO_COVERAGE | Flag.BLANKED)) == 0
        assert covered.any()
        np.testing.assert_allclose(result.table["peak"][covered], whole.table["peak"][covered], rtol=1e-6)

    def test_an_image_of_noise(self, sky, run, tmp_path):
        with fits.open(sky[0]) as hdus:
            hdus[0].data = np.random.default_rng(0).normal(0, 1e-4, hdus[0].data.shape).astype(np.float32)
            hdus.writeto(tmp_path / "noise.fits")
        found, result = run(tmp_path / "noise.fits", "srl")
        assert len(found) == len(result) == 0


def test_what_is_no_pybdsf_image():
    from radio_ag.bdsf import classify_bdsf

    with pytest.raises(CatalogueError, match=r"img must be what bdsf\.process_image returns, not str"):
        classify_bdsf("mosaic.fits")
    with pytest.raises(CatalogueError, match="catalog_type must be one of srl, gaul, not 'shap'"):
        classify_bdsf(None, catalog_type="shap")


# Plugins


def install(source: Path, target: Path, *more_entry_points: tuple[str, str, str]) -> None:
    """Lay a pure Python package into a folder with its entry points, as installers do."""
    project = tomllib.loads((source / "pyproject.toml").read_text())
    name, version = project["project"]["name"], project["project"]["version"]
    for module in project["tool"]["setuptools"]["py-modules"]:
        (target / f"{module}.py").write_bytes((source / f"{module}.py").read_bytes())
    groups = project["project"]["entry-points"]
    for group, entry, value in more_entry_points:
        groups.setdefault(group, {})[entry] = value
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items()))
    ]
    info = target / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """The example package installed, with a dialect and an image source that cannot be imported beside its own."""
    folder = tmp_path / "site"
    folder.mkdir()
    broken = [(group, "broken", "radio_ag_example:missing") for group in ("radio_ag.catalogues", "radio_ag.images")]
    install(HERE / "plugin_example", folder, *broken, ("radio_ag.images", "odd", "radio_ag_example:EXAMPLE"))
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    registry.dialects.cache_clear()
    yield
    registry.dialects.cache_clear()
    sys.modules.pop("radio_ag_example", None)


@pytest.fixture
def blobs() -> Table:
    """A catalogue as the example's finder writes it."""
    return Table({"blob": [7, 8], "blob_lon": [10.0, 11.0], "blob_lat": [5.0, -5.0], "brightness": [3.0, 4.0]})


@pytest.mark.usefixtures("plugins")
def test_the_example_package_brings_a_catalogue_and_images(blobs, settings):
    with pytest.warns(RadioAGWarning, match=r"catalogue plugin 'broken' cannot be loaded: AttributeError"):
        catalogue = read_catalogue(blobs)
    assert (catalogue.dialect, catalogue.join_keys) == ("example", ("blob",))
    np.testing.assert_allclose(catalogue.flux, [3e-3, 4e-3])

    result = classify(blobs, images="doubles", image_options=ImageOptions(extra={"limit": 0.0}), **settings)
    assert list(result.table["source_id"]) == [7, 8]
    assert list(result.table["p_frii"].mask) == [False, True]
    assert result.table["flags"][1] == Flag.NO_COVERAGE
    assert result.provenance["survey"] == "simulated doubles"
    assert result.provenance["limit"] == "0 deg"


@pytest.mark.usefixtures("plugins")
def test_a_source_that_fails_is_an_error_only_to_who_asks_for_it():
    assert open_images("doubles").name == "doubles"
    with pytest.raises(ImageError, match="image plugin 'broken' cannot be loaded: AttributeError"):
        open_images("broken")
    with pytest.raises(ImageError, match=r"image plugin 'odd' gives 'Dialect', which lacks name, fetch\(\)"):
        open_images("odd")
    with pytest.warns(RadioAGWarning, match="image plugin 'broken' cannot be loaded"):
        names = named_sources()
    assert next(iter(names)) == "first"
    assert names["doubles"] == "Simulated FRII at every position, north of a limit."


@pytest.mark.usefixtures("plugins")
@pytest.mark.filterwarnings("always::radio_ag.errors.RadioAGWarning")
def test_the_command_lists_what_plugins_bring():
    result = CliRunner().invoke(app, ["catalogs"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for line in ("example", "doubles", "pybdsf", "first"):
        assert re.search(rf"^ {line} +│", result.stdout, re.MULTILINE), line
    assert "radio-ag: warning: catalogue plugin 'broken' cannot be loaded" in result.stderr
    assert "radio-ag: warning: image plugin 'broken' cannot be loaded" in result.stderr


def test_the_command_lists_every_dialect_and_no_warning():
    result = CliRunner().invoke(app, ["catalogs"], env={"COLUMNS": "200"})
    assert (result.exit_code, result.stderr) == (0, "")
    for dialect in registry.BUILT_IN:
        assert re.search(rf"^ {dialect.name} +│ .*│ {re.escape(dialect.title)}", result.stdout, re.MULTILINE)


# Formats of astropy


def test_a_result_is_written_and_read_as_a_table(tmp_path):
    result = example_result(5)
    table = result.table[[3, 0, 1]]
    table.write(tmp_path / "part.fits", format="radio_ag.fits")
    back = Table.read(tmp_path / "part.fits", format="radio_ag.fits")
    assert back.colnames == table.colnames
    for name in ("name", "source_id", "ra", "p_frii", "class", "flags"):
        np.testing.assert_array_equal(np.ma.filled(back[name], 0), np.ma.filled(table[name], 0), err_msg=name)
    assert back["rms"].unit == table["rms"].unit
    assert back.meta["weights"] == result.provenance["weights"]
    assert set(back["attention_plane"]) == {-1}
    assert Result.read(tmp_path / "part.fits").gates == ()
    assert len(Table.read(tmp_path / "part.fits", hdu="CLASSIFICATION")) == 3

    with pytest.raises(OutputError, match="exists"):
        table.write(tmp_path / "part.fits", format="radio_ag.fits")
    back.write(tmp_path / "part.fits", format="radio_ag.fits", overwrite=True)


def test_a_table_of_something_else_is_no_result(tmp_path):
    with pytest.raises(InputError, match=r"not that of a result: it lacks the columns name, source_id"):
        Table({"ra": [1.0], "dec": [2.0]}).write(tmp_path / "x.fits", format="radio_ag.fits")
    assert list(tmp_path.iterdir()) == []


# The recipes of the documentation

PAGE = (HERE.parent / "docs" / "pipelines.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def field_folder(sky, tmp_path) -> Path:
    """A folder with the files that the recipes name."""
    mosaic, truth = sky
    shutil.copy(mosaic, tmp_path / "mosaic.fits")
    (tmp_path / "fields").mkdir()
    shutil.copy(mosaic, tmp_path / "fields" / "north.fits")
    truth["ra", "dec"].write(tmp_path / "fields" / "north.csv")
    (tmp_path / "fields" / "south.fits").write_bytes(b"no image")
    truth["ra", "dec"].write(tmp_path / "fields" / "south.csv")
    return tmp_path


def test_there_are_recipes():
    assert set(SNIPPETS) == {"survey", "photutils", "pybdsf"}


@pytest.mark.cluster
@pytest.mark.parametrize("name", SNIPPETS)
def test_recipe_runs(name, field_folder):
    if name == "pybdsf" and find_spec("bdsf") is None:
        pytest.skip("PyBDSF is not installed: radio-ag[finders]")
    done = subprocess.run(
        [sys.executable, "-c", SNIPPETS[name]],
        cwd=field_folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if name == "survey":
        assert len(Table.read(field_folder / "fields" / "north.classes.fits", format="radio_ag.fits")) == 4
        log = (field_folder / "survey.log").read_text()
        assert "north: 4 sources" in log
        assert re.search(r"WARNING radio_ag\.survey south: .*south\.fits is not a readable FITS file", log)
        assert not (field_folder / "fields" / "south.classes.fits").exists()
    else:
        assert (field_folder / "classes.fits").exists()
