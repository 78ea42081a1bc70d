"""From labelled sources to weights with a card: split, train one or several networks, calibrate, save."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from radio_ag.errors import InputError
from radio_ag.evaluation.calibration import confidence_threshold, fit_temperature
from radio_ag.evaluation.scores import score_sources
from radio_ag.evaluation.served import served_logits
from radio_ag.labelled.data import PLAIN, Labelled, Reading, load_labelled
from radio_ag.labelled.splits import assign_folds, reserve_calibration, write_split
from radio_ag.network.baselines import build
from radio_ag.network.checkpoints import Weights, save_weights
from radio_ag.network.classifier import FURTHER_WITHIN, run_network
from radio_ag.network.model import CLASSES, INPUT_SIZE, Network
from radio_ag.network.novelty import FeatureModel
from radio_ag.preprocess.images import Preprocessing, crop, normalise
from radio_ag.training.finetune import initial_parameters, prepare_finetuning
from radio_ag.training.log import read_entries
from radio_ag.training.loop import make_folder, replace_file, train
from radio_ag.training.recipes import Recipe
from radio_ag.weights import Card

_ORBITS = (1, 2, 4, 8)
_FAMILIAR_SHARE = 0.97  # of the certain calibration sources are not to be flagged OUT_OF_DISTRIBUTION


@dataclass(frozen=True)
class Split:
    """Rows of a labelled data set; no source is on two sides.

    Attributes
    ----------
    training : ndarray of int
        Learnt from.
    validation : ndarray of int
        Watched while the network learns; the figures of the card are theirs.
    calibration : ndarray of int
        Used for the temperature and the thresholds of the card, and for nothing else.
    """

    training: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray

    def parts(self) -> dict[str, np.ndarray]:
        """Return the rows of each part by its name."""
        return {name: getattr(self, name) for name in ("training", "validation", "calibration")}


def split_sources(data: Labelled, fold: int = 0, folds: int = 5) -> Split:
    """Reserve a tenth of the sources for calibration, and one of several folds of the others for validation.

    Parameters
    ----------
    data : Labelled
    fold, folds : int
        Which fold is watched, counted from 0, and how many there are. The calibration sources are the same for each.

    Raises
    ------
    InputError
        No such fold, or too few sources for a part to have each class.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise InputError(f"fold must be from 0 to folds - 1, and folds at least 2: not {fold} and {folds}")
    counts = data.counts()
    for name, count in counts.items():
        if not count:
            needed = "both classes are" if len(counts) == len(CLASSES) else "each class is"
            raise InputError(f"no source is labelled {name}: {needed} needed")
    reserved = reserve_calibration(data)
    others = np.flatnonzero(~reserved)
    fold_of = assign_folds(data[others], folds)
    split = Split(others[fold_of != fold], others[fold_of == fold], np.flatnonzero(reserved))
    for part, rows in split.parts().items():
        missing = [name for i, name in enumerate(data.classes) if i not in data.label[rows]]
        if missing:
            total = " and ".join(f"{count} {name}" for name, count in counts.items())
            raise InputError(f"too few sources: of {total}, no {' and no '.join(missing)} is left for {part}")
    return split


def train_weights(
    paths: Sequence[Path],
    recipe: Recipe,
    folder: Path,
    *,
    fold: int = 0,
    folds: int = 5,
    seeds: int = 1,
    samples: int | None = None,
    device: str | torch.device = "cpu",
    command: str = "",
    reading: Reading = PLAIN,
    parent: Weights | None = None,
    freeze: bool | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Train one network, or an ensemble that differs in its seeds, and save it as weights with a card.

    A run that was interrupted goes on from its checkpoints when it is called again with the same settings.

    Parameters
    ----------
    paths : sequence of path-like
        Labelled data, for `radio_ag.labelled.data.load_labelled`.
    recipe : Recipe
        Its seed is that of the first network.
    folder : Path
        Holds a folder ``seed-N`` for each network, and the weights, named after the folder.
    fold, folds : int
        For `split_sources`.
    seeds : int
        Number of networks.
    samples : int, optional
        Images that each network sees, in place of what the recipe says; the card states which share of it this is.
    device : str or torch.device
    command : str
        The command that was typed, for the card.
    reading : Reading
        Which labels are classes, and what the images' headers do not tell.
    parent : Weights, optional
        Go on from these; their first network, where they have several.
    freeze : bool, optional
        Whether the layers that classify learn alone, with a parent; by default with few training sources.
    log : callable
        Receives lines of progress.

    Returns
    -------
    Path
        The safetensors file.

    Raises
    ------
    InputError
        The data or the settings cannot be used; before anything is learnt.
    """
    if seeds < 1:
        raise InputError(f"seeds must be 1 or more, not {seeds}")
    data = load_labelled(*paths, reading=reading)
    for note in data.notes:
        log(note)
    data = _with_something_to_see(data, log)
    split = split_sources(data, fold, folds)
    recipe = _for_classes(recipe, data.classes)
    if parent is not None:
        recipe = prepare_finetuning(parent, recipe, data.classes, len(split.training), freeze=freeze)
        log(f"going on from {parent.card.name}, {'the last layers alone' if recipe.frozen else 'all layers'}")
    make_folder(folder)
    settings = {"data": sorted(set(data.origin.tolist())), "fold": fold, "folds": folds}
    settings |= {} if data.classes == CLASSES else {"classes": list(data.classes)}
    _check_run(folder / "run.json", settings | ({} if parent is None else {"from": parent.card.sha256}))
    _record(split, data, folder / "split.ecsv")
    prescribed = recipe.prescribed(len(split.training))
    recipe = recipe.shortened(samples or prescribed)
    log(
        f"{len(split.training)} sources to learn from, {len(split.validation)} to watch, "
        f"{len(split.calibration)} to calibrate with"
    )
    images = recipe.known_samples
    log(f"{images:,} images each network, {images / prescribed:.3g} of the recipe's {prescribed:,}")
    networks = []
    members = range(recipe.seed, recipe.seed + seeds)
    for seed in members:
        member = folder / f"seed-{seed}"
        networks.append(
            train(
                data,
                split.training,
                split.validation,
                replace(recipe, seed=seed),
                member,
                initial=None if parent is None else _initial(parent, recipe, data.classes, seed),
                device=device,
                log=partial(_log_member, log, seed if seeds > 1 else None),
            ).cpu()
        )
    training = _training(data, split, recipe, folder, prescribed=prescribed, seeds=members, folds=(fold, folds))
    card = {"name": folder.resolve().name} | _description(recipe, data) | {"training": training}
    if parent is not None:
        card["started_from"] = {"name": parent.card.name, "sha256": parent.card.sha256}
    weights = _calibrated(Weights(tuple(networks), Card.of(card), {}), data, split, recipe.stretch)
    watched = data[split.validation]
    probabilities = softmax(served_logits(weights, watched) / weights.card.temperature.at(8), 1)
    weights = weights.described(
        metrics={"orbit_8": score_sources(probabilities, watched.label, watched.certain, classes=data.classes)},
        metrics_sources="the validation sources, on the sky none of them within 270 arcsec of one that was learnt from"
        + (", which chose the weights by their loss" if recipe.early_stopping else ""),
        metrics_command=command,
    )
    path = folder / f"{weights.card.name}.safetensors"
    return save_weights(path, networks, weights.card.content, weights.extra, overwrite=True)


def _for_classes(recipe: Recipe, classes: Sequence[str]) -> Recipe:
    """The recipe with a network of so many classes, which settings may have named."""
    asked = recipe.architecture.classes
    if asked not in (len(CLASSES), len(classes)):
        raise InputError(f"architecture.classes is {asked}, and the labels have {len(classes)}: {', '.join(classes)}")
    return replace(recipe, architecture=replace(recipe.architecture, classes=len(classes)))


def _initial(parent: Weights, recipe: Recipe, classes: Sequence[str], seed: int) -> dict[str, torch.Tensor]:
    """Parameters of a member that goes on from the parent's first network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build(recipe.architecture)
    return initial_parameters(parent.networks[0], fresh, same_classes=parent.card.classes == tuple(classes))


def _log_member(log: Callable[[str], None], seed: int | None, line: str) -> None:
    log(line if seed is None else f"seed {seed}: {line}")


def _check_run(path: Path, settings: dict) -> None:
    """Write what a run learns from, or compare it with what is there: other settings need another folder."""
    if not path.exists():
        replace_file(path, lambda beside: beside.write_text(json.dumps(settings) + "\n", encoding="utf-8"))
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        changed = [f"{name} is {there[name]!r} there, {value!r} here" for name, value in settings.items()
                   if there[name] != value]  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InputError(f"{path} is not the record of a run: choose another folder") from exc
    if changed:
        raise InputError(f"{path.parent} holds another run: {', '.join(changed)}")


def _record(split: Split, data: Labelled, path: Path) -> None:
    """Write which source is in which part."""
    part = np.empty(len(data), "U11")
    for name, rows in split.parts().items():
        part[rows] = name
    write_split(path, data, part, seed=0, overwrite=True)


def _with_something_to_see(data: Labelled, log: Callable[[str], None]) -> Labelled:
    """The sources whose crop is not empty."""
    side = data.fields.shape[-1]
    if data.fields.ndim != 3 or side != data.fields.shape[1] or side < INPUT_SIZE:
        raise InputError(f"images must be squares of {INPUT_SIZE} pixels or more, not {data.fields.shape[1:]}")
    seen = crop(data.fields, INPUT_SIZE).max((1, 2), initial=0) > 0
    if not seen.all():
        log(f"left out: {np.count_nonzero(~seen)} of {len(data)} sources, whose images show nothing above 3 rms")
        data = data[np.flatnonzero(seen)]
    return data


def _training(
    data: Labelled, split: Split, recipe: Recipe, folder: Path, *, prescribed: int, seeds: range, folds: tuple[int, int]
) -> dict:
    """What the card says of the training."""
    learnt = data[split.training]
    looks = [
        [entry for entry in read_entries(folder / f"seed-{seed}" / "log.jsonl") if "nll" in entry] for seed in seeds
    ]
    return {
        "data": sorted({str(name) for name in data.origin}),
        "sources": {
            f"{origin} {name} {sure}": count
            for origin in np.unique(learnt.origin)
            for i, name in enumerate(data.classes)
            for flag, sure in ((True, "certain"), (False, "uncertain"))
            if (count := int(((learnt.origin == origin) & (learnt.label == i) & (learnt.certain == flag)).sum()))
        },
        "validation_sources": len(split.validation),
        "calibration_sources": len(split.calibration),
        "fold": folds[0],
        "folds": folds[1],
        "seeds": list(seeds),
        "recipe": asdict(recipe),
        "images": recipe.samples,
        "images_of_the_recipe": prescribed,
        "share_of_the_recipe": float(f"{recipe.known_samples / prescribed:.3g}"),
        "kept_after_images": [
            (min(own, key=lambda entry: entry["nll"]) if recipe.early_stopping else own[-1])["samples"] for own in looks
        ],
        "software": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }


def _description(recipe: Recipe, data: Labelled) -> dict:
    scale = data.scale
    return {
        "description": f"{'/'.join(data.classes)}, trained with radio-ag train",
        "classes": list(data.classes),
        "needs_morphology": data.classes == CLASSES,
        "reference": "Bowles et al. 2021, MNRAS 501, 4579, arXiv:2012.01248",
        "licence": "not stated",
        "input": {
            **({"survey": scale.survey} if scale.survey else {}),
            "size": INPUT_SIZE,
            **({} if recipe.served == INPUT_SIZE else {"window": recipe.served}),
            "pixel_scale": round(scale.pixel_scale, 4),
            "beam": round(scale.beam, 4),
            "clip": Preprocessing().clip,
            "stretch": recipe.stretch,
            "value_range": [0.0, 1.0],
        },
    }


def _features(networks: Sequence[Network], data: Labelled, stretch: str, size: int) -> NDArray[np.float32]:
    """Return the features of all members (n, F), averaged over the exact orientations."""
    images = normalise(crop(data.fields, size), stretch)
    return np.concatenate([run_network(network, images, views=8)[1].mean(0) for network in networks], 1)


def _calibrated(weights: Weights, data: Labelled, split: Split, stretch: str) -> Weights:
    """Return the same networks with calibration, novelty, and the places of the sources that they learnt from."""
    reserved, learnt = data[split.calibration], data[split.training]
    weights = weights.described(calibration={"further_within": FURTHER_WITHIN})
    logits = {orbit: served_logits(weights, reserved, orbit=orbit) for orbit in _ORBITS}
    temperature = {str(orbit): round(fit_temperature(values, reserved.label), 4) for orbit, values in logits.items()}
    certain = reserved.certain if reserved.certain.any() else np.ones(len(reserved), bool)
    threshold = {
        orbit: round(confidence_threshold(softmax(logits[int(orbit)] / value, 1)[certain], reserved.label[certain]), 4)
        for orbit, value in temperature.items()
    }
    model = FeatureModel.fit(_features(weights.networks, learnt, stretch, weights.card.window), learnt.label)
    distance = model.distance(_features(weights.networks, reserved, stretch, weights.card.window))
    familiar = float(np.quantile(distance[certain], _FAMILIAR_SHARE))
    calibration = {
        "temperature": temperature,
        "further_within": FURTHER_WITHIN,
        "uncertain_below": threshold,
        "sources": f"{len(reserved)} reserved sources; the threshold from those with a certain label",
    }
    novelty = {
        "threshold": round(familiar, 4),
        "sources": f"{_FAMILIAR_SHARE:.0%} of the reserved sources with a certain label are nearer",
    }
    extra = {f"novelty.{name}": torch.from_numpy(values).float() for name, values in asdict(model).items()}
    positions = np.stack([learnt.ra, learnt.dec], 1)
    extra["training.positions"] = torch.from_numpy(positions[np.isfinite(positions).all(1)])
    return replace(weights.described(calibration=calibration, novelty=novelty), extra=extra)
