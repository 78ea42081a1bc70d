"""Classify a catalogue from end to end: positions → fields → classes and attention → product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from radio_ag.catalog_io._product_headers import CUTOUT_STEP
from radio_ag.catalog_io.attention_store import AttentionStore
from radio_ag.catalog_io.catalogs import Catalogue, read_catalogue
from radio_ag.catalog_io.grouping import Groups, group_sources
from radio_ag.catalog_io.images import Fields, ImageSource, array_image, check_service, open_images
from radio_ag.catalog_io.planes import is_image
from radio_ag.catalog_io.product import ATTENTION_MODES, check_output
from radio_ag.catalog_io.regions import Region, open_region
from radio_ag.catalog_io.result import Result
from radio_ag.classifier import Classifier, Prediction
from radio_ag.errors import InputError
from radio_ag.flags import UNCLASSIFIED, Flag
from radio_ag.islands import Islands, measure_islands
from radio_ag.model import CLASSES
from radio_ag.preprocess import PIXEL_SCALE, Prepared, crop, prepare
from radio_ag.weights import DEFAULT

_CHUNK = 128  # rows; 46 MB of fields
_FLOAT_COLUMNS = ("p_fri", "p_frii", "p_std", "rms", "peak", "snr", "size")
_WCS_COLUMNS = ("cutout_ra", "cutout_dec", "crpix1", "crpix2", "cd1_1", "cd1_2", "cd2_1", "cd2_2")

Progress = Callable[[int, int, Mapping[str, int]], None]


@dataclass(frozen=True)
class ClassifySettings:
    """What decides the numbers in a product, besides the rows, the images and the weights; written into its header."""

    orbit: int = 8
    attention: str = "mean"
    chunk: int = _CHUNK
    batch: int = 0
    device: str = "cpu"
    threads: int = 1
    keep_cutouts: bool = False


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
    chunk: int = _CHUNK,
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
    chunk : int
        Rows that are fetched and classified together; memory grows with it, not with the catalogue.
    batch : int, optional
        Images that the network sees at once; chosen from memory by default.
    threads : int, optional
        CPU threads of the network; PyTorch's own choice by default.
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
        Write the product there as well.
    overwrite : bool
        Replace ``output`` if it exists.
    progress : callable, optional
        Called as ``progress(rows done, rows in all, counts by class and flag)`` after each chunk.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        A catalogue, image, device, weights or output that cannot be used.
    ServiceError
        The image service did not answer for a single row of the first chunk.
    """
    if attention not in ATTENTION_MODES:
        raise InputError(f"attention must be one of {', '.join(ATTENTION_MODES)}, not {attention!r}")
    if chunk < 1:
        raise InputError(f"chunk must be 1 or more, not {chunk!r}")
    if output is not None:
        check_output(output, overwrite=overwrite)
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
    if output is not None:
        check_output(output, overwrite, rows.table)  # as many columns as FITS has room for?
    groups = group_sources(rows, group, join_doubles=join_doubles)
    wanted = groups.valid if region is None or found else groups.valid & region.contains(groups.ra, groups.dec)
    classifier = Classifier.load(weights, device=device, orbit=orbit, batch=batch)
    if not classifier.gates:
        attention = "none"
    settings = ClassifySettings(
        orbit,
        attention,
        chunk,
        classifier.batch,
        str(classifier.device),
        threads or torch.get_num_threads(),
        keep_cutouts,
    )
    columns = _empty_columns(groups, wanted)
    folder = None if output is None else Path(output).absolute().parent
    stores = _open_stores(classifier.gates, attention, folder)
    cutouts = AttentionStore(directory=folder) if keep_cutouts else None
    if keep_cutouts:
        columns["cutout_plane"] = np.full(len(groups), -1, np.int32)
    with _torch_threads(threads), _closing(source if source is not images else None):
        done = int(groups.size[~wanted].sum())
        counts = Counter(_counts({name: values[~wanted] for name, values in columns.items()}, groups.size[~wanted]))
        for part in _classified_chunks(groups, wanted, source, classifier, settings):
            _place(part, columns, stores, cutouts)
            done += int(groups.size[part.rows].sum())
            if progress:
                counts.update(_counts(part.columns, groups.size[part.rows]))
                progress(done, len(rows), counts)
    _name_classes(columns)
    columns = _for_each_row(columns, groups) | {"ra": rows.ra, "dec": rows.dec}
    if rows.source_id_name:
        columns["source_id"] = rows.table[rows.source_id_name]
    provenance = _provenance(rows, groups, source, classifier, settings) | (found or {})
    if region is not None:
        provenance["region"] = region.name
    result = Result.from_columns(rows.table, columns, stores, provenance, cutouts)
    if output is not None:
        result.write(output, overwrite=overwrite, attention=attention)
    return result


def _find_rows(
    mosaic, images, image_options: Mapping, threshold: float, region: Region | None
) -> tuple[Catalogue, ImageSource, dict]:
    """Sources found in a mosaic, where their images come from, and how they were found."""
    from radio_ag.catalog_io.find import find_sources  # photutils is slow to import

    source = open_images(mosaic if images is None else images, **image_options)
    searched = source if images is None else open_images(mosaic, beam_scaled=True)
    rows = read_catalogue(find_sources(searched, threshold=threshold, region=region))
    return replace(rows, origin=searched.name), source, {"found_in": searched.name, "find_threshold": threshold}


@dataclass(frozen=True)
class _Measured:
    """A chunk of sources with everything that is known before the network runs."""

    rows: NDArray[np.intp]
    fields: Fields
    usable: NDArray[np.intp]  # positions in the chunk that have an image
    prepared: Prepared
    islands: Islands


@dataclass(frozen=True)
class _Classified:
    rows: NDArray[np.intp]
    columns: dict[str, NDArray]
    planes: NDArray[np.intp]  # positions in the chunk that have an attention map
    prediction: Prediction
    imaged: NDArray[np.intp]  # positions in the chunk that have pixels
    cutouts: NDArray[np.float32] | None


def _classified_chunks(
    groups: Groups, wanted: NDArray[np.bool_], source: ImageSource, classifier: Classifier, settings
) -> Iterator[_Classified]:
    """Chunks in the catalogue's order; the next one is fetched and measured while the network works on this one."""
    order = np.flatnonzero(wanted)
    chunks = [order[i : i + settings.chunk] for i in range(0, len(order), settings.chunk)]

    def measure(chunk):
        return _measure(chunk, source.fetch(groups.ra[chunk], groups.dec[chunk]), classifier)

    pool = ThreadPoolExecutor(1, thread_name_prefix="radio-ag-fetch")
    try:
        coming = pool.submit(measure, chunks[0]) if chunks else None
        for number in range(len(chunks)):
            while not coming.done():  # in steps: a wait without end can sleep through a Ctrl-C
                wait([coming], timeout=0.2)
            measured = coming.result()
            if number == 0:
                check_service(measured.fields, source)
            if number + 1 < len(chunks):
                coming = pool.submit(measure, chunks[number + 1])
            yield _classify_chunk(measured, classifier, settings)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _measure(chunk: NDArray[np.intp], fields: Fields, classifier: Classifier) -> _Measured:
    usable = np.flatnonzero((fields.flags & (Flag.NO_COVERAGE | Flag.FETCH_FAILED)) == 0)
    data = fields.data[usable]
    prepared = prepare(data, classifier.preprocessing)
    return _Measured(chunk, fields, usable, prepared, measure_islands(data, prepared.rms))


def _classify_chunk(measured: _Measured, classifier: Classifier, settings: ClassifySettings) -> _Classified:
    fields, usable, prepared, islands = measured.fields, measured.usable, measured.prepared, measured.islands
    n = len(measured.rows)
    flags = fields.flags.astype(np.int32)
    flags[usable] |= islands.flags | np.where(prepared.fallback, Flag.RMS_FALLBACK, 0).astype(np.int32)
    flags[usable[prepared.blank_fraction > 0]] |= Flag.BLANKED
    wholly_blank = usable[prepared.blank_fraction >= 1]
    flags[wholly_blank] = Flag.BLANKED | Flag.NO_COVERAGE
    shown = np.flatnonzero((flags[usable] & UNCLASSIFIED) == 0)  # positions among the usable ones
    kind = "mean" if settings.attention == "hdus" else settings.attention
    prediction = classifier.predict(
        fields.data[usable[shown]], attention=kind, prepared=Prepared(*(column[shown] for column in prepared))
    )
    classified = usable[shown]
    flags[classified] |= prediction.flags
    columns = {name: np.full(n, np.nan, np.float32) for name in _FLOAT_COLUMNS}
    columns["p_fri"][classified], columns["p_frii"][classified] = prediction.probabilities.T
    columns["p_std"][classified] = prediction.std
    columns["rms"][usable], columns["size"][usable] = prepared.rms, islands.size * _pixel_scale(fields)[usable]
    columns["peak"][usable] = np.where(islands.n_islands > 0, islands.peak, prepared.peak)
    with np.errstate(divide="ignore", invalid="ignore"):  # a field of one value has no noise
        columns["snr"] = columns["peak"] / columns["rms"]
    columns["n_islands"] = np.zeros(n, np.int32)
    columns["n_islands"][usable] = islands.n_islands
    columns["flags"] = flags
    columns |= fields.wcs_columns()
    imaged = usable[prepared.blank_fraction < 1]
    cutouts = crop(fields.data[imaged]) if settings.keep_cutouts else None
    return _Classified(measured.rows, columns, classified, prediction, imaged, cutouts)


def _pixel_scale(fields: Fields) -> NDArray:
    """Side of each field's pixels in FIRST's: not 1 where a field grew with a coarse beam; 1 where it is not told."""
    a, b, c, d = fields.cd.reshape(-1, 4).T
    scale = 3600 * np.sqrt(np.abs(a * d - b * c)) / PIXEL_SCALE
    return np.where(np.isfinite(scale), scale, 1).astype(np.float32)


def _empty_columns(groups: Groups, wanted: NDArray[np.bool_]) -> dict[str, NDArray]:
    """Columns of the product, as for sources that are never reached."""
    n = len(groups)
    columns = {"ra": groups.ra, "dec": groups.dec}
    columns |= {name: np.full(n, np.nan, np.float32) for name in _FLOAT_COLUMNS}
    columns |= {name: np.full(n, np.nan) for name in _WCS_COLUMNS}
    columns["n_islands"] = np.zeros(n, np.int32)
    unwanted = np.where(groups.valid, Flag.NO_COVERAGE, Flag.BAD_POSITION)
    columns["flags"] = np.where(wanted, 0, unwanted).astype(np.int32)
    columns["attention_plane"] = np.full(n, -1, np.int32)
    return columns


def _open_stores(gates: int, attention: str, folder: Path | None) -> dict[str | int, AttentionStore]:
    """Empty stores for the maps to keep; they grow in the product's folder, which must have the room anyway."""
    if attention == "none":
        return {}
    return {
        gate: AttentionStore(directory=folder)
        for gate in ("mean", *(range(1, gates + 1) if attention == "gates" else ()))
    }


def _place(
    part: _Classified,
    columns: dict[str, NDArray],
    stores: dict[str | int, AttentionStore],
    cutouts: AttentionStore | None,
) -> None:
    """Put a chunk's answers into the rows that they belong to, and its images into the stores."""
    for name, values in part.columns.items():
        columns[name][part.rows] = values
    if cutouts is not None:
        step = CUTOUT_STEP * part.columns["rms"][part.imaged]
        columns["cutout_plane"][part.rows[part.imaged]] = cutouts.append(part.cutouts, step)
    for gate, store in stores.items():
        maps = part.prediction.attention if gate == "mean" else part.prediction.gates[:, gate - 1]
        columns["attention_plane"][part.rows[part.planes]] = store.append(maps)


def _name_classes(columns: dict[str, NDArray]) -> None:
    p = np.stack([columns["p_fri"], columns["p_frii"]], 1)
    columns["class"] = np.where(np.isnan(p).any(1), "", np.array(CLASSES)[np.nan_to_num(p).argmax(1)])
    columns["probability"] = p.max(1)


def _for_each_row(columns: dict[str, NDArray], groups: Groups) -> dict[str, NDArray]:
    """The columns of each group for all of its rows, and which group that is unless every row is its own."""
    columns = {name: values[groups.group_id] for name, values in columns.items()}
    if groups.how != "none":
        columns |= {"group_id": groups.group_id, "n_components": groups.n_components}
    return columns


def _counts(columns: dict[str, NDArray], size: NDArray) -> dict[str, int]:
    """Rows of each class and each flag, where group i has ``size[i]`` rows."""
    p_fri, p_frii = columns["p_fri"], columns["p_frii"]
    counts = {"FRI": int(size[p_fri >= p_frii].sum()), "FRII": int(size[p_frii > p_fri].sum())}
    counts |= {flag.name: int(size[(columns["flags"] & flag) != 0].sum()) for flag in Flag}
    return counts


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
        **asdict(replace(settings, batch=classifier.batch)),  # halved if memory ran out
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
