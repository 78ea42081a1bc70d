"""Planes of sky stored in FITS files: found once by their headers, mapped when their pixels are wanted."""

import math
import os
import warnings
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData

from radio_ag.catalog_io.files.fits_checksum import UNCHECKED, Place, place_of, stored_fault
from radio_ag.catalog_io.files.fits_open import (
    MAX_COUNT,
    in_order,
    is_packed,
    one_line,
    open_checked,
    read_primary_header,
)
from radio_ag.catalog_io.files.packed import open_packed, refuse_above_limit
from radio_ag.catalog_io.images.beam import Beam
from radio_ag.catalog_io.images.compressed import BlockCache, DecodedImage
from radio_ag.catalog_io.images.headers import ImageFrame, make_beam, read_beam, read_frame
from radio_ag.catalog_io.images.quantities import Quantity, read_quantity
from radio_ag.errors import ImageError, RadioAGWarning, ServiceError

_DAMAGE = Exception  # astropy and the decompressors raise nearly anything for a file that makes no sense

IN_MEMORY = NDData | fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
"""What an image in memory may be, besides an HDUList."""

_OPTIONS = {"mode": "readonly", "memmap": True, "do_not_scale_image_data": True, "lazy_load_hdus": True}
_Key = tuple[Path, int]

_MAX_OPEN = 64  # files
_MAX_BYTES = 1 << 30  # of pixels that cannot be mapped, and are held in memory
_MAX_UNPACKED = 1 << 32  # bytes of an image, or of a tile of one, that is unpacked in memory
_MAX_DECODED = 1 << 29  # bytes of decoded tiles: mosaics of 11,000 px a side whole, of larger ones a strip
_SCANNED = 1 << 20  # pixels that are looked at together for a plane with data
_MAX_VERIFIED = 100_000_000  # bytes of an HDU whose sums are compared unasked: some 50 ms


class Plane:
    """A celestial plane of stored pixels; 2-D slices come out scaled, NaN where blank, in order (latitude, longitude).

    Parameters
    ----------
    stored : array-like
        Pixels as stored, any number of axes; axes other than the sky's are taken at their first index.
    axes : tuple of int
        Axes of longitude and latitude, counted from 0 in FITS order.
    scaling : tuple of (float, float, int or None)
        BSCALE, BZERO and BLANK.
    stokes : (int, int), optional
        An axis, counted from 0 in FITS order, and the index along it that is taken instead of the first.
    """

    def __init__(
        self,
        stored: Any,
        axes: tuple[int, int],
        scaling: tuple[float, float, int | None] = (1.0, 0.0, None),
        stokes: tuple[int, int] | None = None,
    ):
        self._stored = stored
        self._scaling = scaling
        ndim = len(stored.shape)
        self._x_axis, self._y_axis = ndim - 1 - axes[0], ndim - 1 - axes[1]
        self.shape = stored.shape[self._y_axis], stored.shape[self._x_axis]
        self._place = [0] * ndim
        self._free = [axis for axis in range(ndim) if axis not in (self._x_axis, self._y_axis)]
        if stokes is not None and ndim - 1 - stokes[0] in self._free:
            self._place[ndim - 1 - stokes[0]] = stokes[1]
            self._free.remove(ndim - 1 - stokes[0])

    def move_to_data(self) -> int:
        """Take the first plane that has data, where the first of all is blank; the Stokes parameter stays.

        Returns
        -------
        int
            How many planes before it are blank; 0 too where all are.
        """
        first = list(self._place)
        lengths = [self._stored.shape[axis] for axis in self._free]
        for number, place in enumerate(np.ndindex(*lengths)):
            for axis, index in zip(self._free, place, strict=True):
                self._place[axis] = index
            if self._has_data():
                return number
        self._place = first
        return 0

    def _has_data(self) -> bool:
        ny, nx = self.shape
        step = max(1, _SCANNED // nx)
        strips = (self[start : min(start + step, ny), 0:nx] for start in range(0, ny, step))
        return any(bool((np.isfinite(strip) & (strip != 0)).any()) for strip in strips)

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        index: list[Any] = list(self._place)
        index[self._y_axis], index[self._x_axis] = window
        try:
            pixels = self._stored[tuple(index)]
        except _DAMAGE as exc:
            raise ImageError(f"pixels cannot be read: {one_line(exc)}") from exc
        if self._x_axis < self._y_axis:
            pixels = pixels.T
        scale, zero, blank = self._scaling
        if (scale, zero, blank) == (1.0, 0.0, None):
            return pixels
        values = pixels * scale + zero
        return values if blank is None else np.where(pixels == blank, np.nan, values)


class GivenScales(NamedTuple):
    """What the user says of images whose headers do not: the beam, and the side of a pixel in arcsec."""

    beam: Beam | None = None
    pixel_scale: float | None = None


_NOTHING_GIVEN = GivenScales()


@dataclass(frozen=True, eq=False)
class StoredImage:
    """One image in a FITS file: what its header says, and where its pixels are.

    Attributes
    ----------
    path : Path
    hdu : int
        Index of the HDU.
    frame : ImageFrame
    shape : tuple of int
        (ny, nx) of the plane.
    n_planes : int
        Planes in the image; the first is used, of Stokes I and with data where there is a choice.
    scaling : tuple of (float, float, int or None)
        BSCALE, BZERO and BLANK.
    mapping : tuple of (str, int, tuple of int), optional
        Data type, offset and shape to map the pixels; None where the file is compressed.
    place : Place, optional
        Where the HDU lies in the file, its end without padding; None where the file is packed.
    quantity : Quantity
        What it shows.
    """

    path: Path
    hdu: int
    frame: ImageFrame
    shape: tuple[int, int]
    n_planes: int
    scaling: tuple[float, float, int | None]
    mapping: tuple[str, int, tuple[int, ...]] | None
    place: Place | None
    quantity: Quantity

    @property
    def stokes(self) -> tuple[int, int] | None:
        """Axis of STOKES and the index along it; None where there is no such axis."""
        axis = self.quantity.stokes_axis
        return None if axis is None else (axis, self.quantity.stokes_index)


def read_stored_image(path: Path, hdu: int | str | None = None, given: GivenScales = _NOTHING_GIVEN) -> StoredImage:
    """Read the headers of a FITS file and find the image in it.

    Parameters
    ----------
    path : Path
        Of the file.
    hdu : int or str, optional
        Index or EXTNAME of the HDU. None: the first image with a celestial WCS.
    given : GivenScales
        For headers without a beam, or without a pixel scale.

    Returns
    -------
    StoredImage

    Raises
    ------
    ImageError
        If the file is missing, unreadable or truncated, or has no such image.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            # Astropy would warn of truncation and old cards: what matters raises here.
            primary = _read_primary(path, given) if hdu in (None, 0) else None
            if primary is not None:
                return primary
            with open_checked(path, **_OPTIONS) as hdus:
                index, frame = find_image(hdus, hdu, given)
                return _read_hdu(path, hdus, index, frame)
    except FileNotFoundError as exc:
        raise ImageError(f"image {path}: no such file") from exc
    except ImageError as exc:
        raise ImageError(f"image {path}: {exc}") from exc
    except _DAMAGE as exc:
        raise ImageError(f"image {path} is not a readable FITS file: {one_line(exc)}") from exc


def find_image(
    hdus: fits.HDUList, hdu: int | str | None = None, given: GivenScales = _NOTHING_GIVEN
) -> tuple[int, ImageFrame]:
    """Find an image among HDUs.

    Parameters
    ----------
    hdus : HDUList
        Of a file that is open, or in memory.
    hdu : int or str, optional
        Index or EXTNAME. None: the first image with a celestial WCS, one of total intensity if there is one.
    given : GivenScales
        For headers without a beam, or without a pixel scale.

    Returns
    -------
    index : int
    frame : ImageFrame

    Raises
    ------
    ImageError
        If there is none.
    """
    if hdu is not None:
        try:
            list(in_order(hdus))
            index = hdus.index_of(hdu)
            chosen = hdus[index]
        except (KeyError, IndexError) as exc:
            raise ImageError(f"hdu={hdu!r} is not in the file") from exc
        if not _is_image(chosen):
            raise ImageError(f"hdu={hdu!r} is not an image")
        return index, _frame(hdus, chosen, given)
    reasons, others = [], []
    for index, candidate in enumerate(in_order(hdus)):
        if _is_image(candidate):
            try:
                found = index, _frame(hdus, candidate, given)
            except ImageError as exc:
                reasons.append(f"HDU {index}: {exc}")
                continue
            if not read_quantity(candidate.header).other:
                return found
            others.append(found)
    if others:
        return others[0]
    raise ImageError("; ".join(reasons) or "no image in the file")


def _is_image(hdu: Any) -> bool:
    return bool(getattr(hdu, "is_image", False)) and len(hdu.shape) >= 2 and min(hdu.shape) > 0


def _frame(hdus: fits.HDUList, hdu: Any, given: GivenScales) -> ImageFrame:
    beam = _table_beam(hdus) if hdu.header.get("CASAMBM") or not _names_beam(hdu.header) else None
    frame = read_frame(hdu.header, beam=beam, default_beam=given.beam, pixel_scale=given.pixel_scale)
    if max(frame.axes) >= len(hdu.shape):
        raise ImageError(f"the sky is on axes {[axis + 1 for axis in frame.axes]} of an image of {len(hdu.shape)} axes")
    return frame


def _names_beam(header: fits.Header) -> bool:
    """Whether a header has a beam, or what is meant for one."""
    try:
        return read_beam(header) is not None
    except ImageError:
        return True


def _table_beam(hdus: fits.HDUList) -> Beam | None:
    """Beam of the first plane that has one, from the BEAMS table that CASA writes; arcsec where it has no units."""
    list(in_order(hdus))
    if "BEAMS" not in hdus or not isinstance(hdus["BEAMS"], fits.BinTableHDU):
        return None
    table = hdus["BEAMS"]
    units = {column.name.upper(): column.unit for column in table.columns}
    if not {"BMAJ", "BMIN"} <= set(units):
        return None
    axes = [_degrees(table.data[name], units[name]) for name in ("BMAJ", "BMIN")]
    usable = np.flatnonzero(np.isfinite(axes).all(axis=0) & (np.array(axes) > 0).all(axis=0))
    if not len(usable):
        return None
    row = usable[0]
    angle = table.data["BPA"][row] if "BPA" in units else 0.0
    turned = float(_degrees(angle, units.get("BPA") or "deg")) if np.isfinite(angle) else 0.0
    return make_beam(axes[0][row], axes[1][row], turned, name="BMAJ in the table BEAMS")


def _degrees(values: Any, unit: str | None) -> np.ndarray:
    try:
        return (np.asarray(values, float) * u.Unit(unit or "arcsec")).to_value(u.deg)
    except (ValueError, u.UnitConversionError) as exc:
        raise ImageError(f"the table BEAMS has the unit {unit!r}: an angle is needed") from exc


def _read_primary(path: Path, given: GivenScales) -> StoredImage | None:
    """The image in the primary HDU of a plain file; None where there is none, or it takes more than its header."""
    found = read_primary_header(path)
    if found is None:
        return None
    header, offset = found
    if header.get("NAXIS", 0) > MAX_COUNT:
        return None
    shape = tuple(header.get(f"NAXIS{axis}", 0) for axis in range(header.get("NAXIS", 0), 0, -1))
    if len(shape) < 2 or min(shape) < 1 or header.get("GROUPS") or header.get("CASAMBM"):
        return None
    try:
        if not _names_beam(header):  # a table may
            return None
        frame = read_frame(header, default_beam=given.beam, pixel_scale=given.pixel_scale)
    except ImageError:  # another HDU may hold an image; if none does, astropy's reader says what is wrong with this one
        return None
    dtype = np.dtype(fits.BITPIX2DTYPE[header["BITPIX"]]).newbyteorder(">")
    end = offset + math.prod(shape) * dtype.itemsize
    if max(frame.axes) >= len(shape) or end > os.path.getsize(path) or read_quantity(header).other:
        return None
    return _stored(path, 0, header, shape, frame, (dtype.str, offset, shape), Place(0, offset, end))


def _read_hdu(path: Path, hdus: fits.HDUList, index: int, frame: ImageFrame) -> StoredImage:
    hdu = hdus[index]
    header, shape = hdu.header, hdu.shape
    place, mapping = None, None
    if is_packed(hdus):
        _check_unpacked(shape, header, "it")
        if not isinstance(hdu, fits.CompImageHDU):
            refuse_above_limit(math.prod(shape) * abs(header["BITPIX"]) // 8, os.path.getsize(path))
    else:
        place = place_of(hdu)
        place = place._replace(end=min(place.end, place.data + hdu.size))
        if place.end > os.path.getsize(path):
            raise ImageError("the file is truncated")
        if isinstance(hdu, fits.CompImageHDU):
            tile = tuple(map(int, hdu.tile_shape))
            if min(tile) < 1:
                raise ImageError(f"tiles of {tile} pixels")
            _check_unpacked(tuple(map(min, tile, shape)), header, "a tile of it")
        else:
            mapping = np.dtype(fits.BITPIX2DTYPE[header["BITPIX"]]).newbyteorder(">").str, place.data, shape
    return _stored(path, index, header, shape, frame, mapping, place)


def _check_unpacked(shape: tuple[int, ...], header: fits.Header, what: str) -> None:
    """Refuse an image of which too much would be unpacked at once: a small file may declare any size."""
    size = math.prod(shape) * abs(header["BITPIX"]) // 8
    if size > _MAX_UNPACKED:
        raise ImageError(
            f"{what} takes {size / 2**30:.3g} GiB unpacked, and at most {_MAX_UNPACKED / 2**30:g} GiB are unpacked in "
            "memory: unpack the file on the disk"
        )


def _stored(
    path: Path,
    index: int,
    header: fits.Header,
    shape: tuple[int, ...],
    frame: ImageFrame,
    mapping: tuple[str, int, tuple[int, ...]] | None,
    place: Place | None,
) -> StoredImage:
    blank = header.get("BLANK") if header["BITPIX"] > 0 else None
    lon, lat = (len(shape) - 1 - axis for axis in frame.axes)
    plane_shape = shape[lat], shape[lon]
    scaling = float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0)), blank
    n_planes = math.prod(shape) // math.prod(plane_shape)
    quantity = read_quantity(header, path.name)
    return StoredImage(path, index, frame, plane_shape, n_planes, scaling, mapping, place, quantity)


def _plane_of(image: StoredImage, stored: Any) -> Plane:
    """The plane of an image to use; of several, with a warning where the first ones are blank."""
    plane = Plane(stored, image.frame.axes, image.scaling, image.stokes)
    blank = plane.move_to_data() if image.n_planes > 1 else 0
    if blank:
        message = f"image {image.path.name}: plane {blank + 1} is used, since those before it are blank"
        warnings.warn(message, RadioAGWarning, stacklevel=5)
    return plane


def is_image(source: Any) -> bool:
    """Return whether something is an image, or a file of one, rather than a table: the first HDU with data decides.

    Parameters
    ----------
    source : path-like, HDU, HDUList, NDData, or a list of them
        Of a list, the first counts.

    Returns
    -------
    bool
    """
    if isinstance(source, list | tuple) and not isinstance(source, fits.HDUList):
        return bool(source) and is_image(source[0])
    if isinstance(source, str | os.PathLike):
        try:
            path = Path(source).expanduser()
            with warnings.catch_warnings(action="ignore"), open_checked(path, **_OPTIONS) as hdus:
                return is_image(hdus)
        except _DAMAGE:  # no FITS at all, as far as this question goes
            return False
    if isinstance(source, fits.HDUList):
        first = next((hdu for hdu in source if hdu.size), None)
        return first is not None and _is_image(first)
    return isinstance(source, IN_MEMORY)


class OpenPlanes:
    """Planes that are open, the last used ones: bounded in files and in memory.

    Plain files are mapped, tile-compressed ones are decoded a block of tiles at a time, gzipped ones are unpacked into
    memory. The sums that a file carries are checked when it is opened for the first time.

    Parameters
    ----------
    verify : bool, optional
        Whether DATASUM and CHECKSUM are compared with an image; `None`: of images up to 100 MB.
    max_open : int
        Files.
    max_bytes, max_decoded : int
        Of pixels in memory, and of decoded tiles.
    """

    def __init__(
        self,
        verify: bool | None = None,
        *,
        max_open: int = _MAX_OPEN,
        max_bytes: int = _MAX_BYTES,
        max_decoded: int = _MAX_DECODED,
    ):
        self._verify, self._max_open, self._max_bytes = verify, max_open, max_bytes
        self._decoded = BlockCache(max_decoded)
        self._open: OrderedDict[_Key, tuple[Plane, int, ExitStack]] = OrderedDict()
        self._faults: dict[_Key, str | None] = {}  # of images whose sums were compared

    def __len__(self) -> int:
        return len(self._open)

    def get(self, image: StoredImage) -> Plane:
        """Return the plane of an image.

        Parameters
        ----------
        image : StoredImage
            As `read_stored_image` found it.

        Returns
        -------
        Plane

        Raises
        ------
        ImageError
            The file is damaged.
        ServiceError
            It is gone, or cannot be read any more.
        """
        key = image.path, image.hdu
        try:
            size = image.path.stat().st_size
            if image.place is not None and size < image.place.end:  # reading what is mapped would end the process
                raise ImageError("the file is truncated")
            if key not in self._open:
                self._check_sums(image)
                self._open[key] = self._load(image)
        except ImageError:
            raise
        except _DAMAGE as exc:
            if isinstance(exc, OSError) and exc.errno is not None:  # of the system, not of what is in the file
                fault = str(exc.strerror).lower()
                raise ServiceError(f"image {image.path}: it was there before, and now {fault}") from exc
            raise ImageError(f"pixels cannot be read: {one_line(exc)}") from exc
        while len(self._open) > self._max_open or (
            len(self._open) > 1 and sum(size for _, size, _ in self._open.values()) > self._max_bytes
        ):
            self._close(next(iter(self._open)))
        self._open.move_to_end(key)
        return self._open[key][0]

    def close(self) -> None:
        """Close all images."""
        for key in list(self._open):
            self._close(key)

    def _close(self, key: _Key) -> None:
        self._decoded.drop(key)
        self._open.pop(key)[2].close()

    def _check_sums(self, image: StoredImage) -> None:
        """Compare an image with the sums that it carries, once."""
        key = image.path, image.hdu
        if key not in self._faults:
            fault, of_header = None, False
            if image.place is not None and self._is_verified(image.place):
                fault, of_header = stored_fault(image.path, image.place)
            self._faults[key] = None if of_header or fault == UNCHECKED else fault
            if of_header:
                message = f"image {image.path.name} {fault}: it was edited, or is damaged"
                warnings.warn(message, RadioAGWarning, stacklevel=4)
        if self._faults[key] is not None:
            raise ImageError(
                f"it {self._faults[key]}: it is damaged, or was changed by a program that does not keep sums "
                "(verify_images=False, --no-verify-images, takes it as it is)"
            )

    def _is_verified(self, place: Place) -> bool:
        return place.end - place.data <= _MAX_VERIFIED if self._verify is None else self._verify

    def _load(self, image: StoredImage) -> tuple[Plane, int, ExitStack]:
        """Plane, bytes that it alone holds in memory, and what to close with it."""
        if image.mapping is not None:
            dtype, offset, shape = image.mapping
            stored = np.memmap(image.path, dtype=dtype, mode="r", offset=offset, shape=shape)
            return _plane_of(image, stored), 0, ExitStack()
        if image.place is None:
            packed = open_packed(image.path)
            if packed is None:
                raise ImageError("the file was packed, and is not any more")
            with packed, fits.open(packed, **_OPTIONS) as hdus:
                pixels = np.asarray(hdus[image.hdu].data)
                packed.finish()
            return _plane_of(image, pixels), pixels.nbytes, ExitStack()
        with ExitStack() as stack:
            hdu = stack.enter_context(fits.open(image.path, **_OPTIONS))[image.hdu]
            longitude, latitude = (len(hdu.shape) - 1 - axis for axis in image.frame.axes)
            key = image.path, image.hdu
            decoded = DecodedImage(hdu.section, hdu.tile_shape, (latitude, longitude), self._decoded, key)
            plane = _plane_of(image, decoded)
            return plane, 0, stack.pop_all()
