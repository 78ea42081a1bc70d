"""Aegean: components, islands and simple sources, in any of its formats, SQLite among them.

No format has units: positions are degrees, sizes arcseconds, fluxes Jy. FITS tables have positions in float32, good to
0.1 arcsec.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from astropy.table import Table

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind
from radio_ag.catalog_io.files.packed import refuse_above_limit
from radio_ag.errors import CatalogueError

FITERR, NOTFIT, WCSERR = 2, 16, 32
"""Bits of ``flags`` for a fit that failed, was not tried, or cannot be put on the sky."""

_UNITS = {
    **dict.fromkeys(("ra", "dec", "err_ra", "err_dec", "pa", "err_pa", "psf_pa", "max_angular_size"), "deg"),
    **dict.fromkeys(("a", "b", "err_a", "err_b", "psf_a", "psf_b"), "arcsec"),
    **dict.fromkeys(("int_flux", "err_int_flux"), "Jy"),
    **dict.fromkeys(("peak_flux", "err_peak_flux", "background", "local_rms"), "Jy/beam"),
    **dict.fromkeys(("residual_mean", "residual_std"), "Jy/beam"),
    "area": "deg2",
    "beam_area": "deg2",
    "pixels": "pix",
}


_LONGEST_CELL = 1 << 20  # bytes
_ROWS = 1000


def _good(flags: np.ndarray) -> np.ndarray:
    return np.isfinite(flags) & (np.nan_to_num(flags).astype(int) & (FITERR | NOTFIT | WCSERR) == 0)


def _is_database(head: bytes) -> bool:
    return head.startswith(b"SQLite format 3\0")


def _read_database(path: Path) -> Table:
    """Components, or else islands, or else simple sources, of an SQLite file."""
    # Immutable, so that a catalogue is neither changed nor made, nor taken from a journal beside it.
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        database.execute("PRAGMA trusted_schema = OFF")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_CELL)
        tables = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        names = {name for name, statement in tables if str(statement).upper().startswith("CREATE TABLE ")}
        name = next((name for name in ("components", "islands", "simples") if name in names), None)
        if name is None:
            raise CatalogueError(
                f"{path.name} is a database, but not one that Aegean wrote: it has no table 'components'"
            )
        cursor = database.execute(f"SELECT * FROM {name}")
        columns = [column[0] for column in cursor.description]
        rows: list[tuple] = []
        size, needed = path.stat().st_size, 0
        while some := cursor.fetchmany(_ROWS):  # the pages of a damaged file may be one and the same
            rows += some
            needed += sum(len(cell) if isinstance(cell, str | bytes) else 8 for row in some for cell in row)
            refuse_above_limit(needed, size)
    return Table(rows=rows, names=columns) if rows else Table(names=columns)


_COMMON = ("ra", "dec", "local_rms")

DIALECT = Dialect(
    name="aegean",
    title="Aegean components, islands and simple sources",
    kinds=(
        Kind(
            name="comp",
            columns=(*_COMMON, "island", "source", "int_flux"),
            position=("ra", "dec"),
            units=_UNITS,
            join_keys=("uuid",),
            group_keys=("island",),
            flux="int_flux",
            flux_error="err_int_flux",
            peak="peak_flux",
            rms="local_rms",
            axes=("a", "b", "pa"),
            quality=("flags",),
            good=_good,
        ),
        Kind(
            name="isle",
            columns=(*_COMMON, "island", "components", "int_flux"),
            position=("ra", "dec"),
            units=_UNITS,
            join_keys=("uuid",),
            group_keys=("island",),
            flux="int_flux",
            flux_error="err_int_flux",
            peak="peak_flux",
            rms="local_rms",
            quality=("flags",),
            good=_good,
        ),
        Kind(
            name="simp",
            columns=(*_COMMON, "peak_flux", "flags", "uuid", "peak_pixel"),
            position=("ra", "dec"),
            units=_UNITS,
            join_keys=("uuid",),
            quality=("flags",),
            good=_good,
        ),
    ),
    reads=_is_database,
    read=_read_database,
)
