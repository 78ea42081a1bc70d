"""The HTML of a page: template, style and script put together, nothing of it from elsewhere.

A content security policy lets the browser run this script and this style alone (by their hashes), and connect to
nothing, or to the server alone that keeps its labels: the page cannot call the network, and text that came with a
catalogue cannot become a program.
"""

import base64
import hashlib
import html
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from string import Template

SCRIPTS = (
    "data.js",
    "images.js",
    "charts.js",
    "selection.js",
    "gallery.js",
    "zoom.js",
    "labels.js",
    "detail.js",
    "controls.js",
    "main.js",
)
"""The parts of the script, in this order."""


def page_head(title: str, payload: str, *, served: bool = False) -> str:
    """Return everything before the images.

    Parameters
    ----------
    title : str
        Plain text.
    payload : str
        From `~radio_ag.catalog_io.export.page.columns.json_for_html`.
    served : bool
        Whether the page may talk to the server that it comes from.

    Returns
    -------
    str
        HTML.
    """
    style, script = _style(), _script()
    connect = "; connect-src 'self'" if served else ""
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        f"img-src blob: data:; base-uri 'none'; form-action 'none'{connect}"
    )
    return Template(_asset("template.html")).substitute(
        policy=html.escape(policy), title=html.escape(title), style=style, script=script, payload=payload
    )


def image_chunk(number: int, lines: Iterator[str]) -> str:
    """Return an element with the images of some sources.

    Parameters
    ----------
    number : int
        Of the element, from 0.
    lines : iterator of str
        A line of JSON a source.

    Returns
    -------
    str
        HTML.
    """
    return f'<script type="text/plain" id="images-{number}">' + "\n".join(lines) + "</script>\n"


def page_tail() -> str:
    """Return what ends the page, after the images.

    Returns
    -------
    str
        HTML.
    """
    return "</body>\n</html>\n"


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _style() -> str:
    return "\n" + _asset("page.css")


@cache
def _script() -> str:
    return '\n(() => {\n"use strict";\n' + "\n".join(_asset(name) for name in SCRIPTS) + "})();\n"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
