"""A result in the forms that other programs read. The FITS product holds everything; each of these holds a part.

============  ================  =======================================================================================
format        suffix            content
============  ================  =======================================================================================
``ds9``       .reg              a circle a source, coloured by class, for DS9 (and Aladin, CARTA)
``crtf``      .crtf             the same for CASA and CARTA
``votable``   .xml .vot         the table of sources with units and UCDs, provenance as INFO
``ecsv``      .ecsv             the table with types, units, descriptions, UCDs and provenance
``csv``       .csv              the table alone
``cutouts``   a folder          a FITS file a source: cutout and attention maps with their WCS, and an index
============  ================  =======================================================================================

With ``rows`` there is one of each for a row of the catalogue instead, and the tables have its columns.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radio_ag.errors import InputError

if TYPE_CHECKING:
    from radio_ag.catalog_io.export.sources import Progress
    from radio_ag.catalog_io.result import Result

FORMATS = ("ds9", "crtf", "votable", "csv", "ecsv", "cutouts")
"""What a result can be exported to."""

_SUFFIXES = {
    ".reg": "ds9",
    ".crtf": "crtf",
    ".xml": "votable",
    ".vot": "votable",
    ".votable": "votable",
    ".csv": "csv",
    ".ecsv": "ecsv",
}


def export(
    result: "Result",
    path: str | os.PathLike,
    format: str | None = None,
    *,
    images: Any = None,
    rows: bool = False,
    spreadsheet_safe: bool = False,
    overwrite: bool = False,
    progress: "Progress | None" = None,
) -> Path:
    """Write a result in the form that another program reads.

    Parameters
    ----------
    result : Result
        What to write; ``result[result.table["flags"] == 0]`` is its clean part.
    path : path
        The file, or for ``cutouts`` the folder. It appears when it is complete.
    format : {"ds9", "crtf", "votable", "csv", "ecsv", "cutouts"}, optional
        By default what the suffix of ``path`` says.
    images : optional
        For ``cutouts`` only: where the images come from. None: the cutouts that the result keeps, else the survey
        that it was made from, asked again. "none": attention maps alone. Anything else as in `radio_ag.classify`.
    rows : bool
        A row of the catalogue each, with all its columns, instead of a source.
    spreadsheet_safe : bool
        For ``csv`` and the index of ``cutouts``: put a quotation mark before text that a spreadsheet would run as a
        formula. By default text comes out as it came.
    overwrite : bool
        Replace a file of that name, or a folder of that name that an export made.
    progress : callable, optional
        Called as ``progress(sources done, sources in all, {})`` while ``cutouts`` are written.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InputError
        If the format is unknown or cannot be told from the suffix, ``images`` cannot be used, or the result does not
        say where its images are.
    OutputError
        If the file or folder exists, or cannot be written.
    ServiceError
        If an image service answered for none of the first sources.
    """
    format = format_of(path) if format is None else format
    if format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    if format == "cutouts":
        from radio_ag.catalog_io.export.sources import write_sources

        return write_sources(
            result if rows else result.first_rows(),
            path,
            images=images,
            spreadsheet_safe=spreadsheet_safe,
            overwrite=overwrite,
            progress=progress,
        )
    if images is not None:
        raise InputError(f"images={images!r} means something to the format 'cutouts' only, not to {format!r}")
    if spreadsheet_safe and format != "csv":
        raise InputError(f"spreadsheet_safe means something to the formats 'csv' and 'cutouts' only, not to {format!r}")
    if format in ("ds9", "crtf"):
        from radio_ag.catalog_io.export.regions import write_regions

        return write_regions(result, path, format, rows=rows, overwrite=overwrite)
    from radio_ag.catalog_io.export.tables import write_table

    return write_table(result, path, format, rows=rows, spreadsheet_safe=spreadsheet_safe, overwrite=overwrite)


def format_of(path: str | os.PathLike) -> str:
    """Return the format that the suffix of a path stands for.

    Parameters
    ----------
    path : path-like
        Of a file to write.

    Returns
    -------
    str
        One of `FORMATS`.

    Raises
    ------
    InputError
        If it stands for none.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(
            f"the suffix of {os.fspath(path)!r} does not tell the format: "
            f"use {', '.join(_SUFFIXES)}, or name one of {', '.join(FORMATS)}"
        )
    return _SUFFIXES[suffix]
