"""Catalogues of surveys and of radio galaxies, as their makers or VizieR serve them.

Some are made with PyBDSF, but have other units than its tables.
"""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from astropy.table import Column, Table

from radio_ag.catalog_io.catalogs.dialect import Columns, Dialect, Kind

SIDELOBE_LIMIT = 0.15


def _first_text(column: Column) -> str:
    first = np.ma.getdata(column)[0]
    return first.decode("ascii", "replace") if isinstance(first, bytes) else str(first)


def _first_good(sidelobe_probability: np.ndarray) -> np.ndarray:
    return sidelobe_probability < SIDELOBE_LIMIT


FIRST = Dialect(
    name="first",
    title="VLA FIRST source catalogue",
    kinds=(
        Kind(
            name="release",
            columns=("RA", "DEC", "FPEAK", "FINT"),
            position=("RA", "DEC"),
            units={
                **{"RA": "deg", "DEC": "deg", "FPEAK": "mJy/beam", "FINT": "mJy", "RMS": "mJy/beam"},
                **{"FITTED_MAJOR": "arcsec", "FITTED_MINOR": "arcsec", "FITTED_POSANG": "deg"},
            },
            flux="FINT",
            peak="FPEAK",
            rms="RMS",
            axes=("FITTED_MAJOR", "FITTED_MINOR", "FITTED_POSANG"),
            quality=("SIDEPROB",),
            good=_first_good,
        ),
        Kind(
            name="vizier",
            columns=("FIRST", "RAJ2000", "DEJ2000", "Fpeak"),
            position=("RAJ2000", "DEJ2000"),
            units={
                **{"Fpeak": "mJy/beam", "Fint": "mJy", "Rms": "mJy/beam"},
                **{"fMaj": "arcsec", "fMin": "arcsec", "fPA": "deg"},
            },
            join_keys=("FIRST",),
            flux="Fint",
            peak="Fpeak",
            rms="Rms",
            axes=("fMaj", "fMin", "fPA"),
            quality=("p(S)",),
            good=_first_good,
        ),
    ),
)
"""VLA FIRST: the release of December 2014 as FITS, and as VizieR serves it (VIII/92), in mJy. Sources whose probability
of being a sidelobe is 0.15 or more are not good."""

NVSS = Dialect(
    name="nvss",
    title="NRAO VLA Sky Survey, from VizieR",
    kinds=(
        Kind(
            name="sources",
            columns=("RAJ2000", "DEJ2000", "S1.4", "MajAxis", "MinAxis"),
            position=("RAJ2000", "DEJ2000"),
            units={"S1.4": "mJy", "e_S1.4": "mJy", "MajAxis": "arcsec", "MinAxis": "arcsec", "PA": "deg"},
            join_keys=("NVSS",),
            flux="S1.4",
            flux_error="e_S1.4",
        ),
    ),
)
"""NVSS, as VizieR serves it (VIII/65): positions in hours and degrees as strings, fluxes in mJy."""

_LOTSS_ARCSEC = ("Maj", "Min", "DC_Maj", "DC_Min", "E_RA", "E_DEC")

_LOTSS_UNITS = {
    **dict.fromkeys(("RA", "DEC", "PA", "DC_PA"), "deg"),
    **dict.fromkeys(_LOTSS_ARCSEC, "arcsec"),
    **dict.fromkeys(("Total_flux", "E_Total_flux"), "mJy"),
    **dict.fromkeys(("Peak_flux", "E_Peak_flux", "Isl_rms"), "mJy/beam"),
}


def _starts_with(column: str, prefix: str) -> Callable[[Table], bool]:
    """Test of a table whose first row's name begins so."""

    def test(table: Table) -> bool:
        name = Columns(table).name(column)
        return name is not None and (len(table) == 0 or _first_text(table[name]).startswith(prefix))

    return test


def _has_component_names(table: Table) -> bool:
    return "Component_Name" in Columns(table)


def _lacks_component_names(table: Table) -> bool:
    return not _has_component_names(table)


_LOTSS_SOURCES = Kind(
    name="sources",
    columns=("Source_Name", "RA", "DEC", "Total_flux", "S_Code", "Mosaic_ID"),
    position=("RA", "DEC"),
    units=_LOTSS_UNITS,
    join_keys=("Source_Name",),
    flux="Total_flux",
    flux_error="E_Total_flux",
    axes=("Maj", "Min", "PA"),
    test=_lacks_component_names,
)
_LOTSS_COMPONENTS = Kind(
    name="components",
    columns=("Component_Name", "RA", "DEC", "Total_flux", "S_Code"),
    position=("RA", "DEC"),
    units=_LOTSS_UNITS,
    join_keys=("Component_Name",),
    group_keys=("Source_Name",),
    flux="Total_flux",
    flux_error="E_Total_flux",
    peak="Peak_flux",
    rms="Isl_rms",
    axes=("Maj", "Min", "PA"),
)


def _kinds_of_lotss() -> tuple[Kind, ...]:
    """Tables as they are served, those cut down to what is used, and components with the other name of their source."""
    is_source, is_component = _starts_with("Source_Name", "ILT"), _starts_with("Component_Name", "ILT")
    short = ("RA", "DEC", "Total_flux")
    kinds = (
        _LOTSS_SOURCES,
        replace(
            _LOTSS_SOURCES,
            columns=("Source_Name", *short),
            test=lambda table: is_source(table) and _lacks_component_names(table),
        ),
        _LOTSS_COMPONENTS,
        replace(_LOTSS_COMPONENTS, columns=("Component_Name", *short), test=is_component),
    )
    parents = [
        replace(kind, columns=(*kind.columns, "Parent_Source"), group_keys=("Parent_Source",)) for kind in kinds[2:]
    ]
    return (*kinds, *parents)


LOTSS = Dialect(name="lotss", title="LOFAR Two-metre Sky Survey, DR2", kinds=_kinds_of_lotss())
"""LoTSS DR2: made with PyBDSF, but in mJy and arcsec, and with a name for each source. A table of its components says
by ``Parent_Source`` or ``Source_Name`` which source each is of."""

_VLASS_UNITS = {
    **dict.fromkeys(("RA", "DEC", "RAJ2000", "DEJ2000", "RA_max", "DEC_max", "PA", "DC_PA", "BPA"), "deg"),
    **dict.fromkeys(("Maj", "Min", "DC_Maj", "DC_Min", "BMAJ", "BMIN"), "arcsec"),
    **dict.fromkeys(("Total_flux", "E_Total_flux", "Isl_Total_flux", "Ftot"), "mJy"),
    **dict.fromkeys(("Peak_flux", "E_Peak_flux", "Isl_rms", "Fpeak"), "mJy/beam"),
}


def _vlass_good(duplicate_flag: np.ndarray, quality_flag: np.ndarray) -> np.ndarray:
    return (duplicate_flag < 2) & np.isin(quality_flag, (0, 4))


_VLASS_COMPONENTS = Kind(
    name="components",
    columns=("Component_name", "RA", "DEC", "Total_flux", "Duplicate_flag", "Quality_flag"),
    position=("RA", "DEC"),
    units=_VLASS_UNITS,
    join_keys=("Component_name",),
    group_keys=("Source_name",),
    flux="Total_flux",
    flux_error="E_Total_flux",
    peak="Peak_flux",
    rms="Isl_rms",
    axes=("Maj", "Min", "PA"),
    quality=("Duplicate_flag", "Quality_flag"),
    good=_vlass_good,
)

VLASS = Dialect(
    name="vlass",
    title="VLASS Quick Look components (CIRADA)",
    kinds=(
        _VLASS_COMPONENTS,
        replace(
            _VLASS_COMPONENTS,
            columns=("Component_name", "RA", "DEC", "Total_flux"),
            test=_starts_with("Component_name", "VLASS"),
        ),
        Kind(
            name="vizier",
            columns=("RAJ2000", "DEJ2000", "DupFlag", "QualFlag"),
            position=("RAJ2000", "DEJ2000"),
            units=_VLASS_UNITS,
            flux="Ftot",
            peak="Fpeak",
            rms="Islrms",
            axes=("Maj", "Min", "PA"),
            quality=("DupFlag", "QualFlag"),
            good=_vlass_good,
        ),
    ),
)
"""VLASS Quick Look components of CIRADA, as CSV and as VizieR serves them (J/ApJS/255/30): made with PyBDSF, but in mJy
and arcsec. Good rows have ``Duplicate_flag`` below 2 and ``Quality_flag`` 0 or 4, as the catalogue's users' guide
recommends. Quick Look fluxes are some 15 % low."""

_RACS_UNITS = {
    **dict.fromkeys(("RA", "Dec", "PA", "DC_PA", "pos_ang"), "deg"),
    **dict.fromkeys(("Maj", "Min", "DC_Maj", "DC_Min", "E_RA", "E_Dec", "maj_axis", "min_axis"), "arcsec"),
    **dict.fromkeys(("Total_flux_Gaussian", "Total_flux_Source"), "mJy"),
    **dict.fromkeys(("E_Total_flux_Gaussian", "E_Total_flux_Source"), "mJy"),
    **dict.fromkeys(("Peak_flux", "Noise"), "mJy/beam"),
}

RACS = Dialect(
    name="racs",
    title="Rapid ASKAP Continuum Survey",
    kinds=(
        Kind(
            name="gaussians",
            columns=("Gaussian_ID", "Source_ID", "RA", "Dec", "Total_flux_Gaussian"),
            position=("RA", "Dec"),
            units=_RACS_UNITS,
            join_keys=("Gaussian_ID",),
            group_keys=("Source_ID",),
            flux="Total_flux_Gaussian",
            flux_error="E_Total_flux_Gaussian",
            peak="Peak_flux",
            rms="Noise",
            axes=("Maj", "Min", "PA"),
        ),
        Kind(
            name="sources",
            columns=("Source_ID", "RA", "Dec", "Total_flux_Source"),
            position=("RA", "Dec"),
            units=_RACS_UNITS,
            join_keys=("Source_ID",),
            flux="Total_flux_Source",
            flux_error="E_Total_flux_Source",
            axes=("Maj", "Min", "PA"),
        ),
        Kind(
            name="tap",
            columns=("id", "ra", "dec", "total_flux_source"),
            position=("ra", "dec"),
            units=_RACS_UNITS,
            join_keys=("id",),
            flux="total_flux_source",
            flux_error="e_total_flux_source",
            axes=("maj_axis", "min_axis", "pos_ang"),
        ),
    ),
)
"""RACS: the names of the papers (and of VizieR), and those of CASDA's TAP service, in mJy and arcsec."""

_RGZ_NAME = re.compile(r"RGZ\s?J\d{6}(\.\d+)?[+-]\d{6}")


def _has_rgz_names(table: Table) -> bool:
    name = Columns(table).name("rgz_name")
    if name is None or len(table) == 0:
        return name is not None
    text = _first_text(table[name])
    return _RGZ_NAME.match(text if text.startswith("RGZ") else f"RGZ {text}") is not None


RGZ = Dialect(
    name="rgz",
    title="Radio Galaxy Zoo DR1",
    kinds=(
        Kind(
            name="sources",
            columns=("rgz_name", "ra", "dec"),
            position=("ra", "dec"),
            units={"ra": "deg", "dec": "deg"},
            join_keys=("rgz_name",),
            group_keys=("rgz_name",),
            test=_has_rgz_names,
        ),
    ),
)
"""Radio Galaxy Zoo DR1, told by its names, ``RGZ JHHMMSS.s+DDMMSS``. A name follows the host galaxy, not the centre of
the radio source: all components of a source share it."""

_FRICAT_TABLES = re.compile(r"J[/_]A[+_]A[/_](598[/_]A49|601[/_]A81)")


def _is_fricat(table: Table) -> bool:
    return any(_FRICAT_TABLES.search(str(table.meta.get(key, ""))) for key in ("name", "ID", "EXTNAME"))


FRICAT = Dialect(
    name="fricat",
    title="FRICAT and FRIICAT, from VizieR",
    kinds=(Kind(name="hosts", columns=(), position=("RAJ2000", "DEJ2000"), test=_is_fricat),),
)
"""FRICAT and FRIICAT, as VizieR serves them (J/A+A/598/A49, J/A+A/601/A81), told by VizieR's name of the table.
Positions are those of the host galaxies in SDSS."""
