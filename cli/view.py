"""``radio-ag view``: a product as an HTML page to look through, and to give labels on."""

import tempfile
import webbrowser
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radio_ag.cli.console import reporting
from radio_ag.cli.options import Debug

if TYPE_CHECKING:
    from radio_ag.catalog_io.export.page import Labelling


class Order(StrEnum):
    """Which sources are asked first for their labels."""

    doubt = "doubt"
    unlike = "unlike"
    row = "row"
    random = "random"


def view(
    result: Annotated[Path, typer.Argument(help="FITS product of classify.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file to write.", show_default="beside the product, as NAME.html"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it exists.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="FITS image, folder or quoted glob of images to cut from, may be given several times; "
            "a survey, such as first; none for attention maps alone.",
            show_default="cutouts kept in the product, else the survey that it was made from, asked again",
        ),
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Show each row of the catalogue instead of each source.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Heading of the page.", show_default="the catalogue's name")] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="Labels to give on the page, with commas between them, such as FRI,FRII,bent,junk.",
            show_default="a page to look at",
        ),
    ] = None,
    order: Annotated[
        Order,
        typer.Option(
            help="Sources asked first for a label: those in doubt, those unlike what the network has seen, by row, or "
            "at random."
        ),
    ] = Order.doubt,
    who: Annotated[str, typer.Option(help="Name of who gives the labels.", show_default="asked on the page")] = "",
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels given before, to go on from; with --serve the file that they are kept in.",
            show_default="with --serve, labels.ecsv beside the product",
        ),
    ] = None,
    second: Annotated[
        Path | None,
        typer.Option(
            "--second-opinion",
            help="Labels of someone else: these sources alone are asked, and their first label is told afterwards.",
            show_default=False,
        ),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Serve the page to this machine alone, and keep each label in the file at once."),
    ] = False,
    port: Annotated[int, typer.Option(help="Port for --serve.", show_default="a free one", min=0, max=65535)] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every log line.")] = False,
    debug: Debug = False,
) -> None:
    """Write a self-contained page for looking through the sources: cutouts, attention, classes, flags.

    Beyond 10,000 sources several pages are written, which link to each other. With --label the page takes labels.
    """
    if label is None and (serve or labels or second or who):
        raise typer.BadParameter("--serve, --labels, --second-opinion and --who need --label")

    def write(path: Path, overwrite: bool, labelling: "Labelling | None") -> list[Path]:
        from radio_ag.catalog_io.export.page import write_page
        from radio_ag.catalog_io.result import Result

        with reporting(quiet, verbose, "writing the page") as progress:
            return write_page(
                Result.read(result),
                path,
                images=images[0] if images and len(images) == 1 else images,
                title=title,
                rows=rows,
                overwrite=overwrite,
                progress=progress,
                labelling=labelling,
            )

    if serve:
        if output is not None:
            raise typer.BadParameter("a page that is served is not kept: --output and --serve exclude each other")
        with reporting(services=False):
            asked = _labelling(label or "", order, who, None, second, served=True)
        _serve(lambda path: write(path, False, asked), labels or result.with_name("labels.ecsv"), port, open_page)
        return
    with reporting(services=False):
        labelling = _labelling(label, order, who, labels, second) if label is not None else None
    pages = write(output or result.with_suffix(".html"), overwrite, labelling)
    if not quiet:
        for page in pages:
            typer.echo(page)
    if open_page:
        webbrowser.open(pages[0].as_uri())


def _labelling(
    label: str, order: Order, who: str, labels: Path | None, second: Path | None, served: bool = False
) -> "Labelling":
    from radio_ag.catalog_io.export.page import Labelling
    from radio_ag.labelled.labels import Labels

    given, others = ([] if path is None else Labels.read(path).records() for path in (labels, second))
    names = tuple(name.strip() for name in label.split(","))
    return Labelling(names, order.value, who, given, others, served)


def _serve(write: Callable[[Path], list[Path]], labels: Path, port: int, open_page: bool) -> None:
    """Serve the page, which lies in a folder of its own, until it is stopped."""
    from radio_ag.catalog_io.export.page import serve_page
    from radio_ag.labelled.labels import LabelsFile

    def started(address: str) -> None:
        typer.echo(address)
        typer.echo(f"radio-ag: labels are kept in {labels}; Ctrl-C ends", err=True)
        if open_page:
            webbrowser.open(address)

    file = LabelsFile(labels)
    with tempfile.TemporaryDirectory(prefix="radio-ag-") as folder:
        pages = write(Path(folder) / "page.html")
        serve_page(pages, file.records, file.put, started, port)
