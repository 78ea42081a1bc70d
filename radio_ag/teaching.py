"""What a trained network says of sources from all sides, for another one to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from math import tau

import numpy as np
import torch
from torch import nn

from radio_ag.augmentation import turned
from radio_ag.errors import InputError
from radio_ag.labelled import Labelled

_BATCH = 32


def teach(networks: Sequence[nn.Module], data: Labelled, stretch: str, *, angles: int = 12) -> np.ndarray:
    """Probability of FRII, averaged over networks, orientations and mirror images.

    A network that learns these probabilities from single augmented views depends less on how a source lies than its
    teacher does (distillation: Hinton, Vinyals & Dean 2015, arXiv:1503.02531).

    Parameters
    ----------
    networks : sequence of Module
        The teachers, in evaluation mode.
    data : Labelled
    stretch : {"linear", "sqrt", "asinh"}
        Of the teachers' images.
    angles : int
        Number of evenly spaced orientations. Several networks take turns, so that each of them sees as many.

    Returns
    -------
    ndarray of float32, shape (n,)
        From the mean of the logits.

    Raises
    ------
    InputError
        The networks cannot share the orientations evenly.
    """
    if angles % len(networks):
        raise InputError(f"angles must be a multiple of the number of networks, {len(networks)}, not {angles}")
    fields = torch.from_numpy(data.fields).unsqueeze(1)
    parts = []
    with torch.inference_mode():
        for batch in fields.split(_BATCH):
            total = torch.zeros(len(batch), 2)
            for side in range(2 * angles):
                images = turned(batch, tau * side / angles, side >= angles, stretch)
                network = networks[side % len(networks)]
                total += network(images.contiguous(memory_format=torch.channels_last)).logits
            parts.append(total / (2 * angles))
    return torch.cat(parts).softmax(1)[:, 1].numpy()
