"""``radio-ag view``: a product as an HTML page to look through."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import reporting
from radio_ag.cli.options import Debug


def view(
    result: Annotated[Path, typer.Argument(help="FITS product of classify.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file to write.", show_default="beside the product, as NAME.html"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it exists.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="FITS image, folder or quoted glob of images to cut from, may be given several times; "
            "a survey, such as first; none for attention maps alone.",
            show_default="cutouts kept in the product, else the survey that it was made from, asked again",
        ),
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Show each row of the catalogue instead of each source.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Heading of the page.", show_default="the catalogue's name")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every log line.")] = False,
    debug: Debug = False,
) -> None:
    """Write a self-contained page for looking through the sources: cutouts, attention, classes, flags.

    Beyond 10,000 sources several pages are written, which link to each other.
    """
    output = output or result.with_suffix(".html")
    with reporting(quiet, verbose, "writing the page") as progress:
        from radio_ag.catalog_io.export.page import write_page
        from radio_ag.catalog_io.result import Result

        pages = write_page(
            Result.read(result),
            output,
            images=images[0] if images and len(images) == 1 else images,
            title=title,
            rows=rows,
            overwrite=overwrite,
            progress=progress,
        )
    if not quiet:
        for page in pages:
            typer.echo(page)
    if open_page:
        webbrowser.open(pages[0].as_uri())
