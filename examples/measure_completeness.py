"""Measure what a classification loses and confuses: known sources, dimmed and turned, as a file beside the weights.

    RADIO_AG_DATA=/path/to/data python examples/measure_completeness.py agcnn-first weights/

The sources are the reserved ones of ``mirabest_train.fits`` with certain labels, which no network has learnt from, as
`bundle_weights.py` reserves them. Each is dimmed so that its peak has several signal-to-noise ratios, turned by an
angle and mirrored at random, and noise like FIRST's is added so that the field's noise is as before: its surroundings
are dimmed with it, as on blank sky.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from card_figures import data_folder
from scipy import ndimage
from train_bundled import folds_of, load

from radio_ag.evaluation.completeness import CLASSES
from radio_ag.flags import Flag
from radio_ag.network.checkpoints import load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.preprocess.islands import measure_islands, show_alone
from radio_ag.preprocess.noise import estimate_rms
from radio_ag.simulated import correlated_noise

EDGES = (10.0, 15.0, 25.0, 50.0, 100.0)  # fainter sources are LOW_SNR
PLACES = 3  # signal-to-noise ratios in each bin, each source once at each


def reserved_fields() -> tuple[np.ndarray, np.ndarray]:
    """Raw fields (n, 300, 300) of the reserved certain sources, and their labels."""
    data = load()
    rows = np.flatnonzero((folds_of(data) == -1) & (data.origin == "mirabest_train") & data.certain)
    with fits.open(data_folder() / "mirabest_train.fits") as hdus:
        table = hdus["SOURCES"].data
        places = np.hypot(table["ra"] - data.ra[rows, None], table["dec"] - data.dec[rows, None]).argmin(1)
        return hdus["IMAGES"].data[places].astype(np.float32), data.label[rows]


def dimmed(field: np.ndarray, rms: float, factor: float, rng: np.random.Generator) -> np.ndarray:
    """A field turned at random, times a factor, with noise that brings it back to what it was."""
    turned = ndimage.rotate(np.nan_to_num(field), rng.uniform(0, 360), reshape=False, order=1, mode="reflect")
    turned = turned[:, ::-1] if rng.random() < 0.5 else turned
    own = float(estimate_rms(turned[None]).rms[0])  # turning smooths the noise
    return turned * factor + correlated_noise(field.shape, np.sqrt(max(rms**2 - (own * factor) ** 2, 0)), rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    weights = load_weights(options.weights)
    classifier = Classifier(weights, device="cpu")
    fields, label = reserved_fields()
    rms = estimate_rms(fields).rms
    snr = measure_islands(fields, rms).snr
    counts = np.zeros((len(EDGES) - 1, 2, 3), int)
    for place, (low, high) in enumerate(pairwise(EDGES)):
        for target in np.geomspace(low, high, 2 * PLACES + 1)[1::2]:
            rows = np.flatnonzero(snr > target)  # none is made brighter than it is
            made = np.stack([dimmed(fields[i], rms[i], target / snr[i], rng) for i in rows]).astype(np.float32)
            prepared = classifier.prepare(made)
            islands = measure_islands(made, prepared.rms)
            flags = islands.flags
            made[islands.outshone] = show_alone(made, prepared, islands, classifier.preprocessing)
            seen = np.flatnonzero((flags & classifier.masked) == 0)
            prediction = classifier.predict(made[seen], prepared=prepared.taken(seen), attention="none")
            outcome = np.full(len(rows), 2)
            clean = (flags[seen] | prediction.flags) == Flag(0)
            outcome[seen[clean]] = prediction.probabilities[clean].argmax(1)
            np.add.at(counts[place], (label[rows], outcome), 1)
        print(f"S/N {low:g} to {high:g}: {counts[place].tolist()}", flush=True)
    path = options.output / f"{weights.card.name}.completeness.json"
    content = {
        "weights": weights.card.name,
        "sha256": weights.card.sha256,
        "classes": list(CLASSES),
        "snr_edges": list(EDGES),
        "counts": counts.tolist(),
        "counts_are": "by bin, true class, and outcome: clean FRI, clean FRII, neither",
        "sources": f"{len(label)} reserved sources of mirabest_train with certain labels, {PLACES} times a bin at most",
        "command": f"python examples/measure_completeness.py {options.weights} weights/",
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
