"""VLA FIRST: the release of December 2014 as FITS, and as VizieR serves it (VIII/92).

Fluxes are in mJy. Sources whose probability of being a sidelobe is 0.15 or more are not good.
"""

import numpy as np

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

SIDELOBE_LIMIT = 0.15


def _good(sidelobe_probability: np.ndarray) -> np.ndarray:
    return sidelobe_probability < SIDELOBE_LIMIT


DIALECT = Dialect(
    name="first",
    title="VLA FIRST source catalogue",
    kinds=(
        Kind(
            name="release",
            columns=("RA", "DEC", "SIDEPROB", "FPEAK", "FINT"),
            position=("RA", "DEC"),
            units={"RA": "deg", "DEC": "deg", "FPEAK": "mJy/beam", "FINT": "mJy", "RMS": "mJy/beam"},
            flux="FINT",
            quality=("SIDEPROB",),
            good=_good,
        ),
        Kind(
            name="vizier",
            columns=("FIRST", "RAJ2000", "DEJ2000", "p(S)", "Fpeak"),
            position=("RAJ2000", "DEJ2000"),
            units={"Fpeak": "mJy/beam", "Fint": "mJy", "Rms": "mJy/beam"},
            join_keys=("FIRST",),
            flux="Fint",
            quality=("p(S)",),
            good=_good,
        ),
    ),
)
