"""The store of fields on disk: what comes back, what is refused, and what goes when it is full."""

import multiprocessing
import os
import threading
import zlib

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.catalog_io.services.cache import FieldCache, FieldKey, default_directory, rounded
from radio_ag.errors import InputError, RadioAGWarning

KEY = FieldKey("FIRST", 162.53, 30.677, 40)


@pytest.fixture
def field():
    data = np.random.default_rng(3).normal(0, 1.5e-4, (40, 40)).astype(np.float32)
    data[5, 6:9] = np.nan
    return data


@pytest.fixture
def header():
    return fits.Header([("CTYPE1", "RA---SIN"), ("CRVAL1", 162.75), ("BMAJ", 0.0015)])


def test_comes_back_within_half_a_quantum(tmp_path, field, header):
    cache = FieldCache(tmp_path)
    assert cache.get(KEY) is None
    cache.put(KEY, field, header)
    data, kept = cache.get(KEY)
    assert data.dtype == np.float32
    assert data.dtype.isnative
    np.testing.assert_array_equal(np.isnan(data), np.isnan(field))
    assert np.nanmax(np.abs(data - field)) <= 0.5e-5 * 1.001
    assert (kept["CTYPE1"], kept["CRVAL1"], kept["BMAJ"]) == ("RA---SIN", 162.75, 0.0015)


@pytest.mark.parametrize("peak", [0.0, 3.0, 1e7])
@pytest.mark.parametrize("quantum", [0.0, 1e-5, 3e-6])
def test_the_same_from_the_service_and_from_the_disk(tmp_path, field, header, peak, quantum):
    field[20, 20] = peak  # 3 Jy needs 32-bit integers, 10 MJy no longer fits them
    cache = FieldCache(tmp_path, quantum=quantum)
    fresh = rounded(field, quantum)
    cache.put(KEY, fresh, header)
    data, _ = cache.get(KEY)
    np.testing.assert_array_equal(data, fresh)
    if not quantum:
        np.testing.assert_array_equal(data, field)


def test_rounding_adds_two_per_cent_of_the_noise_of_first():
    noise = np.random.default_rng(1).normal(0, 1.44e-4, (300, 300)).astype(np.float32)
    error = rounded(noise, 1e-5) - noise
    assert error.std() == pytest.approx(1e-5 / np.sqrt(12), rel=0.02)
    assert abs(error.mean()) < 5e-8
    assert error.std() / 1.44e-4 == pytest.approx(0.02, abs=0.001)


def test_an_entry_is_a_fits_image_for_every_reader(tmp_path, field, header):
    cache = FieldCache(tmp_path)
    cache.put(KEY, field, header)
    with fits.open(cache.path(KEY)) as hdus:
        hdus.verify("exception")
        np.testing.assert_allclose(hdus[0].data, cache.get(KEY)[0], rtol=1e-6)


def test_the_same_entry_is_the_same_bytes(tmp_path, field, header):
    first, second = FieldCache(tmp_path / "a"), FieldCache(tmp_path / "b")
    first.put(KEY, field, header)
    second.put(KEY, field, header)
    assert first.path(KEY).read_bytes() == second.path(KEY).read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        FieldKey("VLASS", 162.53, 30.677, 40),
        FieldKey("FIRST", 162.530001, 30.677, 40),
        FieldKey("FIRST", 162.53, -30.677, 40),
        FieldKey("FIRST", 162.53, 30.677, 41),
    ],
)
def test_other_keys_are_other_entries(tmp_path, field, header, other):
    cache = FieldCache(tmp_path)
    cache.put(KEY, field, header)
    assert cache.get(other) is None
    assert FieldCache(tmp_path, quantum=0).get(KEY) is None


def test_a_survey_s_name_cannot_leave_the_folder(tmp_path, field, header):
    cache = FieldCache(tmp_path / "cache")
    for name in ("../../evil", "..", "/etc", ""):
        key = FieldKey(name, 1.0, 2.0, 40)
        assert cache.path(key).resolve().is_relative_to((tmp_path / "cache").resolve())
        cache.put(key, field, header)
        assert cache.get(key) is not None


def _flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _packed(content):
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content) + packer.flush()


DAMAGES = {
    "empty": lambda content: b"",
    "half-written": lambda content: content[: len(content) // 2],
    "last byte lost": lambda content: content[:-1],
    "one bit": _flipped,
    "zeros": lambda content: bytes(len(content)),
    "not FITS": lambda content: _packed(b"<PRE>not in FIRST</PRE>"),
    "far too large": lambda content: _packed(bytes(50_000_000)),
    "other key": lambda content: _packed(zlib.decompress(content, wbits=31).replace(b"30.677", b"30.678")),
    "no pixels": lambda content: _packed(zlib.decompress(content, wbits=31)[:2880]),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_damaged_entry_is_deleted_and_can_be_replaced(tmp_path, field, header, damage):
    cache = FieldCache(tmp_path)
    cache.put(KEY, field, header)
    path = cache.path(KEY)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, field, header)
    np.testing.assert_array_equal(cache.get(KEY)[0], rounded(field, cache.quantum))


def test_the_longest_unused_go_first(tmp_path, field, header):
    keys = [FieldKey("FIRST", float(n), 0.0, 40) for n in range(12)]
    probe = FieldCache(tmp_path / "probe")
    probe.put(keys[0], field, header)
    size = probe.path(keys[0]).stat().st_size
    cache = FieldCache(tmp_path / "cache", max_bytes=10 * size + size // 2)
    for age, key in enumerate(keys[:10]):
        cache.put(key, field, header)
        os.utime(cache.path(key), (1e9 + age, 1e9 + age))
    cache.get(keys[0])  # used just now
    cache.put(keys[10], field, header)
    kept = [key for key in keys if cache.path(key).exists()]
    assert keys[0] in kept
    assert keys[10] in kept
    assert keys[1] not in kept
    total = sum(cache.path(key).stat().st_size for key in kept)
    assert 0.6 * cache.max_bytes < total <= cache.max_bytes


def test_the_bound_holds_over_runs(tmp_path, field, header):
    for run in range(3):
        cache = FieldCache(tmp_path, max_bytes=20_000)
        for n in range(10):
            cache.put(FieldKey("FIRST", 100.0 * run + n, 0.0, 40), field, header)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert 10_000 < sum(path.stat().st_size for path in files) <= 20_000


def test_what_a_dead_process_left_is_cleared(tmp_path, field, header):
    left, recent = (tmp_path / name for name in ("old.fits.gz.1.tmp", "new.fits.gz.2.tmp"))
    left.write_bytes(b"x")
    recent.write_bytes(b"x")
    os.utime(left, (1e9, 1e9))
    FieldCache(tmp_path).put(KEY, field, header)
    assert not left.exists()
    assert recent.exists()


def _put_and_get(directory, seed):
    cache = FieldCache(directory, max_bytes=60_000)
    random = np.random.default_rng(seed)
    for _ in range(150):
        number = int(random.integers(40))
        key = FieldKey("FIRST", float(number), 0.0, 40)
        found = cache.get(key)
        if found is None:
            cache.put(key, np.full((40, 40), number * 1e-3, np.float32), fits.Header())
        else:
            np.testing.assert_allclose(found[0], number * 1e-3, atol=1e-8)


def test_threads_and_processes_share_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_put_and_get, args=(tmp_path, seed)) for seed in range(2)]
    for process in processes:
        process.start()
    failures = []

    def run(seed):
        try:
            _put_and_get(tmp_path, seed)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(10, 14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.join()
    assert not failures
    assert [process.exitcode for process in processes] == [0, 0]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_disk_that_cannot_be_written_costs_one_warning(tmp_path, field, header):
    cache = FieldCache(tmp_path / "cache")
    (tmp_path / "cache").write_text("in the way")  # after it was opened
    with pytest.warns(RadioAGWarning, match="no longer kept"):
        cache.put(KEY, field, header)
    cache.put(KEY, field, header)
    assert cache.get(KEY) is None


def test_default_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "radio-ag"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".cache" / "radio-ag"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 0}, "cache_size must be a positive number of bytes, not 0"),
        ({"quantum": -1e-5}, "quantum must be in"),
        ({"quantum": float("nan")}, "quantum must be in"),
    ],
)
def test_arguments_out_of_range(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        FieldCache(tmp_path, **options)


def test_the_folder_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cache_dir must be a folder"):
        FieldCache(tmp_path / "file")
