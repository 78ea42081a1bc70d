"""Do source finders and grouping bring a double back together, and what does that do to its class?

    python benchmarks/finders.py [--sources 60] [--min-extent ARCSEC] [--weights agcnn-first] [--json]

Takes fields of certain FRII of the real FIRST images (RADIO_AG_DATA names their folder), finds components with each
finder that is installed (photutils is; ``radio-ag[finders]`` brings PyBDSF and Aegean), groups them in several ways,
and classifies at the groups' centres. A source's own components are those within half of its published extent and a
beam of its published position. Counted are sources

- found: with at least one component,
- together: all of their components in one group,
- centred: together, and the group's centre within 15 arcsec of the position,
- right: all of their components get the class FRII,

with Wilson intervals of 95 %. The first line is the class at the position itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs import Catalogue, read_catalogue
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.catalog_io.images.local import LocalImages
from radio_ag.evaluation.metrics import wilson_interval
from radio_ag.network.classifier import Classifier
from radio_ag.preprocess.images import BEAM_FWHM
from radio_ag.preprocess.noise import estimate_rms
from radio_ag.weights import DEFAULT

CENTRED = 15.0  # arcsec
SIGMA = 5.0  # threshold of photutils; PyBDSF's and Aegean's own is 5 as well
WAYS: tuple[tuple[str | float, bool], ...] = (
    ("none", False),
    ("island", False),
    ("island", True),
    ("associate", False),
    (15.0, False),
    (30.0, False),
    (45.0, False),
    (60.0, False),
    (90.0, False),
)


def choose_sources(folder: Path, n: int, min_extent: float = 0.0, seed: int = 0) -> tuple[Table, NDArray]:
    """Certain FRII of at least so many arcsec, n of them drawn at random, and their fields (n, 300, 300) in Jy/beam."""
    path = folder / "mirabest_train.fits"
    sources = Table.read(path, hdu="SOURCES")
    certain = (sources["fr_class"] == "FRII") & (sources["confidence"] == "certain")
    rows = np.flatnonzero(certain & (sources["extent"] >= min_extent))
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:n])
    with fits.open(path) as hdus:
        return sources[rows], np.stack([hdus["IMAGES"].data[row] for row in rows]).astype(np.float32)


def write_field(path: Path, field: NDArray, ra: float, dec: float) -> None:
    """A field as an image of its own, with the header that the finders need."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (ra, dec)
    wcs.wcs.crpix, wcs.wcs.cdelt = (150.5, 150.5), (-0.0005, 0.0005)
    wcs.wcs.radesys = "ICRS"
    header = wcs.to_header()
    header.update(BUNIT="Jy/beam", BMAJ=BEAM_FWHM / 3600, BMIN=BEAM_FWHM / 3600, BPA=0.0)
    fits.PrimaryHDU(field, header).writeto(path)


def find_with_photutils(path: Path) -> Path | None:
    from photutils.segmentation import SourceCatalog, detect_sources

    with fits.open(path) as hdus:
        data, wcs = hdus[0].data.astype(float), WCS(hdus[0].header)
    rms = float(estimate_rms(data[None]).rms[0])
    segments = detect_sources(np.nan_to_num(data), SIGMA * rms, 10)
    if segments is None:
        return None
    output = path.with_suffix(".photutils.ecsv")
    SourceCatalog(data, segments, wcs=wcs).to_table().write(output, format="ascii.ecsv")
    return output


def find_with_pybdsf(path: Path) -> Path | None:
    import bdsf

    output = path.with_suffix(".pybdsf.fits")
    found = bdsf.process_image(str(path), frequency=1.4e9, rms_box=(100, 30), ncores=1, quiet=True)
    return output if found.write_catalog(outfile=str(output), format="fits", catalog_type="srl") else None


def find_with_aegean(path: Path) -> Path | None:
    from AegeanTools.catalogs import save_catalog
    from AegeanTools.source_finder import SourceFinder

    # Aegean 2.3.5 catches numpy.linalg.linalg.LinAlgError, a name that numpy 2.4 no longer has.
    np.linalg.linalg = np.linalg
    found = SourceFinder().find_sources_in_image(str(path), cores=1, progress=False)
    save_catalog(str(path.with_suffix(".aegean.csv")), found)
    output = path.with_suffix(".aegean_comp.csv")
    return output if output.exists() else None


FINDERS: dict[str, tuple[str, Callable[[Path], Path | None]]] = {
    "PyBDSF": ("bdsf", find_with_pybdsf),
    "Aegean": ("AegeanTools", find_with_aegean),
    "photutils": ("photutils", find_with_photutils),
}


class Classes:
    """Which of the positions are FRII, through the images of a folder; each position is classified once."""

    def __init__(self, folder: Path, weights: str):
        self._images = LocalImages(sorted(map(str, folder.glob("*.field.fits"))))
        self._classifier = Classifier.load(weights, device="cpu")
        self._known: dict[tuple[float, float], bool] = {}

    def are_frii(self, ra: NDArray, dec: NDArray) -> NDArray[np.bool_]:
        places = list(zip(np.round(ra, 7).tolist(), np.round(dec, 7).tolist(), strict=True))
        new = sorted(set(places) - set(self._known))
        for start in range(0, len(new), 64):
            batch = new[start : start + 64]
            fields = self._images.fetch(*np.array(batch).T).data
            p = self._classifier.predict(fields, attention="none").probabilities
            self._known |= dict(zip(batch, (p[:, 1] > p[:, 0]).tolist(), strict=True))
        return np.array([self._known[place] for place in places], bool)


def measure(
    sources: Table, catalogues: list[Catalogue | None], how: str | float, join_doubles: bool, classes: Classes
) -> dict[str, int]:
    """Counts of one finder's catalogues, one a source, grouped in one way."""
    counts = dict.fromkeys(("found", "together", "centred", "right"), 0)
    for source, catalogue in zip(sources, catalogues, strict=True):
        if catalogue is None:
            continue
        position = SkyCoord(source["ra"], source["dec"], unit="deg")
        distance = position.separation(SkyCoord(catalogue.ra, catalogue.dec, unit="deg")).arcsec
        own = distance <= source["extent"] / 2 + BEAM_FWHM
        if not own.any():
            continue
        groups = group_sources(catalogue, how, join_doubles=join_doubles)
        numbers = np.unique(groups.group_id[own])
        offset = position.separation(SkyCoord(groups.ra[numbers], groups.dec[numbers], unit="deg")).arcsec
        counts["found"] += 1
        counts["together"] += len(numbers) == 1
        counts["centred"] += len(numbers) == 1 and bool(offset[0] <= CENTRED)
        counts["right"] += bool(classes.are_frii(groups.ra[numbers], groups.dec[numbers]).all())
    return counts


def run(folder: Path, n: int, min_extent: float, weights: str) -> list[dict]:
    """All finders and all ways; a row each."""
    sources, fields = choose_sources(folder, n, min_extent)
    n = len(sources)
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{number:04}.field.fits" for number in range(n)]
        for path, field, source in zip(paths, fields, sources, strict=True):
            write_field(path, field, source["ra"], source["dec"])
        classes = Classes(Path(name), weights)
        ra, dec = np.array(sources["ra"]), np.array(sources["dec"])
        rows = [{"finder": "", "way": "at the position", "n": n, "right": int(classes.are_frii(ra, dec).sum())}]
        for finder, (package, find) in FINDERS.items():
            if find_spec(package) is None:
                print(f"{finder} is not installed: left out")
                continue
            files = [find(path) for path in paths]
            catalogues = [None if file is None else read_catalogue(file) for file in files]
            has_flux = all(catalogue is None or catalogue.flux is not None for catalogue in catalogues)
            has_islands = all(catalogue is None or catalogue.group is not None for catalogue in catalogues)
            for how, join_doubles in WAYS:
                if (has_flux or not join_doubles) and (has_islands or how != "island"):
                    way = f"{how if isinstance(how, str) else f'{how:g} arcsec'}{', doubles' if join_doubles else ''}"
                    counts = measure(sources, catalogues, how, join_doubles, classes)
                    rows.append({"finder": finder, "way": way, "n": n} | counts)
    return rows


def _share(count: int, n: int) -> str:
    low, high = wilson_interval(count, n)
    return f"{count:4} {100 * count / n:5.1f} % ({100 * low:4.1f}-{100 * high:5.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=60)
    parser.add_argument("--min-extent", type=float, default=0.0, help="published extent, arcsec")
    parser.add_argument("--weights", default=DEFAULT)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    folder = os.environ.get("RADIO_AG_DATA")
    if not folder:
        print("RADIO_AG_DATA is not set: no real sources")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # of the finders about headers
        with redirect_stdout(sys.stderr):  # PyBDSF talks
            rows = run(Path(folder), options.sources, options.min_extent, options.weights)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    columns = ("found", "together", "centred", "right")
    print(f"{'finder':10} {'way':16} " + " ".join(f"{column:28}" for column in columns))
    for row in rows:
        shares = " ".join(f"{_share(row[column], row['n']) if column in row else '':28}" for column in columns)
        print(f"{row['finder']:10} {row['way']:16} {shares}".rstrip())


if __name__ == "__main__":
    main()
