"""Chromium without a window, driven as a user would, and what is seen of the page in it."""

import shutil

import numpy as np
import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402, F401
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

WAIT = 20  # s


def open_chromium(profile, downloads):
    """A browser with a new profile; the test is skipped where there is none."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its driver on this machine (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


class View:
    """What a user can see and do."""

    def __init__(self, browser, path):
        self.browser = browser
        browser.get_log("browser")  # empties it
        self.resize(1280, 900)
        browser.get(path if isinstance(path, str) else path.as_uri())
        self.wait(lambda: browser.execute_script("return performance.getEntriesByName('first-view').length"))

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def wait(self, condition):
        return WebDriverWait(self.browser, WAIT, poll_frequency=0.05).until(lambda _: condition())

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def id(self, name):
        return self.browser.find_element(By.ID, name)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def each(self, selector, expression):
        """What an expression gives for each ``element``."""
        script = f"return [...document.querySelectorAll(arguments[0])].map((element) => {expression})"
        return self.run(script, selector)

    def count(self, text):
        """Wait until the page says how many sources it shows."""
        self.wait(lambda: self.id("count").text == text)

    def names(self):
        """Names on the cards, in their order on the page."""
        return self.each(".card .name", "element.textContent")

    def rows(self):
        return self.each(".card", "Number(element.dataset.row)")

    def card(self, row):
        return self.one(f".card[data-row='{row}']")

    def sort(self, column, descending=False):
        Select(self.id("sort")).select_by_value(column)
        if descending:
            self.id("direction").click()

    def press(self, *keys):
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def pixels(self, selector):
        """Red, green, blue of a canvas (n, n, 3)."""
        script = """
            const canvas = document.querySelector(arguments[0]);
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            return [canvas.width, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
        """
        size, data = self.run(script, selector)
        return np.reshape(data, (-1, size, 4))[..., :3]

    def drawn(self, selector):
        """The canvas once something is drawn on it."""
        self.wait(lambda: self.pixels(selector).max() > 0)
        return self.pixels(selector)

    def choose(self, control, value):
        """Set a select or a slider and tell the page so."""
        self.run(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}));",
            control,
            value,
        )

    def setting(self, words, box="picture-controls"):
        return self.one(f"#{box}").find_element(By.XPATH, f".//label[span='{words}']/*[self::input or self::select]")
