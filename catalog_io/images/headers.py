"""What a FITS header says of an image: celestial WCS, frame, unit and beam."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import BaseCoordinateFrame
from astropy.io import fits
from astropy.wcs import WCS, WCSSUB_LATITUDE, WCSSUB_LONGITUDE, InvalidSubimageSpecificationError, Wcsprm
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame

from radio_ag.catalog_io.images.beam import Beam, BeamMatch, match_beam
from radio_ag.errors import ImageError, RadioAGWarning
from radio_ag.preprocess.images import BEAM_FWHM

_SMALLEST_PIXEL = 0.1  # arcsec; a window of 5400 px on a side, the most that one field may read
_WORLD_CARD = re.compile(
    r"WCSAXES|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)\d+|(PC|CD|PV|PS)\d+(_\d+)?|LONPOLE|LATPOLE"
    r"|RADESYS|RADECSYS|EQUINOX|EPOCH|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)"
)
_WORDS = ("CTYPE", "CUNIT", "RADESYS", "RADECSYS", "PS")  # the values of other cards are numbers
_LARGEST = 1e30  # what a number may be: its square is one too
_NUMBER = r"(-?\d[\d.]*(?:E[+-]?\d+)?)"
_CLEAN = re.compile(rf"AIPS\s+CLEAN\s+BMAJ=\s*{_NUMBER}\s+BMIN=\s*{_NUMBER}(?:\s+BPA=\s*{_NUMBER})?")
_DISTORTION_TABLES = ("CPDIS1", "CPDIS2", "D2IMDIS1", "D2IMDIS2")


@dataclass(frozen=True, eq=False)
class ImageFrame:
    """What the header says of one image: where its pixels are on the sky and what they measure.

    Attributes
    ----------
    wcs : WCS
        Two-dimensional celestial WCS, longitude first.
    axes : tuple of int
        Image axes of longitude and latitude, counted from 0 in FITS order.
    sky : BaseCoordinateFrame
        Coordinate frame of ``wcs``.
    factor : float
        Pixel value times this is Jy/beam.
    unit : str
        BUNIT as written; empty where it is missing and Jy/beam is assumed.
    beam_axes : Beam or None
        None where the header has no beam and FIRST's is assumed.
    pixel_scale : float
        Side of a square pixel of the same area at the reference pixel, arcsec.
    """

    wcs: WCS
    axes: tuple[int, int]
    sky: BaseCoordinateFrame
    factor: float
    unit: str
    beam_axes: Beam | None
    pixel_scale: float

    @property
    def beam(self) -> float | None:
        """Return √(BMAJ·BMIN), arcsec; None where the header has no beam."""
        return None if self.beam_axes is None else self.beam_axes.fwhm

    @property
    def beam_differs(self) -> bool:
        """Return whether the beam is known and is not FIRST's."""
        return match_beam(self.beam_axes) is not BeamMatch.FIRST


def read_frame(header: fits.Header, *, wcs: WCS | None = None, beam: Beam | None = None) -> ImageFrame:
    """Read celestial WCS, unit and beam from a FITS header.

    Parameters
    ----------
    header : Header
        Of an image with any number of axes.
    wcs : WCS, optional
        Used instead of the header's.
    beam : Beam, optional
        Used instead of the header's.

    Returns
    -------
    ImageFrame

    Raises
    ------
    ImageError
        If there is no celestial WCS, its frame is not a known one, pixels are too small or wider than the beam, or the
        unit cannot be converted to Jy/beam.
    """
    full = image_wcs(header) if wcs is None else wcs
    if not full.has_celestial:
        raise ImageError("no celestial WCS: CTYPE must name a pair such as RA---SIN and DEC--SIN")
    try:
        celestial = full.sub([WCSSUB_LONGITUDE, WCSSUB_LATITUDE])
        sky = _celestial_frame(celestial)
    except InvalidSubimageSpecificationError as exc:
        raise ImageError(f"the sky's axes cannot be separated from the others: {' '.join(str(exc).split())}") from exc
    sides = 3600 * proj_plane_pixel_scales(celestial)
    pixel_scale = float(np.sqrt(np.prod(sides)))
    if not pixel_scale >= _SMALLEST_PIXEL:
        raise ImageError(f"pixels of {pixel_scale:.3g} arcsec: at least {_SMALLEST_PIXEL} arcsec are needed")
    beam = read_beam(header) if beam is None else beam
    widest = BEAM_FWHM if beam is None else beam.major
    if not max(sides) <= widest:
        raise ImageError(
            f"pixels of {max(sides):.3g} arcsec are wider than the beam of {widest:.3g}"
            f"{', which is assumed where the header has no BMAJ and BMIN' if beam is None else ''}"
        )
    unit = str(header.get("BUNIT", "")).strip()
    width = None if beam is None else beam.fwhm
    factor = jy_per_beam(unit, beam=width, pixel_scale=pixel_scale) if unit else 1.0
    return ImageFrame(celestial, (full.wcs.lng, full.wcs.lat), sky, factor, unit, beam, pixel_scale)


def _celestial_frame(wcs: WCS) -> BaseCoordinateFrame:
    """Coordinate frame of a celestial WCS, longitude first."""
    longitude = wcs.wcs.ctype[0]
    if not longitude.startswith(("RA--", "GLON")):  # astropy would take ecliptic longitudes for ICRS
        raise ImageError(f"celestial frame of CTYPE {longitude!r} is not known: RA/DEC and GLON/GLAT are")
    try:
        return wcs_to_celestial_frame(wcs)
    except ValueError as exc:
        raise ImageError(f"RADESYS={wcs.wcs.radesys!r} is not known: ICRS, FK5, FK4 and FK4-NO-E are") from exc


def image_wcs(header: fits.Header) -> WCS:
    """Return the WCS of a header, all axes, without astropy's warnings on old headers.

    FIRST's headers describe four axes over a plane (CTYPE3/4 without NAXIS3/4), give EPOCH beside EQUINOX, and an
    invalid DATE-OBS; others have cards that are no FITS at all. Only the cards of the WCS are read, and what is old
    in them is put right without a word: warning filters are shared between threads, so warnings are avoided instead
    of hidden.

    Parameters
    ----------
    header : Header
        Of an image with any number of axes.

    Returns
    -------
    WCS

    Raises
    ------
    ImageError
        If it has distortion tables, a card whose value is no number, or wcslib refuses it.
    """
    if any(keyword in header for keyword in _DISTORTION_TABLES):
        raise ImageError("distortion tables (CPDIS, D2IMDIS) are not supported; SIP polynomials are")
    cards = [
        fits.Card("RADESYS", card.value) if card.keyword == "RADECSYS" else card  # its old name is warned of
        for card in header.cards
        if _WORLD_CARD.fullmatch(card.keyword)
    ]
    for card in cards:
        _check_number(card)
    try:
        if "A_ORDER" in header or "AP_ORDER" in header:
            wcs = WCS(fits.Header(cards), fix=False)
        else:  # straight to wcslib: several times as fast, which is felt with the 34,000 images of FIRST
            wcs = WCS(naxis=2)
            wcs.wcs = Wcsprm("".join(card.image for card in cards).encode("ascii"), relax=True)
        wcs.wcs.fix()
        wcs.wcs.set()
    except ValueError as exc:  # wcslib's errors are among them
        raise ImageError(f"no usable celestial WCS: {' '.join(str(exc).split())}") from exc
    return wcs


def _check_number(card: fits.Card) -> None:
    """Refuse a card of a WCS whose value is no number: wcslib takes its default then, without a word."""
    if card.keyword.startswith(_WORDS):
        return
    value = card.value
    if not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise ImageError(f"{card.keyword} is {value!r}: a number is needed")


def read_beam(header: fits.Header) -> Beam | None:
    """Read the beam from BMAJ, BMIN and BPA or from AIPS's history.

    Parameters
    ----------
    header : Header
        Of an image.

    Returns
    -------
    Beam or None
        None where neither is there. Without BPA it lies north.
    """
    first, second, angle = (header.get(keyword) for keyword in ("BMAJ", "BMIN", "BPA"))
    if not (_is_positive(first) and _is_positive(second)):
        runs = list(filter(None, map(_CLEAN.search, header.get("HISTORY", ()))))
        if not runs:
            return None
        first, second, angle = (float(number or 0) for number in runs[-1].groups())  # CLEAN's last run counts
    angle = float(angle) if isinstance(angle, int | float) and np.isfinite(angle) else 0.0
    return Beam(3600 * float(max(first, second)), 3600 * float(min(first, second)), angle)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and np.isfinite(value) and value > 0


def jy_per_beam(unit: str, *, beam: float | None, pixel_scale: float) -> float:
    """Return the factor from a unit to Jy/beam.

    Parameters
    ----------
    unit : str
        BUNIT in any of the spellings in use: ``Jy/beam``, ``JY/BEAM``, ``mJy beam-1``, ``uJy.beam**-1``, ``MJy/sr`` …
    beam : float or None
        √(BMAJ·BMIN), arcsec; surface brightness needs it.
    pixel_scale : float
        Arcsec; fluxes a pixel need it.

    Returns
    -------
    float

    Raises
    ------
    ImageError
        If the unit is unknown, ambiguous, not a surface brightness, or needs a beam that is not known.
    """
    accepted = (
        "Jy/beam, mJy/beam, uJy/beam, nJy/beam, and with a beam in the header Jy/sr, MJy/sr, Jy/arcsec2 and Jy/pixel"
    )
    parsed = _parse_unit(unit)
    if parsed is None:
        raise ImageError(f"BUNIT={unit!r} is not understood; accepted are {accepted}")
    if parsed.is_equivalent(u.Jy / u.beam):
        return float(parsed.to(u.Jy / u.beam))
    per_pixel = parsed.is_equivalent(u.Jy / u.pix)
    if not per_pixel and not parsed.is_equivalent(u.Jy / u.sr):
        raise ImageError(f"BUNIT={unit!r} is not converted to Jy/beam; accepted are {accepted}")
    if beam is None:
        raise ImageError(f"BUNIT={unit!r} needs the beam (BMAJ, BMIN) to become Jy/beam, and the header has none")
    beam_area = np.pi / (4 * np.log(2)) * beam**2  # arcsec²
    if per_pixel:
        return float(parsed.to(u.Jy / u.pix) * beam_area / pixel_scale**2)
    return float(parsed.to(u.Jy / u.arcsec**2) * beam_area)


@lru_cache(maxsize=64)
def _parse_unit(text: str) -> u.UnitBase | None:
    """The unit, or None where astropy does not know it or its letter case leaves milli and mega apart."""
    if re.match(r"MJY", text):  # all capitals: nobody can tell mJy from MJy
        return None
    spelled = re.sub(r"jy", "Jy", text, flags=re.IGNORECASE)
    spelled = re.sub(r"beam|bm", "beam", spelled, flags=re.IGNORECASE)
    spelled = re.sub(r"pix(el)?\b", "pix", spelled, flags=re.IGNORECASE)
    spelled = re.sub(r"^U(?=Jy)", "u", spelled)
    for syntax in (None, "fits", "vounit", "cds"):
        try:
            return u.Unit(spelled, format=syntax)
        except (ValueError, TypeError):
            continue
    return None


def warn_of_assumptions(frames: Sequence[ImageFrame], names: Sequence[str]) -> None:
    """Warn once, not once an image, where BUNIT is missing or the beam is not FIRST's.

    Parameters
    ----------
    frames : sequence of ImageFrame
        Of the images.
    names : sequence of str
        Of the images.

    Warns
    -----
    RadioAGWarning
    """
    unitless = [name for frame, name in zip(frames, names, strict=True) if not frame.unit]
    if unitless:
        warnings.warn(f"no BUNIT in {_among(unitless, len(frames))}: Jy/beam is assumed", RadioAGWarning, stacklevel=4)
    differing = [(name, frame.beam) for frame, name in zip(frames, names, strict=True) if frame.beam_differs]
    if differing:
        names, beams = zip(*differing, strict=True)
        span = f"{min(beams):.3g}" + (f" to {max(beams):.3g}" if len(set(beams)) > 1 else "")
        warnings.warn(
            f"the beam of {_among(names, len(frames))} is {span} arcsec, not FIRST's {BEAM_FWHM}: fields are convolved "
            "to it where theirs is finer, and scaled with it where coarser; the network was not trained on such "
            "images, and their rows are flagged RESAMPLED",
            RadioAGWarning,
            stacklevel=4,
        )


def _among(names: Sequence[str], total: int) -> str:
    return names[0] if total == 1 else f"{len(names)} of {total} images ({names[0]}{', …' if len(names) > 1 else ''})"
