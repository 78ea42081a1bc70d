"""Augmentation against exact transformations, and against what eq. 15 of the paper says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_examples import blobs

from radio_ag.labelled.augmentation import PAPER_AUGMENTATION, Augmentation, augment, centre_crop, stretch
from radio_ag.preprocess import images as preprocess
from radio_ag.preprocess.images import crop, normalise
from radio_ag.training.recipes import RECIPES

PLAIN = Augmentation(scale=(1.0, 1.0), offset=8.0, exact_share=0.3)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def centroids(images: torch.Tensor) -> torch.Tensor:
    """Centres of light (B, 2) as x, y from the centre of images (B, 1, n, n)."""
    axis = torch.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    total = images.sum((1, 2, 3))
    return torch.stack([(images[:, 0].sum(1) * axis).sum(1), (images[:, 0].sum(2) * axis).sum(1)], 1) / total[:, None]


def test_exact_augmentations_are_flips_turns_and_shifts_of_the_field():
    recipe = replace(PLAIN, exact_share=1.0, offset=3.0)
    field = blobs().fields[3:4].copy()
    field[0, 149:175] *= 0.5  # no symmetry left
    possible, views = [], []
    for view in range(8):
        turned = np.rot90(field[:, :, ::-1] if view >= 4 else field, view, (1, 2))
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                possible.append(normalise(crop(np.roll(turned, (dy, dx), (1, 2))))[0])
                views.append(view)
    batch = augment(torch.from_numpy(field).unsqueeze(1).expand(40, 1, 300, 300), recipe, generator(0))
    distance = np.array([np.abs(np.array(possible) - image).max((1, 2)) for image in batch[:, 0].numpy()])
    assert distance.min(1).max() < 1e-3
    assert {views[best] for best in distance.argmin(1)} == set(range(8))


def test_augmented_fields_keep_the_range_and_stay_within_the_offset():
    recipe = replace(PLAIN, scale=(0.9, 1.1), offset=8.0)
    fields = torch.from_numpy(blobs().fields[::2]).unsqueeze(1).repeat(8, 1, 1, 1)  # single blobs at the centre
    images = augment(fields, recipe, generator(1))
    assert images.shape == (32, 1, 150, 150)
    assert images.min() >= 0
    torch.testing.assert_close(images.amax((1, 2, 3)), torch.ones(32))
    radius = torch.hypot(*centroids(images).T)
    assert radius.max() < 8 * 2**0.5 * 1.1 + 0.5
    assert radius.max() > 4


def test_images_of_the_paper_are_scaled_shifted_by_whole_pixels_and_turned():
    """Three blobs, each alone, with the same random numbers: their places tell the transformation."""
    y, x = np.mgrid[:150, :150] - 74.5
    places = np.array([(0.0, 0.0), (30.0, 0.0), (0.0, 30.0)])
    images = np.stack([np.exp(-((x - px) ** 2 + (y - py) ** 2) / 50) for px, py in places]).astype(np.float32)
    images[images < 1e-3] = 0
    recipe = PAPER_AUGMENTATION
    centre, right, down = (
        centroids(augment(torch.from_numpy(image).expand(200, 1, 150, 150), recipe, generator(3))) for image in images
    )
    arms = torch.stack([right - centre, down - centre], 1) / 30  # (B, 2, 2): rows are the images of the two axes
    scale = torch.linalg.det(arms).sqrt()  # positive: no image is mirrored
    assert 0.9 <= scale.min() < 0.92
    assert 1.08 < scale.max() <= 1.1
    rotation = arms / scale[:, None, None]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(2).expand(200, 2, 2), atol=2e-3, rtol=0)
    angle = torch.atan2(arms[:, 0, 1], arms[:, 0, 0])
    assert np.histogram(angle, bins=8, range=(-np.pi, np.pi))[0].min() > 10
    # Turned last, so that turning back leaves the shift alone: whole pixels, each from -2 to 2.
    shift = (rotation @ centre[:, :, None])[:, :, 0]
    torch.testing.assert_close(shift, shift.round(), atol=0.02, rtol=0)
    assert {tuple(pair) for pair in shift.round().int().tolist()} == {
        (a, b) for a in range(-2, 3) for b in range(-2, 3)
    }


def test_corners_are_zero_where_the_image_ends_and_filled_where_the_field_goes_on():
    """Figure 3 iv, and what the default recipe does instead."""
    paper = augment(torch.ones(20, 1, 300, 300), PAPER_AUGMENTATION, generator(0))
    torch.testing.assert_close(paper[:, 0, 75, 75], torch.ones(20))
    assert (paper[:, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).any((1, 2)).float().mean() > 0.8
    ours = augment(torch.ones(20, 1, 300, 300), replace(PLAIN, exact_share=0.0), generator(0))
    torch.testing.assert_close(ours, torch.ones_like(ours))
    small = augment(torch.ones(20, 1, 150, 150), replace(PLAIN, exact_share=0.0), generator(0))
    assert small.shape == ours.shape
    assert (small[:, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).any((1, 2)).float().mean() > 0.8


def test_images_of_the_paper_are_normalised_before_not_after():
    """A second source, brighter, that lies in the field but not in the crop, changes nothing."""
    fields = torch.from_numpy(blobs().fields[1:2]).unsqueeze(1)
    before = augment(fields, PAPER_AUGMENTATION, generator(0))
    brighter = fields.clone()
    brighter[:, :, 10, 10] = 100
    assert torch.equal(augment(brighter, PAPER_AUGMENTATION, generator(0)), before)
    assert before.max() < 1  # interpolation lowers a peak of 1, and nothing raises it again


@pytest.mark.parametrize("size", [16, 75, 150])
def test_centre_crop_is_that_of_preprocessing(size):
    for side in (150, 299, 300):
        fields = np.arange(2 * side * side, dtype=np.float32).reshape(2, side, side)
        ours = centre_crop(torch.from_numpy(fields)[:, None], size)[:, 0]
        np.testing.assert_array_equal(ours, crop(fields, size))


@pytest.mark.parametrize("kind", preprocess.STRETCHES)
def test_stretches_are_those_of_preprocessing(kind):
    values = np.linspace(0, 1, 11, dtype=np.float32)
    np.testing.assert_allclose(stretch(torch.from_numpy(values), kind), preprocess.stretch(values, kind), rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", RECIPES)
def test_gpu_augments_as_the_cpu_does(name):
    fields = torch.from_numpy(blobs().fields)[:, None]
    cpu, gpu = (
        augment(fields.to(device), RECIPES[name].augmentation, generator(0)).cpu() for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(gpu, cpu, atol=1e-3, rtol=0)
