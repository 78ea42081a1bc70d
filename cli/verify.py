"""``radio-ag verify``: whether a product is what was written."""

from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import reporting
from radio_ag.cli.options import Debug


def verify(
    result: Annotated[
        Path, typer.Argument(help="Product of radio-ag classify: FITS, or a folder of Parquet.", show_default=False)
    ],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Check every byte of a product against its checksums; the exit code is 2 where one does not match."""
    with reporting(quiet):
        from radio_ag.catalog_io.result import verify_product
        from radio_ag.errors import InputError

        faults = verify_product(result)
        damaged = [f"{name} {fault}" for name, fault in faults.items() if fault]
        if damaged:
            more = f"; and {len(damaged) - 5} more" if len(damaged) > 5 else ""
            raise InputError(f"{result}: {'; '.join(damaged[:5])}{more}")
    if not quiet:
        typer.echo(f"{result}: good, {len(faults)} parts match their checksums")
