"""Fixtures that every test may use, profiles of hypothesis, and the marks that follow from fixtures."""

import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' images are few: more threads cost more than they give

_COMMON = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.function_scoped_fixture]}
hypothesis.settings.register_profile("quick", max_examples=20, derandomize=True, **_COMMON)
hypothesis.settings.register_profile("thorough", max_examples=200, derandomize=True, **_COMMON)
hypothesis.settings.load_profile("quick")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the real data."""
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("real")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data, named by the environment variable RADIO_AG_DATA."""
    folder = os.environ.get("RADIO_AG_DATA")
    if not folder:
        pytest.skip("RADIO_AG_DATA is not set: real FIRST images are needed")
    return Path(folder)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a network that has learnt nothing, which is all that bookkeeping needs."""
    from run_examples import untrained  # loads torch, which not every test needs

    return untrained(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a simulated ``mosaic.fits`` and the ``catalogue.csv`` of its five sources; never written to."""
    from radio_ag.simulated import make_mosaic

    folder = tmp_path_factory.mktemp("sky")
    mosaic, truth = make_mosaic(size=900, n_sources=5, seed=3)
    mosaic.writeto(folder / "mosaic.fits")
    truth["name"] = [f"source {number}" for number in range(len(truth))]
    truth["name", "ra", "dec"].write(folder / "catalogue.csv")
    return folder


@pytest.fixture(scope="session")
def six_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Product of six rows by formula, from `result_examples`; never written to."""
    from result_examples import example_result

    path = tmp_path_factory.mktemp("six") / "result.fits"
    example_result(6).write(path)
    return path


@pytest.fixture(scope="session")
def product(weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Product of five sources with all that it can keep; never written to."""
    from run_examples import Doubles, positions

    from radio_ag import classify

    path = tmp_path_factory.mktemp("product") / "product.fits"
    classify(positions(5), images=Doubles(), weights=weights, device="cpu", orbit=1, keep_cutouts=True, output=path)
    return path
