"""``radio-ag labels``: labels that people gave, converted, compared and merged."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import check_answered, print_json, print_warning, reporting
from radio_ag.cli.options import Debug

app = typer.Typer(no_args_is_help=True, help="Convert, compare and merge labels that people gave to sources.")

_Task = Annotated[
    str | None,
    typer.Option(help="Task of a Zooniverse workflow whose answers are labels.", show_default="the only one"),
]
_LabelCol = Annotated[
    str | None,
    typer.Option("--label-col", help="Column of labels.", show_default="label, class, fr_class or morphology"),
]


class Merge(StrEnum):
    """What becomes of sources whose labels differ."""

    confidence = "confidence"
    refuse = "refuse"


@app.command()
def convert(
    labels: Annotated[
        Path,
        typer.Argument(
            help="Export of Zooniverse or Radio Galaxy Zoo (CSV or JSON), CSV with a column of labels, ECSV or a FITS "
            "table.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="ECSV file to write.", show_default=False)],
    task: _Task = None,
    label_col: _LabelCol = None,
    votes: Annotated[
        bool, typer.Option("--votes", help="Keep each vote, instead of one label a source by the majority.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    debug: Debug = False,
) -> None:
    """Turn labels into a labels file, one a source: its confidence is the share of the votes."""
    with reporting(services=False):
        from radio_ag.labelled.labels import Labels

        read = Labels.read(labels, label_col=label_col, task=task)
        kept, undecided = (read, []) if votes else read.consensus()
        path = kept.write(output, overwrite=overwrite)
    _say_undecided(undecided, "two labels with as many votes")
    typer.echo(path)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Labels file of one person.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Labels file of another.", show_default=False)],
    merge: Annotated[
        Merge | None,
        typer.Option(
            help="Write both as one file: where they differ, the label of the greater confidence, or an error.",
            show_default="compare alone",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for --merge, ECSV.", show_default=False)
    ] = None,
    radius: Annotated[
        float, typer.Option(help="Arcsec within which positions are one source, where names do not tell.", min=0)
    ] = 2.0,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    debug: Debug = False,
) -> None:
    """Print how well two sets of labels agree, and Cohen's kappa; merge them on request."""
    if (merge is None) != (output is None):
        raise typer.BadParameter("--merge and --output belong together")
    with reporting(services=False):
        from radio_ag.labelled.agreement import compare_labels, merge_labels
        from radio_ag.labelled.labels import Labels

        sets = []
        for path in (first, second):
            labels, undecided = Labels.read(path).consensus()
            _say_undecided(undecided, f"two labels of the same weight in {path.name}")
            sets.append(labels)
        found = compare_labels(sets[0], sets[1], radius)
        figures = {
            "sources": found.sources,
            "only_first": found.only_first,
            "only_second": found.only_second,
            "agreement": _finite(found.agreement),
            "agreement_interval": [_finite(value) for value in found.agreement_interval],
            "kappa": _finite(found.kappa),
            "kappa_interval": [_finite(value) for value in found.kappa_interval],
            "classes": list(found.classes),
            "table": found.table.tolist(),
            "differing": list(found.differing),
        }
        if json:
            print_json(figures)
        else:
            _print(figures)
        if merge is not None and output is not None:
            merged, undecided = merge_labels(sets[0], sets[1], merge.value, radius)
            _say_undecided(undecided, "labels that differ with equal confidence")
            merged.write(output, overwrite=overwrite)
            typer.echo(output, err=True)
    check_answered()


def _finite(value: float) -> float | None:
    return value if value == value else None


def _print(figures: dict) -> None:
    def told(name: str) -> str:
        low, high = figures[f"{name}_interval"]
        return "not defined" if figures[name] is None else f"{figures[name]:.3f} (95 %: {low:.3f} to {high:.3f})"

    typer.echo(
        f"sources in both: {figures['sources']}; in one alone: {figures['only_first']}, {figures['only_second']}"
    )
    typer.echo(f"agreement: {told('agreement')}")
    typer.echo(f"Cohen's kappa: {told('kappa')}")
    width = max([len(name) for name in figures["classes"]] + [7])
    typer.echo(" ".join(name.rjust(width) for name in ["", *figures["classes"]]))
    for name, row in zip(figures["classes"], figures["table"], strict=True):
        typer.echo(" ".join(str(value).rjust(width) for value in [name, *row]))
    if figures["differing"]:
        typer.echo("differing: " + ", ".join(figures["differing"]))


def _say_undecided(names: list[str], why: str) -> None:
    if names:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        print_warning(f"left out for {why}: {len(names)} ({shown})")
