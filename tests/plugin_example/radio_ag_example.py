"""Plugins of radio-ag: the catalogues of a source finder, and an image source."""

import numpy as np

from radio_ag.catalog_io.catalogs.dialect import Dialect, Kind
from radio_ag.catalog_io.images.fields import Fields
from radio_ag.catalog_io.images.geometry import Cutout, tangent_wcs
from radio_ag.preprocess.images import CROP_SIZE
from radio_ag.simulated import make_field

EXAMPLE = Dialect(
    name="example",
    title="Catalogues of the example finder",
    kinds=(
        Kind(
            name="blobs",
            columns=("blob", "blob_lon", "blob_lat", "brightness"),
            position=("blob_lon", "blob_lat"),
            units={"blob_lon": "deg", "blob_lat": "deg", "brightness": "mJy"},
            join_keys=("blob",),
            flux="brightness",
        ),
    ),
)


class Doubles:
    """Simulated FRII at every position, north of a limit.

    Parameters
    ----------
    limit : float
        Southern limit of the survey, degrees.
    """

    name = "doubles"

    def __init__(self, *, limit: float = -90.0):
        self.limit = limit

    def fetch(self, ra: np.ndarray, dec: np.ndarray) -> Fields:
        fields = Fields.blank(len(ra))  # nothing covers them, until they are put
        for row in np.flatnonzero(dec >= self.limit):
            image, _ = make_field("FRII", seed=round(1e4 * ra[row]))
            wcs = tangent_wcs(ra[row], dec[row], size=CROP_SIZE).wcs
            cutout = Cutout(image, (ra[row], dec[row]), wcs.crpix, np.diag(wcs.cdelt), resampled=False)
            fields.put(row, cutout, origin=self.name)
        return fields

    def describe(self) -> dict[str, str]:
        return {"survey": "simulated doubles", "limit": f"{self.limit:g} deg"}
