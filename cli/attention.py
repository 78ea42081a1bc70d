"""``radio-ag attention``: where networks look, as figures and numbers."""

import importlib.util
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radio_ag.cli.console import ProgressCallback, check_answered, print_attention, print_json, reporting
from radio_ag.cli.options import Debug

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from astropy.table import Table
    from numpy.typing import NDArray

    from radio_ag.network.classifier import Classifier

app = typer.Typer(no_args_is_help=True, help="Show and measure where networks look, for a result or labelled images.")


class SourceFigure(StrEnum):
    """What to draw of one source."""

    gates = "gates"
    preprocessing = "preprocessing"
    network = "network"
    gate_steps = "gate-steps"


class ClassKind(StrEnum):
    """Which class sources are told apart by."""

    label = "label"
    predicted = "predicted"


Input = Annotated[
    Path,
    typer.Argument(
        metavar="RESULT|DATA",
        help="FITS product of classify, or FITS file of labelled images (HDUs SOURCES and IMAGES).",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="What to write.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
WeightsList = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        help="Name or path of weights, checkpoint of a training (.pt), or folder of checkpoints; may be given several "
        "times.",
        show_default="agcnn-first",
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        help="Of a result: FITS image, folder or quoted glob of images to cut from, may be given several times; a "
        "survey, such as first.",
        show_default="cutouts kept in the product, else the survey that it was made from, asked again",
    ),
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Of a result: column with the labels FRI and FRII.", show_default=False)
]
ConfidenceColumn = Annotated[
    str | None,
    typer.Option(
        help="Of a result: column that is certain, or true, where the label is.",
        show_default="certain without the flag UNCERTAIN",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Times = Annotated[int, typer.Option("--times", "-n", min=1, help="Random augmentations of each source.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the random augmentations.")]
Weights = Annotated[str, typer.Option(help="Name or path of weights.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")]


@app.command()
def source(
    data: Input,
    position: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="Name, position, or row number (from 0).", show_default=False),
    ],
    output: Output,
    figure: Annotated[
        SourceFigure,
        typer.Option(
            help="Image with each gate's map, the preprocessing, the network's parts, or the steps inside each gate."
        ),
    ] = SourceFigure.gates,
    weights: WeightsList = None,
    images: Images = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw one source with its attention on the sky; with several weights, the mean attention of each."""
    with reporting(quiet=True):
        _require_matplotlib()
        from radio_ag.attention.figures import figure_files, save_figure
        from radio_ag.attention.inside import trace_source
        from radio_ag.attention.sources import open_sources
        from radio_ag.cli.attention_figures import draw_source

        figure_files(output, overwrite=overwrite)
        names = _chosen(weights)
        sources = open_sources(data, images=_one(images))
        row = sources.find(position)
        traced = [
            trace_source(c, sources.clipped(_rows(row), c.preprocessing.clip)[0]) for c in _networks(names, device)
        ]
        observed, title = sources.observed(_rows(row))[0], str(sources.table["name"][row])
        sky = sources.wcs(row), sources.beam(row)
        drawn = draw_source(figure.value, observed, traced, _labels(names), *sky, title)
        written = save_figure(drawn, output, overwrite=overwrite)
    _echo(written, quiet)


@app.command()
def aggregate(
    data: Input,
    output: Output,
    times: Times = 100,
    by: Annotated[
        ClassKind | None, typer.Option(help="Class to take means by.", show_default="label where there are labels")
    ] = None,
    weights: WeightsList = None,
    images: Images = None,
    label_column: LabelColumn = None,
    confidence_column: ConfidenceColumn = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw mean images and mean attention over augmented sources, by class, certainty and prediction.

    The output's name gets -class, -difference, -certainty and, with labels, -confusion. With several weights the mean
    attention of each is drawn instead, with more than six in a figure a class. Without labels classes are predicted.
    """
    with reporting(quiet, doing="augmenting") as progress:
        _require_matplotlib()
        from radio_ag.attention.augmented import aggregate as aggregate_sources
        from radio_ag.attention.figures import figure_files, save_figure
        from radio_ag.attention.sources import open_sources
        from radio_ag.cli.attention_figures import draw_course, draw_means, output_names
        from radio_ag.errors import InputError

        names = _chosen(weights)
        columns = {"label_column": label_column, "confidence_column": confidence_column}
        sources = open_sources(data, images=_one(images), **columns, once=True)
        if by is ClassKind.label and not sources.labelled:
            raise InputError("means by label need labels of both classes: name their column with --label-column")
        kind = by.value if by else "label" if sources.labelled else "predicted"
        stem = output.with_suffix("") if output.suffix in (".png", ".pdf") else output
        outputs = {name: stem.with_name(stem.name + name) for name in output_names(len(names), sources.labelled)}
        for path in outputs.values():
            figure_files(path, overwrite=overwrite)
        found = []
        for number, classifier in enumerate(_networks(names, device)):
            if not classifier.gates:
                raise InputError(f"{classifier.card.name} has no attention gates")
            chunks = sources.chunks(classifier.preprocessing.clip)
            part = progress and _part(progress, number, len(names))
            total = len(sources)
            found.append(aggregate_sources(classifier, chunks, times=times, seed=seed, total=total, progress=part))
        if len(found) > 1:
            drawn = draw_course(found, _labels(names), kind)
        else:
            drawn = draw_means(found[0], kind, confusion=sources.labelled, weights=_labels(names)[0])
        written = [file for name, one in drawn.items() for file in save_figure(one, outputs[name], overwrite=overwrite)]
    _echo(written, quiet)


@app.command()
def outliers(
    data: Input,
    output: Output,
    times: Times = 1000,
    above: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="False classification rate above which a source is listed.")
    ] = 0.95,
    count: Annotated[int, typer.Option(min=1, help="Sources to list where there are no labels.")] = 8,
    weights: Weights = "agcnn-first",
    images: Images = None,
    label_column: LabelColumn = None,
    confidence_column: ConfidenceColumn = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List and draw labelled sources that are nearly always classified otherwise.

    Without labels, the sources of a result whose class changes most over orientations (p_std). Writes a table, .ecsv,
    and a figure.
    """
    with reporting(quiet, doing="augmenting") as progress:
        _require_matplotlib()
        import numpy as np

        from radio_ag.attention.augmented import (
            classification_rates,
            false_classification_rate,
            find_outliers,
            least_stable,
        )
        from radio_ag.attention.figures import figure_files, outliers_figure, save_figure
        from radio_ag.attention.inside import trace_source
        from radio_ag.attention.sources import open_sources
        from radio_ag.errors import InputError
        from radio_ag.network.model import CLASSES
        from radio_ag.writing import check_output

        check_output(output.with_suffix(".ecsv"), overwrite)
        picture = output.with_suffix("")
        figure_files(picture, overwrite=overwrite)
        columns = {"label_column": label_column, "confidence_column": confidence_column}
        sources = open_sources(data, images=_one(images), **columns, once=True)
        (classifier,) = _networks([weights], device)
        table = sources.table.copy()
        if (sources.label >= 0).any():
            chunks = sources.chunks(classifier.preprocessing.clip)
            rates = classification_rates(
                classifier, chunks, times=times, seed=seed, total=len(sources), progress=progress
            )
            table["label"] = np.array([*CLASSES, ""])[sources.label]
            table["certain"] = sources.certain
            table["false_rate"] = false_classification_rate(rates, sources.label)
            rows = find_outliers(table["false_rate"], above)
            titles = [
                f"{table['name'][r]}\nlabelled {table['label'][r]}, {table['false_rate'][r]:.1%} wrong" for r in rows
            ]
        elif "p_std" in table.colnames:
            rows = least_stable(table["p_std"], count)
            titles = [
                f"{table['name'][r]}\n{table['class'][r]}, p = {table['probability'][r]:.2f} ± {table['p_std'][r]:.2f}"
                for r in rows
            ]
        else:
            raise InputError("outliers needs labels, or a result with p_std")
        written = [_write_table(table[rows], output, overwrite)]
        if len(rows):
            shown = [
                trace_source(classifier, sources.clipped(_rows(row), classifier.preprocessing.clip)[0])
                for row in rows.tolist()
            ]
            maps = [one.gates.mean(0) for one in shown] if classifier.gates else [one.clipped * 0 for one in shown]
            beam = sources.beam(int(rows[0]))
            alike = all(sources.beam(row) == beam for row in rows.tolist())
            figure = outliers_figure(
                [one.clipped for one in shown], maps, titles, beam=beam if alike else None, title=weights
            )
            written += save_figure(figure, picture, overwrite=overwrite)
    if not quiet:
        typer.echo(f"{len(rows)} of {len(table)} sources")
        for title in titles:
            typer.echo("  " + title.replace("\n", ": "))
    _echo(written, quiet)


@app.command()
def compare(
    data: Input,
    weights: WeightsList = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Table of every source (.ecsv) to write.", show_default=False)
    ] = None,
    images: Images = None,
    label_column: LabelColumn = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Measure how the attention of networks lies to the emission, by class, on the same sources."""
    with reporting(quiet=True):
        from astropy.table import vstack

        from radio_ag.attention.inside import measure_attention
        from radio_ag.attention.sources import open_sources
        from radio_ag.attention.statistics import summarise_by_class
        from radio_ag.writing import check_output

        if output is not None:
            check_output(output.with_suffix(".ecsv"), overwrite)
        names = _chosen(weights)
        sources = open_sources(data, images=_one(images), label_column=label_column, once=True)
        lines, tables = [], []
        for name, classifier in zip(_labels(names), _networks(names, device), strict=True):
            values, predicted = measure_attention(classifier, sources.chunks(classifier.preprocessing.clip))
            classes = _class_names(sources.label) if sources.labelled else predicted
            lines += [{"weights": name, **line} for line in summarise_by_class(values, classes)]
            table = sources.table.copy()
            table.add_column([name] * len(table), name="weights", index=0)
            table["predicted"] = predicted
            for column, numbers in values.items():
                table[column] = numbers
            tables.append(table)
        if output is not None:
            _write_table(vstack(tables), output, overwrite)
    if as_json:
        print_json(lines)
    else:
        print_attention(lines)
    if output is None:
        check_answered()


def _class_names(label: "NDArray[np.intp]") -> list[str]:
    from radio_ag.network.model import CLASSES

    return [CLASSES[k] if k >= 0 else "" for k in label.tolist()]


def _chosen(weights: list[str] | None) -> list[str]:
    from radio_ag.training.snapshots import expand_snapshots
    from radio_ag.weights import DEFAULT

    return expand_snapshots(weights or [DEFAULT])


def _networks(names: list[str], device: str) -> "Iterator[Classifier]":
    """A classifier for each name of weights, one at a time."""
    from radio_ag.training.snapshots import load_classifier

    return (load_classifier(name, device=device) for name in names)


def _labels(names: list[str]) -> list[str]:
    """What the figures call weights: the name, or how far the training had come."""
    from radio_ag.training.snapshots import SUFFIX, snapshot_label

    labels = []
    for name in names:
        path = Path(name)
        stem = path.stem if path.suffix == ".safetensors" else name
        labels.append(snapshot_label(path) if path.suffix == SUFFIX else stem)
    return labels


def _part(progress: ProgressCallback, number: int, parts: int) -> ProgressCallback:
    """Progress of the part with that number, from 0, of several as long as each other."""
    return lambda done, total, counts: progress(number * total + done, parts * total, counts)


def _one(images: list[str] | None) -> Any:
    return images[0] if images and len(images) == 1 else images or None


def _rows(row: int) -> "NDArray[np.intp]":
    import numpy as np

    return np.array([row])


def _require_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        from radio_ag.errors import InputError

        raise InputError("figures need matplotlib: pip install 'radio-ag[plot]'")


def _write_table(table: "Table", output: Path, overwrite: bool) -> Path:
    from radio_ag.writing import check_output

    path = check_output(output.with_suffix(".ecsv"), overwrite)
    table.write(path, format="ascii.ecsv", overwrite=overwrite)
    return path


def _echo(files: list[Path], quiet: bool) -> None:
    if not quiet:
        for file in files:
            typer.echo(file)
