"""Small labelled data for the tests of training."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from radio_ag.labelled.data import Labelled
from radio_ag.simulated import make_field


def blobs(sources: int = 8, separation: float = 12.0, size: int = 300) -> Labelled:
    """FRI-like: one blob; FRII-like: two, ``separation`` pixels from the centre. In turns, at all angles."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    fields = []
    for i in range(sources):
        distance = separation * (i % 2)
        dx, dy = distance * np.cos(0.7 * i), distance * np.sin(0.7 * i)
        fields.append(sum(np.exp(-((x - s * dx) ** 2 + (y - s * dy) ** 2) / 30) for s in (-1, 1)))
    fields = np.array(fields, np.float32)
    fields[fields < 0.01] = 0
    rows = np.arange(sources)
    ones = np.ones(sources, bool)
    return Labelled(fields, rows % 2, ones, rows * 1.0, np.zeros(sources), np.full(sources, "made"), rows)


def write_survey(path, kinds, *, first_seed: int = 0, **changes):
    """A labelled FITS file of simulated fields; ``changes`` replace columns of its table or, ``images``, its cube."""
    images = np.stack([make_field(kind, seed=first_seed + i)[0] for i, kind in enumerate(kinds)])
    columns = {"ra": np.arange(len(kinds)) * 3.0, "dec": np.full(len(kinds), 30.0), "fr_class": list(kinds)}
    images = changes.pop("images", images)
    table = fits.table_to_hdu(Table(columns | changes))
    table.name = "SOURCES"
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(images, name="IMAGES")]).writeto(path)
    return path
