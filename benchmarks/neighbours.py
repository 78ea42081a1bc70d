"""Is a source outshone by others classified better without them in sight?

    RADIO_AG_DATA=/path/to/data python benchmarks/neighbours.py

Each field of ``mirabest_train.fits`` is shown to the network that has not learnt it (those of the folds, and
``agcnn-first``'s own for the reserved ones), as it is and without the islands that are not the source's
(`radio_ag.preprocess.islands.hide_others`). Printed are, for certain labels and for all, how many get the right class,
how many a probability of 0.75 or more, and how many of these are right.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from train_bundled import FOLDS, folds_of, load

from radio_ag.evaluation.served import predict_clipped
from radio_ag.network.checkpoints import load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.preprocess.islands import hide_others, measure_islands

SURE = 0.75


def probabilities(fields: NDArray[np.float32], fold: NDArray[np.intp]) -> NDArray[np.float32]:
    """Probabilities (n, 2) of fields (n, ny, nx) by the network that has not learnt each."""
    ensemble, alone = load_weights("agcnn-first-ensemble"), load_weights("agcnn-first")
    networks = {-1: alone.networks[0]} | {number: ensemble.networks[number] for number in range(FOLDS)}
    result = np.full((len(fields), 2), np.nan, np.float32)
    for number in np.unique(fold):
        weights = replace(alone.described(novelty=None), networks=(networks[int(number)],), extra={})
        classifier, rows = Classifier(weights, device="cpu"), fold == number
        result[rows] = predict_clipped(classifier, fields[rows]).probabilities
    return result


def main() -> None:
    data = load()
    data, fold = data[data.origin == "mirabest_train"], folds_of(data)[data.origin == "mirabest_train"]
    islands = measure_islands(data.fields, data.rms)
    beside = islands.outshone
    seen = {
        "as it is": probabilities(data.fields[beside], fold[beside]),
        "without others": probabilities(hide_others(data.fields[beside], data.rms[beside]), fold[beside]),
    }
    certain, label = data.certain[beside], data.label[beside]
    print(f"{'':16}{'sources':>8}{'right':>7}{'sure':>6}{'right of these':>16}")
    for subset, rows in {"certain": certain, "all": np.ones(len(label), bool)}.items():
        for name, p in seen.items():
            right, sure = (p.argmax(1) == label)[rows], (p.max(1) >= SURE)[rows]
            print(f"{name:16}{len(right):8}{right.sum():7}{sure.sum():6}{(right & sure).sum():16}  {subset}")


if __name__ == "__main__":
    main()
