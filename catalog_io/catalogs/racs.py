"""RACS: the names of the papers (and of VizieR), and those of CASDA's TAP service. In mJy and arcsec."""

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

_UNITS = {
    **dict.fromkeys(("RA", "Dec", "PA", "DC_PA", "pos_ang"), "deg"),
    **dict.fromkeys(("Maj", "Min", "DC_Maj", "DC_Min", "E_RA", "E_Dec", "maj_axis", "min_axis"), "arcsec"),
    **dict.fromkeys(("Total_flux_Gaussian", "Total_flux_Source"), "mJy"),
    **dict.fromkeys(("Peak_flux", "Noise"), "mJy/beam"),
}

DIALECT = Dialect(
    name="racs",
    title="Rapid ASKAP Continuum Survey",
    kinds=(
        Kind(
            name="gaussians",
            columns=("Gaussian_ID", "Source_ID", "Tile_ID", "RA", "Dec", "Total_flux_Gaussian"),
            position=("RA", "Dec"),
            units=_UNITS,
            join_keys=("Gaussian_ID",),
            group_keys=("Source_ID",),
            flux="Total_flux_Gaussian",
        ),
        Kind(
            name="sources",
            columns=("Source_ID", "Tile_ID", "N_Gaus", "RA", "Dec", "Total_flux_Source"),
            position=("RA", "Dec"),
            units=_UNITS,
            join_keys=("Source_ID",),
            flux="Total_flux_Source",
        ),
        Kind(
            name="tap",
            columns=("id", "ra", "dec", "peak_flux", "total_flux_source", "maj_axis", "noise", "field_id"),
            position=("ra", "dec"),
            units=_UNITS,
            join_keys=("id",),
            flux="total_flux_source",
        ),
    ),
)
