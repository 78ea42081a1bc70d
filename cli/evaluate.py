"""``radio-ag evaluate``: how good networks are on labelled sources."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radio_ag.cli.console import check_answered, open_console, print_json, reporting
from radio_ag.cli.options import Classes, Debug, LabelColumn, LabelledBeam, LabelledPixels

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from radio_ag.evaluation.report import Report
    from radio_ag.labelled.data import Labelled

_ROWS = {
    "f1_fri": "F1 score FRI",
    "f1_frii": "F1 score FRII",
    "precision_fri": "precision FRI",
    "precision_frii": "precision FRII",
    "recall_fri": "recall FRI",
    "recall_frii": "recall FRII",
    "accuracy": "accuracy",
    "auc": "AUC",
    "nll": "NLL",
    "brier": "Brier score",
    "ece": "ECE, 5 bins, debiased",
    "ece_plain": "  plain",
    "ece_if_calibrated": "  plain if calibrated",
    "uce": "UCE, 5 bins, debiased",
    "uce_plain": "  plain",
    "uce_if_calibrated": "  plain if calibrated",
    "clean_share": "flags == 0",
    "clean_accuracy": "  accuracy",
    "sure_share": "not UNCERTAIN",
    "sure_accuracy": "  accuracy",
}


class Protocol(StrEnum):
    """How sources are classified."""

    served = "served"
    paper = "paper"


def evaluate(
    data: Annotated[
        list[Path],
        typer.Option(
            help="Labelled images: FITS file with the table SOURCES and the cube IMAGES, folder of published batches "
            "of MiraBest or FR-DEEP-F (the test batch in it), or one batch; may be given several times.",
            show_default=False,
        ),
    ],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or path of weights; may be given several times, for a mean over networks.",
            show_default="agcnn-first",
        ),
    ] = None,
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="served: as users get it. paper: random augmentations of the normalised image, as in the paper."
        ),
    ] = Protocol.served,
    orbit: Annotated[
        int | None,
        typer.Option(min=1, help="Orientations to average over.", show_default="8 as served, 1 as in the paper"),
    ] = None,
    times: Annotated[
        int, typer.Option("--times", "-n", min=1, help="After the paper: random augmentations of each source.")
    ] = 360,
    unseen: Annotated[
        bool,
        typer.Option("--unseen", help="Leave out sources within 270 arcsec of one that the weights learnt from."),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also measure how classes change with the orientation and with an offset of the centre: takes 15 "
            "times as long.",
        ),
    ] = False,
    classes: Classes = None,
    label_column: LabelColumn = "fr_class",
    beam: LabelledBeam = None,
    pixel_scale: LabelledPixels = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the figures to NAME.json and the sources to NAME.ecsv.", show_default=False
        ),
    ] = None,
    reliability: Annotated[
        Path | None, typer.Option(help="Draw a reliability diagram, PNG and PDF.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the augmentations and the bootstrap.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Measure accuracy and calibration on labelled sources, with intervals over sources.

    Figures are for all sources and for those with certain and uncertain labels; 95 % intervals are Wilson's for
    proportions, else from the bootstrap.
    """
    with reporting(quiet) as progress:
        from radio_ag.evaluation.report import as_json as as_json_content
        from radio_ag.evaluation.report import evaluate as evaluate_weights
        from radio_ag.evaluation.report import output_files, write_report
        from radio_ag.labelled.data import Reading, load_labelled
        from radio_ag.network.checkpoints import load_weights
        from radio_ag.weights import DEFAULT

        if output is not None:
            output_files(output, overwrite=overwrite)
        networks = [load_weights(name) for name in weights or [DEFAULT]]
        named = classes or networks[0].card.classes
        sources = load_labelled(*data, test=True, reading=Reading(named, label_column, beam, pixel_scale))
        _say_what_differs(sources, networks)
        if unseen:
            sources = _leave_out_learnt(sources, networks)
        reports = [
            evaluate_weights(
                network,
                sources,
                protocol=protocol.value,
                orbit=orbit,
                times=times,
                seed=seed,
                device=device,
                robustness=robustness,
                progress=progress,
            )
            for network in networks
        ]
        for report in reports:
            _warn_of_learnt(report)
        written = write_report(output, reports, overwrite=overwrite) if output is not None else []
        if reliability is not None:
            written += _draw_reliability(reports, reliability, overwrite)
    if as_json:
        print_json(as_json_content(reports))
    elif not quiet:
        _print(reports)
    if not (quiet or as_json):
        for file in written:
            typer.echo(file)
    if output is None:
        check_answered()


def _say_what_differs(sources: "Labelled", networks: Sequence) -> None:
    """Warn of what was assumed, and of images of another beam than the networks know."""
    from radio_ag.errors import RadioAGWarning
    from radio_ag.labelled.scales import Scale

    for note in sources.notes:
        typer.echo(f"radio-ag: {note}", err=True)
    for network in networks:
        card, here = network.card, sources.scale
        if here.differs(Scale(card.survey, card.beam, card.pixel_scale)):
            warnings.warn(
                f"{card.name} knows a beam of {card.beam:.3g} arcsec; these images have {here.beam:.3g} and are on "
                f"pixels of a third of it, {here.pixel_scale:.3g} arcsec",
                RadioAGWarning,
                stacklevel=2,
            )


def _leave_out_learnt(sources: "Labelled", networks: Sequence) -> "Labelled":
    from radio_ag.errors import InputError
    from radio_ag.evaluation.served import learnt_positions
    from radio_ag.labelled.splits import near

    for network in networks:
        positions = learnt_positions(network)
        if positions is None:
            raise InputError(f"the weights {network.card.name} do not tell which sources they learnt from: --unseen")
        sources = sources[~near(sources.ra, sources.dec, positions)]
    if not len(sources):
        raise InputError("all sources are among those that the weights learnt from")
    return sources


def _warn_of_learnt(report: "Report") -> None:
    from radio_ag.errors import RadioAGWarning

    if report.content["learnt_from"]:
        warnings.warn(
            f"{report.card.name} learnt from {report.content['learnt_from']} of these {len(report.data)} sources: "
            "its figures are too good; --unseen leaves them out",
            RadioAGWarning,
            stacklevel=2,
        )


def _draw_reliability(reports: Sequence, path: Path, overwrite: bool) -> list[Path]:
    import numpy as np
    from matplotlib.figure import Figure

    from radio_ag.attention.figures import save_figure
    from radio_ag.evaluation.calibration import draw_reliability

    figure = Figure(figsize=(3.4 * len(reports), 3.2), layout="constrained")
    for axes, report in zip(np.ravel(figure.subplots(1, len(reports), squeeze=False)), reports, strict=True):
        known = np.isfinite(report.outcome.probabilities).all(1)
        draw_reliability(axes, report.outcome.probabilities[known], report.data.label[known])
        axes.set_title(report.card.name)
    return save_figure(figure, path, overwrite=overwrite)


def _print(reports: Sequence) -> None:
    from radio_ag.evaluation.report import mean_over_weights, paper_columns

    console = open_console()
    for report in reports:
        content = report.content
        columns = paper_columns([report])
        way = f"orbit {content['orbit']}, " + (
            "as served" if content["protocol"] == "served" else f"mean over {content['times']} augmented copies"
        )
        if "copies" in content:
            console.print(
                _table(f"{content['weights']}: augmented copies, as the paper counts", content["copies"], columns)
            )
        console.print(_table(f"{content['weights']}: sources, {way}", content["figures"], {}))
        if content["protocol"] == "served" and content["noise_known"] < len(report.data):
            console.print("Of images that came clipped the noise is not known: they have the network's flags alone.")
        _print_robustness(console, content)
        if "members" in content:
            console.print(_spread_table("members of the ensemble, each alone", content["members"], {}))
    if len(reports) > 1:
        console.print(
            _spread_table(f"{len(reports)} sets of weights", mean_over_weights(reports), paper_columns(reports))
        )
    if not any(paper_columns([report]) for report in reports) and not paper_columns(reports):
        console.print(
            "No figures of the paper stand beside these: they compare with networks built as its own, on its test "
            "sets, after --protocol paper."
        )


def _table(title: str, figures: Mapping, columns: Mapping) -> "Table":
    return _rich_table(
        title, figures, columns, lambda one, name: _with_interval(one[name], one.get(f"{name}_interval"))
    )


def _spread_table(title: str, figures: Mapping, columns: Mapping) -> "Table":
    """Mean and standard deviation over networks."""

    def cell(one: Mapping, name: str) -> str:
        return f"{one[name]['mean']:.3f} ± {one[name]['std']:.3f}"

    return _rich_table(f"{title}: mean ± standard deviation", figures, columns, cell)


def _rich_table(title: str, figures: Mapping, columns: Mapping, cell: Callable[[Mapping, str], str]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("", no_wrap=True)
    for subset, one in figures.items():
        table.add_column(_heading(subset, one), justify="right")
        for column in columns.get(subset, ()):
            table.add_column(f"paper, table {column.table}\n{column.title}", justify="right")
    for name, heading in _ROWS.items():
        if not all(name in one for one in figures.values()):
            continue
        cells = []
        for subset, one in figures.items():
            theirs = [column.figures().get(name) for column in columns.get(subset, ())]
            cells += [cell(one, name), *("" if value is None else f"{value:.2f}" for value in theirs)]
        table.add_row(heading, *cells)
    return table


def _heading(subset: str, figures: Mapping) -> str:
    """The name of a subset, how many sources it has, and how many of them have no class."""
    lines = [subset, f"{figures['sources']} sources"] if "sources" in figures else [subset]
    if isinstance(without := figures.get("unclassified"), int) and without:
        lines.append(f"{without} without a class")
    return "\n".join(lines)


def _with_interval(value: float | None, interval: Sequence[float | None] | None) -> str:
    if value is None:
        return "undefined"
    if interval is None or interval[0] is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval[0]:.2f} {interval[1]:.2f})"


def _print_robustness(console: "Console", content: Mapping) -> None:
    for subset, one in content.get("rotation", {}).items():
        share = _with_interval(one["changed"], one["changed_interval"])
        console.print(f"{subset}: {share} get another class at one of {one['angles']} angles")
    for subset, steps in content.get("offset", {}).items():
        accuracies = ", ".join(f'{step["offset_arcsec"]:g}": {step["accuracy"]:.3f}' for step in steps)
        console.print(f"{subset}: accuracy with the centre off by {accuracies}")
