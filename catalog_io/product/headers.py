"""Headers of the FITS product, and the provenance read back from them."""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

from radio_ag.catalog_io.files.fits_table import card_text
from radio_ag.catalog_io.product.tiles import LEVELS
from radio_ag.errors import RadioAGWarning
from radio_ag.flags import Flag

_PACKAGES = ("astropy", "numpy", "scipy", "torch", "astroquery", "photutils", "regions", "safetensors")
_KEYWORDS = {
    "creator": ("CREATOR", "software that made this result"),
    "packages": ("PACKAGES", "versions of what it stands on"),
    "survey": ("SURVEY", "survey of the images"),
    "service": ("SERVICE", "where the images came from"),
    "weights": ("MODEL", "weights of the network"),
    "weights_sha256": ("MODELSHA", "sha256 of the weights"),
    "normalisation": ("NORMALIS", "normalisation of the attention maps"),
    "catalogue": ("INPUTCAT", "input catalogue"),
    "catalogue_sha256": ("INPUTSHA", "sha256 of the input catalogue"),
    "reference": ("REFERENC", "paper"),
    "incomplete": ("INCOMPLE", "rows still to be had: run the same again"),
}
_NAMES = {keyword: name for name, (keyword, _) in _KEYWORDS.items()}
# Of the primary header, what is not provenance: the format's own keywords, and facts about this file.
_FORMAT = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "COMMENT", "HISTORY", "DATE", "CHECKSUM", "DATASUM", "LONGSTRN", "")
_CARD = 80  # bytes
_FACTS = ("ORIGIN", "NSRC", "NCLASS", "NPLANE", "ATTMODE")
_OTHER = ("END", "CONTINUE", "HIERARCH", "EXTNAME", "XTENSION", "BSCALE", "BZERO", "BLANK")
_RESERVED = {*_FORMAT, *_FACTS, *_NAMES, *_OTHER}
CUTOUT_STEP = 0.25
"""Quantisation step of cutouts over their rms: no pixel moves by more than rms / 8, at the noise and at the peak."""

_PREFIX = "PROVENANCE "  # before a name that a keyword of the file has already
_RANGES = {
    "range": "0 to 1 in each map",
    "sigmoid": "0 to 1",
    "softmax": "each map sums to 1",
    "standardisation": "signed",
}


class Counts(NamedTuple):
    """Rows of a product: in all, with a class, and with attention maps."""

    rows: int
    classified: int
    mapped: int


def software_versions() -> dict[str, str]:
    """Return the provenance of the software: ``creator`` and ``packages``.

    Returns
    -------
    dict of str to str
        Name and version; names and versions of the packages that decide the numbers.
    """
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {"creator": f"radio-ag {version('radio-ag')}", "packages": packages}


def primary_header(meta: Mapping[str, Any], counts: Counts, attention: str) -> fits.Header:
    """Return the primary header: provenance, counts, and the time of writing, which no other header has.

    Parameters
    ----------
    meta : mapping of str, object
        Of a result's table.
    counts : Counts
        Of rows, sources and planes.
    attention : str
        "mean", "gates", "hdus" or "none".

    Returns
    -------
    fits.Header
        Of an HDU without data.
    """
    header = fits.PrimaryHDU().header
    header["EXTEND"] = True
    header["DATE"] = (datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "when this file was written, UTC")
    header["ORIGIN"] = ("radio-ag", "FRI/FRII classification of radio sources")
    header["NSRC"] = (counts.rows, "rows")
    header["NCLASS"] = (counts.classified, "rows with a class")
    header["NPLANE"] = (counts.mapped, "rows with attention maps")
    header["ATTMODE"] = (attention, "attention maps kept: mean, gates, hdus or none")
    for name, value in meta.items():
        keyword, comment = _keyword(str(name))
        text = _header_value(value)
        if text is None:  # a card without a value is legal, and programs stumble over it
            continue
        fits_one_card = len(keyword) + len(str(text)) + len(comment) < 62  # else astropy cuts the comment, and warns
        header.append(fits.Card(keyword, text, comment if fits_one_card else ""), end=True)
    return with_long_text(header)


def with_long_text(header: fits.Header) -> fits.Header:
    """Return a header that says so where text of it goes on over several cards (LONGSTRN), as FITS programs expect.

    Parameters
    ----------
    header : Header
        To be changed in place.

    Returns
    -------
    Header
    """
    if any(len(card.image) > _CARD for card in header.cards):
        header.set("LONGSTRN", "OGIP 1.0", "the CONTINUE convention is used")
    return header


def provenance(header: fits.Header) -> dict[str, Any]:
    """Return what `primary_header` wrote of a table's meta; sequences come back as text.

    Parameters
    ----------
    header : fits.Header
        The primary one.

    Returns
    -------
    dict of str to object
        By the names that the meta had.
    """
    result = {}
    for card in header.cards:
        keyword = card.keyword
        if keyword in _FORMAT or keyword in _FACTS:
            continue
        name = _NAMES.get(keyword, keyword.removeprefix(_PREFIX).lower())
        result[name] = None if isinstance(card.value, fits.card.Undefined) else card.value
    return result


def renamed_columns(table: Table, fields: Sequence[str]) -> dict[str, str]:
    """Return the names of the input's columns that are others in the product: the new one by the old one.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of a result.
    fields : sequence of str
        What each of its columns is called in the product.

    Returns
    -------
    dict of str to str
        Empty where none is.
    """
    old = ((column.info.meta or {}).get("input_name", name) for name, column in table.columns.items())
    return {name: field for name, field in zip(old, fields, strict=True) if name != field}


def warn_of_renamed(table: Table, fields: Sequence[str]) -> None:
    """Say in one line which columns have names that FITS cannot hold, and what they are called in the product.

    Parameters
    ----------
    table : Table
        Of a result.
    fields : sequence of str
        What each of its columns is called in the product.
    """
    names = [f"{name!r} is {field!r}" for name, field in zip(table.colnames, fields, strict=True) if name != field]
    if names:
        more = f", and {len(names) - 5} more" if len(names) > 5 else ""
        text = f"columns with names that FITS cannot hold are renamed in the product: {', '.join(names[:5])}{more}"
        warnings.warn(text, RadioAGWarning, stacklevel=2)


def classification_header(header: fits.Header, table: Table, fields: Sequence[str]) -> fits.Header:
    """Return the table's own header with its name, the bits of ``flags``, and the columns that were renamed.

    Parameters
    ----------
    header : fits.Header
        Of the columns.
    table : Table
        Of a result.
    fields : sequence of str
        What each of its columns is called in the product.

    Returns
    -------
    fits.Header
        A copy.
    """
    header = header.copy()
    header.set("EXTNAME", "CLASSIFICATION", after="TFIELDS")
    _describe_flags(header)
    for number, (old, new) in enumerate(renamed_columns(table, fields).items(), start=1):
        header[f"INCOL{number}"] = header_text(f"{old} -> {new}")
    return with_long_text(header)


def sources_header(header: fits.Header) -> fits.Header:
    """Return the own header of the table of sources with its name and the bits of ``flags``.

    Parameters
    ----------
    header : fits.Header
        Of the columns.

    Returns
    -------
    fits.Header
        A copy.
    """
    header = header.copy()
    header.set("EXTNAME", "SOURCES", after="TFIELDS")
    _describe_flags(header)
    header["COMMENT"] = "The components of a source are the rows of CLASSIFICATION whose group_id"
    header["COMMENT"] = "is its number in the column source."
    return with_long_text(header)


def _describe_flags(header: fits.Header) -> None:
    for bit, flag in enumerate(Flag):
        header[f"FLAG{bit}"] = f"{flag.name}: {flag.description}"


def attention_header(header: fits.Header, gate: str | int, normalisation: str | None) -> fits.Header:
    """Return the stack's own header with its name and what its values and axes are.

    Parameters
    ----------
    header : fits.Header
        Of the compressed image.
    gate : str or int
        "mean", or 1, 2, 3.
    normalisation : str or None
        Of the gates; None where it is not known.

    Returns
    -------
    fits.Header
        A copy.
    """
    header = header.copy()
    header["EXTNAME"] = "ATTENTION" if gate == "mean" else f"ATTENTION_{gate}"
    _describe_maps(header, gate, normalisation)
    header["COMMENT"] = "The third axis counts attention_plane of CLASSIFICATION, from 0."
    header["COMMENT"] = "Each plane lies on the pixels of its own cutout; the celestial"
    header["COMMENT"] = "coordinates are in the row of CLASSIFICATION with that attention_plane."
    return header


def cutouts_header(header: fits.Header) -> fits.Header:
    """Return the cutouts' own header with their name, and what their values and axes are.

    Parameters
    ----------
    header : fits.Header
        Of the compressed image.

    Returns
    -------
    fits.Header
        A copy.
    """
    header = header.copy()
    header["EXTNAME"] = "CUTOUTS"
    header["BUNIT"] = ("Jy/beam", "blank pixels are NaN")
    header["QUANTRMS"] = (CUTOUT_STEP, "quantisation step over rms of CLASSIFICATION")
    header["COMMENT"] = "The third axis counts cutout_plane of CLASSIFICATION, from 0."
    header["COMMENT"] = "Where the rms is unknown the step is the range of the plane / 1024."
    header["COMMENT"] = "Each plane lies on the pixels of its own cutout: the row of CLASSIFICATION with that"
    header["COMMENT"] = "cutout_plane has the celestial coordinates."
    return header


def image_header(
    image: np.ndarray, name: str, number: int, celestial: fits.Header, normalisation: str | None
) -> fits.Header:
    """Return the header of one source's map with its celestial coordinates.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        The map.
    name : str
        Of the source, for EXTNAME.
    number : int
        Of the row, from 0.
    celestial : fits.Header
        WCS of the cutout.
    normalisation : str or None
        Of the gates; None where it is not known.

    Returns
    -------
    fits.Header
        Of an image HDU.
    """
    header = fits.ImageHDU(image).header
    header["EXTNAME"], header["EXTVER"] = name, number
    header.update(celestial)
    _describe_maps(header, "mean", normalisation)
    return header


def header_text(value: str) -> str:
    """Return text as a card takes it: printable ASCII, and of a path on this computer only its last part.

    Parameters
    ----------
    value : str
        Any text.

    Returns
    -------
    str
        Other characters are escaped.
    """
    text = " ".join(value.split())
    if text.startswith(("/", "~", "\\", "file:")) or re.match(r"[A-Za-z]:[\\/]", text):
        text = PurePath(text.replace("\\", "/")).name
    escaped = text.encode("unicode_escape" if not text.isascii() or not text.isprintable() else "ascii")
    return card_text(escaped.decode("ascii"))


def _describe_maps(header: fits.Header, gate: str | int, normalisation: str | None) -> None:
    header["BTYPE"] = ("attention", "no flux density: where the network looks")
    header["GATE"] = (gate, "attention gate, or the mean of all")
    if normalisation is not None:
        header["NORMALIS"] = (header_text(normalisation), "normalisation of each gate's map")
    if normalisation in _RANGES:
        header["MAPRANGE"] = (_RANGES[normalisation], "values of one gate's map")
    header["QUANTERR"] = (0.5 / LEVELS, "largest error over the range of the plane")


def _keyword(name: str) -> tuple[str, str]:
    """Keyword and comment for a name of the provenance."""
    if name in _KEYWORDS:
        return _KEYWORDS[name]
    keyword = name.upper()
    if keyword in _RESERVED or keyword.startswith("NAXIS"):
        return f"HIERARCH {_PREFIX}{keyword}", ""
    if re.fullmatch(r"[A-Z0-9_-]{1,8}", keyword):
        return keyword, ""
    return "HIERARCH " + re.sub(r"[^A-Z0-9_.-]", "_", keyword)[:40], ""


def _header_value(value: Any) -> str | int | float | bool | None:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and np.isfinite(value)):
        return value
    if isinstance(value, os.PathLike):
        return header_text(PurePath(value).name)
    if isinstance(value, Mapping):
        return header_text(", ".join(f"{key}={_header_value(item)}" for key, item in value.items()))
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return header_text(", ".join(str(_header_value(item)) for item in value))
    return header_text(str(value))
