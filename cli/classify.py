"""``radio-ag classify``: a catalogue in, a FITS product out."""

import time
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radio_ag.cli.console import print_attention, print_json, print_summary, reporting
from radio_ag.cli.options import Debug, parse_size

_CATALOGUE, _IMAGES, _NETWORK, _OUTPUT = "Catalogue", "Images", "Network", "Output"
_COMPRESSED = {".gz", ".bz2", ".xz", ".zip"}


class AttentionMode(StrEnum):
    """What the product keeps of the attention maps."""

    mean = "mean"
    gates = "gates"
    hdus = "hdus"
    none = "none"


def default_output(catalogue: Path) -> Path:
    """Path of the product of a catalogue: beside it, as ``NAME.radio-ag.fits``."""
    plain = Path(catalogue.stem) if catalogue.suffix.lower() in _COMPRESSED else catalogue
    return catalogue.parent / f"{plain.stem}.radio-ag.fits"


def classify(
    catalogue: Annotated[
        Path,
        typer.Argument(
            help="Catalogue (FITS, VOTable, ECSV, CSV, ASCII or Parquet), or a FITS image to find the sources in.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="FITS product to write.",
            show_default="beside the catalogue, as NAME.radio-ag.fits",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the product if it exists.", rich_help_panel=_OUTPUT)
    ] = False,
    attention: Annotated[
        AttentionMode,
        typer.Option(
            help="Attention maps to keep: the gates' mean, a cube a gate, an image HDU a source, or none.",
            rich_help_panel=_OUTPUT,
        ),
    ] = AttentionMode.mean,
    keep_cutouts: Annotated[
        bool,
        typer.Option(
            "--keep-cutouts", help="Keep the cutouts in the product too, about 10 kB a source.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    attention_stats: Annotated[
        bool,
        typer.Option(
            "--attention-stats",
            help="Add columns on where the attention lies: on the emission, around it, how far off.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Leave a product that this very run has finished. An interrupted run goes on with or without this.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Begin anew, and remove the parts of an interrupted run.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    keep_parts: Annotated[
        bool,
        typer.Option("--keep-parts", help="Keep the folder of parts, NAME.parts, at the end.", rich_help_panel=_OUTPUT),
    ] = False,
    summary_json: Annotated[
        bool,
        typer.Option(
            "--summary-json", help="Print the summary as JSON instead of as a table.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.", rich_help_panel=_OUTPUT)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every log line.", rich_help_panel=_OUTPUT)
    ] = False,
    ra_col: Annotated[
        str | None, typer.Option(help="Column of right ascension.", show_default=False, rich_help_panel=_CATALOGUE)
    ] = None,
    dec_col: Annotated[
        str | None, typer.Option(help="Column of declination.", show_default=False, rich_help_panel=_CATALOGUE)
    ] = None,
    ra_unit: Annotated[
        str | None,
        typer.Option(
            help="Unit of right ascension where the column has none: deg or hourangle.",
            show_default=False,
            rich_help_panel=_CATALOGUE,
        ),
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(
            help="Format of the catalogue, where it is not seen from the file.",
            show_default=False,
            rich_help_panel=_CATALOGUE,
        ),
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            help="Rows that are one source: auto (what the catalogue knows best), none, island (the finder's own), or "
            "a linking radius such as 30arcsec; a plain number is in arcsec.",
            rich_help_panel=_CATALOGUE,
        ),
    ] = "auto",
    join_doubles: Annotated[
        bool,
        typer.Option(
            "--join-doubles",
            help="Join groups that look like two lobes by separation and flux.",
            rich_help_panel=_CATALOGUE,
        ),
    ] = False,
    region: Annotated[
        Path | None,
        typer.Option(
            help="Classify only sources inside: DS9, CRTF or FITS regions, or a MOC.",
            show_default=False,
            rich_help_panel=_CATALOGUE,
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Of an image: least peak of a source, in units of the local noise.",
            rich_help_panel=_CATALOGUE,
        ),
    ] = 5.0,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="FITS image, folder or quoted glob of images to cut from, may be given several times; first for the "
            "FIRST service.",
            show_default="the image that the sources are found in, or cutouts of the FIRST service for a catalogue",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    beam_scaled: Annotated[
        bool,
        typer.Option(
            "--beam-scaled",
            help="Take images with a beam coarser than FIRST's, on pixels of a third of it.",
            rich_help_panel=_IMAGES,
        ),
    ] = False,
    service_url: Annotated[
        str | None,
        typer.Option(
            help="Address of the FIRST cutout service.",
            show_default="RADIO_AG_FIRST_URL in the environment, or astroquery's own",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps fetched fields.",
            show_default="the user's cache folder",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither read nor keep fetched fields.", rich_help_panel=_IMAGES)
    ] = False,
    cache_size: Annotated[
        int | None,
        typer.Option(
            parser=parse_size,
            metavar="SIZE",
            help="Bound of the cache, such as 500MB or 2GB; the oldest fields go first.",
            show_default=False,
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option(min=1, help="Concurrent requests to the service.", show_default=False, rich_help_panel=_IMAGES),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Seconds to wait for the service's answer.", show_default=False, rich_help_panel=_IMAGES
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(help="Name of bundled weights, or path of a .safetensors file.", rich_help_panel=_NETWORK),
    ] = "agcnn-first",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_NETWORK)] = "auto",
    orbit: Annotated[
        int,
        typer.Option(
            min=1,
            help="Orientations to average over: 1, 2, 4, 8 (the exact rotations and flips) or a multiple of 8.",
            rich_help_panel=_NETWORK,
        ),
    ] = 8,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images to put through the network at once.",
            show_default="chosen from memory",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads of the network.",
            show_default="PyTorch's own choice",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Classify each row of a catalogue as FRI or FRII, with attention maps and flags.

    Every row of the catalogue comes out again, in the same order, with all its columns. In a FITS image the sources
    are found first.
    """
    start = time.perf_counter()
    output = output or default_output(catalogue)
    _refuse_to_replace_input(output, [catalogue, *map(Path, images or ())])
    source = images[0] if images and len(images) == 1 else images or None
    service_options = {
        "service_url": service_url,
        "cache_dir": cache_dir,
        "cache": False if no_cache else None,
        "cache_size": cache_size,
        "connections": connections,
        "timeout": timeout,
    }
    service_options = {name: value for name, value in service_options.items() if value is not None}
    from radio_ag.catalog_io.planes import is_image

    from_service = source == "first" or (source is None and not is_image(catalogue))
    if service_options and not from_service:
        raise typer.BadParameter(
            "--service-url, --cache-dir, --no-cache, --cache-size, --connections and --timeout are options of the "
            "FIRST service: they mean nothing with images of your own"
        )
    if beam_scaled and from_service:
        raise typer.BadParameter("--beam-scaled is for images of your own: FIRST's beam needs no scaling")
    image_options = service_options | ({"beam_scaled": True} if beam_scaled else {})
    with reporting(quiet, verbose) as progress:
        from radio_ag.pipeline import classify as classify_catalogue

        result = classify_catalogue(
            catalogue,
            images=source,
            weights=weights,
            device=device,
            orbit=orbit,
            attention=attention.value,
            keep_cutouts=keep_cutouts,
            attention_stats=attention_stats,
            batch=batch,
            threads=threads,
            ra_col=ra_col,
            dec_col=dec_col,
            ra_unit=ra_unit,
            dialect=dialect,
            group=group,
            join_doubles=join_doubles,
            region=region,
            threshold=threshold,
            image_options=image_options,
            output=output,
            overwrite=overwrite,
            resume=resume,
            restart=restart,
            keep_parts=keep_parts,
            progress=progress,
        )
        summary = result.summary()
        _warn_of_wrong_sky(summary)
        if attention_stats:
            from radio_ag.attention import summarise_result

            summary["attention"] = summarise_result(result.table)
    if summary_json:
        print_json(summary)
    elif not quiet:
        print_summary(summary, str(output), time.perf_counter() - start)
        if attention_stats:
            print_attention(summary["attention"])


def _refuse_to_replace_input(output: Path, inputs: list[Path]) -> None:
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            from radio_ag.errors import OutputError

            raise OutputError(f"the output {output} is one of the inputs; choose another with --output")


def _warn_of_wrong_sky(summary: dict) -> None:
    rows = summary["rows"]
    if rows and summary["flags"].get("NO_COVERAGE") == rows:
        from radio_ag.errors import RadioAGWarning

        warnings.warn(f"all {rows} rows lie outside the images: is this the right sky?", RadioAGWarning, stacklevel=2)
