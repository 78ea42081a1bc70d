"""Positions as unit vectors, and groups."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from radio_ag.sky import chord, connected_groups, unit_vectors


def test_unit_vectors_are_those_of_astropy():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 50), np.append(rng.uniform(-90, 90, 48), [-90, 90])
    expected = SkyCoord(ra, dec, unit="deg").cartesian.xyz.value.T
    np.testing.assert_allclose(unit_vectors(ra, dec), expected, atol=1e-15)
    assert unit_vectors([], []).shape == (0, 3)


@pytest.mark.parametrize("arcsec", [1e-3, 1.0, 270.0, 3600.0, 180 * 3600.0])
def test_a_chord_is_the_distance_of_two_vectors(arcsec):
    first = SkyCoord(10, 85, unit="deg")
    second = first.directional_offset_by(30 * u.deg, arcsec * u.arcsec)
    ends = unit_vectors([first.ra.deg, second.ra.deg], [first.dec.deg, second.dec.deg])
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(chord(arcsec), rel=1e-6)


def test_connected_groups():
    groups = connected_groups(6, [(0, 3), (3, 5), (1, 2), (2, 1)])
    assert groups[0] == groups[3] == groups[5]
    assert groups[1] == groups[2]
    assert len(set(groups.tolist())) == 3
    assert connected_groups(2, []).tolist() == [0, 1]
    assert connected_groups(0, []).tolist() == []
