"""Fetch the images of a catalogue ahead of its classification: the same positions, in the same chunks."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.catalog_io.images.fields import Fields, check_service
from radio_ag.catalog_io.images.regions import open_region
from radio_ag.catalog_io.open_images import named_survey, open_images
from radio_ag.catalog_io.services.cache import FIELD_BYTES
from radio_ag.chunks import CHUNK, sky_order, work_ahead
from radio_ag.errors import ImageError, RadioAGWarning
from radio_ag.flags import Flag

Progress = Callable[[int, int, Mapping[str, int]], None]


def fetch_images(
    catalogue: Any,
    *,
    images: str | None = None,
    image_options: Mapping[str, Any] | None = None,
    group: Any = "auto",
    join_doubles: bool = False,
    region: Any = None,
    progress: Progress | None = None,
    **columns: str | None,
) -> Counter[str]:
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
    progress : callable, optional
        Called with the sources done, their number, and counts of what became of them.

    Returns
    -------
    Counter
        Sources by status: ``ok``, ``partial``, ``no_coverage``, or in a word why there is no image.

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
    """
    survey = named_survey(images)
    if survey is None:
        raise ImageError(f"images={images!r} is no survey with a service: there is nothing to fetch")
    rows = read_catalogue(catalogue, **columns)
    source = open_images(images, **(image_options or {}))
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
    statuses: Counter[str] = Counter()
    checked = False

    def fetch(chunk: NDArray[np.intp]) -> tuple[NDArray[np.intp], Fields]:
        nonlocal checked
        fields = source.fetch(groups.ra[chunk], groups.dec[chunk])
        if not checked:
            check_service(fields, source)
            checked = True
        return chunk, fields

    def pass_over(sources: NDArray[np.intp], last: bool) -> NDArray[np.intp]:
        """Fetch the images of sources; return those that are to be asked for again, and are not counted yet."""
        late = [sources[:0]]
        chunks = [sources[start : start + CHUNK] for start in range(0, len(sources), CHUNK)]
        for chunk, fields in work_ahead(fetch, chunks, source.chunks_at_once):
            failed = (fields.flags & Flag.FETCH_FAILED != 0) & (not last)
            late.append(chunk[failed])
            statuses.update(status for status, again in zip(fields.status, failed, strict=True) if not again)
            if progress:
                progress(statuses.total(), len(order), statuses)
        return np.concatenate(late)

    with source:
        pass_over(pass_over(order, last=False), last=True)
    return statuses
