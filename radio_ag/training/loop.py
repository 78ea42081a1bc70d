"""Training of one network: a loop that resumes to the batch, and the look at sources that it does not learn from."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radio_ag.errors import InputError, OutputError, WeightsError
from radio_ag.labelled.augmentation import augment
from radio_ag.labelled.data import Labelled
from radio_ag.network.baselines import build
from radio_ag.network.classifier import run_network
from radio_ag.network.devices import in_layout
from radio_ag.network.model import INPUT_SIZE, Network
from radio_ag.network.pytorch_files import read_pytorch
from radio_ag.preprocess.images import crop, normalise
from radio_ag.training.log import append_entry, draw_learning_curve, keep_until, read_entries
from radio_ag.training.optimisers import make_optimisers, rate_factor
from radio_ag.training.recipes import Recipe, differences, recipe_of

CHECKPOINT_SECONDS = 300.0
"""At most so long passes between two checkpoints."""

_STATISTICS_IMAGES = 1024


def train(
    data: Labelled,
    training: np.ndarray,
    validation: np.ndarray,
    recipe: Recipe,
    folder: Path,
    *,
    initial: Mapping[str, Tensor] | None = None,
    device: str | torch.device = "cpu",
    every: int | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    log: Callable[[str], None] = print,
) -> Network:
    """Train one network, or go on from the checkpoint in ``folder``.

    On a CPU a resumed run gives the same weights as one that was never interrupted, bit for bit, wherever it stopped.

    Parameters
    ----------
    data : Labelled
    training, validation : ndarray of int
        Rows of ``data`` to learn from, and to watch.
    recipe : Recipe
    folder : Path
        Where ``checkpoint.pt``, ``log.jsonl``, ``curve.png`` and, at the end, ``weights.pt`` are kept.
    initial : mapping of str to Tensor, optional
        Parameters to start from, such as the ``weights.pt`` of another run; random by default.
    device : str or torch.device
    every : int, optional
        Images between two looks at the validation sources; an epoch of the recipe by default.
    checkpoint_seconds : float
        There is a checkpoint at each look, and another when the last one is so old.
    log : callable
        Receives a line for each checkpoint.

    Returns
    -------
    Network
        The network, in evaluation mode: with the averaged weights of the end, or with those of the lowest validation
        loss where the recipe stops early.

    Raises
    ------
    InputError
        The checkpoint belongs to another recipe or to other sources, or the loss is not a number any more.
    OutputError
        The checkpoint is not one.
    """
    if recipe.samples is None:
        recipe = recipe.shortened(recipe.prescribed(len(training)))
    checkpoint, journal = folder / "checkpoint.pt", folder / "log.jsonl"
    make_folder(folder)
    drawing = importlib.util.find_spec("matplotlib") is not None
    if not drawing:
        log("no curve.png: matplotlib is not installed (pip install 'radio-ag[plot]')")
    with torch.random.fork_rng(devices=_cuda_index(device)):
        trainer = Trainer(recipe, device, initial)
        source = fingerprint(data, training, validation)
        if checkpoint.exists():
            trainer.restore(_read_checkpoint(checkpoint), source, checkpoint)
            log(f"going on after {trainer.samples} of {recipe.samples} images")
        keep_until(journal, trainer.samples)
        fields = torch.from_numpy(data.fields).unsqueeze(1)
        learnt = torch.from_numpy(training)
        labels, weights = torch.from_numpy(data.label), torch.from_numpy(source_weights(data, training, recipe))
        interval = max(1, (every or recipe.known_samples // recipe.epochs) // recipe.batch)
        saved = time.monotonic()
        while trainer.step < trainer.steps:
            batch = batch_rows(len(training), trainer.step, recipe)
            rows = learnt[batch]
            images = augment(
                fields[rows].to(device), recipe.augmentation, trainer.generator, trainer.size_at(trainer.step)
            )
            trainer.update(images, labels[rows].to(device), weights[batch].to(device))
            looking = trainer.step % interval == 0 or trainer.step == trainer.steps
            if not looking and time.monotonic() - saved < checkpoint_seconds:
                continue
            entry = trainer.take_entry()
            trainer.settle(data, training)
            if looking:
                entry |= trainer.look(data, validation)
            append_entry(journal, entry)
            replace_file(checkpoint, lambda path: torch.save(trainer.state(source), path))
            if drawing:
                draw_learning_curve(read_entries(journal), folder / "curve.png")
            log(" ".join(f"{name}={value:.4g}" for name, value in entry.items()))
            saved = time.monotonic()
        network = trainer.finish(data, training)
    replace_file(folder / "weights.pt", lambda path: torch.save(network.state_dict(), path))
    return network


class Trainer:
    """The network with its optimiser, schedule and random numbers: all that a step changes.

    Parameters
    ----------
    recipe : Recipe
        With `samples` as a number.
    device : str or torch.device
    initial : mapping of str to Tensor, optional
        Parameters to start from.

    Attributes
    ----------
    network : Module
        What the optimiser works on.
    averaged : Module
        The moving average of its weights, in evaluation mode.
    step, steps : int
        Batches done, and batches in all.
    """

    def __init__(self, recipe: Recipe, device: str | torch.device = "cpu", initial: Mapping[str, Tensor] | None = None):
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, torch.device(device)
        self.network = in_layout(build(recipe.architecture).to(device), torch.channels_last)
        if initial:
            self.network.load_state_dict(initial)
        self.network.train()
        if recipe.frozen:
            self._freeze()
        self.averaged = build(recipe.architecture).to(device).eval().requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        self.step, self.steps = 0, max(1, recipe.known_samples // recipe.batch)
        self.optimizers = make_optimisers(self.network, recipe)
        factor = rate_factor(self.steps) if recipe.schedule == "linear" else lambda step: 1.0
        self.schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in self.optimizers]
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self._loss_sum = torch.zeros((), dtype=torch.float32, device=device)
        self._logged_step = 0
        self._clock = (time.perf_counter(), 0)
        self._best: dict | None = None

    def _freeze(self) -> None:
        """Let nothing but the layers that classify learn; batch norm keeps its statistics."""
        self.network.eval().requires_grad_(False)
        self.network.get_submodule("classifier").train().requires_grad_(True)

    @property
    def samples(self) -> int:
        """Augmented images seen so far."""
        return self.step * self.recipe.batch

    def size_at(self, step: int) -> int:
        """Return the pixels along each side of the images of a batch.

        Parameters
        ----------
        step : int
            Counted from 0.
        """
        return self.recipe.window if step * self.recipe.batch < self.recipe.windowed else self.recipe.served

    def update(self, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Make one step of the optimiser.

        Parameters
        ----------
        images : Tensor, shape (B, 1, size, size)
        labels : Tensor of int, shape (B,)
        weights : Tensor, shape (B,)
            Of the sources in the loss.

        Returns
        -------
        Tensor
            The loss of the batch before the step, a scalar on the device.
        """
        self.network.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.mixed_precision):
            logits = self.network(images.contiguous(memory_format=torch.channels_last)).logits
        losses = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=self.recipe.label_smoothing)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        self.step += 1
        decay = min(self.recipe.averaging, self.step / (self.step + 10))
        for kept, now in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            kept.lerp_(now.detach(), 1 - decay)
        self._loss_sum += loss.detach()
        return loss.detach()

    def settle(self, data: Labelled, training: np.ndarray) -> None:
        """Give the averaged network the statistics of batch norm that belong to its weights.

        Parameters
        ----------
        data : Labelled
        training : ndarray of int
            Rows to learn from.
        """
        self._settle(data, training, self.size_at(self.step - 1))

    def look(self, data: Labelled, validation: np.ndarray) -> dict[str, float]:
        """Score the settled network on the validation sources, as `score` does, and remember the best look.

        Parameters
        ----------
        data : Labelled
        validation : ndarray of int
            Rows to watch.
        """
        size = self.size_at(self.step - 1)
        scores = score(self.averaged, data[validation], self.recipe, size)
        better = self._best is None or scores["nll"] < self._best["nll"]
        if self.recipe.early_stopping and size == self.recipe.served and better:
            weights = {name: value.detach().clone() for name, value in self.averaged.state_dict().items()}
            self._best = {"nll": scores["nll"], "samples": self.samples, "weights": weights}
        return scores

    def finish(self, data: Labelled, training: np.ndarray) -> Network:
        """Return the network that is kept, after the last look.

        Parameters
        ----------
        data : Labelled
        training : ndarray of int
            Rows to learn from.
        """
        if self._best is not None:
            self.averaged.load_state_dict(self._best["weights"])
        elif self.size_at(self.step - 1) != self.recipe.served:
            self._settle(data, training, self.recipe.served)
        return self.averaged.requires_grad_(True)

    def _settle(self, data: Labelled, training: np.ndarray, size: int) -> None:
        if self.recipe.frozen:
            return
        if self.recipe.averaging:
            count = min(_STATISTICS_IMAGES, self.recipe.known_samples)
            fields = torch.from_numpy(data.fields).unsqueeze(1)
            rows = torch.from_numpy(training)
            refresh_statistics(self.averaged, fields, self.recipe, rows=rows, size=size, images=count)
        else:
            self.averaged.load_state_dict(self.network.state_dict())

    def take_entry(self) -> dict[str, float]:
        """Return what the log says of the steps since the last entry.

        Raises
        ------
        InputError
            The loss is not a number: nothing that follows can be one.
        """
        loss = self._loss_sum.item() / (self.step - self._logged_step)
        if not np.isfinite(loss):
            raise InputError(
                f"the loss is {loss} after {self.samples} images: rate {self.recipe.rate} is too high for these images"
            )
        seconds, first = time.perf_counter() - self._clock[0], self._clock[1]
        entry = {
            "samples": self.samples,
            "loss": loss,
            "rate": self.optimizers[0].param_groups[0]["lr"],
            "images_per_s": (self.step - first) * self.recipe.batch / seconds,
        }
        self._loss_sum.zero_()
        self._logged_step = self.step
        return entry

    def state(self, source: str) -> dict:
        """Return all that `restore` needs; ``source`` is the fingerprint of the data.

        Parameters
        ----------
        source : str
            As `fingerprint` gives it.
        """
        cuda = self.device.type == "cuda"
        return {
            "recipe": asdict(self.recipe),
            "data": source,
            "step": self.step,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "generator": self.generator.get_state(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self.device) if cuda else None,
            "best": self._best,
            "loss_sum": self._loss_sum,
            "logged_step": self._logged_step,
        }

    def restore(self, saved: Mapping, source: str, path: Path) -> None:
        """Go on from a `state`.

        Parameters
        ----------
        saved : mapping
            As `state` gives it.
        source : str
            As `fingerprint` gives it.
        path : Path
            Where it comes from, for messages.

        Raises
        ------
        InputError
            It is that of another recipe, whose differences are named, or of other sources.
        """
        changed = differences(self.recipe, recipe_of(saved["recipe"]))
        if changed:
            raise InputError(f"{path} belongs to another recipe: " + ", ".join(changed))
        if saved.get("data", source) != source:
            raise InputError(f"{path} belongs to other training or validation sources than those given")
        self.step = saved["step"]
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        parts: list[Any] = [*self.optimizers, *self.schedules]
        for part, state in zip(parts, saved["optimizers"] + saved["schedules"], strict=True):
            part.load_state_dict(state)
        self.generator.set_state(saved["generator"])
        torch.set_rng_state(saved["torch_random"])
        if self.device.type == "cuda" and saved.get("cuda_random") is not None:
            torch.cuda.set_rng_state(saved["cuda_random"], self.device)
        self._best = saved.get("best")
        self._loss_sum.copy_(saved.get("loss_sum", self._loss_sum))
        self._logged_step = saved.get("logged_step", self.step)
        self._clock = (time.perf_counter(), self.step)


def fingerprint(data: Labelled, training: np.ndarray, validation: np.ndarray) -> str:
    """Return a hash that tells other sources, labels or splits apart; of the images, every seventh pixel counts.

    Parameters
    ----------
    data : Labelled
    training, validation : ndarray of int
        Rows.
    """
    digest = hashlib.sha256()
    for rows in (training, validation):
        digest.update(np.ascontiguousarray(data.fields[:, ::7, ::7][rows], "<f4").tobytes())
        digest.update(np.ascontiguousarray(data.label[rows], "<i8").tobytes())
        digest.update(np.ascontiguousarray(data.certain[rows], "u1").tobytes())
    return digest.hexdigest()


def batch_rows(sources: int, step: int, recipe: Recipe) -> Tensor:
    """Return the rows of a batch: whole permutations of the sources one after another, a pure function of the step.

    Parameters
    ----------
    sources : int
        Number of training sources.
    step : int
        Counted from 0.
    recipe : Recipe
    """
    positions = np.arange(step * recipe.batch, (step + 1) * recipe.batch)
    rows = np.empty(recipe.batch, int)
    for turn_of_all in np.unique(positions // sources):
        here = positions // sources == turn_of_all
        order = np.random.default_rng([recipe.seed, turn_of_all]).permutation(sources)
        rows[here] = order[positions[here] % sources]
    return torch.from_numpy(rows)


def source_weights(data: Labelled, training: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return the weight of each training source in the loss, float32, 1 on average.

    Parameters
    ----------
    data : Labelled
    training : ndarray of int
        Rows to learn from.
    recipe : Recipe
    """
    label = data.label[training]
    weights = np.where(data.certain[training], 1.0, recipe.uncertain_weight)
    if recipe.balanced:
        for value in np.unique(label):
            weights[label == value] /= weights[label == value].sum()
    return (weights / weights.mean()).astype(np.float32)


def refresh_statistics(
    network: nn.Module,
    fields: Tensor,
    recipe: Recipe,
    *,
    rows: Tensor | None = None,
    size: int = INPUT_SIZE,
    images: int = _STATISTICS_IMAGES,
) -> None:
    """Measure batch norm's means and variances anew, in place, on augmented training images.

    Averaged weights need statistics of their own: an average of the statistics that the passing weights had does not
    belong to them, and shifts the scores of one class against the other.

    Parameters
    ----------
    network : Network
        In evaluation mode, and left so.
    fields : Tensor, shape (n, 1, 300, 300)
        Clipped fields.
    recipe : Recipe
    rows : Tensor of int, optional
        The training sources among the fields; all by default.
    size : int
        Pixels along each side of the crops.
    images : int
        How many augmented images to look at; the same ones each time.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    device = next(network.parameters()).device
    rows = torch.arange(len(fields)) if rows is None else rows
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    order = torch.randperm(len(rows), generator=generator).repeat(-(-images // len(rows)))[:images]
    with torch.no_grad():
        for batch in rows[order].split(64):
            network(augment(fields[batch].to(device), recipe.augmentation, generator, size))
    for layer in layers:
        layer.eval()


def score(network: Network, data: Labelled, recipe: Recipe, size: int = INPUT_SIZE) -> dict[str, float]:
    """Return accuracy (of certain sources too, if there are any) and negative log-likelihood, without an orbit.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    data : Labelled
    recipe : Recipe
        Says how the images are stretched.
    size : int
        Pixels along each side of the crops.
    """
    logits = torch.from_numpy(run_network(network, normalise(crop(data.fields, size), recipe.stretch))[0][0])
    right = logits.argmax(1).numpy() == data.label
    nll = F.cross_entropy(logits, torch.from_numpy(data.label)).item()
    scores = {"accuracy": float(right.mean())}
    if data.certain.any():
        scores["accuracy_certain"] = float(right[data.certain].mean())
    return scores | {"nll": nll}


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there once it is whole.

    Parameters
    ----------
    path : Path
    write : callable
        Takes the path beside it.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    beside = path.with_name(path.name + ".part")
    try:
        write(beside)
        os.replace(beside, path)
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc


def make_folder(folder: Path) -> None:
    """Make a folder where there is none.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    OutputError
        It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot make the folder {folder}: {exc.strerror or exc}") from exc


def _read_checkpoint(path: Path) -> dict:
    try:
        return read_pytorch(path)
    except WeightsError as exc:
        raise OutputError(f"{path} cannot be read as a checkpoint of a training: remove it to begin anew") from exc


def _cuda_index(device: str | torch.device) -> list[int]:
    """The CUDA device whose random numbers a training uses, if it does."""
    device = torch.device(device)
    return [device.index or 0] if device.type == "cuda" else []
