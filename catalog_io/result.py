"""Result of a classification: table, attention maps and provenance, in memory or in a FITS product."""

import copy
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.table import Column, Row, Table
from numpy.typing import ArrayLike, NDArray

from radio_ag.catalog_io.product.columns import result_table
from radio_ag.catalog_io.product.fits import cutout_wcs, write_product
from radio_ag.catalog_io.product.formats import Format, product_format
from radio_ag.catalog_io.product.headers import software_versions
from radio_ag.catalog_io.product.sources import group_ids, sources_among, sources_of
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.class_names import DEFAULT_CLASSES
from radio_ag.errors import InputError, SourceNotFoundError
from radio_ag.flags import Flag
from radio_ag.prior import with_prior


class Result:
    """Classified sources, a row for each row of the input, in the same order.

    Made by `radio_ag.classify`, `Result.read` or `Result.from_columns`.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With the columns of a result; its ``meta`` is the provenance.
    stores : dict of AttentionStore
        Attention maps by "mean", 1, 2, 3, those that were kept. The table's ``attention_plane`` names the planes.
    cutouts : AttentionStore, optional
        The cutouts in Jy/beam, if they were kept. The table's ``cutout_plane`` names the planes.
    sources : `~astropy.table.Table`, or a function that makes it, optional
        The sources that the rows are of; None: what the product holds, else what the rows tell of them.
    path : path, optional
        The product that holds all this.

    Notes
    -----
    A result can be copied, pickled and sent to other processes: its tables go along, and so do its maps, unless they
    lie in a product. That is opened again where they are asked for.

    Examples
    --------
    >>> from radio_ag import Result
    >>> result = Result.read("catalog.radio-ag.fits")  # doctest: +SKIP
    >>> clean = result[result.table["flags"] == 0]  # doctest: +SKIP
    >>> source = result.at("08:04:04.5 +15:33:35")  # doctest: +SKIP
    >>> source["class"], source.components, source.attention()  # doctest: +SKIP
    """

    def __init__(
        self,
        table: Table,
        stores: Mapping[str | int, AttentionStore] | None = None,
        cutouts: AttentionStore | None = None,
        *,
        sources: Table | Callable[[], Table | None] | None = None,
        path: Path | None = None,
    ) -> None:
        self._table = table
        self._load: Callable[[], Table] | None = None
        self._loading = threading.RLock()
        self._sources = sources
        self._summaries: Sequence[dict[str, Any]] = ()  # of sources and of rows, while the table is not made
        self._path = path
        self._incomplete = 0
        self._stores = {gate if gate == "mean" else int(gate): store for gate, store in (stores or {}).items()}
        self._cutouts = cutouts
        self.traffic: Any = None  # what asking for the images took, where the image source tells it

    @classmethod
    def deferred(
        cls,
        load: Callable[[], Table],
        summaries: Sequence[dict[str, Any]],
        stores: Mapping[str | int, AttentionStore] | None = None,
        cutouts: AttentionStore | None = None,
        *,
        sources: Callable[[], Table | None],
        path: Path | None = None,
        incomplete: int = 0,
    ) -> "Result":
        """Return a result whose tables are made when they are asked for; summaries (sources, rows) are known before."""
        result = cls(Table(), stores, cutouts, sources=sources, path=path)
        result._load, result._summaries, result._incomplete = load, summaries, incomplete
        return result

    @classmethod
    def from_columns(
        cls,
        catalogue: Table,
        columns: dict[str, ArrayLike],
        stores: Mapping[str | int, AttentionStore] | None = None,
        provenance: Mapping[str, Any] | None = None,
        cutouts: AttentionStore | None = None,
    ) -> "Result":
        """Return a result from an input table and what was measured.

        Parameters
        ----------
        catalogue : `~astropy.table.Table`
            The input, n rows; every column comes out again. One whose name equals one of a result's, ignoring case,
            becomes ``in_<name>``.
        columns : dict of array (n,)
            ``ra``, ``dec`` (deg, ICRS), ``class`` ("FRI", "FRII" or ""), ``probability``, ``p_fri``, ``p_frii``,
            ``p_std``, ``rms``, ``peak`` (Jy/beam), ``snr``, ``size`` (arcsec), ``n_islands``, ``flags``,
            ``attention_plane`` (0-based, -1 for none), ``cutout_ra``, ``cutout_dec`` (deg), ``crpix1``, ``crpix2``
            (pixels, 1-based), ``cd1_1``, ``cd1_2``, ``cd2_1``, ``cd2_2`` (deg/pixel), and, if there is one,
            ``source_id`` (any type; else the row number from 1); ``group_id``, ``n_components`` and ``primary``, where
            some rows are of one source. NaN and empty text mean missing.
        stores : dict of AttentionStore, optional
            Attention maps by "mean", 1, 2, 3, all with the same planes.
        provenance : dict, optional
            Flat, of text, numbers, booleans, None and sequences of them, e.g. ``survey``, ``weights``,
            ``weights_sha256``, ``normalisation``, ``catalogue``, ``catalogue_sha256``, and the settings. The versions
            of the software are added.
        cutouts : AttentionStore, optional
            The cutouts in Jy/beam that the column ``cutout_plane`` names.

        Raises
        ------
        InputError
            If a column is lacking, unknown, or of another length.
        """
        table = result_table(catalogue, columns)
        table.meta.update(software_versions() | dict(provenance or {}))
        return cls(table, stores, cutouts)

    @classmethod
    def read(cls, path: str | os.PathLike, *, verify: bool = True) -> "Result":
        """Read the result in a FITS product, or in a data set of Parquet files.

        Attention maps stay in the file until they are asked for.

        Parameters
        ----------
        path : path
            The file, or the folder of Parquet files.
        verify : bool
            Hold the table, and each map when it is asked for, against its checksum. False takes what is damaged, or was
            changed by a program that does not keep checksums, as it is.

        Raises
        ------
        InputError
            If the file or folder is not there, damaged, or no product of radio-ag.
        """
        path = Path(os.path.abspath(path))
        kind = _format_of(path)
        sources = partial(kind.read_sources, path, verify=verify)
        return cls(*kind.read(path, verify=verify), sources=sources, path=path)

    def verify(self) -> None:
        """Hold every byte of the product that this result was read from, or written to, against its checksums.

        Raises
        ------
        InputError
            If something does not match (the message names the HDUs or files), or this result is of no product.
        """
        if self._path is None:
            raise InputError("this result is in memory alone: there is no product to verify")
        faults = [f"{name} {fault}" for name, fault in verify_product(self._path).items() if fault]
        if faults:
            raise InputError(f"{self._path} is damaged: {'; '.join(faults)}")

    def __getstate__(self) -> dict[str, Any]:
        tables = {"table": self.table, "sources": self.sources}  # what makes them may not be sent to another process
        return tables | {"stores": self._stores, "cutouts": self._cutouts, "path": self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def write(self, path: str | os.PathLike, *, overwrite: bool = False, attention: str | None = None) -> None:
        """Write a FITS product; see `radio_ag.catalog_io.product.fits`.

        Parameters
        ----------
        path : path
            The file. It appears when it is complete.
        overwrite : bool
            Replace a file of that name.
        attention : {"mean", "gates", "hdus", "none"}, optional
            The mean maps as one stack, each gate's too, one image HDU a source, or none. None means all that was kept,
            as stacks.

        Raises
        ------
        InputError
            If ``attention`` asks for what was not kept.
        OutputError
            If the file exists, or cannot be written.
        """
        write_product(
            path,
            self.table,
            self._stores,
            self._cutouts,
            sources=self.sources,
            attention=attention,
            overwrite=overwrite,
        )
        self._path = Path(os.path.abspath(path))

    def export(
        self,
        path: str | os.PathLike,
        format: str | None = None,
        *,
        images: Any = None,
        rows: bool = False,
        spreadsheet_safe: bool = False,
        overwrite: bool = False,
    ) -> Path:
        """Write regions, a VOTable, CSV, ECSV or a FITS file a source; see `radio_ag.catalog_io.export.export`."""
        from radio_ag.catalog_io.export import export

        return export(
            self, path, format, images=images, rows=rows, spreadsheet_safe=spreadsheet_safe, overwrite=overwrite
        )

    def send(self, to: str | None = None, *, image: str | os.PathLike | None = None, timeout: int = 60) -> list[str]:
        """Send the table to TOPCAT, Aladin, DS9, ... by SAMP; see `radio_ag.catalog_io.export.samp.send_result`."""
        from radio_ag.catalog_io.export.samp import send_result

        return send_result(self, to, image=image, timeout=timeout)

    @property
    def table(self) -> Table:
        """The rows, with our columns first; a large one that was written to a file is read when it is asked for."""
        with self._loading:  # or two threads would make one each
            if self._load is not None:
                self._table, self._load, self._summaries = self._load(), None, ()
            return self._table

    @table.setter
    def table(self, table: Table) -> None:
        self._table, self._load, self._summaries, self._sources = table, None, (), None

    @property
    def sources(self) -> Table:
        """The radio sources, a row for each; the rows of one in `table` are those whose ``group_id`` is its ``source``.

        It is read, or made, when it is first asked for. Of a product without such a table it is made of the rows, which
        do not tell flux densities, lobes, core and position angle.

        Raises
        ------
        InputError
            If it lies in a product that is damaged, or not there any more.
        """
        with self._loading:
            if callable(self._sources):
                self._sources = self._sources()
            if self._sources is None:
                self._sources = sources_of(self.table)
            return self._sources

    def first_rows(self) -> "Result":
        """Return a result of the first row of each source, in the order of `sources`."""
        return self if len(self.sources) == len(self.table) else self[np.asarray(self.sources["first_row"])]

    def source(self, number: int) -> "Source":
        """Return what is known of a source.

        Parameters
        ----------
        number : int
            Row of `sources`, from 0.
        """
        row = self.sources[int(number)]
        members = np.flatnonzero(group_ids(self.table) == row["source"])
        return Source(row, self.table[members], members, self)

    @property
    def provenance(self) -> dict[str, Any]:
        """Software, weights, survey, settings: the table's ``meta``."""
        return self.table.meta

    @property
    def incomplete(self) -> int:
        """Rows of the run whose images could not be had, if they were too many: the same command goes on; else 0."""
        return self._incomplete if self._load is not None else int(self.provenance.get("incomplete") or 0)

    @property
    def gates(self) -> tuple[str | int, ...]:
        """The attention maps that were kept: "mean", 1, 2, 3."""
        return tuple(sorted(self._stores, key=lambda gate: 0 if gate == "mean" else gate))

    def __len__(self) -> int:
        return self._summaries[1]["rows"] if self._summaries else len(self.table)

    def __repr__(self) -> str:
        summary = self.summary()
        classes = ", ".join(f"{count} {name}" for name, count in summary["classes"].items())
        of = "" if summary["sources"] == summary["rows"] else f"{summary['sources']} sources in "
        return f"<Result: {of}{summary['rows']} rows, {classes}>"

    def _repr_html_(self) -> str:
        from radio_ag.catalog_io.export.notebook import result_html

        return result_html(self)

    def __getitem__(self, rows: Any) -> "Row | Result":
        """Return the row for an integer; for a slice, mask or array of integers, a result of those rows."""
        selected = self.table[rows]
        if isinstance(selected, Row):
            return selected
        if not isinstance(selected, Table) or selected.colnames != self.table.colnames:
            raise TypeError(f"rows are chosen by integers, slices or masks, not by {rows!r}: columns are in .table")
        sources = partial(_sources_among, self, selected)
        return Result(selected, self._stores, self._cutouts, sources=sources)

    def attention(self, row: int, gate: str | int = "mean") -> CCDData:
        """Return the attention map of a row on the pixels of its cutout.

        Parameters
        ----------
        row : int
            Row of the table, from 0.
        gate : "mean" or int
            The mean of the gates, or one of them (1, 2, 3) where they were kept.

        Returns
        -------
        `~astropy.nddata.CCDData`
            Dimensionless float32 (150, 150) with the cutout's celestial WCS; within 1/2048 of the map's range.

        Raises
        ------
        InputError
            If that gate was not kept.
        SourceNotFoundError
            If the row has no map.
        """
        store = self._store(gate)
        entry = self.table[int(row)]
        plane = int(entry["attention_plane"])
        if plane < 0:
            flags = Flag(int(entry["flags"])).name or "none"
            raise SourceNotFoundError(f"row {row} has no attention map; its flags: {flags}")
        meta = {"OBJECT": str(entry["name"]), "GATE": gate}
        return CCDData(store.plane(plane), unit=u.dimensionless_unscaled, wcs=cutout_wcs(entry), meta=meta)

    def attention_maps(self, rows: ArrayLike, gate: str | int = "mean") -> NDArray[np.float32]:
        """Return the attention maps of several rows at once, which is much quicker than one by one.

        Parameters
        ----------
        rows : array (n,) of int
            Rows of the table, from 0.
        gate : "mean" or int
            As in `attention`.

        Returns
        -------
        array (n, 150, 150) of float32
            NaN for a row that has no map.

        Raises
        ------
        InputError
            If that gate was not kept.
        """
        return self._planes(self._store(gate), "attention_plane", rows)

    @property
    def has_cutouts(self) -> bool:
        """Whether the cutouts were kept."""
        return self._cutouts is not None

    def cutout(self, row: int) -> CCDData:
        """Return the cutout of a row, if they were kept.

        Parameters
        ----------
        row : int
            Row of the table, from 0.

        Returns
        -------
        `~astropy.nddata.CCDData`
            Jy/beam, float32 (150, 150), NaN where blank, with its celestial WCS; within 1/8 of the row's rms.

        Raises
        ------
        InputError
            If cutouts were not kept.
        SourceNotFoundError
            If the row has none.
        """
        (image,) = self.cutouts([row])
        entry = self.table[int(row)]
        if entry["cutout_plane"] < 0:
            raise SourceNotFoundError(f"row {row} has no cutout; its flags: {Flag(int(entry['flags'])).name or 'none'}")
        return CCDData(image, unit="Jy/beam", wcs=cutout_wcs(entry), meta={"OBJECT": str(entry["name"])})

    def cutouts(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Return the cutouts of several rows at once, Jy/beam (n, 150, 150); NaN for a row that has none.

        Raises
        ------
        InputError
            If cutouts were not kept.
        """
        if self._cutouts is None:
            raise InputError("cutouts were not kept: classify with keep_cutouts (--keep-cutouts)")
        return self._planes(self._cutouts, "cutout_plane", rows)

    def at(self, position: SkyCoord | str, radius: u.Quantity | str | float = 10 * u.arcsec) -> "Source | Result":
        """Return the source nearest to a position: by its own position, or by that of one of its components.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord` or str
            One position or several; a string is a ``name`` of a source or of a row, or a position
            ("08:04:04.5 +15:33:35" in hours and degrees, "121.019 15.560" in degrees).
        radius : Quantity, str or float
            How far it may be; a plain number is in arcsec.

        Returns
        -------
        Source or Result
            For one position the source, whose ``index`` is its first row in `table`; for several a result of the first
            rows of their sources, in the order of the positions.

        Raises
        ------
        InputError
            If the position or the radius cannot be understood.
        SourceNotFoundError
            If no source is within the radius; the message says how far the nearest one is.
        """
        radius = _angle(radius)
        if isinstance(position, str):
            number = self._named(position.strip())
            if number is not None:
                return self.source(number)
            position = _position(position)
        numbers = self._nearest(position, radius)
        return self.source(numbers[0]) if position.isscalar else self[np.asarray(self.sources["first_row"])[numbers]]

    def with_prior(self, frii: float) -> "Result":
        """Return the same sources with probabilities for another share of FRII among them.

        Classes and ``UNCERTAIN`` follow; the spread ``p_std`` stays as it was.

        Parameters
        ----------
        frii : float
            Share of FRII, between 0 and 1.

        Returns
        -------
        Result
            In memory, with the same maps.

        Raises
        ------
        InputError
            A share out of range, or a product that does not tell the share that its probabilities hold for.
        """
        provenance = self.provenance
        held = provenance.get("prior") or provenance.get("learnt_frii_share")
        if not held:
            if self.classes != DEFAULT_CLASSES:
                raise InputError(f"the share of FRII means nothing for the classes {', '.join(self.classes)}")
            raise InputError("this product does not tell for which share of FRII its probabilities hold")
        below = float(provenance.get("uncertain_below") or 0)
        tables = [_reweighted(table, float(held), frii, below) for table in (self.table, self.sources)]
        for table in tables:
            table.meta["prior"] = frii
        return Result(tables[0], self._stores, self._cutouts, sources=tables[1])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: FRI and FRII where the weights told no others apart."""
        told = self.provenance.get("classes")
        return tuple(str(told).split(", ")) if told else DEFAULT_CLASSES

    def summary(self, *, rows: bool = False) -> dict[str, Any]:
        """Return counts: ``sources``, ``rows``, ``clean``, ``classes`` (with none), ``flags``, `incomplete`.

        Parameters
        ----------
        rows : bool
            Whether ``clean``, ``classes`` and ``flags`` count rows of the catalogue instead of sources.
        """
        if self._summaries:
            return copy.deepcopy(self._summaries[rows])
        table = self.table if rows else self.sources
        classes = np.ma.filled(table["class"], "")
        flags = np.asarray(table["flags"])
        counts = {name: int(np.sum(classes == name)) for name in self.classes}
        return {
            "sources": len(self.sources),
            "rows": len(self),
            "clean": int(np.sum(flags == 0)),
            "classes": counts | {"none": int(np.sum(classes == ""))},
            "flags": {flag.name: int(np.sum(flags & flag != 0)) for flag in Flag},
            "incomplete": self.incomplete,
        }

    def _store(self, gate: str | int) -> AttentionStore:
        if gate not in self._stores:
            kept = ", ".join(map(str, self.gates)) or "none"
            raise InputError(f"attention maps of gate {gate!r} were not kept: there are {kept}")
        return self._stores[gate]

    def _planes(self, store: AttentionStore, column: str, rows: ArrayLike) -> NDArray[np.float32]:
        """The planes that a column names for some rows, NaN where it names none."""
        planes = np.asarray(self.table[column])[np.asarray(rows, dtype=np.intp)]
        images = np.full((len(planes), *store.shape), np.nan, dtype=np.float32)
        images[planes >= 0] = store.planes(planes[planes >= 0])
        return images

    def _named(self, name: str) -> int | None:
        """The source that has a name, or a row of which has it."""
        for names in (self.sources["name"], self.table["name"]):
            found = np.flatnonzero(np.asarray(names) == name)
            if len(found):
                return int(found[0]) if names is self.sources["name"] else int(self._number_of(found[:1])[0])
        return None

    def _number_of(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Which sources some rows are of."""
        numbers = np.asarray(self.sources["source"])
        order = np.argsort(numbers)
        return order[np.searchsorted(numbers, group_ids(self.table)[rows], sorter=order)]

    def _nearest(self, position: SkyCoord, radius: u.Quantity) -> NDArray[np.intp]:
        """Which sources are nearest to positions."""
        tables = (self.sources, self.table) if len(self.sources) < len(self.table) else (self.table,)
        ra, dec, name = (
            np.concatenate([_plain(table[column]) for table in tables]) for column in ("ra", "dec", "name")
        )
        numbers = np.r_[: len(self.sources)] if len(tables) > 1 else np.arange(0)
        numbers = np.concatenate([numbers, self._number_of(np.arange(len(self.table)))])
        usable = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        if not len(usable):
            raise SourceNotFoundError("no row of this result has a position")
        sky = SkyCoord(ra[usable], dec[usable], unit="deg")
        if position.isscalar:  # one pass is quicker than the tree that matching builds
            distances = position.separation(sky)
            nearest = np.array([np.argmin(distances)])
            separation = distances[nearest]
        else:
            nearest, separation, _ = position.icrs.match_to_catalog_sky(sky)
        far = np.flatnonzero(separation > radius)
        if len(far):
            where = position.reshape(-1)[far[0]].to_string("hmsdms", precision=2)
            distance = separation[far[0]].to_value("arcsec")
            raise SourceNotFoundError(
                f"no source within {radius.to_value('arcsec'):g} arcsec of {where}: "
                f"the nearest, {name[usable[nearest[far[0]]]]}, is {distance:.6g} arcsec away"
            )
        return numbers[usable[nearest]]


@dataclass(frozen=True, eq=False)
class Source:
    """A radio source of a result; ``source["class"]`` is a value of its row in `Result.sources`.

    Attributes
    ----------
    row : `~astropy.table.Row`
        Of `Result.sources`.
    components : `~astropy.table.Table`
        The rows of `Result.table` that are of it.
    rows : ndarray of int
        Their numbers there.
    """

    row: Row
    components: Table
    rows: NDArray[np.intp]
    _result: Result = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.row[name]

    @property
    def index(self) -> int:
        """Number of its first row in `Result.table`."""
        return int(self.rows[0])

    def attention(self, gate: str | int = "mean") -> CCDData:
        """Return its attention map; see `Result.attention`."""
        return self._result.attention(self.index, gate)

    def cutout(self) -> CCDData:
        """Return its cutout; see `Result.cutout`."""
        return self._result.cutout(self.index)


def _reweighted(table: Table, held: float, wanted: float, uncertain_below: float) -> Table:
    """A copy of a table of rows or sources with probabilities for another share of FRII."""
    table = table.copy()
    known = ~np.ma.getmaskarray(table["class"])
    second = with_prior(np.asarray(table["p_frii"][known], np.float64), held, wanted)
    probability = np.maximum(second, 1 - second)
    table["p_frii"][known], table["p_fri"][known], table["probability"][known] = second, 1 - second, probability
    table["class"][known] = np.where(second > 0.5, "FRII", "FRI")
    flags = np.asarray(table["flags"][known]) & ~int(Flag.UNCERTAIN)
    table["flags"][known] = flags | np.where(probability < uncertain_below, Flag.UNCERTAIN, 0)
    return table


def _sources_among(result: Result, table: Table) -> Table:
    return sources_among(result.sources, table)


def _plain(column: Column) -> NDArray:
    """The values of a column; NaN where a number is masked."""
    values = np.ma.asarray(column)
    return np.ma.filled(values, np.nan if values.dtype.kind == "f" else "")


def verify_product(path: str | os.PathLike) -> dict[str, str | None]:
    """Return for each HDU or file of a product what is wrong with it by its checksums, None for nothing.

    Parameters
    ----------
    path : path
        A FITS product, or the folder of Parquet files, whose maps beside it are looked at as well.

    Raises
    ------
    InputError
        If it is not there, or no product of radio-ag.
    """
    path = Path(os.path.abspath(path))
    kind = _format_of(path)
    faults = kind.find_faults(path)
    if not any(faults.values()):  # each part may be whole, and one be lacking
        table, *_ = kind.read(path)
        sources = kind.read_sources(path)
        if sources is not None:
            sources_among(sources, table)
    return faults


def _format_of(path: Path) -> Format:
    return product_format("parquet" if path.is_dir() else "fits")


def _angle(radius: u.Quantity | str | float) -> u.Quantity:
    try:
        return u.Quantity(radius, None if isinstance(radius, u.Quantity | str) else u.arcsec).to(u.arcsec)
    except (u.UnitsError, TypeError, ValueError) as exc:
        raise InputError(f"radius must be an angle such as '10 arcsec', not {radius!r}") from exc


def _position(text: str) -> SkyCoord:
    decimal = len(text.split()) == 2 and ":" not in text
    try:
        return SkyCoord(text, unit="deg" if decimal else ("hourangle", "deg"))
    except ValueError as exc:
        raise InputError(f"{text!r} is neither a name of this result nor a position") from exc
