"""Training of the bundled networks: recipe, augmentation, a loop that resumes to the batch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from radio_ag.classifier import turn
from radio_ag.labelled import Labelled
from radio_ag.model import AGCNN, INPUT_SIZE, Architecture
from radio_ag.preprocess import crop


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    architecture : Architecture
    samples : int
        Augmented images seen in all.
    windowed : int
        How many of them, the first ones, are seen through a smaller window, which costs less: most sources are far
        smaller than 150 pixels, and a convolution does not care where the edge is.
    window : int
        Pixels along each side of that window.
    batch : int
        Images a step.
    rate : float
        Peak learning rate of the one-cycle schedule (AdamW).
    weight_decay, label_smoothing : float
    uncertain_weight : float
        Weight in the loss of a source whose label is uncertain.
    averaging : float
        Decay of the moving average of the weights that is kept in the end.
    stretch : {"linear", "sqrt", "asinh"}
        Stretch of the normalised images.
    scale : tuple of float
        Range of the magnification (paper eq. 15).
    offset : float
        Largest offset of the centre along each axis, pixels; half of the images stay within 2 (paper eq. 15).
    exact_share : float
        Share of images that are turned by a multiple of 90 degrees and shifted by whole pixels: not interpolated.
    seed : int
    """

    architecture: Architecture = field(default_factory=lambda: Architecture(features="average"))
    samples: int = 120_000
    windowed: int = 90_000
    window: int = 75
    batch: int = 32
    rate: float = 3e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    uncertain_weight: float = 0.5
    averaging: float = 0.998
    stretch: str = "sqrt"
    scale: tuple[float, float] = (0.9, 1.1)
    offset: float = 8.0
    exact_share: float = 0.3
    seed: int = 0


def augment(fields: Tensor, recipe: Recipe, generator: torch.Generator, size: int = INPUT_SIZE) -> Tensor:
    """Turn, flip, scale and shift clipped fields, crop them, and normalise the crops.

    Parameters
    ----------
    fields : Tensor, shape (B, 1, 300, 300)
        Clipped fields; larger than the crop, so that no corner is left empty.
    recipe : Recipe
    generator : torch.Generator
        On the CPU: the random numbers do not depend on the device.
    size : int
        Pixels along each side of the crops.

    Returns
    -------
    Tensor, shape (B, 1, size, size)
        Between 0 and 1.
    """

    def uniform(low, high):
        return low + (high - low) * torch.rand(len(fields), generator=generator)

    exact = uniform(0, 1) < recipe.exact_share
    angle = uniform(-torch.pi, torch.pi)
    angle = torch.where(exact, (angle / (torch.pi / 2)).round() * (torch.pi / 2), angle)
    scale = torch.where(exact, 1.0, uniform(*recipe.scale))
    reach = torch.where(uniform(0, 1) < 0.5, 2.0, recipe.offset)
    shift = torch.stack([uniform(-1, 1), uniform(-1, 1)], 1) * reach[:, None]
    shift = torch.where(exact[:, None], shift.round(), shift)
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    turn = torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)  # (B, 2, 2)
    whole = fields.shape[-1]
    affine = torch.cat([turn * size / whole, 2 * shift[:, :, None] / whole], 2).to(fields.device)
    grid = F.affine_grid(affine, [len(fields), 1, size, size], align_corners=False)
    return stretch(scale_to_unit(F.grid_sample(fields, grid, align_corners=False)), recipe.stretch)


def scale_to_unit(images: Tensor) -> Tensor:
    """Scale each clipped image by its maximum (paper eq. 14; a clipped image has minimum 0)."""
    return images / images.amax((2, 3), keepdim=True).clamp_min(1e-30)


def stretch(images: Tensor, kind: str) -> Tensor:
    """The stretches of :func:`radio_ag.preprocess.stretch` on tensors."""
    if kind == "sqrt":
        return images.clamp_min(0).sqrt()
    if kind == "linear":
        return images
    raise ValueError(f"stretch must be linear or sqrt in training, not {kind!r}")


def train(
    data: Labelled,
    training: np.ndarray,
    validation: np.ndarray,
    recipe: Recipe,
    folder: Path,
    *,
    initial: Mapping[str, Tensor] | None = None,
    device: str = "cpu",
    every: int = 8000,
    log: Callable[[str], None] = print,
) -> AGCNN:
    """Train one network, or go on from the checkpoint in ``folder``.

    Parameters
    ----------
    data : Labelled
    training, validation : ndarray of int
        Rows of ``data`` to learn from, and to watch.
    recipe : Recipe
    folder : Path
        Where ``checkpoint.pt``, ``log.jsonl`` and, at the end, ``weights.pt`` are kept.
    initial : mapping of str to Tensor, optional
        Parameters to start from, such as the ``weights.pt`` of another run; random by default.
    device : str
    every : int
        Images between two checkpoints, each with a look at the validation sources.
    log : callable
        Receives a line for each checkpoint.

    Returns
    -------
    AGCNN
        The network with averaged weights, in evaluation mode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _State(recipe, device, initial)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state.load(torch.load(checkpoint, weights_only=True, map_location=device), recipe)
    fields = torch.from_numpy(data.fields[training]).unsqueeze(1)
    labels = torch.from_numpy(data.label[training])
    weights = torch.from_numpy(_source_weights(data[training], recipe))
    state.network.train()
    started, first, loss_sum = time.perf_counter(), state.step, 0.0
    while state.step < state.steps:
        rows = _batch_rows(len(labels), state.step, recipe)
        size = recipe.window if state.step * recipe.batch < recipe.windowed else INPUT_SIZE
        images = augment(fields[rows].to(device), recipe, state.generator, size)
        loss_sum += state.update(images, labels[rows].to(device), weights[rows].to(device))
        if state.step % max(1, every // recipe.batch) == 0 or state.step == state.steps:
            refresh_statistics(state.averaged, fields, recipe, size=size)
            scores = score(state.averaged, data[validation], recipe, size)
            rate = (state.step - first) * recipe.batch / (time.perf_counter() - started)
            entry = {
                "samples": state.step * recipe.batch,
                "loss": loss_sum / (every // recipe.batch),
                "images_per_s": rate,
                **scores,
            }
            loss_sum = 0.0
            with (folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(entry) + "\n")
            log(" ".join(f"{k}={v:.4g}" for k, v in entry.items()))
            _save(state.dump(recipe), checkpoint)
    refresh_statistics(state.averaged, fields, recipe)
    _save(state.averaged.state_dict(), folder / "weights.pt")
    return state.averaged


def refresh_statistics(
    network: AGCNN, fields: Tensor, recipe: Recipe, *, size: int = INPUT_SIZE, images: int = 1024
) -> None:
    """Measure batch norm's means and variances anew, in place, on augmented training images.

    Averaged weights need statistics of their own: an average of the statistics that the passing weights had does not
    belong to them, and shifts the scores of one class against the other.

    Parameters
    ----------
    network : AGCNN
        In evaluation mode, and left so.
    fields : Tensor, shape (n, 1, 300, 300)
        Clipped training fields.
    recipe : Recipe
    size : int
        Pixels along each side of the crops.
    images : int
        How many augmented images to look at; the same ones each time.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    device = next(network.parameters()).device
    layers = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    rows = torch.randperm(len(fields), generator=generator).repeat(-(-images // len(fields)))[:images]
    with torch.no_grad():
        for batch in rows.split(64):
            network(augment(fields[batch].to(device), recipe, generator, size))
    for layer in layers:
        layer.eval()


class _State:
    """Everything that a resumed run needs to go on as if it had never stopped."""

    def __init__(self, recipe: Recipe, device: str, initial: Mapping[str, Tensor] | None):
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, torch.device(device)
        self.network = AGCNN(recipe.architecture).to(device, memory_format=torch.channels_last)
        if initial:
            self.network.load_state_dict(initial)
        self.averaged = AGCNN(recipe.architecture).to(device).eval().requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        self.steps = recipe.samples // recipe.batch
        self.step = 0
        self.optimizer = torch.optim.AdamW(self.network.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, recipe.rate, total_steps=self.steps + 1)
        self.generator = torch.Generator().manual_seed(recipe.seed)

    def update(self, images: Tensor, labels: Tensor, weights: Tensor) -> float:
        """One step of the optimiser; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.network(images.contiguous(memory_format=torch.channels_last)).logits
        losses = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=self.recipe.label_smoothing)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        decay = min(self.recipe.averaging, self.step / (self.step + 10))
        for kept, now in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            kept.lerp_(now.detach(), 1 - decay)
        return loss.item()

    def dump(self, recipe: Recipe) -> dict:
        return {
            "recipe": asdict(recipe),
            "step": self.step,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "torch_random": torch.get_rng_state(),
        }

    def load(self, saved: dict, recipe: Recipe) -> None:
        ours, theirs = asdict(recipe), saved["recipe"]
        changed = [k for k in ours if ours[k] != theirs.get(k)]
        if changed:
            raise ValueError(
                "the checkpoint belongs to another recipe: "
                + ", ".join(f"{k} is {theirs.get(k)!r} there, {ours[k]!r} here" for k in changed)
            )
        self.step = saved["step"]
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.generator.set_state(saved["generator"].cpu())
        torch.set_rng_state(saved["torch_random"].cpu())


def _save(what, path: Path) -> None:
    beside = path.with_suffix(".tmp")
    torch.save(what, beside)
    os.replace(beside, path)


def _batch_rows(sources: int, step: int, recipe: Recipe) -> Tensor:
    """Rows of a batch: whole permutations of the sources one after another, a pure function of the step."""
    positions = np.arange(step * recipe.batch, (step + 1) * recipe.batch)
    rows = np.empty(recipe.batch, int)
    for epoch in np.unique(positions // sources):
        here = positions // sources == epoch
        rows[here] = np.random.default_rng([recipe.seed, epoch]).permutation(sources)[positions[here] % sources]
    return torch.from_numpy(rows)


def _source_weights(data: Labelled, recipe: Recipe) -> np.ndarray:
    """Weight of each source in the loss: uncertain labels less, both classes the same in sum."""
    weights = np.where(data.certain, 1.0, recipe.uncertain_weight)
    for label in np.unique(data.label):
        weights[data.label == label] /= weights[data.label == label].sum()
    return (weights / weights.mean()).astype(np.float32)


def predict(
    network: AGCNN, data: Labelled, stretch_kind: str, *, orbit: bool = False, size: int = INPUT_SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (views, n, 2) and features (views, n, F) of the central crops: one view, or the 8 rotations and flips."""
    device = next(network.parameters()).device
    images = stretch(scale_to_unit(torch.from_numpy(crop(data.fields, size)).unsqueeze(1)), stretch_kind)
    logits, features = [], []
    with torch.inference_mode():
        for view in range(8 if orbit else 1):
            outputs = [network(batch.to(device)) for batch in turn(images, view).split(32)]
            logits.append(torch.cat([o.logits for o in outputs]).cpu())
            features.append(torch.cat([o.features for o in outputs]).cpu())
    return torch.stack(logits).numpy(), torch.stack(features).numpy()


def score(network: AGCNN, data: Labelled, recipe: Recipe, size: int = INPUT_SIZE) -> dict[str, float]:
    """Accuracy on all and on certain sources, and the negative log-likelihood, without an orbit."""
    logits = torch.from_numpy(predict(network, data, recipe.stretch, size=size)[0][0])
    right = (logits.argmax(1).numpy() == data.label).astype(float)
    nll = F.cross_entropy(logits, torch.from_numpy(data.label)).item()
    return {"accuracy": right.mean(), "accuracy_certain": right[data.certain].mean(), "nll": nll}
