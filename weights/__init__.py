"""The bundled weights, and those that a user has imported: ``NAME.safetensors`` beside a JSON card ``NAME.json``.

A card alone says how to rebuild the network and how to feed it: architecture, clip, stretch, value range, calibration.
Weights are looked for among the bundled ones and in the user's folder (``RADIO_AG_WEIGHTS``, by default
``$XDG_DATA_HOME/radio-ag/weights``); a path to a safetensors file or its card works as well.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from radio_ag.errors import RadioAGWarning, WeightsError
from radio_ag.weights.cards import Card

__all__ = ["DEFAULT", "Card", "card", "list_weights", "locate", "user_folder"]

DEFAULT = "agcnn-first"


def user_folder() -> Path:
    """Return the folder of the weights that the user imported or trained."""
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("RADIO_AG_WEIGHTS") or Path(data_home) / "radio-ag" / "weights")


def locate(name: str | os.PathLike) -> Path:
    """Return the path of the safetensors file for a name or a path.

    Parameters
    ----------
    name : str or path-like
        A name, or a path to a safetensors file or its card.

    Raises
    ------
    WeightsError
        No such weights; the message lists the names that exist.
    """
    given = Path(name)
    if given.suffix in (".safetensors", ".json") or len(given.parts) > 1:
        path = given.with_suffix(".safetensors")
        if path.is_file():
            return path
    else:
        for folder in _folders():
            if (path := folder / f"{name}.safetensors").is_file():
                return path
    names = ", ".join(path.stem for path in _files()) or "none"
    raise WeightsError(f"no weights {str(name)!r}: accepted are a path to a .safetensors file, or one of: {names}")


def card(name: str | os.PathLike) -> Card:
    """Return the card of some weights.

    Parameters
    ----------
    name : str or path-like
        As for `locate`.

    Raises
    ------
    WeightsError
        No such weights, or their card is missing or cannot be used.
    """
    return Card.read(locate(name).with_suffix(".json"))


def list_weights() -> list[Card]:
    """Return the cards of the bundled weights and of the user's, bundled first; warn of those that cannot be used."""
    cards = []
    for path in _files():
        try:
            cards.append(Card.read(path.with_suffix(".json")))
        except WeightsError as exc:
            warnings.warn(f"{path} cannot be used: {exc}", RadioAGWarning, stacklevel=2)
    return cards


def _folders() -> list[Path]:
    return [Path(__file__).parent, user_folder()]


def _files() -> list[Path]:
    return [path for folder in _folders() for path in sorted(folder.glob("*.safetensors"))]
