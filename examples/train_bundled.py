"""Train the bundled networks: one network for each of five folds over sources, resumable.

    RADIO_AG_DATA=/path/to/data python examples/train_bundled.py --fold 0 --out training/

``RADIO_AG_DATA`` holds ``mirabest_train.fits`` and ``rgd_train.fits``. Fold k is watched; the other four are learnt
from.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from radio_ag.labelled import assign_folds, load_labelled
from radio_ag.model import Architecture
from radio_ag.training import Recipe, train

RECIPES = {"default": Recipe(), "paper-like": Recipe(architecture=Architecture(), stretch="linear")}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--fold", type=int, required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--recipe", choices=RECIPES, default="default")
parser.add_argument("--samples", type=int, help="augmented images to see")
parser.add_argument("--initial", type=Path, help="weights.pt of another run of the same fold to start from")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--device", default="cpu")
options = parser.parse_args()
torch.set_num_threads(options.threads)

data_dir = Path(os.environ["RADIO_AG_DATA"])
data = load_labelled(data_dir / "mirabest_train.fits", data_dir / "rgd_train.fits")
fold = assign_folds(data)
recipe = replace(RECIPES[options.recipe], seed=options.fold)
if options.samples:
    recipe = replace(recipe, samples=options.samples)
validation = np.flatnonzero((fold == options.fold) & (data.origin == "mirabest_train"))
training = np.flatnonzero(fold != options.fold)
print(f"{len(training)} sources to learn from, {len(validation)} to watch", flush=True)
folder = options.out / f"{options.recipe}-{options.fold}"
initial = torch.load(options.initial, weights_only=True) if options.initial else None
train(
    data,
    training,
    validation,
    recipe,
    folder,
    initial=initial,
    device=options.device,
    log=lambda line: print(line, flush=True),
)
