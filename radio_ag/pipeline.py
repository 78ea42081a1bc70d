"""Classify a catalogue from end to end: positions → fields → classes and attention → product."""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io._mapped import release_pages
from radio_ag.catalog_io._merge import MergedParts, count_rows
from radio_ag.catalog_io._part import PLANE_COLUMNS, Part, gate_of, plane_column
from radio_ag.catalog_io._product_headers import software_versions
from radio_ag.catalog_io._product_rows import ProductRows
from radio_ag.catalog_io._result_columns import result_table
from radio_ag.catalog_io.attention_store import AttentionStore
from radio_ag.catalog_io.catalogs import Catalogue, read_catalogue
from radio_ag.catalog_io.grouping import Groups, group_sources
from radio_ag.catalog_io.images import ImageSource, array_image, open_images
from radio_ag.catalog_io.parts import PartsFolder, parts_folder, read_manifest, run_identifier
from radio_ag.catalog_io.planes import is_image
from radio_ag.catalog_io.product import (
    ATTENTION_MODES,
    check_output,
    read_own_columns,
    read_provenance,
    write_merged,
)
from radio_ag.catalog_io.regions import Region, open_region
from radio_ag.catalog_io.result import Result
from radio_ag.chunks import CHUNK, PLANE_SHAPE, Chunk, ClassifySettings, blank_columns, classify_chunks, sky_order
from radio_ag.classifier import Classifier
from radio_ag.errors import InputError, OutputError
from radio_ag.flags import Flag
from radio_ag.weights import DEFAULT

Progress = Callable[[int, int, Mapping[str, int]], None]


def classify(
    catalogue,
    *,
    images=None,
    data=None,
    wcs=None,
    weights=DEFAULT,
    device: str = "auto",
    orbit: int = 8,
    attention: str = "mean",
    keep_cutouts: bool = False,
    attention_stats: bool = False,
    chunk: int = CHUNK,
    batch: int | None = None,
    threads: int | None = None,
    ra_col: str | None = None,
    dec_col: str | None = None,
    ra_unit: str | None = None,
    dialect: str | None = None,
    group="auto",
    join_doubles: bool = False,
    region=None,
    threshold: float = 5.0,
    image_options: Mapping | None = None,
    output=None,
    overwrite: bool = False,
    resume: bool = False,
    restart: bool = False,
    keep_parts: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Classify the sources of a catalogue as FRI or FRII.

    Parameters
    ----------
    catalogue : path-like, Table, QTable, SkyCoord, pandas.DataFrame, SourceCatalog, SegmentationImage, or an image
        Sources with positions. Every row comes out again, in the same order, with all its columns. In an image (a FITS
        file, an image HDU, an ``NDData`` with a WCS, or a list of them) the sources are found first, by
        :func:`radio_ag.catalog_io.find.find_sources`.
    images : None, path-like, list of path-like, or ImageSource
        Where the images come from: VLA FIRST through astroquery, local FITS files (a file, a folder, a glob, or a list
        of them), or any object with ``fetch(ra, dec)``. None: FIRST for a catalogue, the image itself for an image.
    data : array_like or Quantity, shape (ny, nx), optional
        An image in memory instead of ``images``: Jy/beam unless it has a unit, with FIRST's beam. The segments of a
        photutils ``SegmentationImage`` are measured on it.
    wcs : WCS, optional
        Of ``data``; a photutils ``SourceCatalog`` knows its own. Pixel positions of photutils tables are placed by it.
    weights : str or path-like
        A name that ``radio-ag weights list`` shows, or a path.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    orbit : int
        Orientations averaged over: 1, 2, 4, 8, or a multiple of 8.
    attention : {"mean", "gates", "hdus", "none"}
        Which attention maps to keep.
    keep_cutouts : bool
        Keep the cutouts too, in Jy/beam and to an eighth of the noise: about 10 kB a source.
    attention_stats : bool
        Add columns on where the attention lies: `radio_ag.attention.AttentionStatistics`, each name after
        ``attention_``. They are of all gates, whichever maps are kept.
    chunk : int
        Sources that are fetched and classified together; memory grows with it, not with the catalogue.
    batch : int, optional
        Images that the network sees at once; by default that of the run that goes on, else chosen from memory.
    threads : int, optional
        CPU threads of the network; by default those of the run that goes on, else PyTorch's own choice.
    ra_col, dec_col, ra_unit, dialect : str, optional
        Where the positions are, if the catalogue does not say; see :func:`radio_ag.catalog_io.catalogs.read_catalogue`.
    group : "auto", "none", "island", float, str or Quantity
        Which rows are components of one source: each source is classified once, at its centre, and all of its rows get
        the answer. By the finder's own islands, by a linking radius (a plain number is in arcsec), or by what the
        catalogue knows best; see :func:`radio_ag.catalog_io.grouping.group_sources`.
    join_doubles : bool
        Join groups that look like the two lobes of a double by separation and flux.
    region : path-like or Region, optional
        A region file or a MOC. Sources whose centre is outside are not classified and carry ``NO_COVERAGE``; in an
        image they are not looked for. See :func:`radio_ag.catalog_io.regions.open_region`.
    threshold : float
        Least peak of a source that is found in an image, in units of the local noise.
    image_options : mapping, optional
        Options of the image source, e.g. ``service_url`` and ``cache_dir``, or ``beam_scaled`` for local files.
    output : path-like, optional
        Write the product there as well. Until it is whole, what is done lies beside it in ``NAME.parts``; a run that
        finds such a folder of its own goes on where the last one stopped, and one that differs is refused.
    overwrite : bool
        Replace ``output`` if it exists.
    resume : bool
        If ``output`` is there already and is the product of this very run, leave it, or, where its parts were kept,
        ask again for the images that could not be had.
    restart : bool
        Begin anew, and remove the parts that are there.
    keep_parts : bool
        Leave the folder of parts when the product is whole.
    progress : callable, optional
        Called as ``progress(rows done, rows in all, counts by class and flag)`` after each chunk.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        A catalogue, image, device, weights or output that cannot be used, or parts of a run that differs.
    ServiceError
        The image service did not answer for a single row of the first chunk.
    """
    if attention not in ATTENTION_MODES:
        raise InputError(f"attention must be one of {', '.join(ATTENTION_MODES)}, not {attention!r}")
    if chunk < 1:
        raise InputError(f"chunk must be 1 or more, not {chunk!r}")
    if resume and restart:
        raise InputError("resume goes on with a run and restart begins it anew: leave one out")
    if output is None and (resume or restart or keep_parts):
        raise InputError("resume, restart and keep_parts are for a run with an output")
    if output is not None:
        output = check_output(output, overwrite=overwrite or resume)
    region = open_region(region)
    if data is not None:
        if images is not None:
            raise InputError("images and data are two ways to give the images: leave one out")
        images = array_image(data, getattr(catalogue, "wcs", None) if wcs is None else wcs)
    if is_image(catalogue):
        rows, source, found = _find_rows(catalogue, images, image_options or {}, threshold, region)
    else:
        rows = read_catalogue(
            catalogue, ra_col=ra_col, dec_col=dec_col, ra_unit=ra_unit, dialect=dialect, data=data, wcs=wcs
        )
        source, found = open_images(images, **(image_options or {})), None
    mapped = isinstance(catalogue, str | os.PathLike)  # and so nobody else changes the table's values
    if output is not None:
        check_output(output, overwrite or resume, rows.table)  # as many columns as FITS has room for?
    if mapped:
        release_pages(rows.table)  # most of it is not needed before the end
    groups = group_sources(rows, group, join_doubles=join_doubles)
    wanted = groups.valid if region is None or found else groups.valid & region.contains(groups.ra, groups.dec)
    recorded = read_manifest(parts_folder(output)) if output is not None and not restart else None
    recorded = recorded or {}
    batch, threads = batch or recorded.get("batch"), threads or recorded.get("threads")
    classifier = Classifier.load(weights, device=device, orbit=orbit, batch=batch)
    if not classifier.gates:
        attention = "none"
        if attention_stats:
            raise InputError(f"attention_stats needs attention gates, which {classifier.card['name']} does not have")
    settings = ClassifySettings(
        orbit,
        attention,
        chunk,
        classifier.batch,
        str(classifier.device),
        threads or torch.get_num_threads(),
        keep_cutouts,
        attention_stats,
    )
    provenance = _provenance(rows, groups, source, classifier, settings) | (found or {})
    if region is not None:
        provenance["region"] = region.name
    run = _Run(rows, groups, wanted, source, classifier, settings, provenance, progress, mapped)
    with _torch_threads(threads), _closing(source if source is not images else None):
        if output is None:
            return _classify_in_memory(run)
        return _classify_to_file(run, output, overwrite, resume, restart, keep_parts)


def _find_rows(
    mosaic, images, image_options: Mapping, threshold: float, region: Region | None
) -> tuple[Catalogue, ImageSource, dict]:
    """Sources found in a mosaic, where their images come from, and how they were found."""
    from radio_ag.catalog_io.find import find_sources  # photutils is slow to import

    source = open_images(mosaic if images is None else images, **image_options)
    searched = source if images is None else open_images(mosaic, beam_scaled=True)
    rows = read_catalogue(find_sources(searched, threshold=threshold, region=region))
    return replace(rows, origin=searched.name), source, {"found_in": searched.name, "find_threshold": threshold}


@dataclass(frozen=True, eq=False)
class _Run:
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

    def __init__(self, run: _Run) -> None:
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

    def __init__(self, run: _Run) -> None:
        self._progress, self._size, self._total = run.progress, run.groups.size, len(run.rows)
        unwanted = np.flatnonzero(~run.wanted)
        self._done = int(self._size[unwanted].sum())
        no_class = np.zeros(len(unwanted), "S1")
        self._counts = Counter(count_rows(no_class, run.unreached_flags(unwanted), self._size[unwanted]))

    def add(self, part: Part) -> None:
        size = self._size[part.sources]
        self._done += int(size.sum())
        self._counts.update(count_rows(part.columns["class"], part.columns["flags"], size))

    def tell(self) -> None:
        if self._progress:
            self._progress(self._done, self._total, self._counts)


def _classify_in_memory(run: _Run) -> Result:
    count = _Count(run)

    def parts() -> Iterator[Part]:
        chunks = _Chunks(run)
        for _, part in classify_chunks(
            (chunks[number] for number in range(len(chunks))), run.source, run.classifier, run.settings
        ):
            count.add(part)
            count.tell()
            yield part

    return _collect(run, parts(), None)


def _classify_to_file(
    run: _Run, output: Path, overwrite: bool, resume: bool, restart: bool, keep_parts: bool
) -> Result:
    """Classify part by part, what is missing; then join the parts to the product."""
    identity = run.identity()
    place, chunks = parts_folder(output), _Chunks(run)
    if output.exists() and not overwrite:
        if read_provenance(output).get("run") != run_identifier(identity):
            raise OutputError(f"{output} exists and is of another run: choose another name, or --overwrite it")
        if not place.exists():
            return Result.read(output)
    with PartsFolder(place, identity, len(chunks), restart=restart) as folder:
        count = _Count(run)
        _take_up(folder, count)
        pending = (chunks[number] for number in range(len(chunks)) if number not in folder.done)
        for number, part in classify_chunks(pending, run.source, run.classifier, run.settings):
            folder.write(number, part, PLANE_SHAPE)
            count.add(part)
            count.tell()
        try:
            result = _join(run, folder, output)
        except OutputError as exc:
            raise OutputError(f"{exc}; {folder.stay}") from exc
        if not keep_parts:
            folder.remove()
    return result


def _take_up(folder: PartsFolder, count: _Count) -> None:
    """Count the parts that are done already; one in which an image was not to be had is to be done again."""
    failed = set()
    for number, part in folder.kept():
        if np.any(part.columns["flags"] & Flag.FETCH_FAILED):
            failed.add(number)
        else:
            count.add(part)
    folder.settle(failed)
    if folder.done:
        count.tell()


def _join(run: _Run, folder: PartsFolder, output: Path) -> Result:
    """The product of a run whose parts are all done, written."""
    provenance = {"run": folder.run}
    if run.settings.attention == "hdus":
        result = _collect(run, map(folder.read, sorted(folder.done)), folder.path)
        result.table.meta.update(provenance)
        result.write(output, overwrite=True, attention="hdus")
        return result
    merged = MergedParts(
        folder.files(), run.groups.size, run.unreached, stacks=run.stacks, shape=PLANE_SHAPE, folder=folder.path
    )
    provenance = software_versions() | run.provenance | provenance | {"batch": merged.batch or run.settings.batch}

    def columns_of(rows: NDArray[np.int64]) -> dict[str, NDArray]:
        return _for_each_row(merged.columns, run, rows)

    rows = ProductRows(run.rows.table, columns_of, run.rows.source_id_name, mapped=run.mapped)
    write_merged(output, rows, merged, provenance, attention=run.settings.attention, folder=folder.path)
    opened = {
        name: AttentionStore.open(output, name) if len(stack) else AttentionStore()
        for name, stack in merged.stacks.items()
    }
    cutouts = opened.pop("CUTOUTS", None)
    stores = {gate_of(name): store for name, store in opened.items()}
    return Result.deferred(_table_loader(run, rows, output, provenance), merged.counts, stores, cutouts)


def _table_loader(run: _Run, rows: ProductRows, output: Path, provenance: dict[str, Any]) -> Callable[[], Table]:
    """What makes the table of a result, from the input and a product that may have another name by then."""
    stream = output.open("rb")

    def load() -> Table:
        columns = read_own_columns(stream, [name for name in rows.ours if name not in ("name", "source_id")])
        table = result_table(run.rows.table, columns | _identifiers(run))
        table.meta.update(provenance)
        return table

    weakref.finalize(load, stream.close)
    return load


def _collect(run: _Run, parts: Iterable[Part], folder: Path | None) -> Result:
    """The result of all parts in memory, but for its planes, which lie in temporary files."""
    columns = run.unreached(slice(None))
    stores = {name: AttentionStore(directory=folder) for name in run.stacks}
    for part in parts:
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
    provenance = run.provenance | {"batch": run.classifier.batch}  # halved if memory ran out
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
    run: _Run,
    rows: NDArray[np.int64] | slice = slice(None),
) -> dict[str, NDArray]:
    """The columns of each row's source for the row, and which source that is unless every row is its own."""
    sources = run.groups.group_id[rows]
    columns = columns_of(sources) | {"ra": run.rows.ra[rows], "dec": run.rows.dec[rows]}
    if run.groups.how != "none":
        columns |= {"group_id": sources, "n_components": run.groups.size[sources]}
    return columns


def _identifiers(run: _Run) -> dict[str, Any]:
    name = run.rows.source_id_name
    return {"source_id": run.rows.table[name]} if name else {}


def _provenance(rows, groups: Groups, source: ImageSource, classifier: Classifier, settings: ClassifySettings) -> dict:
    architecture = classifier.networks[0].architecture
    return {
        "weights": classifier.card["name"],
        "weights_sha256": classifier.card["sha256"],
        "normalisation": architecture.normalisation,
        "temperature": classifier.temperature,
        "uncertain_below": classifier.uncertain_below,
        "catalogue": rows.origin,
        "catalogue_sha256": rows.sha256,
        "grouping": groups.how,
        **source.describe(),
        **asdict(settings),
        **asdict(classifier.preprocessing),
    }


@contextmanager
def _closing(source: ImageSource | None):
    """Close a source that this run has opened, so that an interrupted run does not wait for a slow server."""
    try:
        yield
    finally:
        if hasattr(source, "close"):
            source.close()


@contextmanager
def _torch_threads(threads: int | None):
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
