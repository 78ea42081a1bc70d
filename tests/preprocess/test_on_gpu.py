"""Preprocessing as a GPU does it: the processor's numbers, whatever is in the field."""

import numpy as np
import pytest
import torch

from radio_ag.preprocess import on_gpu
from radio_ag.preprocess.images import STRETCHES, Preprocessing, prepare
from radio_ag.preprocess.on_gpu import prepare_on
from radio_ag.simulated import correlated_noise

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
    ),
]


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    """Ordinary fields, and one of each kind that is not."""
    rng = np.random.default_rng(2)
    fields = np.array([correlated_noise((300, 300), 1.5e-4, rng) for _ in range(14)], np.float32)
    y, x = np.mgrid[:300, :300]
    fields[1:] += (0.05 * np.exp(-((y - 140) ** 2 + (x - 155) ** 2) / 90)).astype(np.float32)
    fields[2, :40] = np.nan
    fields[3, :, 200:] = 0  # beyond a survey's edge
    fields[4] = np.nan
    fields[5] = 0.25
    fields[6] = np.where(fields[6] > 5e-4, fields[6], 0)  # clipped already
    fields[7, 150, 150] = np.inf
    fields[8] = np.round(fields[8] / 1e-3) * 1e-3  # steps wider than the noise
    fields[9] += np.float32(0.3)
    fields[10] *= np.float32(1e-20)
    fields[11, :90] += 0.4 * rng.random((90, 300), np.float32)  # bright emission over a third
    return fields


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stretch", STRETCHES)
def test_as_on_the_processor(stretch, device, fields):
    settings = Preprocessing(stretch=stretch, value_range=(-1.0, 1.0))
    expected, got = prepare(fields, settings), prepare_on(torch.device(device), fields, settings)
    np.testing.assert_array_equal(got.fallback, expected.fallback)
    np.testing.assert_array_equal(got.peak, expected.peak)
    np.testing.assert_array_equal(got.blank_fraction, expected.blank_fraction)
    np.testing.assert_allclose(got.rms, expected.rms, rtol=1e-6)
    np.testing.assert_allclose(got.images, expected.images, atol=1e-5)
    assert {column.dtype for column in got} == {column.dtype for column in expected}


def test_most_fields_do_not_need_the_processor(fields, monkeypatch):
    left = []
    whole = on_gpu.prepare
    monkeypatch.setattr(on_gpu, "prepare", lambda f, s: left.append(len(f)) or whole(f, s))
    prepare_on(torch.device("cpu"), fields)
    assert sum(left) == 7


@pytest.mark.parametrize("shape", [(151, 150), (200, 333), (299, 301)])
def test_any_size(shape, fields, monkeypatch):
    monkeypatch.setattr(on_gpu, "_BLOCK", 2)
    part = np.concatenate([fields, fields], 2)[:5, : shape[0], : shape[1]].astype(">f8")
    expected, got = prepare(part), prepare_on(torch.device("cpu"), part)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)


def test_none_and_small_ones():
    assert prepare_on(torch.device("cpu"), np.zeros((0, 300, 300))).images.shape == (0, 150, 150)
    small = np.random.default_rng(0).normal(size=(2, 100, 90)).astype(np.float32)
    np.testing.assert_array_equal(prepare_on(torch.device("cpu"), small).images, prepare(small).images)
