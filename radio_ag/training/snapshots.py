"""Networks by name, by file, or in the middle of their training, from the checkpoints of `radio_ag.training.loop`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from radio_ag.errors import OutputError, WeightsError
from radio_ag.network.checkpoints import Weights, fill
from radio_ag.network.classifier import Classifier
from radio_ag.network.pytorch_files import read_pytorch
from radio_ag.preprocess.images import Preprocessing
from radio_ag.training.recipes import Recipe, recipe_of
from radio_ag.weights import Card

SUFFIX = ".pt"
"""Of checkpoints of a training."""
COURSE = "course"
"""Folder beside a training's checkpoint where `keep_snapshot` puts copies of it."""
MOST = 8
"""Checkpoints that a folder with more of them stands for."""


def expand_snapshots(names: Iterable[str]) -> list[str]:
    """Replace each folder among names and paths of weights by the checkpoints in it, by the images they have seen.

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
                seen[path] = _read(path).images
            except WeightsError:  # such as the weights.pt of the end, which tells neither its recipe nor its age
                continue
        if not seen:
            raise WeightsError(f"the folder {name} has no checkpoint of a training (*{SUFFIX}, such as checkpoint.pt)")
        ordered = sorted(seen, key=lambda path: seen[path])
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
    copy = checkpoint.parent / COURSE / f"{_read(checkpoint).images:09d}{SUFFIX}"
    if not copy.exists():
        part = copy.with_suffix(".part")
        try:
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(checkpoint, part)
            part.replace(copy)
        except OSError as exc:
            raise OutputError(f"{copy} cannot be written: {exc.strerror or exc}") from exc
    return copy


def load_classifier(name: str | os.PathLike, **options: Any) -> Classifier:
    """Load a classifier from weights, or from a checkpoint of a training.

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
    """Load the network of a checkpoint as it would serve if training had ended there; it is not calibrated.

    Parameters
    ----------
    path : Path

    Raises
    ------
    WeightsError
        Not a checkpoint of a training.
    """
    snapshot = _read(path)
    network = fill(snapshot.recipe.architecture, snapshot.averaged, path.name)
    settings = {"clip": Preprocessing().clip, "stretch": snapshot.recipe.stretch, "value_range": [0.0, 1.0]}
    return Weights((network,), Card.of({"name": snapshot.label, "input": settings}), {})


def snapshot_label(path: Path) -> str:
    """Return how far a checkpoint's training had come: ``64,000 images``.

    Parameters
    ----------
    path : Path
        Of a checkpoint.
    """
    return _read(path).label


class _Snapshot(NamedTuple):
    """What is used of a checkpoint of a training."""

    recipe: Recipe
    images: int  # seen so far
    averaged: dict[str, Tensor]

    @property
    def label(self) -> str:
        return f"{self.images:,} images"


def _read(path: Path) -> _Snapshot:
    saved = read_pytorch(path)
    if not isinstance(saved, dict) or not {"recipe", "step", "averaged"} <= set(saved):
        raise WeightsError(f"{path} is not a checkpoint of a training: radio-ag weights import takes published ones")
    averaged, step = saved["averaged"], saved["step"]
    try:
        recipe = recipe_of(saved["recipe"])
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise WeightsError(f"the recipe in {path} is of no use: {exc}") from exc
    if type(step) is not int or step < 0 or not isinstance(averaged, dict):
        raise WeightsError(f"{path} is not a checkpoint of a training: its step or its parameters are damaged")
    return _Snapshot(recipe, step * recipe.batch, averaged)
