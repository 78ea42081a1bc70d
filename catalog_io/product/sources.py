"""The table of sources, a row for each: in pieces while a product is written, and made of rows where there is none."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.files.fits_table import Rows, encode_table
from radio_ag.catalog_io.product.columns import (
    COLUMNS,
    GROUP_COLUMNS,
    OBSERVATION_COLUMNS,
    SOURCE_COLUMNS,
    class_columns,
    is_ours,
    source_table,
    with_classes,
)
from radio_ag.catalog_io.product.headers import Counts
from radio_ag.errors import InputError
from radio_ag.sky import unit_vectors

_OBSERVED = [spec.name for spec in OBSERVATION_COLUMNS]
_OF_ROWS = {"las": "size"}  # what the rows call it
_MEASURED = {spec.name for spec in COLUMNS if spec not in GROUP_COLUMNS} - {"name"}
_TOLD = tuple(spec.name for spec in SOURCE_COLUMNS if _OF_ROWS.get(spec.name, spec.name) in _MEASURED)


class SourceRows:
    """The table of m sources, any of which are made when they are asked for.

    Parameters
    ----------
    columns_of : callable
        Columns of some sources (an array of their numbers), as `radio_ag.catalog_io.product.columns.source_table` takes
        them; text has the same width whichever they are.
    counts : Counts
        Of sources.
    """

    def __init__(self, columns_of: Callable[[NDArray[np.int64]], Mapping[str, Any]], counts: Counts) -> None:
        self.counts = counts
        self._columns_of = columns_of
        self.template = source_table(columns_of(np.arange(0)))
        """The table without rows."""
        self.fields = list(self.template.colnames)
        self.cards = encode_table(self.template)[1]
        self.masked = np.arange(0)  # no column needs a mask beside it

    def observations(self, table: Table) -> Table:
        """Return what is known of the images of some rows of the result.

        Parameters
        ----------
        table : Table
            Some rows of the table of rows.

        Returns
        -------
        Table
            As the function `observations` gives it, a row each.
        """
        return source_table(self._columns_of(group_ids(table)))[_OBSERVED]

    def encoded(self, rows: Rows) -> Table:
        """Return some rows in types that FITS has: each column has the same type in whichever rows.

        Parameters
        ----------
        rows : Rows
            Slice, or numbers from 0.

        Returns
        -------
        Table
            As `encode_table` gives it.
        """
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.counts.rows))
        return encode_table(source_table(self._columns_of(rows)))[0]


def group_ids(table: Table) -> NDArray[np.int64]:
    """Return of what source each row of a result is; each is its own where the table does not tell.

    Parameters
    ----------
    table : Table
        Of a result, n rows.

    Returns
    -------
    ndarray of int64, shape (n,)
        Numbers of sources.
    """
    if not is_ours(table, "group_id"):
        return np.arange(len(table), dtype=np.int64)
    return np.asarray(table["group_id"], dtype=np.int64)


def sources_of(table: Table) -> Table:
    """Make a table of sources of the rows of a result.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of a result.

    Returns
    -------
    `~astropy.table.Table`
        A row for each source, in the order of its first row, whose answer it has; its position is the mean of its rows'
        on the sphere. What rows do not tell is masked.
    """
    groups = group_ids(table)
    source, first, place, counts = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    ra, dec = _mean_position(table, place, first, counts)
    specs = with_classes(SOURCE_COLUMNS, class_columns(table.colnames))
    columns = {spec.name: np.full(len(first), "" if spec.dtype is str else np.nan) for spec in specs}
    told = (spec.name for spec in specs if spec.name in _TOLD or spec not in SOURCE_COLUMNS)
    columns |= {name: table[_OF_ROWS.get(name, name)][first] for name in told}
    columns |= {"source": source, "first_row": first, "n_components": counts, "ra": ra, "dec": dec}
    if is_ours(table, "n_components"):  # of which some may have been left out
        columns["n_components"] = table["n_components"][first]
    return source_table(columns)[np.argsort(first)]


def _mean_position(table: Table, place: NDArray, first: NDArray, counts: NDArray) -> tuple[NDArray, NDArray]:
    """Mean of the positions of the rows of each source; that of its row where there is one."""
    ra: NDArray[np.float64] = np.ma.filled(np.ma.asarray(table["ra"], float), np.nan)
    dec: NDArray[np.float64] = np.ma.filled(np.ma.asarray(table["dec"], float), np.nan)
    vectors = unit_vectors(ra, dec)
    x, y, z = (np.bincount(place, axis, len(first)) for axis in vectors.T)
    alone = counts == 1
    mean_ra, mean_dec = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))
    return np.where(alone, ra[first], mean_ra), np.where(alone, dec[first], mean_dec)


def sources_among(sources: Table, table: Table) -> Table:
    """Choose the sources of which a table has rows; ``first_row`` becomes the first of them in it.

    Parameters
    ----------
    sources, table : `~astropy.table.Table`
        Of a result, and some of its rows in any order.

    Returns
    -------
    Table
        In the order of ``sources``.

    Raises
    ------
    InputError
        If a row is of a source that is not there.
    """
    found, first = np.unique(group_ids(table), return_index=True)
    numbers = np.asarray(sources["source"])
    order = np.argsort(numbers)
    if not np.isin(found, numbers).all():
        raise InputError("the table of sources is not of these rows: it lacks some of their sources")
    place = order[np.searchsorted(numbers, found, sorter=order)]
    chosen = sources[place]
    chosen["first_row"] = first
    return chosen[np.argsort(first)]


def observations(sources: Table, table: Table) -> Table:
    """Return what the table of sources tells of the images of some rows: `OBSERVATION_COLUMNS`, a row for each.

    Parameters
    ----------
    sources, table : `~astropy.table.Table`
        Of a result, and some of its rows.

    Returns
    -------
    `~astropy.table.Table`
    """
    numbers = np.asarray(sources["source"])
    order = np.argsort(numbers)
    place = order[np.searchsorted(numbers, group_ids(table), sorter=order)]
    return sources[_OBSERVED][place]


def with_planes(sources: Table, table: Table) -> Table:
    """Return the sources with the attention planes that their first rows name.

    Parameters
    ----------
    sources : Table
        Whose ``first_row`` is a row of ``table``.
    table : Table
        Of the same result.

    Returns
    -------
    Table
        A copy.
    """
    sources = sources.copy(copy_data=False)
    column = sources["attention_plane"].copy()
    column[:] = table["attention_plane"][sources["first_row"]]
    sources.replace_column("attention_plane", column)
    return sources


def checked_sources(path: Path, table: Table) -> Table:
    """Return a table of sources that was read, with types, masks and descriptions as it was written.

    Parameters
    ----------
    path : Path
        Of the product, for the message.
    table : Table
        As it was read.

    Returns
    -------
    Table
        Dressed as `source_table` does it.

    Raises
    ------
    InputError
        If it lacks a column.
    """
    for spec in OBSERVATION_COLUMNS:
        if spec.name not in table.colnames:
            table[spec.name] = np.full(len(table), "" if spec.dtype is str else np.nan)
    specs = with_classes(SOURCE_COLUMNS, class_columns(table.colnames))
    lacking = [spec.name for spec in specs if spec.name not in table.colnames]
    if lacking:
        raise InputError(f"the table of sources in {path} lacks the columns {lacking}: not of a product of radio-ag")
    return source_table(table)
