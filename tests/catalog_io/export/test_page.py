"""The page as a file: its parts, its numbers, its images, and that nothing in it can become a program."""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from page_examples import GATES, HOSTILE, RMS, Memory, page_result, simulated_fields
from PIL import Image
from result_examples import example_columns, example_stores
from typer.testing import CliRunner

from radio_ag import Result
from radio_ag.catalog_io.export.page import write_page
from radio_ag.catalog_io.export.page.columns import MAX_TEXT, class_names, json_for_html, table_columns
from radio_ag.catalog_io.export.page.sprites import cutout_scale, encode_cutout, encode_sprite, panel_places
from radio_ag.catalog_io.open_images import open_images
from radio_ag.catalog_io.services.surveys import SURVEYS
from radio_ag.cli import app
from radio_ag.errors import InputError, OutputError, ServiceError
from radio_ag.flags import Flag
from radio_ag.simulated import make_mosaic


class Page(HTMLParser):
    """A written page as a browser's parser divides it: data, image lines, programs, links, policy, title."""

    def __init__(self, path):
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.scripts, self.styles, self.addresses, self.tags = [], [], [], []
        self.policy = self.title = ""
        self._inside = None
        self.feed(self.text)
        self.close()
        self.data = json.loads(next(body for attrs, body in self.scripts if attrs.get("id") == "data"))
        chunks = [body for attrs, body in self.scripts if attrs.get("id", "").startswith("images-")]
        self.lines = [json.loads(line) for body in chunks for line in body.split("\n")]

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self._inside = tag
        self.addresses += [attrs[name] for name in ("href", "src") if name in attrs]
        if attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append((attrs, ""))

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "title":
            self.title += data
        if self._inside in ("script", "style"):
            parts = self.scripts if self._inside == "script" else self.styles
            parts[-1] = (parts[-1][0], parts[-1][1] + data)

    @property
    def programs(self):
        return [body for attrs, body in self.scripts if "type" not in attrs]

    def column(self, name):
        return next(column for column in self.data["columns"] if column["name"] == name)

    def panel(self, row, name):
        """Codes of a panel, row 0 in the north."""
        image = Image.open(io.BytesIO(base64.b64decode(self.lines[row]["webp"]))).convert("L")
        left, top, size = self.data["panels"][name]
        return np.asarray(image)[top : top + size, left : left + size].astype(float)

    def flux(self, row):
        """The cutout in Jy/beam as the page's reader gets it, turned back to row 0 in the south."""
        low, high, softening = self.lines[row]["cutout"]
        start, end = np.arcsinh(low / softening), np.arcsinh(high / softening)
        return softening * np.sinh(start + (end - start) * self.panel(row, "cutout")[::-1] / 255)


@pytest.fixture(scope="module")
def fields():
    return simulated_fields()


@pytest.fixture
def written(fields, tmp_path):
    """Write a page of a result with images from memory and take it apart."""

    def write(result, **options):
        (path,) = write_page(result, tmp_path / "page.html", **({"images": Memory(fields)} | options))
        return Page(path)

    return write


# The file


def test_a_row_a_source_in_the_order_of_the_table(written):
    result = page_result(150)
    page = written(result)
    assert page.data["rows"] == len(page.lines) == 150
    assert page.column("name")["values"] == [name or None for name in np.ma.filled(result.table["name"], "").tolist()]
    names = [column["name"] for column in page.data["columns"]]
    told = ["source", "name", "ra", "dec", "class", "probability", "p_fri", "p_frii", "p_std", "flags", "n_components"]
    assert names[:18] == [*told, "first_row", "peak", "rms", "snr", "las", "source_id", "n_islands"]
    assert names[18:] == ["attention_plane", *result.table.colnames[16:24], "flux"]
    assert [column["name"] for column in page.data["columns"] if column["input"]] == ["flux"]


def test_the_page_asks_nothing_of_the_network(written):
    page = written(page_result())
    assert page.addresses == ["#gallery"]
    assert page.policy.startswith("default-src 'none'; ")
    assert not re.search(r"@import|url\(", page.styles[0][1])


def test_the_policy_allows_this_script_and_this_style_alone(written):
    page = written(page_result())
    (program,), ((_, style),) = page.programs, page.styles
    for directive, body in (("script-src", program), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in page.policy
    assert "unsafe" not in page.policy


def test_hostile_text_stays_text_wherever_it_comes_from(fields, tmp_path):
    evil = "</script><script>alert(1)</script><!-- & \" ' \u2028"
    catalogue = Table({f"col {evil}": [evil] * 9, "plain": MaskedColumn([evil] * 9, unit="Jy", description=evil)})
    plain, hostile = page_result(), page_result(catalogue=catalogue, survey=evil)
    hostile.table["plain"].meta["note"] = evil
    pages = []
    for number, (result, title) in enumerate(((plain, "title"), (hostile, evil))):
        (path,) = write_page(result, tmp_path / f"{number}.html", images=Memory(fields), title=title)
        pages.append(Page(path))
    assert pages[1].tags == pages[0].tags
    assert pages[1].title == evil
    assert pages[1].column(f"col {evil}")["values"] == [evil] * 9
    assert pages[1].column("plain")["description"] == evil
    assert ["survey", evil] in pages[1].data["provenance"]
    assert pages[1].column("source_id")["values"][0] == HOSTILE


def test_an_empty_result_is_a_page(written):
    page = written(page_result(3)[:0])
    assert page.data["rows"] == 0
    assert page.lines == []


# Numbers


def test_numbers_keep_their_value_and_missing_ones_are_null():
    table = Table(
        {
            "f8": [0.1, np.nan, np.inf],
            "f4": np.array([0.1, -np.inf, 16777216.0], dtype=np.float32),
            "big": np.array([2**53, 2**62 + 1, -5]),
            "i2": MaskedColumn([1, 2, 3], mask=[False, True, False], dtype=np.int16),
            "flag": [True, False, True],
            "text": MaskedColumn(["a", "b", "ç"], mask=[False, True, False]),
            "bytes": [b"x", b"yy", b"\xff"],
        }
    )
    columns = {column["name"]: (column["kind"], column["values"]) for column in table_columns(table)}
    assert columns == {
        "f8": ("number", [0.1, None, "inf"]),
        "f4": ("number", [0.1, "-inf", 16777216]),
        "big": ("integer", [str(2**53), str(2**62 + 1), "-5"]),
        "i2": ("number", [1, None, 3]),
        "flag": ("text", ["True", "False", "True"]),
        "text": ("text", ["a", None, "ç"]),
        "bytes": ("text", ["x", "yy", "\ufffd"]),
    }


def test_every_double_survives():
    values = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.arange(-300, 300, 0.6)
    (column,) = table_columns(Table({"x": values}))
    assert np.array_equal(json.loads(json_for_html(column["values"])), values)


def test_other_columns_become_text():
    table = QTable(
        {
            "time": Time(["2020-01-01T00:00:00", "2020-01-02T00:00:00"]),
            "place": SkyCoord([1, 2], [3, 4], unit="deg"),
            "flux": [1, 2] * u.mJy,
            "array": [[1, 2], [3, 4]],
            "object": np.array([None, {"a": 1}], dtype=object),
            "long": ["x" * 600, "y"],
        }
    )
    columns = {column["name"]: column for column in table_columns(table)}
    assert columns["time"]["values"] == ["2020-01-01T00:00:00.000", "2020-01-02T00:00:00.000"]
    assert columns["flux"] | {"values": [1, 2], "unit": "mJy", "kind": "number"} == columns["flux"]
    assert columns["array"]["values"] == ["[1 2]", "[3 4]"]
    assert columns["object"]["values"] == [None, "{'a': 1}"]
    assert columns["long"]["values"] == ["x" * (MAX_TEXT - 1) + "…", "y"]
    assert all(isinstance(value, str) for value in columns["place"]["values"])


# Images


def test_the_cutout_can_be_read_back_in_its_own_units(written, fields):
    page = written(page_result())
    truth = fields[0][75:225, 75:225]
    seen = page.flux(0)
    assert np.corrcoef(seen.ravel(), truth.ravel())[0, 1] > 0.98
    bright = truth > 20 * RMS
    assert np.median(np.abs(seen[bright] / truth[bright] - 1)) < 0.12
    assert np.std((seen - truth)[np.abs(truth) < 3 * RMS]) < 0.5 * RMS


def test_codes_tell_noise_from_peak():
    flux = np.array([[-2 * RMS, 0, RMS, 2 * RMS, 1.0]])
    codes = encode_cutout(flux, cutout_scale(flux, RMS)).ravel()
    assert codes[0] == 0
    assert codes[-1] == 255
    assert np.all(np.diff(codes[:4]) >= 4)


@pytest.mark.parametrize("rms", [np.nan, 0.0])
def test_a_cutout_of_unknown_noise_has_a_scale(rms):
    flux = np.array([[0.0, 0.5, 1.0]])
    assert np.array_equal(encode_cutout(flux, cutout_scale(flux, rms)).argsort().ravel(), [0, 1, 2])


def test_north_is_up_and_each_map_in_its_own_panel():
    cutout = np.zeros((150, 150), np.float32)
    cutout[120, 30] = 1.0  # north east
    maps = {"mean": np.zeros((150, 150), np.float32), 1: np.zeros((150, 150), np.float32)}
    maps["mean"][20, 100] = 1.0  # south west
    maps[1][140, 140] = 2.0
    places = panel_places(("mean", 1))
    webp, ranges = encode_sprite(cutout, RMS, maps, places)
    image = np.asarray(Image.open(io.BytesIO(webp)).convert("L"))
    expected = {"cutout": (29, 30), "mean": (64, 50), "1": (4, 70)}
    for name, (left, top, size) in places.items():
        panel = image[top : top + size, left : left + size]
        assert np.unravel_index(panel.argmax(), panel.shape) == expected[name]
    assert ranges["1"] == [0.0, 0.5]  # four pixels of the map are one of the panel


def test_maps_are_those_of_the_result(written):
    result = page_result()
    page = written(result)
    for gate in ("mean", *GATES):
        truth = result.attention(3, gate).data.reshape(75, 2, 75, 2).mean(axis=(1, 3))
        low, high = page.lines[3][str(gate)]
        seen = low + (high - low) * page.panel(3, str(gate))[::-1] / 255
        assert np.abs(seen - truth).max() < 0.1
        assert np.abs(seen - truth).mean() < 0.01


def test_a_row_without_position_or_image_says_why(written):
    page = written(page_result())
    assert page.lines[2] == {"reason": "no position", "webp": ""}
    assert page.lines[0]["reason"] == ""


def test_positions_that_are_not_finite_are_never_asked_for(fields, tmp_path):
    images = Memory(fields)
    write_page(page_result(), tmp_path / "page.html", images=images)
    assert images.asked == [0, 1, 3, 4, 6, 7]


def test_blank_pixels_take_the_lowest_code():
    flux = np.full((150, 150), RMS, dtype=np.float32)
    flux[:50] = np.nan
    codes = encode_cutout(flux, cutout_scale(flux, RMS))
    assert np.all(codes[:50] == 0)
    assert np.all(codes[50:] > 0)


def test_without_images_maps_alone_are_shown(written):
    page = written(page_result(), images="none")
    assert "cutout" not in page.lines[0]
    assert page.lines[0]["mean"][1] > 0.9


def test_without_maps_cutouts_alone_are_shown(written):
    page = written(page_result(gates=()))
    assert page.data["gates"] == ["mean"]
    result = page_result()
    bare = written(Result(result.table), overwrite=True)
    assert bare.data["gates"] == []
    assert list(bare.data["panels"]) == ["cutout"]
    assert "cutout" in bare.lines[0]


# Where images come from


def test_a_result_from_local_images_asks_for_them(tmp_path):
    with pytest.raises(InputError, match=r"made from mosaic\.fits: name the images"):
        write_page(page_result(images="mosaic.fits"), tmp_path / "page.html")


def test_a_service_that_is_down_is_an_error_and_leaves_no_page(fields, tmp_path):
    with pytest.raises(ServiceError, match=r"memory: none of the first 6 images came \(timeout\)"):
        write_page(page_result(), tmp_path / "page.html", images=Memory(fields, status="timeout"))
    assert list(tmp_path.iterdir()) == []


def test_uncovered_positions_are_no_failure_of_the_service(written, fields):
    page = written(page_result(), images=Memory(fields, status="no_coverage"))
    assert {line["reason"] for line in page.lines} == {"no coverage", "no position"}


@pytest.mark.filterwarnings("ignore:the beam of mosaic.fits:radio_ag.errors.RadioAGWarning")
def test_images_of_a_coarse_beam_are_scaled_as_they_were_classified(tmp_path):
    mosaic, truth = make_mosaic(size=900, n_sources=3, seed=3)
    mosaic.header["BMAJ"] = mosaic.header["BMIN"] = 3 * 5.4 / 3600
    mosaic.writeto(tmp_path / "mosaic.fits")
    fields = open_images(tmp_path / "mosaic.fits", beam_scaled=True).fetch(truth["ra"], truth["dec"])
    result = page_result(3)
    for column in ("ra", "dec"):
        result.table[column] = result.table[f"cutout_{column}"] = truth[column]
    for i in (1, 2):
        for j in (1, 2):
            result.table[f"cd{i}_{j}"] = fields.cd[:, i - 1, j - 1]
    (path,) = write_page(result, tmp_path / "page.html", images=tmp_path / "mosaic.fits")
    page = Page(path)
    for row in range(3):
        image = fields.data[row, 75:225, 75:225]
        shown = np.isfinite(image)
        assert np.corrcoef(page.flux(row)[shown], image[shown])[0, 1] > 0.85


# Pages


def test_many_sources_make_several_pages(fields, tmp_path):
    result = page_result(10)
    paths = write_page(result, tmp_path / "a page.html", images=Memory(fields), per_page=4)
    assert [path.name for path in paths] == ["a page-1.html", "a page-2.html", "a page-3.html"]
    pages = [Page(path) for path in paths]
    flux = [value for page in pages for value in page.column("flux")["values"]]
    assert flux == result.table["flux"].tolist()
    assert [len(page.lines) for page in pages] == [4, 4, 2]
    assert [(page.data["first"], page.data["page"], page.data["total"]) for page in pages] == [
        (0, 0, 10),
        (4, 1, 10),
        (8, 2, 10),
    ]
    assert pages[0].data["links"] == ["a%20page-1.html", "a%20page-2.html", "a%20page-3.html"]


def test_existing_pages_are_kept_unless_told(fields, tmp_path):
    images = Memory(fields)
    (tmp_path / "page-2.html").write_text("mine")
    with pytest.raises(OutputError, match=r"page-2\.html exists"):
        write_page(page_result(), tmp_path / "page.html", images=images, per_page=5)
    assert images.asked == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page-2.html"]
    write_page(page_result(), tmp_path / "page.html", images=images, per_page=5, overwrite=True)
    assert Page(tmp_path / "page-2.html").data["rows"] == 4


def test_an_entry_a_source_and_on_request_a_row(tmp_path):
    columns = example_columns(5) | {"group_id": [0, 0, 1, 0, 2], "n_components": [3, 3, 1, 3, 1]}
    columns |= {"primary": [True, False, True, False, True]}
    result = Result.from_columns(Table({"a": np.arange(5)}), columns, example_stores(4))
    for rows, expected in ((False, [1, 3, 5]), (True, [1, 2, 3, 4, 5])):
        write_page(result, path := tmp_path / f"{rows}.html", images="none", rows=rows)
        shown = Page(path).data
        (numbers,) = [column["values"] for column in shown["columns"] if column["name"] == "source_id"]
        assert (shown["total"], numbers) == (len(expected), expected)


def test_an_entry_has_the_columns_of_its_source(tmp_path):
    columns = example_columns(4) | {"group_id": [0, 0, 1, 1], "n_components": [2, 2, 2, 2]}
    columns |= {"primary": [True, False, True, False]}
    catalogue = Table({"pa": ["mine", "too", "yours", "theirs"], "note": list("abcd")})
    made = Result.from_columns(catalogue, columns, example_stores(3))
    sources = made.sources
    sources["total_flux"][:] = [0.25, 0.5]
    sources["pa"][1] = 33.0
    sources["association"][0] = 0.875
    sources["las"][:] = [200.0, 100.0]
    sources["beam_major"] = [6.8, 5.4]
    result = Result(made.table, {}, sources=sources)
    write_page(result, tmp_path / "page.html", images="none")
    shown = {column["name"]: column["values"] for column in Page(tmp_path / "page.html").data["columns"]}
    assert shown["total_flux"] == [0.25, 0.5]
    assert shown["pa"] == [None, 33]
    assert shown["association"] == [0.875, None]
    assert shown["las"] == [200, 100]
    assert shown["beam_major"] == [6.8, 5.4]
    assert shown["n_components"] == [2, 2]
    assert shown["first_row"] == [0, 2]
    assert shown["note"] == ["a", "c"]
    assert shown["in_pa"] == ["mine", "yours"]
    assert not {"size", "group_id", "primary", "core_ra"} & set(shown)
    write_page(result, tmp_path / "page.html", images="none", rows=True, overwrite=True)
    names = [column["name"] for column in Page(tmp_path / "page.html").data["columns"]]
    assert names == result.table.colnames


def test_the_beam_is_that_of_the_survey(written):
    assert written(page_result()).data["beam"] is None
    assert written(page_result(survey=SURVEYS["first"].title), overwrite=True).data["beam"] == [5.4, 5.4, 0]
    assert written(page_result(survey=SURVEYS["nvss"].title), overwrite=True).data["beam"] == [45, 45, 0]


def test_classes_are_those_of_the_network_and_of_the_rows():
    table = page_result().table
    assert class_names(table, ("FRI", "FRII")) == (["FRI", "FRII"], 0.5)
    assert class_names(table[:0], ("a", "b", "c", "d")) == (["a", "b", "c", "d"], 0.25)
    table["class"] = MaskedColumn(["Bent", "FRII", "", "FRI", "Compact", "", "", "", ""], mask=table["class"].mask)
    table["class"].mask = [name == "" for name in table["class"].data]
    assert class_names(table, ("FRI", "FRII")) == (["FRI", "FRII", "Bent", "Compact"], 0.25)


def test_no_page_has_less_than_one_source(tmp_path):
    with pytest.raises(InputError, match="per_page must be 1 or more, not 0"):
        write_page(page_result(), tmp_path / "page.html", images="none", per_page=0)


def test_progress_reaches_the_end(fields, tmp_path):
    calls = []
    write_page(page_result(150), tmp_path / "page.html", images=Memory(fields), progress=lambda *now: calls.append(now))
    assert calls == [(64, 150, {}), (128, 150, {}), (150, 150, {})]


def test_flags_are_told_in_words(written):
    flags = {flag["name"]: flag for flag in written(page_result()).data["flags"]}
    assert flags["LOW_SNR"] == {
        "name": "LOW_SNR",
        "bit": int(Flag.LOW_SNR),
        "words": "low S/N",
        "description": Flag.LOW_SNR.description,
    }
    assert set(flags) == {flag.name for flag in Flag}


# The command


def invoke(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def product(sky, tmp_path):
    """A product of sources in a simulated mosaic, and the mosaic."""
    shutil.copy(sky / "mosaic.fits", tmp_path)
    truth = Table.read(sky / "catalogue.csv")
    result = page_result(5, images="mosaic.fits")
    for column in ("ra", "dec"):
        result.table[column] = result.table[f"cutout_{column}"] = truth[column]
    result.write(tmp_path / "sky.radio-ag.fits")
    return tmp_path / "sky.radio-ag.fits"


def test_view_writes_the_page_beside_the_product(product):
    done = invoke("view", product, "--images", product.parent / "mosaic.fits")
    assert done.exit_code == 0, done.output
    path = product.parent / "sky.radio-ag.html"
    assert done.stdout.split() == [str(path)]
    assert "writing the page: 5/5 sources" in done.stderr
    page = Page(path)
    assert page.title == "example.fits"
    assert [line["reason"] for line in page.lines] == [""] * 5
    assert all(line["cutout"][1] > 10 * RMS for line in page.lines)


def test_view_keeps_a_page_unless_told(product):
    command = ("view", product, "--images", "none", "-o", product.parent / "p.html", "--title", "Mine")
    assert invoke(*command).exit_code == 0
    again = invoke(*command)
    assert again.exit_code == 2
    assert "p.html exists" in again.stderr
    assert invoke(*command, "--overwrite", "--quiet").stdout == ""
    assert Page(product.parent / "p.html").title == "Mine"


def test_view_of_a_result_without_images_says_what_to_name(product):
    done = invoke("view", product)
    assert done.exit_code == 2
    assert "name the images" in done.stderr


def test_view_opens_the_page_when_asked(product, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    invoke("view", product, "--images", "none", "--open")
    assert opened == [(product.parent / "sky.radio-ag.html").as_uri()]
