"""Labelled images for a training, from a catalogue with a column of labels and its images, or from a product."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.files.fits_open import in_order, open_checked
from radio_ag.catalog_io.images.beam import PIXELS_PER_BEAM
from radio_ag.catalog_io.open_images import open_images
from radio_ag.catalog_io.result import Result
from radio_ag.errors import ImageError, InputError, RadioAGWarning
from radio_ag.flags import Flag
from radio_ag.preprocess.images import PIXEL_SCALE

_CHUNK = 64  # fields fetched at once
_SAME = 0.05  # relative difference of pixel scales


def is_product(path: str | os.PathLike) -> bool:
    """Return whether a file is a product of this package: FITS with the table CLASSIFICATION.

    Parameters
    ----------
    path : path-like
    """
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        if file.read(6) != b"SIMPLE":
            return False
    with open_checked(Path(path)) as hdus:
        return any(hdu.name == "CLASSIFICATION" for hdu in in_order(hdus))


def gather_labelled(
    catalogue: str | os.PathLike,
    output: Path,
    *,
    images: Any = None,
    label_column: str,
    log: Callable[[str], None] = print,
    **options: Any,
) -> Path:
    """Cut the field of each labelled row of a catalogue, and write what `radio_ag.labelled.data.load_labelled` reads.

    Parameters
    ----------
    catalogue : path-like
        A catalogue with a column of labels; without ``images`` a product that has kept its cutouts.
    output : Path
        A FITS file; one that is there already is taken as it is.
    images : object, optional
        Where the images come from, as for `radio_ag.classify`.
    label_column : str
        Rows without a label are left out.
    log : callable
        Receives a line on what is left out.
    **options
        For `radio_ag.catalog_io.open_images.open_images`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        No such column, no row with a label and an image, or a product without cutouts.
    ImageError
        Images of several beams.
    """
    if output.exists():
        log(f"{output.name} is there already: no image is fetched again")
        return output
    rows, fields, pixel_scale = _of_product(catalogue) if images is None else _of_images(catalogue, images, options)
    names = {name.lower(): name for name in rows.colnames}
    if label_column.lower() not in names:
        raise InputError(f"{catalogue} has no column {label_column!r} of labels; it has {', '.join(rows.colnames)}")
    label = np.char.strip(np.ma.filled(rows[names[label_column.lower()]].astype(str), ""))
    wanted = np.flatnonzero(label != "")
    found = [(row, field) for row, field in fields(wanted) if field is not None]
    if not found:
        raise InputError(f"{catalogue}: no row has both a label and an image")
    unlabelled, without = len(rows) - len(wanted), len(wanted) - len(found)
    log(f"{len(found)} images of {len(rows)} rows: {unlabelled} without a label, {without} without an image")
    kept = np.array([row for row, _ in found])
    table = Table({"name": rows["name"][kept].astype(str), "ra": rows["ra"][kept], "dec": rows["dec"][kept]})
    table[label_column.lower()] = label[kept]
    if "rms" in rows.colnames and images is None:
        table["rms"] = np.asarray(rows["rms"][kept])
    _write(output, table, np.stack([field for _, field in found]), pixel_scale())
    return output


_Fields = Callable[[NDArray[np.intp]], Iterator[tuple[int, NDArray[np.float32] | None]]]


def _of_product(path: str | os.PathLike) -> tuple[Table, _Fields, Callable[[], float]]:
    """Rows and cutouts of a product."""
    result = Result.read(path)
    table = result.table.filled() if result.table.masked else result.table
    if "cutout_plane" not in result.table.colnames:
        raise InputError(f"{path} has no cutouts: classify with --keep-cutouts, or give --images")
    scales: list[float] = []

    def fields(rows: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.float32] | None]]:
        for row in rows.tolist():
            if result.table["cutout_plane"][row] < 0:
                yield row, None
                continue
            scales.append(_side(np.array([[result.table[f"cd{i}_{j}"][row] for j in (1, 2)] for i in (1, 2)])))
            yield row, np.asarray(result.cutout(row).data, np.float32)

    return table, fields, lambda: _one_side(scales)


def _of_images(
    path: str | os.PathLike, images: Any, options: dict[str, Any]
) -> tuple[Table, _Fields, Callable[[], float]]:
    """Rows of a catalogue, and fields out of images."""
    catalogue = read_catalogue(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the beam of .* flagged RESAMPLED", RadioAGWarning)  # it is to be learnt
        source = open_images(images, **options)
    table = catalogue.table.copy(copy_data=False)
    name = catalogue.table[catalogue.source_id_name] if catalogue.source_id_name else np.arange(1, len(table) + 1)
    table["name"], table["ra"], table["dec"] = np.asarray(name).astype(str), catalogue.ra, catalogue.dec
    scales: list[float] = []

    def fields(rows: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.float32] | None]]:
        rows = rows[catalogue.valid[rows]]
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            fetched = source.fetch(catalogue.ra[some], catalogue.dec[some])
            for place, row in enumerate(some.tolist()):
                if fetched.flags[place] & (Flag.NO_COVERAGE | Flag.FETCH_FAILED):
                    yield row, None
                    continue
                scales.append(_side(fetched.cd[place]))
                yield row, fetched.data[place]

    return table, fields, lambda: _one_side(scales)


def _side(cd: NDArray) -> float:
    """Side of a pixel, arcsec; FIRST's where the CD matrix does not tell it."""
    side = 3600 * float(np.sqrt(abs(np.linalg.det(np.asarray(cd, float)))))
    return side if np.isfinite(side) and side > 0 else PIXEL_SCALE


def _one_side(scales: list[float]) -> float:
    low, high = min(scales), max(scales)
    if high > (1 + _SAME) * low:
        raise ImageError(f"fields with pixels of {low:.3g} to {high:.3g} arcsec: one network learns from one beam")
    return float(np.median(scales))


def _write(path: Path, table: Table, images: NDArray[np.float32], pixel_scale: float) -> None:
    sources = fits.table_to_hdu(table)
    sources.name = "SOURCES"
    cube = fits.ImageHDU(images, name="IMAGES")
    beam = pixel_scale * PIXELS_PER_BEAM / 3600
    cube.header.update(BUNIT="Jy/beam", CDELT1=-pixel_scale / 3600, CDELT2=pixel_scale / 3600, BMAJ=beam, BMIN=beam)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    fits.HDUList([fits.PrimaryHDU(), sources, cube]).writeto(beside, overwrite=True)
    os.replace(beside, path)
