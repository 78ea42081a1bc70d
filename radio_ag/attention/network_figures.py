"""Figures of the network's parts, with what each makes of one source (Figures 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch, FancyArrowPatch
from numpy.typing import ArrayLike, NDArray

from radio_ag.attention.panels import (
    DIFFERENCE_COLOURS,
    IMAGE_COLOURS,
    OUTLINE,
    PAGE_WIDTH,
    STYLE,
    draw_attention,
    draw_input,
    show,
)
from radio_ag.network.model import CLASSES

if TYPE_CHECKING:
    from radio_ag.network.model import GateSteps

_TIMES, _MINUS, _CONVOLVED = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{ASTERISK OPERATOR}"
_ARROW, _PRIME = "\N{RIGHTWARDS ARROW}", "\N{PRIME}"
_BETWEEN = (_ARROW, "+", _ARROW, _ARROW, _ARROW, _ARROW)  # panels of a gate


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
def gate_steps_figure(steps: Sequence[GateSteps], *, title: str = "", width: float = PAGE_WIDTH) -> Figure:
    """What happens inside each attention gate for one source, a gate a row (Figure 1).

    Of stacks of channels four are drawn, each over its peak: those of the features that vary most, and the same four of
    the intermediate channels in each of their panels. Orange is above zero and purple below.

    Parameters
    ----------
    steps : sequence of GateSteps
        As of `radio_ag.network.classifier.look_inside`.
    title : str
    width : float
        Inches.
    """
    names = ("features x", f"x {_CONVOLVED} θ", f"(g {_CONVOLVED} φ){_PRIME}", "ReLU of sum", f"{_CONVOLVED} ψ: score")
    names = (*names, "attention", f"attention {_TIMES} x")
    side = (width - 0.42) / len(names)
    height = len(steps) * side + 0.2 + (0.18 if title else 0)
    figure = Figure((width, height))
    top = 1 - (0.38 if title else 0.2) / height
    grid = figure.add_gridspec(
        len(steps), len(names), left=0.38 / width, right=0.995, bottom=0.03 / height, top=top, wspace=0.24, hspace=0.06
    )
    for row, one in enumerate(steps):
        panels = [figure.add_subplot(grid[row, column], xticks=[], yticks=[]) for column in range(len(names))]
        own, shared = _varied(one.features), _varied(one.agreement)
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


def _write(panel: Axes, text: str) -> None:
    panel.text(0.04, 0.05, text, transform=panel.transAxes, color="white", path_effects=OUTLINE)


def _number(value: float) -> str:
    """Two digits or, of large numbers, whole ones: a panel is narrow."""
    return (f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}").replace("-", _MINUS)


def draw_features(
    axes: Axes, block: ArrayLike, channels: ArrayLike | None = None, *, signed: bool = False
) -> AxesImage:
    """Draw four channels of a stack as a square of two by two, each over its peak.

    Parameters
    ----------
    axes : Axes
    block : array_like, shape (channels, h, w)
    channels : array_like of int, shape (4,), optional
        Which ones; those that vary most by default.
    signed : bool
        Orange above zero and purple below, instead of dark above zero.
    """
    block = np.asarray(block, float)
    channels = _varied(block) if channels is None else channels
    scaled = [c / max(np.abs(c).max(), 1e-30) for c in block[channels]]
    tiles = np.block([[scaled[2], scaled[3]], [scaled[0], scaled[1]]])
    if signed:
        return show(axes, tiles, DIFFERENCE_COLOURS, Normalize(-1, 1))
    return show(axes, tiles, IMAGE_COLOURS, Normalize(0, 1))


def _varied(block: ArrayLike) -> NDArray[np.intp]:
    """The four channels of (C, h, w) that vary most."""
    return np.sort(np.argsort(np.asarray(block).std((1, 2)))[::-1][:4])


def _arrow(figure: Figure, start: Axes, a: tuple, end: Axes, b: tuple, colour: str = "black", style: str = "-") -> None:
    """Draw an arrow between points of two panels, each in fractions of its panel."""
    ends = start.transAxes, end.transAxes
    figure.add_artist(ConnectionPatch(a, b, *ends, arrowstyle="->", color=colour, linestyle=style, linewidth=0.7))
