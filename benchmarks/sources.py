"""From a blind mosaic to one clean, right source each: how many of the known radio galaxies come out of it?

    RADIO_AG_DATA=/path/to/data python benchmarks/sources.py [--small] [--folder KEPT] [--pybdsf N] [--json]

Fields of ``mirabest_train.fits`` are laid out as mosaics of 13 x 13 tiles and searched by ``radio-ag find`` (and the
first N by PyBDSF, where it is installed). Components are grouped in several ways, by association with a model that has
not learnt the field, and each group that holds a component of a known source is classified at its centre with the
network of the fold that has not learnt it. Of the sources with certain labels are counted those

- whole: all components in one group without a stranger (see ``examples/train_association.py`` for what is which),
- once: with exactly one group that keeps no flag, and that has the right class,
- twice: with more than one such group; extra: such groups beyond the first,
- wrong: with such a group of the wrong class,

with Wilson intervals of 95 %. The folds' networks come without a threshold for ``OUT_OF_DISTRIBUTION``, which is fitted
for those that are served. Needs scikit-learn, since the models of the folds are trained here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from train_association import Labelled, collect, find_all, fit, load_sources
from train_bundled import FOLDS, folds_of, load

from radio_ag import classify
from radio_ag.catalog_io.catalogs.association import Model, associate
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.evaluation.metrics import wilson_interval
from radio_ag.network.checkpoints import load_weights, save_weights
from radio_ag.options import RunOptions
from radio_ag.weights import locate

WAYS: tuple[tuple[str | float, bool], ...] = (("island", False), (30.0, False), ("island", True), (60.0, False))


def fold_of_each(sources: Table) -> NDArray[np.intp]:
    """The fold of the networks that each source is of; -1 for the reserved ones and for those that no network knows."""
    data = load()
    fold = {
        place: number
        for *place_, number in zip(data.ra, data.dec, folds_of(data), strict=True)
        for place in [tuple(np.round(place_, 5))]
    }
    places = zip(np.round(sources["ra"], 5), np.round(sources["dec"], 5), strict=True)
    return np.array([fold.get(place, -1) for place in places])


def fold_weights(folder: Path) -> dict[int, Path]:
    """Files of single networks by the fold that each has not learnt; reserved sources go with that of fold 0."""
    networks = load_weights(locate("agcnn-first-ensemble")).networks
    card = {key: value for key, value in load_weights(locate("agcnn-first")).card.content.items() if key != "novelty"}
    paths = {}
    for number, network in enumerate(networks):
        paths[number] = folder / f"fold-{number}.safetensors"
        save_weights(paths[number], [network], card | {"name": paths[number].stem}, overwrite=True)
    return paths | {-1: paths[0]}


def centres(part: Labelled, label: NDArray, fields: NDArray) -> dict[tuple[int, int], tuple[float, float]]:
    """Centres of the groups that have components of the fields' sources, by field and group."""
    flux = np.nan_to_num(np.clip(part.catalogue.flux, 1e-9, None), nan=1e-9)
    found = {}
    for field in fields:
        for group in np.unique(label[part.own & (part.field == field)]):
            members = label == group
            mean = [
                np.average(values[members], weights=flux[members]) for values in (part.catalogue.ra, part.catalogue.dec)
            ]
            found[int(field), int(group)] = (float(mean[0]), float(mean[1]))
    return found


def measure_way(
    part: Labelled,
    labels: dict[int, NDArray],
    fold: NDArray,
    chosen: NDArray,
    truth: NDArray,
    mosaic: Path,
    networks: Any,
) -> Counter:
    """Counts of one way of grouping one mosaic; ``labels`` by fold."""
    counts: Counter = Counter()
    for number, label in labels.items():
        fields = np.unique(part.field[part.field >= 0])
        fields = fields[chosen[fields] & (fold[fields] == number)]
        groups = centres(part, label, fields)
        if not groups:
            counts["sources"] += len(fields)
            continue
        table = Table(np.array(list(groups.values())), names=("ra", "dec"), units=("deg", "deg"))
        result = classify(
            table,
            images=str(mosaic),
            weights=networks[number],
            attention="none",
            device="cpu",
            group="none",
            run_options=RunOptions(),
        ).table
        clean = np.asarray(result["flags"]) == 0
        classes = np.ma.filled(result["class"].astype(str), "")
        of = np.array([field for field, _ in groups])
        for field in fields:
            mine = (of == field) & clean
            right = classes[mine] == truth[field]
            own = part.own & (part.field == field)
            members = np.isin(label, np.unique(label[own]))
            alone = not (members & (part.stranger | (part.field != field))).any()
            counts["sources"] += 1
            counts["together"] += bool((of == field).sum() == 1)
            counts["strangers"] += not alone
            counts["whole"] += bool((of == field).sum() == 1 and alone)
            counts["once"] += bool(mine.sum() == 1 and right.all())
            counts["twice"] += bool(mine.sum() > 1)
            counts["extra"] += max(int(mine.sum()) - 1, 0)
            counts["wrong"] += bool((~right).any())
    return counts


def run(folder: Path, pybdsf: int, small: bool) -> list[dict[str, Any]]:
    """All finders and ways; a row each."""
    sources, certain, _ = load_sources()
    fold = fold_of_each(sources)
    truth = np.asarray(sources["fr_class"]).astype(str)
    found = find_all(folder, pybdsf, mosaics=2 if small else None)
    pairs = collect([part for parts in found.values() for part in parts])
    models: dict[int, Model] = {k: fit(pairs, fold[pairs.field] != k) for k in range(-1, FOLDS)}
    networks = fold_weights(folder)
    rows = []
    for finder, parts in found.items():
        parts = parts[:1] if small else parts
        for way in (*WAYS, None):
            counts: Counter = Counter()
            name = "association (catalogue)"
            for number, part in enumerate(parts):
                if way is None:
                    labels = {k: associate(part.catalogue, model)[0] for k, model in models.items()}
                else:
                    grouped = group_sources(part.catalogue, way[0], join_doubles=way[1])
                    name, labels = grouped.how, dict.fromkeys(models, grouped.group_id)
                counts += measure_way(part, labels, fold, certain, truth, folder / f"mosaic-{number}.fits", networks)
            rows.append({"finder": finder, "way": name, **counts})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def share(count: int, n: int) -> str:
    low, high = wilson_interval(count, n)
    return f"{count:4} {100 * count / n:5.1f} % ({100 * low:4.1f}-{100 * high:5.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep mosaics and components there, and take what is there")
    parser.add_argument("--pybdsf", type=int, default=0, help="mosaics that PyBDSF searches too")
    parser.add_argument("--small", action="store_true", help="two mosaics to learn from, one to count")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if not os.environ.get("RADIO_AG_DATA"):
        print("RADIO_AG_DATA is not set: no real sources")
        return
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as temporary, redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", AstropyWarning)
        rows = run(options.folder or Path(temporary), options.pybdsf, options.small)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    columns = ("whole", "strangers", "once", "twice", "wrong")
    print(f"{'finder':13} {'way':24} {'sources':>7} " + " ".join(f"{column:28}" for column in columns) + " extra")
    for row in rows:
        n = row["sources"]
        shares = " ".join(f"{share(row.get(column, 0), n):28}" for column in columns)
        print(f"{row['finder']:13} {row['way']:24} {n:7} {shares} {row.get('extra', 0)}")


if __name__ == "__main__":
    main()
