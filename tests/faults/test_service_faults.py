"""Rows by the hundred from a service of whose answers nearly a third are faults of every kind."""

from collections import Counter

import numpy as np
import pytest
from astropy.table import Table
from first_server import FAILURES, CoaddSky, FirstServer

from radio_ag import ImageOptions, classify
from radio_ag.catalog_io.services.first import nearest_position
from radio_ag.flags import Flag

RETRIES = 2
LASTING = {"404", "403"}  # not asked for again
FAULTS = [*(mode for mode in FAILURES if mode != "slow"), "pre"]
SHARE = 0.3
HOPELESS = 0.02  # of the positions, which never get an answer
SLOW = 3  # positions whose first answer does not come in time
TIMEOUT = 10.0  # seconds: beyond any answer's, however busy the machine is


@pytest.fixture(params=[200, pytest.param(2000, marks=pytest.mark.fuzz)])
def catalogue(request):
    """Sources inside FIRST; some are there twice, some without a position, some far outside."""
    random, rows = np.random.default_rng(11), request.param
    ra, dec = random.uniform(130, 235, rows), random.uniform(2, 58, rows)
    ra[100:110], dec[100:110] = ra[:10], dec[:10]
    dec[150:160], dec[160:165] = np.nan, -75.0
    return Table({"ra": ra, "dec": dec, "number": np.arange(rows)})


class Faulty:
    """Answers at random, but so that all of it follows from position and attempt."""

    def __init__(self, positions, seed):
        random = np.random.default_rng(seed)
        hopeless = random.random(len(positions)) < HOPELESS
        self.hopeless = {position for position, lost in zip(positions, hopeless, strict=True) if lost}
        self.answers = {}
        for position, lost in zip(positions, hopeless, strict=True):
            faults = random.choice(FAULTS, RETRIES + 1)
            faulty = lost | (random.random(RETRIES + 1) < SHARE)
            self.answers[position] = [fault if bad else "ok" for fault, bad in zip(faults, faulty, strict=True)]
        for position in positions[:SLOW]:
            self.answers[position][0] = "slow"

    def __call__(self, request):
        position = place(*request.position)
        if request.attempt > RETRIES + 1 and position not in self.hopeless:
            return "ok"  # by the end of the run
        return self.answers[position][(request.attempt - 1) % (RETRIES + 1)]

    def outcome(self, position):
        """What must become of a position: "ok", "pre" (no coverage), or a fault; and the requests that it takes."""
        for attempt, answer in enumerate(self.answers[position], start=1):
            if answer == "ok" or answer == "pre" or answer in LASTING:
                return answer, attempt
        return (answer, 2 * (RETRIES + 1)) if position in self.hopeless else ("ok", RETRIES + 2)


def place(ra, dec):
    """A position as the service is asked for it, in its last digits: 1e-7 hours, 1e-6 degrees."""
    return round(ra / 15 * 1e7), round(dec * 1e6)


def test_every_row_has_an_answer_or_the_right_flag(catalogue, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    place_of = [place(*nearest_position(ra, dec)) if dec > -20 else None for ra, dec in catalogue["ra", "dec"]]
    positions = sorted({position for position in place_of if position})
    faulty = Faulty(positions, seed=12)
    expected = {position: faulty.outcome(position) for position in positions}
    assert {answer for answers in faulty.answers.values() for answer in answers} == {"ok", "slow", *FAULTS}
    share = np.mean([answer != "ok" for answers in faulty.answers.values() for answer in answers])
    assert 0.28 < share < 0.34

    with FirstServer(CoaddSky(peak=0), decide=faulty) as server:
        images = ImageOptions(
            service_url=server.url,
            cache_dir=tmp_path / "cache",
            connections=8,
            timeout=TIMEOUT,
            extra={"retries": RETRIES, "pause": 1e-4, "first_byte": TIMEOUT},
        )
        settings = {"weights": weights, "orbit": 1, "attention": "none", "image_options": images}
        product = tmp_path / "product.fits"
        result = classify(catalogue, output=product, **settings)
        _check(result.table, catalogue, place_of, {position: answer for position, (answer, _) in expected.items()})
        asked = Counter(place(*request.position) for request in server.requests)
        assert asked == {position: attempts for position, (_, attempts) in expected.items()}

        server.forget()
        server.decide = None
        again = classify(catalogue, output=product, overwrite=True, **settings)
        _check(again.table, catalogue, place_of, dict.fromkeys(positions, "ok"))
        asked = Counter(place(*request.position) for request in server.requests)
        assert asked == {position: 1 for position, (answer, _) in expected.items() if answer != "ok"}


def _check(table, catalogue, place_of, expected):
    np.testing.assert_array_equal(
        table["in_number"] if "in_number" in table.colnames else table["number"], range(len(catalogue))
    )
    fetched = Flag.NO_COVERAGE | Flag.FETCH_FAILED | Flag.BAD_POSITION
    wanted = np.zeros(len(catalogue), int)
    for row, position in enumerate(place_of):
        if position is None:
            outside = np.isfinite(catalogue["dec"][row])
            wanted[row] = Flag.NO_COVERAGE if outside else Flag.BAD_POSITION
        elif expected[position] != "ok":
            wanted[row] = Flag.NO_COVERAGE if expected[position] == "pre" else Flag.FETCH_FAILED
    np.testing.assert_array_equal(table["flags"] & fetched, wanted)
    np.testing.assert_array_equal(np.isfinite(np.ma.filled(table["rms"].astype(float), np.nan)), wanted == 0)
