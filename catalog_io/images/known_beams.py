"""Beams of surveys whose images often have none in their headers, by the name that the header has for the survey.

Only surveys with one beam are here: where a survey was published at several resolutions, or each field has a beam of
its own, a name does not tell it.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from radio_ag.catalog_io.images.beam import Beam
from radio_ag.preprocess.images import BEAM_FWHM

_CARDS = ("SURVEY", "SURVNAME", "PROJECT", "OBS_ID")


class NamedBeam(NamedTuple):
    """A beam that a header's words tell."""

    survey: str
    beam: Beam


def _round(fwhm: float) -> Callable[[float], Beam]:
    return lambda dec: Beam(fwhm, fwhm, 0.0)


def _east_west(fwhm: float) -> Callable[[float], Beam]:
    """Beam of an array along east and west, which grows to the north as 1/sin|dec|."""
    return lambda dec: Beam(fwhm / max(abs(np.sin(np.radians(dec))), 0.1), fwhm, 0.0)


def _tgss(dec: float) -> Beam:
    return Beam(25.0 / np.cos(np.radians(19.0 - dec)) if dec < 19.0 else 25.0, 25.0, 0.0)


# Becker, White & Helfand 1995; Condon et al. 1998; Intema et al. 2017; Bock, Large & Sadler 1999; Murphy et al. 2007;
# Rengelink et al. 1997; Cohen et al. 2007; Lane et al. 2014.
_SURVEYS: tuple[tuple[str, str, Callable[[float], Beam]], ...] = (
    ("FIRST", r"(VLA[ -]?)?FIRST\b(?! EPOCH)", _round(BEAM_FWHM)),
    ("NVSS", r"NVSS\b", _round(45.0)),
    ("TGSS", r"TGSS\b", _tgss),
    ("SUMSS", r"SUMSS\b", _east_west(45.0)),
    ("MGPS-2", r"MGPS-?2\b", _east_west(45.0)),
    ("WENSS", r"WENSS\b", _east_west(54.0)),
    ("VLSS", r"VLSS\b", _round(80.0)),
    ("VLSSr", r"VLSSR\b", _round(75.0)),
    ("VLASS", r"VLASS", _round(2.5)),
    ("RACS-low", r"RACS[-_ ]?(DR1\b|LOW1?\b)", _round(25.0)),
)


def named_beam(header: fits.Header) -> NamedBeam | None:
    """Return the beam of the survey that a header names in SURVEY, SURVNAME, PROJECT or OBS_ID.

    Parameters
    ----------
    header : Header
        Of an image, with its declination as CRVAL.

    Returns
    -------
    NamedBeam or None
        None where it names none, or several.
    """
    texts = [str(header.get(card, "")).strip() for card in _CARDS]
    found = [entry for entry in _SURVEYS if any(re.match(entry[1], text, re.IGNORECASE) for text in texts)]
    if len(found) != 1:
        return None
    survey, _, beam = found[0]
    declinations = [header.get(f"CRVAL{axis}") for axis in (1, 2) if str(header.get(f"CTYPE{axis}")).startswith("DEC")]
    dec = declinations[0] if declinations and isinstance(declinations[0], int | float) else None
    if dec is None and beam(30.0) != beam(60.0):
        return None
    return NamedBeam(survey, beam(0.0 if dec is None else float(dec)))
