"""Options that several commands share, and the values that need parsing."""

import functools
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from radio_ag.options import Declared, OptionRecord, declared

_DEBUG = "radio_ag.debug"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def _remember_debug(ctx: typer.Context, requested: bool) -> None:
    if requested:
        ctx.meta[_DEBUG] = True


def debugging(ctx: typer.Context) -> bool:
    """Tell whether ``--debug`` was given, before the command's name or after it."""
    return bool(ctx.meta.get(_DEBUG, False))


Debug = Annotated[bool, typer.Option("--debug", callback=_remember_debug, help="Show the traceback of an error.")]


def parse_size(text: str) -> int:
    """Return the number of bytes in a human size.

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


def _check_template(url: str | None) -> str | None:
    if url is not None and not re.match(r"https?://.*{.*}", url):
        raise typer.BadParameter(f"{url!r} is not a URL with places for the position, such as {{ra}} and {{dec}}")
    return url


UrlTemplate = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        callback=_check_template,
        help="Instead of --images: address of a service, with {ra}, {dec}, {size_arcmin}, … where the numbers go.",
        show_default=False,
        rich_help_panel="Images",
    ),
]
Group = Annotated[
    str,
    typer.Option(
        help="Rows that are one source: auto (what the catalogue knows best), associate (by the probability that they "
        "belong together), none, island (the finder's own), or a linking radius such as 30arcsec; a plain number is in "
        "arcsec.",
        rich_help_panel="Catalogue",
    ),
]
RegionFile = Annotated[
    Path | None,
    typer.Option(
        help="Only sources inside: DS9, CRTF or FITS regions, or a MOC.",
        show_default=False,
        rich_help_panel="Catalogue",
    ),
]


class Only(frozenset[str]):
    """The fields of a record that are options of a command: ``Annotated[ImageOptions, Only({"verify_images"})]``."""


class Without(frozenset[str]):
    """Those that are not."""


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Make an option of each field of the records that a command takes.

    Parameters
    ----------
    command : callable
        A record is a parameter whose type is an `OptionRecord`, by itself or in ``Annotated`` with `Only` or
        `Without`. Every parameter is passed by keyword.

    Returns
    -------
    callable
        With the fields for parameters, in place of each record.
    """
    hints = get_type_hints(command, include_extras=True)
    records: dict[str, tuple[type[OptionRecord], dict[str, Declared]]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        record, *chosen = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if isinstance(record, type) and issubclass(record, OptionRecord):
            fields = {field.flag[2:].replace("-", "_"): field for field in _options_of(record, *chosen)}
            records[parameter.name] = record, fields
            parameters += [_parameter(name, field, record()) for name, field in fields.items()]
        else:
            parameters.append(parameter.replace(annotation=hint))

    @functools.wraps(command)
    def spread_out(**values: Any) -> None:
        for name, (record, fields) in records.items():
            given = {field.name: values.pop(option) for option, field in fields.items()}
            turned = {field.name: not given[field.name] for field in fields.values() if field.option.off}
            values[name] = record(**given | turned)
        command(**values)

    spread_out.__dict__["__signature__"] = inspect.Signature(parameters)
    spread_out.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread_out


def _options_of(record: type[OptionRecord], chosen: frozenset[str] = Without()) -> list[Declared]:
    """The fields of a record that are options of a command."""
    wanted = isinstance(chosen, Only)
    return [field for field in declared(record) if field.option.panel and (field.name in chosen) == wanted]


def _parameter(name: str, field: Declared, defaults: OptionRecord) -> inspect.Parameter:
    """The parameter of a command for a field of a record."""
    option, default = field.option, getattr(defaults, field.name)
    kind = Path if field.kind is os.PathLike else field.kind
    told: dict[str, Any] = {"help": option.off or option.help, "rich_help_panel": option.panel}
    if default is None:
        told["show_default"] = option.shown or False
    if option.least is not None:
        told |= {"min": option.least, "max": option.most}
    if option.unit == "bytes":
        told |= {"parser": parse_size, "metavar": "SIZE"}
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if option.off else default,
        annotation=Annotated[kind | None if field.optional else kind, typer.Option(field.flags, **told)],
    )


Classes = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Labels that are classes, in this order; NEW=OLD+OLD merges and renames; all: each label.",
        show_default="FRI and FRII where there are any, else all",
    ),
]
LabelColumn = Annotated[
    str, typer.Option("--label-col", metavar="NAME", help="Column of the labels in the table SOURCES.")
]
LabelledBeam = Annotated[
    float | None,
    typer.Option("--beam", help="Width of the labelled images' beam, arcsec.", show_default="the header's", min=0.01),
]
LabelledPixels = Annotated[
    float | None,
    typer.Option("--pixel-scale", help="Side of their pixels, arcsec.", show_default="the header's", min=0.001),
]
