"""A whole run from a mosaic on disk to the product, against the plain way source by source, and where its time goes.

    python benchmarks/whole_run.py [--weights agcnn-first-fast] [--orbit 8] [--sources 2000] [--threads 2] [--json FILE]

Both read the same catalogue and mosaic, and write classes and mean attention maps. The whole run is `radio_ag.classify`
in a process of its own, from its start to its end, imports and all. "plain" is the loop of `reference.py` on some of
the sources (``--plain``), without its imports, scaled to all of them: it does the same for each. The parts of the run
are timed where they are called: those "ahead" run in a thread of their own while the network computes, so shares add
up to more than 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARTS = {
    "network": ("radio_ag.network.classifier.Classifier.predict", "main"),
    "cutting fields": ("radio_ag.catalog_io.images.local.LocalImages.fetch", "ahead"),
    "noise, clip, crop, scale": ("radio_ag.network.classifier.Classifier.prepare", "ahead"),
    "islands": ("radio_ag.chunks.measure_islands", "ahead"),
    "compressing maps": ("radio_ag.chunks.pack", "main"),
    "writing parts": ("radio_ag.catalog_io.product.parts.PartsFolder.write", "main"),
    "joining to the product": ("radio_ag.run._join", "main"),
    "reading the catalogue": ("radio_ag.inputs.read_catalogue", "main"),
    "loading the weights": ("radio_ag.pipeline.load_weights", "main"),
}


def run_once(folder: Path, weights: str, orbit: int, threads: int, device: str) -> dict:
    """One run in this process: the seconds of its parts."""
    import warnings

    from _stages import time_calls

    from radio_ag import RunOptions, classify

    spent = time_calls({name: path for name, (path, _) in PARTS.items()})
    warnings.simplefilter("ignore")
    imported = time.perf_counter() - _BEGIN
    classify(
        folder / "catalogue.csv",
        images=folder / "mosaic.fits",
        output=folder / "product.fits",
        weights=weights,
        orbit=orbit,
        device=device,
        run_options=RunOptions(threads=threads),
    )
    return {"imports": imported, **spent}


def run_apart(folder: Path, options) -> tuple[float, dict[str, float]]:
    """Seconds of a run in a process of its own, and of its parts."""
    command = [sys.executable, __file__, "--run", str(folder)]
    for name in ("weights", "orbit", "threads", "device"):
        command += [f"--{name}", str(getattr(options, name))]
    start = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    wall = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"the run failed:\n{done.stderr}")
    return wall, json.loads(done.stdout.splitlines()[-1])


def run_plainly(folder: Path, options) -> tuple[float, list[float]]:
    """Seconds a source of the plain way, and the probabilities of FRII that it gives."""
    from astropy.table import Table
    from reference import classify_mosaic, plain_network

    from radio_ag.network.checkpoints import load_weights

    weights = load_weights(options.weights)
    if len(weights.networks) > 1:
        raise SystemExit("the plain way takes a single network, not an ensemble")
    table = Table.read(folder / "catalogue.csv")[: options.plain]
    positions = list(zip(table["ra"], table["dec"], strict=True))
    start = time.perf_counter()
    probabilities = classify_mosaic(
        folder / "mosaic.fits",
        positions,
        plain_network(weights.networks[0]),
        weights.card,
        options.orbit,
        folder / "plain.fits",
    )
    return (time.perf_counter() - start) / len(table), probabilities[:, 1].tolist()


def write_example(folder: Path, sources: int) -> int:
    """A mosaic with simulated sources, and their catalogue; its side in pixels."""
    from radio_ag.simulated import make_mosaic

    size = 600 + int(160 * sources**0.5)
    mosaic, truth = make_mosaic(size=size, n_sources=sources, seed=1, min_separation=135.0)
    mosaic.writeto(folder / "mosaic.fits")
    truth["ra", "dec"].write(folder / "catalogue.csv")
    return size


def main() -> None:
    import argparse

    import numpy as np
    import torch
    from _report import parse_options, report

    from radio_ag import Result

    options = parse_options(
        __doc__,
        weights={"default": "agcnn-first-fast"},
        orbit={"type": int, "default": 8},
        sources={"type": int, "default": 2000},
        plain={"type": int, "default": 100, "help": "sources that the plain way is given"},
        device={"default": "auto"},
        threads={"type": int, "default": torch.get_num_threads()},
        folder={"type": Path, "help": "for mosaic and product: some GB"},
        run={"type": Path, "help": argparse.SUPPRESS},
    )
    if options.run:
        print(json.dumps(run_once(options.run, options.weights, options.orbit, options.threads, options.device)))
        return
    if options.small:
        options.sources, options.plain = 60, 4
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        size = write_example(folder, options.sources)
        plain, expected = run_plainly(folder, options)
        wall, spent = run_apart(folder, options)
        product = Result.read(folder / "product.fits")
        got, maps = (
            np.asarray(product.table["p_frii"][: options.plain].filled(np.nan)),
            product.table["attention_plane"],
        )
        mapped = int((np.asarray(maps) >= 0).sum())
    others = {name: seconds for name, seconds in spent.items() if name not in PARTS}
    rows = [{"part": "whole run", "thread": "", "seconds": wall, "share": 1.0}]
    for name in [*PARTS, *others]:
        thread = PARTS[name][1] if name in PARTS else "main"
        rows.append({"part": name, "thread": thread, "seconds": spent[name], "share": spent[name] / wall})
    report(
        "whole run",
        options,
        rows,
        {
            "mosaic_side_px": size,
            "sources_per_s": options.sources / wall,
            "plain_sources_per_s": 1 / plain,
            "plain_seconds_scaled_to_all": plain * options.sources,
            "times_plain": plain * options.sources / wall,
            "network_share_of_wall_time": spent["network"] / wall,
            "maps_kept": mapped,
            "median_difference_of_probabilities": float(np.nanmedian(np.abs(got - expected))),
        },
        weights=options.weights,
        orbit=options.orbit,
    )


_BEGIN = time.perf_counter()

if __name__ == "__main__":
    main()
