"""Attention maps on disk: compression against its stated error, tiles copied between files, offsets beyond 2^31."""

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from radio_ag.catalog_io.files.fits_append import append_hdu
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.errors import InputError, OutputError

MAX_ERROR = 1 / 2000  # of the plane's range


def smooth_planes(count, seed=0, size=150):
    planes = gaussian_filter(np.random.default_rng(seed).normal(size=(count, size, size)), (0, 5, 5))
    scale = np.logspace(-30, 30, count)[:, None, None]  # quantisation must follow each plane's own range
    return (planes * scale + scale).astype(np.float32)


def write_store(path, store, planes=None):
    header, blocks = store.extension(planes)
    header["EXTNAME"] = "ATTENTION"
    with open(path, "wb") as stream:
        append_hdu(stream, fits.PrimaryHDU().header)
        append_hdu(stream, header, blocks)


@pytest.fixture
def store():
    with AttentionStore() as store:
        yield store


def test_error_is_below_the_stated_share_of_the_range(store, monkeypatch):
    monkeypatch.setattr("radio_ag.catalog_io.product.stacks._CHUNK", 16)
    planes = smooth_planes(50)
    assert store.append(planes[:10]).tolist() == list(range(10))
    store.append(planes[10:])
    assert len(store) == 50
    error = np.abs(store.planes(np.arange(50)).astype(float) - planes).max(axis=(1, 2))
    assert np.all(error <= MAX_ERROR * np.ptp(planes.astype(float), axis=(1, 2)))


def test_extremes_and_constant_planes_are_exact(store):
    planes = smooth_planes(3)
    planes[1] = 0.3
    planes[2] = (planes[2] - planes[2].min()) / np.ptp(planes[2])
    store.append(planes)
    result = store.planes([0, 1, 2])
    assert np.array_equal(result.min(axis=(1, 2)), planes.min(axis=(1, 2)))
    assert np.array_equal(result.max(axis=(1, 2)), planes.max(axis=(1, 2)))
    assert np.array_equal(result[1], planes[1])


@pytest.mark.parametrize(
    ("low", "high"), [(-3e38, 3e38), (0.0, 1e-45), (1.0, np.nextafter(np.float32(1), np.float32(2)))]
)
def test_extreme_ranges(store, low, high):
    plane = np.full((150, 150), low, dtype=np.float32)
    plane[3, 7] = high
    store.append(plane[None])
    assert np.array_equal(store.plane(0), plane)


def test_pixels_that_are_not_finite_come_back_as_nan(store):
    planes = smooth_planes(3)
    planes[0, 5, 6] = np.nan
    planes[1, 7, 8] = np.inf
    planes[2] = np.nan
    store.append(planes)
    result = store.planes([0, 1, 2])
    assert np.argwhere(np.isnan(result[:2])).tolist() == [[0, 5, 6], [1, 7, 8]]
    assert np.isnan(result[2]).all()
    finite = np.isfinite(planes[0])
    assert np.abs(result[0] - planes[0])[finite].max() <= MAX_ERROR * np.ptp(planes[0][finite])


def test_quantising_again_changes_nothing(store):
    store.append(smooth_planes(5))
    once = store.planes(range(5))
    store.append(once)
    assert np.array_equal(store.planes(range(5, 10)), once)


def test_planes_come_in_the_order_asked_for(store):
    store.append(smooth_planes(6))
    everything = store.planes(range(6))
    assert np.array_equal(store.planes([4, 4, 0]), everything[[4, 4, 0]])
    assert np.array_equal(store.plane(2), everything[2])
    assert store.planes([]).shape == (0, 150, 150)


@pytest.mark.parametrize("index", [-1, 2])
def test_planes_that_are_not_there(store, index):
    store.append(smooth_planes(2))
    with pytest.raises(IndexError, match=r"from 0 to 1"):
        store.plane(index)


def test_shape_is_checked(store):
    with pytest.raises(InputError, match=r"\(n, 150, 150\), not \(2, 75, 75\)"):
        store.append(np.zeros((2, 75, 75)))
    with pytest.raises(InputError, match="cannot join"):
        store.extend(AttentionStore((75, 75)))


def test_other_readers_see_the_same_planes(store, tmp_path):
    planes = smooth_planes(7)
    planes[3, 0, 0] = np.nan
    store.append(planes)
    write_store(tmp_path / "a.fits", store)
    with fits.open(tmp_path / "a.fits", disable_image_compression=True) as hdus:
        assert hdus["ATTENTION"].verify_checksum() == hdus["ATTENTION"].verify_datasum() == 1
    with fits.open(tmp_path / "a.fits") as hdus:
        assert np.array_equal(hdus["ATTENTION"].data, store.planes(range(7)), equal_nan=True)
        assert np.array_equal(hdus["ATTENTION"].section[4], store.plane(4))
    opened = AttentionStore.open(tmp_path / "a.fits")
    assert len(opened) == 7
    assert np.array_equal(opened.planes(range(7)), store.planes(range(7)), equal_nan=True)


def test_chosen_planes_are_written_in_their_order(store, tmp_path):
    store.append(smooth_planes(7))
    write_store(tmp_path / "a.fits", store, [5, 1, 2])
    assert np.array_equal(AttentionStore.open(tmp_path / "a.fits").planes(range(3)), store.planes([5, 1, 2]))


def test_stores_join_by_copying_tiles(store, tmp_path):
    store.append(smooth_planes(5, seed=1))
    write_store(tmp_path / "part.fits", store)
    joined = AttentionStore()
    joined.append(smooth_planes(2, seed=2))
    joined.extend(AttentionStore.open(tmp_path / "part.fits"))
    joined.extend(store, [3, 0])
    assert np.array_equal(joined.planes(range(2, 7)), store.planes(range(5)))
    assert np.array_equal(joined.planes([7, 8]), store.planes([3, 0]))
    assert joined.nbytes == joined._heap_size


def test_a_stack_rewritten_by_astropy_is_read(store, tmp_path):
    store.append(smooth_planes(4))
    write_store(tmp_path / "a.fits", store)
    with fits.open(tmp_path / "a.fits", disable_image_compression=True) as hdus:
        hdus.writeto(tmp_path / "b.fits")
    assert np.array_equal(AttentionStore.open(tmp_path / "b.fits").planes(range(4)), store.planes(range(4)))


def test_product_planes_cannot_be_added_to(store, tmp_path):
    store.append(smooth_planes(1))
    write_store(tmp_path / "a.fits", store)
    with pytest.raises(InputError, match=r"extend\(\)"):
        AttentionStore.open(tmp_path / "a.fits").append(smooth_planes(1))


def test_a_heap_beyond_2_gib(store, tmp_path):
    """A sparse file stands in for 10^5 planes: the second tile lies beyond 2^31 bytes."""
    store.append(smooth_planes(2))
    header, blocks = store.extension()
    data = b"".join(blocks)
    rows, heap = data[: 2 * 40], data[2 * 40 :]
    row_type = np.dtype([("length", ">i8"), ("offset", ">i8"), ("scale", ">f8"), ("zero", ">f8"), ("crc", ">i8")])
    table = np.frombuffer(rows, dtype=row_type).copy()
    first = int(table["length"][0])
    far = 2**31 + 12345
    table["offset"][1] = far
    header["PCOUNT"] = far + len(heap) - first
    header["EXTNAME"] = "ATTENTION"
    with open(tmp_path / "a.fits", "wb") as stream:
        append_hdu(stream, fits.PrimaryHDU().header)
        stream.write(header.tostring().encode("ascii"))
        start = stream.tell()
        stream.write(table.tobytes() + heap[:first])
        stream.seek(start + 80 + far)
        stream.write(heap[first:])
        stream.truncate(-(-stream.tell() // 2880) * 2880)
    opened = AttentionStore.open(tmp_path / "a.fits")
    assert np.array_equal(opened.plane(1), store.plane(1))
    with fits.open(tmp_path / "a.fits") as hdus:
        assert np.array_equal(hdus["ATTENTION"].section[1], store.plane(1))
    # Joined after a heap of that size, offsets of the new tiles are beyond 2^31 as well.
    joined = AttentionStore()
    joined._heap_size = far
    joined.extend(opened)
    assert np.array_equal(joined.planes([0, 1]), store.planes([0, 1]))
    assert joined._rows["offset"].tolist() == [far, far + first]


def test_a_damaged_stack_is_refused(store, tmp_path):
    store.append(smooth_planes(3))
    write_store(tmp_path / "a.fits", store)
    size = (tmp_path / "a.fits").stat().st_size
    opened = AttentionStore.open(tmp_path / "a.fits")
    with open(tmp_path / "a.fits", "r+b") as stream:
        stream.truncate(size // 2)
    with pytest.raises(InputError, match="damaged"):
        opened.planes(range(3))


def test_images_of_another_kind_are_refused(tmp_path):
    other = fits.CompImageHDU(np.zeros((2, 10, 10), dtype=np.float32), name="ATTENTION", compression_type="GZIP_2")
    fits.HDUList([fits.PrimaryHDU(), other]).writeto(tmp_path / "a.fits")
    with pytest.raises(InputError, match="ZCMPTYPE is 'GZIP_2'"):
        AttentionStore.open(tmp_path / "a.fits")
    with pytest.raises(InputError, match="no extension 'ATTENTION_9'"):
        AttentionStore.open(tmp_path / "a.fits", "ATTENTION_9")


def test_no_folder_for_the_temporary_file(tmp_path):
    with pytest.raises(OutputError, match="no temporary file"):
        AttentionStore(directory=tmp_path / "nowhere")


def test_memory_does_not_grow_with_planes(store):
    store.append(smooth_planes(20))
    assert sum(chunk.nbytes for chunk in store._chunks) == 20 * 40
    assert store.nbytes > 20 * 1000
