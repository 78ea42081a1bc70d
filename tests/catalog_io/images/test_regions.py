"""Regions: which positions are inside, against distances and angles worked out on the sphere."""

import bz2
import gzip
import lzma
import socket

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Latitude, Longitude, SkyCoord
from astropy.io import fits
from regions import CirclePixelRegion, PixCoord, PolygonPixelRegion, Regions

from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.images.headers import read_frame
from radio_ag.catalog_io.images.regions import MAX_SHAPES, open_region
from radio_ag.errors import InputError


def around(centre: SkyCoord, radius: u.Quantity, n: int = 400, seed: int = 0) -> SkyCoord:
    """Positions spread evenly in position angle, out to a radius."""
    rng = np.random.default_rng(seed)
    return centre.directional_offset_by(rng.uniform(0, 360, n) * u.deg, np.sqrt(rng.uniform(0, 1, n)) * radius).icrs


def written(tmp_path, text: str, name: str = "region.reg"):
    (tmp_path / name).write_text(text)
    return open_region(tmp_path / name)


@pytest.mark.parametrize("centre", [SkyCoord("180d", "30d"), SkyCoord("0.001d", "0d"), SkyCoord("50d", "89.9d")])
@pytest.mark.parametrize("radius", [0.02, 4.0])
def test_circle_is_an_angle_on_the_sky(tmp_path, centre, radius):
    region = written(tmp_path, f"icrs\ncircle({centre.ra.deg},{centre.dec.deg},{radius}d)\n")
    points = around(centre, 2 * radius * u.deg)
    np.testing.assert_array_equal(
        region.contains(points.ra.deg, points.dec.deg), points.separation(centre) < radius * u.deg
    )


def test_several_shapes_add_up_and_excluded_ones_are_taken_away(tmp_path):
    centre, other = SkyCoord("180d", "30d", frame="fk5"), SkyCoord("180.1d", "30d", frame="fk5")
    text = 'fk5\ncircle(180,30,300")\ncircle(180.1,30,200")\n-circle(180,30,100")\n'
    points = around(centre.icrs, 1000 * u.arcsec, 1000)
    near, far = points.separation(centre.icrs).arcsec, points.separation(other.icrs).arcsec
    expected = ((near < 300) | (far < 200)) & (near > 100)
    assert 100 < expected.sum() < 900
    np.testing.assert_array_equal(written(tmp_path, text).contains(points.ra.deg, points.dec.deg), expected)


def test_a_file_that_only_excludes_includes_the_rest(tmp_path):
    region = written(tmp_path, 'icrs\n-circle(10,10,60")\n')
    np.testing.assert_array_equal(region.contains([10.0, 10.1, 200.0], [10.0, 10.0, -50.0]), [False, True, True])


def test_crtf(tmp_path):
    text = "#CRTFv0\ncircle [[180deg, 30deg], 60arcsec], coord=ICRS\n-circle [[180deg, 30deg], 20arcsec], coord=ICRS\n"
    region = written(tmp_path, text, "region.crtf")
    dec = 30 + np.array([0.0, 19, 21, 59, 61]) / 3600
    np.testing.assert_array_equal(region.contains(np.full(5, 180.0), dec), [False, False, True, True, False])


def test_galactic_ellipse_lies_along_its_own_axes(tmp_path):
    """Major axis along galactic longitude, where ICRS axes are turned by some 60 degrees."""
    region = written(tmp_path, 'galactic\nellipse(30,20,600",200",0)\n')
    at = SkyCoord(30 * u.deg, 20 * u.deg, frame="galactic")
    points = around(at, 800 * u.arcsec, 2000).galactic
    x, y = (offset.arcsec for offset in at.spherical_offsets_to(points))
    level = (x / 600) ** 2 + (y / 200) ** 2
    clear = np.abs(level - 1) > 1e-3
    inside = region.contains(points.icrs.ra.deg, points.icrs.dec.deg)
    np.testing.assert_array_equal(inside[clear], (level < 1)[clear])


def test_sides_of_a_polygon_are_great_circles(tmp_path):
    """At Dec 60 a great circle over 40 degrees bulges north of the parallel: to 61.5 degrees in the middle."""
    region = written(tmp_path, "icrs\npolygon(20,60,60,60,60,40,20,40)\n")
    top = np.degrees(np.arctan(np.tan(np.radians(60)) / np.cos(np.radians(20))))
    assert top > 61
    inside = region.contains([40.0, 40.0, 19.0, 220.0, 40.0], [top - 0.01, top + 0.01, 50.0, -50.0, 55.0])
    np.testing.assert_array_equal(inside, [True, False, False, False, True])


def test_positions_that_are_missing_are_outside(tmp_path):
    region = written(tmp_path, 'icrs\n-circle(10,10,60")\n')
    np.testing.assert_array_equal(region.contains([np.nan, 10.0, 50.0], [10.0, np.nan, 50.0]), [False, False, True])
    assert region.contains([], []).shape == (0,)


@pytest.mark.parametrize("format", ["fits", "reg"])
def test_pixels_need_a_mosaic(tmp_path, format):
    """DS9 counts pixels from 1, as FITS does."""
    shapes = Regions(
        [
            CirclePixelRegion(PixCoord(100, 120), 10),
            PolygonPixelRegion(PixCoord([300, 340, 340, 300], [300, 300, 340, 340])),
        ]
    )
    shapes.write(str(tmp_path / f"region.{format}"))
    region = open_region(tmp_path / f"region.{format}")
    assert region.in_pixels
    header = tangent_wcs(180.0, 40.0, 400).to_header()
    header["BUNIT"] = "Jy/beam"
    frame = read_frame(header)
    x, y = np.array([100, 109, 111, 320, 345]), np.array([120, 120, 120, 320, 320])
    ra, dec = frame.wcs.all_pix2world(np.stack([x, y], axis=-1), 0).T
    np.testing.assert_array_equal(region.contains(ra, dec, frame), [True, True, False, True, False])
    with pytest.raises(InputError, match="pixel coordinates"):
        region.contains(ra, dec)


@pytest.mark.parametrize("suffix", ["fits", "json", "ascii"])
def test_moc(tmp_path, suffix):
    mocpy = pytest.importorskip("mocpy", reason="mocpy is an extra: MOCs are read with it")
    moc = mocpy.MOC.from_cone(Longitude(180 * u.deg), Latitude(30 * u.deg), radius=0.5 * u.deg, max_depth=14)
    moc.save(tmp_path / f"moc.{suffix}", format=suffix)
    region = open_region(tmp_path / f"moc.{suffix}")
    dec = 30 + np.array([0.0, 0.48, 0.52, np.nan])
    np.testing.assert_array_equal(region.contains(np.full(4, 180.0), dec), [True, True, False, False])


def test_moc_without_mocpy_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mocpy", None)
    columns = fits.ColDefs([fits.Column("UNIQ", "K", array=[4])])
    table = fits.BinTableHDU.from_columns(columns, fits.Header({"ORDERING": "NUNIQ", "MOCORDER": 0}))
    table.writeto(tmp_path / "moc.fits")
    with pytest.raises(InputError, match=r"radio-ag\[moc\]"):
        open_region(tmp_path / "moc.fits")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.reg", b"icrs\npoint(10,10)\n", "no shape with an area"),
        ("a.txt", b"something else\n", "cannot be read"),
        ("a.fits", b"not FITS", "not a readable FITS file"),
        ("a.reg", b"icrs\ncircle(10,\n", "cannot be read"),
    ],
)
def test_unusable_files_are_refused(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{reason}"):
        open_region(tmp_path / name)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.reg.*is no file"):
        open_region(tmp_path / "nothing.reg")


def test_what_is_a_region_already_is_taken_as_it_is(tmp_path):
    region = written(tmp_path, 'icrs\ncircle(10,10,60")\n')
    assert open_region(region) is region
    assert open_region(None) is None


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a.reg", "a.crtf", "a.fits", "m.json"])
def test_packed_files(tmp_path, name, pack):
    texts = {"m.json": '{"1": [0]}', "a.crtf": "#CRTFv0\ncircle [[180deg, 30deg], 60arcsec], coord=ICRS\n"}
    if name in texts:
        (tmp_path / name).write_text(texts[name])
    else:
        Regions([CirclePixelRegion(PixCoord(100, 120), 10)]).write(str(tmp_path / name))
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(pack((tmp_path / name).read_bytes()))
    assert open_region(packed).in_pixels == (name not in texts)
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"cannot be read \(the packed file is damaged: "):
        open_region(packed)


def test_what_unpacks_to_much_is_refused(tmp_path):
    (tmp_path / "a.reg.gz").write_bytes(gzip.compress(bytes(1 << 20)) * 300)
    with pytest.raises(InputError, match="takes more than 256 MiB"):
        open_region(tmp_path / "a.reg.gz")


@pytest.mark.parametrize("end", ["\n", ";"])
def test_the_number_of_shapes_is_bounded(tmp_path, end):
    shape = f'circle(180,30,10"){end}'
    with pytest.raises(InputError, match=rf"many\.reg' has {MAX_SHAPES + 1} shapes; at most {MAX_SHAPES} are taken"):
        written(tmp_path, f"fk5\n{shape * (MAX_SHAPES + 1)}", "many.reg")


@pytest.mark.parametrize("name", ["http://{}/a.reg", "ftp://{}/a.fits", "https://{}/m.json", "s3://{}/a.crtf"])
def test_addresses_are_no_files(name):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        with pytest.raises(InputError, match="is no file"):
            open_region(name.format(f"127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("text", ["http://{}/a.reg", "@other.reg", "icrs\n@other.reg", "icrs\n# include other.reg"])
def test_other_files_are_not_read(tmp_path, text):
    (tmp_path / "other.reg").write_text('icrs\ncircle(10,10,60")\n')
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        with pytest.raises(InputError, match=r"cannot be read|no shape with an area"):
            written(tmp_path, text.format(f"127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(BlockingIOError):
            server.accept()
