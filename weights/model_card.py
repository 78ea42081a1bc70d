"""A card as the README.md of a model on Hugging Face: nothing that the card itself does not say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from radio_ag.weights.cards import Card

_LICENCES = {"BSD-3-Clause": "bsd-3-clause", "MIT": "mit", "Apache-2.0": "apache-2.0", "CC-BY-4.0": "cc-by-4.0"}
_FIGURES = ("accuracy", "auc", "nll", "brier", "ece")


def model_card(card: Card) -> str:
    """Return a model card: YAML for the Hub between two lines of dashes, then Markdown for people.

    Parameters
    ----------
    card : Card
        Of any weights.

    Returns
    -------
    str
        Text of a README.md.
    """
    return "\n".join([*_front_matter(card), "", *_body(card)]) + "\n"


def _front_matter(card: Card) -> Iterator[str]:
    """JSON values, which are YAML as well."""
    licence = str(card.content.get("licence") or "")
    yield "---"
    yield f"license: {_LICENCES.get(licence, 'other')}"
    if licence and licence not in _LICENCES:
        yield f"license_name: {json.dumps(licence)}"
    yield "library_name: radio-ag"
    yield "pipeline_tag: image-classification"
    yield f"tags: {json.dumps(['astronomy', 'radio-astronomy', 'radio-galaxies', 'safetensors'])}"
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": name, "type": "other"},
            "metrics": [{"type": kind, "value": figures[kind]} for kind in _FIGURES if _is_number(figures.get(kind))],
        }
        for name, figures in _groups(card)
    ]
    if results:
        yield f"model-index: {json.dumps([{'name': card.name, 'results': results}])}"
    yield "---"


def _body(card: Card) -> Iterator[str]:
    content = card.content
    yield from (f"# {card.name}", "")
    if card.description:
        yield from (card.description[0].upper() + card.description[1:] + ".", "")
    facts = {
        "Classes": ", ".join(card.classes),
        "Networks": card.members,
        "Parameters of each": card.parameters,
        "Reference": content.get("reference"),
        "Licence": content.get("licence"),
        "sha256": card.sha256,
    }
    yield from _table({name: value for name, value in facts.items() if value})
    titles = {"input": "Input", "architecture": "Architecture", "training": "Training", "calibration": "Calibration"}
    for key, title in titles.items():
        if isinstance(content.get(key), Mapping):
            yield from (f"## {title}", "")
            yield from _table(_flat(content[key]))
    groups = list(_groups(card))
    if groups:
        yield from ("## Figures", "", f"| sources | number | {' | '.join(_FIGURES)} |")
        yield "|---" * (len(_FIGURES) + 2) + "|"
        for name, figures in groups:
            told = [_figure(figures, kind) for kind in _FIGURES]
            yield f"| {name} | {_cell(figures.get('sources', ''))} | {' | '.join(told)} |"
        yield ""
    failures = content.get("known_failures")
    if isinstance(failures, list) and failures:
        yield from ("## Known failures", "")
        yield from (f"- {_cell(failure)}" for failure in failures)
        yield ""
    yield from ("## Use", "", "```python", "from radio_ag import classify", "")
    yield from (f'result = classify("catalog.fits", weights={json.dumps(card.name)})', "```")


def _groups(card: Card) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The figures of each set of sources that the card has figures of."""
    metrics = card.content.get("metrics")
    for outer, inner in metrics.items() if isinstance(metrics, Mapping) else ():
        for name, figures in inner.items() if isinstance(inner, Mapping) else ():
            if isinstance(figures, Mapping) and _is_number(figures.get("accuracy")):
                yield f"{outer}, {name}".replace("_", " "), figures


def _figure(figures: Mapping[str, Any], kind: str) -> str:
    value, interval = figures.get(kind), figures.get(f"{kind}_interval")
    if not _is_number(value):
        return ""
    known = isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval))
    return f"{value:.3g} ({interval[0]:.3g} to {interval[1]:.3g})" if known and interval else f"{value:.3g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(section: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}, ")
        elif value is not None:
            flat[f"{before}{name}".replace("_", " ")] = value
    return flat


def _table(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    for name, value in facts.items():
        yield f"| {_cell(name)} | {_cell(value)} |"
    yield ""


def _cell(value: Any) -> str:
    """A value as text of one line, in which nothing is Markdown or HTML."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("`", "\\`").replace("[", "\\[")
