"""Files of ``torch.save`` from strangers: containers, numbers, text and tensors, by our own bounded reader of pickles.

`torch.load` with ``weights_only`` calls nothing but what it knows, but believes the file in all else: how large a
tensor is, how far a compressed entry unpacks, and how long its values take to hash.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radio_ag.errors import WeightsError
from radio_ag.pickles import Machine, RefusedError, read_bounded, shown, unfold

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # of files before PyTorch 1.6

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class _Storage:
    """A run of numbers that a pickle refers to by its key."""

    key: str
    dtype: torch.dtype
    count: int

    @classmethod
    def of(cls, identifier: Any) -> _Storage:
        word, dtype, key, _, count, *view = identifier
        if word != "storage" or not isinstance(dtype, torch.dtype) or view not in ([], [None]):
            raise RefusedError(f"refers to something other than the numbers of a tensor ({shown(word)})")
        return cls(str(key), dtype, int(count))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    """Stands for a tensor while a pickle is read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: Any) -> _Tensor:
        return cls(storage, offset, tuple(map(int, shape)), tuple(map(int, stride)))


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor.of,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


def read_pytorch(path: str | os.PathLike) -> Any:
    """Return what a file of ``torch.save`` holds, with tensors on the CPU.

    Parameters
    ----------
    path : path-like
        Of either format, that since PyTorch 1.6 or the one before.

    Returns
    -------
    object
        Lists, tuples, dictionaries, numbers, text, tensors.

    Raises
    ------
    WeightsError
        There is no such file, it holds or claims anything else (the message says what), or it is damaged.
    """
    path = Path(path)
    try:
        content = read_bounded(path)
        read = _read_zip if content.startswith(b"PK") else _read_legacy
        return read(content)
    except FileNotFoundError as exc:
        raise WeightsError(f"no file {path}") from exc
    except RefusedError as exc:
        raise WeightsError(f"{path.name} {exc}: the file is refused") from exc
    except OSError as exc:
        raise WeightsError(f"{path} cannot be read: {exc.strerror}") from exc
    except Exception as exc:  # a damaged pickle raises nearly anything
        raise WeightsError(f"{path.name} is no file of PyTorch, or is damaged: {shown(str(exc))}") from exc


def _read_zip(content: bytes) -> Any:
    """Return what a file since PyTorch 1.6 holds: a zip archive of a pickle and of each storage's numbers."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > len(content):  # PyTorch stores them as they are
            raise RefusedError(f"is packed and unpacks to more than its {len(content):,} bytes")
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise RefusedError("was written by a big-endian machine")
        value = Machine(_NAMES, _Storage.of).run(io.BytesIO(archive.read(pickled)))
        return _with_tensors(value, len(content), lambda storage: archive.read(f"{folder}data/{storage.key}"))


def _read_legacy(content: bytes) -> Any:
    """Return what an older file holds: five pickles one after another, then the numbers of each storage."""
    stream = io.BytesIO(content)
    if Machine({}).run(stream) != _MAGIC or Machine({}).run(stream) != _VERSION:
        raise RefusedError("does not begin as a file of PyTorch does")
    if not Machine({}).run(stream)["little_endian"]:
        raise RefusedError("was written by a big-endian machine")
    known: dict[str, _Storage] = {}

    def persistent(identifier: Any) -> _Storage:
        storage = _Storage.of(identifier)
        return known.setdefault(storage.key, storage)

    value = Machine(_NAMES, persistent).run(stream)
    raw = {}
    for key in unfold(Machine({}).run(stream), len(content)):
        count = int.from_bytes(stream.read(8), "little")
        if count != known[key].count:
            raise RefusedError(f"has {count} numbers {shown(key)}, not {known[key].count}")
        raw[key] = stream.read(known[key].size)
    return _with_tensors(value, len(content), lambda storage: raw[storage.key])


def _with_tensors(value: Any, length: int, read: Callable[[_Storage], bytes]) -> Any:
    @cache
    def numbers(storage: _Storage) -> Tensor:
        raw = read(storage)
        if len(raw) != storage.size:
            raise RefusedError(f"has {len(raw)} bytes for the numbers {shown(storage.key)}, not {storage.size}")
        return torch.frombuffer(bytearray(raw), dtype=storage.dtype) if raw else torch.empty(0, dtype=storage.dtype)

    def build(leaf: Any) -> Any:
        if not isinstance(leaf, _Tensor):
            return leaf
        return numbers(leaf.storage).as_strided(leaf.shape, leaf.stride, leaf.offset)  # checks that it lies inside

    return unfold(value, length, build)
