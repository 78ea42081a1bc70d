"""Classify a catalogue from end to end: positions → fields → classes and attention → product.

The module is not called `classify`, since `radio_ag.classify` is the function.
"""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from astropy import units as u
from astropy.table import Table
from astropy.wcs import WCS

from radio_ag.catalog_io.images.beam import BEAM_TOLERANCE, BeamMatch, match_beam
from radio_ag.catalog_io.images.fields import ImageSource
from radio_ag.catalog_io.images.planes import is_image
from radio_ag.catalog_io.images.regions import Region
from radio_ag.catalog_io.open_images import named_survey
from radio_ag.catalog_io.product import fits as product
from radio_ag.catalog_io.product.formats import Format, product_format
from radio_ag.catalog_io.product.parts import parts_folder, read_manifest
from radio_ag.catalog_io.result import Result
from radio_ag.chunks import ClassifySettings
from radio_ag.class_names import DEFAULT_CLASSES
from radio_ag.cpus import allowed_threads
from radio_ag.errors import InputError, RadioAGWarning
from radio_ag.inputs import Inputs, open_inputs
from radio_ag.network.checkpoints import Weights, load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.options import AttentionMode, CatalogueOptions, ImageOptions, RunOptions
from radio_ag.preprocess.images import PIXEL_SCALE
from radio_ag.run import Plan, run
from radio_ag.weights import DEFAULT, Card, card


def classify(
    catalogue: Any,
    *,
    images: Any = None,
    data: Any = None,
    wcs: WCS | None = None,
    group: str | float | u.Quantity = "auto",
    region: str | os.PathLike[str] | Region | None = None,
    weights: str | os.PathLike[str] = DEFAULT,
    device: str = "auto",
    orbit: int = 8,
    attention: AttentionMode = "mean",
    keep_cutouts: bool = False,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    catalogue_options: CatalogueOptions = CatalogueOptions(),
    image_options: ImageOptions = ImageOptions(),
    run_options: RunOptions = RunOptions(),
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
    group : "auto", "associate", "none", "island", float, str or Quantity
        Which rows are components of one source: each source is classified once, at its centre, and all of its rows get
        the answer. By the probability that they belong together, by the finder's own islands, by a linking radius (a
        plain number is in arcsec), or by what the catalogue knows best; see
        :func:`radio_ag.catalog_io.catalogs.grouping.group_sources`.
    region : path-like or Region, optional
        A region file or a MOC. Sources whose centre is outside are not classified and carry ``NO_COVERAGE``; in an
        image they are not looked for. See :func:`radio_ag.catalog_io.images.regions.open_region`.
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
    output : path-like, optional
        Write the product there as well. Until it is whole, what is done lies beside it in ``NAME.parts``; a run that
        finds such a folder of its own goes on where the last one stopped, and one that differs is refused.
    overwrite : bool
        Replace ``output`` if it exists.
    catalogue_options : CatalogueOptions
        Columns and dialect of the catalogue, the finding of sources: `radio_ag.options.CatalogueOptions`.
    image_options : ImageOptions
        Service, cache and local files: `radio_ag.options.ImageOptions`.
    run_options : RunOptions
        Format, chunks, interruption, Dask, progress: `radio_ag.options.RunOptions`.

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
        More than ``max_failed`` (of ``run_options``) of the rows with coverage have no image. The result is then
        `~radio_ag.Result.incomplete`, its product says so and keeps its parts, and the same call goes on over it:
        neither ``overwrite`` nor ``resume`` is needed for that.
    """
    target = _check_target(output, overwrite, attention, run_options)
    with _images_of(card(weights)) as scaled:
        if scaled and _grow_with_beam(catalogue if images is None and is_image(catalogue) else images, data):
            image_options = replace(image_options, beam_scaled=True)
        inputs = open_inputs(catalogue, images, group, region, catalogue_options, image_options, data=data, wcs=wcs)
    plan = _plan(inputs, target, weights, device, orbit, attention, keep_cutouts, run_options)
    return _run(plan, inputs)


@contextmanager
def _images_of(known: Card) -> Iterator[bool]:
    """Whether the weights know images of a coarser beam than FIRST's; nobody is warned of these then."""
    coarser = known.pixel_scale > (1 + BEAM_TOLERANCE) * PIXEL_SCALE
    with warnings.catch_warnings():
        if coarser:
            warnings.filterwarnings("ignore", "the beam of .* flagged RESAMPLED", RadioAGWarning)
        yield coarser


def _grow_with_beam(images: Any, data: Any) -> bool:
    """Whether images may have a coarser beam, and are not opened yet."""
    survey = named_survey(images)
    if isinstance(images, ImageSource) or (images is None and data is None):
        return False
    return survey is None or match_beam(survey.beam) is BeamMatch.COARSER


class _Target(NamedTuple):
    """Where the product goes."""

    path: Path
    format: Format
    overwrite: bool
    goes_on: bool  # a product of this very run may be there

    def check(self, table: Table | None = None) -> Path:
        """The path, with links resolved, of a product that can be written; too many columns are one hindrance."""
        return self.format.check_output(self.path, self.overwrite or self.goes_on, table)


def _check_target(
    output: str | os.PathLike[str] | None, overwrite: bool, attention: str, options: RunOptions
) -> _Target | None:
    """Where the product goes, checked before anything is opened; None for a result in memory."""
    if attention not in product.ATTENTION_MODES:
        raise InputError(f"attention must be one of {', '.join(product.ATTENTION_MODES)}, not {attention!r}")
    if output is None:
        if options.resume or options.restart or options.keep_parts:
            raise InputError("resume, restart and keep_parts are for a run with an output")
        return None
    path = Path(output)
    kind = product_format(options.format or ("parquet" if path.suffix == ".parquet" else "fits"))
    if attention not in kind.attention_modes:
        raise InputError("attention='hdus' is for FITS: beside Parquet, maps are kept as 'mean' or 'gates'")
    target = _Target(path, kind, overwrite, options.resume or _is_incomplete(path, kind))
    return target._replace(path=target.check())


def _is_incomplete(output: Path, kind: Format) -> bool:
    """Whether a product is there that its run has left incomplete: that run may go on over it."""
    if not output.is_file() and not output.is_dir():
        return False
    try:
        return bool(kind.read_provenance(output).get("incomplete"))
    except InputError:  # no product at all
        return False


def _plan(
    inputs: Inputs,
    target: _Target | None,
    weights: str | os.PathLike[str],
    device: str,
    orbit: int,
    attention: str,
    keep_cutouts: bool,
    options: RunOptions,
) -> Plan:
    """All that decides the run, down to the batch; as it was begun, where there are parts of it."""
    if target is not None:
        target.check(inputs.rows.table)  # as many columns as FITS has room for?
    begun = {} if target is None or options.restart else read_manifest(parts_folder(target.path)) or {}
    batch, threads = options.batch or begun.get("batch") or 0, options.threads or begun.get("threads") or 0
    loaded = load_weights(weights)
    settings = ClassifySettings(
        orbit,
        attention,
        options.chunk,
        batch,
        device,
        threads,
        keep_cutouts,
        options.attention_stats,
        options.classify_unresolved,
        options.prior,
        loaded.card.classes,
        loaded.card.pixel_scale,
    )
    classifier, settings = _settle(loaded, settings, options.client)
    classifier.warn_if_not_calibrated()
    if not classifier.gates:
        settings = replace(settings, attention="none")
        if settings.attention_stats:
            raise InputError(f"attention_stats needs attention gates, which {classifier.card.name} does not have")
    provenance = _provenance(inputs, classifier, settings)
    return Plan(
        inputs.rows,
        inputs.groups,
        inputs.wanted,
        inputs.source,
        classifier,
        settings,
        provenance,
        options.max_failed,
        mapped=inputs.mapped,
        progress=options.progress,
        output=target and target.path,
        format=target and target.format,
        overwrite=target is not None and target.overwrite,
        restart=options.restart,
        keep_parts=options.keep_parts,
        client=options.client,
        weights=loaded,
        images=_absolute(inputs.images),
        image_options=inputs.keywords,
    )


def _settle(weights: Weights, settings: ClassifySettings, client: Any) -> tuple[Classifier, ClassifySettings]:
    """The classifier, and the settings with the device, batch and threads that it has, here or on a cluster."""
    orbit, batch = settings.orbit, settings.batch or None
    if client is None:
        classifier = Classifier(weights, device=settings.device, orbit=orbit, batch=batch, prior=settings.prior)
        threads = settings.threads or allowed_threads(torch.get_num_threads())
        return classifier, replace(settings, device=str(classifier.device), batch=classifier.batch, threads=threads)
    from radio_ag.cluster import worker_resources

    there = worker_resources(client, weights, settings)
    classifier = Classifier(weights, device="cpu", orbit=orbit, batch=there.batch, prior=settings.prior)
    return classifier, replace(settings, **there._asdict())


def _provenance(inputs: Inputs, classifier: Classifier, settings: ClassifySettings) -> dict[str, Any]:
    architecture = classifier.networks[0].architecture
    told = asdict(settings)
    classes, pixel_scale = told.pop("classes"), told.pop("pixel_scale")
    others: dict[str, Any] = {} if classes == DEFAULT_CLASSES else {"classes": ", ".join(classes)}
    others |= {} if pixel_scale == PIXEL_SCALE else {"pixel_scale": pixel_scale}
    return {
        "weights": classifier.card.name,
        "weights_sha256": classifier.card.sha256,
        "normalisation": architecture.normalisation,
        "temperature": classifier.temperature,
        "uncertain_below": classifier.uncertain_below,
        "learnt_frii_share": classifier.card.frii_share,
        "catalogue": inputs.rows.origin,
        "catalogue_sha256": inputs.rows.sha256,
        "grouping": inputs.groups.how,
        **inputs.source.describe(),
        **told,
        **others,
        **asdict(classifier.preprocessing),
        **inputs.provenance,
    }


def _absolute(images: Any) -> Any:
    """What names images, with whole paths: a worker may have another working directory."""
    if isinstance(images, list | tuple):
        return [_absolute(member) for member in images]
    if isinstance(images, str | os.PathLike) and (os.path.exists(images) or glob.has_magic(str(images))):
        return os.path.abspath(os.path.expanduser(images))
    return images


def _run(plan: Plan, inputs: Inputs) -> Result:
    """Carry the plan out, and close what was opened for it."""
    source = inputs.source
    with ExitStack() as stack:
        stack.enter_context(_torch_threads(plan.settings.threads))
        if inputs.ours and hasattr(source, "close"):  # so that an interrupted run does not wait for a slow server
            stack.callback(source.close)
        result = run(plan)
    result.traffic = getattr(source, "traffic", None)
    return result


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
