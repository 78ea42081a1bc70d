"""Figures for a card that need more than labelled FRI and FRII: resampled fields, and what is neither class.

    RADIO_AG_DATA=/path/to/data python examples/card_figures.py agcnn-first

Nothing here is learnt from or fitted.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from astropy.io import fits

from radio_ag.catalog_io.images.geometry import resample_field, tangent_wcs
from radio_ag.evaluation.metrics import wilson_interval
from radio_ag.evaluation.served import predict_clipped
from radio_ag.flags import Flag
from radio_ag.labelled.data import Labelled
from radio_ag.network.classifier import Classifier, Prediction
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import FIELD_SIZE
from radio_ag.preprocess.islands import measure_islands
from radio_ag.simulated import TYPICAL_RMS, correlated_noise, sidelobes, stripes

SIMULATED = 200  # fields of each kind


def data_folder() -> Path:
    """Where ``mirabest_train.fits`` and ``rgd_train.fits`` lie."""
    return Path(os.environ["RADIO_AG_DATA"])


def share(hits: np.ndarray) -> dict:
    """A share, its Wilson interval of 95 %, and of how many."""
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {"share": round(float(hits.mean()), 4), "interval": [round(low, 4), round(high, 4)], "fields": len(hits)}


def resampled(classifier: Classifier, data: Labelled) -> dict:
    """How many classes of MiraBest change when raw fields are resampled, all and certain."""
    with fits.open(data_folder() / "mirabest_train.fits") as hdus:
        table = hdus["SOURCES"].data
        rows = np.hypot(table["ra"] - data.ra[:, None], table["dec"] - data.dec[:, None]).argmin(1)
        fields = hdus["IMAGES"].data[rows].astype(np.float32)
    before, after = (
        np.concatenate([classifier.predict(stack, attention="none").classes for stack in chunks])
        for chunks in (in_chunks(fields), map(smoothed, in_chunks(fields)))
    )
    changed = before != after
    return {"all": share(changed), "certain": share(changed[data.certain])}


def in_chunks(fields: np.ndarray, size: int = 64) -> list[np.ndarray]:
    return [fields[start : start + size] for start in range(0, len(fields), size)]


def smoothed(fields: np.ndarray, shift: float = 0.5, angle: float = 0.1) -> np.ndarray:
    """Raw fields after one more resampling, as the pipeline resamples.

    Images of a service come on the survey's own pixels, in the SIN projection and turned by a tenth of a degree; those
    that one learns from have been resampled to TAN, which smooths the noise, most where pixels are shifted by half a
    one. Here the fields are taken to lie on such SIN pixels.
    """
    ra, dec = 180.0, 30.0  # the same everywhere but near the poles
    wcs = tangent_wcs(ra, dec)
    wcs.wcs.ctype = "RA---SIN", "DEC--SIN"
    wcs.wcs.crpix = wcs.wcs.crpix + shift
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.pc = [[cos, -sin], [sin, cos]]
    wcs.wcs.set()
    return np.stack([resample_field(field, wcs, ra, dec) for field in fields])


def neither_class(classifier: Classifier) -> dict:
    """Flags of what is neither FRI nor FRII: noise, artefacts, and the sources of other kinds in ``rgd_train.fits``."""
    rng = np.random.default_rng(0)
    noise = np.stack([correlated_noise((FIELD_SIZE, FIELD_SIZE), TYPICAL_RMS, rng) for _ in range(SIMULATED)])
    simulated = {"noise": noise, "stripes": stripes(SIMULATED, rng), "sidelobes": sidelobes(SIMULATED, rng)}
    result = {}
    for name, fields in simulated.items():
        fields = fields.astype(np.float32)
        prediction = classifier.predict(fields, attention="none")
        flags = prediction.flags | measure_islands(fields, prediction.prepared.rms).flags
        result[name] = _flags(flags)
        rejected = (flags & (Flag.EMPTY | Flag.OUT_OF_DISTRIBUTION)) != 0
        result[name] |= {"EMPTY or OUT_OF_DISTRIBUTION": share(rejected), "any flag": share(flags != 0)}
    with fits.open(data_folder() / "rgd_train.fits") as hdus:
        kinds = np.char.strip(hdus["SOURCES"].data["fr_class"].astype(str))
        images = hdus["IMAGES"].data
    for kind in ("Bent", "Compact"):
        prediction = predict_clipped(classifier, images[kinds == kind].astype(np.float32))
        result[kind] = _classes(prediction) | _flags(prediction.flags)
    return result


def _flags(flags: np.ndarray) -> dict:
    return {flag.name: share((flags & flag) != 0) for flag in (Flag.OUT_OF_DISTRIBUTION, Flag.UNCERTAIN)}


def _classes(prediction: Prediction) -> dict:
    found = np.nan_to_num(prediction.probabilities).argmax(1)
    return {name: share(found == number) for number, name in enumerate(CLASSES)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a bundled name or a file")
    options = parser.parse_args()
    print(json.dumps(neither_class(Classifier.load(options.weights, device="cpu")), indent=1))


if __name__ == "__main__":
    main()
