"""What other packages bring: the objects of an entry-point group, each loaded on its own."""

import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from radio_ag.errors import RadioAGWarning


def load_plugins(group: str, what: str) -> Iterator[tuple[str, Any]]:
    """Name and object of each entry point of a group.

    Parameters
    ----------
    group : str
        Entry-point group, such as ``"radio_ag.catalogues"``.
    what : str
        What its plugins are, for the warning.

    Warns
    -----
    RadioAGWarning
        Of each plugin that fails to load. It is left out, whatever it raised: it must not stop the rest.
    """
    for entry in entry_points(group=group):
        try:
            plugin = entry.load()
        except Exception as exc:
            warnings.warn(f"{what} plugin {entry.name!r} cannot be loaded: {exc!r}", RadioAGWarning, stacklevel=3)
        else:
            yield entry.name, plugin
