"""The application: its commands, its version, and the one boundary that turns errors into exit codes.

Exit codes: 0 done; 2 what was given cannot be used; 3 an image service is down; 130 interrupted. Anything
else that goes wrong is a bug, and keeps its traceback.
"""

from typing import Annotated

import typer
from typer.core import TyperGroup

from radio_ag.cli import attention, weights
from radio_ag.cli.catalogs import catalogs
from radio_ag.cli.classify import classify
from radio_ag.cli.console import print_error
from radio_ag.cli.evaluate import evaluate
from radio_ag.cli.export import export
from radio_ag.cli.fetch import fetch
from radio_ag.cli.find import find
from radio_ag.cli.options import Debug, debugging
from radio_ag.cli.send import send
from radio_ag.cli.surveys import surveys
from radio_ag.cli.train import train
from radio_ag.cli.verify import verify
from radio_ag.cli.view import view

EXIT_INPUT = 2
EXIT_SERVICE = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells do


class ErrorBoundary(TyperGroup):
    """A group of commands whose errors come out as one line on stderr and an exit code."""

    def invoke(self, ctx: typer.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if debugging(ctx):
                raise
            print_error("interrupted")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            from radio_ag.errors import RadioAGError, ServiceError  # loads astropy: not for --help

            if debugging(ctx) or not isinstance(error, RadioAGError):
                raise
            print_error(str(error))
            raise typer.Exit(EXIT_SERVICE if isinstance(error, ServiceError) else EXIT_INPUT) from error


app = typer.Typer(
    cls=ErrorBoundary,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(classify)
app.command()(find)
app.command()(fetch)
app.command()(view)
app.command()(verify)
app.command()(export)
app.command()(send)
app.command()(train)
app.command()(evaluate)
app.command()(catalogs)
app.command()(surveys)
app.add_typer(attention.app, name="attention")
app.add_typer(weights.app, name="weights")


def _print_version(requested: bool) -> None:
    if requested:
        from radio_ag import __version__

        typer.echo(f"radio-ag {__version__}")
        raise typer.Exit


@app.callback()
def radio_ag(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Classify radio sources as FRI or FRII, from a catalogue to a FITS file."""


def main() -> None:
    """Entry point of the console script."""
    app()
