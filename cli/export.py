"""``radio-ag export``: a result in the form that another program reads."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import reporting
from radio_ag.cli.options import Debug
from radio_ag.cli.streams import STREAM, to_file


class ExportFormat(StrEnum):
    """What a result can be exported to."""

    ds9 = "ds9"
    crtf = "crtf"
    votable = "votable"
    csv = "csv"
    ecsv = "ecsv"
    cutouts = "cutouts"


def export(
    result: Annotated[Path, typer.Argument(help="Product of radio-ag classify.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write, - for standard output, or folder for cutouts.",
            show_default=False,
        ),
    ],
    format: Annotated[
        ExportFormat | None,
        typer.Option(
            help="DS9 or CASA regions, VOTable, CSV, ECSV, or a folder with a FITS file a source.",
            show_default="from the output's suffix: .reg, .crtf, .xml, .vot, .votable, .csv, .ecsv",
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="For cutouts: FITS image, folder or quoted glob of images to cut from, may be given several times; "
            "a survey, such as first; none for attention maps alone.",
            show_default="cutouts kept in the product, else the survey that it was made from, asked again",
        ),
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Write each row of the catalogue, with its columns, instead of each source.")
    ] = False,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe", help="For CSV: quote text that a spreadsheet would run as a formula, such as =1+1."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Write a result as regions, as a table, or as a FITS file a source."""
    piped = output == STREAM
    if piped and format in (None, ExportFormat.cutouts):
        raise typer.BadParameter("with -o - give --format: ds9, crtf, votable, csv or ecsv")
    with reporting(quiet, doing="exporting") as progress, to_file(output, ".out") as output_file:
        from radio_ag.catalog_io.export import export as export_result
        from radio_ag.catalog_io.result import Result

        written = export_result(
            Result.read(result),
            output_file,
            format and format.value,
            images=images[0] if images and len(images) == 1 else images or None,
            rows=rows,
            spreadsheet_safe=spreadsheet_safe,
            overwrite=overwrite,
            progress=progress,
        )
    if not quiet and not piped:
        typer.echo(written)
