"""A table with columns of every kind that a catalogue may have."""

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from astropy.time import Time


def every_kind_of_column(count):
    """Columns whose type in FITS depends on all of their values: the telling ones are at the end."""
    row = np.arange(count)
    table = Table({"f": row * 1.5, "i": row, "text": np.where(row == count - 1, "µ", "a")})
    table["masked"] = MaskedColumn(row, mask=row == count - 2)
    table["masked_bool"] = MaskedColumn(row % 2 == 0, mask=row == count - 1)
    table["masked_u2"] = MaskedColumn(row.astype("u2"), mask=row == count - 3)
    table["masked_float"] = MaskedColumn(row * 2.5, mask=row == count - 1)
    table["limits"] = MaskedColumn(np.where(row == count - 1, 2**31 - 1, 5).astype("i4"), mask=row == 0)
    table["long"] = np.where(row == count - 1, "long text", "b")
    table["cube"] = np.arange(count * 6).reshape(count, 2, 3)
    table["sky"] = SkyCoord(row, row, unit="deg")
    table["time"] = Time(50000 + row, format="mjd")
    table["object"] = np.array([None] * (count - 1) + [7], dtype=object)
    table["q"] = row * u.mJy
    return table
