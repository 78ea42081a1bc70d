"""Hit and false-alarm rates of the flags that come from islands, with Wilson intervals of 95 %.

    python benchmarks/flags.py

Measured on simulated noise and sources and, where the environment variable RADIO_AG_DATA names the folder of the real
FIRST images, on those. The rules took shape on all rows of the real data; the limits of a pair were tuned on the even
rows alone, so that the odd ones are the fairer measure.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy import ndimage

from radio_ag.flags import Flag
from radio_ag.preprocess.images import PIXEL_SCALE
from radio_ag.preprocess.islands import Islands, measure_islands
from radio_ag.preprocess.noise import estimate_rms
from radio_ag.simulated import TYPICAL_RMS, correlated_noise, make_field

FLAGS = (Flag.EMPTY, Flag.LOW_SNR, Flag.UNRESOLVED, Flag.TRUNCATED, Flag.OFF_CENTRE, Flag.CONFUSED)
NONE = Flag(0)
BEAM_PIXELS = 10  # a FIRST beam covers 10.2 pixels


class Rate(NamedTuple):
    """How often `flag` was set on a sample: ``hits`` of ``total``; `expected` says whether it should have been."""

    sample: str
    flag: Flag
    expected: bool
    hits: int
    total: int

    @property
    def share(self) -> float:
        return self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval of 95 %."""
        z, n, p = 1.959964, self.total, self.share
        middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return max((middle - half) / (1 + z**2 / n), 0.0), min((middle + half) / (1 + z**2 / n), 1.0)


def rates(sample: str, islands: Islands, expected: Flag, silent: Flag = NONE) -> list[Rate]:
    """Rate of each flag on a sample that should carry `expected` and nothing else but perhaps `silent`."""
    return [
        Rate(sample, flag, flag in expected, int(np.count_nonzero(islands.flags & flag)), len(islands.flags))
        for flag in FLAGS
        if flag not in silent
    ]


def simulated_rates(n: int = 400, seed: int = 1) -> list[Rate]:
    """Rates on pure correlated noise and on simulated sources, `n` fields a sample."""
    rng = np.random.default_rng(seed)
    noise = np.stack([correlated_noise((300, 300), TYPICAL_RMS, rng) for _ in range(n)])
    result = rates("correlated noise", measure_islands(noise, estimate_rms(noise).rms), Flag.EMPTY)

    def add(sample: str, expected: Flag, make: Callable[[int], NDArray], silent: Flag = NONE) -> None:
        fields = noise + np.stack([make(seed * n + i) for i in range(n)])
        result.extend(rates(sample, measure_islands(fields, estimate_rms(fields).rms), expected, silent))

    def around(radius: float) -> tuple[float, float]:
        angle = rng.uniform(0, 2 * np.pi)
        return radius * np.sin(angle), radius * np.cos(angle)

    def source(kind: str, snr: float, **options) -> Callable[[int], NDArray]:
        return lambda s: make_field(kind, seed=s, peak_flux=snr * TYPICAL_RMS, rms=0, **options)[0]

    add("FRI, peak 50 rms", NONE, source("FRI", 50))
    add("FRII, peak 50 rms", NONE, source("FRII", 50))
    add("two points 60 arcsec apart", NONE, _two_points(50, 60))
    for snr in (20, 100, 1000):
        add(f"point, peak {snr} rms", Flag.UNRESOLVED, source("compact", snr))
    add("FRI of 40 arcsec, peak 8 rms", Flag.LOW_SNR, source("FRI", 8, extent=40.0), silent=Flag.UNRESOLVED)
    beyond = source("FRII", 200, extent=280.0, position_angle=0.0)  # one hotspot at least is 5 arcsec outside
    add("FRII of 280 arcsec, peak 200 rms", Flag.TRUNCATED, beyond, silent=Flag.CONFUSED)
    off = Flag.OFF_CENTRE | Flag.UNRESOLVED
    add("point 60 arcsec off", off, lambda s: source("compact", 50, offset=around(60))(s))
    add("FRI 100 arcsec from a point 15 times as bright", Flag.CONFUSED, lambda s: _beside_a_point(s, around(100)))
    return result


def real_rates(folder: Path, rows: slice = slice(None)) -> list[Rate]:
    """Rates on real FIRST sources: certain FRI and FRII as they are, changed on purpose, and compact sources.

    Parameters
    ----------
    folder : Path
        Holds ``mirabest_train.fits`` and ``rgd_train.fits``.
    rows : slice
        Which rows of either file, e.g. ``slice(1, None, 2)`` for the odd ones.
    """
    rng = np.random.default_rng(1)
    sources, fields = _read(folder / "mirabest_train.fits", rows)
    rms = estimate_rms(fields).rms
    certain = (sources["confidence"] == "certain") & (sources["fr_class"] != "hybrid")
    result = []
    for kind in ("FRI", "FRII"):
        chosen = certain & (sources["fr_class"] == kind)
        result += rates(f"certain {kind}", measure_islands(fields[chosen], rms[chosen]), NONE)
    islands = measure_islands(fields[certain], rms[certain])
    result += rates("certain FRI and FRII", islands, NONE)

    clean = np.flatnonzero(certain)[islands.flags == 0]
    snr, size = islands.snr[islands.flags == 0], islands.size[islands.flags == 0]
    result += rates("negative images of them", measure_islands(-fields[clean], rms[clean]), Flag.EMPTY)

    rest = Flag.EMPTY | Flag.UNRESOLVED | Flag.TRUNCATED | Flag.OFF_CENTRE | Flag.CONFUSED
    dimmed = _dim(fields[clean], rms[clean], 7 / snr, rng)
    result += rates("dimmed to 7 rms", measure_islands(dimmed, rms[clean]), Flag.LOW_SNR, rest)

    rest = Flag.LOW_SNR | Flag.UNRESOLVED | Flag.TRUNCATED | Flag.CONFUSED
    small = clean[size < 60]
    shifted = fields[small][:, 2 * round(75 / PIXEL_SCALE) :]  # the middle of what is left lies 75 arcsec to the North
    result += rates("smaller than 60, 75 arcsec off", measure_islands(shifted, rms[small]), Flag.OFF_CENTRE, rest)

    rest = Flag.UNRESOLVED | Flag.TRUNCATED
    beside = fields[clean] + np.stack([_point(rng, 15 * peak) for peak in snr * rms[clean]])
    result += rates("beside a point 15 times as bright", measure_islands(beside, rms[clean]), Flag.CONFUSED, rest)

    compact_sources, counts = _read(folder / "rgd_train.fits", rows)
    compact = compact_sources["fr_class"] == "Compact"
    restored, unit = _unscale(counts[compact], fields / rms[:, None, None])
    return result + rates("compact", measure_islands(restored, unit), Flag.UNRESOLVED)


def shrunken_shares(folder: Path, snrs: tuple[float, ...] = (7, 10, 15, 25, 50)) -> dict[float, float]:
    """Share of bright certain FRI and FRII that lose more than half of their extent when dimmed to each peak in rms."""
    sources, fields = _read(folder / "mirabest_train.fits", slice(0, None, 2))
    rms = estimate_rms(fields).rms
    islands = measure_islands(fields, rms)
    certain = (sources["confidence"] == "certain") & (sources["fr_class"] != "hybrid")
    bright = np.flatnonzero(certain & (islands.flags == 0) & (islands.snr > max(snrs)))
    fields, rms, snr, size = fields[bright], rms[bright], islands.snr[bright], islands.size[bright]
    rng = np.random.default_rng(1)
    dimmed = {target: measure_islands(_dim(fields, rms, target / snr, rng), rms) for target in snrs}
    return {target: float(1 - (islands.size > size / 2).mean()) for target, islands in dimmed.items()}


def _dim(fields: NDArray, rms: NDArray, factor: NDArray, rng: np.random.Generator) -> NDArray:
    """Fields times a factor, with noise added to what it was."""
    missing = rms * np.sqrt(1 - np.minimum(factor, 1) ** 2)
    return fields * factor[:, None, None] + np.stack([correlated_noise((300, 300), value, rng) for value in missing])


def _two_points(snr: float, separation: float) -> Callable[[int], NDArray]:
    def make(seed: int) -> NDArray:
        angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
        east, north = separation / 2 * np.sin(angle), separation / 2 * np.cos(angle)
        options = {"seed": seed, "peak_flux": snr * TYPICAL_RMS, "rms": 0}
        one, _ = make_field("compact", offset=(east, north), **options)
        return one + make_field("compact", offset=(-east, -north), **options)[0]

    return make


def _beside_a_point(seed: int, offset: tuple[float, float]) -> NDArray:
    source, _ = make_field("FRI", seed=seed, peak_flux=50 * TYPICAL_RMS, extent=60.0, rms=0)
    return source + make_field("compact", seed=seed, peak_flux=750 * TYPICAL_RMS, offset=offset, rms=0)[0]


def _point(rng: np.random.Generator, peak_flux: float) -> NDArray:
    angle = rng.uniform(0, 2 * np.pi)
    offset = (115 * np.sin(angle), 115 * np.cos(angle))
    return make_field("compact", peak_flux=float(peak_flux), offset=offset, rms=0)[0]


def _read(path: Path, rows: slice) -> tuple[Table, NDArray]:
    with fits.open(path) as hdus:
        images = np.asarray(hdus["IMAGES"].data[rows], np.float32)
    return Table.read(path, hdu="SOURCES")[rows], images


def _unscale(counts: NDArray, fields: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Undo the scaling of 8-bit images, in units of the noise, and say what counts as their noise.

    The images hold ``floor(255 (v - 3) / (max - 3))`` of the values v in units of the noise, as real fields that show
    the same sources prove, so the count per noise is lost. What is left is the sum of the counts in islands smaller
    than a beam: noise peaks and faint sources, of which each field has about as many. Its relation with the step
    ``(max - 3) / 255`` is measured on `fields`, raw ones in units of their noise, scaled likewise (and to thrice their
    maximum, since the compact sources are bright). A count of zero hides what lies between 3 and 3 + step, so that
    the noise whose threefold is the lowest value seen is ``1 + step / 3``.
    """
    faint, steps = [], []
    for stretch in (1, 3):
        step = stretch * (np.nanmax(fields, axis=(1, 2)) - 3) / 255
        scaled = np.floor(np.clip((np.nan_to_num(fields) - 3) / step[:, None, None], 0, 255))
        faint.append(_faint_counts(scaled))
        steps.append(step)
    relation = np.polyfit(np.log1p(np.concatenate(faint)), np.log(np.concatenate(steps)), 3)
    step = np.exp(np.polyval(relation, np.log1p(_faint_counts(counts))))
    values = np.where(counts > 0, 3 + (counts + 0.5) * step[:, None, None], 0)
    return values.astype(np.float32), (1 + step / 3).astype(np.float32)


def _faint_counts(counts: NDArray) -> NDArray:
    result = np.empty(len(counts))
    for i, image in enumerate(counts):
        labels, _ = ndimage.label(image > 0, np.ones((3, 3)))
        area = np.bincount(labels.reshape(-1))
        area[0] = BEAM_PIXELS
        result[i] = image[area[labels] < BEAM_PIXELS].sum()
    return result


def _print(title: str, results: list[Rate]) -> None:
    print(f"\n{title}")
    for rate in results:
        low, high = rate.interval
        kind = "hit" if rate.expected else "false alarm"
        share = f"{100 * rate.share:6.2f} % ({100 * low:5.2f}-{100 * high:6.2f})"
        print(f"  {rate.sample:38} {rate.flag.name:11} {kind:11} {share}  {rate.hits}/{rate.total}")


def main() -> None:
    _print("Simulated", simulated_rates())
    folder = os.environ.get("RADIO_AG_DATA")
    if folder:
        _print("Real, even rows", real_rates(Path(folder), slice(0, None, 2)))
        _print("Real, odd rows", real_rates(Path(folder), slice(1, None, 2)))
        print("\nCertain FRI and FRII that lose half of their extent when dimmed")
        for snr, share in shrunken_shares(Path(folder)).items():
            print(f"  to a peak of {snr:2.0f} rms {100 * share:5.1f} %")
    else:
        print("\nRADIO_AG_DATA is not set: no real sources")


if __name__ == "__main__":
    main()
