"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' images are few: more threads cost more than they give


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data, named by the environment variable RADIO_AG_DATA."""
    folder = os.environ.get("RADIO_AG_DATA")
    if not folder:
        pytest.skip("RADIO_AG_DATA is not set: real FIRST images are needed")
    return Path(folder)
