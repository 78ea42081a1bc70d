"""The orientations in which networks see images: rotations and flips, there and back, and the tasks that they make."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from radio_ag.network.model import Output


class Task(NamedTuple):
    """Images to be seen: (b, 150, 150), turned by ``angle`` radians beforehand, in some of the 8 exact orientations."""

    images: NDArray[np.float32]
    views: tuple[int, ...]
    angle: float = 0.0


class Seen(NamedTuple):
    """What m networks say of b images in v orientations; maps are turned back to the sky.

    On a CPU it holds arrays, on a GPU tensors until they are copied.
    """

    logits: Any  # (v * m, b, 2)
    features: Any  # (b, features of all networks), summed over the orientations
    maps: Any  # (b, planes, 150, 150), summed over orientations and networks; None where they are not wanted


def plan(
    turned: Sequence[tuple[float, NDArray[np.float32]]], orbit: int, batch: int, together: bool
) -> list[list[Task]]:
    """Return the tasks of each part of a run.

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

    Parameters
    ----------
    networks : sequence of Network
    images : Tensor, shape (b, 1, 150, 150)
        On their device.
    task : Task
        Says in which orientations.
    attention : {"mean", "gates", "none"}
        Which maps to make.
    """
    count, views = len(images), task.views
    layout = torch.contiguous_format if images.device.type == "mps" else torch.channels_last
    x = torch.cat([turn(images, view) for view in views]).contiguous(memory_format=layout)  # (v * b, 1, H, W)
    outputs = [network(x) for network in networks]
    logits = torch.stack([output.logits for output in outputs], 1)  # (v * b, m, K)
    features = torch.cat([output.features for output in outputs], 1)
    maps = None
    if attention != "none":
        of_views = reduce(add, (_maps(output, attention) for output in outputs)).split(count)
        maps = reduce(add, (_on_sky(of_view, view, task.angle) for of_view, view in zip(of_views, views, strict=True)))
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
    """Return one of the 8 rotations and flips of (..., H, W) images; view 0 is the image itself, 4 its mirror image.

    Parameters
    ----------
    images : Tensor, shape (..., H, W)
    view : int
        0 to 7.
    """
    mirrored = images.flip(-1) if view >= 4 else images
    return torch.rot90(mirrored, view % 4, (-2, -1))


def turn_back(images: Tensor, view: int) -> Tensor:
    """Undo :func:`turn`.

    Parameters
    ----------
    images : Tensor, shape (..., H, W)
    view : int
        0 to 7.
    """
    upright = torch.rot90(images, -(view % 4), (-2, -1))
    return upright.flip(-1) if view >= 4 else upright


def rotate(images: Tensor, angle: float) -> Tensor:
    """Rotate (B, C, H, W) bilinearly about the centre by ``angle`` radians; the edge's value holds beyond the edge.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
    angle : float
        Radians.
    """
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    # In float64, so that fields that are mirror images of each other stay so to the last bits.
    affine = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], dtype=torch.float64).expand(1, 2, 3)
    grid = F.affine_grid(affine, [1, *images.shape[1:]], align_corners=False)
    grid = grid.to(images.device, torch.float32).expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def to_arrays(seen: Seen) -> Seen:
    """Bring what is on a device to memory, as arrays.

    Parameters
    ----------
    seen : Seen
        Of tensors.
    """
    logits, features, maps = (None if tensor is None else tensor.cpu().numpy() for tensor in seen)
    return Seen(logits, features, maps)
