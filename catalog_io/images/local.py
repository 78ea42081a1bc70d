"""Fields from images that the user has: FITS files on disk, or arrays in memory."""

import glob
import warnings
import weakref
from collections.abc import Sequence
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from radio_ag.catalog_io.images.beam import Beam, BeamMatch, match_beam
from radio_ag.catalog_io.images.fields import Fields
from radio_ag.catalog_io.images.footprints import Footprints, group_by_sky
from radio_ag.catalog_io.images.geometry import Placement, extract, place_pixels, stencil
from radio_ag.catalog_io.images.headers import ImageFrame, read_frame, warn_of_assumptions
from radio_ag.catalog_io.images.planes import (
    IN_MEMORY,
    GivenScales,
    OpenPlanes,
    Plane,
    StoredImage,
    find_image,
    read_stored_image,
)
from radio_ag.catalog_io.images.quantities import in_words, is_per_pixel, read_quantity
from radio_ag.catalog_io.images.resample import sky_to_pixel
from radio_ag.errors import ImageError, RadioAGWarning
from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE

_SUFFIXES = (".fits", ".fit", ".fts")
_PACKED = ("", ".gz", ".fz", ".bz2", ".xz")
_SAME_COVERAGE = 0.05  # share of a field that may be blank where another image covers it wholly
_SAME_NOISE = 0.1  # relative difference
_Rank = tuple[float, float, float]


class Mosaics:
    """Fields from a fixed set of images of one quantity: each position finds the best of those that contain it.

    That is the one that covers most of the field, of those that cover it the one with the lowest noise there, of those
    with the same noise (within a tenth) the one with the finest beam.

    Parameters
    ----------
    frames : sequence of ImageFrame
        Of the images.
    shapes : sequence of (int, int)
        Their sizes (ny, nx).
    names : sequence of str
        Their names.
    beam_scaled : bool
        Take images with a beam coarser than FIRST's as well, on pixels of a third of their beam.
    """

    def __init__(
        self,
        frames: Sequence[ImageFrame],
        shapes: Sequence[tuple[int, int]],
        names: Sequence[str],
        beam_scaled: bool,
    ):
        if not beam_scaled:
            _refuse_coarse_beams(frames, names)
        self._beam_scaled = beam_scaled
        self._frames, self._shapes, self._names = frames, np.array(shapes), names
        self._pixel_scales = np.array([frame.pixel_scale for frame in frames])
        self._footprints = Footprints(frames, shapes)
        self._skies = group_by_sky(frames)
        self._warned: set[str] = set()
        warn_of_assumptions(frames, names)

    def _plane(self, image: int) -> Any:
        """Pixels of an image, (ny, nx); ImageError where they cannot be read."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._names)

    def mosaic(self, image: int) -> tuple[str, ImageFrame, Any]:
        """Return name, frame and pixels (ny, nx) of an image.

        Parameters
        ----------
        image : int
            Its index.

        Returns
        -------
        name : str
        frame : ImageFrame
        pixels : array-like, shape (ny, nx)

        Raises
        ------
        ImageError
            Its pixels cannot be read.
        """
        return self._names[image], self._frames[image], self._plane(image)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all images, of files without folders."""
        return tuple(self._names)

    @property
    def name(self) -> str:
        """Return the image's name, or how many there are."""
        return self._names[0] if len(self._names) == 1 else f"{len(self._names)} images"

    def describe(self) -> dict[str, str]:
        """Return names (no folders), number, pixel scale, beam and unit of the images.

        Returns
        -------
        dict of str to str
        """
        beams = [frame.beam for frame in self._frames if frame.beam is not None]
        assumed = len(self._frames) - len(beams)
        beam = _span(beams, "arcsec") if beams else ""
        if assumed:
            beam += f"{', ' if beam else ''}FIRST's assumed for {assumed} without one"
        described = {
            "images": self._names[0] if len(self._names) == 1 else f"{self._names[0]} ... {self._names[-1]}",
            "n_images": str(len(self._names)),
            "pixel_scale": _span([frame.pixel_scale for frame in self._frames], "arcsec"),
            "beam": beam,
            "unit": ", ".join(sorted({frame.unit or "Jy/beam (assumed)" for frame in self._frames})),
        }
        if assumed:
            described["beamassu"] = f"{assumed} of {len(self._frames)} images have no beam"
        return described

    def fetch(self, ra: np.ndarray, dec: np.ndarray) -> Fields:
        """Return the fields of finite positions: see `~radio_ag.catalog_io.images.fields.ImageSource`.

        A position outside all images, or on blank pixels alone, is ``NO_COVERAGE``; one whose images cannot be read
        is ``FETCH_FAILED``, with the status ``unreadable``.

        Parameters
        ----------
        ra, dec : ndarray, shape (n,)
            Degrees ICRS.

        Returns
        -------
        Fields

        Raises
        ------
        ServiceError
            If a file that was there at the start is gone, or cannot be read any more.
        """
        ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
        shape = len(ra), FIELD_SIZE, FIELD_SIZE
        rows, images, placement = self._candidates(ra, dec)
        if not len(rows):  # usual in a catalogue that reaches beyond the images, and so worth no memory
            return Fields.blank(len(ra), np.broadcast_to(np.float32(np.nan), shape))
        fields = Fields.blank(len(ra), np.empty(shape, np.float32))
        fields.data[np.setdiff1d(np.arange(len(ra)), rows)] = np.nan
        best: list[_Rank | None] = [None] * len(ra)
        choices = np.bincount(rows, minlength=len(ra))
        for choice in _rounds(rows):
            for pair in choice[np.argsort(images[choice], kind="stable")]:  # an image's rows together
                position = ra[rows[pair]], dec[rows[pair]], *(part[pair] for part in placement)
                row = rows[pair]
                best[row] = self.improve(fields, row, images[pair], position, best[row], alone=choices[row] == 1)
        return fields

    def _candidates(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray, Placement]:
        """Pairs of position and image that contains it, by position, the image where it is most central first."""
        rows, images = self._footprints.candidates(ra, dec)
        x, y = np.empty((2, len(rows), 5))
        by_image = np.argsort(images, kind="stable")
        starts = np.searchsorted(images[by_image], np.arange(len(self._frames) + 1))
        for frame_sky, members in self._skies if len(rows) else ():
            native = stencil(ra, dec).transform_to(frame_sky)
            longitude, latitude = native.spherical.lon.deg, native.spherical.lat.deg
            for image in members[starts[members] < starts[members + 1]]:
                pairs = by_image[starts[image] : starts[image + 1]]
                x[pairs], y[pairs] = sky_to_pixel(
                    self._frames[image].wcs, longitude[rows[pairs]], latitude[rows[pairs]]
                )
        pixel, cd, turn = place_pixels(x, y)
        # Distance from the nearest edge, arcsec.
        room = np.minimum(pixel + 0.5, self._shapes[images][:, ::-1] - 0.5 - pixel).min(axis=1)
        room *= self._pixel_scales[images]
        order = np.lexsort((images, -room, rows))
        order = order[room[order] >= 0]
        return rows[order], images[order], Placement(pixel[order], cd[order], turn[order])

    def improve(
        self, fields: Fields, row: int, image: int, position: tuple, best: "_Rank | None", *, alone: bool = False
    ) -> "_Rank | None":
        """Put an image's field into a row if it is better than what is there; return how good the row's is.

        Parameters
        ----------
        fields : Fields
            Of a chunk.
        row, image : int
            Indices of the field and of the image.
        position : tuple
            As `~radio_ag.catalog_io.images.geometry.extract` takes it.
        best : tuple, optional
            How good the row's field is so far; None: there is none.
        alone : bool
            No other image contains the position.

        Returns
        -------
        tuple or None
            Smaller is better.
        """
        name = self._names[image]
        try:
            cutout = extract(self._plane(image), self._frames[image], *position, beam_scaled=self._beam_scaled)
        except ImageError as exc:
            if name not in self._warned:
                self._warned.add(name)
                warnings.warn(f"image {name}: {exc}", RadioAGWarning, stacklevel=3)
            if best is None:
                fields.fail(row, "unreadable", name)
            return best
        rank = (0.0, 0.0, 0.0) if alone else _rank(cutout.data, self._frames[image])
        if rank is None:
            if fields.status[row] == "no_coverage":
                fields.put(row, cutout, name)
            return best
        if best is None or rank < best:
            fields.put(row, cutout, name)
            return rank
        return best


class LocalImages(Mosaics):
    """Fields from FITS files.

    Headers are read once; pixels are mapped, so that a mosaic costs no memory. An image may have two to four (or
    more) axes, any celestial WCS, and may be tile-compressed or gzipped (a gzipped one is unpacked into memory when
    it is used).

    Parameters
    ----------
    paths : str, path, or sequence of them
        Files, folders (``*.fits``, ``*.fit``, ``*.fts``, also ``.gz``, ``.fz``, ``.bz2``, ``.xz``; folders inside
        are left alone) or globs (``**`` reaches into folders).
    hdu : int or str, optional
        Index or EXTNAME of the HDU in every file. None: the first image with a celestial WCS.
    beam_scaled : bool
        Take images with a beam coarser than FIRST's as well, on pixels of a third of their beam.
    verify_images : bool, optional
        Compare each image that is used with the DATASUM and CHECKSUM in its header, once. None: those up to 100 MB.
        Rows of an image whose pixels are not what its DATASUM says are ``FETCH_FAILED``.
    beam, pixel_scale : float, optional
        Width of the beam and side of a pixel, arcsec, for images whose headers do not have them.
    pattern : str, optional
        Of file names, such as ``*.i.*``: of folders and globs, only those that match are used.
    one_beam : bool, optional
        Of folders and globs that hold both, leave out images with a beam coarser than FIRST's. None: unless
        ``beam_scaled``.

    Raises
    ------
    ImageError
        If a file that is named cannot be used, none is found, or a beam is coarser than FIRST's.

    Warns
    -----
    RadioAGWarning
        If files in a folder or a glob cannot be used, or show something else than total intensity or a beam coarser
        than that of others (they are left out), an image has more than one plane (the first is used, of Stokes I),
        BUNIT is missing (Jy/beam is assumed), the beam is missing (FIRST's is assumed) or not FIRST's; later, if an
        image is damaged, its header is not the one of its CHECKSUM, or its first plane is blank.
    """

    def __init__(
        self,
        paths: str | PathLike | Sequence[str | PathLike],
        *,
        hdu: int | str | None = None,
        beam_scaled: bool = False,
        verify_images: bool | None = None,
        beam: float | None = None,
        pixel_scale: float | None = None,
        pattern: str | None = None,
        one_beam: bool | None = None,
    ):
        finest = not beam_scaled if one_beam is None else one_beam
        self._images = _read_images(paths, hdu, _given(beam, pixel_scale), pattern, finest)
        self._planes = OpenPlanes(verify_images)
        weakref.finalize(self, self._planes.close)
        images = self._images
        frames, shapes = [image.frame for image in images], [image.shape for image in images]
        super().__init__(frames, shapes, _file_names(images), beam_scaled)
        deep = [name for name, image in zip(self._names, images, strict=True) if image.n_planes > 1]
        if deep:
            warnings.warn(
                f"{len(deep)} of {len(images)} images have more than one plane ({deep[0]}): the first is used, "
                "of Stokes I and with data where there is a choice",
                RadioAGWarning,
                stacklevel=2,
            )

    def _plane(self, image: int) -> Plane:
        return self._planes.get(self._images[image])


class ArrayImages(Mosaics):
    """Fields from images in memory.

    Parameters
    ----------
    images : sequence
        FITS image HDUs, HDULists, or ``CCDData``/``NDData`` with a WCS; masked pixels are blank.
    beam_scaled : bool
        Take images with a beam coarser than FIRST's as well, on pixels of a third of their beam.
    beam, pixel_scale : float, optional
        Width of the beam and side of a pixel, arcsec, for images whose headers do not have them.

    Raises
    ------
    ImageError
        If one of them has no pixels, no celestial WCS, an unknown unit, or a beam coarser than FIRST's.
    """

    def __init__(
        self,
        images: Sequence[Any],
        *,
        beam_scaled: bool = False,
        beam: float | None = None,
        pixel_scale: float | None = None,
    ):
        if not images:
            raise ImageError("images is empty: at least one is needed")
        given = _given(beam, pixel_scale)
        frames, self._arrays = zip(*(_read_array(image, given) for image in images), strict=True)
        shapes, names = [array.shape for array in self._arrays], [_array_name(image) for image in images]
        super().__init__(frames, shapes, names, beam_scaled)

    def _plane(self, image: int) -> Plane:
        return self._arrays[image]


def _rank(field: np.ndarray, frame: ImageFrame) -> _Rank | None:
    """How good a field is, the smallest the best: what it misses, its noise, its beam; None where it is blank."""
    finite = field[np.isfinite(field)]
    if not finite.size:
        return None
    noise = 1.4826 * float(np.median(np.abs(finite - np.median(finite))))
    level = round(np.log(noise) / np.log1p(_SAME_NOISE)) if noise > 0 else np.inf
    return max(1 - finite.size / field.size, _SAME_COVERAGE), level, frame.beam or BEAM_FWHM


def _refuse_coarse_beams(frames: Sequence[ImageFrame], names: Sequence[str]) -> None:
    for frame, name in zip(frames, names, strict=True):
        if match_beam(frame.beam_axes) is BeamMatch.COARSER:
            raise ImageError(
                f"image {name}: its beam of {frame.beam:.3g} arcsec is coarser than FIRST's {BEAM_FWHM} and cannot be "
                "sharpened; to take fields that grow with the beam (pixels of a third of it), which the network was "
                "not trained on, give beam_scaled=True (--beam-scaled)"
            )


def _read_array(image: Any, given: GivenScales) -> tuple[ImageFrame, Plane]:
    """Frame and pixels of an HDU, an HDUList or an NDData."""
    frame = None
    if isinstance(image, fits.HDUList):
        index, frame = find_image(image, given=given)
        image = image[index]
    if not isinstance(image, IN_MEMORY):
        raise ImageError(
            f"images of type {type(image).__name__} cannot be used: give 'first', a FITS file, folder, glob or list of "
            "files, an image HDU, CCDData or NDData with a WCS, or an object with name, fetch() and describe()"
        )
    if image.data is None:
        raise ImageError("an image in memory has no pixels")
    data = np.asanyarray(image.data)
    if isinstance(image, NDData):
        if not isinstance(image.wcs, WCS):
            raise ImageError(f"an image in memory needs an astropy.wcs.WCS; its wcs is {type(image.wcs).__name__}")
        frame = read_frame(_nddata_header(image), wcs=image.wcs, default_beam=given.beam)
        if image.mask is not None:
            data = np.where(image.mask, np.nan, data)
    elif frame is None:
        frame = read_frame(image.header, default_beam=given.beam, pixel_scale=given.pixel_scale)
    if data.ndim <= max(frame.axes) or not data.size:
        raise ImageError(f"an image in memory of shape {data.shape} has no plane of the sky")
    if isinstance(image, NDData):
        return frame, Plane(data, frame.axes)
    quantity = read_quantity(image.header)
    stokes = None if quantity.stokes_axis is None else (quantity.stokes_axis, quantity.stokes_index)
    return frame, Plane(data, frame.axes, stokes=stokes)


def _nddata_header(image: NDData) -> fits.Header:
    """Unit and beam of an NDData as header cards."""
    meta = image.meta
    keys = "BUNIT", "BMAJ", "BMIN", "BPA", "CLEANBMJ", "CLEANBMN", "CLEANBPA", "SURVEY", "RESTFRQ", "DATE-OBS"
    cards = {key: meta[key] for key in keys if key in meta}
    if image.unit is not None:
        cards["BUNIT"] = image.unit.to_string()
    return fits.Header(cards)


def _array_name(image: Any) -> str:
    return (getattr(image, "name", "") or "array").lower()


def _given(beam: float | None, pixel_scale: float | None) -> GivenScales:
    return GivenScales(None if beam is None else Beam(beam, beam, 0.0), pixel_scale)


def _read_images(
    paths: Any, hdu: int | str | None, given: GivenScales, pattern: str | None, finest: bool
) -> list[StoredImage]:
    """The images in all files that ``paths`` names, in order."""
    named = [paths] if isinstance(paths, str | PathLike) else list(paths)
    images, explicit, skipped = [], [], []
    for entry in named:
        for path, is_named in _expand(entry, pattern):
            try:
                images.append(read_stored_image(path, hdu, given))
                explicit.append(is_named)
            except ImageError as exc:
                if is_named:
                    raise
                skipped.append(str(exc))
    if not images:
        reasons = f": {'; '.join(skipped[:3])}" if skipped else ""
        which = f" that matches {pattern!r}" if pattern else ""
        raise ImageError(f"images={', '.join(map(str, named[:3])) or '[]'} holds no usable FITS image{which}{reasons}")
    if skipped:
        more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        warnings.warn(f"left out: {'; '.join(skipped[:3])}{more}", RadioAGWarning, stacklevel=4)
    images = _total_intensity(images, all(explicit))
    return _fine_beams(images) if finest and not all(explicit) else images


def _total_intensity(images: list[StoredImage], all_named: bool) -> list[StoredImage]:
    """The images of total intensity, with a line on what is left out; all of them where they were named and none is."""
    others = _other_quantities(images)
    kept = [image for image, other in zip(images, others, strict=True) if not other]
    left_out = [(other, image.path.name) for image, other in zip(images, others, strict=True) if other]
    if not left_out:
        return images
    if not kept and not all_named:
        raise ImageError(
            f"no image of total intensity among {len(images)}: {in_words(left_out)}. To use such images all the same, "
            "name the files themselves"
        )
    text = (
        f"left out {len(left_out)} of {len(images)} images that are not total intensity in Jy/beam"
        if kept
        else "not total intensity in Jy/beam, by header or name, and used all the same"
    )
    warnings.warn(f"{text}: {in_words(left_out)}", RadioAGWarning, stacklevel=5)
    return kept or images


def _other_quantities(images: Sequence[StoredImage]) -> list[str]:
    """What each image shows instead of total intensity, by itself or beside the others; empty if nothing."""
    plain = [image for image in images if not image.quantity.other]
    corrected = {_place(image) for image in plain if image.quantity.corrected}
    any_per_beam = any(not is_per_pixel(image.frame.unit) for image in plain)
    others = []
    for image in images:
        other = image.quantity.other
        if not other and any_per_beam and is_per_pixel(image.frame.unit):
            other = "model in Jy/pixel"
        elif not other and not image.quantity.corrected and _place(image) in corrected:
            other = "image without primary-beam correction"
        others.append(other)
    return others


def _place(image: StoredImage) -> tuple[Any, ...]:
    """What two images on the same pixels of the sky have in common."""
    return image.shape, *(round(float(value), 6) for value in image.frame.wcs.wcs.crval)


def _fine_beams(images: list[StoredImage]) -> list[StoredImage]:
    """The images whose beams are not coarser than FIRST's, if there is one; a line on those that are left out."""
    coarse = [image for image in images if match_beam(image.frame.beam_axes) is BeamMatch.COARSER]
    if not coarse or len(coarse) == len(images):
        return images
    warnings.warn(
        f"left out {len(coarse)} of {len(images)} images with a beam coarser than FIRST's: {coarse[0].path.name} "
        f"({coarse[0].frame.beam:.3g} arcsec){', …' if len(coarse) > 1 else ''}; to take them too, "
        "give --beam-scaled (classify) or the files' names (find)",
        RadioAGWarning,
        stacklevel=4,
    )
    return [image for image in images if match_beam(image.frame.beam_axes) is not BeamMatch.COARSER]


def _expand(entry: str | PathLike, pattern: str | None) -> list[tuple[Path, bool]]:
    """Files that an entry names, and whether it names them one by one."""
    path = Path(entry).expanduser()
    if path.is_dir():
        endings = tuple(suffix + packed for suffix in _SUFFIXES for packed in _PACKED)
        files = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(endings)]
    elif not path.exists() and glob.has_magic(str(path)):
        files = [Path(file) for file in sorted(glob.glob(str(path), recursive=True)) if Path(file).is_file()]
    elif not path.exists():
        raise ImageError(f"images={str(entry)!r} is neither 'first' nor an existing FITS file, folder or glob")
    else:
        return [(path, True)]
    return [(file, False) for file in files if pattern is None or fnmatch(file.name, pattern)]


def _file_names(images: Sequence[StoredImage]) -> list[str]:
    """File names without folders: products travel, folders do not."""
    return [image.path.name for image in images]


def _span(values: Sequence[float], unit: str) -> str:
    """``5.4 arcsec`` or ``5.4 to 6.1 arcsec``."""
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _rounds(rows: np.ndarray) -> list[np.ndarray]:
    """Split pairs, sorted by row, into rounds: every row's first choice, every row's second, and so on."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return [np.flatnonzero(rank == value) for value in range(rank.max(initial=-1) + 1)]
