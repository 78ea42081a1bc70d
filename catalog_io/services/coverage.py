"""Where surveys have images, as far as it is public and simple: so that nobody asks for what cannot be there.

Every limit is drawn `MARGIN` outside the one that is known: a position is kept unless it is clearly outside, and what
is asked for in vain costs a request, no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MARGIN = 1.0
"""Degrees, at least, between a limit that is known and the one that is applied."""

_SDSS_CENTRE = 185.0, 32.5  # RA and Dec of the origin of SDSS's survey coordinates, degrees
_SDSS_LAMBDA = 65.0  # half the length of SDSS's ellipse in the north, 130° by 110°
_SDSS_ETA = -56.25, 53.75  # edges of stripes 1 and 44, which are 2.5° wide and 2.5° apart
_SOUTH_RA = 300.0, 60.0  # 20h to 4h: SDSS's stripe 82, the longest in the south
_SOUTH_DEC = -12.0, 37.0  # of SDSS's imaging of the southern cap


@dataclass(frozen=True)
class Coverage:
    """Where a survey has images.

    Attributes
    ----------
    words : str
        For people.
    may_cover : callable
        Of RA and Dec, degrees ICRS, shape (n,): False where there is no image for certain.
    """

    words: str
    may_cover: Callable[[ArrayLike, ArrayLike], NDArray[np.bool_]]


UNKNOWN = Coverage("not known", lambda ra, dec: np.ones(np.shape(ra), dtype=bool))
"""Coverage of a survey whose service has to say."""


def declinations(south: float = -90.0, north: float = 90.0) -> Coverage:
    """Coverage of a survey of all right ascensions between two declinations, degrees."""
    words = f"Dec {south:+g} to {north:+g}"
    if north >= 90:
        words = f"north of {south:+g}" if south > -90 else "the whole sky"
    elif south <= -90:
        words = f"south of {north:+g}"
    return Coverage(words, lambda ra, dec: (np.asarray(dec) >= south - MARGIN) & (np.asarray(dec) <= north + MARGIN))


def may_be_in_first(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
    """Whether VLA FIRST may have an image.

    FIRST covers 8444 square degrees in the north Galactic cap and 2131 in the south, "chosen to coincide approximately
    with the area covered by the Sloan Digital Sky Survey", with irregular edges and gaps. What is drawn here is
    therefore where SDSS itself could look: in the north its ellipse and stripes, 12,000 square degrees, in the south a
    box in right ascension and declination around its imaging, 5,900. The rest, 57 % of the sky, is excluded.

    Parameters
    ----------
    ra, dec : array-like, shape (n,)
        Degrees ICRS.

    References
    ----------
    Helfand, White & Becker 2015, ApJ 801, 26, and the catalogue VIII/92 at CDS: areas, and that they follow SDSS's.
    York et al. 2000, AJ 120, 1579: the ellipse, 130° by 110°. Stoughton et al. 2002, AJ 123, 485, section 3.2.2: survey
    coordinates (λ, η), and stripes 1-44. Aihara et al. 2011, ApJS 193, 29: imaging of the southern cap.
    """
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    longitude, latitude = survey_coordinates(ra, dec)
    widest = MARGIN / np.cos(np.radians(_SDSS_LAMBDA + MARGIN))  # η runs along circles that shrink with λ
    north = np.abs(longitude) <= _SDSS_LAMBDA + MARGIN
    north &= (latitude >= _SDSS_ETA[0] - widest) & (latitude <= _SDSS_ETA[1] + widest)
    widest = MARGIN / np.cos(np.radians(_SOUTH_DEC[1] + MARGIN))
    west, east = _SOUTH_RA[0] - widest, _SOUTH_RA[1] + widest
    south = (ra % 360 >= west) | (ra % 360 <= east)
    south &= (dec >= _SOUTH_DEC[0] - MARGIN) & (dec <= _SOUTH_DEC[1] + MARGIN)
    return north | south


def survey_coordinates(ra: ArrayLike, dec: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Survey longitude λ and latitude η of SDSS, degrees; η runs along circles about the nodes, as a longitude does.

    Stoughton et al. 2002: the origin is at RA 185°, Dec +32.5°, the poles of λ at RA 95° and 275° on the equator.
    """
    angle = np.radians(np.asarray(ra, dtype=float) - (_SDSS_CENTRE[0] - 90))
    dec = np.radians(np.asarray(dec, dtype=float))
    longitude = -np.degrees(np.arcsin(np.clip(np.cos(angle) * np.cos(dec), -1, 1)))
    latitude = np.degrees(np.arctan2(np.sin(dec), np.sin(angle) * np.cos(dec))) - _SDSS_CENTRE[1]
    return longitude, (latitude + 180) % 360 - 180


FIRST = Coverage("SDSS's caps: 8444 deg² north, 2131 deg² south", may_be_in_first)
