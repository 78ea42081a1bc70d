"""What a run of 10^6 sources takes: stacks beyond 2^31 bytes, one plane of many, memory that does not grow."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from run_examples import Doubles, positions

from radio_ag import Result, classify
from radio_ag.catalog_io.files.row_file import read_at
from radio_ag.catalog_io.product import stacks
from radio_ag.catalog_io.product.columns import SOURCE_ALONE
from radio_ag.catalog_io.product.fits import Fits
from radio_ag.catalog_io.product.headers import Counts
from radio_ag.catalog_io.product.merge import MergedParts
from radio_ag.catalog_io.product.parts import Part, encode_part
from radio_ag.catalog_io.product.rows import ProductRows, TableRows
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.product.tiles import Tiles, inflate, pack
from radio_ag.chunks import ClassifySettings, blank_columns

ROOT = Path(__file__).parents[1]
SHAPE = (150, 150)


def one_part(sources, tiles):
    n = len(sources)
    columns = blank_columns(np.zeros(n), np.zeros(n), np.zeros(n, np.int32), ClassifySettings())
    columns["attention_plane"] = np.arange(n, dtype=np.int32)
    return Part(np.asarray(sources), columns, {"ATTENTION": tiles}, 1)


@pytest.mark.thorough
def test_planes_beyond_2_gib(tmp_path):
    """A hole of 2 GiB stands for the tiles of 10^5 planes: what follows in the stack is found, and read alone."""
    if shutil.disk_usage(tmp_path).free < 5 << 30:
        pytest.skip("less than 5 GiB of disk are free")
    planes = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    tiles = pack(planes)
    hole = pack(planes[:1]).rows.copy()
    hole["length"] = 2**31 + 4321
    parts = [tmp_path / "a.npz", tmp_path / "b.npz"]
    with np.load(io.BytesIO(encode_part(one_part([3], Tiles(hole, b""))))) as arrays:
        np.savez(parts[0], **{name: arrays[name] for name in arrays.files if not name.endswith(".tiles")})
    with (
        zipfile.ZipFile(parts[0], "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("ATTENTION.tiles.npy", "w", force_zip64=True) as stream,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (int(hole["length"][0]),)}
        np.lib.format.write_array_header_1_0(stream, header)
        for position in range(0, size := int(hole["length"][0]), 1 << 24):
            stream.write(bytes(min(1 << 24, size - position)))
    parts[1].write_bytes(encode_part(one_part([2, 0, 1], tiles)))

    def unreached(sources):
        n = len(sources)
        return blank_columns(np.zeros(n), np.zeros(n), np.zeros(n, np.int32), ClassifySettings())

    merged = MergedParts(parts, np.ones(4, int), unreached, stacks=["ATTENTION"], shape=SHAPE, folder=tmp_path)

    def columns_of(rows):
        return {name: values for name, values in merged.columns(rows).items() if name not in SOURCE_ALONE}

    rows = ProductRows(Table({"a": np.arange(4)}), columns_of, None, Counts(4, 0, 4), {})
    sources = TableRows(Table({"source": np.arange(4), "class": ["FRI"] * 4, "attention_plane": [-1] * 4}))
    Fits().write(tmp_path / "out.fits", rows, sources, merged.stacks, attention="mean", folder=tmp_path)
    assert (tmp_path / "out.fits").stat().st_size > 2**31
    expected = inflate(*tiles, SHAPE)
    store = AttentionStore.open(tmp_path / "out.fits")
    for source, plane in ((2, 0), (0, 1), (1, 2)):
        np.testing.assert_array_equal(store.plane(source), expected[plane])
    with fits.open(tmp_path / "out.fits") as hdus:
        np.testing.assert_array_equal(hdus["ATTENTION"].section[1], expected[2])
    for path in (*parts, tmp_path / "out.fits"):
        path.unlink()


def test_one_plane_is_read_without_the_rest(weights, tmp_path, monkeypatch):
    output = tmp_path / "out.fits"
    classify(positions(6), images=Doubles(), weights=weights, output=output, device="cpu", orbit=1)
    read = []
    monkeypatch.setattr(stacks, "read_at", lambda file, at, size: read.append(size) or read_at(file, at, size))
    result = Result.read(output)
    assert not any(size % 2880 for size in read)  # headers alone
    result.attention(4)
    with fits.open(output, disable_image_compression=True) as hdus:
        plane = result.table["attention_plane"][4]
        size = hdus["ATTENTION"].data["COMPRESSED_DATA"][plane].size
    assert [one for one in read if one % 2880] == [size]


@pytest.mark.cluster
def test_memory_and_disk_grow_by_the_table_alone():
    """Peak memory of runs with an input of 360 bytes a row; 16 MB are for what the allocator keeps back."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    script = ROOT / "benchmarks" / "memory.py"
    command = [sys.executable, script, "--rows", "30000", "90000", "--covered", "300"]
    done = subprocess.run([*command, "--attention", "none", "--json", "-"], capture_output=True, text=True, check=True)
    small, large = json.loads(done.stdout)["rows"]
    grown, table = large["peak_bytes"] - small["peak_bytes"], large["table_bytes"] - small["table_bytes"]
    assert table == 60_000 * 360
    assert grown <= 1.1 * table + 16e6
    assert large["product_bytes"] - large["input_bytes"] < 400 * 90_000  # in both tables
