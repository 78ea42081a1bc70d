"""Classify a catalogue from end to end: positions → fields → classes and attention → product."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from radio_ag.catalog_io.catalogs import Catalogue, read_catalogue
from radio_ag.catalog_io.catalogs.grouping import Groups, group_sources
from radio_ag.catalog_io.files.memory import release_pages
from radio_ag.catalog_io.images.fields import ImageSource
from radio_ag.catalog_io.images.planes import is_image
from radio_ag.catalog_io.images.regions import Region, open_region
from radio_ag.catalog_io.open_images import array_image, open_images
from radio_ag.catalog_io.product import fits as product
from radio_ag.catalog_io.product.formats import Format, product_format
from radio_ag.catalog_io.product.parts import parts_folder, read_manifest
from radio_ag.catalog_io.result import Result
from radio_ag.chunks import CHUNK, ClassifySettings
from radio_ag.errors import InputError
from radio_ag.network.checkpoints import load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.run import Plan, Progress, run
from radio_ag.weights import DEFAULT

MAX_FAILED = 0.1
"""Share of the rows with coverage that may be without an image in a complete product."""


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
    max_failed: float = MAX_FAILED,
    image_options: Mapping | None = None,
    output=None,
    format: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    restart: bool = False,
    keep_parts: bool = False,
    client=None,
    progress: Progress | None = None,
) -> Result:
    """Classify the sources of a catalogue as FRI or FRII.

    Parameters
    ----------
    catalogue : path-like, Table, QTable, SkyCoord, pandas.DataFrame, SourceCatalog, SegmentationImage, or an image
        Sources with positions. Every row comes out again, in the same order, with all its columns. In an image (a FITS
        file, an image HDU, an ``NDData`` with a WCS, or a list of them) the sources are found first, by
        :func:`radio_ag.catalog_io.finding.find.find_sources`.
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
        Orientations averaged over: 1, 2, 4, 8 (24 for sources in doubt), or a multiple of 8.
    attention : {"mean", "gates", "hdus", "none"}
        Which attention maps to keep.
    keep_cutouts : bool
        Keep the cutouts too, in Jy/beam and to an eighth of the noise: about 10 kB a source.
    attention_stats : bool
        Add columns on where the attention lies: `radio_ag.attention.statistics.AttentionStatistics`, each name after
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
        catalogue knows best; see :func:`radio_ag.catalog_io.catalogs.grouping.group_sources`.
    join_doubles : bool
        Join groups that look like the two lobes of a double by separation and flux.
    region : path-like or Region, optional
        A region file or a MOC. Sources whose centre is outside are not classified and carry ``NO_COVERAGE``; in an
        image they are not looked for. See :func:`radio_ag.catalog_io.images.regions.open_region`.
    threshold : float
        Least peak of a source that is found in an image, in units of the local noise.
    max_failed : float
        Share of the rows with coverage that may end as ``FETCH_FAILED``. With more of them the result is
        `~radio_ag.Result.incomplete`, its product says so and keeps its parts, and the same call goes on over it:
        neither ``overwrite`` nor ``resume`` is needed for that.
    image_options : mapping, optional
        Options of the image source, e.g. ``service_url`` and ``cache_dir``, or ``beam_scaled`` for local files.
    output : path-like, optional
        Write the product there as well. Until it is whole, what is done lies beside it in ``NAME.parts``; a run that
        finds such a folder of its own goes on where the last one stopped, and one that differs is refused.
    format : {"fits", "parquet"}, optional
        Of ``output``: one FITS file, or a folder of Parquet files (`radio_ag.catalog_io.product.parquet`). By default
        Parquet where the name ends in ``.parquet``.
    overwrite : bool
        Replace ``output`` if it exists.
    resume : bool
        If ``output`` is there already and is the product of this very run, leave it, or, where its parts were kept,
        ask again for the images that could not be had.
    restart : bool
        Begin anew, and remove the parts that are there.
    keep_parts : bool
        Leave the folder of parts when the product is whole.
    client : distributed.Client, optional
        Classify on a Dask cluster: each chunk is a task (`radio_ag.cluster`). Images that are given by name have to be
        visible to each worker by that name.
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
        The image service did not answer for a single row of the first chunk, or the cluster is lost.

    Warns
    -----
    IncompleteWarning
        More than ``max_failed`` of the rows with coverage have no image.
    """
    if attention not in product.ATTENTION_MODES:
        raise InputError(f"attention must be one of {', '.join(product.ATTENTION_MODES)}, not {attention!r}")
    if chunk < 1:
        raise InputError(f"chunk must be 1 or more, not {chunk!r}")
    if not 0 <= max_failed <= 1:
        raise InputError(f"max_failed must be from 0 to 1, not {max_failed!r}")
    if resume and restart:
        raise InputError("resume goes on with a run and restart begins it anew: leave one out")
    if output is None and (resume or restart or keep_parts):
        raise InputError("resume, restart and keep_parts are for a run with an output")
    if output is not None:
        kind = product_format(format or ("parquet" if Path(output).suffix == ".parquet" else "fits"))
        if attention not in kind.attention_modes:
            raise InputError("attention='hdus' is for FITS: beside Parquet, maps are kept as 'mean' or 'gates'")
        replace_there = overwrite or resume or _is_incomplete(output, kind)
        output = kind.check_output(output, replace_there)
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
        kind.check_output(output, replace_there, rows.table)  # as many columns as FITS has room for?
    if mapped:
        release_pages(rows.table)  # most of it is not needed before the end
    groups = group_sources(rows, group, join_doubles=join_doubles)
    wanted = groups.valid if region is None or found else groups.valid & region.contains(groups.ra, groups.dec)
    recorded = read_manifest(parts_folder(output)) if output is not None and not restart else None
    recorded = recorded or {}
    batch, threads = batch or recorded.get("batch"), threads or recorded.get("threads")
    loaded = load_weights(weights)
    if client is None:
        classifier = Classifier(loaded, device=device, orbit=orbit, batch=batch)
        device, batch = str(classifier.device), classifier.batch
    else:
        from radio_ag.cluster import worker_resources

        open_settings = ClassifySettings(orbit, device=device, batch=batch or 0, threads=threads or 0)
        device, batch, threads = worker_resources(client, loaded, open_settings)
        classifier = Classifier(loaded, device="cpu", orbit=orbit, batch=batch)
    if not classifier.gates:
        attention = "none"
        if attention_stats:
            raise InputError(f"attention_stats needs attention gates, which {classifier.card.name} does not have")
    settings = ClassifySettings(
        orbit,
        attention,
        chunk,
        batch,
        device,
        threads or torch.get_num_threads(),
        keep_cutouts,
        attention_stats,
    )
    provenance = _provenance(rows, groups, source, classifier, settings) | (found or {})
    if region is not None:
        provenance["region"] = region.name
    named = catalogue if images is None and found else images
    plan = Plan(
        *(rows, groups, wanted, source, classifier, settings, provenance, max_failed),
        mapped=mapped,
        progress=progress,
        output=output,
        format=kind if output is not None else None,
        overwrite=overwrite,
        restart=restart,
        keep_parts=keep_parts,
        client=client,
        weights=loaded,
        images=_absolute(named) if client is not None else None,
        image_options=dict(image_options or {}),
    )
    with _torch_threads(threads), _closing(source if source is not images else None):
        result = run(plan)
    result.traffic = getattr(source, "traffic", None)
    return result


def _is_incomplete(output: str | os.PathLike, kind: Format) -> bool:
    """Whether a product is there that its run has left incomplete: that run may go on over it."""
    if not os.path.isfile(output) and not os.path.isdir(output):
        return False
    try:
        return bool(kind.read_provenance(Path(output)).get("incomplete"))
    except InputError:  # no product at all
        return False


def _find_rows(
    mosaic, images, image_options: Mapping, threshold: float, region: Region | None
) -> tuple[Catalogue, ImageSource, dict]:
    """Sources found in a mosaic, where their images come from, and how they were found."""
    from radio_ag.catalog_io.finding.find import find_sources  # photutils is slow to import

    source = open_images(mosaic if images is None else images, **image_options)
    searched = source if images is None else open_images(mosaic, beam_scaled=True)
    rows = read_catalogue(find_sources(searched, threshold=threshold, region=region))
    return replace(rows, origin=searched.name), source, {"found_in": searched.name, "find_threshold": threshold}


def _absolute(images: Any) -> Any:
    """What names images, with whole paths: a worker may have another working directory."""
    if isinstance(images, list | tuple):
        return [_absolute(member) for member in images]
    if isinstance(images, str | os.PathLike) and (os.path.exists(images) or glob.has_magic(str(images))):
        return os.path.abspath(os.path.expanduser(images))
    return images


def _provenance(rows, groups: Groups, source: ImageSource, classifier: Classifier, settings: ClassifySettings) -> dict:
    architecture = classifier.networks[0].architecture
    return {
        "weights": classifier.card.name,
        "weights_sha256": classifier.card.sha256,
        "normalisation": architecture.normalisation,
        "temperature": classifier.temperature,
        "uncertain_below": classifier.card.uncertain_below,
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
