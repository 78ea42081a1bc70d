"""What every benchmark says beside its figures, and how: hardware, threads, versions, weights; a table and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("radio-ag", "numpy", "scipy", "astropy", "torch", "reproject")


def parse_options(description: str | None, **options: dict[str, Any]) -> argparse.Namespace:
    """Options of a benchmark: its own (name: arguments of ``add_argument``), ``--small`` and ``--json FILE``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, arguments in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **arguments)
    parser.add_argument("--small", action="store_true", help="some seconds, to see that it runs; no figures to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too; - prints them alone")
    return parser.parse_args()


def environment() -> dict[str, Any]:
    """The machine and what runs on it."""
    import torch

    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "processors": affinity,
        "load_at_start": round(_LOAD, 2),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    } | {package: _version(package) for package in PACKAGES}


_LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")  # before this process adds to it


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock time of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turns(functions: dict[str, Callable[[], Any]], turns: int) -> dict[str, list[float]]:
    """Seconds of each function in each turn. One after the other, so that what disturbs one disturbs all."""
    durations: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(turns):
        for name, function in functions.items():
            durations[name].append(seconds(function))
    return durations


def ratio(durations: dict[str, list[float]], slow: str, fast: str, work: tuple[float, float] = (1, 1)) -> float:
    """Median over the turns of how many times as fast ``fast`` is, with the work that each does in a turn."""
    pairs = zip(durations[slow], durations[fast], strict=True)
    return statistics.median(s / work[0] / (f / work[1]) for s, f in pairs)


def report(
    name: str,
    options: argparse.Namespace,
    rows: Iterable[dict[str, Any]],
    figures: dict[str, Any],
    *,
    weights: str = "none",
    orbit: int | None = None,
) -> None:
    """Print a table and the figures, and write them to the file that ``--json`` names.

    Parameters
    ----------
    name : str
        Of the benchmark.
    options : Namespace
        Of `parse_options`.
    rows : iterable of dict
        Of the table: each has the same keys.
    figures : dict
        What follows from the rows: ratios, differences, totals.
    weights, orbit
        By which the figures are made; "none" and None where no network runs.
    """
    rows, about = list(rows), environment()
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "run")}
    whole = {"benchmark": name, "weights": weights, "orbit": orbit, "settings": settings, "rows": rows}
    text = json.dumps(whole | figures | {"environment": about}, indent=1, default=str)
    if options.json == Path("-"):
        print(text)
        return
    print(f"{name}: weights {weights}, orbit {orbit or 'none'}; {about['processors']} x {about['processor']}, "
          f"{about['torch_threads']} threads, torch {about['torch']}")  # fmt: skip
    _print_table(rows)
    for key, value in figures.items():
        print(f"{key.replace('_', ' '):45} {_text(value)}")
    if options.json:
        options.json.write_text(text + "\n")


def _print_table(rows: list[dict[str, Any]]) -> None:
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first, *others = (cell.ljust(width) if n == 0 else cell.rjust(width)
                          for n, (cell, width) in enumerate(zip(line, widths, strict=True)))  # fmt: skip
        print("  ".join(["", first, *others]).replace("_", " "))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
