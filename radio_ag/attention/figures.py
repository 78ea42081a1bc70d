"""Figures of images and attention maps for a journal: 84 or 174 mm wide, 7 pt type, readable without colour vision.

Functions called ``…_figure`` make a figure; the panels that they are made of are those of `radio_ag.attention.panels`.
The sky is drawn on a `~astropy.visualization.wcsaxes.WCSAxes` where a WCS is given, and as offsets in arcsec otherwise,
east on the left. The figures follow those of Bowles et al. 2021 (MNRAS 501, 4579), whose numbers the functions name.

This module and `radio_ag.attention.panels` are all that needs matplotlib, which the extra ``plot`` installs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch, FancyArrowPatch, Rectangle
from numpy.typing import ArrayLike, NDArray

from radio_ag.attention.panels import (
    COLUMN_WIDTH,
    DIFFERENCE_LIMIT,
    LINE_COLOUR,
    MEAN_IMAGE_LEVELS,
    OUTLINE,
    PAGE_WIDTH,
    STYLE,
    Beam,
    add_scale,
    colour_bar,
    draw_attention,
    draw_attention_levels,
    draw_difference,
    draw_features,
    draw_image,
    draw_input,
    draw_levels,
    draw_mean_image,
    most_varied,
    name_row,
    show,
    sky_panels,
    wrap,
)
from radio_ag.attention.statistics import AggregateMaps
from radio_ag.catalog_io.export.drawing import CLASS_COLOURS
from radio_ag.errors import InputError, OutputError
from radio_ag.network.model import CLASSES, GateSteps
from radio_ag.preprocess.images import CROP_SIZE, PIXEL_SCALE
from radio_ag.writing import check_output

_TIMES, _MINUS, _CONVOLVED = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{ASTERISK OPERATOR}"
_ARROW, _PRIME = "\N{RIGHTWARDS ARROW}", "\N{PRIME}"
_BETWEEN = (_ARROW, "+", _ARROW, _ARROW, _ARROW, _ARROW)  # panels of a gate


@rc_context(STYLE)
def source_figure(
    image: ArrayLike,
    gates: ArrayLike,
    *,
    emission: ArrayLike,
    wcs: WCS | None = None,
    beam: Beam | None = None,
    orientations: int = 1,
    title: str = "",
    width: float = PAGE_WIDTH,
) -> Figure:
    """Draw one source: its image with contours of the mean attention, the map of each gate, and their mean (Figure 4).

    Parameters
    ----------
    image : array_like, shape (150, 150)
        Cutout in any unit.
    gates : array_like, shape (gates, 150, 150)
        Map of each gate.
    emission : array_like, shape (150, 150)
        Clipped image, whose edge is drawn over the maps.
    wcs : WCS, optional
        Of the cutout.
    beam : tuple of float, optional
        Of the image: major and minor axis, arcsec, and position angle, degrees.
    orientations : int
        Over which the maps are means.
    title : str
        Such as name, class, probability and weights.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    gates = np.asarray(gates, float)
    mean = gates.mean(0)
    figure, axes = sky_panels(1, len(gates) + 2, width, wcs, below=0.62)
    colour_bar(figure, draw_image(axes[0, 0], image), axes[0, 0], "flux density / peak")
    draw_attention_levels(axes[0, 0], mean)
    add_scale(axes[0, 0], beam)
    axes[0, 0].set_title("image, attention")
    over = f"attention, mean\nof {orientations} orientations" if orientations > 1 else "attention"
    names = (*(f"gate {number}" for number in range(1, len(gates) + 1)), "mean of gates")
    for panel, attention, name in zip(axes[0, 1:], (*gates, mean), names, strict=True):
        drawn = draw_attention(panel, attention, emission)
        panel.set_title(name)
        colour_bar(figure, drawn, panel, over)
    if title:
        figure.suptitle(title)
    return figure


@rc_context(STYLE)
def grid_figure(
    maps: Sequence[Sequence[ArrayLike | None]],
    titles: Sequence[Sequence[str]],
    *,
    rows: Sequence[str] | None = None,
    emission: Sequence[ArrayLike] | None = None,
    images: Sequence[ArrayLike | None] | None = None,
    wcs: WCS | None = None,
    beam: Beam | None = None,
    title: str = "",
    width: float = PAGE_WIDTH,
) -> Figure:
    """Draw maps of several networks side by side, each in its own range of colours (Figures 5, 6, 7, 10, 13).

    Parameters
    ----------
    maps : sequence of sequences of array_like, shape (150, 150)
        By row and column; rows may be shorter than the first. None is drawn as a panel that says "no gates".
    titles : sequence of sequences of str
        Of each map.
    rows : sequence of str, optional
        What the rows are.
    emission : sequence of array_like, optional
        Clipped image for each row, whose edge is drawn over its maps.
    images : sequence of array_like, optional
        Drawn before each row's maps; None leaves the place free.
    wcs : WCS, optional
        Of all panels.
    beam : tuple of float, optional
        Of the images: major and minor axis, arcsec, and position angle, degrees.
    title : str
        Of the whole.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    first = 0 if images is None else 1
    columns = len(maps[0]) + first
    room = (width - 0.55) / columns
    titles = [["\n".join(wrap(part, room) for part in name.split("\n")) for name in line] for line in titles]
    further = sum(max((name.count("\n") for name in line), default=0) for line in titles) + bool(title)
    figure, axes = sky_panels(len(maps), columns, width, wcs, below=0.14 * further + 0.36 * len(maps))
    used = set()
    if images is not None:
        for row, image in enumerate(images):
            if image is not None:
                colour_bar(figure, draw_image(axes[row, 0], image), axes[row, 0], "flux / peak")
                add_scale(axes[row, 0], beam)
                used.add(axes[row, 0])
        axes[0, 0].set_title("image")
    for row, (line, names) in enumerate(zip(maps, titles, strict=True)):
        for panel, attention, name in zip(axes[row, first:], line, names, strict=False):
            if attention is None:
                show(panel, np.full((CROP_SIZE, CROP_SIZE), np.nan), "Greys", Normalize(0, 1))
                panel.text(0.5, 0.5, "no gates", transform=panel.transAxes, ha="center", va="center")
            else:
                drawn = draw_attention(panel, attention, None if emission is None else emission[row])
                colour_bar(figure, drawn, panel, "attention")
            panel.set_title(name)
            used.add(panel)
        if rows is not None:
            name_row(axes[row, 0], rows[row])
    for panel in set(axes.flat) - used:
        panel.set_visible(False)
    if title:
        figure.suptitle(title)
    return figure


@rc_context(STYLE)
def preprocessing_figure(
    field: ArrayLike,
    clipped: ArrayLike,
    prepared: ArrayLike,
    augmented: ArrayLike,
    *,
    beam: Beam | None = None,
    title: str = "",
    width: float = PAGE_WIDTH,
) -> Figure:
    """Draw preprocessing stage by stage, all on one scale of colours (Figure 3).

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
    beam : tuple of float, optional
        Of the field: major and minor axis, arcsec, and position angle, degrees.
    title : str
        Such as name, class, probability and weights.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    field, augmented = np.asarray(field, float), np.asarray(augmented)
    figure, axes = sky_panels(1, 3 + len(augmented), width, below=0.4 + 0.14 * bool(title))
    clipped, prepared = np.asarray(clipped, float), np.asarray(prepared, float)
    peak = max(float(np.nanmax(clipped, initial=0)), 1e-30)
    low, high = float(np.min(prepared)), float(np.max(prepared))
    shares = [field / peak, clipped / peak, (prepared - low) / max(high - low, 1e-30), *augmented]
    for panel, share in zip(axes[0], shares, strict=True):
        drawn = draw_image(panel, share, peak=1.0)
        add_scale(panel, beam if panel in axes[0, :2] else None, side=PIXEL_SCALE * len(share))
    bar = figure.colorbar(drawn, ax=axes, location="bottom", aspect=50, shrink=0.6, pad=0.02)
    bar.set_ticks([0, 0.03, 0.1, 0.3, 1], labels=["0", "0.03", "0.1", "0.3", "1"])
    bar.minorticks_off()
    bar.set_label("share of the crop's peak; of the network's input, and augmented: its range")
    if title:
        figure.suptitle(title)
    if min(field.shape) > CROP_SIZE:
        half = PIXEL_SCALE * CROP_SIZE / 2
        box = Rectangle((-half, -half), 2 * half, 2 * half, fill=False, edgecolor=LINE_COLOUR, linewidth=0.8)
        axes[0, 0].add_patch(box)
    names = ["observed", "clipped, cropped", "network's input", *(["augmented"] * len(augmented))]
    for panel, name in zip(axes[0], names, strict=True):
        panel.set_title(name)
    return figure


@rc_context(STYLE)
def outliers_figure(
    images: Sequence[ArrayLike],
    maps: Sequence[ArrayLike],
    titles: Sequence[str],
    *,
    beam: Beam | None = None,
    title: str = "",
    width: float = PAGE_WIDTH,
) -> Figure:
    """Draw pairs of image, with a contour at the clip, and mean attention, three sources a row (Figure 14).

    Parameters
    ----------
    images : sequence of array_like, shape (150, 150)
        Clipped.
    maps : sequence of array_like, shape (150, 150)
        Mean attention.
    titles : sequence of str
        Of each pair.
    beam : tuple of float, optional
        Of the images: major and minor axis, arcsec, and position angle, degrees.
    title : str
        Of the whole, such as the weights.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    pairs = min(3, max(1, len(images)))
    lines = max(1, -(-len(images) // pairs))
    whole = width * pairs / 3 if pairs < 3 else width
    figure, axes = sky_panels(lines, 2 * pairs, whole, below=0.5 * lines)
    for number, (image, attention, name) in enumerate(zip(images, maps, titles, strict=True)):
        left, right = axes[number // pairs, 2 * (number % pairs) :][:2]
        colour_bar(figure, draw_image(left, image, emission=image), left, "flux / peak")
        colour_bar(figure, draw_attention(right, attention, image), right, "attention")
        add_scale(left, beam)
        left.set_title(name, loc="left")
    for panel in axes.flat[2 * len(images) :]:
        panel.set_axis_off()
    if title:
        figure.suptitle(title)
    return figure


@rc_context(STYLE)
def aggregate_figure(maps: AggregateMaps, *, by: str = "label", width: float = PAGE_WIDTH) -> Figure:
    """Draw mean image, mean attention and each gate for FRI, FRII and their difference (Figures 8 and 9).

    Parameters
    ----------
    maps : AggregateMaps
        Means over augmented sources.
    by : {"label", "predicted"}
        Which class.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    if by not in ("label", "predicted"):
        raise InputError(f"by must be label or predicted, not {by!r}")
    of_class: list[dict[str, Any]] = [{by: 0}, {by: 1}]
    gates: list[str | int] = [*(["mean"] if maps.gates else []), *range(1, maps.gates + 1)]
    figure, axes = sky_panels(3, 1 + len(gates), width, below=0.45)
    for column, gate in enumerate([None, *gates]):
        pair = [maps.image(**one) if gate is None else maps.attention(gate, **one) for one in of_class]
        limits = float(np.nanmin(pair)), float(np.nanmax(pair))
        for row, mean in enumerate(pair):
            if gate is None:
                drawn = draw_mean_image(axes[row, 0], mean, peak=limits[1])
            else:
                drawn = draw_attention(axes[row, column], mean, limits=limits)
        word = "mean flux / peak" if gate is None else "mean attention"
        colour_bar(figure, drawn, axes[1, column], word)
        change = pair[0] - pair[1]
        limit = DIFFERENCE_LIMIT if gate is None else max(float(np.nanmax(np.abs(change), initial=0)), 1e-12)
        colour_bar(figure, draw_difference(axes[2, column], change, limit=limit), axes[2, column], "difference")
        name = "image" if gate is None else "mean attention" if gate == "mean" else f"gate {gate}"
        axes[0, column].set_title(f"⟨{name}⟩")
    word = "" if by == "label" else "predicted "
    for row, name in enumerate(CLASSES):
        name_row(axes[row, 0], f"{word}{name}\n{maps.count(**of_class[row]):,} images")
    name_row(axes[2, 0], f"⟨{word}FRI⟩ {_MINUS} ⟨{word}FRII⟩")
    return figure


@rc_context(STYLE)
def difference_figure(maps: AggregateMaps, *, by: str = "label", width: float = COLUMN_WIDTH) -> Figure:
    """Draw the mean image of FRI less that of FRII, saturated at ±0.05 (Figure 8).

    Parameters
    ----------
    maps : AggregateMaps
        Means over augmented sources.
    by : {"label", "predicted"}
        Which class.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    figure, axes = sky_panels(1, 1, width, right=0.7)
    of_class: list[dict[str, Any]] = [{by: 0}, {by: 1}]
    first, second = (maps.image(**one) for one in of_class)
    drawn = draw_difference(axes[0, 0], first - second)
    figure.colorbar(drawn, ax=axes[0, 0], extend="both", label=f"⟨FRI⟩ {_MINUS} ⟨FRII⟩", shrink=0.9)
    return figure


@rc_context(STYLE)
def confusion_figure(maps: AggregateMaps, *, width: float = COLUMN_WIDTH) -> Figure:
    """Draw mean attention by label and predicted class, with contours of the mean image (Figure 11).

    Parameters
    ----------
    maps : AggregateMaps
        Of labelled sources.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    figure, axes = sky_panels(2, 2, width, right=0.6)
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
    """Draw mean images with their contours, and mean attention, by class and certainty (Figure 12).

    Parameters
    ----------
    maps : AggregateMaps
        Means over augmented sources.
    by : {"label", "predicted"}
        Which class.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    groups: list[dict[str, Any]] = [{by: c, "certain": certain} for c in (0, 1) for certain in (True, False)]
    figure, axes = sky_panels(2, len(groups), width, right=0.6)
    limits = _common_limits([maps.attention(**group) for group in groups])
    top = _common_limits([maps.image(**group) for group in groups])[1]
    for column, group in enumerate(groups):
        image = maps.image(**group)
        shown = draw_mean_image(axes[0, column], image, peak=top)
        drawn = draw_attention(axes[1, column], maps.attention(**group), limits=limits)
        word = "certain" if group["certain"] else "uncertain"
        axes[0, column].set_title(f"{word} {CLASSES[group[by]]}\n{maps.count(**group):,} images")
    figure.colorbar(shown, ax=axes[0], label="⟨image⟩, flux density / peak")
    figure.colorbar(drawn, ax=axes[1], label="⟨attention⟩")
    return figure


@rc_context(STYLE)
def network_figure(
    image: ArrayLike,
    features: Sequence[NDArray[np.float32]],
    gates: Sequence[ArrayLike],
    probabilities: ArrayLike,
    *,
    title: str = "",
    width: float = PAGE_WIDTH,
) -> Figure:
    """Draw the network with what its parts make of one source (Figures 1 and 2).

    Parameters
    ----------
    image : array_like, shape (150, 150)
        The network's input.
    features : sequence of array_like, shapes (channels, h, w)
        Output of each block of convolutions; the four channels that vary most are drawn.
    gates : sequence of array_like, shapes (h, w)
        Maps of gates 1, 2, 3 at their own resolution.
    probabilities : array_like, shape (2,)
        Of the classes.
    title : str
        Such as name, class, probability and weights.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    image = np.asarray(image, float)
    figure = Figure((width, 0.47 * width))
    if title:
        figure.suptitle(title, y=0.99, va="top")
    grid = figure.add_gridspec(
        2, 5, left=0.02, right=0.98, top=0.88 if title else 0.92, bottom=0.1, wspace=0.35, hspace=0.35
    )
    top = [figure.add_subplot(grid[0, column]) for column in range(5)]
    draw_input(top[0], image)
    top[0].set_title(f"input 1 {_TIMES} {image.shape[0]}²")
    for number, (panel, block) in enumerate(zip(top[1:], features, strict=True), start=1):
        draw_features(panel, block)
        panel.set_title(f"block {number}: {len(block)} {_TIMES} {block.shape[-1]}²")
    below = {}
    for number, attention in enumerate(gates, start=1):
        panel = below[number] = figure.add_subplot(grid[1, 4 - number])  # gate 1 sees block 3
        draw_attention(panel, attention)
        _write(panel, f"gate {number}: {np.shape(attention)[-1]}²")
    for panel in (*top, *below.values()):
        panel.set(xticks=[], yticks=[])
    chart = figure.add_axes((0.07, 0.24, 0.09, 0.18))
    chart.barh(CLASSES, np.asarray(probabilities, float), color=list(CLASS_COLOURS.values()), height=0.5)
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
def gate_steps_figure(steps: Sequence[GateSteps], *, title: str = "", width: float = PAGE_WIDTH) -> Figure:
    """Draw what happens inside each attention gate for one source, a gate a row (Figure 1).

    Of stacks of channels four are drawn, each over its peak: those of the features that vary most, and the same four of
    the intermediate channels in each of their panels. Orange is above zero and purple below.

    Parameters
    ----------
    steps : sequence of GateSteps
        As of `radio_ag.network.classifier.trace_network`.
    title : str
        Written over the whole.
    width : float
        Inches.

    Returns
    -------
    Figure
    """
    names = (
        *("features x", f"x {_CONVOLVED} θ", f"(g {_CONVOLVED} φ){_PRIME}", "ReLU of sum"),
        *(f"{_CONVOLVED} ψ: score", "attention", f"attention {_TIMES} x"),
    )
    side = (width - 0.42) / len(names)
    height = len(steps) * side + 0.2 + (0.18 if title else 0)
    figure = Figure((width, height))
    top = 1 - (0.38 if title else 0.2) / height
    grid = figure.add_gridspec(
        len(steps), len(names), left=0.38 / width, right=0.995, bottom=0.03 / height, top=top, wspace=0.24, hspace=0.06
    )
    for row, one in enumerate(steps):
        panels = [figure.add_subplot(grid[row, column], xticks=[], yticks=[]) for column in range(len(names))]
        own, shared = most_varied(one.features), most_varied(one.agreement)
        draw_features(panels[0], one.features, own)
        for panel, stack in zip(panels[1:3], (one.projected, one.gating), strict=True):
            draw_features(panel, stack, shared, signed=True)
        draw_features(panels[3], one.agreement, shared)
        for panel, values in zip(panels[4:6], (one.score, one.attention), strict=True):
            draw_attention(panel, values)
            _write(panel, f"{_number(values.min())} to {_number(values.max())}")
        draw_features(panels[6], one.attended, own, signed=True)
        panels[0].set_ylabel(f"gate {row + 1}\n{len(one.features)} {_TIMES} {one.score.shape[-1]}²")
        for panel, sign in zip(panels[1:], _BETWEEN, strict=True):
            panel.text(-0.12, 0.5, sign, transform=panel.transAxes, ha="center", va="center")
        if row == 0:
            for panel, name in zip(panels, names, strict=True):
                panel.set_title(name)
    if title:
        figure.suptitle(title, y=1 - 0.05 / height, va="top")
    return figure


def figure_files(path: str | os.PathLike, *, overwrite: bool = False) -> list[Path]:
    """Return the files that `save_figure` writes, for a check before a long run.

    Parameters
    ----------
    path : path-like
        A suffix ``.png`` or ``.pdf`` is left away.
    overwrite : bool
        Replace files of that name.

    Returns
    -------
    list of Path

    Raises
    ------
    OutputError
        A file exists already, or cannot be written.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix.lower() in (".png", ".pdf") else path
    files = [stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf")]
    for file in files:
        check_output(file, overwrite)
    return files


def save_figure(figure: Figure, path: str | os.PathLike, *, overwrite: bool = False) -> list[Path]:
    """Write a figure as PNG (300 dpi) and as PDF.

    Parameters
    ----------
    figure : Figure
        What to write.
    path : path-like
        A suffix ``.png`` or ``.pdf`` is left away: both are written.
    overwrite : bool
        Replace files of that name.

    Returns
    -------
    list of Path

    Raises
    ------
    OutputError
        A file exists already or cannot be written.
    """
    files = figure_files(path, overwrite=overwrite)
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


def _write(panel: Axes, text: str) -> None:
    panel.text(0.04, 0.05, text, transform=panel.transAxes, color="white", path_effects=OUTLINE)


def _number(value: float) -> str:
    """Two digits or, of large numbers, whole ones: a panel is narrow."""
    return (f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}").replace("-", _MINUS)


def _arrow(figure: Figure, start: Axes, a: tuple, end: Axes, b: tuple, colour: str = "black", style: str = "-") -> None:
    """Draw an arrow between points of two panels, each in fractions of its panel."""
    ends = start.transAxes, end.transAxes
    figure.add_artist(ConnectionPatch(a, b, *ends, arrowstyle="->", color=colour, linestyle=style, linewidth=0.7))
