"""Files of PyTorch from strangers: the same tensors as PyTorch reads, or one line; nothing unpacked, nothing beyond."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from radio_ag.errors import WeightsError
from radio_ag.network.pytorch_files import read_pytorch

CONTENT = {
    "turned": torch.arange(10.0).reshape(2, 5).T,
    "parts": [torch.zeros(0), torch.tensor(1.5, dtype=torch.bfloat16), torch.tensor([True, False])],
    "step": 7,
    3: torch.nn.Parameter(torch.ones(3)),
    "text": "é",
    "nothing": None,
}


def saved(content=CONTENT, *, legacy=False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def repacked(change=lambda name, data: data, compression=zipfile.ZIP_STORED, **content) -> bytes:
    """The zip archive of a saved file with other entries."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(**content))) as old, zipfile.ZipFile(stream, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return stream.getvalue()


def refused(path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_pytorch(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_both_formats_are_read_as_pytorch_reads_them(tmp_path, legacy):
    (tmp_path / "a.pt").write_bytes(saved(legacy=legacy))
    ours = read_pytorch(tmp_path / "a.pt")
    theirs = torch.load(tmp_path / "a.pt", weights_only=True)
    assert list(ours) == list(theirs)
    torch.testing.assert_close(ours["turned"], theirs["turned"], rtol=0, atol=0)
    torch.testing.assert_close(ours["parts"], theirs["parts"], rtol=0, atol=0)
    torch.testing.assert_close(ours[3], theirs[3].data, rtol=0, atol=0)
    assert (ours["step"], ours["text"], ours["nothing"]) == (7, "é", None)


def test_published_checkpoints_are_read_as_pytorch_reads_them(data_dir):
    paths = sorted((data_dir / "published" / "weights").glob("*.pt"))
    assert paths
    for path in paths:
        ours, theirs = read_pytorch(path), torch.load(path, weights_only=True, map_location="cpu")
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in ours)


def test_an_archive_that_unpacks_to_more_is_refused(tmp_path):
    """4 MB of zeros in 5 kB."""
    bomb = repacked(compression=zipfile.ZIP_DEFLATED, content={"a": torch.zeros(1_000_000)})
    assert len(bomb) < 10_000
    refused(tmp_path / "bomb.pt", bomb, r"bomb\.pt is packed and unpacks to more than its [\d,]+ bytes")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path, legacy):
    """PyTorch would read what lies behind them in memory."""

    def enlarge(data: bytes) -> bytes:  # BININT1 10, the count of numbers, becomes 250
        assert data.count(b"K\x0a") >= 1
        return data.replace(b"K\x0a", b"K\xfa")

    content = {"a": torch.arange(10.0)}
    if legacy:
        changed = enlarge(saved(content, legacy=True))
    else:
        changed = repacked(lambda name, data: enlarge(data) if name.endswith("data.pkl") else data, content=content)
    message = r"large\.pt has (40 bytes for the numbers 0, not 1000|10 numbers \d+, not 250)"
    refused(tmp_path / "large.pt", changed, message)


def test_a_tensor_that_repeats_one_number_for_ever_is_refused(tmp_path):
    refused(tmp_path / "wide.pt", saved({"a": torch.zeros(1).expand(1 << 40)}), "unfolds to far more than its")


def test_values_that_double_with_each_level_are_refused(tmp_path):
    value = torch.zeros(1)
    for _ in range(30):
        value = [value, value]
    refused(tmp_path / "dag.pt", saved(value), "unfolds to far more than its")
    refused(tmp_path / "dag.pt", saved(value, legacy=True), "unfolds to far more than its")


def test_what_runs_code_or_is_something_else_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    for legacy in (False, True):
        refused(tmp_path / "bad.pt", saved({"a": Harmful()}, legacy=legacy), r"bad\.pt asks for \w+\.open")
    assert not (tmp_path / "touched").exists()
    refused(tmp_path / "bad.pt", b"", r"bad\.pt is no file of PyTorch, or is damaged")
    refused(tmp_path / "bad.pt", pickle.dumps({"a": 1}), r"bad\.pt does not begin as a file of PyTorch does")
    refused(tmp_path / "bad.pt", repacked(lambda name, data: b"big" if "byteorder" in name else data), "big-endian")
    with pytest.raises(WeightsError, match="is no regular file"):
        read_pytorch(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, legacy):
    """300 files of each format with bytes changed; where the pickle is hit is where it matters."""
    rng = np.random.default_rng(int(legacy))
    good = saved(legacy=legacy)
    outcomes = []
    for _ in range(300):
        damaged = bytearray(good)
        for place in rng.integers(min(len(good), 1500), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.pt").write_bytes(damaged)
        message = ""
        try:
            read_pytorch(tmp_path / "damaged.pt")
        except WeightsError as exc:
            message = str(exc)
        assert "\n" not in message
        assert len(message) < 300
        outcomes.append(not message)
    assert outcomes.count(False) > 5
