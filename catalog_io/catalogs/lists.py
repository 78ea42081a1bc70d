"""Lists of sources that are text, but no plain table: SExtractor, sky models, region files, TDAT.

Each is told by its first lines. What stands for no source on the sky is left out with a warning that counts it.
"""

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import ascii as text_formats
from astropy.table import MaskedColumn, Table

from radio_ag.errors import CatalogueError, RadioAGWarning

ListReader = Callable[[str], Table]

MAX_REGIONS = 100_000
"""Lines that a region file may have: the parser takes 1.5 ms and 7 kB for each."""

_SEXTRACTOR = re.compile(
    r"(?:#(?![ \t]*\d)[^\n]*\n)*#[ \t]*[01][ \t]+[A-Za-z][-\w]*(?:[ \t][^\n]*)?\n#[ \t]*\d+[ \t]+[A-Za-z]"
)
_SEXTRACTOR_LINE = re.compile(r"#\s*(\d+)\s+([A-Za-z][-\w]*)\s*(.*)")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SKY_MODEL = re.compile(r"(?:#\s*)?(?:format\s*=\s*(?P<after>.+)|\((?P<before>.+)\)\s*=\s*format)", re.IGNORECASE)
_DS9 = re.compile(
    r"# Region file format: DS9|(?:(?:#[^\n]*|global [^\n]*)?\n)*(?:icrs|fk5|j2000|fk4|b1950|galactic)\s*[;\n]",
    re.IGNORECASE,
)
_DS9_SHAPE = re.compile(r"(?:icrs|fk5|j2000)\s*;\s*[+-]?\w+\s*\(", re.IGNORECASE)
_KVIS = re.compile(
    r"(?:(?:#[^\n]*|(?:colou?r|font|paperscale|textangle)\s[^\n]*)?\n)*"
    r"(?:coord\s+[wp]\b|(?:circle|ellipse|cross|dot|c?box|text)\s+(?:w\s+)?[-+\d])",
    re.IGNORECASE,
)
_KVIS_SHAPES = {"circle": 1, "dot": 0, "cross": 2, "ellipse": 3, "box": 0, "cbox": 3}
_TDAT = re.compile(r"<HEADER>", re.IGNORECASE)
_TDAT_FIELD = re.compile(
    r"field\[(?P<name>\w+)\]\s*=\s*[a-z]+\d*(?P<rest>[^\[(/\n]*)(?P<ucd>\[[^\]\n]*\])?", re.IGNORECASE
)
_UNIT_OF_SKY_MODEL = {"i": "Jy", "q": "Jy", "u": "Jy", "v": "Jy"}


def list_reader(head: str) -> ListReader | None:
    """Find the reader of a text that is a list of sources, but no plain table.

    Parameters
    ----------
    head : str
        Its first lines.

    Returns
    -------
    callable or None
        Text to `~astropy.table.Table`.
    """
    head = head.replace("\r\n", "\n").lstrip()
    tests: tuple[tuple[Callable[[str], Any], ListReader], ...] = (
        (_TDAT.match, read_tdat),
        (lambda text: text.startswith("#CRTF"), lambda text: read_regions(text, "crtf")),
        (lambda text: _DS9.match(text) or _DS9_SHAPE.match(text), lambda text: read_regions(text, "ds9")),
        (_SKY_MODEL.match, read_sky_model),
        (_is_sextractor, read_sextractor),
        (_KVIS.match, read_kvis),
    )
    return next((reader for test, reader in tests if test(head)), None)


def _is_sextractor(head: str) -> bool:
    """Whether numbered comments name the columns: there are as many, and what follows are no names."""
    if _SEXTRACTOR.match(head) is None:
        return False
    lines = head.splitlines()
    numbered = sum(_SEXTRACTOR_LINE.match(line) is not None for line in lines)
    first = next((line.split() for line in lines if line.strip() and not line.startswith("#")), None)
    return first is None or (len(first) >= numbered and any(_NUMBER.fullmatch(value) for value in first))


def read_sextractor(text: str) -> Table:
    """Read a table of SExtractor's ``ASCII_HEAD``, whose columns are numbered from 1, or from 0 as others do it.

    Parameters
    ----------
    text : str
        The whole file.

    Returns
    -------
    `~astropy.table.Table`
    """
    lines = text.splitlines()
    header = [match for line in lines if line.startswith("#") and (match := _SEXTRACTOR_LINE.match(line))]
    shift = 1 - int(header[0][1])
    numbered = [f"# {int(match[1]) + shift} {match[2]} {match[3]}".rstrip() for match in header]
    rows = [line for line in lines if line.strip() and not line.startswith("#")]
    if not rows:
        return Table(names=[match[2] for match in header])
    return text_formats.read("\n".join([*numbered, *rows]) + "\n", format="sextractor", guess=False)


def read_sky_model(text: str) -> Table:
    """Read a list of components of WSClean, or of BBS, DP3 and LSMTool; patches are left out.

    Parameters
    ----------
    text : str
        The whole file.

    Returns
    -------
    `~astropy.table.Table`
        Positions as text, fluxes in Jy; values that a row leaves out are those of the line of names.
    """
    text = text.lstrip()
    found = _SKY_MODEL.match(text)
    if found is None:
        raise CatalogueError("a sky model needs a line of names: 'format = Name, Type, Ra, Dec, I, …'")
    fields = [field.partition("=") for field in _split_list(found["after"] or found["before"])]
    names = [name.strip() for name, _, _ in fields]
    defaults = [value.strip().strip("'\"") for _, _, value in fields]
    kind = next((number for number, name in enumerate(names) if name.lower() == "type"), None)
    rows = []
    for line in text[found.end() :].splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            values = _split_list(line)
            if len(values) > len(names):
                raise CatalogueError(f"a row has {len(values)} values for {len(names)} names: {line[:60]!r}")
            values += [""] * (len(names) - len(values))
            if kind is None or values[kind]:  # a patch has no type
                rows.append([value or default for value, default in zip(values, defaults, strict=True)])
    table = _table_of_texts(names, rows)
    for name in table.colnames:
        if name.lower() in _UNIT_OF_SKY_MODEL:
            table[name].unit = _UNIT_OF_SKY_MODEL[name.lower()]
    return table


def read_regions(text: str, format: str) -> Table:
    """Read the regions of DS9 or of CASA and CARTA (CRTF): each shape on the sky that has a centre is a source.

    Parameters
    ----------
    text : str
        The whole file.
    format : {"ds9", "crtf"}

    Returns
    -------
    `~astropy.table.Table`
        ``name``, ``ra`` and ``dec`` (degrees, ICRS) and ``shape``.
    """
    from regions import Regions  # slow to import

    if text.count("\n") + text.count(";") > MAX_REGIONS:
        raise CatalogueError(f"a region file of more than {MAX_REGIONS} lines; convert it to a table with ra and dec")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that are not known, which are counted below
        found = Regions.parse(text, format=format)
    shapes = [shape for shape in found if hasattr(getattr(shape, "center", None), "icrs")]
    if not shapes:
        raise CatalogueError("a region file without a shape that has its centre on the sky (icrs, fk5 or galactic)")
    _say_left_out(len(found) - len(shapes), "regions have no centre on the sky")
    ra, dec = _centres([shape.center for shape in shapes])
    names = [str(shape.meta.get("text") or shape.meta.get("label") or "") for shape in shapes]
    return _region_table(
        [name or str(number) for number, name in enumerate(names, start=1)],
        ra,
        dec,
        [type(shape).__name__.removesuffix("SkyRegion").lower() for shape in shapes],
    )


def _centres(centres: list[SkyCoord]) -> tuple[list[float], list[float]]:
    """Degrees, ICRS; those of one frame are converted at once."""
    ra, dec = np.empty(len(centres)), np.empty(len(centres))
    frames = [repr(centre.frame.replicate_without_data()) for centre in centres]
    for frame in set(frames):
        which = [number for number, name in enumerate(frames) if name == frame]
        places = [centres[number].spherical for number in which]
        longitude = [float(place.lon.deg) for place in places]
        latitude = [float(place.lat.deg) for place in places]
        blank = centres[which[0]].frame.replicate_without_data()
        icrs = SkyCoord(longitude, latitude, unit="deg", frame=blank).icrs
        ra[which], dec[which] = icrs.ra.deg, icrs.dec.deg
    return ra.tolist(), dec.tolist()


def read_kvis(text: str) -> Table:
    """Read the annotations of kvis (Karma): each circle, ellipse, box, cross and dot in world coordinates is a source.

    Parameters
    ----------
    text : str
        The whole file.

    Returns
    -------
    `~astropy.table.Table`
        As of `read_regions`.
    """
    places: list[tuple[float, float, str]] = []
    left_out, world = 0, True
    for line in text.splitlines():
        words = line.lower().split()
        if len(words) > 1 and words[0] == "coord":
            world = words[1].startswith("w")
        elif words and words[0] in _KVIS_SHAPES:
            here = words[1] == "w" if words[1:2] in (["w"], ["p"]) else world
            values = [float(word) for word in words[1:] if word not in ("w", "p")]
            if not here or len(values) < 2:
                left_out += 1
            elif words[0] == "box" and len(values) > 3:  # two corners
                places.append(((values[0] + values[2]) / 2, (values[1] + values[3]) / 2, "box"))
            else:
                places.append((values[0], values[1], words[0]))
    if not places:
        raise CatalogueError("an annotation file of kvis without a shape in world coordinates (COORD W)")
    _say_left_out(left_out, "annotations are in pixels")
    ra, dec, shapes = zip(*places, strict=True)
    return _region_table([str(number + 1) for number in range(len(places))], list(ra), list(dec), list(shapes))


def read_tdat(text: str) -> Table:
    """Read a table of HEASARC's TDAT.

    Parameters
    ----------
    text : str
        The whole file.

    Returns
    -------
    `~astropy.table.Table`
        With the units and UCDs of the header.
    """
    header, data = _tdat_parts(text)
    if re.search(r"(?im)^\s*line\[2\]", header):
        raise CatalogueError("the TDAT file has several lines a row (line[2]): convert it with HEASARC's own tools")
    fields = {match["name"].lower(): match for match in _TDAT_FIELD.finditer(header)}
    line = re.search(r"(?im)^\s*line\[1\]\s*=\s*(.+)$", header)
    names = line[1].split() if line else list(fields)
    delimiter = re.search(r"(?im)^\s*field_delimiter\s*=\s*\"?([^\"\n])", header)
    mark = delimiter[1] if delimiter else "|"
    rows = []
    for number, row in enumerate(data, start=1):
        values = [value.strip() for value in row.split(mark)]
        if len(values) == len(names) + 1 and not values[-1]:
            values.pop()
        if len(values) != len(names):
            raise CatalogueError(f"row {number} of the TDAT file has {len(values)} values for {len(names)} fields")
        rows.append(values)
    table = _table_of_texts(names, rows)
    for name in names:
        field = fields.get(name.lower())
        if field is not None:
            unit = field["rest"].strip().rpartition("_")[2]
            table[name].unit = unit if table[name].dtype.kind in "if" and unit and not unit.endswith("f") else None
            if field["ucd"]:
                table[name].info.meta = {"ucd": field["ucd"].strip("[]")}
    return table


def _tdat_parts(text: str) -> tuple[str, list[str]]:
    """Header and rows."""
    parts = re.split(r"(?im)^\s*<DATA>\s*$", text, maxsplit=1)
    if len(parts) != 2:
        raise CatalogueError("a TDAT file without <DATA>")
    data = re.split(r"(?im)^\s*<END>\s*$", parts[1], maxsplit=1)[0]
    return parts[0], [line for line in data.splitlines() if line.strip() and not line.startswith(("#", "//"))]


def _table_of_texts(names: list[str], rows: Iterable[list[str]]) -> Table:
    """A table whose columns are numbers where each value is one, or none; else text."""
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return Table([_typed(values) for values in columns], names=names)


def _typed(values: Iterable[str]) -> MaskedColumn:
    text = np.array(list(values), dtype=str)
    empty = text == ""
    for kind in (np.int64, np.float64):
        try:
            return MaskedColumn(np.where(empty, "0", text).astype(kind), mask=empty)
        except (ValueError, OverflowError):
            continue
    return MaskedColumn(text, mask=empty)


def _region_table(names: list[str], ra: list[float], dec: list[float], shapes: list[str]) -> Table:
    return Table({"name": names, "ra": ra, "dec": dec, "shape": shapes}, units={"ra": "deg", "dec": "deg"})


def _say_left_out(count: int, what: str) -> None:
    if count:
        warnings.warn(f"{count} {what}: left out", RadioAGWarning, stacklevel=3)


def _split_list(line: str) -> list[str]:
    """Values between commas, of which brackets and quotes hold some together."""
    guarded = re.sub(r"\[[^\]]*\]|'[^']*'", lambda match: match[0].replace(",", "\0"), line)
    values = next(csv.reader(io.StringIO(guarded), quoting=csv.QUOTE_NONE))
    return [value.strip().replace("\0", ",") for value in values]
