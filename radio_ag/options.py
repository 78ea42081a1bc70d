"""The options of `radio_ag.classify` that are rarely given, in three frozen records.

Each is declared here and nowhere else: its type, its default, what it may be, and what it means. The functions take
the records as they are, the command line makes an option of each field that has an `Option`, and the cabs and
docs/options.md are written from the same.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

AttentionMode = Literal["mean", "gates", "hdus", "none"]
"""Which attention maps a product keeps: the gates' mean, a cube a gate, an image HDU a source, or none."""

Progress = Callable[[int, int, Mapping[str, int]], None]
"""Told of a run: rows done, rows in all, counts by class and flag."""

CHUNK = 128
"""Sources in a chunk by default: 46 MB of fields."""


@dataclass(frozen=True)
class Option:
    """What a field of a record is for, and what it may be.

    Attributes
    ----------
    help : str
        A sentence.
    panel : str, optional
        What it has to do with: a heading of the command's help. None: it is no option of the command line.
    least, most : float, optional
        Bounds of a number.
    shown : str, optional
        The default in words, where it is None.
    unit : str, optional
        "bytes" of a size, which the command line takes as text such as 2GB.
    of : {"service", "files"}, optional
        Of images: which alone the option is for.
    off : str, optional
        Of a switch that is on by default: what the command's option says, which turns it off.
    """

    help: str
    panel: str | None = None
    least: float | None = None
    most: float | None = None
    shown: str | None = None
    unit: str | None = None
    of: Literal["service", "files"] | None = None
    off: str | None = None

    @property
    def bounds(self) -> str:
        """The bounds in words; empty where there is none."""
        if self.most is not None:
            return f"from {self.least:g} to {self.most:g}"
        return f"{self.least:g} or more" if self.least is not None else ""

    def allows(self, value: object) -> bool:
        """Tell whether a value is within the bounds.

        Parameters
        ----------
        value : object
            None is left to the function.

        Returns
        -------
        bool
        """
        if self.least is None or value is None:
            return True
        return isinstance(value, Real) and self.least <= float(value) <= (math.inf if self.most is None else self.most)


@dataclass(frozen=True)
class OptionRecord:
    """Options that belong together."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        lines = [f"{told.name} : {told.type_in_words}\n    {told.option.help}" for told in declared(cls)]
        cls.__doc__ = f"{cls.__doc__}\n\nAttributes\n----------\n" + "\n".join(lines)

    def __post_init__(self) -> None:
        for told in declared(type(self)):
            value = getattr(self, told.name)
            if not told.option.allows(value):
                from radio_ag.errors import InputError  # loads astropy

                raise InputError(f"{told.name} must be {told.option.bounds}, not {value!r}")


@dataclass(frozen=True)
class Declared:
    """A field of a record, as it is declared.

    Attributes
    ----------
    name : str
    kind : type
        Without None.
    optional : bool
        Whether it may be None.
    option : Option
    """

    name: str
    kind: Any
    optional: bool
    option: Option

    @property
    def flag(self) -> str:
        """How the command line calls it, such as ``--cache-dir``; ``--no-cache`` turns off what is on by default."""
        return f"--{'no-' if self.option.off else ''}{self.name.replace('_', '-')}"

    @property
    def flags(self) -> str:
        """All that the command line takes for it: ``--verify-images/--no-verify-images`` where None is a third way."""
        return f"{self.flag}/--no-{self.flag[2:]}" if self.kind is bool and self.optional else self.flag

    @property
    def type_in_words(self) -> str:
        """The type as a docstring has it."""
        choices = get_args(self.kind) if get_origin(self.kind) is Literal else ()
        kind = f"{{{', '.join(map(repr, choices))}}}" if choices else getattr(self.kind, "__name__", "path")
        return f"{kind}, optional" if self.optional else kind


def declared(record: type[OptionRecord]) -> list[Declared]:
    """List the fields of a record, each with its option.

    Parameters
    ----------
    record : type
        A subclass of `OptionRecord`.

    Returns
    -------
    list of Declared
    """
    found = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        annotation, option = get_args(hint)
        kinds = (
            [kind for kind in get_args(annotation) if kind is not NoneType] if NoneType in get_args(annotation) else []
        )
        kind = annotation if not kinds else kinds[0] if len(kinds) == 1 else os.PathLike
        found.append(Declared(name, kind, bool(kinds), option))
    return found


@dataclass(frozen=True)
class CatalogueOptions(OptionRecord):
    """Which sources there are: where a catalogue has its positions, and how sources are found in an image."""

    ra_col: Annotated[str | None, Option("Column of right ascension.", "Catalogue")] = None
    dec_col: Annotated[str | None, Option("Column of declination.", "Catalogue")] = None
    ra_unit: Annotated[
        Literal["deg", "hour", "hourangle", "hms", "dms", "rad"] | None,
        Option(
            "Unit of right ascension, whatever the column says; hms and dms are sexagesimal, also HHMMSS.s.",
            "Catalogue",
            shown="the column's",
        ),
    ] = None
    dialect: Annotated[
        str | None, Option("Format of the catalogue, where it is not seen from the file.", "Catalogue")
    ] = None
    group_col: Annotated[str | None, Option("Column that is the same for all rows of one source.", "Catalogue")] = None
    flux_col: Annotated[
        str | None,
        Option("Column of integrated flux density, which weights the centre of a source of several rows.", "Catalogue"),
    ] = None
    name_col: Annotated[str | None, Option("Column that names the rows.", "Catalogue")] = None
    table: Annotated[
        str | None,
        Option(
            "Name of the table in a file of several, or its number from 1.",
            "Catalogue",
            shown="the first with positions",
        ),
    ] = None
    hdu: Annotated[
        str | None, Option("The same for FITS: name or number of the HDU, the primary one being 0.", "Catalogue")
    ] = None
    join_doubles: Annotated[
        bool, Option("Join groups that look like two lobes by separation and flux.", "Catalogue")
    ] = False
    threshold: Annotated[
        float, Option("Of an image: least peak of a source, in units of the local noise.", "Catalogue", least=0)
    ] = 5.0


@dataclass(frozen=True)
class ImageOptions(OptionRecord):
    """How images are asked for and read; what is None is left to the image source."""

    service_url: Annotated[
        str | None,
        Option(
            "Address of the survey's service.",
            "Images",
            shown="RADIO_AG_FIRST_URL in the environment for FIRST, else astroquery's own",
            of="service",
        ),
    ] = None
    beam: Annotated[
        float | None,
        Option(
            "Width of the beam in arcsec, for images whose header has none.",
            "Images",
            least=0.001,
            shown="the survey's; where none is known FIRST's is assumed, and rows are BEAM_ASSUMED",
        ),
    ] = None
    pixel_scale: Annotated[
        float | None,
        Option(
            "Side of pixels in arcsec: of a survey's service, or of images whose header has none.",
            "Images",
            least=0.001,
            shown="the survey's, the header's",
        ),
    ] = None
    pattern: Annotated[
        str | None,
        Option("Of a folder or glob of images: names of those to use, such as '*.i.*'.", "Images", of="files"),
    ] = None
    beam_scaled: Annotated[
        bool, Option("Take images with a beam coarser than FIRST's, on pixels of a third of it.", "Images")
    ] = False
    verify_images: Annotated[
        bool | None,
        Option(
            "Check the sums that local images carry in files of any size, or in none.",
            "Images",
            shown="in those up to 100 MB",
            of="files",
        ),
    ] = None
    cache_dir: Annotated[
        str | os.PathLike[str] | None,
        Option("Folder that keeps fetched fields.", "Images", shown="the user's cache folder", of="service"),
    ] = None
    cache: Annotated[
        bool,
        Option(
            "Keep fetched fields, and read those that are kept.",
            "Images",
            of="service",
            off="Neither read nor keep fetched fields.",
        ),
    ] = True
    offline: Annotated[bool, Option("Use the kept fields alone: see radio-ag fetch.", "Images", of="service")] = False
    cache_size: Annotated[
        int | None,
        Option(
            "Bound of the cache, such as 500MB or 2GB; the oldest fields go first.",
            "Images",
            unit="bytes",
            of="service",
        ),
    ] = None
    connections: Annotated[
        int | None,
        Option(
            "Concurrent requests to the service; where answers hang, up to twice as many, but for 1.",
            "Images",
            least=1,
            of="service",
        ),
    ] = None
    rate: Annotated[
        float | None,
        Option(
            "Requests a second, at most.",
            "Images",
            least=0.001,
            shown="10, or any number to this computer",
            of="service",
        ),
    ] = None
    timeout: Annotated[
        float | None, Option("Seconds to wait for the service's answer.", "Images", least=0, of="service")
    ] = None
    patience: Annotated[
        float | None,
        Option(
            "Seconds to wait in all for a service that answers no more, before the run ends.",
            "Images",
            least=0,
            shown="900",
            of="service",
        ),
    ] = None
    extra: Annotated[
        Mapping[str, Any], Option("Further options of the image source, such as those of a plugin, by name.")
    ] = field(default_factory=dict, hash=False)

    def keywords(self) -> dict[str, Any]:
        """Return what an image source has to be told.

        Returns
        -------
        dict
            The options that are not the defaults, and those of ``extra``.
        """
        default = type(self)()
        names = [told.name for told in fields(self) if told.name != "extra"]
        changed = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(default, name)}
        return changed | dict(self.extra)


@dataclass(frozen=True)
class RunOptions(OptionRecord):
    """How a run is made: in what pieces, where, what it writes besides, and what becomes of an interrupted one."""

    format: Annotated[
        Literal["fits", "parquet"] | None,
        Option(
            "One FITS file, or a folder of Parquet files.",
            "Output",
            shown="parquet where the product's name ends in .parquet, else fits",
        ),
    ] = None
    attention_stats: Annotated[
        bool, Option("Add columns on where the attention lies: on the emission, around it, how far off.", "Output")
    ] = False
    resume: Annotated[
        bool,
        Option(
            "Leave a product that this very run has finished. An interrupted run goes on with or without this.",
            "Output",
        ),
    ] = False
    restart: Annotated[bool, Option("Begin anew, and remove the parts of an interrupted run.", "Output")] = False
    keep_parts: Annotated[bool, Option("Keep the folder of parts, NAME.parts, at the end.", "Output")] = False
    max_failed: Annotated[
        float,
        Option(
            "Share of the rows with coverage that may be without an image; beyond it the exit code is 3.",
            "Images",
            least=0,
            most=1,
        ),
    ] = 0.1
    prior: Annotated[
        float | None,
        Option(
            "Share of FRII among the sources, to which probabilities are re-weighted.",
            "Network",
            least=0.001,
            most=0.999,
            shown="that of the training set",
        ),
    ] = None
    classify_unresolved: Annotated[
        bool,
        Option("Classify UNRESOLVED sources too, though FRI and FRII mean nothing for a point.", "Network"),
    ] = False
    chunk: Annotated[
        int,
        Option(
            "Sources that are fetched and classified together: memory grows with it, not with the catalogue.",
            "Network",
            least=1,
        ),
    ] = CHUNK
    batch: Annotated[
        int | None,
        Option("Images to put through the network at once.", "Network", least=1, shown="chosen from memory"),
    ] = None
    threads: Annotated[
        int | None,
        Option(
            "CPU threads of the network.", "Network", least=1, shown="OMP_NUM_THREADS, or what Slurm and cgroups allow"
        ),
    ] = None
    client: Annotated[
        Any, Option("A `distributed.Client`: classify on its Dask cluster, each chunk a task (`radio_ag.cluster`).")
    ] = None
    wait: Annotated[
        float,
        Option(
            "Seconds to wait for a Dask cluster, whose scheduler or workers may be queued: raise it for such.",
            "Cluster",
            least=1,
        ),
    ] = 60.0
    progress: Annotated[
        Progress | None,
        Option("Called as ``progress(sources done, sources in all, counts by class and flag)`` after each chunk."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and self.restart:
            from radio_ag.errors import InputError

            raise InputError("resume goes on with a run and restart begins it anew: leave one out")
