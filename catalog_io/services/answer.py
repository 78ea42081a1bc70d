"""What a cutout service answers: an image, words, or something else."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple
from xml.parsers import expat

import numpy as np
from astropy.io import fits

from radio_ag.catalog_io.files.fits_open import check_counts, first_header
from radio_ag.catalog_io.images.beam import Beam
from radio_ag.catalog_io.images.geometry import locate
from radio_ag.catalog_io.images.headers import ImageFrame, read_beam, read_date, read_frame, read_frequency
from radio_ag.catalog_io.services.http import Failure
from radio_ag.errors import ImageError

_WORLD_CARD = re.compile(
    r"(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA)[12]|(PC|CD)[12]_[12]|PV[12]_\d+|(LON|LAT)POLE|RADESYS|RADECSYS"
)
_NOT_COVERED = re.compile(r"not (found )?in (the )?first|outside (of )?(the )?(first|survey)|not covered|no coverage")
_APOLOGY = re.compile(r"error|fail|unavailable|maintenance|time[d -]*out|busy|try again")


class Served(NamedTuple):
    """An image as the service gave it."""

    data: np.ndarray
    """(ny, nx) float32, Jy/beam, NaN where blank."""
    header: fits.Header
    """Celestial coordinates, unit, beam and where it came from."""
    frame: ImageFrame
    """The same, understood."""


def check_body(content: bytes) -> None:
    """Check that the body of an answer is a whole FITS image.

    Parameters
    ----------
    content : bytes
        Unpacked, as long as it came.

    Raises
    ------
    Failure
        "no_coverage", "not_an_image" or "truncated".
    """
    if not content.strip():
        raise Failure("truncated", "the answer is empty", passing=True)
    text = content[:4096].decode("latin-1").strip().lower()
    if not text.startswith("simple  =") and _says_not_covered(text):
        raise Failure("no_coverage", f"the service says {text[:100]!r}", passing=False)
    check_fits(content)


def _says_not_covered(text: str) -> bool:
    return bool(_NOT_COVERED.search(text)) or (text.startswith("<pre>") and not _APOLOGY.search(text))


def check_fits(content: bytes) -> None:
    """Check that a body is one whole FITS image.

    Asked before astropy reads it, which would warn, and filters for warnings are shared by all threads.

    Parameters
    ----------
    content : bytes
        Unpacked, as long as it came.

    Raises
    ------
    Failure
        "not_an_image" or "truncated".
    """
    if not content.startswith(b"SIMPLE  ="):
        raise Failure("not_an_image", f"the answer is not FITS: it starts {content[:60]!r}", passing=True)
    try:
        check_counts(io.BytesIO(content))
    except OSError as error:
        raise Failure("not_an_image", str(error), passing=True) from error
    header, end = first_header(io.BytesIO(content)) or (content, len(content) + 1)  # which goes on
    if not header.isascii():
        raise Failure("not_an_image", "the FITS header is not ASCII", passing=True)
    if len(content) < end:
        raise Failure("truncated", f"{len(content)} bytes came of a FITS file of {end} or more", passing=True)


def refuse_references(content: bytes) -> None:
    """Check that an answer in XML is all there is: astropy opens what a VOTable refers to, be it a file here.

    Parameters
    ----------
    content : bytes
        Of any kind.

    Raises
    ------
    Failure
        "not_an_image": it has a stream or an entity that lies elsewhere.
    """

    def refuse(what: str) -> None:
        raise Failure("not_an_image", f"the answer refers to {what}, which is not opened", passing=False)

    def start(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "STREAM" and "href" in attributes:
            refuse(attributes["href"])

    def declare(name: str, parameter: bool, value: str | None, base: str | None, system: str | None, *_: Any) -> None:
        if system is not None:
            refuse(system)

    if content[:4].lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \r\n\t")[:1] not in (b"<", b""):
        return
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EntityDeclHandler = start, declare
    with contextlib.suppress(expat.ExpatError):  # what is no XML is not read as any
        parser.Parse(content, True)


def open_answer(content: bytes) -> fits.HDUList:
    """Open the FITS file that is the body of an answer.

    Parameters
    ----------
    content : bytes
        Unpacked, as long as it came.

    Returns
    -------
    fits.HDUList
        Whose file is ``content``, in memory.

    Raises
    ------
    Failure
        "no_coverage", "not_an_image" or "truncated".
    """
    check_body(content)
    try:
        return fits.open(io.BytesIO(content), memmap=False)
    except Exception as error:  # astropy raises nearly anything for a file that makes no sense
        raise Failure("not_an_image", f"{type(error).__name__}: {error}", passing=True) from error


def fullest(answers: Iterable[bytes], enough: int) -> fits.HDUList | None:
    """Return the first of several images with ``enough`` finite pixels, else the one with most; None without any.

    Parameters
    ----------
    answers : iterable of bytes
        Bodies, asked for as they are needed.
    enough : int
        Finite pixels, from which on no further image is asked for.

    Returns
    -------
    fits.HDUList or None
        Open, in memory.

    Raises
    ------
    Failure
        One is not an image.
    """
    best, most = None, 0
    for content in answers:
        hdus = open_answer(content)
        try:
            data, _ = _image(hdus)
            finite = 0 if data is None else int(np.count_nonzero(np.isfinite(data)))
        except Exception as error:  # astropy raises nearly anything for a file that makes no sense
            raise Failure("not_an_image", f"{type(error).__name__}: {error}", passing=False) from error
        if finite > most:
            best, most = hdus, finite
        if most >= enough:
            break
    return best


def read_served(
    hdus: fits.HDUList, ra: float, dec: float, *, size: int | None = None, beam: Beam | None = None
) -> Served:
    """Read the image that contains a position.

    Parameters
    ----------
    hdus : HDUList
        Of which the first image counts, unless it is compressed.
    ra, dec : float
        Degrees ICRS.
    size : int, optional
        Pixels along each axis, around the position, that are kept; None: all.
    beam : Beam, optional
        Of an image whose header has none.

    Returns
    -------
    Served
        Its pixels in Jy/beam, its header, and its frame.

    Raises
    ------
    Failure
        "not_an_image" or "misplaced".
    """
    try:
        data, header = _image(hdus)
        frame = read_kept(header, beam)
    except ImageError as error:
        raise Failure("not_an_image", str(error), passing=False) from error
    except Exception as error:  # astropy raises nearly anything for cards that make no sense
        raise Failure("not_an_image", f"{type(error).__name__}: {error}", passing=False) from error
    if data is None or math.prod(data.shape[:-2]) != 1 or data.ndim < 2 or not data.size:
        raise Failure("not_an_image", f"an image is expected, not {getattr(data, 'shape', 'nothing')}", passing=False)
    x, y = locate(frame, np.array([ra]), np.array([dec])).pixel[0]
    if not (-0.5 <= x < data.shape[-1] - 0.5 and -0.5 <= y < data.shape[-2] - 0.5):
        raise Failure("misplaced", f"the position is off the image, at pixel {x:.1f}, {y:.1f}", passing=False)
    data = data.reshape(data.shape[-2:])
    if size is not None and max(data.shape) > size:
        data, header = _trimmed(data, header, round(float(x)), round(float(y)), size)
        frame = read_kept(header, beam)
    data = (data * frame.factor).astype(np.float32)
    header["BUNIT"] = "Jy/beam"
    data[~np.isfinite(data) | _zero_runs(data)] = np.nan
    return Served(data, header, replace(frame, factor=1.0, unit="Jy/beam"))


def read_kept(header: fits.Header, beam: Beam | None = None) -> ImageFrame:
    """Read the frame of a served image.

    Parameters
    ----------
    header : Header
        As `read_served` gave it, or as the cache kept that.
    beam : Beam, optional
        Of an image whose header has none.

    Returns
    -------
    ImageFrame
        Its WCS, unit and beam.

    Raises
    ------
    ImageError
        The header makes no sense.
    """
    return read_frame(header, beam=read_beam(header) or beam)


def _image(hdus: fits.HDUList) -> tuple[np.ndarray | None, fits.Header]:
    """Return pixels and clean header of the first plain image; a compressed one may unpack to any size."""
    images = [hdu for hdu in hdus if _is_plain_image(hdu) and hdu.header["NAXIS"] > 1]
    hdu = images[0] if images else hdus[0]
    return hdu.data, _clean_header(hdu.header)


def _is_plain_image(hdu: Any) -> bool:
    return isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU) and not isinstance(hdu, fits.CompImageHDU)


def _clean_header(header: fits.Header) -> fits.Header:
    """Return celestial WCS, unit, beam, frequency and date: FIRST's add two axes, an invalid date, a page of prose."""
    clean = fits.Header([(key, header[key]) for key in header if _WORLD_CARD.fullmatch(key)])
    equinox = header.get("EQUINOX", header.get("EPOCH"))
    if equinox is not None:
        clean["EQUINOX"] = equinox
    clean["BUNIT"] = header.get("BUNIT", "")
    frequency, date = read_frequency(header), read_date(header)
    if frequency is not None:
        clean["RESTFRQ"] = frequency
    if date:
        clean["DATE-OBS"] = date
    beam = read_beam(header)
    if beam is not None:
        clean["BMAJ"], clean["BMIN"], clean["BPA"] = beam.major / 3600, beam.minor / 3600, beam.angle
    return clean


def _trimmed(data: np.ndarray, header: fits.Header, x: int, y: int, size: int) -> tuple[np.ndarray, fits.Header]:
    """Return the ``size`` pixels around pixel (x, y) along each axis, and their header."""
    left, bottom = max(0, x - size // 2), max(0, y - size // 2)
    header = header.copy()
    header["CRPIX1"], header["CRPIX2"] = header.get("CRPIX1", 0.0) - left, header.get("CRPIX2", 0.0) - bottom
    return data[bottom : bottom + size, left : left + size], header


def _zero_runs(data: np.ndarray) -> np.ndarray:
    """Return which pixels are exactly 0 beside another: nothing was observed there. One alone may be chance."""
    zero = data == 0
    if not zero.any():
        return zero
    neighbour = np.zeros_like(zero)
    neighbour[1:] |= zero[:-1]
    neighbour[:-1] |= zero[1:]
    neighbour[:, 1:] |= zero[:, :-1]
    neighbour[:, :-1] |= zero[:, 1:]
    return zero & neighbour
