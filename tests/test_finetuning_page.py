"""Every block of docs/finetuning.md runs, one after another; numbers of images alone are smaller."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

from radio_ag import Result
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.cli.app import app
from radio_ag.flags import Flag
from radio_ag.network.checkpoints import load_weights

PAGE = (Path(__file__).parents[1] / "docs" / "finetuning.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A mosaic of 25 arcsec with 24 sources, single and double in turns, and their labels."""
    path = tmp_path_factory.mktemp("survey")
    size, pixels = 1400, 8.0
    wcs = tangent_wcs(150.0, 2.0, size, pixels)
    y, x = np.mgrid[:size, :size]
    sky = np.random.default_rng(0).normal(0, 1e-3, (size, size))
    places = [(200 + 200 * (n % 6), 250 + 300 * (n // 6)) for n in range(24)]
    for n, (at, up) in enumerate(places):
        for side in (-1, 1) if n % 2 else (0,):
            near = np.s_[up - 40 : up + 40, at - 40 : at + 40]
            sky[near] += 0.1 * np.exp(-((x[near] - at - 8 * side) ** 2 + (y[near] - up) ** 2) / (2 * 1.33**2))
    header = wcs.to_header()
    header.update(BUNIT="Jy/beam", BMAJ=25 / 3600, BMIN=25 / 3600)
    fits.PrimaryHDU(sky.astype(np.float32), header).writeto(path / "mosaic.fits")
    ra, dec = wcs.pixel_to_world_values(*np.transpose(places))
    names = [f"a{n}" for n in range(24)]
    columns = {"name": names, "ra": ra, "dec": dec, "class": ["single", "double"] * 12}
    Table(columns).write(path / "labelled.csv")
    return path


@pytest.mark.filterwarnings("ignore:mine learnt from")
def test_the_blocks_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [kind for kind, _ in BLOCKS] == ["bash", "bash", "bash", "python", "python"]
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "docs/finetuning.md", "exec"), {"__name__": "__main__"})
            continue
        program, *words = shlex.split(text.replace("--samples 4000", "--samples 32 --set epochs=1 --folds 2"))
        assert program == "radio-ag"
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    card = load_weights("mine/mine.safetensors").card
    assert card.classes == ("double", "single")
    assert card.beam == pytest.approx(25, rel=0.01)
    result = Result.read("classes.fits")
    assert not (np.asarray(result.table["flags"]) & Flag.RESAMPLED).any()
    assert {"p_double", "p_single"} <= set(result.table.colnames)
    assert sum(result.summary()["classes"].values()) == 24
