"""Errors and warnings of radio-ag.

::

    RadioAGError
    ├── InputError (also ValueError)   what the user gave cannot be used; the command line exits with 2
    │   ├── CatalogueError             not a table, no position columns, ambiguous units
    │   ├── ImageError                 no celestial WCS, wrong unit, unusable beam
    │   ├── WeightsError               unknown or damaged weights, tensors that do not fit
    │   ├── DeviceError                a device that is not there
    │   ├── OutputError                a product that exists already or cannot be written
    │   └── SourceNotFoundError (also LookupError)   nothing in a result is where one looked
    └── ServiceError                   an image service is down and nothing could be done; exit code 3
    RadioAGWarning (AstropyUserWarning)
    └── IncompleteWarning              so many images could not be had that the work counts as incomplete; exit code 3
"""

from astropy.utils.exceptions import AstropyUserWarning


class RadioAGError(Exception):
    """Root of all errors that radio-ag raises on purpose."""


class InputError(RadioAGError, ValueError):
    """What the user gave cannot be used."""


class CatalogueError(InputError):
    """A catalogue cannot be read, or its positions cannot be found or understood."""


class ImageError(InputError):
    """An image has no celestial WCS, an unknown unit, or a beam that does not fit."""


class WeightsError(InputError):
    """Weights are unknown, damaged, or do not fit the architecture."""


class DeviceError(InputError):
    """The device asked for is not there."""


class OutputError(InputError):
    """A product exists already or cannot be written."""


class SourceNotFoundError(InputError, LookupError):
    """No source of a result is where one looked for it, or it has no attention map."""


class ServiceError(RadioAGError):
    """An image service is down, and nothing could be done without it."""


class RadioAGWarning(AstropyUserWarning):
    """Root of the warnings that radio-ag gives."""


class IncompleteWarning(RadioAGWarning):
    """So many images could not be had that what was made counts as incomplete."""
