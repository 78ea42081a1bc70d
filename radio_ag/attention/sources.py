"""Sources whose attention is looked into: those of a result, or of a file of labelled images."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from radio_ag.attention.augmented import Sources
from radio_ag.attention.statistics import UNLABELLED
from radio_ag.catalog_io.export.cutouts import open_cutouts
from radio_ag.catalog_io.files.fits_open import in_order, open_checked
from radio_ag.catalog_io.product.columns import iau_names
from radio_ag.catalog_io.product.fits import cutout_wcs
from radio_ag.catalog_io.result import Result
from radio_ag.errors import InputError, SourceNotFoundError
from radio_ag.flags import Flag
from radio_ag.labelled.data import LabelledFile, Reading
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import CROP_SIZE, clip

_CHUNK = 64  # sources: 23 MB of fields
_COPIED = ("redshift", "z", "extent", "class", "probability", "p_std")


@dataclass(frozen=True)
class SourceSet:
    """Sources with images and, where they are known, labels.

    Attributes
    ----------
    table : Table
        ``name``, ``ra``, ``dec`` (deg, ICRS) and what else is known: redshift, extent, class, p_std.
    label : ndarray of int, shape (n,)
        0 for FRI, 1 for FRII, `radio_ag.attention.statistics.UNLABELLED`.
    certain : ndarray of bool, shape (n,)
        Whether the label is; of a result without a column that says so, whether the class is (no flag ``UNCERTAIN``).
    observed : callable
        Images (k, ny, nx) in Jy/beam or on a scale of their own, for row numbers (k,); NaN where there is none.
    clipped : callable
        Takes row numbers and a clip in units of the noise, and gives the images with zero where there is no emission.
    wcs : callable
        Takes a row number and gives the celestial WCS of its crop; None for labelled images without positions.
    beam : callable
        Takes a row number and gives the beam of its image, major and minor axis in arcsec and position angle in
        degrees; None where it is not told, as of labelled images.
    """

    table: Table
    label: NDArray[np.intp]
    certain: NDArray[np.bool_]
    observed: Callable[[NDArray[np.intp]], NDArray[np.float32]]
    clipped: Callable[[NDArray[np.intp], float], NDArray[np.float32]]
    wcs: Callable[[int], WCS | None]
    beam: Callable[[int], tuple[float, float, float] | None]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labelled(self) -> bool:
        """Whether both classes have labels."""
        return set(range(len(CLASSES))) <= set(self.label.tolist())

    def chunks(self, threshold: float, chunk: int = _CHUNK) -> Iterator[Sources]:
        """Return all sources in chunks, clipped at ``threshold`` times the noise; one chunk is in memory at a time.

        Parameters
        ----------
        threshold : float
            In units of the noise.
        chunk : int
            Sources at once.
        """
        for start in range(0, len(self), chunk):
            rows = np.arange(start, min(start + chunk, len(self)))
            yield Sources(self.clipped(rows, threshold), self.label[rows], self.certain[rows])

    def find(self, text: str) -> int:
        """Return the row of a source by its number (from 0), its name, or a position within 10 arcsec.

        Parameters
        ----------
        text : str
            A position in degrees, or sexagesimal with hours first.

        Returns
        -------
        int

        Raises
        ------
        SourceNotFoundError
            There is no such source.
        """
        if text.isdecimal():
            if int(text) >= len(self):
                raise SourceNotFoundError(f"there is no row {text}: rows are numbered from 0 to {len(self) - 1}")
            return int(text)
        named = np.flatnonzero(np.asarray(self.table["name"]) == text.strip())
        return int(named[0]) if len(named) else _nearest(self.table, text)


def open_sources(
    path: str | os.PathLike,
    *,
    images: Any = None,
    label_column: str | None = None,
    confidence_column: str | None = None,
    once: bool = False,
) -> SourceSet:
    """Open a result of `radio_ag.classify`, or a FITS file of labelled images.

    Parameters
    ----------
    path : path
        A product; or a file with the HDUs ``SOURCES`` and ``IMAGES``, see
        `radio_ag.labelled.data.LabelledFile`. Of both a chunk at a time is in memory.
    images : optional
        Of a result: where its cutouts come from, as for `radio_ag.catalog_io.export.cutouts.open_cutouts`.
    label_column : str, optional
        Of a result: column with the labels ``FRI`` and ``FRII``; other values count as no label.
    confidence_column : str, optional
        Of a result: column that is "certain", or true, where the label is.
    once : bool
        Of a result whose rows were grouped into sources: the first row of each source alone. The others show the same.

    Returns
    -------
    SourceSet

    Raises
    ------
    InputError
        Neither of the two; or the images or the column cannot be used.
    """
    path = Path(path)
    try:
        with open_checked(path) as hdus:
            names = {hdu.name for hdu in in_order(hdus)}
    except OSError as exc:
        raise InputError(f"{path} cannot be read as FITS: {exc}") from exc
    if "CLASSIFICATION" in names:
        result = Result.read(path)
        if once and "group_id" in result.table.colnames:
            result = result[np.sort(np.unique(result.table["group_id"], return_index=True)[1])]
        return _from_result(result, images, label_column, confidence_column)
    if not {"SOURCES", "IMAGES"} <= names:
        raise InputError(
            f"{path} is neither a product of radio-ag (CLASSIFICATION) nor labelled images (SOURCES, IMAGES)"
        )
    if (images, label_column, confidence_column) != (None, None, None):
        raise InputError(
            f"{path} has images and labels of its own: images, label_column and confidence_column are for results"
        )
    return _from_labelled(path)


def _from_result(result: Result, images: Any, label_column: str | None, confidence_column: str | None) -> SourceSet:
    table = result.table
    cutouts = open_cutouts(result, images)
    rms = np.ma.filled(np.ma.asarray(table["rms"], dtype=np.float32), np.nan)

    def observed(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return cutouts(rows).images

    def beam(row: int) -> tuple[float, float, float] | None:
        seen = cutouts(np.array([row])).observed[0]
        major, minor, angle = (float(np.ma.filled(seen[f"beam_{name}"], np.nan)) for name in ("major", "minor", "pa"))
        return (major, minor, angle) if np.isfinite([major, minor, angle]).all() else None

    return SourceSet(
        table=table[_shown(table)],
        label=_labels(table, label_column),
        certain=_certain(table, confidence_column),
        observed=observed,
        clipped=lambda rows, threshold: clip(observed(rows), rms[rows], threshold),
        wcs=lambda row: cutout_wcs(table[int(row)]),
        beam=beam,
    )


def _shown(table: Table) -> list[str]:
    """The columns that say which source a row is, and what else of it is shown beside its picture."""
    known = [name for name in table.colnames if name.lower() in _COPIED]
    return [*(name for name in ("name", "ra", "dec") if name in table.colnames), *known]


def _labels(table: Table, column: str | None) -> NDArray[np.intp]:
    label = np.full(len(table), UNLABELLED)
    if column is None:
        return label
    text = _text(table, column)
    for number, name in enumerate(CLASSES):
        label[text == name] = number
    if (label == UNLABELLED).all():
        raise InputError(f"no value of column {column!r} is {' or '.join(CLASSES)}")
    return label


def _certain(table: Table, column: str | None) -> NDArray[np.bool_]:
    if column is None:
        return (np.asarray(table["flags"]) & Flag.UNCERTAIN) == 0
    certain = np.isin(np.char.lower(_text(table, column)), ("certain", "true"))
    if not certain.any():
        raise InputError(f"no value of column {column!r} is certain or true")
    return certain


def _text(table: Table, column: str) -> NDArray[np.str_]:
    """A column as text, empty where it is masked."""
    if column not in table.colnames:
        raise InputError(f"there is no column {column!r}: the result has {', '.join(table.colnames)}")
    return np.char.strip(np.ma.filled(table[column].astype(str), ""))


def _from_labelled(path: Path) -> SourceSet:
    file = LabelledFile(path, Reading(classes=CLASSES))
    ra, dec, pixel_scale = file.ra, file.dec, file.own.scale.pixel_scale
    for name, values in (("ra", ra), ("dec", dec)):
        if name not in file.table.colnames:
            file.table[name] = values
    table = file.table[_shown(file.table)]
    if "name" not in table.colnames:
        table.add_column(iau_names(ra, dec), name="name", index=0)
    return SourceSet(
        table=table,
        label=file.label,
        certain=file.certain,
        observed=file.images,
        clipped=lambda rows, threshold: file.clipped(rows, threshold).images,
        wcs=lambda row: _centred_wcs(ra[row], dec[row], pixel_scale) if np.isfinite(ra[row] + dec[row]) else None,
        beam=lambda _: None,
    )


def _centred_wcs(ra: float, dec: float, pixel_scale: float) -> WCS:
    """Tangent plane, north up and east left, centred on a position."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = (CROP_SIZE + 1) / 2, (CROP_SIZE + 1) / 2
    wcs.wcs.cdelt = -pixel_scale / 3600, pixel_scale / 3600
    return wcs


def _nearest(table: Table, text: str, radius: float = 10.0) -> int:
    """Row nearest to a position in words, at most ``radius`` arcsec away."""
    decimal = len(text.split()) == 2 and ":" not in text
    try:
        position = SkyCoord(text, unit="deg" if decimal else ("hourangle", "deg"))
    except ValueError as exc:
        raise SourceNotFoundError(f"{text!r} is neither the name of a source nor a position") from exc
    columns: list[NDArray[np.float64]] = [
        np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan) for name in ("ra", "dec")
    ]
    separation = position.separation(SkyCoord(*columns, unit="deg")).arcsec
    separation = np.where(np.isfinite(separation), separation, np.inf)
    if separation.min(initial=np.inf) > radius:
        raise SourceNotFoundError(f"no source is within {radius:g} arcsec of {text}")
    return int(separation.argmin())
