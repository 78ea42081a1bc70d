"""What the FIRST cutout service answers: an image, words, or something else."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from radio_ag.catalog_io.download import Failure, check_fits
from radio_ag.catalog_io.geometry import locate
from radio_ag.catalog_io.headers import ImageFrame, beam_fwhm, read_frame
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


def read_served(hdus: fits.HDUList, ra: float, dec: float) -> Served:
    """The image that contains a position (degrees, ICRS).

    Raises
    ------
    Failure
        "not_an_image" or "misplaced".
    """
    try:
        data, header = hdus[0].data, _clean_header(hdus[0].header)
        frame = read_frame(header)
    except ImageError as error:
        raise Failure("not_an_image", str(error), passing=False) from error
    except Exception as error:  # astropy raises nearly anything for cards that make no sense
        raise Failure("not_an_image", f"{type(error).__name__}: {error}", passing=False) from error
    if data is None or math.prod(data.shape[:-2]) != 1 or data.ndim < 2 or not data.size:
        raise Failure("not_an_image", f"an image is expected, not {getattr(data, 'shape', 'nothing')}", passing=False)
    x, y = locate(frame, ra, dec).pixel[0]
    if not (-0.5 <= x < data.shape[-1] - 0.5 and -0.5 <= y < data.shape[-2] - 0.5):
        raise Failure("misplaced", f"the position is off the image, at pixel {x:.1f}, {y:.1f}", passing=False)
    data = (data.reshape(data.shape[-2:]) * frame.factor).astype(np.float32)
    header["BUNIT"] = "Jy/beam"
    data[~np.isfinite(data) | _zero_runs(data)] = np.nan
    return Served(data, header, replace(frame, factor=1.0, unit="Jy/beam"))


def _clean_header(header: fits.Header) -> fits.Header:
    """The celestial WCS, unit and beam alone: FIRST's headers add two axes, an invalid date and a page of prose."""
    clean = fits.Header([(key, header[key]) for key in header if _WORLD_CARD.fullmatch(key)])
    equinox = header.get("EQUINOX", header.get("EPOCH"))
    if equinox is not None:
        clean["EQUINOX"] = equinox
    clean["BUNIT"] = header.get("BUNIT", "")
    beam = beam_fwhm(header)
    if beam is not None:
        clean["BMAJ"] = clean["BMIN"] = (beam / 3600, "deg, geometric mean of the axes")
    return clean


def _zero_runs(data: np.ndarray) -> np.ndarray:
    """Pixels that are exactly 0 beside another: nothing was observed there. One alone may be chance."""
    zero = data == 0
    if not zero.any():
        return zero
    neighbour = np.zeros_like(zero)
    neighbour[1:] |= zero[:-1]
    neighbour[:-1] |= zero[1:]
    neighbour[:, 1:] |= zero[:, :-1]
    neighbour[:, :-1] |= zero[:, 1:]
    return zero & neighbour
