"""Reading pickles of numbers and text from strangers: nothing else in them is built, and no code of theirs runs.

A pickle is a program. This one may make lists, tuples, dictionaries, numbers, text, bytes, and NumPy arrays of
numbers or text; the names it calls for that are the keys of a table, and lead to functions of this module alone.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from radio_ag.errors import CatalogueError

_KINDS = "biufSU"  # booleans, numbers, bytes, text: not objects, nor structures that hold some


def read_pickle(path: str | os.PathLike) -> Any:
    """What a pickle holds, with arrays as they are in NumPy.

    Parameters
    ----------
    path : path-like
        Text of Python 2 is read as Latin-1.

    Raises
    ------
    CatalogueError
        The pickle asks for anything but plain containers, numbers, text and arrays of these (the message names it), or
        the file is no pickle, or is damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _finished(_Unpickler(file, encoding="latin1").load())
    except _RefusedError as exc:
        raise CatalogueError(f"{path.name} {exc}: the file is refused") from exc
    except OSError as exc:
        raise CatalogueError(f"{path} cannot be read: {exc.strerror}") from exc
    except Exception as exc:  # a damaged pickle raises nearly anything
        raise CatalogueError(f"{path.name} is no pickle of arrays, or is damaged: {exc}") from exc


class _RefusedError(Exception):
    """The pickle asks for something that it must not have."""


class _Dtype:
    """Stands for a `numpy.dtype` while a pickle is read."""

    def __init__(self, code: str, *_: Any):
        self.code, self.order = code if isinstance(code, str) else bytes(code).decode("ascii"), "="

    def __setstate__(self, state: tuple) -> None:
        self.order = {"<": "<", ">": ">"}.get(state[1], "=")

    def build(self) -> np.dtype:
        dtype = np.dtype(self.code).newbyteorder(self.order)
        if dtype.kind not in _KINDS or dtype.names or dtype.subdtype:
            raise _RefusedError(f"holds an array of {dtype}, which may be of numbers or text alone")
        return dtype


class _Array:
    """Stands for a `numpy.ndarray` while a pickle is read: made empty, then given its state."""

    def __init__(self, *_: Any):
        self.values = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        dtype = dtype.build()  # refuses arrays of objects before anything is made of them
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.values = np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C").copy()


def _from_buffer(raw: bytes, dtype: _Dtype, shape: tuple, order: str, *_: Any) -> np.ndarray:
    """An array in a pickle of protocol 5."""
    return np.frombuffer(raw, dtype.build()).reshape(shape, order="F" if order == "F" else "C").copy()


def _scalar(dtype: _Dtype, raw: bytes | str) -> Any:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype.build(), count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Bytes in a pickle of protocol 2 or less."""
    if encoding != "latin1":
        raise _RefusedError(f"encodes text as {encoding!r}, where only bytes as latin1 are expected")
    return text.encode(encoding)


def _no_bytes() -> bytes:
    """Empty bytes in a pickle of protocol 2 or less."""
    return b""


_ALLOWED = {
    ("__builtin__", "bytes"): _no_bytes,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED |= {(_module, "_reconstruct"): _Array, (_module, "scalar"): _scalar}
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    _ALLOWED |= {(_module, "_frombuffer"): _from_buffer}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"asks for {module}.{name}, which is no array, text or number") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError(f"refers to something outside of it ({pid!r})")


def _finished(value: Any) -> Any:
    """Containers with the arrays themselves in place of what stood for them."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {key: _finished(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(content) for content in value)
    return value
