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
