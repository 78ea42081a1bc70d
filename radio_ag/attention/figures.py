"""Figures of images and attention maps for a journal: 84 or 174 mm wide, 7 pt type, readable without colour vision.

Functions called ``draw_…`` draw into an Axes; those called ``…_figure`` make a figure of several. The sky is drawn on a
`~astropy.visualization.wcsaxes.WCSAxes` where a WCS is given, and as offsets in arcsec otherwise, east on the left.
The figures follow those of Bowles et al. 2021 (MNRAS 501, 4579), whose numbers the functions name.

This module and what it takes from ``_panels``, ``_network_figures`` and ``_mean_figures`` are all that needs
matplotlib, which the extra ``plot`` installs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from radio_ag.attention.mean_figures import aggregate_figure, certainty_figure, confusion_figure, difference_figure
from radio_ag.attention.network_figures import draw_features, gate_steps_figure, network_figure
from radio_ag.attention.panels import (
    COLUMN_WIDTH,
    LINE_COLOUR,
    PAGE_WIDTH,
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
from radio_ag.errors import OutputError
from radio_ag.preprocess.images import CROP_SIZE, PIXEL_SCALE
from radio_ag.writing import check_output

__all__ = [
    "COLUMN_WIDTH",
    "PAGE_WIDTH",
    "aggregate_figure",
    "certainty_figure",
    "confusion_figure",
    "difference_figure",
    "draw_attention",
    "draw_attention_levels",
    "draw_clip",
    "draw_difference",
    "draw_features",
    "draw_image",
    "draw_input",
    "draw_levels",
    "draw_mean_image",
    "figure_files",
    "gate_steps_figure",
    "grid_figure",
    "network_figure",
    "outliers_figure",
    "preprocessing_figure",
    "save_figure",
    "source_figure",
]


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
    figure, axes = sky_panels(1, len(gates) + 2, width, wcs, below=0.4)
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
    maps: Sequence[Sequence[ArrayLike | None]],
    titles: Sequence[Sequence[str]],
    *,
    rows: Sequence[str] | None = None,
    emission: Sequence[ArrayLike] | None = None,
    images: Sequence[ArrayLike | None] | None = None,
    wcs=None,
    title: str = "",
    width: float = PAGE_WIDTH,
) -> Figure:
    """Maps of several networks side by side, each in its own range of colours (Figures 5, 6, 7, 10, 13).

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
    title : str
        Of the whole.
    width : float
        Inches.
    """
    first = 0 if images is None else 1
    further = sum(any("\n" in name for name in line) for line in titles) + bool(title)  # lines of text
    figure, axes = sky_panels(len(maps), len(maps[0]) + first, width, wcs, below=0.14 * further)
    used = set()
    if images is not None:
        for row, image in enumerate(images):
            if image is not None:
                draw_image(axes[row, 0], image)
                used.add(axes[row, 0])
        axes[0, 0].set_title("image")
    for row, (line, names) in enumerate(zip(maps, titles, strict=True)):
        for panel, attention, name in zip(axes[row, first:], line, names, strict=False):
            if attention is None:
                show(panel, np.full((CROP_SIZE, CROP_SIZE), np.nan), "Greys", Normalize(0, 1))
                panel.text(0.5, 0.5, "no gates", transform=panel.transAxes, ha="center", va="center")
            else:
                draw_attention(panel, attention, None if emission is None else emission[row])
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


def figure_files(path: str | os.PathLike, *, overwrite: bool = False) -> list[Path]:
    """The files that `save_figure` writes, for a check before a long run.

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
    files = figure_files(path, overwrite=overwrite)
    try:
        with rc_context(STYLE):
            for file in files:
                figure.savefig(file)
    except OSError as exc:
        raise OutputError(f"{file} cannot be written: {exc.strerror or exc}") from exc
    return files
