"""``radio-ag fetch``: the images of a catalogue, ahead of its classification."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli import options
from radio_ag.cli.console import EXIT_SERVICE, print_json, reporting

_UNBOUNDED = 1 << 62  # bytes: what is fetched into a folder on purpose is not for the oldest to go first


def fetch(
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
    images: Annotated[str, typer.Option(help="Survey: see radio-ag surveys.")] = "first",
    url_template: options.UrlTemplate = None,
    service_url: options.ServiceUrl = None,
    beam: options.BeamWidth = None,
    pixel_scale: options.PixelScale = None,
    beam_scaled: options.BeamScaled = False,
    cache_size: options.CacheSize = None,
    connections: options.Connections = None,
    rate: options.Rate = None,
    timeout: options.Timeout = None,
    patience: options.Patience = None,
    max_failed: options.MaxFailed = 0.0,
    ra_col: Annotated[str | None, typer.Option(help="Column of right ascension.", show_default=False)] = None,
    dec_col: Annotated[str | None, typer.Option(help="Column of declination.", show_default=False)] = None,
    ra_unit: Annotated[str | None, typer.Option(help="deg or hourangle.", show_default=False)] = None,
    dialect: Annotated[str | None, typer.Option(help="Format of the catalogue.", show_default=False)] = None,
    group: Annotated[str, typer.Option(help="Rows that are one source, as for classify.")] = "auto",
    join_doubles: Annotated[bool, typer.Option("--join-doubles", help="Join doubles, as for classify.")] = False,
    region: Annotated[
        Path | None, typer.Option(help="Only sources inside: DS9, CRTF or FITS regions, or a MOC.", show_default=False)
    ] = None,
    summary_json: Annotated[bool, typer.Option("--summary-json", help="Print what came as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every log line.")] = False,
    debug: options.Debug = False,
) -> None:
    """Fetch the images of a catalogue's sources into the cache or a folder, for classify --offline.

    What is there already is not asked for again.
    """
    if output is not None and cache_size is None:
        cache_size = _UNBOUNDED
    image_options = options.given(
        service_url=service_url,
        beam=beam,
        pixel_scale=pixel_scale,
        beam_scaled=beam_scaled or None,
        cache_dir=output,
        cache_size=cache_size,
        connections=connections,
        rate=rate,
        timeout=timeout,
        patience=patience,
    )
    with reporting(quiet, verbose, "fetching") as progress:
        from radio_ag.fetch import fetch_images

        fetched = fetch_images(
            catalogue,
            images=url_template or images,
            image_options=image_options,
            group=group,
            join_doubles=join_doubles,
            region=region,
            max_failed=max_failed,
            progress=progress,
            ra_col=ra_col,
            dec_col=dec_col,
            ra_unit=ra_unit,
            dialect=dialect,
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
