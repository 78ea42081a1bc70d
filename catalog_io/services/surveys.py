"""The surveys that have a name, and what is known of each before anything is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from radio_ag.catalog_io.images.beam import Beam
from radio_ag.catalog_io.services import coverage
from radio_ag.catalog_io.services.cache import QUANTUM
from radio_ag.catalog_io.services.coverage import Coverage
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
    coverage: Coverage = coverage.UNKNOWN
    resampled: bool = False
    quantum: float = QUANTUM


def round_beam(fwhm: float) -> Beam:
    """Circular beam, arcsec."""
    return Beam(fwhm, fwhm, 0.0)


_FIRST_BEAM = round_beam(BEAM_FWHM)
_NORTH_OF_40 = coverage.declinations(south=-40)
_RACS_LOW, _RACS_MID = coverage.declinations(north=41), coverage.declinations(north=49)
SURVEYS = {
    survey.name: survey
    for survey in (
        Survey("first", "VLA FIRST 1.4 GHz", "first", "FIRST", PIXEL_SCALE, _FIRST_BEAM, coverage.FIRST),
        Survey(
            *("first-skyview", "VLA FIRST 1.4 GHz, as MiraBest was made", "skyview", "VLA FIRST (1.4 GHz)"),
            *(PIXEL_SCALE, _FIRST_BEAM, coverage.FIRST),
        ),
        Survey("vlass", "VLASS Quick Look 3 GHz", "cadc", "VLASS:quicklook", 1.0, round_beam(2.5), _NORTH_OF_40),
        Survey("racs-low", "RACS-low 0.89 GHz", "casda", "RACS-DR1_", 2.5, round_beam(25), _RACS_LOW),
        Survey("racs-mid", "RACS-mid 1.37 GHz, at 25″", "casda", "RACS-MID1_", 2.0, round_beam(25), _RACS_MID),
        Survey("nvss", "NVSS 1.4 GHz", "skyview", "NVSS", 15.0, round_beam(45), _NORTH_OF_40),
        Survey(
            *("tgss", "TGSS ADR1 147 MHz", "skyview", "TGSS ADR1", 6.2, round_beam(25)),
            coverage.declinations(south=-53),
        ),
        Survey(
            *("nvss-hips", "NVSS 1.4 GHz, from HiPS", "hips", "CDS/P/NVSS", 15.0, round_beam(45), _NORTH_OF_40),
            resampled=True,
        ),
        Survey(
            *("racs-low-hips", "RACS-low 0.89 GHz, from HiPS", "hips", "CSIRO/P/RACS/low/I"),
            *(2.5, round_beam(25), _RACS_LOW),
            resampled=True,
        ),
        Survey(
            *("racs-mid-hips", "RACS-mid 1.37 GHz, from HiPS", "hips", "CSIRO/P/RACS/mid/I"),
            *(2.0, round_beam(10.2), _RACS_MID),
            resampled=True,
        ),
    )
}
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
    """The survey that ``images`` names, or None: a name, ``SERVICE:IDENTIFIER``, or a URL with places for a position.

    The second is for any other survey of a service, such as ``skyview:SUMSS 843 MHz`` or ``hips:astron.nl/P/…``.
    """
    text = images.strip()
    if text.lower() in SURVEYS:
        return SURVEYS[text.lower()]
    if _TEMPLATE.match(text):
        return Survey("url", "images by URL", "url", text, PIXEL_SCALE, quantum=0.0)
    if found := _ADDRESS.fullmatch(text):
        return Survey(text, f"{found[2]} of {found[1]}", *found.groups(), PIXEL_SCALE, resampled=found[1] == "hips")
    return None


def open_survey(
    survey: Survey, *, beam: float | None = None, pixel_scale: float | None = None, **options: Any
) -> ServiceImages:
    """Image source of a survey.

    Parameters
    ----------
    survey : Survey
    beam : float, optional
        Arcsec: width of the beam of images whose header has none, where it is not known or known better.
    pixel_scale : float, optional
        Arcsec: where it is not known.
    **options
        See `~radio_ag.catalog_io.services.source.ServiceImages`, and the service's own class.

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
