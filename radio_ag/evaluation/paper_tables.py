"""The figures of tables 6 to 9 of Bowles et al. 2021 (MNRAS 501, 4579), and which of them compare with ours.

All are of the test sets, with each of 360 augmented copies of a source counted. Table 8 holds means over networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from radio_ag.labelled.data import Labelled
from radio_ag.labelled.published import FRDEEP, MIRABEST
from radio_ag.network.baselines import architecture_of, kind_of
from radio_ag.network.model import AGGREGATIONS, NORMALISATIONS, Architecture
from radio_ag.weights import Card

MIRABEST_CERTAIN = f"{MIRABEST}*"
"""The sources of MiraBest with certain labels."""

_TEST_COUNTS: dict[tuple[int, ...], str] = {  # table 5: FRI certain, FRI uncertain, FRII certain, FRII uncertain
    (49, 25, 55, 24): MIRABEST,
    (49, 0, 55, 0): MIRABEST_CERTAIN,
    (22, 0, 28, 0): FRDEEP,
}


@dataclass(frozen=True)
class PaperColumn:
    """A column of one of the tables: a network, or the mean of several.

    Attributes
    ----------
    table : int
    title : str
        As the table has it, in short.
    test_set : str
        ``MiraBest``, ``MiraBest*`` or ``FR-DEEP-F``.
    networks : frozenset of tuple
        The networks behind the column: normalisation, aggregation and number of gates of each; or its kind.
    f1, precision, recall : tuple of float
        FRI, FRII.
    accuracy, auc : float
    """

    table: int
    title: str
    test_set: str
    networks: frozenset[tuple]
    f1: tuple[float, float]
    precision: tuple[float, float]
    recall: tuple[float, float]
    accuracy: float
    auc: float

    def figures(self) -> dict[str, float]:
        """Return the figures by the names that `radio_ag.evaluation.scores.score_sources` gives them."""
        named = {
            f"{name}_{fr}": value
            for name in ("f1", "precision", "recall")
            for fr, value in zip(("fri", "frii"), getattr(self, name), strict=True)
        }
        return named | {"accuracy": self.accuracy, "auc": self.auc}


def _range_ft(table: int, title: str, test_set: str, *figures: Any, gates: int = 3) -> PaperColumn:
    return PaperColumn(table, title, test_set, frozenset([("range", "fine_tuned", gates)]), *figures)


def _normalised(normalisation: str, *figures: Any) -> PaperColumn:
    networks = frozenset([(normalisation, "fine_tuned", 3)])
    return PaperColumn(7, f"{normalisation}, fine_tuned", MIRABEST, networks, *figures)


def _mean(title: str, normalisations: Iterable[str], aggregations: Iterable[str], *figures: Any) -> PaperColumn:
    networks = frozenset(product(normalisations, aggregations, [3]))
    return PaperColumn(8, f"{title}, mean of {len(networks)}", MIRABEST, networks, *figures)


_ALL = tuple(NORMALISATIONS)
# F1, precision and recall (FRI, FRII), accuracy, AUC
COLUMNS = (
    PaperColumn(
        6, "Classic CNN", FRDEEP, frozenset([("classic_cnn",)]), (0.90, 0.88), (0.95, 0.83), (0.85, 0.94), 0.89, 0.94
    ),
    _range_ft(6, "AG-CNN", FRDEEP, (0.87, 0.90), (0.87, 0.90), (0.87, 0.90), 0.88, 0.89),
    _range_ft(6, "AG-CNN", MIRABEST_CERTAIN, (0.91, 0.92), (0.89, 0.89), (0.95, 0.94), 0.92, 0.96),
    _range_ft(6, "AG-CNN", MIRABEST, (0.82, 0.86), (0.91, 0.80), (0.75, 0.93), 0.84, 0.92),
    _normalised("range", (0.82, 0.86), (0.91, 0.80), (0.76, 0.93), 0.84, 0.92),
    _normalised("standardisation", (0.64, 0.67), (0.65, 0.66), (0.63, 0.68), 0.66, 0.66),
    _normalised("sigmoid", (0.85, 0.87), (0.90, 0.84), (0.81, 0.91), 0.87, 0.92),
    _normalised("softmax", (0.86, 0.88), (0.92, 0.84), (0.81, 0.93), 0.87, 0.93),
    _mean("range", ["range"], AGGREGATIONS, (0.81, 0.83), (0.84, 0.80), (0.77, 0.87), 0.82, 0.87),
    _mean("standardisation", ["standardisation"], AGGREGATIONS, (0.69, 0.71), (0.72, 0.70), (0.67, 0.73), 0.70, 0.71),
    _mean("sigmoid", ["sigmoid"], AGGREGATIONS, (0.83, 0.84), (0.85, 0.83), (0.81, 0.86), 0.84, 0.85),
    _mean("softmax", ["softmax"], AGGREGATIONS, (0.85, 0.87), (0.89, 0.84), (0.81, 0.91), 0.86, 0.92),
    _mean("mean", _ALL, ["mean"], (0.78, 0.82), (0.85, 0.77), (0.72, 0.88), 0.80, 0.83),
    _mean("concatenation", _ALL, ["concatenation"], (0.82, 0.84), (0.86, 0.81), (0.78, 0.88), 0.83, 0.86),
    _mean("deep_supervised", _ALL, ["deep_supervised"], (0.79, 0.78), (0.77, 0.80), (0.81, 0.75), 0.78, 0.82),
    _mean("fine_tuned", _ALL, ["fine_tuned"], (0.79, 0.82), (0.83, 0.79), (0.76, 0.85), 0.81, 0.85),
    _range_ft(9, "0 gates", MIRABEST, (0.85, 0.88), (0.91, 0.83), (0.80, 0.93), 0.86, 0.93, gates=0),
    _range_ft(9, "1 gate", MIRABEST, (0.84, 0.85), (0.86, 0.83), (0.81, 0.88), 0.85, 0.90, gates=1),
    _range_ft(9, "2 gates", MIRABEST, (0.86, 0.88), (0.91, 0.84), (0.81, 0.93), 0.87, 0.94, gates=2),
    _range_ft(9, "3 gates", MIRABEST, (0.83, 0.86), (0.91, 0.80), (0.76, 0.93), 0.85, 0.92, gates=3),
)
"""All columns in the order of the paper."""


def published_test_set(data: Labelled) -> str | None:
    """Tell which of the paper's test sets these sources are, by their origin and their counts by class and certainty.

    Parameters
    ----------
    data : Labelled

    Returns
    -------
    str or None
        ``MiraBest``, ``MiraBest*``, ``FR-DEEP-F``, or None for other sources.
    """
    counts = tuple(int(((data.label == k) & (data.certain == c)).sum()) for k, c in product((0, 1), (True, False)))
    name = _TEST_COUNTS.get(counts)
    return name if name and set(data.origin) == {name.rstrip("*")} else None


def comparable(test_set: str | None, cards: Sequence[Card]) -> list[PaperColumn]:
    """Return the columns that are of the same test set and of networks built alike.

    Parameters
    ----------
    test_set : str or None
        As `published_test_set` gives it.
    cards : sequence of Card
        Cards of the weights whose mean figures are to be compared; one, as a rule.
    """
    ours = [_built(card.architecture) for card in cards if card.architecture is not None]
    return [c for c in COLUMNS if c.test_set == test_set and len(c.networks) == len(ours) and c.networks == set(ours)]


def _built(settings: Mapping[str, Any]) -> tuple:
    architecture = architecture_of(settings)
    if isinstance(architecture, Architecture):
        return architecture.normalisation, architecture.aggregation, architecture.gates
    return (kind_of(architecture),)
