"""Time and memory of grouping a million rows, and how often each way joins what only chance brought together.

    python benchmarks/grouping.py [--rows 1000000] [--json]

The catalogue is alike to that of FIRST in density and share of doubles. Chance is measured on 100,000 sources strewn
without any clustering, at the density and about the fluxes of FIRST (number above a flux S as 1/S, from 1 mJy).
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc

import numpy as np
from astropy.table import Table

from radio_ag.catalog_io.catalogs import Catalogue
from radio_ag.catalog_io.catalogs.dialect import Measure
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.preprocess.images import BEAM_FWHM

DENSITY = 90.0  # rows of FIRST in a square degree
WAYS: tuple[tuple[str | float, bool], ...] = (
    ("none", False),
    ("associate", False),
    ("island", False),
    (30.0, False),
    (270.0, False),
    ("none", True),
    ("island", True),
)
CHANCE_WAYS: tuple[tuple[str | float, bool], ...] = (
    (15.0, False),
    (30.0, False),
    (45.0, False),
    (60.0, False),
    (90.0, False),
    ("none", True),
    ("associate", False),
)


def make_catalogue(n: int, doubles: float = 1 / 3, seed: int = 0) -> Catalogue:
    """A catalogue of n rows at the density of FIRST, a share of which lie within some 15 arcsec of another row."""
    rng = np.random.default_rng(seed)
    area = min(n / DENSITY, 20626.0)  # of half the sphere
    height = np.degrees(np.arcsin(area / (360 * np.degrees(1))))
    ra = rng.uniform(0, 360, n)
    dec = np.degrees(np.arcsin(rng.uniform(0, np.sin(np.radians(height)), n)))
    group = np.arange(n)
    beside = rng.choice(n, int(n * doubles), replace=False)
    parent = rng.permutation(np.setdiff1d(group, beside))[: len(beside)]
    dec[beside] = np.clip(dec[parent] + rng.normal(0, 15 / 3600, len(beside)), -90, 90)
    ra[beside] = (ra[parent] + rng.normal(0, 15 / 3600, len(beside)) / np.cos(np.radians(dec[parent]))) % 360
    group[beside] = parent
    flux = 1e-3 * (1 + rng.pareto(1.0, n))
    minor, major = np.full(n, BEAM_FWHM), BEAM_FWHM * np.sqrt(1 + rng.exponential(0.3, n))
    measured = Table({"major": major, "minor": minor, "position_angle": rng.uniform(0, 180, n)})
    measured["peak"], measured["rms"] = flux * BEAM_FWHM**2 / (major * minor), 1.5e-4
    return Catalogue(
        *(measured, ra, dec, np.ones(n, bool), "ra", "dec", None, "made", None),
        flux=flux,
        measures={name: Measure(name, 1.0, np.nan) for name in measured.colnames},
        group=group,
    )


def joined_by_chance() -> dict[str, float]:
    """Share of unrelated rows that end in a group with another one, for each way."""
    catalogue = make_catalogue(100_000, doubles=0.0)
    found = [group_sources(catalogue, how, join_doubles=joined) for how, joined in CHANCE_WAYS]
    return {groups.how: float((groups.size[groups.group_id] > 1).mean()) for groups in found}


def measure(catalogue: Catalogue, how: str | float, join_doubles: bool) -> dict:
    """Seconds of the fastest of two runs, and of a third one the peak memory that numpy asked for."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        groups = group_sources(catalogue, how, join_doubles=join_doubles)
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    group_sources(catalogue, how, join_doubles=join_doubles)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "how": groups.how,
        "rows": len(catalogue),
        "groups": len(groups),
        "seconds": round(min(seconds), 2),
        "peak_mb": round(peak / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    catalogue = make_catalogue(options.rows)
    chance = joined_by_chance()
    results = [measure(catalogue, how, join_doubles) for how, join_doubles in WAYS]
    if options.json:
        print(json.dumps({"speed": results, "chance": chance}, indent=1))
        return
    print(f"{'way':20} {'rows':>9} {'groups':>9} {'seconds':>8} {'peak MB':>8}")
    for row in results:
        print(f"{row['how']:20} {row['rows']:9} {row['groups']:9} {row['seconds']:8} {row['peak_mb']:8}")
    print("\nunrelated sources of FIRST's density that are joined with another one")
    for way, share in chance.items():
        print(f"{way:20} {100 * share:5.1f} %")


if __name__ == "__main__":
    main()
