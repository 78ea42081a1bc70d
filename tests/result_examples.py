"""Small results for the tests of the result and its product: positions, classes and maps by formula."""

import numpy as np
from astropy.table import Table

from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.result import Result
from radio_ag.flags import Flag

PIXEL = 1.8 / 3600
TURN = np.deg2rad(0.1)
PROVENANCE = {
    "survey": "VLA FIRST 1.4 GHz",
    "weights": "agcnn-first",
    "weights_sha256": "ab" * 32,
    "normalisation": "range",
    "clip": 3.0,
    "orbit": 8,
    "beam_fwhm": 5.4,
    "value_range": (0.0, 1.0),
    "calibrated": True,
    "seed": None,
}


def example_columns(count):
    """Columns of a result: rows 1, 4, 7, ... are EMPTY; 2, 5, 8, ... have no position; the others are FRI and FRII."""
    row = np.arange(count)
    empty, lost = row % 3 == 1, row % 3 == 2
    p_fri = np.where(empty | lost, np.nan, np.where(row % 2, 0.9, 0.2))
    ra, dec = (np.where(lost, np.nan, value) for value in (121.018958 + 0.1 * row, 15.559725 - 0.1 * row))

    def measured(value):
        return np.where(lost, np.nan, value)

    return {
        "ra": ra,
        "dec": dec,
        "class": np.where(empty | lost, "", np.where(p_fri > 0.5, "FRI", "FRII")),
        "probability": np.maximum(p_fri, 1 - p_fri),
        "p_fri": p_fri,
        "p_frii": 1 - p_fri,
        "p_std": 0.01 * p_fri,
        "rms": measured(1.5e-4),
        "peak": np.where(empty | lost, np.nan, 0.01),
        "snr": np.where(empty | lost, np.nan, 66.7),
        "size": np.where(empty | lost, np.nan, 60.0),
        "n_islands": np.where(empty | lost, 0, 2),
        "flags": np.where(empty, Flag.EMPTY, np.where(lost, Flag.BAD_POSITION, 0)),
        "attention_plane": np.where(lost, -1, np.cumsum(~lost) - 1),
        "cutout_ra": ra,
        "cutout_dec": dec,
        "crpix1": measured(75.3),
        "crpix2": measured(75.9),
        "cd1_1": measured(-PIXEL * np.cos(TURN)),
        "cd1_2": measured(PIXEL * np.sin(TURN)),
        "cd2_1": measured(PIXEL * np.sin(TURN)),
        "cd2_2": measured(PIXEL * np.cos(TURN)),
    }


def example_maps(count, gate):
    """One blob a plane, its place and height by plane and gate."""
    y, x = np.mgrid[:150, :150]
    place = np.arange(count)[:, None, None]
    return np.exp(-((x - 60 - place) ** 2 + (y - 80 - 3 * gate) ** 2) / 200.0).astype(np.float32)


def example_stores(count, gates=()):
    stores = {}
    for gate in ("mean", *gates):
        stores[gate] = AttentionStore()
        stores[gate].append(example_maps(count, 0 if gate == "mean" else gate))
    return stores


def example_result(count=9, gates=(), catalogue=None, provenance=PROVENANCE):
    columns = example_columns(count)
    stores = example_stores(int((columns["attention_plane"] >= 0).sum()), gates)
    catalogue = Table({"flux": np.arange(count) * 1.5}) if catalogue is None else catalogue
    return Result.from_columns(catalogue, columns, stores, provenance)


def answers(result):
    """All that a result with cutouts says, to be compared."""
    rows = np.arange(len(result))
    maps = b"".join(result.attention_maps(rows, gate).tobytes() for gate in result.gates)
    return str(result.summary()), result.table["flags"].tolist(), maps, result.cutouts(rows).tobytes()


def read_often(result, times=3):
    """Bytes of some maps, each read so many times, in turn with what other processes read."""
    rows = np.flatnonzero(result.table["attention_plane"] >= 0)[:3].tolist()
    return {row: {result.attention_maps([row]).tobytes() for _ in range(times)} for row in rows}
