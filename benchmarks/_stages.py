"""Seconds that parts of a run take, by timing the functions where they are called."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Mapping
from importlib import import_module


def time_calls(places: Mapping[str, str]) -> dict[str, float]:
    """Have each function, named with its module and class, add its seconds; what is returned fills up as they run."""
    spent: dict[str, float] = defaultdict(float)
    for name, path in places.items():
        owner, _, attribute = path.rpartition(".")
        holder = _find(owner)
        setattr(holder, attribute, _timed(getattr(holder, attribute), spent, name))
    return spent


def _timed(function, spent: dict[str, float], name: str):
    @functools.wraps(function)
    def timed(*args, **options):
        start = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            spent[name] += time.perf_counter() - start

    return timed


def _find(path: str):
    """The module or class of a name."""
    try:
        return import_module(path)
    except ModuleNotFoundError:
        module, _, kind = path.rpartition(".")
        return getattr(import_module(module), kind)
