"""Noise, clip, crop and scale: against analytic truth, SciPy, Astropy, and the published MiraBest images."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.visualization import AsinhStretch
from preprocess_examples import BEAM_SIGMA, NOISE, correlated_noise

from radio_ag.errors import ImageError, InputError
from radio_ag.preprocess.images import (
    CROP_SIZE,
    FIELD_SIZE,
    Preprocessing,
    clip,
    crop,
    normalise,
    prepare,
    stretch,
)
from radio_ag.preprocess.noise import estimate_rms


@pytest.fixture(scope="module")
def mirabest(data_dir):
    """Raw fields of the training sources and the same as published: clipped, cropped, 0-255."""
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        return hdus["IMAGES"].data.astype(np.float32), hdus["PUBLISHED"].data.astype(np.uint8)


# Noise


@pytest.mark.parametrize(
    "convert",
    [
        lambda fields: fields.astype(">f4"),
        lambda fields: fields.astype(float),
        lambda fields: np.repeat(fields, 2, axis=2)[:, :, ::2],
        lambda fields: fields[:, ::-1].copy()[:, ::-1],
        list,
        np.ma.asarray,
    ],
    ids=["big-endian", "float64", "strided", "flipped", "list", "masked array"],
)
def test_any_kind_of_array_gives_the_same(few, convert):
    expected, found = prepare(few), prepare(convert(few))
    for name, values in expected._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), values, err_msg=name)


# Fields without noise, or with little of it


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 3.0])
def test_blank_and_constant_fields(value):
    with_noise = correlated_noise(1, seed=5)
    fields = np.concatenate([np.full_like(with_noise, value), with_noise])
    result = prepare(fields)
    assert np.isnan(result.rms[0])
    assert result.blank_fraction.tolist() == [1, 0]
    assert not result.fallback.any()
    assert not result.images[0].any()
    assert result.peak[0] == value if np.isfinite(value) else np.isnan(result.peak[0])
    assert result.rms[1] == pytest.approx(NOISE, rel=0.04)
    assert result.images[1].max() == 1


@pytest.mark.parametrize("blank", [np.nan, 0.0, -99.0])
@pytest.mark.parametrize("rows", [15, 150, 285])
def test_blank_part_of_a_field_does_not_count(noise_fields, blank, rows):
    fields = noise_fields[:60].copy()
    fields[:, :rows] = blank
    result = prepare(fields)
    np.testing.assert_allclose(result.blank_fraction, rows / FIELD_SIZE, atol=1e-6)
    assert not result.fallback.any()
    # As precise as what is left allows; over 60 fields the mean is known to an eighth of the scatter.
    independent = FIELD_SIZE * (FIELD_SIZE - rows) / (2 * np.pi * BEAM_SIGMA**2)
    scatter = NOISE / np.sqrt(2 * independent)
    assert result.rms.std() < 1.5 * scatter
    assert abs(result.rms.mean() - NOISE) < 0.5 * scatter


def test_masked_pixels_are_blank(few):
    fields = few.copy()
    fields[:, :30] = np.nan
    expected, found = prepare(fields), prepare(np.ma.masked_invalid(fields))
    np.testing.assert_allclose(found.blank_fraction, 0.1, atol=1e-6)
    np.testing.assert_array_equal(found.rms, expected.rms)
    np.testing.assert_array_equal(crop(np.ma.masked_invalid(fields), FIELD_SIZE), fields)


def test_a_handful_of_pixels_gives_no_noise(few):
    fields = np.full_like(few, np.nan)
    fields[:, 150, 150:199] = few[:, 150, 150:199]
    result = prepare(fields)
    assert np.isnan(result.rms).all()
    assert not result.fallback.any()
    assert not result.images.any()
    assert (result.blank_fraction < 1).all()


def test_field_that_is_clipped_already_has_no_noise(few):
    clipped = clip(few, NOISE)
    result = prepare(clipped)
    assert result.fallback.all()
    assert not result.rms.any()
    assert not result.blank_fraction.any()
    np.testing.assert_array_equal(result.images, normalise(crop(clipped)))


# Clip


def test_clip_keeps_only_what_exceeds_the_threshold():
    image = np.array([[[-9, 0, 2.9, 3.0], [3.1, 100, np.nan, np.inf]]], np.float32)
    expected = np.array([[[0, 0, 0, 0], [np.float32(3.1), 100, 0, 0]]])
    np.testing.assert_array_equal(clip(image, [1.0]), expected)
    np.testing.assert_array_equal(clip(image / 2, 0.5), expected / 2)
    assert not clip(image, np.nan).any()
    assert np.count_nonzero(clip(image, 1.0, threshold=2.0)) == 4


def test_clip_has_one_noise_an_image():
    images = np.full((3, 2, 2), 4.0)
    assert clip(images, [1.0, 2.0, np.nan]).max(axis=(1, 2)).tolist() == [4, 0, 0]
    with pytest.raises(InputError, match=r"rms .* 3 images"):
        clip(images, [1.0, 2.0])


# Crop


def test_central_crop_is_that_of_the_paper(few):
    np.testing.assert_array_equal(crop(few), few[:, 75:225, 75:225])


@pytest.mark.parametrize("size", [1, 2, 5, 8, 31])
@pytest.mark.parametrize("shape", [(20, 20), (21, 21), (20, 13)])
def test_crop_takes_the_pixels_of_cutout2d(size, shape):
    field = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    rng = np.random.default_rng(7)
    whole = rng.integers(0, shape[::-1], (20, 2))
    centres = np.concatenate([whole, whole + 0.5, rng.uniform(-0.5, np.array(shape[::-1]) - 0.5, (20, 2))])
    squares = crop(np.broadcast_to(field, (60, *shape)), size, centres)
    for square, centre in zip(squares, centres, strict=True):
        expected = Cutout2D(field, tuple(centre), size, mode="partial", fill_value=np.nan).data
        np.testing.assert_array_equal(square, expected)


def test_crop_beyond_the_edge_is_blank():
    field = np.ones((1, 20, 30))
    assert np.count_nonzero(np.isfinite(crop(field, 10, (0, 0)))) == 25
    for centre in [(-6, 10), (36, 10), (15, -6), (15, 26), (-1e300, 1e300)]:
        assert np.isnan(crop(field, 10, centre)).all()
    assert np.count_nonzero(np.isfinite(crop(field, 50))) == 600


@pytest.mark.parametrize(
    ("size", "centre"), [(0, None), (-3, None), (5, (np.nan, 1)), (5, (1, 2, 3)), (5, np.zeros((3, 2)))]
)
def test_crop_refuses_what_it_cannot_place(size, centre):
    with pytest.raises(InputError, match=r"size|centre"):
        crop(np.ones((2, 20, 20)), size, centre)


# Scale and stretch


def test_normalise_is_equation_14_without_the_255():
    images = np.random.default_rng(8).normal(size=(4, 6, 7)).astype(np.float32)
    expected = np.array([(image - image.min()) / (image.max() - image.min()) for image in images])
    np.testing.assert_allclose(normalise(images), expected, rtol=1e-6)
    np.testing.assert_allclose(normalise(images, value_range=(-1, 1)), 2 * expected - 1, atol=1e-6)
    np.testing.assert_allclose(normalise(images, "sqrt", (-1, 1)), 2 * np.sqrt(expected) - 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "sqrt", "asinh"])
def test_normalise_gives_single_precision_from_0_to_1(few, kind):
    images = normalise(few, kind)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e30, np.nan])
@pytest.mark.parametrize("kind", ["linear", "sqrt", "asinh"])
def test_a_constant_image_becomes_the_lower_end(kind, value):
    assert (normalise(np.full((2, 5, 5), value), kind) == 0).all()
    assert (normalise(np.full((2, 5, 5), value), kind, (-1, 1)) == -1).all()


def test_normalise_is_per_image_and_finite_over_a_huge_range():
    images = np.zeros((3, 4, 4), np.float32)
    images[:, 1, 1] = [1e-30, 1, 1e30]
    images[:, 2, 2] = [5e-31, 0.5, 5e29]
    scaled = normalise(images)
    np.testing.assert_allclose(scaled[:, 1, 1], 1)
    np.testing.assert_allclose(scaled[:, 2, 2], 0.5)


def test_stretches():
    x = np.linspace(0, 1, 101)
    np.testing.assert_array_equal(stretch(x, "linear"), x)
    np.testing.assert_allclose(stretch(x, "sqrt") ** 2, x)
    np.testing.assert_allclose(stretch(x, "asinh"), AsinhStretch(a=0.1)(x))
    linear = stretch(x, "linear")
    linear[:] = 7
    assert x.max() == 1


# Everything together


def test_prepare_is_its_steps(sky_fields):
    fields = sky_fields[:40]  # several blocks
    rms, fallback = estimate_rms(fields)
    result = prepare(fields, Preprocessing(clip=4, stretch="sqrt", value_range=(-1, 1)))
    np.testing.assert_array_equal(result.rms, rms)
    np.testing.assert_array_equal(result.fallback, fallback)
    np.testing.assert_array_equal(result.peak, fields[:, 75:225, 75:225].max(axis=(1, 2)))
    np.testing.assert_array_equal(result.images, normalise(clip(crop(fields), rms, 4), "sqrt", (-1, 1)))
    assert result.images.shape == (40, CROP_SIZE, CROP_SIZE)
    assert {values.dtype for name, values in result._asdict().items() if name != "fallback"} == {np.dtype(np.float32)}


def test_a_field_does_not_depend_on_its_neighbours(sky_fields):
    together = prepare(sky_fields[:35])
    for i in (0, 15, 16, 34):
        alone = prepare(sky_fields[i : i + 1])
        for name, values in together._asdict().items():
            np.testing.assert_array_equal(getattr(alone, name)[0], values[i], err_msg=name)


def test_prepare_with_known_noise(few):
    fields = few.copy()
    fields[0, :30] = np.nan
    known = np.linspace(1, 2, len(few)) * NOISE
    result = prepare(fields, rms=known)
    np.testing.assert_array_equal(result.rms, known.astype(np.float32))
    assert not result.fallback.any()
    np.testing.assert_allclose(result.blank_fraction, [0.1, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(result.images, normalise(clip(crop(fields), known)))
    with pytest.raises(InputError, match="rms"):
        prepare(fields, rms=known[:2])


def test_prepare_reads_a_memory_map(few, tmp_path):
    fields = np.memmap(tmp_path / "fields", ">f4", "w+", shape=few.shape)
    fields[:] = few
    np.testing.assert_array_equal(prepare(fields).images, prepare(few).images)


def test_fields_smaller_than_the_crop_are_padded():
    result = prepare(correlated_noise(2, seed=9, size=101))
    assert result.images.shape == (2, CROP_SIZE, CROP_SIZE)
    assert not result.images[:, :24].any()
    np.testing.assert_array_equal(result.images.max(axis=(1, 2)), 1)


def test_no_fields_give_no_rows():
    result = prepare(np.empty((0, FIELD_SIZE, FIELD_SIZE)))
    assert [len(values) for values in result] == [0] * 5


@pytest.mark.parametrize("function", [prepare, estimate_rms, crop, normalise])
def test_what_is_no_stack_of_images_is_refused(function):
    with pytest.raises(ImageError, match=r"\(300, 300\): give a single image as image\[None\]"):
        function(np.zeros((300, 300)))
    with pytest.raises(ImageError, match=r"\(2, 3, 4, 5\)$"):
        function(np.zeros((2, 3, 4, 5)))
    with pytest.raises(ImageError, match="pixels"):
        function(np.zeros((2, 0, 5)))
    with pytest.raises(ImageError, match="complex"):
        function(np.zeros((2, 5, 5), complex))


@pytest.mark.parametrize(
    "settings",
    [
        {"clip": -1.0},
        {"clip": np.nan},
        {"stretch": "log"},
        {"value_range": (1, 0)},
        {"value_range": (0, np.inf)},
        {"value_range": (0, 1, 2)},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"^{name} must be"):
        Preprocessing(**settings)


# Real images


def test_masks_and_images_are_those_published(mirabest):
    fields, published = mirabest
    result = prepare(fields)
    mask, expected = result.images > 0, published > 0
    overlap = (mask & expected).sum(axis=(1, 2)) / (mask | expected).sum(axis=(1, 2))
    assert len(overlap) == 1099
    assert np.median(overlap) >= 0.975
    assert np.percentile(overlap, 10) >= 0.95

    # The published images were cut off, not rounded, to whole numbers; rounding costs one count at most.
    difference = np.abs(np.floor(result.images * 255) - published)
    assert np.median(difference[mask]) == 0
    rounded = np.abs(np.round(result.images * 255) - published)
    assert np.median([np.median(image[inside]) for image, inside in zip(rounded, mask, strict=True)]) <= 1


def test_noise_of_real_fields(mirabest):
    fields, _ = mirabest
    result = prepare(fields)
    assert not result.fallback.any()
    assert np.median(result.rms) == pytest.approx(1.54e-4, rel=0.02)  # FIRST: typically 0.15 mJy/beam
    assert np.count_nonzero(np.isnan(fields).any(axis=(1, 2))) == 4
    blanked = np.isnan(fields).mean(axis=(1, 2))
    filled = result.blank_fraction - blanked
    assert (filled > -1e-6).all()
    assert np.count_nonzero(filled > 1e-4) == 1  # one field holds a strip of zeros
