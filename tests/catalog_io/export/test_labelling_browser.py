"""Labels given on the page in a real browser: by keyboard, on a phone, kept, saved, and sent to the server."""

import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from astropy.table import MaskedColumn
from browser_examples import By, Keys, Select, View, open_chromium
from page_examples import Memory, page_result, simulated_fields

from radio_ag.catalog_io.export.page import Labelling, write_page
from radio_ag.flags import Flag
from radio_ag.labelled.labels import Labels

pytestmark = pytest.mark.browser

LABELS = ("FRI", "FRII", "bent", "junk")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(downloads, tmp_path_factory):
    browser = open_chromium(tmp_path_factory.mktemp("profile"), downloads)
    yield browser
    browser.quit()


@pytest.fixture
def result():
    """Twelve sources: 0, 3, 6 and 9 with a class, of which 6 is in doubt and 3 unlike all."""
    made = page_result(12)
    made.table["flags"][6] |= int(Flag.UNCERTAIN)
    made.table["flags"][3] |= int(Flag.OUT_OF_DISTRIBUTION)
    return made


ASKED = [6, 3, 0, 9]  # the least probable first in each kind; those without a class follow


@pytest.fixture
def labelling(chromium, result, tmp_path, request):
    """Open a page that takes labels, of a list of sources that no other test has."""

    def open_page(**options):
        result.table["ra"][11] = hash(request.node.name) % 10**6 / 1e5
        write_page(
            result,
            tmp_path / "page.html",
            images=Memory(simulated_fields()),
            labelling=Labelling(LABELS, **options),
            overwrite=True,
        )
        return View(chromium, tmp_path / "page.html")

    yield open_page
    assert chromium.get_log("browser") == []


def saved(view, downloads):
    """The labels as the page saves them."""
    view.run("document.getElementById('label-save').click()")
    path = downloads / "labels.ecsv"
    view.wait(path.exists)
    labels = Labels.read(path)
    path.unlink()
    return labels


def open_row(view):
    """The catalogue's row of the source that is open, from 0."""
    return int(view.id("detail-place").text.split("row ")[1]) - 1


def test_labels_by_keyboard_alone(labelling, result, downloads):
    view = labelling()
    view.id("who").send_keys("Anna")
    assert view.rows()[:4] == ASKED
    view.id("who").send_keys(Keys.TAB)
    view.press(Keys.TAB, Keys.TAB, Keys.TAB)
    view.run("document.getElementById('label-start').focus()")
    view.press(Keys.ENTER)
    view.wait(lambda: open_row(view) == 6)
    view.press("2")
    view.wait(lambda: open_row(view) == 3)
    view.press("c", "n")
    view.press(*'two, or "one"?', Keys.ENTER)
    view.press("4")
    view.wait(lambda: open_row(view) == 0)
    view.press("1", "3")  # the last one is a mistake
    view.wait(lambda: view.id("label-place").text == "4 of 12 labelled")
    view.press("u")
    view.wait(lambda: open_row(view) == 9)
    assert view.id("label-place").text == "3 of 12 labelled"
    assert view.id("label-said").text.endswith("no label again.")
    view.press(Keys.ESCAPE)
    view.wait(lambda: not view.id("detail").is_displayed())
    assert view.id("label-counts").text == "FRI 1 · FRII 1 · bent 0 · junk 1"
    assert view.card(3).find_element(By.CLASS_NAME, "label").text == "junk"
    labels = saved(view, downloads)
    assert labels.name.tolist() == [result.table["name"][row] for row in (6, 3, 0)]
    assert labels.label.tolist() == ["FRII", "junk", "FRI"]
    assert labels.source.tolist() == [6, 3, 0]
    assert labels.confidence.tolist() == [1, 0.75, 1]
    assert labels.note.tolist() == ["", 'two, or "one"?', ""]
    assert set(labels.who) == {"Anna"}
    assert np.array_equal(labels.ra, [result.table["ra"][row] for row in (6, 3, 0)])
    assert all(first < second for first, second in pairwise(labels.when))


def test_labels_are_kept_by_the_browser_and_with_a_page_that_is_written_again(labelling, downloads):
    view = labelling()
    view.id("label-start").click()
    view.press("1", "2")
    view.wait(lambda: view.id("label-place").text == "2 of 12 labelled")
    again = labelling()
    assert again.id("label-count").text == "2 of 12 labelled"
    again.id("label-start").click()
    again.wait(lambda: open_row(again) == 0)
    assert saved(again, downloads).label.tolist() == ["FRI", "FRII"]


def test_labels_given_before_go_on(labelling, result, downloads):
    name = result.table["name"][6]
    given = Labels.of({"name": [name], "label": ["bent"], "confidence": [0.6], "note": ["old"], "when": ["2020"]})
    view = labelling(given=given.records())
    assert view.id("label-count").text == "1 of 12 labelled"
    view.card(6).find_element(By.CLASS_NAME, "name").click()
    assert view.one("#label-buttons [data-label=bent]").get_attribute("aria-pressed") == "true"
    assert view.id("label-note").get_property("value") == "old"
    assert view.id("confidence").get_property("value") == "0.6"
    view.press("1")
    view.wait(lambda: open_row(view) == 3)
    assert saved(view, downloads).label.tolist() == ["FRI"]


def test_a_second_opinion_sees_the_first_one_afterwards(labelling, result, downloads):
    names = [result.table["name"][row] for row in (9, 3)]
    first = Labels.of({"name": names, "label": ["FRI", "bent"], "who": ["Anna", "Anna"]})
    view = labelling(second=first.records(), who="Bert")
    view.count("2 of 12 sources")
    assert view.rows() == [3, 9]
    view.id("label-start").click()
    assert "bent" not in view.id("detail-place").text + view.id("label-said").text
    view.press("3")
    view.wait(lambda: view.id("label-said").text.endswith("The first opinion was bent, too."))
    view.press("2")
    view.wait(lambda: "The first opinion was FRI. All that are shown" in view.id("label-said").text)
    labels = saved(view, downloads)
    assert labels.label.tolist() == ["bent", "FRII"]
    assert set(labels.who) == {"Bert"}


def test_the_networks_answer_is_hidden_until_it_is_asked_for(labelling):
    view = labelling()
    assert not any(element.is_displayed() for element in view.all(".card .verdict"))
    view.id("label-start").click()
    assert not any(element.is_displayed() for element in view.all("#verdict .class"))
    view.press(Keys.ESCAPE)
    view.id("see-network").click()
    assert any(element.is_displayed() for element in view.all(".card .verdict"))


def test_what_has_no_label_can_be_shown_alone(labelling):
    view = labelling(order="row")
    view.id("label-start").click()
    view.press("1", Keys.ESCAPE)
    Select(view.id("label-show")).select_by_visible_text("without a label")
    view.count("11 of 12 sources")
    assert view.rows()[0] == 1
    Select(view.id("label-show")).select_by_visible_text("labelled")
    view.count("1 of 12 sources")


def test_labels_on_a_phone(labelling, downloads):
    view = labelling()
    view.resize(390, 844)
    view.wait(lambda: view.run("return document.documentElement.scrollWidth") <= 390)
    view.id("label-start").click()
    view.wait(lambda: view.id("detail").is_displayed())
    buttons = view.all("#label-buttons button")
    assert view.run("return document.getElementById('detail').scrollWidth") <= 390
    assert all(button.rect["height"] >= 40 for button in buttons)
    assert all(button.rect["x"] >= 0 and button.rect["x"] + button.rect["width"] <= 390 for button in buttons)
    picture = view.id("detail-canvas").rect
    assert picture["y"] + picture["height"] <= view.run(
        "return arguments[0].getBoundingClientRect().top", view.id("labelling")
    )
    buttons[1].click()
    view.wait(lambda: view.id("label-place").text == "1 of 12 labelled")
    assert saved(view, downloads).label.tolist() == ["FRII"]


def test_hostile_labels_stay_text(chromium, result, tmp_path):
    evil = "<img src=x onerror=1>"
    result.table["ra"][11] = 77
    write_page(result, tmp_path / "evil.html", images="none", labelling=Labelling((evil, "b")))
    view = View(chromium, tmp_path / "evil.html")
    view.id("label-start").click()
    view.press("1", Keys.ESCAPE)
    view.wait(lambda: view.card(6).find_element(By.CLASS_NAME, "label").text == evil)
    assert view.all("img") == []
    assert chromium.get_log("browser") == []


# Served


@pytest.fixture
def served(result, tmp_path):
    """Start ``radio-ag view --serve``, and stop all of them."""
    result.table["class"] = MaskedColumn(result.table["class"])
    result.write(tmp_path / "a.fits")
    running = []

    def start():
        command = [
            sys.executable,
            "-c",
            "from radio_ag.cli import main; main()",
            "view",
            tmp_path / "a.fits",
            "--label",
            ",".join(LABELS),
        ]
        command += ["--serve", "--images", "none", "--quiet"]
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_served_page_keeps_each_label_in_the_file_at_once(chromium, served, tmp_path):
    process, address = served()
    assert address.startswith("http://127.0.0.1:")
    view = View(chromium, address)
    view.id("label-start").click()
    view.press("1")
    view.wait(lambda: view.id("label-kept").get_attribute("textContent") == "kept in the file")
    assert Labels.read(tmp_path / "labels.ecsv").label.tolist() == ["FRI"]
    view.press("2", "u", "3")
    view.wait(lambda: Labels.read(tmp_path / "labels.ecsv").label.tolist() == ["FRI", "bent"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Labels.read(tmp_path / "labels.ecsv").label.tolist() == ["FRI", "bent"]
    view.press("4")
    view.wait(lambda: "1 not yet in the file" in view.id("label-kept").get_attribute("textContent"))
    view.wait(lambda: view.id("label-count").get_attribute("textContent") == "3 of 12 labelled")
    chromium.get_log("browser")  # that the server did not answer
    _, address = served()
    again = View(chromium, address)
    assert again.id("label-count").text == "2 of 12 labelled"  # of another address: from the file
    assert chromium.get_log("browser") == []
