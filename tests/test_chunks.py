"""What the network is shown of a source: its own emission."""

import numpy as np
import pytest
from astropy.table import Table
from run_examples import Doubles, classify, untrained

from radio_ag.flags import Flag

RMS = 1.5e-4
Y, X = np.mgrid[:300, :300]


def blob(peak, x, y):
    """A point source seen with FIRST's beam, at an offset in pixels from the middle."""
    return peak * np.exp(-((X - 149.5 - x) ** 2 + (Y - 149.5 - y) ** 2) / 3.25)


DOUBLE = blob(5e-3, -12, 0) + blob(4e-3, 12, 0)
GALAXY = sum(blob(30e-3, x, 30) for x in range(40, 60, 4))


class Neighbours(Doubles):
    """A double alone, beside a brighter galaxy, and the galaxy with a faint point in the middle."""

    def fetch(self, ra, dec):
        fields = super().fetch(ra, np.zeros(len(ra)))
        noise = np.random.default_rng(0).normal(0, RMS, (300, 300))
        kinds = [DOUBLE, DOUBLE + GALAXY, blob(4e-3, 0, 0) + GALAXY]
        for row, x in enumerate(ra.tolist()):
            fields.data[row] = noise + kinds[int(x)]
        return fields


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("weights"))


def rows(weights, numbers, **options):
    catalogue = {"ra": np.asarray(numbers, float), "dec": np.zeros(len(numbers))}
    options = {"orbit": 8, "attention": "mean", "group": "none", "device": "cpu"} | options
    return classify(Table(catalogue, units=("deg", "deg")), images=Neighbours(), weights=weights, **options)


def test_a_source_has_the_class_that_it_has_without_its_neighbour(weights):
    result = rows(weights, [0, 1])
    alone, beside = result.table
    assert beside["n_islands"] > alone["n_islands"]
    assert beside["p_frii"] == pytest.approx(alone["p_frii"], abs=1e-3)
    assert beside["class"] == alone["class"]
    assert beside["size"] == pytest.approx(alone["size"], rel=0.05)
    assert np.allclose(result.attention(0).data, result.attention(1).data, atol=0.02)


def test_a_faint_point_beside_a_galaxy_is_no_galaxy(weights):
    assert Flag(int(rows(weights, [2]).table["flags"][0])) & Flag.UNRESOLVED


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_the_class_is_the_same_in_any_company(weights, chunk):
    together = rows(weights, [1, 0, 2, 1], chunk=chunk).table
    for number, row in zip([1, 0, 2, 1], together, strict=True):
        assert rows(weights, [number]).table["p_frii"][0] == pytest.approx(row["p_frii"], abs=1e-6)


def test_attention_is_measured_on_what_the_network_saw(weights):
    alone, beside = rows(weights, [0, 1], attention_stats=True).table
    for name in (name for name in alone.colnames if name.startswith("attention_") and name != "attention_plane"):
        assert beside[name] == pytest.approx(alone[name], rel=0.15, abs=0.02), name


def test_kept_cutouts_show_all(weights):
    result = rows(weights, [0, 1], keep_cutouts=True)
    assert result.cutout(1).data.max() > 5 * result.cutout(0).data.max()
