"""Panels of the figures: the style, what is drawn into one Axes, and a grid of Axes on the sky."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from radio_ag.catalog_io.export.drawing import draw_scale
from radio_ag.preprocess.images import CROP_SIZE, PIXEL_SCALE

Beam = tuple[float, float, float]
"""Major and minor axis, arcsec, and position angle, degrees from north through east."""

COLUMN_WIDTH, PAGE_WIDTH = 84 / 25.4, 174 / 25.4
"""Widths of a journal's column and page, inches."""
DIFFERENCE_LIMIT = 0.05
"""Where the difference of mean images saturates (Figure 8)."""
MEAN_IMAGE_LEVELS = (0.001, 0.005, 0.01, 0.05, 0.1)
"""Contours of mean images (Figure 12)."""
STYLE: Any = {
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "figure.titlesize": 8.0,
    "axes.linewidth": 0.5,
    "axes.titlepad": 3.0,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 300,
}
"""Settings of matplotlib that the figures are made and saved with."""

IMAGE_COLOURS, ATTENTION_COLOURS, DIFFERENCE_COLOURS = "Greys", "viridis", "PuOr_r"
"""Colour maps that colour-blind readers can read; they print well in grey but for that of differences."""
LINE_COLOUR = "#c43c00"
"""Of lines on the grey of images."""
LETTER = 0.058
"""Width of a letter of 7 pt type, inches."""
_SOFTENING = 0.03  # asinh of an image over its peak: jets show beside hotspots
_RA_STEPS = (2, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 300, 600, 1200, 3600)  # seconds
_RA_LABEL = 0.72  # inches that a label takes
_WIDE = 1.0  # inch: of a panel with room for a tick each arcmin
OUTLINE = [withStroke(linewidth=1.3, foreground="black")]
"""Of white lines and letters, so that they show on yellow as well."""


def draw_image(
    axes: Axes, image: ArrayLike, *, emission: ArrayLike | None = None, peak: float | None = None
) -> AxesImage:
    """Draw an image over its peak in an asinh stretch, dark on white.

    Parameters
    ----------
    axes : Axes
        A WCSAxes, or any other for offsets in arcsec.
    image : array_like, shape (ny, nx)
        In any unit; pixels below 0 and NaN are white.
    emission : array_like, shape (ny, nx), optional
        Clipped image: its edge is drawn as a contour.
    peak : float, optional
        Value of the darkest grey; that of the brightest pixel by default.

    Returns
    -------
    AxesImage
    """
    known = np.nan_to_num(np.asarray(image, float), nan=0.0)
    norm = AsinhNorm(_SOFTENING, vmin=0, vmax=1)
    drawn = show(axes, np.clip(known / max(known.max() if peak is None else peak, 1e-30), 0, None), IMAGE_COLOURS, norm)
    if emission is not None:
        draw_clip(axes, emission, colour=LINE_COLOUR)
    return drawn


def draw_input(axes: Axes, image: ArrayLike) -> AxesImage:
    """Draw an image as the network sees it: without a further stretch.

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    image : array_like, shape (ny, nx)
        In the value range of the weights' card.

    Returns
    -------
    AxesImage
    """
    image = np.asarray(image, float)
    return show(axes, image, IMAGE_COLOURS, Normalize(image.min(), max(image.max(), image.min() + 1e-9)))


def draw_mean_image(axes: Axes, image: ArrayLike, *, peak: float | None = None) -> AxesImage:
    """Draw a mean image with contours at `MEAN_IMAGE_LEVELS`; ``peak`` is the value of the darkest grey.

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    image : array_like, shape (ny, nx)
        Between 0 and 1.
    peak : float, optional
        Value of the darkest grey; that of the brightest pixel by default.

    Returns
    -------
    AxesImage
    """
    image = np.asarray(image, float)
    top = max(float(np.nanmax(image, initial=0)), 1e-9) if peak is None else peak
    drawn = show(axes, image, IMAGE_COLOURS, Normalize(0, top))
    contour(axes, image, list(MEAN_IMAGE_LEVELS), LINE_COLOUR)
    return drawn


def draw_attention(
    axes: Axes, attention: ArrayLike, emission: ArrayLike | None = None, *, limits: tuple[float, float] | None = None
) -> AxesImage:
    """Draw an attention map.

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    attention : array_like, shape (ny, nx)
        Map of attention.
    emission : array_like, shape (ny, nx), optional
        Clipped image of the source: its edge is drawn over the map.
    limits : tuple of float, optional
        Values of the lowest and the highest colour; the map's own by default.

    Returns
    -------
    AxesImage
    """
    attention = np.asarray(attention, float)
    low, high = limits or (np.nanmin(attention, initial=np.inf), np.nanmax(attention, initial=-np.inf))
    drawn = show(axes, attention, ATTENTION_COLOURS, Normalize(low, high if high > low else low + 1))
    if emission is not None:
        draw_clip(axes, emission)
    return drawn


def draw_difference(axes: Axes, difference: ArrayLike, *, limit: float = DIFFERENCE_LIMIT) -> AxesImage:
    """Draw a difference, saturated at ``limit`` on both sides: orange above zero, purple below (Figure 8).

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    difference : array_like, shape (ny, nx)
        Of two images or maps.
    limit : float
        Where colours saturate, on both sides.

    Returns
    -------
    AxesImage
    """
    return show(axes, np.asarray(difference, float), DIFFERENCE_COLOURS, Normalize(-limit, limit))


def draw_features(
    axes: Axes, block: ArrayLike, channels: ArrayLike | None = None, *, signed: bool = False
) -> AxesImage:
    """Draw four channels of a stack as a square of two by two, each over its peak.

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    block : array_like, shape (channels, h, w)
        Output of a block of convolutions.
    channels : array_like of int, shape (4,), optional
        Which ones; those that vary most by default.
    signed : bool
        Orange above zero and purple below, instead of dark above zero.

    Returns
    -------
    AxesImage
    """
    block = np.asarray(block, float)
    chosen = most_varied(block) if channels is None else np.asarray(channels, int)
    scaled = [c / max(np.abs(c).max(), 1e-30) for c in block[chosen]]
    tiles = np.block([[scaled[2], scaled[3]], [scaled[0], scaled[1]]])
    if signed:
        return show(axes, tiles, DIFFERENCE_COLOURS, Normalize(-1, 1))
    return show(axes, tiles, IMAGE_COLOURS, Normalize(0, 1))


def most_varied(block: ArrayLike) -> NDArray[np.intp]:
    """Return the four channels of (C, h, w) that vary most, in order.

    Parameters
    ----------
    block : array_like, shape (C, h, w)
        Output of a block of convolutions.

    Returns
    -------
    ndarray of int, shape (4,)
    """
    return np.sort(np.argsort(np.asarray(block).std((1, 2)))[::-1][:4])


def draw_clip(axes: Axes, emission: ArrayLike, colour: str = "white") -> None:
    """Draw the edge of a clipped image: the contour at the clip (Figure 14).

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    emission : array_like, shape (ny, nx)
        Positive where there is emission.
    colour : str
        Of the line.
    """
    contour(axes, (np.asarray(emission) > 0).astype(float), [0.5], colour)


def draw_levels(axes: Axes, image: ArrayLike, levels: Sequence[float] = MEAN_IMAGE_LEVELS) -> None:
    """Draw contours of a mean image at fixed levels (Figure 12).

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    image : array_like, shape (ny, nx)
        Image.
    levels : sequence of float
        Values of the contours.
    """
    contour(axes, np.asarray(image, float), list(levels), "white")


def draw_attention_levels(axes: Axes, attention: ArrayLike, shares: Sequence[float] = (0.5, 0.75, 0.9)) -> None:
    """Draw contours of an attention map at shares of the way from its least to its greatest value (Figure 4).

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    attention : array_like, shape (ny, nx)
        Map of attention.
    shares : sequence of float
        Between 0 and 1.
    """
    attention = np.asarray(attention, float)
    low, high = attention.min(), attention.max()
    contour(axes, attention, [low + share * (high - low) for share in shares], "#0063b2")


def contour(axes: Axes, image: NDArray, levels: list[float], colour: str) -> None:
    """Draw contours at those of the levels that the image crosses.

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    image : ndarray, shape (ny, nx)
        Image.
    levels : list of float
        Values of the contours.
    colour : str
        Of the line.
    """
    image = np.nan_to_num(image, nan=0.0)
    levels = [level for level in levels if image.min() < level < image.max()]
    if levels:
        lines = axes.contour(image, levels, colors=colour, linewidths=0.6, **_extent(axes, image))
        if colour == "white":
            lines.set(path_effects=OUTLINE)


def show(axes: Axes, image: NDArray, colours: str, norm: Normalize) -> AxesImage:
    """Draw an array with row 0 below, on the sky or in offsets.

    Parameters
    ----------
    axes : Axes
        Panel to draw into.
    image : ndarray, shape (ny, nx)
        Image.
    colours : str
        Name of a colour map.
    norm : Normalize
        From values to colours.

    Returns
    -------
    AxesImage
    """
    return axes.imshow(image, origin="lower", cmap=colours, norm=norm, **_extent(axes, image))


def _extent(axes: Axes, image: NDArray) -> dict:
    """Offsets in arcsec, east on the left, unless the axes know the sky."""
    if hasattr(axes, "coords"):
        return {}
    half_y, half_x = (PIXEL_SCALE * side / 2 for side in image.shape)
    return {"extent": (half_x, -half_x, -half_y, half_y)}


def sky_panels(
    rows: int, columns: int, width: float, wcs: WCS | None = None, *, right: float = 0.0, below: float = 0.0
) -> tuple[Figure, NDArray]:
    """Make a figure of square panels on the sky; coordinates are written at its left and lower edge alone.

    Parameters
    ----------
    rows, columns : int
        Numbers of panels.
    width : float
        Of the figure, inches.
    wcs : WCS, optional
        Of all panels; offsets in arcsec without.
    right, below : float
        Room for colour bars at the right of the figure, and below panels in all, inches.

    Returns
    -------
    figure : Figure
    axes : ndarray of Axes, shape (rows, columns)
    """
    size = (width - 0.55 - right) / columns
    layout = ConstrainedLayoutEngine(compress=True, w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    figure = Figure((width, rows * (size + 0.16) + 0.45 + below), layout=layout)
    axes = np.empty((rows, columns), object)
    for row in range(rows):
        for column in range(columns):
            options = {} if wcs is None else {"projection": wcs}
            panel = figure.add_subplot(rows, columns, row * columns + column + 1, **options)
            axes[row, column] = panel
            _label_sky(panel, size, wcs, lowest=row == rows - 1, leftmost=column == 0)
    return figure, axes


def _label_sky(panel: Axes, size: float, wcs: WCS | None, *, lowest: bool, leftmost: bool) -> None:
    names = ("RA (ICRS)", "Dec (ICRS)") if hasattr(panel, "coords") else ("ΔRA [″]", "ΔDec [″]")
    if hasattr(panel, "coords"):
        for coordinate, name, shown in zip(panel.coords, names, (lowest, leftmost), strict=True):
            coordinate.set_axislabel(name if shown else " ")
            coordinate.set_ticklabel_visible(shown)
            coordinate.set_ticklabel(exclude_overlapping=True)
        if wcs is not None:
            seconds = ra_step(size, wcs)
            panel.coords[0].set_ticks(spacing=seconds * 15 * u.arcsec)
            panel.coords[1].set_ticks(spacing=1 * u.arcmin if size > _WIDE else 2 * u.arcmin)
        return
    ticks, words = (-100, 0, 100), ("\N{MINUS SIGN}100", "0", "100")
    panel.set_xticks(ticks, words if lowest else ["", "", ""])
    panel.set_yticks(ticks, words if leftmost else ["", "", ""])
    panel.set_xlabel(names[0] if lowest else "")
    panel.set_ylabel(names[1] if leftmost else "")


def ra_step(size: float, wcs: WCS) -> int:
    """Return the seconds of RA between ticks so far apart that a label has room.

    Parameters
    ----------
    size : float
        Of the panel, inches.
    wcs : WCS
        Of the panel.

    Returns
    -------
    int
    """
    seen = CROP_SIZE * 3600 * float(proj_plane_pixel_scales(wcs)[0]) / max(np.cos(np.radians(wcs.wcs.crval[1])), 1e-3)
    least = _RA_LABEL / size * seen / 15
    return next((step for step in _RA_STEPS if step >= least), _RA_STEPS[-1])


def add_scale(axes: Axes, beam: Beam | None = None, *, side: float | None = None) -> None:
    """Draw a scale bar and, where it is known, the beam into a panel of the sky.

    Parameters
    ----------
    axes : Axes
        A WCSAxes, or any other for offsets in arcsec.
    beam : tuple of float, optional
        Major and minor axis, arcsec, and position angle, degrees from north through east.
    side : float, optional
        Of the panel, arcsec; that of a crop of FIRST's pixels by default.
    """
    if side is None and isinstance(axes, WCSAxes):
        side = 3600 * CROP_SIZE * float(proj_plane_pixel_scales(axes.wcs)[1])
    draw_scale(axes, CROP_SIZE * PIXEL_SCALE if side is None else side, beam)


def name_row(panel: Axes, name: str) -> None:
    """Write what a row of panels is before the label of its vertical axis.

    Parameters
    ----------
    panel : Axes
        The first one of the row.
    name : str
        What the row is.
    """
    if hasattr(panel, "coords"):
        panel.coords[1].set_axislabel(f"{name}\nDec (ICRS)")
    else:
        panel.set_ylabel(f"{name}\n{panel.get_ylabel()}")


def colour_bar(figure: Figure, drawn: AxesImage, panel: Axes, label: str = "") -> None:
    """Put a narrow colour bar below a panel.

    Parameters
    ----------
    figure : Figure
        That has the panel.
    drawn : AxesImage
        What the colours are of.
    panel : Axes
        Below which it is.
    label : str
        What the colours mean.
    """
    ticks = (0, 0.1, 1) if isinstance(drawn.norm, AsinhNorm) else MaxNLocator(3)
    bar = figure.colorbar(drawn, ax=panel, location="bottom", shrink=0.9, aspect=14, pad=0.02, ticks=ticks)
    if isinstance(drawn.norm, AsinhNorm):
        bar.ax.set_xticklabels(["0", "0.1", "1"])
        bar.minorticks_off()
    bar.set_label(label, labelpad=1)
    bar.outline.set_linewidth(0.5)


def wrap(name: str, width: float) -> str:
    """Split a long name at hyphens, underscores, slashes, or anywhere, so that it fits over a panel.

    Parameters
    ----------
    name : str
        Such as that of weights.
    width : float
        Of the panel, inches.

    Returns
    -------
    str
        In lines.
    """
    longest = max(4, int(width / LETTER))
    lines = [""]
    for part in re.findall(r"[^-_/ ]*[-_/ ]?", name):
        for piece in (part[i : i + longest] for i in range(0, len(part), longest)):
            if lines[-1] and len(lines[-1] + piece) > longest:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.strip() for line in lines)
