"""Size of a page, time to write it, and time to its first view in Chromium, for a simulated catalogue.

Fields are simulated FRI and FRII sources of all fluxes over noise, each turned and flipped; maps are smoothed fields,
mean and three gates; the table has twenty further columns. Chromium, its driver and selenium must be installed. The
first view is there when the cards in the window are drawn, in a browser with a new profile.

    python benchmarks/page.py [--sources 10000] [--repeats 5] [--output FILE.html] [--json FILE]
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from _report import parse_options, report, seconds
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from radio_ag.catalog_io.export.page import write_page
from radio_ag.catalog_io.images.fields import Fields
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.result import Result
from radio_ag.preprocess.images import crop
from radio_ag.simulated import make_field

FIELDS = 64
GATES = {"mean": 6, 1: 3, 2: 6, 3: 12}  # px: how smooth each map is
RMS = 1.5e-4  # Jy/beam


class Simulated:
    """The same few fields over and over, each time in another of their eight orientations."""

    name = "simulated"

    def __init__(self, fields: np.ndarray) -> None:
        self.fields, self.given = fields, 0

    def describe(self) -> dict[str, str]:
        return {"images": "simulated"}

    def fetch(self, ra: np.ndarray, dec: np.ndarray) -> Fields:
        result = Fields.blank(len(ra))
        for row in range(len(ra)):
            turn, number = divmod(self.given + row, len(self.fields))
            field = np.rot90(self.fields[number], turn % 4)
            result.data[row] = field if turn % 8 < 4 else field.T
            result.flags[row], result.status[row] = 0, "ok"
        self.given += len(ra)
        return result


def simulate(sources: int) -> tuple[Result, Simulated]:
    """A result with maps, and its images."""
    rng = np.random.default_rng(1)
    fluxes = 10 ** rng.uniform(-3, -1, FIELDS)
    kinds = ["FRI", "FRII"]
    fields = np.stack([make_field(kinds[n % 2], seed=n, peak_flux=fluxes[n], rms=RMS)[0] for n in range(FIELDS)])
    stores = {gate: AttentionStore() for gate in GATES}
    for gate, width in GATES.items():
        smooth = gaussian_filter(np.maximum(crop(fields), 0), (0, width, width))
        stores[gate].append(smooth / smooth.max(axis=(1, 2), keepdims=True) + 0.05 * rng.random(smooth.shape))
    p_fri = rng.random(sources)
    columns = {name: rng.random(sources).astype(np.float32) for name in ("snr", "size", "p_std")}
    columns |= {name: np.full(sources, 75.5) for name in ("crpix1", "crpix2")}
    columns |= {f"cd{i}_{j}": np.full(sources, (i == j) * (-1) ** i / 2000) for i in (1, 2) for j in (1, 2)}
    columns |= {"ra": rng.uniform(110, 260, sources), "dec": rng.uniform(-5, 60, sources)}
    columns |= {"cutout_ra": columns["ra"], "cutout_dec": columns["dec"], "rms": np.full(sources, RMS)}
    columns |= {"peak": fluxes[np.arange(sources) % FIELDS], "n_islands": rng.integers(1, 5, sources)}
    columns |= {"class": np.where(p_fri > 0.5, "FRI", "FRII"), "probability": np.maximum(p_fri, 1 - p_fri)}
    columns |= {
        "p_fri": p_fri,
        "p_frii": 1 - p_fri,
        "flags": rng.integers(0, 2, sources) << rng.integers(2, 12, sources),
    }
    columns["attention_plane"] = np.arange(sources) % FIELDS
    catalogue = Table({f"column_{n}": rng.random(sources).astype(np.float32) for n in range(20)})
    return Result.from_columns(catalogue, columns, stores, {"clip": 3.0, "normalisation": "range"}), Simulated(fields)


def first_view(path: Path) -> float:
    """Seconds from navigation until the cards in view are drawn, in a browser with a new profile."""
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as profile:
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
        flags += ("--disable-background-networking", "--disable-component-update", "--window-size=1280,900")
        for flag in (*flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            browser.set_page_load_timeout(120)
            browser.get(path.as_uri())
            script = "return performance.getEntriesByName('first-view')[0]?.startTime"
            return WebDriverWait(browser, 60).until(lambda _: browser.execute_script(script)) / 1e3
        finally:
            browser.quit()


def main() -> None:
    options = parse_options(
        __doc__,
        sources={"type": int, "default": 10_000},
        repeats={"type": int, "default": 5, "help": "views of the page"},
        output={"type": Path, "metavar": "FILE", "help": "keep the page there"},
    )
    sources, repeats = (500, 2) if options.small else (options.sources, options.repeats)
    result, images = simulate(sources)
    with tempfile.TemporaryDirectory() as folder:
        path = options.output or Path(folder) / "page.html"
        written = seconds(lambda: write_page(result, path, images=images, overwrite=True, per_page=sources))
        views, size = [first_view(path.resolve()) for _ in range(repeats)], path.stat().st_size
    row = {"sources": sources, "megabytes": size / 1e6, "bytes a source": size / sources, "seconds to write": written}
    view = {"median": statistics.median(views), "least": min(views), "greatest": max(views)}
    report("page", options, [row | {f"first view, s: {name}": value for name, value in view.items()}], {})


if __name__ == "__main__":
    main()
