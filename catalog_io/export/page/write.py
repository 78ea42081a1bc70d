"""Write a result as HTML pages: which sources go on which page, what the page knows of them, and the files."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from radio_ag.catalog_io.export.cutouts import Cutouts, open_cutouts, survey_of
from radio_ag.catalog_io.export.page.columns import class_names, json_for_html, source_entries, table_columns
from radio_ag.catalog_io.export.page.document import image_chunk, page_head, page_tail
from radio_ag.catalog_io.export.page.labelling import Labelling
from radio_ag.catalog_io.export.page.sprites import encode_sprite, panel_places
from radio_ag.errors import InputError
from radio_ag.flags import Flag
from radio_ag.preprocess.images import BEAM_FWHM, CROP_SIZE, PIXEL_SCALE
from radio_ag.writing import check_output, written_beside

if TYPE_CHECKING:
    from astropy.table import Table

    from radio_ag.catalog_io.result import Result

PER_PAGE = 10_000
"""Sources on one page."""

_CHUNK = 64  # sources whose images are fetched together and share an element of the page
_CLIP = 3.0  # rms, where the provenance does not say

Progress = Callable[[int, int, Mapping[str, int]], None]


def write_page(
    result: Result,
    path: str | os.PathLike,
    *,
    images: Any = None,
    title: str | None = None,
    rows: bool = False,
    overwrite: bool = False,
    per_page: int = PER_PAGE,
    progress: Progress | None = None,
    labelling: Labelling | None = None,
) -> list[Path]:
    """Write a result as self-contained HTML for looking through its sources.

    Parameters
    ----------
    result : Result
        Classified sources; one without an image or a map is shown without it.
    path : path
        The HTML file. With more than ``per_page`` sources NAME-1.html, NAME-2.html, ... are written instead, which link
        to each other.
    images : optional
        Where the cutouts come from. None: those that the result keeps, else the survey that it was made from, asked
        again. "none": attention maps alone. Anything else as in `radio_ag.classify`.
    title : str, optional
        Heading of the page; the name of the input catalogue by default.
    rows : bool
        Show each row of the catalogue instead of each source.
    overwrite : bool
        Replace files of these names.
    per_page : int
        Sources on one page.
    progress : callable, optional
        Called as ``progress(sources done, sources in all, {})``.
    labelling : Labelling, optional
        Labels that people may give on the page.

    Returns
    -------
    list of Path
        The files written, each complete.

    Raises
    ------
    InputError
        If the result does not say where its images are, they cannot be used, or ``per_page`` is below 1.
    OutputError
        If a file exists, or cannot be written.
    ServiceError
        If the image service answered for none of the first sources.
    """
    if per_page < 1:
        raise InputError(f"per_page must be 1 or more, not {per_page!r}")
    result, table = (result, result.table) if rows else _sources(result)
    paths = [check_output(file, overwrite) for file in page_paths(path, len(result), per_page)]
    cutouts = open_cutouts(result, images)
    title = title or str(result.provenance.get("catalogue") or "Classified radio sources")
    with ThreadPoolExecutor() as threads:
        for number, file in enumerate(paths):
            shown = np.arange(number * per_page, min((number + 1) * per_page, len(result)))
            payload = _payload(result, table[shown], title, number, paths) | {"first": number * per_page}
            payload["labelling"] = labelling and labelling.payload(table, shown)
            served = labelling is not None and labelling.served
            with written_beside(file) as stream:
                stream.write(page_head(title, json_for_html(payload), served=served).encode("utf-8"))
                for chunk, start in enumerate(range(0, len(shown), _CHUNK)):
                    part = shown[start : start + _CHUNK]
                    lines = _image_lines(result, part, cutouts(part), threads)
                    stream.write(image_chunk(chunk, lines).encode("ascii"))
                    if progress:
                        progress(int(part[-1]) + 1, len(result), {})
                stream.write(page_tail().encode("utf-8"))
    return paths


def page_paths(path: str | os.PathLike, sources: int, per_page: int = PER_PAGE) -> list[Path]:
    """Name the files that a result takes: the path itself, or NAME-1, NAME-2, ...

    Parameters
    ----------
    path : path-like
        As the user gave it.
    sources : int
        Rows of the result.
    per_page : int
        Sources on one page.

    Returns
    -------
    list of Path
        One for each page.
    """
    path = Path(path)
    count = max(1, -(-sources // per_page))
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def _sources(result: Result) -> tuple[Result, Table]:
    """A result of the first row of each source, and what is shown of these."""
    first = result.first_rows()
    sources = result.sources
    if first is result:  # a source a row, in the order of the rows
        sources = sources[np.argsort(np.asarray(sources["first_row"]))]
    return first, source_entries(first.table, sources)


def _payload(result: Result, table: Table, title: str, number: int, paths: list[Path]) -> dict[str, Any]:
    """Everything that a page of some entries knows but the images."""
    clip = result.provenance.get("clip")
    gates = _gates(result)
    classes, least = class_names(result.table, result.classes)
    return {
        "title": title,
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "provenance": [[str(name), str(value)] for name, value in result.provenance.items() if value is not None],
        "rows": len(table),
        "total": len(result),
        "page": number,
        "links": [quote(path.name) for path in paths],
        "flags": [
            {"name": flag.name, "bit": int(flag), "words": _words(flag), "description": flag.description}
            for flag in Flag
        ],
        "classes": classes,
        "least": least,
        "columns": table_columns(table),
        "beam": _beam(result),
        "gates": [str(gate) for gate in gates],
        "panels": panel_places(gates),
        "size": CROP_SIZE,
        "pixel_scale": PIXEL_SCALE,
        "clip": float(clip) if isinstance(clip, int | float) else _CLIP,
        "chunk": _CHUNK,
    }


def _beam(result: Result) -> tuple[float, float, float] | None:
    """Axes (arcsec) and position angle (deg) of the beam of the survey that a result was made from."""
    survey = survey_of(result)
    if survey is None:
        return None
    if survey.name == "first":
        return BEAM_FWHM, BEAM_FWHM, 0.0
    return None if survey.beam is None else (float(survey.beam[0]), float(survey.beam[1]), float(survey.beam[2]))


def _words(flag: Flag) -> str:
    return (flag.name or "").lower().replace("_", " ").replace("snr", "S/N")


def _image_lines(
    result: Result, rows: NDArray[np.intp], cutouts: Cutouts, threads: ThreadPoolExecutor
) -> Iterator[str]:
    """For each source a line of JSON: its images, the values of their codes, and why there is no cutout."""
    noise = np.ma.filled(np.ma.asarray(result.table["rms"][rows], dtype=float), np.nan).tolist()
    has_maps = np.asarray(result.table["attention_plane"][rows]) >= 0
    gates = _gates(result)
    places = panel_places(gates)
    maps = {gate: result.attention_maps(rows, gate) for gate in gates}

    def encode(place: int) -> tuple[bytes, dict[str, Any]]:
        shown = {gate: stack[place] for gate, stack in maps.items()} if has_maps[place] else {}
        image = None if cutouts.reasons[place] else cutouts.images[place]
        return encode_sprite(image, noise[place], shown, places)

    for reason, (webp, ranges) in zip(cutouts.reasons, threads.map(encode, range(len(rows))), strict=True):
        line = {name: [float(f"{value:.6g}") for value in values] for name, values in ranges.items()}
        yield json_for_html(line | {"reason": reason, "webp": base64.b64encode(webp).decode("ascii")})


def _gates(result: Result) -> tuple[str | int, ...]:
    """The gates that were kept: the mean, then the first, the second, ..."""
    return tuple(sorted(result.gates, key=lambda gate: (gate != "mean", str(gate))))
