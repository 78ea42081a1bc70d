"""What an image shows: total intensity, or one of the quantities that pipelines write beside it.

Noise maps, other Stokes parameters, weights, models, residuals and images without a correction for the primary beam
look like images: they have a celestial WCS, and mostly BUNIT Jy/beam. What tells them is the STOKES axis, BTYPE, BUNIT,
HISTORY, and the names that pipelines give to files (ASKAP's, VAST, LoTSS, VLASS, WSClean, CASA, DDFacet, BANE, PyBDSF).
"""

import re
from typing import NamedTuple

from astropy.io import fits

STOKES = {
    **dict(enumerate(("I", "Q", "U", "V"), start=1)),
    **{-1: "RR", -2: "LL", -3: "RL", -4: "LR", -5: "XX", -6: "YY", -7: "XY", -8: "YX"},
    **{5: "polarised intensity", 6: "polarised fraction", 7: "polarisation angle", 8: "spectral index"},
}
"""Values of a STOKES axis (FITS standard 4.0, table 29, and AIPS's beyond 4)."""

_WORDS = {
    "noise map": {"rms", "noise", "noisemap", "rmsmap", "rmsd", "rmsimage"},
    "background": {"bkg", "bkgd", "background", "meanmap"},
    "weights": {"weight", "weights", "weightmap", "wt", "wts", "wgt", "sumwt"},
    "model": {"model", "models", "skymodel"},
    "residual": {"residual", "residuals", "resid"},
    "dirty image": {"dirty"},
    "point-spread function": {"psf"},
    "primary beam": {"primarybeam", "pbeam", "sensitivity", "pbcoverage"},
    "mask": {"mask", "pybdsmmask", "cleanmask", "islandmask"},
    "spectral index": {"alpha", "spix", "specindex"},
    "image without primary-beam correction": {"uncorrected", "uncorr", "nopbcor"},
}
_PATTERNS = {
    "primary beam": re.compile(r"-beam-\d+|(?<!image)[._-]pb([._-]tt\d)?$"),
    "higher Taylor term": re.compile(r"(^|[._-])(tt|taylor[._-]?)[1-9]([._-]|$)"),
    "spectral index": re.compile(r"spectral[._-]?index"),
    "image without primary-beam correction": re.compile(r"(^|[._-])(no|un|not)[._-](pb)?corr?(ected)?([._-]|$)"),
}
_TYPES = {
    "noise map": r"\brms\b|noise",
    "weights": r"weight",
    "model": r"model",
    "residual": r"residual",
    "mask": r"mask",
    "spectral index": r"spectral.?index|alpha",
    "point-spread function": r"psf|point.?spread",
    "primary beam": r"^(primary |power )?beam$",
    "polarisation": r"polari[sz]|^stokes [quv]$|^[quv]$|rotation measure|faraday",
    "optical depth": r"optical depth",
    "velocity": r"velocity|moment",
    "attention map": r"^attention$",
}
_TYPE_CARDS = ("BTYPE", "IMAGETYP", "IMTYPE", "FILETYPE")
_MADE_BY = {"noise map or background": re.compile(r"\bBANE\b"), "noise map": re.compile(r"^\s*(AIPS\s+)?RMSD\b", re.M)}
_CORRECTED_NAME = re.compile(r"image[._-]pb([._-]|$)|pbcor|(^|[._-])int[._-]restored")
_CORRECTED_HISTORY = re.compile(
    r"\bPBCOR\b(?!\s*=\s*(F|'?no))|impbcor|\blinmos\b"
    r"|(?<!un)(?<!un-)(?<!not )(primary.beam|PB)[ -]correct(ed|ion done)",
    re.IGNORECASE,
)


class Quantity(NamedTuple):
    """What an image shows.

    Attributes
    ----------
    other : str
        What it is instead of total intensity, in words; empty if nothing tells that it is something else.
    corrected : bool
        Something tells that it is corrected for the primary beam.
    stokes_axis : int or None
        Axis of STOKES, counted from 0 in FITS order.
    stokes_index : int
        Plane along that axis: of Stokes I if it is there, else the first.
    """

    other: str
    corrected: bool
    stokes_axis: int | None
    stokes_index: int


def read_quantity(header: fits.Header, name: str = "") -> Quantity:
    """Tell what an image shows by its header and its file's name.

    Parameters
    ----------
    header : Header
        Of an image.
    name : str
        Of the file, without folders.

    Returns
    -------
    Quantity
    """
    axis, index, stokes = _read_stokes(header)
    stem = re.sub(r"(\.(fits|fit|fts|fz|gz|bz2|xz))+$", "", name.lower())
    history = "\n".join(map(str, header["HISTORY"])) if "HISTORY" in header else ""
    other = _other_stokes(stokes, stem) or _other_type(header) or _other_name(stem)
    other = other or _other_name(str(header.get("EXTNAME", "")).lower())
    other = other or next((what for what, made in _MADE_BY.items() if made.search(history)), "")
    corrected = bool(_CORRECTED_NAME.search(stem) or _CORRECTED_HISTORY.search(history))
    return Quantity(other, corrected, axis, index)


def _read_stokes(header: fits.Header) -> tuple[int | None, int, str]:
    """Axis of STOKES, the plane to take along it, and what that plane is; empty where nothing tells."""
    for number in range(1, 10):
        if not str(header.get(f"CTYPE{number}", "")).strip().upper().startswith("STOKES"):
            continue
        value, step, pixel = (
            header.get(f"{key}{number}", default) for key, default in (("CRVAL", 0), ("CDELT", 1), ("CRPIX", 1))
        )
        if not all(isinstance(part, int | float) for part in (value, step, pixel)):
            return number - 1, 0, ""
        length = header.get(f"NAXIS{number}", 1)
        planes = [round(value + (plane + 1 - pixel) * step) for plane in range(min(length, 16))] or [0]
        index = planes.index(1) if 1 in planes else 0
        return number - 1, index, STOKES.get(planes[index], "")
    text = str(header.get("STOKES", "")).strip().upper()
    return None, 0, text if text in STOKES.values() else ""


def _other_stokes(stokes: str, stem: str) -> str:
    if stokes:
        return "" if stokes == "I" else f"Stokes {stokes}" if len(stokes) == 1 else stokes
    named = re.search(r"(?:^|[._-])(?:stokes[._-]?)?([quv])(?=[._-]|$)", stem)
    return f"Stokes {named[1].upper()}" if named else ""


def _other_type(header: fits.Header) -> str:
    texts = [str(header[card]).strip().lower() for card in _TYPE_CARDS if card in header]
    return next((what for what, words in _TYPES.items() for text in texts if re.search(words, text)), "")


def _other_name(stem: str) -> str:
    words = set(re.split(r"[^a-z0-9]+", stem))
    found = [what for what, known in _WORDS.items() if words & known]
    found += [what for what, pattern in _PATTERNS.items() if pattern.search(stem)]
    return found[0] if found else ""


def is_per_pixel(unit: str) -> bool:
    """Tell whether a unit is a flux density a pixel, as models have.

    Parameters
    ----------
    unit : str
        BUNIT.

    Returns
    -------
    bool
    """
    return re.search(r"pix", unit, re.IGNORECASE) is not None


def in_words(left_out: list[tuple[str, str]]) -> str:
    """Return how many images were left out and why.

    Parameters
    ----------
    left_out : list of (str, str)
        What each is, and its name.

    Returns
    -------
    str
        ``2 noise map (a.fits, …), 1 Stokes V (b.fits)``
    """
    groups: dict[str, list[str]] = {}
    for what, name in left_out:
        groups.setdefault(what, []).append(name)
    return ", ".join(
        f"{len(names)} {what} ({names[0]}{', …' if len(names) > 1 else ''})" for what, names in groups.items()
    )
