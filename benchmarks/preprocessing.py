"""Fields a second through `radio_ag.preprocess.prepare`, against a plain loop over the fields, in one run.

The plain loop does for each field what is usually written by hand: sigma-clipped statistics for the starting values,
`numpy.histogram` over the whole field, `scipy.optimize.curve_fit` of a Gaussian, clip, crop, scale.

    python benchmarks/preprocessing.py --fields 512 --repeats 5 --json preprocessing.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time

import numpy as np
from astropy.stats import sigma_clipped_stats
from scipy.ndimage import gaussian_filter
from scipy.optimize import curve_fit

from radio_ag.preprocess import BEAM_FWHM, CROP_SIZE, FIELD_SIZE, PIXEL_SCALE, estimate_rms, prepare

NOISE = 1.5e-4  # Jy/beam


def simulate(n: int) -> np.ndarray:
    """`n` fields of noise as wide as the beam, with a bright source in the middle."""
    sigma = BEAM_FWHM / PIXEL_SCALE / 2.3548
    rng = np.random.default_rng(1)
    noise = gaussian_filter(
        rng.standard_normal((n, FIELD_SIZE, FIELD_SIZE), np.float32), (0, sigma, sigma), mode="wrap"
    )
    y, x = np.mgrid[:FIELD_SIZE, :FIELD_SIZE] - (FIELD_SIZE - 1) / 2
    source = 200 * NOISE * np.exp(-0.5 * (x**2 + y**2) / (3 * sigma) ** 2)
    return noise * np.float32(2 * np.sqrt(np.pi) * sigma * NOISE) + source.astype(np.float32)


def fit_plainly(field: np.ndarray) -> float:
    """Noise of one field (ny, nx) by the usual means."""
    _, median, deviation = sigma_clipped_stats(field, sigma=3)
    counts, edges = np.histogram(field, bins=100, range=(median - 3 * deviation, median + 2 * deviation))
    centres = (edges[:-1] + edges[1:]) / 2

    def gaussian(x, amplitude, mean, sigma):
        return amplitude * np.exp(-0.5 * ((x - mean) / sigma) ** 2)

    parameters, _ = curve_fit(gaussian, centres, counts, p0=(counts.max(), median, deviation))
    return abs(parameters[2])


def prepare_plainly(fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images and noise of fields (n, ny, nx), one after the other."""
    start = (FIELD_SIZE - CROP_SIZE) // 2
    images, noise = [], []
    for field in fields:
        rms = fit_plainly(field)
        image = field[start : start + CROP_SIZE, start : start + CROP_SIZE].copy()
        image[image <= 3 * rms] = 0
        images.append((image - image.min()) / (image.max() - image.min()))
        noise.append(rms)
    return np.array(images), np.array(noise)


def best_rate(function, fields: np.ndarray, repeats: int) -> tuple[float, float]:
    """Highest and median number of fields a second."""
    rates = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function(fields)
        rates.append(len(fields) / (time.perf_counter() - begin))
    return max(rates), statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="write the figures to this file, too")
    options = parser.parse_args()

    fields = simulate(options.fields)
    few = fields[: max(options.fields // 16, 1)]  # the plain loop is slow, and its rate does not depend on the number
    images, noise = prepare_plainly(few)
    ours = prepare(few)
    rates = {
        "plain loop": best_rate(prepare_plainly, few, options.repeats),
        "estimate_rms": best_rate(estimate_rms, fields, options.repeats),
        "prepare": best_rate(prepare, fields, options.repeats),
    }
    plain = rates["plain loop"]
    print(f"{options.fields} fields of {FIELD_SIZE}x{FIELD_SIZE} px, {os.cpu_count()} processors, {platform.machine()}")
    print(f"noise against the plain loop's: median ratio {np.median(ours.rms / noise):.4f}, "
          f"largest difference {np.abs(ours.rms / noise - 1).max():.2%}; "
          f"images differ by {np.abs(ours.images - images).mean():.1e} in the mean")  # fmt: skip
    print(f"{'':14}{'best':>12}{'median':>12}   fields/s{'times the loop (medians)':>28}")
    for name, (best, median) in rates.items():
        print(f"{name:14}{best:12.0f}{median:12.0f}{median / plain[1]:39.1f}")
    if options.json:
        report = {
            "fields": options.fields,
            "processors": os.cpu_count(),
            "numpy": np.__version__,
            "fields_per_second": {name: {"best": best, "median": median} for name, (best, median) in rates.items()},
            "times_the_loop": rates["prepare"][1] / plain[1],
        }
        with open(options.json, "w") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
