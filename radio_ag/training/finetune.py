"""Going on from a trained network: what is taken over from it, and how much of it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from radio_ag.errors import InputError
from radio_ag.network.checkpoints import Weights
from radio_ag.network.model import Network
from radio_ag.training.recipes import Recipe

FREEZE_BELOW = 60
"""Training sources below which the layers that classify learn alone, where nothing else is asked for."""

_HEAD = "classifier."


def prepare_finetuning(
    weights: Weights, recipe: Recipe, classes: Sequence[str], sources: int, *, freeze: bool | None = None
) -> Recipe:
    """Return the recipe for the network that goes on from another one.

    Parameters
    ----------
    weights : Weights
        What is gone on from.
    recipe : Recipe
        How to train; architecture and stretch become those of the weights.
    classes : sequence of str
        Of the new network.
    sources : int
        Number of training sources.
    freeze : bool, optional
        Whether the layers that classify learn alone; by default with fewer than `FREEZE_BELOW` sources.

    Returns
    -------
    Recipe

    Raises
    ------
    InputError
        The weights want another input than labelled images can be made into.
    """
    settings = weights.card.preprocessing
    if tuple(settings.value_range) != (0.0, 1.0):
        raise InputError(
            f"{weights.card.name} wants images scaled to {settings.value_range}: only networks of 0 to 1 can go on"
        )
    architecture = replace(weights.networks[0].architecture, classes=len(classes))
    frozen = sources < FREEZE_BELOW if freeze is None else freeze
    return replace(recipe, architecture=architecture, stretch=settings.stretch, frozen=frozen)


def initial_parameters(network: Network, fresh: Network, *, same_classes: bool) -> dict[str, Tensor]:
    """Return the parameters of a network, with fresh ones in the layers that classify where the classes differ.

    Parameters
    ----------
    network : Network
        What is gone on from.
    fresh : Network
        Of random parameters, for the new classes.
    same_classes : bool
        Whether both tell the same classes apart, in the same order.

    Returns
    -------
    dict of Tensor
        For `radio_ag.training.loop.train`.
    """
    trained, new = network.state_dict(), fresh.state_dict()
    return {
        name: value if name.startswith(_HEAD) and not same_classes else trained[name] for name, value in new.items()
    }
