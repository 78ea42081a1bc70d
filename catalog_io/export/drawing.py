"""Drawings of sources: the picture of one of a result, and what each picture of the sky tells of its scale.

This needs matplotlib, which the extra ``plot`` installs.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import numpy as np
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs.utils import proj_plane_pixel_scales
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke

from radio_ag.catalog_io.product.sources import observations
from radio_ag.errors import InputError

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

    from radio_ag.catalog_io.result import Result

CLASS_COLOURS = {"FRI": "#0067a3", "FRII": "#b64c00"}
"""Of the classes in figures: those of the page on a light ground."""

LABELS = {"cutout": "mJy/beam", "attention": "attention, mean of gates and orientations"}
"""What colours mean, by picture."""

_BARS = (10, 20, 30, 60, 120, 300, 600)  # arcsec
_WITHOUT_WINDOW = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
_LONGEST_BAR = 0.35  # of the panel
_OUTLINE = withStroke(linewidth=2, foreground="white")


def caption(name: str, source_class: str, probability: float | None, weights: str = "") -> str:
    """Return the line that tells of a source: its name, class with probability, and by which weights.

    Parameters
    ----------
    name : str
        Of the source.
    source_class : str
        ``FRI`` or ``FRII``; empty where it has none.
    probability : float or None
        Of the class.
    weights : str
        Their name.

    Returns
    -------
    str
    """
    told = source_class or "no class"
    if source_class and probability is not None:
        told += " with p > 0.99" if probability > 0.99 else f" with p = {probability:.2f}"
    return ", ".join(part for part in (name, told, weights) if part)


def draw_scale(axes: Axes, side: float, beam: tuple[float, float, float] | None = None) -> None:
    """Draw a scale bar, and the beam where it is known, into a square panel with north up and east on the left.

    Parameters
    ----------
    axes : Axes
        The panel.
    side : float
        Of the panel, arcsec.
    beam : tuple of float, optional
        Major and minor axis, arcsec, and position angle, degrees from north through east.
    """
    bar = max((length for length in _BARS if length <= _LONGEST_BAR * side), default=_BARS[0])
    words = f"{bar // 60}\N{PRIME}" if bar >= 60 and bar % 60 == 0 else f"{bar}\N{DOUBLE PRIME}"
    ends = 0.95 - bar / side, 0.95
    line = Line2D(ends, (0.06, 0.06), transform=axes.transAxes, color="black", linewidth=1.2, zorder=6)
    line.set_path_effects([_OUTLINE])
    line.set_gid("scale bar")
    axes.add_line(line)
    text = axes.text(sum(ends) / 2, 0.08, words, transform=axes.transAxes, ha="center", va="bottom", zorder=6)
    text.set_path_effects([_OUTLINE])
    if beam is not None and np.isfinite(beam).all():
        major, minor, angle = (float(value) for value in beam)
        place = 0.04 + major / side / 2, 0.04 + major / side / 2
        drawn = Ellipse(place, minor / side, major / side, angle=angle, transform=axes.transAxes, zorder=6)
        drawn.set(facecolor="0.45", edgecolor="black", linewidth=0.6, path_effects=[_OUTLINE], gid="beam")
        axes.add_patch(drawn)


def show_source(result: Result, row: int) -> None:
    """Show the picture of a row: in the notebook that this runs in, else in a window.

    Parameters
    ----------
    result : Result
        With maps or cutouts.
    row : int
        Of its table, from 0.

    Raises
    ------
    InputError
        If there is no notebook, and matplotlib has no window to draw in.
    """
    result.entry(row)
    notebook = sys.modules.get("IPython")
    shell = notebook.get_ipython() if notebook is not None else None
    if type(shell).__name__ == "ZMQInteractiveShell":
        importlib.import_module("IPython.display").display(plot_source(result, row))
        return
    from matplotlib import pyplot  # which chooses a window

    backend = str(pyplot.get_backend()).lower()
    if backend in _WITHOUT_WINDOW:
        raise InputError(
            f"there is no screen to show a figure on (matplotlib's backend is {backend}): plot() returns it"
        )
    plot_source(result, row, pyplot.figure(layout="constrained"))
    pyplot.show()


def plot_source(result: Result, row: int, figure: Figure | None = None) -> Figure:
    """Draw the cutout and the mean attention of a row of a result, as far as they were kept.

    Parameters
    ----------
    result : Result
        With maps or cutouts.
    row : int
        Of its table, from 0.
    figure : Figure, optional
        To draw into; None: a new one.

    Returns
    -------
    Figure

    Raises
    ------
    SourceNotFoundError
        If the row has neither, or there is no such row.
    """
    maps = {}
    entry = result.entry(row)
    if result.has_cutouts and entry["cutout_plane"] >= 0:
        maps["cutout"] = result.cutout(row)
    if "mean" in result.gates and (entry["attention_plane"] >= 0 or not maps):
        maps["attention"] = result.attention(row)
    if not maps:  # which says why
        result.cutout(row)
    seen = observations(result.sources, result.table[[int(row)]])[0]
    beam = tuple(float(np.ma.filled(seen[name], np.nan)) for name in ("beam_major", "beam_minor", "beam_pa"))
    figure = Figure(layout="constrained") if figure is None else figure
    figure.set_size_inches(3.3 * len(maps), 3.6)
    for number, (name, image) in enumerate(maps.items(), start=1):
        axes = figure.add_subplot(1, len(maps), number, projection=image.wcs)
        _label(axes, leftmost=number == 1)
        drawn = _draw(axes, name, image.data)
        bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.9, aspect=20)
        bar.set_label(LABELS[name], fontsize=8)
        bar.ax.tick_params(labelsize=7)
        if name == "cutout":
            top = drawn.get_clim()[1]
            ticks = [0.0, top / 10, top]
            bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks], minor=False)
            bar.minorticks_off()
        side = 3600 * image.shape[0] * float(proj_plane_pixel_scales(image.wcs)[1])
        draw_scale(axes, side, (beam[0], beam[1], beam[2]))
    masked = np.ma.is_masked(entry["class"])
    found, p = ("", None) if masked else (str(entry["class"]), float(entry["probability"]))
    figure.suptitle(caption(str(entry["name"]), found, p, str(result.provenance.get("weights") or "")), fontsize=9)
    return figure


def _draw(axes: Axes, name: str, image: np.ndarray) -> AxesImage:
    if name == "attention":
        return axes.imshow(image, origin="lower", cmap="viridis", norm=Normalize(np.nanmin(image), np.nanmax(image)))
    values = 1e3 * np.asarray(image, float)
    top = max(float(np.nanmax(values)), 1e-12)
    return axes.imshow(values, origin="lower", cmap="Greys", norm=AsinhNorm(0.03 * top, vmin=0, vmax=top))


def _label(axes: WCSAxes, *, leftmost: bool) -> None:
    axes.tick_params(labelsize=7)
    for coordinate, name in zip(axes.coords, ("RA (ICRS)", "Dec (ICRS)"), strict=True):
        coordinate.set_axislabel(name, fontsize=7)
        coordinate.set_ticks(number=3)
        coordinate.set_ticklabel(exclude_overlapping=True)
    axes.coords[1].set_ticklabel_visible(leftmost)
    if not leftmost:
        axes.coords[1].set_axislabel(" ")
