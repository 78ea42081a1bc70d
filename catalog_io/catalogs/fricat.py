"""FRICAT and FRIICAT, as VizieR serves them (J/A+A/598/A49, J/A+A/601/A81): told by VizieR's name of the table.

Positions are those of the host galaxies in SDSS.
"""

import re

from astropy.table import Table

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind

_TABLES = re.compile(r"J[/_]A[+_]A[/_](598[/_]A49|601[/_]A81)")


def _is_named(table: Table) -> bool:
    return any(_TABLES.search(str(table.meta.get(key, ""))) for key in ("name", "ID", "EXTNAME"))


DIALECT = Dialect(
    name="fricat",
    title="FRICAT and FRIICAT, from VizieR",
    kinds=(Kind(name="hosts", columns=(), position=("RAJ2000", "DEJ2000"), test=_is_named),),
)
