"""Simulated FIRST-like sky for examples, documentation and tests. **Never for scoring**: the sources are caricatures.

A source is a sum of round Gaussians, each convolved with the beam analytically, so that its total flux and
place are exact at any subpixel position:

- FRI: a core and two jets that widen into plumes and fade outwards, often bent to one side;
- FRII: two lobes that end in a hotspot each and fade inwards, with or without a core;
- compact: one Gaussian, by default a point.

The noise has the beam's own autocorrelation, as the thermal noise of an interferometer has: neighbouring pixels of
FIRST images correlate by 0.73-0.76 along the two axes, the 5.4 arcsec beam gives 0.735.

Imaging artefacts (`stripes`, `sidelobes`) are what a classifier must not take for a source.

Everything is drawn from `numpy.random.Generator`: the same seed gives the same sky.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial.distance import pdist

from radio_ag.errors import InputError
from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE, PIXEL_SCALE

if TYPE_CHECKING:
    from astropy.io.fits import Header, PrimaryHDU
    from astropy.table import Table

KINDS = ("FRI", "FRII", "compact")
"""Kinds of source that can be simulated."""

TYPICAL_RMS = 0.15e-3
"""Noise of FIRST, Jy/beam."""

_SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
_BEAM_SIGMA = BEAM_FWHM / PIXEL_SCALE / np.sqrt(8 * np.log(2))  # pixels
_ARMS = 3  # arms of the Y of the VLA: each gives a spoke to either side of a bright source
_EXTENTS = {"FRI": (40.0, 150.0), "FRII": (40.0, 150.0), "compact": (0.0, 0.0)}  # arcsec, drawn where none is given
_STAMP_SIGMA = 6.0  # a component is rendered out to here, where it has fallen to 1.5e-8 of its peak
_FIELD_MARGIN = FIELD_SIZE // 2  # px: a source of a mosaic has its whole field
_TRIES = 2000  # positions tried for a source before the mosaic counts as full


@dataclass(frozen=True)
class SimulatedSource:
    """What was put into a simulated field.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    x, y : float
        Pixel coordinates of the source's position, counted from 0 at the centre of the first pixel.
    peak_flux : float
        Brightest pixel of the source without noise, Jy/beam.
    total_flux : float
        Integrated flux density, Jy.
    extent : float
        Largest distance between the components' centres, arcsec; for a compact source its intrinsic FWHM.
    position_angle : float
        Of the axis at the core, degrees from North (up) through East (left), 0-180; NaN for a compact source.
    """

    kind: str
    x: float
    y: float
    peak_flux: float
    total_flux: float
    extent: float
    position_angle: float


class _Components(NamedTuple):
    """Round Gaussians: offsets along East and North (n, 2) and FWHM (n,) in arcsec, relative flux (n,)."""

    offset: NDArray
    width: NDArray
    flux: NDArray


def beam_kernel(fwhm: float = BEAM_FWHM, pixel_scale: float = PIXEL_SCALE) -> NDArray[np.float64]:
    """Round Gaussian beam of peak 1 on the pixel grid.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum, arcsec.
    pixel_scale : float
        Arcsec a pixel.

    Returns
    -------
    ndarray (2k + 1, 2k + 1)
        Centred on a pixel. Its sum is the beam area in pixels, ``pi / (4 ln 2) * (fwhm / pixel_scale)**2``.
    """
    sigma = fwhm / pixel_scale * _SIGMA_PER_FWHM
    half = int(np.ceil(_STAMP_SIGMA * sigma))
    profile = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    return np.outer(profile, profile)


def correlated_noise(
    shape: tuple[int, int], rms: float, rng: np.random.Generator, *, fwhm: float = BEAM_FWHM
) -> NDArray[np.float32]:
    """Make Gaussian noise whose autocorrelation is exactly that of the beam.

    White noise is filtered by the root of the beam's Fourier transform. The plane is padded by more than the reach of
    the beam before filtering, so that opposite edges are independent.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    rms : float
        Standard deviation of the ensemble, Jy/beam.
    rng : numpy.random.Generator
        Its state goes on.
    fwhm : float
        Of the beam, arcsec, at `radio_ag.preprocess.images.PIXEL_SCALE`.

    Returns
    -------
    ndarray (ny, nx) of float32
    """
    kernel = beam_kernel(fwhm)
    padded = tuple(fft.next_fast_len(side + kernel.shape[0], real=True) for side in shape)
    correlation = np.zeros(padded)
    correlation[: kernel.shape[0], : kernel.shape[1]] = kernel
    correlation = np.roll(correlation, (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), axis=(0, 1))
    # The transform of a Gaussian is positive; what lies below zero is rounding.
    transfer = np.sqrt(np.maximum(fft.rfft2(correlation).real, 0))
    noise = fft.irfft2(fft.rfft2(rng.standard_normal(padded)) * transfer, s=padded)
    return (rms * noise[: shape[0], : shape[1]]).astype(np.float32)


def make_field(
    kind: str,
    *,
    size: int = FIELD_SIZE,
    seed: int = 0,
    peak_flux: float = 10e-3,
    extent: float | None = None,
    position_angle: float | None = None,
    offset: tuple[float, float] = (0.0, 0.0),
    rms: float = TYPICAL_RMS,
) -> tuple[NDArray[np.float32], SimulatedSource]:
    """Simulate a field with one source. Never for scoring.

    Parameters
    ----------
    kind : {"FRI", "FRII", "compact"}
    size : int
        Side of the field, in pixels of 1.8 arcsec. North is up (last row), East is left (first column).
    seed : int
        Of the shape and the noise, which do not depend on each other.
    peak_flux : float
        Brightest pixel of the source before noise, Jy/beam.
    extent : float, optional
        Largest distance between the centres of the source's components, arcsec; for a compact source its intrinsic
        FWHM. None means 40-150 arcsec for FRI and FRII, and a point for a compact source.
    position_angle : float, optional
        Of the axis, degrees from North through East. None means any.
    offset : tuple of float
        Offset of the source from the field's centre towards East and North, arcsec.
    rms : float
        Noise, Jy/beam; 0 for none.

    Returns
    -------
    image : ndarray (size, size) of float32
        Jy/beam.
    truth : SimulatedSource

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    _check_source(kind, peak_flux, rms)
    if size < 1:
        raise InputError(f"size must be at least 1 pixel, not {size}")
    if extent is not None and not (0 <= extent < np.inf and (extent > 0 or kind == "compact")):
        raise InputError(f"extent must be positive (arcsec), or 0 for a compact source, not {extent}")
    shape_rng, noise_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    x = (size - 1) / 2 - offset[0] / PIXEL_SCALE
    y = (size - 1) / 2 + offset[1] / PIXEL_SCALE
    image = correlated_noise((size, size), rms, noise_rng)
    return image, _add_source(image, kind, x, y, peak_flux, extent, position_angle, shape_rng)


def make_mosaic(
    *,
    size: int = 2000,
    n_sources: int = 40,
    seed: int = 0,
    centre: tuple[float, float] = (180.0, 30.0),
    projection: str = "SIN",
    kinds: tuple[str, ...] = KINDS,
    peak_flux: tuple[float, float] = (5e-3, 50e-3),
    min_separation: float = 270.0,
    rms: float = TYPICAL_RMS,
) -> tuple[PrimaryHDU, Table]:
    """Simulate a mosaic with a header like that of FIRST. Never for scoring.

    Parameters
    ----------
    size : int
        Side of the mosaic, in pixels of 1.8 arcsec; more than a field's 300.
    n_sources : int
        Each of a kind drawn from `kinds`, and at least half a field from the edge.
    seed : int
        Of all that is random.
    centre : tuple of float
        Right ascension and declination of the middle, degrees (ICRS).
    projection : {"SIN", "TAN"}
    kinds : tuple of str
        Kinds to draw from, see `KINDS`.
    peak_flux : tuple of float
        Lowest and highest brightest pixel of a source, Jy/beam; drawn uniformly in the logarithm.
    min_separation : float
        Smallest distance between two sources, arcsec. The default keeps each out of the others' crops.
    rms : float
        Noise, Jy/beam.

    Returns
    -------
    hdu : astropy.io.fits.PrimaryHDU
        Image (size, size) of float32, Jy/beam.
    truth : astropy.table.Table
        A row a source: ``ra``, ``dec`` (deg, ICRS), ``kind``, ``peak_flux`` (Jy/beam), ``total_flux`` (Jy),
        ``extent`` (arcsec) and ``position_angle`` (deg, North through East on the sky), as in `SimulatedSource`.

    Raises
    ------
    InputError
        If an argument is out of its range, or the sources do not fit into the mosaic.
    """
    from astropy.io.fits import PrimaryHDU

    for kind in kinds:
        _check_source(kind, peak_flux[0], rms)
    if not kinds or n_sources < 0:
        raise InputError(f"kinds must not be empty and n_sources not negative: got {kinds!r} and {n_sources}")
    if not peak_flux[0] <= peak_flux[1]:
        raise InputError(f"peak_flux must be the lowest and the highest value, not {peak_flux!r}")
    if size <= FIELD_SIZE:
        raise InputError(f"size must be more than a field's {FIELD_SIZE} pixels, not {size}")
    if projection not in ("SIN", "TAN"):
        raise InputError(f"projection must be SIN or TAN, not {projection!r}")
    place_rng, shape_rng, noise_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    positions = _place(size, n_sources, min_separation / PIXEL_SCALE, place_rng)
    image = correlated_noise((size, size), rms, noise_rng)
    sources = []
    for x, y in positions:
        kind = kinds[shape_rng.integers(len(kinds))]
        peak = float(np.exp(shape_rng.uniform(*np.log(peak_flux))))
        sources.append(_add_source(image, kind, x, y, peak, None, None, shape_rng))
    header = _header(size, centre, projection, seed)
    return PrimaryHDU(image, header), _truth_table(sources, header)


def stripes(n: int, rng: np.random.Generator, rms: float = TYPICAL_RMS) -> NDArray[np.float32]:
    """Make fields with plane waves, as a single bad baseline leaves them.

    Parameters
    ----------
    n : int
        Number of fields.
    rng : numpy.random.Generator
        Its state goes on.
    rms : float
        Of the noise, Jy/beam. The stripes' amplitude is 5 to 20 times that, their period 8 to 40 pixels.

    Returns
    -------
    ndarray, shape (n, 300, 300), float32
        Jy/beam.
    """
    fields = np.empty((n, FIELD_SIZE, FIELD_SIZE), np.float32)
    y, x = np.mgrid[:FIELD_SIZE, :FIELD_SIZE].astype(float)
    for field in fields:
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        wave = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(8, 40) + phase)
        field[:] = correlated_noise((FIELD_SIZE, FIELD_SIZE), rms, rng) + rng.uniform(5, 20) * rms * wave
    return fields


def sidelobes(n: int, rng: np.random.Generator, rms: float = TYPICAL_RMS) -> NDArray[np.float32]:
    """Make fields with rings and six spokes about a bright source nearby, whose dirty beam was not cleaned away.

    Parameters
    ----------
    n : int
        Number of fields.
    rng : numpy.random.Generator
        Its state goes on.
    rms : float
        Of the noise, Jy/beam. The source peaks at 1,000 to 10,000 times that, 30 to 130 pixels from the centre; next
        to it the sidelobes reach a few per cent of it, and they fall as the inverse of the distance.

    Returns
    -------
    ndarray, shape (n, 300, 300), float32
        Jy/beam.
    """
    fields = np.empty((n, FIELD_SIZE, FIELD_SIZE), np.float32)
    y, x = np.mgrid[:FIELD_SIZE, :FIELD_SIZE] - (FIELD_SIZE - 1) / 2
    for field in fields:
        distance, direction, turn = rng.uniform(30, 130), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        peak = 10 ** rng.uniform(3, 4) * rms
        dx, dy = x - distance * np.cos(direction), y - distance * np.sin(direction)
        radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        spokes = np.abs(np.cos(_ARMS * (angle - turn))) ** 8
        rings = np.cos(2 * np.pi * radius / rng.uniform(6, 12))
        level = rng.uniform(0.02, 0.06) / (1 + radius / 10)
        beam = np.exp(-(radius**2) / (2 * _BEAM_SIGMA**2))
        field[:] = correlated_noise((FIELD_SIZE, FIELD_SIZE), rms, rng) + peak * (
            beam + level * (0.3 * rings + spokes * rings)
        )
    return fields


def _check_source(kind: str, peak_flux: float, rms: float) -> None:
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if not 0 < peak_flux < np.inf:
        raise InputError(f"peak_flux must be positive (Jy/beam), not {peak_flux}")
    if not 0 <= rms < np.inf:
        raise InputError(f"rms must be at least 0 (Jy/beam), not {rms}")


def _add_source(
    image: NDArray[np.float32],
    kind: str,
    x: float,
    y: float,
    peak_flux: float,
    extent: float | None,
    position_angle: float | None,
    rng: np.random.Generator,
) -> SimulatedSource:
    """Draw a source, add it to `image` at the pixel (x, y) and say what it is."""
    drawn_extent, drawn_angle = rng.uniform(*_EXTENTS[kind]), rng.uniform(0, 180)
    extent = drawn_extent if extent is None else extent
    position_angle = drawn_angle if position_angle is None else position_angle % 180
    build = {"FRI": _fri, "FRII": _frii, "compact": _compact}[kind]
    components = build(extent, np.radians(position_angle), rng)
    model, corner = _render(components, x, y)
    scale = peak_flux / model.max()
    _paste(image, model * scale, corner)
    total_flux = float(components.flux.sum() * scale)
    angle = np.nan if kind == "compact" else float(position_angle)
    return SimulatedSource(kind, x, y, peak_flux, total_flux, float(extent), angle)


def _compact(extent: float, axis: float, rng: np.random.Generator) -> _Components:
    return _Components(np.zeros((1, 2)), np.array([extent]), np.ones(1))


def _fri(extent: float, axis: float, rng: np.random.Generator) -> _Components:
    """A core and two jets, brightest near it, that widen and fade into plumes."""
    steps = _steps(extent)
    bend = rng.uniform(-0.8, 0.8)  # rad, by which an arm has turned at its end, both to the same side
    paths = []
    for side, length in ((1, 1.0), (-1, rng.uniform(0.7, 1.0))):
        direction = axis + side * bend * steps
        ahead = side * np.stack([np.sin(direction), np.cos(direction)], axis=1)
        paths.append(ahead.cumsum(axis=0) * length / len(steps))
    offset = np.concatenate([np.zeros((1, 2)), *paths])
    offset *= extent / pdist(offset).max()
    arm_width = extent * (0.02 + 0.18 * steps)
    arm_flux = np.exp(-rng.uniform(1.0, 2.5) * steps)
    second = rng.uniform(0.6, 1.0)
    core = rng.uniform(0.03, 0.3) * arm_flux.sum() * (1 + second)
    return _Components(
        offset,
        np.concatenate([[0.0], arm_width, arm_width]),
        np.concatenate([[core], arm_flux, second * arm_flux]),
    )


def _frii(extent: float, axis: float, rng: np.random.Generator) -> _Components:
    """Two lobes, brightest at the hotspots that end them, with a faint core or none."""
    steps = _steps(extent)
    reach = rng.uniform(0.4, 0.8)  # part of an arm that its lobe covers
    along = 1 - reach * (1 - steps)
    direction = np.array([np.sin(axis), np.cos(axis)])
    lengths = np.array([1.0, rng.uniform(0.7, 1.0)])
    lengths *= extent / lengths.sum()
    second = rng.uniform(0.5, 1.0)
    hotspot = rng.uniform(0.2, 0.5)  # part of a lobe's flux
    fade = np.exp(-2 * (1 - steps))
    lobe_flux = np.append((1 - hotspot) * fade / fade.sum(), hotspot)
    lobe_width = extent * np.append(0.06 + 0.06 * steps, 0.02)
    lobe = np.append(along, 1.0)[:, None] * direction
    core = rng.uniform(0.01, 0.1) if rng.random() < 0.6 else 0.0
    return _Components(
        np.concatenate([np.zeros((1, 2)), lengths[0] * lobe, -lengths[1] * lobe]),
        np.concatenate([[0.0], lobe_width, lobe_width]),
        np.concatenate([[core], lobe_flux, second * lobe_flux]),
    )


def _steps(extent: float) -> NDArray:
    """Places along an arm, from 0 (left out) to 1, closer than the beam is wide."""
    n = max(int(np.ceil(extent / 4)), 8)
    return np.arange(1, n + 1) / n


def _render(components: _Components, x: float, y: float) -> tuple[NDArray, tuple[int, int]]:
    """Image of the components in Jy/beam at the pixel (x, y), and the (row, column) of its first pixel."""
    beam = BEAM_FWHM / PIXEL_SCALE * _SIGMA_PER_FWHM
    centre = np.array([x, y]) + components.offset * (-1, 1) / PIXEL_SCALE  # East is towards smaller x
    sigma = np.hypot(beam, components.width / PIXEL_SCALE * _SIGMA_PER_FWHM)
    reach = _STAMP_SIGMA * sigma[:, None]
    first, last = np.floor(centre - reach).astype(int), np.ceil(centre + reach).astype(int)
    corner = first.min(axis=0)
    model = np.zeros((last.max(axis=0) - corner + 1)[::-1])
    for i, flux in enumerate(components.flux):
        columns, rows = (np.arange(first[i, axis], last[i, axis] + 1) for axis in (0, 1))
        across = np.exp(-0.5 * ((columns - centre[i, 0]) / sigma[i]) ** 2)
        up = np.exp(-0.5 * ((rows - centre[i, 1]) / sigma[i]) ** 2)
        window = model[
            rows[0] - corner[1] : rows[-1] - corner[1] + 1, columns[0] - corner[0] : columns[-1] - corner[0] + 1
        ]
        window += flux * (beam / sigma[i]) ** 2 * np.outer(up, across)
    return model, (int(corner[1]), int(corner[0]))


def _paste(image: NDArray[np.float32], stamp: NDArray, corner: tuple[int, int]) -> None:
    """Add what falls inside `image` of a stamp whose first pixel is at `corner` (row, column)."""
    (y0, x0), (ny, nx) = corner, image.shape
    rows = slice(max(y0, 0), max(min(y0 + stamp.shape[0], ny), 0))
    columns = slice(max(x0, 0), max(min(x0 + stamp.shape[1], nx), 0))
    if rows.start < rows.stop and columns.start < columns.stop:
        image[rows, columns] += stamp[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]


def _place(size: int, n: int, separation: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Random pixel positions (x, y) no closer to each other than `separation` pixels."""
    positions = np.empty((0, 2))
    for _ in range(n):
        tries = rng.uniform(_FIELD_MARGIN, size - 1 - _FIELD_MARGIN, (_TRIES, 2))
        free = next((place for place in tries if (np.hypot(*(place - positions).T) >= separation).all()), None)
        if free is None:
            raise InputError(
                f"n_sources={n} do not fit into {size}x{size} pixels {separation * PIXEL_SCALE:.0f} arcsec apart: "
                f"only {len(positions)} do; take fewer, a larger size, or a smaller min_separation"
            )
        positions = np.concatenate([positions, free[None]])
    return [(float(x), float(y)) for x, y in positions]


def _header(size: int, centre: tuple[float, float], projection: str, seed: int) -> Header:
    from astropy.io.fits import Header

    header = Header()
    header["BUNIT"] = "JY/BEAM"
    for axis, (name, value, step) in enumerate(
        (("RA--", centre[0], -PIXEL_SCALE), ("DEC-", centre[1], PIXEL_SCALE)), start=1
    ):
        header[f"CTYPE{axis}"] = f"{name}-{projection}"
        header[f"CRVAL{axis}"] = float(value)
        header[f"CRPIX{axis}"] = (size + 1) / 2
        header[f"CDELT{axis}"] = step / 3600
        header[f"CUNIT{axis}"] = "deg"
    header["RADESYS"] = "ICRS"
    header["BMAJ"] = BEAM_FWHM / 3600
    header["BMIN"] = BEAM_FWHM / 3600
    header["BPA"] = 0.0
    header["OBJECT"] = "SIMULATED"
    header["HISTORY"] = f"radio_ag.simulated.make_mosaic, seed {seed}: simulated, not for scoring"
    return header


def _truth_table(sources: list[SimulatedSource], header: Header) -> Table:
    from astropy import units
    from astropy.table import Table
    from astropy.wcs import WCS

    wcs = WCS(header)
    columns = {
        name: np.array([getattr(source, name) for source in sources], float)
        for name in ("x", "y", "peak_flux", "total_flux", "extent", "position_angle")
    }
    x, y, angle = columns.pop("x"), columns.pop("y"), np.radians(columns.pop("position_angle"))
    position = wcs.pixel_to_world(x, y)
    # North of the sky turns against the columns away from the middle of the mosaic.
    along = wcs.pixel_to_world(x - np.sin(angle), y + np.cos(angle))
    table = Table({"ra": position.ra.deg, "dec": position.dec.deg})
    table["kind"] = np.array([source.kind for source in sources], "U7")
    table.update(columns)
    table["position_angle"] = position.position_angle(along).deg % 180
    for name, unit in {
        "ra": units.deg,
        "dec": units.deg,
        "peak_flux": units.Jy / units.beam,
        "total_flux": units.Jy,
        "extent": units.arcsec,
        "position_angle": units.deg,
    }.items():
        table[name].unit = unit
    return table
