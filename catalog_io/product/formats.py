"""The formats that a product may have."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from astropy.table import Table

from radio_ag.catalog_io.product.fits import Fits, Stores
from radio_ag.catalog_io.product.merge import JoinedStack
from radio_ag.catalog_io.product.rows import ProductRows
from radio_ag.catalog_io.product.sources import SourceRows
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.errors import InputError

FORMATS = ("fits", "parquet")
"""Names of the formats."""


class Format(Protocol):
    """How a product is written and read: `radio_ag.catalog_io.product.fits.Fits`, or ``Parquet`` beside it."""

    @property
    def name(self) -> str:
        """One of `FORMATS`."""

    @property
    def attention_modes(self) -> tuple[str, ...]:
        """What it can keep of the attention maps."""

    def check_output(self, path: str | os.PathLike, overwrite: bool = False, catalogue: Table | None = None) -> Path:
        """Return the path of a product with links resolved, or say before a long run why it cannot be written.

        Parameters
        ----------
        path : path
            The product.
        overwrite : bool
            Whether what has that name may be replaced.
        catalogue : `~astropy.table.Table`, optional
            The input table, whose columns must fit in the product beside ours.

        Raises
        ------
        OutputError
            As `radio_ag.catalog_io.product.fits.check_output`.
        """

    def write(
        self,
        path: Path,
        rows: ProductRows,
        sources: SourceRows,
        stacks: Mapping[str, JoinedStack],
        *,
        attention: str,
        folder: Path,
    ) -> None:
        """Write the product of a run, in pieces; nothing is left behind if that fails.

        Parameters
        ----------
        path : path
            The product; one that is there is replaced.
        rows : ProductRows
            Its table, with the provenance in its template.
        sources : SourceRows
            Its table of sources.
        stacks : dict of JoinedStack
            The planes.
        attention : str
            One of the `attention_modes`.
        folder : path
            Where the product lies until it is complete; of the same file system.

        Raises
        ------
        OutputError
            If it cannot be written, or what was written cannot be read back.
        """

    def read(self, path: Path, *, verify: bool = True) -> tuple[Table, Stores, AttentionStore | None]:
        """Read the table of a product, with the provenance as its ``meta``, its attention maps, and its cutouts if any.

        Parameters
        ----------
        path : path
            The product.
        verify : bool
            Hold what is read against its sums. What has none is taken as it is.

        Raises
        ------
        InputError
            If it is not there, damaged, or no product of radio-ag.
        """

    def read_sources(self, path: Path, *, verify: bool = True) -> Table | None:
        """Read the table of sources; None of a product that was written before there was one.

        Parameters
        ----------
        path : Path
            The product.
        verify : bool
            Check its sum.

        Returns
        -------
        Table or None
            With types and masks as it was written.

        Raises
        ------
        InputError
            If it is damaged, or the product is not there any more.
        """

    def open_stacks(self, path: Path, *, verify: bool = True) -> Stores:
        """Open the stacks of a product by "mean", 1, 2, 3 and "CUTOUTS"; empty where it has none.

        Parameters
        ----------
        path : Path
            The product.
        verify : bool
            Check sums, also of the planes that are read later.

        Returns
        -------
        Stores
            Each to be read plane by plane.

        Raises
        ------
        InputError
            If a stack is damaged, or the file is packed.
        """

    def read_provenance(self, path: Path) -> dict[str, Any]:
        """Return the provenance of a product.

        Parameters
        ----------
        path : Path
            The product.

        Returns
        -------
        dict of str to object
            Values by name, sequences as text.

        Raises
        ------
        InputError
            If it cannot be read, or is no product of radio-ag.
        """

    def find_faults(self, path: Path) -> dict[str, str | None]:
        """Return for each HDU or file what is wrong with it by its sums, None for nothing; every byte is read.

        Parameters
        ----------
        path : Path
            The product.

        Returns
        -------
        dict of str to str or None
            By the name of the HDU or file.

        Raises
        ------
        InputError
            If it cannot be read.
        """


def product_format(name: str) -> Format:
    """Return a format by its name.

    Parameters
    ----------
    name : str
        One of `FORMATS`.

    Returns
    -------
    Format
        Which reads and writes products.

    Raises
    ------
    InputError
        If there is no such format, or a package that it needs is not installed.
    """
    if name == "fits":
        return Fits()
    if name != "parquet":
        raise InputError(f"format must be one of {', '.join(FORMATS)}, not {name!r}")
    try:
        from radio_ag.catalog_io.product.parquet import Parquet
    except ImportError as exc:
        raise InputError(
            f"Parquet needs a package that is not installed: pip install 'radio-ag[parquet]' ({exc})"
        ) from exc
    return Parquet()
