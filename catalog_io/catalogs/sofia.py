"""SoFiA-2: a finder of spectral lines in cubes; its sources have a position on the sky all the same."""

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

DIALECT = Dialect(
    name="sofia",
    title="SoFiA-2 source catalogues",
    kinds=(
        Kind(
            name="sources",
            columns=("id", "name", "x", "y", "z", "ra", "dec", "f_sum", "w20", "w50", "ell_maj", "rms"),
            position=("ra", "dec"),
            units={"ra": "deg", "dec": "deg", "ell_maj": "pix", "ell_min": "pix", "ell_pa": "deg"},
            join_keys=("id",),
        ),
    ),
)
