"""The bundled weights, and those that a user has imported: ``NAME.safetensors`` beside a JSON card ``NAME.json``.

A card alone says how to rebuild the network and how to feed it: architecture, clip, stretch, value range, calibration.
Weights are looked for among the bundled ones and in the user's folder (``RADIO_AG_WEIGHTS``, by default
``$XDG_DATA_HOME/radio-ag/weights``); a path to a safetensors file or its card works as well.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

DEFAULT = "agcnn-first"


def user_folder() -> Path:
    """Folder of the weights that the user imported or trained."""
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("RADIO_AG_WEIGHTS") or Path(data_home) / "radio-ag" / "weights")


def locate(name: str | os.PathLike) -> Path:
    """Path of the safetensors file for a name or a path.

    Raises
    ------
    LookupError
        No such weights; the message lists the names that exist.
    """
    given = Path(name)
    if given.suffix in (".safetensors", ".json") or len(given.parts) > 1:
        path = given.with_suffix(".safetensors")
        if path.exists():
            return path
    else:
        for folder in _folders():
            if (path := folder / f"{name}.safetensors").exists():
                return path
    names = ", ".join(card["name"] for card in list_weights()) or "none"
    raise LookupError(f"no weights {str(name)!r}: accepted are a path to a .safetensors file, or one of: {names}")


def card(name: str | os.PathLike) -> dict:
    """The card of some weights.

    Raises
    ------
    LookupError
        No such weights.
    ValueError
        The card is missing or is not JSON.
    """
    return _read_card(locate(name).with_suffix(".json"))


def list_weights() -> list[dict]:
    """Cards of the bundled weights and of the user's, bundled first."""
    paths = [path for folder in _folders() for path in sorted(folder.glob("*.safetensors"))]
    return [_read_card(path.with_suffix(".json")) for path in paths]


def _folders() -> list[Path]:
    return [Path(__file__).parent, user_folder()]


def _read_card(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ValueError(f"{path.with_suffix('.safetensors').name} has no card {path.name} beside it") from exc
    except json.JSONDecodeError as exc:
        raise ValueError(f"{path.name} is not a card: {exc}") from exc
