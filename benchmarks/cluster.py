"""Speed of `radio_ag.classify` on a local Dask cluster of 1, 2, ... processes, one thread each, against one process.

    python benchmarks/cluster.py [--rows 384] [--workers 1 2] [--json FILE]

Simulated fields in memory, the bundled weights, the default orbit of 8, on the CPU, chunks of 16. Timed is the
computing part: from the first finished part to the last, so that neither the start of processes nor the joining counts.
The products are compared: their data units have to be the same to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ["OMP_NUM_THREADS"] = "1"
CHUNK = 16


class Simulated:
    """Noise and two blobs at every position."""

    name = "simulated"

    def describe(self):
        return {"survey": "simulated"}

    def fetch(self, ra, dec):
        from radio_ag.catalog_io.images.fields import Fields

        fields = Fields.blank(len(ra))
        y, x = np.mgrid[:300, :300] - 149.5
        for row, position in enumerate(ra):
            rng = np.random.default_rng(int(position * 1e6))
            blobs = sum(np.exp(-((x - side * (4 + position % 20)) ** 2 + y**2) / 20) for side in (-1, 1))
            fields.data[row] = 0.01 * blobs + rng.normal(0, 1.5e-4, (300, 300))
        fields.flags[:], fields.status = 0, ["ok"] * len(ra)
        return fields


def run(rows: int, output: Path, client=None) -> float:
    """Rows a second of the computing part."""
    from astropy.table import Table

    from radio_ag import RunOptions, classify

    catalogue = Table({"ra": np.linspace(0, 350, rows), "dec": np.zeros(rows)}, units={"ra": "deg", "dec": "deg"})
    finished = []
    options = RunOptions(
        threads=1,
        batch=CHUNK,
        chunk=CHUNK,
        client=client,
        progress=lambda done, *_: finished.append((time.perf_counter(), done)),
    )
    classify(catalogue, images=Simulated(), output=output, device="cpu", run_options=options)
    (start, first), (end, last) = finished[0], finished[-1]
    return (last - first) / (end - start)


def data_units(path: Path) -> list[str]:
    from astropy.io import fits

    with fits.open(path) as hdus:
        return [hdu.header.get("DATASUM") for hdu in hdus[1:]]


def main() -> None:
    from radio_ag.cluster import open_client

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=384)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rates = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates["one process"] = run(options.rows, folder / "alone.fits")
        for workers in options.workers:
            with open_client(workers=workers, threads=1) as client:
                rates[f"{workers} workers"] = run(options.rows, folder / f"{workers}.fits", client)
            if data_units(folder / f"{workers}.fits") != data_units(folder / "alone.fits"):
                raise SystemExit(f"{workers} workers: another product than one process")
    for label, rate in rates.items():
        print(f"{label:12} {rate:6.2f} rows/s, {rate / rates['one process']:.2f} of one process")
    if options.json:
        options.json.write_text(
            json.dumps({"rows": options.rows, "cores": os.cpu_count(), "rows_a_second": rates}) + "\n"
        )


if __name__ == "__main__":
    main()
