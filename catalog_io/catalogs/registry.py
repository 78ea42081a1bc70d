"""The dialects there are: those of this package, and those that other packages bring.

Another package brings a dialect with an entry point in the group ``radio_ag.catalogues`` that names a `Dialect`. One
that fails to load is a warning.
"""

import functools
import warnings

from astropy.table import Table

from radio_ag.catalog_io.catalogs import aegean, finders, photutils, pybdsf, selavy, surveys
from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind, lookalike
from radio_ag.catalog_io.plugins import load_plugins
from radio_ag.errors import CatalogueError, RadioAGWarning

GROUP = "radio_ag.catalogues"
"""Entry-point group of dialects."""

PRODUCT_COLUMNS = ("probability", "p_std", "flags")
"""Columns by which a product of this package is known when it comes back as a catalogue."""

BUILT_IN = (
    *(pybdsf.DIALECT, aegean.DIALECT, selavy.DIALECT, photutils.DIALECT, finders.SOFIA, finders.RADIO_AG),
    *(surveys.FIRST, surveys.NVSS, surveys.LOTSS, surveys.VLASS, surveys.RACS, surveys.RGZ, surveys.FRICAT),
)
"""Dialects of this package."""


@functools.cache
def dialects() -> dict[str, Dialect]:
    """Return all dialects by name, those of plugins last.

    Returns
    -------
    dict of str to Dialect

    Warns
    -----
    RadioAGWarning
        Of a plugin that is none, or fails to load.
    """
    found = {dialect.name: dialect for dialect in BUILT_IN}
    for name, dialect in load_plugins(GROUP, "catalogue"):
        if isinstance(dialect, Dialect):
            found.setdefault(dialect.name, dialect)
        else:
            message = f"catalogue plugin {name!r} is {type(dialect).__name__!r}, not a Dialect: left out"
            warnings.warn(message, RadioAGWarning, stacklevel=2)
    return found


def get_dialect(name: str) -> Dialect:
    """Return the dialect of a name.

    Parameters
    ----------
    name : str
        As `dialects` has it.

    Returns
    -------
    Dialect

    Raises
    ------
    CatalogueError
        When there is none.
    """
    try:
        return dialects()[name]
    except KeyError as exc:
        raise CatalogueError(f"dialect={name!r} is unknown; there are {', '.join(dialects())}") from exc


def reader_for(head: bytes) -> Dialect | None:
    """Find the dialect that reads a file itself.

    Parameters
    ----------
    head : bytes
        First bytes of the file, unpacked.

    Returns
    -------
    Dialect or None
        `None` when the general readers read it.
    """
    return next((dialect for dialect in dialects().values() if dialect.reads is not None and dialect.reads(head)), None)


def recognise(table: Table) -> tuple[Dialect, Kind] | None:
    """Tell what a table is, by the most columns.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As it was read.

    Returns
    -------
    (Dialect, Kind) or None
        `None` for a plain table, and for a product of this package.

    Warns
    -----
    RadioAGWarning
        Of a table that looks like one of a dialect, but is not taken as one.
    """
    if set(PRODUCT_COLUMNS) <= set(table.colnames):
        return None  # in our own product columns of the input may have given way to ours: flags are not Aegean's
    found = [(dialect, kind) for dialect in dialects().values() if (kind := dialect.kind(table)) is not None]
    if found:
        return max(found, key=lambda match: len(match[1].columns))
    looks_like = lookalike(table, dialects().values())
    if looks_like is not None:
        warnings.warn(looks_like, RadioAGWarning, stacklevel=2)
    return None
