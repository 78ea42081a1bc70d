"""Make the bundled weights, with their cards, out of the networks that ``train_bundled.py`` trained.

    RADIO_AG_DATA=/path/to/data python examples/bundle_weights.py training/ weights/

With the folder of weights in the place of the training's, the networks of the weights that are there are calibrated
anew. Temperatures and distances come from the reserved sources, which no network has learnt from, for orbits of 1, 2, 4
and 8; in the cross-validation each source is classified by the network that has not seen its fold.
"""

import argparse
import json
import platform
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from card_figures import neither_class, resampled, share
from scipy.special import softmax
from train_bundled import FOLDS, folds_of, load

from radio_ag.evaluation.calibration import fit_temperature
from radio_ag.evaluation.report import evaluate
from radio_ag.evaluation.scores import score_sources
from radio_ag.evaluation.served import as_shown, classify_served, served_logits
from radio_ag.labelled.data import Labelled
from radio_ag.network.checkpoints import Weights, load_weights, save_weights
from radio_ag.network.classifier import Classifier, run_network
from radio_ag.network.model import AGCNN, CLASSES, Architecture, fold_batch_norm
from radio_ag.network.novelty import FeatureModel
from radio_ag.preprocess.images import crop, normalise
from radio_ag.preprocess.islands import measure_islands
from radio_ag.weights import Card

ORBITS = (1, 2, 4, 8)
SURE = 0.75
"""Probability of the class below which the further networks are asked, and below which a source is ``UNCERTAIN``.

No threshold keeps 85 % of the certain sources and has 98 % of them right in the cross-validation of single networks:
from 0.74 to 0.86 the share that is right stays between 97.4 and 97.8 %. On the reserved sources, where all networks can
be asked, everything above it is right.
"""
FAMILIAR = 0.97  # share of the reserved sources with certain labels that are not to be OUT_OF_DISTRIBUTION
FEATURE_SOURCES = 400  # enough for the covariance of 54 features
SIZES = (0.0, 45.0, 90.0, np.inf)  # arcsec: edges of the classes of size, as `radio_ag.preprocess.islands` measures it
KNOWN_FAILURES = (
    "FRI smaller than 45 arcsec and FRII larger than 90 are taken for the other class more often than others "
    "(cross_validation of agcnn-first, certain by class and size)",
    "Bent sources are neither class: most get FRI, and not all of these are UNCERTAIN",
    "Some classes change when the sky is turned by other than right angles",
    "Sources whose label experts call uncertain get the other class in more than a fifth of the cases",
)


class Run:
    """One trained network and what it says of the sources that it has not learnt from."""

    def __init__(self, network: AGCNN, recipe: dict, started_from: dict | None, left_out: int, data, fold):
        self.network, self.recipe, self.started_from = network, recipe, started_from
        self.left_out = left_out  # fold; -1 for none
        self.learnt = np.flatnonzero((fold >= 0) & (fold != left_out))
        self.unseen = np.flatnonzero((fold == -1) | (fold == left_out))
        self.data = data

    @classmethod
    def trained(cls, folder: Path, data: Labelled, fold: np.ndarray) -> "Run":
        """What ``train_bundled.py`` left in a folder such as ``first-0``."""
        kind, name = folder.name.rsplit("-", 1)
        recipe = _recipe_in(folder)
        started_from = None if kind == "first" else _recipe_in(folder.parent / f"first-{name}")
        architecture = {k: v for k, v in recipe["architecture"].items() if k != "kind"}
        network = AGCNN(Architecture(**architecture)).eval()
        network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True, map_location="cpu"))
        return cls(network, recipe, started_from, -1 if name == "all" else int(name), data, fold)

    @classmethod
    def bundled(cls, folder: Path, name: str, data: Labelled, fold: np.ndarray) -> "Run":
        """The same network out of the weights that were made of it."""
        kind, left_out = name.rsplit("-", 1)
        where = {"first-all": "agcnn-first", "paper-0": "agcnn-paper"}
        set_name = where.get(name, "agcnn-first-ensemble" if kind == "first" else f"agcnn-first-{kind}")
        weights = load_weights(folder / f"{set_name}.safetensors")
        number = int(left_out) if set_name == "agcnn-first-ensemble" else 0
        training = weights.card.content["training"]
        recipe = training["recipe"] | {"seed": training["seeds"][number]}
        fold_left_out = -1 if left_out == "all" else int(left_out)
        return cls(weights.networks[number], recipe, training["started_from"], fold_left_out, data, fold)

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Features (8, n, F) in each of the exact orientations."""
        images = normalise(crop(as_shown(self.data[rows])[0]), self.recipe["stretch"])
        return run_network(fold_batch_norm(self.network), images, views=8)[1]


def _recipe_in(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")["recipe"]


def make_weights(
    name: str, description: str, runs: list[Run], data: Labelled, reserved: np.ndarray, first: int | None = None
) -> Weights:
    """Weights of one or several runs with everything on the card but the figures; so many of them asked first."""
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
        "needs_morphology": True,
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
    calibration = {
        "temperature": _temperatures(replace(weights, networks=weights.networks[:first]), data[reserved]),
        "uncertain_below": SURE,
        "sources": f"the temperatures: {len(reserved)} reserved sources of mirabest_train, used for nothing else but "
        "the distance and the figures",
    }
    if first is not None:
        calibration |= {
            "asked_first": first,
            "doubt_below": SURE,
            "temperature_of_all": _temperatures(weights, data[reserved]),
        }
    return weights.described(calibration=calibration)


def _temperatures(weights: Weights, data: Labelled) -> dict[str, float]:
    return {
        str(orbit): round(fit_temperature(served_logits(weights, data, orbit=orbit), data.label), 4) for orbit in ORBITS
    }


def add_novelty(weights: Weights, runs: list[Run], data: Labelled, reserved: np.ndarray) -> Weights:
    """The same weights, which know how far from the training features a source may be at each orbit."""

    def features(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([run.features(rows) for run in runs], 2)

    learnt = np.unique(np.concatenate([run.learnt for run in runs]))
    rows = np.random.default_rng(0).permutation(learnt)[:FEATURE_SOURCES]
    model = FeatureModel.fit(features(rows).mean(0), data.label[rows])
    known = features(reserved[data.certain[reserved]])
    distance = {orbit: model.distance(known[:orbit].mean(0)) for orbit in ORBITS}
    weights.extra.update({f"novelty.{key}": torch.from_numpy(value).float() for key, value in asdict(model).items()})
    return weights.described(
        novelty={
            "threshold": {str(orbit): round(float(np.quantile(d, FAMILIAR)), 4) for orbit, d in distance.items()},
            "sources": f"{FAMILIAR:.0%} of the reserved sources with certain labels are nearer",
        }
    )


def save(weights: Weights, folder: Path) -> None:
    path = folder / f"{weights.card.name}.safetensors"
    save_weights(path, weights.networks, weights.card.content, weights.extra, overwrite=True)
    load_weights(path)


def figures_of(weights: Weights, data: Labelled, robustness: bool) -> dict:
    """Figures as served, at each orbit, on sources that no member has learnt from."""
    report = evaluate(weights, data, device="cpu", robustness=robustness).content
    more = {}
    if robustness:
        classifier = Classifier(weights, device="cpu")
        more = {"resampled": resampled(classifier, data), "neither class": neither_class(classifier)}
    return {
        "orbit_8": report["figures"],
        **{
            f"orbit_{orbit}": evaluate(weights, data, orbit=orbit, device="cpu").content["figures"]
            for orbit in ORBITS[:-1]
        },
        **{key: report[key] for key in ("rotation", "offset", "members") if key in report},
        **more,
    }


def cross_validate(runs: list[Run], data: Labelled, fold: np.ndarray, reserved: np.ndarray) -> dict:
    """Each fold classified as served by the one network that has not learnt from it."""
    mirabest = data.origin == "mirabest_train"
    parts, rows, other, logits = [], [], [], []
    for run in runs:
        weights = make_weights(f"fold-{run.left_out}", "", [run], data, reserved)
        weights = add_novelty(weights, [run], data, reserved)
        here = fold == run.left_out
        rows.append(np.flatnonzero(here & mirabest))
        classifier = Classifier(weights, device="cpu")
        outcome = classify_served(classifier, data[rows[-1]])
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
    classified = np.isfinite(probabilities).all(1)
    right = probabilities.argmax(1) == data.label[rows]

    def alike(label: int, low: float, high: float) -> np.ndarray:
        return classified & data.certain[rows] & (data.label[rows] == label) & (size >= low) & (size < high)

    return {
        "folds": folds,
        "pooled": score_sources(probabilities, data.label[rows], data.certain[rows], flags=flags),
        "certain by class and size": {
            f"{label}, {low:g} to {high:g} arcsec": share(right[alike(i, low, high)])
            for i, label in enumerate(CLASSES)
            for low, high in pairwise(SIZES)
        },
        "other literature": score_sources(softmax(np.concatenate(logits), 1), data.label[other])["all"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, help="what train_bundled.py made, or weights made of it")
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
    again = (options.training / "agcnn-first.safetensors").exists()

    def run(name: str) -> Run | None:
        if again:
            return Run.bundled(options.training, name, data, fold)
        there = (options.training / name / "weights.pt").exists()
        return Run.trained(options.training / name, data, fold) if there else None

    folds = [run(f"first-{k}") for k in range(FOLDS)]
    cross_validation = cross_validate(folds, data, fold, reserved)
    print(json.dumps(cross_validation["pooled"], indent=1), flush=True)

    sets = {
        "agcnn-first": (
            "FRI/FRII from VLA FIRST images, 1.4 GHz: one network, and five more for sources in doubt; the default",
            ["first-all", *(f"first-{k}" for k in range(FOLDS))],
        ),
        "agcnn-first-fast": ("FRI/FRII from VLA FIRST images: one network that left a fifth unseen", ["first-0"]),
        "agcnn-paper": ("The equations of Bowles et al. 2021 to the letter, linear stretch", ["paper-0"]),
        "agcnn-first-sigmoid": ("Attention normalised by a sigmoid, to compare maps", ["sigmoid-0"]),
        "agcnn-first-softmax": ("Attention normalised by a softmax, to compare maps", ["softmax-0"]),
        "agcnn-first-ensemble": ("The networks of five folds, averaged", [f"first-{k}" for k in range(FOLDS)]),
    }
    made = {}
    for name, (description, members) in sets.items():
        of_set = [run(member) for member in members]
        if None in of_set:
            print(f"{name} is left out: one of {', '.join(members)} is missing", flush=True)
            continue
        made[name] = description, of_set
    command = "python examples/bundle_weights.py training/ weights/" + " --robustness" * options.robustness
    for name, (description, members) in made.items():
        first = 1 if name == "agcnn-first" else None
        weights = make_weights(name, description, members, data, reserved, first)
        weights = add_novelty(weights, members[:first], data, reserved)
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
