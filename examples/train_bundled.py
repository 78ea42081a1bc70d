"""Train the bundled networks: five folds over sources, one network from all of them, and the sets for comparison.

    RADIO_AG_DATA=/path/to/data python examples/train_bundled.py --set first --fold 0 --out training/

``RADIO_AG_DATA`` holds ``mirabest_train.fits`` and ``rgd_train.fits``. An eighth of the sources is reserved for the
calibration; of the others fold k is watched and four are learnt from, or, with ``--fold all``, everything is. A run
that was interrupted goes on. Runs of one network keep one core busy, so run several at once.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from radio_ag.labelled.augmentation import scale_to_unit
from radio_ag.labelled.data import Labelled, load_labelled
from radio_ag.labelled.splits import assign_folds
from radio_ag.network.model import AGCNN, Architecture
from radio_ag.preprocess.images import crop
from radio_ag.training.loop import train
from radio_ag.training.recipes import Recipe

FOLDS = 5
_DEFAULT = Recipe()
_SHORT = {"samples": 8_000, "windowed": 0, "epochs": 2, "batch": 16}
RECIPES = {
    "first": _DEFAULT,
    "paper": replace(_DEFAULT, architecture=Architecture(), stretch="linear", rate=0.01, other_rate=2e-6, **_SHORT),
    "sigmoid": replace(
        _DEFAULT, architecture=replace(_DEFAULT.architecture, normalisation="sigmoid"), rate=0.02, **_SHORT
    ),
    "softmax": replace(
        _DEFAULT, architecture=replace(_DEFAULT.architecture, normalisation="softmax"), rate=0.005, **_SHORT
    ),
}
"""``paper``, ``sigmoid`` and ``softmax`` go on from a network of ``first`` (``--initial``)."""


def load() -> Labelled:
    """The FRI and FRII of both data sets."""
    folder = Path(os.environ["RADIO_AG_DATA"])
    return load_labelled(folder / "mirabest_train.fits", folder / "rgd_train.fits")


def folds_of(data: Labelled) -> np.ndarray:
    """The fold of each source, 0 to 4; -1 for those that are reserved for the calibration."""
    reserved = assign_folds(data, 8, seed=1) == 0
    fold = np.full(len(data), -1)
    fold[~reserved] = assign_folds(data[~reserved], FOLDS)
    return fold


def for_sums(initial: dict, data: Labelled) -> dict:
    """Parameters of a network of averaged features for one of summed features (eq. 9).

    The weights of each gate's scores are divided by the mean sum of its attention.
    """
    network = AGCNN(_DEFAULT.architecture).eval()
    network.load_state_dict(initial)
    images = scale_to_unit(torch.from_numpy(crop(data.fields[::8]))[:, None])
    with torch.inference_mode():
        gates = zip(*(network(batch).gates for batch in images.split(32)), strict=True)
        sums = [float(torch.cat(maps).sum((1, 2)).mean()) for maps in gates]
    return initial | {
        f"classifier.per_gate.{i}.weight": initial[f"classifier.per_gate.{i}.weight"] / total
        for i, total in enumerate(sums)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=RECIPES, default="first")
    parser.add_argument("--fold", choices=[*map(str, range(FOLDS)), "all"], required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--initial", type=Path, help="weights.pt of another run to start from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load()
    fold = folds_of(data)
    left_out = -1 if options.fold == "all" else int(options.fold)
    training = np.flatnonzero((fold >= 0) & (fold != left_out))
    watched = np.flatnonzero((fold == max(left_out, 0)) & (data.origin == "mirabest_train"))
    initial = torch.load(options.initial, weights_only=True) if options.initial else None
    if options.set == "paper" and initial:
        initial = for_sums(initial, data[training])
    print(f"{len(training)} sources to learn from, {len(watched)} to watch", flush=True)
    train(
        data,
        training,
        watched,
        replace(RECIPES[options.set], seed=left_out + 1),
        options.out / f"{options.set}-{options.fold}",
        initial=initial,
        device=options.device,
        log=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main()
