"""Beams by the survey that a header names, against those of the surveys' papers."""

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.catalog_io.images.known_beams import named_beam


def named(card, text, dec=-30.0):
    return named_beam(fits.Header({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL2": dec, card: text}))


@pytest.mark.parametrize(
    ("card", "text", "dec", "axes"),
    [
        ("SURVEY", "VLA FIRST (1.4 GHz)", 30.0, (5.4, 5.4)),
        ("SURVEY", "NVSS", 30.0, (45, 45)),
        ("SURVEY", "TGSS ADR1", 30.0, (25, 25)),
        ("SURVEY", "TGSS ADR1", -41.0, (50, 25)),
        ("SURVEY", "SUMSS 843 MHz", -30.0, (90, 45)),
        ("SURVNAME", "WENSS", 30.0, (108, 54)),
        ("PROJECT", "VLASS1.2", 30.0, (2.5, 2.5)),
        ("PROJECT", "RACS-DR1", -30.0, (25, 25)),
    ],
)
def test_surveys_have_their_beam(card, text, dec, axes):
    np.testing.assert_allclose(named(card, text, dec).beam[:2], axes, rtol=1e-9)


@pytest.mark.parametrize("text", ["", "RACS-mid", "LoTSS", "the first survey", "FIRST EPOCH of three", "SUMSSING"])
def test_names_that_tell_no_beam(text):
    assert named("SURVEY", text) is None


def test_two_surveys_tell_no_beam():
    assert named_beam(fits.Header({"SURVEY": "NVSS", "PROJECT": "VLASS1.2"})) is None


def test_a_beam_that_depends_on_a_declination_needs_one():
    assert named_beam(fits.Header({"SURVEY": "SUMSS"})) is None
