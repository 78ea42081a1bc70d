"""The FITS product: provenance, table and attention maps in one file, written beside and renamed.

=============================  ========================================================================================
primary                        provenance
``CLASSIFICATION``             binary table, a row for each input row
``SOURCES``                    binary table, a row for each source: the rows of one ``group_id``
``ATTENTION``                  compressed image (n, 150, 150): a row's mean map is plane ``attention_plane``
``ATTENTION_1``, ``_2``, ...   the same for each gate (``attention="gates"``)
``CUTOUTS``                    compressed image (n, 150, 150), Jy/beam, where they were kept: plane ``cutout_plane``
one image a source             instead of stacks, EXTNAME = ``name``, with a celestial WCS (``attention="hdus"``)
=============================  ========================================================================================
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError, VerifyWarning
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from radio_ag import writing
from radio_ag.catalog_io.files.fits_append import append_hdu
from radio_ag.catalog_io.files.fits_checksum import (
    header_fault,
    place_of,
    refuse_fault,
    unit_fault,
)
from radio_ag.catalog_io.files.fits_open import in_order, open_checked
from radio_ag.catalog_io.files.fits_table import (
    check_field_count,
    read_hdu,
    restore_table,
    rows_extension,
)
from radio_ag.catalog_io.product.columns import COLUMNS, dress_columns, lacking_columns
from radio_ag.catalog_io.product.headers import (
    attention_header,
    classification_header,
    cutouts_header,
    header_text,
    image_header,
    primary_header,
    provenance,
    sources_header,
    warn_of_renamed,
)
from radio_ag.catalog_io.product.merge import JoinedStack
from radio_ag.catalog_io.product.parts import gate_of, parts_folder, stack_of
from radio_ag.catalog_io.product.rows import ProductRows, TableRows
from radio_ag.catalog_io.product.sources import SourceRows, checked_sources, observations, sources_of, with_planes
from radio_ag.catalog_io.product.stacks import AttentionStore
from radio_ag.errors import InputError, OutputError
from radio_ag.writing import written_beside

ATTENTION_MODES = ("mean", "gates", "hdus", "none")
"""What a product can keep of the attention maps."""

_OBSERVED_CARDS = (
    ("BMAJ", "beam_major", 1 / 3600, "[deg] major axis of the beam"),
    ("BMIN", "beam_minor", 1 / 3600, "[deg] minor axis of the beam"),
    ("BPA", "beam_pa", 1.0, "[deg] its position angle, east of north"),
    ("RESTFRQ", "frequency", 1.0, "[Hz] frequency of the image"),
)

Stores = dict[str | int, AttentionStore]
"""Attention maps by "mean", 1, 2, 3; where cutouts are among them, by "CUTOUTS"."""
Extension = Callable[[], tuple[fits.Header, Iterator[bytes]]]
"""What gives the header and the data of a stack."""

_Maps = tuple[Table, Table, NDArray[np.float32]]  # rows, what is known of their images, and their attention maps
_CHUNK = 256  # maps inflated at once
_APART = ("hdus", "ATTENTION")  # where each map is an HDU it is no stack


@dataclass(frozen=True)
class Fits:
    """One FITS file; a `radio_ag.catalog_io.product.formats.Format`."""

    name: str = "fits"
    attention_modes: tuple[str, ...] = ATTENTION_MODES

    def check_output(self, path: str | os.PathLike, overwrite: bool = False, catalogue: Table | None = None) -> Path:
        """Return the path with links resolved, or say why it cannot be written.

        Parameters
        ----------
        path : path
            The product.
        overwrite : bool
            A file of that name may be replaced.
        catalogue : Table, optional
            The input, whose columns must fit beside ours.

        Returns
        -------
        Path
            Absolute.
        """
        return check_output(path, overwrite, catalogue)

    def write(
        self,
        path: Path,
        rows: ProductRows,
        sources: SourceRows,
        stacks: Mapping[str, JoinedStack],
        *,
        attention: str,
        folder: Path,
    ) -> None:
        """Write the product of a run, in pieces.

        Parameters
        ----------
        path : Path
            The product, which is replaced if it is there.
        rows : ProductRows
            Of the catalogue.
        sources : SourceRows
            Of the table of sources.
        stacks : mapping of str, JoinedStack
            By their names in the parts.
        attention : str
            "mean", "gates", "hdus" or "none".
        folder : Path
            Where it lies until it is whole.
        """
        images: Iterable[_Maps] = ()
        if attention == "hdus":
            store, separate = stacks["ATTENTION"].store(), rows.separate_planes()
            images = ((table, sources.observations(table), store.planes(planes)) for table, planes in separate)
        kept = {n: stack.extension for n, stack in stacks.items() if len(stack) and (attention, n) != _APART}
        with written_beside(path, folder) as stream:
            _write_hdus(stream, rows, sources, kept, images, attention)
        warn_of_renamed(rows.template, rows.fields)

    def read(self, path: Path, *, verify: bool = True) -> tuple[Table, Stores, AttentionStore | None]:
        """Read the table, the attention maps, and the cutouts if any.

        Stacks stay in the file, of which one plane at a time is read; maps in HDUs of their own are read and kept in a
        temporary file.

        Parameters
        ----------
        path : Path
            The product.
        verify : bool
            Check sums, also of the planes that are read later.

        Returns
        -------
        table, stores, cutouts
            None for cutouts that were not kept.
        """
        try:
            return _read(path, verify)
        except InputError:
            raise
        except Exception as exc:  # astropy raises nearly anything for a file that makes no sense
            raise _unreadable(path, exc) from exc

    def read_sources(self, path: Path, *, verify: bool = True) -> Table | None:
        """Read the table of sources; None of a product that was written before there was one.

        Parameters
        ----------
        path : Path
            The product.
        verify : bool
            Check its sum.

        Returns
        -------
        Table or None
            With types and masks as it was written.
        """
        try:
            with open_checked(path, memmap=False, character_as_bytes=True) as hdus:
                if "SOURCES" not in [hdu.name for hdu in in_order(hdus)]:
                    return None
                if verify:
                    refuse_fault(unit_fault(hdus["SOURCES"]), f"extension SOURCES of {path}")
                table = read_hdu(hdus["SOURCES"], unit_parse_strict="silent")
            return checked_sources(path, restore_table(table))
        except InputError:
            raise
        except Exception as exc:  # astropy raises nearly anything for a file that makes no sense
            raise _unreadable(path, exc) from exc

    def open_stacks(self, path: Path, *, verify: bool = True) -> Stores:
        """Open the stacks; none were kept, or each map is an HDU: no stack.

        Parameters
        ----------
        path : Path
            The product.
        verify : bool
            Check sums, also of the planes that are read later.

        Returns
        -------
        Stores
            By "mean", 1, 2, 3 and "CUTOUTS".
        """
        try:
            with open_checked(path, disable_image_compression=True) as hdus:
                names = [hdu.name for hdu in in_order(hdus) if hdu.header.get("ZIMAGE")]
        except Exception as exc:  # astropy raises nearly anything for a file that makes no sense
            raise _unreadable(path, exc) from exc
        if names and not _is_plain(path):
            raise InputError(f"{path} is packed, so that no map in it can be read alone: unpack it first")
        stores = {name: AttentionStore.open(path, name, verify=verify) for name in names}
        return {name if name == "CUTOUTS" else gate_of(name): store for name, store in stores.items()}

    def read_provenance(self, path: Path) -> dict[str, Any]:
        """Return the provenance.

        Parameters
        ----------
        path : Path
            The product.

        Returns
        -------
        dict of str to object
            Of the primary header.
        """
        try:
            return provenance(fits.getheader(path))
        except (OSError, VerifyError, UnicodeDecodeError) as exc:
            raise InputError(f"{path} cannot be read as FITS: {exc}") from exc

    def find_faults(self, path: Path) -> dict[str, str | None]:
        """Return for each HDU what is wrong with it.

        Parameters
        ----------
        path : Path
            The product.

        Returns
        -------
        dict of str to str or None
            By the names of the HDUs; None for nothing.
        """
        faults: dict[str, str | None] = {}
        try:
            with warnings.catch_warnings(action="ignore"), open_checked(path, disable_image_compression=True) as hdus:
                for number, hdu in enumerate(in_order(hdus)):
                    name = hdu.name or f"HDU {number}"
                    faults[name if name not in faults else f"{name} (HDU {number})"] = unit_fault(hdu)
                end = place_of(hdus[-1]).end
        except Exception as exc:  # astropy raises nearly anything for a file that makes no sense
            raise _unreadable(path, exc) from exc
        if _is_plain(path) and (behind := path.stat().st_size - end):
            faults["end"] = (
                f"is not where the last HDU ends: {abs(behind)} bytes are {'over' if behind > 0 else 'lacking'}"
            )
        return faults


def check_output(
    path: str | os.PathLike, overwrite: bool = False, catalogue: Table | None = None, *, folder: bool = False
) -> Path:
    """Return the path of a product with links resolved, or say before a long run why it cannot be written.

    Parameters
    ----------
    path : path
        The product.
    overwrite : bool
        Whether a file of that name may be replaced.
    catalogue : `~astropy.table.Table`, optional
        The input table, whose columns must fit in the product beside ours.
    folder : bool
        The product is a folder.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    OutputError
        As `radio_ag.writing.check_output`, or if the name is that of the folder of its parts, or there are too many
        columns for FITS.
    """
    if catalogue is not None:
        check_field_count(len(COLUMNS) + len(catalogue.columns))
    path = writing.check_output(path, overwrite, folder=folder)
    if path == parts_folder(path):
        raise OutputError(f"{path} has the name of the folder for the run's parts: choose a name that ends otherwise")
    return path


def write_product(
    path: str | os.PathLike,
    table: Table,
    stores: Mapping[str | int, AttentionStore],
    cutouts: AttentionStore | None = None,
    *,
    sources: Table | None = None,
    attention: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a result as one FITS file; nothing is left behind if that fails.

    Parameters
    ----------
    path : path
        The product. It is written beside, and takes its name when it is complete.
    table : `~astropy.table.Table`
        With the columns of a result; its ``meta`` is the provenance: flat, of text, numbers, booleans, None, sequences.
    stores : dict of AttentionStore
        The attention maps that were kept, by "mean", 1, 2, 3; all with the same planes.
    cutouts : AttentionStore, optional
        The cutouts that the table's ``cutout_plane`` names, Jy/beam.
    sources : `~astropy.table.Table`, optional
        The sources that the rows are of; None: what the rows tell of them.
    attention : {"mean", "gates", "hdus", "none"}, optional
        What to write of them. None means all that was kept, as stacks. Planes that no row names are left out.
    overwrite : bool
        Replace a file of that name.

    Raises
    ------
    InputError
        If ``attention`` asks for what was not kept.
    OutputError
        If the file exists, or cannot be written, or what was written cannot be read back.
    """
    attention = _attention_mode(attention, stores)
    path = check_output(path, overwrite)
    store = None if attention == "none" else stores["mean"]
    sources = sources_of(table) if sources is None else sources
    table, planes = _number_planes(table, store, shared=attention != "hdus")
    sources = with_planes(sources, table)
    stacks: dict[str, Extension] = {}
    images: Iterable[_Maps] = ()
    if attention == "hdus":
        images = _images(table, sources, stores["mean"], planes)
    elif len(planes):
        gates = ["mean"] if attention == "mean" else ["mean", *sorted(set(stores) - {"mean"})]
        stacks = {stack_of(gate): partial(stores[gate].extension, planes) for gate in gates}
    if cutouts is not None:
        table, planes = _number_planes(table, cutouts, "cutout_plane", shared=True)
        stacks |= {"CUTOUTS": partial(cutouts.extension, planes)} if len(planes) else {}
    check_field_count(len(table.columns))
    rows = TableRows(table)
    with written_beside(path) as stream:
        _write_hdus(stream, rows, TableRows(sources), stacks, images, attention)
    warn_of_renamed(table, rows.fields)


def _write_hdus(
    stream: BinaryIO,
    rows: TableRows | ProductRows,
    sources: TableRows | SourceRows,
    stacks: Mapping[str, Extension],
    images: Iterable[_Maps],
    attention: str,
) -> None:
    """Write all HDUs of a product, and read them back."""
    meta = rows.template.meta
    append_hdu(stream, primary_header(meta, rows.counts, attention))
    header, blocks = rows_extension(rows.encoded, rows.counts.rows, rows.cards, rows.masked)
    append_hdu(stream, classification_header(header, rows.template, rows.fields), blocks)
    header, blocks = rows_extension(sources.encoded, sources.counts.rows, sources.cards, sources.masked)
    append_hdu(stream, sources_header(header), blocks)
    _append_images(stream, images, meta.get("normalisation"))
    append_stacks(stream, stacks, meta.get("normalisation"))
    _read_back(stream, {"CLASSIFICATION": rows.counts.rows, "SOURCES": sources.counts.rows})


def append_stacks(stream: BinaryIO, stacks: Mapping[str, Extension], normalisation: str | None) -> None:
    """Write stacks of planes: attention maps, then cutouts.

    Parameters
    ----------
    stream : binary file
        Open for writing, seekable, at the end of an HDU.
    stacks : mapping of str, Extension
        Header and data of each, by its name in the parts.
    normalisation : str or None
        Of the gates; None where the network has none.
    """
    for name, extension in stacks.items():
        header, blocks = extension()
        is_cutouts = name == "CUTOUTS"
        header = cutouts_header(header) if is_cutouts else attention_header(header, gate_of(name), normalisation)
        append_hdu(stream, header, blocks)


def _read_back(stream: BinaryIO, expected: Mapping[str, int]) -> None:
    """Open a product before it takes its name, as its users will: a file that astropy alone cannot read is none."""
    stream.flush()
    for name, rows in expected.items():
        try:
            with warnings.catch_warnings(action="ignore"), fits.open(stream.name) as hdus:
                table = hdus[name]
                found, columns, names = len(table.data), table.header["TFIELDS"], set(table.columns.names)
                Table.read(fits.BinTableHDU(table.data[:1], table.header), unit_parse_strict="silent")
        except Exception as exc:  # astropy raises nearly anything
            raise OutputError(f"the product cannot be read back, and is not kept: {type(exc).__name__} {exc}") from exc
        if (found, len(names)) != (rows, columns):
            what = f"{found} of {rows} rows and {len(names)} of {columns} columns of {name}"
            raise OutputError(f"the product cannot be read back, and is not kept: {what} are there")


def _read(path: Path, verify: bool) -> tuple[Table, dict[str | int, AttentionStore], AttentionStore | None]:
    with _any_names(), open_checked(path, memmap=False, character_as_bytes=True) as hdus:
        if "CLASSIFICATION" not in [hdu.name for hdu in in_order(hdus)]:
            raise InputError(f"{path} has no extension CLASSIFICATION: not a product of radio-ag")
        mode = hdus[0].header.get("ATTMODE", "none")
        images = [hdu for hdu in hdus[2:] if hdu.name not in ("CUTOUTS", "SOURCES")] if mode == "hdus" else []
        if verify:
            _refuse_damaged(path, hdus, images)
        meta = provenance(hdus[0].header)
        table = read_hdu(hdus["CLASSIFICATION"], unit_parse_strict="silent")
        stores: dict[str | int, AttentionStore] = {}
        if images:
            stores["mean"] = _collect_images(images)
    table = restore_table(table)
    lacking = lacking_columns(table)
    if lacking:
        raise InputError(f"{path} lacks the columns {lacking}: not a product of radio-ag")
    dress_columns(table)
    table.meta.update(meta)
    stores |= Fits().open_stacks(path, verify=verify)
    cutouts = stores.pop("CUTOUTS", None)
    check_planes(path, table, stores, cutouts, mode)
    return table, stores, cutouts


def check_planes(
    path: Path, table: Table, stores: Mapping[str | int, AttentionStore], cutouts: AttentionStore | None, mode: str
) -> None:
    """Raise `InputError` if a table names planes that no stack has; ``mode`` says which attention maps were kept.

    Parameters
    ----------
    path : Path
        Of the product, for the message.
    table : Table
        With the columns ``attention_plane`` and, where cutouts were kept, ``cutout_plane``.
    stores : mapping of str or int, AttentionStore
        By "mean", 1, 2, 3.
    cutouts : AttentionStore or None
        None where none were kept.
    mode : str
        "mean", "gates", "hdus" or "none".
    """
    named: list[tuple[str, AttentionStore | None]] = [("attention_plane", store) for store in stores.values()]
    if mode != "none" and "mean" not in stores:
        named.append(("attention_plane", None))
    if "cutout_plane" in table.colnames:
        named.append(("cutout_plane", cutouts))
    for column, stack in named:
        count = 0 if stack is None else len(stack)
        if np.max(table[column], initial=-1) >= count:
            raise InputError(f"{path} is damaged: {column} counts further than the {count} planes that are there")


def _refuse_damaged(path: Path, hdus: fits.HDUList, images: Iterable[Any]) -> None:
    """Raise `InputError` if what is read at once does not match its sums: the primary header, the table, images."""
    refuse_fault(header_fault(hdus[0]), f"the primary header of {path}")
    for hdu in (hdus["CLASSIFICATION"], *images):
        refuse_fault(unit_fault(hdu), f"extension {hdu.name} of {path}")


def _unreadable(path: Path, exc: Exception) -> InputError:
    return InputError(f"{path} cannot be read as FITS: {' '.join(str(exc).split()) or type(exc).__name__}")


def _is_plain(path: Path) -> bool:
    """Whether a FITS file is not packed."""
    with path.open("rb") as stream:
        return stream.read(6) == b"SIMPLE"


def cutout_wcs(row: Table.Row) -> WCS:
    """Return the celestial WCS (TAN, ICRS) of a row's cutout.

    Parameters
    ----------
    row : Table.Row
        Of a result's table.

    Returns
    -------
    WCS
        Of the 150 x 150 pixels.

    Raises
    ------
    InputError
        If the row has no cutout.
    """
    names = ("crpix1", "crpix2", "cutout_ra", "cutout_dec", "cd1_1", "cd1_2", "cd2_1", "cd2_2")
    values = np.array([np.nan if row[name] is np.ma.masked else row[name] for name in names], dtype=float)
    if not np.isfinite(values).all():
        raise InputError(f"row {row.index} has no cutout, so no WCS")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cunit = "deg", "deg"
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crpix, wcs.wcs.crval = values[:2], values[2:4]
    wcs.wcs.cd = values[4:].reshape(2, 2)
    wcs.wcs.set()
    return wcs


def cutout_header(row: Table.Row, observed: Table.Row) -> fits.Header:
    """Return the cards of a row's cutout: its name, celestial WCS with CDELT in degrees, beam, frequency and date.

    Parameters
    ----------
    row : `~astropy.table.Row`
        Of a result.
    observed : `~astropy.table.Row`
        With `radio_ag.catalog_io.product.columns.OBSERVATION_COLUMNS`; what is masked or NaN has no card.

    Returns
    -------
    Header

    Raises
    ------
    InputError
        If the row has no cutout.
    """
    wcs = cutout_wcs(row)
    matrix = wcs.wcs.cd
    side = np.sqrt(abs(np.linalg.det(matrix)))
    sides = np.array([-side if np.linalg.det(matrix) < 0 else side, side])
    turned = WCS(naxis=2)
    turned.wcs.ctype, turned.wcs.cunit, turned.wcs.radesys = wcs.wcs.ctype, wcs.wcs.cunit, wcs.wcs.radesys
    turned.wcs.crpix, turned.wcs.crval = wcs.wcs.crpix, wcs.wcs.crval
    turned.wcs.cdelt, turned.wcs.pc = sides, matrix / sides[:, None]
    turned.wcs.set()
    header = turned.to_header()
    for keyword in ("LONPOLE", "LATPOLE", "MJDREF"):  # they have their defaults
        header.remove(keyword, ignore_missing=True)
    if "name" in row.colnames:
        header["OBJECT"] = (header_text(str(row["name"])), "designation")
    known = {name: observed[name] for name in observed.colnames if not np.ma.is_masked(observed[name])}
    for keyword, name, factor, comment in _OBSERVED_CARDS:
        if np.isfinite(known.get(name, np.nan)):
            header[keyword] = (float(known[name]) * factor, comment)
    if str(known.get("date_obs", "")):
        header["DATE-OBS"] = (str(known["date_obs"]), "of the image")
    return header


def _any_names() -> warnings.catch_warnings:
    """A context in which astropy does not say which names FITS recommends for columns: they are the catalogue's."""
    return warnings.catch_warnings(action="ignore", category=VerifyWarning)


def _attention_mode(attention: str | None, stores: Mapping[str | int, AttentionStore]) -> str:
    kept = "none" if not stores else "mean" if set(stores) == {"mean"} else "gates"
    if attention is None:
        return kept
    if attention not in ATTENTION_MODES:
        raise InputError(f"attention must be one of {', '.join(ATTENTION_MODES)}, not {attention!r}")
    if (attention == "gates" and kept != "gates") or (attention != "none" and kept == "none"):
        raise InputError(f"attention={attention!r} cannot be written: this result keeps {kept!r}")
    return attention


def _number_planes(
    table: Table, store: AttentionStore | None, name: str = "attention_plane", *, shared: bool = False
) -> tuple[Table, NDArray[np.int64]]:
    """A table whose column ``name`` counts the planes that it names, and those planes of the store.

    ``shared``: rows that name the same plane may keep doing so.
    """
    plane = np.asarray(table[name])
    kept = plane >= 0 if store is not None else np.zeros(len(plane), dtype=bool)
    planes = plane[kept].astype(np.int64)
    named = np.unique(planes) if shared else np.sort(planes)
    if store is not None and np.array_equal(named, np.arange(len(store))):
        return table, np.arange(len(store))
    numbers = np.full(len(plane), -1, dtype=plane.dtype)
    numbers[kept] = np.arange(len(planes))
    numbered = table.copy(copy_data=False)
    column = table[name].copy()
    column[:] = numbers
    numbered.replace_column(name, column)
    return numbered, planes


def _images(table: Table, sources: Table, store: AttentionStore, planes: NDArray[np.int64]) -> Iterator[_Maps]:
    """The rows of a table that have a map, some at a time, what is known of their images, and their maps."""
    rows = np.flatnonzero(np.asarray(table["attention_plane"]) >= 0)
    for start in range(0, len(rows), _CHUNK):
        some = table[rows[start : start + _CHUNK]]
        yield some, observations(sources, some), store.planes(planes[start : start + _CHUNK])


def _append_images(stream: BinaryIO, images: Iterable[_Maps], normalisation: str | None) -> None:
    """Write a HDU for each of some rows' maps."""
    count: Counter[str] = Counter()
    for table, observed, maps in images:
        for row, seen, image in zip(table, observed, maps, strict=True):
            name = str(row["name"])
            count[name] += 1
            header = image_header(image, name, count[name], cutout_header(row, seen), normalisation)
            append_hdu(stream, header, [image.astype(">f4").tobytes()])


def _collect_images(hdus: list[fits.ImageHDU]) -> AttentionStore:
    """The images as a stack; quantising them again gives the same integers."""
    store = AttentionStore(hdus[0].shape)
    for hdu in hdus:
        store.append(hdu.data[None])
    return store
