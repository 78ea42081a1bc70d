"""Counts of sources corrected for what the classification loses and confuses.

What is lost is known from sources whose class is known, dimmed to several signal-to-noise ratios: of each class, how
many come out clean (``flags == 0``) as which class. ``examples/measure_completeness.py`` writes that beside weights.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag import weights as registry
from radio_ag.errors import InputError, WeightsError

if TYPE_CHECKING:
    from astropy.table import Table

CLASSES = ("FRI", "FRII")
_DRAWS = 2000
_PRIOR = 0.5  # added to each count before shares are drawn, so that none is known to be 0


class Count(NamedTuple):
    """A corrected number of sources, with its interval of 95 %."""

    number: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Completeness:
    """How many known sources come out clean, and as which class.

    Attributes
    ----------
    edges : ndarray, shape (k + 1,)
        Of the bins of signal to noise, peak over noise.
    counts : ndarray of int, shape (k, 2, 3)
        Of FRI and FRII (second axis) in each bin how many are clean FRI, clean FRII, or neither (third axis).
    content : dict
        All that the file says: weights, sources, command.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    content: dict[str, Any]

    @classmethod
    def load(cls, weights: str | os.PathLike = registry.DEFAULT) -> Completeness:
        """Read what was measured for weights: ``NAME.completeness.json`` beside them.

        Parameters
        ----------
        weights : str or path-like
            A name that ``radio-ag weights list`` shows, or a path to a safetensors file.

        Raises
        ------
        WeightsError
            Nothing was measured for these weights, or the file is damaged or of other weights.
        """
        path = Path(registry.locate(weights))
        file = path.with_suffix(".completeness.json")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            edges, counts = np.array(content["snr_edges"], float), np.array(content["counts"], np.int64)
            measured_for = content["sha256"]
        except FileNotFoundError as exc:
            raise WeightsError(f"{path.stem} has no {file.name}: its completeness was not measured") from exc
        except (ValueError, KeyError, TypeError) as exc:
            raise WeightsError(f"{file.name} is damaged: {exc!r}") from exc
        if edges.ndim != 1 or counts.shape != (len(edges) - 1, 2, 3) or (counts < 0).any():
            raise WeightsError(f"{file.name} is damaged: {edges.shape} edges and {counts.shape} counts")
        if measured_for != registry.card(weights).sha256:
            raise WeightsError(f"{file.name} was measured with other weights than {path.name}")
        return cls(edges, counts, content)

    @property
    def completeness(self) -> NDArray[np.float64]:
        """Share of FRI and of FRII in each bin that is clean and has its own class, shape (k, 2)."""
        with np.errstate(invalid="ignore"):
            return self.counts[:, [0, 1], [0, 1]] / self.counts.sum(2)

    @property
    def purity(self) -> NDArray[np.float64]:
        """Share of clean FRI and of clean FRII in each bin that are right, of as many FRI as FRII, shape (k, 2)."""
        with np.errstate(invalid="ignore"):
            share = self.counts / self.counts.sum(2, keepdims=True)
            return share[:, [0, 1], [0, 1]] / share[:, :, :2].sum(1)

    def count(self, snr: ArrayLike, classes: ArrayLike, *, seed: int = 0) -> dict[str, Count]:
        """Correct the numbers of clean FRI and FRII for those that were lost or taken for the other class.

        Parameters
        ----------
        snr : array_like, shape (n,)
            Peak over noise of each source with ``flags == 0``.
        classes : array_like of str, shape (n,)
            Their classes.
        seed : int
            Of the draws that make the intervals.

        Returns
        -------
        dict of str to Count
            By class. The numbers found in each bin are multiplied by the inverse of its matrix of shares; none is
            below 0. Intervals hold the Poisson noise of the numbers and the binomial noise of the shares.

        Raises
        ------
        InputError
            A class that is none of the two, or a source fainter than the faintest bin: nothing is known of it.
        """
        snr, classes = np.asarray(snr, float), np.asarray(classes).astype(str)
        if unknown := sorted({*classes.tolist()} - {*CLASSES}):
            raise InputError(f"classes must be {' or '.join(CLASSES)}, not {unknown[0]!r}")
        if not (snr >= self.edges[0]).all():
            raise InputError(f"nothing is known of sources below a signal to noise of {self.edges[0]:g}")
        place = np.minimum(np.searchsorted(self.edges, snr, "right") - 1, len(self.counts) - 1)
        found = np.stack([np.bincount(place[classes == name], minlength=len(self.counts)) for name in CLASSES], 1)
        rng = np.random.default_rng(seed)
        numbers = rng.poisson(found, (_DRAWS, *found.shape))
        alpha = rng.standard_gamma(self.counts + _PRIOR, (_DRAWS, *self.counts.shape))
        drawn = _true_numbers(numbers, alpha).sum(1)
        best = _true_numbers(found[None], self.counts[None] + _PRIOR)[0].sum(0)
        low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
        return {
            name: Count(max(0.0, float(best[i])), (max(0.0, float(low[i])), max(0.0, float(high[i]))))
            for i, name in enumerate(CLASSES)
        }


def count_sources(sources: Table, completeness: Completeness, minimum_flux: float = 0.0) -> dict[str, Count]:
    """Count the FRI and FRII of a table of sources, corrected for completeness and confusion.

    Parameters
    ----------
    sources : Table
        ``SOURCES`` of a product.
    completeness : Completeness
        Of the weights that classified them.
    minimum_flux : float
        Total flux density in Jy below which sources do not count.

    Returns
    -------
    dict of str to Count

    Raises
    ------
    InputError
        The catalogue did not tell flux densities, but a minimum was asked for.
    """
    kept = np.asarray(sources["flags"]) == 0
    if minimum_flux:
        flux: NDArray[np.float64] = np.ma.filled(np.ma.asarray(sources["total_flux"], float), np.nan)
        if not np.isfinite(flux[kept]).all():
            raise InputError("the flux density of some clean sources is not known: leave minimum_flux out")
        kept &= flux >= minimum_flux
    return completeness.count(np.asarray(sources["snr"])[kept], np.ma.filled(sources["class"], "")[kept])


def _true_numbers(found: NDArray, counts: NDArray) -> NDArray[np.float64]:
    """Numbers of FRI and FRII (..., k, 2) behind those found, by counts (..., k, 2, 3) of which becomes what."""
    share = counts / counts.sum(-1, keepdims=True)
    (a, b), (c, d) = np.moveaxis(share[..., 0, :2], -1, 0), np.moveaxis(share[..., 1, :2], -1, 0)
    first, second = found[..., 0], found[..., 1]
    return np.stack([d * first - c * second, a * second - b * first], -1) / (a * d - b * c)[..., None]
