"""``radio-ag attention``: where networks look, as figures and numbers."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import print_json, reporting
from radio_ag.cli.options import Debug

app = typer.Typer(no_args_is_help=True, help="Show and measure where networks look, for a result or labelled images.")


class SourceFigure(StrEnum):
    """What to draw of one source."""

    gates = "gates"
    preprocessing = "preprocessing"
    network = "network"


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
        help="Name or path of weights; may be given several times, e.g. for the checkpoints of a training.",
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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")]


@app.command()
def source(
    data: Input,
    position: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="Name, position, or row number (from 0) of a source.", show_default=False),
    ],
    output: Output,
    figure: Annotated[
        SourceFigure, typer.Option(help="Image with each gate's map, the preprocessing, or the network's parts.")
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
        from radio_ag.figures import save_figure
        from radio_ag.inspection_figures import draw_source

        drawn = draw_source(data, position, weights or [], figure.value, images=_one(images), device=device)
        _echo(save_figure(drawn, output, overwrite=overwrite), quiet)
