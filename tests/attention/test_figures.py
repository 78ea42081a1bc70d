"""Figures: what is drawn is what was given, on the sky, in sizes and type for a journal."""

import numpy as np
import pytest
from astropy.wcs import WCS
from matplotlib import colormaps
from matplotlib.colors import AsinhNorm, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from radio_ag.attention import figures, panels
from radio_ag.attention.statistics import AggregateMaps
from radio_ag.errors import InputError, OutputError
from radio_ag.network.model import GateSteps

Y, X = np.mgrid[:150, :150] - 74.5
EMISSION = np.where(np.hypot(X, Y) < 12, 2.0 - np.hypot(X, Y) / 12, 0)  # a round source
GATES = np.stack([np.exp(-((X - 10 * k) ** 2 + Y**2) / 900) for k in range(3)])


def made_steps(channels: int, size: int) -> GateSteps:
    """Stacks of numbers below and above zero, and maps that rise from the lower left to the upper right."""
    rng = np.random.default_rng(channels)
    own, shared = rng.normal(size=(2, channels, size, size)), rng.normal(size=(3, 64, size, size))
    score = np.linspace(-2, 5, size**2).reshape(size, size)
    return GateSteps(np.abs(own[0]), *shared[:2], np.clip(shared[2], 0, None), score, (score + 2) / 7, own[1])


STEPS = [made_steps(32, 37), made_steps(16, 75)]


def wcs() -> WCS:
    made = WCS(naxis=2)
    made.wcs.ctype = "RA---TAN", "DEC--TAN"
    made.wcs.crval, made.wcs.crpix, made.wcs.cdelt = (208.6, 28.2), (75.5, 75.5), (-1.8 / 3600, 1.8 / 3600)
    return made


@pytest.fixture(scope="module")
def aggregate() -> AggregateMaps:
    """Every cell has two images, whose values say which cell it is."""
    maps = AggregateMaps(3)
    for label in (0, 1):
        for certain in (True, False):
            for predicted in (0, 1):
                value = 0.5 * label + 0.25 * certain + 0.125 * predicted
                image, gates = np.full((2, 150, 150), value) * (EMISSION > 0), np.stack([GATES * (1 + value)] * 2)
                maps.add(image, gates, label=label, certain=certain, predicted=predicted)
    return maps


def made_figures(maps: AggregateMaps) -> dict[str, Figure]:
    features = [np.random.default_rng(0).random((c, s, s)) for c, s in ((6, 150), (16, 75), (32, 37), (64, 18))]
    raw = [GATES[0][::4, ::4], GATES[1][::2, ::2], GATES[2]]
    return {
        "source": figures.source_figure(EMISSION, GATES, emission=EMISSION, wcs=wcs(), title="name"),
        "offsets": figures.source_figure(EMISSION, GATES[:1], emission=EMISSION),
        "grid": figures.grid_figure(
            [GATES, GATES[:1]], [["a", "b", "c"], ["d"]], emission=[EMISSION] * 2, images=[EMISSION, None], wcs=wcs()
        ),
        "gate steps": figures.gate_steps_figure(STEPS, title="name"),
        "preprocessing": figures.preprocessing_figure(np.pad(EMISSION, 75), EMISSION, EMISSION / 2, [EMISSION / 2]),
        "network": figures.network_figure(EMISSION, features, raw, [0.2, 0.8]),
        "no gates": figures.network_figure(EMISSION, features, [], [0.2, 0.8]),
        "aggregate": figures.aggregate_figure(maps),
        "difference": figures.difference_figure(maps),
        "confusion": figures.confusion_figure(maps),
        "certainty": figures.certainty_figure(maps, by="predicted"),
        "outliers": figures.outliers_figure([EMISSION] * 4, [*GATES, GATES[0]], ["one"] * 4),
    }


@pytest.fixture(scope="module")
def made(aggregate):
    return made_figures(aggregate)


def test_widths_are_those_of_a_journal_and_type_is_7_pt_or_more(made):
    for name, figure in made.items():
        width = round(figure.get_figwidth() * 25.4)
        assert width in (84, 174), name
        sizes = {t.get_fontsize() for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()}
        assert min(sizes) >= 7, name


def test_maps_are_drawn_as_given_with_row_0_below(made):
    panels = [axes for axes in made["source"].axes if axes.images]
    np.testing.assert_allclose(panels[0].images[0].get_array(), EMISSION / EMISSION.max())
    for panel, expected in zip(panels[1:5], [*GATES, GATES.mean(0)], strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), expected)
        assert panel.images[0].origin == "lower"


def test_sky_is_on_the_axes(made):
    panel = made["source"].axes[0]
    np.testing.assert_allclose(panel.wcs.wcs.crval, (208.6, 28.2))
    west, east, south, north = made["offsets"].axes[0].images[0].get_extent()
    assert (west, east, south, north) == (135, -135, -135, 135)  # 150 px of 1.8 arcsec, east on the left


def test_clip_contour_runs_round_the_emission():
    axes = Figure().add_subplot()
    panels.draw_clip(axes, EMISSION)
    (lines,) = axes.collections
    points = np.concatenate([path.vertices for path in lines.get_paths()])
    np.testing.assert_allclose(np.hypot(*points.T), 12 * 1.8, atol=1.8)


def test_numbers_below_zero_have_a_minus_sign(made):
    for name in ("offsets", "gate steps", "difference"):
        made[name].canvas.draw()
        words = [text.get_text() for text in made[name].findobj(Text)]
        assert any("\N{MINUS SIGN}" in text for text in words), name
        assert not any(text.startswith("-") for text in words), name


def test_empty_image_has_no_contour():
    axes = Figure().add_subplot()
    panels.draw_clip(axes, np.zeros((150, 150)))
    assert not axes.collections


def test_difference_is_of_the_classes_and_saturates(made, aggregate):
    (panel, _) = made["difference"].axes
    drawn = panel.images[0]
    np.testing.assert_allclose(drawn.get_array(), aggregate.image(label=0) - aggregate.image(label=1))
    assert (drawn.norm.vmin, drawn.norm.vmax) == (-0.05, 0.05)
    low, high = drawn.to_rgba(np.array([-1.0, 1.0]))
    assert low[2] > low[0]  # bluish
    assert high[0] > high[2]  # orange


def test_confusion_cells_are_at_their_places(made, aggregate):
    panels = [axes for axes in made["confusion"].axes if axes.images]
    for panel, (true, predicted) in zip(panels, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        expected = aggregate.attention(label=true, predicted=predicted)
        np.testing.assert_allclose(panel.images[0].get_array(), expected)


def test_steps_of_a_gate_are_drawn_in_their_order(made):
    panels = np.array(made["gate steps"].axes).reshape(2, 7)
    for row, steps in zip(panels, STEPS, strict=True):
        assert [panel.images[0].get_array().shape[0] for panel in row] == [2 * len(steps.score)] * 4 + [
            *[len(steps.score)] * 2,
            2 * len(steps.score),
        ]
        np.testing.assert_array_equal(row[4].images[0].get_array(), steps.score)
        np.testing.assert_array_equal(row[5].images[0].get_array(), steps.attention)
        channels = np.sort(np.argsort(steps.agreement.std((1, 2)))[::-1][:4])  # the same four in three panels
        upper_left = (slice(len(steps.score), None), slice(len(steps.score)))
        for panel, stack in zip(row[1:4], (steps.projected, steps.gating, steps.agreement), strict=True):
            expected = stack[channels[0]] / np.abs(stack[channels[0]]).max()
            np.testing.assert_allclose(panel.images[0].get_array()[upper_left], expected)
    assert "\N{MINUS SIGN}2 to 5" in {text.get_text() for text in panels[0, 4].texts}


def test_features_are_drawn_over_their_peaks_four_of_them():
    block = np.stack([level * EMISSION for level in (0, 1, -2, 3, 0.1, 4)])
    drawn = panels.draw_features(Figure().add_subplot(), block, signed=True)
    tiles = np.asarray(drawn.get_array())
    assert tiles.shape == (300, 300)
    signs = [tiles[150:, :150], tiles[150:, 150:], tiles[:150, :150], tiles[:150, 150:]]  # row 0 is below
    for tile, sign in zip(signs, (1, -1, 1, 1), strict=True):  # channels 1, 2, 3 and 5 vary most
        np.testing.assert_allclose(tile, sign * EMISSION / EMISSION.max())


def test_a_network_without_gates_has_its_place_in_a_grid():
    figure = figures.grid_figure([[None, GATES[0]], [GATES[1]]], [["none", "one"], ["two"]])
    empty, full, second, hidden = figure.axes[:4]
    assert len(figure.axes) == 6  # with a colour bar for each map
    assert [text.get_text() for text in empty.texts] == ["no gates"]
    assert np.isnan(np.asarray(empty.images[0].get_array(), float)).all()
    np.testing.assert_array_equal(full.images[0].get_array(), GATES[0])
    assert [panel.get_title() for panel in (empty, full, second)] == ["none", "one", "two"]
    assert not hidden.get_visible()


def test_figures_of_missing_groups_are_drawn(tmp_path):
    maps = AggregateMaps(2)
    maps.add(EMISSION[None] / 2, GATES[None, :2], label=0, certain=True, predicted=0)
    for figure in (figures.aggregate_figure(maps), figures.confusion_figure(maps), figures.certainty_figure(maps)):
        figures.save_figure(figure, tmp_path / "it", overwrite=True)


def test_saved_as_png_and_pdf_and_not_over_another(made, tmp_path):
    written = figures.save_figure(made["difference"], tmp_path / "one.png")
    assert [path.name for path in written] == ["one.png", "one.pdf"]
    with Image.open(written[0]) as image:
        assert abs(image.width - 84 / 25.4 * 300) <= 1
    assert written[1].read_bytes().startswith(b"%PDF")
    with pytest.raises(OutputError, match=r"one\.png exists"):
        figures.save_figure(made["difference"], tmp_path / "one.pdf")
    with pytest.raises(OutputError, match="cannot be written"):
        figures.save_figure(made["difference"], tmp_path / "no folder" / "one")


def test_every_figure_can_be_drawn(made):
    for figure in made.values():
        figure.canvas.draw()


# Machado et al. 2009, IEEE TVCG 15, 1291: what is seen without the first, second or third kind of cone, in linear RGB.
WITHOUT = {
    "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("missing", WITHOUT)
def test_colours_can_be_told_apart_without_one_kind_of_cone(missing):
    def seen(colours) -> np.ndarray:
        """Lightness (L*, 0 to 100) and place on the sides of the sRGB cube."""
        rgb = to_rgba_array(colours)[:, :3]
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        linear = np.clip(linear @ np.array(WITHOUT[missing]).T, 0, 1)
        lightness = 116 * np.cbrt(linear @ (0.2126, 0.7152, 0.0722)) - 16
        return np.column_stack([lightness, 100 * np.cbrt(linear)])

    steps = np.linspace(0, 1, 32)
    for name in (panels.ATTENTION_COLOURS, panels.IMAGE_COLOURS):
        lightness = seen(colormaps[name](steps))[:, 0]
        change = np.diff(lightness) * np.sign(lightness[-1] - lightness[0])
        assert (change > 0).all(), name  # brighter or darker all the way
        assert np.ptp(lightness) > 60
    below, zero, above = seen(colormaps[panels.DIFFERENCE_COLOURS]([0.1, 0.5, 0.9]))
    for one, other in ((below, above), (below, zero), (above, zero)):
        assert np.linalg.norm(one - other) > 25
    assert np.ptp(seen([panels.LINE_COLOUR, "white"])[:, 0]) > 30


def test_bad_class_is_named(aggregate):
    with pytest.raises(InputError, match="label or predicted, not 'true'"):
        figures.aggregate_figure(aggregate, by="true")


def test_a_figure_of_one_source_tells_beam_scale_and_what_colours_mean():
    told = {"beam": (6.8, 5.4, 30.0), "orientations": 8, "title": "J1, FRII with p = 0.97, agcnn-first"}
    figure = figures.source_figure(EMISSION, GATES, emission=EMISSION, wcs=wcs(), **told)
    (beam,) = (patch for axes in figure.axes for patch in axes.patches if patch.get_gid() == "beam")
    assert (beam.height * 270, beam.width * 270, beam.angle) == pytest.approx((6.8, 5.4, 30), rel=1e-3)
    (line,) = (line for axes in figure.axes for line in axes.lines if line.get_gid() == "scale bar")
    assert np.ptp(line.get_xdata()) * 270 == pytest.approx(60, rel=1e-3)
    bars = [axes.get_xlabel() for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert bars == ["flux density / peak", *["attention, mean\nof 8 orientations"] * 4]
    assert figure.get_suptitle() == told["title"]


@pytest.mark.parametrize("dec", [0.0, 40.0, 70.0, -88.0])
@pytest.mark.parametrize("size", [0.9, 1.26, 3.0])
def test_right_ascensions_have_room_between_them(dec, size):
    sky = wcs()
    sky.wcs.crval = 208.6, dec
    apart = panels.ra_step(size, sky) * 15 * np.cos(np.radians(dec)) / 270 * size  # inches
    assert 0.72 <= apart <= 0.72 * 2.51


def test_long_names_are_broken_to_fit():
    name = "a-very-long-name_of_weights-from-some-training"
    lines = panels.wrap(name, 1.2).split("\n")
    assert "".join(lines) == name
    assert max(map(len, lines)) <= 1.2 / panels.LETTER
    assert panels.wrap("agcnn-first", 1.2) == "agcnn-first"
    assert panels.wrap("", 1.2) == ""


def test_the_stages_of_preprocessing_share_one_scale():
    figure = figures.preprocessing_figure(np.pad(EMISSION, 75), EMISSION, EMISSION / 2, [EMISSION / 2])
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    assert len(images) == 4
    assert {(image.norm.vmin, image.norm.vmax, type(image.norm)) for image in images} == {(0, 1, AsinhNorm)}
    assert images[0].get_array().max() == images[1].get_array().max() == images[2].get_array().max() == 1
