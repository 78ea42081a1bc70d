"""Options that several commands share, and the values that need parsing."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

_DEBUG = "radio_ag.debug"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def _remember_debug(ctx: typer.Context, requested: bool) -> None:
    if requested:
        ctx.meta[_DEBUG] = True


def debugging(ctx: typer.Context) -> bool:
    """Whether ``--debug`` was given, before the command's name or after it."""
    return ctx.meta.get(_DEBUG, False)


Debug = Annotated[bool, typer.Option("--debug", callback=_remember_debug, help="Show the traceback of an error.")]


def parse_size(text: str) -> int:
    """Number of bytes in a human size.

    Parameters
    ----------
    text : str
        A number with a decimal (``kB`` … ``TB``) or binary (``KiB`` … ``TiB``) unit, of any case;
        without a unit, bytes. ``"2GB"`` is 2·10⁹.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    typer.BadParameter
        The text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size: give a number with a unit, such as 500MB, 2GB or 1.5TiB")
    return round(float(match[1]) * _UNITS[match[2] or ""])


def given(**values: Any) -> dict[str, Any]:
    """The options that have a value: those that are None are left to the library."""
    return {name: value for name, value in values.items() if value is not None}


_IMAGES = "Images"


def _check_template(url: str | None) -> str | None:
    if url is not None and not re.match(r"https?://.*{.*}", url):
        raise typer.BadParameter(f"{url!r} is not a URL with places for the position, such as {{ra}} and {{dec}}")
    return url


MaxFailed = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Share of the rows with coverage that may be without an image; beyond it the exit code is 3.",
        rich_help_panel=_IMAGES,
    ),
]
UrlTemplate = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        callback=_check_template,
        help="Instead of --images: address of a service, with {ra}, {dec}, {size_arcmin}, … where the numbers go.",
        show_default=False,
        rich_help_panel=_IMAGES,
    ),
]
ServiceUrl = Annotated[
    str | None,
    typer.Option(
        help="Address of the survey's service.",
        show_default="RADIO_AG_FIRST_URL in the environment for FIRST, else astroquery's own",
        rich_help_panel=_IMAGES,
    ),
]
BeamWidth = Annotated[
    float | None,
    typer.Option(
        "--beam",
        help="Of a survey's service: width of its beam in arcsec, for images whose header has none.",
        show_default="the survey's",
        rich_help_panel=_IMAGES,
    ),
]
PixelScale = Annotated[
    float | None,
    typer.Option(
        help="Of a survey's service: side of its pixels in arcsec.",
        show_default="the survey's",
        rich_help_panel=_IMAGES,
    ),
]
BeamScaled = Annotated[
    bool,
    typer.Option(
        "--beam-scaled",
        help="Take images with a beam coarser than FIRST's, on pixels of a third of it.",
        rich_help_panel=_IMAGES,
    ),
]
VerifyImages = Annotated[
    bool,
    typer.Option(
        "--verify-images",
        help="Check the sums that local images carry in files of any size; without this, in those up to 100 MB.",
        rich_help_panel=_IMAGES,
    ),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps fetched fields.", show_default="the user's cache folder", rich_help_panel=_IMAGES
    ),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Neither read nor keep fetched fields.", rich_help_panel=_IMAGES)
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Use the kept fields alone: see radio-ag fetch.", rich_help_panel=_IMAGES),
]
CacheSize = Annotated[
    int | None,
    typer.Option(
        parser=parse_size,
        metavar="SIZE",
        help="Bound of the cache, such as 500MB or 2GB; the oldest fields go first.",
        show_default=False,
        rich_help_panel=_IMAGES,
    ),
]
Connections = Annotated[
    int | None,
    typer.Option(min=1, help="Concurrent requests to the service.", show_default=False, rich_help_panel=_IMAGES),
]
Rate = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="Requests a second, at most.",
        show_default="10, or any number to this computer",
        rich_help_panel=_IMAGES,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="Seconds to wait for the service's answer.", show_default=False, rich_help_panel=_IMAGES
    ),
]
Patience = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Seconds to wait in all for a service that answers no more, before the run ends.",
        show_default="900",
        rich_help_panel=_IMAGES,
    ),
]
