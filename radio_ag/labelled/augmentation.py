"""Random rotations, flips, scalings and shifts of a batch of images at once (paper eq. 15), on any device."""

from __future__ import annotations

from dataclasses import dataclass
from math import asinh

import torch
from torch import Tensor
from torch.nn import functional as F

from radio_ag.errors import InputError
from radio_ag.network.model import INPUT_SIZE
from radio_ag.preprocess.images import ASINH_SOFTENING, STRETCHES

_NEAR = 2.0  # px: largest offset of half of the fields, that of eq. 15


@dataclass(frozen=True)
class Augmentation:
    """How images are turned, scaled and shifted at random.

    Attributes
    ----------
    augmented : {"field", "image"}
        What is turned, scaled and shifted: the clipped field, of which the crop is then normalised, so that no corner
        of it is empty; or the normalised crop of 150 pixels, as in the paper, where zeros fill the corners.
    stretch : {"linear", "sqrt", "asinh"}
        Stretch of the normalised images.
    flips : bool
        Whether half of the images are mirrored.
    scale : tuple of float
        Range of the magnification (paper eq. 15).
    offset : float
        Largest offset of the centre along each axis, pixels. Of fields, half stay within 2 pixels; of images, the
        offsets are whole pixels, as in eq. 15.
    exact_share : float
        Share of fields that are turned by a multiple of 90 degrees and shifted by whole pixels: not interpolated.
    """

    augmented: str = "field"
    stretch: str = "linear"
    flips: bool = True
    scale: tuple[float, float] = (0.9, 1.1)
    offset: float = 2.0
    exact_share: float = 0.0

    def __post_init__(self) -> None:
        for name, accepted in (("stretch", STRETCHES), ("augmented", ("field", "image"))):
            if getattr(self, name) not in accepted:
                raise InputError(f"{name} must be one of {', '.join(accepted)}, not {getattr(self, name)!r}")
        if not self.offset >= 0:
            raise InputError(f"offset must be at least 0, not {self.offset!r}")
        if not 0 <= self.exact_share <= 1:
            raise InputError(f"exact_share must be from 0 to 1, not {self.exact_share!r}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"scale must be two positive numbers, the lower first, not {self.scale!r}")


PAPER_AUGMENTATION = Augmentation(augmented="image", flips=False)
"""That of Bowles et al. 2021: any angle, 0.9 to 1.1 in scale, up to 2 px along each axis (eq. 15)."""


def augment(fields: Tensor, augmentation: Augmentation, generator: torch.Generator, size: int = INPUT_SIZE) -> Tensor:
    """Turn, flip, scale and shift clipped fields, crop and normalise them, in the order that is asked for.

    Parameters
    ----------
    fields : Tensor, shape (B, 1, 300, 300) or (B, 1, 150, 150)
        Clipped fields. Beyond their edge there are zeros: a field of 150 pixels has its corners filled with them.
    augmentation : Augmentation
    generator : torch.Generator
        On the CPU: the random numbers do not depend on the device.
    size : int
        Pixels along each side of the crops.

    Returns
    -------
    Tensor, shape (B, 1, size, size)
        Between 0 and 1, on the device of the fields.

    References
    ----------
    Bowles et al. 2021, MNRAS 501, 4579: eqs. 14 and 15.
    """
    n = len(fields)
    if augmentation.augmented == "image":
        images = stretch(scale_to_unit(centre_crop(fields, INPUT_SIZE)), augmentation.stretch)
        return _resample(images, _draw_of_images(n, augmentation, generator), size)
    crops = _resample(fields, _draw_of_fields(n, augmentation, generator), size)
    return stretch(scale_to_unit(crops), augmentation.stretch)


def centre_crop(fields: Tensor, size: int) -> Tensor:
    """Return the central pixels of fields (B, 1, ny, nx), shape (B, 1, size, size).

    Parameters
    ----------
    fields : Tensor, shape (B, 1, ny, nx)
    size : int
        Pixels.
    """
    top, left = ((side - size) // 2 for side in fields.shape[2:])
    return fields[:, :, top : top + size, left : left + size]


def scale_to_unit(images: Tensor) -> Tensor:
    """Scale each clipped image by its maximum (paper eq. 14; a clipped image has minimum 0).

    Parameters
    ----------
    images : Tensor, shape (B, 1, ny, nx)
    """
    return images / images.amax((2, 3), keepdim=True).clamp_min(1e-30)


def stretch(images: Tensor, kind: str) -> Tensor:
    """Stretch images as `radio_ag.preprocess.images.stretch` does, on tensors.

    Parameters
    ----------
    images : Tensor
        Between 0 and 1, of any shape.
    kind : {"linear", "sqrt", "asinh"}
    """
    if kind not in STRETCHES:
        raise InputError(f"stretch must be one of {', '.join(STRETCHES)}, not {kind!r}")
    if kind == "sqrt":
        return images.clamp_min(0).sqrt()
    if kind == "asinh":
        return (images / ASINH_SOFTENING).asinh() / asinh(1 / ASINH_SOFTENING)
    return images


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _draw_of_fields(count: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return random affine matrices (B, 2, 3) from pixels of the crop to pixels of the field, about their centres."""
    exact = _uniform(count, 0, 1, generator) < augmentation.exact_share
    angle = _uniform(count, -torch.pi, torch.pi, generator)
    angle = torch.where(exact, (angle / (torch.pi / 2)).round() * (torch.pi / 2), angle)
    scale = torch.where(exact, 1.0, _uniform(count, *augmentation.scale, generator))
    reach = torch.where(_uniform(count, 0, 1, generator) < 0.5, min(_NEAR, augmentation.offset), augmentation.offset)
    shift = torch.stack([_uniform(count, -1, 1, generator), _uniform(count, -1, 1, generator)], 1) * reach[:, None]
    shift = torch.where(exact[:, None], shift.round(), shift)
    return _affine(angle, scale, shift, _mirror(count, augmentation, generator))


def _draw_of_images(count: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return random affine matrices (B, 2, 3) of eq. 15: first scaled, then shifted by whole pixels, then turned."""
    angle = _uniform(count, -torch.pi, torch.pi, generator)
    scale = _uniform(count, *augmentation.scale, generator)
    reach = int(augmentation.offset)
    pixels = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    return _affine(angle, scale, pixels / scale[:, None], _mirror(count, augmentation, generator))


def _mirror(count: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return -1 where the image is mirrored, else 1."""
    return torch.where(_uniform(count, 0, 1, generator) < 0.5 * augmentation.flips, -1.0, 1.0)


def _affine(angle: Tensor, scale: Tensor, shift: Tensor, mirror: Tensor) -> Tensor:
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    turn = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)  # (B, 2, 2)
    return torch.cat([turn, shift[:, :, None]], 2)


def _resample(images: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Return bilinear crops (B, 1, size, size) of images (B, 1, n, n); zero beyond their edge."""
    whole = images.shape[-1]
    affine = torch.cat([matrix[:, :, :2] * size / whole, 2 * matrix[:, :, 2:] / whole], 2).to(images.device)
    grid = F.affine_grid(affine, [len(images), 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
