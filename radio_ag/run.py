"""A run from its plan to its product: part by part into a folder, what is missing alone, and joined at the end.

There is one way: a result that nobody wants in a file goes through a temporary folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs import Catalogue
from radio_ag.catalog_io.catalogs.grouping import Groups
from radio_ag.catalog_io.catalogs.sources import Components
from radio_ag.catalog_io.images.fields import ImageSource
from radio_ag.catalog_io.product.columns import SOURCE_ALONE, result_table, source_table
from radio_ag.catalog_io.product.formats import Format
from radio_ag.catalog_io.product.headers import Counts, software_versions
from radio_ag.catalog_io.product.merge import MergedParts, count_rows
from radio_ag.catalog_io.product.parts import Part, PartsFolder, gate_of, parts_folder, run_identifier
from radio_ag.catalog_io.product.rows import ProductRows
from radio_ag.catalog_io.product.sources import SourceRows
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.result import Result
from radio_ag.chunks import PLANE_SHAPE, Chunk, ClassifySettings, blank_columns, classify_chunks, sky_order
from radio_ag.errors import IncompleteWarning, OutputError, ServiceError
from radio_ag.flags import Flag
from radio_ag.network.checkpoints import Weights
from radio_ag.network.classifier import Classifier
from radio_ag.options import Progress

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Plan:
    """All that a run is of.

    Attributes
    ----------
    rows : Catalogue
    groups : Groups
        Which rows are of one source.
    wanted : ndarray of bool, shape (n sources,)
        Which sources are classified.
    source : ImageSource
    classifier : Classifier
    settings : ClassifySettings
    provenance : dict
    max_failed : float
        Share of the rows with coverage that may be without an image in a complete product.
    mapped : bool
        The table's values are as in a file that this run has read.
    progress : callable, optional
        Called with sources done, sources in all, and counts by class and flag.
    output : path, optional
        The product; None: the result alone.
    format : Format, optional
        Of the product.
    overwrite, restart, keep_parts : bool
        As for `radio_ag.classify`.
    client : distributed.Client, optional
        The cluster on which chunks are classified; the workers need what follows.
    weights : Weights, optional
    images, image_options
        As for `radio_ag.catalog_io.open_images.open_images`.
    """

    rows: Catalogue
    groups: Groups
    wanted: NDArray[np.bool_]
    source: ImageSource
    classifier: Classifier
    settings: ClassifySettings
    provenance: Mapping[str, Any]
    max_failed: float
    mapped: bool = False
    progress: Progress | None = None
    output: Path | None = None
    format: Format | None = None
    overwrite: bool = False
    restart: bool = False
    keep_parts: bool = False
    client: Client | None = None
    weights: Weights | None = None
    images: Any = None
    image_options: Mapping[str, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Return what decides the product, for the manifest of the parts."""
        positions = hashlib.sha256()
        for values in (self.groups.ra, self.groups.dec, self.groups.group_id, self.wanted):
            positions.update(np.ascontiguousarray(values).data)
        identity = software_versions() | dict(self.provenance) | {"positions_sha256": positions.hexdigest()}
        if hasattr(self.source, "fingerprint"):
            identity["images_fingerprint"] = self.source.fingerprint()
        return json.loads(json.dumps(identity, default=str))

    @property
    def stacks(self) -> tuple[str, ...]:
        """Names of the stacks of planes that are kept."""
        return self.settings.stacks(self.classifier.gates)

    def unreached(self, sources: NDArray[np.int64] | slice) -> dict[str, NDArray]:
        """Return the columns of sources that are not classified."""
        ra, dec = self.groups.ra[sources], self.groups.dec[sources]
        return blank_columns(ra, dec, self.unreached_flags(sources), self.settings)

    def unreached_flags(self, sources: NDArray[np.int64] | slice) -> NDArray[np.int32]:
        """Return the flags of sources that are not classified; 0 for those that will be."""
        unwanted = np.where(self.groups.valid[sources], Flag.NO_COVERAGE, Flag.BAD_POSITION)
        return np.where(self.wanted[sources], 0, unwanted).astype(np.int32)


def run(plan: Plan) -> Result:
    """Classify part by part, what is missing; then join the parts.

    Raises
    ------
    OutputError
        The product cannot be written, or the parts there are of another run.
    ServiceError
        The image service did not answer for a single row of the first chunk, or the cluster is lost.

    Warns
    -----
    IncompleteWarning
        Too many of the rows have no image.
    """
    if plan.output is None:
        with tempfile.TemporaryDirectory(prefix="radio-ag-", ignore_cleanup_errors=True) as folder:
            return _run_in(plan, Path(folder))
    place = parts_folder(plan.output)
    return _finished(plan, place) or _run_in(plan, place)


def _finished(plan: Plan, place: Path) -> Result | None:
    """The result that is there already, of this very run; one of another run is not overwritten."""
    if plan.overwrite or plan.output is None or plan.format is None or not plan.output.exists():
        return None
    there = plan.format.read_provenance(plan.output)
    if there.get("run") != run_identifier(plan.identity()):
        raise OutputError(f"{plan.output} exists and is of another run: choose another name, or --overwrite it")
    return None if place.exists() or there.get("incomplete") else Result.read(plan.output)


def _run_in(plan: Plan, place: Path) -> Result:
    chunks, count, late = _Chunks(plan), _Count(plan), _Late(plan)
    temporary = plan.output is None
    with PartsFolder(place, plan.identity(), len(chunks), restart=plan.restart, temporary=temporary) as folder:
        try:
            _classify_missing(plan, folder, chunks, count, late)
            result = _join(plan, folder, missing := count.missing())
        except (OutputError, ServiceError) as exc:
            raise folder.told(exc) from exc
        if missing:
            count.warn(f"{plan.output} is incomplete, and {folder.stay}" if plan.output else "the result is incomplete")
        elif not plan.keep_parts:
            folder.remove()
    return result


def _classify_missing(plan: Plan, folder: PartsFolder, chunks: _Chunks, count: _Count, late: _Late) -> None:
    """Classify what is not done yet, and ask once more for images that did not come."""
    for number, part in folder.kept():
        count.add(part)
        late.note(number, part, earlier=True)
    folder.settle()
    if folder.done:
        count.tell()
    pending = (chunks[number] for number in range(len(chunks)) if number not in folder.done)
    for number, part, written in _classified(plan, pending, folder.path):
        if written is None:
            folder.write(number, part)
        else:
            folder.adopt(number, written)
        count.add(part)
        late.note(number, part)
        count.tell()
    for number, before, part in late.once_more():
        folder.write(number, folder.read(number).updated(part))
        count.add(part, before)
        count.tell()


class _Chunks:
    """The sources of a run in their order on the sky, cut into chunks."""

    def __init__(self, plan: Plan) -> None:
        groups, wanted = plan.groups, np.flatnonzero(plan.wanted)
        self._groups, self._size = groups, plan.settings.chunk
        self._order = wanted[sky_order(groups.ra[wanted], groups.dec[wanted])]

    def __len__(self) -> int:
        return -(-len(self._order) // self._size)

    def __getitem__(self, number: int) -> Chunk:
        sources = self._order[number * self._size : (number + 1) * self._size]
        return Chunk(number, sources, self._groups.ra[sources], self._groups.dec[sources])


class _Count:
    """Sources done, by class and flag, told to whoever asked for it; rows whose images could not be had."""

    def __init__(self, plan: Plan) -> None:
        self._progress, self._size = plan.progress, plan.groups.size
        self._rows, self._max_failed = len(plan.rows), plan.max_failed
        unwanted = np.flatnonzero(~plan.wanted)
        self._done = 0
        self._of_sources, self._of_rows = Counter[str](), Counter[str]()
        self._add(unwanted, np.zeros(len(unwanted), "S1"), plan.unreached_flags(unwanted), 1)

    def add(self, part: Part, before: Part | None = None) -> None:
        """Add a part, which may be in the place of the same sources as they were before."""
        for counted, sign in ((before, -1), (part, 1)):
            if counted is not None:
                self._add(counted.sources, counted.columns["class"], counted.columns["flags"], sign)

    def _add(self, sources: NDArray[np.int64], classes: NDArray, flags: NDArray, sign: int) -> None:
        size = sign * self._size[sources]
        self._done += sign * len(sources)
        self._of_rows.update(count_rows(classes, flags, size))
        self._of_sources.update(count_rows(classes, flags, np.full_like(size, sign)))

    def tell(self) -> None:
        if self._progress:
            self._progress(self._done, len(self._size), self._of_sources)

    @property
    def failed(self) -> int:
        """Rows whose images could not be had."""
        return self._of_rows[str(Flag.FETCH_FAILED.name)]

    @property
    def covered(self) -> int:
        """Rows that have a position and coverage."""
        return self._rows - self._of_rows[str(Flag.NO_COVERAGE.name)] - self._of_rows[str(Flag.BAD_POSITION.name)]

    def missing(self) -> int:
        """Rows whose images could not be had, where they are too many for a complete product; else 0."""
        return self.failed if self.failed > self._max_failed * self.covered else 0

    def warn(self, further: str) -> None:
        """Warn that too many images could not be had, and of what follows from it."""
        told = f"{self.failed} of {self.covered} rows with coverage have no image (FETCH_FAILED)"
        warnings.warn(f"{told}: {further}", IncompleteWarning, stacklevel=6)  # where classify was called


class _Late:
    """Parts in which images were not to be had, to be done once more when all else is done.

    All of a part is, since the last bits of its numbers depend on what the network sees together; the sources that
    failed alone where the image source would be asked for the others again.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chunks: list[Chunk] = []
        self._before: dict[int, Part] = {}

    def note(self, number: int, part: Part, *, earlier: bool = False) -> None:
        """Keep a part in mind if images failed that may come: as those of an earlier run always may."""
        source, columns = self._plan.source, part.columns
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
            for number, part, _ in _classified(self._plan, self._chunks, None, check=False):
                yield number, self._before[number], part
        except ServiceError as exc:  # all else is done, and they have their flag
            _log.warning("%s", exc)


def _classified(
    plan: Plan, chunks: Iterable[Chunk], folder: Path | None, *, check: bool = True
) -> Iterator[tuple[int, Part, str | None]]:
    """Numbers and parts of some chunks; the hash of a part that a worker has written into the folder already."""
    if plan.client is None:
        for number, part in classify_chunks(chunks, plan.source, plan.classifier, plan.settings, check=check):
            yield number, part, None
        return
    from radio_ag.cluster import classify_on

    for number, answer in classify_on(plan.client, plan, chunks, folder, check=check):
        yield number, answer.part, answer.written


def _join(plan: Plan, folder: PartsFolder, missing: int) -> Result:
    """The result of a run whose parts are all done, and its product; incomplete if so many rows are missing."""
    beside = folder.path.parent  # the folder of parts goes, and temporary files may outlive it
    merged = MergedParts(
        folder.files(),
        plan.groups.size,
        plan.unreached,
        stacks=plan.stacks,
        shape=PLANE_SHAPE,
        folder=beside,
        classes=plan.settings.classes,
    )
    answers = _Answers(merged, plan.rows, plan.groups)
    provenance = software_versions() | dict(plan.provenance) | {"run": folder.run}
    provenance |= {"batch": merged.batch or plan.settings.batch} | ({"incomplete": missing} if missing else {})
    opened: Mapping[str | int, AttentionStore] | None = None
    if plan.output is not None and plan.format is not None:
        rows = ProductRows(
            plan.rows.table,
            answers.of_rows,
            plan.rows.source_id_name,
            _counts(merged.row_counts, "rows", merged.mapped),
            provenance,
            mapped=plan.mapped,
        )
        sources = SourceRows(answers.of_sources, _counts(merged.counts, "sources", merged.mapped_sources))
        attention = plan.settings.attention
        plan.format.write(plan.output, rows, sources, merged.stacks, attention=attention, folder=folder.path)
        opened = plan.format.open_stacks(plan.output) if attention != "hdus" else None
    stores = _stores(merged, opened)
    cutouts = stores.pop("CUTOUTS", None)
    load = _table_of(answers, plan.rows, provenance)
    summaries = [counts | {"incomplete": missing} for counts in (merged.counts, merged.row_counts)]
    result = Result.deferred(
        load, summaries, stores, cutouts, sources=answers.source_table, path=plan.output, incomplete=missing
    )
    if plan.output is None:
        _ = result.table  # nothing says how large it may become, and the catalogue is in memory as well
    return result


def _stores(merged: MergedParts, opened: Mapping[str | int, AttentionStore] | None) -> dict[str | int, AttentionStore]:
    """The planes by gate and "CUTOUTS": of the product, where they are stacks there."""
    gates = {name: name if name == "CUTOUTS" else gate_of(name) for name in merged.stacks}
    if opened is None:
        return {gate: merged.stacks[name].store() for name, gate in gates.items()}
    return {gate: opened[gate] if gate in opened else AttentionStore() for gate in gates.values()}


def _counts(counts: Mapping[str, Any], of: str, mapped: int) -> Counts:
    return Counts(counts[of], counts[of] - counts["classes"]["none"], mapped)


def _table_of(answers: _Answers, rows: Catalogue, provenance: Mapping[str, Any]) -> Callable[[], Table]:
    """What makes the table of a result; of the run it holds no more than it needs."""

    def load() -> Table:
        columns = answers.of_rows(np.arange(len(rows)))
        identifiers = {"source_id": rows.table[rows.source_id_name]} if rows.source_id_name else {}
        table = result_table(rows.table, columns | identifiers)
        table.meta.update(provenance)
        return table

    return load


class _Answers:
    """What the product says of any sources of a run, and of any rows."""

    def __init__(self, merged: MergedParts, rows: Catalogue, groups: Groups) -> None:
        self._merged, self._rows, self._groups = merged, rows, groups
        self._components = Components(rows, groups)

    def of_rows(self, rows: NDArray[np.int64]) -> dict[str, NDArray]:
        """Return the columns of each row's source for the row, and which source that is."""
        sources = self._groups.group_id[rows]
        columns = self._merged.columns(sources) | {"ra": self._rows.ra[rows], "dec": self._rows.dec[rows]}
        for name in SOURCE_ALONE:
            del columns[name]
        columns |= {"group_id": sources, "n_components": self._groups.size[sources]}
        return columns | {"primary": self._components.primary[rows]}

    def of_sources(self, sources: NDArray[np.int64]) -> dict[str, NDArray]:
        """Return the columns of some sources."""
        groups, columns = self._groups, self._merged.columns(sources)
        columns |= {"source": sources, "ra": groups.ra[sources], "dec": groups.dec[sources], "las": columns["size"]}
        columns |= {"n_components": groups.size[sources], "association": groups.association[sources]}
        return columns | self._components.measure(sources)

    def source_table(self) -> Table:
        """Return the table of all sources."""
        return source_table(self.of_sources(np.arange(len(self._groups))))
