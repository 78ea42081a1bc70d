"""Radio Galaxy Zoo DR1: told by its names, ``RGZ JHHMMSS.s+DDMMSS``.

A name follows the host galaxy, not the centre of the radio source: all components of a source share it.
"""

import re

import numpy as np
from astropy.table import Table

from radio_ag.catalog_io.catalogs.dialect import Columns, Dialect, Kind

_NAME = re.compile(r"RGZ\s?J\d{6}(\.\d+)?[+-]\d{6}")


def _has_names(table: Table) -> bool:
    name = Columns(table).name("rgz_name")
    if name is None or len(table) == 0:
        return name is not None
    first = np.ma.getdata(table[name])[0]
    text = first.decode("ascii", "replace") if isinstance(first, bytes) else str(first)
    return _NAME.match(text if text.startswith("RGZ") else f"RGZ {text}") is not None


DIALECT = Dialect(
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
            test=_has_names,
        ),
    ),
)
