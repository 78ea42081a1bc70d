"""Sources whose attention is looked into: those of a result, and of labelled images."""

import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from attention_examples import write_labelled, write_product, write_weights

from radio_ag import classify
from radio_ag.attention.sources import open_sources
from radio_ag.attention.statistics import UNLABELLED
from radio_ag.errors import CatalogueError, ImageError, InputError, SourceNotFoundError
from radio_ag.flags import Flag
from radio_ag.labelled.data import load_labelled
from radio_ag.preprocess.images import clip
from radio_ag.preprocess.noise import estimate_rms
from radio_ag.simulated import make_mosaic


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def labelled_file(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("labelled") / "few.fits")


@pytest.fixture(scope="module")
def product(tmp_path_factory, weights):
    return write_product(tmp_path_factory.mktemp("product") / "it.fits", weights["a"])


def test_labelled_sources_are_opened_with_what_the_table_knows(labelled_file):
    sources = open_sources(labelled_file)
    assert sources.labelled
    np.testing.assert_array_equal(sources.label, [0, 1, 0, 1])
    np.testing.assert_array_equal(sources.table["z"], [0.1, 0.2, 0.3, 0.4])
    assert [sources.find(text) for text in ("2", "three", "30.001 3.0")] == [2, 2, 2]
    for missing, words in (("9", "no row 9"), ("31.0 3.0", "no source is within"), ("what", "neither")):
        with pytest.raises(SourceNotFoundError, match=words):
            sources.find(missing)
    np.testing.assert_allclose(sources.wcs(1).pixel_to_world_values(74.5, 74.5), (20, 2))


@pytest.mark.parametrize("kind", ["raw", "compressed", "8-bit", "8-bit crops"])
def test_labelled_images_are_read_as_a_training_reads_them(kind, labelled_file, tmp_path):
    with fits.open(labelled_file) as hdus:
        table, images = Table(hdus["SOURCES"].data), hdus["IMAGES"].data
    table["fr_class"] = ["FRI", "hybrid", "FRI", "FRII"]  # the second is no class of ours: left out
    if kind.startswith("8-bit"):
        images = np.clip(255 * images, 0, 255).astype(np.uint8)
    if kind == "8-bit crops":
        images = images[:, 75:225, 75:225]
        table = table["name", "fr_class", "confidence"]
    stack = fits.CompImageHDU if kind == "compressed" else fits.ImageHDU
    options = {"tile_shape": (1, 300, 300), "quantize_level": 0, "compression_type": "GZIP_2"}
    hdu = stack(images, name="IMAGES", **(options if kind == "compressed" else {}))
    path = tmp_path / "it.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table, name="SOURCES"), hdu]).writeto(path)
    sources = open_sources(path)
    (chunk,) = sources.chunks(3.0)
    expected = images[[0, 2, 3]] if kind == "8-bit crops" else load_labelled(path).fields
    np.testing.assert_array_equal(chunk.images, expected)
    np.testing.assert_array_equal(chunk.label, [0, 0, 1])
    np.testing.assert_array_equal(chunk.certain, [True, False, True])
    assert (sources.wcs(0) is None) == (kind == "8-bit crops")
    np.testing.assert_array_equal(sources.observed(np.array([1])), images[2:3])
    if kind == "raw":
        assert (sources.clipped(np.array([0]), 5.0) > 0).sum() < (chunk.images[:1] > 0).sum()


def test_known_noise_is_used_as_a_training_uses_it(labelled_file, tmp_path):
    """Five times the noise that would be measured: what `attention` draws is what `evaluate` classifies."""
    with fits.open(labelled_file) as hdus:
        table, images = Table(hdus["SOURCES"].data), hdus["IMAGES"].data
    table["rms"] = 5 * estimate_rms(images).rms
    path = tmp_path / "known.fits"
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table, name="SOURCES"), fits.ImageHDU(images, name="IMAGES")]
    fits.HDUList(hdus).writeto(path)
    sources = open_sources(path)
    (chunk,) = sources.chunks(3.0)
    expected = load_labelled(path).fields
    np.testing.assert_array_equal(chunk.images, expected)
    assert np.count_nonzero(expected) < 0.8 * np.count_nonzero(clip(images, estimate_rms(images).rms))


def test_a_chunk_of_labelled_images_is_in_memory_at_a_time(labelled_file, tmp_path):
    with fits.open(labelled_file) as hdus:
        table, images = Table(hdus["SOURCES"].data), hdus["IMAGES"].data
    repeats = 16
    path = tmp_path / "many.fits"
    hdu = fits.BinTableHDU(table[np.arange(4 * repeats) % 4], name="SOURCES")
    fits.HDUList([fits.PrimaryHDU(), hdu, fits.ImageHDU(np.tile(images, (repeats, 1, 1)), name="IMAGES")]).writeto(path)
    sources = open_sources(path)
    tracemalloc.start()
    seen = sum(len(chunk.label) for chunk in sources.chunks(3.0, chunk=4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 4 * repeats
    assert peak < path.stat().st_size / 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda table, images: (table["name", "ra", "dec"], images), CatalogueError, "lacks the columns fr_class"),
        (lambda table, images: (table[:3], images), ImageError, r"has shape \(4, 300, 300\), expected \(3, 300, 300\)"),
    ],
)
def test_labelled_files_that_cannot_be_used(change, error, words, labelled_file, tmp_path):
    with fits.open(labelled_file) as hdus:
        table, images = change(Table(hdus["SOURCES"].data), hdus["IMAGES"].data)
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table, name="SOURCES"), fits.ImageHDU(images, name="IMAGES")]
    fits.HDUList(hdus).writeto(tmp_path / "it.fits")
    with pytest.raises(error, match=words):
        open_sources(tmp_path / "it.fits")


def test_result_is_opened_with_its_cutouts_and_labels(product):
    result, path = product
    sources = open_sources(path, label_column="kind")
    np.testing.assert_array_equal(sources.label, [1, 0, UNLABELLED, 0])
    assert sources.labelled
    (chunk,) = sources.chunks(3.0)
    rms = np.asarray(result.table["rms"])[:3, None, None]
    cutouts = result.cutouts([0, 1, 2])
    np.testing.assert_array_equal(chunk.images[:3], np.where(cutouts > 3 * rms, cutouts, 0))
    assert not chunk.images[3].any()  # no image: empty, not lost
    assert sources.find(str(result.table["name"][1])) == 1
    with pytest.raises(InputError, match="no column 'nothing'"):
        open_sources(path, label_column="nothing")
    with pytest.raises(InputError, match="no value of column 'name' is FRI or FRII"):
        open_sources(path, label_column="name")


def test_certainty_of_a_result_is_that_of_its_classes_or_of_a_column(product):
    result, path = product
    flags = np.asarray(result.table["flags"])
    np.testing.assert_array_equal(open_sources(path).certain, flags & Flag.UNCERTAIN == 0)
    for column, expected in (("sure", [True, False, True, False]), ("seen", [False, True, True, False])):
        np.testing.assert_array_equal(open_sources(path, confidence_column=column).certain, expected)
    with pytest.raises(InputError, match="no value of column 'kind' is certain or true"):
        open_sources(path, confidence_column="kind")


def test_components_of_a_source_count_once(weights, tmp_path):
    mosaic, truth = make_mosaic(size=700, n_sources=3, seed=4)
    places = truth[[0, 1, 0, 2, 0]]
    catalogue = Table({"ra": places["ra"], "dec": places["dec"] + np.array([0, 0, 8, 0, -8]) / 3600})
    catalogue["Z"], catalogue["kind"] = np.arange(5) / 10, ["FRI", "FRII", "FRII", "FRII", "FRII"]
    path = tmp_path / "grouped.fits"
    options = {"weights": weights["a"], "device": "cpu", "orbit": 1, "group": 20.0, "keep_cutouts": True}
    result = classify(catalogue, images=mosaic, output=path, **options)
    assert len(set(result.table["group_id"])) == 3
    assert len(open_sources(path)) == 5
    once = open_sources(path, label_column="kind", once=True)
    np.testing.assert_array_equal(once.table["ra"], result.table["ra"][[0, 1, 3]])
    np.testing.assert_array_equal(once.table["Z"], [0, 0.1, 0.3])
    np.testing.assert_array_equal(once.label, [0, 1, 1])
    np.testing.assert_array_equal(once.observed(np.arange(3)), result.cutouts([0, 1, 3]))
