"""What the terminal shows: results on stdout, everything else on stderr; neither decides how a command ends."""

import io
import json
import logging
import math
import os
import select
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

ProgressCallback = Callable[[int, int, Mapping[str, int]], None]

EXIT_INPUT = 2
EXIT_SERVICE = 3
EXIT_SIGNAL = 128  # and the signal's number, as shells do

PLAIN_INTERVAL = 10.0  # s between progress lines where there is no terminal
_COUNTS_SHOWN = ("FRI", "FRII", "NO_COVERAGE", "FETCH_FAILED")  # what may make a user stop a long run


class _Descriptor(io.FileIO):
    """Standard output or error, which may go away: what is written after that is dropped, and ``lost`` says why."""

    lost: OSError | None = None

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.fileno(), "w", closefd=False)
        self._stream = stream  # it would close the descriptor if it went

    def write(self, data: Any) -> int:
        if self.lost is None:
            try:
                while (written := super().write(data)) is None:  # it does not block, and has no room yet
                    select.select([], [self], [])
                return written
            except OSError as exc:
                self.lost = exc
        return len(data)


def secure_streams() -> None:
    """Make stdout and stderr take any text, in any encoding, whether or not anybody reads it or there is room for it.

    A character that the encoding lacks is written as its escape, such as ``\\u2192``.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: the next file that is opened would get its number, and what is printed
            null = io.FileIO(os.open(os.devnull, os.O_WRONLY), "w", closefd=False)
            stream = io.TextIOWrapper(io.BufferedWriter(null), "utf-8")
            setattr(sys, name, stream)
        raw = getattr(stream.buffer, "raw", stream.buffer)
        if isinstance(raw, io.FileIO):  # elsewhere it is the console of Windows
            stream.flush()
            buffer = io.BufferedWriter(_Descriptor(stream))
            at_once = stream.line_buffering or stream.write_through
            setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, line_buffering=at_once))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def lost_output() -> str | None:
    """Return why what was printed did not get where it should; None if it did, or its reader has had enough."""
    sys.stdout.flush()
    lost = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "lost", None)
    return None if lost is None or isinstance(lost, BrokenPipeError) else lost.strerror or str(lost)


def check_answered() -> None:
    """Check that stdout has taken an answer that is nowhere else.

    Raises
    ------
    OutputError
        It has not.
    """
    if lost := lost_output():
        from radio_ag.errors import OutputError

        raise OutputError(f"standard output cannot be written: {lost}")


def print_error(message: str) -> None:
    """Print an error as one line on stderr."""
    typer.echo(f"radio-ag: error: {_one_line(message)}", err=True)


def print_warning(message: str) -> None:
    """Print a warning as one line on stderr."""
    typer.echo(f"radio-ag: warning: {_one_line(message)}", err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, in ASCII; numbers that are not finite become null."""
    typer.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def open_console() -> "Console":
    """Return a console on stdout that takes text as it is: brackets and colons in a file's name mean nothing to it."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _one_line(message: str) -> str:
    return " ".join(message.split())


class _LineHandler(logging.Handler):
    """Log records as single lines above a live progress bar, or plainly where there is none."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        super().__init__()
        self._print_line = print_line

    def emit(self, record: logging.LogRecord) -> None:
        self._print_line(f"radio-ag: {record.levelname.lower()}: {_one_line(record.getMessage())}")


@contextmanager
def reporting(
    quiet: bool = False, verbose: bool = False, doing: str = "classifying", *, services: bool = True
) -> Iterator[ProgressCallback | None]:
    """Show log records, warnings and progress on stderr while a command works.

    Parameters
    ----------
    quiet : bool
        Warnings and errors only.
    verbose : bool
        Log records of every level of the ``radio_ag`` loggers too.
    doing : str
        What the progress is of.
    services : bool
        Whether a service may be asked, which takes longer to start.

    Yields
    ------
    callable or None
        To be called as ``progress(done, total, counts)``; None when quiet. A bar on a terminal, a line every
        `PLAIN_INTERVAL` seconds otherwise.
    """
    import astropy.logger  # noqa: F401 : takes over warnings.showwarning when it is first imported, and so does the next

    if services:
        import astroquery  # noqa: F401
    from rich.console import Console

    from radio_ag.errors import IncompleteWarning

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    handler = _LineHandler(console.print)
    logger = logging.getLogger("radio_ag")
    level_before = logger.level
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    logger.addHandler(handler)

    def show_warning(message: Warning | str, category: type[Warning], *_args: object, **_kwargs: object) -> None:
        level = "error" if issubclass(category, IncompleteWarning) else "warning"  # it ends with an exit code
        console.print(f"radio-ag: {level}: {_one_line(str(message))}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            warnings.simplefilter("always", IncompleteWarning)  # it says why there is an exit code
            if quiet:
                yield None
            elif console.is_terminal:
                with _bar(console, doing) as progress:
                    yield progress
            else:
                yield _PlainProgress(console.print, doing)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)


@contextmanager
def _bar(console: Any, doing: str) -> Iterator[ProgressCallback]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sources"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left {task.fields[counts]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, counts="")

        def update(done: int, total: int, counts: Mapping[str, int]) -> None:
            bar.update(task, completed=done, total=total, counts=_counts_in_words(counts))

        yield update


class _PlainProgress:
    """Progress as lines of a log: not more than one every `PLAIN_INTERVAL` seconds, and one at the end."""

    def __init__(self, print_line: Callable[[str], None], doing: str) -> None:
        self._print_line = print_line
        self._doing = doing
        self._start = time.monotonic()
        self._next = self._start + PLAIN_INTERVAL

    def __call__(self, done: int, total: int, counts: Mapping[str, int]) -> None:
        now = time.monotonic()
        if done < total and now < self._next:
            return
        self._next = now + PLAIN_INTERVAL
        rate = done / max(now - self._start, 1e-6)
        share = 100 * done // total if total else 100
        self._print_line(
            f"radio-ag: {self._doing}: {done}/{total} sources ({share} %), {rate:.3g} sources/s"
            f"{_counts_in_words(counts, lead=': ')}"
        )


def _counts_in_words(counts: Mapping[str, int], lead: str = "") -> str:
    words = ", ".join(f"{counts[name]} {name}" for name in _COUNTS_SHOWN if counts.get(name))
    return lead + words if words else ""


def print_summary(summary: Mapping[str, Any], output: str, elapsed: float, of: str = "sources") -> None:
    """Print classes, flags in words, and the rate, as tables on stdout.

    Parameters
    ----------
    summary : mapping
        What `radio_ag.Result.summary` gives: ``sources``, ``rows``, and ``classes`` and ``flags`` with a count a name.
    output : str
        Path of the product.
    elapsed : float
        Duration of the run in seconds.
    of : {"sources", "rows"}
        What is counted by class and flag.
    """
    from rich.table import Table

    from radio_ag.flags import Flag

    total = summary[of]
    title = f"{summary['sources']} sources in {summary['rows']} rows → {output}"
    table = Table(title=title, title_justify="left", show_edge=False)
    table.add_column("class or flag")
    table.add_column(of, justify="right")
    table.add_column("share", justify="right")
    table.add_column("meaning")
    for name, count in summary["classes"].items():
        table.add_row(name or "none", str(count), _share(count, total), "")
    table.add_section()
    for name, count in summary["flags"].items():
        if count:
            table.add_row(name, str(count), _share(count, total), Flag[name].description)
    console = open_console()
    console.print(table)
    console.print(f"{elapsed:.1f} s, {total / max(elapsed, 1e-6):.3g} {of}/s")


def print_attention(lines: list[dict[str, Any]]) -> None:
    """Print the medians of what `radio_ag.attention.statistics.summarise_by_class` gives as a table on stdout.

    A line's ``weights``, where it has them, say of which network it is.
    """
    from rich.table import Table

    columns = {
        "emission_enrichment": "emission",
        "halo_enrichment": "halo",
        "emission_offset": "offset",
        "centre_offset": "centre",
        "gate_agreement": "gates",
    }
    title = (
        "Medians: attention on the emission and in its halo over that of a uniform map, distance of its centroid\n"
        "from the emission's and from the centre in arcsec, correlation of the gates"
    )
    labels = [name for name in ("weights", "class") if all(name in line for line in lines)]
    table = Table(title=title, title_justify="left", show_edge=False)
    for heading in (*labels, "sources", *columns.values()):
        table.add_column(heading, justify="left" if heading in labels else "right")
    for line in lines:
        numbers = [f"{line[f'{column}_median']:.2f}" for column in columns]
        table.add_row(*(line[name] for name in labels), str(line["sources"]), *numbers)
    open_console().print(table)


def _share(count: int, rows: int) -> str:
    return f"{100 * count / rows:.1f} %" if rows else ""
