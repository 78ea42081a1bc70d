"""radio-ag: FRI/FRII classification of radio sources with an attention-gated network, from catalogue to FITS.

>>> from radio_ag import classify
>>> result = classify("catalog.fits", images="mosaic.fits")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radio_ag.catalog_io.result import Result
    from radio_ag.flags import Flag
    from radio_ag.network.classifier import Classifier
    from radio_ag.options import CatalogueOptions, ImageOptions, RunOptions
    from radio_ag.pipeline import classify

__version__ = "0.1.0"

_HOMES = {
    "classify": "radio_ag.pipeline",
    "Classifier": "radio_ag.network.classifier",
    "Result": "radio_ag.catalog_io.result",
    "Flag": "radio_ag.flags",
    "CatalogueOptions": "radio_ag.options",
    "ImageOptions": "radio_ag.options",
    "RunOptions": "radio_ag.options",
}
__all__ = [
    "CatalogueOptions",
    "Classifier",
    "Flag",
    "ImageOptions",
    "Result",
    "RunOptions",
    "__version__",
    "classify",
]


def __getattr__(name: str) -> Any:
    """Load torch and astropy only when something that needs them is used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
