"""What a dialect is: how one source finder or survey writes its catalogues.

A dialect has one or more kinds of table (components, islands, …). A kind says by which columns it is recognised, the
units that the files leave out, which columns identify a row in the tool's own output, which columns hold rows of one
source together, and which rows are good. `Columns` looks all of that up in a table, ignoring case and the ``col_`` that
astropy takes from the field IDs of CASDA's VOTables.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
from astropy.table import Column, MaskedColumn, Table

from radio_ag.catalog_io.catalogs.angles import numbers
from radio_ag.errors import CatalogueError, RadioAGWarning

_BRACKETS = "<>()[]{}\"' "
_NO_KEY = frozenset(
    {
        *("", "-", "--", "---", "----", ".", "..", "...", "…", "?", "*", "n/a", "n.a.", "#n/a", "n\\a", "na", "nan"),
        *("#nan", "null", "\\n", "#null!", "none", "nil", "nat", "inf", "missing", "masked", "unset", "undefined"),
        *("unknown", "undef", "empty", "blank", "unassigned", "unmatched", "no match", "nomatch", "no_match"),
        *("no source", "no_source", "nosource", "unnamed", "noname", "no name", "isolated", "single", "not available"),
    }
)
"""How tables write that a row is of no source that has a name: in lower case, without brackets."""
_ALIKE = 4  # columns that are hardly there by chance
_FLUX_SPELLINGS = {"jy": "Jy", "mjy": "mJy", "ujy": "uJy", "µjy": "uJy", "njy": "nJy"}
_FLUX_UNIT = re.compile(r"(?:^|[\W_\d])([munµ]?jy)[)\]]?$", re.IGNORECASE)
_FILLED = 1e20  # by which astropy fills a masked float
_NEGATIVE = re.compile(r"-\s*\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_SOURCE_NAME = re.compile(r"[^\W\d].*\d")  # a letter, and a digit behind it


class Columns:
    """Columns of a table under the names that a dialect knows.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Which may spell them in another way; see `fold`.
    """

    def __init__(self, table: Table):
        self.table = table
        self._names = {fold(name): name for name in reversed(table.colnames)}

    def __contains__(self, name: str) -> bool:
        return fold(name) in self._names

    def have(self, names: Iterable[str]) -> bool:
        """Tell whether some columns are all there.

        Parameters
        ----------
        names : iterable of str
            As the dialect spells them.

        Returns
        -------
        bool
            True of no columns.
        """
        return all(name in self for name in names)

    def name(self, name: str) -> str | None:
        """Name a column as the table spells it.

        Parameters
        ----------
        name : str
            As the dialect spells it.

        Returns
        -------
        str or None
            `None` when it is not there.
        """
        return name if name in self.table.colnames else self._names.get(fold(name))

    def numbers(self, name: str) -> np.ndarray:
        """Return the values of a numeric column that is there.

        Parameters
        ----------
        name : str
            As the dialect spells it.

        Returns
        -------
        numpy.ndarray of float64, shape (n,)
            NaN where missing.
        """
        return numbers(self.table[self.name(name)])


def fold(name: str) -> str:
    """Name a column without case, ``col_``, and what VOTable IDs cannot hold: ``p(S)`` becomes ``p_s_``.

    Parameters
    ----------
    name : str
        Of a column.

    Returns
    -------
    str
        What two spellings of one name have in common.
    """
    folded = name.lower().translate(str.maketrans("().", "___"))
    return folded.removeprefix("col_")


@dataclass(frozen=True)
class Kind:
    """One kind of table that a dialect has.

    Attributes
    ----------
    name : str
        The tool's own word: ``"srl"``, ``"components"``.
    columns : tuple of str
        Columns by which a table of this kind is recognised: what is used of it, and no more than tells it from others.
        Of several kinds that fit, the one with the most columns is taken.
    position : tuple of str or None
        Columns of right ascension and declination, or one SkyCoord column twice; `None` for a table that has no rows.
    units : dict of str to str
        Units of columns for files that leave them out.
    join_keys : tuple of str
        Columns that together identify a row in the tool's own output.
    group_keys : tuple of str
        Columns whose values are the same for all rows of one source or island.
    flux : str, optional
        Column of the integrated flux density.
    flux_error : str, optional
        Column of its error.
    peak, rms : str, optional
        Columns of the peak flux density and of the local noise.
    axes : tuple of str, optional
        Columns of the major axis, the minor axis (full widths at half maximum) and the position angle that were fitted,
        not corrected for the beam.
    quality : tuple of str
        Columns that ``good`` takes.
    good : callable, optional
        Arrays of the ``quality`` columns, shape (n,) each, to a boolean array: whether a row passes the quality cuts
        that its makers recommend.
    missing : dict of str to float
        Numbers that stand for a missing value, by column.
    test : callable, optional
        `Table` to bool: recognises tables that no set of columns tells.
    """

    name: str
    columns: tuple[str, ...]
    position: tuple[str, str] | None
    units: Mapping[str, str] = field(default_factory=dict)
    join_keys: tuple[str, ...] = ()
    group_keys: tuple[str, ...] = ()
    flux: str | None = None
    flux_error: str | None = None
    peak: str | None = None
    rms: str | None = None
    axes: tuple[str, str, str] | None = None
    quality: tuple[str, ...] = ()
    good: Callable[..., np.ndarray] | None = None
    missing: Mapping[str, float] = field(default_factory=dict)
    test: Callable[[Table], bool] | None = None

    def fits(self, table: Table) -> bool:
        """Tell whether a table is of this kind.

        Parameters
        ----------
        table : `~astropy.table.Table`
            Of any dialect or none.

        Returns
        -------
        bool
            Whether it has the columns, and passes the ``test`` where there is one.
        """
        return Columns(table).have(self.columns) and (self.test is None or self.test(table))

    def known_columns(self, table: Table) -> tuple[list[str], list[str]]:
        """Return which of the columns that the kind has a use for, but for the position, a table has, and which not.

        Parameters
        ----------
        table : `~astropy.table.Table`
            As it was read.

        Returns
        -------
        present, lacking : list of str
        """
        columns = Columns(table)
        single = (self.flux, self.peak, self.rms, *(self.axes or ()))
        names = dict.fromkeys([*self.columns, *self.group_keys, *self.join_keys, *self.quality, *filter(None, single)])
        known = [name for name in names if name not in (self.position or ())]
        return [name for name in known if name in columns], [name for name in known if name not in columns]


@dataclass(frozen=True)
class Dialect:
    """How one source finder or survey writes its catalogues.

    Attributes
    ----------
    name : str
        Name for ``--dialect`` and for the format ``radio_ag.<name>``.
    title : str
        What it is, in a line.
    kinds : tuple of Kind
        The kinds of table that it has.
    reads : callable, optional
        First bytes of a file to bool: whether `read` reads the file, where the general readers cannot.
    read : callable, optional
        Path to `Table`.
    """

    name: str
    title: str
    kinds: tuple[Kind, ...]
    reads: Callable[[bytes], bool] | None = None
    read: Callable[[Path], Table] | None = None

    def kind(self, table: Table) -> Kind | None:
        """Choose the kind that fits a table best.

        Parameters
        ----------
        table : `~astropy.table.Table`
            Of any dialect or none.

        Returns
        -------
        Kind or None
            `None` when none fits.
        """
        fitting = [kind for kind in self.kinds if kind.fits(table)]
        return max(fitting, key=lambda kind: len(kind.columns)) if fitting else None

    def required_kind(self, table: Table, *, placed: bool = False) -> Kind:
        """Choose the kind that fits a table best, of which there has to be one.

        Parameters
        ----------
        table : `~astropy.table.Table`
            Said to be of this dialect: its positions, and its grouping column or a third of
            what is used of it, are enough.
        placed : bool
            Whether it is known by other names where its positions are.

        Returns
        -------
        Kind
            The one with the most columns.

        Raises
        ------
        CatalogueError
            When none fits.
        """
        kind = self.kind(table) or self._nearest_kind(table, placed)
        if kind is None:
            kinds = "; ".join(f"{kind.name} with {' '.join(kind.columns)}" for kind in self.kinds)
            raise CatalogueError(f"the catalogue is not of the dialect {self.name!r}, whose tables are: {kinds}")
        return kind

    def _nearest_kind(self, table: Table, placed: bool) -> Kind | None:
        """The kind with the most columns in common with a table, besides the positions."""
        best, nearest, columns = 0, None, Columns(table)
        for kind in self.kinds:
            present, lacking = kind.known_columns(table)
            grouped = bool(kind.group_keys) and columns.have(kind.group_keys)
            enough = grouped or 2 * len(present) >= len(lacking)
            there = kind.position is not None and (placed or columns.have(kind.position))
            if len(present) > best and enough and there:
                best, nearest = len(present), kind
        return nearest


def lookalike(table: Table, dialects: Iterable[Dialect]) -> str | None:
    """Say what a table that is of no dialect looks like.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As it was read.
    dialects : iterable of Dialect
        Those that the table was found not to be of.

    Returns
    -------
    str or None
        A line for the user; `None` where it looks like none.
    """
    best, looks_like, columns = 0, None, Columns(table)
    for dialect in dialects:
        for kind in dialect.kinds:
            present, lacking = kind.known_columns(table)
            enough = len(present) >= max(_ALIKE, 2 * len(lacking), best + 1)
            there = kind.position is not None and columns.have(kind.position)
            if enough and there and not kind.fits(table):
                best = len(present)
                why = f"lacks {', '.join(lacking)}" if lacking else "has other values"
                looks_like = (
                    f"the catalogue looks like {dialect.name} {kind.name}, but {why}: it is taken as a plain table of "
                    f"positions; dialect={dialect.name!r} (--dialect {dialect.name}) takes it as that"
                )
    return looks_like


def with_units(table: Table, kind: Kind) -> Table:
    """Add the units that a file left out; values and the given table stay as they are.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As it was read.
    kind : Kind
        What it is.

    Returns
    -------
    `~astropy.table.Table`
        The same columns.
    """
    table = table.copy(copy_data=False)
    columns = Columns(table)
    for known, unit in kind.units.items():
        name = columns.name(known)
        if name is not None and table[name].dtype.kind in "fiu" and str(table[name].unit or "") in ("", "--"):
            table[name].unit = unit
    return table


def tidy(table: Table, kind: Kind) -> Table:
    """Make a table for people: units where they mean something, and numbers that stand for a missing value masked.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As it was read.
    kind : Kind
        What it is.

    Returns
    -------
    `~astropy.table.Table`
        As many rows and columns.
    """
    table = with_units(table, kind)
    for column in table.itercols():
        if isinstance(column, Column) and (column.dtype.kind not in "fiu" or str(column.unit) == "--"):
            column.unit = None
    columns = Columns(table)
    for known, sentinel in kind.missing.items():
        name = columns.name(known)
        if name is not None:
            column = MaskedColumn(table[name])
            column.mask |= columns.numbers(known) == sentinel
            table[name] = column
    return table


def conversion(table: Table, kind: Kind, column: str | None, unit: u.UnitBase) -> tuple[str, float] | None:
    """Find a measured column of a table, and what turns its values into a unit.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As it was read, or `with_units`.
    kind : Kind
        What it is.
    column : str or None
        As the dialect spells it.
    unit : `~astropy.units.Unit`
        In which the values are wanted, and are where neither the table nor the dialect tells.

    Returns
    -------
    tuple of str and float, or None
        As the table spells it, and a factor; `None` where the table has no such column.
    """
    name = None if column is None else Columns(table).name(column)
    if column is None or name is None:
        return None
    default = next((unit for known, unit in kind.units.items() if fold(known) == fold(column)), unit)
    own = u.Unit(str(table[name].unit or default), parse_strict="silent")
    if unit.is_equivalent(u.Jy / u.beam) and own.is_equivalent(u.Jy):
        own = own / u.beam  # VizieR leaves the beam out
    if not own.is_equivalent(unit):
        # VizieR gives integrated fluxes per beam now and then; anything else is taken as the survey's own unit.
        own = u.Unit(default)
    return name, own.to(unit)


def fluxes(table: Table, kind: Kind) -> np.ndarray | None:
    """Return integrated flux densities.

    Parameters
    ----------
    table : `~astropy.table.Table`, n rows
        As it was read, or `with_units`.
    kind : Kind
        What it is.

    Returns
    -------
    numpy.ndarray or None, shape (n,)
        Jy, NaN where missing; `None` where the table has none.
    """
    found = conversion(table, kind, kind.flux, u.Jy)
    return None if found is None else numbers(table[found[0]]) * found[1]


def flux_of(table: Table, name: str) -> np.ndarray:
    """Return the flux densities of a column that the user names.

    Parameters
    ----------
    table : `~astropy.table.Table`, n rows
        As it was read.
    name : str
        Its column. Where that has no unit, one at the end of its name counts, as in ``S_mJy``.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Jy, NaN where missing.

    Raises
    ------
    CatalogueError
        When its unit is not that of a flux density.

    Warns
    -----
    RadioAGWarning
        Of a column without a unit, which is taken as Jy.
    """
    text = str(table[name].info.unit or "").strip("\"'[] ")
    if text in ("", "--", "-"):
        found = _FLUX_UNIT.search(name)
        text = _FLUX_SPELLINGS[found[1].lower()] if found else ""
    if not text:
        warnings.warn(f"flux column {name!r} has no unit: it is taken as Jy", RadioAGWarning, stacklevel=2)
    unit = u.Unit(text or "Jy", parse_strict="silent")
    if unit.is_equivalent(u.Jy / u.beam):
        unit = unit * u.beam
    if not unit.is_equivalent(u.Jy):
        raise CatalogueError(f"flux column {name!r} has unit {text!r}; a flux density is needed (Jy, mJy, uJy)")
    return numbers(table[name]) * unit.to(u.Jy)


class Measure(NamedTuple):
    """Where a table has what was measured of its rows."""

    column: str
    factor: float
    """To the unit that is wanted."""
    missing: float
    """What stands for a missing value, besides NaN."""


def measures(table: Table, kind: Kind) -> dict[str, Measure]:
    """Find what a table tells of its rows besides the flux.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As it was read, or `with_units`.
    kind : Kind
        What it is.

    Returns
    -------
    dict of str to Measure
        Columns of numbers that are there: ``flux_error`` (Jy), ``peak``, ``rms`` (Jy/beam), ``major``, ``minor``
        (arcsec), ``position_angle`` (deg).
    """
    major, minor, angle = kind.axes or (None, None, None)
    wanted = {
        "flux_error": (kind.flux_error, u.Jy),
        "peak": (kind.peak, u.Jy / u.beam),
        "rms": (kind.rms, u.Jy / u.beam),
        "major": (major, u.arcsec),
        "minor": (minor, u.arcsec),
        "position_angle": (angle, u.deg),
    }
    sentinels = {fold(name): value for name, value in kind.missing.items()}
    found = {}
    for name, (column, unit) in wanted.items():
        place = conversion(table, kind, column, unit)
        if place and column and table[place[0]].dtype.kind in "fiu":
            found[name] = Measure(*place, sentinels.get(fold(column), np.nan))
    return found


def good_rows(table: Table, kind: Kind) -> np.ndarray | None:
    """Tell which rows pass the quality cuts of the catalogue's makers.

    Parameters
    ----------
    table : `~astropy.table.Table`, n rows
        As it was read.
    kind : Kind
        What it is.

    Returns
    -------
    numpy.ndarray of bool or None, shape (n,)
        `None` where the columns for it are not there.
    """
    columns = Columns(table)
    if kind.good is None or not all(name in columns for name in kind.quality):
        return None
    return kind.good(*(columns.numbers(name) for name in kind.quality))


class Grouping(NamedTuple):
    """Which rows a catalogue has for one source.

    Attributes
    ----------
    group : numpy.ndarray of int64, shape (n,)
        Number of each row's group, from 0.
    named : numpy.ndarray of bool, shape (n,)
        Whether the group is told by a name, letters with digits, as sources have it: such a name is given once. A
        number begins anew in each run, and a bare word may stand for "unknown".
    """

    group: np.ndarray
    named: np.ndarray


def groups(table: Table, kind: Kind) -> Grouping | None:
    """Group the rows that agree in all grouping columns of a dialect; one that lacks a value is a group of its own.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As it was read.
    kind : Kind
        What it is.

    Returns
    -------
    Grouping or None
        `None` where the dialect has no grouping columns.
    """
    columns = Columns(table)
    names = [columns.name(key) for key in kind.group_keys]
    return None if not names or None in names else group_by([table[name] for name in names])


def group_by(columns: Sequence[Column]) -> Grouping:
    """Group the rows that agree in all of some columns; one that lacks a value in any is a group of its own.

    Parameters
    ----------
    columns : sequence of `~astropy.table.Column`, shape (n,) each
        At least one. Besides masked values, NaN and negative numbers, texts such as ``N/A``, ``NULL`` and ``-99`` say
        that there is none.

    Returns
    -------
    Grouping
    """
    n = len(columns[0])
    group = np.zeros(n, np.int64)
    alone = np.zeros(n, bool)
    named = np.zeros(n, bool)
    for column in columns:
        keys, inverse = np.unique(_key_values(column), return_inverse=True)
        is_text = keys.dtype.kind == "U"
        missing = (
            np.array([_is_missing(key) for key in keys.tolist()], bool)
            if is_text
            else ~((keys >= 0) & (keys < _FILLED))
        )
        alone |= np.ma.getmaskarray(column) | missing[inverse]
        if is_text:
            named |= np.array([_SOURCE_NAME.search(key) is not None for key in keys.tolist()], bool)[inverse]
        group = np.unique(group * (inverse.max(initial=0) + 1) + inverse, return_inverse=True)[1]
    group[alone] = group.max(initial=-1) + 1 + np.arange(alone.sum())
    return Grouping(np.unique(group, return_inverse=True)[1].astype(np.int64), named & ~alone)


def _key_values(column: Column) -> np.ndarray:
    """Keys as numbers or as stripped text, whatever is masked."""
    values = np.asarray(np.ma.getdata(column))
    if values.ndim != 1:
        raise CatalogueError(f"column {column.info.name!r} has {values.ndim} dimensions; one key a row is needed")
    if values.dtype.kind == "b":
        return values.astype(np.int64)
    if values.dtype.kind in "iuf":
        return values
    if values.dtype.kind == "O":
        values = np.array([_key_text(value) for value in values], dtype=str)
    text = np.strings.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values.astype(str)
    return np.strings.strip(text) if text.size else text


def _key_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_missing(key: str) -> bool:
    return key.lower().strip(_BRACKETS) in _NO_KEY or _NEGATIVE.fullmatch(key) is not None
