"""``radio-ag classify``: a catalogue in, a FITS product out."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from radio_ag.cli import options
from radio_ag.cli.console import EXIT_SERVICE, print_attention, print_json, print_summary, reporting
from radio_ag.cli.streams import STREAM, as_file
from radio_ag.options import AttentionMode, CatalogueOptions, ImageOptions, RunOptions
from radio_ag.weights import DEFAULT

_COMPRESSED = {".gz", ".bz2", ".xz", ".zip"}


def default_output(catalogue: Path, format: Literal["fits", "parquet"] | None = None) -> Path:
    """Return the path of the product of a catalogue: beside it, as ``NAME.radio-ag.fits``."""
    if catalogue == STREAM or catalogue.is_fifo():
        raise typer.BadParameter("--output is needed where the catalogue is piped in")
    plain = Path(catalogue.stem) if catalogue.suffix.lower() in _COMPRESSED else catalogue
    return catalogue.parent / f"{plain.stem}.radio-ag.{format or 'fits'}"


@options.spread
def classify(
    *,
    catalogue: Annotated[
        Path,
        typer.Argument(
            help="Catalogue (FITS, VOTable, ECSV, CSV, ASCII, Parquet, regions), - for one that is piped in, or a FITS "
            "image to find the sources in.",
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
            rich_help_panel="Output",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the product if it exists.", rich_help_panel="Output")
    ] = False,
    attention: Annotated[
        AttentionMode,
        typer.Option(
            help="Attention maps to keep: the gates' mean, a cube a gate, an image HDU a source, or none.",
            rich_help_panel="Output",
        ),
    ] = "mean",
    keep_cutouts: Annotated[
        bool,
        typer.Option(
            "--keep-cutouts",
            help="Keep the cutouts in the product too, about 10 kB a source.",
            rich_help_panel="Output",
        ),
    ] = False,
    summary_json: Annotated[
        bool,
        typer.Option(
            "--summary-json", help="Print the summary as JSON instead of as a table.", rich_help_panel="Output"
        ),
    ] = False,
    rows: Annotated[
        bool,
        typer.Option("--rows", help="Count rows in the summary instead of sources.", rich_help_panel="Output"),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.", rich_help_panel="Output")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every log line.", rich_help_panel="Output")
    ] = False,
    group: options.Group = "auto",
    region: options.RegionFile = None,
    catalogue_options: CatalogueOptions,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="FITS image, folder or quoted glob of images to cut from, may be given several times; or the name of "
            "a survey, such as first: see radio-ag surveys.",
            show_default="the image that the sources are found in, or cutouts of the FIRST service for a catalogue",
            rich_help_panel="Images",
        ),
    ] = None,
    url_template: options.UrlTemplate = None,
    image_options: ImageOptions,
    weights: Annotated[
        str,
        typer.Option(help="Name of bundled weights, or path of a .safetensors file.", rich_help_panel="Network"),
    ] = DEFAULT,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Network")] = "auto",
    orbit: Annotated[
        int,
        typer.Option(
            min=1,
            help="Orientations to average over: 1, 2, 4, 8 (the exact rotations and flips; "
            "24 for sources in doubt) or a multiple of 8.",
            rich_help_panel="Network",
        ),
    ] = 8,
    run_options: RunOptions,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Scheduler of a Dask cluster to classify on, such as tcp://host:8786.",
            show_default=False,
            rich_help_panel="Cluster",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Classify in so many processes of this computer.",
            show_default=False,
            rich_help_panel="Cluster",
        ),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Classify each row of a catalogue as FRI or FRII, with attention maps and flags.

    Every row of the catalogue comes out again, in the same order, with all its columns. In a FITS image the sources
    are found first.
    """
    start = time.perf_counter()
    output = output or default_output(catalogue, run_options.format)
    _refuse_to_replace_input(output, [catalogue, *map(Path, images or ())])
    if images and url_template is not None:
        raise typer.BadParameter("--images and --url-template are two ways to say where images are: leave one out")
    if scheduler is not None and workers is not None:
        raise typer.BadParameter("--scheduler names a cluster and --workers makes one: leave one out")
    source = images[0] if images and len(images) == 1 else images or url_template
    with (
        as_file(catalogue) as catalogue_file,
        reporting(quiet, verbose) as progress,
        _cluster(scheduler, workers, run_options.wait) as client,
    ):
        from radio_ag.pipeline import classify as classify_catalogue

        result = classify_catalogue(
            catalogue_file,
            images=source,
            group=group,
            region=region,
            weights=weights,
            device=device,
            orbit=orbit,
            attention=attention,
            keep_cutouts=keep_cutouts,
            output=output,
            overwrite=overwrite,
            catalogue_options=catalogue_options,
            image_options=image_options,
            run_options=replace(run_options, client=client, progress=progress),
        )
        summary = result.summary(rows=rows)
        _warn_of_wrong_sky(summary)
        if run_options.attention_stats:
            from radio_ag.attention.statistics import summarise_result

            summary["attention"] = summarise_result(result.table)
    if result.traffic is not None:
        summary["traffic"] = asdict(result.traffic)
    if summary_json:
        print_json(summary)
    elif not quiet:
        print_summary(summary, str(output), time.perf_counter() - start, of="rows" if rows else "sources")
        if result.traffic is not None:
            typer.echo(result.traffic)
        if run_options.attention_stats:
            print_attention(summary["attention"])
    if result.incomplete:
        raise typer.Exit(EXIT_SERVICE)


@contextmanager
def _cluster(scheduler: str | None, workers: int | None, wait: float) -> Iterator[Any]:
    """A client of the cluster that was asked for, or None."""
    if scheduler is None and workers is None:
        yield None
        return
    from radio_ag.cluster import open_client

    with open_client(scheduler, workers, timeout=wait) as client:
        yield client


def _refuse_to_replace_input(output: Path, inputs: list[Path]) -> None:
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            from radio_ag.errors import OutputError

            raise OutputError(f"the output {output} is one of the inputs; choose another with --output")


def _warn_of_wrong_sky(summary: dict[str, Any]) -> None:
    rows = summary["rows"]
    if rows and sum(summary["classes"].values()) == summary["flags"].get("NO_COVERAGE"):
        from radio_ag.errors import RadioAGWarning

        warnings.warn(f"all {rows} rows lie outside the images: is this the right sky?", RadioAGWarning, stacklevel=2)
