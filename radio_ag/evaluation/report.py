"""An evaluation from weights and labelled sources to figures, a table of the sources, and files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radio_ag.class_names import column_names
from radio_ag.errors import InputError, OutputError
from radio_ag.evaluation.paper_tables import MIRABEST_CERTAIN, PaperColumn, comparable, published_test_set
from radio_ag.evaluation.robustness import accuracy_by_offset, classes_when_turned, rotation_consistency
from radio_ag.evaluation.scores import score_copies, score_sources, spread_of
from radio_ag.evaluation.served import (
    PAPER_COPIES,
    Outcome,
    Progress,
    classify_copies,
    classify_served,
    learnt_positions,
    single_networks,
)
from radio_ag.flags import decode
from radio_ag.labelled.data import Labelled
from radio_ag.labelled.published import MIRABEST
from radio_ag.labelled.splits import near
from radio_ag.network.checkpoints import Weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import CLASSES
from radio_ag.weights import Card
from radio_ag.writing import check_output

if TYPE_CHECKING:
    from astropy.table import Table

PROTOCOLS = ("served", "paper")
"""As users get it; or over augmented copies, as in the paper."""


@dataclass(frozen=True)
class Report:
    """One set of weights on labelled sources.

    Attributes
    ----------
    card : Card
        Of the weights.
    data : Labelled
    outcome : Outcome
    learnt : ndarray of bool, shape (n,), or None
        Whether a source is within 270 arcsec of one that the weights learnt from; None if their file does not tell.
    content : dict
        All figures, ready for JSON.
    """

    card: Card
    data: Labelled
    outcome: Outcome
    learnt: NDArray[np.bool_] | None
    content: dict


def evaluate(
    weights: Weights,
    data: Labelled,
    *,
    protocol: str = "served",
    orbit: int | None = None,
    times: int = PAPER_COPIES,
    seed: int = 0,
    device: str = "auto",
    robustness: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Classify labelled sources and work out every figure.

    Parameters
    ----------
    weights : Weights
    data : Labelled
    protocol : {"served", "paper"}
        As the pipeline serves it; or over ``times`` random augmentations of the normalised image of each source.
    orbit : int, optional
        Orientations averaged over; by default 8 as served, and 1 after the paper's protocol.
    times : int
        Augmented copies of each source.
    seed : int
        Of the augmentations and the bootstrap.
    device : str
    robustness : bool
        Whether to find out how classes change with the orientation and with an offset of the centre.
    progress : callable, optional
        Called as ``progress(sources done, sources in all, {})``.

    Returns
    -------
    Report
    """
    data = _in_classes_of(weights.card, data)
    if protocol == "paper" and weights.card.classes != CLASSES:
        raise InputError(f"the paper's protocol is for FRI and FRII, not {', '.join(weights.card.classes)}")
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    orbit = orbit or (8 if protocol == "served" else 1)

    def run(one: Weights) -> tuple[Classifier, Outcome]:
        classifier = Classifier(one, device=device, orbit=orbit)
        if protocol == "served":
            return classifier, classify_served(classifier, data, progress)
        return classifier, classify_copies(classifier, data, times=times, seed=seed, progress=progress)

    classifier, outcome = run(weights)
    positions = learnt_positions(weights)
    classes = weights.card.classes
    learnt = None if positions is None else near(data.ra, data.dec, positions)
    flags = outcome.flags if protocol == "served" else None
    content: dict[str, Any] = {
        "weights": weights.card.name,
        "sha256": weights.card.sha256,
        "protocol": protocol,
        "orbit": orbit,
        "seed": seed,
        "temperature": classifier.temperature,
        "data": {str(name): int((data.origin == name).sum()) for name in np.unique(data.origin)},
        "noise_known": int(np.isfinite(data.rms).sum()),
        "learnt_from": None if learnt is None else int(learnt.sum()),
        "figures": score_sources(
            outcome.probabilities, data.label, data.certain, flags=flags, seed=seed, classes=classes
        ),
    }
    if classes != CLASSES:
        content["classes"] = list(classes)
    if outcome.copies is not None:
        content["times"] = times
        content["copies"] = score_copies(outcome.copies, data.label, data.certain, seed=seed)
    if len(weights.networks) > 1 and weights.card.asked_first is None:
        single = [run(member)[1] for member in single_networks(weights)]
        content["members"] = spread_of(
            [score_sources(one.probabilities, data.label, data.certain, classes=classes) for one in single]
        )
    if robustness:
        turned = classes_when_turned(classifier, data, progress=progress)
        content["rotation"] = rotation_consistency(turned, data.certain)
        content["offset"] = accuracy_by_offset(classifier, data, seed=seed, progress=progress)
    return Report(weights.card, data, outcome, learnt, content)


def _in_classes_of(card: Card, data: Labelled) -> Labelled:
    """The same sources with labels in the order of the weights' classes."""
    if data.classes == card.classes:
        return data
    unknown = [name for name in data.classes if name not in card.classes]
    if unknown:
        raise InputError(
            f"{card.name} tells {', '.join(card.classes)} apart, and sources are labelled {', '.join(unknown)}: "
            "--classes chooses, merges and renames labels"
        )
    number = np.array([card.classes.index(name) for name in data.classes])
    return replace(data, label=number[data.label], classes=card.classes)


def paper_columns(reports: Sequence[Report]) -> dict[str, list[PaperColumn]]:
    """Return the paper's figures for the same test set and for networks built alike, by subset, where any compare.

    The figures of `reports` must count copies (protocol ``paper``). The paper's network for MiraBest* has learnt from
    the certain sources alone.

    Parameters
    ----------
    reports : sequence of Report
        One for each of the weights.
    """
    if any(report.outcome.copies is None for report in reports):
        return {}
    test_set = published_test_set(reports[0].data)
    cards = [report.card for report in reports]
    columns = {"all": comparable(test_set, cards)}
    if test_set == MIRABEST:
        columns["certain"] = comparable(MIRABEST_CERTAIN, cards)
    return {subset: found for subset, found in columns.items() if found}


def source_table(reports: Sequence[Report]) -> Table:
    """Make a table with a row for each source and each of the weights: label, probabilities, class, flags.

    Parameters
    ----------
    reports : sequence of Report
        One for each of the weights.
    """
    from astropy.table import Table, vstack

    tables = []
    for report in reports:
        data, outcome = report.data, report.outcome
        classified = np.isfinite(outcome.probabilities).all(1)
        names = report.card.classes
        predicted = np.where(classified, np.array(names)[np.nan_to_num(outcome.probabilities).argmax(1)], "")
        label = np.array(names)[data.label]
        table = Table(
            {
                "weights": np.full(len(data), report.card.name),
                "name": data.name,
                "ra": data.ra,
                "dec": data.dec,
                "origin": data.origin,
                "label": label,
                "certain": data.certain,
                **dict(zip(column_names(names), outcome.probabilities.T, strict=True)),
                "p_std": outcome.std,
                "class": predicted,
                "right": predicted == label,
                "flags": outcome.flags,
                "flag_names": np.array([" ".join(decode(int(value))) for value in outcome.flags], dtype=str),
            },
            units={"ra": "deg", "dec": "deg"},
        )
        if report.learnt is not None:
            table["learnt_from"] = report.learnt
        tables.append(table)
    return vstack(tables)


def as_json(reports: Sequence[Report]) -> dict:
    """Return all figures, ready for JSON: of each of the weights, their mean, and the paper's beside.

    Parameters
    ----------
    reports : sequence of Report
        One for each of the weights.
    """
    from radio_ag import __version__

    content: dict[str, Any] = {"radio_ag": __version__, "evaluations": [report.content for report in reports]}
    if len(reports) > 1:
        content["mean"] = mean_over_weights(reports)
    content["paper"] = {
        subset: [{"table": column.table, "title": column.title, **column.figures()} for column in columns]
        for subset, columns in paper_columns(reports).items()
    }
    return content


def mean_over_weights(reports: Sequence[Report]) -> dict[str, dict]:
    """Return the mean and standard deviation over the weights of each figure, of copies where there are some.

    Parameters
    ----------
    reports : sequence of Report
        One for each of the weights.
    """
    kind = "copies" if all("copies" in report.content for report in reports) else "figures"
    return spread_of([report.content[kind] for report in reports])


def write_report(stem: str | os.PathLike, reports: Sequence[Report], *, overwrite: bool = False) -> list[Path]:
    """Write the figures as ``STEM.json`` and the sources as ``STEM.ecsv``.

    Parameters
    ----------
    stem : path-like
        A suffix ``.json`` or ``.ecsv`` is left away.
    reports : sequence of Report
    overwrite : bool

    Raises
    ------
    OutputError
        A file exists already, or cannot be written.
    """
    figures, sources = output_files(stem, overwrite=overwrite)
    try:
        figures.write_text(json.dumps(as_json(reports), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        source_table(reports).write(sources, format="ascii.ecsv", overwrite=overwrite)
    except OSError as exc:
        raise OutputError(f"cannot write {stem}: {exc.strerror}") from exc
    return [figures, sources]


def output_files(stem: str | os.PathLike, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Return the paths of the two files of `write_report`; raise `OutputError` where one cannot be written.

    Parameters
    ----------
    stem : path-like
        A suffix ``.json`` or ``.ecsv`` is left away.
    overwrite : bool
    """
    path = Path(stem)
    path = path.with_suffix("") if path.suffix in (".json", ".ecsv") else path
    files = path.with_name(path.name + ".json"), path.with_name(path.name + ".ecsv")
    for file in files:
        check_output(file, overwrite)
    return files
