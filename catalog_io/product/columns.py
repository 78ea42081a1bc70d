"""The columns that radio-ag adds to a catalogue: names, units, UCDs, and where a value is missing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import ArrayLike, NDArray

from radio_ag.class_names import DEFAULT_CLASSES, column_names
from radio_ag.errors import InputError


class ResultColumn(NamedTuple):
    """A column of the product. ``missing``: rows may lack it, so that it is always a masked column."""

    name: str
    dtype: Any
    unit: str | None
    ucd: str
    description: str
    format: str | None = None
    missing: bool = False


GROUP_COLUMNS = (
    ResultColumn("group_id", "i8", None, "meta.id.assoc", "source that the row is a component of, from 0"),
    ResultColumn("n_components", "i4", None, "meta.number", "rows of the catalogue in that source"),
    ResultColumn("primary", "?", None, "meta.code", "the first row of its source: true once a source"),
)
"""What source a row is of; products that were written before there was a table of sources may lack them."""

COLUMNS = (
    ResultColumn("name", str, None, "meta.id;meta.main", "IAU designation from ra and dec"),
    ResultColumn("source_id", None, None, "meta.id", "identifier in the input catalogue"),
    ResultColumn("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension (ICRS)", ".6f"),
    ResultColumn("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination (ICRS)", ".6f"),
    ResultColumn("class", str, None, "src.morph.type", "Fanaroff-Riley class: FRI, FRII, or empty", None, True),
    ResultColumn("probability", "f4", None, "stat.probability", "calibrated probability of class", ".4f", True),
    ResultColumn("p_fri", "f4", None, "stat.probability", "calibrated probability of FRI", ".4f", True),
    ResultColumn("p_frii", "f4", None, "stat.probability", "calibrated probability of FRII", ".4f", True),
    ResultColumn(
        "p_std",
        "f4",
        None,
        "stat.stdev;stat.probability",
        "standard deviation of the probability over orientations and ensemble",
        ".4f",
        True,
    ),
    ResultColumn("rms", "f4", "Jy/beam", "instr.det.noise", "noise of the 300 x 300 pixel field", ".3e"),
    ResultColumn("peak", "f4", "Jy/beam", "phot.flux.density;stat.max;em.radio", "peak of the source", ".3e"),
    ResultColumn("snr", "f4", None, "stat.snr", "peak over rms", ".1f"),
    ResultColumn("size", "f4", "arcsec", "phys.angSize", "largest extent of the source's islands", ".1f"),
    ResultColumn("n_islands", "i4", None, "meta.number", "islands of emission in the cutout"),
    ResultColumn("flags", "i4", None, "meta.code.qual", "quality flags, bit mask; 0 is clean"),
    ResultColumn("attention_plane", "i4", None, "meta.record", "0-based plane in the attention maps; -1: none"),
    ResultColumn("cutout_ra", "f8", "deg", "pos.wcs.crval", "right ascension at the cutout's reference pixel", ".6f"),
    ResultColumn("cutout_dec", "f8", "deg", "pos.wcs.crval", "declination at the cutout's reference pixel", ".6f"),
    ResultColumn("crpix1", "f8", "pix", "pos.wcs.crpix", "reference pixel along x, 1-based", ".3f"),
    ResultColumn("crpix2", "f8", "pix", "pos.wcs.crpix", "reference pixel along y, 1-based", ".3f"),
    ResultColumn("cd1_1", "f8", "deg/pix", "pos.wcs.cdmatrix", "gnomonic x by pixel x", ".6e"),
    ResultColumn("cd1_2", "f8", "deg/pix", "pos.wcs.cdmatrix", "gnomonic x by pixel y", ".6e"),
    ResultColumn("cd2_1", "f8", "deg/pix", "pos.wcs.cdmatrix", "gnomonic y by pixel x", ".6e"),
    ResultColumn("cd2_2", "f8", "deg/pix", "pos.wcs.cdmatrix", "gnomonic y by pixel y", ".6e"),
    *GROUP_COLUMNS,
)
"""The columns in the order of the product; those of the input catalogue follow."""

CUTOUT_COLUMNS = (ResultColumn("cutout_plane", "i4", None, "meta.record", "0-based plane in the cutouts; -1: none"),)
"""What follows these where cutouts were kept."""

ATTENTION_COLUMNS = (
    ResultColumn(
        "attention_emission_share", "f4", None, "stat.value", "share of the attention on emission", ".4f", True
    ),
    ResultColumn(
        "attention_emission_enrichment", "f4", None, "stat.value", "that share over a uniform map's", ".3f", True
    ),
    ResultColumn(
        "attention_halo_share",
        "f4",
        None,
        "stat.value",
        "share of the attention within 6 pixels of emission",
        ".4f",
        True,
    ),
    ResultColumn("attention_halo_enrichment", "f4", None, "stat.value", "that share over a uniform map's", ".3f", True),
    ResultColumn(
        "attention_emission_offset",
        "f4",
        "arcsec",
        "pos.angDistance",
        "attention's centroid to the emission's",
        ".2f",
        True,
    ),
    ResultColumn(
        "attention_centre_offset",
        "f4",
        "arcsec",
        "pos.angDistance",
        "attention's centroid to the cutout's centre",
        ".2f",
        True,
    ),
    ResultColumn(
        "attention_gate_agreement", "f4", None, "stat.correlation", "mean correlation of the gates' maps", ".3f", True
    ),
)
"""What follows these where the attention was measured: `radio_ag.attention.statistics.AttentionStatistics`."""

OBSERVATION_COLUMNS = (
    ResultColumn(
        "beam_major", "f4", "arcsec", "phys.angSize.smajAxis;instr.beam", "major axis of the beam", ".2f", True
    ),
    ResultColumn(
        "beam_minor", "f4", "arcsec", "phys.angSize.sminAxis;instr.beam", "minor axis of the beam", ".2f", True
    ),
    ResultColumn(
        "beam_pa", "f4", "deg", "pos.posAng;instr.beam", "position angle of the beam, east of north", ".1f", True
    ),
    ResultColumn("frequency", "f8", "Hz", "em.freq", "frequency of the image", ".4e", True),
    ResultColumn("date_obs", str, None, "time.epoch;obs", "date of the observation", None, True),
)
"""What the images tell that sources were cut from, the beam as it is in the cutout; older products lack them."""

_SHARED = {spec.name: spec for spec in COLUMNS}

SOURCE_COLUMNS = (
    ResultColumn("source", "i8", None, "meta.id;meta.main", "number of the source: group_id of its rows"),
    _SHARED["name"],
    _SHARED["ra"]._replace(description="right ascension (ICRS), flux-weighted over the components"),
    _SHARED["dec"]._replace(description="declination (ICRS), flux-weighted over the components"),
    *(_SHARED[name] for name in ("class", "probability", "p_fri", "p_frii", "p_std", "flags")),
    ResultColumn(
        "association", "f4", None, "stat.probability", "probability that the components are one source", ".4f", True
    ),
    _SHARED["n_components"],
    ResultColumn("first_row", "i8", None, "meta.record", "0-based row of CLASSIFICATION of the first component"),
    ResultColumn(
        "total_flux", "f8", "Jy", "phot.flux.density;em.radio", "sum of the components' flux densities", ".4e", True
    ),
    ResultColumn(
        "total_flux_err", "f8", "Jy", "stat.error;phot.flux.density;em.radio", "error of total_flux", ".2e", True
    ),
    *(_SHARED[name] for name in ("peak", "rms", "snr")),
    ResultColumn("las", "f4", "arcsec", "phys.angSize", "largest angular size, of the pixels above 3 rms", ".1f", True),
    ResultColumn("pa", "f4", "deg", "pos.posAng", "position angle of las, east of north, 0 to 180", ".1f", True),
    ResultColumn("core_ra", "f8", "deg", "pos.eq.ra", "right ascension (ICRS) of the core", ".6f", True),
    ResultColumn("core_dec", "f8", "deg", "pos.eq.dec", "declination (ICRS) of the core", ".6f", True),
    ResultColumn(
        "core_prom", "f4", None, "phot.flux.density;arith.ratio", "flux of the core over total_flux", ".4f", True
    ),
    ResultColumn(
        "lobe_flux_ratio",
        "f4",
        None,
        "phot.flux.density;arith.ratio",
        "flux of lobe 1 over that of lobe 2",
        ".3f",
        True,
    ),
    ResultColumn("misalign_1", "f4", "deg", "pos.posAng", "axis of lobe 1 to the line of the lobes", ".1f", True),
    ResultColumn("misalign_2", "f4", "deg", "pos.posAng", "axis of lobe 2 to the line of the lobes", ".1f", True),
    _SHARED["attention_plane"],
    ResultColumn("image", str, None, "meta.id;meta.file", "file or service that the image was cut from", None, True),
    *OBSERVATION_COLUMNS,
)
"""The columns of the table of sources, in its order."""

SOURCE_ALONE = ("pa", "image", *(spec.name for spec in OBSERVATION_COLUMNS))
"""What is measured of each source beside what its rows say."""

_COMPUTED = ("name",)


_DEFAULTS = column_names(DEFAULT_CLASSES)


def class_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of the classes' probabilities among those of a product, in their order.

    Parameters
    ----------
    names : iterable of str
        Of the product's columns: those of the classes stand between ``probability`` and ``p_std``.

    Returns
    -------
    tuple of str
        ``p_fri`` and ``p_frii`` where none stand there.
    """
    names = list(names)
    if "probability" in names and "p_std" in names:
        between = names[names.index("probability") + 1 : names.index("p_std")]
        if len(between) > 1 and all(name.startswith("p_") for name in between):
            return tuple(between)
    return _DEFAULTS


def with_classes(specs: Sequence[ResultColumn], names: Sequence[str]) -> tuple[ResultColumn, ...]:
    """Return the columns of a product whose classes' probabilities have these names.

    Parameters
    ----------
    specs : sequence of ResultColumn
        `COLUMNS` or `SOURCE_COLUMNS`.
    names : sequence of str
        As `class_columns` gives them.

    Returns
    -------
    tuple of ResultColumn
    """
    if tuple(names) == _DEFAULTS:
        return tuple(specs)
    first = [spec.name for spec in specs].index(_DEFAULTS[0])
    others = [spec for spec in specs if spec.name not in _DEFAULTS]
    own = [
        _SHARED[_DEFAULTS[0]]._replace(name=name, description=f"calibrated probability of {name.removeprefix('p_')}")
        for name in names
    ]
    others[first:first] = own
    classes = _SHARED["class"]._replace(description="class, or empty")
    return tuple(classes if spec.name == "class" else spec for spec in others)


def result_table(catalogue: Table, columns: Mapping[str, Any]) -> Table:
    """Return a table of our columns, then the catalogue's.

    Parameters
    ----------
    catalogue : `~astropy.table.Table`
        The input, n rows. A column whose name equals one of ours, ignoring case, becomes ``in_<name>`` and keeps its
        first name as ``meta["input_name"]``. Its columns are shared, not copied.
    columns : dict of array (n,)
        A value for each name in `COLUMNS` but ``name``, which follows from the position; ``source_id`` may be left out
        (the row number, from 1, stands in), and so may `GROUP_COLUMNS` (each row is a source of its own). Each
        of `CUTOUT_COLUMNS` and `ATTENTION_COLUMNS` wholly or not at all. Other classes' probabilities stand in the
        place of ``p_fri`` and ``p_frii``, see `class_columns`. NaN and empty text mean missing.

    Returns
    -------
    Table
        In the order of `COLUMNS`, each column dressed.

    Raises
    ------
    InputError
        If a column is lacking, unknown, or of another length.
    """
    columns = {"source_id": np.arange(1, len(catalogue) + 1)} | _alone(len(catalogue)) | dict(columns)
    specs = with_classes(COLUMNS, class_columns(columns))
    for optional in (CUTOUT_COLUMNS, ATTENTION_COLUMNS):
        if any(spec.name in columns for spec in optional):
            specs += optional
    expected = {spec.name for spec in specs} - set(_COMPUTED)
    if set(columns) != expected:
        wrong = {"lacking": sorted(expected - set(columns)), "unknown": sorted(set(columns) - expected)}
        raise InputError(f"columns of a result: {wrong}")
    for name, values in columns.items():
        if len(values) != len(catalogue):
            raise InputError(f"column {name!r} has {len(values)} values for {len(catalogue)} rows")
    columns = columns | {"name": iau_names(columns["ra"], columns["dec"])}
    table = Table()
    for spec in specs:
        table.add_column(_column(spec, columns[spec.name]), name=spec.name, copy=False)
    taken = set(table.colnames)
    for name, column in Table(catalogue, copy=False).columns.items():
        free = name
        while free.strip().lower() in taken:
            free = f"in_{free}"
        table.add_column(column, name=free, copy=False)
        if free != name:
            taken.add(free.strip().lower())
            table[free].info.meta = {**(column.info.meta or {}), "input_name": name}
    return table


def source_table(columns: Mapping[str, Any]) -> Table:
    """Return a table of sources.

    Parameters
    ----------
    columns : dict of array (m,)
        A value for each name in `SOURCE_COLUMNS` but ``name``; what else it has is left out. NaN and empty text mean
        missing.

    Returns
    -------
    Table
        In the order of `SOURCE_COLUMNS`, each column dressed.
    """
    columns = dict(columns) | {"name": iau_names(columns["ra"], columns["dec"])}
    table = Table()
    for spec in with_classes(SOURCE_COLUMNS, class_columns(columns)):
        table.add_column(_column(spec, columns[spec.name]), name=spec.name, copy=False)
    return table


def lacking_columns(table: Table) -> list[str]:
    """Return which columns of every product a table does not have.

    Parameters
    ----------
    table : Table
        Of a product, as it was read.

    Returns
    -------
    list of str
        Their names; empty where it is one of ours.
    """
    specs = with_classes(COLUMNS, class_columns(table.colnames))
    return [spec.name for spec in specs if spec not in GROUP_COLUMNS and spec.name not in table.colnames]


def dress_columns(table: Table) -> None:
    """Give our columns of a table, in place, the type, mask, unit, format and description they have in a result.

    Parameters
    ----------
    table : Table
        Changed in place; it may lack some of ours.
    """
    for spec in with_classes(COLUMNS, class_columns(table.colnames)):
        if spec not in GROUP_COLUMNS or is_ours(table, spec.name):
            table.replace_column(spec.name, _column(spec, table[spec.name]))


def is_ours(table: Table, name: str) -> bool:
    """Tell whether a column of `GROUP_COLUMNS` is there, and not one of the input's with its name in an old product.

    Parameters
    ----------
    table : Table
        Of a product.
    name : str
        Of the column.

    Returns
    -------
    bool
        False where there is none.
    """
    return name in table.colnames and table[name].info.description == _SHARED[name].description


def _alone(count: int) -> dict[str, NDArray]:
    """What `GROUP_COLUMNS` say of rows each of which is a source."""
    return {
        "group_id": np.arange(count),
        "n_components": np.ones(count, np.int32),
        "primary": np.ones(count, bool),
    }


def iau_names(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.str_]:
    """Return IAU designations ``JHHMMSS.s+DDMMSS``, truncated, not rounded.

    Parameters
    ----------
    ra, dec : array (n,)
        Position in degrees, ICRS.

    Returns
    -------
    array (n,) of str
        Empty where a position is not finite or beyond the sphere.

    References
    ----------
    IAU specifications concerning designations for astronomical radiation sources, section 3.
    """
    ra, dec = (np.ma.filled(np.ma.asarray(x, dtype=np.float64), np.nan) for x in (ra, dec))
    valid = np.isfinite(ra) & (np.abs(dec) <= 90)
    # A value that is a whole step but for the rounding of float64 must not fall to the step below.
    tolerance = 1e-6
    tenths = np.floor(np.where(valid, ra, 0) % 360 * 2400 + tolerance).astype(np.int64) % 864000
    arcsec = np.floor(np.abs(np.where(valid, dec, 0)) * 3600 + tolerance).astype(np.int64)
    text = np.empty((len(ra), 16), dtype=np.uint8)
    text[:, 0] = ord("J")
    _put_digits(text[:, 1:3], tenths // 36000)
    _put_digits(text[:, 3:5], tenths // 600 % 60)
    _put_digits(text[:, 5:7], tenths // 10 % 60)
    text[:, 7] = ord(".")
    _put_digits(text[:, 8:9], tenths % 10)
    text[:, 9] = np.where(np.signbit(dec) & (dec != 0), ord("-"), ord("+"))
    _put_digits(text[:, 10:12], arcsec // 3600)
    _put_digits(text[:, 12:14], arcsec // 60 % 60)
    _put_digits(text[:, 14:16], arcsec % 60)
    text[~valid] = 0
    return text.view("S16").reshape(-1).astype("U16")


def _put_digits(places: NDArray[np.uint8], number: NDArray[np.int64]) -> None:
    for place in range(places.shape[1]):
        places[:, -1 - place] = ord("0") + number // 10**place % 10


def _column(spec: ResultColumn, values: Any) -> Column:
    if spec.dtype is None:
        column = values.copy() if isinstance(values, Column) else Column(values)
    else:
        fill = "" if spec.dtype is str else np.nan if spec.dtype.startswith("f") else False if spec.dtype == "?" else -1
        data = np.ma.filled(np.ma.asarray(values, dtype=spec.dtype), fill)
        mask = data == "" if spec.dtype is str else np.isnan(data)
        column = MaskedColumn(data, mask=mask) if spec.missing or mask.any() else Column(data)
    column.unit = spec.unit
    column.description = spec.description
    column.format = spec.format
    column.meta = {"ucd": spec.ucd}
    return column
