"""Train the bundled networks that go on from those of FIRST: one for NVSS, one of four classes, a network a fold.

    RADIO_AG_DATA=/path/to/data python examples/train_finetuned.py --set nvss --fold 0 --out training/
    RADIO_AG_DATA=/path/to/data python examples/train_finetuned.py --set 4class --fold 0 --out training/

``RADIO_AG_DATA`` holds ``frdeep_nvss_train.fits``, ``mirabest_train.fits`` and ``rgd_train.fits``. Fold k is watched
and the others are learnt from. A run that was interrupted goes on. ``bundle_finetuned.py`` makes weights of the networks.

The parent of ``nvss`` is the first network of agcnn-first: it has learnt from FIRST images of sources of which some are
the same as those of the NVSS images, whose positions are not known. The parent of fold k of ``4class`` is the network
of agcnn-first-ensemble that has not learnt from fold k of the FRI and FRII; the other sources share the fold of those
within 270 arcsec, or get one at random. Where the chain of neighbours joins sources of two folds, `unseen` leaves those
out that the parent may have seen.
"""

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from train_bundled import folds_of, load

from radio_ag.labelled.data import Labelled, Reading, load_labelled
from radio_ag.labelled.splits import assign_folds
from radio_ag.network.baselines import build
from radio_ag.network.checkpoints import load_weights
from radio_ag.network.model import Network
from radio_ag.sky import unit_vectors
from radio_ag.training.finetune import initial_parameters
from radio_ag.training.loop import train
from radio_ag.training.recipes import RECIPES, Recipe

FOLDS = 5
CLASSES = ("FRI", "FRII", "Bent", "Compact")
BENT = ("wide-angle tail", "head-tail")
_RECIPE = replace(RECIPES["finetune"], samples=5_000, windowed=4_000, epochs=5)
RECIPES_OF = {"nvss": replace(_RECIPE, samples=3_000, windowed=0, served=64, epochs=3), "4class": _RECIPE}


@dataclass(frozen=True)
class Set:
    """Labelled sources, the fold of each, and which of them the parent of that fold may have learnt from."""

    data: Labelled
    fold: NDArray[np.intp]
    seen: NDArray[np.bool_]


def load_nvss() -> Set:
    """The NVSS images of FR-DEEP."""
    data = load_labelled(Path(os.environ["RADIO_AG_DATA"]) / "frdeep_nvss_train.fits")
    return Set(data, assign_folds(data, FOLDS), np.zeros(len(data), bool))


def load_four_classes() -> Set:
    """The sources of four classes; wide-angle and head tails of MiraBest are Bent, as those of the other set are."""
    folder = Path(os.environ["RADIO_AG_DATA"])
    paths = folder / "rgd_train.fits", folder / "mirabest_train.fits"
    data = load_labelled(*paths, reading=Reading(classes=",".join(CLASSES)))
    table = Table.read(paths[1], hdu="SOURCES")
    bent = np.isin(table["morphology"].astype(str), BENT)
    label = np.where(
        np.isin(data.name, np.char.strip(table["name"].astype(str))[bent]), CLASSES.index("Bent"), data.label
    )
    data = replace(data, label=label)
    return Set(data, *_folds_of_parents(data))


def _folds_of_parents(data: Labelled) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The fold of each source, whose parent has not seen it; and where that cannot be."""
    of_parents = load()
    distance = unit_vectors(data.ra, data.dec) @ unit_vectors(of_parents.ra, of_parents.dec).T
    nearest = distance.argmax(1)
    theirs = np.where(distance.max(1) > np.cos(np.radians(1 / 3600)), folds_of(of_parents)[nearest], -1)
    fold = assign_folds(data, FOLDS)
    for group in np.unique(data.group[theirs >= 0]):
        members = data.group == group
        fold[members] = theirs[members & (theirs >= 0)][0]
    return fold, (theirs >= 0) & (theirs != fold)


LOADERS = {"nvss": load_nvss, "4class": load_four_classes}


def parent_of(which: str, fold: int) -> Network:
    """The network that a fold goes on from."""
    return (
        load_weights("agcnn-first").networks[0]
        if which == "nvss"
        else load_weights("agcnn-first-ensemble").networks[fold]
    )


def recipe_of(which: str, fold: int, classes: int) -> Recipe:
    """How the network of a fold is trained."""
    recipe = RECIPES_OF[which]
    return replace(recipe, architecture=replace(recipe.architecture, classes=classes), seed=fold + 1)


def train_fold(which: str, those: Set, fold: int, out: Path) -> None:
    """Train the network of a fold."""
    data, parent, recipe = those.data, parent_of(which, fold), recipe_of(which, fold, len(those.data.classes))
    torch.manual_seed(recipe.seed)
    same = which == "nvss"
    train(
        data,
        np.flatnonzero(those.fold != fold),
        np.flatnonzero(those.fold == fold),
        recipe,
        out / f"{which}-{fold}",
        initial=initial_parameters(parent, build(recipe.architecture), same_classes=same),
        log=lambda line: print(which, fold, line, flush=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=LOADERS, required=True)
    parser.add_argument("--fold", type=int, choices=range(FOLDS), required=True, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    those = LOADERS[options.set]()
    for fold in options.fold:
        train_fold(options.set, those, fold, options.out)


if __name__ == "__main__":
    main()
