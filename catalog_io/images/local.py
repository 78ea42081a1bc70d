"""Fields from images that the user has: FITS files on disk, or arrays in memory."""

import glob
import warnings
import weakref
from collections.abc import Sequence
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
from radio_ag.catalog_io.images.resample import sky_to_pixel
from radio_ag.errors import ImageError, RadioAGWarning
from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE

_SUFFIXES = (".fits", ".fit", ".fts")
_PACKED = ("", ".gz", ".fz", ".bz2", ".xz")


class Mosaics:
    """Fields from a fixed set of images: each position finds those that contain it, and the best-covered one wins.

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
        covered = np.zeros(len(ra), dtype=int)  # finite pixels of the best field so far
        for choice in _rounds(rows):
            pairs = choice[covered[rows[choice]] < FIELD_SIZE**2]
            for pair in pairs[np.argsort(images[pairs], kind="stable")]:  # an image's rows together
                position = ra[rows[pair]], dec[rows[pair]], *(part[pair] for part in placement)
                self.improve(fields, covered, rows[pair], images[pair], position)
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

    def improve(self, fields: Fields, covered: np.ndarray, row: int, image: int, position: tuple) -> None:
        """Put an image's field into a row if it covers more of it than what is there."""
        name = self._names[image]
        try:
            cutout = extract(self._plane(image), self._frames[image], *position, beam_scaled=self._beam_scaled)
        except ImageError as exc:
            if name not in self._warned:
                self._warned.add(name)
                warnings.warn(f"image {name}: {exc}", RadioAGWarning, stacklevel=3)
            if not covered[row]:
                fields.fail(row, "unreadable", name)
            return
        finite = np.count_nonzero(np.isfinite(cutout.data))
        if finite > covered[row] or fields.status[row] == "no_coverage":
            fields.put(row, cutout, name)
            covered[row] = finite


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

    Raises
    ------
    ImageError
        If a file that is named cannot be used, none is found, or a beam is coarser than FIRST's.

    Warns
    -----
    RadioAGWarning
        If files in a folder or a glob cannot be used (they are left out), an image has more than one plane (the
        first is used), BUNIT is missing (Jy/beam is assumed), or a beam is not FIRST's; later, if an image is damaged
        or its header is not the one of its CHECKSUM.
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
    ):
        self._images = _read_images(paths, hdu, _given(beam, pixel_scale))
        self._planes = OpenPlanes(verify_images)
        weakref.finalize(self, self._planes.close)
        images = self._images
        frames, shapes = [image.frame for image in images], [image.shape for image in images]
        super().__init__(frames, shapes, _file_names(images), beam_scaled)
        deep = [name for name, image in zip(self._names, images, strict=True) if image.n_planes > 1]
        if deep:
            warnings.warn(
                f"{len(deep)} of {len(images)} images have more than one plane ({deep[0]}): the first is used",
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
    return frame, Plane(data, frame.axes)


def _nddata_header(image: NDData) -> fits.Header:
    """Unit and beam of an NDData as header cards."""
    meta = image.meta
    keys = "BUNIT", "BMAJ", "BMIN", "BPA", "CLEANBMJ", "CLEANBMN", "CLEANBPA", "SURVEY"
    cards = {key: meta[key] for key in keys if key in meta}
    if image.unit is not None:
        cards["BUNIT"] = image.unit.to_string()
    return fits.Header(cards)


def _array_name(image: Any) -> str:
    return (getattr(image, "name", "") or "array").lower()


def _given(beam: float | None, pixel_scale: float | None) -> GivenScales:
    return GivenScales(None if beam is None else Beam(beam, beam, 0.0), pixel_scale)


def _read_images(paths: Any, hdu: int | str | None, given: GivenScales) -> list[StoredImage]:
    """The images in all files that ``paths`` names, in order."""
    named = [paths] if isinstance(paths, str | PathLike) else list(paths)
    images, skipped = [], []
    for entry in named:
        for path, explicit in _expand(entry):
            try:
                images.append(read_stored_image(path, hdu, given))
            except ImageError as exc:
                if explicit:
                    raise
                skipped.append(str(exc))
    if not images:
        reasons = f": {'; '.join(skipped[:3])}" if skipped else ""
        raise ImageError(f"images={', '.join(map(str, named[:3])) or '[]'} holds no usable FITS image{reasons}")
    if skipped:
        more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        warnings.warn(f"left out: {'; '.join(skipped[:3])}{more}", RadioAGWarning, stacklevel=4)
    return images


def _expand(entry: str | PathLike) -> list[tuple[Path, bool]]:
    """Files that an entry names, and whether it names them one by one."""
    path = Path(entry).expanduser()
    if path.is_dir():
        endings = tuple(suffix + packed for suffix in _SUFFIXES for packed in _PACKED)
        return [(file, False) for file in sorted(path.iterdir()) if file.name.lower().endswith(endings)]
    if not path.exists() and glob.has_magic(str(path)):
        return [(Path(file), False) for file in sorted(glob.glob(str(path), recursive=True)) if Path(file).is_file()]
    if not path.exists():
        raise ImageError(f"images={str(entry)!r} is neither 'first' nor an existing FITS file, folder or glob")
    return [(path, True)]


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
