"""Selavy, the finder of ASKAP: components and islands, from CASDA (VOTable, CSV) and as fixed-width text.

Fluxes are in mJy and sizes in arcsec. A spectral index of -99 is missing. The text files end their two commented header
lines with a free comment that most rows leave empty.
"""

import re
from pathlib import Path

import numpy as np
from astropy.io import ascii as text_formats
from astropy.table import Table

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind
from radio_ag.catalog_io.files.packed import open_unpacked
from radio_ag.errors import CatalogueError

_ARCSEC = (
    "ra_err",
    "dec_err",
    "maj_axis",
    "min_axis",
    "maj_axis_err",
    "min_axis_err",
    "maj_axis_deconv",
    "min_axis_deconv",
)

_UNITS = {
    **dict.fromkeys(("ra_deg_cont", "dec_deg_cont", "pos_ang", "pos_ang_err", "pos_ang_deconv"), "deg"),
    **dict.fromkeys(_ARCSEC, "arcsec"),
    **dict.fromkeys(("flux_int", "flux_int_err"), "mJy"),
    **dict.fromkeys(("flux_peak", "flux_peak_err", "rms_image", "rms_fit_gauss"), "mJy/beam"),
    "freq": "MHz",
}
_MISSING = dict.fromkeys(
    ("spectral_index", "spectral_curvature", "spectral_index_err", "spectral_curvature_err"), -99.0
)


def _good(fit_is_estimate: np.ndarray) -> np.ndarray:
    return fit_is_estimate == 0


def _is_text(head: bytes) -> bool:
    return re.match(rb"#\s+island_id\s", head) is not None


def _read_text(path: Path) -> Table:
    with open_unpacked(path) as stream:
        text = stream.read().decode("utf-8")
    names = text.partition("\n")[0].removeprefix("#").split()
    values = []
    for number, line in enumerate(text.splitlines()[2:], start=3):
        if line.strip() and not line.startswith("#"):
            # The comment is the last column and may hold blanks, or nothing.
            value = line.split(None, len(names) - 1)
            if len(value) < len(names) - 1:
                raise CatalogueError(f"line {number} has {len(value)} values for {len(names)} columns")
            values.append(value + [""] * (len(names) - len(value)))
    lines = ["\t".join(value.strip() for value in row) for row in [names, *values]]
    return text_formats.read("\n".join(lines) + "\n", format="tab", guess=False)


DIALECT = Dialect(
    name="selavy",
    title="Selavy components and islands (ASKAP, CASDA)",
    kinds=(
        Kind(
            name="components",
            columns=("island_id", "ra_deg_cont", "dec_deg_cont"),
            position=("ra_deg_cont", "dec_deg_cont"),
            units=_UNITS,
            join_keys=("component_id",),
            group_keys=("island_id",),
            flux="flux_int",
            flux_error="flux_int_err",
            peak="flux_peak",
            rms="rms_image",
            axes=("maj_axis", "min_axis", "pos_ang"),
            quality=("fit_is_estimate",),
            good=_good,
            missing=_MISSING,
        ),
        Kind(
            name="islands",
            columns=("island_id", "ra_deg_cont", "dec_deg_cont", "n_components"),
            position=("ra_deg_cont", "dec_deg_cont"),
            units=_UNITS,
            join_keys=("island_id",),
            group_keys=("island_id",),
            flux="flux_int",
            flux_error="flux_int_err",
            axes=("maj_axis", "min_axis", "pos_ang"),
        ),
    ),
    reads=_is_text,
    read=_read_text,
)
