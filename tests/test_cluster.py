"""Chunks on a real Dask cluster of processes: the product of one process, whatever happens to the workers."""

import os
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from run_examples import Doubles, classify, data_units, positions
from typer.testing import CliRunner

import radio_ag.catalog_io.open_images
import radio_ag.cluster
from radio_ag.cli import app
from radio_ag.errors import InputError, ServiceError
from radio_ag.simulated import make_mosaic

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.cluster

ROWS, PARTS = 18, 8
OPTIONS = {"device": "cpu", "orbit": 1, "threads": 1, "batch": 16, "chunk": 2, "attention": "gates"}


@pytest.fixture(scope="module")
def expected(weights, tmp_path_factory):
    """The data units of a run in one process."""
    path = tmp_path_factory.mktemp("expected") / "out.fits"
    classify(positions(ROWS), images=Doubles(), weights=weights, output=path, **OPTIONS)
    return data_units(path)


@pytest.fixture(scope="module")
def client():
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs="CRITICAL"
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def run(weights):
    def run(output, images=None, **options):
        images = images or Doubles()
        return classify(positions(ROWS), images=images, weights=weights, output=output, **OPTIONS | options)

    return run


def test_the_product_is_that_of_one_process(run, client, expected, tmp_path):
    seen = []
    result = run(tmp_path / "out.fits", client=client, progress=lambda done, total, _: seen.append((done, total)))
    assert data_units(tmp_path / "out.fits") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out.fits"]
    assert len(seen) == PARTS
    assert seen[-1] == (ROWS, ROWS)
    assert result.attention(0).shape == (150, 150)


def test_both_workers_did_their_share_and_opened_the_run_once(run, client, tmp_path):
    def count_openings():
        import radio_ag.cluster

        radio_ag.cluster.opened = []
        original = radio_ag.cluster.Tools.__init__

        def counted(self, task):
            radio_ag.cluster.opened.append(task.run)
            original(self, task)

        radio_ag.cluster.Tools.__init__ = counted

    client.run(count_openings)
    run(tmp_path / "out.fits", client=client, orbit=2)
    assert list(client.run(lambda: len(__import__("radio_ag.cluster").cluster.opened)).values()) == [1, 1]


def test_without_a_common_disk_parts_are_carried_back(run, client, expected, tmp_path, monkeypatch):
    real = radio_ag.cluster.Task.of
    monkeypatch.setattr(radio_ag.cluster.Task, "of", lambda plan, _: real(plan, tmp_path / "elsewhere"))
    run(tmp_path / "out.fits", client=client)
    assert data_units(tmp_path / "out.fits") == expected


def test_a_result_in_memory(run, client, expected, tmp_path):
    run(None, client=client).write(tmp_path / "out.fits")
    assert data_units(tmp_path / "out.fits")[0] == expected[0]


def test_a_worker_that_is_killed_changes_nothing(run, client, expected, tmp_path):
    before = client.run(os.getpid)
    killed = []

    def kill(*_):
        if not killed:
            killed.append(next(iter(before.values())))
            os.kill(killed[0], signal.SIGKILL)

    run(tmp_path / "out.fits", client=client, progress=kill)
    assert killed
    assert data_units(tmp_path / "out.fits") == expected
    client.wait_for_workers(2, timeout=60)
    assert killed[0] not in client.run(os.getpid).values()


@pytest.mark.parametrize(
    ("device", "worker", "gpus", "own"),
    [
        ("auto", 5, 4, "cuda:1"),
        ("cuda", 0, 2, "cuda:0"),
        ("cuda", "tcp://host:1", 2, "cuda:0"),  # a worker without a number: it is to see a GPU of its own
        ("auto", 1, 0, "auto"),
        ("cpu", 1, 4, "cpu"),
    ],
)
def test_each_worker_has_a_gpu_of_its_own(monkeypatch, device, worker, gpus, own):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(name=worker))
    assert radio_ag.cluster.own_device(device) == own


def test_a_service_that_is_down_ends_the_run(run, client, tmp_path):
    down = Doubles(frozenset(positions(ROWS)["ra"].tolist()))
    with pytest.raises(ServiceError, match="none of the first 2 images came"):
        run(tmp_path / "out.fits", images=down, client=client)
    assert list(tmp_path.iterdir()) == []


def test_other_software_on_a_worker_is_refused(run, client, tmp_path, monkeypatch):
    monkeypatch.setattr("radio_ag.cluster.software_versions", lambda: {"creator": "radio-ag 0", "packages": "none"})
    with pytest.raises(InputError, match=r"a worker has other software than the client: .* instead of .*radio-ag 0"):
        run(tmp_path / "out.fits", client=client)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def remote_cluster(tmp_path):
    """Address of a cluster of other processes, and its scheduler."""
    address, folder = f"tcp://127.0.0.1:{free_port()}", tmp_path / "dask"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    options = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    program = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"]
    scheduler = subprocess.Popen(program, **options)
    program = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen(program, **options)
    yield address, scheduler
    for process in (worker, scheduler):
        process.terminate()
        process.wait()


def test_a_lost_scheduler_costs_nothing_but_time(run, expected, remote_cluster, tmp_path):
    address, scheduler = remote_cluster
    output, seen = tmp_path / "out.fits", []

    def kill(*_):
        seen.append(1)
        if len(seen) == 3:
            scheduler.kill()

    with radio_ag.cluster.open_client(address) as client, pytest.raises(ServiceError, match="scheduler is lost"):
        run(output, client=client, progress=kill)
    done = len(list(tmp_path.glob("out.parts/part-*.npz")))
    assert 3 <= done < PARTS
    images = Doubles()
    run(output, images=images)
    valid = int(np.isfinite(positions(ROWS)["dec"]).sum())
    assert 0 < len(images.asked) <= valid - 2 * 3
    assert data_units(output) == expected


def test_a_queued_worker_is_waited_for(run, expected, tmp_path, caplog):
    caplog.set_level("INFO", "radio_ag")
    quiet = {"dashboard_address": "127.0.0.1:0", "silence_logs": "CRITICAL"}
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, **quiet) as cluster,
        distributed.Client(cluster) as client,
    ):
        with pytest.raises(ServiceError, match=r"has no worker after 1 s; wait= \(--wait\) waits longer"):
            run(tmp_path / "none.fits", client=client, wait=1)
        threading.Timer(5, cluster.scale, [1]).start()
        caplog.clear()
        run(tmp_path / "out.fits", client=client, wait=300)
    assert "has no worker yet: waiting for one, up to 300 s" in caplog.text
    assert data_units(tmp_path / "out.fits") == expected


def test_no_scheduler():
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        pytest.raises(ServiceError, match=f"no Dask scheduler answers at {address}"),
        radio_ag.cluster.open_client(address, timeout=1),
    ):
        pass


def test_the_command_line_makes_a_cluster_of_its_own(sky, weights, tmp_path):
    command = ["classify", sky / "catalogue.csv", "--images", sky / "mosaic.fits", "--weights", weights]
    command += ["--device", "cpu", "--orbit", "1", "--threads", "1", "-q"]
    for options in (["-o", tmp_path / "one.fits"], ["-o", tmp_path / "two.fits", "--workers", "2"]):
        result = CliRunner().invoke(app, list(map(str, command + options)))
        assert result.exit_code == 0, result.output
    assert data_units(tmp_path / "one.fits") == data_units(tmp_path / "two.fits")
    result = CliRunner().invoke(app, list(map(str, [*command, "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"])))
    assert result.exit_code == 2
    assert "leave one out" in " ".join(result.stderr.replace("│", " ").split())


def test_a_worker_that_lacks_an_image_says_so(weights, client, tmp_path):
    """Without that, the rows of that image would have no coverage, in silence."""
    folder = tmp_path / "images"
    folder.mkdir()
    mosaic, _ = make_mosaic(size=700, n_sources=4, seed=3)
    for name in ("a.fits", "b.fits"):
        mosaic.writeto(folder / name)
    source = radio_ag.catalog_io.open_images.open_images(str(folder))
    (folder / "b.fits").unlink()
    task = radio_ag.cluster.Task("run", None, None, str(folder), {}, None, source.names)
    lacking = r"worker \d+ \(tcp://127\.0\.0\.1:\d+\) lacks the image b\.fits of .*images, which the client has"
    with pytest.raises(InputError, match=lacking):
        client.submit(radio_ag.cluster.open_here, task, pure=False).result()
    (folder / "a.fits").unlink()
    with pytest.raises(
        InputError, match=r"worker \d+ \(tcp://.*\) cannot open the images that the client has: .*images"
    ):
        client.submit(radio_ag.cluster.open_here, task, pure=False).result()
