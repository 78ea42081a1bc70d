"""What a notebook shows of a result."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.table import Table
from PIL import Image
from result_examples import example_columns, example_maps, example_result, example_stores

from radio_ag.catalog_io.export.notebook import MAX_ROWS
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.result import Result


class Page(HTMLParser):
    """Rows of cells, and every tag with its attributes."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.tags, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "img":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "img":
            self.rows[-1][-1] += dict(attributes)["src"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def pixels(source) -> np.ndarray:
    kind, data = source.split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def test_the_rows_in_words():
    page = Page(example_result(3)._repr_html_())
    assert page.open == []
    assert page.rows[0] == ["source", "name", "class", "probability", "flags", "attention"]
    assert [row[:5] for row in page.rows[1:]] == [
        ["0", "J080404.5+153335", "FRII", "0.80 ± 0.00", ""],
        ["1", "J080428.5+152735", "", "", "EMPTY"],
        ["2", "", "", "", "BAD_POSITION"],
    ]


def test_thumbnails_are_the_maps_north_up():
    page = Page(example_result(4)._repr_html_())
    sources = [row[5] for row in page.rows[1:]]
    assert sources[2] == ""  # no position, no map
    maps = example_maps(3, 0)
    for source, attention in zip((sources[0], sources[1], sources[3]), maps, strict=True):
        shown = pixels(source)
        binned = (attention[0::2, 0::2] + attention[1::2, 0::2] + attention[0::2, 1::2] + attention[1::2, 1::2]) / 4
        scaled = 255 * (binned - binned.min()) / (binned.max() - binned.min())
        assert shown.shape == (75, 75)
        assert np.abs(shown[::-1] - scaled).max() <= 1
        row, column = np.unravel_index(shown.argmax(), shown.shape)
        assert row == 74 - 80 // 2  # row 0 is the north
        assert abs(column - (60 + maps.tolist().index(attention.tolist())) / 2) <= 1


def test_kept_cutouts_are_beside_the_maps():
    columns = example_columns(4) | {"cutout_plane": np.array([0, -1, -1, 1])}
    store = AttentionStore()
    y, x = np.mgrid[:150, :150]
    cutouts = np.stack([1e-3 * np.exp(-((x - 40) ** 2 + (y - place) ** 2) / 100) for place in (30, 120)])
    store.append(cutouts.astype(np.float32), step=np.full(2, 1e-5))
    result = Result.from_columns(Table({"a": range(4)}), columns, example_stores(3), {}, store)
    page = Page(result._repr_html_())
    assert page.rows[0][5:] == ["image", "attention"]
    assert [bool(row[5]) for row in page.rows[1:]] == [True, False, False, True]
    for row, place in ((1, 30), (4, 120)):
        down, across = np.unravel_index(pixels(page.rows[row][5]).argmax(), (75, 75))
        assert abs(74 - down - place // 2) <= 1
        assert abs(across - 20) <= 1


def test_a_long_result_is_cut_short():
    html = example_result(MAX_ROWS + 25)._repr_html_()
    page = Page(html)
    assert len(page.rows) == MAX_ROWS + 1
    assert "and 25 more sources" in html
    assert len(html) < 100_000
    assert "more sources" not in example_result(MAX_ROWS)._repr_html_()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</table>&amp;"])
def test_values_are_text(name):
    result = example_result(2)
    result.table["name"] = [name, name]
    page = Page(result._repr_html_())
    assert {tag for tag, _ in page.tags} == {"div", "p", "table", "tr", "th", "td", "img"}
    assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in page.tags)
    assert page.rows[1][1] == page.rows[2][1] == name


def test_without_maps_and_without_rows():
    columns = example_columns(3) | {"attention_plane": np.full(3, -1)}
    page = Page(Result.from_columns(Table({"a": [1, 2, 3]}), columns)._repr_html_())
    assert [row[5] for row in page.rows[1:]] == ["", "", ""]
    page = Page(example_result(0)._repr_html_())
    assert len(page.rows) == 1


def test_the_counts_come_first():
    html = example_result(9)._repr_html_()
    assert html.startswith("<div><p>Result: 9 rows, 1 FRI, 2 FRII, 6 none</p>")
