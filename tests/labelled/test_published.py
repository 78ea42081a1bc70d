"""Published batches: what they hold, table 5 of the paper, and pickles that are refused."""

import os
import pickle

import numpy as np
import pytest
from astropy.io import fits

from radio_ag.errors import CatalogueError, ImageError
from radio_ag.labelled.data import load_labelled
from radio_ag.labelled.published import is_batches, read_batches
from radio_ag.labelled.splits import divide_sources
from radio_ag.pickles import read_pickle

NAMES = ["100_162.947+055.386_0.0739_0250.34", "210_208.259-003.091_0.0610_0123.73", "310_001.500+000.000_0.4_010.0"]


def dump(path, content, protocol=3):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def batch(names=NAMES, labels=(0, 7, 9)) -> dict:
    images = np.random.default_rng(0).integers(0, 256, (len(names), 150, 150), dtype=np.uint8)
    return {
        "batch_label": "training batch 1 of 1",
        "labels": list(labels),
        "data": list(images),
        "filenames": [np.str_(f"./MiraBest_data/{name}.png") for name in names],
    }


@pytest.fixture(scope="module")
def published(data_dir, tmp_path_factory):
    """The seven training batches of MiraBest as a folder, and the table that they were copied into."""
    folder = tmp_path_factory.mktemp("mirabest")
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        table, images = hdus["SOURCES"].data, hdus["PUBLISHED"].data
    for name in np.unique(table["batch"]):
        rows = np.flatnonzero(table["batch"] == name)
        labels = [int(label) for label in table["label"][rows]]
        content = batch([str(n) for n in table["name"][rows]], labels) | {"data": list(images[rows])}
        dump(folder / str(name), content)
    return folder, table


def test_a_batch_as_it_is_downloaded(data_dir):
    found = read_batches(data_dir / "published" / "mirabest_data_batch_1")
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        table, images = hdus["SOURCES"].data, hdus["PUBLISHED"].data
        rows = np.flatnonzero(table["batch"] == "data_batch_1")
    assert len(rows) == len(found["name"]) == 157
    np.testing.assert_array_equal(found["images"], images[rows])
    for ours, theirs in (("name", "name"), ("ra", "ra"), ("dec", "dec"), ("fr_class", "fr_class")):
        np.testing.assert_array_equal(found[ours], table[theirs][rows])
    np.testing.assert_array_equal(found["certain"], table["confidence"][rows] == "certain")
    assert set(found["origin"]) == {"MiraBest"}


def test_table_5_of_the_paper(published):
    """Training and validation sources by class and certainty; the paper's are those of a random division by 80:20."""
    data = load_labelled(published[0])
    assert len(data) == 855 + 213 + 1  # the paper's own columns sum to 855 + 214
    part = divide_sources(data, {"train": 0.8, "validation": 0.2})
    expected = {(0, True): (278, 70), (0, False): (135, 34), (1, True): (305, 76), (1, False): (137, 34)}
    for (label, certain), (train, validation) in expected.items():
        rows = (data.label == label) & (data.certain == certain)
        assert rows.sum() == train + validation
        assert abs((part[rows] == "train").sum() - train) <= 2
    for group in np.unique(data.group):
        assert len(set(part[data.group == group])) == 1


def test_published_images_are_fields_that_are_zero_beyond_them(published):
    data = load_labelled(published[0] / "data_batch_1")
    assert data.fields.shape[1:] == (300, 300)
    assert set(data.known) == {150}
    assert data.fields[:, 75:225, 75:225].max() == 255
    data.fields[:, 75:225, 75:225] = 0
    assert not data.fields.any()
    assert np.isnan(data.rms).all()


def test_training_and_test_batches_of_a_folder(tmp_path):
    dump(tmp_path / "data_batch_1", batch())
    dump(tmp_path / "data_batch_10", batch(NAMES[:1], [0]))
    dump(tmp_path / "data_batch_2", batch(NAMES[1:2], [7]))
    assert list(read_batches(tmp_path)["name"]) == [*NAMES, NAMES[1], NAMES[0]]
    with pytest.raises(CatalogueError, match="has no test_batch"):
        read_batches(tmp_path, test=True)
    dump(tmp_path / "test_batch", batch(NAMES[2:], [9]))
    assert list(read_batches(tmp_path, test=True)["fr_class"]) == ["hybrid"]
    np.testing.assert_array_equal(load_labelled(tmp_path).label, [0, 1, 1, 0])  # no hybrid
    assert is_batches(tmp_path)
    assert is_batches(tmp_path / "test_batch")
    assert not is_batches(tmp_path.parent)


def test_frdeep_has_no_positions(tmp_path):
    dump(tmp_path / "data_batch_1", batch(["19_example", "158_FRICAT_FR1_example"], [1, 0]))
    data = load_labelled(tmp_path)
    assert list(data.label) == [1, 0]
    assert data.certain.all()
    assert np.isnan(data.ra).all()
    assert set(data.origin) == {"FR-DEEP-F"}
    assert len(set(data.group)) == 2


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_survive_every_protocol(tmp_path, protocol):
    content = {
        "whole": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "other order": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 3)),
        "number": np.int64(7),
        "text": np.str_("a"),
        "plain": [1, 2.5, "é", b"\xff\x00", None, True, (1, 2)],
    }
    found = read_pickle(dump(tmp_path / "all", content, protocol))
    assert found.keys() == content.keys()
    for key in content:
        if isinstance(content[key], np.ndarray):
            np.testing.assert_array_equal(found[key], content[key])
            assert found[key].dtype == content[key].dtype
        else:
            assert found[key] == content[key]


class Runs:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_pickle_that_runs_something_is_refused(tmp_path):
    trap = tmp_path / "trap"
    for function, name in ((os.mkdir, r"(posix|nt)\.mkdir"), (eval, "builtins.eval"), (getattr, "builtins.getattr")):
        argument = "1 + 1" if function is eval else str(trap)
        path = dump(tmp_path / "bad", {"data": [Runs(function, argument)], "labels": [], "filenames": []}, 4)
        with pytest.raises(CatalogueError, match=f"bad asks for {name}, which is no array, text or number"):
            read_batches(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [np.array([{}, []], dtype=object), np.zeros(2, [("a", "i4"), ("b", "O")])])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_objects_are_refused(tmp_path, content, protocol):
    with pytest.raises(CatalogueError, match="which may be of numbers or text alone"):
        read_pickle(dump(tmp_path / "bad", content, protocol))


def test_what_is_no_pickle_is_refused(tmp_path):
    whole = dump(tmp_path / "whole", batch()).read_bytes()
    for content in (b"", b"hello", whole[:1000], whole[:-1]):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(CatalogueError, match="bad is no pickle of arrays, or is damaged"):
            read_batches(tmp_path / "bad")


def test_bad_batches_are_named(tmp_path):
    def refuses(content, message, error=CatalogueError):
        with pytest.raises(error, match=message):
            read_batches(dump(tmp_path / "bad", content))

    refuses(batch(labels=[0, 7, 9.0]), "label 9.0 of image 2 does not belong")
    refuses(batch(labels=[0, 7, "x" * 999]), "label x{79}… of image 2 does not belong")
    refuses(batch(labels=[0, 7, None]), "label a NoneType of image 2 does not belong")
    refuses(batch(["1_example"], [True]), "label True of image 0 is not accepted")
    refuses(batch() | {"labels": 7}, "labels is a int, expected a list or an array")
    refuses(batch() | {"filenames": [None] * 3}, "file name of image 0 is a NoneType, expected text")
    refuses(batch() | {"filenames": ["a" * 999] * 3}, "file name of image 0 is a{79}…, expected text of at most 255")
    refuses(batch([f"100_{'9' * 200}.9+055.386_0_0"], [0]), "the name of image 0 has no position in degrees")
    refuses(batch() | {"data": [[[1], [2, 3]]] * 3}, "image 0 is no array of numbers", ImageError)
    refuses(batch() | {"data": [np.full((150, 150), 256)] * 3}, "image 0 has values beyond 0 to 255", ImageError)
    refuses([1, 2], "bad is no batch: it needs the entries data, labels and filenames")
    refuses(batch(labels=[0, 7]), "bad has 3 images, 2 labels and 3 names")
    refuses(batch(labels=[0, 5, 9]), "label 5 of image 1 does not belong to the code 210 of its name")
    refuses(batch(labels=[0, 7, 10]), "label 10 of image 2")
    refuses(batch([NAMES[0], "19_example", NAMES[2]]), "'19_example' is no file name of MiraBest, others are")
    refuses(batch(["1_example"], [7]), "label 7 of image 0 is not accepted: 0 for FRI, 1 for FRII")
    refuses(batch() | {"data": [np.zeros(9, np.uint8)] * 3}, "image 0 has 9 values of type uint8", ImageError)
    refuses(batch() | {"data": [np.zeros((150, 150))] * 3}, "image 0 has 22500 values of type float64", ImageError)
