"""Labels that people gave to sources: a table with a row for each, read from several formats and written as ECSV."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from radio_ag.errors import InputError
from radio_ag.labelled.votes import is_votes, read_votes
from radio_ag.sky import unit_vectors
from radio_ag.writing import check_output, written_beside

SAME_PLACE = 2.0
"""Arcsec within which two positions are one source, where names do not tell."""
CONFIDENCES = {"certain": 1.0, "uncertain": 0.5}
"""Words for a confidence, and the numbers that they stand for."""

_NAMES = {
    "name": ("name", "source_name", "source_id", "id", "object"),
    "source": ("source",),
    "ra": ("ra", "raj2000", "ra_deg"),
    "dec": ("dec", "dej2000", "decj2000", "dec_deg"),
    "label": ("label", "class", "fr_class", "morphology"),
    "confidence": ("confidence",),
    "note": ("note", "notes", "comment"),
    "who": ("who", "user_name", "labeller"),
    "when": ("when", "created_at", "date"),
}
_DESCRIPTIONS = {
    "name": "designation of the source",
    "source": "number of the source in the result, -1: none",
    "ra": "right ascension (ICRS)",
    "dec": "declination (ICRS)",
    "label": "what the source was called",
    "confidence": "of the label, above 0 to 1",
    "note": "words of who gave the label",
    "who": "who gave the label",
    "when": "when the label was given, UTC",
}
_LONGEST = 1000  # characters of a text


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of n sources; one source may have several, of several people.

    Attributes
    ----------
    name : ndarray of str, shape (n,)
        Designations of the sources; empty where there is none.
    label : ndarray of str, shape (n,)
        What they were called, never empty.
    source : ndarray of int64, shape (n,)
        Numbers of the sources in a result; -1 for none.
    ra, dec : ndarray of float64, shape (n,)
        Degrees, ICRS; NaN where not known.
    confidence : ndarray of float64, shape (n,)
        Above 0, up to 1.
    note, who, when : ndarray of str, shape (n,)
        Remark, person, time (ISO 8601, UTC).
    """

    name: NDArray[np.str_]
    label: NDArray[np.str_]
    source: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    confidence: NDArray[np.float64]
    note: NDArray[np.str_]
    who: NDArray[np.str_]
    when: NDArray[np.str_]

    @classmethod
    def of(cls, columns: Mapping[str, ArrayLike]) -> Labels:
        """Make labels of columns.

        Parameters
        ----------
        columns : dict of array-like, shape (n,)
            ``label``, and ``name`` or ``ra`` and ``dec``; the others may be lacking.

        Returns
        -------
        Labels

        Raises
        ------
        InputError
            If a column is lacking, or a value cannot be.
        """
        if "label" not in columns:
            raise InputError("labels need a column label")
        if "name" not in columns and not {"ra", "dec"} <= set(columns):
            raise InputError("labels need a column name, or ra and dec in degrees, to tell their sources")
        n = len(np.asarray(columns["label"]))
        text = {key: np.asarray(columns.get(key, np.full(n, "")), dtype=str) for key in ("name", "note", "who", "when")}
        label = np.char.strip(np.asarray(columns["label"], dtype=str)) if n else np.zeros(0, "U1")
        numbers = {key: np.asarray(columns.get(key, np.full(n, np.nan)), dtype=np.float64) for key in ("ra", "dec")}
        confidence = np.asarray(columns.get("confidence", np.ones(n)), dtype=np.float64)
        source = np.asarray(columns.get("source", np.full(n, -1)), dtype=np.int64)
        if np.any(label == ""):
            raise InputError(f"row {int(np.argmax(label == '')) + 1} has no label")
        wrong = ~((confidence > 0) & (confidence <= 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"row {row + 1}: a confidence is above 0 and at most 1, not {confidence[row]:g}")
        placed = np.isfinite(numbers["ra"]) & (np.abs(numbers["dec"]) <= 90)
        lost = (text["name"] == "") & (source < 0) & ~placed
        if lost.any():
            raise InputError(
                f"row {int(np.argmax(lost)) + 1} tells no source: neither a name nor a position in degrees"
            )
        return cls(
            text["name"],
            label,
            source,
            numbers["ra"],
            numbers["dec"],
            confidence,
            text["note"],
            text["who"],
            text["when"],
        )

    @classmethod
    def read(cls, path: str | os.PathLike, *, label_col: str | None = None, task: str | None = None) -> Labels:
        """Read labels.

        Parameters
        ----------
        path : path-like
            ECSV as the page and `write` make it, CSV with a column of labels, a FITS table, or an export of
            Zooniverse or Radio Galaxy Zoo (CSV or JSON), each vote of which is a label.
        label_col : str, optional
            The column of labels; by default ``label``, ``class``, ``fr_class`` or ``morphology``.
        task : str, optional
            The task of a Zooniverse workflow whose answers are labels, where several are.

        Returns
        -------
        Labels
            Rows without a label are left out.

        Raises
        ------
        InputError
            If the file cannot be read, or a row cannot be.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise InputError(f"{path} cannot be read: {exc.strerror or exc}") from exc
        try:
            columns = _columns_of(content, path, task)
            return cls.of(_chosen(columns, label_col))
        except InputError as exc:
            raise InputError(f"{path.name}: {exc}") from exc

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: Any) -> Labels:
        return Labels(*(getattr(self, f.name)[rows] for f in fields(self)))

    def table(self) -> Table:
        """Return the labels as a table with descriptions and units.

        Returns
        -------
        `~astropy.table.Table`
        """
        table = Table({key: Column(getattr(self, key), description=words) for key, words in _DESCRIPTIONS.items()})
        table["ra"].unit = table["dec"].unit = "deg"
        return table

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write the labels as ECSV, which appears when it is complete.

        Parameters
        ----------
        path : path-like
            The file.
        overwrite : bool
            Replace a file of that name.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OutputError
            If the file exists, or cannot be written.
        """
        path = check_output(path, overwrite)
        text = io.StringIO()
        self.table().write(text, format="ascii.ecsv", delimiter=",")
        with written_beside(path) as stream:
            stream.write(text.getvalue().encode("utf-8"))
        return path

    def match(self, name: ArrayLike, ra: ArrayLike, dec: ArrayLike, radius: float = SAME_PLACE) -> NDArray[np.intp]:
        """Find the source of each label among others: by its name, else by the nearest position.

        Parameters
        ----------
        name : array-like of str, shape (m,)
            Names of the others.
        ra, dec : array-like, shape (m,)
            Their positions, degrees ICRS; NaN for none.
        radius : float
            Arcsec within which a position may be.

        Returns
        -------
        ndarray of int, shape (n,)
            Their numbers; -1 for a label whose source is not among them.
        """
        names = np.asarray(name, dtype=str)
        by_name = {text: row for row, text in reversed(list(enumerate(names.tolist()))) if text}
        found = np.array([by_name.get(text, -1) for text in self.name.tolist()], dtype=np.intp)
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        there = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        asked = np.flatnonzero((found < 0) & np.isfinite(self.ra) & np.isfinite(self.dec))
        if len(there) and len(asked):
            tree = cKDTree(unit_vectors(ra[there], dec[there]))
            away, nearest = tree.query(
                unit_vectors(self.ra[asked], self.dec[asked]), distance_upper_bound=_chord(radius)
            )
            near = np.isfinite(away)
            found[asked[near]] = there[nearest[near]]
        return found

    def consensus(self) -> tuple[Labels, list[str]]:
        """Join several labels of one source to the one with the greatest sum of confidences.

        Returns
        -------
        labels : Labels
            One for each source, in the order of their first ones. The confidence of one that was joined is its share
            of the sum of all.
        undecided : list of str
            Sources with two labels of the same sum: they are left out.
        """
        if not len(self):
            return self, []
        key = self._first_of_each()
        chosen, shares, undecided = [], [], []
        for first in np.unique(key):
            rows = np.flatnonzero(key == first)
            sums = {
                label: self.confidence[rows][self.label[rows] == label].sum() for label in self.label[rows].tolist()
            }
            best = max(sums.values())
            winners = [label for label, total in sums.items() if np.isclose(total, best)]
            if len(winners) > 1:
                undecided.append(self.called(int(first)))
                continue
            mine = rows[self.label[rows] == winners[0]]
            chosen.append(int(mine[np.argmax(self.confidence[mine])]))
            shares.append(best / sum(sums.values()) if len(rows) > 1 else self.confidence[mine[0]])
        joined = self[np.array(chosen, dtype=np.intp)]
        object.__setattr__(joined, "confidence", np.array(shares, dtype=np.float64))
        return joined, undecided

    def _first_of_each(self) -> NDArray[np.intp]:
        """The first row that is of the same source as each: by name, else by place, else by number."""
        key = np.arange(len(self), dtype=np.intp)
        placed = np.flatnonzero(np.isfinite(self.ra) & np.isfinite(self.dec))
        near = {}
        if len(placed):
            vectors = unit_vectors(self.ra[placed], self.dec[placed])
            balls = cKDTree(vectors).query_ball_point(vectors, _chord(SAME_PLACE))
            near = {int(row): int(placed[min(ball)]) for row, ball in zip(placed, balls, strict=True)}
        named: dict[str, int] = {}
        numbered: dict[int, int] = {}
        for row, (name, source) in enumerate(zip(self.name.tolist(), self.source.tolist(), strict=True)):
            if name:
                key[row] = named.setdefault(name, row)
            elif row in near:
                key[row] = key[near[row]]
            else:
                key[row] = numbered.setdefault(source, row)
        return key

    def called(self, row: int) -> str:
        """Return what to call the source of a row: its name, else its position or number.

        Parameters
        ----------
        row : int
            From 0.

        Returns
        -------
        str
        """
        if self.name[row]:
            return str(self.name[row])
        if np.isfinite(self.ra[row]):
            return f"{self.ra[row]:.5f} {self.dec[row]:+.5f}"
        return f"source {self.source[row]}"

    def records(self) -> list[dict[str, Any]]:
        """Return a dictionary for each row, of texts and numbers; None for a position that is not known.

        Returns
        -------
        list of dict
        """
        columns = {f.name: getattr(self, f.name).tolist() for f in fields(self)}
        for key in ("ra", "dec"):
            columns[key] = [value if np.isfinite(value) else None for value in columns[key]]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    @classmethod
    def of_records(cls, records: Sequence[Mapping[str, Any]]) -> Labels:
        """Make labels of dictionaries such as `records` gives.

        Parameters
        ----------
        records : sequence of dict

        Returns
        -------
        Labels

        Raises
        ------
        InputError
            If one lacks something, or has a value that cannot be.
        """
        columns: dict[str, list] = {f.name: [] for f in fields(cls)}
        for record in records:
            for key, value in _checked(record).items():
                columns[key].append(value)
        return cls.of(columns)


class LabelsFile:
    """A file of labels that is written anew, atomically, with each label that is given.

    Parameters
    ----------
    path : path-like
        The file; labels that are in it stay.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._records: dict[tuple[str, int], dict[str, Any]] = {}
        if self.path.exists():
            for record in Labels.read(self.path).records():
                self._records[_key(record)] = record
        else:
            check_output(self.path)

    def records(self) -> list[dict[str, Any]]:
        """Return what is in the file.

        Returns
        -------
        list of dict
        """
        with self._lock:
            return list(self._records.values())

    def put(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add labels, each instead of an earlier one of its source; an empty ``label`` takes it away.

        Parameters
        ----------
        records : iterable of dict
            As `Labels.records` gives them. An older one than the file has changes nothing.

        Raises
        ------
        InputError
            If one cannot be a label; then none is kept.
        OutputError
            If the file cannot be written.
        """
        checked = [_checked(record) for record in records]
        Labels.of_records([record for record in checked if record["label"]])  # refuses what could not be read again
        with self._lock:
            kept = dict(self._records)
            for record in checked:
                key = _key(record)
                if record["when"] < kept.get(key, record)["when"]:
                    continue
                if record["label"]:
                    kept[key] = record
                else:
                    kept.pop(key, None)
            Labels.of_records(list(kept.values())).write(self.path, overwrite=True)
            self._records = kept


def _key(record: Mapping[str, Any]) -> tuple[str, int]:
    return (record["name"], -1) if record["name"] else ("", record["source"])


def _checked(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a label with every key, texts that are texts, and numbers that are numbers."""
    if not isinstance(record, Mapping):
        raise InputError("a label is a dictionary")
    checked: dict[str, Any] = {}
    for key in ("name", "label", "note", "who", "when"):
        value = record.get(key) or ""
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise InputError(f"{key} of a label is a text of at most {_LONGEST} characters")
        checked[key] = " ".join(value.split()) if key in ("label", "note") else value
    for key, missing in (("ra", np.nan), ("dec", np.nan), ("confidence", 1.0), ("source", -1)):
        value = record.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"{key} of a label is a number, not {value!r}")
        checked[key] = missing if value is None else value
    checked["source"] = int(checked["source"])
    return {f.name: checked[f.name] for f in fields(Labels)}


def _chord(radius: float) -> float:
    """The chord of an angle in arcsec on the unit sphere, with room for rounding."""
    return float(2 * np.sin(np.radians(radius / 3600) / 2)) + 1e-12


def _columns_of(content: bytes, path: Path, task: str | None) -> dict[str, NDArray]:
    """The columns of a file, as they are called there."""
    if content.startswith(b"SIMPLE  ="):
        return _table_columns(path, "fits")
    if content.startswith(b"# %ECSV"):
        return _table_columns(path, "ascii.ecsv")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InputError("labels are ECSV, CSV in UTF-8, a FITS table, or an export of Zooniverse") from exc
    if is_votes(text):
        return read_votes(text, task)
    rows = list(csv.reader(io.StringIO(text), strict=False))
    header = [name.strip() for name in rows[0]] if rows else []
    body = [row for row in rows[1:] if row]
    uneven = next((number for number, row in enumerate(body, 2) if len(row) != len(header)), None)
    if uneven:
        raise InputError(f"row {uneven} of the CSV has {len(body[uneven - 2])} fields, its header {len(header)}")
    return {name: np.array([row[place] for row in body], dtype=str) for place, name in enumerate(header)}


def _table_columns(path: Path, format: str) -> dict[str, NDArray]:
    try:
        table = Table.read(path, format=format)
    except Exception as exc:  # astropy raises many kinds for a file that is not what it says
        raise InputError(f"it cannot be read as {format}: {exc}") from exc
    return {
        str(name): np.array(["" if v is np.ma.masked else _plain(v) for v in table[name]], dtype=str)
        for name in table.colnames
    }


def _plain(value: Any) -> str:
    return value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else str(value)


def _chosen(columns: dict[str, NDArray], label_col: str | None) -> dict[str, NDArray]:
    """The columns that labels have, by their own names, without the rows that have no label."""
    lower = {name.lower(): name for name in reversed(list(columns))}
    found = {key: next((lower[n] for n in names if n in lower), None) for key, names in _NAMES.items()}
    if label_col is not None:
        if label_col not in columns:
            raise InputError(f"there is no column {label_col!r}; there are {', '.join(columns)}")
        found["label"] = label_col
    if found["label"] is None:
        raise InputError(f"no column of labels (label, class, fr_class, morphology) among {', '.join(columns)}")
    chosen = {key: np.char.strip(columns[name].astype(str)) for key, name in found.items() if name is not None}
    labelled = chosen["label"] != ""
    chosen = {key: values[labelled] for key, values in chosen.items()}
    for key in ("ra", "dec", "confidence", "source"):
        if key in chosen:
            chosen[key] = _numbers(chosen[key], key)
    return chosen


def _numbers(texts: NDArray[np.str_], key: str) -> NDArray[np.float64]:
    missing = {"confidence": 1.0, "source": -1}.get(key, np.nan)
    values = np.empty(len(texts))
    for row, text in enumerate(texts.tolist()):
        try:
            values[row] = missing if text == "" else CONFIDENCES.get(text.lower()) or float(text)
        except ValueError:
            accepted = "a number or certain, uncertain" if key == "confidence" else "a number"
            raise InputError(f"row {row + 1}: {key} must be {accepted}, not {text!r}") from None
    return values
