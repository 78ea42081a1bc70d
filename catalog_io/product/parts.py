"""The folder in which a run keeps what it has done, part by part, so that it can go on after any interruption.

===================  ==================================================================================================
``manifest.json``    what decides the product: settings, weights, images, software, and hashes of the input
``part-00012.fits``  the answers for chunk 12 of the sources (`radio_ag.catalog_io.product.part`)
``SHA256SUMS``       a line for each part that is done, as ``sha256sum --check`` reads it
===================  ==================================================================================================

A part is written beside, brought to the disk, and renamed; then its hash is added. A part without its hash, or whose
content is another, has not been done. One process at a time works in a folder.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from radio_ag.catalog_io.product.part import Part, decode_part, encode_part
from radio_ag.errors import InputError, OutputError
from radio_ag.writing import written_beside

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not told apart there
    fcntl = None

_FORMAT = 1
_MANIFEST, _SUMS = "manifest.json", "SHA256SUMS"
_SUM_LINE = re.compile(r"([0-9a-f]{64})  part-(\d{5,})\.fits\n")


def parts_folder(output: str | os.PathLike) -> Path:
    """Where the run that writes ``output`` keeps its parts: ``NAME.parts`` beside it."""
    output = Path(os.path.realpath(output))
    return output.with_name(f"{output.stem}.parts")


def part_name(number: int) -> str:
    """File of a part."""
    return f"part-{number:05d}.fits"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder is of; None if there is none.

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
    """SHA-256 of what a run is of."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def write_part_file(folder: Path, number: int, content: bytes) -> str:
    """Write an encoded part, wherever a folder of parts is mounted; its SHA-256.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
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

    Raises
    ------
    OutputError
        If the parts there are of a run that differs (the message says in what), the folder cannot be made, or another
        process is at work in it.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], count: int, *, restart: bool = False) -> None:
        self.path = path
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
        """The parts that are done, with their numbers; one whose content is not what was written is done no longer."""
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
        """A part that is done."""
        return decode_part(self.file(number).read_bytes())

    def settle(self, forget: set[int]) -> None:
        """Forget parts, which are to be done again, and what an interrupted run has left behind."""
        self.done = {number: total for number, total in self.done.items() if number not in forget}
        with written_beside(self.path / _SUMS) as stream:
            stream.writelines(f"{total}  {part_name(number)}\n".encode() for number, total in self.done.items())
        keep = {_MANIFEST, _SUMS, *map(part_name, self.done)}
        for path in self.path.iterdir():
            if path.name not in keep:
                _discard(path)

    def write(self, number: int, part: Part, shape: tuple[int, int]) -> None:
        """Write a part of planes of one shape (ny, nx); it is done when this returns.

        Raises
        ------
        OutputError
            If it cannot be written; the parts that are done stay.
        """
        content = encode_part(part, shape, self.run, number)
        try:
            total = write_part_file(self.path, number, content)
        except OutputError as exc:
            raise OutputError(f"{exc}; {self.stay}") from exc
        self.adopt(number, total)

    def adopt(self, number: int, total: str) -> None:
        """Take a part that `write_part_file` has written, with its hash, as done."""
        try:
            with (self.path / _SUMS).open("a", encoding="ascii") as stream:
                stream.write(f"{total}  {part_name(number)}\n")
        except OSError as exc:
            raise OutputError(f"{self.path / _SUMS} cannot be written: {exc.strerror or exc}; {self.stay}") from exc
        self.done[number] = total

    @property
    def stay(self) -> str:
        """What a message says about the parts after a run has failed."""
        return (
            f"{len(self.done)} of {self.count} parts are done and stay in {self.path}: the same command goes on there"
        )

    def file(self, number: int) -> Path:
        """Where a part is."""
        return self.path / part_name(number)

    def files(self) -> list[Path]:
        """The parts that are done, in their order."""
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
    ours = re.compile(rf"{re.escape(_MANIFEST)}|{_SUMS}|part-\d{{5,}}\.fits|\.radio-ag-[0-9a-f-]+\.part")
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
