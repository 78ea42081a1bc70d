"""Train the model that tells which components are one radio source, and measure it in a cross-validation by source.

    RADIO_AG_DATA=/path/to/data python examples/train_association.py [--pybdsf 3] [--out weights/association.json]

Needs scikit-learn. Fields of ``mirabest_train.fits`` are laid out as mosaics, components are found in them, and pairs
of components are labelled by the position and extent of the source in the middle of each field: what lies within half
the extent and a beam of the position belongs to it, what lies more than 30 arcsec beyond half the extent does not. What
lies between is emission of the source as often as not (the published extents end at a contour of their own), and is
neither learnt from nor counted. Two strangers are not of one source where they are of different fields, which chance
has put side by side, and of one where they are one island; other pairs of them are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from radio_ag.catalog_io.catalogs import Catalogue, read_catalogue
from radio_ag.catalog_io.catalogs.association import (
    FEATURES,
    Model,
    Neighbourhood,
    associate,
    catalogue_features,
    neighbourhood,
)
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.catalog_io.finding.find import find_sources
from radio_ag.evaluation.metrics import wilson_interval
from radio_ag.labelled.splits import group_by_position
from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE, PIXEL_SCALE

SIDE = 13  # tiles along a side of a mosaic
A_MOSAIC = 157  # fields of one, as many as a batch of the data has
AMBIGUOUS = 30.0  # arcsec beyond half the extent
FOLDS = 5
DEPTH = 4
LEAST = 0.5
WAYS: tuple[tuple[str | float, bool], ...] = (
    ("island", False),
    (30.0, False),
    (60.0, False),
    ("none", True),
    ("island", True),
)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Components of one mosaic and the fields that they are in.

    Attributes
    ----------
    catalogue : Catalogue, n rows
    field : ndarray of int, shape (n,)
        Row of the source in the middle; -1 where there is no field.
    own, stranger : ndarray of bool, shape (n,)
        Whether the component is of that source, or certainly not.
    """

    catalogue: Catalogue
    field: NDArray[np.intp]
    own: NDArray[np.bool_]
    stranger: NDArray[np.bool_]


def make_header(side: int = SIDE) -> fits.Header:
    """Header of a mosaic of so many tiles along a side."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (180.0, 30.0)
    wcs.wcs.crpix, wcs.wcs.cdelt = [(side * FIELD_SIZE + 1) / 2] * 2, (-PIXEL_SCALE / 3600, PIXEL_SCALE / 3600)
    wcs.wcs.radesys = "ICRS"
    header = wcs.to_header()
    header.update(BUNIT="Jy/beam", BMAJ=BEAM_FWHM / 3600, BMIN=BEAM_FWHM / 3600, BPA=0.0)
    return header


def write_mosaic(path: Path, fields: Sequence[NDArray], side: int = SIDE) -> None:
    """Lay fields out as tiles, row by row from the South-East; what is left stays blank."""
    mosaic = np.full((side * FIELD_SIZE,) * 2, np.nan, np.float32)
    for number, field in enumerate(fields):
        y, x = np.array(divmod(number, side)) * FIELD_SIZE
        mosaic[y : y + FIELD_SIZE, x : x + FIELD_SIZE] = field
    fits.PrimaryHDU(mosaic, make_header(side)).writeto(path, overwrite=True)


def label(catalogue: Catalogue, rows: NDArray[np.intp], extent: NDArray, side: int = SIDE) -> Labelled:
    """Say of each component whether it is of the source in the middle of its field; the fields are rows of the data."""
    pixels = WCS(make_header(side)).all_world2pix(catalogue.ra, catalogue.dec, 0)
    x, y = np.clip(pixels, -0.5, side * FIELD_SIZE - 0.5 - 1e-6)
    tile_x, tile_y = (np.floor((place + 0.5) / FIELD_SIZE).astype(int) for place in (x, y))
    tile = tile_y * side + tile_x
    inside = tile < len(rows)
    field = np.where(inside, rows[np.minimum(tile, len(rows) - 1)], -1)
    middle = (FIELD_SIZE - 1) / 2
    distance = PIXEL_SCALE * np.hypot(x - tile_x * FIELD_SIZE - middle, y - tile_y * FIELD_SIZE - middle)
    half = extent[field] / 2
    return Labelled(catalogue, field, inside & (distance <= half + BEAM_FWHM), ~inside | (distance > half + AMBIGUOUS))


def label_pairs(labelled: Labelled, pairs: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """1 for pairs of one source, 0 for those of a source and a stranger, -1 for others; and the field of the source.

    Of pairs of strangers those of different fields are known to be none, since chance has put the fields side by side,
    and those of one island of emission are taken for one source.
    """
    own, field = labelled.own[pairs], labelled.field[pairs]
    same = field[:, 0] == field[:, 1]
    stranger = labelled.stranger[pairs] | ~same[:, None]
    value = np.full(len(pairs), -1)
    value[~same | (own & stranger[:, ::-1]).any(axis=1)] = 0
    if labelled.catalogue.group is not None:
        island = labelled.catalogue.group[pairs]
        value[same & labelled.stranger[pairs].all(axis=1) & (island[:, 0] == island[:, 1])] = 1
    value[own.all(axis=1) & same] = 1
    return value, np.where(own[:, 0], field[:, 0], field[:, 1])


def stripped(catalogue: Catalogue) -> list[Catalogue]:
    """The catalogue as it is, and as tables that say less have it."""
    bare = dict.fromkeys(("peak", "rms", "major", "minor", "angle"))
    return [
        catalogue,
        replace(catalogue, group=None),
        replace(catalogue, **bare),
        replace(catalogue, **bare, flux=None, group=None),
    ]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs to learn from: features, what they are, and the field of the source."""

    features: NDArray[np.float32]
    value: NDArray[np.intp]
    field: NDArray[np.intp]


def collect(parts: list[Labelled]) -> Pairs:
    """Labelled pairs of all mosaics, each as every kind of table would have it."""
    found = []
    for part in parts:
        for catalogue in stripped(part.catalogue):
            rows = neighbourhood(catalogue)
            value, field = label_pairs(part, rows.row[rows.pairs])
            known = value >= 0
            found.append((all_features(rows)[known], value[known], field[known]))
    return Pairs(*map(np.concatenate, zip(*found, strict=True)))


def all_features(rows: Neighbourhood) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, len(FEATURES)), np.float32), *catalogue_features(rows)])


def fit(pairs: Pairs, chosen: NDArray[np.bool_]) -> Model:
    """Model of the chosen pairs; a field counts by the root of its pairs, so that the many of a few do not decide."""
    pairs = Pairs(pairs.features[chosen], pairs.value[chosen], pairs.field[chosen])
    weight = 1 / np.sqrt(np.bincount(pairs.field)[pairs.field])
    trees = HistGradientBoostingClassifier(
        max_iter=120,
        learning_rate=0.08,
        max_depth=DEPTH,
        max_leaf_nodes=8,
        min_samples_leaf=60,
        l2_regularization=5.0,
        max_features=0.4,
        random_state=0,
    ).fit(pairs.features, pairs.value, sample_weight=weight)
    laid_out = [lay_out_tree(trees_of_step[0].nodes) for trees_of_step in trees._predictors]
    feature, threshold, missing_right, leaf = map(np.stack, zip(*laid_out, strict=True))
    return Model(
        FEATURES, feature, threshold, missing_right, leaf, float(trees._baseline_prediction[0, 0]), LEAST, (0, 1)
    )


def lay_out_tree(nodes: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """A tree of scikit-learn as a complete one of the depth `DEPTH`; below a leaf all go left, and find it again."""
    inner = 2**DEPTH - 1
    feature, threshold, missing_right = np.zeros(inner, int), np.full(inner, np.inf, np.float32), np.zeros(inner, bool)
    leaf = np.zeros(inner + 1)
    place = {0: 0}
    for number in range(2 * inner + 1):
        node = nodes[place[number]] if number in place else None
        if number >= inner:
            leaf[number - inner] = 0.0 if node is None else node["value"]
        elif node is not None and node["is_leaf"]:
            place[2 * number + 1] = place[number]
        elif node is not None:
            feature[number] = node["feature_idx"]
            threshold[number] = np.float32(node["num_threshold"])
            missing_right[number] = not node["missing_go_to_left"]
            place |= {2 * number + 1: int(node["left"]), 2 * number + 2: int(node["right"])}
    return feature, threshold, missing_right, leaf


def outcome(labelled: Labelled, label: NDArray, field: int) -> tuple[bool, bool, bool]:
    """Whether a source was found, its components are all in one group, and that has no stranger."""
    own = labelled.own & (labelled.field == field)
    groups = np.unique(label[own])
    members = np.isin(label, groups)
    strange = labelled.stranger | (labelled.field != field)
    return bool(own.any()), len(groups) == 1, bool(own.any() and not (members & strange).any())


def count(outcomes: list[tuple[bool, bool, bool]]) -> dict[str, float | int | list[float]]:
    """Numbers of sources, and the share of those that are whole and without a stranger, with its interval."""
    _, together, clean = np.array(outcomes, bool).reshape(-1, 3).T
    both = int((together & clean).sum())
    interval = [round(float(bound), 4) for bound in wilson_interval(both, len(outcomes))]
    return {
        "sources": len(outcomes),
        "together": int(together.sum()),
        "with_strangers": int((~clean).sum()),
        "together_without_stranger": both,
        "share": round(both / len(outcomes), 4),
        "interval": interval,
    }


def held_out(
    parts: list[Labelled], models: dict[int, Model], fold: NDArray[np.intp], scored: NDArray[np.bool_]
) -> tuple[list[tuple[bool, bool, bool]], list[tuple[float, bool]]]:
    """Outcomes of the scored fields, each by the model that has not learnt it, and of their groups the certainty."""
    outcomes, groups = [], []
    for part in parts:
        fields = np.unique(part.field[part.field >= 0])
        for number, model in models.items():
            mine = fields[(fold[fields] == number) & scored[fields]]
            if not len(mine):
                continue
            label, certainty = associate(part.catalogue, model)
            outcomes += [outcome(part, label, field) for field in mine]
            own = part.own & np.isin(part.field, mine) & np.isfinite(certainty)
            for group in np.unique(label[own]):
                members = label == group
                source = part.field[members & own][0]
                strange = part.stranger[members] | (part.field[members] != source)
                groups.append((float(certainty[members][0]), not strange.any()))
    return outcomes, groups


def with_purity(model: Model, groups: list[tuple[float, bool]]) -> Model:
    """The model, with what the groups that it has not learnt say of the certainty by the weakest link."""
    certainty, pure = np.array(groups, float).T
    fitted = LogisticRegression(C=1e3).fit(logit(np.clip(certainty, 1e-6, 1 - 1e-6))[:, None], pure)
    return replace(model, purity=(float(fitted.intercept_[0]), float(fitted.coef_[0, 0])))


def as_json(model: Model) -> dict[str, object]:
    """What `Model.read` reads."""
    finite = np.minimum(model.threshold, np.float32(3e38))
    return {
        "features": list(FEATURES),
        "least": model.least,
        "purity": [round(value, 4) for value in model.purity],
        "baseline": round(model.baseline, 5),
        "feature": model.feature.tolist(),
        "threshold": [[float(f"{value:.6g}") for value in tree] for tree in finite],
        "missing_right": model.missing_right.astype(int).tolist(),
        "leaf": [[round(value, 5) for value in tree] for tree in model.leaf.tolist()],
    }


def load_sources() -> tuple[Table, NDArray[np.bool_], NDArray[np.intp]]:
    """The sources of the data, which have certain labels FRI or FRII, and a fold of each by its place on the sky."""
    sources = Table.read(Path(os.environ["RADIO_AG_DATA"]) / "mirabest_train.fits", hdu="SOURCES")
    certain = np.asarray((sources["confidence"] == "certain") & (sources["fr_class"] != "hybrid"))
    place = group_by_position(sources["ra"], sources["dec"])
    return sources, certain, np.random.default_rng(3).integers(0, FOLDS, place.max() + 1)[place]


def find_all(folder: Path, pybdsf: int, mosaics: int | None = None, seed: int = 7) -> dict[str, list[Labelled]]:
    """Components in mosaics of all fields, in random order, or so many of them; by PyBDSF in the first so many."""
    sources, _, _ = load_sources()
    extent = np.asarray(sources["extent"], float)
    order = np.random.default_rng(seed).permutation(len(sources))
    with fits.open(Path(os.environ["RADIO_AG_DATA"]) / "mirabest_train.fits") as hdus:
        fields = np.asarray(hdus["IMAGES"].data, np.float32)
    found: dict[str, list[Labelled]] = {"radio-ag find": [], "PyBDSF": []}
    for number, start in enumerate(range(0, len(order), A_MOSAIC)[:mosaics]):
        rows = order[start : start + A_MOSAIC]
        path = folder / f"mosaic-{number}.fits"
        if not path.exists():
            write_mosaic(path, fields[rows])
        table = path.with_suffix(".found.fits")
        if not table.exists():
            find_sources(path).write(table)
        found["radio-ag find"].append(label(read_catalogue(table), rows, extent))
        if number < pybdsf:
            table = path.with_suffix(".pybdsf.fits")
            if not table.exists():
                import bdsf

                image = bdsf.process_image(str(path), frequency=1.4e9, rms_box=(100, 30), ncores=1, quiet=True)
                image.write_catalog(outfile=str(table), format="fits", catalog_type="srl")
            found["PyBDSF"].append(label(read_catalogue(table), rows, extent))
    return {finder: parts for finder, parts in found.items() if parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep mosaics and components there, and take what is there")
    parser.add_argument("--pybdsf", type=int, default=3, help="mosaics of 157 fields that PyBDSF searches, 0 for none")
    parser.add_argument("--out", type=Path, help="file to write")
    options = parser.parse_args()
    sources, certain, fold = load_sources()
    with tempfile.TemporaryDirectory() as temporary:
        found = find_all(options.folder or Path(temporary), options.pybdsf)
    pairs = collect([part for parts in found.values() for part in parts])
    models = {number: fit(pairs, fold[pairs.field] != number) for number in range(FOLDS)}
    probability = np.zeros(len(pairs.value))
    for number, model in models.items():
        mine = fold[pairs.field] == number
        probability[mine] = model.probabilities(pairs.features[mine])
    figures: dict[str, object] = {
        "pairs": {
            "auc": round(float(roc_auc_score(pairs.value, probability)), 4),
            "log_loss": round(float(log_loss(pairs.value, probability)), 4),
        }
    }
    groups = []
    for finder, parts in found.items():
        rows = {}
        for how, join_doubles in WAYS:
            outcomes = []
            for part in parts:
                grouped = group_sources(part.catalogue, how, join_doubles=join_doubles)
                fields = np.unique(part.field[part.field >= 0])
                outcomes += [outcome(part, grouped.group_id, field) for field in fields[certain[fields]]]
            rows[grouped.how] = count(outcomes)
        outcomes, some = held_out(parts, models, fold, certain)
        rows["association (catalogue)"] = count(outcomes)
        groups += some
        figures[finder] = rows
    model = with_purity(fit(pairs, np.ones(len(pairs.value), bool)), groups)
    print(json.dumps(figures, indent=1))
    if options.out:
        card = {
            "name": "association",
            "description": "Probability that two components are of one radio source, from the catalogue",
            "licence": "BSD-3-Clause",
            "data": "MiraBest training batches (labels: Miraghaei & Best 2017; Porter & Scaife, CC BY 4.0); VLA FIRST: "
            "R. J. Becker, D. H. Helfand, R. L. White, M. D. Gregg, S. A. Laurent-Muehleisen",
            "sources": len(sources),
            "pairs": len(pairs.value),
            "command": f"python examples/train_association.py --pybdsf {options.pybdsf}",
            "cross_validation": figures,
            "model": as_json(model),
        }
        text = json.dumps(card, indent=1)
        options.out.write_text(compact(text) + "\n")


def compact(text: str) -> str:
    """JSON with lists of numbers on one line each."""
    return re.sub(r"\[\s+([-\d.e+,\s]+?)\s+\]", lambda found: "[" + " ".join(found[1].split()) + "]", text)


if __name__ == "__main__":
    main()
