"""Source finding: against Gaussians whose place, flux and shape are known, and against itself cut up otherwise."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits, votable
from astropy.table import Table
from astropy.wcs import WCS
from photutils.segmentation import SourceCatalog
from scipy.interpolate import RegularGridInterpolator
from typer.testing import CliRunner

from radio_ag import ImageOptions, Result, classify
from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.catalog_io.finding import blocks, find
from radio_ag.catalog_io.finding.find import find_sources
from radio_ag.catalog_io.finding.measure import Detection, find_islands, moments
from radio_ag.catalog_io.finding.noise_map import NoiseMap, measure_noise
from radio_ag.catalog_io.finding.output import write_sources
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.images.planes import is_image
from radio_ag.catalog_io.images.zeros import unobserved
from radio_ag.cli import app
from radio_ag.errors import ImageError, InputError, OutputError, RadioAGWarning
from radio_ag.flags import Flag
from radio_ag.simulated import correlated_noise, make_mosaic

RMS = 0.15e-3
FLUX_COLUMNS = ("ra", "dec", "peak_flux", "total_flux", "rms", "snr", "major_fwhm", "minor_fwhm", "position_angle")


def image(data, *, scale=1.8, beam=5.4, **cards):
    """An image HDU around RA 180, Dec 40."""
    header = tangent_wcs(180.0, 40.0, data.shape[-1], scale).to_header()
    header["CRPIX2"] = (data.shape[-2] + 1) / 2
    header.update({"BUNIT": "Jy/beam", "BMAJ": beam / 3600, "BMIN": beam / 3600} | cards)
    return fits.PrimaryHDU(data.astype(np.float32), header)


def add_gaussian(data, x, y, peak, fwhm_pixels, angle=0.0):
    """Add a Gaussian with its major axis at a position angle (North up, East left) and give its sum."""
    rows, columns = np.indices(data.shape, dtype=float)
    sigma = np.asarray(fwhm_pixels, float) / np.sqrt(8 * np.log(2))
    theta = np.radians(angle)
    east, north = x - columns, rows - y
    along, across = east * np.sin(theta) + north * np.cos(theta), east * np.cos(theta) - north * np.sin(theta)
    data += peak * np.exp(-0.5 * ((along / sigma[0]) ** 2 + (across / sigma[1]) ** 2))
    return 2 * np.pi * peak * sigma.prod()


def noise(shape, seed=0, rms=RMS):
    return correlated_noise(shape, rms, np.random.default_rng(seed)).astype(float)


def assert_same(one: Table, other: Table):
    """Row by row; numbers but for what rounding in another window may do."""
    assert one.colnames == other.colnames
    assert len(one) == len(other)
    for name in one.colnames:
        if name in FLUX_COLUMNS:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-9, err_msg=name)
        elif name != "mosaic":
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def crowded():
    """A mosaic with point sources, doubles and one source of 12 arcmin that winds through it."""
    hdu, truth = make_mosaic(size=700, n_sources=25, seed=7, min_separation=60)
    x = np.arange(150, 551, 2.0)
    for px, py in zip(x, 350 + 40 * np.sin(x / 40), strict=True):
        rows, columns = slice(int(py) - 15, int(py) + 16), slice(int(px) - 15, int(px) + 16)
        y_grid, x_grid = np.mgrid[rows, columns]
        hdu.data[rows, columns] += 1.5e-3 * np.exp(-((x_grid - px) ** 2 + (y_grid - py) ** 2) / 8)
    return hdu, truth


@pytest.fixture(scope="module")
def crowded_sources(crowded):
    """What is found in it, in one block."""
    return find_sources(crowded[0])


# --- what is measured -----------------------------------------------------------------------------------------------


def test_gaussians_come_out_as_they_went_in():
    data = noise((600, 500), rms=1e-6)
    beam_area = np.pi / (4 * np.log(2)) * 9  # pixels
    sums = [
        add_gaussian(data, 100.3, 120.7, 2e-3, (3, 3)),
        add_gaussian(data, 300.0, 200.5, 5e-3, (9, 4), 30),
        add_gaussian(data, 200.2, 450.1, 3e-3, (12, 6), 130),
    ]
    table = find_sources(image(data))
    assert len(table) == 3
    np.testing.assert_array_equal(table["island"], [1, 2, 3])
    x, y = WCS(image(data).header).all_world2pix(table["ra"], table["dec"], 0)
    np.testing.assert_allclose(x, [100.3, 300.0, 200.2], atol=0.03)
    np.testing.assert_allclose(y, [120.7, 200.5, 450.1], atol=0.03)
    np.testing.assert_allclose(table["total_flux"], np.array(sums) / beam_area, rtol=0.01)
    np.testing.assert_allclose(table["major_fwhm"], 1.8 * np.array([3, 9, 12]), rtol=0.02)
    np.testing.assert_allclose(table["minor_fwhm"], 1.8 * np.array([3, 4, 6]), rtol=0.02)
    np.testing.assert_allclose(table["position_angle"][1:], [30, 130], atol=0.5)
    np.testing.assert_allclose(table["peak_flux"], [2e-3, 5e-3, 3e-3], rtol=0.1)
    np.testing.assert_allclose(table["rms"], 1e-6, rtol=0.1)
    np.testing.assert_allclose(table["snr"], table["peak_flux"] / table["rms"])


@pytest.mark.parametrize("level", [10, 30])
def test_what_lies_below_the_contour_is_made_up_for(level):
    """An exact Gaussian cut at 3 sigma: what is inside is 1 - 3 / level of its flux."""
    data = noise((400, 400), rms=1e-4)
    total = add_gaussian(data, 200, 200, level * 1e-4, (30, 20), 60) / (np.pi / (4 * np.log(2)) * 9)
    table = find_sources(image(data), contrast=1)
    row = table[np.argmax(table["total_flux"])]
    assert row["total_flux"] == pytest.approx(total, rel=0.1)
    assert row["major_fwhm"] == pytest.approx(54, rel=0.1)
    assert row["minor_fwhm"] == pytest.approx(36, rel=0.1)
    assert row["position_angle"] == pytest.approx(60, abs=8)


def test_position_angle_is_that_on_the_sky():
    """In an image turned by 50 degrees, the axis turns with the sky and not with the pixels."""
    data = noise((400, 400), rms=1e-6)
    add_gaussian(data, 200, 200, 3e-3, (12, 6), 20)
    turn = np.radians(50)
    cards = {"PC1_1": np.cos(turn), "PC1_2": -np.sin(turn), "PC2_1": np.sin(turn), "PC2_2": np.cos(turn)}
    row = find_sources(image(data, **cards))[0]
    wcs = WCS(image(data, **cards).header)
    theta = np.radians(20)
    start, end = wcs.pixel_to_world([200, 200 - 5 * np.sin(theta)], [200, 200 + 5 * np.cos(theta)])
    assert row["position_angle"] == pytest.approx(start.position_angle(end).deg % 180, abs=0.5)
    assert row["major_fwhm"] == pytest.approx(12 * 1.8, rel=0.02)


def test_units_columns_and_their_meaning(crowded_sources):
    table = crowded_sources
    assert list(table.colnames) == list(find.COLUMNS)
    units = {name: str(table[name].unit) for name in ("ra", "peak_flux", "total_flux", "major_fwhm", "position_angle")}
    assert units == {
        "ra": "deg",
        "peak_flux": "Jy / beam",
        "total_flux": "Jy",
        "major_fwhm": "arcsec",
        "position_angle": "deg",
    }
    assert all(table[name].description for name in table.colnames)
    assert len(np.unique(table["source_id"])) == len(table)


def test_compact_sources_are_found_where_they_are():
    hdu, truth = make_mosaic(size=900, n_sources=60, seed=2, kinds=("compact",), min_separation=60)
    table = find_sources(hdu)
    nearest, distance, _ = SkyCoord(truth["ra"], truth["dec"]).match_to_catalog_sky(SkyCoord(table["ra"], table["dec"]))
    assert distance.arcsec.max() < 1.0
    assert len(table) == 60
    np.testing.assert_allclose(table["total_flux"][nearest] / truth["total_flux"], 1, atol=0.25)
    assert np.median(table["total_flux"][nearest] / truth["total_flux"]) == pytest.approx(1, abs=0.04)


def test_overlapping_sources_are_split_and_share_an_island():
    data = noise((300, 300), rms=1e-5)
    add_gaussian(data, 145, 150, 3e-3, (3, 3))
    add_gaussian(data, 153, 150, 2e-3, (3, 3))
    split, whole = find_sources(image(data)), find_sources(image(data), contrast=1)
    assert list(split["island"]) == [1, 1]
    assert len(whole) == 1
    assert split["total_flux"].sum() == pytest.approx(5e-3, rel=0.05)
    assert whole["total_flux"][0] == pytest.approx(5e-3, rel=0.05)


def test_moments_are_those_of_photutils():
    """Segments of any shape, but for what is made up beyond the contour."""
    flux = noise((300, 300), seed=8).astype(np.float32)
    for x, y, angle in ((80, 90, 20), (200, 120, 100), (150, 240, 60)):
        add_gaussian(flux, x, y, 40 * RMS, (14, 5), angle)
    settings = Detection(threshold=10, island_threshold=3, min_pixels=3, contrast=0.01)
    islands = find_islands(flux / RMS, settings)
    centroid, covariance, total, area = moments(flux, islands.segments, islands.peaks)
    catalogue = SourceCatalog(flux, islands.segments)
    np.testing.assert_allclose(centroid.T, catalogue.centroid, rtol=1e-6)
    np.testing.assert_allclose(covariance, catalogue.covariance.value, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, catalogue.segment_flux, rtol=1e-5)
    np.testing.assert_array_equal(area, catalogue.area.value)


def test_thresholds_are_in_units_of_the_local_noise():
    hdu = image(noise((600, 600), seed=3))
    for threshold in (3.7, 4.2):
        table = find_sources(hdu, threshold=threshold)
        assert len(table)
        assert (table["snr"] >= threshold).all()
    assert len(find_sources(hdu, threshold=4.2)) < len(find_sources(hdu, threshold=3.7))


# --- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [97, 256])
def test_result_does_not_depend_on_the_blocks(crowded, crowded_sources, block, monkeypatch):
    """The margin starts at 8 pixels, so that many islands and above all the long one outgrow it."""
    assert np.bincount(crowded_sources["island"], crowded_sources["n_pixels"]).max() > 4000
    monkeypatch.setattr(blocks, "MARGIN", 8)
    assert_same(find_sources(crowded[0], block=block), crowded_sources)


def test_source_on_a_seam_appears_once():
    data = noise((512, 512), rms=1e-5)
    places = [(127.5, 60), (128, 200), (127, 300), (255.5, 255.5), (60, 127.49), (256, 400)]
    for x, y in places:
        add_gaussian(data, x, y, 3e-3, (3, 3))
    table = find_sources(image(data), block=128)
    x, y = WCS(image(data).header).all_world2pix(table["ra"], table["dec"], 0)
    found = sorted(zip(x.round(1), y.round(1), strict=True))
    np.testing.assert_allclose(found, sorted(places), atol=0.15)


def test_island_beyond_the_widest_margin_is_cut_with_a_warning(crowded, monkeypatch):
    monkeypatch.setattr(blocks, "MARGIN", 8)
    monkeypatch.setattr(blocks, "MAX_MARGIN", 16)
    with pytest.warns(RadioAGWarning, match="reach more than 16 pixels beyond their block"):
        table = find_sources(crowded[0], block=128)
    assert table["at_edge"].any()


# --- noise ----------------------------------------------------------------------------------------------------------


def test_noise_follows_a_primary_beam_and_stops_at_blank_pixels():
    """Noise that grows fourfold towards a round, blank border, as after primary-beam correction."""
    shape = (1200, 1200)
    y, x = np.indices(shape) - 599.5
    radius = np.hypot(x, y)
    gain = 4 ** ((radius / 560) ** 2)
    data = noise(shape, seed=5) * gain
    faint = 10 * RMS
    for px in (-500, -300, 0, 300, 500):  # 10 sigma in the middle, 3.3 sigma near the border
        add_gaussian(data, 600 + px, 600, faint, (3, 3))
    data[radius > 560] = np.nan
    table = find_sources(image(data))
    column, row = WCS(image(data).header).all_world2pix(table["ra"], table["dec"], 0)
    true_rms = RMS * gain[np.rint(row).astype(int), np.rint(column).astype(int)]
    np.testing.assert_allclose(table["rms"], true_rms, rtol=0.15)
    expected = np.abs(row - 600) < 2
    for px in (300, 600, 900):
        assert np.abs(column[expected] - px).min() < 1.5
    assert (~expected).sum() <= 2  # of 1.1 million pixels of noise


def test_source_at_the_border_says_so():
    data = noise((400, 400), rms=1e-5)
    add_gaussian(data, 0, 200, 3e-3, (3, 3))
    add_gaussian(data, 300, 200, 3e-3, (3, 3))
    add_gaussian(data, 100, 101, 3e-3, (3, 3))
    data[:100, :] = np.nan
    table = find_sources(image(data))
    eastward = np.argsort(-table["ra"])  # the first pixels of a row
    assert list(table["at_edge"][eastward]) == [True, True, False]


def test_noise_map_is_interpolated_linearly_between_the_tiles():
    rng = np.random.default_rng(0)
    mesh = rng.uniform(1, 2, (2, 4, 5)).astype(np.float32)
    noise_map = NoiseMap(30, *mesh)
    centres = [np.arange(n) * 30 + 14.5 for n in (4, 5)]
    rows, columns = slice(7, 118), slice(20, 149)
    at = np.stack(
        np.meshgrid(
            np.clip(np.arange(7, 118), 14.5, centres[0][-1]),
            np.clip(np.arange(20, 149), 14.5, centres[1][-1]),
            indexing="ij",
        ),
        axis=-1,
    )
    for found, values in zip(noise_map.window(rows, columns), mesh, strict=True):
        np.testing.assert_allclose(found, RegularGridInterpolator(centres, values)(at), rtol=1e-5)


def test_tile_that_emission_fills_takes_the_noise_of_its_neighbour():
    data = noise((480, 480), seed=4)
    clean = measure_noise(data, 120)
    rows, columns = np.indices((120, 120))
    data[120:240, 240:360] += 0.01 * (1 + np.sin(rows / 9) * np.cos(columns / 7))
    filled = measure_noise(data, 120)
    assert filled.rms[1, 2] == pytest.approx(RMS, rel=0.1)
    assert abs(filled.background[1, 2]) < RMS / 2
    others = np.ones(clean.rms.shape, bool)
    others[1, 2] = False
    np.testing.assert_array_equal(filled.rms[others], clean.rms[others])


def test_background_is_taken_off():
    data = noise((480, 480), rms=1e-5) + 1e-3
    add_gaussian(data, 240, 240, 3e-3, (3, 3))
    table = find_sources(image(data))
    assert len(table) == 1
    assert table["peak_flux"][0] == pytest.approx(3e-3, rel=0.02)


@pytest.mark.parametrize("value", [np.nan, 0.0, 1e-3])
def test_blank_mosaic_is_refused(value):
    with pytest.raises(ImageError, match="blank or constant"):
        find_sources(image(np.full((300, 300), value)))


def test_blank_one_of_several_is_left_out(tmp_path):
    data = noise((300, 300), rms=1e-5)
    add_gaussian(data, 150, 150, 3e-3, (3, 3))
    image(data).writeto(tmp_path / "a.fits")
    image(np.full((300, 300), np.nan)).writeto(tmp_path / "b.fits")
    with pytest.warns(RadioAGWarning, match=r"1 of 2 mosaics left out: image b\.fits.*blank"):
        assert len(find_sources(tmp_path)) == 1


def test_mosaic_without_sources_gives_an_empty_table_of_the_same_form(crowded_sources):
    empty, full = find_sources(image(noise((400, 400), seed=1)), threshold=20), crowded_sources
    assert len(empty) == 0
    assert empty.colnames == full.colnames
    assert [(column.dtype.kind, column.unit) for column in empty.columns.values()] == [
        (column.dtype.kind, column.unit) for column in full.columns.values()
    ]


# --- kinds of mosaics -----------------------------------------------------------------------------------------------


def test_axes_of_frequency_and_stokes(crowded, crowded_sources, tmp_path):
    hdu = crowded[0].copy()
    hdu.data = hdu.data[None, None]
    hdu.header.update(CTYPE3="FREQ", CRVAL3=1.4e9, CDELT3=1e6, CRPIX3=1, CTYPE4="STOKES", CRVAL4=1, CDELT4=1, CRPIX4=1)
    hdu.writeto(tmp_path / "cube.fits")
    assert_same(find_sources(tmp_path / "cube.fits"), crowded_sources)


def test_unit_of_the_image_counts(crowded, crowded_sources):
    hdu = crowded[0].copy()
    hdu.data = hdu.data * 1e3
    hdu.header["BUNIT"] = "mJy/beam"
    assert_same(find_sources(hdu), crowded_sources)


def test_unknown_beam_is_assumed_with_a_warning():
    hdu = image(noise((300, 300), seed=1))
    del hdu.header["BMAJ"], hdu.header["BMIN"]
    with pytest.warns(RadioAGWarning, match=r"no beam in primary.*5\.4 arcsec"):
        find_sources(hdu)


def test_any_beam_and_scale_will_do():
    """A coarse beam cannot be made FIRST's, but sources are found in it."""
    data = noise((400, 400), rms=1e-5)
    total = add_gaussian(data, 200, 200, 3e-3, (5, 5)) / (np.pi / (4 * np.log(2)) * 25)
    with pytest.warns(RadioAGWarning, match="not FIRST's"):
        table = find_sources(image(data, scale=5.0, beam=25.0))
    assert table["total_flux"][0] == pytest.approx(total, rel=0.02)
    assert table["major_fwhm"][0] == pytest.approx(25, rel=0.02)


@pytest.fixture(scope="module")
def halves(crowded, tmp_path_factory):
    """The crowded mosaic as two files that overlap by 200 columns; their noise is the same there."""
    folder = tmp_path_factory.mktemp("halves")
    for name, columns in (("left", slice(0, 450)), ("right", slice(250, 700))):
        header = crowded[0].header.copy()
        header["CRPIX1"] -= columns.start
        fits.writeto(folder / f"{name}.fits", crowded[0].data[:, columns], header)
    return folder


def test_sources_of_several_mosaics_appear_once(crowded_sources, halves):
    """But for the long source, which no half has whole."""
    whole, table = crowded_sources, find_sources(halves)
    at = SkyCoord(table["ra"], table["dec"])
    pairs = at.search_around_sky(at, 4 * u.arcsec)
    assert len(pairs[0]) == len(table)
    inside = ~np.isin(whole["island"], whole["island"][np.argmax(np.bincount(whole["island"])[whole["island"]])])
    distance = SkyCoord(whole["ra"], whole["dec"])[inside].match_to_catalog_sky(at)[1]
    assert (distance.arcsec < 1).mean() > 0.97
    np.testing.assert_array_equal(table["source_id"], np.arange(1, len(table) + 1))
    np.testing.assert_array_equal(np.unique(table["island"]), np.arange(1, table["island"].max() + 1))
    assert set(table["mosaic"]) == {"left.fits", "right.fits"}


def test_of_two_mosaics_the_one_that_has_the_source_whole_counts(tmp_path):
    """The cut one has the lower noise and comes first."""
    data = np.zeros((400, 700))
    add_gaussian(data, 300, 200, 3e-3, (20, 8), 90)
    header = image(data).header
    fits.writeto(tmp_path / "a.fits", (data + noise(data.shape, 1, 1e-5))[:, :303].astype(np.float32), header)
    fits.writeto(tmp_path / "b.fits", (data + noise(data.shape, 2, 3e-5)).astype(np.float32), header)
    table = find_sources([tmp_path / "a.fits", tmp_path / "b.fits"])
    assert list(table["mosaic"]) == ["b.fits"]
    assert not table["at_edge"][0]


def test_of_two_whole_ones_the_one_with_less_noise_counts(tmp_path):
    data = np.zeros((400, 400))
    add_gaussian(data, 200, 200, 3e-3, (3, 3))
    for name, rms in (("a", 5e-5), ("b", 2e-5), ("c", 4e-5)):
        image(data + noise(data.shape, ord(name), rms)).writeto(tmp_path / f"{name}.fits")
    assert list(find_sources(tmp_path)["mosaic"]) == ["b.fits"]


def test_other_sources_of_overlapping_mosaics_all_stay(tmp_path):
    """What only one of the mosaics shows is not a duplicate."""
    for name, x in (("a", 100), ("b", 250)):
        data = noise((350, 350), ord(name), 1e-5)
        add_gaussian(data, x, 200, 3e-3, (3, 3))
        image(data).writeto(tmp_path / f"{name}.fits")
    assert sorted(find_sources(tmp_path)["mosaic"]) == ["a.fits", "b.fits"]


def test_region_limits_what_is_reported(crowded, crowded_sources, tmp_path):
    table = crowded_sources
    centre = SkyCoord(180 * u.deg, 30 * u.deg)
    (tmp_path / "circle.reg").write_text('icrs\ncircle(180,30,300")\n')
    inside = find_sources(crowded[0], region=tmp_path / "circle.reg")
    expected = table[SkyCoord(table["ra"], table["dec"]).separation(centre) < 300 * u.arcsec]
    assert 0 < len(inside) < len(table)
    np.testing.assert_array_equal(inside["ra"], expected["ra"])


def test_region_in_pixels_goes_with_one_mosaic(crowded, halves, tmp_path):
    (tmp_path / "box.reg").write_text("image\nbox(350.5,350.5,300,200,0)\n")
    table = find_sources(crowded[0], region=tmp_path / "box.reg")
    x, y = WCS(crowded[0].header).all_world2pix(table["ra"], table["dec"], 0)
    assert len(table)
    assert np.abs(x - 349.5).max() <= 150
    assert np.abs(y - 349.5).max() <= 100
    with pytest.raises(InputError, match="one mosaic"):
        find_sources(halves, region=tmp_path / "box.reg")


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 3.0}, {"threshold": np.nan}, {"island_threshold": 0.0}, {"contrast": 1.5}, {"block": 0}],
)
def test_settings_out_of_range_are_named(crowded, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        find_sources(crowded[0], **settings)


@pytest.mark.parametrize("survey", [None, "first"])
def test_a_survey_is_no_mosaic(survey):
    with pytest.raises(ImageError, match="local images"):
        find_sources(survey)


# --- files and the way on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "csv", "xml"])
def test_sources_come_back_from_a_file_as_a_catalogue(crowded_sources, tmp_path, suffix):
    table = crowded_sources
    write_sources(table, tmp_path / f"sources.{suffix}")
    catalogue = read_catalogue(tmp_path / f"sources.{suffix}")
    assert (catalogue.dialect, catalogue.kind) == ("radio-ag", "sources")
    np.testing.assert_allclose(catalogue.ra, table["ra"], rtol=1e-12)
    np.testing.assert_allclose(catalogue.flux, table["total_flux"], rtol=1e-12)
    assert catalogue.source_id_name == "source_id"
    with pytest.raises(OutputError, match="exists"):
        write_sources(table, tmp_path / f"sources.{suffix}")


def test_unknown_suffix_is_refused(crowded_sources, tmp_path):
    with pytest.raises(OutputError, match=r"sources\.dat.*\.fits"):
        write_sources(crowded_sources, tmp_path / "sources.dat")


def test_images_and_tables_are_told_apart(crowded, crowded_sources, halves, tmp_path):
    crowded_sources.write(tmp_path / "table.fits")
    (tmp_path / "table.csv").write_text("ra,dec\n180,30\n")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(crowded[0].data, crowded[0].header)]).writeto(
        tmp_path / "c.fits"
    )
    assert is_image(halves / "left.fits")
    assert is_image(str(tmp_path / "c.fits"))
    assert is_image(crowded[0])
    assert is_image([halves / "left.fits", halves / "right.fits"])
    for other in (tmp_path / "table.fits", tmp_path / "table.csv", tmp_path / "missing.fits", Table({"ra": [1.0]}), []):
        assert not is_image(other)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A mosaic of five sources on disk, and where they are."""
    hdu, truth = make_mosaic(size=700, n_sources=5, seed=12, min_separation=270, kinds=("FRII", "compact"))
    path = tmp_path_factory.mktemp("sky") / "mosaic.fits"
    hdu.writeto(path)
    return path, truth


@pytest.fixture(scope="module")
def sky_sources(sky):
    """What is found in it."""
    return find_sources(sky[0])


def test_classify_finds_the_sources_of_a_mosaic_first(sky, sky_sources, weights):
    path, truth = sky
    result = classify(path, weights=weights, device="cpu", orbit=1)
    found = sky_sources
    np.testing.assert_array_equal(result.table["source_id"], found["source_id"])
    np.testing.assert_array_equal(result.table["ra"], found["ra"])
    assert (np.asarray(result.table["class"]) != "").all()
    assert result.table.meta["found_in"] == result.table.meta["catalogue"] == "mosaic.fits"
    assert result.table.meta["find_threshold"] == 5.0
    groups = result.table["group_id"]
    assert len(set(groups)) < len(found)  # the lobes of the FRII sources belong together
    _, distance, _ = SkyCoord(truth["ra"], truth["dec"]).match_to_catalog_sky(SkyCoord(found["ra"], found["dec"]))
    assert distance.arcsec.max() < 75


def test_region_of_a_catalogue_leaves_its_rows(sky, weights, tmp_path):
    path, truth = sky
    centre = SkyCoord(truth["ra"][0], truth["dec"][0], unit="deg")
    (tmp_path / "circle.reg").write_text(f'icrs\ncircle({centre.ra.deg},{centre.dec.deg},60")\n')
    plain = classify(truth, images=path, weights=weights, device="cpu", orbit=1)
    limited = classify(truth, images=path, weights=weights, device="cpu", orbit=1, region=tmp_path / "circle.reg")
    assert len(limited.table) == len(truth)
    np.testing.assert_array_equal(limited.table["ra"], truth["ra"])
    assert limited.table["class"][0] == plain.table["class"][0] != ""
    assert limited.table["p_fri"][0] == pytest.approx(plain.table["p_fri"][0], abs=1e-5)  # another batch
    assert list(limited.table["flags"][1:]) == [Flag.NO_COVERAGE] * 4
    assert limited.table["class"].mask[1:].all()
    assert (limited.table["attention_plane"][1:] == -1).all()
    assert limited.table.meta["region"] == "circle.reg"


def test_beam_scaled_sizes_are_in_arcsec(sky, weights):
    """The same pixels with a header five times as coarse: the same classes, and sizes five times as large."""
    path, truth = sky
    with fits.open(path) as hdus:
        coarse = hdus[0].copy()
    for key in ("CDELT1", "CDELT2", "BMAJ", "BMIN"):
        coarse.header[key] *= 5
    x, y = WCS(fits.getheader(path)).all_world2pix(truth["ra"], truth["dec"], 0)
    ra, dec = WCS(coarse.header).all_pix2world(np.rint(x), np.rint(y), 0)
    places = Table({"ra": ra, "dec": dec}, units={"ra": "deg", "dec": "deg"})
    near = Table(
        dict(zip(("ra", "dec"), WCS(fits.getheader(path)).all_pix2world(np.rint(x), np.rint(y), 0), strict=True))
    )
    options = {"weights": weights, "device": "cpu", "orbit": 1}
    fine = classify(near, images=path, **options).table
    with pytest.raises(ImageError, match="beam_scaled"):
        classify(places, images=coarse, **options)
    with pytest.warns(RadioAGWarning, match="not FIRST's"):
        scaled = classify(places, images=coarse, image_options=ImageOptions(beam_scaled=True), **options).table
    assert (scaled["flags"] & Flag.RESAMPLED).all()
    np.testing.assert_allclose(scaled["size"] / fine["size"], 5, rtol=0.15)
    np.testing.assert_allclose(scaled["rms"], fine["rms"], rtol=0.1)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_booleans_of_a_votable_may_be_null(crowded_sources, tmp_path):
    write_sources(crowded_sources, tmp_path / "sources.vot")
    field = votable.parse(tmp_path / "sources.vot").get_first_table().get_field_by_id_or_name("at_edge")
    assert field.datatype == "boolean"


def test_command_writes_the_sources_beside_the_mosaic(sky, sky_sources, tmp_path):
    mosaic = tmp_path / "mosaic.fits"
    mosaic.write_bytes(sky[0].read_bytes())
    result = run("find", mosaic)
    assert result.exit_code == 0, result.output
    written = Table.read(tmp_path / "mosaic.sources.fits")
    np.testing.assert_array_equal(written["ra"], sky_sources["ra"])
    assert f"{len(written)} sources" in result.output
    assert str(written["peak_flux"].unit) == "Jy / beam"
    again = run("find", mosaic)
    assert again.exit_code == 2
    assert "exists" in again.output


def test_command_takes_several_mosaics_a_region_and_a_name(halves, tmp_path):
    (tmp_path / "circle.reg").write_text('icrs\ncircle(180,30,300")\n')
    output = tmp_path / "sources.csv"
    result = run("find", halves / "left.fits", halves / "right.fits", "-o", output, "--region", tmp_path / "circle.reg")
    assert result.exit_code == 0, result.output
    written = Table.read(output)
    separation = SkyCoord(written["ra"], written["dec"], unit="deg").separation(SkyCoord("180d", "30d"))
    assert separation.max() < 300 * u.arcsec
    assert set(written["mosaic"]) == {"left.fits", "right.fits"}


def test_command_classifies_a_mosaic(sky, sky_sources, weights, tmp_path):
    output = tmp_path / "product.fits"
    result = run(
        "classify", sky[0], "-o", output, "--weights", weights, "--orbit", 1, "--device", "cpu", "--threshold", 20
    )
    assert result.exit_code == 0, result.output
    product = Result.read(output).table
    np.testing.assert_array_equal(product["ra"], sky_sources["ra"][sky_sources["snr"] >= 20])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("find", "nothing.fits"), "neither"),
        (("find", "{sky}", "--region", "nothing.reg"), "nothing.reg"),
        (("find", "{sky}", "--threshold", "2"), "island_threshold"),
        (("classify", "{sky}", "--timeout", "3"), "they mean nothing with your own images"),
        (("classify", "nothing.csv", "--beam-scaled"), "FIRST's needs no scaling"),
    ],
)
def test_mistakes_are_told_in_a_line(sky, arguments, reason):
    result = run(*(argument.format(sky=sky[0]) for argument in arguments))
    assert result.exit_code == 2
    assert reason in " ".join(result.output.replace("│", " ").split())


def test_a_border_of_zeros_is_blank_as_one_of_nan_is():
    """A source cut by the border, another in the middle; a slanted border, and zeros by chance."""
    data = noise((400, 400), seed=11)
    for x, y in ((60.0, 200.0), (220.0, 220.0), (330.0, 120.0)):
        add_gaussian(data, x, y, 40 * RMS, (3, 3))
    data[200:202, 250:253] = 0.0  # chance: surrounded by noise
    rows, columns = np.indices(data.shape)
    outside = (columns < 60) | (rows + columns < 150) | (rows > 397)  # wide, slanted, narrow
    tables = []
    for fill in (0.0, np.nan):
        filled = np.where(outside, fill, data)
        tables.append(find_sources(image(filled)))
        assert_same(tables[-1], find_sources(image(filled), block=150))
    assert_same(*tables)
    assert list(tables[0]["at_edge"]) == [False, True, False]  # by place, from the south


def test_rounded_noise_is_no_border():
    """Half of the pixels are exact zeros, and none of them is blank."""
    data = noise((300, 300), seed=12)
    add_gaussian(data, 150.0, 150.0, 100 * RMS, (3, 3))
    data = np.round(data / RMS) * RMS
    assert not unobserved(data).any()
    assert list(find_sources(image(data))["at_edge"]) == [False]


def test_a_folder_of_fine_and_coarse_mosaics_is_searched_in_the_fine_ones(tmp_path):
    data = noise((300, 300))
    add_gaussian(data, 150, 150, 5e-3, (3, 3))
    image(data).writeto(tmp_path / "fine.fits")
    image(data, beam=20.0).writeto(tmp_path / "coarse.fits")
    with pytest.warns(RadioAGWarning, match="left out 1 of 2 images with a beam coarser than FIRST's: coarse.fits"):
        assert set(find_sources(tmp_path)["mosaic"]) == {"fine.fits"}
    output = tmp_path / "sources.ecsv"
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = CliRunner().invoke(app, ["find", str(tmp_path / "*.fits"), "-o", str(output)])
    assert done.exit_code == 0
    assert "left out 1 of 2 images" in done.output
    assert set(Table.read(output)["mosaic"]) == {"fine.fits"}
    with pytest.warns(RadioAGWarning, match="not FIRST's"):
        found = find_sources([tmp_path / "fine.fits", tmp_path / "coarse.fits"])
    assert len(found) == 1
