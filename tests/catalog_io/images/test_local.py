"""Fields from FITS files: all kinds of files, footprints, overlaps and damage."""

import os
import tracemalloc
import warnings

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS

from radio_ag.catalog_io.files.fits_checksum import stored_fault
from radio_ag.catalog_io.images import planes
from radio_ag.catalog_io.images.footprints import Footprints
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.images.headers import read_frame
from radio_ag.catalog_io.images.local import ArrayImages, LocalImages
from radio_ag.errors import ImageError, RadioAGWarning, ServiceError
from radio_ag.flags import Flag

SIZE = 500


def make_header(ra=180.0, dec=40.0, size=SIZE, **cards):
    header = tangent_wcs(ra, dec, size).to_header()
    header.update({"BUNIT": "Jy/beam", "BMAJ": 0.0015, "BMIN": 0.0015} | cards)
    return header


def noise(seed=0, size=SIZE):
    return np.random.default_rng(seed).normal(scale=1e-3, size=(size, size)).astype(np.float32)


def positions(n=12, ra=180.0, dec=40.0, spread=0.09, seed=6):
    rng = np.random.default_rng(seed)
    return ra + rng.uniform(-spread, spread, n) / np.cos(np.radians(dec)), dec + rng.uniform(-spread, spread, n)


def reference(data, header, ra, dec):
    position = SkyCoord(ra, dec, unit="deg")
    return Cutout2D(data, position, 300, wcs=WCS(header).celestial, mode="partial", fill_value=np.nan).data


@pytest.fixture
def mosaic(tmp_path):
    path = tmp_path / "mosaic.fits"
    fits.writeto(path, noise(), make_header())
    return path


# --- kinds of files -------------------------------------------------------------------------------------------------


def plain(path, data, header):
    fits.writeto(path, data, header)


def double(path, data, header):
    fits.writeto(path, data.astype(np.float64), header)


def four_axes(path, data, header):
    wcs = {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CTYPE4": "STOKES", "CRVAL4": 1.0}
    fits.writeto(path, data[None, None], header + fits.Header(wcs | {"CDELT4": 1.0, "CRPIX4": 1.0}))


def cards_of_four_axes(path, data, header):
    """As in FIRST's own images: four axes in the WCS, two in the image."""
    fits.writeto(path, data, header)
    fits.setval(path, "CTYPE3", value="FREQ")
    fits.setval(path, "CTYPE4", value="STOKES")
    fits.setval(path, "DATE-OBS", value="19930417")
    fits.setval(path, "EPOCH", value=2000.0)


def second_hdu(path, data, header):
    preview = fits.ImageHDU(np.zeros((10, 10)), name="PREVIEW")
    fits.HDUList([fits.PrimaryHDU(), preview, fits.ImageHDU(data, header)]).writeto(path)


def tile_compressed(path, data, header):
    hdu = fits.CompImageHDU(data, header, compression_type="GZIP_2", quantize_level=0.0)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


def gzipped(path, data, header):
    fits.writeto(path.with_suffix(".fits.gz"), data, header)
    os.rename(path.with_suffix(".fits.gz"), path)


def millijansky(path, data, header):
    header["BUNIT"] = "mJy/beam"
    fits.writeto(path, data * 1000, header)


def latitude_first(path, data, header):
    swapped = header.copy()
    for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT"):
        swapped[f"{key}1"], swapped[f"{key}2"] = header[f"{key}2"], header[f"{key}1"]
    fits.writeto(path, data.T.copy(), swapped)


@pytest.mark.parametrize(
    "write",
    [
        plain,
        double,
        four_axes,
        cards_of_four_axes,
        second_hdu,
        tile_compressed,
        gzipped,
        millijansky,
        latitude_first,
    ],
)
def test_every_kind_of_file_gives_the_same_fields(write, tmp_path):
    """Warnings are errors here, those of astropy on old headers included."""
    path, data = tmp_path / "image.fits", noise()
    write(path, data, make_header())
    ra, dec = positions()
    fields = LocalImages(path).fetch(ra, dec)
    for row in range(len(ra)):
        expected = reference(data, make_header(), ra[row], dec[row])
        np.testing.assert_allclose(fields.data[row], expected, rtol=1e-6)
        assert fields.status[row] == ("ok" if np.isfinite(expected).all() else "partial")
    assert {"ok", "partial"} == set(fields.status)
    assert (fields.flags == 0).all()
    assert set(fields.origin) == {"image.fits"}
    assert fields.data.dtype == np.float32
    assert fields.data.dtype.isnative


@pytest.mark.parametrize("compressed", [False, True])
def test_scaled_integers_with_blanks(compressed, tmp_path):
    path, stored = tmp_path / "scaled.fits", np.rint(noise() * 1e6).astype(np.int16)
    stored[250, 260] = -32768
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    hdu = kind(stored, make_header())
    hdu.header["BLANK"] = -32768
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    fits.setval(path, "BSCALE", value=1e-6, ext=1)
    fits.setval(path, "BZERO", value=0.25, ext=1)
    field = LocalImages(path).fetch(np.array([180.0]), np.array([40.0])).data[0]
    assert np.isnan(field[150, 160])
    assert np.isnan(field).sum() == 1
    expected = stored[100:400, 100:400] * 1e-6 + 0.25
    expected[150, 160] = np.nan
    np.testing.assert_allclose(field, expected, rtol=1e-6)


def test_real_finder_image_with_four_axes(data_dir):
    catalogues = data_dir / "catalogues"
    ra, dec = positions(8, 162.53, 30.677, 0.06)
    flat = LocalImages(catalogues / "finder_image.fits").fetch(ra, dec)
    deep = LocalImages(catalogues / "finder_image_4d.fits").fetch(ra, dec)
    np.testing.assert_array_equal(deep.data, flat.data)
    with fits.open(catalogues / "finder_image.fits") as hdus:
        for row in range(len(ra)):
            np.testing.assert_array_equal(
                flat.data[row], reference(hdus[0].data, hdus[0].header, ra[row], dec[row]).astype(np.float32)
            )
    middle = LocalImages(catalogues / "finder_image_4d.fits").fetch(np.array([162.53]), np.array([30.677]))
    assert middle.status == ["ok"]


def test_first_plane_of_a_cube_is_used_with_a_warning(tmp_path):
    header = make_header()
    header.update({"CTYPE3": "STOKES", "CRVAL3": 1.0, "CRPIX3": 1.0, "CDELT3": 1.0})
    fits.writeto(tmp_path / "iquv.fits", np.stack([noise(seed) for seed in range(4)]), header)
    with pytest.warns(RadioAGWarning, match="more than one plane.*iquv.fits.*first is used"):
        source = LocalImages(tmp_path / "iquv.fits")
    field = source.fetch(np.array([180.0]), np.array([40.0])).data[0]
    np.testing.assert_array_equal(field, noise(0)[100:400, 100:400])


def test_hdu_by_number_and_name(tmp_path):
    path = tmp_path / "two.fits"
    hdus = [fits.PrimaryHDU(noise(1), make_header()), fits.ImageHDU(noise(2), make_header(), name="SCI")]
    fits.HDUList(hdus).writeto(path)
    centre = np.array([180.0]), np.array([40.0])
    first, second = noise(1)[100:400, 100:400], noise(2)[100:400, 100:400]
    for hdu, expected in ((None, first), (0, first), (1, second), ("SCI", second)):
        np.testing.assert_array_equal(LocalImages(path, hdu=hdu).fetch(*centre).data[0], expected)
    for hdu in (2, "RMS"):
        with pytest.raises(ImageError, match=f"hdu={hdu!r}.*not in the file"):
            LocalImages(path, hdu=hdu)


def test_beam_of_a_casa_table_counts(tmp_path):
    beams = fits.BinTableHDU(Table({"BMAJ": [12.0, 13.0], "BMIN": [12.0, 13.0]}), name="BEAMS")
    image = fits.PrimaryHDU(noise(), make_header(CASAMBM=True))
    del image.header["BMAJ"], image.header["BMIN"]
    fits.HDUList([image, beams]).writeto(tmp_path / "casa.fits")
    with pytest.warns(RadioAGWarning, match="casa.fits is 12 arcsec, not FIRST's 5.4"):
        source = LocalImages(tmp_path / "casa.fits", beam_scaled=True)
    assert source.fetch(np.array([180.0]), np.array([40.0])).flags[0] == Flag.RESAMPLED


def test_missing_unit_is_assumed_with_a_warning(tmp_path):
    header = make_header()
    del header["BUNIT"]
    fits.writeto(tmp_path / "unitless.fits", noise(), header)
    with pytest.warns(RadioAGWarning, match="no BUNIT in unitless.fits: Jy/beam is assumed"):
        source = LocalImages(tmp_path / "unitless.fits")
    np.testing.assert_array_equal(source.fetch(np.array([180.0]), np.array([40.0])).data[0], noise()[100:400, 100:400])
    assert source.describe()["unit"] == "Jy/beam (assumed)"


def test_a_great_mosaic_costs_nothing(tmp_path):
    """20,000 x 20,000 px are 1.6 GB, here a hole in a file; the fields of three positions are 1.1 MB."""
    path, size = tmp_path / "great.fits", 20_000
    header = fits.PrimaryHDU(np.zeros((1, 1), np.float32), make_header(size=size)).header
    header["NAXIS1"] = header["NAXIS2"] = size
    path.write_bytes(header.tostring().encode())
    os.truncate(path, len(header.tostring()) + 2880 * -(-(size * size * 4) // 2880))
    tracemalloc.start()
    fields = LocalImages(path).fetch(np.array([180.0, 179.0, 181.0]), np.array([40.0, 41.0, 39.5]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fields.status == ["ok"] * 3
    assert peak < 20e6


# --- which image ----------------------------------------------------------------------------------------------------


def test_rows_keep_their_order_among_images(tmp_path):
    for index, ra in enumerate((180.0, 182.0, 184.0)):
        fits.writeto(tmp_path / f"{index}.fits", np.full((SIZE, SIZE), index, np.float32), make_header(ra))
    which = np.random.default_rng(0).integers(0, 4, 40)  # 3 is no image
    ra, dec = 180.0 + 2 * which, np.full(40, 40.0)
    fields = LocalImages(tmp_path).fetch(ra, dec)
    for row, index in enumerate(which):
        assert fields.origin[row] == ("" if index == 3 else f"{index}.fits")
        if index == 3:
            assert fields.flags[row] == Flag.NO_COVERAGE
            assert np.isnan(fields.data[row]).all()
        else:
            assert (fields.data[row] == index).all()


def test_best_covered_image_wins(tmp_path):
    """Two mosaics side by side that overlap by 200 px; the third covers all of the sky there, with a hole."""
    step = 300 * 0.0005 / np.cos(np.radians(40.0))
    fits.writeto(tmp_path / "east.fits", np.full((SIZE, SIZE), 1, np.float32), make_header(180.0 + step))
    fits.writeto(tmp_path / "west.fits", np.full((SIZE, SIZE), 2, np.float32), make_header(180.0))
    ra, dec = 180.0 + step * np.array([0.4, 0.6, 0.5, 1.0, 0.0]), np.full(5, 40.0)
    fields = LocalImages(tmp_path).fetch(ra, dec)
    assert fields.origin[0] == "west.fits"
    assert fields.origin[1] == "east.fits"
    assert fields.origin[3:] == ["east.fits", "west.fits"]

    holed = np.full((1200, 1200), 3, np.float32)
    holed[560:640, :] = np.nan
    fits.writeto(tmp_path / "wide.fits", holed, make_header(180.0 + step / 2, size=1200))
    source = LocalImages(tmp_path)
    fields = source.fetch(ra, dec)
    # East and west cover their own centres wholly; of a field between them the hole takes more than their edges do.
    assert fields.origin[3:] == ["east.fits", "west.fits"]
    assert fields.origin[0] == "west.fits"
    assert fields.status[3:] == ["ok", "ok"]
    finite = np.isfinite(fields.data).mean(axis=(1, 2))
    for row in range(5):
        alone = [LocalImages(tmp_path / name).fetch(ra, dec) for name in ("east.fits", "west.fits", "wide.fits")]
        assert finite[row] == max(np.isfinite(one.data[row]).mean() for one in alone)


def test_position_on_blank_pixels_finds_another_image(tmp_path):
    fits.writeto(tmp_path / "a_blank.fits", np.full((SIZE, SIZE), np.nan, np.float32), make_header())
    centre = np.array([180.0]), np.array([40.0])
    fields = LocalImages(tmp_path).fetch(*centre)
    assert fields.flags[0] == Flag.NO_COVERAGE
    assert fields.origin == ["a_blank.fits"]
    fits.writeto(tmp_path / "b_good.fits", noise(), make_header(180.05))
    fields = LocalImages(tmp_path).fetch(*centre)
    assert fields.origin == ["b_good.fits"]
    assert fields.flags[0] == 0


def test_position_must_be_inside_the_image(mosaic):
    """Half of the field would still be covered 1 px outside, but the source itself is not in the image."""
    wcs = WCS(make_header())
    inside, outside = wcs.pixel_to_world([-0.4, -0.6], [250, 250]).icrs
    fields = LocalImages(mosaic).fetch(
        np.array([inside.ra.deg, outside.ra.deg]), np.array([inside.dec.deg, outside.dec.deg])
    )
    assert fields.status == ["partial", "no_coverage"]


def test_no_positions(mosaic):
    assert len(LocalImages(mosaic).fetch(np.empty(0), np.empty(0))) == 0


def test_a_chunk_gives_what_single_positions_give(tmp_path):
    for index, ra in enumerate((180.0, 180.2)):
        fits.writeto(tmp_path / f"{index}.fits", noise(index), make_header(ra))
    source = LocalImages(tmp_path)
    ra, dec = positions(20, 180.1, 40.0, 0.2)
    together = source.fetch(ra, dec)
    for row in range(20):
        alone = source.fetch(ra[row : row + 1], dec[row : row + 1])
        np.testing.assert_array_equal(alone.data[0], together.data[row])
        np.testing.assert_array_equal(alone.crpix[0], together.crpix[row])
        assert alone.origin[0] == together.origin[row]


def test_galactic_and_equatorial_images_together(tmp_path):
    centre = SkyCoord(190.0, 40.0, unit="deg").galactic
    wcs = tangent_wcs(centre.l.deg, centre.b.deg, SIZE)
    wcs.wcs.ctype = "GLON-TAN", "GLAT-TAN"
    wcs.wcs.radesys = ""
    header = wcs.to_header()
    header["BUNIT"], header["BMAJ"], header["BMIN"] = "Jy/beam", 0.0015, 0.0015
    fits.writeto(tmp_path / "galactic.fits", np.full((SIZE, SIZE), 7, np.float32), header)
    fits.writeto(tmp_path / "icrs.fits", noise(), make_header())
    fields = LocalImages(tmp_path).fetch(np.array([190.0, 180.0]), np.array([40.0, 40.0]))
    assert fields.origin == ["galactic.fits", "icrs.fits"]
    assert fields.flags.tolist() == [Flag.RESAMPLED, 0]
    np.testing.assert_allclose(fields.data[0, 75:225, 75:225], 7, rtol=1e-6)


@pytest.mark.parametrize("count", [400, pytest.param(2000, marks=pytest.mark.thorough)])
def test_many_small_images(count, tmp_path):
    """Each position finds its own image among them; only a handful of files is open at a time."""
    rng = np.random.default_rng(8)
    ra, dec = rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    hdu = fits.PrimaryHDU(np.zeros((16, 16), np.float32), make_header(size=16))
    cards, padding = hdu.header.tostring(), bytes(2880 - 16 * 16 * 4)
    for index in range(count):
        text = cards
        for key, value in (("CRVAL1", ra[index]), ("CRVAL2", dec[index])):
            text = text.replace(hdu.header.cards[key].image, fits.Card(key, value).image)
        (tmp_path / f"{index:04d}.fits").write_bytes(
            text.encode() + np.full((16, 16), index, ">f4").tobytes() + padding
        )
    source = LocalImages(tmp_path)
    assert source.name == f"{count} images"
    rows = rng.permutation(count)[:300]
    fields = source.fetch(ra[rows], dec[rows])
    assert (np.nanmax(fields.data, axis=(1, 2)) == rows).all()
    assert (np.isfinite(fields.data).sum(axis=(1, 2)) == 256).all()
    assert len(source._planes) <= 64


def test_footprints_miss_no_image():
    """Against every image's own projection: big and small ones, at the poles and over the seam."""
    rng = np.random.default_rng(11)
    sizes = np.r_[np.full(150, 300), np.full(20, 12000), [1]]
    ra = np.r_[rng.uniform(0, 360, 160), np.full(11, 0.0)]
    dec = np.r_[rng.uniform(-90, 90, 160), np.linspace(-90, 90, 11)]
    frames = [read_frame(make_header(*where)) for where in zip(ra, dec, sizes.tolist(), strict=True)]
    footprints = Footprints(frames, [(int(size), int(size)) for size in sizes])
    points = (
        np.r_[rng.uniform(0, 360, 2000), rng.uniform(-2, 2, 500) % 360],
        np.degrees(np.arcsin(rng.uniform(-1, 1, 2500))),
    )
    rows, images = footprints.candidates(*points)
    found = set(zip(rows.tolist(), images.tolist(), strict=True))
    inside = set()
    for image, frame in enumerate(frames):
        pixel = frame.wcs.wcs_world2pix(np.stack(points, axis=-1), 0)
        with np.errstate(invalid="ignore"):
            held = ((pixel >= -0.5) & (pixel <= sizes[image] - 0.5)).all(axis=1)
        inside |= {(row, image) for row in np.flatnonzero(held).tolist()}
    assert len(inside) > 150
    assert inside <= found
    assert len(found) < 4 * len(inside)  # and few in vain: a circle around a square has 1.6 times its area


# --- damage ---------------------------------------------------------------------------------------------------------


def damaged(path, kind):
    if kind == "missing":
        return
    if kind == "table":
        fits.BinTableHDU(Table({"a": [1]})).writeto(path)
    elif kind == "no WCS":
        fits.writeto(path, noise())
    elif kind == "unit":
        fits.writeto(path, noise(), make_header(BUNIT="K"))
    else:
        fits.writeto(path, noise(), make_header())
        body = path.read_bytes()
        path.write_bytes(
            {"empty": b"", "text": b"<html>no image</html>" * 300, "truncated": body[: len(body) // 2]}[kind]
        )


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "table", "no WCS", "unit"])
def test_a_named_file_that_cannot_be_used_is_an_error(kind, tmp_path):
    path = tmp_path / "broken.fits"
    damaged(path, kind)
    with pytest.raises(ImageError, match=r"broken\.fits"):
        LocalImages(path)


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "table", "no WCS", "unit"])
@pytest.mark.parametrize("pattern", ["", "*.fits"])
def test_a_found_file_that_cannot_be_used_is_left_out(kind, pattern, tmp_path, mosaic):
    damaged(tmp_path / "broken.fits", kind)
    with pytest.warns(RadioAGWarning, match=r"left out: .*broken\.fits"):
        source = LocalImages(tmp_path / pattern)
    assert source.name == "mosaic.fits"


@pytest.mark.parametrize("pattern", ["", "*.fits"])
def test_nothing_usable_is_an_error(pattern, tmp_path):
    with pytest.raises(ImageError, match="no usable FITS image"):
        LocalImages(tmp_path / pattern)
    damaged(tmp_path / "broken.fits", "text")
    with pytest.raises(ImageError, match=r"no usable FITS image.*broken\.fits"):
        LocalImages(tmp_path / pattern)


def test_folder_holds_all_endings_and_nothing_else(tmp_path):
    for index, name in enumerate(("a.fits", "b.FIT", "c.fts", "d.fits.gz")):
        fits.HDUList([fits.PrimaryHDU(noise(), make_header(180.0 + index))]).writeto(tmp_path / name)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(noise(), make_header(185.0))]).writeto(tmp_path / "e.fits.fz")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "inside").mkdir()
    fits.writeto(tmp_path / "inside" / "f.fits", noise(), make_header())
    assert LocalImages(tmp_path).describe()["n_images"] == "5"
    assert LocalImages(str(tmp_path / "**" / "*.fits")).describe()["n_images"] == "2"


@pytest.mark.parametrize("kind", ["plain", "gzipped", "compressed"])
def test_a_file_that_breaks_later_fails_its_rows_alone(kind, tmp_path):
    path = tmp_path / "later.fits"
    {"plain": plain, "gzipped": gzipped, "compressed": tile_compressed}[kind](path, noise(), make_header())
    fits.writeto(tmp_path / "other.fits", noise(), make_header(182.0))
    source = LocalImages(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    ra, dec = np.array([180.0, 182.0, 180.01]), np.full(3, 40.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fields = source.fetch(ra, dec)
    ours = [warning for warning in caught if issubclass(warning.category, RadioAGWarning)]
    assert len(ours) == 1
    assert "later.fits" in str(ours[0].message)
    assert fields.flags.tolist() == [Flag.FETCH_FAILED, 0, Flag.FETCH_FAILED]
    assert fields.status == ["unreadable", "partial", "unreadable"]
    assert fields.origin == ["later.fits", "other.fits", "later.fits"]
    path.write_bytes(whole)  # a passing fault, such as a network disk's, is not remembered
    assert source.fetch(ra, dec).status == ["partial"] * 3


def test_another_image_stands_in_for_a_broken_one(tmp_path, mosaic):
    fits.writeto(tmp_path / "behind.fits", noise(2), make_header(180.01))
    source = LocalImages(tmp_path)
    os.truncate(mosaic, mosaic.stat().st_size // 2)
    with pytest.warns(RadioAGWarning, match=r"mosaic\.fits: the file is truncated"):
        fields = source.fetch(np.array([180.0]), np.array([40.0]))
    assert fields.origin == ["behind.fits"]
    assert fields.flags[0] == 0


@pytest.mark.parametrize("when", ["before the first row", "later"])
@pytest.mark.parametrize("kind", ["plain", "gzipped", "compressed"])
def test_a_file_that_vanishes_stops_the_run(kind, when, tmp_path):
    path = tmp_path / "mosaic.fits"
    {"plain": plain, "gzipped": gzipped, "compressed": tile_compressed}[kind](path, noise(), make_header())
    source = LocalImages(path)
    if when == "later":
        assert source.fetch(np.array([180.0]), np.array([40.0])).flags[0] == 0
    path.unlink()
    with pytest.raises(ServiceError, match=r"mosaic\.fits: it was there before, and now no such file"):
        source.fetch(np.array([180.0]), np.array([40.0]))


# --- sums -----------------------------------------------------------------------------------------------------------


def flip(path, place):
    """One bit another."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def fetch_quietly(source, ra, dec):
    with warnings.catch_warnings(action="ignore"):
        return source.fetch(ra, dec)


def summed(kind, path):
    """An image with sums, as fpack and astropy write them, and a place among its pixels."""
    with fits.open(path, "update", checksum=True):
        pass
    with fits.open(path, disable_image_compression=True) as hdus:
        place = hdus[-1 if kind == "compressed" else 0].fileinfo()
    return place["hdrLoc"], place["datLoc"] + 4001


@pytest.mark.parametrize("kind", ["plain", "compressed"])
def test_pixels_that_are_not_those_of_their_sum_are_not_used(kind, tmp_path, monkeypatch):
    path, ra, dec = tmp_path / "mosaic.fits", np.array([180.0, 180.01]), np.full(2, 40.0)
    {"plain": plain, "compressed": tile_compressed}[kind](path, noise(), make_header())
    _, pixels = summed(kind, path)
    with warnings.catch_warnings(action="error", category=RadioAGWarning):
        good = LocalImages(path).fetch(ra, dec)
    assert good.flags.tolist() == [0, 0]
    flip(path, pixels)
    for verify in (None, True):
        source = LocalImages(path, verify_images=verify)
        with pytest.warns(RadioAGWarning, match=r"mosaic\.fits: it has data that do not match its DATASUM") as caught:
            fields = source.fetch(ra, dec)
        assert len([warning for warning in caught if warning.category is RadioAGWarning]) == 1
        assert fields.status == ["unreadable"] * 2
        assert fields.flags.tolist() == [Flag.FETCH_FAILED] * 2
    monkeypatch.setattr(planes, "_MAX_VERIFIED", 1000)  # a large one is checked where it is asked for
    for verify in (False, None):
        fields = fetch_quietly(LocalImages(path, verify_images=verify), ra, dec)
        if kind == "plain":  # what nothing tells from good pixels
            assert fields.flags.tolist() == [0, 0]
    with pytest.warns(RadioAGWarning, match="DATASUM"):
        LocalImages(path, verify_images=True).fetch(ra, dec)


@pytest.mark.parametrize("kind", ["plain", "compressed"])
def test_a_header_that_is_not_that_of_its_sum_is_warned_of(kind, tmp_path):
    path = tmp_path / "mosaic.fits"
    {"plain": plain, "compressed": tile_compressed}[kind](path, noise(), make_header())
    header, _ = summed(kind, path)
    content = path.read_bytes()
    place = content.index(b"CRVAL1", header) + 29
    path.write_bytes(content[:place] + b"1" + content[place + 1 :])
    with pytest.warns(RadioAGWarning, match=r"mosaic\.fits has a header that does not match its CHECKSUM"):
        assert LocalImages(path).fetch(np.array([180.0]), np.array([40.0])).flags[0] == 0


def test_sums_are_compared_once_a_run(tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(planes, "stored_fault", lambda path, place: compared.append(path) or stored_fault(path, place))
    for index in range(3):
        plain(tmp_path / f"{index}.fits", noise(index), make_header(180.0 + index))
    opened = planes.OpenPlanes(max_open=1)
    for _ in range(2):
        for index in range(3):
            opened.get(planes.read_stored_image(tmp_path / f"{index}.fits"))
    assert len(compared) == 3


def test_the_sum_of_a_packed_file_is_compared(tmp_path):
    """gzip has it at the file's very end, behind all that astropy reads."""
    path = tmp_path / "mosaic.fits.gz"
    gzipped(path, noise(), make_header())
    flip(path, -6)
    with pytest.warns(RadioAGWarning, match=r"mosaic\.fits\.gz: .*damaged: CRC check failed"):
        assert LocalImages(path).fetch(np.array([180.0]), np.array([40.0])).status == ["unreadable"]


# --- open files, provenance -----------------------------------------------------------------------------------------


def test_open_planes_are_bounded(tmp_path):
    images = []
    for index in range(6):
        tile_compressed(tmp_path / f"{index}.fits", noise(index, 100), make_header(180.0 + index, size=100))
        images.append(planes.read_stored_image(tmp_path / f"{index}.fits"))
    opened = planes.OpenPlanes(max_open=3)
    for image in images * 2:
        plane = opened.get(image)
        np.testing.assert_array_equal(plane[0:100, 0:100], noise(int(image.path.stem), 100))
        assert len(opened) <= 3
    opened.close()
    assert len(opened) == 0


def test_unpacked_images_are_bounded_in_memory(tmp_path):
    images = []
    for index in range(4):
        gzipped(tmp_path / f"{index}.fits", noise(index, 100), make_header(180.0 + index, size=100))
        images.append(planes.read_stored_image(tmp_path / f"{index}.fits"))
    opened = planes.OpenPlanes(max_bytes=2 * 100 * 100 * 4)
    for image in images:
        opened.get(image)
    assert len(opened) == 2
    tight = planes.OpenPlanes(max_bytes=1)
    np.testing.assert_array_equal(tight.get(images[0])[0:100, 0:100], noise(0, 100))


def test_description_travels(tmp_path, mosaic):
    fits.writeto(tmp_path / "other.fits", noise(), make_header(181.0, BMAJ=6.8 / 3600, BMIN=5.4 / 3600))
    described = LocalImages(tmp_path).describe()
    assert described == {
        "images": "mosaic.fits ... other.fits",
        "n_images": "2",
        "pixel_scale": "1.8 arcsec",
        "beam": "5.4 to 6.06 arcsec",
        "unit": "Jy/beam",
    }
    assert not any(str(tmp_path) in value for value in described.values())


def without_beam(**cards):
    header = make_header(**cards)
    del header["BMAJ"], header["BMIN"]
    return header


def test_a_beam_that_is_not_found_is_assumed_aloud(tmp_path):
    fits.writeto(tmp_path / "a.fits", noise(), without_beam())
    with pytest.warns(RadioAGWarning, match=r"no beam in a.fits: FIRST's 5.4 arcsec is assumed.*--beam.*BEAM_ASSUMED"):
        source = LocalImages(tmp_path / "a.fits")
    assert source.describe()["beam"] == "FIRST's assumed for 1 without one"
    assert source.describe()["beamassu"] == "1 of 1 images have no beam"
    fields = source.fetch(np.array([180.0, 0.0]), np.array([40.0, 0.0]))
    assert fields.flags.tolist() == [Flag.BEAM_ASSUMED, Flag.NO_COVERAGE]


def test_a_beam_that_is_given_is_no_assumption(tmp_path):
    """It counts where the header has none, or one that cannot be; a header's own counts before it."""
    fits.writeto(tmp_path / "none.fits", noise(), without_beam())
    fits.writeto(tmp_path / "arcsec.fits", noise(), make_header(BMAJ=6.0, BMIN=5.5))
    fits.writeto(tmp_path / "own.fits", noise(), make_header(BMAJ=6.0 / 3600, BMIN=6.0 / 3600))
    centre = np.array([180.0]), np.array([40.0])
    for name, width in (("none", 5.0), ("arcsec", 5.0), ("own", 6.0)):
        source = LocalImages(tmp_path / f"{name}.fits", beam=5.0)
        assert source.mosaic(0)[1].beam == pytest.approx(width)
        assert source.fetch(*centre).flags[0] == 0
    with pytest.raises(ImageError, match=r"BMAJ is 6 degrees: is that arcsec\?"):
        LocalImages(tmp_path / "arcsec.fits")


def test_a_pixel_scale_that_is_given_counts_where_there_is_none(tmp_path):
    header = make_header(CDELT1=None, CDELT2=None)
    for card in ("CDELT1", "CDELT2"):
        header.remove(card)
    fits.writeto(tmp_path / "unscaled.fits", noise(), header)
    fits.writeto(tmp_path / "scaled.fits", noise(), make_header())
    with pytest.raises(ImageError, match=r"pixels of 3.6e\+03 arcsec are wider than the beam"):
        LocalImages(tmp_path / "unscaled.fits")
    centre = np.array([180.0]), np.array([40.0])
    for name in ("unscaled", "scaled"):
        source = LocalImages(tmp_path / f"{name}.fits", pixel_scale=1.8)
        np.testing.assert_array_equal(source.fetch(*centre).data[0], noise()[100:400, 100:400])
    assert LocalImages(tmp_path / "scaled.fits", pixel_scale=2.5).mosaic(0)[1].pixel_scale == pytest.approx(1.8)


def test_the_beam_of_a_survey_that_the_header_names(tmp_path):
    fits.writeto(tmp_path / "skyview.fits", noise(), without_beam(SURVEY="NVSS"))
    with (
        pytest.warns(RadioAGWarning, match="not FIRST.s 5.4"),
        pytest.warns(RadioAGWarning, match=r"no beam in skyview.fits.*45 arcsec, that of NVSS"),
    ):
        source = LocalImages(tmp_path / "skyview.fits", beam_scaled=True)
    assert source.mosaic(0)[1].beam == pytest.approx(45)
    assert source.fetch(np.array([180.0]), np.array([40.0])).flags[0] & Flag.BEAM_ASSUMED == 0


@pytest.mark.parametrize(("unit", "first"), [("deg", 0.0015), ("arcsec", 5.4), (None, 5.4), ("arcmin", 0.09)])
def test_a_table_of_beams_has_units_and_planes_without_a_beam(unit, first, tmp_path):
    """CASA writes 0 or NaN for planes that are blank; what counts is the first that has a beam, and TUNIT."""
    axes = [0.0, np.nan, first, 3 * first]
    beams = Table({"BMAJ": axes, "BMIN": axes, "BPA": [0.0] * 4})
    if unit:
        beams["BMAJ"].unit = beams["BMIN"].unit = unit
    image = fits.PrimaryHDU(noise(), without_beam(CASAMBM=True))
    hdus = fits.HDUList([image, fits.BinTableHDU(beams, name="BEAMS")])
    hdus.writeto(tmp_path / "casa.fits")
    assert LocalImages(tmp_path / "casa.fits").mosaic(0)[1].beam == pytest.approx(5.4)
    assert ArrayImages([hdus]).mosaic(0)[1].beam == pytest.approx(5.4)


def test_a_table_of_beams_counts_without_the_card_that_announces_it(tmp_path):
    beams = fits.BinTableHDU(Table({"BMAJ": [12.0], "BMIN": [12.0]}, units=["arcsec", "arcsec"]), name="BEAMS")
    fits.HDUList([fits.PrimaryHDU(noise(), without_beam()), beams]).writeto(tmp_path / "a.fits")
    with pytest.raises(ImageError, match="its beam of 12 arcsec is coarser"):
        LocalImages(tmp_path / "a.fits")


# --- headers --------------------------------------------------------------------------------------------------------


def with_history(path, data, header):
    del header["BMAJ"], header["BMIN"]
    header.add_comment("END of the remarks, which is not that of the header")
    for line in range(200):
        header.add_history(f"AIPS UVSUB line {line}")
    header.add_history("AIPS   CLEAN BMAJ=  1.6E-03 BMIN=  1.4E-03 BPA=  12.5")
    fits.writeto(path, data, header)


def image_behind_a_picture(path, data, header):
    fits.HDUList([fits.PrimaryHDU(np.ones((9, 9))), fits.ImageHDU(data, header)]).writeto(path)


@pytest.mark.parametrize(
    "write", [plain, double, four_axes, second_hdu, latitude_first, with_history, image_behind_a_picture]
)
def test_headers_are_read_as_by_astropy(write, tmp_path, monkeypatch):
    """What is read straight from the file equals what goes all the way through `astropy.io.fits`."""
    path = tmp_path / "image.fits"
    write(path, noise(), make_header())
    quick = planes.read_stored_image(path)
    monkeypatch.setattr(planes, "read_primary_header", lambda path: None)
    whole = planes.read_stored_image(path)
    for name in ("hdu", "shape", "n_planes", "scaling", "mapping"):
        assert getattr(quick, name) == getattr(whole, name)
    for name in ("axes", "factor", "unit", "beam_axes", "pixel_scale"):
        assert getattr(quick.frame, name) == getattr(whole.frame, name)
    assert repr(quick.frame.sky) == repr(whole.frame.sky)
    assert quick.frame.wcs.to_header() == whole.frame.wcs.to_header()


def test_most_headers_need_no_more_than_themselves(tmp_path, monkeypatch):
    with_history(tmp_path / "image.fits", noise(), make_header())
    monkeypatch.setattr(planes, "find_image", lambda *_: pytest.fail("the file was opened with astropy"))
    assert planes.read_stored_image(tmp_path / "image.fits").frame.beam == pytest.approx(3600e-3 * np.sqrt(1.6 * 1.4))


@pytest.mark.parametrize("angle", [0.0, 10.0])
def test_zeros_of_a_border_are_blank(tmp_path, angle):
    """As NaN are: the same field, whether pixels are used as they are or resampled."""
    noise = np.random.default_rng(3).normal(0, 1e-4, (500, 500)).astype(np.float32)
    fields = []
    for number, blank in enumerate((0.0, np.nan)):
        image = noise.copy()
        image[:, :200] = blank
        header = tangent_wcs(180.0, 30.0, 500).to_header()
        turn = np.radians(angle)
        header.update(
            {"PC1_1": np.cos(turn), "PC1_2": -np.sin(turn), "PC2_1": np.sin(turn), "PC2_2": np.cos(turn)}
            | {"BUNIT": "Jy/beam", "BMAJ": 5.4 / 3600, "BMIN": 5.4 / 3600}
        )
        path = tmp_path / f"{number}.fits"
        fits.writeto(path, image, header)
        fields.append(LocalImages(path).fetch(np.array([180.0]), np.array([30.0])))
    assert fields[0].status == fields[1].status == ["partial"]
    assert np.isnan(fields[0].data).mean() > 0.25
    np.testing.assert_array_equal(fields[0].data, fields[1].data)
