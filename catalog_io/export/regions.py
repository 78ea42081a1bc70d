"""Region files for DS9 and CASA: a circle a source, coloured by class, with its name, class and probability."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import NDArray
from regions import CircleSkyRegion, Regions

from radio_ag.errors import RadioAGWarning
from radio_ag.preprocess.images import BEAM_FWHM
from radio_ag.writing import check_output, written_beside

if TYPE_CHECKING:
    from radio_ag.catalog_io.result import Result

COLOURS = {"FRI": "#6bbcf2", "FRII": "#f0a04b", "": "#a0a4ac"}
"""Colour by class: light, for the dark ground of an image viewer, and told apart by colour-blind readers too."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "ds9": {"precision": 7},
    "crtf": {"coordsys": "icrs", "fmt": ".7f", "radunit": "arcsec"},
}
_HEADERS = {"ds9": "# Region file format: DS9\n", "crtf": "#CRTFv0\n"}  # of a file without regions
_UNPRINTED = dict.fromkeys(map(ord, "{}'\"\\"))  # they end a text in one of the formats


def to_regions(result: "Result", *, rows: bool = False) -> Regions:
    """Draw the sources of a result as circles on the sky.

    Parameters
    ----------
    result : Result
        Sources without a position are left out.
    rows : bool
        A circle for each row of the catalogue instead of each source.

    Returns
    -------
    `~regions.Regions`
        ICRS circles of half the source's size, at least one beam in radius. Text: name, class, probability; tag: the
        class. Dashed where there are flags.
    """
    table = result.table if rows else result.sources
    names = ("ra", "dec", "size" if rows else "las", "probability")
    ra, dec, size, probability = (_numbers(table, name) for name in names)
    radius = np.fmax(size / 2, BEAM_FWHM) * u.arcsec
    labels, classes = (np.ma.filled(table[name], "") for name in ("name", "class"))
    placed = np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90))
    sky = SkyCoord(ra[placed], dec[placed], unit="deg")
    circles = []
    for row, centre in zip(placed.tolist(), sky, strict=True):
        source_class = str(classes[row])
        text = _label(str(labels[row]), source_class, float(probability[row]))
        visual = {"color": COLOURS.get(source_class, COLOURS[""])}
        if table["flags"][row] != 0:
            visual["linestyle"] = "--"
        meta = {"text": text, "label": text, "tag": [source_class or "no class"]}
        circles.append(CircleSkyRegion(centre, radius[row], meta=meta, visual=visual))
    return Regions(circles)


def write_regions(
    result: "Result", path: str | os.PathLike, format: str, *, rows: bool = False, overwrite: bool = False
) -> Path:
    """Write a result as a region file.

    Parameters
    ----------
    result : Result
        Sources without a position have no region; a warning says how many.
    path : path
        The file. It appears when it is complete.
    format : {"ds9", "crtf"}
    rows : bool
        A circle for each row of the catalogue instead of each source.
    overwrite : bool
        Replace a file of that name.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    OutputError
        If the file exists, or cannot be written.
    """
    path = check_output(path, overwrite)
    circles = to_regions(result, rows=rows)
    total, of = (len(result), "rows") if rows else (len(result.sources), "sources")
    text = circles.serialize(format=format, **_OPTIONS[format]) if len(circles) else _HEADERS[format]
    with written_beside(path) as stream:
        stream.write(text.encode("ascii"))
    if len(circles) < total:
        warnings.warn(
            f"{total - len(circles)} of {total} {of} have no position, and no region in {path.name}",
            RadioAGWarning,
            stacklevel=2,
        )
    return path


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan)


def _label(name: str, source_class: str, probability: float) -> str:
    words = [name, source_class] if source_class else [name]
    if np.isfinite(probability):
        words.append(f"{probability:.2f}")
    text = " ".join(words).encode("ascii", "replace").decode("ascii").translate(_UNPRINTED)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
