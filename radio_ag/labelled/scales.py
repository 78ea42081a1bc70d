"""The pixel scale and beam of labelled images, and how these come onto the network's pixels: a third of a beam each.

The rule is that of the images that are classified: a beam within 20 % of FIRST's counts as FIRST's, with pixels of
1.8 arcsec; a finer one is convolved to it; a coarser one stays, on pixels that grow with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from radio_ag.catalog_io.images.beam import PIXELS_PER_BEAM, Beam, BeamMatch, match_beam, smooth, smoothing_kernel
from radio_ag.catalog_io.images.headers import make_beam, read_beam
from radio_ag.catalog_io.images.known_beams import named_beam
from radio_ag.catalog_io.images.resample import interpolate
from radio_ag.errors import ImageError
from radio_ag.preprocess.images import BEAM_FWHM, FIELD_SIZE, PIXEL_SCALE

SMALLEST, LARGEST = 64, 600
"""Sides of images that can be used, in pixels of their own."""
_SAME = 0.01  # relative difference of pixel scales below which pixels are used as they are
_SAME_BEAM = 0.2


class Scale(NamedTuple):
    """How images lie on the network's pixels.

    Attributes
    ----------
    survey : str
        As the header names it; empty where it does not.
    beam : float
        Arcsec, of the images as the network sees them.
    pixel_scale : float
        Arcsec, of the network's pixels.
    """

    survey: str = ""
    beam: float = BEAM_FWHM
    pixel_scale: float = PIXEL_SCALE

    def differs(self, other: Scale) -> bool:
        """Return whether the beams, or the pixels, of two data sets are not the same.

        Parameters
        ----------
        other : Scale
            Of the other data set.

        Returns
        -------
        bool
        """
        return (
            abs(self.beam / other.beam - 1) > _SAME_BEAM or abs(self.pixel_scale / other.pixel_scale - 1) > _SAME_BEAM
        )


FIRST_SCALE = Scale()
"""FIRST's."""


@dataclass(frozen=True)
class OwnPixels:
    """The pixels of a cube of images.

    Attributes
    ----------
    pixel_scale : float
        Arcsec.
    beam : Beam
    survey : str
    notes : tuple of str
        What is assumed, since the header does not tell it.
    """

    pixel_scale: float
    beam: Beam
    survey: str
    notes: tuple[str, ...]

    @property
    def told(self) -> bool:
        """Whether both pixel scale and beam are told, so that images of any size can be placed."""
        return not self.notes

    @classmethod
    def read(cls, header: fits.Header, *, beam: float | None = None, pixel_scale: float | None = None) -> OwnPixels:
        """Take pixel scale and beam from a header, or as they are given.

        Parameters
        ----------
        header : Header
            Of the cube.
        beam : float, optional
            Full width at half maximum, arcsec, in place of the header's.
        pixel_scale : float, optional
            Side of a pixel, arcsec, in place of the header's.

        Returns
        -------
        OwnPixels

        Raises
        ------
        ImageError
            Pixels that are not square or wider than the beam, or a beam that cannot be.
        """
        told = _pixel_scale(header) if pixel_scale is None else pixel_scale
        found = _beam(header) if beam is None else make_beam(beam / 3600, beam / 3600, 0.0, name="beam")
        side, beam_of = told or PIXEL_SCALE, found or Beam(BEAM_FWHM, BEAM_FWHM, 0.0)
        lacking = [f"pixel scale: FIRST's {PIXEL_SCALE} arcsec is assumed (--pixel-scale)"] if told is None else []
        lacking += [f"beam: FIRST's {BEAM_FWHM} arcsec is assumed (--beam)"] if found is None else []
        if not 0 < side < np.inf:
            raise ImageError(f"the pixel scale is {side!r}, expected a positive number of arcsec")
        if side > beam_of.major:
            raise ImageError(f"pixels of {side:.3g} arcsec are wider than the beam of {beam_of.fwhm:.3g}")
        survey = str(header.get("SURVEY", "")).strip()
        return cls(side, beam_of, survey, tuple(f"the header does not tell the {what}" for what in lacking))

    @property
    def scale(self) -> Scale:
        """Beam and pixels after `place`."""
        if match_beam(self.beam) is BeamMatch.COARSER:
            return Scale(self.survey, self.beam.fwhm, self.beam.fwhm / PIXELS_PER_BEAM)
        return Scale(self.survey)

    @property
    def as_they_are(self) -> bool:
        """Whether the pixels are the network's already."""
        same = abs(self.pixel_scale / self.scale.pixel_scale - 1) <= _SAME
        return same and match_beam(self.beam) is not BeamMatch.FINER

    def place(self, images: NDArray, size: int = FIELD_SIZE) -> NDArray[np.float32]:
        """Put images on the network's pixels.

        Parameters
        ----------
        images : ndarray, shape (n, ny, nx)
            NaN where blank.
        size : int
            Pixels along each side.

        Returns
        -------
        ndarray, shape (n, size, size), float32
            With the same centre; NaN beyond the images.
        """
        ratio = 1.0 if self.as_they_are else self.scale.pixel_scale / self.pixel_scale
        kernel = None
        if match_beam(self.beam) is BeamMatch.FINER:
            kernel = smoothing_kernel(self.beam, np.diag([-self.pixel_scale, self.pixel_scale]) / 3600)
        middle = (np.array(images.shape[1:]) - 1) / 2
        steps = (np.arange(size) - (size - 1) / 2) * ratio
        y, x = np.meshgrid(middle[0] + steps, middle[1] + steps, indexing="ij")
        placed = np.empty((len(images), size, size), np.float32)
        for image, out in zip(images, placed, strict=True):
            pixels = np.asarray(image, np.float64)
            out[:] = interpolate(pixels if kernel is None else smooth(pixels, kernel), x, y)
        return placed


def _pixel_scale(header: fits.Header) -> float | None:
    """Side of a pixel in arcsec; None where the header does not tell it."""
    sides = [header.get(f"CDELT{axis}", header.get(f"CD{axis}_{axis}")) for axis in (1, 2)]
    if any(side is None for side in sides):
        return None
    if not all(isinstance(side, int | float) and np.isfinite(side) and side for side in sides):
        raise ImageError(f"CDELT1 and CDELT2 are {sides[0]!r} and {sides[1]!r}, expected numbers of degrees")
    first, second = (abs(3600 * side) for side in sides)
    if abs(first / second - 1) > _SAME:
        raise ImageError(f"pixels of {first:.4g} by {second:.4g} arcsec are not square")
    return float(round(np.sqrt(first * second), 9))


def _beam(header: fits.Header) -> Beam | None:
    named = named_beam(header) if "SURVEY" in header else None
    return read_beam(header) or (named.beam if named else None)
