"""Fields that several tests of preprocessing measure."""

import pytest
from preprocess_examples import add_sources, correlated_noise


@pytest.fixture(scope="session")
def noise_fields():
    fields = correlated_noise(240, seed=1)
    fields.flags.writeable = False  # whatever changes its input fails
    return fields


@pytest.fixture(scope="session")
def sky_fields(noise_fields):
    fields = add_sources(noise_fields.copy(), seed=2)
    fields.flags.writeable = False
    return fields


@pytest.fixture(scope="session")
def few(sky_fields):
    return sky_fields[:6]
