"""Pickles of strangers: containers, numbers, text and arrays are read, nothing else is built, no code of theirs runs.

A pickle is a program for a stack machine. The machine here knows the instructions that such values need, and of the
names that a pickle may call for those of a table alone. Its time and memory grow with the length of the file: what
refers to its own parts again and again, nests without end or claims more than there is, is refused.
"""

from __future__ import annotations

import errno
import io
import os
import pickletools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from radio_ag.errors import CatalogueError

LARGEST_FILE = 256 << 20
"""Bytes above which a file with pickles is not read."""

_MOST_INSTRUCTIONS = 10_000_000  # some 3 us and 60 bytes each
_DEEPEST = 32  # containers within each other
_LONGEST_NUMBER = 128  # bits
_FREE_VALUES, _FREE_BYTES = 1 << 16, 16 << 20  # what may stand in several places, besides a value for each byte
_SHOWN = 80  # characters of a stranger's text in a message


class RefusedError(Exception):
    """A pickle asks for something that it must not have; the message goes on after the name of the file."""


class Machine:
    """Runs pickles.

    Parameters
    ----------
    names : mapping of (str, str) to object
        What the names of a pickle, each a module and a name in it, stand for. Nothing else can be called. A value with
        a method ``restore`` can be given its state by it.
    persistent : callable, optional
        Gives the value that a persistent identifier stands for; without it there may be none.
    """

    def __init__(self, names: Mapping[tuple[str, str], Any], persistent: Callable[[Any], Any] | None = None):
        self._names, self._persistent = names, persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under each mark
        self._memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        """Return the value of the next pickle of a stream, which is left behind it.

        Parameters
        ----------
        stream : binary file
            Open for reading, at the start of a pickle.

        Returns
        -------
        object
            Of the types that the machine may make.

        Raises
        ------
        RefusedError
            The pickle asks for what it must not have.
        Exception
            Of nearly any kind, where it is damaged.
        """
        for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
            step = _STEPS.get(instruction.name)
            if step is None:
                raise RefusedError(f"uses the instruction {instruction.name}, which no array, text or number needs")
            if count == _MOST_INSTRUCTIONS:
                raise RefusedError(f"has more than {_MOST_INSTRUCTIONS:,} instructions")
            step(self, argument)
        return self._stack.pop()

    def _push(self, value: Any) -> None:
        if isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER:
            raise RefusedError(f"holds a number of {value.bit_length()} bits")
        self._stack.append(value)

    def _mark(self, _: None) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _pop(self, _: None) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _pop_mark(self, _: None) -> None:
        self._since_mark()

    def _last(self, count: int) -> tuple[Any, ...]:
        items = [self._stack.pop() for _ in range(count)]
        return tuple(items[::-1])

    def _append(self, items: list[Any]) -> None:
        _of_type(list, self._stack[-1]).extend(items)

    def _make_dict(self, _: None) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        target = _of_type(dict, self._stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes | int | float):  # to hash nested tuples can take for ever
                raise RefusedError(f"has a key of type {type(key).__name__}, which must be text or a number")
            target[key] = value

    def _remember(self, place: int | None) -> None:
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def _recall(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _find(self, module: str, name: str) -> None:
        try:
            self._stack.append(self._names[module, name])
        except KeyError:
            raise RefusedError(f"asks for {shown(f'{module}.{name}')}, which is no array, text or number") from None

    def _call(self, _: None) -> None:
        function, arguments = self._last(2)
        self._stack.append(function(*_of_type(tuple, arguments)))  # only names of the table can be called

    def _build(self, _: None) -> None:
        state = self._stack.pop()
        if not isinstance(self._stack[-1], dict):  # whose further attributes are not kept
            self._stack[-1].restore(state)

    def _persist(self, identifier: Any) -> None:
        if self._persistent is None:
            raise RefusedError(f"refers to something outside of it ({shown(identifier)})")
        self._stack.append(self._persistent(identifier))


_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(
        (
            *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
            *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
            *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        ),
        Machine._push,
    ),
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "EMPTY_DICT": lambda machine, _: machine._push({}),
    "MARK": Machine._mark,
    "POP": Machine._pop,
    "POP_MARK": Machine._pop_mark,
    "TUPLE": lambda machine, _: machine._push(tuple(machine._since_mark())),
    "TUPLE1": lambda machine, _: machine._push(machine._last(1)),
    "TUPLE2": lambda machine, _: machine._push(machine._last(2)),
    "TUPLE3": lambda machine, _: machine._push(machine._last(3)),
    "LIST": lambda machine, _: machine._push(machine._since_mark()),
    "DICT": Machine._make_dict,
    "APPEND": lambda machine, _: machine._append(list(machine._last(1))),
    "APPENDS": lambda machine, _: machine._append(machine._since_mark()),
    "SETITEM": lambda machine, _: machine._set_items(list(machine._last(2))),
    "SETITEMS": lambda machine, _: machine._set_items(machine._since_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine._remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine._recall),
    "GLOBAL": lambda machine, argument: machine._find(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine._find(*machine._last(2)),
    "REDUCE": Machine._call,
    "BUILD": Machine._build,
    "PERSID": Machine._persist,
    "BINPERSID": lambda machine, _: machine._persist(*machine._last(1)),
}


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} is needed")
    return value


def shown(value: Any) -> str:
    """Return a stranger's text on one line, cut where it is long.

    Parameters
    ----------
    value : object
        Of any type.

    Returns
    -------
    str
        Printable.
    """
    text = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    text = text[1:-1] if isinstance(value, str) else text
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def unfold(value: Any, length: int, finish: Callable[[Any], Any] = lambda leaf: leaf) -> Any:
    """Return containers with what each leaf stands for in its place, if that is in proportion to the file.

    Parameters
    ----------
    value : object
        As `Machine.run` gives it. A container may be in several places, and even in itself.
    length : int
        Bytes of the file.
    finish : callable
        Gives what takes the place of a leaf.

    Returns
    -------
    object
        Of the same structure.

    Raises
    ------
    RefusedError
        The values would take far more memory than the file, or are nested too deeply.
    """
    values, size = length + _FREE_VALUES, 2 * length + _FREE_BYTES

    def visit(here: Any, depth: int) -> Any:
        nonlocal values, size
        if depth > _DEEPEST:
            raise RefusedError(f"nests values more than {_DEEPEST} deep")
        values -= 1
        if not isinstance(here, dict | list | tuple):
            here = finish(here)
            size -= len(here) if isinstance(here, str | bytes | bytearray) else getattr(here, "nbytes", 0)
        if values < 0 or size < 0:
            raise RefusedError(f"unfolds to far more than its {length:,} bytes")
        if isinstance(here, dict):
            return {visit(key, depth): visit(content, depth + 1) for key, content in here.items()}
        if isinstance(here, list | tuple):
            return type(here)(visit(content, depth + 1) for content in here)
        return here

    return visit(value, 0)


def read_bounded(path: Path) -> bytes:
    """Return the bytes of a regular file of at most `LARGEST_FILE` bytes.

    Parameters
    ----------
    path : Path
        Of a file whose origin nobody vouches for.

    Returns
    -------
    bytes
        All of them.

    Raises
    ------
    RefusedError
        It is larger, or no regular file.
    OSError
        It cannot be read.
    """
    if not path.is_file():
        if path.exists():
            raise RefusedError("is no regular file")
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise RefusedError(f"is larger than {LARGEST_FILE >> 20} MiB")
    return content


def read_pickle(path: str | os.PathLike) -> Any:
    """Return what a pickle holds, with arrays as they are in NumPy.

    Parameters
    ----------
    path : path-like
        Text of Python 2 is read as Latin-1.

    Returns
    -------
    object
        Lists, tuples, dictionaries, numbers, text, bytes, arrays of numbers or text.

    Raises
    ------
    CatalogueError
        The pickle asks for anything else (the message names it) or would take far more memory than its file, or the
        file is no pickle, or is damaged.
    """
    path = Path(path)
    try:
        content = read_bounded(path)
        return unfold(Machine(_NUMPY).run(io.BytesIO(content)), len(content), _as_array)
    except RefusedError as exc:
        raise CatalogueError(f"{path.name} {exc}: the file is refused") from exc
    except OSError as exc:
        raise CatalogueError(f"{path} cannot be read: {exc.strerror}") from exc
    except Exception as exc:  # a damaged pickle raises nearly anything
        raise CatalogueError(f"{path.name} is no pickle of arrays, or is damaged: {shown(str(exc))}") from exc


class _Dtype:
    """Stands for a `numpy.dtype` while a pickle is read."""

    def __init__(self, code: str | bytes, *_: Any):
        self.code, self.order = code if isinstance(code, str) else code.decode("ascii"), ""

    def restore(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else ""

    def build(self) -> np.dtype:
        if not re.fullmatch(r"[biufSU]\d{1,9}", self.code):
            raise RefusedError(f"holds an array of type {shown(self.code)}, which may be of numbers or text alone")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for a `numpy.ndarray` while a pickle is read: made empty, then given its state."""

    def __init__(self, *_: Any):
        self.values = np.empty(0)

    def restore(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        self.values = _from_buffer(raw, dtype, shape, "F" if fortran else "C")


def _as_array(leaf: Any) -> Any:
    return leaf.values if isinstance(leaf, _Array) else leaf


def _from_buffer(raw: bytes | bytearray | str, dtype: _Dtype, shape: tuple, order: str, *_: Any) -> np.ndarray:
    """Return an array, as a pickle of protocol 5 asks for it."""
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype.build()).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _Dtype, raw: bytes | str) -> Any:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype.build(), count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes, as a pickle of protocol 2 or less asks for them."""
    if encoding != "latin1":
        raise RefusedError(f"encodes text as {shown(encoding)}, where only bytes as latin1 are expected")
    return text.encode(encoding)


def _no_bytes() -> bytes:
    """Return empty bytes, as a pickle of protocol 2 or less asks for them."""
    return b""


_NUMPY: dict[tuple[str, str], Any] = {
    ("__builtin__", "bytes"): _no_bytes,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
}
for _package in ("numpy.core", "numpy._core"):
    _NUMPY |= {
        (f"{_package}.multiarray", "_reconstruct"): _Array,
        (f"{_package}.multiarray", "scalar"): _scalar,
        (f"{_package}.numeric", "_frombuffer"): _from_buffer,
    }
