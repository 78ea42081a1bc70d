"""Make the bundled weights, with their cards, out of the networks that ``train_bundled.py`` trained.

    RADIO_AG_DATA=/path/to/data python examples/bundle_weights.py training/ weights/

Temperatures and distances come from the reserved sources, which no network has learnt from; the threshold of
``UNCERTAIN`` from the cross-validation, in which each source is classified by the network that has not seen its fold.
"""

import argparse
import json
import platform
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from card_figures import neither_class, resampled, share
from scipy.special import softmax
from train_bundled import FOLDS, folds_of, load

from radio_ag.evaluation.calibration import confidence_threshold, fit_temperature
from radio_ag.evaluation.report import evaluate
from radio_ag.evaluation.robustness import classes_when_turned, rotation_consistency
from radio_ag.evaluation.scores import score_sources
from radio_ag.evaluation.served import classify_served, served_logits
from radio_ag.flags import Flag
from radio_ag.labelled.data import Labelled
from radio_ag.network.checkpoints import Weights, load_weights, save_weights
from radio_ag.network.classifier import FURTHER_WITHIN, Classifier, run_network
from radio_ag.network.model import AGCNN, CLASSES, Architecture, fold_batch_norm
from radio_ag.network.novelty import FeatureModel
from radio_ag.preprocess.images import crop, normalise
from radio_ag.preprocess.islands import measure_islands
from radio_ag.weights import Card

FAMILIAR = 0.97  # share of the reserved sources with certain labels that are not to be OUT_OF_DISTRIBUTION
FEATURE_SOURCES = 400  # enough for the covariance of 54 features
SIZES = (0.0, 45.0, 90.0, np.inf)  # arcsec: edges of the classes of size, as `radio_ag.preprocess.islands` measures it
KNOWN_FAILURES = (
    "FRI smaller than 45 arcsec and FRII larger than 90 are taken for the other class more often than others "
    "(cross_validation of agcnn-first, certain by class and size)",
    "Bent sources are neither class: most get FRI, and not all of these are UNCERTAIN "
    "(metrics of agcnn-first, neither class)",
    "Some classes change when the sky is turned by other than right angles (metrics of agcnn-first, rotation)",
    "Sources whose label experts call uncertain get the other class in more than a fifth of the cases",
)


class Run:
    """One trained network and what it says of the sources that it has not learnt from."""

    def __init__(self, folder: Path, data: Labelled, fold: np.ndarray):
        kind, name = folder.name.rsplit("-", 1)
        self.recipe = _recipe_in(folder)
        self.started_from = None if kind == "first" else _recipe_in(folder.parent / f"first-{name}")
        architecture = {k: v for k, v in self.recipe["architecture"].items() if k != "kind"}
        self.network = AGCNN(Architecture(**architecture)).eval()
        self.network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True, map_location="cpu"))
        self.left_out = -1 if name == "all" else int(name)
        self.learnt = np.flatnonzero((fold >= 0) & (fold != self.left_out))
        self.unseen = np.flatnonzero((fold == -1) | (fold == self.left_out))
        self.data = data

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Features (n, F), averaged over the exact orientations."""
        images = normalise(crop(self.data.fields[rows]), self.recipe["stretch"])
        return run_network(fold_batch_norm(self.network), images, views=8)[1].mean(0)


def _recipe_in(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")["recipe"]


def make_weights(name: str, description: str, runs: list[Run], data: Labelled, reserved, uncertain_below) -> Weights:
    """Weights of one or several runs with everything on the card but the figures.

    The set for hurry sees no source from further angles.
    """
    learnt = np.unique(np.concatenate([run.learnt for run in runs]))
    card = {
        "name": name,
        "description": description,
        "reference": "Bowles et al. 2021, MNRAS 501, 4579, arXiv:2012.01248",
        "licence": "BSD-3-Clause",
        "input": {
            "survey": "VLA FIRST 1.4 GHz",
            "size": 150,
            "pixel_scale": 1.8,
            "clip": 3.0,
            "stretch": runs[0].recipe["stretch"],
            "value_range": [0.0, 1.0],
        },
        "calibration": {
            **({} if name.endswith("-fast") else {"further_within": FURTHER_WITHIN}),
            "uncertain_below": uncertain_below,
            "sources": f"the temperature: {len(reserved)} reserved sources of mirabest_train, used for nothing else "
            "but the distance and the figures; the threshold: of the certain sources that keep no flag in the "
            "cross-validation 99 % are right",
        },
        "training": {
            "data": "MiraBest training batches (labels: Miraghaei & Best 2017; Porter & Scaife, CC BY 4.0) and further "
            "FIRST sources with literature labels (Griese et al. 2022: CoNFIG, FRICAT, FRIICAT, Proctor)",
            "images": "VLA FIRST: R. J. Becker, D. H. Helfand, R. L. White, M. D. Gregg, S. A. Laurent-Muehleisen; "
            "copyright 1994 University of California; use permitted for scholarly, educational and private "
            "non-commercial purposes",
            "sources": {
                f"{origin} {label} {sure}": int(
                    ((data.origin == origin) & (data.label == i) & (data.certain == flag))[learnt].sum()
                )
                for origin in ("mirabest_train", "rgd_train")
                for i, label in enumerate(CLASSES)
                for flag, sure in ((True, "certain"), (False, "uncertain"))
            },
            "folds_left_out": [run.left_out for run in runs if run.left_out >= 0],
            "recipe": runs[0].recipe,
            "started_from": runs[0].started_from,
            "seeds": [run.recipe["seed"] for run in runs],
            "software": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        },
        "known_failures": list(KNOWN_FAILURES),
    }
    extra = {"training.positions": torch.from_numpy(np.stack([data.ra[learnt], data.dec[learnt]], 1))}
    architecture = {k: v for k, v in runs[0].recipe["architecture"].items() if k != "kind"}
    weights = Weights(tuple(r.network for r in runs), Card.of(card | {"architecture": architecture}), extra)
    temperature = {
        str(orbit): round(fit_temperature(served_logits(weights, data[reserved], orbit=orbit), data.label[reserved]), 4)
        for orbit in (1, 8)
    }
    return weights.described(calibration=card["calibration"] | {"temperature": temperature})


def add_novelty(weights: Weights, runs: list[Run], data: Labelled, reserved: np.ndarray) -> Weights:
    """The same weights, which know how far from the training features a source may be."""

    def features(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([run.features(rows) for run in runs], 1)

    learnt = np.unique(np.concatenate([run.learnt for run in runs]))
    rows = np.random.default_rng(0).permutation(learnt)[:FEATURE_SOURCES]
    model = FeatureModel.fit(features(rows), data.label[rows])
    distance = model.distance(features(reserved[data.certain[reserved]]))
    weights.extra.update({f"novelty.{key}": torch.from_numpy(value).float() for key, value in asdict(model).items()})
    return weights.described(
        novelty={
            "threshold": round(float(np.quantile(distance, FAMILIAR)), 4),
            "sources": f"{FAMILIAR:.0%} of the reserved sources with certain labels are nearer",
        }
    )


def save(weights: Weights, folder: Path) -> None:
    path = folder / f"{weights.card.name}.safetensors"
    save_weights(path, weights.networks, weights.card.content, weights.extra, overwrite=True)
    load_weights(path)


def figures_of(weights: Weights, data: Labelled, robustness: bool) -> dict:
    """Figures as served, at both orbits, on sources that no member has learnt from."""
    report = evaluate(weights, data, device="cpu", robustness=robustness).content
    more = {}
    if robustness:
        classifier = Classifier(weights, device="cpu")
        more = {"resampled": resampled(classifier, data), "neither class": neither_class(classifier)}
    return {
        "orbit_8": report["figures"],
        "orbit_1": evaluate(weights, data, orbit=1, device="cpu").content["figures"],
        **{key: report[key] for key in ("rotation", "offset", "members") if key in report},
        **more,
    }


def cross_validate(runs: list[Run], data: Labelled, fold: np.ndarray, reserved: np.ndarray, robustness: bool) -> dict:
    """Each fold classified as served by the network that has not learnt from it, and the threshold that follows."""
    mirabest = data.origin == "mirabest_train"
    parts, rows, other, logits, turned = [], [], [], [], []
    for run in runs:
        weights = make_weights(f"fold-{run.left_out}", "", [run], data, reserved, 0.0)
        weights = add_novelty(weights, [run], data, reserved)
        here = fold == run.left_out
        rows.append(np.flatnonzero(here & mirabest))
        classifier = Classifier(weights, device="cpu")
        outcome = classify_served(classifier, data[rows[-1]])
        if robustness:
            turned.append(classes_when_turned(classifier, data[rows[-1]]))
        parts.append((outcome.probabilities, outcome.flags))
        other.append(np.flatnonzero(here & ~mirabest))
        logits.append(served_logits(weights, data[other[-1]]))
    folds = [
        score_sources(probabilities, data.label[here], data.certain[here])
        for (probabilities, _), here in zip(parts, rows, strict=True)
    ]
    rows, other = np.concatenate(rows), np.concatenate(other)
    size = measure_islands(data.fields[rows], data.rms[rows]).size
    probabilities, flags = (np.concatenate(part) for part in zip(*parts, strict=True))
    right = probabilities.argmax(1) == data.label[rows]

    def alike(label: int, low: float, high: float) -> np.ndarray:
        return data.certain[rows] & (data.label[rows] == label) & (size >= low) & (size < high)

    clean = data.certain[rows] & (flags == 0)
    threshold = round(confidence_threshold(probabilities[clean], data.label[rows][clean]), 4)
    flags |= np.where(probabilities.max(1) < threshold, Flag.UNCERTAIN, 0).astype(flags.dtype)
    rotation = {"rotation": rotation_consistency(np.concatenate(turned, 1), data.certain[rows])} if robustness else {}
    return {
        "folds": folds,
        **rotation,
        "pooled": score_sources(probabilities, data.label[rows], data.certain[rows], flags=flags),
        "certain by class and size": {
            f"{label}, {low:g} to {high:g} arcsec": share(right[alike(i, low, high)])
            for i, label in enumerate(CLASSES)
            for low, high in pairwise(SIZES)
        },
        "other literature": score_sources(softmax(np.concatenate(logits), 1), data.label[other])["all"],
        "uncertain_below": threshold,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--robustness", action="store_true", help="measure rotation, offset, resampling and flags too: minutes more"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load()
    fold = folds_of(data)
    mirabest = data.origin == "mirabest_train"
    reserved = np.flatnonzero((fold == -1) & mirabest)
    runs = [Run(options.training / f"first-{k}", data, fold) for k in range(FOLDS)]
    cross_validation = cross_validate(runs, data, fold, reserved, options.robustness)
    uncertain_below = cross_validation["uncertain_below"]
    print(json.dumps(cross_validation["pooled"], indent=1), flush=True)

    sets = {
        "agcnn-first": ("FRI/FRII from VLA FIRST images, 1.4 GHz: one network, the default", "first-all"),
        "agcnn-first-fast": (
            "FRI/FRII from VLA FIRST images: one network that left a fifth unseen, no further angles",
            "first-0",
        ),
        "agcnn-paper": ("The equations of Bowles et al. 2021 to the letter, linear stretch", "paper-0"),
        "agcnn-first-sigmoid": ("Attention normalised by a sigmoid, to compare maps", "sigmoid-0"),
        "agcnn-first-softmax": ("Attention normalised by a softmax, to compare maps", "softmax-0"),
    }
    made = {}
    for name, (description, folder) in sets.items():
        if not (options.training / folder / "weights.pt").exists():
            print(f"{name} is left out: there is no {folder}", flush=True)
            continue
        made[name] = description, [Run(options.training / folder, data, fold)]
    made["agcnn-first-ensemble"] = "The networks of five folds, averaged", runs
    command = "python examples/bundle_weights.py training/ weights/" + " --robustness" * options.robustness
    for name, (description, members) in made.items():
        weights = make_weights(name, description, members, data, reserved, uncertain_below)
        weights = add_novelty(weights, members, data, reserved)
        rows = np.flatnonzero(np.all([np.isin(np.arange(len(data)), run.unseen) for run in members], 0) & mirabest)
        robustness = options.robustness and name == "agcnn-first"
        metrics = figures_of(weights, data[rows], robustness)
        validated = name in ("agcnn-first", "agcnn-first-ensemble")
        weights = weights.described(
            metrics=metrics,
            metrics_sources=f"{len(rows)} sources of mirabest_train that the weights have not learnt from, none within "
            f"270 arcsec of one that they have; {len(reserved)} of them gave the temperature; Wilson or bootstrap "
            "intervals of 95 %",
            metrics_command=command,
            **({"cross_validation": cross_validation} if validated else {}),
        )
        save(weights, options.output)
        print(name, json.dumps({k: metrics["orbit_8"][k]["accuracy"] for k in ("all", "certain")}))


if __name__ == "__main__":
    main()
