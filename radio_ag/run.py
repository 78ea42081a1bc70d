"""A run from its chunks to its product: part by part into a folder, what is missing alone, and joined at the end."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs import Catalogue
from radio_ag.catalog_io.catalogs.grouping import Groups
from radio_ag.catalog_io.images.fields import ImageSource
from radio_ag.catalog_io.product.columns import result_table
from radio_ag.catalog_io.product.headers import software_versions
from radio_ag.catalog_io.product.merge import MergedParts, count_rows
from radio_ag.catalog_io.product.part import PLANE_COLUMNS, Part, gate_of, plane_column
from radio_ag.catalog_io.product.parts import PartsFolder, parts_folder, run_identifier
from radio_ag.catalog_io.product.rows import ProductRows
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.result import Result
from radio_ag.chunks import PLANE_SHAPE, Chunk, ClassifySettings, blank_columns, classify_chunks, sky_order
from radio_ag.errors import IncompleteWarning, OutputError, ServiceError
from radio_ag.flags import Flag
from radio_ag.network.checkpoints import Weights
from radio_ag.network.classifier import Classifier

_log = logging.getLogger(__name__)
Progress = Callable[[int, int, Mapping[str, int]], None]


@dataclass(frozen=True, eq=False)
class Cluster:
    """Where chunks are classified if not here, and what that takes."""

    client: Any
    weights: Weights
    images: Any
    image_options: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Run:
    """All that a run is of."""

    rows: Catalogue
    groups: Groups
    wanted: NDArray[np.bool_]
    source: ImageSource
    classifier: Classifier
    settings: ClassifySettings
    provenance: dict[str, Any]
    progress: Progress | None
    mapped: bool  # the table's values are as in a file that this run has read
    cluster: Cluster | None
    max_failed: float  # share of the rows with coverage that may be without an image in a complete product

    def identity(self) -> dict[str, Any]:
        """What decides the product, for the manifest of the parts."""
        positions = hashlib.sha256()
        for values in (self.groups.ra, self.groups.dec, self.groups.group_id, self.wanted):
            positions.update(np.ascontiguousarray(values))
        identity = software_versions() | self.provenance | {"positions_sha256": positions.hexdigest()}
        if hasattr(self.source, "fingerprint"):
            identity["images_fingerprint"] = self.source.fingerprint()
        return json.loads(json.dumps(identity, default=str))

    @property
    def stacks(self) -> tuple[str, ...]:
        """Names of the stacks of planes that are kept."""
        return self.settings.stacks(self.classifier.gates)

    def unreached(self, sources: NDArray[np.int64] | slice) -> dict[str, NDArray]:
        """Columns of sources that are not classified."""
        ra, dec = self.groups.ra[sources], self.groups.dec[sources]
        return blank_columns(ra, dec, self.unreached_flags(sources), self.settings)

    def unreached_flags(self, sources: NDArray[np.int64] | slice) -> NDArray[np.int32]:
        """Flags of sources that are not classified; 0 for those that will be."""
        unwanted = np.where(self.groups.valid[sources], Flag.NO_COVERAGE, Flag.BAD_POSITION)
        return np.where(self.wanted[sources], 0, unwanted).astype(np.int32)


class _Chunks:
    """The sources of a run in their order on the sky, cut into chunks."""

    def __init__(self, run: Run) -> None:
        groups, wanted = run.groups, np.flatnonzero(run.wanted)
        self._groups, self._size = groups, run.settings.chunk
        self._order = wanted[sky_order(groups.ra[wanted], groups.dec[wanted])]

    def __len__(self) -> int:
        return -(-len(self._order) // self._size)

    def __getitem__(self, number: int) -> Chunk:
        sources = self._order[number * self._size : (number + 1) * self._size]
        return Chunk(number, sources, self._groups.ra[sources], self._groups.dec[sources])


class _Count:
    """Rows done, by class and flag, told to whoever asked for it."""

    def __init__(self, run: Run) -> None:
        self._progress, self._size, self._total = run.progress, run.groups.size, len(run.rows)
        self._max_failed = run.max_failed
        unwanted = np.flatnonzero(~run.wanted)
        self._done = int(self._size[unwanted].sum())
        no_class = np.zeros(len(unwanted), "S1")
        self._counts = Counter(count_rows(no_class, run.unreached_flags(unwanted), self._size[unwanted]))

    def add(self, part: Part, before: Part | None = None) -> None:
        """Add a part, which may be in the place of the same sources as they were before."""
        for counted, sign in ((before, -1), (part, 1)):
            if counted is not None:
                size = sign * self._size[counted.sources]
                self._done += int(size.sum())
                self._counts.update(count_rows(counted.columns["class"], counted.columns["flags"], size))

    def tell(self) -> None:
        if self._progress:
            self._progress(self._done, self._total, self._counts)

    @property
    def failed(self) -> int:
        """Rows whose images could not be had."""
        return self._counts[Flag.FETCH_FAILED.name]

    @property
    def covered(self) -> int:
        """Rows that have a position and coverage."""
        return self._total - self._counts[Flag.NO_COVERAGE.name] - self._counts[Flag.BAD_POSITION.name]

    def missing(self) -> int:
        """Rows whose images could not be had, where they are too many for a complete product; else 0."""
        return self.failed if self.failed > self._max_failed * self.covered else 0

    def warn(self, further: str) -> None:
        """Warn that too many images could not be had, and of what follows from it."""
        told = f"{self.failed} of {self.covered} rows with coverage have no image (FETCH_FAILED)"
        warnings.warn(f"{told}: {further}", IncompleteWarning, stacklevel=4)  # where classify was called


def classify_in_memory(run: Run) -> Result:
    count = _Count(run)

    def parts() -> Iterator[Part]:
        chunks, late = _Chunks(run), _Late(run)
        for number, part, _ in _classified(run, (chunks[number] for number in range(len(chunks))), None):
            count.add(part)
            late.note(number, part)
            count.tell()
            yield part
        for _, before, part in late.once_more():
            count.add(part, before)
            count.tell()
            yield part

    result = _collect(run, parts(), None)
    if missing := count.missing():
        result.table.meta["incomplete"] = missing
        count.warn("the result is incomplete")
    return result


def classify_to_file(
    run: Run, output: Path, kind: ModuleType, overwrite: bool, restart: bool, keep_parts: bool
) -> Result:
    """Classify part by part, what is missing; then join the parts to the product."""
    identity = run.identity()
    place, chunks = parts_folder(output), _Chunks(run)
    if output.exists() and not overwrite:
        there = kind.read_provenance(output)
        if there.get("run") != run_identifier(identity):
            raise OutputError(f"{output} exists and is of another run: choose another name, or --overwrite it")
        if not place.exists() and not there.get("incomplete"):
            return Result.read(output)
    with PartsFolder(place, identity, len(chunks), restart=restart) as folder:
        count, late = _Count(run), _Late(run)
        _take_up(folder, count, late)
        pending = (chunks[number] for number in range(len(chunks)) if number not in folder.done)
        try:
            for number, part, written in _classified(run, pending, place):
                if written is None:
                    folder.write(number, part, PLANE_SHAPE)
                else:
                    folder.adopt(number, written)
                count.add(part)
                late.note(number, part)
                count.tell()
        except ServiceError as exc:
            if folder.done:
                raise ServiceError(f"{exc}; {folder.stay}") from exc
            raise
        for number, before, part in late.once_more():
            folder.write(number, _updated(folder.read(number), part), PLANE_SHAPE)
            count.add(part, before)
            count.tell()
        missing = count.missing()
        try:
            result = _join(run, folder, output, kind, missing)
        except OutputError as exc:
            raise OutputError(f"{exc}; {folder.stay}") from exc
        if missing:
            count.warn(f"{output} is incomplete, and {folder.stay}")
        elif not keep_parts:
            folder.remove()
    return result


class _Late:
    """Parts in which images were not to be had, to be done once more when all else is done.

    All of a part is, since the last bits of its numbers depend on what the network sees together; the sources that
    failed alone where the image source would be asked for the others again.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._chunks: list[Chunk] = []
        self._before: dict[int, Part] = {}

    def note(self, number: int, part: Part, *, earlier: bool = False) -> None:
        """Keep a part in mind if images failed that may come: as those of an earlier run always may."""
        source, columns = self._run.source, part.columns
        failed = np.flatnonzero(columns["flags"] & Flag.FETCH_FAILED)
        if not earlier:
            ra, dec = columns["ra"][failed], columns["dec"][failed]
            failed = failed[source.asks_again(ra, dec)] if hasattr(source, "asks_again") else failed[:0]
        if not len(failed):
            return
        rows = slice(None) if getattr(source, "keeps_images", True) else failed
        self._chunks.append(Chunk(number, part.sources[rows], columns["ra"][rows], columns["dec"][rows]))
        counted = {name: columns[name][rows] for name in ("class", "flags")}
        self._before[number] = Part(part.sources[rows], counted, {}, part.batch)

    def once_more(self) -> Iterator[tuple[int, Part, Part]]:
        """Yield numbers of parts, and sources of them as they were before and as they are now."""
        try:
            for number, part, _ in _classified(self._run, self._chunks, None, check=False):
                yield number, self._before[number], part
        except ServiceError as exc:  # all else is done, and they have their flag
            _log.warning("%s", exc)


def _updated(part: Part, again: Part) -> Part:
    """A part with what has become of all of its sources, or of some, which had no planes."""
    if len(again) == len(part):
        return again
    rows = np.flatnonzero(np.isin(part.sources, again.sources))
    columns = {name: values.copy() for name, values in part.columns.items()}
    for name, values in again.columns.items():
        if name in PLANE_COLUMNS:
            values = np.where(values >= 0, values + columns[name].max() + 1, -1)
        columns[name][rows] = values
    stacks = {name: part.stacks[name].joined(tiles) for name, tiles in again.stacks.items()}
    return Part(part.sources, columns, stacks, min(part.batch, again.batch))


def _classified(
    run: Run, chunks: Iterable[Chunk], folder: Path | None, *, check: bool = True
) -> Iterator[tuple[int, Part, str | None]]:
    """Numbers and parts of some chunks; the hash of a part that a worker has written into the folder already."""
    if run.cluster is None:
        for number, part in classify_chunks(chunks, run.source, run.classifier, run.settings, check=check):
            yield number, part, None
        return
    from radio_ag.cluster import Job, classify_on

    cluster = run.cluster
    identifier = run_identifier(run.identity())
    settings = run.settings
    names = tuple(getattr(run.source, "names", ()))
    given = cluster.weights, cluster.images, cluster.image_options, settings, folder, software_versions(), names
    job = Job(identifier, *given)
    for number, answer in classify_on(cluster.client, chunks, job, check=check):
        yield number, answer.part, answer.written


def _take_up(folder: PartsFolder, count: _Count, late: _Late) -> None:
    """Count the parts that are done already, and note what is to be asked for again."""
    for number, part in folder.kept():
        count.add(part)
        late.note(number, part, earlier=True)
    folder.settle(set())
    if folder.done:
        count.tell()


def _join(run: Run, folder: PartsFolder, output: Path, kind: ModuleType, missing: int) -> Result:
    """The product of a run whose parts are all done, written; incomplete if so many rows are missing."""
    provenance: dict[str, Any] = {"run": folder.run} | ({"incomplete": missing} if missing else {})
    if run.settings.attention == "hdus":
        result = _collect(run, map(folder.read, sorted(folder.done)), folder.path)
        result.table.meta.update(provenance)
        result.write(output, overwrite=True, attention="hdus", folder=folder.path)
        return result
    merged = MergedParts(
        folder.files(), run.groups.size, run.unreached, stacks=run.stacks, shape=PLANE_SHAPE, folder=folder.path
    )
    provenance = software_versions() | run.provenance | provenance | {"batch": merged.batch or run.settings.batch}

    def columns_of(rows: NDArray[np.int64]) -> dict[str, NDArray]:
        return _for_each_row(merged.columns, run, rows)

    rows = ProductRows(run.rows.table, columns_of, run.rows.source_id_name, mapped=run.mapped)
    kind.write_merged(output, rows, merged, provenance, attention=run.settings.attention, folder=folder.path)
    opened = kind.open_stacks(output)
    gates = [gate_of(name) for name in merged.stacks if name != "CUTOUTS"]
    stores = {gate: opened[gate] if gate in opened else AttentionStore() for gate in gates}  # none where it is empty
    cutouts = opened.get("CUTOUTS", AttentionStore()) if run.settings.keep_cutouts else None
    read_columns = kind.columns_reader(output, [name for name in rows.ours if name not in ("name", "source_id")])

    def load() -> Table:
        table = result_table(run.rows.table, read_columns() | _identifiers(run))
        table.meta.update(provenance)
        return table

    return Result.deferred(
        load, merged.counts | {"incomplete": missing}, stores, cutouts, path=output, incomplete=missing
    )


def _collect(run: Run, parts: Iterable[Part], folder: Path | None) -> Result:
    """The result of all parts in memory, but for its planes, which lie in temporary files."""
    columns = run.unreached(slice(None))
    stores = {name: AttentionStore(directory=folder) for name in run.stacks}
    batch = run.settings.batch
    for part in parts:
        batch = min(batch, part.batch)  # halved if memory ran out
        for name, values in part.columns.items():
            if PLANE_COLUMNS.get(name) in stores:
                values = np.where(values >= 0, values + len(stores[PLANE_COLUMNS[name]]), -1)
            columns[name][part.sources] = values
        for name, tiles in part.stacks.items():
            stores[name].append_tiles(tiles)
    for column in set(PLANE_COLUMNS) & set(columns):
        _number_by_source(columns, column, [store for name, store in stores.items() if plane_column(name) == column])

    def columns_of(sources: NDArray[np.int64]) -> dict[str, NDArray]:
        return {name: values[sources] for name, values in columns.items()}

    for_rows = _for_each_row(columns_of, run, slice(None)) | _identifiers(run)
    cutouts = stores.pop("CUTOUTS", None)
    provenance = run.provenance | {"batch": batch}
    stores = {gate_of(name): store for name, store in stores.items()}
    return Result.from_columns(run.rows.table, for_rows, stores, provenance, cutouts)


def _number_by_source(columns: dict[str, NDArray], column: str, stores: list[AttentionStore]) -> None:
    """Number planes in the order of the sources, as the product does, instead of in that of the parts."""
    planes = columns[column]
    has_plane = planes >= 0
    for store in stores:
        store.reorder(planes[has_plane])
    columns[column] = np.where(has_plane, np.cumsum(has_plane) - 1, -1).astype(planes.dtype)


def _for_each_row(
    columns_of: Callable[[NDArray[np.int64]], dict[str, NDArray]],
    run: Run,
    rows: NDArray[np.int64] | slice = slice(None),
) -> dict[str, NDArray]:
    """The columns of each row's source for the row, and which source that is unless every row is its own."""
    sources = run.groups.group_id[rows]
    columns = columns_of(sources) | {"ra": run.rows.ra[rows], "dec": run.rows.dec[rows]}
    if run.groups.how != "none":
        columns |= {"group_id": sources, "n_components": run.groups.size[sources]}
    return columns


def _identifiers(run: Run) -> dict[str, Any]:
    name = run.rows.source_id_name
    return {"source_id": run.rows.table[name]} if name else {}
