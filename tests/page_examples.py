"""A result with simulated images, for the tests of the page: fields from memory, maps by formula."""

import numpy as np
from astropy.table import Table
from result_examples import example_columns, example_stores

from radio_ag.catalog_io.images.fields import Fields
from radio_ag.catalog_io.result import Result
from radio_ag.flags import Flag
from radio_ag.simulated import make_field

HOSTILE = "<script>document.title='stolen'</script>"
RMS = 1.5e-4
GATES = (1, 2, 3)


class Memory:
    """Fields from memory, by right ascension; row i lies at `position(i)`."""

    name = "memory"

    def __init__(self, fields, status="ok"):
        self.fields, self.status, self.asked = fields, status, []

    def describe(self):
        return {"images": "memory"}

    def fetch(self, ra, dec):
        result = Fields.blank(len(ra))
        for place, number in enumerate(np.rint((np.asarray(ra) - 121.018958) * 10).astype(int)):
            self.asked.append(number)
            if self.status == "ok":
                result.data[place] = self.fields[number % len(self.fields)]
                result.flags[place], result.status[place] = 0, "ok"
            else:
                result.fail(place, self.status, "http://service.invalid/")
        return result


def simulated_fields(count=6):
    """Fields of FRI and FRII sources over noise of 0.15 mJy/beam."""
    kinds = ["FRII", "FRI"]
    return np.stack([make_field(kinds[n % 2], seed=n, peak_flux=20e-3, rms=RMS)[0] for n in range(count)])


def page_result(count=9, *, gates=GATES, catalogue=None, **provenance):
    """Rows 1, 4, 7, ... are EMPTY, rows 2, 5, 8, ... have no position; the others have a class and maps.

    FRI where the number of the row is odd; ``source_id`` 0 is `HOSTILE`.
    """
    columns = example_columns(count)
    row = np.arange(count)
    shown = row % 3 == 0
    columns["p_fri"] = np.where(shown, np.where(row % 2, 0.55 + 0.4 * row / count, 0.45 - 0.4 * row / count), np.nan)
    columns["p_frii"] = 1 - columns["p_fri"]
    columns["probability"] = np.maximum(columns["p_fri"], columns["p_frii"])
    columns["p_std"] = np.where(shown, 0.04, np.nan)
    columns["flags"] = columns["flags"] | np.where(shown & (row % 4 == 0), Flag.CONFUSED | Flag.TRUNCATED, 0)
    columns["source_id"] = [HOSTILE if number == 0 else f"source {number}" for number in row]
    stores = example_stores(int((columns["attention_plane"] >= 0).sum()), gates)
    catalogue = Table({"flux": np.arange(count)[::-1] * 1.5}) if catalogue is None else catalogue
    return Result.from_columns(catalogue, columns, stores, {"clip": 3.0, "catalogue": "example.fits", **provenance})
