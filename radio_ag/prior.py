"""Probabilities for another share of FRII than that of the sources that a network has learnt from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.errors import InputError


def with_prior(p_frii: ArrayLike, learnt: float, prior: float) -> NDArray[np.float64]:
    """Convert probabilities to those for another share of FRII among the sources.

    Parameters
    ----------
    p_frii : array_like
        Probability of FRII; NaN stays NaN.
    learnt : float
        Share of FRII that they hold for: that of the training set.
    prior : float
        Share of FRII among the sources in question.

    Returns
    -------
    ndarray
        Of the same shape: the odds times the ratio of the odds of the two shares.

    Raises
    ------
    InputError
        A share that is not between 0 and 1.

    References
    ----------
    Saerens et al. 2002, Neural Computation 14, 21, eq. 2.4.
    """
    for name, share in (("prior", prior), ("the share of the training set", learnt)):
        if not 0 < share < 1:
            raise InputError(f"{name} must be between 0 and 1, not {share!r}")
    p = np.asarray(p_frii, dtype=np.float64)
    second, first = p * prior / learnt, (1 - p) * (1 - prior) / (1 - learnt)
    return second / (first + second)
