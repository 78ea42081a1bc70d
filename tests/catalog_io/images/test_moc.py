"""Multi-order coverage maps: ranges against mocpy's, and what cannot be is refused."""

import json

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from astropy.io import fits

from radio_ag.catalog_io.images.moc import ranges_of_json, ranges_of_table, ranges_of_text
from radio_ag.catalog_io.images.regions import open_region
from radio_ag.errors import InputError


def table_of(values, dtype="i8", **header):
    array = np.array(values, dtype=dtype)
    form = {"i8": "K", "i4": "J", "f8": "D", "f4": "E"}[dtype]
    return fits.BinTableHDU.from_columns([fits.Column("UNIQ", form, array=array)], fits.Header(header))


@pytest.mark.parametrize("order", [0, 1, 7, 12, 29])
def test_each_form_against_mocpy(tmp_path, order):
    mocpy = pytest.importorskip("mocpy", reason="mocpy is an extra: MOCs are read with it")
    radius = 40 * u.deg if order < 10 else 200 * u.deg / 2**order
    moc = mocpy.MOC.from_cone(Longitude(80 * u.deg), Latitude(-30 * u.deg), radius=radius, max_depth=order)
    for format in ("json", "ascii", "fits"):
        moc.save(tmp_path / format, format=format)
    with fits.open(tmp_path / "fits") as hdus:
        ranges_of_fits = ranges_of_table(hdus[1])
    read = {
        "json": ranges_of_json((tmp_path / "json").read_text()),
        "ascii": ranges_of_text((tmp_path / "ascii").read_text()),
        "range": ranges_of_fits,
        "nuniq": ranges_of_table(table_of(moc.uniq_hpx.astype("i8"), ORDERING="NUNIQ")),
    }
    for ranges in read.values():
        again = mocpy.MOC.from_depth29_ranges(29, ranges)
        np.testing.assert_array_equal(again.to_depth29_ranges, moc.to_depth29_ranges)


@pytest.mark.parametrize("order", range(30))
def test_the_first_and_the_last_cell_of_an_order(order):
    last = 12 * 4**order - 1
    width = 4 ** (29 - order)
    expected = [[0, width], [last * width, 12 * 4**29]]
    assert ranges_of_json(json.dumps({str(order): [0, last]})).tolist() == expected
    assert ranges_of_text(f"{order}/0 {last}").tolist() == expected
    assert ranges_of_table(table_of([4 * 4**order, 4 * 4**order + last], ORDERING="NUNIQ")).tolist() == expected
    assert ranges_of_table(table_of(np.ravel(expected), ORDERING="RANGE")).tolist() == expected


@pytest.mark.parametrize(
    "content",
    [
        *({"3": [cell]} for cell in (-1, 768, 1.0, "1", None, True, [1], 10**30)),
        *({order: [1]} for order in ("30", "60", "-1", "1.5", "", "a", "\u0663")),
        *({"3": cells} for cells in (1, "1", None, {"1": 1})),
        *([], [1], 1, "3/1", None, {}, {"3": []}),
    ],
)
def test_json_that_cannot_be(content):
    with pytest.raises(InputError, match=r"is no MOC|is a MOC without cells"):
        ranges_of_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"3": [NaN]}', '{"3": [1e400]}'])
def test_text_that_is_no_json(text):
    with pytest.raises(InputError, match=r"is no JSON|is no MOC"):
        ranges_of_json(text)


@pytest.mark.parametrize(
    "text", ["3/-1", "3/768", "30/1", "3/1.5", "3/a", "3/5-2", "3/1-768", "3/", "3/1 /2", "1 2", "3/1e2", f"3/{10**40}"]
)
def test_text_that_cannot_be(text):
    with pytest.raises(InputError, match=r"is no MOC|is a MOC without cells"):
        ranges_of_text(text)


@pytest.mark.parametrize(
    ("values", "dtype", "header"),
    [
        *(([value], "i8", {"ORDERING": "NUNIQ"}) for value in (-1, 0, 3, 16 * 4**29, 2**63 - 1)),
        *((pair, "i8", {"ORDERING": "RANGE"}) for pair in ([5, 5], [5, 2], [-1, 5], [0, 12 * 4**29 + 1], [1, 2, 3])),
        ([4.0], "f8", {"ORDERING": "NUNIQ"}),
        ([0.0, 5.0], "f4", {"ORDERING": "RANGE"}),
        ([], "i8", {"ORDERING": "NUNIQ"}),
        ([4], "i8", {"ORDERING": "NUNIQ", "MOCDIM": "TIME"}),
        ([4], "i8", {"ORDERING": "NUNIQ", "COORDSYS": "G"}),
    ],
)
def test_tables_that_cannot_be(values, dtype, header):
    with pytest.raises(InputError, match=r"is no MOC|is a MOC"):
        ranges_of_table(table_of(values, dtype, **header))


@pytest.mark.parametrize(
    ("name", "content"), [("m.json", '{"60": [1]}'), ("m.json", '{"3": [-1]}'), ("m.json", "[1]"), ("m.txt", "3/-1")]
)
def test_as_a_region_they_are_refused_in_a_line(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"^region='.*{name}' is no MOC: [^\n]*$"):
        open_region(tmp_path / name)
