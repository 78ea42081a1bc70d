"""The log of a training run as JSON lines, and its learning curve."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


def append_entry(path: Path, entry: Entry) -> None:
    """Add an entry as one line.

    Parameters
    ----------
    path : Path
    entry : mapping
        Ready for JSON.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a log; a line that a killed process left half-written is not one. None without a log.

    Parameters
    ----------
    path : Path
    """
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entries.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError):
            continue
    return entries


def keep_until(path: Path, samples: int) -> None:
    """Remove the entries of what came after ``samples`` images, which a resumed run does again.

    Parameters
    ----------
    path : Path
    samples : int
    """
    kept = [entry for entry in read_entries(path) if entry["samples"] <= samples]
    beside = path.with_name(path.name + ".part")
    beside.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
    os.replace(beside, path)


def draw_learning_curve(entries: list[Entry], path: Path) -> None:
    """Draw losses and accuracy against the images seen.

    Parameters
    ----------
    entries : list of dict
        Of :func:`read_entries`.
    path : Path
        A PNG file, replaced once the new one is whole.

    Raises
    ------
    ImportError
        Without matplotlib, which the extra ``plot`` installs.
    """
    from matplotlib.figure import Figure

    looks = [entry for entry in entries if "nll" in entry]
    figure = Figure(figsize=(6.9, 3.0))
    losses, accuracies = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.09, right=0.96, bottom=0.16, top=0.89, wspace=0.25)
    above: dict[str, Any] = {
        "frameon": False,
        "loc": "lower center",
        "bbox_to_anchor": (0.5, 0.99),
        "ncols": 2,
    }  # beside the data
    seen = [entry["samples"] for entry in entries]
    losses.plot(seen, [entry["loss"] for entry in entries], color="0.5", label="training, augmented")
    looked = [entry["samples"] for entry in looks]
    losses.plot(looked, [entry["nll"] for entry in looks], "o-", markersize=3, label="validation")
    losses.set(xlabel="images seen", ylabel="loss")
    losses.legend(**above)
    for name, label in (("accuracy", "all"), ("accuracy_certain", "certain labels")):
        accuracies.plot(looked, [entry.get(name) for entry in looks], "o-", markersize=3, label=label)
    accuracies.set(xlabel="images seen", ylabel="accuracy on validation sources")
    accuracies.legend(**above)
    beside = path.with_name(path.name + ".part")
    figure.savefig(beside, dpi=150, format="png")
    os.replace(beside, path)
