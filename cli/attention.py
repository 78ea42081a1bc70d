"""``radio-ag attention``: where networks look, as figures and numbers."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import print_attention, print_json, reporting
from radio_ag.cli.options import Debug

app = typer.Typer(no_args_is_help=True, help="Show and measure where networks look, for a result or labelled images.")


class SourceFigure(StrEnum):
    """What to draw of one source."""

    gates = "gates"
    preprocessing = "preprocessing"
    network = "network"
    gate_steps = "gate-steps"


Input = Annotated[
    Path,
    typer.Argument(
        metavar="RESULT|DATA",
        help="FITS product of classify, or FITS file of labelled images (HDUs SOURCES and IMAGES).",
        show_default=False,
    ),
]
_MOST_IN_A_ROW = 6  # maps
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
        help="Of a result: FITS image, folder or quoted glob of images to cut from, may be given several times; first "
        "for the FIRST service.",
        show_default="cutouts kept in the product, else the FIRST service if it was made from that",
    ),
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Of a result: column with the labels FRI and FRII.", show_default=False)
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
        from radio_ag.catalog_io.inspected import open_sources
        from radio_ag.inspection import inspect_source

        names = _chosen(weights)
        sources = open_sources(data, images=_one(images))
        row = sources.find(position)
        inspected = [
            inspect_source(c, sources.clipped(_rows(row), c.preprocessing.clip)[0]) for c in _networks(names, device)
        ]
        observed, title = sources.observed(_rows(row))[0], str(sources.table["name"][row])
        drawn = _draw_source(figure, observed, inspected, _labels(names), sources.wcs(row), title)
        written = _save(drawn, output, overwrite)
    _echo(written, quiet)


def _draw_source(figure: SourceFigure, observed, inspected: list, labels: list[str], wcs, title: str):
    from radio_ag import figures
    from radio_ag.errors import InputError
    from radio_ag.preprocess import crop

    first = inspected[0]
    if figure is SourceFigure.preprocessing:
        return figures.preprocessing_figure(observed, first.clipped, first.prepared, first.augmented)
    if figure is not SourceFigure.gates and not first.features:
        raise InputError(f"{labels[0]} is no AG-CNN: its parts cannot be drawn")
    if figure is SourceFigure.network:
        gates = [steps.attention for steps in first.steps]
        return figures.network_figure(first.prepared, first.features, gates, first.probabilities)
    if not any(len(one.gates) for one in inspected):
        raise InputError("a network without attention gates has no maps: draw it with --figure network")
    if figure is SourceFigure.gate_steps:
        return figures.gate_steps_figure(first.steps, title=title)
    image = crop(observed[None])[0]
    if len(inspected) == 1:
        return figures.source_figure(image, first.gates, emission=first.clipped, wcs=wcs, title=title)
    lines = _in_lines([one.gates.mean(0) if len(one.gates) else None for one in inspected])
    pictures = [image, *[None] * (len(lines) - 1)]
    emission = [first.clipped] * len(lines)
    return figures.grid_figure(lines, _in_lines(labels), emission=emission, images=pictures, wcs=wcs, title=title)


@app.command()
def aggregate(
    data: Input,
    output: Output,
    times: Times = 100,
    weights: WeightsList = None,
    images: Images = None,
    label_column: LabelColumn = None,
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
        from radio_ag.augmented import aggregate as aggregate_sources
        from radio_ag.catalog_io.inspected import open_sources
        from radio_ag.errors import InputError

        names = _chosen(weights)
        sources = open_sources(data, images=_one(images), label_column=label_column)
        by = "label" if sources.labelled else "predicted"
        found = []
        for classifier in _networks(names, device):
            if not classifier.gates:
                raise InputError(f"{classifier.card['name']} has no attention gates")
            chunks = sources.chunks(classifier.preprocessing.clip)
            found.append(
                aggregate_sources(classifier, chunks, times=times, seed=seed, total=len(sources), progress=progress)
            )
        drawn = _draw_course(found, _labels(names), by) if len(found) > 1 else _draw_means(found[0], by)
        stem = output.with_suffix("") if output.suffix in (".png", ".pdf") else output
        written = [
            file for name, one in drawn.items() for file in _save(one, stem.with_name(stem.name + name), overwrite)
        ]
    _echo(written, quiet)


def _draw_means(found, by: str) -> dict:
    """Figures of one network's means, by what is added to the output's name."""
    from radio_ag import figures

    drawn = {
        "-class": figures.aggregate_figure(found, by=by),
        "-difference": figures.difference_figure(found, by=by),
        "-certainty": figures.certainty_figure(found, by=by),
    }
    return drawn | ({"-confusion": figures.confusion_figure(found)} if by == "label" else {})


def _draw_course(found: list, labels: list[str], by: str) -> dict:
    """Mean attention of several networks: both classes in one figure, or a figure a class where they are many."""
    from radio_ag import figures
    from radio_ag.model import CLASSES

    maps = [[one.attention(**{by: k}) for one in found] for k in range(len(CLASSES))]
    images = [found[0].image(**{by: k}) for k in range(len(CLASSES))]
    word = "" if by == "label" else "predicted "
    if len(found) <= _MOST_IN_A_ROW:
        titles = [labels, [""] * len(found)]
        return {"": figures.grid_figure(maps, titles, rows=[word + name for name in CLASSES], images=images)}
    return {
        f"-{name}": figures.grid_figure(_in_lines(line), _in_lines(labels), title=f"⟨{word}{name}⟩")
        for name, line in zip(CLASSES, maps, strict=True)
    }


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
        import numpy as np

        from radio_ag.augmented import classification_rates, false_classification_rate, find_outliers, least_stable
        from radio_ag.catalog_io.inspected import open_sources
        from radio_ag.errors import InputError
        from radio_ag.figures import outliers_figure
        from radio_ag.inspection import inspect_source
        from radio_ag.model import CLASSES

        sources = open_sources(data, images=_one(images), label_column=label_column)
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
            titles = [f"{table['name'][r]}\n{table['label'][r]}, {table['false_rate'][r]:.1%}" for r in rows]
        elif "p_std" in table.colnames:
            rows = least_stable(table["p_std"], count)
            titles = [f"{table['name'][r]}\n{table['class'][r]}, p_std {table['p_std'][r]:.2f}" for r in rows]
        else:
            raise InputError("outliers needs labels, or a result with p_std")
        written = [_write_table(table[rows], output, overwrite)]
        if len(rows):
            shown = [
                inspect_source(classifier, sources.clipped(_rows(row), classifier.preprocessing.clip)[0])
                for row in rows.tolist()
            ]
            maps = [one.gates.mean(0) for one in shown] if classifier.gates else [one.clipped * 0 for one in shown]
            figure = outliers_figure([one.clipped for one in shown], maps, titles)
            written += _save(figure, output.with_suffix(""), overwrite)
    if not quiet:
        typer.echo(f"{len(rows)} of {len(table)} sources")
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

        from radio_ag.attention import summarise_by_class
        from radio_ag.catalog_io.inspected import open_sources
        from radio_ag.inspection import measure_attention

        names = _chosen(weights)
        sources = open_sources(data, images=_one(images), label_column=label_column)
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


def _class_names(label) -> list[str]:
    from radio_ag.model import CLASSES

    return [CLASSES[k] if k >= 0 else "" for k in label.tolist()]


def _chosen(weights: list[str] | None) -> list[str]:
    from radio_ag.snapshots import expand_snapshots
    from radio_ag.weights import DEFAULT

    return expand_snapshots(weights or [DEFAULT])


def _networks(names: list[str], device: str):
    """A classifier for each name of weights, one at a time."""
    from radio_ag.snapshots import load_classifier

    return (load_classifier(name, device=device) for name in names)


def _labels(names: list[str]) -> list[str]:
    """What the figures call weights: the name, or how far the training had come."""
    from radio_ag.snapshots import SUFFIX, snapshot_label

    labels = []
    for name in names:
        path = Path(name)
        stem = path.stem if path.suffix == ".safetensors" else name
        labels.append(snapshot_label(path) if path.suffix == SUFFIX else stem)
    return labels


def _in_lines(items: list, longest: int = 4) -> list[list]:
    """Lines of at most four."""
    return [items[i : i + longest] for i in range(0, len(items), longest)]


def _one(images: list[str] | None):
    return images[0] if images and len(images) == 1 else images or None


def _rows(row: int):
    import numpy as np

    return np.array([row])


def _save(figure, path: Path, overwrite: bool) -> list[Path]:
    from radio_ag.figures import save_figure

    return save_figure(figure, path, overwrite=overwrite)


def _write_table(table, output: Path, overwrite: bool) -> Path:
    from radio_ag.catalog_io.product import check_output

    path = check_output(output.with_suffix(".ecsv"), overwrite)
    table.write(path, format="ascii.ecsv", overwrite=overwrite)
    return path


def _echo(files: list[Path], quiet: bool) -> None:
    if not quiet:
        for file in files:
            typer.echo(file)
