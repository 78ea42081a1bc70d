"""``radio-ag fetch``: the images of a catalogue, ahead of its classification."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli import options
from radio_ag.cli.console import EXIT_SERVICE, print_json, reporting
from radio_ag.cli.streams import as_file
from radio_ag.options import CatalogueOptions, ImageOptions

_UNBOUNDED = 1 << 62  # bytes: what is fetched into a folder on purpose is not for the oldest to go first


@options.spread
def fetch(
    *,
    catalogue: Annotated[Path, typer.Argument(help="Catalogue, as for classify.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the images, for classify --cache-dir.",
            show_default="the user's cache folder",
        ),
    ] = None,
    summary_json: Annotated[bool, typer.Option("--summary-json", help="Print what came as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every log line.")] = False,
    group: options.Group = "auto",
    region: options.RegionFile = None,
    catalogue_options: CatalogueOptions,
    images: Annotated[str, typer.Option(help="Survey: see radio-ag surveys.", rich_help_panel="Images")] = "first",
    url_template: options.UrlTemplate = None,
    image_options: Annotated[ImageOptions, options.Without({"verify_images", "cache_dir", "cache", "offline"})],
    max_failed: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the sources with coverage whose images may be missing; beyond it the exit code is 3.",
            rich_help_panel="Images",
        ),
    ] = 0.0,
    debug: options.Debug = False,
) -> None:
    """Fetch the images of a catalogue's sources into the cache or a folder, for classify --offline.

    What is there already is not asked for again.
    """
    image_options = replace(image_options, cache_dir=output)
    if output is not None and image_options.cache_size is None:
        image_options = replace(image_options, cache_size=_UNBOUNDED)
    with as_file(catalogue) as catalogue_file, reporting(quiet, verbose, "fetching") as progress:
        from radio_ag.fetch import fetch_images

        fetched = fetch_images(
            catalogue_file,
            images=url_template or images,
            group=group,
            region=region,
            max_failed=max_failed,
            catalogue_options=catalogue_options,
            image_options=image_options,
            progress=progress,
        )
    statuses = fetched.statuses
    if summary_json:
        told = {"traffic": asdict(fetched.traffic)} if fetched.traffic is not None else {}
        print_json({"sources": statuses.total(), "images": dict(statuses), "incomplete": fetched.incomplete} | told)
    elif not quiet:
        came = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in statuses.most_common())
        typer.echo(f"{statuses.total()} sources: {came or 'no image to fetch'}")
        if fetched.traffic is not None:
            typer.echo(fetched.traffic)
    if fetched.incomplete:
        raise typer.Exit(EXIT_SERVICE)
