"""Networks by name, by file, or in the middle of their training, from the checkpoints of `radio_ag.training.loop`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from radio_ag.errors import OutputError, WeightsError
from radio_ag.network.baselines import build
from radio_ag.network.checkpoints import Weights
from radio_ag.network.classifier import Classifier
from radio_ag.preprocess.images import Preprocessing
from radio_ag.training.recipes import recipe_of

SUFFIX = ".pt"
"""Of checkpoints of a training."""
COURSE = "course"
"""Folder beside a training's checkpoint where `keep_snapshot` puts copies of it."""
MOST = 8
"""Checkpoints that a folder with more of them stands for."""


def expand_snapshots(names: Iterable[str]) -> list[str]:
    """Names and paths of weights, with each folder replaced by the checkpoints in it, by the images they have seen.

    Parameters
    ----------
    names : iterable of str
        For `load_classifier`, or folders of checkpoints. One with more than `MOST` stands for so many of them, from
        the first to the last at even steps.

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
        ordered = sorted(seen, key=seen.get)
        steps = np.linspace(0, len(ordered) - 1, min(MOST, len(ordered)))
        expanded += [str(ordered[step]) for step in np.rint(steps).astype(int)]
    return expanded


def keep_snapshot(checkpoint: Path) -> Path:
    """Copy the present checkpoint of a training into the folder `COURSE` beside it, unless it is there already.

    Parameters
    ----------
    checkpoint : Path

    Returns
    -------
    Path
        The copy, named after the images seen.

    Raises
    ------
    WeightsError
        Not a checkpoint of a training.
    OutputError
        The copy cannot be written.
    """
    copy = checkpoint.parent / COURSE / f"{_images_seen(_read(checkpoint)):09d}{SUFFIX}"
    if not copy.exists():
        part = copy.with_suffix(".part")
        try:
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(checkpoint, part)
            part.replace(copy)
        except OSError as exc:
            raise OutputError(f"{copy} cannot be written: {exc.strerror or exc}") from exc
    return copy


def load_classifier(name: str | os.PathLike, **options) -> Classifier:
    """A classifier from weights, or from a checkpoint of a training.

    Parameters
    ----------
    name : str or path-like
        A name that ``radio-ag weights list`` shows, a path to a safetensors file, or one to a checkpoint (``.pt``).
    **options
        As for `radio_ag.network.classifier.Classifier`.

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
    except FileNotFoundError as exc:
        raise WeightsError(f"no file {path}") from exc
    except Exception as exc:  # torch.load raises many kinds for a file that is not a checkpoint
        raise WeightsError(f"{path} cannot be read as a checkpoint of a training ({type(exc).__name__})") from exc
    if not isinstance(saved, dict) or not {"recipe", "step", "averaged"} <= set(saved):
        raise WeightsError(f"{path} is not a checkpoint of a training: radio-ag weights import takes published ones")
    return saved
