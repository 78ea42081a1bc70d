"""Parts of a run, and the folder in which it keeps them, so that it can go on after any interruption.

==================  ===================================================================================================
``manifest.json``   what decides the product: settings, weights, images, software, and hashes of the input
``part-00012.npz``  the answers for chunk 12 of the sources, arrays as `numpy.load` reads them
``SHA256SUMS``      a line for each part that is done, as ``sha256sum --check`` reads it
==================  ===================================================================================================

A part is written beside, brought to the disk, and renamed; then its hash is added. A part without its hash, or whose
content is another, has not been done. One process at a time works in a folder.

The arrays of a part are ``columns``, a record for each source of the chunk: its number in the run (``source``), then
the columns of the product, planes counted within the part; ``batch``, the images that the network took at once; and
for each stack of planes ``<stack>.rows`` and ``<stack>.tiles`` (`radio_ag.catalog_io.product.tiles`).
"""

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from radio_ag.catalog_io.product.tiles import Tiles
from radio_ag.errors import InputError, OutputError, RadioAGError
from radio_ag.writing import written_beside

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not told apart there
    fcntl = None  # type: ignore[assignment]

PLANE_COLUMNS = {"attention_plane": "ATTENTION", "cutout_plane": "CUTOUTS"}
"""Columns that count planes, and with what the names of the stacks begin that they are planes of."""

_FORMAT = 3
_MANIFEST, _SUMS = "manifest.json", "SHA256SUMS"
_SUM_LINE = re.compile(r"([0-9a-f]{64})  part-(\d{5,})\.npz\n")
_ROWS, _TILES = ".rows", ".tiles"


@dataclass(frozen=True, eq=False)
class Part:
    """The answers for n sources.

    Attributes
    ----------
    sources : ndarray of int64, shape (n,)
        Number of each source in the run.
    columns : dict of ndarray, shape (n,)
        What the product says of each source: numbers, and text as bytes. `PLANE_COLUMNS` count planes of this part,
        -1 for none.
    stacks : dict of Tiles
        Compressed planes by the name of their extension.
    batch : int
        Images that the network took at once.
    """

    sources: NDArray[np.int64]
    columns: Mapping[str, NDArray]
    stacks: Mapping[str, Tiles]
    batch: int

    def __len__(self) -> int:
        return len(self.sources)

    def updated(self, again: "Part") -> "Part":
        """Return this part with what has become of all of its sources, or of some, which had no planes.

        Parameters
        ----------
        again : Part
            Of the same chunk, or of some of its sources.

        Returns
        -------
        Part
            In the order of this one.
        """
        if len(again) == len(self):
            return again
        rows = np.flatnonzero(np.isin(self.sources, again.sources))
        columns, order = {name: values.copy() for name, values in self.columns.items()}, {}
        for name, values in again.columns.items():
            if name in PLANE_COLUMNS:
                values = np.where(values >= 0, values + columns[name].max() + 1, -1)
            columns[name][rows] = values
            if name in PLANE_COLUMNS:  # as if all had come at once
                order[name] = columns[name][columns[name] >= 0]
                columns[name][columns[name] >= 0] = np.arange(len(order[name]))
        stacks = {
            name: self.stacks[name].joined(tiles).taken(order[plane_column(name)])
            for name, tiles in again.stacks.items()
        }
        return Part(self.sources, columns, stacks, min(self.batch, again.batch))


def plane_column(stack: str) -> str:
    """Return the column that counts the planes of a stack.

    Parameters
    ----------
    stack : str
        ``ATTENTION``, ``ATTENTION_1`` and so on, or ``CUTOUTS``.

    Returns
    -------
    str
        ``attention_plane`` or ``cutout_plane``.
    """
    return next(column for column, name in PLANE_COLUMNS.items() if stack.startswith(name))


def gate_of(stack: str) -> str | int:
    """Return the gate of a stack of attention maps: "mean", 1, 2, 3.

    Parameters
    ----------
    stack : str
        ``ATTENTION``, ``ATTENTION_1`` and so on.

    Returns
    -------
    str or int
        As `Result.attention` takes it.
    """
    return "mean" if stack == "ATTENTION" else int(stack.removeprefix("ATTENTION_"))


def stack_of(gate: str | int) -> str:
    """Return the stack of a gate's attention maps.

    Parameters
    ----------
    gate : str or int
        "mean", or 1, 2, 3.

    Returns
    -------
    str
        ``ATTENTION``, ``ATTENTION_1`` and so on.
    """
    return "ATTENTION" if gate == "mean" else f"ATTENTION_{gate}"


def encode_part(part: Part) -> bytes:
    """Return a part as the content of its file.

    Parameters
    ----------
    part : Part
        Of a chunk.

    Returns
    -------
    bytes
        An ``npz`` archive.
    """
    columns = {"source": part.sources} | dict(part.columns)
    records = np.empty(len(part), dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        records[name] = values
    arrays: dict[str, Any] = {"columns": records, "batch": np.int64(part.batch)}
    for name, (rows, heap) in part.stacks.items():
        arrays |= {name + _ROWS: rows, name + _TILES: np.frombuffer(heap, np.uint8)}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def decode_part(content: bytes) -> Part:
    """Return the part in a file's content.

    Parameters
    ----------
    content : bytes
        Of `encode_part`.

    Returns
    -------
    Part
        Equal to the one that was written.
    """
    records, rows, batch = read_part(io.BytesIO(content))
    columns = {name: records[name].copy() for name in records.dtype.names or ()}
    with np.load(io.BytesIO(content)) as arrays:
        stacks = {name: Tiles(rows[name], arrays[name + _TILES].tobytes()) for name in rows}
    return Part(columns.pop("source"), columns, stacks, batch)


def read_part(file: Path | BinaryIO) -> tuple[NDArray, dict[str, NDArray], int]:
    """Return the records of a part, ``source`` first, the rows of its stacks, and its batch; no tile is read.

    Parameters
    ----------
    file : Path or binary file
        The part's, or its content as a file.

    Returns
    -------
    records, stacks, batch
        The rows of each stack by its name.
    """
    with np.load(file) as arrays:
        rows = {name.removesuffix(_ROWS): arrays[name] for name in arrays.files if name.endswith(_ROWS)}
        return arrays["columns"], rows, int(arrays["batch"])


def read_tiles(path: Path, stack: str, block: int) -> Iterator[bytes]:
    """Yield the tiles of a stack of a part one after the other, so many bytes at a time.

    Parameters
    ----------
    path : Path
        Of the part's file.
    stack : str
        Its name.
    block : int
        Bytes at most.

    Raises
    ------
    InputError
        If they are not as they were written.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{stack}{_TILES}.npy") as stream:
            npy.read_magic(stream)
            npy.read_array_header_1_0(stream)
            while content := stream.read(block):
                yield content
    except (zipfile.BadZipFile, EOFError, ValueError, KeyError) as exc:
        raise InputError(f"{path} is damaged: {exc}") from exc


def parts_folder(output: str | os.PathLike) -> Path:
    """Return where the run that writes ``output`` keeps its parts: ``NAME.parts`` beside it.

    Parameters
    ----------
    output : path
        The product.

    Returns
    -------
    Path
        It need not exist.
    """
    output = Path(os.path.realpath(output))
    return output.with_name(f"{output.stem}.parts")


def part_name(number: int) -> str:
    """Return the name of a part's file.

    Parameters
    ----------
    number : int
        Of the chunk, from 0.

    Returns
    -------
    str
        ``part-00000.npz`` and so on.
    """
    return f"part-{number:05d}.npz"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return what the run in a folder is of; None if there is none.

    Parameters
    ----------
    folder : Path
        Of the parts of a run.

    Returns
    -------
    dict of str to object or None
        As it was written, from JSON.

    Raises
    ------
    InputError
        If there is a manifest that cannot be read.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as exc:
        raise InputError(f"{folder / _MANIFEST} cannot be read ({exc}): {_RESTART}") from exc
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT or not isinstance(manifest.get("of"), dict):
        raise InputError(f"{folder / _MANIFEST} is not of this version of radio-ag: {_RESTART}")
    return manifest["of"]


def run_identifier(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a run is of.

    Parameters
    ----------
    identity : mapping of str, object
        What decides the product.

    Returns
    -------
    str
        Hexadecimal.
    """
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def write_part_file(folder: Path, number: int, part: Part) -> str:
    """Write a part, wherever a folder of parts is mounted; return the SHA-256 of its file.

    Parameters
    ----------
    folder : Path
        Of the parts of a run.
    number : int
        Of the chunk, from 0.
    part : Part
        Of that chunk.

    Returns
    -------
    str
        Hexadecimal.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    content = encode_part(part)
    with written_beside(folder / part_name(number), sync_name=False) as stream:  # a part that is lost is done again
        stream.write(content)
    return hashlib.sha256(content).hexdigest()


class PartsFolder:
    """The parts of one run; a context in which no other process may work in the folder.

    Parameters
    ----------
    path : path
        The folder. It is made if it is not there, and vanishes at the end of the context if it holds no part.
    identity : dict
        What decides the product: flat, of what JSON has. Parts of another run are refused.
    count : int
        Parts of the whole run.
    restart : bool
        Begin anew: remove the parts that are there, of whatever run.
    temporary : bool
        Nobody will look for the parts after an error.

    Raises
    ------
    OutputError
        If the parts there are of a run that differs (the message says in what), the folder cannot be made, or another
        process is at work in it.
    """

    def __init__(
        self, path: Path, identity: Mapping[str, Any], count: int, *, restart: bool = False, temporary: bool = False
    ) -> None:
        self.path = path
        self.temporary, self.restarted = temporary, restart
        self.count = count
        self.run = run_identifier(identity)
        self.done: dict[int, str] = {}
        self._lock = _lock(path)
        try:
            if restart:
                _empty(path)
            recorded = read_manifest(path)
            if recorded is None:
                _empty(path)
                with written_beside(path / _MANIFEST) as stream:
                    manifest = {"format": _FORMAT, "run": self.run, "parts": count, "of": dict(identity)}
                    stream.write(json.dumps(manifest, indent=1).encode() + b"\n")
            elif recorded != identity:
                raise OutputError(_difference(path, recorded, identity))
            self.done = self._recorded()
        except BaseException:
            self._unlock()
            raise

    def __enter__(self) -> "PartsFolder":
        return self

    def __exit__(self, *_: object) -> None:
        if not self.done:
            shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()

    def kept(self) -> Iterator[tuple[int, Part]]:
        """Yield the parts that are done, with their numbers; one that is not as it was written is done no longer."""
        for number, expected in sorted(self.done.items()):
            try:
                content = self.file(number).read_bytes()
            except OSError:
                content = b""
            if hashlib.sha256(content).hexdigest() == expected:
                yield number, decode_part(content)
            else:
                del self.done[number]

    def read(self, number: int) -> Part:
        """Return a part that is done.

        Parameters
        ----------
        number : int
            Of the chunk, from 0.

        Returns
        -------
        Part
            As it was written.
        """
        return decode_part(self.file(number).read_bytes())

    def settle(self) -> None:
        """Forget what an interrupted run has left behind."""
        with written_beside(self.path / _SUMS) as stream:
            stream.writelines(f"{total}  {part_name(number)}\n".encode() for number, total in self.done.items())
        keep = {_MANIFEST, _SUMS, *map(part_name, self.done)}
        for path in self.path.iterdir():
            if path.name not in keep:
                _discard(path)

    def write(self, number: int, part: Part) -> None:
        """Write a part; it is done when this returns.

        Parameters
        ----------
        number : int
            Of the chunk, from 0.
        part : Part
            Of that chunk.

        Raises
        ------
        OutputError
            If it cannot be written; the parts that are done stay.
        """
        self.adopt(number, write_part_file(self.path, number, part))

    def adopt(self, number: int, total: str) -> None:
        """Take a part that `write_part_file` has written, with its hash, as done.

        Parameters
        ----------
        number : int
            Of the chunk, from 0.
        total : str
            SHA-256 of its file, hexadecimal.
        """
        try:
            with (self.path / _SUMS).open("a", encoding="ascii") as stream:
                stream.write(f"{total}  {part_name(number)}\n")
        except OSError as exc:
            raise OutputError(f"{self.path / _SUMS} cannot be written: {exc.strerror or exc}") from exc
        self.done[number] = total

    @property
    def stay(self) -> str:
        """What a message says about the parts after a run has failed."""
        command = "the same command without --restart" if self.restarted else "the same command"
        return f"{len(self.done)} of {self.count} parts are done and stay in {self.path}: {command} goes on there"

    def told(self, exc: RadioAGError) -> RadioAGError:
        """Return an error that ends the run as one that also says what is done.

        Parameters
        ----------
        exc : RadioAGError
            That ends the run.

        Returns
        -------
        RadioAGError
            Of the same type.
        """
        return exc if self.temporary or not self.done else type(exc)(f"{exc}; {self.stay}")

    def file(self, number: int) -> Path:
        """Return where a part is.

        Parameters
        ----------
        number : int
            Of the chunk, from 0.

        Returns
        -------
        Path
            It need not exist.
        """
        return self.path / part_name(number)

    def files(self) -> list[Path]:
        """Return the files of the parts that are done, in their order.

        Returns
        -------
        list of Path
            All that a product is joined of.
        """
        return [self.file(number) for number in sorted(self.done)]

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path)
        self.done = {}

    def _recorded(self) -> dict[int, str]:
        """Hashes by number; a line that is damaged, or that a crash has cut short, says nothing."""
        try:
            lines = (self.path / _SUMS).read_text(encoding="ascii", errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        found = (_SUM_LINE.fullmatch(line) for line in lines)
        return {number: match[1] for match in found if match and (number := int(match[2])) < self.count}

    def _unlock(self) -> None:
        os.close(self._lock)


def _lock(path: Path) -> int:
    """Make the folder and open it, as the only process."""
    try:
        path.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as exc:
        raise OutputError(f"{path} cannot be used for the parts of the run: {exc.strerror}") from exc
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(descriptor)
            raise OutputError(f"another process is at work in {path}") from exc
        except OSError:  # a file system without locks
            pass
    return descriptor


def _empty(path: Path) -> None:
    """Remove what a run has left; a folder that holds anything else is not ours."""
    ours = re.compile(rf"{re.escape(_MANIFEST)}|{_SUMS}|part-\d{{5,}}\.npz|\.radio-ag-[0-9a-f-]+\.part")
    names = [entry.name for entry in path.iterdir()]
    foreign = [name for name in names if not ours.fullmatch(name)]
    if foreign:
        raise OutputError(f"{path} holds what no run of radio-ag has written ({foreign[0]}): move it away")
    for name in sorted(names, key=lambda name: name != _MANIFEST):
        _discard(path / name)


def _discard(path: Path) -> None:
    """Remove a file, or the folder that was to become a data set."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


_RESTART = "--restart (restart=True) begins anew, removing its parts"


def _difference(path: Path, recorded: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    names = [name for name in {**recorded, **identity} if recorded.get(name) != identity.get(name)]
    differences = ", ".join(f"{name} was {recorded.get(name)!r}, now {identity.get(name)!r}" for name in names)
    return f"{path} has the parts of a run that differs: {differences}. {_RESTART}"
