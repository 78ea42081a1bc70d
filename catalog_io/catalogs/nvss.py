"""NVSS, as VizieR serves it (VIII/65): positions in hours and degrees as strings, fluxes in mJy."""

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

DIALECT = Dialect(
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
        ),
    ),
)
