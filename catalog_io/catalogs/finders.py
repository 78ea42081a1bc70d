"""Source finders whose tables need nothing but the names of their columns."""

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

SOFIA = Dialect(
    name="sofia",
    title="SoFiA-2 source catalogues",
    kinds=(
        Kind(
            name="sources",
            columns=("id", "name", "ra", "dec", "f_sum", "w20"),
            position=("ra", "dec"),
            units={"ra": "deg", "dec": "deg", "ell_maj": "pix", "ell_min": "pix", "ell_pa": "deg"},
            join_keys=("id",),
        ),
    ),
)
"""SoFiA-2: a finder of spectral lines in cubes; its sources have a position on the sky all the same."""

RADIO_AG = Dialect(
    name="radio-ag",
    title="Sources found by radio-ag find",
    kinds=(
        Kind(
            name="sources",
            columns=("source_id", "island", "ra", "dec", "total_flux", "snr"),
            position=("ra", "dec"),
            join_keys=("source_id",),
            group_keys=("island",),
            flux="total_flux",
            peak="peak_flux",
            rms="rms",
            axes=("major_fwhm", "minor_fwhm", "position_angle"),
        ),
    ),
)
"""radio-ag's own source finder: the tables of `~radio_ag.catalog_io.finding.find.find_sources`."""
