"""Files of found sources: FITS, VOTable, ECSV or CSV, by the name's suffix."""

import io
from os import PathLike
from pathlib import Path

from astropy.table import Table

from radio_ag import __version__
from radio_ag.catalog_io.files.votable import make_document, write_document
from radio_ag.errors import OutputError
from radio_ag.writing import check_output, written_beside

_FORMATS = {
    ".fits": "fits",
    ".fit": "fits",
    ".xml": "votable",
    ".vot": "votable",
    ".votable": "votable",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
}


def check_sources_output(path: str | PathLike, *, overwrite: bool = False) -> Path:
    """Check that a table of sources can be written, before a long run.

    Parameters
    ----------
    path : path-like
        The file to write.
    overwrite : bool
        Whether it may exist.

    Returns
    -------
    Path
        With links resolved.

    Raises
    ------
    OutputError
        If the suffix is unknown, the file exists and ``overwrite`` is not set, or its folder cannot be written to.
    """
    if Path(path).suffix.lower() not in _FORMATS:
        raise OutputError(f"{path}: the suffix names the format, one of {', '.join(_FORMATS)}")
    return check_output(path, overwrite)


def write_sources(table: Table, path: str | PathLike, *, overwrite: bool = False) -> Path:
    """Write a table of found sources; the file appears when it is complete.

    Parameters
    ----------
    table : `~astropy.table.Table`
        From `~radio_ag.catalog_io.finding.find.find_sources`.
    path : path-like
        The suffix names the format.
    overwrite : bool
        Replace a file of that name.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    OutputError
        As `check_sources_output`, or if the file cannot be written.
    """
    path = check_sources_output(path, overwrite=overwrite)
    format = _FORMATS[path.suffix.lower()]
    table = table.copy(copy_data=False)
    table.meta = {"EXTNAME": "SOURCES", "CREATOR": f"radio-ag {__version__}"} | dict(table.meta)
    with written_beside(path) as file:
        if format == "votable":
            write_document(make_document(table), file)
        else:
            stream = io.StringIO() if format.startswith("ascii") else io.BytesIO()
            table.write(stream, format=format)
            content = stream.getvalue()
            file.write(content.encode() if isinstance(content, str) else content)
    return path
