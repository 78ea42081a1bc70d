"""Products whose bits flip: nothing that is damaged is taken for good, and what is wrong is named."""

import re
import shutil
import warnings

import numpy as np
import pytest
from astropy.io import fits
from run_examples import Doubles, positions
from typer.testing import CliRunner

from radio_ag import Result, classify
from radio_ag.catalog_io.product.fits import Fits
from radio_ag.catalog_io.result import verify_product
from radio_ag.cli import app
from radio_ag.errors import InputError

# What astropy leaves open when it raises, it closes when the error is forgotten.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

ROWS, FLIPS = 8, 100
KINDS = ("mean", "gates", "hdus", "parquet")


@pytest.fixture(scope="module")
def products(weights, tmp_path_factory):
    """A product of each kind, with cutouts."""
    folder = tmp_path_factory.mktemp("products")
    options = {"weights": weights, "device": "cpu", "orbit": 1, "keep_cutouts": True}
    found = {}
    for kind in KINDS:
        path = folder / kind / ("out.parquet" if kind == "parquet" else "out.fits")
        path.parent.mkdir()
        attention = "gates" if kind == "parquet" else kind
        classify(positions(ROWS), images=Doubles(), output=path, attention=attention, **options)
        found[kind] = path
    return found


@pytest.fixture
def copied(products, tmp_path):
    """A copy of a product's folder to be damaged: the product in it."""

    def copy(kind):
        shutil.copytree(products[kind].parent, tmp_path / kind)
        return tmp_path / kind / products[kind].name

    return copy


def flip(path, place, bit):
    with path.open("r+b") as stream:
        stream.seek(place)
        (byte,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte ^ 1 << bit]))


def unit(path, name):
    """First byte of an HDU, and the first behind it."""
    with fits.open(path, disable_image_compression=True) as hdus:
        info = hdus[name].fileinfo()
    return info["hdrLoc"], info["datLoc"] + info["datSpan"]


def values(result):
    """Everything that a result says."""
    rows = np.arange(len(result))
    maps = [result.attention_maps(rows, gate).tobytes() for gate in result.gates]
    return [str(column.tolist()) for column in result.table.itercols()], maps, result.cutouts(rows).tobytes()


def answer(path):
    """What a product says, or None where it is refused in a line."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return values(Result.read(path))
        except InputError as error:
            message = str(error)
    assert len(message.splitlines()) == 1
    return None


def is_found(path):
    """Whether `verify_product` finds fault with a product."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return any(verify_product(path).values())
        except InputError:
            return True


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["mean", "gates", "hdus"])
def test_no_damaged_table_is_taken_for_good(copied, kind):
    path = copied(kind)
    start, end = unit(path, "CLASSIFICATION")
    rng = np.random.default_rng(1)
    for place, bit in zip(rng.integers(start, end, FLIPS).tolist(), rng.integers(0, 8, FLIPS).tolist(), strict=True):
        flip(path, place, bit)
        with warnings.catch_warnings(action="ignore"), pytest.raises(InputError):
            Result.read(path)
        assert is_found(path)
        flip(path, place, bit)
    Result.read(path).verify()


def test_no_damaged_parquet_file_is_taken_for_good(copied):
    path = copied("parquet")
    file = path / "part-00000.parquet"
    rng = np.random.default_rng(2)
    for place, bit in zip(
        rng.integers(0, file.stat().st_size, FLIPS).tolist(), rng.integers(0, 8, FLIPS).tolist(), strict=True
    ):
        flip(file, place, bit)
        assert answer(path) is None
        flip(file, place, bit)
    Result.read(path).verify()


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_map_or_cutout_is_refused_or_is_not_touched(copied, kind):
    """A bit of a stack that means nothing, such as padding, may flip unseen; `verify` sees it."""
    path = copied(kind)
    file = path.with_suffix(".attention.fits") if kind == "parquet" else path
    whole = answer(path)
    _, start = unit(file, 0 if kind == "parquet" else "CLASSIFICATION")
    rng = np.random.default_rng(3)
    places = rng.integers(start, file.stat().st_size, FLIPS).tolist()
    refused = 0
    for place, bit in zip(places, rng.integers(0, 8, FLIPS).tolist(), strict=True):
        flip(file, place, bit)
        found = answer(path)
        assert found in (None, whole)
        refused += found is None
        assert is_found(path)
        flip(file, place, bit)
    assert refused > FLIPS // 2


def test_the_plane_that_is_damaged_is_named_and_the_others_are_read(copied):
    path = copied("mean")
    with fits.open(path, disable_image_compression=True) as hdus:
        hdu = hdus["ATTENTION"]
        place = hdu.fileinfo()["datLoc"] + hdu.header["NAXIS1"] * hdu.header["NAXIS2"]
        place += 100
    flip(path, place, 3)
    result = Result.read(path)
    planes = result.table["attention_plane"]
    rows = {int(plane): row for row, plane in enumerate(planes) if plane >= 0}
    (damaged,) = result._stores["mean"].find_damaged().tolist()
    for plane, row in rows.items():
        if plane != damaged:
            assert result.attention(row).shape == (150, 150)
    message = rf"extension ATTENTION of {re.escape(str(path))} is damaged: plane {damaged} does not match its CRC32"
    with pytest.raises(InputError, match=message):
        result.attention(rows[damaged])
    assert Fits().find_faults(path)["ATTENTION"] == "has data that do not match its DATASUM"
    try:  # pixels that are wrong, or a stream that no longer is one
        unverified = Result.read(path, verify=False).attention_maps([rows[damaged]])
        assert unverified.shape == (1, 150, 150)
    except InputError as exc:
        assert "decompression error" in str(exc)  # noqa: PT017


def test_a_product_without_sums_is_read_and_not_vouched_for(products, tmp_path):
    """As a program writes it that keeps no checksums: planes of today have their own."""
    with fits.open(products["mean"], disable_image_compression=True) as hdus:
        for hdu in hdus:
            hdu.header.remove("CHECKSUM", ignore_missing=True)
            hdu.header.remove("DATASUM", ignore_missing=True)
        hdus.writeto(tmp_path / "plain.fits")
    assert answer(tmp_path / "plain.fits") == answer(products["mean"])
    assert set(verify_product(tmp_path / "plain.fits").values()) == {"has neither CHECKSUM nor DATASUM"}


def test_what_is_lacking_is_damage(copied):
    """Each part is whole, and one is not there."""
    path = copied("mean")
    start, _ = unit(path, "ATTENTION")
    path.write_bytes(path.read_bytes()[:start])
    with pytest.raises(InputError, match="attention_plane counts further than the 0 planes that are there"):
        Result.read(path)
    with pytest.raises(InputError, match="attention_plane counts further"):
        verify_product(path)
    path = copied("parquet")
    path.with_suffix(".attention.fits").unlink()
    with pytest.raises(InputError, match="attention_plane counts further"):
        Result.read(path)


def test_the_command_names_what_is_damaged(products, copied, tmp_path):
    for kind in KINDS:
        done = CliRunner().invoke(app, ["verify", str(products[kind])])
        assert done.exit_code == 0, done.output
        assert "good, " in done.stdout
    path = copied("gates")
    flip(path, unit(path, "ATTENTION_2")[1] - 3000, 0)
    flip(path, unit(path, "CUTOUTS")[0] + 800, 0)
    done = CliRunner().invoke(app, ["verify", str(path)])
    assert done.exit_code == 2
    assert "ATTENTION_2 has data that do not match its DATASUM" in done.stderr
    assert "CUTOUTS has a header that does not match its CHECKSUM" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for lacking in (tmp_path / "nowhere.fits", tmp_path):
        assert CliRunner().invoke(app, ["verify", str(lacking)]).exit_code == 2


def test_a_result_in_memory_is_of_no_product(products):
    with pytest.raises(InputError, match="in memory alone"):
        Result.read(products["mean"])[[0, 1]].verify()
