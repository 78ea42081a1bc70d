"""What a FITS header says of an image: celestial WCS, frame, unit and beam."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.coordinates import BaseCoordinateFrame
from astropy.io import fits
from astropy.wcs import WCS, WCSSUB_LATITUDE, WCSSUB_LONGITUDE, InvalidSubimageSpecificationError, Wcsprm
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame

from radio_ag.catalog_io.images.beam import Beam, BeamMatch, match_beam
from radio_ag.catalog_io.images.known_beams import named_beam
from radio_ag.errors import ImageError, RadioAGWarning
from radio_ag.preprocess.images import BEAM_FWHM

_SMALLEST_PIXEL = 0.1  # arcsec; a window of 5400 px on a side, the most that one field may read
_WORLD_CARD = re.compile(
    r"WCSAXES|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)\d+|(PC|CD|PV|PS)\d+(_\d+)?|LONPOLE|LATPOLE"
    r"|RADESYS|RADECSYS|EQUINOX|EPOCH|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)"
)
_WORDS = ("CTYPE", "CUNIT", "RADESYS", "RADECSYS", "PS")  # the values of other cards are numbers
_LARGEST = 1e30  # what a number may be: its square is one too
_NUMBER = r"(-?\d*\.?\d+(?:\.\d*)?(?:[ED][+-]?\d+)?)"
_CLEAN = re.compile(rf"CLEAN\s+BMAJ\s*=\s*{_NUMBER}\s+BMIN\s*=\s*{_NUMBER}(?:\s+BPA\s*=\s*{_NUMBER})?", re.IGNORECASE)
_BEAM_CARDS = (("BMAJ", "BMIN", "BPA"), ("CLEANBMJ", "CLEANBMN", "CLEANBPA"))
_WIDEST_BEAM = 1.0  # degree; what is beyond it is nearly always in arcsec
_COMMENT_UNIT = re.compile(r"\[\s*([A-Za-z]+)\s*\]")
_FREQUENCY_CARDS = ("RESTFRQ", "RESTFREQ")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?")
_OLD_DATE = re.compile(r"(\d\d)/(\d\d)/(\d\d)")  # of the last century
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
        None where no beam is found and FIRST's is assumed.
    pixel_scale : float
        Side of a square pixel of the same area at the reference pixel, arcsec.
    beam_of : str
        Where a beam that is not in the header comes from, in words; empty else.
    frequency : float or None
        Hz; None where the header does not tell it.
    date : str
        DATE-OBS; empty where it is missing, or no date of FITS.
    """

    wcs: WCS
    axes: tuple[int, int]
    sky: BaseCoordinateFrame
    factor: float
    unit: str
    beam_axes: Beam | None
    pixel_scale: float
    beam_of: str = ""
    frequency: float | None = None
    date: str = ""

    @property
    def beam(self) -> float | None:
        """Return √(BMAJ·BMIN), arcsec; None where the header has no beam."""
        return None if self.beam_axes is None else self.beam_axes.fwhm

    @property
    def beam_differs(self) -> bool:
        """Return whether the beam is known and is not FIRST's."""
        return match_beam(self.beam_axes) is not BeamMatch.FIRST


def read_frame(
    header: fits.Header,
    *,
    wcs: WCS | None = None,
    beam: Beam | None = None,
    default_beam: Beam | None = None,
    pixel_scale: float | None = None,
) -> ImageFrame:
    """Read celestial WCS, unit and beam from a FITS header.

    Parameters
    ----------
    header : Header
        Of an image with any number of axes.
    wcs : WCS, optional
        Used instead of the header's.
    beam : Beam, optional
        Used instead of the header's.
    default_beam : Beam, optional
        Used where the header has no beam, or none that can be. None: that of the survey that the header names.
    pixel_scale : float, optional
        Side of a pixel in arcsec, used where the header has none: north is up then.

    Returns
    -------
    ImageFrame

    Raises
    ------
    ImageError
        If there is no celestial WCS, its frame is not a known one, pixels are too small or wider than the beam, the
        beam is beyond belief, or the unit cannot be converted to Jy/beam.
    """
    full = image_wcs(header, pixel_scale=pixel_scale) if wcs is None else wcs
    if not full.has_celestial:
        raise ImageError("no celestial WCS: CTYPE must name a pair such as RA---SIN and DEC--SIN")
    try:
        celestial = full.sub([WCSSUB_LONGITUDE, WCSSUB_LATITUDE])
        sky = _celestial_frame(celestial)
    except InvalidSubimageSpecificationError as exc:
        raise ImageError(f"the sky's axes cannot be separated from the others: {' '.join(str(exc).split())}") from exc
    sides = 3600 * proj_plane_pixel_scales(celestial)
    scale = float(np.sqrt(np.prod(sides)))
    if not scale >= _SMALLEST_PIXEL:
        raise ImageError(f"pixels of {scale:.3g} arcsec: at least {_SMALLEST_PIXEL} arcsec are needed")
    beam, beam_of = (beam, "") if beam is not None else _find_beam(header, default_beam)
    _check_pixels(max(sides), beam)
    unit = str(header.get("BUNIT", "")).strip()
    width = None if beam is None else beam.fwhm
    factor = jy_per_beam(unit, beam=width, pixel_scale=scale) if unit else 1.0
    axes = full.wcs.lng, full.wcs.lat
    when = read_frequency(header), read_date(header)
    return ImageFrame(celestial, axes, sky, factor, unit, beam, scale, beam_of, *when)


def _check_pixels(side: float, beam: Beam | None) -> None:
    """Refuse pixels that are wider than the beam."""
    widest = BEAM_FWHM if beam is None else beam.major
    if not side <= widest:
        assumed = ", which is assumed where the header has no BMAJ and BMIN (--beam gives it)" if beam is None else ""
        raise ImageError(f"pixels of {side:.3g} arcsec are wider than the beam of {widest:.3g}{assumed}")


def _find_beam(header: fits.Header, default: Beam | None) -> tuple[Beam | None, str]:
    """The beam of an image, and where it comes from if the header does not have it."""
    try:
        beam = read_beam(header)
    except ImageError:
        if default is None:
            raise
        beam = None
    if beam is not None:
        return beam, ""
    if default is not None:
        return default, "as given"
    named = named_beam(header)
    return (None, "") if named is None else (named.beam, f"that of {named.survey}, which its header names")


def _celestial_frame(wcs: WCS) -> BaseCoordinateFrame:
    """Coordinate frame of a celestial WCS, longitude first."""
    longitude = wcs.wcs.ctype[0]
    if not longitude.startswith(("RA--", "GLON")):  # astropy would take ecliptic longitudes for ICRS
        raise ImageError(f"celestial frame of CTYPE {longitude!r} is not known: RA/DEC and GLON/GLAT are")
    try:
        return wcs_to_celestial_frame(wcs)
    except ValueError as exc:
        raise ImageError(f"RADESYS={wcs.wcs.radesys!r} is not known: ICRS, FK5, FK4 and FK4-NO-E are") from exc


def image_wcs(header: fits.Header, *, pixel_scale: float | None = None) -> WCS:
    """Return the WCS of a header, all axes, without astropy's warnings on old headers.

    FIRST's headers describe four axes over a plane (CTYPE3/4 without NAXIS3/4), give EPOCH beside EQUINOX, and an
    invalid DATE-OBS; others have cards that are no FITS at all. Only the cards of the WCS are read, and what is old
    in them is put right without a word: warning filters are shared between threads, so warnings are avoided instead
    of hidden.

    Parameters
    ----------
    header : Header
        Of an image with any number of axes.
    pixel_scale : float, optional
        Side of a pixel in arcsec, where the header has none.

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
    cards = _read_equinox(cards) + _scale_cards(cards, pixel_scale)
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


def _read_equinox(cards: list[fits.Card]) -> list[fits.Card]:
    """Cards of a WCS whose EQUINOX and EPOCH are numbers: ``J2000`` is one, a blank is no card.

    Beside RADESYS any other text is left out, as wcslib leaves it out, and the frame's own equinox counts.
    """
    has_frame = any(card.keyword == "RADESYS" and str(card.value).strip() for card in cards)
    kept = []
    for card in cards:
        if card.keyword in ("EQUINOX", "EPOCH") and not isinstance(card.value, int | float):
            text = "" if isinstance(card.value, fits.card.Undefined) or card.value is None else str(card.value).strip()
            year = re.fullmatch(r"[JB]?(\d{4}(?:\.\d*)?)", text, re.IGNORECASE)
            if year is None and (has_frame or not text):
                continue
            card = fits.Card(card.keyword, card.value if year is None else float(year[1]))
        kept.append(card)
    return kept


def _scale_cards(cards: list[fits.Card], pixel_scale: float | None) -> list[fits.Card]:
    """Cards of the pixels' size, where it is given and the header has none."""
    if pixel_scale is None or any(re.match(r"CDELT|CD\d|PC\d", card.keyword) for card in cards):
        return []
    axes = {str(card.value)[:4]: card.keyword[5:] for card in cards if card.keyword.startswith("CTYPE")}
    signs = {"RA--": -1, "GLON": -1, "DEC-": 1, "GLAT": 1}
    return [fits.Card(f"CDELT{axes[name]}", signs[name] * pixel_scale / 3600) for name in signs if name in axes]


def read_beam(header: fits.Header) -> Beam | None:
    """Read the beam from BMAJ, BMIN and BPA, from CLEANBMJ, CLEANBMN and CLEANBPA, or from AIPS's history.

    Parameters
    ----------
    header : Header
        Of an image.

    Returns
    -------
    Beam or None
        None where none of them is there. Without a position angle it lies north, without a minor axis it is round.

    Raises
    ------
    ImageError
        If it is wider than a degree.
    """
    for major, minor, angle in _BEAM_CARDS:
        first = _angle(header, major)
        if first is not None:
            return make_beam(first, _angle(header, minor) or first, _angle(header, angle, signed=True), name=major)
    runs = list(filter(None, map(_CLEAN.search, header.get("HISTORY", ()))))
    if not runs:
        return None
    numbers = (float((number or "0").upper().replace("D", "E")) for number in runs[-1].groups())  # the last run counts
    first, second, turned = numbers
    return make_beam(first, second, turned, name="BMAJ in HISTORY") if first > 0 and second > 0 else None


def read_frequency(header: fits.Header) -> float | None:
    """Read the frequency of an image: the first plane's of an axis FREQ, else RESTFRQ or RESTFREQ.

    Parameters
    ----------
    header : Header
        Of an image.

    Returns
    -------
    float or None
        Hz; None where none of them is there.
    """
    for number in range(1, 10):
        if str(header.get(f"CTYPE{number}", "")).strip().upper().startswith("FREQ"):
            unit = _parse_unit(str(header.get(f"CUNIT{number}", "")).strip() or "Hz")
            names = (("CRVAL", 0.0), ("CDELT", 0.0), ("CRPIX", 1.0))
            value, step, pixel = (header.get(f"{name}{number}", default) for name, default in names)
            if unit is not None and unit.is_equivalent(u.Hz) and all(map(_is_number, (value, step, pixel))):
                first = float(((value + (1 - pixel) * step) * unit).to_value(u.Hz))
                return first if first > 0 else None
    told = (header.get(card) for card in _FREQUENCY_CARDS)
    return next((float(value) for value in told if _is_number(value) and value > 0), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def read_date(header: fits.Header) -> str:
    """Read the date of the observation, DATE-OBS.

    Parameters
    ----------
    header : Header
        Of an image.

    Returns
    -------
    str
        As FITS has it since 1997 (``1994-04-05``, with or without a time); empty where there is none.
    """
    text = str(header.get("DATE-OBS", "")).strip()
    old = _OLD_DATE.fullmatch(text)
    text = f"19{old[3]}-{old[2]}-{old[1]}" if old else text
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return ""
    return text if _DATE.fullmatch(text) else ""


def make_beam(first: float, second: float, angle: float | None, *, name: str) -> Beam:
    """Return the beam of two axes, the longer one major.

    Parameters
    ----------
    first, second, angle : float
        Degrees; without an angle it lies north.
    name : str
        Of what tells it, for errors.

    Returns
    -------
    Beam

    Raises
    ------
    ImageError
        If it is wider than a degree.
    """
    major, minor = max(first, second), min(first, second)
    if major > _WIDEST_BEAM:
        raise ImageError(
            f"{name} is {major:g} degrees: is that arcsec? FITS has it in degrees, and no beam so wide is of use; "
            "--beam gives the width in arcsec instead"
        )
    return Beam(3600 * float(major), 3600 * float(minor), float(angle or 0.0))


def _angle(header: fits.Header, keyword: str, *, signed: bool = False) -> float | None:
    """A number of degrees, or of the unit in brackets that begins its comment; None where there is none."""
    value = header.get(keyword)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    declared = _COMMENT_UNIT.match(header.comments[keyword])
    if declared is not None:
        unit = _parse_unit(declared[1])
        if unit is not None and unit.is_equivalent(u.deg):
            value = float((value * unit).to_value(u.deg))
    return float(value) if signed or value > 0 else None


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
        raise ImageError(
            f"BUNIT={unit!r} needs the beam (BMAJ, BMIN) to become Jy/beam, and the header has none (--beam gives it)"
        )
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
    """Warn once, not once an image, where BUNIT or the beam is missing, or the beam is not FIRST's.

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
    _warn_of_beams(frames, names)
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


def _warn_of_beams(frames: Sequence[ImageFrame], names: Sequence[str]) -> None:
    """Warn of beams that are assumed, and of those that come from elsewhere than the header."""
    assumed = [name for frame, name in zip(frames, names, strict=True) if frame.beam_axes is None]
    if assumed:
        warnings.warn(
            f"no beam in {_among(assumed, len(frames))}: FIRST's {BEAM_FWHM} arcsec is assumed. If it is another one, "
            "classes and total fluxes are wrong: give it with beam= (--beam). Rows are flagged BEAM_ASSUMED",
            RadioAGWarning,
            stacklevel=5,
        )
    elsewhere: dict[str, list[str]] = {}
    for frame, name in zip(frames, names, strict=True):
        if frame.beam_of and frame.beam_of != "as given":
            elsewhere.setdefault(f"{frame.beam:.3g} arcsec, {frame.beam_of}", []).append(name)
    for what, which in elsewhere.items():
        warnings.warn(
            f"no beam in {_among(which, len(frames))}: it is taken to be {what}", RadioAGWarning, stacklevel=5
        )


def _among(names: Sequence[str], total: int) -> str:
    return names[0] if total == 1 else f"{len(names)} of {total} images ({names[0]}{', …' if len(names) > 1 else ''})"
