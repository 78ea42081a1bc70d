"""Islands of emission: which of them are the source, and the flags, size and peak that follow from them.

An island is a set of pixels of the 150x150 crop above 3 rms that touch by side or corner, peaks at 5 rms or more and
covers at least one beam. (The 3-rms mask alone has a median of 22 islands in real crops, nearly all of them noise.)

The source is what belongs to the position, since a double may have nothing there itself:

1. islands that come within 15 arcsec of the position;
2. pairs of islands on opposite sides of it, alike in distance and flux: the lobes of a double;
3. islands less than 30 arcsec from one that belongs already: fragments of a jet or plume.

Where 1 and 2 find nothing the row is OFF_CENTRE, and the island nearest to the position stands in.

Where the other islands together, or one of them, outshine the source, the network is shown the source's alone: the
class belongs to the source, and the image is scaled to its peak. Of 36 certain FRI and FRII beside such islands, shown
to networks that had not learnt them, 35 get the right class so, 33 with the others in sight; and 33 instead of 24 have
a probability of 0.75 or more (``benchmarks/neighbours.py``).

``benchmarks/flags.py`` prints how often each flag is set on 729 certain FRI and FRII, on 339 compact sources of FIRST,
and on simulated ones. The rules took shape on all of these; the limits of a pair were tuned on the even rows alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from radio_ag.errors import InputError
from radio_ag.flags import Flag
from radio_ag.preprocess.images import (
    BEAM_FWHM,
    CROP_SIZE,
    PIXEL_SCALE,
    Prepared,
    Preprocessing,
    crop,
    prepare,
)
from radio_ag.preprocess.stacks import as_stack

ISLAND_THRESHOLD = 3.0
"""Pixels of an island lie above this many rms."""
PEAK_THRESHOLD = 5.0
"""An island peaks at this many rms or more."""
CORE_RADIUS = 15.0
"""An island this close to the position belongs to the source, arcsec: how far catalogue positions may be off."""
LINK_RADIUS = 30.0
"""An island this close to one of the source belongs to it, arcsec."""
PAIR_ANGLE = 145.0
"""Least angle between the two islands of a pair as seen from the position, degrees."""
PAIR_DISTANCE_RATIO = 2.0
"""Largest ratio of their distances from it."""
PAIR_FLUX_RATIO = 10.0
"""Largest ratio of their fluxes."""
LOW_SNR = 10.0
"""A source whose peak is below this many rms is LOW_SNR: dimmed to it, a third of FRI and FRII lose half their size."""
RESOLVED_RATIO = 1.8
"""A source with less flux than this many point sources of its peak is UNRESOLVED; a round one is 0.85 beams wide."""
OWN_SHARE = 0.5
"""A source with less than this share of the flux of all islands in the crop is outshone: it is not what one sees."""
OUTSHINING_RATIO = 1.0
"""So is one beside an island at least this many times as bright: the image is scaled to that one's peak."""
CONFUSING_RATIO = 10.0
"""A source beside an island this many times as bright is CONFUSED: too few such were there to tell."""

_BLOCK = 64  # fields labelled at a time
_TOUCHING = np.zeros((3, 3, 3), bool)  # eight neighbours within a plane, none across planes
_TOUCHING[1] = True


class Islands(NamedTuple):
    """What the islands of n crops say.

    Attributes
    ----------
    flags : ndarray (n,) of int32
        ``EMPTY``, ``LOW_SNR``, ``UNRESOLVED``, ``TRUNCATED``, ``OFF_CENTRE`` and ``CONFUSED`` of
        `radio_ag.flags.Flag`.
    size : ndarray (n,) of float32
        Largest distance between two pixels of the source's islands, arcsec, not corrected for the beam; NaN where
        there is no island.
    pa : ndarray (n,) of float32
        Position angle of the line through these two pixels, degrees from 0 up to 180: from the crop's +y towards its
        -x, which is east of north where north is up and east is left; NaN where there is no island.
    n_islands : ndarray (n,) of int32
        Islands in the crop, whether the source's or not.
    peak : ndarray (n,) of float32
        Brightest pixel of the source's islands, Jy/beam; NaN where there is no island.
    snr : ndarray (n,) of float32
        `peak` in units of the noise.
    outshone : ndarray (n,) of bool
        The other islands have more flux than the source, or one of them is as bright; `hide_others` takes them out.
        False where the row is OFF_CENTRE, since then the source is a guess.
    """

    flags: NDArray[np.int32]
    size: NDArray[np.float32]
    pa: NDArray[np.float32]
    n_islands: NDArray[np.int32]
    peak: NDArray[np.float32]
    snr: NDArray[np.float32]
    outshone: NDArray[np.bool_]


class _Found(NamedTuple):
    """Islands of a few crops: the properties of m islands, and their pixels one island after the other."""

    plane: NDArray  # (m,) crop the island is in, ascending
    start: NDArray  # (m + 1,) first pixel of each
    peak: NDArray  # (m,) in units of rms, as all values
    flux: NDArray  # (m,) sum of the pixels
    centroid: NDArray  # (m, 2) flux-weighted (x, y) offset from the position, arcsec
    distance: NDArray  # (m,) of the nearest pixel from the position, arcsec
    on_edge: NDArray  # (m,) bool
    pixel: NDArray  # (pixels,) in the flattened crops
    offset: NDArray  # (pixels, 2) arcsec
    value: NDArray  # (pixels,)


def measure_islands(fields: ArrayLike, rms: ArrayLike, *, beam_fwhm: float = BEAM_FWHM) -> Islands:
    """Find the islands of each field's central crop, decide which are the source, and measure and flag it.

    ``EMPTY``: no island. ``LOW_SNR``: the source peaks below 10 rms. ``UNRESOLVED``: its islands together hold less
    than 1.8 times the flux of a point source of the same peak, each above 3 rms; plain extent would not do, since
    that of a point source grows with its peak. ``TRUNCATED``: one of its islands reaches the crop's edge.
    ``OFF_CENTRE``: no island within 15 arcsec of the position nor a pair around it. ``CONFUSED``: another island is ten
    times as bright as the source, or outshines it (see `Islands.outshone`) where the source is ``OFF_CENTRE``.

    Parameters
    ----------
    fields : array_like (n, ny, nx)
        Jy/beam, centred on the position, 300x300 px of 1.8 arcsec as a rule. Pixels that are not finite count as
        nothing.
    rms : array_like
        Noise in Jy/beam, one for all or one a field. A field whose noise is not finite and positive is ``EMPTY``.
    beam_fwhm : float
        Full width at half maximum of the beam, arcsec; of an elliptical one the geometric mean of its axes.

    Returns
    -------
    Islands
        One row a field, in order.

    Raises
    ------
    ImageError
        If `fields` is no stack of real images.
    InputError
        If `rms` does not have one value a field, or `beam_fwhm` is not positive.
    """
    crops = crop(fields, CROP_SIZE)
    n = len(crops)
    rms, beam_area = _checked(rms, n, beam_fwhm)
    result = Islands(
        np.full(n, Flag.EMPTY, np.int32),
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
        np.zeros(n, np.int32),
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
        np.zeros(n, bool),
    )
    for first in range(0, n, _BLOCK):
        block = slice(first, first + _BLOCK)
        found = _find(_in_units_of_noise(crops[block], rms[block]), beam_area)
        for plane in np.unique(found.plane):
            row, islands = first + plane, np.flatnonzero(found.plane == plane)
            member, is_off = _source(found, islands)
            source = islands[member]
            result.n_islands[row] = len(islands)
            result.snr[row] = found.peak[source].max()
            result.peak[row] = result.snr[row] * rms[row]
            result.size[row], result.pa[row] = extent(np.concatenate([_pixels(found, k) for k in source]))
            outshone = _is_outshone(found, source, islands[~member])
            result.flags[row] = _flags(found, source, islands[~member], is_off, outshone, beam_area)
            result.outshone[row] = outshone and not is_off
    return result


def hide_others(fields: ArrayLike, rms: ArrayLike, *, beam_fwhm: float = BEAM_FWHM) -> NDArray[np.float32]:
    """Blank the islands of each field's central crop that are not the source's.

    Parameters
    ----------
    fields : array_like (n, ny, nx)
        As for `measure_islands`.
    rms : array_like
        As for `measure_islands`.
    beam_fwhm : float
        As for `measure_islands`.

    Returns
    -------
    ndarray (n, ny, nx) of float32
        The fields with zeros in the place of the others. What lies below 3 rms, or is too small for an island, stays.

    Raises
    ------
    ImageError
        If `fields` is no stack of real images.
    InputError
        If `rms` does not have one value a field, or `beam_fwhm` is not positive.
    """
    fields = as_stack(fields, "fields")
    alone = np.array(fields, np.float32)
    n = len(fields)
    rms, beam_area = _checked(rms, n, beam_fwhm)
    # of each pixel of the crop the number in the field; NaN, where no island is, beyond the field
    number = crop(np.arange(np.prod(fields.shape[1:])).reshape(1, *fields.shape[1:])).reshape(-1)
    for row in range(n):
        found = _find(_in_units_of_noise(crop(fields[row : row + 1]), rms[row : row + 1]), beam_area)
        islands = np.arange(len(found.plane))
        for other in islands[~_source(found, islands)[0]] if len(islands) else ():
            hidden = number[found.pixel[found.start[other] : found.start[other + 1]]].astype(int)
            alone[row].reshape(-1)[hidden] = 0
    return alone


def show_alone(
    fields: NDArray[np.float32], prepared: Prepared, islands: Islands, settings: Preprocessing
) -> NDArray[np.float32]:
    """Let the network's input show outshone sources alone, in place, and return their fields.

    Parameters
    ----------
    fields : ndarray (n, ny, nx)
        As for `measure_islands`; not changed.
    prepared : Prepared
        Of these fields; its images of outshone sources are made anew.
    islands : Islands
        Of these fields.
    settings : Preprocessing
        By which they were prepared.

    Returns
    -------
    ndarray (k, ny, nx) of float32
        The fields of the k that are outshone, as `hide_others` gives them.
    """
    rms = prepared.rms[islands.outshone]
    alone = hide_others(fields[islands.outshone], rms)
    prepared.images[islands.outshone] = prepare(alone, settings, rms).images
    return alone


def _checked(rms: ArrayLike, n: int, beam_fwhm: float) -> tuple[NDArray[np.float32], float]:
    """One noise a field, and the area of the beam in pixels."""
    rms = np.asarray(rms, np.float32)
    if rms.shape not in ((), (n,)):
        raise InputError(f"rms must be one number or one for each of the {n} fields, not of shape {rms.shape}")
    if not 0 < beam_fwhm < np.inf:
        raise InputError(f"beam_fwhm must be positive (arcsec), not {beam_fwhm}")
    return np.broadcast_to(rms, (n,)), float(np.pi / (4 * np.log(2)) * (beam_fwhm / PIXEL_SCALE) ** 2)


def _in_units_of_noise(crops: NDArray, rms: NDArray) -> NDArray:
    """Crops divided by their noise; nothing where either is not a number."""
    known = np.isfinite(rms) & (rms > 0)
    with np.errstate(over="ignore"):
        scaled = crops / np.where(known, rms, 1)[:, None, None]
    return np.where(np.isfinite(scaled) & known[:, None, None], scaled, 0)


def _find(crops: NDArray, beam_area: float) -> _Found:
    """The islands of crops (n, ny, nx) in units of the noise."""
    labels, n_labels = ndimage.label(crops > ISLAND_THRESHOLD, _TOUCHING)
    pixel = np.flatnonzero(labels)
    pixel = pixel[np.argsort(labels.reshape(-1)[pixel], kind="stable")]
    label = labels.reshape(-1)[pixel]
    value = crops.reshape(-1)[pixel]
    count = np.bincount(label, minlength=n_labels + 1)[1:]
    start = np.cumsum(count) - count
    peak = np.maximum.reduceat(value, start) if n_labels else np.empty(0)
    significant = (peak >= PEAK_THRESHOLD) & (count >= beam_area)
    kept = significant[label - 1]
    pixel, value, count = pixel[kept], value[kept].astype(float), count[significant]
    start = np.concatenate([[0], np.cumsum(count)])

    plane, y, x = np.unravel_index(pixel, crops.shape)
    middle = (np.array(crops.shape[:0:-1]) - 1) / 2
    offset = (np.stack([x, y], axis=1) - middle) * PIXEL_SCALE
    on_edge = (x == 0) | (y == 0) | (x == crops.shape[2] - 1) | (y == crops.shape[1] - 1)

    def over(reduce: np.ufunc, values: NDArray) -> NDArray:
        return reduce.reduceat(values, start[:-1], axis=0) if len(values) else values

    flux = over(np.add, value)
    return _Found(
        plane=plane[start[:-1]] if len(pixel) else plane,
        start=start,
        peak=over(np.maximum, value),
        flux=flux,
        centroid=over(np.add, offset * value[:, None]) / flux[:, None],
        distance=over(np.minimum, np.hypot(*offset.T)),
        on_edge=over(np.logical_or, on_edge),
        pixel=pixel,
        offset=offset,
        value=value,
    )


def _pixels(found: _Found, island: int) -> NDArray:
    return found.offset[found.start[island] : found.start[island + 1]]


def _source(found: _Found, islands: NDArray) -> tuple[NDArray[np.bool_], bool]:
    """Which islands of a crop are the source, and whether it is off the position."""
    member = (found.distance[islands] <= CORE_RADIUS) | _paired(found.centroid[islands], found.flux[islands])
    is_off = not member.any()
    if is_off:
        member[found.distance[islands].argmin()] = True
    _link(member, [_pixels(found, k) for k in islands])
    return member, is_off


def _paired(centroid: NDArray, flux: NDArray) -> NDArray[np.bool_]:
    """Islands that have a counterpart on the other side of the position."""
    distance = np.hypot(*centroid.T)
    product = np.outer(distance, distance)
    opposite = centroid @ centroid.T <= np.cos(np.radians(PAIR_ANGLE)) * product
    as_far = distance[:, None] <= PAIR_DISTANCE_RATIO * distance
    as_bright = flux[:, None] <= PAIR_FLUX_RATIO * flux
    return (opposite & as_far & as_far.T & as_bright & as_bright.T & (product > 0)).any(axis=1)


def _link(member: NDArray[np.bool_], pixels: list[NDArray]) -> None:
    """Add islands near the source to `member`, then islands near those, until none is left."""
    new = np.flatnonzero(member)
    while len(new) and not member.all():
        tree = cKDTree(np.concatenate([pixels[k] for k in new]))
        others = np.flatnonzero(~member)
        near = [(tree.query(pixels[k], distance_upper_bound=LINK_RADIUS)[0] < np.inf).any() for k in others]
        new = others[np.array(near, bool)]
        member[new] = True


def extent(offset: NDArray) -> tuple[float, float]:
    """Return the largest distance between pixels (k, 2), and the position angle of the two; of several such pairs, one.

    Parameters
    ----------
    offset : ndarray, shape (k, 2)
        Places (x, y) of the pixels.

    Returns
    -------
    distance : float
        In the unit of the places.
    angle : float
        Degrees from 0 up to 180, from +y towards -x.
    """
    order = np.lexsort(offset.T)
    ordered = offset[order]
    turn = np.flatnonzero(np.diff(ordered[:, 1]))
    ends = ordered[np.unique(np.concatenate([[0], turn, turn + 1, [len(ordered) - 1]]))]  # the two are ends of rows
    if len(ends) < 2:
        return 0.0, 0.0
    distances = pdist(ends)
    widest = int(distances.argmax())
    stop = np.cumsum(np.arange(len(ends) - 1, 0, -1))  # pdist has the pairs of the first, then of the second, ...
    first = int(np.searchsorted(stop, widest, side="right"))
    x, y = ends[len(ends) - int(stop[first] - widest)] - ends[first]
    return float(distances[widest]), float(np.degrees(np.arctan2(-x, y)) % 180)


def _is_outshone(found: _Found, source: NDArray, others: NDArray) -> bool:
    """Whether the other islands together have more flux than the source, or one of them is as bright."""
    own = found.flux[source].sum()
    brightest = found.peak[others].max(initial=0)
    return bool(
        brightest >= OUTSHINING_RATIO * found.peak[source].max() or own < OWN_SHARE * (own + found.flux[others].sum())
    )


def _flags(found: _Found, source: NDArray, others: NDArray, is_off: bool, is_outshone: bool, beam_area: float) -> Flag:
    peak = found.peak[source].max()
    point_flux = beam_area * (peak - ISLAND_THRESHOLD)
    flags = Flag(0)
    if is_off:
        flags |= Flag.OFF_CENTRE
    if peak < LOW_SNR:
        flags |= Flag.LOW_SNR
    if found.flux[source].sum() < RESOLVED_RATIO * point_flux:
        flags |= Flag.UNRESOLVED
    if found.on_edge[source].any():
        flags |= Flag.TRUNCATED
    if (is_off and is_outshone) or found.peak[others].max(initial=0) >= CONFUSING_RATIO * peak:
        flags |= Flag.CONFUSED
    return flags
