"""``radio-ag classify``: a catalogue in, a FITS product out."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from radio_ag.cli import options
from radio_ag.cli.console import EXIT_SERVICE, print_attention, print_json, print_summary, reporting
from radio_ag.cli.options import Debug

_CATALOGUE, _IMAGES, _NETWORK, _OUTPUT, _CLUSTER = "Catalogue", "Images", "Network", "Output", "Cluster"
_COMPRESSED = {".gz", ".bz2", ".xz", ".zip"}


class AttentionMode(StrEnum):
    """What the product keeps of the attention maps."""

    mean = "mean"
    gates = "gates"
    hdus = "hdus"
    none = "none"


class ProductFormat(StrEnum):
    """What the product is."""

    fits = "fits"
    parquet = "parquet"


def default_output(catalogue: Path, format: ProductFormat | None = None) -> Path:
    """Path of the product of a catalogue: beside it, as ``NAME.radio-ag.fits``."""
    plain = Path(catalogue.stem) if catalogue.suffix.lower() in _COMPRESSED else catalogue
    return catalogue.parent / f"{plain.stem}.radio-ag.{format or ProductFormat.fits}"


def classify(
    catalogue: Annotated[
        Path,
        typer.Argument(
            help="Catalogue (FITS, VOTable, ECSV, CSV, ASCII or Parquet), or a FITS image to find the sources in.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Product to write.",
            show_default="beside the catalogue, as NAME.radio-ag.fits",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    format: Annotated[
        ProductFormat | None,
        typer.Option(
            help="One FITS file, or a folder of Parquet files.",
            show_default="parquet where the product's name ends in .parquet, else fits",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the product if it exists.", rich_help_panel=_OUTPUT)
    ] = False,
    attention: Annotated[
        AttentionMode,
        typer.Option(
            help="Attention maps to keep: the gates' mean, a cube a gate, an image HDU a source, or none.",
            rich_help_panel=_OUTPUT,
        ),
    ] = AttentionMode.mean,
    keep_cutouts: Annotated[
        bool,
        typer.Option(
            "--keep-cutouts", help="Keep the cutouts in the product too, about 10 kB a source.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    attention_stats: Annotated[
        bool,
        typer.Option(
            "--attention-stats",
            help="Add columns on where the attention lies: on the emission, around it, how far off.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Leave a product that this very run has finished. An interrupted run goes on with or without this.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Begin anew, and remove the parts of an interrupted run.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    keep_parts: Annotated[
        bool,
        typer.Option("--keep-parts", help="Keep the folder of parts, NAME.parts, at the end.", rich_help_panel=_OUTPUT),
    ] = False,
    summary_json: Annotated[
        bool,
        typer.Option(
            "--summary-json", help="Print the summary as JSON instead of as a table.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.", rich_help_panel=_OUTPUT)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every log line.", rich_help_panel=_OUTPUT)
    ] = False,
    ra_col: Annotated[
        str | None, typer.Option(help="Column of right ascension.", show_default=False, rich_help_panel=_CATALOGUE)
    ] = None,
    dec_col: Annotated[
        str | None, typer.Option(help="Column of declination.", show_default=False, rich_help_panel=_CATALOGUE)
    ] = None,
    ra_unit: Annotated[
        str | None,
        typer.Option(
            help="Unit of right ascension where the column has none: deg or hourangle.",
            show_default=False,
            rich_help_panel=_CATALOGUE,
        ),
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(
            help="Format of the catalogue, where it is not seen from the file.",
            show_default=False,
            rich_help_panel=_CATALOGUE,
        ),
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            help="Rows that are one source: auto (what the catalogue knows best), none, island (the finder's own), or "
            "a linking radius such as 30arcsec; a plain number is in arcsec.",
            rich_help_panel=_CATALOGUE,
        ),
    ] = "auto",
    join_doubles: Annotated[
        bool,
        typer.Option(
            "--join-doubles",
            help="Join groups that look like two lobes by separation and flux.",
            rich_help_panel=_CATALOGUE,
        ),
    ] = False,
    region: Annotated[
        Path | None,
        typer.Option(
            help="Classify only sources inside: DS9, CRTF or FITS regions, or a MOC.",
            show_default=False,
            rich_help_panel=_CATALOGUE,
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Of an image: least peak of a source, in units of the local noise.",
            rich_help_panel=_CATALOGUE,
        ),
    ] = 5.0,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="FITS image, folder or quoted glob of images to cut from, may be given several times; or the name of "
            "a survey, such as first: see radio-ag surveys.",
            show_default="the image that the sources are found in, or cutouts of the FIRST service for a catalogue",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    url_template: options.UrlTemplate = None,
    beam: options.BeamWidth = None,
    pixel_scale: options.PixelScale = None,
    beam_scaled: options.BeamScaled = False,
    verify_images: options.VerifyImages = False,
    service_url: options.ServiceUrl = None,
    cache_dir: options.CacheDir = None,
    no_cache: options.NoCache = False,
    offline: options.Offline = False,
    cache_size: options.CacheSize = None,
    connections: options.Connections = None,
    rate: options.Rate = None,
    timeout: options.Timeout = None,
    patience: options.Patience = None,
    max_failed: options.MaxFailed = 0.1,
    weights: Annotated[
        str,
        typer.Option(help="Name of bundled weights, or path of a .safetensors file.", rich_help_panel=_NETWORK),
    ] = "agcnn-first",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_NETWORK)] = "auto",
    orbit: Annotated[
        int,
        typer.Option(
            min=1,
            help="Orientations to average over: 1, 2, 4, 8 (the exact rotations and flips; "
            "24 for sources in doubt) or a multiple of 8.",
            rich_help_panel=_NETWORK,
        ),
    ] = 8,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images to put through the network at once.",
            show_default="chosen from memory",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads of the network.",
            show_default="PyTorch's own choice",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Scheduler of a Dask cluster to classify on, such as tcp://host:8786.",
            show_default=False,
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Classify in so many processes of this computer.",
            show_default=False,
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Classify each row of a catalogue as FRI or FRII, with attention maps and flags.

    Every row of the catalogue comes out again, in the same order, with all its columns. In a FITS image the sources
    are found first.
    """
    start = time.perf_counter()
    output = output or default_output(catalogue, format)
    _refuse_to_replace_input(output, [catalogue, *map(Path, images or ())])
    source = images[0] if images and len(images) == 1 else images or None
    if url_template is not None:
        if source is not None:
            raise typer.BadParameter("--images and --url-template are two ways to say where images are: leave one out")
        source = url_template
    service_options = options.given(
        service_url=service_url,
        beam=beam,
        pixel_scale=pixel_scale,
        cache_dir=cache_dir,
        cache=False if no_cache else None,
        offline=offline or None,
        cache_size=cache_size,
        connections=connections,
        rate=rate,
        timeout=timeout,
        patience=patience,
    )
    survey = _survey(catalogue, source)
    if service_options and survey is None:
        raise typer.BadParameter(
            "--service-url, --beam, --pixel-scale, --cache-dir, --no-cache, --offline, --cache-size, --connections, "
            "--rate, --timeout and --patience are options of a survey's service: they mean nothing with your own images"
        )
    if beam_scaled and survey == "first":
        raise typer.BadParameter("--beam-scaled is for images with other beams: FIRST's needs no scaling")
    if verify_images and survey is not None:
        raise typer.BadParameter(
            "--verify-images is for images of your own: those of a service are checked as they come"
        )
    local_options = options.given(beam_scaled=beam_scaled or None, verify_images=verify_images or None)
    image_options = service_options | local_options
    if scheduler is not None and workers is not None:
        raise typer.BadParameter("--scheduler names a cluster and --workers makes one: leave one out")
    with reporting(quiet, verbose) as progress, _cluster(scheduler, workers) as client:
        from radio_ag.pipeline import classify as classify_catalogue

        result = classify_catalogue(
            catalogue,
            images=source,
            weights=weights,
            device=device,
            orbit=orbit,
            attention=attention.value,
            keep_cutouts=keep_cutouts,
            attention_stats=attention_stats,
            batch=batch,
            threads=threads,
            ra_col=ra_col,
            dec_col=dec_col,
            ra_unit=ra_unit,
            dialect=dialect,
            group=group,
            join_doubles=join_doubles,
            region=region,
            threshold=threshold,
            max_failed=max_failed,
            image_options=image_options,
            output=output,
            format=format and format.value,
            overwrite=overwrite,
            resume=resume,
            restart=restart,
            keep_parts=keep_parts,
            client=client,
            progress=progress,
        )
        summary = result.summary()
        _warn_of_wrong_sky(summary)
        if attention_stats:
            from radio_ag.attention.statistics import summarise_result

            summary["attention"] = summarise_result(result.table)
    if result.traffic is not None:
        summary["traffic"] = asdict(result.traffic)
    if summary_json:
        print_json(summary)
    elif not quiet:
        print_summary(summary, str(output), time.perf_counter() - start)
        if result.traffic is not None:
            typer.echo(result.traffic)
        if attention_stats:
            print_attention(summary["attention"])
    if result.incomplete:
        raise typer.Exit(EXIT_SERVICE)


@contextmanager
def _cluster(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """A client of the cluster that was asked for, or None."""
    if scheduler is None and workers is None:
        yield None
        return
    from radio_ag.cluster import open_client

    with open_client(scheduler, workers) as client:
        yield client


def _survey(catalogue: Path, images: str | list[str] | None) -> str | None:
    """Name of the survey that images come from; None for images of the user's own."""
    from radio_ag.catalog_io.images.planes import is_image
    from radio_ag.catalog_io.open_images import named_survey

    survey = None if images is None and is_image(catalogue) else named_survey(images)
    return survey and survey.name


def _refuse_to_replace_input(output: Path, inputs: list[Path]) -> None:
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            from radio_ag.errors import OutputError

            raise OutputError(f"the output {output} is one of the inputs; choose another with --output")


def _warn_of_wrong_sky(summary: dict) -> None:
    rows = summary["rows"]
    if rows and summary["flags"].get("NO_COVERAGE") == rows:
        from radio_ag.errors import RadioAGWarning

        warnings.warn(f"all {rows} rows lie outside the images: is this the right sky?", RadioAGWarning, stacklevel=2)
