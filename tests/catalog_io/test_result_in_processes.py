"""A result in other threads and processes: the same answers everywhere."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from result_examples import answers, example_result, read_often
from run_examples import Doubles, classify, positions

from radio_ag import Result
from radio_ag.errors import InputError

ROWS = 12


def run(weights, output):
    options = {"device": "cpu", "orbit": 1, "threads": 1, "attention": "gates", "keep_cutouts": True}
    return classify(positions(ROWS), images=Doubles(), weights=weights, output=output, **options)


@pytest.fixture(scope="module")
def results(weights, tmp_path_factory):
    """One in memory, one just written whose table is not made yet, and one read from each format."""
    folder = tmp_path_factory.mktemp("results")
    just_written = run(weights, folder / "out.fits")
    run(weights, folder / "out.parquet")
    return {
        "in memory": run(weights, None),
        "just written": just_written,
        "fits": Result.read(folder / "out.fits"),
        "parquet": Result.read(folder / "out.parquet"),
    }


@pytest.mark.parametrize("kind", ["in memory", "just written", "fits", "parquet"])
def test_copies_and_pickles(results, kind):
    result = results[kind]
    expected = answers(result)
    for other in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert answers(other) == expected
        assert other.table.meta == result.table.meta


def test_a_deep_copy_of_planes_is_independent():
    result = example_result(3)
    other = copy.deepcopy(result)
    store = other._stores["mean"]
    store.append(np.ones((1, 150, 150)))
    assert len(store) == len(result._stores["mean"]) + 1
    assert np.array_equal(other.attention(0).data, result.attention(0).data)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("fork", "in memory"),
        ("fork", "parquet"),
        ("spawn", "fits"),
        pytest.param("spawn", "in memory", marks=pytest.mark.cluster),
    ],
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_processes_read_at_once(results, kind, method):
    result = results[kind]
    expected = read_often(result)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for found in pool.map(read_often, [result] * 4, chunksize=1):
            assert found == expected


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_processes_share_an_open_product(results):
    """The file is open before they fork, so that they would share the position of a seek."""
    result, expected = results["fits"], read_often(results["fits"])
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    processes = [context.Process(target=lambda: queue.put(read_often(result, 40) == expected)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [queue.get() for _ in processes] == [True] * 4
    for process in processes:
        process.join()


def test_threads_that_ask_first_get_one_table(weights, tmp_path):
    path = tmp_path / "out.fits"
    for result in (run(weights, path), Result.read(path), Result.read(path)):
        with ThreadPoolExecutor(8) as threads:
            tables = list(threads.map(lambda _, result=result: result.table, range(8)))
        assert {id(table) for table in tables} == {id(result.table)}


def test_joblib(results):
    joblib = pytest.importorskip("joblib")
    found = joblib.Parallel(2)(joblib.delayed(answers)(results["fits"]) for _ in range(2))
    assert found == [answers(results["fits"])] * 2


@pytest.mark.cluster
def test_dask(results):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(1, threads_per_worker=2, dashboard_address="127.0.0.1:0", silence_logs="ERROR")
    with cluster, distributed.Client(cluster) as client:
        for result in (results["in memory"], results["just written"]):
            assert client.submit(answers, result, pure=False).result() == answers(result)


def test_a_product_that_has_changed_is_not_read_for_another(weights, tmp_path):
    result = run(weights, tmp_path / "out.fits")
    content = pickle.dumps(result)
    example_result(9, gates=(1, 2, 3)).write(tmp_path / "out.fits", overwrite=True)
    with pytest.raises(InputError, match="has changed since it was opened"):
        pickle.loads(content).attention(0)
    (tmp_path / "out.fits").unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        pickle.loads(content).attention(0)
    assert len(pickle.loads(content)) == ROWS
    assert np.isfinite(result.attention(0).data).all()  # it is open here, under whatever name
