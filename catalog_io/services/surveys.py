"""The surveys that have a name, and what is known of each before anything is asked.

So that nobody asks for what cannot be there, `Coverage` says where a survey has images, as far as it is public and
simple. Every limit is drawn `MARGIN` outside the one that is known: a position is kept unless it is clearly outside,
and what is asked for in vain costs a request, no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.catalog_io.images.beam import Beam
from radio_ag.catalog_io.services.cache import QUANTUM
from radio_ag.errors import InputError
from radio_ag.preprocess.images import BEAM_FWHM, PIXEL_SCALE

if TYPE_CHECKING:
    from radio_ag.catalog_io.services.source import ServiceImages

_MODULE = "radio_ag.catalog_io.services"
SERVICES = {
    "first": f"{_MODULE}.first:FirstImages",
    "skyview": f"{_MODULE}.skyview:SkyViewImages",
    "hips": f"{_MODULE}.hips:HipsImages",
    "cadc": f"{_MODULE}.cadc:CadcImages",
    "casda": f"{_MODULE}.casda:CasdaImages",
    "url": f"{_MODULE}.template:TemplateImages",
}
"""Where the class for each service is: astroquery and its modules are slow to import."""


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


UNKNOWN_COVERAGE = Coverage("not known", lambda ra, dec: np.ones(np.shape(ra), dtype=bool))
"""Coverage of a survey whose service has to say."""


def declinations(south: float = -90.0, north: float = 90.0) -> Coverage:
    """Return the coverage of a survey of all right ascensions between two declinations.

    Parameters
    ----------
    south, north : float
        Degrees.

    Returns
    -------
    Coverage
        Of any right ascension.
    """
    words = f"Dec {south:+g} to {north:+g}"
    if north >= 90:
        words = f"north of {south:+g}" if south > -90 else "the whole sky"
    elif south <= -90:
        words = f"south of {north:+g}"
    return Coverage(words, lambda ra, dec: (np.asarray(dec) >= south - MARGIN) & (np.asarray(dec) <= north + MARGIN))


def may_be_in_first(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
    """Return where VLA FIRST may have an image.

    FIRST covers 8444 square degrees in the north Galactic cap and 2131 in the south, "chosen to coincide approximately
    with the area covered by the Sloan Digital Sky Survey", with irregular edges and gaps. What is drawn here is
    therefore where SDSS itself could look: in the north its ellipse and stripes, 12,000 square degrees, in the south a
    box in right ascension and declination around its imaging, 5,900. The rest, 57 % of the sky, is excluded.

    Parameters
    ----------
    ra, dec : array-like, shape (n,)
        Degrees ICRS.

    Returns
    -------
    ndarray of bool, shape (n,)

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
    """Return SDSS's survey longitude λ and latitude η; η runs along circles about the nodes, as a longitude does.

    Parameters
    ----------
    ra, dec : array-like, shape (n,)
        Degrees.

    Returns
    -------
    longitude, latitude : ndarray, shape (n,)
        Degrees.

    References
    ----------
    Stoughton et al. 2002: the origin is at RA 185°, Dec +32.5°, the poles of λ at RA 95° and 275° on the equator.
    """
    angle = np.radians(np.asarray(ra, dtype=float) - (_SDSS_CENTRE[0] - 90))
    dec = np.radians(np.asarray(dec, dtype=float))
    longitude = -np.degrees(np.arcsin(np.clip(np.cos(angle) * np.cos(dec), -1, 1)))
    latitude = np.degrees(np.arctan2(np.sin(dec), np.sin(angle) * np.cos(dec))) - _SDSS_CENTRE[1]
    return longitude, (latitude + 180) % 360 - 180


_FIRST_COVERAGE = Coverage("SDSS's caps: 8444 deg² north, 2131 deg² south", may_be_in_first)


@dataclass(frozen=True)
class Survey:
    """What is known of a survey as one service gives it.

    Attributes
    ----------
    name : str
        What ``images`` and ``--images`` may be; for headers too.
    title : str
        For people, with the frequency.
    service : str
        A key of `SERVICES`.
    identifier : str
        What the service calls the survey.
    pixel_scale : float
        Arcsec: of the images, or for a service that resamples, what it is asked for.
    beam : Beam, optional
        Of images whose header has none; None: FIRST's is assumed for them, as it is for a file.
    coverage : Coverage
    resampled : bool
        Pixels are not those of the survey's own images: every row is flagged.
    quantum : float
        Jy/beam: pixels are rounded to whole multiples of it, unless the user says otherwise.
    """

    name: str
    title: str
    service: str
    identifier: str
    pixel_scale: float
    beam: Beam | None = None
    coverage: Coverage = UNKNOWN_COVERAGE
    resampled: bool = False
    quantum: float = QUANTUM


def round_beam(fwhm: float) -> Beam:
    """Return a circular beam.

    Parameters
    ----------
    fwhm : float
        Arcsec.

    Returns
    -------
    Beam
        Of position angle 0.
    """
    return Beam(fwhm, fwhm, 0.0)


_FIRST_BEAM = round_beam(BEAM_FWHM)
_NORTH_OF_40 = declinations(south=-40)
_RACS_LOW, _RACS_MID = declinations(north=41), declinations(north=49)
_MIRABEST = "VLA FIRST 1.4 GHz, as MiraBest was made"
_ALL = (
    Survey("first", "VLA FIRST 1.4 GHz", "first", "FIRST", PIXEL_SCALE, _FIRST_BEAM, _FIRST_COVERAGE),
    Survey("first-skyview", _MIRABEST, "skyview", "VLA FIRST (1.4 GHz)", PIXEL_SCALE, _FIRST_BEAM, _FIRST_COVERAGE),
    Survey("vlass", "VLASS Quick Look 3 GHz", "cadc", "VLASS:quicklook", 1.0, round_beam(2.5), _NORTH_OF_40),
    Survey("racs-low", "RACS-low 0.89 GHz", "casda", "RACS-DR1_", 2.5, round_beam(25), _RACS_LOW),
    Survey("racs-mid", "RACS-mid 1.37 GHz, at 25″", "casda", "RACS-MID1_", 2.0, round_beam(25), _RACS_MID),
    Survey("nvss", "NVSS 1.4 GHz", "skyview", "NVSS", 15.0, round_beam(45), _NORTH_OF_40),
    Survey("tgss", "TGSS ADR1 147 MHz", "skyview", "TGSS ADR1", 6.2, round_beam(25), declinations(south=-53)),
    Survey(
        "nvss-hips", "NVSS 1.4 GHz, from HiPS", "hips", "CDS/P/NVSS", 15.0, round_beam(45), _NORTH_OF_40, resampled=True
    ),
    Survey(
        "racs-low-hips",
        "RACS-low 0.89 GHz, from HiPS",
        "hips",
        "CSIRO/P/RACS/low/I",
        2.5,
        round_beam(25),
        _RACS_LOW,
        resampled=True,
    ),
    Survey(
        "racs-mid-hips",
        "RACS-mid 1.37 GHz, from HiPS",
        "hips",
        "CSIRO/P/RACS/mid/I",
        2.0,
        round_beam(10.2),
        _RACS_MID,
        resampled=True,
    ),
)
SURVEYS = {survey.name: survey for survey in _ALL}
"""Surveys by name. Beams and pixels are the nominal ones; a header's beam goes before it.

References
----------
NVSS: Condon et al. 1998, AJ 115, 1693. VLASS: Lacy et al. 2020, PASP 132, 035001. RACS-low: McConnell et al. 2020, PASA
37, e048; Hale et al. 2021, PASA 38, e058. RACS-mid: Duchesne et al. 2023, PASA 40, e034; 2024, PASA 41, e003. TGSS:
Intema et al. 2017, A&A 598, A78.
"""

_ADDRESS = re.compile(r"(skyview|hips|cadc|casda):(.+)")
_TEMPLATE = re.compile(r"https?://.*[{].*[}]")


def find_survey(images: str) -> Survey | None:
    """Return the survey that ``images`` names, or None.

    It is a name, ``SERVICE:IDENTIFIER``, or a URL with places for a position.

    The second is for any other survey of a service, such as ``skyview:SUMSS 843 MHz`` or ``hips:astron.nl/P/…``.

    Parameters
    ----------
    images : str
        As the user gives it.

    Returns
    -------
    Survey or None
        With what is known of it beforehand.
    """
    text = images.strip()
    if text.lower() in SURVEYS:
        return SURVEYS[text.lower()]
    if _TEMPLATE.match(text):
        return Survey("url", "images by URL", "url", text, PIXEL_SCALE, quantum=0.0)
    if found := _ADDRESS.fullmatch(text):
        service, identifier = found.groups()
        title = f"{identifier} of {service}"
        return Survey(text, title, service, identifier, PIXEL_SCALE, resampled=service == "hips")
    return None


def open_survey(
    survey: Survey, *, beam: float | None = None, pixel_scale: float | None = None, **options: Any
) -> ServiceImages:
    """Open the image source of a survey.

    Parameters
    ----------
    survey : Survey
        Of `find_survey`, or of `SURVEYS`.
    beam : float, optional
        Arcsec: width of the beam of images whose header has none, where it is not known or known better.
    pixel_scale : float, optional
        Arcsec: where it is not known.
    **options
        See `~radio_ag.catalog_io.services.source.ServiceImages`, and the service's own class.

    Returns
    -------
    ServiceImages

    Raises
    ------
    InputError
        If a number is out of range.
    """
    for name, value in (("beam", beam), ("pixel_scale", pixel_scale)):
        if value is not None and not 0.1 <= value <= 3600:
            raise InputError(f"{name} must be 0.1 to 3600 arcsec, not {value!r}")
    if beam is not None:
        survey = replace(survey, beam=round_beam(beam))
    if pixel_scale is not None:
        survey = replace(survey, pixel_scale=pixel_scale)
    return resolve_name(SERVICES[survey.service])(survey, **options)
