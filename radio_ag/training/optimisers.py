"""Muon for the convolutions, AdamW for the rest: it learns from a third of the images that AdamW alone needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from radio_ag.training.recipes import Recipe

_WARM_UP = 0.1  # share of the steps over which the rate rises


class Muon(torch.optim.Muon):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for the filters of convolutions.

    A filter bank (out, in, height, width) is taken as the matrix (out, in * height * width): its momentum is made
    orthogonal, so that every direction learns at the same pace.

    Parameters
    ----------
    filters : iterable of Parameter
        At least two-dimensional.
    rate : float
    weight_decay : float
    """

    def __init__(self, filters: Iterable[nn.Parameter], rate: float, weight_decay: float = 0.0):
        self._filters = list(filters)
        self._matrices = [nn.Parameter(f.detach().flatten(1).clone()) for f in self._filters]
        super().__init__(self._matrices, rate, weight_decay)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for matrix, filters in zip(self._matrices, self._filters, strict=True):
            if filters.grad is None:
                raise ValueError("a step needs gradients of all filters")
            matrix.copy_(filters.flatten(1))
            matrix.grad = filters.grad.flatten(1)
        loss = super().step(closure)
        for matrix, filters in zip(self._matrices, self._filters, strict=True):
            filters.copy_(matrix.view_as(filters))
        return loss


def make_optimisers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Make the optimisers of a recipe: Adam for everything, or Muon and AdamW.

    Muon takes every convolution with several filters and several inputs; AdamW takes biases, batch norm, the first
    convolution and the small layers that classify.

    Parameters
    ----------
    network : Network
    recipe : Recipe
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimizer == "adam":
        return [torch.optim.Adam(learning, recipe.rate, weight_decay=recipe.weight_decay)]
    filters = [p for p in learning if p.ndim == 4 and min(p.shape[:2]) > 1]
    taken = {id(p) for p in filters}
    others = [p for p in learning if id(p) not in taken]
    if not filters:
        return [torch.optim.AdamW(others, recipe.other_rate, weight_decay=recipe.weight_decay)]
    return [
        Muon(filters, recipe.rate, recipe.weight_decay),
        torch.optim.AdamW(others, recipe.other_rate, weight_decay=recipe.weight_decay),
    ]


def rate_factor(steps: int) -> Callable[[int], float]:
    """Return what the rate is multiplied by at each step: up over the first tenth, then down to zero, linearly.

    Parameters
    ----------
    steps : int
        In all.
    """
    rising = max(1.0, _WARM_UP * steps)
    return lambda step: max(0.0, min(1.0, (step + 1) / rising, (steps - step) / max(1.0, steps - rising)))
