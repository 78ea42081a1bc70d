"""Quality flags: one bit mask a row, one registry for code, headers and documentation."""

from enum import IntFlag


class Flag(IntFlag):
    """Bits of the ``flags`` column. ``flags == 0`` is the clean sample."""

    NO_COVERAGE = 1 << 0
    FETCH_FAILED = 1 << 1
    BLANKED = 1 << 2
    EMPTY = 1 << 3
    LOW_SNR = 1 << 4
    UNRESOLVED = 1 << 5
    TRUNCATED = 1 << 6
    OFF_CENTRE = 1 << 7
    CONFUSED = 1 << 8
    RMS_FALLBACK = 1 << 9
    RESAMPLED = 1 << 10
    UNCERTAIN = 1 << 11
    OUT_OF_DISTRIBUTION = 1 << 12
    BAD_POSITION = 1 << 13
    BEAM_ASSUMED = 1 << 14

    @property
    def description(self) -> str:
        """What a single flag means, in words."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    Flag.NO_COVERAGE: "outside the survey or the images",
    Flag.FETCH_FAILED: "the service gave no usable image after retries",
    Flag.BLANKED: "part of the field is NaN or missing",
    Flag.EMPTY: "no island of emission: nothing to classify",
    Flag.LOW_SNR: "the source's peak is barely above the noise",
    Flag.UNRESOLVED: "too compact for a morphology: FRI/FRII has no meaning",
    Flag.TRUNCATED: "emission, or a component of the source, is at the cutout's edge or beyond",
    Flag.OFF_CENTRE: "nothing at the position itself",
    Flag.CONFUSED: "another island in the cutout is ten times as bright, or it is unsure which is the source",
    Flag.RMS_FALLBACK: "the histogram fit failed; a robust noise estimate stands in",
    Flag.RESAMPLED: "pixels or beam differ from FIRST's",
    Flag.UNCERTAIN: "probability below the threshold on the weights' card",
    Flag.OUT_OF_DISTRIBUTION: "unlike the training set",
    Flag.BAD_POSITION: "no finite position in the row",
    Flag.BEAM_ASSUMED: "no beam is known for the image: FIRST's is assumed",
}

UNCLASSIFIED = Flag.BAD_POSITION | Flag.NO_COVERAGE | Flag.FETCH_FAILED | Flag.EMPTY
"""Flags that mask class and probability whatever the weights, as does a wholly blank field (NO_COVERAGE too).

``UNRESOLVED`` masks them too where the weights' card says that the classes need a morphology.
"""


def decode(value: int) -> list[str]:
    """Return the names of the flags set in ``value``, e.g. ``decode(24) == ["EMPTY", "LOW_SNR"]``.

    Parameters
    ----------
    value : int
        Bits of the flags, of one row.

    Returns
    -------
    list of str
        In the order of the bits.
    """
    return [flag.name for flag in Flag if value & flag and flag.name]
