"""Figures of images and attention maps for a journal: 84 or 174 mm wide, 7 pt type, readable without colour vision.

Functions called ``draw_…`` draw into an Axes; those called ``…_figure`` make a figure of several. The sky is drawn on a
`~astropy.visualization.wcsaxes.WCSAxes` where a WCS is given, and as offsets in arcsec otherwise, east on the left.
The figures follow those of Bowles et al. 2021 (MNRAS 501, 4579), whose numbers the functions name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import ConnectionPatch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from radio_ag.attention import AggregateMaps
from radio_ag.errors import InputError, OutputError
from radio_ag.model import CLASSES
from radio_ag.preprocess import CROP_SIZE, PIXEL_SCALE

COLUMN_WIDTH, PAGE_WIDTH = 84 / 25.4, 174 / 25.4
"""Widths of a journal's column and page, inches."""
DIFFERENCE_LIMIT = 0.05
"""Where the difference of mean images saturates (Figure 8)."""
MEAN_IMAGE_LEVELS = (0.001, 0.005, 0.01, 0.05, 0.1)
"""Contours of mean images (Figure 12)."""
STYLE = {
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

_IMAGES, _ATTENTION, _DIFFERENCE = "Greys", "viridis", "PuOr_r"  # the last: orange where the first class is higher
_SOFTENING = 0.03  # asinh of an image over its peak: jets show beside hotspots
_OUTLINE = [withStroke(linewidth=1.3, foreground="black")]  # white lines show on yellow as well


def draw_image(axes: Axes, image: ArrayLike, *, emission: ArrayLike | None = None) -> AxesImage:
    """Draw an image in an asinh stretch, dark on white.

    Parameters
    ----------
    axes : Axes
        A WCSAxes, or any other for offsets in arcsec.
    image : array_like, shape (ny, nx)
        In any unit; pixels below 0 and NaN are white.
    emission : array_like, shape (ny, nx), optional
        Clipped image: its edge is drawn as a contour.
    """
    image = np.nan_to_num(np.asarray(image, float), nan=0.0)
    scaled = np.arcsinh(np.clip(image / max(image.max(), 1e-30), 0, None) / _SOFTENING)
    drawn = _show(axes, scaled, _IMAGES, Normalize(0, max(scaled.max(), 1e-30)))
    if emission is not None:
        draw_clip(axes, emission, colour="#c43c00")
    return drawn


def draw_attention(
    axes: Axes, attention: ArrayLike, emission: ArrayLike | None = None, *, limits: tuple[float, float] | None = None
) -> AxesImage:
    """Draw an attention map.

    Parameters
    ----------
    axes : Axes
    attention : array_like, shape (ny, nx)
    emission : array_like, shape (ny, nx), optional
        Clipped image of the source: its edge is drawn over the map.
    limits : tuple of float, optional
        Values of the lowest and the highest colour; the map's own by default.
    """
    attention = np.asarray(attention, float)
    low, high = limits or (np.nanmin(attention, initial=np.inf), np.nanmax(attention, initial=-np.inf))
    drawn = _show(axes, attention, _ATTENTION, Normalize(low, high if high > low else low + 1))
    if emission is not None:
        draw_clip(axes, emission)
    return drawn


def draw_difference(axes: Axes, difference: ArrayLike, *, limit: float = DIFFERENCE_LIMIT) -> AxesImage:
    """Draw a difference, saturated at ``limit`` on both sides: orange above zero, purple below (Figure 8)."""
    return _show(axes, np.asarray(difference, float), _DIFFERENCE, Normalize(-limit, limit))


def draw_clip(axes: Axes, emission: ArrayLike, colour: str = "white") -> None:
    """Draw the edge of a clipped image: the contour at the clip (Figure 14)."""
    _contour(axes, (np.asarray(emission) > 0).astype(float), [0.5], colour)


def draw_levels(axes: Axes, image: ArrayLike, levels: Sequence[float] = MEAN_IMAGE_LEVELS) -> None:
    """Draw contours of a mean image at fixed levels (Figure 12)."""
    _contour(axes, np.asarray(image, float), list(levels), "white")


def draw_attention_levels(axes: Axes, attention: ArrayLike, shares: Sequence[float] = (0.5, 0.75, 0.9)) -> None:
    """Draw contours of an attention map at shares of the way from its least to its greatest value (Figure 4)."""
    attention = np.asarray(attention, float)
    low, high = attention.min(), attention.max()
    _contour(axes, attention, [low + share * (high - low) for share in shares], "#0063b2")


def _contour(axes: Axes, image: NDArray, levels: list[float], colour: str) -> None:
    image = np.nan_to_num(image, nan=0.0)
    levels = [level for level in levels if image.min() < level < image.max()]
    if levels:
        lines = axes.contour(image, levels, colors=colour, linewidths=0.6, **_extent(axes, image))
        if colour == "white":
            lines.set(path_effects=_OUTLINE)


def _show(axes: Axes, image: NDArray, colours: str, norm: Normalize) -> AxesImage:
    return axes.imshow(image, origin="lower", cmap=colours, norm=norm, **_extent(axes, image))


def _extent(axes: Axes, image: NDArray) -> dict:
    """Offsets in arcsec, east on the left, unless the axes know the sky."""
    if hasattr(axes, "coords"):
        return {}
    half_y, half_x = (PIXEL_SCALE * side / 2 for side in image.shape)
    return {"extent": (half_x, -half_x, -half_y, half_y)}


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
    figure, axes = _panels(1, len(gates) + 2, width, wcs)
    draw_image(axes[0, 0], image)
    draw_attention_levels(axes[0, 0], mean)
    axes[0, 0].set_title("image, mean attention")
    names = (*(f"gate {number}" for number in range(1, len(gates) + 1)), "mean")
    for panel, attention, name in zip(axes[0, 1:], (*gates, mean), names, strict=True):
        drawn = draw_attention(panel, attention, emission)
        panel.set_title(name)
        _colour_bar(figure, drawn, panel)
    figure.suptitle(title)
    return figure


@rc_context(STYLE)
def grid_figure(
    maps: Sequence[Sequence[ArrayLike]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
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
        By row and column.
    rows, columns : sequence of str
        What the rows and columns are; line breaks are kept.
    emission : sequence of array_like, optional
        Clipped image for each row.
    image : array_like, optional
        Drawn before the first column of each row.
    wcs : WCS, optional
    title : str
    width : float
        Inches.
    """
    first = 0 if image is None else 1
    figure, axes = _panels(len(rows), len(columns) + first, width, wcs)
    for row, (line, name) in enumerate(zip(maps, rows, strict=True)):
        clipped = None if emission is None else emission[row]
        if image is not None:
            draw_image(axes[row, 0], image)
        for panel, attention, column in zip(axes[row, first:], line, columns, strict=True):
            draw_attention(panel, attention, clipped)
            if row == 0:
                panel.set_title(column)
        _name_row(axes[row, 0], name)
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
    figure, axes = _panels(1, 3 + len(augmented), width)
    draw_image(axes[0, 0], field)
    if min(field.shape) > CROP_SIZE:
        half = PIXEL_SCALE * CROP_SIZE / 2
        box = Rectangle((-half, -half), 2 * half, 2 * half, fill=False, edgecolor="#c43c00", linewidth=0.8)
        axes[0, 0].add_patch(box)
    draw_image(axes[0, 1], clipped)
    for panel, image in zip(axes[0, 2:], (prepared, *augmented), strict=True):
        image = np.asarray(image, float)
        _show(panel, image, _IMAGES, Normalize(image.min(), max(image.max(), image.min() + 1e-9)))
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
    grid = figure.add_gridspec(2, 5, left=0.02, right=0.98, top=0.9, bottom=0.04, wspace=0.35, hspace=0.5)
    top = [figure.add_subplot(grid[0, column]) for column in range(5)]
    _show(top[0], image, _IMAGES, Normalize(image.min(), max(image.max(), image.min() + 1e-9)))
    top[0].set_title(f"input 1 × {image.shape[0]}²")
    for number, (panel, block) in enumerate(zip(top[1:], features, strict=True), start=1):
        _show(panel, _tiles(np.asarray(block)), _IMAGES, Normalize(0, 1))
        panel.set_title(f"block {number}: {len(block)} × {block.shape[-1]}²")
    below = {}
    for number, attention in enumerate(gates, start=1):
        panel = below[number] = figure.add_subplot(grid[1, 4 - number])  # gate 1 sees block 3
        draw_attention(panel, attention)
        panel.set_title(f"gate {number}: {np.shape(attention)[-1]}²", y=-0.19)
    for panel in (*top, *below.values()):
        panel.set(xticks=[], yticks=[])
    chart = figure.add_subplot(grid[1, 0])
    chart.barh(CLASSES, np.asarray(probabilities, float), color=["#2f7fc1", "#d9822b"], height=0.5)
    chart.set(xlim=(0, 1), ylim=(1.6, -0.6), xticks=[0, 1])
    chart.tick_params(axis="y", pad=-2, direction="in")
    chart.set_title("probability", y=-0.42)
    for before, after in zip(top, top[1:], strict=False):
        _arrow(figure, before, (1.02, 0.5), after, (-0.04, 0.5))
    for number, panel in below.items():
        _arrow(figure, top[4 - number], (0.5, -0.03), panel, (0.5, 1.03))
        _arrow(figure, top[4], (0.5, -0.03), panel, (0.9, 1.03), colour="#7a7a7a", style="--")
    last = below[max(below)] if below else top[4]
    _arrow(figure, last, (-0.04, 0.5), chart, (1.05, 0.5))
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
    figure, axes = _panels(3, 1 + len(kinds), width)
    for column, kind in enumerate([None, *kinds]):
        pair = [maps.image(**{by: c}) if kind is None else maps.attention(kind, **{by: c}) for c in (0, 1)]
        limits = float(np.nanmin(pair)), float(np.nanmax(pair))
        for row, mean in enumerate(pair):
            if kind is None:
                drawn = _show(axes[row, 0], mean, _IMAGES, Normalize(0, limits[1]))
                _contour(axes[row, 0], mean, list(MEAN_IMAGE_LEVELS), "#c43c00")
            else:
                drawn = draw_attention(axes[row, column], mean, limits=limits)
        _colour_bar(figure, drawn, axes[1, column])
        change = pair[0] - pair[1]
        limit = DIFFERENCE_LIMIT if kind is None else max(float(np.nanmax(np.abs(change), initial=0)), 1e-12)
        _colour_bar(figure, draw_difference(axes[2, column], change, limit=limit), axes[2, column])
        name = "image" if kind is None else "mean attention" if kind == "mean" else f"gate {kind}"
        axes[0, column].set_title(f"⟨{name}⟩")
    word = "" if by == "label" else "predicted "
    for row, name in enumerate(CLASSES):
        _name_row(axes[row, 0], f"{word}{name}\n{maps.count(**{by: row}):,} images")
    _name_row(axes[2, 0], f"⟨{word}FRI⟩ − ⟨{word}FRII⟩")
    return figure


@rc_context(STYLE)
def difference_figure(maps: AggregateMaps, *, by: str = "label", width: float = COLUMN_WIDTH) -> Figure:
    """The mean image of FRI less that of FRII, saturated at ±0.05 (Figure 8)."""
    figure, axes = _panels(1, 1, width)
    drawn = draw_difference(axes[0, 0], maps.image(**{by: 0}) - maps.image(**{by: 1}))
    figure.colorbar(drawn, ax=axes[0, 0], extend="both", label="⟨FRI⟩ − ⟨FRII⟩", shrink=0.9)
    return figure


@rc_context(STYLE)
def confusion_figure(maps: AggregateMaps, *, width: float = COLUMN_WIDTH) -> Figure:
    """Mean attention by label and predicted class, with contours of the mean image (Figure 11)."""
    figure, axes = _panels(2, 2, width)
    cells = {(t, p): maps.attention(label=t, predicted=p) for t in (0, 1) for p in (0, 1)}
    limits = _common_limits(list(cells.values()))
    for (true, predicted), mean in cells.items():
        panel = axes[true, predicted]
        drawn = draw_attention(panel, mean, limits=limits)
        draw_levels(panel, maps.image(label=true, predicted=predicted))
        panel.set_title(f"{maps.count(label=true, predicted=predicted):,} images", fontsize=7)
    for k, name in enumerate(CLASSES):
        axes[0, k].set_title(f"predicted {name}\n{axes[0, k].get_title()}")
        _name_row(axes[k, 0], f"labelled {name}")
    figure.colorbar(drawn, ax=axes, label="mean attention", shrink=0.8)
    return figure


@rc_context(STYLE)
def certainty_figure(maps: AggregateMaps, *, by: str = "label", width: float = PAGE_WIDTH) -> Figure:
    """Mean images with their contours, and mean attention, by class and certainty (Figure 12)."""
    groups = [{by: c, "certain": certain} for c in (0, 1) for certain in (True, False)]
    figure, axes = _panels(2, len(groups), width)
    limits = _common_limits([maps.attention(**group) for group in groups])
    top = _common_limits([maps.image(**group) for group in groups])[1]
    for column, group in enumerate(groups):
        image = maps.image(**group)
        shown = _show(axes[0, column], image, _IMAGES, Normalize(0, top))
        _contour(axes[0, column], image, list(MEAN_IMAGE_LEVELS), "#c43c00")
        drawn = draw_attention(axes[1, column], maps.attention(**group), limits=limits)
        draw_levels(axes[1, column], image)
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
    figure, axes = _panels(lines, 2 * pairs, width * pairs / 3 if pairs < 3 else width)
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


def _panels(rows: int, columns: int, width: float, wcs=None) -> tuple[Figure, NDArray]:
    """A figure of square panels on the sky; coordinates are written at its left and lower edge alone."""
    size = width / columns
    figure = Figure((width, rows * size + 0.55), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    axes = np.empty((rows, columns), object)
    for row in range(rows):
        for column in range(columns):
            options = {} if wcs is None else {"projection": wcs}
            panel = figure.add_subplot(rows, columns, row * columns + column + 1, **options)
            axes[row, column] = panel
            _label_sky(panel, lowest=row == rows - 1, leftmost=column == 0)
    return figure, axes


def _label_sky(panel: Axes, *, lowest: bool, leftmost: bool) -> None:
    names = ("RA (ICRS)", "Dec (ICRS)") if hasattr(panel, "coords") else ("ΔRA [″]", "ΔDec [″]")
    if hasattr(panel, "coords"):
        for coordinate, name, shown in zip(panel.coords, names, (lowest, leftmost), strict=True):
            coordinate.set_axislabel(name if shown else " ")
            coordinate.set_ticklabel_visible(shown)
            coordinate.set_ticks(number=3)
            coordinate.set_ticklabel(exclude_overlapping=True, size=7)
        return
    ticks = (-100, 0, 100)
    panel.set_xticks(ticks, map(str, ticks) if lowest else ["", "", ""])
    panel.set_yticks(ticks, map(str, ticks) if leftmost else ["", "", ""])
    panel.set_xlabel(names[0] if lowest else "")
    panel.set_ylabel(names[1] if leftmost else "")


def _name_row(panel: Axes, name: str) -> None:
    """Write what a row of panels is before the label of its vertical axis."""
    if hasattr(panel, "coords"):
        panel.coords[1].set_axislabel(f"{name}\nDec (ICRS)")
    else:
        panel.set_ylabel(f"{name}\n{panel.get_ylabel()}")


def _colour_bar(figure: Figure, drawn: AxesImage, panel: Axes) -> None:
    bar = figure.colorbar(drawn, ax=panel, location="bottom", shrink=0.9, aspect=14, pad=0.02)
    bar.ax.locator_params(nbins=3)
    bar.outline.set_linewidth(0.5)


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
    figure.add_artist(
        ConnectionPatch(
            a, b, "axes fraction", "axes fraction", start, end, arrowstyle="->", color=colour, linestyle=style, lw=0.7
        )
    )
