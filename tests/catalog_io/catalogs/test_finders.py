"""PyBDSF and Aegean themselves find the components, and the product joins back to their rows."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import CartesianRepresentation, SkyCoord
from astropy.table import Table, join
from run_examples import classify

from radio_ag import Result
from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.product.fits import cutout_wcs
from radio_ag.simulated import make_mosaic

needs_pybdsf = pytest.mark.skipif(find_spec("bdsf") is None, reason="PyBDSF is not installed: radio-ag[finders]")
needs_aegean = pytest.mark.skipif(find_spec("AegeanTools") is None, reason="Aegean is not installed: radio-ag[finders]")

# In a process of its own, where its warnings are its own.
PYBDSF = """
import sys, bdsf
found = bdsf.process_image(sys.argv[1], frequency=1.4e9, rms_box=(100, 30), ncores=1, quiet=True)
for kind, form in ("srl", "fits"), ("gaul", "csv"):
    if not found.write_catalog(outfile=f"found.{kind}.{form}", catalog_type=kind, format=form):
        sys.exit(f"PyBDSF wrote no {kind}")
"""
pytestmark = pytest.mark.cluster

AEGEAN_FORMS = ("fits", "csv", "vot", "db")


@pytest.fixture(scope="module")
def sky(tmp_path_factory) -> tuple[Path, Table]:
    """A simulated mosaic of doubles on disk, some with lobes in one island and some in two, and its sources."""
    mosaic, truth = make_mosaic(size=700, n_sources=4, seed=2, kinds=("FRII",))
    path = tmp_path_factory.mktemp("sky") / "mosaic.fits"
    mosaic.writeto(path)
    return path, truth


@pytest.fixture
def classified(sky, weights, tmp_path):
    """Classify a file of a finder: its rows as they were read, and the product."""

    def classified(path: Path, **options) -> tuple[Table, Result]:
        output = tmp_path / f"{path.name}.radio-ag.fits"
        classify(path, images=sky[0], weights=weights, device="cpu", orbit=1, output=output, overwrite=True, **options)
        return read_catalogue(path).table, Result.read(output)

    return classified


@pytest.fixture(scope="module")
def pybdsf_folder(sky, tmp_path_factory) -> Path:
    """Folder of what PyBDSF wrote."""
    return run_in(tmp_path_factory.mktemp("pybdsf"), sys.executable, "-c", PYBDSF, sky[0])


@pytest.fixture(scope="module")
def aegean_folder(sky, tmp_path_factory) -> Path:
    """Folder of what Aegean wrote."""
    tables = ",".join(f"found.{form}" for form in AEGEAN_FORMS)
    aegean = Path(sys.executable).with_name("aegean")
    return run_in(tmp_path_factory.mktemp("aegean"), aegean, sky[0], "--cores", 1, "--table", tables)


def run_in(folder: Path, *command) -> Path:
    """Run a command in a folder and give that back."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def check(found: Table, result: Result, truth: Table, island: str, position: tuple[str, str], flux: str, key: str):
    """Each row of the finder has the answer of its island, taken at the island's flux-weighted centre."""
    table = result.table
    assert len(table) == len(found)
    both = join(found, table, keys_left=key, keys_right="source_id", table_names=["found", "ours"])
    assert len(both) == len(found)

    islands = np.unique(found[island])
    assert len(islands) < len(found)
    for number in islands:
        rows = found[np.asarray(found[island]) == number]
        ours = table[np.isin(np.asarray(table["source_id"]), np.asarray(rows[key]))]
        assert len(ours) == len(rows)
        assert set(ours["n_components"]) == {len(rows)}
        for name in ("group_id", "p_frii", "flags", "cutout_ra"):
            assert len(np.unique(ours[name])) == 1, name
        np.testing.assert_allclose(np.sort(ours["ra"]), np.sort(rows[position[0]]), atol=1e-9)

        places = SkyCoord(rows[position[0]], rows[position[1]], unit="deg").cartesian.xyz.value
        centre = SkyCoord(CartesianRepresentation(*(places * np.asarray(rows[flux])).sum(axis=1)))
        x, y = cutout_wcs(ours[0]).world_to_pixel(SkyCoord(centre.spherical.lon, centre.spherical.lat))
        assert (float(x), float(y)) == pytest.approx((74.5, 74.5), abs=0.51)
    assert len(np.unique(table["group_id"])) == len(islands)

    # Every source of the sky was found: it has a row within its extent.
    rows = SkyCoord(table["ra"], table["dec"], unit="deg")
    true = SkyCoord(truth["ra"], truth["dec"], unit="deg")
    assert (true.match_to_catalog_sky(rows)[1].arcsec < truth["extent"]).all()


@needs_pybdsf
@pytest.mark.parametrize(("name", "key"), [("found.srl.fits", "Source_id"), ("found.gaul.csv", "Gaus_id")])
def test_pybdsf(sky, pybdsf_folder, classified, name, key):
    found, result = classified(pybdsf_folder / name, group="island")
    check(found, result, sky[1], "Isl_id", ("RA", "DEC"), "Total_flux", key)


@needs_aegean
@pytest.mark.parametrize("form", AEGEAN_FORMS)
def test_aegean(sky, aegean_folder, classified, form):
    found, result = classified(aegean_folder / ("found.db" if form == "db" else f"found_comp.{form}"), group="island")
    check(found, result, sky[1], "island", ("ra", "dec"), "int_flux", "uuid")


@needs_pybdsf
def test_lobes_that_are_islands_of_their_own_join_by_flux(pybdsf_folder, classified):
    path = pybdsf_folder / "found.srl.fits"
    alone, joined = (classified(path, join_doubles=doubles)[1].table["group_id"] for doubles in (False, True))
    assert len(np.unique(joined)) < len(np.unique(alone))
