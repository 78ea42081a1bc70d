"""radio-ag's own source finder: the tables of `~radio_ag.catalog_io.finding.find.find_sources`."""

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

DIALECT = Dialect(
    name="radio-ag",
    title="Sources found by radio-ag find",
    kinds=(
        Kind(
            name="sources",
            columns=("source_id", "island", "ra", "dec", "peak_flux", "total_flux", "snr", "major_fwhm", "at_edge"),
            position=("ra", "dec"),
            join_keys=("source_id",),
            flux="total_flux",
        ),
    ),
)
