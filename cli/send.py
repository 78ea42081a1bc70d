"""``radio-ag send``: a result to TOPCAT, Aladin, DS9 and other programs that are running."""

from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import reporting
from radio_ag.cli.options import Debug


def send(
    result: Annotated[Path, typer.Argument(help="Product of radio-ag classify.", show_default=False)],
    to: Annotated[
        str | None,
        typer.Option(
            help="Name of a program, such as topcat, aladin or ds9.", show_default="all that take FITS tables"
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="FITS image to send before, such as the mosaic of the sources.", show_default=False),
    ] = None,
    timeout: Annotated[
        int, typer.Option(min=0, help="Seconds to wait for a program to load a file; 0: for ever.")
    ] = 60,
    debug: Debug = False,
) -> None:
    """Send a result's table to other programs over SAMP."""
    with reporting(quiet=True):
        from radio_ag.catalog_io.export.samp import send_file
        from radio_ag.catalog_io.result import Result

        Result.read(result)
        names = send_file(result, to, image=image, timeout=timeout)
    typer.echo(f"sent to {', '.join(names)}")
