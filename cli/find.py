"""``radio-ag find``: the sources of a mosaic as a catalogue."""

from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli import options
from radio_ag.cli.console import reporting
from radio_ag.cli.options import Debug
from radio_ag.options import ImageOptions


@options.spread
def find(
    *,
    mosaic: Annotated[
        list[str],
        typer.Argument(help="FITS image, folder or quoted glob of images; several may overlap.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Table to write: .fits, .xml, .ecsv or .csv.",
            show_default="beside the first mosaic, as NAME.sources.fits",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table if it exists.")] = False,
    threshold: Annotated[
        float, typer.Option(help="Least peak of a source, in units of the local noise.", min=0.0)
    ] = 5.0,
    island_threshold: Annotated[
        float, typer.Option(help="Sources are bounded at this many times the local noise.", min=0.0)
    ] = 3.0,
    contrast: Annotated[
        float,
        typer.Option(help="Least share of an island's flux that a part of its own has; 1: no splitting.", min=0, max=1),
    ] = 0.01,
    region: Annotated[
        Path | None,
        typer.Option(help="Report only sources inside: DS9, CRTF or FITS regions, or a MOC.", show_default=False),
    ] = None,
    image_options: Annotated[ImageOptions, options.Only({"beam", "pixel_scale", "pattern", "verify_images"})],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every log line.")] = False,
    debug: Debug = False,
) -> None:
    """Find the sources of a mosaic: islands above the local noise, split and measured."""
    output = output or default_output(Path(mosaic[0]))
    with reporting(quiet, verbose):
        from radio_ag.catalog_io.finding.find import find_sources, how_searched
        from radio_ag.catalog_io.finding.output import check_sources_output, write_sources
        from radio_ag.inputs import open_source

        check_sources_output(output, overwrite=overwrite)
        images = open_source(mosaic, image_options, **how_searched(mosaic))
        table = find_sources(
            images, threshold=threshold, island_threshold=island_threshold, contrast=contrast, region=region
        )
        write_sources(table, output, overwrite=overwrite)
    if not quiet:
        islands = len(set(table["island"]))
        typer.echo(f"{len(table)} sources in {islands} islands → {output}")


def default_output(mosaic: Path) -> Path:
    """Return where a mosaic's sources go: beside it, as ``NAME.sources.fits``; of a glob, into the working folder."""
    if not mosaic.is_file():
        return Path("mosaic.sources.fits")
    name = mosaic.name.lower().removesuffix(".gz").removesuffix(".fz").removesuffix(".bz2")
    return mosaic.parent / f"{mosaic.name[: len(name.rsplit('.', 1)[0])]}.sources.fits"
