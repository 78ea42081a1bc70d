"""A run's time against the number of rows, besides cutting, measuring and the network: in and out, and look-up.

    python benchmarks/rows.py [--rows 10000 100000 1000000] [--images 10000] [--json FILE]

Each number of rows is a run of its own process: `radio_ag.classify` reads a FITS catalogue of 45 columns (360 bytes a
row), finds for each position the images that contain it among many, writes parts, and joins them to the product. The
rows lie on images of FIRST's size side by side, but their pixels are not touched: nothing is cut, so that the network
has nothing to classify, and every row is written as not covered.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMAGE = (1550, 1160)  # px, as FIRST's
STAGES = {
    "reading the catalogue": "radio_ag.inputs.read_catalogue",
    "reading image headers": "radio_ag.inputs.open_images",
    "look-up": "radio_ag.catalog_io.images.local.LocalImages._candidates",
    "writing parts": "radio_ag.catalog_io.product.parts.PartsFolder.write",
    "joining to the product": "radio_ag.run._join",
}


def write_images(folder: Path, count: int) -> tuple[float, float]:
    """Empty images side by side from the point (0, 0) of the sky on; their extent (degrees) in RA and Dec."""
    from radio_ag.catalog_io.images.geometry import tangent_wcs

    folder.mkdir()
    width, height = (side * 1.8 / 3600 for side in IMAGE)
    across = int(count**0.5)
    for number in range(count):
        row, column = divmod(number, across)
        header = tangent_wcs((column + 0.5) * width, (row + 0.5) * height, IMAGE[0]).to_header()
        header["CRPIX2"] = (IMAGE[1] + 1) / 2
        cards = {"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": IMAGE[0], "NAXIS2": IMAGE[1]}
        for position, (keyword, value) in enumerate(cards.items()):
            header.insert(position, (keyword, value))
        header["BUNIT"], header["BMAJ"], header["BMIN"], header["BPA"] = "JY/BEAM", 5.4 / 3600, 5.4 / 3600, 0.0
        text = header.tostring().encode("ascii")
        with (folder / f"image{number:05d}.fits").open("wb") as file:
            file.write(text)
            file.truncate(len(text) + 4 * IMAGE[0] * IMAGE[1])  # a hole, which takes no disk
    return across * width, count / across * height


def write_rows(path: Path, rows: int, extent: tuple[float, float]) -> None:
    """A catalogue of positions on the images, in no order, and 43 columns of numbers."""
    import numpy as np
    from astropy.table import Table

    rng = np.random.default_rng(0)
    table = Table({"RA": rng.uniform(0.2, extent[0] - 0.2, rows), "DEC": rng.uniform(0.2, extent[1] - 0.2, rows)})
    for number in range(43):
        table[f"Column_{number}"] = rng.normal(size=rows)
    table["RA"].unit = table["DEC"].unit = "deg"
    table.write(path, overwrite=True)


def run_once(catalogue: Path, images: Path, output: Path) -> dict:
    """One run in this process: seconds in all and of its stages."""
    import warnings

    from _stages import time_calls

    from radio_ag import RunOptions, classify
    from radio_ag.catalog_io.images.local import LocalImages

    pairs = 0

    def count(*_) -> None:
        nonlocal pairs
        pairs += 1

    LocalImages.improve = count
    spent = time_calls(STAGES)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    run = RunOptions(threads=1)
    result = classify(catalogue, images=images, output=output, attention="none", device="cpu", orbit=1, run_options=run)
    seconds = time.perf_counter() - start
    return {"rows": result.summary()["rows"], "pairs": pairs, "seconds": seconds, **spent}


def main() -> None:
    from _report import parse_options, report

    options = parse_options(
        __doc__,
        rows={"type": int, "nargs": "+", "default": [10_000, 100_000, 1_000_000]},
        images={"type": int, "default": 10_000},
        folder={"type": Path, "help": "for catalogue, images and product: some GB"},
        run={"type": Path, "nargs": 3, "help": argparse.SUPPRESS},
    )
    if options.run:
        print(json.dumps(run_once(*options.run)))
        return
    if options.small:
        options.rows, options.images = [1000, 4000], 64
    runs = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        extent = write_images(folder / "images", options.images)
        for rows in options.rows:
            paths = [folder / "catalogue.fits", folder / "images", folder / "product.fits"]
            write_rows(paths[0], rows, extent)
            command = [sys.executable, __file__, "--run", *map(str, paths)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"the run failed:\n{done.stderr}")
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            paths[2].unlink()
    few, many = runs[0], runs[-1]
    added = (many["seconds"] - few["seconds"]) / (many["rows"] - few["rows"])
    report(
        "rows",
        options,
        runs,
        {
            "images": options.images,
            "microseconds_for_each_further_row": 1e6 * added,
            "seconds_for_1e6_rows_and_the_images_headers": 1e6 * added + many["reading image headers"],
        },
    )


if __name__ == "__main__":
    main()
