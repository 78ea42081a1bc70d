"""Fields kept on disk: a bounded, content-checked store of FITS images that threads and processes may share.

An entry is an ordinary gzipped FITS image, ``SURVEY/RRR/RA+DEC-SIZE-QUANTUM.fits.gz``, with a minimal header. Its
pixels are whole multiples of ``quantum`` (BITPIX 16, or 32 where a bright source needs it). The default of 10 µJy/beam
rounds with an error of 10/√12 = 2.9 µJy/beam rms: 2 % of FIRST's noise, which grows by 0.02 %. A field of 306 x 306 px
takes 90 kB instead of 375 kB; Rice compression by astropy comes to the same size at some four times the cost. Results
must not depend on what happens to be in the cache, so a field fresh from the service is rounded in the same way
(`rounded`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import threading
import time
import uuid
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from radio_ag.errors import InputError, RadioAGWarning

QUANTUM = 1e-5
"""Jy/beam: the step to which pixels are rounded by default."""

FIELD_BYTES = 90_000
"""Size of a field of FIRST, about."""

MAX_BYTES = 10 * 1024**3
"""Bound on the cache's size by default; room for some 115,000 fields of FIRST."""

_GZIP = 31  # zlib's window size that stands for a gzip wrapper, whose CRC-32 covers the whole content
_HEADER_ROOM = 64 * 2880  # bytes: no entry's header comes near
_KEPT_AFTER_EVICTION = 0.9  # of max_bytes, so that not each new entry has to look for the oldest
_STALE = 3600.0  # seconds after which a temporary file belongs to a process that died
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FieldKey:
    """What names a field: survey, position asked for and size.

    Attributes
    ----------
    survey : str
        Short name, e.g. "FIRST".
    ra, dec : float
        Degrees, ICRS; they count to 1e-6 deg.
    size : int
        Pixels along each axis that were asked for.
    """

    survey: str
    ra: float
    dec: float
    size: int

    @property
    def name(self) -> str:
        """The key as text, e.g. ``"162.530000+30.677000-306"``."""
        return f"{self.ra:010.6f}{self.dec:+010.6f}-{self.size}"

    @property
    def folder(self) -> str:
        """Where the entry lies: the survey, then whole degrees of right ascension, so that no folder grows too long."""
        survey = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.survey).lstrip(".") or "_"
        return os.path.join(survey, f"{int(self.ra):03d}")


def default_directory() -> Path:
    """Return ``$XDG_CACHE_HOME/radio-ag``, or ``~/.cache/radio-ag`` where that variable is not set.

    Returns
    -------
    Path
        It need not exist.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "radio-ag"


class FieldCache:
    """Fields on disk, each checked as it is read.

    Parameters
    ----------
    directory : path, optional
        Made when the first field is kept; None: `default_directory`.
    max_bytes : int
        Bound on the size of all entries; beyond it those unused for longest go first. It is checked each time that a
        field is kept, against what this process has counted since it last looked, so that several processes at once may
        pass it for a while.
    quantum : float
        Jy/beam: pixels are rounded to whole multiples of it. 0 keeps all bits, at four times the size.

    Raises
    ------
    InputError
        ``directory`` is something else, or a number is out of range.

    Notes
    -----
    Entries are written beside and renamed, so that a reader never meets half of one. One that is damaged all the same
    (the CRC of its content, its key, its shape) is deleted and counts as missing. Only images are kept, never failures.
    A disk that is full or read-only costs the cache, with one warning, not the run.
    """

    def __init__(
        self, directory: str | os.PathLike | None = None, max_bytes: int = MAX_BYTES, quantum: float = QUANTUM
    ) -> None:
        self.directory = Path(directory) if directory is not None else default_directory()
        if self.directory.exists() and not self.directory.is_dir():
            raise InputError(f"cache_dir must be a folder, and {str(self.directory)!r} is a file")
        if not max_bytes > 0:
            raise InputError(f"cache_size must be a positive number of bytes, not {max_bytes!r}")
        if not 0 <= quantum < 1:
            raise InputError(f"quantum must be in [0, 1) Jy/beam, not {quantum!r}")
        self.max_bytes = max_bytes
        self.quantum = float(quantum)
        self._bytes: int | None = None  # None until the folder has been looked through
        self._lock = threading.Lock()
        self._writable = True

    def path(self, key: FieldKey) -> Path:
        """Return where the entry of ``key`` lies, whether it exists or not.

        Parameters
        ----------
        key : FieldKey
            Of survey, position and size.

        Returns
        -------
        Path
            A packed FITS file in a folder by the position.
        """
        return self.directory / key.folder / f"{key.name}-{self.quantum:g}.fits.gz"

    def get(self, key: FieldKey) -> tuple[np.ndarray, fits.Header] | None:
        """Return the field kept under ``key``, or None.

        Parameters
        ----------
        key : FieldKey
            Of survey, position and size.

        Returns
        -------
        data : ndarray, shape (ny, nx), float32
            Jy/beam, NaN where blank.
        header : `~astropy.io.fits.Header`
            As it was given to `put`, with the keywords of the storage.
        """
        path = self.path(key)
        try:
            packed = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            _log.warning("cache entry %s cannot be read (%s)", path, exc)
            return None
        try:
            data, header = _unpack(packed, key)
        except Exception as exc:  # a damaged file can make astropy raise nearly anything
            _log.warning("cache entry %s is damaged (%s: %s)", path, type(exc).__name__, exc)
            _delete(path)
            return None
        with contextlib.suppress(OSError):  # another process may have deleted it by now, or the disk be read-only
            os.utime(path)  # the oldest out first means the longest unused
        return data, header

    def put(self, key: FieldKey, data: np.ndarray, header: fits.Header) -> None:
        """Keep a field.

        Parameters
        ----------
        key : FieldKey
            Of survey, position and size; what is kept under it is replaced.
        data : ndarray, shape (ny, nx)
            Jy/beam, NaN where blank.
        header : `~astropy.io.fits.Header`
            Its world coordinates and whatever else is worth keeping.
        """
        if not self._writable:
            return
        packed = _pack(data, header, key, self.quantum)
        path = self.path(key)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(packed)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            self._make_room(len(packed))
        except OSError as exc:
            self._writable = False
            warnings.warn(f"fields are no longer kept in {str(self.directory)!r}: {exc}", RadioAGWarning, stacklevel=2)

    def _make_room(self, added: int) -> None:
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._entries())
            else:
                self._bytes += added
            if self._bytes > self.max_bytes:
                self._evict()

    def _evict(self) -> None:
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= _KEPT_AFTER_EVICTION * self.max_bytes:
                break
            _delete(path)
            total -= size
        self._bytes = total

    def _entries(self) -> Iterator[tuple[float, int, str]]:
        """Yield time of last use, bytes and path of each entry, and delete what a dead process left half-written."""
        for folder, _, names in os.walk(self.directory):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path)
                except FileNotFoundError:  # another process was quicker
                    continue
                if name.endswith(".fits.gz"):
                    yield status.st_mtime, status.st_size, path
                elif name.endswith(".tmp") and time.time() - status.st_mtime > _STALE:
                    _delete(path)


def _delete(path: str | os.PathLike) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:  # another process was quicker
        pass
    except OSError as exc:
        _log.warning("cache entry %s cannot be deleted (%s)", path, exc)


def rounded(data: np.ndarray, quantum: float) -> np.ndarray:
    """Return a field in whole multiples of ``quantum``; as it is for 0, or where 32 bits cannot count them.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Jy/beam, NaN where blank.
    quantum : float
        Jy/beam.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    levels = _levels(data, quantum)
    return np.asarray(data, np.float32) if levels is None else _restore(levels, _blank(levels), quantum)


def _levels(data: np.ndarray, quantum: float) -> np.ndarray | None:
    """Return whole multiples of ``quantum`` in the shorter integer that holds them, its lowest value where blank."""
    if not quantum:
        return None
    levels = np.rint(np.asarray(data, np.float64) / quantum)
    blank = np.isnan(levels)
    highest = np.abs(levels[~blank]).max(initial=0)
    if highest > np.iinfo(np.int32).max:
        return None
    kind = np.int16 if highest <= np.iinfo(np.int16).max else np.int32
    levels[blank] = np.iinfo(kind).min
    return levels.astype(kind)


def _blank(levels: np.ndarray) -> int:
    return int(np.iinfo(levels.dtype).min)


def _restore(levels: np.ndarray, blank: int, quantum: float) -> np.ndarray:
    data = (levels * np.float64(quantum)).astype(np.float32)
    data[levels == blank] = np.nan
    return data


def _pack(data: np.ndarray, header: fits.Header, key: FieldKey, quantum: float) -> bytes:
    levels = _levels(data, quantum)
    hdu = fits.PrimaryHDU(np.asarray(data, np.float32) if levels is None else levels, header)
    hdu.header["FIELDKEY"] = (key.name, "position (deg) and size (px) asked for")
    if levels is not None:
        hdu.header["BSCALE"] = (quantum, "pixels are rounded to multiples of this")
        hdu.header["BZERO"] = 0.0
        hdu.header["BLANK"] = _blank(levels)
    content = io.BytesIO()
    hdu.writeto(content)
    packer = zlib.compressobj(1, wbits=_GZIP)
    return packer.compress(content.getbuffer()) + packer.flush()


def _unpack(packed: bytes, key: FieldKey) -> tuple[np.ndarray, fits.Header]:
    unpacker = zlib.decompressobj(wbits=_GZIP)
    content = unpacker.decompress(packed, 8 * key.size**2 + _HEADER_ROOM)  # a bound, lest a false entry fill the memory
    if not unpacker.eof:
        raise ValueError("it is truncated or too large")
    with fits.open(io.BytesIO(content), do_not_scale_image_data=True, memmap=False) as hdus:
        header, data = hdus[0].header, hdus[0].data
    if header.get("FIELDKEY") != key.name:
        raise ValueError(f"it belongs to {header.get('FIELDKEY')}")
    if data is None or data.ndim != 2:
        raise ValueError("it holds no image")
    if "BLANK" in header:
        return _restore(data, header["BLANK"], header["BSCALE"]), header
    return data.astype(np.float32), header
