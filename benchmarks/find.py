"""Source finding: completeness, reliability and fluxes beside PyBDSF and Aegean; time and memory of a large mosaic.

    python benchmarks/find.py [--size 2000] [--tools FOLDER]    a simulated mosaic, of which the truth is known
    python benchmarks/find.py --large 20000                     one mosaic of that many pixels a side

PyBDSF and Aegean run with their own defaults but for the thresholds: 5 sigma for a source, and 3 (Aegean: 4) for its
island. They are taken from the environment in FOLDER (default: this one), and left out where they are not installed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from radio_ag.catalog_io.finding.find import find_sources
from radio_ag.preprocess.images import BEAM_FWHM
from radio_ag.simulated import TYPICAL_RMS, make_mosaic

BINS = (3, 4, 5, 6, 7, 8, 10, 15, 30, 60)
MATCH = BEAM_FWHM / 2  # arcsec

PYBDSF = """
import sys, bdsf
image, output = sys.argv[1:]
found = bdsf.process_image(image, thresh_pix=5.0, thresh_isl=3.0, frequency=1.4e9, ncores=1, quiet=True)
found.write_catalog(outfile=output, catalog_type="srl", format="fits", clobber=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2000, help="side of the mosaic, pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tools", type=Path, default=Path(sys.prefix), help="environment with PyBDSF and Aegean")
    parser.add_argument("--large", type=int, metavar="SIDE", help="measure time and memory instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.large:
            measure_large(Path(folder) / "large.fits", options.large)
        else:
            compare(Path(folder), options.size, options.seed, options.tools)


def compare(folder: Path, size: int, seed: int, tools: Path) -> None:
    """Tables of what each finder makes of one mosaic of compact sources."""
    mosaic, truth = make_mosaic(
        size=size,
        n_sources=round(250 * (size / 1000) ** 2),
        seed=seed,
        kinds=("compact",),
        peak_flux=(BINS[0] * TYPICAL_RMS, BINS[-1] * TYPICAL_RMS),
        min_separation=45.0,
    )
    path = folder / "mosaic.fits"
    mosaic.writeto(path)
    print(f"{size}x{size} pixels, {len(truth)} point sources, noise {TYPICAL_RMS * 1e3} mJy/beam, seed {seed}\n")
    finders = {"radio-ag": run_radio_ag, "PyBDSF": run_pybdsf, "Aegean": run_aegean}
    found = {name: run(path, tools) for name, run in finders.items()}
    missing = [name for name, table in found.items() if table is None]
    if missing:
        print(f"not installed in {tools}: {', '.join(missing)}\n")
    scores = {name: Score(table, truth) for name, table in found.items() if table is not None}
    print_table("Completeness, by true peak / noise", scores, lambda score, low, high: score.completeness(low, high))
    print_table("Reliability, by measured peak / noise", scores, lambda score, low, high: score.reliability(low, high))
    print_table("Total flux / true flux, median", scores, lambda score, low, high: score.flux_ratio(low, high))
    print("| | " + " | ".join(scores) + " |")
    print("|---|" + "---:|" * len(scores))
    for label, value in (
        ("sources", lambda score: str(len(score.snr))),
        ("of which false", lambda score: str(int((~score.true).sum()))),
        ("position error, median (arcsec)", lambda score: f"{np.median(score.distance[score.true]):.2f}"),
    ):
        print(f"| {label} | " + " | ".join(value(score) for score in scores.values()) + " |")


class Score:
    """Sources of one finder (ra, dec in degrees, flux in Jy, peak in Jy/beam) against the truth."""

    def __init__(self, found: Table, truth: Table):
        there, here = SkyCoord(truth["ra"], truth["dec"]), SkyCoord(found["ra"] * u.deg, found["dec"] * u.deg)
        nearest, distance, _ = here.match_to_catalog_sky(there)
        self.true_snr = truth["peak_flux"].value / TYPICAL_RMS
        self.distance = distance.arcsec
        self.true = self.distance <= MATCH
        self.snr = np.asarray(found["peak"]) / TYPICAL_RMS
        self.found = np.isin(np.arange(len(truth)), nearest[self.true])
        self.ratio = np.asarray(found["flux"]) / truth["total_flux"].value[nearest]
        self.matched_snr = self.true_snr[nearest]

    def completeness(self, low: float, high: float) -> float:
        return self.found[within(self.true_snr, low, high)].mean()

    def reliability(self, low: float, high: float) -> float:
        inside = within(self.snr, low, high)
        return self.true[inside].mean() if inside.any() else np.nan

    def flux_ratio(self, low: float, high: float) -> float:
        inside = within(self.matched_snr, low, high) & self.true
        return np.median(self.ratio[inside]) if inside.any() else np.nan


def within(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values < high)


def print_table(title: str, scores: dict[str, Score], value) -> None:
    print(f"{title}\n\n| S/N | " + " | ".join(scores) + " |")
    print("|---|" + "---:|" * len(scores))
    for low, high in pairwise(BINS):
        cells = [f"{value(score, low, high):.3f}".replace("nan", "-") for score in scores.values()]
        print(f"| {low}-{high} | " + " | ".join(cells) + " |")
    print()


def run_tool(command: list, folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} failed: {done.stderr[-500:]}")


def run_radio_ag(path: Path, tools: Path) -> Table:
    found = find_sources(path)
    return Table(
        {
            "ra": found["ra"].value,
            "dec": found["dec"].value,
            "peak": found["peak_flux"].value,
            "flux": found["total_flux"].value,
        }
    )


def run_pybdsf(path: Path, tools: Path) -> Table | None:
    python = tools / "bin" / "python"
    if subprocess.run([python, "-c", "import bdsf"], capture_output=True).returncode:
        return None
    output = path.with_name("pybdsf.fits")
    run_tool([python, "-c", PYBDSF, path, output], path.parent)
    found = Table.read(output)
    return Table(
        {
            "ra": found["RA"].value,
            "dec": found["DEC"].value,
            "peak": found["Peak_flux"].value,
            "flux": found["Total_flux"].value,
        }
    )


def run_aegean(path: Path, tools: Path) -> Table | None:
    aegean = tools / "bin" / "aegean"
    if not aegean.exists():
        return None
    output = path.with_name("aegean.csv")
    command = [aegean, path, "--table", output, "--seedclip", "5", "--floodclip", "4", "--cores", "1"]
    run_tool(command, path.parent)
    found = Table.read(path.with_name("aegean_comp.csv"))
    return Table({"ra": found["ra"], "dec": found["dec"], "peak": found["peak_flux"], "flux": found["int_flux"]})


def measure_large(path: Path, side: int) -> None:
    """Time and peak memory of a mosaic that repeats a simulated one; the pixels are mapped from the file."""
    piece, _ = make_mosaic(size=2000, n_sources=60, seed=1, min_separation=200)
    header = piece.header.copy()
    header["CRPIX1"] = header["CRPIX2"] = (side + 1) / 2
    header["NAXIS1"] = header["NAXIS2"] = side
    stream = fits.StreamingHDU(path, header)
    row = np.tile(piece.data, (1, -(-side // 2000)))[:, :side].astype(">f4")
    for start in range(0, side, 2000):
        stream.write(row[: side - start])
    stream.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = find_sources(path)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{side}x{side} pixels: {len(found)} sources, {seconds:.0f} s, {peak / 2**20:.2f} GiB at most")
    print(f"({before / 2**20:.2f} GiB before; pages of the mapped file count, and the system may take them back)")


if __name__ == "__main__":
    main()
