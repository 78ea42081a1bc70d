"""A FITS file of labelled images, of which a few at a time are in memory."""

import os
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.files.fits_open import open_checked
from radio_ag.errors import CatalogueError, ImageError
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import CROP_SIZE, FIELD_SIZE, clip, estimate_rms


class LabelledFile:
    """Sources labelled FRI or FRII, and their images on disk.

    Parameters
    ----------
    path : path
        With a table ``SOURCES`` (``fr_class``; optional ``ra``, ``dec`` in deg, ``confidence``) and a cube ``IMAGES``,
        compressed or not: raw fields (n, 300, 300) of floating point, or clipped and scaled ones of 8 bits, also
        (n, 150, 150).

    Attributes
    ----------
    table : `~astropy.table.Table`
        Rows of ``SOURCES`` labelled FRI or FRII, in their order.
    label : ndarray of int
        0 for FRI, 1 for FRII.
    certain : ndarray of bool
        Whether ``confidence`` is "certain"; where there is no such column every label is.

    Raises
    ------
    CatalogueError
        If the table has no ``fr_class``.
    ImageError
        If there is not one image of such a size a row.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = Path(path)
        with open_checked(self._path) as hdus:
            table = Table.read(hdus["SOURCES"])
            shape, kind = hdus["IMAGES"].shape, np.dtype(hdus["IMAGES"].section.dtype).kind
        table.convert_bytestring_to_unicode()
        table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
        if "fr_class" not in table.colnames:
            raise CatalogueError(f"{self._path.name}: SOURCES lacks the column fr_class")
        self._raw = kind == "f"
        accepted = [(len(table), side, side) for side in ((FIELD_SIZE,) if self._raw else (FIELD_SIZE, CROP_SIZE))]
        if shape not in accepted:
            expected = " or ".join(map(str, accepted))
            raise ImageError(f"{self._path.name}: IMAGES has shape {shape}, expected {expected}")
        classes = _text(table, "fr_class")
        self._planes = np.flatnonzero(np.isin(classes, CLASSES))
        self.table = table[self._planes]
        self.label = np.array([CLASSES.index(name) for name in classes[self._planes]], np.intp)
        self.certain = np.ones(len(self.table), bool)
        if "confidence" in table.colnames:
            self.certain = _text(self.table, "confidence") == "certain"

    def __len__(self) -> int:
        return len(self.table)

    def fields(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The images of some rows as they are in the file, shape (k, ny, nx)."""
        planes = self._planes[rows]
        with open_checked(self._path) as hdus:
            images = np.stack([hdus["IMAGES"].section[int(plane)] for plane in planes])
        return images.astype(np.float32)

    def clipped(self, rows: NDArray[np.intp], threshold: float) -> NDArray[np.float32]:
        """The same with zero where nothing exceeds ``threshold`` times the noise; 8-bit images are clipped already."""
        fields = self.fields(rows)
        return clip(fields, estimate_rms(fields).rms, threshold) if self._raw else fields


def _text(table: Table, name: str) -> NDArray[np.str_]:
    return np.char.strip(np.ma.filled(table[name].astype(str), ""))
