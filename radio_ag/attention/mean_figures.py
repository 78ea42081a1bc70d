"""Figures of mean images and mean attention over sets of sources (Figures 8, 9, 11 and 12)."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from radio_ag.attention.panels import (
    COLUMN_WIDTH,
    DIFFERENCE_LIMIT,
    MEAN_IMAGE_LEVELS,
    PAGE_WIDTH,
    STYLE,
    colour_bar,
    draw_attention,
    draw_difference,
    draw_levels,
    draw_mean_image,
    name_row,
    sky_panels,
)
from radio_ag.attention.statistics import AggregateMaps
from radio_ag.errors import InputError
from radio_ag.network.model import CLASSES

_MINUS = "\N{MINUS SIGN}"


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
    figure, axes = sky_panels(3, 1 + len(kinds), width, below=0.15)
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
    """Mean images with their contours, and mean attention, by class and certainty (Figure 12)."""
    groups = [{by: c, "certain": certain} for c in (0, 1) for certain in (True, False)]
    figure, axes = sky_panels(2, len(groups), width, right=0.6)
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


def _common_limits(maps: list[NDArray]) -> tuple[float, float]:
    """Least and greatest value of maps of which some may be NaN."""
    known = [m for m in maps if np.isfinite(m).all()]
    return (float(np.min(known)), float(np.max(known))) if known else (0.0, 1.0)
