"""Labelled data: what is read, grouped and split."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from radio_ag.errors import CatalogueError, ImageError
from radio_ag.labelled import Labelled, assign_folds, group_by_position, load_labelled


@pytest.fixture(scope="module")
def shared(data_dir) -> Labelled:
    return load_labelled(data_dir / "mirabest_train.fits", data_dir / "rgd_train.fits")


def test_counts_of_the_published_training_batches(shared):
    """Tables 4 and 5 of the paper: all sources less those of the test batch."""
    mirabest = shared[shared.origin == "mirabest_train"]
    counts = {
        (label, certain): int(((mirabest.label == label) & (mirabest.certain == certain)).sum())
        for label in (0, 1)
        for certain in (True, False)
    }
    assert counts == {(0, True): 397 - 49, (0, False): 194 - 25, (1, True): 436 - 55, (1, False): 195 - 24}


def test_no_source_on_two_sides(shared):
    fold = assign_folds(shared)
    sky = SkyCoord(shared.ra, shared.dec, unit="deg")
    first, second, _, _ = sky.search_around_sky(sky, 270 * u.arcsec)
    np.testing.assert_array_equal(fold[first], fold[second])
    assert (first != second).any()  # there are such pairs


def test_no_source_twice_across_data_sets(shared):
    sky = SkyCoord(shared.ra, shared.dec, unit="deg")
    first, second, _, _ = sky.search_around_sky(sky, 30 * u.arcsec)
    assert (shared.origin[first] == shared.origin[second]).all()


def test_folds_are_stratified_and_repeatable(shared):
    fold = assign_folds(shared)
    np.testing.assert_array_equal(fold, assign_folds(shared))
    assert (fold != assign_folds(shared, seed=1)).any()
    for origin in np.unique(shared.origin):
        for label in (0, 1):
            rows = (shared.origin == origin) & (shared.label == label) & shared.certain
            share = np.bincount(fold[rows], minlength=5) / rows.sum()
            assert np.abs(share - 0.2).max() < 0.05


def test_fields_are_clipped_and_hold_something(shared):
    assert shared.fields.dtype == np.float32
    assert (shared.fields >= 0).all()
    assert (shared.fields.max((1, 2)) > 0).all()


def test_chains_are_one_group():
    dec = np.array([0.0, 0.05, 0.1, 0.3])  # steps of 180 arcsec, then 720
    np.testing.assert_array_equal(np.bincount(group_by_position(np.full(4, 10.0), dec)), [3, 1])
    across_zero = group_by_position(np.array([359.99, 0.01]), np.zeros(2))
    assert across_zero[0] == across_zero[1]


def _write(path, images, **columns):
    table = fits.table_to_hdu(Table(columns))
    table.name = "SOURCES"
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(images, name="IMAGES")]).writeto(path)
    return path


def test_own_data_without_confidence(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1e-4, (3, 300, 300)).astype(np.float32)
    images[:, 149, 149] = 1
    path = _write(tmp_path / "own.fits", images, ra=[1.0, 2, 3], dec=[1.0, 2, 3], fr_class=["FRI", "hybrid", "FRII"])
    data = load_labelled(path)
    assert list(data.label) == [0, 1]
    assert data.certain.all()
    assert list(data.origin) == ["own", "own"]


def test_bad_files_are_named(tmp_path):
    columns = {"ra": [1.0], "dec": [1.0], "fr_class": ["FRI"]}
    small = _write(tmp_path / "small.fits", np.zeros((1, 150, 150), np.float32), **columns)
    with pytest.raises(ImageError, match=r"small\.fits: IMAGES has shape \(1, 150, 150\), expected \(1, 300, 300\)"):
        load_labelled(small)
    columns["label"] = columns.pop("fr_class")
    unlabelled = _write(tmp_path / "unlabelled.fits", np.zeros((1, 300, 300), np.float32), **columns)
    with pytest.raises(CatalogueError, match=r"unlabelled\.fits: SOURCES lacks the columns fr_class"):
        load_labelled(unlabelled)
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(CatalogueError, match=r"empty\.fits: needs the HDUs SOURCES and IMAGES"):
        load_labelled(tmp_path / "empty.fits")
