"""A folder with a FITS file a source, cutout and attention maps with their WCS, and an index of them.

A file holds a primary header with what is known of the source and how it was found out, then the images: ``CUTOUT`` in
Jy/beam, ``ATTENTION`` (the mean of the gates) and, where they were kept, ``ATTENTION_1``, ... Its name is made of the
row number and the source's name in letters, digits and ``+-._``: nothing in a catalogue can lead out of the folder.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.table import Row, Table
from numpy.typing import NDArray

from radio_ag.catalog_io.export.cutouts import open_cutouts
from radio_ag.catalog_io.export.tables import plain_table, quote_formulas, write_csv
from radio_ag.catalog_io.product.fits import cutout_header
from radio_ag.catalog_io.product.headers import Counts, header_text, image_header, primary_header, with_long_text
from radio_ag.errors import OutputError
from radio_ag.flags import decode
from radio_ag.writing import check_output, folder_beside

if TYPE_CHECKING:
    from radio_ag.catalog_io.result import Result

INDEX = "index.csv"
"""Which file of the folder belongs to which row: a line for each row, also for those without a file."""

_INDEXED = ("name", "source_id", "ra", "dec", "class", "probability", "flags")
_FILE_NAME = re.compile(r"\d+(_[A-Za-z0-9.+_-]+)?\.fits")
_LONGEST_NAME = 60
_CHUNK = 64  # rows fetched at once

Progress = Callable[[int, int, Mapping[str, int]], None]


def write_sources(
    result: "Result",
    path: str | os.PathLike,
    *,
    images: Any = None,
    spreadsheet_safe: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a FITS file for each source that has a cutout or an attention map.

    Parameters
    ----------
    result : Result
        What to write.
    path : path
        The folder. It appears when it is complete.
    images : optional
        Where the cutouts come from, as for `radio_ag.catalog_io.export.cutouts.open_cutouts`.
    spreadsheet_safe : bool
        Whether the index is; see `radio_ag.catalog_io.export.tables.quote_formulas`.
    overwrite : bool
        Replace a folder of that name, if it holds nothing but what an export wrote.
    progress : callable, optional
        Called as ``progress(files done, files in all, {})``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the result does not say where its images are, or they cannot be used.
    OutputError
        If the folder exists, or cannot be written.
    ServiceError
        If an image service answered for none of the first sources.
    """
    path = _check_folder(path, overwrite)
    cutouts = open_cutouts(result, images)
    header = _common_header(result.table)
    digits = len(str(max(len(result) - 1, 0)))
    names = []
    with folder_beside(path) as folder:
        for start in range(0, len(result), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(result)))
            maps = {gate: result.attention_maps(rows, gate) for gate in result.gates}
            found = cutouts(rows)
            for place, row in enumerate(rows.tolist()):
                entry, observed = result.table[row], found.observed[place]
                celestial = None if found.reasons[place] else cutout_header(found.places[place], observed)
                hdus = [] if celestial is None else [_cutout_hdu(found.images[place], celestial, entry)]
                if entry["attention_plane"] >= 0:
                    planes_of = {gate: planes[place] for gate, planes in maps.items()}
                    hdus += _attention_hdus(entry, cutout_header(entry, observed), planes_of)
                name = file_name(row, _text(result.table["name"][row]), digits) if hdus else ""
                if hdus:
                    primary = fits.PrimaryHDU(header=_source_header(header, result.table[row]))
                    fits.HDUList([primary, *hdus]).writeto(folder / name, checksum=True)
                names.append(name)
            if progress:
                progress(len(names), len(result), {})
        _write_index(result.table, names, folder / INDEX, spreadsheet_safe)
    return path


def file_name(row: int, name: str, digits: int = 1) -> str:
    """Name a source's file: row number and name, of the latter letters, digits and ``+-._`` only.

    Parameters
    ----------
    row : int
        Of the result, from 0.
    name : str
        Of the source, any text.
    digits : int
        Of the row number, at least.

    Returns
    -------
    str
        Without any folder.

    Examples
    --------
    >>> file_name(7, "J080404.5+153335", digits=3)
    '007_J080404.5+153335.fits'
    >>> file_name(7, "../../etc/passwd")
    '7_etc_passwd.fits'
    """
    safe = re.sub(r"[^A-Za-z0-9.+-]+|\.{2,}", "_", name).strip("._")
    safe = re.sub(r"_+", "_", safe)[:_LONGEST_NAME]
    return f"{row:0{digits}d}{'_' if safe else ''}{safe}.fits"


def _cutout_hdu(image: NDArray[np.float32], celestial: fits.Header, entry: Row) -> fits.ImageHDU:
    header = fits.Header([("BUNIT", "Jy/beam"), ("OBJECT", header_text(_text(entry["name"])), "designation")])
    header.update(celestial)
    return fits.ImageHDU(image, header, name="CUTOUT")


def _attention_hdus(
    entry: Row, celestial: fits.Header, maps: dict[str | int, NDArray[np.float32]]
) -> list[fits.ImageHDU]:
    hdus = []
    for gate, attention in maps.items():
        name = "ATTENTION" if gate == "mean" else f"ATTENTION_{gate}"
        header = image_header(attention, name, 1, celestial, entry.meta.get("normalisation"))
        header["GATE"] = gate
        hdus.append(fits.ImageHDU(attention, header))
    return hdus


def _common_header(table: Table) -> fits.Header:
    """The provenance of a result, without the counts that hold for its product."""
    header = primary_header(table.meta, Counts(0, 0, 0), "none")
    for keyword in ("NSRC", "NCLASS", "NPLANE", "ATTMODE"):
        del header[keyword]
    return header


def _source_header(common: fits.Header, entry: Row) -> fits.Header:
    flags = int(entry["flags"])
    facts = [
        ("OBJECT", header_text(_text(entry["name"])), "designation"),
        ("SRCID", header_text(_text(entry["source_id"])), "identifier in the input catalogue"),
        ("RA_OBJ", _number(entry["ra"]), "[deg] right ascension (ICRS)"),
        ("DEC_OBJ", _number(entry["dec"]), "[deg] declination (ICRS)"),
        ("FRCLASS", _text(entry["class"]), "FRI, FRII, or empty"),
        ("FRPROB", _number(entry["probability"]), "calibrated probability of the class"),
        ("FRPSTD", _number(entry["p_std"]), "its standard deviation"),
        ("FLAGS", flags, "quality flags; 0 is clean"),
        ("FLAGNAME", ", ".join(decode(flags)), ""),
    ]
    header = common.copy()
    for keyword, value, comment in facts:
        if value is None:
            continue
        room = len(str(value)) + len(comment) < 60  # else astropy cuts the comment, and warns
        header.append(fits.Card(keyword, value, comment if room else ""), end=True)
    return with_long_text(header)


def _number(value: Any) -> float | None:
    return None if np.ma.is_masked(value) or not np.isfinite(value) else float(value)


def _text(value: Any) -> str:
    return "" if np.ma.is_masked(value) else str(value)


def _write_index(table: Table, names: list[str], path: Path, spreadsheet_safe: bool) -> None:
    index = plain_table(table[list(_INDEXED)], arrays=False)
    if spreadsheet_safe:
        index = quote_formulas(index)
    index.add_column(np.arange(len(table)), name="row", index=0)
    index.add_column(np.array(names, dtype=str), name="file", index=1)
    with path.open("wb") as stream:
        write_csv(index, stream)


def _check_folder(path: str | os.PathLike, overwrite: bool) -> Path:
    path = check_output(path, overwrite=True, folder=True)
    members = sorted(member.name for member in path.iterdir()) if path.is_dir() else []
    if members and not overwrite:
        raise OutputError(f"the folder {path} exists and is not empty: choose another name or allow overwriting")
    strangers = [name for name in members if name != INDEX and not _FILE_NAME.fullmatch(name)]
    if strangers or (members and INDEX not in members):
        what = f"such as {strangers[0]!r}" if strangers else f"but no {INDEX}"
        raise OutputError(f"the folder {path} will not be replaced: it holds files that no export made, {what}")
    return path
