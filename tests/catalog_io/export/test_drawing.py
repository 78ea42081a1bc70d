"""Pictures of single sources: what they tell, and to what scale."""

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from radio_ag import Result, classify
from radio_ag.catalog_io.export import drawing
from radio_ag.catalog_io.export.drawing import CLASS_COLOURS, caption, draw_scale
from radio_ag.errors import InputError, SourceNotFoundError
from radio_ag.simulated import make_mosaic


@pytest.fixture(scope="module")
def result() -> Result:
    hdu, truth = make_mosaic(size=700, n_sources=2, seed=5)
    hdu.header["BMIN"], hdu.header["BPA"] = 5.0 / 3600, 30.0
    return classify(truth["ra", "dec"], images=hdu, orbit=1, keep_cutouts=True)


def test_a_picture_tells_class_probability_weights_beam_and_scale(result):
    row = int(np.flatnonzero(~np.ma.getmaskarray(result.table["class"]))[0])
    figure = result.plot(row)
    entry = result.table[row]
    assert figure.get_suptitle() == caption(entry["name"], entry["class"], entry["probability"], "agcnn-first")
    panels = [axes for axes in figure.axes if hasattr(axes, "coords")]
    assert len(panels) == 2
    np.testing.assert_allclose(panels[1].images[0].get_array(), result.attention(row).data)
    np.testing.assert_allclose(panels[0].images[0].get_array(), 1e3 * result.cutout(row).data, rtol=1e-5)
    for panel in panels:  # 270 arcsec on a side
        (beam,) = (patch for patch in panel.patches if isinstance(patch, Ellipse))
        assert (beam.height * 270, beam.width * 270, beam.angle) == pytest.approx((5.4, 5.0, 30), rel=1e-3)
        (line,) = (line for line in panel.lines if line.get_gid() == "scale bar")
        assert np.ptp(line.get_xdata()) * 270 == pytest.approx(60, rel=1e-3)
    assert [axes.get_xlabel() for axes in figure.axes if axes not in panels] == list(drawing.LABELS.values())


def test_a_caption():
    assert caption("J1", "FRII", 0.9961, "w") == "J1, FRII with p > 0.99, w"
    assert caption("J1", "FRI", 0.5) == "J1, FRI with p = 0.50"
    assert caption("J1", "", None, "w") == "J1, no class, w"


@pytest.mark.parametrize(
    ("side", "arcsec", "words"), [(270, 60, "1\N{PRIME}"), (100, 30, "30\N{DOUBLE PRIME}"), (2000, 600, "10\N{PRIME}")]
)
def test_a_scale_bar(side, arcsec, words):
    axes = Figure().subplots()
    draw_scale(axes, side)
    assert np.ptp(axes.lines[0].get_xdata()) * side == pytest.approx(arcsec)
    assert [text.get_text() for text in axes.texts] == [words]
    assert not axes.patches


def test_rows_beyond_the_end_are_said_to_be_so(result):
    for ask in (result.attention, result.cutout, result.plot, result.source, result.show):
        with pytest.raises(
            SourceNotFoundError, match=rf"there is no (row|source) {len(result)}: \w+s are numbered from 0"
        ):
            ask(len(result))
    assert np.array_equal(result.attention(-1).data, result.attention(len(result) - 1).data)


def test_without_a_screen_it_is_said(result, monkeypatch):
    monkeypatch.setattr("matplotlib.pyplot.get_backend", lambda: "agg")
    with pytest.raises(InputError, match="there is no screen"):
        result.show(0)


def test_as_a_data_frame(result):
    frame = result.to_pandas()
    assert list(frame["name"]) == list(result.sources["name"])
    assert frame["core_ra"].isna().all()
    assert len(result.to_pandas(rows=True).columns) == len(result.table.columns)
    wide = Table({"ra": result.table["ra"], "dec": result.table["dec"], "two": np.zeros((len(result), 2))})
    assert "two" not in classify(wide, images=make_mosaic(size=700, n_sources=2, seed=5)[0], orbit=1).to_pandas(
        rows=True
    )


def test_figures_and_page_have_one_set_of_colours():
    from importlib.resources import files

    page = (files("radio_ag.catalog_io.export") / "page" / "page.css").read_text()
    for name, colour in CLASS_COLOURS.items():
        assert f"--{name.lower()}: {colour};" in page
