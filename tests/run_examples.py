"""A small run for the tests of parts: sources in a row, fields by formula, a network that has learnt nothing."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table

import radio_ag
from radio_ag import CatalogueOptions, ImageOptions, Result, RunOptions
from radio_ag.catalog_io.images.fields import Fields
from radio_ag.flags import Flag
from radio_ag.network.checkpoints import save_weights
from radio_ag.network.model import AGCNN, Architecture

CARD = {
    "name": "untrained",
    "input": {"clip": 3.0, "stretch": "sqrt", "value_range": [0.0, 1.0]},
    "needs_morphology": False,  # so that each source has a class
}
_RECORDS = {"catalogue_options": CatalogueOptions, "image_options": ImageOptions, "run_options": RunOptions}
_Y, _X = np.mgrid[:300, :300]


def classify(catalogue: Any, **options: Any) -> Result:
    """What `radio_ag.classify` gives, with the fields of its option records as keywords like any other."""
    for name, record in _RECORDS.items():
        given = {field.name: options.pop(field.name) for field in fields(record) if field.name in options}
        if given:
            options[name] = record(**given)
    return radio_ag.classify(catalogue, **options)


class Doubles:
    """Two blobs and noise at each position, whose distance follows from the position. Some positions are lacking."""

    name = "doubles"

    def __init__(self, failing: frozenset[float] = frozenset()):
        self.failing = failing
        self.asked: list[float] = []

    def describe(self):
        return {"survey": "doubles", "service": "memory"}

    def fetch(self, ra, dec):
        fields = Fields.blank(len(ra))
        for row, (x, y) in enumerate(zip(ra.tolist(), dec.tolist(), strict=True)):
            self.asked.append(x)
            if x in self.failing:
                fields.fail(row, "http_error", "memory")
            elif y > -50:  # nothing is covered further south
                fields.data[row] = _field(x, y)
                fields.flags[row], fields.status[row] = 0, "ok"
                fields.cutout_ra[row], fields.cutout_dec[row] = x, y
                fields.crpix[row] = 75.5
                fields.cd[row] = np.diag([-1.8 / 3600, 1.8 / 3600])
        return fields


def _field(ra, dec):
    rng = np.random.default_rng([int(ra * 1e6), int((dec + 90) * 1e6)])
    apart = 4 + ra % 30
    blobs = sum(np.exp(-((_X - 149.5 - side * apart) ** 2 + (_Y - 149.5) ** 2) / 20) for side in (-1, 1))
    return (0.01 * blobs + rng.normal(0, 1.5e-4, (300, 300))).astype(np.float32)


def positions(count: int) -> Table:
    """Sources all over the sky: some without a position, some not covered, some with text that has to be escaped."""
    rng = np.random.default_rng(5)
    table = Table({"ra": rng.uniform(0, 360, count), "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, count)))})
    table["ra"].unit = table["dec"].unit = "deg"
    table["dec"][3::11] = np.nan
    table["flux"] = np.ma.masked_less(rng.normal(size=count), -1)
    table["number"] = np.ma.masked_equal(np.arange(count), 7)
    table["clean"] = np.ma.array(np.arange(count) % 2 == 0, mask=np.arange(count) == 9)
    table["note"] = np.where(np.arange(count) == 12, "5 µJy", "plain")
    table["class"] = "mine"
    return table


def untrained(folder: Path) -> str:
    """Path of weights that are random, always the same."""
    torch.manual_seed(0)
    network = AGCNN(Architecture(features="average"))
    network(torch.rand(8, 1, 150, 150))
    return str(save_weights(folder / "untrained.safetensors", [network.eval()], CARD))


def data_units(path: Path) -> list[tuple[str, bytes]]:
    """Name and content of each HDU, but for the primary header."""
    content = path.read_bytes()
    with fits.open(path, disable_image_compression=True) as hdus:
        places = [(hdu.name, hdu.fileinfo()) for hdu in hdus]
        return [(name, content[place["hdrLoc"] : place["datLoc"] + place["datSpan"]]) for name, place in places[1:]]


def failed_rows(table: Table) -> int:
    """Rows whose image could not be had."""
    return int(np.sum(table["flags"] & Flag.FETCH_FAILED != 0))
