"""Options that several commands share, and the values that need parsing."""

import re
from typing import Annotated

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
