"""Labelled radio galaxies for training and evaluation: what is read, checked, and left out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radio_ag.errors import CatalogueError, ImageError, InputError
from radio_ag.flags import Flag
from radio_ag.labelled.published import is_batches, read_batches
from radio_ag.labelled.same_images import find_same_images
from radio_ag.labelled.splits import SAME_SOURCE, assign_folds, close_pairs, group_by_position
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import CROP_SIZE, FIELD_SIZE, clip, crop, estimate_rms

__all__ = ["SAME_SOURCE", "Labelled", "assign_folds", "group_by_position", "load_labelled"]

CLIP = 3.0
"""Fields are clipped at this many times their noise."""
LEFT_OUT = ("hybrid", "compact", "bent")
"""Values of ``fr_class``, in any letter case, that are neither of the two classes."""

_DUPLICATE = 30.0  # arcsec: two entries of one source
_FAINTEST_PEAK = 64  # of 255: an 8-bit crop with a fainter peak has too few grey levels left
_MARGIN = (FIELD_SIZE - CROP_SIZE) // 2


@dataclass(frozen=True)
class Labelled:
    """Sources with labels.

    Attributes
    ----------
    fields : ndarray, shape (n, 300, 300), float32
        Clipped fields, blank pixels 0; the scale of each is arbitrary: images are normalised after cropping.
    label : ndarray of int
        0 for FRI, 1 for FRII.
    certain : ndarray of bool
        Whether the label is certain.
    ra, dec : ndarray of float
        Degrees, ICRS; NaN where the data set has no positions.
    origin : ndarray of str
        The data set that the source comes from.
    group : ndarray of int
        Entries within 270 arcsec of each other, directly or in a chain, share a group; so do entries without a
        position whose images show the same source.
    name : ndarray of str, optional
        As in the data set; empty where it gives none.
    known : ndarray of int, optional
        Side of the central square that the data set has, in pixels: 300, or 150 for published images, whose field is
        zero beyond.
    rms : ndarray of float32, optional
        Noise of the field, Jy/beam; NaN for images that came clipped, whose noise is not known.
    flags : ndarray of int32, optional
        ``BLANKED`` and ``RMS_FALLBACK`` of `radio_ag.flags.Flag`.
    """

    fields: np.ndarray
    label: np.ndarray
    certain: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    origin: np.ndarray
    group: np.ndarray
    name: np.ndarray | None = None
    known: np.ndarray | None = None
    rms: np.ndarray | None = None
    flags: np.ndarray | None = None

    def __post_init__(self):
        n = len(self.label)
        defaults = {
            "name": np.full(n, ""),
            "known": np.full(n, self.fields.shape[-1]),
            "rms": np.full(n, np.nan, np.float32),
            "flags": np.zeros(n, np.int32),
        }
        for attribute, value in defaults.items():
            if getattr(self, attribute) is None:
                object.__setattr__(self, attribute, value)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows) -> Labelled:
        return Labelled(*(getattr(self, f.name)[rows] for f in fields(self)))


def load_labelled(*paths, test: bool = False) -> Labelled:
    """Read labelled images: FITS files, and published batches as they are downloaded.

    Parameters
    ----------
    *paths : path-like
        FITS files, each with a table ``SOURCES`` (``ra``, ``dec`` in deg, ``fr_class``; optional ``name``,
        ``confidence``: certain or uncertain, and ``rms`` in Jy/beam where the noise of the fields is known) and a cube
        ``IMAGES``: raw fields (n, 300, 300) in Jy/beam, or images already clipped and scaled to 0-255 (8-bit,
        300x300 or 150x150; ``ra`` and ``dec`` may be missing). Or folders of published batches of MiraBest or
        FR-DEEP-F, or single batches, see `radio_ag.labelled.published`.
    test : bool
        Of a folder of published batches, read the test batch instead of the training batches.

    Returns
    -------
    Labelled
        FRI and FRII alone; ``data[data.certain]`` is MiraBest*. Of two entries of one source (within 30 arcsec) in
        different data sets the first one's stays. An entry without a position is left out where its image shows a
        source of another data set. 8-bit fields whose crop is nearly empty are left out.

    Raises
    ------
    CatalogueError
        Not such files; a label, a confidence or a position that is not understood.
    ImageError
        Images of another size, type or unit.
    """
    if not paths:
        raise InputError("load_labelled needs at least one file or folder")
    parts = [_read(Path(path), test) for path in paths]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    kept = _without_duplicates(columns["ra"], columns["dec"], columns["origin"])
    kept, links = _match_images(columns, kept)
    columns = {name: values[kept] for name, values in columns.items()}
    place = np.cumsum(kept) - 1
    return Labelled(**columns, group=group_by_position(columns["ra"], columns["dec"], SAME_SOURCE, place[links]))


def _read(path: Path, test: bool) -> dict[str, NDArray]:
    if not path.exists():
        raise CatalogueError(f"there is no file or folder {path}")
    if path.is_dir() or is_batches(path):
        return _read_published(path, test)
    return _read_fits(path)


def _read_published(path: Path, test: bool) -> dict[str, NDArray]:
    batches = read_batches(path, test=test)
    rows = _rows_of_classes(batches["fr_class"], path)
    return {
        "fields": _pad(batches["images"][rows]),
        "label": _labels(batches["fr_class"][rows]),
        **{name: batches[name][rows] for name in ("certain", "ra", "dec", "origin", "name")},
        **_without_noise(len(rows), CROP_SIZE),
    }


def _read_fits(path: Path) -> dict[str, NDArray]:
    from radio_ag.catalog_io.files.fits_open import in_order, open_checked

    try:
        hdus = open_checked(path)
        names = [hdu.name for hdu in in_order(hdus)]
    except OSError as exc:
        raise CatalogueError(f"{path} is neither FITS nor a published batch: {exc}") from exc
    with hdus:
        if "SOURCES" not in names or "IMAGES" not in names:
            raise CatalogueError(f"{path.name}: needs the HDUs SOURCES and IMAGES, has {', '.join(names)}")
        table, images = hdus["SOURCES"].data, hdus["IMAGES"].data
        scaled = _check_images(images, len(table), path)
        table = {name.lower(): np.asarray(table[name]) for name in table.names}
        missing = ({"fr_class"} if scaled else {"ra", "dec", "fr_class"}) - set(table)
        if missing:
            raise CatalogueError(f"{path.name}: SOURCES lacks the columns {', '.join(sorted(missing))}")
        rows = _rows_of_classes(table["fr_class"], path)
        if scaled:
            rows = rows[crop(images[rows].astype(np.float32)).max((1, 2)) >= _FAINTEST_PEAK]
        stack = images[rows].astype(np.float32)
        table = {name: values[rows] for name, values in table.items()}
        if scaled:
            stack, measured = _pad(stack), _without_noise(len(rows), images.shape[-1])
        else:
            stack, measured = _clip(stack, table, hdus["IMAGES"].header.get("BUNIT"), path)
    ra, dec = _positions(table, path)
    return {
        "fields": stack,
        "label": _labels(table["fr_class"]),
        "certain": _certain(table, path),
        "ra": ra,
        "dec": dec,
        "origin": np.full(len(rows), path.stem),
        "name": np.char.strip(table["name"].astype(str)) if "name" in table else np.full(len(rows), ""),
        **measured,
    }


def _check_images(images: NDArray | None, sources: int, path: Path) -> bool:
    """Whether the images came scaled to 8 bits; raises where they are neither these nor raw fields."""
    shape, kind = (None, "") if images is None else (images.shape, images.dtype.kind)
    if kind not in ("u", "f"):
        what = "no images" if images is None else f"values of type {images.dtype}"
        raise ImageError(f"{path.name}: IMAGES has {what}, expected floating point (Jy/beam) or 8-bit images")
    sides = (FIELD_SIZE, CROP_SIZE) if kind == "u" else (FIELD_SIZE,)
    if shape not in [(sources, side, side) for side in sides]:
        hint = "" if kind == "u" else ": the noise is measured on the whole field"
        expected = " or ".join(str((sources, side, side)) for side in sides)
        raise ImageError(f"{path.name}: IMAGES has shape {shape}, expected {expected}{hint}")
    return kind == "u"


def _clip(stack: NDArray, table: dict[str, NDArray], unit: str | None, path: Path) -> tuple[NDArray, dict]:
    """Fields clipped at their noise, and what was measured on the way."""
    if unit:
        from radio_ag.catalog_io.images.headers import jy_per_beam  # reading files is its business, and slow to import

        try:
            stack *= np.float32(jy_per_beam(unit, beam=None, pixel_scale=1.0))
        except ImageError as exc:
            raise ImageError(f"{path.name}: {exc}") from exc
    blanked = ~np.isfinite(stack).all((1, 2))
    if "rms" in table:
        rms, fallback = table["rms"].astype(np.float32), np.zeros(len(stack), bool)
    else:
        rms, fallback = estimate_rms(stack)
    flags = np.where(blanked, Flag.BLANKED, 0) | np.where(fallback, Flag.RMS_FALLBACK, 0)
    measured = {"known": np.full(len(stack), FIELD_SIZE), "rms": rms, "flags": flags.astype(np.int32)}
    return clip(stack, rms, CLIP), measured


def _without_noise(n: int, known: int) -> dict[str, NDArray]:
    return {"known": np.full(n, known), "rms": np.full(n, np.nan, np.float32), "flags": np.zeros(n, np.int32)}


def _pad(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images in the middle of fields that are zero beyond them."""
    if images.shape[-1] == FIELD_SIZE:
        return images
    return np.pad(images, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))


def _rows_of_classes(values: NDArray, path: Path) -> NDArray[np.intp]:
    """Rows of FRI and FRII; raises where a class is neither one of these nor known to be left out."""
    values = np.char.strip(values.astype(str))
    used = np.isin(values, CLASSES)
    unknown = np.flatnonzero(~used & ~np.isin(np.char.lower(values), LEFT_OUT))
    if len(unknown):
        raise CatalogueError(
            f"{path.name}: fr_class is {str(values[unknown[0]])!r} in row {unknown[0]} ({len(unknown)} such rows); "
            f"accepted are {' and '.join(CLASSES)}, and for sources to be left out {', '.join(LEFT_OUT)}"
        )
    return np.flatnonzero(used)


def _labels(fr_class: NDArray) -> NDArray[np.intp]:
    return np.array([CLASSES.index(value.strip()) for value in fr_class.astype(str)], int)


def _certain(table: dict[str, NDArray], path: Path) -> NDArray[np.bool_]:
    if "confidence" not in table:
        return np.ones(len(table["fr_class"]), bool)
    values = np.char.strip(table["confidence"].astype(str))
    unknown = np.flatnonzero(~np.isin(values, ("certain", "uncertain")))
    if len(unknown):
        raise CatalogueError(
            f"{path.name}: confidence is {str(values[unknown[0]])!r} ({len(unknown)} such rows); accepted are certain "
            "and uncertain"
        )
    return values == "certain"


def _positions(table: dict[str, NDArray], path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not {"ra", "dec"} <= set(table):
        return np.full((2, len(table["fr_class"])), np.nan)
    ra, dec = table["ra"].astype(float), table["dec"].astype(float)
    bad = np.flatnonzero(~((ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)))
    if len(bad):
        raise CatalogueError(
            f"{path.name}: ra {ra[bad[0]]}, dec {dec[bad[0]]} is no position in degrees ({len(bad)} such rows)"
        )
    return ra, dec


def _without_duplicates(ra: NDArray, dec: NDArray, origin: NDArray) -> NDArray[np.bool_]:
    first, second = close_pairs(ra, dec, _DUPLICATE).T
    kept = np.ones(len(ra), bool)
    kept[np.maximum(first, second)[origin[first] != origin[second]]] = False
    return kept


def _match_images(columns: dict[str, NDArray], kept: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Rows that are still kept after those without a position were compared by image, and pairs that belong together.

    An image may show no more than one source of a data set, but a data set may have several entries of a source.
    """
    kept = kept.copy()
    lost = np.flatnonzero(kept & ~np.isfinite(columns["ra"]))
    if not len(lost):
        return kept, np.zeros((0, 2), np.intp)
    placed = np.flatnonzero(kept & np.isfinite(columns["ra"]))
    images = crop(columns["fields"][lost])
    kept[lost[find_same_images(images, crop(columns["fields"][placed]))[:, 0]]] = False
    links = lost[find_same_images(images)]
    foreign = columns["origin"][links[:, 0]] != columns["origin"][links[:, 1]]
    kept[links[foreign].max(1)] = False
    return kept, links[kept[links].all(1)]
