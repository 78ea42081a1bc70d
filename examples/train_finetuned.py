"""Train networks that go on from those of FIRST: for NVSS, and for four classes, a network a fold.

    RADIO_AG_DATA=/path/to/data python examples/train_finetuned.py --set nvss --fold 0 --out training/
    RADIO_AG_DATA=/path/to/data python examples/train_finetuned.py --set 4class --fold 0 --out training/

``RADIO_AG_DATA`` holds ``frdeep_nvss_train.fits``, ``mirabest_train.fits`` and ``rgd_train.fits``. A run that was
interrupted goes on, and ``bundle_finetuned.py`` makes weights of the networks of ``nvss``; those of ``4class`` are not
good enough for that: in five folds within each fold 74 to 79 % of the sources get the right class.

``nvss``: fold k is watched and the others are learnt from; the parent is the first network of agcnn-first, which has
learnt from FIRST images of sources of which some are those of the NVSS images, whose positions are not known.

``4class``: the parent of fold k is the network of agcnn-first-ensemble that has not learnt from fold k of the FRI and
FRII; its last layer alone is fitted, to the sources of fold k, so that its features are those of new sources. The
others share the fold of what is within 270 arcsec, or get one at random.
"""

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from train_bundled import folds_of, load

from radio_ag.labelled.data import Labelled, Reading, load_labelled
from radio_ag.labelled.splits import assign_folds
from radio_ag.network.baselines import build
from radio_ag.network.checkpoints import load_weights
from radio_ag.network.classifier import run_network
from radio_ag.network.model import Network, fold_batch_norm
from radio_ag.preprocess.images import crop, normalise
from radio_ag.sky import unit_vectors
from radio_ag.training.finetune import initial_parameters
from radio_ag.training.loop import source_weights, train
from radio_ag.training.recipes import RECIPES, Recipe

FOLDS = 5
CLASSES = ("FRI", "FRII", "Bent", "Compact")
BENT = ("wide-angle tail", "head-tail")
_RECIPE = replace(RECIPES["finetune"], samples=5_000, windowed=4_000, epochs=5)
_HEAD = replace(
    _RECIPE, architecture=replace(_RECIPE.architecture, aggregation="concatenation"), windowed=0, frozen=True
)
VIEWS = 4
RIDGE = 3e-3
RECIPES_OF = {"nvss": replace(_RECIPE, samples=3_000, windowed=0, served=64, epochs=3), "4class": _HEAD}


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


def load_network(which: str, training: Path, fold: int, classes: int) -> Network:
    """The network of a fold, trained."""
    network = build(recipe_of(which, fold, classes).architecture)
    weights = torch.load(training / f"{which}-{fold}" / "weights.pt", weights_only=True, map_location="cpu")
    network.load_state_dict(weights)
    return network.eval()


def train_fold(which: str, those: Set, fold: int, out: Path) -> None:
    """Train the network of a fold on the others."""
    data, recipe = those.data, recipe_of(which, fold, len(those.data.classes))
    fresh = build(recipe.architecture)
    train(
        data,
        np.flatnonzero(those.fold != fold),
        np.flatnonzero(those.fold == fold),
        recipe,
        out / f"{which}-{fold}",
        initial=initial_parameters(parent_of(which, fold), fresh, same_classes=len(data.classes) == 2),
        log=lambda line: print(which, fold, line, flush=True),
    )


def fit_fold(which: str, those: Set, fold: int, out: Path) -> None:
    """Fit the last layer of the parent that has not seen a fold to the features of that fold's sources."""
    data, recipe = those.data, recipe_of(which, fold, len(those.data.classes))
    rows = np.flatnonzero(those.fold == fold)
    network = build(recipe.architecture).eval()
    parent, own = parent_of(which, fold), network.state_dict()
    own |= {name: value for name, value in parent.state_dict().items() if not name.startswith("classifier.")}
    network.load_state_dict(own)
    images = normalise(crop(data.fields[rows]), recipe.stretch)
    features = run_network(fold_batch_norm(network), images, views=VIEWS)[1]
    weights = source_weights(data, rows, recipe)
    matrix, bias = fit_last_layer(features, data.label[rows], weights, len(data.classes))
    subfold = assign_folds(data[rows], FOLDS)
    right = np.concatenate([_right(features, data.label[rows], weights, subfold == k) for k in range(FOLDS)])
    print(which, fold, f"{len(rows)} sources, five folds within: {right.mean():.3f} right", flush=True)
    final = network.get_submodule("classifier").final
    with torch.no_grad():
        final.weight.copy_(torch.from_numpy(matrix))
        final.bias.copy_(torch.from_numpy(bias))
    folder = out / f"{which}-{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "features.npz", rows=rows, features=features)
    torch.save(network.state_dict(), folder / "weights.pt")


def _right(features: NDArray, label: NDArray, weights: NDArray, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which sources that were held out get the right class."""
    matrix, bias = fit_last_layer(features[:, ~held], label[~held], weights[~held], int(label.max()) + 1)
    return (features[:, held].mean(0) @ matrix.T + bias).argmax(1) == label[held]


def fit_last_layer(
    features: NDArray, label: NDArray, weights: NDArray, classes: int, ridge: float = RIDGE
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit a multinomial logistic regression to features (views, n, F), each view a source of its own.

    The ridge is on the weights of standardised features, over the mean loss.
    """
    centre, scale = features.mean((0, 1)), features.std((0, 1)) + 1e-6
    x = ((features - centre) / scale).reshape(-1, features.shape[-1]).astype(float)
    one_hot = np.tile(np.eye(classes)[label], (len(features), 1))
    share = np.tile(weights, len(features)) / (weights.sum() * len(features))

    def loss(flat: NDArray) -> tuple[float, NDArray]:
        matrix, bias = flat[:-classes].reshape(classes, -1), flat[-classes:]
        log_p = log_softmax(x @ matrix.T + bias, 1)
        gap = (np.exp(log_p) - one_hot) * share[:, None]
        value = -(share[:, None] * one_hot * log_p).sum() + ridge / 2 * (matrix**2).sum()
        return value, np.concatenate([(gap.T @ x + ridge * matrix).ravel(), gap.sum(0)])

    flat = minimize(loss, np.zeros(classes * (x.shape[1] + 1)), jac=True, method="L-BFGS-B").x
    matrix = flat[:-classes].reshape(classes, -1) / scale
    return matrix.astype(np.float32), (flat[-classes:] - matrix @ centre).astype(np.float32)


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
        (fit_fold if options.set == "4class" else train_fold)(options.set, those, fold, options.out)


if __name__ == "__main__":
    main()
