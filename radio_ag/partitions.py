"""Data frames as parts of a catalogue too large for one: each is classified by itself, on whatever worker has it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from radio_ag.catalog_io.images.fields import ImageSource
from radio_ag.catalog_io.product.columns import COLUMNS, GROUP_COLUMNS, ResultColumn, with_classes
from radio_ag.catalog_io.result import Result
from radio_ag.class_names import column_names
from radio_ag.errors import InputError, ServiceError
from radio_ag.inputs import open_source
from radio_ag.options import ImageOptions
from radio_ag.pipeline import classify
from radio_ag.weights import DEFAULT, card

if TYPE_CHECKING:
    import lsdb
    import pandas

_PLACE = ("source_id", "ra", "dec", "attention_plane", "cutout_ra", "cutout_dec")  # known, or of no use without maps
_LEFT_OUT = {*_PLACE, *(spec.name for spec in GROUP_COLUMNS)}  # each row of a frame is a source


def classify_hats(catalogue: lsdb.Catalog, **options: Any) -> lsdb.Catalog:
    """A HATS catalogue with classes, worked out partition by partition when it is computed or written.

    Parameters
    ----------
    catalogue : lsdb.Catalog
        Its positions are where its properties say, in degrees.
    **options
        See `classify_partition`.

    Returns
    -------
    lsdb.Catalog
        Lazy: ``write_catalog`` writes it as a HATS catalogue, and with ``resume=True`` goes on after an interruption.

    Notes
    -----
    A margin that the catalogue has is classified as well.
    """
    info = catalogue.hc_structure.catalog_info
    return catalogue.map_partitions(classify_partition, ra_col=info.ra_column, dec_col=info.dec_column, **options)


def classify_partition(
    frame: pandas.DataFrame,
    *,
    images: Any = None,
    image_options: ImageOptions = ImageOptions(),
    ra_col: str = "ra",
    dec_col: str = "dec",
    **settings: Any,
) -> pandas.DataFrame:
    """A data frame with columns for the classes of its rows: for ``map_partitions`` of LSDB and of Dask.

    Parameters
    ----------
    frame : pandas.DataFrame
        An empty one, by which these libraries learn what comes, needs neither images nor weights.
    images, image_options
        As for `radio_ag.classify`. A process opens them once for all partitions.
    ra_col, dec_col : str
        Columns of the positions, degrees ICRS.
    **settings
        ``weights``, ``device``, ``orbit`` and ``run_options``, as for `radio_ag.classify`. Each row is a source of its
        own, and attention maps are not kept.

    Returns
    -------
    pandas.DataFrame
        All columns and the index of ``frame``, then name, class, probabilities, noise, peak, size and flags; what is
        missing is null. One whose name the frame has already, ignoring case, begins with ``radio_ag_``.

    Raises
    ------
    InputError
        The frame has no such columns, or an option cannot be used.
    ServiceError
        The image service did not answer for a single source of the first chunk, or more than ``max_failed`` (of
        ``run_options``) of the rows with coverage have no image: a data frame has no place that says so.

    Notes
    -----
    A process works on one partition at a time, whatever threads it has, and fetches the images of one chunk while the
    network works on another.
    """
    for column in (ra_col, dec_col):
        if column not in frame.columns:
            raise InputError(f"the frame has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
    ra, dec = (frame[column].to_numpy(float, na_value=np.nan) for column in (ra_col, dec_col))
    added = _added(column_names(card(settings.get("weights", DEFAULT)).classes))
    if len(frame):
        with _one_at_a_time:
            source = _opened(images, image_options)
            positions = Table({"ra": ra, "dec": dec}, units=["deg", "deg"])
            table = _complete(classify(positions, images=source, attention="none", **settings)).table
    else:
        table = Table({spec.name: np.zeros(0, spec.dtype) for spec in added})
    taken = {str(name).lower() for name in frame.columns}
    names = {spec.name: f"radio_ag_{spec.name}" if spec.name in taken else spec.name for spec in added}
    return frame.assign(**{names[spec.name]: _series(table[spec.name], frame.index) for spec in added})


def _added(classes: Sequence[str]) -> list[ResultColumn]:
    """The columns that a frame gets, with those of the classes' probabilities."""
    specs = with_classes(COLUMNS, classes)
    return [spec for spec in specs if spec.name not in _LEFT_OUT and not spec.name.startswith(("crpix", "cd"))]


def _complete(result: Result) -> Result:
    """The result, if so many of its rows have an image that it counts as complete."""
    if result.incomplete:
        raise ServiceError(
            f"{result.incomplete} of {len(result)} rows of a partition have no image (FETCH_FAILED), more than "
            "max_failed allows: try again, or RunOptions(max_failed=1) takes them as they are"
        )
    return result


_one_at_a_time = threading.Lock()
_source: tuple[str, ImageSource] | None = None


def _opened(images: Any, options: ImageOptions) -> ImageSource:
    """The image source; that of the last partition if it is the same."""
    global _source
    from dask.base import tokenize

    token = tokenize(images, options)
    if _source is None or _source[0] != token:
        _source = token, open_source(images, options)
    return _source[1]


def _series(column: Any, index: pandas.Index) -> pandas.Series:
    """A column with nulls, of a type of Arrow's."""
    import pandas

    from radio_ag.catalog_io.product.parquet import to_array

    return pandas.Series(pandas.arrays.ArrowExtensionArray(to_array(column)), index=index)
