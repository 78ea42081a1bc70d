"""photutils: tables of SourceCatalog, from 2.x and 3.x (which renamed columns), and peaks of find_peaks.

Positions on the sky are in a SkyCoord column, which is there when the catalogue was made with a WCS.
"""

from .dialect import Dialect, Kind

DIALECT = Dialect(
    name="photutils",
    title="photutils source catalogues and peaks, made with a WCS",
    kinds=(
        Kind(
            name="segments",
            columns=("label", "x_centroid", "y_centroid", "segment_flux", "sky_centroid"),
            position=("sky_centroid", "sky_centroid"),
            join_keys=("label",),
        ),
        Kind(
            name="segments-2",
            columns=("label", "xcentroid", "ycentroid", "segment_flux", "sky_centroid"),
            position=("sky_centroid", "sky_centroid"),
            join_keys=("label",),
        ),
        Kind(
            name="peaks",
            columns=("x_peak", "y_peak", "peak_value", "skycoord_peak"),
            position=("skycoord_peak", "skycoord_peak"),
            join_keys=("id",),
        ),
    ),
)
