"""Make weights of what ``train_finetuned.py`` left, with calibration and figures of sources out of their fold.

    RADIO_AG_DATA=/path/to/data python examples/bundle_finetuned.py --set nvss training/ weights/

The networks of five folds are averaged. Each source is unseen by one of them: the cross-validation and the temperatures
are of single networks on these, so that the mean of the five, which nobody but new sources can test, is a little better
and less sure of itself than the card says.
"""

import argparse
import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from train_finetuned import FOLDS, LOADERS, RECIPES_OF, Set, load_network

from radio_ag.evaluation.calibration import fit_temperature
from radio_ag.evaluation.scores import score_sources
from radio_ag.network.checkpoints import Weights, load_weights, save_weights
from radio_ag.network.classifier import run_network
from radio_ag.network.novelty import FeatureModel
from radio_ag.preprocess.images import crop, normalise
from radio_ag.weights import Card

ORBITS = (1, 2, 4, 8)
FAMILIAR_SHARE = 0.97
ABOUT = {
    "nvss": {
        "name": "agcnn-nvss",
        "description": "FRI/FRII from NVSS images, 1.4 GHz, 45 arcsec: agcnn-first, trained on; for --images nvss",
        "parent": "agcnn-first",
        "survey": "NVSS 1.4 GHz",
        "data": "FR-DEEP-N (Tang et al. 2019, arXiv:1903.11921)",
        "images": "NVSS: Condon et al. 1998, AJ 115, 1693",
        "known_failures": [
            "Most sources are barely resolved at 45 arcsec: what tells the classes apart is in part how bright a "
            "source is among its neighbours, so that other selections than that of the training set will do worse",
            "The parent has learnt from FIRST images of some of the same sources",
        ],
    },
}


def make(which: str, those: Set, training: Path, command: str) -> Weights:
    """Weights with a card."""
    about, data, recipe = ABOUT[which], those.data, RECIPES_OF[which]
    networks = tuple(load_network(which, training, fold, len(data.classes)) for fold in range(FOLDS))
    images = normalise(crop(data.fields, recipe.served), recipe.stretch)
    logits, features = zip(*(run_network(network, images, views=8) for network in networks), strict=True)
    own = np.stack([logits[fold][:, n] for n, fold in enumerate(those.fold)], 1)  # (8, n, K), unseen
    temperature = {orbit: round(fit_temperature(own[:orbit].mean(0), data.label), 4) for orbit in ORBITS}
    joined = np.concatenate([one.mean(0) for one in features], 1)
    model, threshold = novelty_of(joined, those)
    probabilities = softmax(own.mean(0) / temperature[8], 1)
    parent = load_weights(about["parent"]).card
    card = Card.of(
        {
            "name": about["name"],
            "description": about["description"],
            "reference": "Bowles et al. 2021, MNRAS 501, 4579, arXiv:2012.01248",
            "licence": "BSD-3-Clause",
            "classes": list(data.classes),
            "input": {
                "survey": about["survey"],
                "size": 150,
                **({} if recipe.served == 150 else {"window": recipe.served}),
                "pixel_scale": round(data.scale.pixel_scale, 4),
                "beam": round(data.scale.beam, 4),
                "clip": 3.0,
                "stretch": recipe.stretch,
                "value_range": [0.0, 1.0],
            },
            "needs_morphology": True,
            "started_from": {"name": parent.name, "sha256": parent.sha256},
            "training": {
                "data": about["data"],
                "images": about["images"],
                "sources": {
                    f"{origin} {name} {sure}": count
                    for origin in np.unique(data.origin).tolist()
                    for number, name in enumerate(data.classes)
                    for sure, flag in (("certain", True), ("uncertain", False))
                    if (count := int(((data.origin == origin) & (data.label == number) & (data.certain == flag)).sum()))
                },
                "folds": FOLDS,
                "recipe": asdict(recipe),
                "software": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
            },
            "known_failures": about["known_failures"],
            "calibration": {
                "temperature": {str(orbit): value for orbit, value in temperature.items()},
                "uncertain_below": 0.75,
                "sources": f"the temperatures: {len(data)} sources, each by the network that has not learnt from it",
            },
            "novelty": {
                "threshold": round(threshold, 4),
                "sources": f"{FAMILIAR_SHARE:.0%} of the sources are nearer in a model without their fold",
            },
            "metrics": {"orbit_8": score_sources(probabilities, data.label, data.certain, classes=data.classes)},
            "metrics_sources": f"{len(data)} sources, each by the one network of five that has not learnt from it",
            "metrics_command": command,
        }
    )
    extra = {f"novelty.{name}": torch.from_numpy(values).float() for name, values in asdict(model).items()}
    positions = np.stack([data.ra, data.dec], 1)
    if np.isfinite(positions).all(1).any():
        extra["training.positions"] = torch.from_numpy(positions[np.isfinite(positions).all(1)])
    return Weights(networks, card, extra)


def novelty_of(features: NDArray, those: Set) -> tuple[FeatureModel, float]:
    """A model of the features of all sources, and the distance below which familiar ones are."""
    label = those.data.label
    distance = np.empty(len(label))
    for fold in range(FOLDS):
        held = those.fold == fold
        distance[held] = FeatureModel.fit(features[~held], label[~held]).distance(features[held])
    return FeatureModel.fit(features, label), float(np.quantile(distance, FAMILIAR_SHARE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=ABOUT, required=True)
    parser.add_argument("training", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    command = f"python examples/bundle_finetuned.py --set {options.set} training/ weights/"
    weights = make(options.set, LOADERS[options.set](), options.training, command)
    path = options.output / f"{weights.card.name}.safetensors"
    save_weights(path, weights.networks, weights.card.content, weights.extra, overwrite=True)
    figures = weights.card.content["metrics"]["orbit_8"]["all"]
    shown = ("sources", "accuracy", "accuracy_interval", "macro_recall", "confusion", "ece_plain", "ece_if_calibrated")
    print(weights.card.name, {name: figures[name] for name in shown if name in figures})


if __name__ == "__main__":
    main()
