"""MiraBest and FR-DEEP-F as users download them: a folder of pickled batches in the form of CIFAR-10.

A batch is a dictionary with ``data`` (150x150 images, clipped and scaled to 0-255), ``labels`` and ``filenames``; a
folder has ``data_batch_1`` … for training and ``test_batch``. MiraBest's file names carry the position, and its labels
are those of table 4 of Bowles et al. 2021 (MNRAS 501, 4579); FR-DEEP-F has no positions, and the labels 0 (FRI) and 1
(FRII), all certain.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radio_ag.errors import CatalogueError, ImageError
from radio_ag.network.model import CLASSES
from radio_ag.pickles import read_pickle, shown
from radio_ag.preprocess.images import CROP_SIZE

MIRABEST, FRDEEP = "MiraBest", "FR-DEEP-F"
HYBRID = "hybrid"

MIRABEST_CODES = ("100", "102", "104", "110", "112", "200", "201", "210", "300", "310")
"""What MiraBest's labels 0 to 9 stand for: class (FRI, FRII, hybrid), confidence (0: certain), morphology."""

_LONGEST_NAME = 255  # characters: an array of text has the width of its longest
_CLASS_OF_CODE = {"1": "FRI", "2": "FRII", "3": HYBRID}
_MIRABEST_NAME = re.compile(r"(?P<code>\d{3})_(?P<ra>\d+\.\d+)(?P<dec>[+-]\d+\.\d+)_[^_]*_[^_]*")


def is_batches(path: str | os.PathLike) -> bool:
    """Return whether a path is a folder with batches, or may be a single batch: a file that is not FITS.

    Parameters
    ----------
    path : path-like
    """
    path = Path(path)
    if path.is_dir():
        return bool(_batch_files(path, "data_batch_") or _batch_files(path, "test_batch"))
    with path.open("rb") as file:
        return file.read(6) != b"SIMPLE" and not path.name.endswith((".fits", ".fit", ".gz"))


def read_batches(path: str | os.PathLike, *, test: bool = False) -> dict[str, NDArray]:
    """Read published batches.

    Parameters
    ----------
    path : path-like
        A folder of batches, or one batch.
    test : bool
        Of a folder: the test batch instead of the training batches.

    Returns
    -------
    dict of ndarray
        ``images`` (n, 150, 150) of float32, 0-255; ``fr_class`` (FRI, FRII, hybrid); ``certain``; ``ra``, ``dec`` in
        degrees, NaN for FR-DEEP-F; ``name``, the file name without folder and suffix; ``origin``.

    Raises
    ------
    CatalogueError
        No batches there, one that is no plain pickle, or a label that is not one of the data set's.
    ImageError
        Images of another size.
    """
    path = Path(path)
    if path.is_dir():
        files = _batch_files(path, "test_batch" if test else "data_batch_")
        if not files:
            raise CatalogueError(f"{path} has no {'test_batch' if test else 'data_batch_1, data_batch_2, …'}")
    else:
        files = [path]
    parts = [_read_batch(file) for file in files]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _batch_files(folder: Path, name: str) -> list[Path]:
    """Files called so, whatever stands before and the number that comes after, in the order of their numbers."""
    found = [(re.fullmatch(rf"(?:.*_)?{name}(\d*)", file.name), file) for file in folder.iterdir()]
    return [file for match, file in sorted((int(m[1] or 0), f) for m, f in found if m)]


def _read_batch(path: Path) -> dict[str, NDArray]:
    batch = read_pickle(path)
    if not isinstance(batch, dict) or not {"data", "labels", "filenames"} <= set(batch):
        raise CatalogueError(f"{path.name} is no batch: it needs the entries data, labels and filenames")
    images, labels, names = (_items(batch, entry, path) for entry in ("data", "labels", "filenames"))
    names = [_stem(name, row, path) for row, name in enumerate(names)]
    if not len(images) == len(labels) == len(names):
        raise CatalogueError(
            f"{path.name} has {len(images)} images, {len(labels)} labels and {len(names)} names: as many of each needed"
        )
    matches = [_MIRABEST_NAME.fullmatch(name) for name in names]
    if any(matches) and not all(matches):
        raise CatalogueError(f"{path.name}: {names[matches.index(None)]!r} is no file name of MiraBest, others are")
    named = [match for match in matches if match is not None]
    columns = _mirabest(labels, named, path) if named else _frdeep(labels, path)
    return {
        "images": _images(images, path),
        "name": np.array(names, dtype=str),
        "origin": np.full(len(names), MIRABEST if named else FRDEEP),
        **columns,
    }


def _items(batch: dict, entry: str, path: Path) -> list:
    items = batch[entry]
    if not isinstance(items, list | tuple) and not (isinstance(items, np.ndarray) and items.ndim):
        raise CatalogueError(f"{path.name}: {entry} is a {type(items).__name__}, expected a list or an array")
    return list(items)


def _stem(name: Any, row: int, path: Path) -> str:
    if not isinstance(name, str | bytes) or len(name) > _LONGEST_NAME:
        raise CatalogueError(
            f"{path.name}: the file name of image {row} is {shown(name)}, expected text of at most {_LONGEST_NAME} "
            "characters"
        )
    text = name.decode("latin1") if isinstance(name, bytes) else name
    return PurePosixPath(text.replace("\\", "/")).name.removesuffix(".png")


def _images(images: list, path: Path) -> NDArray[np.float32]:
    stack = np.empty((len(images), CROP_SIZE, CROP_SIZE), np.float32)
    for row, image in enumerate(images):
        try:
            pixels = np.asarray(image)
        except ValueError as exc:  # lists of several lengths
            raise ImageError(f"{path.name}: image {row} is no array of numbers") from exc
        if pixels.size != CROP_SIZE**2 or pixels.dtype.kind not in "ui":
            raise ImageError(
                f"{path.name}: image {row} has {pixels.size} values of type {pixels.dtype}, expected {CROP_SIZE**2} of "
                "uint8 (150x150)"
            )
        if pixels.min() < 0 or pixels.max() > 255:
            raise ImageError(f"{path.name}: image {row} has values beyond 0 to 255")
        stack[row] = pixels.reshape(CROP_SIZE, CROP_SIZE)
    return stack


def _is_label(label: Any, count: int) -> bool:
    return isinstance(label, int | np.integer) and not isinstance(label, bool) and 0 <= int(label) < count


def _mirabest(labels: list, matches: list[re.Match], path: Path) -> dict[str, NDArray]:
    codes = []
    for row, (label, match) in enumerate(zip(labels, matches, strict=True)):
        if not (float(match["ra"]) <= 360 and abs(float(match["dec"])) <= 90):
            raise CatalogueError(f"{path.name}: the name of image {row} has no position in degrees: {match[0]}")
        if not _is_label(label, len(MIRABEST_CODES)) or MIRABEST_CODES[label] != match["code"]:
            raise CatalogueError(
                f"{path.name}: label {shown(label)} of image {row} does not belong to the code {match['code']} of its "
                f"name; labels 0 to 9 stand for {', '.join(MIRABEST_CODES)}"
            )
        codes.append(match["code"])
    return {
        "fr_class": np.array([_CLASS_OF_CODE[code[0]] for code in codes]),
        "certain": np.array([code[1] == "0" for code in codes]),
        "ra": np.array([float(match["ra"]) for match in matches]),
        "dec": np.array([float(match["dec"]) for match in matches]),
    }


def _frdeep(labels: list, path: Path) -> dict[str, NDArray]:
    for row, label in enumerate(labels):
        if not _is_label(label, len(CLASSES)):
            raise CatalogueError(
                f"{path.name}: label {shown(label)} of image {row} is not accepted: 0 for FRI, 1 for FRII (only "
                "MiraBest, whose file names carry positions, has others)"
            )
    nowhere = np.full(len(labels), np.nan)
    return {
        "fr_class": np.array(CLASSES)[np.array(labels, int)],
        "certain": np.ones(len(labels), bool),
        "ra": nowhere,
        "dec": nowhere.copy(),
    }
