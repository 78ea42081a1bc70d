"""The page in a real browser: Chromium without a window, driven as a user would, with the network refused."""

import csv
import time

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from browser_examples import By, Keys, Select, View, open_chromium
from page_examples import HOSTILE, Memory, page_result, simulated_fields

from radio_ag.catalog_io.export.page import write_page
from radio_ag.catalog_io.product.fits import cutout_wcs
from radio_ag.catalog_io.services.surveys import SURVEYS
from radio_ag.flags import Flag

pytestmark = pytest.mark.browser

COUNT = 120


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(downloads, tmp_path_factory):
    browser = open_chromium(tmp_path_factory.mktemp("profile"), downloads)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def result():
    """Sources with two further columns: integers beyond a double's, and numbers with one missing."""
    row = np.arange(COUNT)
    catalogue = Table(
        {
            "flux": MaskedColumn((row * 37 % COUNT) * 0.5, mask=row == 5, unit="Jy"),
            "long id": 2**60 + row[::-1],
            "note": [HOSTILE if number == 3 else f'note, "{number}"' for number in row],
        }
    )
    return page_result(COUNT, catalogue=catalogue)


@pytest.fixture(scope="module")
def path(result, tmp_path_factory):
    (path,) = write_page(result, tmp_path_factory.mktemp("page") / "page.html", images=Memory(simulated_fields()))
    return path


@pytest.fixture
def view(chromium, path):
    """The page, newly loaded; nothing may reach the console by the end of the test."""
    view = View(chromium, path)
    yield view
    assert chromium.get_log("browser") == []


def shown_names(result, rows):
    names = np.ma.filled(result.table["name"], "")
    return [names[row] or f"Row {row + 1}" for row in rows]


# Loading


def test_the_page_loads_without_the_network(view, result):
    view.count(f"{COUNT} sources")
    assert view.run("return performance.getEntriesByType('resource').length") == 0
    assert view.names()[:6] == shown_names(result, range(6))
    assert view.browser.title == "example.fits"


def test_only_cards_near_the_window_are_in_the_document(view):
    assert len(view.all(".card")) < COUNT / 2
    view.run("window.scrollTo(0, document.body.scrollHeight)")
    view.wait(lambda: COUNT - 1 in view.rows())
    assert len(view.all(".card")) < COUNT / 2
    assert view.card(COUNT - 1).get_attribute("aria-posinset") == view.card(COUNT - 1).get_attribute("aria-setsize")


def test_hostile_text_is_shown_as_text(view):
    Select(view.id("sort")).select_by_value("")
    view.card(0).find_element(By.CLASS_NAME, "name").click()
    view.id("measured").find_element(By.TAG_NAME, "summary").click()
    assert HOSTILE in view.id("result-row").text
    for _ in range(3):
        view.id("next").click()
    assert HOSTILE in view.id("input-row").text
    assert view.browser.title == "example.fits"
    assert view.run("return document.querySelectorAll('script').length") == 2 + len(view.all("script[id^=images]"))


def test_a_program_that_got_in_would_not_run(chromium, path):
    view = View(chromium, path)
    view.run(
        "const s = document.createElement('script'); s.textContent = arguments[0]; document.body.append(s);",
        "document.title = 'stolen'",
    )
    assert view.browser.title == "example.fits"
    (refusal,) = chromium.get_log("browser")
    assert "Content Security Policy" in refusal["message"]


# Filters and order


def test_filter_by_class(view, result):
    chips = {chip.get_attribute("data-class"): chip for chip in view.all("#classes button")}
    chips["FRII"].click()
    chips[""].click()
    rows = np.flatnonzero(result.table["class"] == "FRI")
    view.count(f"{len(rows)} of {COUNT} sources")
    assert view.names()[:5] == shown_names(result, rows[:5])
    assert chips["FRII"].get_attribute("aria-pressed") == "false"
    view.id("reset").click()
    view.count(f"{COUNT} sources")


def test_filter_by_probability(view, result):
    view.choose(view.id("low"), "0.7")
    view.choose(view.id("high"), "0.8")
    probability = np.ma.filled(result.table["probability"], np.nan)
    rows = np.flatnonzero((probability >= 0.7) & (probability <= 0.8))
    assert len(rows) > 3
    view.count(f"{len(rows)} of {COUNT} sources")
    assert view.names()[:4] == shown_names(result, rows[:4])


def test_filter_by_flag(view, result):
    flags = np.asarray(result.table["flags"])
    choice = Select(view.one("#flags [data-bit='256'] select"))
    assert view.one("#flags [data-bit='256']").text.split("\n")[0] == "confused"
    choice.select_by_visible_text("only")
    view.count(f"{np.sum(flags & 256 != 0)} of {COUNT} sources")
    choice.select_by_visible_text("hide")
    view.count(f"{np.sum(flags & 256 == 0)} of {COUNT} sources")
    choice.select_by_visible_text("any")
    view.id("clean").click()
    view.count(f"{np.sum(flags == 0)} of {COUNT} sources")


def test_filter_by_text(view):
    view.id("search").send_keys("SOURCE 11")
    view.count(f"11 of {COUNT} sources")
    view.id("search").clear()
    view.id("search").send_keys("<script>")
    view.count(f"2 of {COUNT} sources")
    view.id("search").send_keys(" nowhere")
    view.count(f"0 of {COUNT} sources")
    assert view.id("nothing").is_displayed()


@pytest.mark.parametrize("descending", [False, True])
def test_sort_by_a_number_puts_missing_ones_last(view, result, descending):
    flux = result.table["flux"]
    rows = sorted(range(COUNT), key=lambda row: (row == 5, -flux[row] if descending else flux[row]))
    assert rows[-1] == 5
    view.sort("flux", descending)
    view.wait(lambda: view.rows()[:6] == rows[:6])
    view.one(".card").send_keys(Keys.END)
    view.wait(lambda: 5 in view.rows())
    assert view.card(5).get_attribute("aria-posinset") == str(COUNT)


def test_sort_by_integers_that_a_double_would_confuse(view):
    view.sort("long id")
    view.wait(lambda: view.rows()[:6] == [COUNT - 1 - place for place in range(6)])


def test_sort_by_text_counts_numbers_as_numbers(view):
    view.sort("source_id", descending=True)
    view.wait(lambda: view.rows()[:3] == [COUNT - 1, COUNT - 2, COUNT - 3])


def test_every_column_sorts(view, result):
    values = view.run("return [...document.getElementById('sort').options].map((option) => option.value)")
    names = {"group_id": "source", "primary": "first_row", "size": "las"}
    assert sorted(values) == sorted(["", *(names.get(name, name) for name in result.table.colnames)])
    for value in values:
        view.sort(value)


# Pictures


def test_modes_show_image_attention_or_both(view):
    canvas = ".card[data-row='0'] canvas"
    overlay = view.drawn(canvas)
    image, attention = [], []
    for words, taken in (("Image", image), ("Attention", attention)):
        before = view.pixels(canvas)
        next(button for button in view.all(".toolbar .modes button") if button.text == words).click()
        view.wait(lambda before=before: not np.array_equal(view.pixels(canvas), before))
        taken.append(view.pixels(canvas))
    assert np.ptp(image[0], axis=2).max() == 0  # grey
    assert np.ptp(overlay, axis=2).max() > 50
    # The mean map of row 0 peaks at x = 60, 80 pixels from the south.
    y, x = np.unravel_index(attention[0].sum(axis=2).argmax(), (150, 150))
    assert abs(x - 60) <= 2
    assert abs(149 - y - 80) <= 2


def test_overlay_strength_goes_from_nothing_to_all(view):
    canvas = ".card[data-row='0'] canvas"
    view.drawn(canvas)
    tint = []
    for strength in ("0", "0.3", "1"):
        before = view.pixels(canvas)
        view.choose(view.setting("Overlay"), strength)
        view.wait(lambda before=before: not np.array_equal(view.pixels(canvas), before))
        tint.append(np.ptp(view.pixels(canvas), axis=2).sum())
    assert tint[0] == 0
    assert tint[0] < tint[1] < tint[2]


def test_stretch_colours_and_clip_change_the_image(view):
    view.one("[data-mode=image]").click()
    canvas = ".card[data-row='0'] canvas"
    view.drawn(canvas)
    brightness = {}
    for stretch in ("linear", "sqrt", "asinh", "log"):
        view.choose(view.setting("Stretch"), stretch)
        time.sleep(0.2)
        brightness[stretch] = view.pixels(canvas).mean()
    assert brightness["linear"] < brightness["asinh"] < brightness["sqrt"] < brightness["log"]
    view.choose(view.setting("Colours"), "viridis")
    view.wait(lambda: np.ptp(view.pixels(canvas), axis=2).max() > 50)
    view.choose(view.setting("Colours"), "grey")
    view.one("#picture-controls .check").click()
    view.wait(lambda: np.mean(view.pixels(canvas).max(axis=2) == 0) > 0.9)


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.ESCAPE])
def test_enter_and_escape_leave_the_search_box_with_its_text(view, key):
    view.id("search").send_keys("source 11" + key)  # at once, without waiting for the filter
    view.count(f"11 of {COUNT} sources")
    assert view.id("search").get_property("value") == "source 11"
    assert view.browser.switch_to.active_element.get_attribute("data-row") == "11"
    view.press(Keys.ARROW_RIGHT)
    assert view.browser.switch_to.active_element.get_attribute("data-row") == "110"


def test_class_boxes_count_what_passes_the_filters(view, result):
    def counts():
        return view.each("#classes button", "Number(element.querySelector('.count').textContent)")

    def expected(rows):
        classes = np.ma.filled(result.table["class"], "")[rows]
        return [np.sum(classes == name) for name in ("FRI", "FRII", "")]

    assert counts() == expected(np.arange(COUNT))
    view.id("clean").click()
    clean = np.flatnonzero(np.asarray(result.table["flags"]) == 0)
    assert counts() == expected(clean) != expected(np.arange(COUNT))
    view.all("#classes button")[1].click()
    assert counts() == [expected(clean)[0], 0, expected(clean)[2]]


# Pan, zoom, contours, beam


def opened(view, row):
    view.card(row).find_element(By.CLASS_NAME, "name").click()
    view.drawn("#detail-canvas")


def hover(view, x, y):
    """Put the pointer on a place of the picture, in its 150 pixels, and read what it tells."""
    script = """
        const canvas = document.getElementById("detail-canvas");
        const box = canvas.getBoundingClientRect();
        const [clientX, clientY] = [box.x + arguments[0] * box.width / 150, box.y + arguments[1] * box.height / 150];
        canvas.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY, pointerId: 9 }));
        return document.getElementById("readout").textContent;
    """
    return view.run(script, x, y)


@pytest.mark.parametrize(("x", "y"), [(75.0, 75.0), (0.5, 0.5), (149.5, 20.0)])
def test_the_pointer_tells_right_ascension_and_declination(view, result, x, y):
    opened(view, 12)
    told = SkyCoord(hover(view, x, y).split(" · ")[0], unit=("hourangle", "deg"))
    truth = cutout_wcs(result.table[12]).pixel_to_world(x - 0.5, 149.5 - y)
    assert told.separation(truth) < 0.15 * u.arcsec


def test_the_picture_zooms_about_the_pointer_and_moves(view, result):
    opened(view, 12)
    whole = view.pixels("#detail-canvas")
    here = SkyCoord(hover(view, 30, 120).split(" · ")[0], unit=("hourangle", "deg"))
    script = """
        const canvas = document.getElementById("detail-canvas");
        const box = canvas.getBoundingClientRect();
        const [clientX, clientY] = [box.x + 0.2 * box.width, box.y + 0.8 * box.height];
        canvas.dispatchEvent(new WheelEvent("wheel", { clientX, clientY, deltaY: -100, cancelable: true }));
    """
    for _ in range(4):
        view.run(script)
    still = SkyCoord(hover(view, 30, 120).split(" · ")[0], unit=("hourangle", "deg"))
    assert still.separation(here) < 0.5 * u.arcsec  # the wheel's place is in whole pixels
    assert not np.array_equal(view.pixels("#detail-canvas"), whole)
    wcs = cutout_wcs(result.table[12])
    side = 150 / np.e
    corner = SkyCoord(hover(view, 0, 0).split(" · ")[0], unit=("hourangle", "deg"))
    assert corner.separation(wcs.pixel_to_world(30 - 0.2 * side - 0.5, 149.5 - 120 + 0.8 * side)) < 0.5 * u.arcsec
    view.press(Keys.SHIFT + Keys.ARROW_RIGHT)
    moved = SkyCoord(hover(view, 0, 0).split(" · ")[0], unit=("hourangle", "deg"))
    assert moved.separation(corner).arcsec == pytest.approx(side / 5 * 1.8, abs=0.5)
    view.press("0")
    assert np.array_equal(view.pixels("#detail-canvas"), whole)
    assert view.id("zoom-out").get_property("disabled")
    view.id("zoom-in").click()
    assert not view.id("zoom-out").get_property("disabled")
    view.id("next").click()
    assert view.id("zoom-out").get_property("disabled")


def test_levels_of_contours_can_be_set(view):
    opened(view, 12)
    view.one("#detail [data-mode=image]").click()
    view.choose(view.setting("Stretch", "detail-controls"), "linear")

    def white():
        return np.sum(view.pixels("#detail-canvas").min(axis=2) > 150)

    bare = white()
    view.choose(view.id("levels"), "40")
    few = white()
    view.choose(view.id("levels"), "5, 10; 40")
    many = white()
    assert bare < few < many
    view.choose(view.id("levels"), "5 ten")
    assert view.id("levels").get_attribute("aria-invalid") == "true"
    assert white() == many


def test_the_beam_of_the_survey_is_drawn(chromium, tmp_path):
    shown = page_result(3, survey=SURVEYS["nvss"].title)
    write_page(shown, tmp_path / "beam.html", images=Memory(simulated_fields()))
    view = View(chromium, tmp_path / "beam.html")
    opened(view, 0)
    view.one("#detail [data-mode=image]").click()
    view.wait(lambda: view.id("detail-canvas").get_attribute("data-beam") == "45 45 0")
    radius = 45 / 2 / 1.8 * 4  # pixels of the canvas
    pixels = view.pixels("#detail-canvas").min(axis=2)
    centre = 600 - 18 - radius
    for angle in np.arange(0, 2 * np.pi, 0.3):
        x, y = round(centre + radius * np.cos(angle)), round(centre + radius * np.sin(angle))
        assert pixels[y - 1 : y + 2, x - 1 : x + 2].max() > 200


# Addresses


def test_an_address_opens_its_source_out_of_any_filter(view, path, result):
    name = result.table["name"][12]
    view.id("search").send_keys("source 3" + Keys.ENTER)
    view.run("window.location.hash = arguments[0]", f"#source={name}")
    view.wait(lambda: view.id("detail").is_displayed())
    assert view.id("detail-name").text == name
    view.count(f"{COUNT} sources")
    view.id("next").click()
    following = f"#source={result.table['name'][13]}".replace("+", "%2B")
    view.wait(lambda: view.run("return window.location.hash") == following)
    view.press(Keys.ESCAPE)
    view.wait(lambda: view.run("return window.location.href") == path.as_uri())


@pytest.mark.parametrize(("address", "row"), [("Row%206", 5), ("source%207", 7)])
def test_a_page_opens_at_an_address(chromium, path, result, address, row):
    view = View(chromium, path)
    chromium.get("about:blank")
    chromium.get(f"{path.as_uri()}#source={address}")
    view.wait(lambda: view.id("detail").is_displayed())
    assert view.id("detail-place").text.startswith(f"{row + 1} of {COUNT}")


def test_an_address_of_no_source_is_said(view):
    view.run("window.location.hash = '#source=J000000.0+000000'")
    view.wait(lambda: view.id("missing").is_displayed())
    assert "J000000.0+000000" in view.id("missing").text
    assert not view.id("detail").is_displayed()


# What is written


def test_no_probability_is_written_as_certain(chromium, tmp_path):
    shown = page_result(10)
    shown.table["probability"][[0, 3, 6]] = shown.table["p_fri"][[0, 3, 6]] = 0.9951, 0.9949, 0.9999
    shown.table["p_std"][[0, 3, 6]] = 0.001, 0.001, 0.02
    write_page(shown, tmp_path / "certain.html", images="none")
    view = View(chromium, tmp_path / "certain.html")
    words = [" ".join(view.card(row).find_element(By.CLASS_NAME, "verdict").text.split()[1:]) for row in (0, 3, 6)]
    assert words == ["> 0.99", "0.99 ± < 0.01", "> 0.99 ± 0.02"]


def test_classes_beyond_two_have_boxes_and_bars(chromium, tmp_path):
    shown = page_result(12, classes="FRI, FRII, Bent")
    shown.table["class"][[0, 3]] = "FRI", "Bent"
    shown.table["probability"][3] = 0.4
    write_page(shown, tmp_path / "classes.html", images="none")
    view = View(chromium, tmp_path / "classes.html")
    assert view.each("#classes button", "element.dataset.class") == ["FRI", "FRII", "Bent", ""]
    assert sum(view.each("#histogram rect.other-2", "Number(element.getAttribute('height')) > 0")) == 1
    for box in view.all("#classes button")[:2]:
        box.click()
    view.all("#classes button")[3].click()
    view.count("1 of 12 sources")
    assert view.rows() == [3]
    assert chromium.get_log("browser") == []


def test_a_source_without_an_image_says_why(view):
    view.wait(lambda: view.card(2).find_element(By.CLASS_NAME, "reason").text == "no position")


# Text


def test_a_card_tells_class_probability_spread_and_flags(view, result):
    row = result.table[12]
    card = view.card(12)
    assert card.find_element(By.CLASS_NAME, "verdict").text.split() == [
        "FRII",
        f"{row['probability']:.2f}",
        "±",
        f"{row['p_std']:.2f}",
    ]
    assert card.find_element(By.CLASS_NAME, "words").text == "truncated · confused"


def test_coordinates_are_right_and_copied_by_a_click(view, result):
    grants = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    view.browser.execute_cdp_cmd("Browser.grantPermissions", grants)
    button = view.card(3).find_element(By.CLASS_NAME, "copy")
    button.click()
    view.wait(lambda: view.id("announce").get_attribute("textContent").startswith("Copied"))
    copied = view.browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == button.text.removesuffix(" copied")
    place = SkyCoord(copied, unit=("hourangle", "deg"))
    assert place.separation(SkyCoord(result.table["ra"][3], result.table["dec"][3], unit="deg")) < 0.15 * u.arcsec


# One source


def test_detail_shows_gates_flags_row_and_links(view, result):
    view.card(12).find_element(By.CLASS_NAME, "name").click()
    assert view.id("detail-name").text == result.table["name"][12]
    assert Flag.TRUNCATED.description in view.id("detail-flags").text
    assert "flux" in view.id("input-row").text
    assert [label.text for label in view.all("#thumbnails span")] == ["Mean", "Gate 1", "Gate 2", "Gate 3"]
    links = view.all("#links a")
    optical = ["optical, DSS2", "optical, Pan-STARRS"]
    assert [link.text for link in links] == ["Aladin Lite", *optical, "Legacy Survey", "NED", "SIMBAD"]
    assert "survey=CDS%2FP%2FDSS2%2Fcolor" in links[1].get_attribute("href")
    ra = f"{result.table['ra'][12]:.6f}"
    for link in links:
        assert ra in link.get_attribute("href")
        assert link.get_attribute("href").startswith("https://")
        assert "noopener" in link.get_attribute("rel")
    mean = view.drawn("#detail-canvas")
    view.all("#thumbnails button")[3].click()
    view.wait(lambda: not np.array_equal(view.pixels("#detail-canvas"), mean))
    assert view.all("#thumbnails button")[3].get_attribute("aria-pressed") == "true"


def test_detail_steps_through_the_sources_as_sorted(view):
    view.sort("flux")
    rows = view.rows()
    view.card(rows[0]).find_element(By.CLASS_NAME, "name").click()
    assert view.id("previous").get_property("disabled")
    view.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert view.id("detail-place").text.startswith("3 of 120")
    view.press(Keys.ESCAPE)
    view.wait(lambda: not view.id("detail").is_displayed())
    view.wait(lambda: view.browser.switch_to.active_element.get_attribute("data-row") == str(rows[2]))


# Keyboard, selection, download


def test_keyboard_walks_opens_and_selects(view):
    view.one(".card").send_keys(Keys.ARROW_RIGHT)
    active = view.browser.switch_to.active_element
    assert active.get_attribute("data-row") == "1"
    columns = len(set(view.each(".card", "element.getBoundingClientRect().x")))
    view.press(Keys.ARROW_DOWN)
    assert view.browser.switch_to.active_element.get_attribute("data-row") == str(1 + columns)
    view.press(Keys.SPACE)
    assert view.id("selected-count").text == "1 selected"
    view.press(Keys.END)
    assert view.browser.switch_to.active_element.get_attribute("data-row") == str(COUNT - 1)
    view.press(Keys.HOME, "o")
    assert view.one("[data-mode=attention]").get_attribute("aria-pressed") == "true"
    view.press("/")
    assert view.browser.switch_to.active_element == view.id("search")
    view.id("search").send_keys(Keys.TAB)
    view.one(".card").send_keys("?")
    assert view.id("help").is_displayed()


def test_selected_rows_are_downloaded_as_they_are(view, result, downloads):
    for row in (3, 12, 5):
        view.card(row).find_element(By.CSS_SELECTOR, ".pick input").click()
    assert view.id("selected-count").text == "3 selected"
    view.id("download").click()
    saved = downloads / "radio-ag-selection.csv"
    view.wait(saved.exists)
    with saved.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    saved.unlink()
    assert set(header) - set(result.table.colnames) == {"source", "first_row", "las"}
    assert [row[header.index("note")] for row in rows] == [HOSTILE, 'note, "5"', 'note, "12"']
    assert [int(row[header.index("long id")]) for row in rows] == [int(result.table["long id"][n]) for n in (3, 5, 12)]
    assert rows[1][header.index("flux")] == ""
    assert [float(row[header.index("cd1_1")]) for row in rows if row[header.index("cd1_1")]] == [
        result.table["cd1_1"][n] for n in (3, 12)
    ]


def test_all_shown_are_selected_and_cleared(view):
    view.choose(view.id("low"), "0.9")
    view.wait(lambda: "of" in view.id("count").text)
    shown = view.id("count").text.split()[0]
    view.id("select-shown").click()
    assert view.id("selected-count").text == f"{shown} selected"
    view.id("clear").click()
    assert not view.id("selection").is_displayed()


# Charts and looks


def test_charts_count_what_is_shown(view, result):
    def heights(name):
        return np.array(view.each(f"#histogram rect.{name}", "Number(element.getAttribute('height'))"))

    full = heights("fri") + heights("frii")
    assert np.allclose(full, heights("all"))
    expected, _ = np.histogram(np.ma.compressed(result.table["probability"]), bins=25, range=(0.5, 1))
    assert np.allclose(full / full.max(), expected / expected.max(), atol=0.02)
    view.id("search").send_keys("source 3")
    view.wait(lambda: "of" in view.id("count").text)
    assert (heights("fri") + heights("frii")).sum() < full.sum()


def test_a_point_on_the_sky_leads_to_its_source(view):
    view.sort("source_id", descending=True)
    view.wait(lambda: view.rows()[0] == COUNT - 1)
    # Right ascension grows and declination falls from row to row: the first lies in the north west.
    script = """
        const canvas = document.getElementById("sky");
        const box = canvas.getBoundingClientRect();
        const [clientX, clientY] = [box.x + arguments[0] * box.width, box.y + arguments[1] * box.height];
        canvas.dispatchEvent(new MouseEvent("click", { clientX, clientY }));
        return document.activeElement.dataset.row;
    """
    places = [(across, down) for across in np.linspace(0.99, 0.5, 40) for down in np.linspace(0.02, 0.3, 20)]
    assert next(filter(None, (view.run(script, *place) for place in places))) == "0"


def test_light_and_dark(view):
    def ground():
        return view.run("return getComputedStyle(document.body).backgroundColor")

    media = [{"name": "prefers-color-scheme", "value": "dark"}]
    light = ground()
    view.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    dark = ground()
    assert dark != light
    view.id("theme").click()  # from auto to light
    assert ground() == light
    view.id("theme").click()
    assert ground() == dark
    view.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_phone_sees_two_columns_and_a_panel(view):
    view.resize(390, 844)
    view.wait(lambda: view.run("return document.querySelector('.card').getBoundingClientRect().width") < 190)
    assert view.run("return document.documentElement.scrollWidth") <= 390
    assert not view.id("panel").is_displayed()
    view.id("open-panel").click()
    assert view.id("panel").is_displayed()
    view.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not view.id("panel").is_displayed()
    view.card(0).find_element(By.CLASS_NAME, "name").click()
    assert view.run("return document.getElementById('detail').scrollWidth") <= 390


def test_every_control_has_a_name(view):
    def unnamed(where):
        found = [e for e in view.all(f"{where} :is(button, input, select, a, canvas)") if e.is_displayed()]
        assert len(found) > 5
        hidden = "return arguments[0].closest('[aria-hidden=true]') !== null"
        return [e.get_attribute("outerHTML") for e in found if not (e.accessible_name or view.run(hidden, e))]

    assert unnamed("header") == unnamed("#panel") == unnamed("#gallery") == []
    view.card(0).find_element(By.CLASS_NAME, "name").click()
    assert unnamed("#detail") == []


def test_pages_link_to_each_other(chromium, result, tmp_path):
    write_page(result, tmp_path / "part.html", images="none", per_page=50)
    view = View(chromium, tmp_path / "part-1.html")
    view.count("50 sources")
    assert "Sources 1\u201350 of 120" in view.id("subtitle").text
    view.browser.find_element(By.LINK_TEXT, "Next").click()
    view.wait(lambda: "51\u2013100" in view.id("subtitle").text)
    assert Select(view.one("#pages select")).first_selected_option.text == "Page 2 of 3"
    Select(view.one("#pages select")).select_by_visible_text("Page 3 of 3")
    view.wait(lambda: "101\u2013120" in view.id("subtitle").text)
    view.count("20 sources")
    assert chromium.get_log("browser") == []
