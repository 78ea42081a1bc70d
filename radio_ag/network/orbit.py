"""How networks see batches of images in the orientations of an orbit: beside each other on a CPU, ahead on a GPU.

On a CPU each thread computes one orientation of a batch alone: the network's layers are too small to be shared well.
A GPU takes the orientations of a batch at once, its gates in half precision where that is enough, and is handed the
next batch before it is done with the last.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from radio_ag.network.model import INPUT_SIZE, AttentionGate, Output

MAX_HALF_ERROR = 1e-3
"""Half precision is used where no probability of the probes moves by more than half of this."""

_PROBES = 16


class Task(NamedTuple):
    """Images to be seen: (b, 150, 150), turned by ``angle`` radians beforehand, in some of the 8 exact orientations."""

    images: NDArray[np.float32]
    views: tuple[int, ...]
    angle: float = 0.0


class Seen(NamedTuple):
    """What m networks say of b images in v orientations; maps are turned back to the sky.

    On a CPU it holds arrays, on a GPU tensors until they are copied.
    """

    logits: Tensor | NDArray[np.float32]  # (v * m, b, 2)
    features: Tensor | NDArray[np.float32]  # (b, features of all networks), summed over the orientations
    maps: Tensor | NDArray[np.float32] | None  # (b, planes, 150, 150), summed over orientations and networks


def plan(
    turned: Sequence[tuple[float, NDArray[np.float32]]], orbit: int, batch: int, together: bool
) -> list[list[Task]]:
    """The tasks of each part of a run.

    Parameters
    ----------
    turned : sequence of (float, ndarray of shape (n, 150, 150))
        Angles in radians, with the images turned by them.
    orbit : int
        Exact orientations of each, 1 to 8.
    batch : int
        Images that a network takes at once.
    together : bool
        Whether orientations of the same images are among those, instead of more images in one.

    Returns
    -------
    list of list of Task
        Each inner list sees some images in all orientations.
    """
    at_once = min(orbit, batch) if together else 1
    step = batch // at_once
    views = [tuple(range(first, min(first + at_once, orbit))) for first in range(0, orbit, at_once)]
    return [
        [Task(images[start : start + step], some, angle) for angle, images in turned for some in views]
        for start in range(0, len(turned[0][1]), step)
    ]


def see(networks: Sequence[nn.Module], images: Tensor, task: Task, attention: str) -> Seen:
    """Run networks on the images (b, 1, 150, 150) of a task, on the device where they are.

    ``attention`` is one of ``mean``, ``gates``, ``none``: which maps to make.
    """
    count, views = len(images), task.views
    layout = torch.contiguous_format if images.device.type == "mps" else torch.channels_last
    x = torch.cat([turn(images, view) for view in views]).contiguous(memory_format=layout)  # (v * b, 1, H, W)
    outputs = [network(x) for network in networks]
    logits = torch.stack([output.logits for output in outputs], 1)  # (v * b, m, K)
    features = torch.cat([output.features for output in outputs], 1)
    maps = None
    if attention != "none":
        maps = sum(_maps(output, attention) for output in outputs).split(count)
        maps = sum(_on_sky(turned, view, task.angle) for turned, view in zip(maps, views, strict=True))
    return Seen(
        logits.unflatten(0, (len(views), count)).transpose(1, 2).flatten(0, 1),
        features.unflatten(0, (len(views), count)).sum(0),
        maps,
    )


def _maps(output: Output, attention: str) -> Tensor:
    return torch.stack(output.attention(), 1) if attention == "gates" else output.mean_attention().unsqueeze(1)


def _on_sky(maps: Tensor, view: int, angle: float) -> Tensor:
    maps = turn_back(maps, view)
    return rotate(maps, -angle) if angle else maps


def turn(images: Tensor, view: int) -> Tensor:
    """One of the 8 rotations and flips of (..., H, W) images; view 0 is the image itself, 4 its mirror image."""
    mirrored = images.flip(-1) if view >= 4 else images
    return torch.rot90(mirrored, view % 4, (-2, -1))


def turn_back(images: Tensor, view: int) -> Tensor:
    """The inverse of :func:`turn`."""
    upright = torch.rot90(images, -(view % 4), (-2, -1))
    return upright.flip(-1) if view >= 4 else upright


def rotate(images: Tensor, angle: float) -> Tensor:
    """Rotate (B, C, H, W) bilinearly about the centre by ``angle`` radians; the edge's value holds beyond the edge."""
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    affine = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], device=images.device).expand(len(images), 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def side_by_side(work: Callable[[Task], Seen], tasks: Sequence[Task], threads: int) -> Iterator[Seen]:
    """Results of tasks on a CPU, in order: a task a thread, unless there are fewer tasks than threads."""
    if threads == 1 or len(tasks) < threads:
        yield from map(work, tasks)
        return

    def work_alone(task: Task) -> Seen:
        if torch.get_num_threads() != 1:  # a thread's own setting, and that of threads that begin later
            torch.set_num_threads(1)
        return work(task)

    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="radio-ag-network") as pool:
            yield from pool.map(work_alone, tasks)
    finally:
        torch.set_num_threads(threads)


def ahead(launch: Callable[[Task, Tensor], Seen], tasks: Sequence[Task], device: torch.device) -> Iterator[Seen]:
    """Results of tasks on a GPU, in order; while one is computed, the next goes there and the last comes back."""
    upwards, downwards = torch.cuda.Stream(device), torch.cuda.Stream(device)
    compute = torch.cuda.current_stream(device)

    def start(task: Task) -> tuple[Seen, torch.cuda.Event]:
        with torch.cuda.stream(upwards):
            images = torch.from_numpy(task.images).pin_memory().to(device, non_blocking=True)
        compute.wait_stream(upwards)
        images.record_stream(compute)
        seen = launch(task, images)
        downwards.wait_stream(compute)
        with torch.cuda.stream(downwards):
            for tensor in filter(torch.is_tensor, seen):
                tensor.record_stream(downwards)
            here = Seen(*(None if tensor is None else tensor.to("cpu", non_blocking=True) for tensor in seen))
            return here, downwards.record_event()

    waiting = None
    for task in tasks:
        started = start(task)
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = started
    if waiting is not None:
        yield _arrived(*waiting)


def _arrived(seen: Seen, event: torch.cuda.Event) -> Seen:
    event.synchronize()
    return to_arrays(seen)


def to_arrays(seen: Seen) -> Seen:
    """The same in memory, as arrays."""
    return Seen(*(None if tensor is None else tensor.cpu().numpy() for tensor in seen))


def exactly():
    """A context in which a GPU's convolutions keep the 24 bits of float32 instead of the 11 of TF32, its default.

    With 11 bits probabilities move by more than `MAX_HALF_ERROR`.
    """
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def with_half_gates(network: nn.Module) -> nn.Module:
    """A copy whose gates compute in float16, in which their 64 channels a pixel are half as much to carry.

    All else stays as it is: the convolutions before them need float32 for probabilities to stay within 1e-3, and
    float16 can neither hold nor add up the sums over 22,500 pixels that follow.
    """
    half = copy.deepcopy(network)
    for gate in half.gates:
        gate.half().__class__ = _HalfGate
    return half


class _HalfGate(AttentionGate):
    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        return self.normalise(self.score(x.half(), g.half()).float())


def half_suffices(network: nn.Module, half: nn.Module, temperature: float, device: torch.device) -> bool:
    """Whether a copy in half precision gives the same probabilities for some simulated images."""
    x = _probes().to(device)
    with torch.inference_mode(), exactly():
        exact, near = ((each(x).logits / temperature).softmax(1) for each in (network, half))
    return bool((near - exact).abs().max() <= MAX_HALF_ERROR / 2)  # false where it is not a number


def _probes() -> Tensor:
    """Images (n, 1, 150, 150) of one to three blobs of several sizes among small noise peaks, as clipped ones are."""
    generator = torch.Generator().manual_seed(0)
    pixel = torch.arange(INPUT_SIZE, dtype=torch.float32) - (INPUT_SIZE - 1) / 2
    images = 0.03 * torch.rand(_PROBES, 1, INPUT_SIZE, INPUT_SIZE, generator=generator)
    images *= torch.rand(images.shape, generator=generator) > 0.995
    for blob in range(3):
        y, x = 25 * torch.randn(2, _PROBES, 1, generator=generator)
        width = 1.5 + 6 * torch.rand(_PROBES, 1, generator=generator)
        brightness = torch.rand(_PROBES, 1, 1, generator=generator) if blob else 1.0
        profiles = (torch.exp(-(((pixel - centre) / width) ** 2) / 2) for centre in (y, x))
        down, across = profiles  # (n, 150) each
        images[:, 0] += brightness * down[:, :, None] * across[:, None, :]
    images *= images > 0.01
    return images / images.amax((2, 3), keepdim=True)
