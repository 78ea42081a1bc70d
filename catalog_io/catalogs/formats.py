"""Formats for `astropy.table.Table.read`: ``Table.read(path, format="radio_ag.pybdsf")`` and so on.

The formats have no identifiers: a file of PyBDSF is FITS as well, and ``Table.read(path)`` must go on reading it.
"""

import functools
import os

from astropy.io import registry
from astropy.table import Table

from ._files import read_table
from .dialect import Dialect, tidy
from .registry import BUILT_IN


def read(dialect: Dialect, path: str | os.PathLike) -> Table:
    """Read a catalogue of one dialect: with the units that the file leaves out, and missing values masked.

    Parameters
    ----------
    dialect : Dialect
        What wrote the file.
    path : path-like
        The file.

    Raises
    ------
    CatalogueError
        When it is not a table, or not of this dialect.
    """
    table = read_table(path, dialect)
    return tidy(table, dialect.required_kind(table))


def register() -> None:
    """Register a reader ``radio_ag.<name>`` for each dialect of this package."""
    for dialect in BUILT_IN:
        registry.register_reader(f"radio_ag.{dialect.name}", Table, functools.partial(read, dialect), force=True)
