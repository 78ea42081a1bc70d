"""Images a second of training: a step as `radio-ag train` does it, against a plain loop, in one run.

    python benchmarks/training.py [--threads 2] [--batch 32] [--steps 4] [--turns 3] [--json FILE]

Both train the same architecture (range normalisation, fine-tuned aggregation, three gates) on the same clipped fields
of 300x300 pixels, augmented to images of 150x150, in turns. "plain" is what is usually written by hand: each image is
turned, scaled and shifted by itself with `scipy.ndimage.affine_transform`, the network runs layer by layer in float32,
contiguous (NCHW), in eager PyTorch, with AdamW. "ours" is a step of `radio_ag.training.loop` with the optimiser of the
recipe `default`: one `grid_sample` for the batch, bfloat16 convolutions in channels-last order, gates computed in
tiles; "ours, float32" is the same without mixed precision, as the recipe `paper` has it, and "ours, window" that of the
first part of the recipe `default`. Medians over the turns.
"""

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.ndimage import affine_transform
from torch.nn import functional as F

from radio_ag.network.model import AGCNN, INPUT_SIZE, Architecture, AttentionGate
from radio_ag.training.loop import Trainer, augment
from radio_ag.training.recipes import Recipe

ARCHITECTURE = Architecture(features="average")


class _PlainGate(AttentionGate):
    score_by_tiles = AttentionGate.score


class PlainLoop:
    """Training as it is usually written."""

    def __init__(self, recipe: Recipe):
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.network = AGCNN(ARCHITECTURE)
        for gate in self.network.gates:
            gate.__class__ = _PlainGate
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), recipe.other_rate, weight_decay=recipe.weight_decay
        )
        self.rng = np.random.default_rng(recipe.seed)

    def augment(self, field: np.ndarray) -> np.ndarray:
        """One image (150, 150) of a field (300, 300)."""
        angle, scale = self.rng.uniform(-np.pi, np.pi), self.rng.uniform(*self.recipe.scale)
        mirror = self.rng.choice([-1, 1])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale * [1, mirror]
        centre = (field.shape[0] - 1) / 2 + self.rng.uniform(-self.recipe.offset, self.recipe.offset, 2)
        offset = centre - turn @ np.full(2, (INPUT_SIZE - 1) / 2)
        image = affine_transform(field, turn, offset, (INPUT_SIZE, INPUT_SIZE), order=1)
        return np.sqrt(image / max(image.max(), 1e-30))

    def step(self, fields: torch.Tensor, labels: torch.Tensor) -> None:
        images = torch.from_numpy(np.stack([self.augment(field) for field in fields[:, 0].numpy()])).unsqueeze(1)
        self.optimizer.zero_grad()
        F.cross_entropy(self.network(images).logits, labels, label_smoothing=self.recipe.label_smoothing).backward()
        self.optimizer.step()


class OurLoop:
    """A step of `radio_ag.training.loop.train`."""

    def __init__(self, recipe: Recipe):
        self.recipe, self.trainer = recipe, Trainer(recipe)

    def step(self, fields: torch.Tensor, labels: torch.Tensor) -> None:
        size = self.trainer.size_at(self.trainer.step)
        images = augment(fields, self.recipe.augmentation, self.trainer.generator, size)
        self.trainer.update(images, labels, torch.ones(len(labels)))


def make_fields(count: int) -> torch.Tensor:
    """Clipped fields (count, 1, 300, 300): zero but for a few smooth peaks."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, 1, 300, 300, generator=generator)
    smooth = F.avg_pool2d(noise, 7, stride=1, padding=3)
    return (smooth - smooth.flatten(1).quantile(0.97, 1)[:, None, None, None]).clamp_min(0)


def rate(loop: PlainLoop | OurLoop, fields: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        loop.step(fields, labels)
    return steps * len(fields) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    fields, labels = make_fields(options.batch), torch.arange(options.batch) % 2
    recipe = Recipe(ARCHITECTURE, samples=10**6, windowed=0, batch=options.batch)
    loops = {
        "plain": PlainLoop(recipe),
        "ours": OurLoop(recipe),
        "ours, float32": OurLoop(replace(recipe, mixed_precision=False)),
        "ours, window": OurLoop(replace(recipe, windowed=recipe.samples)),
    }
    rates = {name: [] for name in loops}
    for loop in loops.values():
        loop.step(fields, labels)  # what the first step alone has to prepare
    for _ in range(options.turns):
        for name, loop in loops.items():
            rates[name].append(rate(loop, fields, labels, options.steps))
    result = {
        "images_per_s": {name: round(median(values), 1) for name, values in rates.items()},
        "times_the_plain_loop": {
            name: round(median(v / p for v, p in zip(values, rates["plain"], strict=True)), 2)
            for name, values in rates.items()
        },
        "batch": options.batch,
        "threads": options.threads,
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
    }
    print(f"{'':14}{'images/s':>10}{'times plain':>14}")
    for name, value in result["images_per_s"].items():
        print(f"{name:14}{value:10.1f}{result['times_the_plain_loop'][name]:14.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
