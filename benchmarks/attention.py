"""Where the bundled network and the published ones look, on the same FIRST sources.

    python benchmarks/attention.py [--every 1] [--json FILE]

Needs the folder of the real FIRST images in the environment variable RADIO_AG_DATA. The sources are those of the
MiraBest training batches that the bundled network has not learnt from: the fold left out, which served to calibrate it.
The published networks may have learnt from them. Medians over the sources, with the interval of 95 % of 1000
bootstraps.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from radio_ag.augmented import labelled_chunks
from radio_ag.checkpoints import import_checkpoint, load_weights
from radio_ag.classifier import Classifier
from radio_ag.inspection import measure_attention
from radio_ag.labelled import Labelled, assign_folds, load_labelled
from radio_ag.model import CLASSES
from radio_ag.weights import DEFAULT

PUBLISHED = {
    "range_norm_ft_3gates_exp1": "range",
    "range_norm_ft_2gates": "range",
    "sigmoid_mean_3gates": "sigmoid",
    "softmax_concat_3gates": "softmax",
    "softmax_deep_sup_3gates": "softmax",
    "std_mean_norm_concat_3gates": "standardisation",
}
SHOWN = ("emission_enrichment", "halo_enrichment", "emission_offset", "gate_agreement")


def unseen_sources(data_dir: Path) -> Labelled:
    """MiraBest sources that the bundled network has not learnt from."""
    data = load_labelled(data_dir / "mirabest_train.fits", data_dir / "rgd_train.fits")
    left_out = load_weights().card["training"]["fold_left_out"]
    return data[(data.origin == "mirabest_train") & (assign_folds(data) == left_out)]


def classifiers(data_dir: Path, folder: Path):
    """Names and classifiers, the bundled one first."""
    yield DEFAULT, Classifier.load(device="cpu")
    for name, normalisation in PUBLISHED.items():
        path = data_dir / "published" / "weights" / f"{name}.pt"
        imported = import_checkpoint(path, str(folder / f"{name}.safetensors"), normalisation=normalisation)
        yield name, Classifier.load(imported, device="cpu")


def median_with_interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    values = values[np.isfinite(values)]
    medians = np.median(rng.choice(values, (1000, len(values))), 1)
    return float(np.median(values)), *(float(v) for v in np.percentile(medians, (2.5, 97.5)))


def compare(data: Labelled, data_dir: Path) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, classifier in classifiers(data_dir, Path(folder)):
            values, classes = measure_attention(classifier, labelled_chunks(data))
            row = {"network": name, "accuracy": float((classes == np.array(CLASSES)[data.label]).mean())}
            rng = np.random.default_rng(0)
            row |= {column: median_with_interval(values[column], rng) for column in SHOWN}
            rows.append(row)
            cells = [f"{m:6.2f} ({low:.2f}-{high:.2f})" for m, low, high in (row[column] for column in SHOWN)]
            print(f"{name:28} {row['accuracy']:.3f}  " + "  ".join(f"{cell:20}" for cell in cells), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take every so many sources")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data_dir = Path(os.environ["RADIO_AG_DATA"])
    unseen = unseen_sources(data_dir)
    data = unseen[:: options.every]
    print(f"{len(data)} sources that {DEFAULT} has not learnt from")
    print(f"{'':28} {'right':5}  " + "  ".join(f"{column:20}" for column in SHOWN))
    rows = compare(data, data_dir)
    if options.json:
        options.json.write_text(json.dumps({"sources": len(data), "networks": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
