"""Pickles that would take for ever, or far more memory than their file: refused, whatever they are made of."""

import pickle
import pickletools

import numpy as np
import pytest

from radio_ag.errors import CatalogueError
from radio_ag.pickles import read_pickle


def refused(tmp_path, content: bytes, message: str) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(CatalogueError, match=message) as caught:
        read_pickle(tmp_path / "bad")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def reads(path) -> bool:
    """Whether a pickle is read; where it is not, the error must be one short line."""
    message = ""
    try:
        read_pickle(path)
    except CatalogueError as exc:
        message = str(exc)
    assert "\n" not in message
    assert len(message) < 300
    return not message


def doubling(levels: int, make) -> object:
    value = "end"
    for _ in range(levels):
        value = make(value)
    return value


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_lists_within_each_other_twice_over_are_refused(tmp_path, protocol):
    """Each level doubles what there is to see: 2^30 values in some 150 bytes."""
    dag = pickle.dumps(doubling(30, lambda inner: [inner, inner]), protocol)
    assert len(dag) < 500
    refused(tmp_path, dag, r"bad unfolds to far more than its \d+ bytes: the file is refused")
    refused(tmp_path, pickle.dumps(doubling(30, lambda inner: (inner, inner)), protocol), "unfolds to far more")
    refused(tmp_path, pickle.dumps(doubling(30, lambda inner: {1: inner, 2: inner}), protocol), "unfolds to far more")


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: (inner,), lambda inner: {0: inner}])
def test_endless_nesting_is_refused(tmp_path, make):
    refused(tmp_path, pickle.dumps(doubling(100, make)), "bad nests values more than 32 deep")


def test_a_list_in_itself_is_refused(tmp_path):
    loop = []
    loop.append(loop)
    refused(tmp_path, pickle.dumps(loop), "bad nests values more than 32 deep")


def test_keys_that_take_for_ever_to_hash_are_refused(tmp_path):
    """A tuple's hash is made of its parts' hashes, each made anew: 2^60 of them."""
    key = b")q\x000" + b"".join(b"h%c" % level * 2 + b"\x86q%c0" % (level + 1) for level in range(60))
    refused(tmp_path, b"\x80\x02}" + key + b"h\x3cK\x01s.", "has a key of type tuple")


def test_a_far_place_in_the_memo_takes_no_memory(tmp_path):
    """The C code of `pickle` makes room for all places before it."""
    (tmp_path / "far").write_bytes(b"\x80\x02]r\xff\xff\xff\x0f.")
    assert read_pickle(tmp_path / "far") == []


def test_an_array_in_many_places_is_refused(tmp_path):
    image = np.zeros((150, 150), np.uint8)
    refused(tmp_path, pickle.dumps([image] * 100_000), "unfolds to far more")
    (tmp_path / "twice").write_bytes(pickle.dumps([image] * 3))
    assert len(read_pickle(tmp_path / "twice")) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02\x8b" + (4000).to_bytes(4, "little") + b"\x7f" * 4000 + b".", "holds a number of 31999 bits"),
        (b"L" + b"9" * 5000 + b"L\n.", "is no pickle of arrays, or is damaged"),
        (b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x.", "is no pickle of arrays, or is damaged"),
        (b"\x80\x02\x82\x01.", "uses the instruction EXT1"),
        (b"\x80\x02]2\x86.", "uses the instruction DUP"),
        (b"Pout\n.", r"refers to something outside of it \(out\)"),
        (b"\x80\x02c" + b"a" * 10_000 + b"\nb\n.", r"asks for a{79}…, which is no array"),
        (b"\x80\x02c__builtin__\nbytes\nK\x05\x85R.", "is no pickle of arrays, or is damaged"),
        (b"\x80\x02\x8a\x05\x00\x00\x00\x00\x01K\x01\x86R.", "is no pickle of arrays, or is damaged"),
    ],
)
def test_instructions_that_ask_too_much_are_refused(tmp_path, content, message):
    refused(tmp_path, content, message)


def test_what_is_no_file_is_refused(tmp_path):
    for path, message in ((tmp_path, "is no regular file"), ("/dev/zero", "is no regular file"), ("gone", "No such")):
        with pytest.raises(CatalogueError, match=message):
            read_pickle(path)


def test_damaged_pickles_are_read_or_refused_in_one_line(tmp_path):
    """600 pickles with bytes changed, cut out or doubled, of every protocol."""
    rng = np.random.default_rng(0)
    content = {"data": [np.arange(9, dtype=np.uint8)] * 2, "labels": [0, 1], "filenames": ["a", np.str_("b")], 3: 2.5}
    outcomes = []
    for number in range(600):
        good = bytearray(pickle.dumps(content, number % 6))
        for _ in range(rng.integers(1, 3)):
            place, what = rng.integers(len(good)), rng.integers(3)
            if what == 0:
                good[place] = rng.integers(256)
            elif what == 1:
                del good[place : place + rng.integers(1, 20)]
            else:
                good[place:place] = good[place : place + rng.integers(1, 40)]
        (tmp_path / "damaged").write_bytes(good)
        outcomes.append(reads(tmp_path / "damaged"))
    assert 20 < sum(outcomes) < 580


def test_random_programs_end(tmp_path):
    """800 programs of random instructions, the most of them from those that are known."""
    rng = np.random.default_rng(1)
    codes = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
    for _ in range(800):
        parts = [codes[k] + rng.bytes(rng.integers(0, 3)) for k in rng.integers(len(codes), size=rng.integers(1, 60))]
        (tmp_path / "program").write_bytes(b"\x80\x02]q\x00h\x00" + b"".join(parts) + b".")
        reads(tmp_path / "program")
