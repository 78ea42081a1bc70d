"""The rows of a product in pieces: what the parts say of a row's source, then the row of the input."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.files.fits_table import Cards, Rows, encode_table, masked_rows
from radio_ag.catalog_io.files.memory import release_pages
from radio_ag.catalog_io.product.columns import result_table
from radio_ag.catalog_io.product.headers import Counts

_BLOCK = 256  # rows whose maps are inflated at once


class TableRows:
    """The table of a product that is there as a whole.

    Parameters
    ----------
    table : Table
        Of a result, or of its sources.
    """

    def __init__(self, table: Table) -> None:
        self.template = table
        encoded, self.cards = encode_table(table)
        self.fields, self.masked = encoded.colnames, masked_rows(encoded)
        self.encoded = encoded.__getitem__
        classified = np.sum(np.ma.filled(table["class"], "") != "")
        self.counts = Counts(len(table), int(classified), int(np.sum(table["attention_plane"] >= 0)))


class ProductRows:
    """The table of a product of n rows, any rows of which are made when they are asked for.

    Parameters
    ----------
    catalogue : `~astropy.table.Table`, n rows
        The input.
    columns_of : callable
        Our columns of some rows (an array of their numbers), as `radio_ag.catalog_io.product.columns.result_table`
        takes them, without ``source_id``.
    source_id : str or None
        The column of the input that names the sources.
    counts : Counts
    meta : dict
        Provenance, as a result's.
    mapped : bool
        The input's values are in a mapped file, as they were read: memory that holds them may be let go.
    """

    def __init__(
        self,
        catalogue: Table,
        columns_of: Callable[[np.ndarray], Mapping[str, Any]],
        source_id: str | None,
        counts: Counts,
        meta: Mapping[str, Any],
        *,
        mapped: bool = False,
    ) -> None:
        self.counts = counts
        self._catalogue = catalogue
        self._mapped = mapped
        self._columns_of = columns_of
        self._source_id = source_id
        self._planes: NDArray[np.int32] | None = None
        none = np.arange(0)
        identifiers = {} if source_id is None else {"source_id": catalogue[source_id][none]}
        self.template = result_table(catalogue[none], dict(columns_of(none)) | identifiers)
        """The table without rows: names, units, descriptions, and the provenance."""
        self.template.meta.update(meta)
        self.ours = tuple(self.template.colnames[: len(self.template.columns) - len(catalogue.columns)])
        """Names of the columns that are not the input's."""

    @cached_property
    def fields(self) -> list[str]:
        """Names of the columns in the product, in the order of the template's."""
        return [*self.ours, *self._inputs[0].colnames]

    @property
    def cards(self) -> Cards:
        """Header cards of each column that astropy does not write."""
        return self._encoded_ours(np.arange(0))[1] | self._identifiers[1] | self._inputs[1]

    @property
    def masked(self) -> np.ndarray:
        """Rows that have to be with every piece; see `radio_ag.catalog_io.files.fits_table.masked_rows`."""
        return np.union1d(masked_rows(self._identifiers[0]), masked_rows(self._inputs[0]))

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
        if self._mapped:
            release_pages(self._catalogue)
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.counts.rows))
        table, _ = self._encoded_ours(rows)
        if self._source_id is not None:
            table.replace_column("source_id", self._identifiers[0].columns[0][rows])
        inputs = self._inputs[0][rows]
        for name in inputs.colnames:
            table.add_column(inputs.columns[name], name=name, copy=False)
        return table

    def separate_planes(self) -> Iterator[tuple[Table, NDArray[np.int32]]]:
        """Give each row a map of its own, for rows of one source too; return rows that have one, and whose it is.

        Returns
        -------
        iterator of (Table, ndarray of int32)
            Blocks of rows, and of each row the plane that it had.
        """
        blocks = [np.arange(at, min(at + _BLOCK, self.counts.rows)) for at in range(0, self.counts.rows, _BLOCK)]
        shared = np.concatenate([np.zeros(0, np.int32), *map(self._planes_of, blocks)])
        self._planes = np.where(shared >= 0, np.cumsum(shared >= 0) - 1, -1).astype(np.int32)
        with_map = (rows[shared[rows] >= 0] for rows in blocks)
        return ((self._ours(rows), shared[rows]) for rows in with_map)

    def _planes_of(self, rows: np.ndarray) -> NDArray[np.int32]:
        return np.asarray(self._columns_of(rows)["attention_plane"])

    def _ours(self, rows: np.ndarray) -> Table:
        columns = dict(self._columns_of(rows)) | {"source_id": rows + 1}
        if self._planes is not None:
            columns["attention_plane"] = self._planes[rows]
        table = result_table(Table({"row": rows}), columns)
        table.remove_column("row")
        return table

    def _encoded_ours(self, rows: np.ndarray) -> tuple[Table, Cards]:
        return encode_table(self._ours(rows))

    @cached_property
    def _identifiers(self) -> tuple[Table, Cards]:
        if self._source_id is None:
            return Table(), {}
        return encode_table(self._like_template([self._source_id], ["source_id"]))

    @cached_property
    def _inputs(self) -> tuple[Table, Cards]:
        names = self.template.colnames[len(self.ours) :]
        return encode_table(self._like_template(self._catalogue.colnames, names), taken=self.ours)

    def _like_template(self, names: list[str], new_names: list[str]) -> Table:
        """Columns of the input, shared, with the names and attributes that the product gives them."""
        table = Table()
        for name, new_name in zip(names, new_names, strict=True):
            table.add_column(self._catalogue[name], name=new_name, copy=False)
            old, new = self.template[new_name].info, table[new_name].info
            new.description, new.format, new.meta = old.description, old.format, old.meta
        return table
