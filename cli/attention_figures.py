"""Which figures ``radio-ag attention`` draws."""

from typing import Any

from astropy.wcs import WCS
from matplotlib.figure import Figure
from numpy.typing import NDArray

from radio_ag.attention import figures
from radio_ag.attention.inside import SourceTrace
from radio_ag.attention.statistics import AggregateMaps
from radio_ag.catalog_io.export.drawing import caption
from radio_ag.errors import InputError
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import crop

_MOST_IN_A_ROW = 6  # maps


def draw_source(
    figure: str,
    observed: NDArray,
    traced: list[SourceTrace],
    labels: list[str],
    wcs: WCS | None,
    beam: tuple[float, float, float] | None,
    title: str,
) -> Figure:
    """Draw the figure of one source.

    Parameters
    ----------
    figure : {"gates", "preprocessing", "network", "gate-steps"}
        With the maps of several networks ``gates`` has them side by side; the others are of the first network.
    observed : ndarray, shape (ny, nx)
        The source's image.
    traced : list of SourceTrace
        The source in each network.
    labels : list of str
        What the networks are called.
    wcs : WCS or None
        Of the crop.
    beam : tuple of float or None
        Major and minor axis, arcsec, and position angle, degrees.
    title : str
        Name of the source.

    Returns
    -------
    Figure
    """
    first = traced[0]
    told = _told(first, title, labels[0])
    if figure == "preprocessing":
        stages = observed, first.clipped, first.prepared, first.augmented
        return figures.preprocessing_figure(*stages, beam=beam, title=told)
    if figure != "gates" and not first.features:
        raise InputError(f"{labels[0]} is no AG-CNN: its parts cannot be drawn")
    if figure == "network":
        gates = [steps.attention for steps in first.steps]
        return figures.network_figure(first.prepared, first.features, gates, first.probabilities, title=told)
    if not any(len(one.gates) for one in traced):
        raise InputError("a network without attention gates has no maps: draw it with --figure network")
    if figure == "gate-steps":
        return figures.gate_steps_figure(first.steps, title=told)
    image = crop(observed[None])[0]
    if len(traced) == 1:
        sky: dict[str, Any] = {"wcs": wcs, "beam": beam, "orientations": first.orientations}
        return figures.source_figure(image, first.gates, emission=first.clipped, title=told, **sky)
    labels = [f"{label}\n{_told(one)}" for one, label in zip(traced, labels, strict=True)]
    lines = _in_lines([one.gates.mean(0) if len(one.gates) else None for one in traced])
    pictures = [image, *[None] * (len(lines) - 1)]
    emission = [first.clipped] * len(lines)
    sky = {"wcs": wcs, "beam": beam, "title": title}
    return figures.grid_figure(lines, _in_lines(labels), emission=emission, images=pictures, **sky)


def _told(one: SourceTrace, name: str = "", weights: str = "") -> str:
    """Name, class, probability, and weights of a source."""
    best = int(one.probabilities.argmax())
    return caption(name, CLASSES[best], float(one.probabilities[best]), weights)


def output_names(networks: int, confusion: bool) -> list[str]:
    """Return what `draw_means` or `draw_course` add to the output's name.

    Parameters
    ----------
    networks : int
        How many are drawn.
    confusion : bool
        Whether there are labels to compare with.

    Returns
    -------
    list of str
    """
    if networks > _MOST_IN_A_ROW:
        return [f"-{name}" for name in CLASSES]
    return [""] if networks > 1 else ["-class", "-difference", "-certainty", *(["-confusion"] if confusion else [])]


def draw_means(found: AggregateMaps, by: str, confusion: bool, weights: str) -> dict[str, Figure]:
    """Draw one network's means, and name it over each figure.

    Parameters
    ----------
    found : AggregateMaps
        Of the network.
    by : {"label", "predicted"}
        Which class.
    confusion : bool
        Draw the figure of labels against predictions too.
    weights : str
        What the network is called.

    Returns
    -------
    dict of Figure
        By what is added to the output's name.
    """
    drawn = {
        "-class": figures.aggregate_figure(found, by=by),
        "-difference": figures.difference_figure(found, by=by),
        "-certainty": figures.certainty_figure(found, by=by),
    }
    drawn |= {"-confusion": figures.confusion_figure(found)} if confusion else {}
    for figure in drawn.values():
        figure.suptitle(weights, fontsize=8)
    return drawn


def _of_class(by: str, number: int) -> dict[str, Any]:
    """What a mean is over: the sources whose ``by`` ("label" or "predicted") is the class of that number."""
    return {by: number}


def draw_course(found: list[AggregateMaps], labels: list[str], by: str) -> dict[str, Figure]:
    """Draw the mean attention of several networks: both classes in one figure, or one a class where they are many.

    Parameters
    ----------
    found : list of AggregateMaps
        Of each network.
    labels : list of str
        What the networks are called.
    by : {"label", "predicted"}
        Which class.

    Returns
    -------
    dict of Figure
        By what is added to the output's name.
    """
    maps = [[one.attention(**_of_class(by, k)) for one in found] for k in range(len(CLASSES))]
    images = [found[0].image(**_of_class(by, k)) for k in range(len(CLASSES))]
    word = "" if by == "label" else "predicted "
    if len(found) <= _MOST_IN_A_ROW:
        titles = [labels, [""] * len(found)]
        return {"": figures.grid_figure(maps, titles, rows=[word + name for name in CLASSES], images=images)}
    titles = _in_lines(labels)
    return {
        f"-{name}": figures.grid_figure(
            _in_lines(line), titles, images=[image, *[None] * (len(titles) - 1)], title=f"⟨{word}{name}⟩"
        )
        for name, line, image in zip(CLASSES, maps, images, strict=True)
    }


def _in_lines(items: list, longest: int = 4) -> list[list]:
    """Lines of at most four."""
    return [items[i : i + longest] for i in range(0, len(items), longest)]
