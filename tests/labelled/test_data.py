"""Labelled data: what is read, grouped and split."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from radio_ag.errors import CatalogueError, ImageError, InputError, OutputError
from radio_ag.evaluation.metrics import area_under_curve
from radio_ag.flags import Flag
from radio_ag.labelled.data import Labelled, LabelledFile, load_labelled
from radio_ag.labelled.splits import (
    assign_folds,
    divide_sources,
    group_by_position,
    near,
    reserve_calibration,
    write_split,
)
from radio_ag.preprocess.images import clip, crop, normalise


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


def _write(path, images, unit=None, **columns):
    table = fits.table_to_hdu(Table(columns))
    table.name = "SOURCES"
    cube = fits.ImageHDU(images, name="IMAGES")
    if unit:
        cube.header["BUNIT"] = unit
    fits.HDUList([fits.PrimaryHDU(), table, cube]).writeto(path, overwrite=True)
    return path


def _fields(n, seed=0):
    """Noise of 0.1 mJy/beam with a bright pixel in the middle."""
    images = np.random.default_rng(seed).normal(0, 1e-4, (n, 300, 300)).astype(np.float32)
    images[:, 149, 149] = 1
    return images


def test_own_data_without_confidence(tmp_path):
    path = _write(
        tmp_path / "own.fits", _fields(3), ra=[1.0, 2, 3], dec=[1.0, 2, 3], fr_class=["FRI", "hybrid", "FRII"]
    )
    data = load_labelled(path)
    assert list(data.label) == [0, 1]
    assert data.certain.all()
    assert list(data.origin) == ["own", "own"]
    assert list(data.name) == ["", ""]
    np.testing.assert_allclose(data.rms, 1e-4, rtol=0.02)
    assert not data.flags.any()


def test_bad_files_are_named(tmp_path):
    columns = {"ra": [1.0], "dec": [1.0], "fr_class": ["FRI"]}
    small = _write(tmp_path / "small.fits", np.zeros((1, 150, 150), np.float32), **columns)
    shape = (
        r"small\.fits: IMAGES has shape \(1, 150, 150\), expected \(1, 300, 300\): the noise is measured on the whole"
    )
    with pytest.raises(ImageError, match=shape):
        load_labelled(small)
    columns["label"] = columns.pop("fr_class")
    unlabelled = _write(tmp_path / "unlabelled.fits", np.zeros((1, 300, 300), np.float32), **columns)
    with pytest.raises(CatalogueError, match=r"unlabelled\.fits: SOURCES lacks the columns fr_class"):
        load_labelled(unlabelled)
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(CatalogueError, match=r"empty\.fits: needs the HDUs SOURCES and IMAGES"):
        load_labelled(tmp_path / "empty.fits")
    (tmp_path / "text").write_text("no data")
    with pytest.raises(CatalogueError, match="text is no pickle of arrays"):
        load_labelled(tmp_path / "text")
    with pytest.raises(CatalogueError, match=r"there is no file or folder .*missing\.fits"):
        load_labelled(tmp_path / "missing.fits")
    with pytest.raises(InputError, match="at least one file"):
        load_labelled()


def test_bad_values_are_named(tmp_path):
    good = {"ra": [1.0, 2, 3], "dec": [1.0, 2, 3], "fr_class": ["FRI", "FRII", "Bent"], "confidence": ["certain"] * 3}
    images = _fields(3)

    def refuses(error, message, images=images, unit=None, **columns):
        with pytest.raises(error, match=message):
            load_labelled(_write(tmp_path / "bad.fits", images, unit, **(good | columns)))

    refuses(CatalogueError, r"bad\.fits: fr_class is 'FR1' in row 1 \(2 such rows\)", fr_class=["FRI", "FR1", "FR1"])
    refuses(
        CatalogueError, "confidence is 'sure'.*accepted are certain and uncertain", confidence=["certain", "sure", ""]
    )
    refuses(CatalogueError, r"ra nan, dec 2\.0 is no position", ra=[1.0, np.nan, 3])
    refuses(CatalogueError, r"ra 2\.0, dec 95\.0 is no position", dec=[1.0, 95, 3])
    refuses(ImageError, r"bad\.fits: BUNIT='K' is not converted to Jy/beam", unit="K")
    refuses(ImageError, "values of type int16, expected floating point", images=images.astype(np.int16))
    refuses(ImageError, r"shape \(3, 200, 200\), expected \(3, 300, 300\) or", images=np.zeros((3, 200, 200), np.uint8))


def test_known_noise_is_not_measured_again(tmp_path):
    columns = {"ra": [1.0, 2], "dec": [1.0, 2], "fr_class": ["FRI", "FRII"], "name": ["a", "b"]}
    data = load_labelled(_write(tmp_path / "own.fits", _fields(2), "mJy/beam", rms=[2e-7, 4e-7], **columns))
    np.testing.assert_allclose(data.rms, [2e-7, 4e-7])  # the column is in Jy/beam, whatever the unit of the images
    np.testing.assert_array_equal(data.fields, clip(_fields(2) * np.float32(1e-3), data.rms))
    assert list(data.name) == ["a", "b"]


def test_noise_that_cannot_be_is_refused_and_what_is_not_known_is_measured(tmp_path):
    columns = {"ra": [1.0, 2], "dec": [1.0, 2], "fr_class": ["FRI", "FRII"]}
    for rms in ([0.0, 1e-4], [1e-4, -1e-4], [np.inf, 1e-4]):
        with pytest.raises(
            CatalogueError, match=r"rms is \S+ \(1 such rows\); accepted are positive numbers in Jy/beam"
        ):
            load_labelled(_write(tmp_path / "own.fits", _fields(2), rms=rms, **columns))
    data = load_labelled(_write(tmp_path / "own.fits", _fields(2), rms=[np.nan, 4e-4], **columns))
    np.testing.assert_allclose(data.rms, [1e-4, 4e-4], rtol=0.02)
    data = load_labelled(_write(tmp_path / "own.fits", _fields(2), rms=[1.0, 4.0] * u.mJy / u.beam, **columns))
    np.testing.assert_allclose(data.rms, [1e-3, 4e-3])


def test_a_file_is_read_alike_in_memory_and_by_chunks(tmp_path):
    """Known noise, units and blank pixels go the same way for training, evaluation and attention."""
    images = _fields(3) * np.float32(1e3)
    images[1, :100] = np.nan
    columns = {"ra": [1.0, 2, 3], "dec": [1.0, 2, 3], "fr_class": ["FRI", "hybrid", "FRII"]}
    path = _write(tmp_path / "own.fits", images, "mJy/beam", rms=[2e-4, 1e-4, np.nan], **columns)
    data, file = load_labelled(path), LabelledFile(path)
    for row in range(2):
        clipped = file.clipped(np.array([row]))
        np.testing.assert_array_equal(clipped.images[0], data.fields[row])
        assert (clipped.rms[0], clipped.flags[0]) == (data.rms[row], data.flags[row])
    np.testing.assert_array_equal(file.images(np.array([1])), images[[2]] * np.float32(1e-3))


def test_blanked_fields_are_flagged(tmp_path):
    images = _fields(2)
    images[1, :100] = np.nan
    path = _write(tmp_path / "own.fits", images, ra=[1.0, 2], dec=[1.0, 2], fr_class=["FRI", "FRII"])
    assert list(load_labelled(path).flags) == [0, Flag.BLANKED]


def test_frdeep_is_mixed_without_its_doubles(data_dir, tmp_path):
    """FR-DEEP-F has no positions: seven of these eight images are of sources of MiraBest, two of the same one."""
    with fits.open(data_dir / "frdeep_train.fits") as hdus:
        rows = [2, 53, 52, 57, 95, 119, 1]
        ours = _write(
            tmp_path / "frdeep.fits", hdus["IMAGES"].data[rows], fr_class=hdus["SOURCES"].data["fr_class"][rows]
        )
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        rows = [805, 514, 892, 560, 858, 0, 1, 2]
        table = hdus["SOURCES"].data[rows]
        columns = {name: table[name] for name in ("ra", "dec", "fr_class")}
        theirs = _write(tmp_path / "mirabest.fits", hdus["IMAGES"].data[rows].astype(np.float32), **columns)
    alone = load_labelled(ours)
    assert len(alone) == 7
    assert alone.group[1] == alone.group[2]
    assert len(set(alone.group)) == 6
    for paths in ((ours, theirs), (theirs, ours)):
        both = load_labelled(*paths)
        assert (both.origin == "mirabest").sum() == 8
        rest = both[both.origin == "frdeep"]
        np.testing.assert_array_equal(crop(rest.fields), crop(alone.fields[-1:]))


# Splits


def _made(n=400, seed=0) -> Labelled:
    """Sources in pairs 200 arcsec apart."""
    rng = np.random.default_rng(seed)
    ra = np.repeat(rng.uniform(0, 360, n // 2), 2)
    dec = np.repeat(np.linspace(-60, 60, n // 2), 2) + np.tile([0, 200 / 3600], n // 2)
    label, certain = rng.integers(0, 2, n), rng.random(n) < 0.7
    fields = np.zeros((n, 1, 1), np.float32)
    origin = np.where(np.arange(n) < n // 2, "one", "other")
    return Labelled(fields, label, certain, ra, dec, origin, group_by_position(ra, dec))


def test_parts_have_their_shares_and_never_divide_a_source():
    data = _made()
    part = divide_sources(data, {"train": 0.7, "validation": 0.2, "test": 0.1}, seed=3)
    np.testing.assert_array_equal(part[::2], part[1::2])
    for name, share in (("train", 0.7), ("validation", 0.2), ("test", 0.1)):
        for origin in ("one", "other"):
            assert np.mean(part[data.origin == origin] == name) == pytest.approx(share, abs=0.03)
    np.testing.assert_array_equal(part, divide_sources(data, {"train": 0.7, "validation": 0.2, "test": 0.1}, seed=3))
    assert (part != divide_sources(data, {"train": 0.7, "validation": 0.2, "test": 0.1}, seed=4)).any()
    with pytest.raises(InputError, match="add up to 1"):
        divide_sources(data, {"train": 0.7})


def test_calibration_sources_share_no_source_with_the_folds_of_the_others(shared):
    reserved = reserve_calibration(shared)
    sky = SkyCoord(shared.ra, shared.dec, unit="deg")
    first, second, _, _ = sky.search_around_sky(sky, 270 * u.arcsec)
    np.testing.assert_array_equal(reserved[first], reserved[second])
    for label in (0, 1):
        for certain in (True, False):
            rows = (shared.label == label) & (shared.certain == certain)
            assert reserved[rows].mean() == pytest.approx(0.1, abs=0.03)


def test_a_split_is_recorded(tmp_path):
    data = _made(40)
    data = replace(data, name=np.array([f"s{k}" for k in range(40)]))
    part = divide_sources(data, {"train": 0.8, "test": 0.2})
    path = write_split(tmp_path / "split.ecsv", data, part, seed=0)
    table = Table.read(path)
    assert table.meta["seed"] == 0
    for column, values in (("part", part), ("name", data.name), ("ra", data.ra), ("certain", data.certain)):
        np.testing.assert_array_equal(table[column], values)
    with pytest.raises(OutputError, match="exists"):
        write_split(path, data, part, seed=0)


def test_near_is_a_distance_on_the_sky():
    positions = [[359.99, 60.0], [10.0, 0.0]]
    ra = np.array([0.1, 0.2, 10.0, np.nan])
    dec = np.array([60.0, 60.0, 0.076, 0.0])
    separation = SkyCoord(ra[:2], dec[:2], unit="deg").separation(SkyCoord(359.99, 60, unit="deg")).arcsec
    assert separation[0] < 270 < separation[1]
    np.testing.assert_array_equal(near(ra, dec, positions), [True, False, False, False])
    assert not near(ra, dec, np.zeros((0, 2))).any()


# Preprocessing of the two data sets


def _faintest(images):
    return np.array([image[image > 0].min() for image in images if image.any()])


def _told_apart(first, second):
    """The chance that a number of the second set is larger than one of the first; 0.5 where they are alike."""
    labels = np.repeat([0, 1], [len(first), len(second)])
    return area_under_curve(np.concatenate([first, second]), labels)


@pytest.mark.parametrize("label", [0, 1])
def test_what_tells_the_preprocessing_of_the_data_sets_apart(shared, label):
    """`rgd_train` was scaled from the clip level, not from zero: its faintest pixel is one grey level.

    Raw fields that are treated in the same way can no longer be told apart by it, which shows that nothing else of the
    preprocessing differs there.
    """
    raw = shared[(shared.origin == "mirabest_train") & (shared.label == label) & shared.certain]
    scaled = normalise(crop(shared[(shared.origin == "rgd_train") & (shared.label == label)].fields))
    from_clip = np.maximum(raw.fields - 3 * raw.rms[:, None, None], 0)
    from_clip = np.round(255 * from_clip / from_clip.max((1, 2), keepdims=True))
    assert _told_apart(_faintest(normalise(crop(raw.fields))), _faintest(scaled)) < 0.1
    assert 0.4 < _told_apart(_faintest(normalise(crop(from_clip))), _faintest(scaled)) < 0.6


@pytest.mark.parametrize("hdu", ["SOURCES", "IMAGES"])
def test_a_damaged_file_is_refused_in_a_line(hdu, tmp_path):
    path = tmp_path / "labelled.fits"
    table = Table({"fr_class": ["FRI", "FRII"], "ra": [10.0, 20.0], "dec": [1.0, 2.0]})
    images = np.random.default_rng(0).normal(0, 1e-3, (2, 300, 300)).astype(np.float32)
    packed = fits.CompImageHDU(images, name="IMAGES", compression_type="GZIP_1", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table, name="SOURCES"), packed]).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        end = hdus["IMAGES"].fileinfo()["datLoc"] + hdus["IMAGES"].size
    content = path.read_bytes()
    if hdu == "SOURCES":
        content = content.replace(b"TFORM2  = 'D", b"TFORM2  = '?", 1)
    else:  # the streams are at the end
        content = content[: end - 100_000] + bytes(1000) + content[end - 99_000 :]
    path.write_bytes(content)
    with warnings.catch_warnings(action="ignore"), pytest.raises(InputError) as error:
        load_labelled(path)
    assert len(str(error.value).splitlines()) == 1
    assert path.name in str(error.value)
