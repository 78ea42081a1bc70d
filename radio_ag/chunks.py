"""Chunks of a run: sources that are neighbours on the sky, fetched, measured and classified together.

The answers for a chunk follow from its positions, the image source, the weights and the settings alone: it can be done
again, later, or on another machine.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import astropy.units as u
import numpy as np
from astropy_healpix.core import lonlat_to_healpix
from numpy.typing import ArrayLike, NDArray

from radio_ag.attention.statistics import AttentionStatistics, attention_statistics
from radio_ag.catalog_io.images.beam import BEAM_TOLERANCE
from radio_ag.catalog_io.images.fields import Fields, ImageSource, check_service
from radio_ag.catalog_io.product.headers import CUTOUT_STEP
from radio_ag.catalog_io.product.parts import Part
from radio_ag.catalog_io.product.tiles import pack
from radio_ag.class_names import DEFAULT_CLASSES, column_names
from radio_ag.flags import Flag
from radio_ag.network.classifier import Classifier, Prediction
from radio_ag.options import CHUNK
from radio_ag.preprocess.images import CROP_SIZE, PIXEL_SCALE, Prepared, clip, crop
from radio_ag.preprocess.islands import Islands, measure_islands, show_alone

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")

PLANE_SHAPE = (CROP_SIZE, CROP_SIZE)

_NSIDE = 4096  # pixels of 0.9 arcmin, less than a field
_POSITIONS = 1 << 16  # positions ordered at once
_FLOAT_COLUMNS = ("p_std", "rms", "peak", "snr", "size", "pa")
_IMAGE_TYPE = "S96"
_WCS_COLUMNS = ("cutout_ra", "cutout_dec", "crpix1", "crpix2", "cd1_1", "cd1_2", "cd2_1", "cd2_2")
_ATTENTION_COLUMNS = tuple(f"attention_{name}" for name in AttentionStatistics._fields)
_CLASS_WIDTH = 4  # bytes at least


@dataclass(frozen=True)
class ClassifySettings:
    """What decides the numbers in a product, besides the rows, the images and the weights; written into its header."""

    orbit: int = 8
    attention: str = "mean"
    chunk: int = CHUNK
    batch: int = 0
    device: str = "cpu"
    threads: int = 1
    keep_cutouts: bool = False
    attention_stats: bool = False
    classify_unresolved: bool = False
    prior: float | None = None
    classes: tuple[str, ...] = DEFAULT_CLASSES
    pixel_scale: float = PIXEL_SCALE

    def stacks(self, gates: int) -> tuple[str, ...]:
        """Return the names of the stacks of planes that a part has, with a network of so many gates.

        Parameters
        ----------
        gates : int
            0 to 3.

        Returns
        -------
        tuple of str
            Names of HDUs: ``ATTENTION``, ``ATTENTION_1`` and so on, ``CUTOUTS``.
        """
        maps = () if self.attention == "none" else ("ATTENTION",)
        each = tuple(f"ATTENTION_{gate}" for gate in range(1, gates + 1)) if self.attention == "gates" else ()
        return maps + each + (("CUTOUTS",) if self.keep_cutouts else ())


def sky_order(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Return the order of positions along HEALPix's nested pixels: neighbours in it are neighbours on the sky.

    Parameters
    ----------
    ra, dec : array (n,)
        Finite, degrees.

    Returns
    -------
    array (n,) of int64
        Positions of one pixel of 0.9 arcmin keep their order.
    """
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    pixel = np.empty(len(ra), dtype=np.int64)
    for start in range(0, len(ra), _POSITIONS):
        part = slice(start, start + _POSITIONS)
        pixel[part] = lonlat_to_healpix(ra[part] * u.deg, dec[part] * u.deg, _NSIDE, order="nested")
    return np.argsort(pixel, kind="stable")


def blank_columns(
    ra: NDArray[np.float64], dec: NDArray[np.float64], flags: NDArray[np.int32], settings: ClassifySettings
) -> dict[str, NDArray]:
    """Return the columns of n sources that have no answer but their flags.

    Parameters
    ----------
    ra, dec : ndarray of float64, shape (n,)
        Degrees ICRS.
    flags : ndarray of int32, shape (n,)
        Why there is no answer.
    settings : ClassifySettings
        Which of the columns there are.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        NaN, empty text or -1 for what is not known.
    """
    n = len(ra)
    width = max(_CLASS_WIDTH, *map(len, settings.classes))
    columns = {"ra": ra, "dec": dec, "class": np.zeros(n, f"S{width}")}
    floats = ("probability", *column_names(settings.classes), *_FLOAT_COLUMNS)
    columns |= {name: np.full(n, np.nan, np.float32) for name in floats}
    columns |= {name: np.full(n, np.nan) for name in _WCS_COLUMNS}
    columns |= {"n_islands": np.zeros(n, np.int32), "flags": flags, "attention_plane": np.full(n, -1, np.int32)}
    columns["image"] = np.zeros(n, _IMAGE_TYPE)
    columns |= Fields.blank(n, np.empty((n, 0, 0), np.float32)).observation_columns()
    if settings.keep_cutouts:
        columns["cutout_plane"] = np.full(n, -1, np.int32)
    if settings.attention_stats:
        columns |= {name: np.full(n, np.nan, np.float32) for name in _ATTENTION_COLUMNS}
    return columns


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some sources of a run: their numbers in it, their positions in degrees, each of shape (n,).

    ``reach`` is how far the components of each are from there, arcsec; None where nothing tells it.
    """

    number: int
    sources: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    reach: NDArray[np.float32] | None = None


def classify_chunks(
    chunks: Iterable[Chunk],
    source: ImageSource,
    classifier: Classifier,
    settings: ClassifySettings,
    *,
    check: bool = True,
) -> Iterator[tuple[int, Part]]:
    """Yield the parts of some chunks, as they come; others are fetched and measured while the network works on one.

    With ``check``, find out from the first chunk whether the image source answers at all.

    Parameters
    ----------
    chunks : iterable of Chunk
        In the order in which they are begun.
    source : ImageSource
        Whose ``fetch`` may be called from several threads.
    classifier : Classifier
        That sees one chunk at a time.
    settings : ClassifySettings
        Those of the run.
    check : bool
        Find out from the first chunk whether the image source answers at all.

    Raises
    ------
    ServiceError
        The image service did not answer for a single source of the first chunk.
    """
    unchecked = threading.Event()
    if not check:
        unchecked.set()

    def measure(chunk: Chunk) -> Measured:
        measured = measure_chunk(chunk, source, classifier)
        if not unchecked.is_set():
            if not has_answered(source):
                check_service(measured.fields, source)
            unchecked.set()
        return measured

    for measured in work_ahead(measure, chunks, source):
        yield measured.chunk.number, classify_measured(measured, classifier, settings)


def has_answered(source: ImageSource) -> bool:
    """Return whether an image has come from the source.

    Parameters
    ----------
    source : ImageSource
        False for one that does not tell.

    Returns
    -------
    bool
        Its own word, `answered`.
    """
    return bool(getattr(source, "answered", False))


def work_ahead(work: Callable[[_Item], _Done], items: Iterable[_Item], source: ImageSource) -> Iterator[_Done]:
    """Yield what comes of each item, as it comes; as many are under way as the image source has `chunks_at_once`.

    The first is alone until it is done, or the source has answered: one that does not is asked for no other.

    Parameters
    ----------
    work : callable
        Called in threads of its own.
    items : iterable
        Taken as there is room.
    source : ImageSource
        That the work asks for images.
    """
    at_once = getattr(source, "chunks_at_once", 1)
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="radio-ag-fetch")
    items = iter(items)
    coming: set[Future[_Done]] = set()

    def submit(most: int) -> None:
        coming.update(pool.submit(work, item) for item in itertools.islice(items, most - len(coming)))

    try:
        submit(1)
        while coming:
            while not (done := wait(coming, timeout=0.2, return_when=FIRST_COMPLETED).done):
                # in steps: a wait without end can sleep through a Ctrl-C
                if has_answered(source):
                    submit(at_once)
            future = done.pop()
            coming.remove(future)
            result = future.result()
            submit(at_once)
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Measured:
    """A chunk of sources with everything that is known before the network runs."""

    chunk: Chunk
    fields: Fields
    usable: NDArray[np.intp]  # positions in the chunk that have an image
    prepared: Prepared
    islands: Islands
    alone: NDArray[np.float32]  # fields of those that are outshone, without what outshines them
    images: list[bytes]  # of the usable positions, what they were cut from

    def shown(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the fields of some sources as the network sees them: without what outshines them.

        Parameters
        ----------
        rows : ndarray of int, shape (k,)
            Among the usable positions.

        Returns
        -------
        ndarray, shape (k, ny, nx)
            Jy/beam.
        """
        fields = self.fields.data[self.usable[rows]]
        _, alone, outshone = np.intersect1d(np.flatnonzero(self.islands.outshone), rows, return_indices=True)
        fields[outshone] = self.alone[alone]
        return fields


def measure_chunk(chunk: Chunk, source: ImageSource, classifier: Classifier) -> Measured:
    """Fetch the fields of a chunk, and measure them.

    Parameters
    ----------
    chunk : Chunk
        Of at least one source.
    source : ImageSource
        Of the images.
    classifier : Classifier
        Whose preprocessing measures them.

    Returns
    -------
    Measured
        What the network needs, and what is known without it.
    """
    fields = source.fetch(chunk.ra, chunk.dec)
    usable = np.flatnonzero((fields.flags & (Flag.NO_COVERAGE | Flag.FETCH_FAILED)) == 0)
    data = fields.data if len(usable) == len(fields) else fields.data[usable]
    prepared = classifier.prepare(data)
    islands = measure_islands(data, prepared.rms)
    alone = show_alone(data, prepared, islands, classifier.preprocessing)
    images = [_image_name(fields.origin[row], source) for row in usable.tolist()]
    return Measured(chunk, fields, usable, prepared, islands, alone, images)


def _image_name(origin: str, source: ImageSource) -> bytes:
    """The file that a field was cut from; of a service, or where that is not told, the image source."""
    told = os.path.basename(origin) if origin and "://" not in origin else source.name
    return told.encode("ascii", "backslashreplace")


def classify_measured(measured: Measured, classifier: Classifier, settings: ClassifySettings) -> Part:
    """Return the part of a chunk whose fields are there.

    Parameters
    ----------
    measured : Measured
        Of `measure_chunk`.
    classifier : Classifier
        That sees the fields with a morphology.
    settings : ClassifySettings
        Which planes are kept.

    Returns
    -------
    Part
        Columns, and planes packed for the disk.
    """
    fields, usable, prepared, islands = measured.fields, measured.usable, measured.prepared, measured.islands
    flags = fields.flags.astype(np.int32)
    flags[usable] |= islands.flags | np.where(prepared.fallback, Flag.RMS_FALLBACK, 0).astype(np.int32)
    flags[usable[prepared.blank_fraction > 0]] |= Flag.BLANKED
    flags[usable] |= _truncated(measured.chunk, fields)[usable]
    if settings.pixel_scale != PIXEL_SCALE:
        _flag_other_pixels(flags, usable, fields, settings.pixel_scale)
    wholly_blank = usable[prepared.blank_fraction >= 1]
    flags[wholly_blank] = Flag.BLANKED | Flag.NO_COVERAGE
    masked = classifier.masked & ~(Flag.UNRESOLVED if settings.classify_unresolved else 0)
    shown = np.flatnonzero((flags[usable] & masked) == 0)  # positions among the usable ones
    kind = "mean" if settings.attention == "hdus" else settings.attention
    kind = "gates" if settings.attention_stats else kind
    classified = usable[shown]
    seen = measured.shown(shown)
    prediction = classifier.predict(
        seen,
        attention=kind,
        prepared=prepared.taken(shown),
        further=(flags[classified] & Flag.UNRESOLVED) == 0,
    )
    flags[classified] |= prediction.flags
    columns = blank_columns(measured.chunk.ra, measured.chunk.dec, flags, settings)
    for name, values in zip(column_names(settings.classes), prediction.probabilities.T, strict=True):
        columns[name][classified] = values
    columns["p_std"][classified] = prediction.std
    columns["class"][classified] = prediction.classes.astype(bytes)
    columns["probability"][classified] = prediction.probability
    columns["rms"][usable], columns["size"][usable] = prepared.rms, islands.size * _pixel_scale(fields)[usable]
    columns["pa"][usable], columns["image"][usable] = _turned_to_sky(islands.pa, fields.cd[usable]), measured.images
    columns["peak"][usable] = np.where(islands.n_islands > 0, islands.peak, prepared.peak)
    with np.errstate(divide="ignore", invalid="ignore"):  # a field of one value has no noise
        columns["snr"] = columns["peak"] / columns["rms"]
    columns["n_islands"][usable] = islands.n_islands
    columns |= fields.wcs_columns() | fields.observation_columns()
    if settings.attention_stats:
        columns |= _attention_columns(fields, classified, seen, prediction, classifier.preprocessing.clip)
    stacks = {}
    if settings.attention != "none":
        columns["attention_plane"][classified] = np.arange(len(classified))
        stacks["ATTENTION"] = pack(_kept(prediction.attention))
        if settings.attention == "gates":
            gates = range(1, classifier.gates + 1)
            stacks |= {f"ATTENTION_{gate}": pack(_kept(prediction.gates)[:, gate - 1]) for gate in gates}
    if settings.keep_cutouts:
        imaged = usable[prepared.blank_fraction < 1]
        columns["cutout_plane"][imaged] = np.arange(len(imaged))
        stacks["CUTOUTS"] = pack(crop(fields.data[imaged]), CUTOUT_STEP * columns["rms"][imaged])
    return Part(measured.chunk.sources, columns, stacks, classifier.batch)


def _truncated(chunk: Chunk, fields: Fields) -> NDArray[np.int32]:
    """The flag of sources with a component beyond the crop, which its pixels may not show."""
    if chunk.reach is None:
        return np.zeros(len(fields), np.int32)
    beyond = chunk.reach > CROP_SIZE / 2 * PIXEL_SCALE * _pixel_scale(fields)
    return np.where(beyond, Flag.TRUNCATED, 0).astype(np.int32)


def _flag_other_pixels(flags: NDArray[np.int32], usable: NDArray[np.intp], fields: Fields, known: float) -> None:
    """Let RESAMPLED tell, in place, which fields are not on the pixels that the weights know, in arcsec."""
    ratio = PIXEL_SCALE * _pixel_scale(fields)[usable] / known
    flags[usable] &= ~int(Flag.RESAMPLED)
    flags[usable[np.abs(ratio - 1) > BEAM_TOLERANCE]] |= Flag.RESAMPLED


def _kept(maps: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Maps that the classifier was asked for."""
    if maps is None:
        raise ValueError("a classifier without gates has no attention maps")
    return maps


def _attention_columns(
    fields: Fields,
    classified: NDArray[np.intp],
    seen: NDArray[np.float32],
    prediction: Prediction,
    threshold: float,
) -> dict[str, NDArray[np.float32]]:
    """Where the attention of each classified field lies; NaN for the others."""
    emission = clip(crop(seen), prediction.prepared.rms, threshold)
    scale = PIXEL_SCALE * _pixel_scale(fields)[classified]
    statistics = attention_statistics(_kept(prediction.attention), emission, prediction.gates, pixel_scale=scale)
    columns = {name: np.full(len(fields), np.nan, np.float32) for name in _ATTENTION_COLUMNS}
    for name, values in zip(_ATTENTION_COLUMNS, statistics, strict=True):
        columns[name][classified] = values
    return columns


def _turned_to_sky(angle: NDArray, cd: NDArray) -> NDArray[np.float32]:
    """Position angles on the sky, from 0 up to 180, of those (n,) on pixels whose CD matrix is (n, 2, 2)."""
    turn = np.radians(angle)
    east, north = np.einsum("nij,jn->in", cd, np.stack([-np.sin(turn), np.cos(turn)]))
    return (np.degrees(np.arctan2(east, north)) % 180).astype(np.float32)


def _pixel_scale(fields: Fields) -> NDArray:
    """Side of each field's pixels in FIRST's: not 1 where a field grew with a coarse beam; 1 where it is not told."""
    a, b, c, d = fields.cd.reshape(-1, 4).T
    scale = 3600 * np.sqrt(np.abs(a * d - b * c)) / PIXEL_SCALE
    return np.where(np.isfinite(scale), scale, 1).astype(np.float32)
