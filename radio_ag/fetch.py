"""Fetch the images of a catalogue ahead of its classification: the same positions, in the same chunks."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.catalogs.grouping import Groups, group_sources
from radio_ag.catalog_io.images.fields import Fields, Traffic, check_service
from radio_ag.catalog_io.images.regions import open_region
from radio_ag.catalog_io.open_images import named_survey
from radio_ag.catalog_io.services.cache import FIELD_BYTES
from radio_ag.catalog_io.services.source import ServiceImages
from radio_ag.catalog_io.services.surveys import open_survey
from radio_ag.chunks import CHUNK, sky_order, work_ahead
from radio_ag.errors import ImageError, IncompleteWarning, RadioAGWarning, ServiceError
from radio_ag.flags import Flag

Progress = Callable[[int, int, Mapping[str, int]], None]

_log = logging.getLogger(__name__)
_HAD = frozenset({"ok", "partial", "no_coverage"})


class _Task(NamedTuple):
    """Sources whose images are fetched together, and their status before, if they have any."""

    sources: NDArray[np.intp]
    before: list[str]


@dataclass(frozen=True)
class Fetched:
    """What became of the images of a catalogue's sources.

    Attributes
    ----------
    statuses : Counter
        Sources by status: ``ok``, ``partial``, ``no_coverage``, or in a word why there is no image.
    max_failed : float
        Share of the sources with coverage whose images may be missing.
    traffic : Traffic, optional
        What asking for the images took, where the image source tells it.
    """

    statuses: Counter[str]
    max_failed: float
    traffic: Traffic | None

    @property
    def covered(self) -> int:
        """Sources that have coverage."""
        return self.statuses.total() - self.statuses["no_coverage"]

    @property
    def incomplete(self) -> int:
        """Images that could not be had, where they are more than ``max_failed`` allows; else 0."""
        failed = sum(number for status, number in self.statuses.items() if status not in _HAD)
        return failed if failed > self.max_failed * self.covered else 0


def fetch_images(
    catalogue: Any,
    *,
    images: str | None = None,
    image_options: Mapping[str, Any] | None = None,
    group: Any = "auto",
    join_doubles: bool = False,
    region: Any = None,
    max_failed: float = 0.0,
    progress: Progress | None = None,
    **columns: str | None,
) -> Fetched:
    """Put the images of a catalogue's sources into the cache, where they are not there yet.

    ``classify`` with the same arguments and ``image_options={"offline": True, …}`` then needs no network. What the
    service says that it does not have is not kept: such rows are flagged ``FETCH_FAILED`` then, not ``NO_COVERAGE``.

    Parameters
    ----------
    catalogue, group, join_doubles, region, **columns
        As for `radio_ag.classify`, of which ``columns`` are ``ra_col``, ``dec_col``, ``ra_unit`` and ``dialect``.
    images : str, optional
        The survey; None: FIRST.
    image_options : mapping, optional
        ``cache_dir`` is where the images go, if not to the user's cache.
    max_failed : float
        Share of the sources with coverage whose images may be missing without a warning.
    progress : callable, optional
        Called with the sources done, their number, and counts of what became of them.

    Returns
    -------
    Fetched

    Raises
    ------
    ImageError
        ``images`` is not a survey's service.
    ServiceError
        The service does not answer.

    Warns
    -----
    RadioAGWarning
        The cache has no room for all of the images.
    IncompleteWarning
        More than ``max_failed`` of the images could not be had.
    """
    survey = named_survey(images)
    if survey is None:
        raise ImageError(f"images={images!r} is no survey with a service: there is nothing to fetch")
    rows = read_catalogue(catalogue, **columns)
    source = open_survey(survey, **(image_options or {}))
    region = open_region(region)
    groups = group_sources(rows, group, join_doubles=join_doubles)
    wanted = groups.valid if region is None else groups.valid & region.contains(groups.ra, groups.dec)
    order = np.flatnonzero(wanted)
    order = order[sky_order(groups.ra[order], groups.dec[order])]
    if source.cache is None:
        raise ImageError("fetched images are kept in the cache: leave out cache=False")
    if len(order) * FIELD_BYTES > source.cache.max_bytes:
        warnings.warn(
            f"{len(order)} images of about {FIELD_BYTES // 1000} kB are more than the cache keeps "
            f"({source.cache.max_bytes / 1e9:.3g} GB): give a folder (-o), or a larger cache_size (--cache-size)",
            RadioAGWarning,
            stacklevel=2,
        )
    passes = _Passes(source, groups, progress, len(order))
    with source:
        late = passes.fetch([_Task(order[start : start + CHUNK], []) for start in range(0, len(order), CHUNK)])
        try:
            passes.fetch(late)  # once more, now that all else is done
        except ServiceError as exc:
            _log.warning("%s", exc)
    statuses = +passes.statuses
    fetched = Fetched(statuses, max_failed, getattr(source, "traffic", None))
    if missing := fetched.incomplete:
        why = ", ".join(f"{number} {status}" for status, number in statuses.most_common() if status not in _HAD)
        warnings.warn(
            f"{missing} of {fetched.covered} images could not be had ({why}): the same command asks for them again",
            IncompleteWarning,
            stacklevel=2,
        )
    return fetched


class _Passes:
    """Passes over sources, which count what became of their images."""

    def __init__(self, source: ServiceImages, groups: Groups, progress: Progress | None, total: int) -> None:
        self._source, self._groups, self._progress, self._total = source, groups, progress, total
        self._checked = False
        self.statuses: Counter[str] = Counter()

    def fetch(self, tasks: list[_Task]) -> list[_Task]:
        """Fetch images, and return what of them failed."""
        late = []
        for task, fields in work_ahead(self._fetch, tasks, self._source.chunks_at_once):
            self.statuses.subtract(task.before)
            self.statuses.update(fields.status)
            failed = np.flatnonzero(fields.flags & Flag.FETCH_FAILED)
            if len(failed):
                late.append(_Task(task.sources[failed], [fields.status[row] for row in failed]))
            if self._progress:
                self._progress(self.statuses.total(), self._total, self.statuses)
        return late

    def _fetch(self, task: _Task) -> tuple[_Task, Fields]:
        fields = self._source.fetch(self._groups.ra[task.sources], self._groups.dec[task.sources])
        if not self._checked:
            check_service(fields, self._source)
            self._checked = True
        return task, fields
