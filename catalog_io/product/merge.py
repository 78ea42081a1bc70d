"""Parts joined: the answers by source in a file on disk, and stacks of planes whose tiles are copied as they are.

Nothing here grows with the run in memory but a few numbers a part. Planes are numbered in the order of the sources; a
stack's heap has the tiles in the order of the parts, and its descriptors say which is whose.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from radio_ag.catalog_io.files.row_file import RowFile
from radio_ag.catalog_io.product.parts import PLANE_COLUMNS, plane_column, read_part, read_tiles
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.catalog_io.product.tiles import ROW, encode_rows, tile_header
from radio_ag.class_names import DEFAULT_CLASSES
from radio_ag.flags import Flag

_ROWS = 1 << 14  # sources handled at once
_BLOCK = 4 << 20  # bytes copied at once
_FLAGS = {str(flag.name): int(flag) for flag in Flag}


class JoinedStack:
    """One stack of planes of all parts.

    Parameters
    ----------
    name : str
        ``ATTENTION``, ``ATTENTION_1`` and so on, or ``CUTOUTS``.
    shape : (int, int)
        Of a plane, (ny, nx).
    folder : path
        Where its rows lie while it is joined.
    """

    def __init__(self, name: str, shape: tuple[int, int], folder: Path) -> None:
        self._name, self._shape, self._folder = name, shape, folder
        self._rows = RowFile(ROW, folder)
        self._files: list[Path] = []
        self._longest = self._heap_size = self._count = 0

    def __len__(self) -> int:
        return self._count

    def add_tiles(self, path: Path, rows: NDArray) -> NDArray:
        """Take a part's tiles after those that are there; return their descriptors in the joined stack.

        Parameters
        ----------
        path : Path
            Of the part's file.
        rows : ndarray
            Of the part's stack: length and place of each tile, scale and zero.

        Returns
        -------
        ndarray
            Of as many planes.
        """
        rows = rows.copy()
        rows["offset"] += self._heap_size
        self._files.append(path)
        self._heap_size += int(rows["length"].sum())
        self._longest = max(self._longest, int(rows["length"].max(initial=0)))
        return rows

    def add_planes(self, rows: NDArray) -> None:
        """Add planes after those that are there, by their descriptors.

        Parameters
        ----------
        rows : ndarray
            Of `add_tiles`, in the product's order.
        """
        self._rows.write(np.arange(self._count, self._count + len(rows)), rows)
        self._count += len(rows)

    def extension(self) -> tuple[fits.Header, Iterator[bytes]]:
        """Return header without EXTNAME and data of the compressed image, in blocks of a few MB.

        Returns
        -------
        header, blocks
            To be written once.
        """
        rows = map(encode_rows, map(self._rows.read, _blocks(self._count)))
        return tile_header(self._count, self._heap_size, self._longest, self._shape), chain(rows, self._tiles())

    def store(self) -> AttentionStore:
        """Return the planes in a temporary file of their own, which needs the parts no longer.

        Returns
        -------
        AttentionStore
            Whose file goes with it.
        """
        store = AttentionStore(self._shape, directory=self._folder)
        store.append_tiles(self._rows.read(np.arange(self._count)), self._tiles())
        return store

    def _tiles(self) -> Iterator[bytes]:
        for path in self._files:
            yield from read_tiles(path, self._name, _BLOCK)


class MergedParts:
    """All parts of a run of n sources.

    Parameters
    ----------
    parts : sequence of path
        The parts that are done, in their order.
    size : ndarray of int, shape (n,)
        Rows of the catalogue that each source has.
    unreached : callable
        Columns of some sources (an array of their numbers) as they are where no part has them.
    stacks : sequence of str
        Names of the stacks that the parts have.
    shape : (int, int)
        Shape (ny, nx) of the planes.
    folder : path
        For temporary files: some 200 bytes a source.
    classes : sequence of str
        Names of the classes, for the counts.

    Attributes
    ----------
    stacks : dict of JoinedStack
    counts : dict
        Sources and rows in all, and of sources those that are clean, by class, and by flag: as
        `radio_ag.Result.summary`.
    row_counts : dict
        The same of rows.
    mapped : int
        Rows with attention maps.
    mapped_sources : int
        Sources with attention maps.
    batch : int or None
        The least number of images that the network took at once.
    """

    def __init__(
        self,
        parts: Sequence[Path],
        size: NDArray[np.integer],
        unreached: Callable[[NDArray[np.int64]], dict[str, NDArray]],
        *,
        stacks: Sequence[str],
        shape: tuple[int, int],
        folder: Path,
        classes: Sequence[str] = DEFAULT_CLASSES,
    ) -> None:
        self._classes = tuple(classes)
        self.stacks = {name: JoinedStack(name, shape, folder) for name in stacks}
        columns = [(name, values.dtype) for name, values in unreached(np.arange(0)).items()]
        self._names = [name for name, _ in columns]
        self._records = RowFile(np.dtype(columns + [(name, ROW) for name in stacks]), folder)
        self.batch: int | None = None
        self._image_width = 1
        for sources in _blocks(len(size)):
            self._put(sources, unreached(sources), {})
        for path in parts:
            self._add(path)
        self._number_planes(size)

    def columns(self, sources: NDArray[np.int64]) -> dict[str, NDArray]:
        """Return what the product says of some sources, by column.

        Parameters
        ----------
        sources : ndarray of int64
            Numbers of n sources, in any order.

        Returns
        -------
        dict of str to ndarray, shape (n,)
            Of those without a part as well.
        """
        records = self._records.read(sources)
        columns = {name: records[name] for name in self._names}
        return columns | {"image": columns["image"].astype(f"S{self._image_width}")}

    def _add(self, path: Path) -> None:
        records, rows, batch = read_part(path)
        self.batch = min(batch, self.batch or batch)
        joined = {name: stack.add_tiles(path, rows[name]) for name, stack in self.stacks.items()}
        self._put(records["source"], {name: records[name] for name in self._names}, joined)

    def _put(self, sources: NDArray[np.int64], columns: dict[str, NDArray], stacks: dict[str, NDArray]) -> None:
        records = np.zeros(len(sources), dtype=self._records.dtype)
        for name, values in columns.items():
            records[name] = values
        self._image_width = max(self._image_width, int(np.strings.str_len(records["image"]).max(initial=0)))
        for name, rows in stacks.items():
            planes = columns[plane_column(name)]
            records[name][planes >= 0] = rows[planes[planes >= 0]]
        self._records.write(sources, records)

    def _number_planes(self, size: NDArray[np.integer]) -> None:
        """Number the planes by source instead of by part; count sources and rows, and those with attention maps."""
        first: Counter[str] = Counter()
        by_source, by_row = Counter[str](), Counter[str]()
        self.mapped = self.mapped_sources = 0
        for sources in _blocks(len(size)):
            records = self._records.read(sources)
            for column in set(PLANE_COLUMNS) & set(self._names):
                has_plane = records[column] >= 0
                for name, stack in self.stacks.items():
                    if plane_column(name) == column:
                        stack.add_planes(records[name][has_plane])
                numbers = first[column] + np.cumsum(has_plane) - 1
                records[column] = np.where(has_plane, numbers, -1)
                first[column] += int(has_plane.sum())
            self._records.write(sources, records)
            rows = size[sources]
            by_source.update(count_rows(records["class"], records["flags"], np.ones_like(rows)))
            by_row.update(count_rows(records["class"], records["flags"], rows))
            self.mapped += int(rows[records["attention_plane"] >= 0].sum())
            self.mapped_sources += int(np.sum(records["attention_plane"] >= 0))
        totals = {"sources": len(size), "rows": int(size.sum())}
        self.counts = totals | summarise(by_source, totals["sources"], self._classes)
        self.row_counts = totals | summarise(by_row, totals["rows"], self._classes)


def summarise(counts: Mapping[str, int], total: int, names: Sequence[str]) -> dict[str, Any]:
    """Return what a summary says of so many sources or rows, by what `count_rows` counts.

    Parameters
    ----------
    counts : mapping of str, int
        By class, flag, and "clean".
    total : int
        Sources or rows in all.
    names : sequence of str
        The classes.

    Returns
    -------
    dict of str to object
        ``clean``, ``classes`` and ``flags``.
    """
    classes = {name: counts[name] for name in names}
    return {
        "clean": counts["clean"],
        "classes": classes | {"none": total - sum(classes.values())},
        "flags": {name: counts[name] for name in _FLAGS},
    }


def count_rows(classes: NDArray[np.bytes_], flags: NDArray[np.int32], size: NDArray[np.integer]) -> dict[str, int]:
    """Return the rows of each class and each flag, and those without flags, where source i has ``size[i]`` rows.

    Parameters
    ----------
    classes : ndarray of bytes, shape (n,)
        Empty for none.
    flags : ndarray of int32, shape (n,)
        Bits of `radio_ag.flags.Flag`.
    size : ndarray of int, shape (n,)
        Rows of each source.

    Returns
    -------
    dict of str to int
        By the names of classes and flags, and "clean".
    """
    names, place = np.unique(classes, return_inverse=True)
    of_each_class = np.bincount(place, size, len(names)).astype(int)
    counts = {name.decode(): int(number) for name, number in zip(names, of_each_class, strict=True) if name}
    counts["clean"] = int(size[flags == 0].sum())
    of_each_flag = size @ ((flags[:, None] & np.array([*_FLAGS.values()], np.int32)) != 0)
    return counts | {name: int(number) for name, number in zip(_FLAGS, of_each_flag, strict=True)}


def _blocks(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, _ROWS):
        yield np.arange(start, min(start + _ROWS, count))
