"""Labelled radio galaxies for training and evaluation: what is read, checked, and left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.catalog_io.files.fits_open import in_order, one_line, open_checked
from radio_ag.catalog_io.images.headers import jy_per_beam
from radio_ag.errors import CatalogueError, ImageError, InputError
from radio_ag.flags import Flag
from radio_ag.labelled.classes import ClassRule, class_rule
from radio_ag.labelled.published import HYBRID, is_batches, read_batches
from radio_ag.labelled.same_images import find_same_images
from radio_ag.labelled.scales import FIRST_SCALE, LARGEST, SMALLEST, OwnPixels, Scale
from radio_ag.labelled.splits import SAME_SOURCE, close_pairs, group_by_position
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import CROP_SIZE, FIELD_SIZE, clip, crop
from radio_ag.preprocess.noise import estimate_rms

CLIP = 3.0
"""Fields are clipped at this many times their noise."""
LABELS = "fr_class"
"""The column of the labels, where no other one is named."""

_DUPLICATE = 30.0  # arcsec: two entries of one source
_FAINTEST_PEAK = 64  # of 255: an 8-bit crop with a fainter peak has too few grey levels left
_CHUNK = 64  # images read at once: 23 MB
_NOT_GIVEN: Any = None
_OF_ALL = ("classes", "scale", "notes")  # attributes of a data set that are not one a source
_MARGIN = (FIELD_SIZE - CROP_SIZE) // 2


@dataclass(frozen=True)
class Labelled:
    """Sources with labels.

    Attributes
    ----------
    fields : ndarray, shape (n, 300, 300), float32
        Clipped fields, blank pixels 0; the scale of each is arbitrary: images are normalised after cropping.
    label : ndarray of int
        Number of the class, from 0: FRI and FRII where `classes` are no others.
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
    classes : tuple of str
        What the labels stand for.
    scale : Scale
        Beam and pixels of the fields.
    notes : tuple of str
        What was assumed, and what was left out, when they were read.
    """

    fields: NDArray[np.float32]
    label: NDArray[np.intp]
    certain: NDArray[np.bool_]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    origin: NDArray[np.str_]
    group: NDArray[np.intp]
    name: NDArray[np.str_] = _NOT_GIVEN
    known: NDArray[np.intp] = _NOT_GIVEN
    rms: NDArray[np.float32] = _NOT_GIVEN
    flags: NDArray[np.int32] = _NOT_GIVEN
    classes: tuple[str, ...] = CLASSES
    scale: Scale = FIRST_SCALE
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.label)
        defaults = {
            "name": np.full(n, ""),
            "known": np.full(n, self.fields.shape[-1]),
            "rms": np.full(n, np.nan, np.float32),
            "flags": np.zeros(n, np.int32),
        }
        for attribute, value in defaults.items():
            if getattr(self, attribute) is _NOT_GIVEN:
                object.__setattr__(self, attribute, value)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: Any) -> Labelled:
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return Labelled(**{name: value if name in _OF_ALL else value[rows] for name, value in own.items()})

    def counts(self) -> dict[str, int]:
        """Return the number of sources of each class."""
        return dict(zip(self.classes, np.bincount(self.label, minlength=len(self.classes)).tolist(), strict=True))


@dataclass(frozen=True)
class Reading:
    """How labelled files are read.

    Attributes
    ----------
    classes : str, sequence of str, or None
        Which labels are classes: see `radio_ag.labelled.classes.class_rule`.
    label_column : str
        The column of the labels, in any letter case.
    beam, pixel_scale : float or None
        Of the images, arcsec, in place of what their headers tell.
    """

    classes: str | Sequence[str] | None = None
    label_column: str = LABELS
    beam: float | None = None
    pixel_scale: float | None = None


PLAIN = Reading()
"""As the headers tell, FRI and FRII."""


def load_labelled(*paths: str | os.PathLike, test: bool = False, reading: Reading = PLAIN) -> Labelled:
    """Read labelled images into memory: FITS files, and published batches as they are downloaded.

    Parameters
    ----------
    *paths : path-like
        FITS files, each with a table ``SOURCES`` (``ra``, ``dec`` in deg, ``fr_class``; optional ``name``,
        ``confidence``: certain or uncertain, and ``rms`` in Jy/beam where the noise of the fields is known, NaN where
        it is to be measured) and a cube
        ``IMAGES``: raw fields (n, 300, 300) in Jy/beam, or images already clipped and scaled to 0-255 (8-bit,
        300x300 or 150x150; ``ra`` and ``dec`` may be missing). Images whose header tells another pixel scale or beam
        than FIRST's, of 64 to 600 pixels, are put on pixels of a third of their beam. Or folders of published batches
        of MiraBest or FR-DEEP-F, or single batches, see `radio_ag.labelled.published`.
    test : bool
        Of a folder of published batches, read the test batch instead of the training batches.
    reading : Reading
        Which labels are classes, and what the headers do not tell.

    Returns
    -------
    Labelled
        FRI and FRII alone, unless ``reading`` says otherwise or no source has such a label; ``data[data.certain]`` is
        MiraBest*. Of two entries of one source (within 30 arcsec) in different data sets the first one's stays. An
        entry without a position is left out where its image shows a source of another data set. 8-bit fields whose
        crop is nearly empty are left out.

    Raises
    ------
    CatalogueError
        Not such files; a label, a confidence or a position that is not understood.
    ImageError
        Images of another size, type or unit, or of another beam than those of the other files.
    """
    if not paths:
        raise InputError("load_labelled needs at least one file or folder")
    opened = [_open(Path(path), reading) for path in paths]
    rule = class_rule({str(label) for one in opened for label in _labels_in(one)}, reading.classes)
    scale = _common_scale(opened)
    notes = [note for one in opened if isinstance(one, LabelledFile) for note in one.notes]
    parts = [_read(one, test, rule, notes) for one in opened]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    kept = _without_duplicates(columns["ra"], columns["dec"], columns["origin"])
    kept, links = _match_images(columns, kept)
    columns = {name: values[kept] for name, values in columns.items()}
    place = np.cumsum(kept) - 1
    group = group_by_position(columns["ra"], columns["dec"], SAME_SOURCE, place[links])
    return Labelled(**columns, group=group, classes=rule.classes, scale=scale, notes=tuple(notes))


def _open(path: Path, reading: Reading) -> Path | LabelledFile:
    """A FITS file, or the path of published batches."""
    if not path.exists():
        raise CatalogueError(f"there is no file or folder {path}")
    return path if path.is_dir() or is_batches(path) else LabelledFile(path, reading, settled=False)


def _labels_in(opened: Path | LabelledFile) -> Sequence[str]:
    """The labels that occur."""
    return (*CLASSES, HYBRID) if isinstance(opened, Path) else opened.labels


def _common_scale(opened: Sequence[Path | LabelledFile]) -> Scale:
    scales = [FIRST_SCALE if isinstance(one, Path) else one.own.scale for one in opened]
    for one in scales:
        if one.differs(scales[0]):
            raise ImageError(
                f"images with beams of {scales[0].beam:.3g} and {one.beam:.3g} arcsec: one network learns from, and is "
                "evaluated on, images of one beam"
            )
    named = [one for one in scales if one.survey]
    return named[0] if named else scales[0]


def _read(opened: Path | LabelledFile, test: bool, rule: ClassRule, notes: list[str]) -> dict[str, NDArray]:
    return _read_published(opened, test, rule) if isinstance(opened, Path) else _read_fits(opened, rule, notes)


def _read_published(path: Path, test: bool, rule: ClassRule) -> dict[str, NDArray]:
    batches = read_batches(path, test=test)
    label = rule.numbers(batches["fr_class"], f"{path.name}: fr_class")
    rows = np.flatnonzero(label >= 0)
    return {
        "fields": _padded(batches["images"][rows]),
        "label": label[rows],
        **{name: batches[name][rows] for name in ("certain", "ra", "dec", "origin", "name")},
        "known": np.full(len(rows), CROP_SIZE),
        "rms": np.full(len(rows), np.nan, np.float32),
        "flags": np.zeros(len(rows), np.int32),
    }


def _read_fits(file: LabelledFile, rule: ClassRule, notes: list[str]) -> dict[str, NDArray]:
    path = file.path
    notes += file.use(rule)
    if file.raw and not {"ra", "dec"} <= set(file.table.colnames):
        raise CatalogueError(f"{path.name}: SOURCES lacks the columns ra, dec")
    n = len(file)
    stack = np.empty((n, FIELD_SIZE, FIELD_SIZE), np.float32)
    rms, flags, kept = np.empty(n, np.float32), np.empty(n, np.int32), np.ones(n, bool)
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, n))
        images, rms[rows], flags[rows] = file.clipped(rows)
        if not file.raw:
            kept[rows] = np.nan_to_num(crop(images)).max((1, 2)) >= _FAINTEST_PEAK
        stack[rows] = _padded(images)
    return {
        "fields": stack if kept.all() else stack[kept],
        "label": file.label[kept],
        "certain": file.certain[kept],
        "ra": file.ra[kept],
        "dec": file.dec[kept],
        "origin": np.full(np.count_nonzero(kept), path.stem),
        "name": file.name[kept],
        "known": np.full(np.count_nonzero(kept), file.known),
        "rms": rms[kept],
        "flags": flags[kept],
    }


class Clipped(NamedTuple):
    """Images without noise, and what is known of it.

    Attributes
    ----------
    images : ndarray, shape (k, 300, 300) or (k, 150, 150), float32
        Zero where nothing exceeds the clip; Jy/beam, or 0 to 255 where they came so.
    rms : ndarray, shape (k,), float32
        Jy/beam; NaN for images that came clipped, whose noise is not known.
    flags : ndarray, shape (k,), int32
        ``BLANKED`` and ``RMS_FALLBACK`` of `radio_ag.flags.Flag`.
    """

    images: NDArray[np.float32]
    rms: NDArray[np.float32]
    flags: NDArray[np.int32]


class LabelledFile:
    """A FITS file of labelled sources, whose images stay on disk until they are asked for.

    Parameters
    ----------
    path : path-like
        As for `load_labelled`. ``ra`` and ``dec`` may be missing.
    reading : Reading
        Which labels are classes, and what the header does not tell.
    settled : bool
        Whether the classes follow from this file alone; otherwise `use` is called before anything else.

    Attributes
    ----------
    table : `~astropy.table.Table`
        Rows of ``SOURCES`` whose label is a class, in their order; names of columns in lower case.
    label : ndarray of int, shape (n,)
        Number of the class, from 0.
    classes : tuple of str
        What the labels stand for.
    certain : ndarray of bool, shape (n,)
        Whether ``confidence`` is "certain"; where there is no such column every label is.
    ra, dec : ndarray of float, shape (n,)
        Degrees, ICRS; NaN where there are no such columns.
    name : ndarray of str, shape (n,)
        Empty where there is no such column.
    labels : list of str
        Those that occur in the file.
    raw : bool
        Whether the images are fields in Jy/beam; clipped and scaled to 0-255 otherwise.
    side : int
        Of an image as it is given, pixels: of the file, or of the field of 300 that it is put on.
    known : int
        Side of the central square of it that the file has.
    own : OwnPixels
        Pixel scale and beam of the images in the file.
    notes : list of str
        What is assumed, since the header does not tell it.

    Raises
    ------
    CatalogueError
        The file or its table cannot be used; a label, a confidence, a position or a noise that is not understood.
    ImageError
        Images of another size, type or unit, or not one a row.
    """

    def __init__(self, path: str | os.PathLike, reading: Reading = PLAIN, *, settled: bool = True) -> None:
        self.path = Path(path)
        with self._opened() as hdus:
            names = [hdu.name for hdu in in_order(hdus)]
            if not {"SOURCES", "IMAGES"} <= set(names):
                raise CatalogueError(f"{self.path.name}: needs the HDUs SOURCES and IMAGES, has {', '.join(names)}")
            self._whole = _in_lower_case(Table.read(hdus["SOURCES"]))
            header = hdus["IMAGES"].header
            self.own = self._own_pixels(header, reading)
            self.raw, self._stored = _kind_of_images(hdus["IMAGES"], len(self._whole), self.path, self.own)
            self._unit = header.get("BUNIT")
        self.side, self.known = self._sides()
        self.notes = [f"{self.path.name}: {note}" for note in self.own.notes]
        if self.raw and not self._unit:
            self.notes.append(f"{self.path.name}: the header does not tell the unit (BUNIT): Jy/beam is assumed")
        column = reading.label_column.lower()
        if column not in self._whole.colnames:
            raise CatalogueError(f"{self.path.name}: SOURCES lacks the columns {column}")
        self._text = _text(self._whole[column])
        self._column = column
        self.labels = sorted({str(label) for label in self._text})
        if settled:
            self.use(class_rule(self.labels, reading.classes))

    def use(self, rule: ClassRule) -> list[str]:
        """Take the sources that have a class, and return what is to be said of the others.

        Parameters
        ----------
        rule : ClassRule
            Which labels are classes.

        Raises
        ------
        CatalogueError
            A label is neither a class nor known to be left out.
        """
        label = rule.numbers(self._text, f"{self.path.name}: {self._column}")
        self._planes = np.flatnonzero(label >= 0)
        self.table = self._whole[self._planes]
        self.label, self.classes = label[self._planes], rule.classes
        self.certain = _certain(self.table, self.path)
        self.ra, self.dec = _positions(self.table, self.path)
        self.name = _text(self.table["name"]) if "name" in self.table.colnames else np.full(len(self.table), "")
        self._rms = _known_noise(self.table, self.path)
        names, counts = np.unique(self._text[label < 0], return_counts=True)
        others = ", ".join(f"{count} {name or 'without a label'}" for name, count in zip(names, counts, strict=True))
        return [f"{self.path.name}: left out {others}"] if others else []

    def _own_pixels(self, header: fits.Header, reading: Reading) -> OwnPixels:
        try:
            return OwnPixels.read(header, beam=reading.beam, pixel_scale=reading.pixel_scale)
        except ImageError as exc:
            raise ImageError(f"{self.path.name}: {exc}") from exc

    def _sides(self) -> tuple[int, int]:
        """Sides of an image as it is given, and of what the file has of it."""
        if self.own.as_they_are and self._stored in (CROP_SIZE, FIELD_SIZE):
            return self._stored, self._stored
        ratio = 1.0 if self.own.as_they_are else self.own.pixel_scale / self.own.scale.pixel_scale
        return FIELD_SIZE, min(FIELD_SIZE, int(self._stored * ratio))

    def __len__(self) -> int:
        return len(self.table)

    def images(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the images of some rows, shape (k, side, side): Jy/beam, or 0-255 where they came so.

        Those of another pixel scale, beam or size are on the network's pixels, NaN beyond their edges.

        Parameters
        ----------
        rows : ndarray of int, shape (k,)
            Of `table`.
        """
        with self._opened() as hdus:
            section = hdus["IMAGES"].section
            images = np.stack([section[int(plane)] for plane in self._planes[rows]]).astype(np.float32)
        if self.raw and self._unit:
            try:
                images *= np.float32(jy_per_beam(self._unit, beam=self.own.beam.fwhm, pixel_scale=self.own.pixel_scale))
            except ImageError as exc:
                raise ImageError(f"{self.path.name}: {exc}") from exc
        return images if self.side == self._stored and self.own.as_they_are else self.own.place(images)

    def clipped(self, rows: NDArray[np.intp], threshold: float = CLIP) -> Clipped:
        """Return the images of some rows with zero where nothing exceeds ``threshold`` times the noise.

        The noise is that of the column ``rms``, and measured where there is none or it is NaN. Images of 8 bits came
        clipped, and are as they are.

        Parameters
        ----------
        rows : ndarray of int, shape (k,)
            Of `table`.
        threshold : float
            In units of the noise.
        """
        images = self.images(rows)
        if not self.raw:
            images = np.maximum(np.nan_to_num(images), 0)  # a spline undershoots beside what was clipped to zero
            return Clipped(images, np.full(len(rows), np.nan, np.float32), np.zeros(len(rows), np.int32))
        within = crop(images, min(self.known, self.side))  # beyond what the file has, nothing is blank
        rms, flags = self._rms[rows], np.where(np.isfinite(within).all((1, 2)), 0, Flag.BLANKED)
        unknown = np.isnan(rms)
        if unknown.any():
            rms[unknown], fallback = estimate_rms(images[unknown])
            flags[unknown] |= np.where(fallback, Flag.RMS_FALLBACK, 0)
        return Clipped(clip(images, rms, threshold), rms, flags.astype(np.int32))

    @contextmanager
    def _opened(self) -> Iterator[fits.HDUList]:
        """Open the file; what reading it raises becomes a `CatalogueError`."""
        try:
            with open_checked(self.path) as hdus:
                yield hdus
        except InputError:
            raise
        except Exception as exc:  # astropy raises nearly anything for a file that makes no sense
            fault = one_line(exc)
            raise CatalogueError(f"{self.path} is neither FITS nor a published batch, or damaged: {fault}") from exc


def _in_lower_case(table: Table) -> Table:
    table.convert_bytestring_to_unicode()
    table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
    return table


def _kind_of_images(hdu: Any, sources: int, path: Path, own: OwnPixels) -> tuple[bool, int]:
    """Return whether the images are raw fields, and their side in pixels; raise where they are of no known kind."""
    shape: tuple[int, ...] = getattr(hdu, "shape", ())
    dtype = np.dtype(hdu.section.dtype) if shape else None
    if dtype is None or dtype.kind not in ("u", "f"):
        what = "no images" if dtype is None else f"values of type {dtype}"
        raise ImageError(f"{path.name}: IMAGES has {what}, expected floating point (Jy/beam) or 8-bit images")
    raw = dtype.kind == "f"
    if len(shape) == 3 and shape[0] == sources and shape[1] == shape[2] and own.told:
        if SMALLEST <= shape[1] <= LARGEST:
            return raw, shape[1]
        raise ImageError(f"{path.name}: IMAGES has sides of {shape[1]} pixels, accepted are {SMALLEST} to {LARGEST}")
    accepted = [(sources, side, side) for side in ((FIELD_SIZE,) if raw else (FIELD_SIZE, CROP_SIZE))]
    if shape not in accepted:
        hint = ": the noise is measured on the whole field" if raw else ""
        told = "" if own.told else "; of another size where the header or --pixel-scale and --beam tell these"
        raise ImageError(
            f"{path.name}: IMAGES has shape {shape}, expected {' or '.join(map(str, accepted))}{hint}{told}"
        )
    return raw, shape[-1]


def _padded(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images in the middle of fields that are zero beyond them."""
    if images.shape[-1] == FIELD_SIZE:
        return images
    return np.pad(images, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))


def _text(column: Any) -> NDArray[np.str_]:
    """Return a column as text without spaces around it, empty where it is masked."""
    return np.char.strip(np.ma.filled(column.astype(str), ""))


def _numbers(column: Any) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where it is masked."""
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def _certain(table: Table, path: Path) -> NDArray[np.bool_]:
    if "confidence" not in table.colnames:
        return np.ones(len(table), bool)
    values = _text(table["confidence"])
    unknown = np.flatnonzero(~np.isin(values, ("certain", "uncertain")))
    if len(unknown):
        raise CatalogueError(
            f"{path.name}: confidence is {str(values[unknown[0]])!r} ({len(unknown)} such rows); accepted are certain "
            "and uncertain"
        )
    return values == "certain"


def _positions(table: Table, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not {"ra", "dec"} <= set(table.colnames):
        return np.full(len(table), np.nan), np.full(len(table), np.nan)
    ra, dec = _numbers(table["ra"]), _numbers(table["dec"])
    bad = np.flatnonzero(~((ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)))
    if len(bad):
        raise CatalogueError(
            f"{path.name}: ra {ra[bad[0]]}, dec {dec[bad[0]]} is no position in degrees ({len(bad)} such rows)"
        )
    return ra, dec


def _known_noise(table: Table, path: Path) -> NDArray[np.float32]:
    """Return the noise that the table tells, Jy/beam; NaN where it does not."""
    if "rms" not in table.colnames:
        return np.full(len(table), np.nan, np.float32)
    rms, unit = _numbers(table["rms"]), table["rms"].unit
    if unit is not None:
        try:
            rms = rms * jy_per_beam(str(unit), beam=None, pixel_scale=1.0)
        except ImageError as exc:
            raise CatalogueError(f"{path.name}: the column rms: {exc}") from exc
    bad = np.flatnonzero((rms <= 0) | np.isinf(rms))
    if len(bad):
        raise CatalogueError(
            f"{path.name}: rms is {rms[bad[0]]} ({len(bad)} such rows); accepted are positive numbers in Jy/beam, and "
            "NaN where it is to be measured"
        )
    return rms.astype(np.float32)


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
