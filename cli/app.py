"""The application: its commands, its version, and the one boundary that turns errors into exit codes.

Exit codes: 0 done; 2 what was given cannot be used; 3 an image service is down, or too many images are missing; 128
and the number of the signal that stopped it. Anything else that goes wrong is a bug, and keeps its traceback.
"""

import signal
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from radio_ag.cli import attention, labels, weights
from radio_ag.cli.catalogs import catalogs
from radio_ag.cli.cite import print_citations
from radio_ag.cli.classify import classify
from radio_ag.cli.console import (
    EXIT_INPUT,
    EXIT_SERVICE,
    EXIT_SIGNAL,
    lost_output,
    print_error,
    print_warning,
    secure_streams,
)
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

_GOES_ON = {
    "classify": "the same command, without --restart, goes on where it stopped",
    "fetch": "the same command goes on where it stopped",
    "train": "the same command goes on where it stopped",
}


class Stopped(KeyboardInterrupt):
    """A signal that ends the command, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        self.number = number


class ErrorBoundary(TyperGroup):
    """A group of commands whose errors come out as one line on stderr and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [*args, ""] if args[-1:] == ["--cite"] else args)  # RESULT may be left out

    def invoke(self, ctx: Any) -> Any:  # typer's own Context is private
        try:
            returned = super().invoke(ctx)
        except KeyboardInterrupt as stop:
            if debugging(ctx):
                raise
            number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
            what = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
            goes_on = _GOES_ON.get(ctx.invoked_subcommand or "")
            print_error(f"{what}: {goes_on}" if goes_on else what)
            raise typer.Exit(EXIT_SIGNAL + number) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            from radio_ag.errors import RadioAGError, ServiceError  # loads astropy: not for --help

            if debugging(ctx) or not isinstance(error, RadioAGError):
                raise
            print_error(str(error))
            raise typer.Exit(EXIT_SERVICE if isinstance(error, ServiceError) else EXIT_INPUT) from error
        if lost := lost_output():
            print_warning(f"the work is done, but standard output cannot be written: {lost}")
        return returned


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
app.add_typer(labels.app, name="labels")
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
    cite: Annotated[
        str | None,
        typer.Option(
            "--cite",
            metavar="[RESULT]",
            callback=print_citations,
            is_eager=True,
            help="Print what to cite as BibTeX, with a product also its survey, and exit.",
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Classify radio sources as FRI or FRII, from a catalogue to a FITS file."""


def main() -> None:
    """Run the command line: the entry point of the console script."""
    secure_streams()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # as it is not under nohup
            signal.signal(number, _stop)
    app()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise Stopped(number)
