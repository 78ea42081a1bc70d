"""What components tell of their source: lobes, core, and flux; against doubles and triples put together by hand."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.catalogs.grouping import group_sources
from radio_ag.catalog_io.catalogs.sources import Components, primary_rows

CENTRES = [SkyCoord(150, 30, unit="deg"), SkyCoord(0.001, -45, unit="deg"), SkyCoord(20, 89.99, unit="deg")]


def pybdsf(island, centre, components):
    """PyBDSF rows of an island: (distance arcsec, position angle deg, flux Jy, error Jy, axis deg) from its centre."""
    distance, angle, flux, error, axis = np.array(components, dtype=float).T
    sky = centre.directional_offset_by(angle * u.deg, distance * u.arcsec)
    n = len(flux)
    table = Table({"Source_id": np.arange(n), "Isl_id": np.full(n, island), "RA": sky.ra.deg, "DEC": sky.dec.deg})
    table["Total_flux"], table["E_Total_flux"] = flux, error
    for name in ("Peak_flux", "Isl_rms", "Resid_Isl_rms"):
        table[name] = 0.1 * flux
    table["Maj"], table["Min"], table["PA"] = 10 / 3600, 5 / 3600, axis % 180
    table["S_Code"] = "S"
    return table


def measured(*tables):
    catalogue = read_catalogue(vstack(tables))
    groups = group_sources(catalogue)
    components = Components(catalogue, groups)
    return components.measure(np.arange(len(groups))), groups


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("angle", [0, 40, 170])
def test_a_double_with_a_core(centre, angle):
    # The position angle of a line turns along it; near the pole that seen from a lobe is another than from the middle.
    lobes = centre.directional_offset_by([angle, angle + 180] * u.deg, [30, 25] * u.arcsec)
    axes = [lobes[0].position_angle(lobes[1]).deg + 12, lobes[1].position_angle(lobes[0]).deg - 80]
    rows = [(30, angle, 0.02, 3e-4, axes[0]), (1, 90, 0.005, 0, 0), (25, angle + 180, 0.05, 4e-4, axes[1])]
    table = pybdsf(1, centre, rows)
    found, groups = measured(table)
    assert groups.size.tolist() == [3]
    assert found["total_flux"] == pytest.approx([0.075])
    assert found["total_flux_err"] == pytest.approx([5e-4])
    assert found["lobe_flux_ratio"] == pytest.approx([2.5])  # lobe 1 is the brighter one
    assert found["core_prom"] == pytest.approx([0.005 / 0.075])
    assert (found["core_ra"][0], found["core_dec"][0]) == (table["RA"][1], table["DEC"][1])
    assert found["misalign_1"] == pytest.approx([80], abs=1e-6)
    assert found["misalign_2"] == pytest.approx([12], abs=1e-6)
    assert found["first_row"].tolist() == [0]


def test_a_double_without_a_core_and_a_single():
    double = pybdsf(1, CENTRES[0], [(20, 10, 0.01, 1e-4, 10), (20, 190, 0.01, 1e-4, 100)])
    single = pybdsf(2, CENTRES[1], [(0, 0, 0.3, 1e-3, 0)])
    found, _ = measured(single, double)
    assert found["total_flux"] == pytest.approx([0.3, 0.02])
    assert found["lobe_flux_ratio"][1] == pytest.approx(1)
    assert (found["misalign_1"][1], found["misalign_2"][1]) == pytest.approx((0, 90), abs=0.01)
    assert np.isnan(found["core_prom"]).all()
    assert all(np.isnan(found[name][0]) for name in ("lobe_flux_ratio", "misalign_1", "misalign_2", "core_ra"))
    assert found["first_row"].tolist() == [0, 1]


@pytest.mark.parametrize(("offset", "is_core"), [(10, True), (12.4, True), (12.6, False), (20, False)])
def test_a_core_lies_near_the_middle(offset, is_core):
    rows = [(25, 0, 0.02, 0, 0), (25, 180, 0.02, 0, 0), (offset, 0, 0.01, 0, 0)]
    found, _ = measured(pybdsf(1, CENTRES[0], rows))
    assert np.isfinite(found["core_prom"][0]) == is_core


def test_the_core_is_the_one_nearest_to_the_middle():
    rows = [(9, 0, 0.03, 0, 0), (25, 0, 0.02, 0, 0), (2, 90, 0.01, 0, 0), (25, 180, 0.02, 0, 0)]
    found, _ = measured(pybdsf(1, CENTRES[0], rows))
    assert found["core_prom"] == pytest.approx([0.01 / 0.08])
    assert found["lobe_flux_ratio"] == pytest.approx([1])


def test_what_the_catalogue_does_not_know_is_missing():
    rows = [(25, 0, 0.02, -1, 0), (0, 0, np.nan, 1e-4, 0), (25, 180, 0.01, 1e-4, 0)]
    table = pybdsf(1, CENTRES[0], rows)
    table["Min"][0] = table["Maj"][0]  # round: it has no axis
    found, _ = measured(table)
    assert np.isnan([found[name][0] for name in ("total_flux", "total_flux_err", "core_prom", "misalign_1")]).all()
    assert found["misalign_2"] == pytest.approx([0], abs=1e-3)
    assert found["lobe_flux_ratio"] == pytest.approx([2])
    assert np.isfinite(found["core_ra"][0])


def test_components_at_one_place_are_no_lobes():
    found, _ = measured(pybdsf(1, CENTRES[0], [(0, 0, 0.02, 0, 0)] * 3))
    names = ("core_ra", "core_prom", "lobe_flux_ratio", "misalign_1", "misalign_2")
    assert np.isnan([found[name][0] for name in names]).all()


def test_plain_positions_tell_nothing_but_where_they_are():
    catalogue = read_catalogue(Table({"ra": [10.0, 10.001, np.nan], "dec": [0.0, 0.0, 1.0]}, units=["deg", "deg"]))
    found = Components(catalogue, group_sources(catalogue, 30)).measure(np.arange(2))
    assert np.isnan(found["total_flux"]).all()
    assert found["first_row"].tolist() == [0, 2]


def test_any_sources_in_any_order():
    rng = np.random.default_rng(0)
    tables = []
    for island in range(40):
        centre = SkyCoord(island + 1, -island, unit="deg")
        count = rng.integers(1, 6)
        shape = rng.uniform((0, 0, 0.01, 0, 0), (40, 360, 0.1, 1e-3, 180), (count, 5))
        tables.append(pybdsf(island, centre, shape))
    table = vstack(tables)
    catalogue = read_catalogue(table[rng.permutation(len(table))])
    components = Components(catalogue, groups := group_sources(catalogue))
    together = components.measure(np.arange(len(groups)))
    order = rng.permutation(len(groups))[:30]
    for name, values in components.measure(order).items():
        np.testing.assert_array_equal(values, together[name][order], err_msg=name)
    assert components.primary.sum() == len(groups)
    np.testing.assert_array_equal(np.flatnonzero(components.primary), together["first_row"])
    assert primary_rows(np.array([0, 1, 0, 2, 1])).tolist() == [True, True, False, True, False]
    rows, place = components.rows(order)
    np.testing.assert_array_equal(groups.group_id[rows], order[place])


@pytest.mark.parametrize(
    ("dialect", "columns", "expected"),
    [
        (
            "aegean",
            {
                "int_flux": 0.1,
                "err_int_flux": 2e-3,
                "a": 9.0,
                "b": 6.0,
                "pa": 30.0,
                "island": 1,
                "source": 0,
                "psf_a": 5.0,
            },
            {"flux_error": 2e-3, "major": 9, "minor": 6, "position_angle": 30},
        ),
        (
            "radio-ag",
            {"total_flux": 0.1, "major_fwhm": 9.0, "minor_fwhm": 6.0, "position_angle": 30.0, "snr": 9.0, "island": 1},
            {"flux_error": np.nan, "major": 9, "minor": 6, "position_angle": 30},
        ),
    ],
)
def test_what_a_dialect_tells(dialect, columns, expected):
    common = {
        "ra": 100.0,
        "dec": 20.0,
        "peak_flux": 0.05,
        "background": 0.0,
        "local_rms": 1e-4,
        "flags": 0,
        "uuid": "a",
    }
    common |= {"source_id": 1, "at_edge": False}
    table = Table({name: [value] for name, value in (common | columns).items()})
    catalogue = read_catalogue(table, dialect=dialect)
    for name, value in expected.items():
        np.testing.assert_allclose(catalogue.measure(name, [0]), [value], err_msg=name)


def test_units_of_pybdsf():
    catalogue = read_catalogue(pybdsf(1, CENTRES[0], [(0, 0, 0.3, 1e-3, 25)]))
    assert catalogue.measure("major", [0]) == pytest.approx(10)
    assert catalogue.measure("position_angle", [0]) == pytest.approx(25)
