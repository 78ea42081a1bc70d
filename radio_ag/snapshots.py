"""Networks by name, by file, or in the middle of their training, from the checkpoints of `radio_ag.training`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch

from radio_ag.baselines import build
from radio_ag.checkpoints import Weights
from radio_ag.classifier import Classifier
from radio_ag.errors import WeightsError
from radio_ag.preprocess import Preprocessing
from radio_ag.recipes import recipe_of

SUFFIX = ".pt"
"""Of checkpoints of a training."""


def expand_snapshots(names: Iterable[str]) -> list[str]:
    """Names and paths of weights, with each folder replaced by the checkpoints in it, by the images they have seen.

    Parameters
    ----------
    names : iterable of str
        For `load_classifier`, or folders of checkpoints.

    Raises
    ------
    WeightsError
        A folder has no checkpoint of a training.
    """
    expanded = []
    for name in names:
        if not Path(name).is_dir():
            expanded.append(name)
            continue
        seen = {}
        for path in Path(name).glob(f"*{SUFFIX}"):
            try:
                seen[path] = _images_seen(_read(path))
            except WeightsError:  # such as the weights.pt of the end, which tells neither its recipe nor its age
                continue
        if not seen:
            raise WeightsError(f"the folder {name} has no checkpoint of a training (*{SUFFIX}, such as checkpoint.pt)")
        expanded += [str(path) for path in sorted(seen, key=seen.get)]
    return expanded


def load_classifier(name: str | os.PathLike, **options) -> Classifier:
    """A classifier from weights, or from a checkpoint of a training.

    Parameters
    ----------
    name : str or path-like
        A name that ``radio-ag weights list`` shows, a path to a safetensors file, or one to a checkpoint (``.pt``).
    **options
        As for `radio_ag.classifier.Classifier`.

    Raises
    ------
    WeightsError
        Unknown or damaged weights.
    """
    if Path(name).suffix != SUFFIX:
        return Classifier.load(name, **options)
    return Classifier(load_snapshot(Path(name)), **options)


def load_snapshot(path: Path) -> Weights:
    """The network of a checkpoint as it would serve if training had ended there; it is not calibrated.

    Parameters
    ----------
    path : Path

    Raises
    ------
    WeightsError
        Not a checkpoint of a training.
    """
    saved = _read(path)
    recipe = recipe_of(saved["recipe"])
    network = build(recipe.architecture).eval()
    try:
        network.load_state_dict(saved["averaged"])
    except RuntimeError as exc:
        raise WeightsError(f"{path} does not fit the network of its own recipe: {exc}") from exc
    clip = Preprocessing().clip
    card = {"name": snapshot_label(path), "input": {"clip": clip, "stretch": recipe.stretch, "value_range": [0.0, 1.0]}}
    return Weights((network,), card, {})


def snapshot_label(path: Path) -> str:
    """How far a checkpoint's training had come: ``64,000 images``."""
    return f"{_images_seen(_read(path)):,} images"


def _images_seen(saved: dict) -> int:
    return saved["step"] * recipe_of(saved["recipe"]).batch


def _read(path: Path) -> dict:
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as exc:  # torch.load raises many kinds for a file that is not a checkpoint
        raise WeightsError(f"{path} cannot be read as a checkpoint of a training ({type(exc).__name__})") from exc
    if not isinstance(saved, dict) or not {"recipe", "step", "averaged"} <= set(saved):
        raise WeightsError(f"{path} is not a checkpoint of a training: radio-ag weights import takes published ones")
    return saved
