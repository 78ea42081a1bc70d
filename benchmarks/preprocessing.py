"""Fields a second through `radio_ag.preprocess.images.prepare`, against the plain loop of `reference.py`, in one run.

    python benchmarks/preprocessing.py [--fields 512] [--turns 5] [--json FILE]

The plain loop takes sigma-clipped statistics for the starting values, a histogram of the whole field, a `curve_fit` of
a Gaussian, and then clips, crops and scales. It gets a sixteenth of the fields: its rate does not depend on the number.
"""

from __future__ import annotations

import numpy as np
from _report import in_turns, parse_options, ratio, report
from reference import prepare_field

from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE, PIXEL_SCALE, prepare
from radio_ag.preprocess.noise import estimate_rms
from radio_ag.simulated import correlated_noise

NOISE = 1.5e-4  # Jy/beam


def simulate(count: int) -> np.ndarray:
    """Fields of noise as wide as the beam, with a bright source in the middle."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:FIELD_SIZE, :FIELD_SIZE] - (FIELD_SIZE - 1) / 2
    width = 3 * BEAM_FWHM / PIXEL_SCALE / 2.3548
    source = 200 * NOISE * np.exp(-0.5 * (x**2 + y**2) / width**2)
    shape = FIELD_SIZE, FIELD_SIZE
    return np.array([correlated_noise(shape, NOISE, rng) + source for _ in range(count)], np.float32)


def main() -> None:
    options = parse_options(
        __doc__, fields={"type": int, "default": 512}, turns={"type": int, "default": 5, "help": "of all in turn"}
    )
    if options.small:
        options.fields, options.turns = 32, 2
    fields = simulate(options.fields)
    few = fields[: max(options.fields // 16, 1)]
    runs = {
        "plain loop": lambda: [prepare_field(field) for field in few],
        "estimate_rms": lambda: estimate_rms(fields),
        "prepare": lambda: prepare(fields),
    }
    in_turns(runs, 1)
    durations = in_turns(runs, options.turns)
    images, noise = zip(*(prepare_field(field) for field in few), strict=True)
    ours = prepare(few)
    rows = []
    for name, values in durations.items():
        count = len(few) if name == "plain loop" else len(fields)
        median = float(np.median(values))
        rows.append({"what": name, "fields_per_s": count / median, "best_fields_per_s": count / min(values)})
    report(
        "preprocessing",
        options,
        rows,
        {
            "times_plain": ratio(durations, "plain loop", "prepare", (len(few), len(fields))),
            "median_ratio_of_the_noise": float(np.median(ours.rms / noise)),
            "largest_difference_of_the_noise": float(np.abs(ours.rms / noise - 1).max()),
            "mean_difference_of_the_images": float(np.abs(ours.images - np.array(images)).mean()),
        },
    )


if __name__ == "__main__":
    main()
