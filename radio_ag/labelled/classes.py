"""Which classes the labels of a data set stand for: as they come, or chosen, merged and renamed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.class_names import problem_with
from radio_ag.errors import CatalogueError, InputError
from radio_ag.network.model import CLASSES

LEFT_OUT = ("hybrid", "compact", "bent")
"""Labels, in any letter case, that stand beside FRI and FRII in data sets for these two, and are neither."""
ALL = "all"
"""Each label is a class."""

_UNUSED = -1


class ClassRule(NamedTuple):
    """What labels stand for.

    Attributes
    ----------
    classes : tuple of str
        In the order of the network's outputs.
    number : mapping of str to int
        Of the class of each label that is one.
    others : tuple of str or None
        Further labels, in lower case, whose sources are left out; None: those of any other label.
    """

    classes: tuple[str, ...]
    number: Mapping[str, int]
    others: tuple[str, ...] | None

    def numbers(self, labels: ArrayLike, where: str) -> NDArray[np.intp]:
        """Return the number of the class of each label, -1 for sources that are left out.

        Parameters
        ----------
        labels : array_like of str, shape (n,)
            As they came.
        where : str
            File and column, for messages.

        Returns
        -------
        ndarray of int, shape (n,)

        Raises
        ------
        CatalogueError
            A label is neither a class nor known to be left out.
        """
        labels = np.char.strip(np.asarray(labels, str))
        names, place = np.unique(labels, return_inverse=True)
        found = np.array([self.number.get(str(name), _UNUSED) for name in names], np.intp)[place]
        if self.others is not None:
            unknown = np.flatnonzero((found == _UNUSED) & ~np.isin(np.char.lower(labels), self.others))
            if len(unknown):
                raise CatalogueError(
                    f"{where} is {str(labels[unknown[0]])!r} in row {unknown[0]} ({len(unknown)} such rows); accepted "
                    f"are {' and '.join(self.classes)}, and for sources to be left out {', '.join(self.others)}; "
                    "--classes all takes each label as a class"
                )
        return found


FANAROFF_RILEY = ClassRule(CLASSES, {name: number for number, name in enumerate(CLASSES)}, LEFT_OUT)
"""FRI and FRII, without the sources of other kinds that stand beside them in data sets."""


def class_rule(labels: Collection[str], classes: str | Sequence[str] | None = None) -> ClassRule:
    """Find out what the labels of a data set stand for.

    Parameters
    ----------
    labels : collection of str
        Those that occur.
    classes : str or sequence of str, optional
        ``"all"``: each label is a class. Text such as ``"FRI,FRII,Bent=WAT+HT"``: these labels alone, in this order;
        ``NEW=OLD+OLD`` merges and renames. A sequence of names, as of a card: these classes, whatever the letter case
        of the label. None: FRI and FRII where these occur, else each label.

    Returns
    -------
    ClassRule

    Raises
    ------
    InputError
        It names a label that does not occur, or one twice, or leaves less than 2 or more than 20 classes.
    """
    labels = {label.strip() for label in labels} - {""}
    if isinstance(classes, str):
        return _checked(_all(labels) if classes == ALL else _chosen(labels, classes))
    if classes is not None and tuple(classes) != CLASSES:
        return _of_names(labels, tuple(classes))
    if classes is not None or not labels.isdisjoint(CLASSES):
        return FANAROFF_RILEY
    return _checked(_all(labels))


def _all(labels: set[str]) -> ClassRule:
    """Each label a class: FRI and FRII first, where there are any, the others by the alphabet."""
    ordered = [*(name for name in CLASSES if name in labels), *sorted(labels - {*CLASSES})]
    return ClassRule(tuple(ordered), {name: number for number, name in enumerate(ordered)}, None)


def _chosen(labels: set[str], text: str) -> ClassRule:
    number: dict[str, int] = {}
    classes: list[str] = []
    for part in text.split(","):
        name, equals, merged = part.partition("=")
        for label in (merged if equals else name).split("+"):
            label = label.strip()
            if label not in labels:
                raise InputError(f"classes: no source is labelled {label!r}; labels are {', '.join(sorted(labels))}")
            if label in number:
                raise InputError(f"classes: {label!r} stands there twice")
            number[label] = len(classes)
        classes.append(name.strip())
    return ClassRule(tuple(classes), number, None)


def _of_names(labels: set[str], classes: tuple[str, ...]) -> ClassRule:
    folded = {name.casefold(): number for number, name in enumerate(classes)}
    number = {label: folded[label.casefold()] for label in labels if label.casefold() in folded}
    return ClassRule(classes, number, LEFT_OUT)


def _checked(rule: ClassRule) -> ClassRule:
    if problem := problem_with(rule.classes):
        raise InputError(f"classes: {problem}")
    return rule
