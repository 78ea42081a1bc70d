"""Figures of images and attention maps for a journal: 84 or 174 mm wide, 7 pt type, readable without colour vision.

Functions called ``draw_…`` draw into an Axes; those called ``…_figure`` make a figure of several. The sky is drawn on a
`~astropy.visualization.wcsaxes.WCSAxes` where a WCS is given, and as offsets in arcsec otherwise, east on the left.
The figures follow those of Bowles et al. 2021 (MNRAS 501, 4579), whose numbers the functions name.

This module and its panels in ``_panels`` are all that needs matplotlib, which the extra ``plot`` installs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch, FancyArrowPatch, Rectangle
from numpy.typing import ArrayLike, NDArray

from radio_ag._panels import (
    DIFFERENCE_LIMIT,
    IMAGE_COLOURS,
    LINE_COLOUR,
    MEAN_IMAGE_LEVELS,
    OUTLINE,
    STYLE,
    colour_bar,
    draw_attention,
    draw_attention_levels,
    draw_clip,
    draw_difference,
    draw_image,
    draw_input,
    draw_levels,
    draw_mean_image,
    name_row,
    show,
    sky_panels,
)
from radio_ag.attention import AggregateMaps
from radio_ag.errors import InputError, OutputError
from radio_ag.model import CLASSES
from radio_ag.preprocess import CROP_SIZE, PIXEL_SCALE

__all__ = [
    "aggregate_figure",
    "certainty_figure",
    "confusion_figure",
    "difference_figure",
    "draw_attention",
    "draw_attention_levels",
    "draw_clip",
    "draw_difference",
    "draw_image",
    "draw_input",
    "draw_levels",
    "draw_mean_image",
    "grid_figure",
    "network_figure",
    "outliers_figure",
    "preprocessing_figure",
    "save_figure",
    "source_figure",
]

COLUMN_WIDTH, PAGE_WIDTH = 84 / 25.4, 174 / 25.4
"""Widths of a journal's column and page, inches."""

_TIMES, _MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"


@rc_context(STYLE)
def source_figure(
    image: ArrayLike, gates: ArrayLike, *, emission: ArrayLike, wcs=None, title: str = "", width: float = PAGE_WIDTH
) -> Figure:
    """One source: its image with contours of the mean attention, the map of each gate, and their mean (Figure 4).

    Parameters
    ----------
    image : array_like, shape (150, 150)
        Cutout in any unit.
    gates : array_like, shape (gates, 150, 150)
    emission : array_like, shape (150, 150)
        Clipped image, whose edge is drawn over the maps.
    wcs : WCS, optional
        Of the cutout.
    title : str
    width : float
        Inches.
    """
    gates = np.asarray(gates, float)
    mean = gates.mean(0)
    figure, axes = sky_panels(1, len(gates) + 2, width, wcs, below=0.6)
    colour_bar(figure, draw_image(axes[0, 0], image), axes[0, 0])
    draw_attention_levels(axes[0, 0], mean)
    axes[0, 0].set_title("image, mean attention")
    names = (*(f"gate {number}" for number in range(1, len(gates) + 1)), "mean")
    for panel, attention, name in zip(axes[0, 1:], (*gates, mean), names, strict=True):
        drawn = draw_attention(panel, attention, emission)
        panel.set_title(name)
        colour_bar(figure, drawn, panel)
    if title:
        figure.suptitle(title)
    return figure


@rc_context(STYLE)
def grid_figure(
    maps: Sequence[Sequence[ArrayLike]],
    titles: Sequence[Sequence[str]],
    *,
    rows: Sequence[str] | None = None,
    emission: Sequence[ArrayLike] | None = None,
    image: ArrayLike | None = None,
    wcs=None,
    title: str = "",
    width: float = PAGE_WIDTH,
) -> Figure:
    """Maps of several networks side by side, each in its own range of colours (Figures 5, 6, 7, 10, 13).

    Parameters
    ----------
    maps : sequence of sequences of array_like, shape (150, 150)
        By row and column; rows may be shorter than the first.
    titles : sequence of sequences of str
        Of each map.
    rows : sequence of str, optional
        What the rows are.
    emission : sequence of array_like, optional
        Clipped image for each row, whose edge is drawn over its maps.
    image : array_like, optional
        Drawn before the first row's maps.
    wcs : WCS, optional
    title : str
        Of the whole.
    width : float
        Inches.
    """
    first = 0 if image is None else 1
    figure, axes = sky_panels(len(maps), len(maps[0]) + first, width, wcs, below=0.15 * len(maps))
    if image is not None:
        draw_image(axes[0, 0], image)
        axes[0, 0].set_title("image")
    for row, (line, names) in enumerate(zip(maps, titles, strict=True)):
        for panel, attention, name in zip(axes[row, first:], line, names, strict=False):
            draw_attention(panel, attention, None if emission is None else emission[row])
            panel.set_title(name)
        if rows is not None:
            name_row(axes[row, 0], rows[row])
    for panel in axes.flat:
        if not panel.images:
            panel.set_visible(False)
    if title:
        figure.suptitle(title)
    return figure


@rc_context(STYLE)
def preprocessing_figure(
    field: ArrayLike, clipped: ArrayLike, prepared: ArrayLike, augmented: ArrayLike, *, width: float = PAGE_WIDTH
) -> Figure:
    """Preprocessing stage by stage (Figure 3).

    Parameters
    ----------
    field : array_like, shape (ny, nx)
        As observed, 300x300 px or the crop alone; a box shows the crop where the field is larger.
    clipped : array_like, shape (150, 150)
        The crop after clipping.
    prepared : array_like, shape (150, 150)
        The network's input.
    augmented : array_like, shape (n, 150, 150)
        Random augmentations of it.
    width : float
        Inches.
    """
    field, augmented = np.asarray(field, float), np.asarray(augmented)
    figure, axes = sky_panels(1, 3 + len(augmented), width)
    draw_image(axes[0, 0], field)
    if min(field.shape) > CROP_SIZE:
        half = PIXEL_SCALE * CROP_SIZE / 2
        box = Rectangle((-half, -half), 2 * half, 2 * half, fill=False, edgecolor=LINE_COLOUR, linewidth=0.8)
        axes[0, 0].add_patch(box)
    draw_image(axes[0, 1], clipped)
    for panel, image in zip(axes[0, 2:], (prepared, *augmented), strict=True):
        draw_input(panel, image)
    names = ["observed", "clipped, cropped", "network's input", *(["augmented"] * len(augmented))]
    for panel, name in zip(axes[0], names, strict=True):
        panel.set_title(name)
    return figure


@rc_context(STYLE)
def network_figure(
    image: ArrayLike,
    features: Sequence[ArrayLike],
    gates: Sequence[ArrayLike],
    probabilities: ArrayLike,
    *,
    width: float = PAGE_WIDTH,
) -> Figure:
    """The network with what its parts make of one source (Figures 1 and 2).

    Parameters
    ----------
    image : array_like, shape (150, 150)
        The network's input.
    features : sequence of array_like, shapes (channels, h, w)
        Output of each block of convolutions; the four channels that vary most are drawn.
    gates : sequence of array_like, shapes (h, w)
        Maps of gates 1, 2, 3 at their own resolution.
    probabilities : array_like, shape (2,)
    width : float
        Inches.
    """
    image = np.asarray(image, float)
    figure = Figure((width, 0.47 * width))
    grid = figure.add_gridspec(2, 5, left=0.02, right=0.98, top=0.92, bottom=0.1, wspace=0.35, hspace=0.35)
    top = [figure.add_subplot(grid[0, column]) for column in range(5)]
    draw_input(top[0], image)
    top[0].set_title(f"input 1 {_TIMES} {image.shape[0]}²")
    for number, (panel, block) in enumerate(zip(top[1:], features, strict=True), start=1):
        show(panel, _tiles(np.asarray(block)), IMAGE_COLOURS, Normalize(0, 1))
        panel.set_title(f"block {number}: {len(block)} {_TIMES} {block.shape[-1]}²")
    below = {}
    for number, attention in enumerate(gates, start=1):
        panel = below[number] = figure.add_subplot(grid[1, 4 - number])  # gate 1 sees block 3
        draw_attention(panel, attention)
        label = f"gate {number}: {np.shape(attention)[-1]}²"
        panel.text(0.04, 0.05, label, transform=panel.transAxes, color="white", path_effects=OUTLINE)
    for panel in (*top, *below.values()):
        panel.set(xticks=[], yticks=[])
    chart = figure.add_axes((0.07, 0.24, 0.09, 0.18))
    chart.barh(CLASSES, np.asarray(probabilities, float), color=["#2f7fc1", "#d9822b"], height=0.5)
    chart.set(xlim=(0, 1), ylim=(1.6, -0.6), xticks=[0, 1], xlabel="probability")
    for before, after in pairwise(top):
        _arrow(figure, before, (1.02, 0.5), after, (-0.04, 0.5))
    for number, panel in below.items():
        _arrow(figure, top[4 - number], (0.5, -0.03), panel, (0.5, 1.03))
        _arrow(figure, top[4], (0.5, -0.03), panel, (0.9, 1.03), colour="#7a7a7a", style="--")
    if not below:
        _arrow(figure, top[4], (0.5, -0.03), chart, (1.05, 0.5))
        return figure
    line, end = 0.035, 0.115  # all gates lead to a line below them, and that to the probabilities
    feet = [(panel.get_position().x0 + panel.get_position().x1) / 2 for panel in below.values()]
    for x in feet:
        figure.add_artist(Line2D((x, x), (line, 0.09), color="black", linewidth=0.7))
    figure.add_artist(Line2D((max(feet), end), (line, line), color="black", linewidth=0.7))
    figure.add_artist(FancyArrowPatch((end, line), (end, 0.11), arrowstyle="->", mutation_scale=8, linewidth=0.7))
    return figure


@rc_context(STYLE)
def aggregate_figure(maps: AggregateMaps, *, by: str = "label", width: float = PAGE_WIDTH) -> Figure:
    """Mean image, mean attention and each gate for FRI, FRII and their difference (Figures 8 and 9).

    Parameters
    ----------
    maps : AggregateMaps
    by : {"label", "predicted"}
        Which class.
    width : float
        Inches.
    """
    if by not in ("label", "predicted"):
        raise InputError(f"by must be label or predicted, not {by!r}")
    kinds: list = [*(["mean"] if maps.gates else []), *range(1, maps.gates + 1)]
    figure, axes = sky_panels(3, 1 + len(kinds), width, below=0.6)
    for column, kind in enumerate([None, *kinds]):
        pair = [maps.image(**{by: c}) if kind is None else maps.attention(kind, **{by: c}) for c in (0, 1)]
        limits = float(np.nanmin(pair)), float(np.nanmax(pair))
        for row, mean in enumerate(pair):
            if kind is None:
                drawn = draw_mean_image(axes[row, 0], mean, peak=limits[1])
            else:
                drawn = draw_attention(axes[row, column], mean, limits=limits)
        colour_bar(figure, drawn, axes[1, column])
        change = pair[0] - pair[1]
        limit = DIFFERENCE_LIMIT if kind is None else max(float(np.nanmax(np.abs(change), initial=0)), 1e-12)
        colour_bar(figure, draw_difference(axes[2, column], change, limit=limit), axes[2, column])
        name = "image" if kind is None else "mean attention" if kind == "mean" else f"gate {kind}"
        axes[0, column].set_title(f"⟨{name}⟩")
    word = "" if by == "label" else "predicted "
    for row, name in enumerate(CLASSES):
        name_row(axes[row, 0], f"{word}{name}\n{maps.count(**{by: row}):,} images")
    name_row(axes[2, 0], f"⟨{word}FRI⟩ {_MINUS} ⟨{word}FRII⟩")
    return figure


@rc_context(STYLE)
def difference_figure(maps: AggregateMaps, *, by: str = "label", width: float = COLUMN_WIDTH) -> Figure:
    """The mean image of FRI less that of FRII, saturated at ±0.05 (Figure 8)."""
    figure, axes = sky_panels(1, 1, width, right=0.7)
    drawn = draw_difference(axes[0, 0], maps.image(**{by: 0}) - maps.image(**{by: 1}))
    figure.colorbar(drawn, ax=axes[0, 0], extend="both", label=f"⟨FRI⟩ {_MINUS} ⟨FRII⟩", shrink=0.9)
    return figure


@rc_context(STYLE)
def confusion_figure(maps: AggregateMaps, *, width: float = COLUMN_WIDTH) -> Figure:
    """Mean attention by label and predicted class, with contours of the mean image (Figure 11)."""
    figure, axes = sky_panels(2, 2, width, right=0.6, below=0.3)
    cells = {(t, p): maps.attention(label=t, predicted=p) for t in (0, 1) for p in (0, 1)}
    limits = _common_limits(list(cells.values()))
    for (true, predicted), mean in cells.items():
        panel = axes[true, predicted]
        drawn = draw_attention(panel, mean, limits=limits)
        draw_levels(panel, maps.image(label=true, predicted=predicted), MEAN_IMAGE_LEVELS[2:])
        panel.set_title(f"{maps.count(label=true, predicted=predicted):,} images", fontsize=7)
    for k, name in enumerate(CLASSES):
        axes[0, k].set_title(f"predicted {name}\n{axes[0, k].get_title()}")
        name_row(axes[k, 0], f"labelled {name}")
    figure.colorbar(drawn, ax=axes, label="mean attention", shrink=0.8)
    return figure


@rc_context(STYLE)
def certainty_figure(maps: AggregateMaps, *, by: str = "label", width: float = PAGE_WIDTH) -> Figure:
    """Mean images with their contours, and mean attention, by class and certainty (Figure 12)."""
    groups = [{by: c, "certain": certain} for c in (0, 1) for certain in (True, False)]
    figure, axes = sky_panels(2, len(groups), width, right=0.6, below=0.1)
    limits = _common_limits([maps.attention(**group) for group in groups])
    top = _common_limits([maps.image(**group) for group in groups])[1]
    for column, group in enumerate(groups):
        image = maps.image(**group)
        shown = draw_mean_image(axes[0, column], image, peak=top)
        drawn = draw_attention(axes[1, column], maps.attention(**group), limits=limits)
        word = "certain" if group["certain"] else "uncertain"
        axes[0, column].set_title(f"{word} {CLASSES[group[by]]}\n{maps.count(**group):,} images")
    figure.colorbar(shown, ax=axes[0], label="⟨image⟩")
    figure.colorbar(drawn, ax=axes[1], label="⟨attention⟩")
    return figure


@rc_context(STYLE)
def outliers_figure(
    images: Sequence[ArrayLike], maps: Sequence[ArrayLike], titles: Sequence[str], *, width: float = PAGE_WIDTH
) -> Figure:
    """Pairs of image, with a contour at the clip, and mean attention, three sources a row (Figure 14).

    Parameters
    ----------
    images : sequence of array_like, shape (150, 150)
        Clipped.
    maps : sequence of array_like, shape (150, 150)
    titles : sequence of str
    width : float
        Inches.
    """
    pairs = min(3, max(1, len(images)))
    lines = max(1, -(-len(images) // pairs))
    figure, axes = sky_panels(lines, 2 * pairs, width * pairs / 3 if pairs < 3 else width)
    for number, (image, attention, title) in enumerate(zip(images, maps, titles, strict=True)):
        left, right = axes[number // pairs, 2 * (number % pairs) :][:2]
        draw_image(left, image, emission=image)
        draw_attention(right, attention, image)
        left.set_title(title, loc="left")
    for panel in axes.flat[2 * len(images) :]:
        panel.set_axis_off()
    return figure


def save_figure(figure: Figure, path: str | os.PathLike, *, overwrite: bool = False) -> list[Path]:
    """Write a figure as PNG (300 dpi) and as PDF.

    Parameters
    ----------
    figure : Figure
    path : path-like
        A suffix ``.png`` or ``.pdf`` is left away: both are written.
    overwrite : bool

    Returns
    -------
    list of Path

    Raises
    ------
    OutputError
        A file exists already or cannot be written.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix.lower() in (".png", ".pdf") else path
    files = [stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf")]
    for file in files:
        if file.exists() and not overwrite:
            raise OutputError(f"{file} exists: choose another name or allow overwriting")
    try:
        with rc_context(STYLE):
            for file in files:
                figure.savefig(file)
    except OSError as exc:
        raise OutputError(f"{file} cannot be written: {exc.strerror or exc}") from exc
    return files


def _common_limits(maps: list[NDArray]) -> tuple[float, float]:
    """Least and greatest value of maps of which some may be NaN."""
    known = [m for m in maps if np.isfinite(m).all()]
    return (float(np.min(known)), float(np.max(known))) if known else (0.0, 1.0)


def _tiles(block: NDArray) -> NDArray:
    """The four channels of (C, h, w) that vary most, each scaled to 0-1, as a square of two by two."""
    chosen = np.sort(np.argsort(block.std((1, 2)))[::-1][:4])
    scaled = [c / max(c.max(), 1e-30) for c in np.clip(block[chosen], 0, None)]
    return np.block([[scaled[2], scaled[3]], [scaled[0], scaled[1]]])


def _arrow(figure: Figure, start: Axes, a: tuple, end: Axes, b: tuple, colour: str = "black", style: str = "-") -> None:
    """Draw an arrow between points of two panels, each in fractions of its panel."""
    ends = start.transAxes, end.transAxes
    figure.add_artist(ConnectionPatch(a, b, *ends, arrowstyle="->", color=colour, linestyle=style, linewidth=0.7))
