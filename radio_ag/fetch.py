"""Fetch the images of a catalogue ahead of its classification: the same positions, in the same chunks."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple, cast

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs.grouping import Groups
from radio_ag.catalog_io.images.fields import Fields, Traffic, check_service
from radio_ag.catalog_io.images.regions import Region
from radio_ag.catalog_io.open_images import named_survey
from radio_ag.catalog_io.services.cache import FIELD_BYTES
from radio_ag.catalog_io.services.source import ServiceImages
from radio_ag.chunks import sky_order, work_ahead
from radio_ag.errors import ImageError, IncompleteWarning, InputError, RadioAGWarning, ServiceError
from radio_ag.flags import Flag
from radio_ag.inputs import open_inputs
from radio_ag.options import CHUNK, CatalogueOptions, ImageOptions, Progress

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
    group: str | float | u.Quantity = "auto",
    region: str | PathLike[str] | Region | None = None,
    max_failed: float = 0.0,
    catalogue_options: CatalogueOptions = CatalogueOptions(),
    image_options: ImageOptions = ImageOptions(),
    progress: Progress | None = None,
) -> Fetched:
    """Fetch the images of a catalogue's sources into the cache, where they are not there yet.

    ``classify`` with the same arguments and ``ImageOptions(offline=True, …)`` then needs no network. What the
    service says that it does not have is not kept: such rows are flagged ``FETCH_FAILED`` then, not ``NO_COVERAGE``.

    Parameters
    ----------
    catalogue : object
        As for `radio_ag.classify`.
    images : str, optional
        The survey; None: FIRST.
    group : str, float or Quantity
        As for `radio_ag.classify`.
    region : path or Region, optional
        As for `radio_ag.classify`.
    max_failed : float
        Share of the sources with coverage whose images may be missing without a warning.
    catalogue_options : CatalogueOptions
        As for `radio_ag.classify`.
    image_options : ImageOptions
        ``cache_dir`` is where the images go, if not to the user's cache.
    progress : callable, optional
        Called with the sources done, their number, and counts of what became of them.

    Returns
    -------
    Fetched

    Raises
    ------
    InputError
        The catalogue or an option cannot be used.
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
    if not 0 <= max_failed <= 1:
        raise InputError(f"max_failed must be from 0 to 1, not {max_failed!r}")
    if named_survey(images) is None:
        raise ImageError(f"images={images!r} is no survey with a service: there is nothing to fetch")
    inputs = open_inputs(catalogue, images or "first", group, region, catalogue_options, image_options)
    source, groups = cast(ServiceImages, inputs.source), inputs.groups
    order = np.flatnonzero(inputs.wanted)
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
        for task, fields in work_ahead(self._fetch, tasks, self._source):
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
            if not self._source.answered:
                check_service(fields, self._source)
            self._checked = True
        return task, fields
