"""Peak memory and disk of `radio-ag classify` against the number of rows; only the network is replaced by a stand-in.

    python benchmarks/memory.py [--rows 10000 1000000] [--attention none|mean] [--covered 2000] [--json FILE]

Each run is a process of its own: it reads a FITS catalogue of 45 columns (360 bytes a row, as PyBDSF writes them), cuts
fields from a simulated mosaic, measures them, and writes the product. ``--covered`` rows lie on the mosaic; the
others are ``NO_COVERAGE``, which takes less time: chunks are as full, so memory a chunk is the same. Memory is the
peak of the process as Linux tells it (VmHWM): pages of the mapped catalogue count. Elsewhere this does not run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import parse_options, report

COLUMNS = 45
MOSAIC_RA, MOSAIC_DEC = 180.0, 30.0  # degrees


def write_catalogue(path: Path, rows: int, covered: int) -> None:
    """A catalogue whose first columns are positions, some of them around the mosaic's centre."""
    import numpy as np
    from astropy.table import Table

    rng = np.random.default_rng(0)
    inside = rng.permutation(rows) < covered
    table = Table({"RA": rng.uniform(0, 150, rows), "DEC": rng.uniform(-60, 60, rows)})
    table["RA"][inside] = rng.uniform(MOSAIC_RA - 0.1, MOSAIC_RA + 0.1, inside.sum())
    table["DEC"][inside] = rng.uniform(MOSAIC_DEC - 0.1, MOSAIC_DEC + 0.1, inside.sum())
    for number in range(COLUMNS - 2):
        table[f"Column_{number}"] = rng.normal(size=rows)
    table["RA"].unit = table["DEC"].unit = "deg"
    table.write(path)


def write_mosaic(path: Path) -> None:
    """Noise and blobs, in FIRST's pixels."""
    import numpy as np
    from astropy.io import fits
    from astropy.wcs import WCS
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(1)
    size = 1000
    sources = np.zeros((size, size))
    sources[tuple(rng.integers(0, size, (2, 400)))] = rng.exponential(1.0, 400)
    image = gaussian_filter(sources, 1.3) + gaussian_filter(rng.normal(size=(size, size)), 1.3) * 1e-3
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ("RA---SIN", "DEC--SIN"), ("deg", "deg")
    wcs.wcs.crval, wcs.wcs.crpix = (MOSAIC_RA, MOSAIC_DEC), (size / 2, size / 2)
    wcs.wcs.cdelt = -1.8 / 3600, 1.8 / 3600
    header = wcs.to_header()
    header["BUNIT"], header["BMAJ"], header["BMIN"], header["BPA"] = "Jy/beam", 5.4 / 3600, 5.4 / 3600, 0.0
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(path)


def stand_in(classifier, task, images, attention, networks=None):
    """What the network gives for a batch, but for the computing: logits by brightness, a map that is the image."""
    import torch

    from radio_ag.network.orbit import Seen

    n, views = len(images), len(task.views)
    logits = torch.stack([torch.zeros(n), images.mean((1, 2))], 1).expand(views, n, 2)
    features = torch.zeros(n, len(classifier.feature_model.centre) if classifier.feature_model else 0)
    planes = classifier.gates if attention == "gates" else 1
    return Seen(logits, features, None if attention == "none" else images[:, None].repeat(1, planes, 1, 1))


def peak_memory() -> int:
    """Most memory that this process has held, in bytes; ``ru_maxrss`` would count what its parent held as well."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def run_once(catalogue: Path, mosaic: Path, output: Path, attention: str, chunk: int) -> dict:
    """One run in this process; its peak memory and sizes."""
    import warnings

    from radio_ag import RunOptions, classify
    from radio_ag.network.classifier import Classifier

    Classifier.see = stand_in
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    options = {"attention": attention, "device": "cpu", "orbit": 1, "run_options": RunOptions(chunk=chunk)}
    result = classify(catalogue, images=mosaic, output=output, **options)
    summary = result.summary()
    return {
        "rows": summary["rows"],
        "classified": summary["rows"] - summary["classes"]["none"],
        "seconds": round(time.perf_counter() - start, 1),
        "peak_bytes": peak_memory(),
        "table_bytes": summary["rows"] * COLUMNS * 8,
        "input_bytes": catalogue.stat().st_size,
        "product_bytes": output.stat().st_size,
    }


def main() -> None:
    options = parse_options(
        __doc__,
        rows={"type": int, "nargs": "+", "default": [10_000, 1_000_000]},
        attention={"choices": ["none", "mean", "gates"], "default": "none"},
        covered={"type": int, "default": 2000},
        chunk={"type": int, "default": 128},
        folder={"type": Path, "help": "for catalogues and products: a few GB for 10^6 rows"},
        run={"type": Path, "nargs": 3, "help": argparse.SUPPRESS},
    )
    if options.run:
        print(json.dumps(run_once(*options.run, options.attention, options.chunk)))
        return
    if not Path("/proc/self/status").exists():
        print("memory: left out, since peak memory is read from /proc, which is not here")
        return
    if options.small:
        options.rows, options.covered = [1000, 5000], 100
    runs = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_mosaic(folder / "mosaic.fits")
        for rows in options.rows:
            write_catalogue(folder / "catalogue.fits", rows, options.covered)
            paths = [folder / "catalogue.fits", folder / "mosaic.fits", folder / "product.fits"]
            settings = ["--attention", options.attention, "--chunk", str(options.chunk)]
            command = [sys.executable, __file__, "--run", *map(str, paths), *settings]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise RuntimeError(f"the run failed:\n{done.stderr}")
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            for path in (paths[0], paths[2]):
                path.unlink()
    first, last = runs[0], runs[-1]
    grown, table = (last[name] - first[name] for name in ("peak_bytes", "table_bytes"))
    figures = {
        "growth_in_MB": grown / 1e6,
        "growth_over_that_of_the_table": grown / table if table else None,
        "bytes_a_row_added_on_disk": (last["product_bytes"] - last["input_bytes"]) / last["rows"],
    }
    report("memory", options, runs, figures, weights="agcnn-first, its network replaced by a stand-in", orbit=1)


if __name__ == "__main__":
    main()
