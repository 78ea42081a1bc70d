"""Labelled images from a catalogue and its images, and from a product."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from radio_ag import Result, classify
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.errors import InputError
from radio_ag.gather import gather_labelled, is_product
from radio_ag.labelled.data import Reading, load_labelled
from radio_ag.options import ImageOptions

KINDS = ["ring", "blob", "", "ring"]


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    """Of 25 arcsec and pixels of 6: sources 20 arcmin apart, the last one beyond its edge."""
    path = tmp_path_factory.mktemp("sky") / "mosaic.fits"
    size = 1000
    y, x = np.mgrid[:size, :size]
    wcs = tangent_wcs(100.0, 30.0, size, 6.0)
    sky = np.random.default_rng(0).normal(0, 1e-3, (size, size))
    for ra in RA[:3]:
        at = wcs.world_to_pixel_values(ra, 30.0)
        sky += 0.1 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * (25 / 6 / 2.355) ** 2))
    header = wcs.to_header()
    header.update(BUNIT="Jy/beam", BMAJ=25 / 3600, BMIN=25 / 3600)
    fits.PrimaryHDU(sky.astype(np.float32), header).writeto(path)
    return path


RA = [99.7, 100.0, 100.3, 120.0]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    path = tmp_path_factory.mktemp("catalogue") / "labelled.csv"
    Table({"ID": list("abcd"), "ra": RA, "dec": [30.0] * 4, "Kind": KINDS}).write(path)
    return path


def test_fields_of_labelled_rows_on_the_network_pixels(catalogue, mosaic, tmp_path):
    """What has neither a label nor an image is left out and said; the scale of the images comes along."""
    lines = []
    path = gather_labelled(
        catalogue, tmp_path / "x.fits", images=mosaic, label_column="kind", log=lines.append, beam_scaled=True
    )
    assert lines == ["2 images of 4 rows: 1 without a label, 1 without an image"]
    data = load_labelled(path, reading=Reading("all", "KIND"))
    assert data.classes == ("blob", "ring")
    assert data.label.tolist() == [1, 0]
    assert data.name.tolist() == ["a", "b"]
    assert data.scale.beam == pytest.approx(25, rel=1e-3)
    assert data.scale.pixel_scale == pytest.approx(25 / 3, rel=1e-3)
    assert data.ra.tolist() == RA[:2]
    middle = data.fields[:, 145:155, 145:155].reshape(2, -1)
    assert middle.max(1) == pytest.approx([0.1, 0.1], rel=0.2)


def test_a_product_with_its_cutouts(catalogue, mosaic, tmp_path):
    """Images and noise are those of the product, without another look at the mosaic."""
    product = tmp_path / "product.fits"
    with pytest.warns(match="flagged RESAMPLED"):
        classify(
            catalogue,
            images=mosaic,
            image_options=ImageOptions(beam_scaled=True),
            output=product,
            keep_cutouts=True,
            device="cpu",
        )
    assert is_product(product)
    assert not is_product(mosaic)
    path = gather_labelled(product, tmp_path / "x.fits", label_column="Kind", log=lambda line: None)
    data = load_labelled(path, reading=Reading("all", "kind"))
    assert data.label.tolist() == [1, 0]
    assert data.known.tolist() == [150, 150]
    assert data.scale.beam == pytest.approx(25, rel=0.01)
    np.testing.assert_array_equal(data.rms, Result.read(product).table["rms"][:2])


def test_what_cannot_be_gathered_is_named(catalogue, mosaic, tmp_path):
    with pytest.raises(InputError, match="no column 'type' of labels; it has ID, ra, dec, Kind"):
        gather_labelled(catalogue, tmp_path / "x.fits", images=mosaic, label_column="type", beam_scaled=True)
    far = tmp_path / "far.csv"
    Table({"ra": [220.5], "dec": [30.0], "kind": ["ring"]}).write(far)
    with pytest.raises(InputError, match="no row has both a label and an image"):
        gather_labelled(far, tmp_path / "y.fits", images=mosaic, label_column="kind", beam_scaled=True)
