"""Make the pictures of the documentation's pages on attention and on the page: a simulated sky, classified and shown.

    python examples/make_attention_figures.py docs/images

FOLDER gets ``attention.png`` (one source with each gate) and ``page.webp`` (the page in Chromium, which must be
installed with its driver and selenium).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SOURCE = "2"
QUALITY = 85  # of the screenshot


def radio_ag(*arguments: object) -> None:
    subprocess.run([Path(sys.executable).with_name("radio-ag"), *map(str, arguments)], check=True)


def photograph(page: Path, picture: Path) -> None:
    """The page as it is first seen, and the same with a source open, beside each other."""
    from PIL import Image

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get(page.as_uri())
            drawn = "return performance.getEntriesByName('first-view').length"
            WebDriverWait(browser, 60).until(lambda _: browser.execute_script(drawn))
            browser.save_screenshot(str(page.with_name("gallery.png")))
            browser.find_element(By.CSS_SELECTOR, f".card[data-row='{SOURCE}'] .name").click()
            painted = "return document.querySelectorAll('#thumbnails canvas').length > 1"
            WebDriverWait(browser, 60).until(lambda _: browser.execute_script(painted))
            browser.execute_async_script("setTimeout(arguments[0], 500)")
            browser.save_screenshot(str(page.with_name("detail.png")))
        finally:
            browser.quit()
    both = Image.new("RGB", (2560, 900))
    for number, name in enumerate(("gallery.png", "detail.png")):
        both.paste(Image.open(page.with_name(name)).convert("RGB"), (1280 * number, 0))
    both.save(picture, quality=QUALITY, method=6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        subprocess.run([sys.executable, Path(__file__).with_name("make_example.py"), work], check=True)
        result = work / "catalogue.radio-ag.fits"
        kept = ("--keep-cutouts", "--attention", "gates", "--attention-stats")
        radio_ag("classify", work / "catalogue.csv", "--images", work / "mosaic.fits", *kept)
        radio_ag("attention", "source", result, SOURCE, "-o", work / "attention")
        shutil.copy(work / "attention.png", options.folder)
        radio_ag("view", result, "-o", work / "page.html")
        photograph(work / "page.html", options.folder / "page.webp")


if __name__ == "__main__":
    main()
