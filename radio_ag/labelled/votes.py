"""Exports of citizen science: votes of Zooniverse's and Radio Galaxy Zoo's volunteers as columns of labels.

Zooniverse exports CSV, a row a classification, with the answers (``annotations``) and what was shown
(``subject_data``) as JSON in two of its columns. Radio Galaxy Zoo's classifications are JSON documents, one a line or
in a list: in each the volunteer has marked which radio components belong to one source, so that the label is how many:
single, double, triple, and so on.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radio_ag.errors import InputError

COUNTED = ("single", "double", "triple", "quadruple", "quintuple")
"""Labels for 1, 2, ... components; for more, the number itself."""

_NAMES = ("name", "source_name", "iau_name", "source", "object", "zooniverse_id")
_BESIDE = ("finished_at", "started_at", "user_agent", "lang", "pending")  # annotations that are no answer
_LARGEST_FIELD = 1 << 24  # characters of a field of CSV


def is_votes(text: str) -> bool:
    """Tell whether a text is such an export: JSON, or CSV with both columns of JSON.

    Parameters
    ----------
    text : str
        All of a file.

    Returns
    -------
    bool
    """
    start = text.lstrip()[:1]
    header = text[: text.find("\n")] if "\n" in text else text
    return start in ("{", "[") or ("annotations" in header and "subject_data" in header)


def read_votes(text: str, task: str | None = None) -> dict[str, NDArray]:
    """Read the votes of an export.

    Parameters
    ----------
    text : str
        All of a file.
    task : str, optional
        The task of a Zooniverse workflow whose answers are labels.

    Returns
    -------
    dict of ndarray of str, shape (n,)
        ``name``, ``ra``, ``dec``, ``label``, ``who`` and ``when`` of each vote.

    Raises
    ------
    InputError
        If the text is no such export, or more than one task could be meant.
    """
    documents = list(_documents(text))
    if not documents:
        raise InputError("there are no classifications")
    told = [_radio_label(document["annotations"]) for document in documents]
    if all(label is None for label in told):
        told = _answers([document["annotations"] for document in documents], task)
    rows = []
    for document, label in zip(documents, told, strict=True):
        if label:
            who = str(document.get("user_name") or document.get("user_ip") or "")
            rows.append((*_subject(document), label, who, str(document.get("created_at") or "")))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    return {
        key: np.array(values, dtype=str)
        for key, values in zip(("name", "ra", "dec", "label", "who", "when"), columns, strict=True)
    }


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """Each classification as a dictionary, its JSON taken apart."""
    if text.lstrip()[:1] not in ("{", "["):
        csv.field_size_limit(_LARGEST_FIELD)
        for number, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
            document: dict[str, Any] = dict(row)
            for key in ("annotations", "subject_data"):
                document[key] = _json(row[key] or "", f"{key} of row {number}")
            yield _document(document, f"row {number}")
        return
    if text.lstrip()[0] == "[":
        found = _json(text, "the file")
    else:
        found = [_json(line, f"line {n}") for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    for number, document in enumerate(found, 1):
        yield _document(document, f"classification {number}")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{where} is no JSON: {exc}") from exc


def _document(document: Any, where: str) -> dict[str, Any]:
    annotations = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
        raise InputError(f"{where} has no list of annotations: it is no classification of Zooniverse")
    return document


def _radio_label(annotations: list[dict[str, Any]]) -> str | None:
    """How many components the one source has that a volunteer of Radio Galaxy Zoo marked.

    None for a classification of another project, empty where there are several sources, or none.
    """
    answers = [each for each in annotations if not set(each) & set(_BESIDE)]
    sources = [each["radio"] for each in answers if "radio" in each]
    if not sources:
        return None
    if len(sources) > 1 or not isinstance(sources[0], Mapping):
        return ""  # which of them the subject's name means is not told
    count = len(sources[0])
    return COUNTED[count - 1] if 1 <= count <= len(COUNTED) else str(count)


def _answers(annotations: list[list[dict[str, Any]]], task: str | None) -> list[str | None]:
    """The answer of each classification to a question with one answer."""
    asked = sorted(
        {str(each.get("task")) for some in annotations for each in some if isinstance(each.get("value"), str)}
    )
    if task is None and len(asked) != 1:
        raise InputError(
            f"name the task whose answers are labels (--task): {', '.join(asked) or 'none has one answer'}"
        )
    task = asked[0] if task is None else task
    if task not in asked:
        raise InputError(f"there is no task {task!r} with one answer; there are {', '.join(asked) or 'none'}")
    return [
        next((each["value"] for each in some if str(each.get("task")) == task and isinstance(each["value"], str)), None)
        for some in annotations
    ]


def _subject(document: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name and position of what was shown; the subject's number stands in for a name."""
    number = ""
    facts: dict[Any, Any] = {}
    data = document.get("subject_data")
    if isinstance(data, Mapping) and data:
        number, told = next(iter(data.items()))
        facts = dict(told) if isinstance(told, Mapping) else {}
    subjects = document.get("subjects") or document.get("subject")
    subject = subjects[0] if isinstance(subjects, list) and subjects else subjects
    if isinstance(subject, Mapping):
        metadata = subject.get("metadata")
        facts = {**subject, **(metadata if isinstance(metadata, Mapping) else {})}
    # Zooniverse hides columns of a manifest whose names begin with # or //, and shows others with ! in the talk
    plain = {str(key).lstrip("#/! ").lower(): value for key, value in facts.items()}
    name = next((str(plain[key]) for key in _NAMES if plain.get(key)), str(number or document.get("subject_ids") or ""))
    coordinates = plain.get("coords")
    if isinstance(coordinates, list) and len(coordinates) == 2:
        return name, str(coordinates[0]), str(coordinates[1])
    return name, str(plain.get("ra") or ""), str(plain.get("dec") or "")
