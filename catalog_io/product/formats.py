"""The formats that a product may have: modules of one shape, each with its own reading and writing."""

from types import ModuleType

from radio_ag.catalog_io.product import fits as product
from radio_ag.errors import InputError

FORMATS = ("fits", "parquet")
"""Names of the formats."""


def product_format(name: str) -> ModuleType:
    """The module of a format: ``check_output``, ``write_merged``, ``read_product``, ``read_provenance``,
    ``columns_reader``, ``open_stacks``.

    Raises
    ------
    InputError
        If there is no such format, or a package that it needs is not installed.
    """
    if name == "fits":
        return product
    if name != "parquet":
        raise InputError(f"format must be one of {', '.join(FORMATS)}, not {name!r}")
    try:
        from radio_ag.catalog_io.product import parquet
    except ImportError as exc:
        raise InputError(
            f"Parquet needs a package that is not installed: pip install 'radio-ag[parquet]' ({exc})"
        ) from exc
    return parquet
