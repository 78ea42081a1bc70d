"""VLASS Quick Look components of CIRADA, as CSV and as VizieR serves them (J/ApJS/255/30).

Made with PyBDSF, but in mJy and arcsec. Good rows have ``Duplicate_flag`` below 2 and ``Quality_flag`` 0 or 4, as the
catalogue's users' guide recommends. Quick Look fluxes are some 15 % low.
"""

import numpy as np

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

_UNITS = {
    **dict.fromkeys(("RA", "DEC", "RAJ2000", "DEJ2000", "RA_max", "DEC_max", "PA", "DC_PA", "BPA"), "deg"),
    **dict.fromkeys(("Maj", "Min", "DC_Maj", "DC_Min", "BMAJ", "BMIN"), "arcsec"),
    **dict.fromkeys(("Total_flux", "E_Total_flux", "Isl_Total_flux", "Ftot"), "mJy"),
    **dict.fromkeys(("Peak_flux", "E_Peak_flux", "Isl_rms", "Fpeak"), "mJy/beam"),
}


def _good(duplicate_flag: np.ndarray, quality_flag: np.ndarray) -> np.ndarray:
    return (duplicate_flag < 2) & np.isin(quality_flag, (0, 4))


DIALECT = Dialect(
    name="vlass",
    title="VLASS Quick Look components (CIRADA)",
    kinds=(
        Kind(
            name="components",
            columns=("Component_name", "RA", "DEC", "Total_flux", "Isl_id", "Duplicate_flag", "Quality_flag", "Tile"),
            position=("RA", "DEC"),
            units=_UNITS,
            join_keys=("Component_name",),
            group_keys=("Source_name",),
            flux="Total_flux",
            quality=("Duplicate_flag", "Quality_flag"),
            good=_good,
        ),
        Kind(
            name="vizier",
            columns=("RAJ2000", "DEJ2000", "DupFlag", "QualFlag"),
            position=("RAJ2000", "DEJ2000"),
            units=_UNITS,
            quality=("DupFlag", "QualFlag"),
            good=_good,
        ),
    ),
)
