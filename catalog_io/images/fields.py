"""Fields for positions: what every image source gives, as one record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from radio_ag.catalog_io.images.geometry import Cutout
from radio_ag.errors import ServiceError
from radio_ag.flags import Flag
from radio_ag.preprocess.images import FIELD_SIZE

DATE_LENGTH = 26
"""Characters of a date: to a microsecond."""
_NOT_TOLD = np.empty(0)
_SERVICE_DOWN = frozenset({"connection", "timeout", "http_error"})


@dataclass
class Fields:
    """Fields fetched for n positions, in the order of the positions.

    Attributes
    ----------
    data : ndarray, shape (n, 300, 300), float32
        Jy/beam, (ny, nx), north up and east left, centred on the position to the pixel; NaN where blank.
    flags : ndarray, shape (n,), int32
        ``NO_COVERAGE``, ``FETCH_FAILED``, ``RESAMPLED`` and ``BEAM_ASSUMED`` bits.
    status : list of str
        ``ok``, ``partial`` (part of the field is blank), ``no_coverage``, or in a word why it failed.
    origin : list of str
        File name or URL of each field; empty where there is none.
    cutout_ra, cutout_dec : ndarray, shape (n,), float64
        Reference position (CRVAL) of the cutout's tangent-plane WCS, degrees ICRS; NaN where there is no image.
    crpix : ndarray, shape (n, 2), float64
        Reference pixel (x, y), counted from 1 on the central 150x150 crop.
    cd : ndarray, shape (n, 2, 2), float64
        CD matrix, degrees a pixel.
    beam : ndarray, shape (n, 3), float32
        Major and minor axis of the field's beam in arcsec and its position angle in degrees; NaN where not known.
    frequency : ndarray, shape (n,), float64
        Hz; NaN where not known.
    date : ndarray of bytes, shape (n,)
        Of the observation, as in DATE-OBS; empty where not known.
    """

    data: np.ndarray
    flags: np.ndarray
    status: list[str]
    origin: list[str]
    cutout_ra: np.ndarray
    cutout_dec: np.ndarray
    crpix: np.ndarray
    cd: np.ndarray
    beam: np.ndarray = field(default_factory=lambda: _NOT_TOLD)
    frequency: np.ndarray = field(default_factory=lambda: _NOT_TOLD)
    date: np.ndarray = field(default_factory=lambda: _NOT_TOLD)

    def __post_init__(self) -> None:
        n = len(self.data)  # an image source need not tell these
        self.beam = np.full((n, 3), np.nan, np.float32) if self.beam is _NOT_TOLD else self.beam
        self.frequency = np.full(n, np.nan) if self.frequency is _NOT_TOLD else self.frequency
        self.date = np.zeros(n, f"S{DATE_LENGTH}") if self.date is _NOT_TOLD else self.date

    @classmethod
    def blank(cls, n: int, data: np.ndarray | None = None) -> "Fields":
        """Make fields that nothing covers, for a source to fill with `put` and `fail`.

        Parameters
        ----------
        n : int
            Number of fields.
        data : ndarray, shape (n, 300, 300), float32, optional
            The pixels, from a source that sees to each of them itself; None: NaN.

        Returns
        -------
        Fields
        """
        return cls(
            data=np.full((n, FIELD_SIZE, FIELD_SIZE), np.nan, dtype=np.float32) if data is None else data,
            flags=np.full(n, Flag.NO_COVERAGE, dtype=np.int32),
            status=["no_coverage"] * n,
            origin=[""] * n,
            cutout_ra=np.full(n, np.nan),
            cutout_dec=np.full(n, np.nan),
            crpix=np.full((n, 2), np.nan),
            cd=np.full((n, 2, 2), np.nan),
        )

    def __len__(self) -> int:
        return len(self.data)

    def wcs_columns(self) -> dict[str, np.ndarray]:
        """Return the WCS of each crop, in the columns that a result has for it.

        Returns
        -------
        dict of str to ndarray, shape (n,)
        """
        columns = {"cutout_ra": self.cutout_ra, "cutout_dec": self.cutout_dec}
        columns["crpix1"], columns["crpix2"] = self.crpix.T
        columns["cd1_1"], columns["cd1_2"], columns["cd2_1"], columns["cd2_2"] = self.cd.reshape(-1, 4).T
        return columns

    def observation_columns(self) -> dict[str, np.ndarray]:
        """Return the beam of each field, its frequency and date, in the columns that a table of sources has for them.

        Returns
        -------
        dict of str to ndarray, shape (n,)
        """
        beam = dict(zip(("beam_major", "beam_minor", "beam_pa"), self.beam.T, strict=True))
        return beam | {"frequency": self.frequency, "date_obs": self.date}

    def put(self, row: int, cutout: Cutout, origin: str) -> None:
        """Store a cutout; a wholly blank one is kept as ``no_coverage``.

        Parameters
        ----------
        row : int
            Index of the field.
        cutout : Cutout
            What an image gave.
        origin : str
            File name or URL.
        """
        self.origin[row] = origin
        finite = np.isfinite(cutout.data)
        if not finite.any():
            self.fail(row, "no_coverage", origin, Flag.NO_COVERAGE)
            return
        self.data[row] = cutout.data if finite.all() else np.where(finite, cutout.data, np.nan)
        self.flags[row] = Flag.RESAMPLED * cutout.resampled | Flag.BEAM_ASSUMED * cutout.beam_assumed
        self.status[row] = "ok" if finite.all() else "partial"
        self.cutout_ra[row], self.cutout_dec[row] = cutout.crval
        self.crpix[row] = cutout.crpix
        self.cd[row] = cutout.cd
        self.beam[row] = np.nan if cutout.beam is None else cutout.beam
        self.frequency[row] = np.nan if cutout.frequency is None else cutout.frequency
        self.date[row] = cutout.date.encode("ascii")

    def fail(self, row: int, status: str, origin: str = "", flag: Flag = Flag.FETCH_FAILED) -> None:
        """Record that a row has no image, and why.

        Parameters
        ----------
        row : int
            Index of the field.
        status : str
            Why, in a word.
        origin : str
            File name or URL that was tried.
        flag : Flag
            What its row is flagged with.
        """
        self.data[row] = np.nan
        self.flags[row] = flag
        self.status[row] = status
        self.origin[row] = origin
        self.cutout_ra[row] = self.cutout_dec[row] = np.nan
        self.crpix[row] = np.nan
        self.cd[row] = self.beam[row] = np.nan
        self.frequency[row], self.date[row] = np.nan, b""


@dataclass(frozen=True)
class Traffic:
    """What asking for images took.

    An image source that asks a service may offer it as its attribute ``traffic``.

    Attributes
    ----------
    requests : int
        Requests that were made.
    retries : mapping of str to int
        Further tries for an image, by what had come of the one before: "timeout", "connection", "HTTP 503", ...
    waited : float
        Seconds between those tries and the ones before, summed over the images.
    """

    requests: int
    retries: Mapping[str, int]
    waited: float

    def __str__(self) -> str:
        line = f"{self.requests} requests"
        if self.retries:
            causes = ", ".join(f"{count} {cause}" for cause, count in self.retries.items())
            line += f"; {sum(self.retries.values())} tries again ({causes}); images waited {self.waited:.0f} s for them"
        return line


@runtime_checkable
class ImageSource(Protocol):
    """Positions in, fields out."""

    @property
    def name(self) -> str:
        """Return a short name for headers, such as ``"FIRST"`` or a file name."""

    def fetch(self, ra: np.ndarray, dec: np.ndarray) -> Fields:
        """Return the fields of one chunk of finite positions.

        Parameters
        ----------
        ra, dec : ndarray, shape (n,), float64
            Degrees ICRS.

        Returns
        -------
        Fields
            One field a position, in the same order: a position without an image is flagged, never dropped.
        """

    def describe(self) -> dict[str, str]:
        """Return provenance for the product's header: survey, service or file names (never absolute paths)."""


def check_service(fields: Fields, source: ImageSource) -> None:
    """Find out from a run's first fields whether its image source answers at all.

    Parameters
    ----------
    fields : Fields
        The first of a run.
    source : ImageSource
        That gave them.

    Raises
    ------
    ServiceError
        If not one of the images came, and each for want of a usable answer.
    """
    told = list(zip(fields.status, fields.origin, strict=True))
    asked = [row for row, pair in enumerate(told) if pair != ("no_coverage", "")]  # which is known without asking
    statuses = {fields.status[row] for row in asked}
    if asked and statuses <= _SERVICE_DOWN:
        raise ServiceError(
            f"{source.name}: none of the first {len(asked)} images came ({', '.join(sorted(statuses))}); "
            f"asked {fields.origin[asked[0]]}. Nothing was written"
        )
