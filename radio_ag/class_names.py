"""Names of classes, and what the columns of their probabilities are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from radio_ag.flags import Flag

DEFAULT_CLASSES = ("FRI", "FRII")
"""Of weights, and of products, that do not tell theirs."""
MOST_CLASSES = 20
"""That a network may tell apart."""

_LONGEST = 40
_TAKEN = ("none", "clean", "std", *(str(flag.name) for flag in Flag))  # counted beside the classes


def column_name(name: str) -> str:
    """Return the column of a class's probability: ``p_frii`` of FRII, ``p_head_tail`` of "head-tail".

    Parameters
    ----------
    name : str
        Of the class.

    Returns
    -------
    str
    """
    return "p_" + key_of(name)


def key_of(name: str) -> str:
    """Return a class's name in lower case, with an underscore for what is neither a letter nor a digit.

    Parameters
    ----------
    name : str
        Of the class.

    Returns
    -------
    str
        ASCII alone, as FITS wants the names of columns.
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def column_names(classes: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of the probabilities of some classes, in their order.

    Parameters
    ----------
    classes : iterable of str
        Their names.

    Returns
    -------
    tuple of str
    """
    return tuple(map(column_name, classes))


def problem_with(classes: Sequence[str]) -> str | None:
    """Return why names cannot be those of classes; None if they can.

    Parameters
    ----------
    classes : sequence of str
        In the order of the network's outputs.

    Returns
    -------
    str or None
    """
    if not 2 <= len(classes) <= MOST_CLASSES:
        return f"{len(classes)} ({', '.join(classes[:5])}), accepted are 2 to {MOST_CLASSES}"
    keys = [key_of(name) for name in classes]
    for name, key in zip(classes, keys, strict=True):
        if not key or not name.isascii() or not name.isprintable() or "," in name or len(name) > _LONGEST:
            return f"{name!r} is no name of a class: up to {_LONGEST} characters of ASCII, some letters or digits"
        if name in _TAKEN or key == "std" or keys.count(key) > 1:
            return f"{name!r} is taken: names must differ in their letters and digits, and from {', '.join(_TAKEN)}"
    return None
