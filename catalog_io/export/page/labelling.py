"""What the page needs to know where people give labels on it: the labels, which source comes when, earlier labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from radio_ag.errors import InputError
from radio_ag.flags import Flag

KEYS = "123456789qwertyasdgh"
"""The key of each label, in their order; other keys of the page have other uses."""
ORDERS = ("doubt", "unlike", "row", "random")
"""Orders in which sources are asked: see `asking_order`."""

_LONGEST_LABEL = 40


@dataclass(frozen=True)
class Labelling:
    """A page on which labels are given.

    Attributes
    ----------
    labels : tuple of str
        What a source may be called, 2 to 20 of them.
    order : {"doubt", "unlike", "row", "random"}
        Which source comes first, see `asking_order`.
    who : str
        Name of who gives the labels; the page asks for it as well.
    given : sequence of dict
        Labels of that person from before: ``name``, ``source``, ``ra``, ``dec``, ``label``, ``confidence``, ``note``,
        ``who``, ``when``.
    second : sequence of dict
        Labels of someone else: these sources alone are asked, without their first label.
    served : bool
        Whether `radio_ag.catalog_io.export.page.serve` keeps each label in a file.
    """

    labels: tuple[str, ...]
    order: str = "doubt"
    who: str = ""
    given: Sequence[Mapping[str, Any]] = ()
    second: Sequence[Mapping[str, Any]] = ()
    served: bool = False

    def __post_init__(self) -> None:
        if not 2 <= len(self.labels) <= len(KEYS):
            raise InputError(f"a page has 2 to {len(KEYS)} labels, not {len(self.labels)}")
        odd = [label for label in self.labels if not label or len(label) > _LONGEST_LABEL or label != label.strip()]
        if odd:
            raise InputError(f"a label is a text of 1 to {_LONGEST_LABEL} characters, not {odd[0]!r}")
        if len(set(self.labels)) < len(self.labels):
            raise InputError(f"each label is named once: {', '.join(self.labels)}")
        if self.order not in ORDERS:
            raise InputError(f"the order is one of {', '.join(ORDERS)}, not {self.order!r}")

    def payload(self, table: Table, shown: NDArray[np.intp]) -> dict[str, Any]:
        """Return what a page needs.

        Parameters
        ----------
        table : `~astropy.table.Table`
            Entries of all pages.
        shown : ndarray of int
            Which of them are on this page.

        Returns
        -------
        dict
            Of JSON's types.
        """
        rank = np.empty(len(table), dtype=np.intp)
        rank[asking_order(table, self.order)] = np.arange(len(table))
        return {
            "labels": [{"name": label, "key": key} for label, key in zip(self.labels, KEYS, strict=False)],
            "rank": rank[shown].tolist(),
            "who": self.who,
            "given": [dict(record) for record in self.given],
            "second": [dict(record) for record in self.second],
            "served": self.served,
            "number": next((name for name in ("source", "group_id") if name in table.colnames), None),
            "id": _identity(table),
        }


def asking_order(table: Table, order: str) -> NDArray[np.intp]:
    """Return in which order sources are asked for their labels.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With ``probability`` and ``flags``.
    order : {"doubt", "unlike", "row", "random"}
        "doubt": those that the network was in doubt of (``UNCERTAIN``), then those unlike what it has seen
        (``OUT_OF_DISTRIBUTION``), then the others, the least probability first in each; without a class last.
        "unlike": the second before the first. "row": as in the table. "random": a fixed shuffle, for labels that are to
        measure how often the network is right.

    Returns
    -------
    ndarray of int, shape (n,)
        Rows.
    """
    if order == "row":
        return np.arange(len(table))
    if order == "random":
        return np.random.default_rng(0).permutation(len(table))
    probability: NDArray[np.float64] = np.ma.filled(np.ma.asarray(table["probability"], dtype=float), np.nan)
    flags = np.asarray(table["flags"])
    doubtful, unlike = (flags & flag != 0 for flag in (Flag.UNCERTAIN, Flag.OUT_OF_DISTRIBUTION))
    first, second = (unlike, doubtful) if order == "unlike" else (doubtful, unlike)
    kind = np.select([np.isnan(probability), first, second], [3, 0, 1], 2)
    return np.lexsort((np.arange(len(table)), np.nan_to_num(probability, nan=2.0), kind))


def _identity(table: Table) -> str:
    """What tells one list of sources from another, so that a page that is written again goes on."""
    names = np.ma.filled(np.ma.asarray(table["name"]), "").tolist()
    places = [np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan).tolist() for name in ("ra", "dec")]
    return hashlib.sha256(repr((names, places)).encode()).hexdigest()[:16]
