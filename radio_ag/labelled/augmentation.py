"""Random rotations, flips, scalings and shifts of a batch of images at once (paper eq. 15), on any device."""

from __future__ import annotations

from math import asinh

import torch
from torch import Tensor
from torch.nn import functional as F

from radio_ag.errors import InputError
from radio_ag.network.model import INPUT_SIZE
from radio_ag.preprocess.images import ASINH_SOFTENING, STRETCHES
from radio_ag.training.recipes import Recipe

_NEAR = 2.0  # px: largest offset of half of the fields, that of eq. 15


def augment(fields: Tensor, recipe: Recipe, generator: torch.Generator, size: int = INPUT_SIZE) -> Tensor:
    """Turn, flip, scale and shift clipped fields, crop and normalise them, in the order that the recipe says.

    Parameters
    ----------
    fields : Tensor, shape (B, 1, 300, 300) or (B, 1, 150, 150)
        Clipped fields. Beyond their edge there are zeros: a field of 150 pixels has its corners filled with them.
    recipe : Recipe
    generator : torch.Generator
        On the CPU: the random numbers do not depend on the device.
    size : int
        Pixels along each side of the crops.

    Returns
    -------
    Tensor, shape (B, 1, size, size)
        Between 0 and 1, on the device of the fields.
    """
    if recipe.augmented == "image":
        images = stretch(scale_to_unit(centre_crop(fields, INPUT_SIZE)), recipe.stretch)
        return _resample(images, _draw_of_images(len(images), recipe, generator), size)
    crops = _resample(fields, _draw_of_fields(len(fields), recipe, generator), size)
    return stretch(scale_to_unit(crops), recipe.stretch)


def centre_crop(fields: Tensor, size: int) -> Tensor:
    """The central pixels of fields (B, 1, ny, nx), shape (B, 1, size, size)."""
    top, left = ((side - size) // 2 for side in fields.shape[2:])
    return fields[:, :, top : top + size, left : left + size]


def scale_to_unit(images: Tensor) -> Tensor:
    """Scale each clipped image by its maximum (paper eq. 14; a clipped image has minimum 0)."""
    return images / images.amax((2, 3), keepdim=True).clamp_min(1e-30)


def stretch(images: Tensor, kind: str) -> Tensor:
    """The stretches of :func:`radio_ag.preprocess.images.stretch` on tensors."""
    if kind not in STRETCHES:
        raise InputError(f"stretch must be one of {', '.join(STRETCHES)}, not {kind!r}")
    if kind == "sqrt":
        return images.clamp_min(0).sqrt()
    if kind == "asinh":
        return (images / ASINH_SOFTENING).asinh() / asinh(1 / ASINH_SOFTENING)
    return images


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _draw_of_fields(count: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Random affine matrices (B, 2, 3) from pixels of the crop to pixels of the field, about their centres."""
    exact = _uniform(count, 0, 1, generator) < recipe.exact_share
    angle = _uniform(count, -torch.pi, torch.pi, generator)
    angle = torch.where(exact, (angle / (torch.pi / 2)).round() * (torch.pi / 2), angle)
    scale = torch.where(exact, 1.0, _uniform(count, *recipe.scale, generator))
    reach = torch.where(_uniform(count, 0, 1, generator) < 0.5, min(_NEAR, recipe.offset), recipe.offset)
    shift = torch.stack([_uniform(count, -1, 1, generator), _uniform(count, -1, 1, generator)], 1) * reach[:, None]
    shift = torch.where(exact[:, None], shift.round(), shift)
    return _affine(angle, scale, shift, _mirror(count, recipe, generator))


def _draw_of_images(count: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Random affine matrices (B, 2, 3) of eq. 15: first scaled, then shifted by whole pixels, then turned."""
    angle = _uniform(count, -torch.pi, torch.pi, generator)
    scale = _uniform(count, *recipe.scale, generator)
    reach = int(recipe.offset)
    pixels = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    return _affine(angle, scale, pixels / scale[:, None], _mirror(count, recipe, generator))


def _mirror(count: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """-1 where the image is mirrored, else 1."""
    return torch.where(_uniform(count, 0, 1, generator) < 0.5 * recipe.flips, -1.0, 1.0)


def _affine(angle: Tensor, scale: Tensor, shift: Tensor, mirror: Tensor) -> Tensor:
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    turn = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)  # (B, 2, 2)
    return torch.cat([turn, shift[:, :, None]], 2)


def _resample(images: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Bilinear crops (B, 1, size, size) of images (B, 1, n, n); zero beyond their edge."""
    whole = images.shape[-1]
    affine = torch.cat([matrix[:, :, :2] * size / whole, 2 * matrix[:, :, 2:] / whole], 2).to(images.device)
    grid = F.affine_grid(affine, [len(images), 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
