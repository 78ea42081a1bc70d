"""Formats for `astropy.table.Table.read`: ``Table.read(path, format="radio_ag.pybdsf")`` and so on.

``radio_ag.fits`` is the product, without its attention maps: what it reads has the provenance in ``meta``, and can be
written again. The formats have no identifiers: a file of PyBDSF is FITS as well, and ``Table.read(path)`` must go on
reading it.
"""

import functools
import os
from pathlib import Path

from astropy.io import registry
from astropy.table import Table

from radio_ag.catalog_io.catalogs.dialect import Dialect, tidy
from radio_ag.catalog_io.catalogs.files import read_table
from radio_ag.catalog_io.catalogs.registry import BUILT_IN
from radio_ag.errors import InputError


def read(dialect: Dialect, path: str | os.PathLike) -> Table:
    """Read a catalogue of one dialect: with the units that the file leaves out, and missing values masked.

    Parameters
    ----------
    dialect : Dialect
        What wrote the file.
    path : path-like
        The file.

    Returns
    -------
    `~astropy.table.Table`
        A row for each row of the file.

    Raises
    ------
    CatalogueError
        When it is not a table, or not of this dialect.
    """
    table = read_table(path, dialect)
    return tidy(table, dialect.required_kind(table))


def read_classification(path: str | os.PathLike) -> Table:
    """Read the table of a product, with the provenance as its ``meta``.

    Parameters
    ----------
    path : path-like
        The product, in FITS.

    Returns
    -------
    `~astropy.table.Table`
        As ``Result.table``.

    Raises
    ------
    InputError
        When it is not a product.
    """
    from radio_ag.catalog_io.product.fits import Fits  # loads what reading a catalogue does not need

    return Fits().read(Path(path))[0]


def write_classification(table: Table, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Write the table of a result as a product without images.

    Parameters
    ----------
    table : Table
        ``Result.table``, or what `read_classification` gave; rows may be fewer and in another order.
    path : path-like
        The file. It appears when it is complete.
    overwrite : bool
        Replace a file of that name.

    Raises
    ------
    InputError
        When the table is not that of a result.
    OutputError
        When the file exists, or cannot be written.
    """
    from radio_ag.catalog_io.product.columns import CUTOUT_COLUMNS, lacking_columns
    from radio_ag.catalog_io.product.fits import write_product

    lacking = lacking_columns(table)
    if lacking:
        raise InputError(f"the table is not that of a result: it lacks the columns {', '.join(lacking)}")
    table = table.copy(copy_data=False)
    table.remove_columns([spec.name for spec in CUTOUT_COLUMNS if spec.name in table.colnames])
    write_product(path, table, {}, overwrite=overwrite)


def register() -> None:
    """Register ``radio_ag.fits``, and a reader ``radio_ag.<name>`` for each dialect of this package."""
    registry.register_reader("radio_ag.fits", Table, read_classification, force=True)
    registry.register_writer("radio_ag.fits", Table, write_classification, force=True)
    for dialect in BUILT_IN:
        registry.register_reader(f"radio_ag.{dialect.name}", Table, functools.partial(read, dialect), force=True)
