"""``radio-ag weights``: what networks there are, what their cards say, import from and export to other formats."""

from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import check_answered, open_console, print_json, reporting
from radio_ag.cli.options import Debug

app = typer.Typer(no_args_is_help=True, help="List, describe, import and export trained networks.")


@app.command("list")
def list_command(debug: Debug = False) -> None:
    """List the trained networks: those of the package, then the user's own."""
    from rich.table import Table

    from radio_ag.weights import list_weights

    table = Table(show_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("parameters", justify="right")
    table.add_column("description")
    with reporting(services=False):
        cards = list_weights()
    for card in cards:
        table.add_row(card.name, f"{card.parameters:,}" if card.parameters else "", card.description)
    open_console().print(table)
    check_answered()


@app.command()
def info(
    weights: Annotated[str, typer.Argument(help="Name of bundled weights, or path of a .safetensors file.")],
    debug: Debug = False,
) -> None:
    """Print the card of a trained network: architecture, input, training set, metrics, licence."""
    from radio_ag.weights import card

    print_json(card(weights).content)
    check_answered()


@app.command("import")
def import_command(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a published network, a .pt file.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Name or path of the .safetensors file to write.", show_default=False)
    ],
    normalisation: Annotated[
        str,
        typer.Option(
            help="Normalisation of the attention maps, which the file does not tell: "
            "range, sigmoid, softmax or standardisation.",
            show_default=False,
        ),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the weights if they exist.")] = False,
    debug: Debug = False,
) -> None:
    """Turn a published PyTorch checkpoint into safetensors with a card."""
    from radio_ag.network.checkpoints import import_checkpoint

    typer.echo(import_checkpoint(checkpoint, output, normalisation=normalisation, overwrite=overwrite))


@app.command("export")
def export_command(
    weights: Annotated[
        str, typer.Argument(help="Name of bundled weights, or path of a .safetensors file.", show_default=False)
    ],
    output: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
    onnx: Annotated[bool, typer.Option("--onnx", help="As ONNX, for programs that have no PyTorch.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    debug: Debug = False,
) -> None:
    """Write a network for other programs: ONNX, with its card in the metadata."""
    if not onnx:
        raise typer.BadParameter("name the format: --onnx")
    with reporting(services=False):
        from radio_ag.network.checkpoints import load_weights
        from radio_ag.network.onnx import export_onnx

        path = export_onnx(load_weights(weights), output, overwrite=overwrite)
    typer.echo(path)


@app.command("card")
def card_command(
    weights: Annotated[str, typer.Argument(help="Name of bundled weights, or path of a .safetensors file.")],
    debug: Debug = False,
) -> None:
    """Print the card of a trained network as a model card of Hugging Face, a README.md."""
    from radio_ag.weights import card
    from radio_ag.weights.model_card import model_card

    typer.echo(model_card(card(weights)), nl=False)
    check_answered()
