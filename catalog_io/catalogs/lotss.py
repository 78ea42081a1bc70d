"""LoTSS DR2: made with PyBDSF, but in mJy and arcsec, and with a name for each source."""

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

_ARCSEC = ("Maj", "Min", "DC_Maj", "DC_Min", "E_RA", "E_DEC")

DIALECT = Dialect(
    name="lotss",
    title="LOFAR Two-metre Sky Survey, DR2",
    kinds=(
        Kind(
            name="sources",
            columns=("Source_Name", "RA", "DEC", "Total_flux", "Peak_flux", "S_Code", "Mosaic_ID"),
            position=("RA", "DEC"),
            units={
                **dict.fromkeys(("RA", "DEC", "PA", "DC_PA"), "deg"),
                **dict.fromkeys(_ARCSEC, "arcsec"),
                **dict.fromkeys(("Total_flux", "E_Total_flux"), "mJy"),
                **dict.fromkeys(("Peak_flux", "E_Peak_flux", "Isl_rms"), "mJy/beam"),
            },
            join_keys=("Source_Name",),
            flux="Total_flux",
        ),
    ),
)
