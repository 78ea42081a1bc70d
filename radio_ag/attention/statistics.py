"""Where the attention lies: numbers for single maps, and mean maps over sets of sources. Arrays alone.

Shares of attention are compared with those of a map that is the same everywhere: an enrichment of 2 on the emission
means twice the attention that chance would put there. Maps of the normalisation "standardisation" are signed, and a
share of a signed sum means nothing: a map that has negative values is raised until its least one is zero, which makes
it proportional to what the normalisation "range" makes of the same scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from radio_ag.errors import InputError
from radio_ag.preprocess.images import CROP_SIZE, PIXEL_SCALE

if TYPE_CHECKING:
    from astropy.table import Table

HALO_RADIUS = 6.0
"""How far the halo reaches beyond the emission, in pixels: two FIRST beams."""
UNLABELLED = -1
"""Label of a source whose class is not known."""


class AttentionStatistics(NamedTuple):
    """How the attention of n sources lies to their emission; every field is an array (n,) of float32.

    All are NaN for a map that is NaN or the same everywhere, and what refers to emission where there is none.

    Attributes
    ----------
    emission_share, emission_enrichment : ndarray
        Share of the attention on the emission, and that over the emission's share of the pixels.
    halo_share, halo_enrichment : ndarray
        The same for the emission widened by a disc.
    emission_offset : ndarray
        Distance of the attention's centroid from that of the emission's brightness, arcsec.
    centre_offset : ndarray
        Distance of the attention's centroid from the centre of the cutout, arcsec.
    gate_agreement : ndarray
        Mean correlation coefficient of the pairs of gates; NaN with less than two gates.
    """

    emission_share: NDArray[np.float32]
    emission_enrichment: NDArray[np.float32]
    halo_share: NDArray[np.float32]
    halo_enrichment: NDArray[np.float32]
    emission_offset: NDArray[np.float32]
    centre_offset: NDArray[np.float32]
    gate_agreement: NDArray[np.float32]


def attention_statistics(
    maps: ArrayLike,
    emission: ArrayLike,
    gates: ArrayLike | None = None,
    *,
    halo_radius: float = HALO_RADIUS,
    pixel_scale: ArrayLike = PIXEL_SCALE,
) -> AttentionStatistics:
    """Compare attention maps with the emission that they belong to.

    Parameters
    ----------
    maps : array_like, shape (n, ny, nx)
        Mean attention on the pixels of the cutout. Signed maps are raised to a least value of zero.
    emission : array_like, shape (n, ny, nx)
        Clipped images in any unit: positive where there is emission above the clip, zero elsewhere.
    gates : array_like, shape (n, gates, ny, nx), optional
        The map of each gate, for their agreement.
    halo_radius : float
        Radius of the halo's disc in pixels.
    pixel_scale : array_like
        Arcsec a pixel, one for all or one a source.

    Returns
    -------
    AttentionStatistics

    Raises
    ------
    InputError
        If the shapes do not go together.
    """
    maps, emission = np.asarray(maps, float), np.asarray(emission, float)
    if maps.ndim != 3 or maps.shape != emission.shape:
        raise InputError(f"maps and emission must be stacks of one shape, not {maps.shape} and {emission.shape}")
    weights = _weights(maps)
    mask = emission > 0
    halo = np.array([_widen(plane, halo_radius) for plane in mask], bool).reshape(mask.shape)
    on_emission, on_halo = _share(weights, mask), _share(weights, halo)
    centre = _centroid(weights)
    middle = (np.array(maps.shape[:0:-1]) - 1) / 2
    scale = np.asarray(pixel_scale, float)
    agreement = np.full(len(maps), np.nan) if gates is None else gate_agreement(gates)
    values = (
        *on_emission,
        *on_halo,
        scale * np.hypot(*(centre - _centroid(np.where(mask, emission, 0))).T),
        scale * np.hypot(*(centre - middle).T),
        agreement,
    )
    return AttentionStatistics(*(np.asarray(value, np.float32) for value in values))


def gate_agreement(gates: ArrayLike) -> NDArray[np.float32]:
    """Return the mean over the pairs of gates of the correlation coefficient of their maps.

    Parameters
    ----------
    gates : array_like, shape (n, gates, ny, nx)
        Map of each gate.

    Returns
    -------
    ndarray, shape (n,)
        NaN with less than two gates, or where one is the same everywhere.
    """
    gates = np.asarray(gates, float)
    count = gates.shape[1]
    if count < 2:
        return np.full(len(gates), np.nan, np.float32)
    flat = gates.reshape(*gates.shape[:2], -1)
    flat = flat - flat.mean(2, keepdims=True)
    length = np.linalg.norm(flat, axis=2, keepdims=True)
    flat = np.divide(flat, length, out=np.full_like(flat, np.nan), where=length > 0)
    correlation = np.einsum("nip,njp->nij", flat, flat)
    first, second = np.triu_indices(count, 1)
    return correlation[:, first, second].mean(1).astype(np.float32)


def _weights(maps: NDArray) -> NDArray:
    """Maps that are not negative, with sum 1; NaN for a map that has no pattern."""
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    raised = maps - np.minimum(low, 0)
    total = raised.sum((1, 2), keepdims=True)
    return np.divide(raised, total, out=np.full_like(raised, np.nan), where=(high > low) & (total > 0))


def _share(weights: NDArray, mask: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """Share of the weights on a mask, and that over the mask's share of the pixels; NaN where the mask is empty."""
    uniform = mask.mean((1, 2))
    uniform = np.where(uniform > 0, uniform, np.nan)
    share = np.where(np.isnan(uniform), np.nan, np.einsum("nyx,nyx->n", weights, mask))
    return share, share / uniform


def _widen(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    return ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask


def _centroid(weights: NDArray) -> NDArray:
    """Centroids (x, y) in pixels counted from 0, shape (n, 2); NaN where there is no weight."""
    total = weights.sum((1, 2))
    total = np.where(total > 0, total, np.nan)
    x = np.einsum("nyx,x->n", weights, np.arange(weights.shape[2]))
    y = np.einsum("nyx,y->n", weights, np.arange(weights.shape[1]))
    return np.stack([x, y], 1) / total[:, None]


def summarise_by_class(values: Mapping[str, ArrayLike], classes: ArrayLike) -> list[dict[str, object]]:
    """Return the quartiles of numbers by class, and of all.

    Parameters
    ----------
    values : mapping of str to array_like, shape (n,)
        Such as ``AttentionStatistics(...)._asdict()``; NaN does not count.
    classes : array_like of str, shape (n,)
        Rows of class "" are left out.

    Returns
    -------
    list of dict
        One for each class in order, then ``all``, with ``class``, ``sources``, and each name followed by ``_q25``,
        ``_median``, ``_q75``.
    """
    classes = np.asarray(classes, str)
    named = np.unique(classes[classes != ""])
    lines = []
    for name in (*named, "all"):
        rows = classes == name if name != "all" else classes != ""
        line: dict[str, object] = {"class": str(name), "sources": int(rows.sum())}
        for column, numbers in values.items():
            chosen = np.asarray(numbers, float)[rows]
            chosen = chosen[np.isfinite(chosen)]
            quartiles = np.percentile(chosen, (25, 50, 75)) if len(chosen) else np.full(3, np.nan)
            line |= {f"{column}_{q}": float(v) for q, v in zip(("q25", "median", "q75"), quartiles, strict=True)}
        lines.append(line)
    return lines


def summarise_result(table: Table) -> list[dict[str, object]]:
    """Return the quartiles by class of the columns that ``--attention-stats`` adds to a product.

    Parameters
    ----------
    table : Table
        Of a result of `radio_ag.classify` with ``attention_stats``. Rows of one group count once.

    Returns
    -------
    list of dict
        As `summarise_by_class` gives it.
    """
    rows = np.unique(table["group_id"], return_index=True)[1] if "group_id" in table.colnames else slice(None)
    values: dict[str, ArrayLike] = {
        name: np.ma.filled(np.ma.asarray(table[f"attention_{name}"][rows], float), np.nan)
        for name in AttentionStatistics._fields
    }
    return summarise_by_class(values, np.ma.filled(table["class"][rows], ""))


class AggregateMaps:
    """Mean image and mean attention over sources, by label, certainty and predicted class, as running sums.

    Memory does not grow with what is added: 16 sums of an image and of a map for each gate.

    Parameters
    ----------
    gates : int
        Number of gates.
    size : int
        Side of the images in pixels.

    References
    ----------
    Bowles et al. 2021, MNRAS 501, 4579: section 6.
    """

    def __init__(self, gates: int, size: int = CROP_SIZE):
        self.gates = gates
        self._counts = np.zeros((3, 2, 2), int)  # by label (the last: unknown), certain, predicted
        self._sums = np.zeros((3, 2, 2, 1 + gates, size, size))

    def add(
        self, images: ArrayLike, gates: ArrayLike, *, label: ArrayLike, certain: ArrayLike, predicted: ArrayLike
    ) -> None:
        """Add n images with their maps.

        Parameters
        ----------
        images : array_like, shape (n, size, size)
            Between 0 and 1.
        gates : array_like, shape (n, gates, size, size)
            Map of each gate.
        label : array_like of int
            0 for FRI, 1 for FRII, `UNLABELLED`. One for all or one an image.
        certain : array_like of bool
            Whether the label is.
        predicted : array_like of int
            0 for FRI, 1 for FRII.
        """
        images, gates = np.asarray(images), np.asarray(gates)
        n = len(images)
        cells = np.stack([np.broadcast_to(np.asarray(v, int), n) for v in (label, certain, predicted)], 1)
        for cell in np.unique(cells, axis=0):
            rows = (cells == cell).all(1)
            place = tuple(cell)
            self._counts[place] += rows.sum()
            self._sums[place][0] += images[rows].sum(0, dtype=float)
            self._sums[place][1:] += gates[rows].sum(0, dtype=float)

    def count(self, *, label: int | None = None, certain: bool | None = None, predicted: int | None = None) -> int:
        """Count the images added, of those with a label, certainty or predicted class where these are given.

        Parameters
        ----------
        label : int, optional
            0 for FRI, 1 for FRII, `UNLABELLED`. None: any.
        certain : bool, optional
            Whether the label is. None: either.
        predicted : int, optional
            0 for FRI, 1 for FRII. None: any.

        Returns
        -------
        int
        """
        return int(self._counts[_cells(label, certain, predicted)].sum())

    def image(
        self, *, label: int | None = None, certain: bool | None = None, predicted: int | None = None
    ) -> NDArray[np.float64]:
        """Return the mean image (size, size) of those that `count` counts; NaN where there are none.

        Parameters
        ----------
        label, certain, predicted : optional
            As for `count`.

        Returns
        -------
        ndarray, shape (150, 150)
        """
        return self._mean(_cells(label, certain, predicted))[0]

    def attention(
        self,
        gate: str | int = "mean",
        *,
        label: int | None = None,
        certain: bool | None = None,
        predicted: int | None = None,
    ) -> NDArray[np.float64]:
        """Return the mean map (size, size) of a gate (1, 2, 3), or of the gates' mean; NaN where there are no images.

        Parameters
        ----------
        gate : {"mean", 1, 2, 3}
        label, certain, predicted : optional
            As for `count`.

        Returns
        -------
        ndarray, shape (150, 150)

        Raises
        ------
        InputError
            If the network does not have that gate.
        """
        if not (self.gates >= 1 if gate == "mean" else gate in range(1, self.gates + 1)):
            raise InputError(f"gate must be 'mean' or a number from 1 to {self.gates}, not {gate!r}")
        maps = self._mean(_cells(label, certain, predicted))[1:]
        return maps[gate - 1] if isinstance(gate, int) else maps.mean(0)

    def _mean(self, cells: tuple) -> NDArray[np.float64]:
        total = int(self._counts[cells].sum())
        sums = self._sums[cells].sum((0, 1, 2))
        return sums / total if total else np.full_like(sums, np.nan)


def _cells(label: int | None, certain: bool | None, predicted: int | None) -> tuple[slice, slice, slice]:
    """Return slices of the cells of a choice: every axis stays."""
    last = 2  # where the sources without a label are

    def cells(value: int | None) -> slice:
        return slice(None) if value is None else slice(int(value), int(value) + 1)

    return cells(last if label == UNLABELLED else label), cells(certain), cells(predicted)
