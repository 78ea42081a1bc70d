"""Runs that are interrupted, at any moment and in any way, and go on: their product is that of an undisturbed run."""

import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import run_examples
import torch
from astropy.io import fits
from run_examples import Doubles, classify, data_units, failed_rows, positions
from typer.testing import CliRunner

from radio_ag import Result
from radio_ag.catalog_io.product.tiles import inflate
from radio_ag.cli import app
from radio_ag.errors import IncompleteWarning, InputError, OutputError, ServiceError
from radio_ag.flags import Flag
from radio_ag.network.classifier import Classifier

ROWS = 18
PARTS = 8
OPTIONS = {"device": "cpu", "orbit": 1, "threads": 1, "chunk": 2, "attention": "gates", "keep_cutouts": True}


@pytest.fixture(scope="module")
def undisturbed(weights, tmp_path_factory):
    """The product of a run that nothing happened to."""
    path = tmp_path_factory.mktemp("undisturbed") / "out.fits"
    classify(positions(ROWS), images=Doubles(), weights=weights, output=path, **OPTIONS)
    assert [file.name for file in path.parent.iterdir()] == ["out.fits"]
    return path


@pytest.fixture(scope="module")
def processes():
    """Processes that begin with everything imported, and that can be killed without harm to this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["radio_ag.pipeline", "radio_ag.catalog_io.finding.find", "run_examples", "scipy.optimize"]
    )
    return context


@pytest.fixture
def run(weights):
    def run(output, images=None, rows=ROWS, **options):
        return classify(
            positions(rows), images=images or Doubles(), weights=weights, output=output, **OPTIONS | options
        )

    return run


def classify_and_tell(weights, output, done):
    """A run in a process of its own, which sends a byte after each part."""
    torch.set_num_threads(1)
    classify(
        positions(ROWS), images=Doubles(), weights=weights, output=output, **OPTIONS, resume=True,
        progress=lambda *_: done.send_bytes(b"."),
    )  # fmt: skip


def classify_until(weights, output, last):
    """A run that is killed at its ``last`` step that changes the disk."""
    torch.set_num_threads(1)
    steps = iter(range(last))

    def deadly(function):
        def step(*args, **options):
            if next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return step

    for module, name in ((os, "replace"), (os, "fsync"), (os, "unlink"), (os, "mkdir"), (os, "rmdir")):
        setattr(module, name, deadly(getattr(module, name)))
    classify(positions(3), images=Doubles(), weights=weights, output=output, resume=True, **OPTIONS)


@pytest.mark.cluster
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again(seed, processes, weights, undisturbed, tmp_path):
    output, rng = tmp_path / "out.fits", np.random.default_rng(seed)
    kills = 0
    while True:
        here, there = processes.Pipe(duplex=False)
        process = processes.Process(target=classify_and_tell, args=(weights, output, there))
        process.start()
        there.close()
        try:
            for _ in range(rng.integers(1, 4)):
                here.recv_bytes()
            process.join(rng.uniform(0, 0.1))
        except EOFError:  # it has ended
            process.join()
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 4
    assert data_units(output) == data_units(undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["out.fits"]


@pytest.mark.cluster
def test_killed_at_each_step(processes, weights, run, tmp_path):
    """From the first folder that is made to the last one that is removed."""
    (tmp_path / "undisturbed").mkdir()
    run(tmp_path / "undisturbed" / "out.fits", rows=3)
    expected = data_units(tmp_path / "undisturbed" / "out.fits")
    for last in itertools.count():
        folder = tmp_path / str(last)
        folder.mkdir()
        exits = []
        for steps in (last, sys.maxsize):
            process = processes.Process(target=classify_until, args=(weights, folder / "out.fits", steps))
            process.start()
            process.join()
            exits.append(process.exitcode)
        assert exits[1] == 0, f"killed at step {last}, the run could not go on"
        assert data_units(folder / "out.fits") == expected
        assert [path.name for path in folder.iterdir()] == ["out.fits"]
        if exits[0] == 0:  # it has fewer steps
            break
        assert exits[0] == -signal.SIGKILL
    assert last > 15


class Stopped(Exception):
    """What ends a run in the middle."""


def stop_after(parts):
    """A progress callback that ends the run after so many parts."""
    calls = iter(range(parts))

    def progress(*_):
        if next(calls, None) is None:
            raise Stopped

    return progress


def test_only_what_is_missing_is_done(run, undisturbed, tmp_path):
    output = tmp_path / "out.fits"
    first, second = Doubles(), Doubles()
    with pytest.raises(Stopped):
        run(output, images=first, progress=stop_after(5))
    kept = sorted(path.name for path in tmp_path.glob("out.parts/part-*"))
    assert len(kept) == 6
    seen = []
    result = run(output, images=second, progress=lambda done, total, counts: seen.append((done, counts["NO_COVERAGE"])))
    assert data_units(output) == data_units(undisturbed)
    valid = int(np.isfinite(positions(ROWS)["dec"]).sum())
    assert len(second.asked) == valid - 12
    assert seen[0][0] == 12 + ROWS - valid
    assert seen[-1] == (ROWS, result.summary()["flags"]["NO_COVERAGE"])


def test_parts_and_manifest_as_others_read_them(run, tmp_path):
    output = tmp_path / "out.fits"
    result = run(output, keep_parts=True)
    folder = tmp_path / "out.parts"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["of"]["weights"] == "untrained"
    assert manifest["of"]["chunk"] == 2
    assert manifest["run"] == fits.getval(output, "RUN")
    table = result.table
    seen = set()
    for path in folder.glob("part-*.npz"):
        with np.load(path) as arrays:
            maps = inflate(arrays["ATTENTION_2.rows"], arrays["ATTENTION_2.tiles"].tobytes(), (150, 150))
            for row in arrays["columns"]:
                seen.add(int(row["source"]))
                assert table["p_fri"].filled(np.nan)[row["source"]] == pytest.approx(row["p_fri"], nan_ok=True)
                if row["attention_plane"] >= 0:
                    expected = result.attention(row["source"], 2).data
                    np.testing.assert_array_equal(maps[row["attention_plane"]], expected)
    assert seen == set(np.flatnonzero(np.isfinite(positions(ROWS)["dec"])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"orbit": 2}, r"orbit was 1, now 2\. --restart"),
        ({"attention": "mean"}, "attention was 'gates', now 'mean'"),
        ({"batch": 3}, "batch was 16, now 3"),
        ({"rows": 25}, "positions_sha256 was"),
    ],
)
def test_another_run_is_refused_and_says_why(run, tmp_path, change, message):
    output = tmp_path / "out.fits"
    with pytest.raises(Stopped):
        run(output, progress=stop_after(1))
    before = sorted(path.name for path in tmp_path.glob("out.parts/*"))
    with pytest.raises(OutputError, match=rf"out\.parts has the parts of a run that differs: .*{message}"):
        run(output, **change)
    assert sorted(path.name for path in tmp_path.glob("out.parts/*")) == before
    images = Doubles()
    run(output, images=images, restart=True, **change)
    assert len(images.asked) == np.isfinite(positions(change.get("rows", ROWS))["dec"]).sum()


def test_images_that_changed_are_another_run(run, tmp_path):
    class Changing(Doubles):
        def __init__(self, state):
            super().__init__()
            self.fingerprint = lambda: state

    with pytest.raises(Stopped):
        run(tmp_path / "out.fits", images=Changing("a"), progress=stop_after(1))
    with pytest.raises(OutputError, match="images_fingerprint was 'a', now 'b'"):
        run(tmp_path / "out.fits", images=Changing("b"))


def test_batch_and_threads_are_those_of_the_run_that_goes_on(run, undisturbed, tmp_path):
    output = tmp_path / "out.fits"
    with pytest.raises(Stopped):
        run(output, batch=5, progress=stop_after(1))
    run(output, threads=None)
    assert (fits.getval(output, "BATCH"), fits.getval(output, "THREADS")) == (5, 1)


def test_a_finished_run_is_left_alone(run, tmp_path):
    output, images = tmp_path / "out.fits", Doubles()
    run(output)
    before = output.read_bytes()
    assert len(run(output, images=images, resume=True)) == ROWS
    assert images.asked == []
    assert output.read_bytes() == before
    with pytest.raises(OutputError, match="exists and is of another run"):
        run(output, resume=True, orbit=2)
    with pytest.raises(OutputError, match=r"exists: choose another name"):
        run(output)


def test_images_that_could_not_be_had_are_asked_for_again(run, undisturbed, tmp_path):
    output = tmp_path / "out.fits"
    ra = positions(ROWS)["ra"]
    first, second = Doubles(frozenset(ra[[4, 5]].tolist())), Doubles()
    assert failed_rows(run(output, images=first, keep_parts=True, max_failed=0.2).table) == 2
    run(output, images=second, resume=True)
    assert set(ra[[4, 5]]) <= set(second.asked)
    assert len(second.asked) <= 4
    assert data_units(output) == data_units(undisturbed)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"format": "parquet"},
        pytest.param({"attention": "hdus", "keep_cutouts": False}, marks=pytest.mark.thorough),
    ],
)
def test_a_product_without_many_of_its_images_is_incomplete_and_the_same_call_completes_it(run, tmp_path, options):
    if options.get("format"):
        pytest.importorskip("pyarrow")
    output, parts, again = tmp_path / "out", tmp_path / "out.parts", Doubles()
    covered = positions(ROWS)["ra"][positions(ROWS)["dec"] > -50]
    count, failing = len(covered), frozenset(covered[[1, 4]].tolist())
    message = rf"2 of {count} rows with coverage have no image \(FETCH_FAILED\): .*out is incomplete, and 8 of 8 parts"
    with pytest.warns(IncompleteWarning, match=message) as caught:
        result = run(output, images=Doubles(failing), max_failed=1.99 / count, **options)
    (incomplete,) = (warning for warning in caught if warning.category is IncompleteWarning)
    assert incomplete.filename == run_examples.__file__  # which calls classify
    assert (result.incomplete, result.summary()["incomplete"], failed_rows(result.table)) == (2, 2, 2)
    assert result.incomplete == 2  # now that the table is read
    assert Result.read(output).incomplete == 2
    assert parts.is_dir()
    with pytest.raises(OutputError, match="exists and is of another run"):
        run(output, images=again, restart=True, orbit=2, **options)
    completed = run(output, images=again, **options)
    assert set(again.asked) >= failing
    assert len(again.asked) <= 4  # two to a part
    assert (completed.incomplete, Result.read(output).incomplete, parts.exists()) == (0, 0, False)
    run(tmp_path / "whole", **options)
    ours, whole = (Result.read(path).table for path in (output, tmp_path / "whole"))
    assert ours.pformat(-1, -1) == whole.pformat(-1, -1)
    with pytest.raises(OutputError, match="exists: choose another name"):
        run(output, **options)


def test_an_incomplete_product_whose_parts_are_gone_is_made_anew(run, undisturbed, tmp_path):
    output = tmp_path / "out.fits"
    with pytest.warns(IncompleteWarning):
        run(output, images=Doubles(frozenset(positions(ROWS)["ra"][[1, 4]].tolist())))
    shutil.rmtree(tmp_path / "out.parts")
    assert run(output).incomplete == 0
    assert data_units(output) == data_units(undisturbed)


def test_as_many_as_allowed_may_be_missing(run, tmp_path):
    """In memory and in a file; what has no coverage or no position does not count."""
    covered = positions(ROWS)["ra"][positions(ROWS)["dec"] > -50]
    failing = Doubles(frozenset(covered[:2].tolist()))
    for output in (None, tmp_path / "out.fits"):
        assert run(output, images=failing, max_failed=2 / len(covered)).incomplete == 0
    with pytest.warns(IncompleteWarning, match=f"2 of {len(covered)} rows .*: the result is incomplete"):
        assert run(None, images=failing, max_failed=0).incomplete == 2
    with pytest.raises(InputError, match="max_failed must be from 0 to 1, not 10"):
        run(None, max_failed=10)


class GoingAway(Doubles):
    """Images that cannot be reached any more after so many positions."""

    def fetch(self, ra, dec):
        if len(self.asked) > 5:
            raise ServiceError("mosaic.fits is not there any more")
        return super().fetch(ra, dec)


def test_images_that_go_away_stop_the_run_and_its_parts_stay(run, undisturbed, tmp_path):
    output = tmp_path / "out.fits"
    with pytest.raises(ServiceError, match=r"mosaic.fits is not there any more; 3 of 8 parts are done and stay in"):
        run(output, images=GoingAway())
    assert not output.exists()
    with pytest.raises(ServiceError, match=r"the same command goes on there$"):
        run(output, images=GoingAway())
    with pytest.raises(ServiceError, match=r"the same command without --restart goes on there$"):
        run(output, images=GoingAway(), restart=True)
    run(output)
    assert data_units(output) == data_units(undisturbed)


@pytest.mark.parametrize(
    "damage", [b"[" * 100_000, *(pytest.param(some, marks=pytest.mark.fuzz) for some in (b"\xff\xfe", b"\x00"))]
)
def test_files_of_a_run_may_hold_any_bytes(run, undisturbed, tmp_path, damage):
    """A hash that is damaged is none, and its part is done again; a manifest is refused in one line."""
    output, parts, images = tmp_path / "out.fits", tmp_path / "out.parts", Doubles()
    run(output, keep_parts=True)
    output.unlink()
    manifest, sums = (parts / name for name in ("manifest.json", "SHA256SUMS"))
    whole = manifest.read_bytes()
    manifest.write_bytes(damage + whole)
    with pytest.raises(InputError, match=r"manifest\.json cannot be read .*--restart"):
        run(output)
    manifest.write_bytes(whole)
    sums.write_bytes(damage + sums.read_bytes())
    run(output, images=images)
    assert len(images.asked) == 2
    assert data_units(output) == data_units(undisturbed)


def test_damaged_and_foreign_parts_are_done_again(run, undisturbed, tmp_path):
    output, folder, images = tmp_path / "out.fits", tmp_path / "out.parts", Doubles()
    run(output, keep_parts=True)
    output.unlink()
    damaged = folder / "part-00001.npz"
    content = bytearray(damaged.read_bytes())
    content[-3000] ^= 1
    damaged.write_bytes(content)
    (folder / "part-00002.npz").unlink()
    shutil.copy(folder / "part-00004.npz", folder / "part-00003.npz")
    sums = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(sums[:-10])  # as a crash may leave it
    run(output, images=images)
    assert len(images.asked) == 4 * 2  # the last one has lost its hash
    assert data_units(output) == data_units(undisturbed)


def test_a_folder_that_is_not_ours_is_left_alone(run, tmp_path):
    (tmp_path / "out.parts").mkdir()
    (tmp_path / "out.parts" / "thesis.tex").write_text("precious")
    for options in ({}, {"restart": True}):
        with pytest.raises(OutputError, match=r"holds what no run of radio-ag has written \(thesis\.tex\)"):
            run(tmp_path / "out.fits", **options)
    assert (tmp_path / "out.parts" / "thesis.tex").read_text() == "precious"


def test_a_damaged_manifest_is_told(run, tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path / "out.fits", progress=stop_after(1))
    (tmp_path / "out.parts" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json cannot be read .*--restart"):
        run(tmp_path / "out.fits")
    run(tmp_path / "out.fits", restart=True)


def test_two_processes_do_not_work_in_one_folder(run, tmp_path):
    def again(*_):
        with pytest.raises(OutputError, match=r"another process is at work in .*out\.parts"):
            run(tmp_path / "out.fits")
        raise Stopped

    with pytest.raises(Stopped):
        run(tmp_path / "out.fits", progress=again)


def test_options_that_exclude_each_other(run, tmp_path):
    with pytest.raises(InputError, match="leave one out"):
        run(tmp_path / "out.fits", resume=True, restart=True)
    with pytest.raises(InputError, match="for a run with an output"):
        run(None, keep_parts=True)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of a few kB, and what makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_an_error_and_the_parts_stay(run, undisturbed, small_disk):
    folder, enlarge = small_disk
    output = folder / "out.fits"
    message = r"No space left on device; (\d+) of 8 parts are done and stay in .*out\.parts"
    with pytest.raises(OutputError, match=message) as error:
        run(output)
    done = int(re.search(message, str(error.value))[1])
    assert 0 < done < PARTS
    assert len(list(folder.glob("out.parts/part-*.npz"))) == done
    enlarge("1400k")  # room for all parts, but not for the product
    with pytest.raises(OutputError, match=r"No space left on device; 8 of 8 parts are done"):
        run(output)
    enlarge("8m")
    images = Doubles()
    run(output, images=images)
    assert images.asked == []
    assert data_units(output) == data_units(undisturbed)


def test_out_of_memory_the_network_takes_less_at_once(run, undisturbed, tmp_path, monkeypatch):
    """As on a device where three images are too many."""
    see = Classifier.see

    def limited(self, task, images, *others):
        if len(images) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return see(self, task, images, *others)

    monkeypatch.setattr(Classifier, "see", limited)
    run(tmp_path / "out.fits")
    assert fits.getval(tmp_path / "out.fits", "BATCH") == 1
    there, here = (Result.read(path).table for path in (undisturbed, tmp_path / "out.fits"))
    np.testing.assert_allclose(here["p_fri"].filled(-1), there["p_fri"].filled(-1), atol=1e-4)
    np.testing.assert_array_equal(here["flags"] & ~Flag.UNCERTAIN, there["flags"] & ~Flag.UNCERTAIN)


class TestCommandLine:
    @pytest.fixture
    def invoke(self, sky, weights, tmp_path):
        """``radio-ag classify`` of a small simulated mosaic."""
        shutil.copy(sky / "catalogue.csv", tmp_path)
        images = ["--images", str(sky / "mosaic.fits"), "--weights", weights, "--device", "cpu"]

        def invoke(*args):
            return CliRunner().invoke(app, ["classify", str(tmp_path / "catalogue.csv"), *images, *args])

        return invoke

    def test_from_an_interruption_to_the_end(self, invoke, tmp_path, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("radio_ag.run._join", interrupt)  # all parts are done by then
            assert invoke("--orbit", "1").exit_code == 130
        folder, product = tmp_path / "catalogue.radio-ag.parts", tmp_path / "catalogue.radio-ag.fits"
        assert folder.exists()
        assert not product.exists()
        refused = invoke("--orbit", "2")
        assert refused.exit_code == 2
        assert "orbit was 1, now 2. --restart (restart=True) begins anew" in refused.stderr
        assert invoke("--orbit", "1", "--keep-parts").exit_code == 0
        assert folder.exists()
        assert len(Result.read(product)) == 5
        assert invoke("--orbit", "1").exit_code == 2
        assert invoke("--orbit", "1", "--resume").exit_code == 0
        assert not folder.exists()
        assert invoke("--orbit", "1", "--resume", "--restart").exit_code == 2

    def test_parquet(self, invoke, tmp_path):
        pytest.importorskip("pyarrow")
        result = invoke("--orbit", "1", "--format", "parquet", "--attention", "none")
        assert result.exit_code == 0, result.output
        assert len(Result.read(tmp_path / "catalogue.radio-ag.parquet")) == 5
