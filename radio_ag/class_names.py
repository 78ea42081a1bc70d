"""Names of classes, and what the columns of their probabilities are called."""

from __future__ import annotations

import re
from collections.abc import Iterable

DEFAULT_CLASSES = ("FRI", "FRII")
"""Of weights, and of products, that do not tell theirs."""


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

    Returns
    -------
    tuple of str
    """
    return tuple(map(column_name, classes))
