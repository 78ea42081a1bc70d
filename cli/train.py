"""``radio-ag train``: networks from labelled images of one's own."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.options import Classes, Debug, LabelColumn, LabelledBeam, LabelledPixels


class RecipeName(StrEnum):
    """The recipes that have a name."""

    default = "default"
    paper = "paper"
    finetune = "finetune"


def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Labelled images: FITS files with the table SOURCES and the cube IMAGES, or published data sets. A "
            "product that kept its cutouts, or any with --labels; with --images a catalogue.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the checkpoints, the log and the weights; a run in it goes on.",
            show_default=False,
        ),
    ],
    recipe: Annotated[
        RecipeName | None,
        typer.Option(help="How to train.", show_default="default; finetune with --from"),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WEIGHTS",
            help="Go on from trained weights, by name or path, instead of beginning anew.",
            show_default=False,
        ),
    ] = None,
    freeze: Annotated[
        bool | None,
        typer.Option(
            "--freeze/--no-freeze",
            help="With --from: let the last layers alone learn, or all of them.",
            show_default="--freeze with fewer than 60 training sources",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="Where the images of a catalogue with a column of labels come from: a survey, files or a folder, as "
            "for classify; with --labels those of the product's sources.",
            show_default=False,
        ),
    ] = None,
    classes: Classes = None,
    label_column: LabelColumn = "fr_class",
    beam: LabelledBeam = None,
    pixel_scale: LabelledPixels = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels that people gave to the sources of a product; its cutouts are learnt from, or those of its "
            "survey, asked again.",
            show_default=False,
        ),
    ] = None,
    fold: Annotated[int, typer.Option(help="Fold of the sources that is watched instead of learnt from.", min=0)] = 0,
    folds: Annotated[int, typer.Option(help="Number of folds.", min=2)] = 5,
    seeds: Annotated[int, typer.Option(help="Networks to train; more than one are an ensemble.", min=1)] = 1,
    samples: Annotated[
        int | None,
        typer.Option(help="Augmented images that each network sees.", show_default="what the recipe says", min=1),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of the recipe, such as batch=16, architecture.gates=2 or "
            "architecture=classic_cnn; may be given several times.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Processors to use.", show_default="all", min=1)] = None,
    keep_checkpoints: Annotated[
        bool,
        typer.Option(
            "--keep-checkpoints",
            help="Keep a copy of every checkpoint, in OUT/seed-N/course, for radio-ag attention to draw the course.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Train networks on labelled images, and save them as weights that classify accepts."""
    changes = dict(_split_setting(text) for text in settings or [])
    if freeze is not None and start is None:
        raise typer.BadParameter("it is for training that goes on from weights: --from", param_hint="--freeze")
    from radio_ag.cli.console import reporting

    with reporting(quiet):
        import torch

        from radio_ag.labelled.data import Reading
        from radio_ag.network.checkpoints import load_weights
        from radio_ag.network.devices import choose_device
        from radio_ag.training.recipes import named_recipe
        from radio_ag.training.weights import train_weights

        if threads:
            torch.set_num_threads(threads)
        log = (lambda line: None) if quiet else (lambda line: typer.echo(f"radio-ag: {line}", err=True))
        if labels is not None:
            data, images, label_column = [_label_product(data, labels, images, out)], None, "fr_class"
        chosen = recipe or (RecipeName.finetune if start else RecipeName.default)
        path = train_weights(
            [_with_images(path, images, out, label_column, beam, log) for path in data],
            named_recipe(chosen.value, changes),
            out,
            fold=fold,
            folds=folds,
            seeds=seeds,
            samples=samples,
            device=choose_device(device),
            command=" ".join(["radio-ag", *sys.argv[1:]]),
            reading=Reading(classes, label_column, beam, pixel_scale),
            parent=load_weights(start) if start else None,
            freeze=freeze,
            log=_keeping(log, out) if keep_checkpoints else log,
        )
    typer.echo(path)


def _label_product(data: list[Path], labels: Path, images: str | None, out: Path) -> Path:
    """Write the labelled images of a product into the folder of the run, and say what is not among them."""
    from radio_ag.catalog_io.result import Result
    from radio_ag.cli.console import print_warning
    from radio_ag.errors import InputError
    from radio_ag.labelled.labels import Labels
    from radio_ag.labelled_product import label_product

    if len(data) != 1:
        raise InputError(f"--labels are those of one product, not of {len(data)} files")
    given = Labels.read(labels)
    out.mkdir(parents=True, exist_ok=True)
    made = label_product(Result.read(data[0]), given, out / "labelled.fits", images=images)
    for names, what in (
        (made.undecided, "with two labels of the same weight"),
        (made.elsewhere, f"that are not in {data[0].name}"),
        (made.without_image, "without an image"),
    ):
        if names:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            print_warning(f"left out {len(names)} labelled sources {what}: {shown}")
    return made.path


def _with_images(
    path: Path, images: str | None, out: Path, label_column: str, beam: float | None, log: Callable[[str], None]
) -> Path:
    """Labelled images: the file itself, or what is made of a catalogue or a product, in the folder of the training."""
    from radio_ag.gather import gather_labelled, is_product

    if images is None and not is_product(path):
        return path
    options = {} if images is None else {"beam_scaled": True} | ({} if beam is None else {"beam": beam})
    output = out / f"{path.name.split('.')[0]}.labelled.fits"
    return gather_labelled(path, output, images=images, label_column=label_column, log=log, **options)


def _keeping(log: Callable[[str], None], out: Path) -> Callable[[str], None]:
    """A log that keeps the checkpoints there are at each line: there is a line after each new one."""
    from radio_ag.training.snapshots import keep_snapshot

    def keep_and_log(line: str) -> None:
        for checkpoint in out.glob("seed-*/checkpoint.pt"):
            keep_snapshot(checkpoint)
        log(line)

    return keep_and_log


def _split_setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--set")
    return key.strip(), value.strip()
