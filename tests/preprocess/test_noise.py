"""The noise of fields: against analytic truth, SciPy's own fit, and compressed and quantised copies."""

import numpy as np
import pytest
from astropy.io import fits
from preprocess_examples import BEAM_SIGMA, NOISE
from scipy.optimize import curve_fit
from scipy.stats import norm

from radio_ag.preprocess.images import FIELD_SIZE
from radio_ag.preprocess.noise import estimate_rms


def test_rms_of_correlated_noise_with_sources(sky_fields):
    rms, fallback = estimate_rms(sky_fields)
    assert rms.shape == fallback.shape == (240,)
    assert rms.dtype == np.float32
    assert fallback.dtype == bool
    assert not fallback.any()
    assert rms.mean() == pytest.approx(NOISE, rel=0.01)
    assert rms.std() <= 0.015 * NOISE


def test_rms_is_nearly_as_precise_as_the_standard_deviation_of_pure_noise(noise_fields):
    """Theory: with the beam's autocorrelation, 300x300 px are worth 90000 / (2 pi sigma^2) pixels."""
    rms = estimate_rms(noise_fields).rms
    independent = FIELD_SIZE**2 / (2 * np.pi * BEAM_SIGMA**2)
    best = NOISE / np.sqrt(2 * independent)
    assert noise_fields.std(axis=(1, 2)).std() == pytest.approx(best, rel=0.15)
    assert rms.std() < 1.25 * best
    assert rms.mean() == pytest.approx(NOISE, rel=0.002)


@pytest.mark.parametrize(("centre", "scale"), [(0.0, 1.0), (2e-5, 1.5e-4), (-3.0, 0.2), (0.0, 3e-9), (0.0, 1e12)])
def test_rms_of_exact_gaussian_quantiles(centre, scale):
    pixels = norm.ppf((np.arange(90000) + 0.5) / 90000, loc=centre, scale=scale).reshape(1, 300, 300)
    rms, fallback = estimate_rms(np.random.default_rng(3).permutation(pixels, axis=2))
    assert rms[0] == pytest.approx(scale, rel=1e-3)
    assert not fallback[0]


def test_rms_equals_an_ordinary_fit_to_the_same_histogram():
    field = np.random.default_rng(4).normal(0.3, 2.0, (1, 1500, 1500))
    counts, edges = np.histogram(field, bins=100, range=(0.3 - 6, 0.3 + 4))

    def gaussian(x, amplitude, mean, sigma):
        return amplitude * np.exp(-0.5 * ((x - mean) / sigma) ** 2)

    centres = (edges[1:] + edges[:-1]) / 2
    start = (counts.max(), 0.0, 1.0)
    parameters, _ = curve_fit(gaussian, centres, counts, p0=start, sigma=np.sqrt(counts), absolute_sigma=True)
    assert estimate_rms(field).rms[0] == pytest.approx(parameters[2], rel=1e-3)


def test_rms_ignores_deep_sidelobes_and_a_large_source(noise_fields):
    fields = noise_fields[:20].copy()
    y, x = np.mgrid[:FIELD_SIZE, :FIELD_SIZE] - 149.5
    radius = np.hypot(x, y)
    fields += (1000 * NOISE * np.exp(-0.5 * (radius / 4) ** 2)).astype(np.float32)
    fields += (20 * NOISE * np.cos(radius / 3) * np.exp(-radius / 15)).astype(np.float32)
    fields[:, 30:90, 40:260] += 30 * np.float32(NOISE)  # 15 % of the field
    rms, fallback = estimate_rms(fields)
    assert not fallback.any()
    assert np.median(rms) == pytest.approx(NOISE, rel=0.06)  # sidelobes above the noise cover 6 % of the field
    assert (fields.std(axis=(1, 2)) > 10 * NOISE).all()


@pytest.mark.parametrize(("step", "tolerance"), [(0.05, 0.01), (0.1, 0.01), (0.25, 0.03), (0.5, 0.06)])
def test_rms_of_quantised_fields(few, step, tolerance):
    """`step` is in units of the noise."""
    rms, fallback = estimate_rms(np.round(few / (step * NOISE)) * (step * NOISE))
    assert not fallback.any()
    np.testing.assert_allclose(rms, estimate_rms(few).rms, rtol=tolerance)


def test_rms_of_rice_compressed_fields(few, tmp_path):
    fits.CompImageHDU(few, compression_type="RICE_1", quantize_level=16).writeto(tmp_path / "fields.fits")
    with fits.open(tmp_path / "fields.fits") as hdus:
        compressed = hdus[1].data
    assert not np.array_equal(compressed, few)
    np.testing.assert_allclose(estimate_rms(compressed).rms, estimate_rms(few).rms, rtol=0.005)


def test_rms_scales_with_the_unit_and_shifts_with_the_zero(few):
    expected = estimate_rms(few).rms
    np.testing.assert_allclose(estimate_rms(few * 1000).rms, expected * 1000, rtol=1e-3)
    np.testing.assert_allclose(estimate_rms(few - np.float32(0.01)).rms, expected, rtol=1e-3)


def test_integer_fields(few):
    whole = np.round(few / NOISE * 50).astype(np.int32)
    np.testing.assert_allclose(estimate_rms(whole).rms, estimate_rms(few).rms / NOISE * 50, rtol=0.005)


def test_one_outrageous_pixel_changes_nothing(few):
    fields = few.copy()
    fields[0, 150, 150] = 1e6 * NOISE
    fields[1, 0, 0] = -3e38
    fields[2, 7, 7] = 3e38
    fields[3, 3, 3], fields[3, 3, 4] = np.inf, -np.inf
    np.testing.assert_allclose(estimate_rms(fields).rms, estimate_rms(few).rms, rtol=1e-3)


def test_too_few_pixels_for_a_histogram_fall_back(noise_fields):
    fields = np.full((100, FIELD_SIZE, FIELD_SIZE), np.nan, np.float32)
    fields[:, 100:120, 50:70] = noise_fields[:100, 100:120, 50:70]
    rms, fallback = estimate_rms(fields)
    assert fallback.all()
    assert np.median(rms) == pytest.approx(NOISE, rel=0.06)  # 400 px are 40 beams


def test_histogram_without_a_gaussian_falls_back():
    rng = np.random.default_rng(6)
    flat = rng.uniform(-1, 1, (FIELD_SIZE, FIELD_SIZE))
    two_values = rng.choice([-1.0, 1.0], (FIELD_SIZE, FIELD_SIZE))
    rms, fallback = estimate_rms(np.stack([flat, two_values]))
    assert fallback.all()
    assert rms[0] == pytest.approx(norm.cdf(1) * 2 - 1, rel=0.05)  # the 16th percentile of -1...1
    assert np.isfinite(rms[1])
