"""What the tests of services share."""

import math

import pytest

from radio_ag.catalog_io.services import polite


@pytest.fixture
def punctual(monkeypatch):
    """No answer is late, so that a busy machine lets no further requests run in its place."""
    monkeypatch.setattr(polite, "_HANGS_AFTER", math.inf)
