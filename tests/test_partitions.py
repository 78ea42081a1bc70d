"""Catalogues in parts that are Dask's or LSDB's own: each part by itself gives what the whole gives."""

import importlib

import numpy as np
import pytest
from astropy.table import Table
from run_examples import Doubles, positions

from radio_ag import RunOptions, classify
from radio_ag.errors import IncompleteWarning, InputError, ServiceError
from radio_ag.flags import Flag
from radio_ag.partitions import classify_hats, classify_partition

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
pandas = pytest.importorskip("pandas")
ROWS = 18
OPTIONS = {"device": "cpu", "orbit": 1, "run_options": RunOptions(threads=1, batch=4, chunk=4)}
ADDED = ["name", "class", "probability", "p_fri", "p_frii", "p_std", "rms", "peak", "snr", "size", "n_islands", "flags"]


@pytest.fixture(scope="module")
def expected(weights):
    """What the sources get in one run."""
    rows = positions(ROWS)["ra", "dec"]
    return classify(rows, images=Doubles(), weights=weights, attention="none", **OPTIONS).table


@pytest.fixture
def frame():
    table = positions(ROWS)
    return pandas.DataFrame(
        {"RA": table["ra"], "DEC": table["dec"], "number": range(ROWS), "Class": "mine"}, index=range(100, 100 + ROWS)
    )


def same(frame, expected: Table, rows, names=ADDED):
    """Whether columns of a frame are those rows of a table: missing where they are, else equal."""
    for name, ours in zip(names, ADDED, strict=True):
        column = np.ma.masked_invalid(expected[ours]) if expected[ours].dtype.kind == "f" else expected[ours]
        missing = np.ma.getmaskarray(column)[rows]
        np.testing.assert_array_equal(frame[name].isna(), missing, err_msg=name)
        values = frame[name].dropna().to_numpy()
        wanted = np.ma.getdata(expected[ours])[rows][~missing]
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(values, wanted, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(values, wanted, err_msg=name)


def test_a_frame_keeps_its_columns_and_gets_ours(frame, weights, expected):
    part = frame.iloc[3:15]
    before = part.copy()
    done = classify_partition(part, images=Doubles(), weights=weights, ra_col="RA", dec_col="DEC", **OPTIONS)
    pandas.testing.assert_frame_equal(part, before)
    pandas.testing.assert_frame_equal(done[part.columns], part)
    assert list(done.columns[4:]) == ["name", "radio_ag_class", *ADDED[2:]]
    same(done, expected, slice(3, 15), ["name", "radio_ag_class", *ADDED[2:]])
    assert done["radio_ag_class"].isna().any()
    assert done["radio_ag_class"].notna().any()


def test_an_empty_frame_has_the_same_types_without_images(frame, weights):
    """The columns of the classes are those of the card; no network is read and no image opened."""
    columns = {"ra_col": "RA", "dec_col": "DEC"}
    done = classify_partition(frame, images=Doubles(), weights=weights, **columns, **OPTIONS)
    empty = classify_partition(frame.iloc[:0], images="no such image", weights=weights, **columns)
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == done.dtypes.to_dict()


def test_images_are_opened_once_for_all_parts(frame, weights, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("radio_ag.partitions.open_source", lambda images, *_: opened.append(images) or Doubles())
    for images in ("one", "one", "two"):
        classify_partition(frame[:2], images=images, weights=weights, ra_col="RA", dec_col="DEC", **OPTIONS)
    assert opened == ["one", "two"]


def test_a_dask_data_frame(frame, weights, expected):
    dataframe = pytest.importorskip("dask.dataframe")
    parts = dataframe.from_pandas(frame.drop(columns="Class"), npartitions=3)
    options = {"images": Doubles(), "weights": weights, "ra_col": "RA", "dec_col": "DEC"}
    done = parts.map_partitions(classify_partition, **options, **OPTIONS)
    assert list(done.columns) == ["RA", "DEC", "number", *ADDED]
    same(done.compute(), expected, slice(None))


def test_errors(frame, weights):
    with pytest.raises(InputError, match="the frame has no column 'ra'; it has RA, DEC, number, Class"):
        classify_partition(frame)
    down = Doubles(frozenset(frame["RA"].tolist()))
    with pytest.raises(ServiceError, match="none of the first"):
        classify_partition(frame, images=down, weights=weights, ra_col="RA", dec_col="DEC", **OPTIONS)


def test_a_frame_without_many_of_its_images_is_no_answer_unless_that_is_allowed(frame, weights, expected):
    options = {"weights": weights, "ra_col": "RA", "dec_col": "DEC", "device": "cpu", "orbit": 1}
    part = frame.iloc[4:8]
    lacking = Doubles(frozenset(part["RA"].iloc[1:2].tolist()))
    with (
        pytest.warns(IncompleteWarning),
        pytest.raises(ServiceError, match="1 of 4 rows of a partition have no image"),
    ):
        classify_partition(part, images=lacking, run_options=RunOptions(threads=1, batch=4, chunk=4), **options)
    allowed = RunOptions(threads=1, batch=4, chunk=4, max_failed=0.5)
    done = classify_partition(part, images=lacking, run_options=allowed, **options)
    assert [flags & Flag.FETCH_FAILED != 0 for flags in done["flags"].tolist()] == [False, True, False, False]


@pytest.fixture(scope="module")
def lsdb():
    return pytest.importorskip("lsdb")


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # LSDB's own use of pandas
class TestHats:
    """With LSDB, which has an environment of its own: ``make lsdb-check``."""

    @pytest.fixture
    def catalogue(self, lsdb, tmp_path):
        """A HATS catalogue of several partitions, on the disk."""
        table = positions(ROWS)
        rows = pandas.DataFrame({"RA": table["ra"], "DEC": table["dec"], "number": range(ROWS), "flags": "mine"})
        rows = rows[np.isfinite(table["dec"])]  # HATS has no place for what has none
        made = lsdb.from_dataframe(rows, ra_column="RA", dec_column="DEC", partition_rows=4, catalog_name="sources")
        made.write_catalog(tmp_path / "sources", progress_bar=False)
        return lsdb.open_catalog(tmp_path / "sources")

    def test_from_hats_to_hats(self, lsdb, catalogue, weights, expected, tmp_path):
        assert catalogue.npartitions > 3
        lazy = classify_hats(catalogue, images=Doubles(), weights=weights, **OPTIONS)
        lazy.write_catalog(tmp_path / "classes", catalog_name="classes", progress_bar=False)
        again = lsdb.open_catalog(tmp_path / "classes")
        assert again.hc_structure.catalog_info.ra_column == "RA"
        assert again.get_healpix_pixels() == catalogue.get_healpix_pixels()
        assert list(again.columns) == ["RA", "DEC", "number", "flags", *ADDED[:-1], "radio_ag_flags"]
        done = again.compute()
        assert sorted(done["number"]) == sorted(catalogue.compute()["number"])
        same(done, expected, done["number"].to_numpy(), [*ADDED[:-1], "radio_ag_flags"])
        near = again.cone_search(done["RA"].iloc[0], done["DEC"].iloc[0], radius_arcsec=10).compute()
        assert near["number"].tolist() == [done["number"].iloc[0]]

    def test_nothing_is_fetched_before_it_is_asked_for(self, catalogue, weights):
        images = Doubles()
        lazy = classify_hats(catalogue, images=images, weights=weights, **OPTIONS)
        assert images.asked == []
        assert set(ADDED) - {"flags"} < set(lazy.columns)
        with dask.config.set(scheduler="synchronous"):
            one = lazy.partitions[0].compute()
        assert sorted(images.asked) == sorted(one["RA"].tolist())

    def test_by_map_partitions(self, catalogue, weights, expected):
        options = {"images": Doubles(), "weights": weights, "ra_col": "RA", "dec_col": "DEC"}
        done = catalogue.map_partitions(classify_partition, **options, **OPTIONS).compute()
        same(done, expected, done["number"].to_numpy(), [*ADDED[:-1], "radio_ag_flags"])

    def test_on_a_cluster_of_processes(self, catalogue, weights, expected):
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", silence_logs="CRITICAL"
        )
        with cluster, distributed.Client(cluster) as client:
            done = classify_hats(catalogue, images=Doubles(), weights=weights, **OPTIONS).compute()
            opened = client.run(lambda: importlib.import_module("radio_ag.partitions")._source is not None)
        same(done, expected, done["number"].to_numpy(), [*ADDED[:-1], "radio_ag_flags"])
        assert list(opened.values()) == [True, True]

    def test_a_product_in_parquet_becomes_a_hats_catalogue(self, lsdb, weights, expected, tmp_path):
        path = tmp_path / "out.parquet"
        classify(positions(ROWS)["ra", "dec"], images=Doubles(), weights=weights, output=path, **OPTIONS)
        rows = pandas.read_parquet(path).dropna(subset=["ra", "dec"])
        made = lsdb.from_dataframe(rows, ra_column="ra", dec_column="dec", catalog_name="classes")
        found = made.query("flags == 0").compute()
        assert sorted(found["name"]) == sorted(expected["name"][expected["flags"] == 0])

    def test_an_interrupted_catalogue_goes_on(self, lsdb, catalogue, weights, expected, tmp_path):
        class Stopping(Doubles):
            """A service that goes away."""

            def fetch(self, ra, dec):
                if len(self.asked) > 6:
                    raise ServiceError("the service is gone")
                return super().fetch(ra, dec)

        options = {"weights": weights} | OPTIONS
        place = {"base_catalog_path": tmp_path / "classes", "catalog_name": "classes", "progress_bar": False}
        with dask.config.set(scheduler="synchronous"):
            with pytest.raises(RuntimeError, match="classify_partition to partition 4: the service is gone"):
                classify_hats(catalogue, images=Stopping(), **options).write_catalog(**place)
            images = Doubles()
            classify_hats(catalogue, images=images, **options).write_catalog(**place, resume=True)
        assert 0 < len(images.asked) < len(catalogue.compute())
        done = lsdb.open_catalog(tmp_path / "classes").compute()
        same(done, expected, done["number"].to_numpy(), [*ADDED[:-1], "radio_ag_flags"])
