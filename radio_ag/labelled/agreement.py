"""How well two people's labels agree, and one set of labels made of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from radio_ag.errors import InputError
from radio_ag.labelled.labels import SAME_PLACE, Labels

CONFIDENCE = 0.95
"""Of the intervals."""
MERGES = ("confidence", "refuse")
"""What becomes of sources whose labels differ when two sets are merged."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two sets of labels, over the sources that both have.

    Attributes
    ----------
    classes : tuple of str
        The labels that were given.
    table : ndarray of int, shape (k, k)
        Sources by the first set's label (row) and the second's (column).
    only_first, only_second : int
        Sources that one set alone has.
    differing : tuple of str
        Sources whose labels differ.
    """

    classes: tuple[str, ...]
    table: NDArray[np.intp]
    only_first: int
    only_second: int
    differing: tuple[str, ...]

    @property
    def sources(self) -> int:
        """Sources that both sets have."""
        return int(self.table.sum())

    @property
    def agreement(self) -> float:
        """Share of the sources with the same label in both."""
        return float(np.trace(self.table) / self.sources) if self.sources else float("nan")

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """Wilson's interval of that share, 95 %."""
        if not self.sources:
            return float("nan"), float("nan")
        interval = binomtest(int(np.trace(self.table)), self.sources).proportion_ci(CONFIDENCE, method="wilson")
        return float(interval.low), float(interval.high)

    @property
    def kappa(self) -> float:
        """Agreement beyond chance (Cohen 1960, Educ. Psychol. Meas. 20, 37); NaN where chance alone is perfect."""
        shares, chance = self._shares()
        return float((np.trace(shares) - chance) / (1 - chance)) if self.sources and chance < 1 else float("nan")

    @property
    def kappa_interval(self) -> tuple[float, float]:
        """Interval of kappa, 95 %, from its standard error for many sources (Fleiss, Cohen & Everitt 1969, eq. 13).

        Psychol. Bull. 72, 323. With perfect agreement, or fewer than some 50 sources, it is too narrow.
        """
        kappa = self.kappa
        if not np.isfinite(kappa):
            return float("nan"), float("nan")
        shares, chance = self._shares()
        first, second = shares.sum(axis=1), shares.sum(axis=0)
        diagonal = np.sum(np.diag(shares) * (1 - (first + second) * (1 - kappa)) ** 2)
        apart = shares * (second[:, None] + first[None, :]) ** 2
        spread = diagonal + (1 - kappa) ** 2 * (apart.sum() - np.trace(apart)) - (kappa - chance * (1 - kappa)) ** 2
        error = np.sqrt(max(spread, 0.0) / self.sources) / (1 - chance)
        half = norm.ppf(0.5 + CONFIDENCE / 2) * error
        return float(max(kappa - half, -1.0)), float(min(kappa + half, 1.0))

    def _shares(self) -> tuple[NDArray[np.float64], float]:
        shares = self.table / max(self.sources, 1)
        return shares, float(shares.sum(axis=1) @ shares.sum(axis=0))


def compare_labels(first: Labels, second: Labels, radius: float = SAME_PLACE) -> Agreement:
    """Compare two sets of labels.

    Parameters
    ----------
    first, second : Labels
        One label a source in each, see `Labels.consensus`.
    radius : float
        Arcsec within which two positions are one source, where names do not tell.

    Returns
    -------
    Agreement
    """
    place = first.match(second.name, second.ra, second.dec, radius)
    rows = np.flatnonzero(place >= 0)
    classes = sorted({*first.label.tolist(), *second.label.tolist()})
    number = {name: index for index, name in enumerate(classes)}
    table = np.zeros((len(classes), len(classes)), dtype=np.intp)
    for row in rows:
        table[number[first.label[row]], number[second.label[place[row]]]] += 1
    differing = tuple(first.called(int(row)) for row in rows if first.label[row] != second.label[place[row]])
    return Agreement(tuple(classes), table, len(first) - len(rows), len(second) - len(rows), differing)


def merge_labels(
    first: Labels, second: Labels, how: str = "refuse", radius: float = SAME_PLACE
) -> tuple[Labels, list[str]]:
    """Make one set of labels of two.

    Parameters
    ----------
    first, second : Labels
        One label a source in each.
    how : {"refuse", "confidence"}
        Whether labels that differ are an error, or the one of the greater confidence is taken.
    radius : float
        As for `compare_labels`.

    Returns
    -------
    labels : Labels
        The first set's sources, then those that the second alone has. Where both agree, the row of the greater
        confidence.
    undecided : list of str
        Sources with two labels of equal confidence: they are left out.

    Raises
    ------
    InputError
        If labels differ and ``how`` is "refuse", or it is neither.
    """
    if how not in MERGES:
        raise InputError(f"labels are merged by {' or '.join(MERGES)}, not {how!r}")
    place = first.match(second.name, second.ra, second.dec, radius)
    rows: list[int] = []  # of both, the second's after the first's
    differing, undecided = [], []
    for row, other in enumerate(place.tolist()):
        mine, theirs = first.confidence[row], second.confidence[other] if other >= 0 else 0.0
        if other >= 0 and first.label[row] != second.label[other]:
            differing.append(first.called(row))
            if mine == theirs:
                undecided.append(first.called(row))
                continue
        rows.append(row if mine >= theirs else len(first) + other)
    if differing and how == "refuse":
        shown = ", ".join(differing[:5]) + (", ..." if len(differing) > 5 else "")
        raise InputError(f"labels differ for {len(differing)} of {int(np.sum(place >= 0))} sources: {shown}")
    rows += [len(first) + other for other in range(len(second)) if other not in set(place.tolist())]
    both = Labels.of_records(first.records() + second.records())
    return both[np.array(rows, dtype=np.intp)], undecided
