"""Weights on disk: safetensors beside a JSON card, and the import of published checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from radio_ag import weights as registry
from radio_ag.errors import InputError, OutputError, WeightsError
from radio_ag.network.baselines import AnyArchitecture, architecture_of, build
from radio_ag.network.model import CLASSES, INPUT_SIZE, NORMALISATIONS, Architecture, Network, count_parameters
from radio_ag.network.pytorch_files import read_pytorch
from radio_ag.pickles import shown
from radio_ag.weights import Card
from radio_ag.writing import check_output

_LARGEST_FILE = 1 << 30  # bytes; the bundled ensemble has 2.4 MB
_LARGEST_HEADER = 8 << 20  # bytes of names, types, shapes and places


@dataclass(frozen=True)
class Weights:
    """Networks ready to run, with their card.

    Attributes
    ----------
    networks : tuple of Network
        The members of an ensemble, or a single network; in evaluation mode, on the CPU. AG-CNNs, or baselines of
        `radio_ag.network.baselines`.
    card : Card
        Architecture, input, calibration; ``card.content`` tells of training and metrics too.
    extra : dict of Tensor
        Further tensors of the file, such as the statistics of the training features.
    """

    networks: tuple[Network, ...]
    card: Card
    extra: dict[str, Tensor]

    def described(self, **changes: Any) -> Weights:
        """Return the same networks with some fields of their card replaced."""
        return replace(self, card=Card.of({**self.card.content, **changes}))


def load_weights(name: str | os.PathLike = registry.DEFAULT) -> Weights:
    """Build the networks that a card describes and fill them.

    Parameters
    ----------
    name : str or path-like
        A name that ``radio-ag weights list`` shows, or a path to a safetensors file.

    Raises
    ------
    WeightsError
        Unknown or damaged weights; a field of the card or a tensor that cannot be used is named.
    """
    path, card = registry.locate(name), registry.card(name)
    if card.architecture is None or card.sha256 is None:
        raise WeightsError(f"the card of {path.name} lacks its {'sha256' if card.architecture else 'architecture'}")
    tensors = _read_tensors(path, card.sha256)
    try:
        architecture = architecture_of(card.architecture)
    except InputError as exc:
        raise WeightsError(f"the card of {path.name} is of no use: {exc}") from exc
    if architecture.classes != len(card.classes):
        raise WeightsError(
            f"the card of {path.name} is of no use: it names the classes {', '.join(card.classes)}, and its "
            f"architecture has {architecture.classes}"
        )
    networks = []
    for member in range(card.members):
        prefix = f"{member}."
        own = {key.removeprefix(prefix): tensors.pop(key) for key in list(tensors) if key.startswith(prefix)}
        networks.append(fill(architecture, own, path.name))
    return Weights(tuple(networks), card, tensors)


def _read_tensors(path: Path, expected_sha256: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file that is the one of its card, of a size that is worth reading."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        size = file.seek(0, os.SEEK_END)
    if header > _LARGEST_HEADER or size > _LARGEST_FILE:
        raise WeightsError(
            f"{path.name} has {size:,} bytes, {header:,} of them names; accepted are {_LARGEST_FILE:,} and "
            f"{_LARGEST_HEADER:,}"
        )
    found = sha256(path)
    if found != expected_sha256:
        raise WeightsError(
            f"{path.name} is damaged or not the file of its card: sha256 {found}, the card says {expected_sha256}"
        )
    try:
        return load_file(path)
    except Exception as exc:  # safetensors raises several kinds for a header that cannot be
        raise WeightsError(f"{path.name} is not a safetensors file: {exc}") from exc


def save_weights(
    path: Path,
    networks: Sequence[Network],
    card: Mapping[str, Any],
    extra: Mapping[str, Tensor] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write networks of one architecture and their card.

    Parameters
    ----------
    path : Path
        The safetensors file; the card takes its name with ``.json``.
    networks : sequence of Network
        AG-CNNs, or baselines of `radio_ag.network.baselines`.
    card : dict
        ``name``, ``description``, ``input``, ``calibration``, and so on, ``classes`` if they are others than FRI and
        FRII; architecture, parameters, members and sha256 are added.
    extra : dict of Tensor, optional
        Further tensors to keep in the file.
    overwrite : bool

    Raises
    ------
    OutputError
        The file exists already, or cannot be written.
    WeightsError
        A field of the card cannot be used.
    """
    tensors = {f"{i}.{k}": v.contiguous() for i, net in enumerate(networks) for k, v in net.state_dict().items()}
    beside = path.with_suffix(".safetensors.part")
    content = save(tensors | dict(extra or {}))
    full = {
        **card,
        "architecture": asdict(networks[0].architecture),
        "classes": list(card.get("classes", CLASSES)),
        "parameters": count_parameters(networks[0]),
        "members": len(networks),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if len(full["classes"]) != networks[0].architecture.classes:
        raise WeightsError(f"{len(full['classes'])} classes for a network of {networks[0].architecture.classes}")
    Card.of(full)  # what cannot be read again is not written
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in (path, path.with_suffix(".json")):
            check_output(file, overwrite)
        beside.write_bytes(content)
        card_beside = path.with_suffix(".json.part")
        card_beside.write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)
        os.replace(card_beside, path.with_suffix(".json"))
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc
    return path


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file.

    Parameters
    ----------
    path : Path
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def import_checkpoint(path: str | os.PathLike, name: str, *, normalisation: str, overwrite: bool = False) -> Path:
    """Import a checkpoint published with Bowles et al. 2021 as weights of this package.

    Parameters
    ----------
    path : path-like
        A ``.pt`` file: a dictionary of tensors, read without unpickling anything else.
    name : str
        Name of the new weights in the user's folder, or a path that ends in ``.safetensors``.
    normalisation : {"range", "softmax", "sigmoid", "standardisation"}
        Which one the network was trained with; the file does not say.
    overwrite : bool

    Returns
    -------
    Path
        The safetensors file.

    Raises
    ------
    WeightsError
        Not such a checkpoint; the tensor that does not fit is named.
    OutputError
        The weights exist already, or cannot be written.
    """
    path = Path(path)
    if normalisation not in NORMALISATIONS:
        raise WeightsError(f"normalisation must be one of {', '.join(NORMALISATIONS)}, not {normalisation!r}")
    network = convert_checkpoint(_read_checkpoint(path), normalisation, path.name)
    output = Path(name)
    if output.suffix != ".safetensors":
        if len(output.parts) > 1:
            raise WeightsError(f"{name!r} is neither a plain name nor a path that ends in .safetensors")
        output = registry.user_folder() / f"{name}.safetensors"
    card = {
        "name": output.stem,
        "description": f"imported from {path.name}",
        "reference": "Bowles et al. 2021, MNRAS 501, 4579, arXiv:2012.01248",
        "licence": "that of the imported file",
        "input": {"size": INPUT_SIZE, "pixel_scale": 1.8, "clip": 3.0, "stretch": "linear", "value_range": [-1.0, 1.0]},
        "source_sha256": sha256(path),
    }
    return save_weights(output, [network], card, overwrite=overwrite)


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    tensors = read_pytorch(path)
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in tensors.items()
    ):
        raise WeightsError(f"{path.name} is not a dictionary of tensors")
    return tensors


def convert_checkpoint(tensors: Mapping[str, Tensor], normalisation: str, source: str = "the checkpoint") -> Network:
    """Return the network of a published checkpoint; gates and aggregation are found from its names and shapes.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    normalisation : {"range", "softmax", "sigmoid", "standardisation"}
    source : str
        Where the tensors come from, for messages.

    Raises
    ------
    WeightsError
        Not such a checkpoint; the tensor that does not fit is named.
    """
    biases = [tensors[key] for key in ("classifier.bias", "classifiers.0.bias") if key in tensors]
    if not biases:
        raise WeightsError(f"{source} has neither classifier.bias nor classifiers.0.bias: not an AG-CNN checkpoint")
    if biases[0].shape != (len(CLASSES),):
        raise WeightsError(f"{source} has a last layer of shape {tuple(biases[0].shape)}, expected ({len(CLASSES)},)")
    gates = sum(f"attention{n}.theta.weight" in tensors for n in (1, 2, 3))
    architecture = Architecture(
        normalisation=normalisation, aggregation=_aggregation(tensors, gates), gates=gates, published_details=True
    )
    ours = {
        _our_name(key, gates): value.float() if value.is_floating_point() else value
        for key, value in tensors.items()
        if not re.match(r"fc\d\.", key)
    }
    return fill(architecture, ours, source)


def _aggregation(tensors: Mapping[str, Tensor], gates: int) -> str:
    final, per_gate = tensors.get("classifier.weight"), "classifiers.0.weight" in tensors
    if final is None:
        return "mean"
    if not per_gate or not gates:
        return "concatenation" if gates else "fine_tuned"
    return "fine_tuned" if final.shape[-1:] == (gates * len(CLASSES),) else "deep_supervised"


def _our_name(key: str, gates: int) -> str:
    """``conv2b.weight`` → ``blocks.1.3.weight`` and so on: three layers a convolution, batch norm after it."""
    if match := re.fullmatch(r"(conv|bnorm)(\d)([abc])\.(\w+)", key):
        kind, block, layer, what = match.groups()
        return f"blocks.{int(block) - 1}.{3 * 'abc'.index(layer) + (kind == 'bnorm')}.{what}"
    if match := re.fullmatch(r"attention(\d)\.(.+)", key):
        return f"gates.{int(match[1]) - 1}.{match[2]}"
    if match := re.fullmatch(r"classifiers\.(.+)", key):
        return f"classifier.per_gate.{match[1]}"
    if gates and (match := re.fullmatch(r"classifier\.(\w+)", key)):
        return f"classifier.final.{match[1]}"
    return key


def fill(architecture: AnyArchitecture, tensors: Mapping[str, Tensor], source: str) -> Network:
    """Build a network and give it its parameters.

    Parameters
    ----------
    architecture : Architecture
    tensors : mapping of str to Tensor
        By the names of the network's ``state_dict``.
    source : str
        Where they come from, for messages.

    Returns
    -------
    Network
        In evaluation mode, on the CPU.

    Raises
    ------
    WeightsError
        A tensor is missing, superfluous, of another shape or type, or holds what no trained network does.
    """
    network = build(architecture)
    wanted = network.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in tensors]
    problems += [f"{shown(key)} is not part of the network" for key in tensors if key not in wanted]
    misfits = {key: _misfit(tensors[key], value, key) for key, value in wanted.items() if key in tensors}
    problems += [f"{key} {misfit}" for key, misfit in misfits.items() if misfit]
    if problems:
        raise WeightsError(f"{source} does not fit the architecture: " + "; ".join(problems[:5]))
    network.load_state_dict(tensors)
    return network.eval()


def _misfit(tensor: Tensor, wanted: Tensor, name: str) -> str:
    """Return why a tensor cannot stand in the place of another one; nothing if it can."""
    if tensor.shape != wanted.shape:
        return f"has shape {tuple(tensor.shape)}, expected {tuple(wanted.shape)}"
    if tensor.dtype != wanted.dtype:
        return f"holds {tensor.dtype}, expected {wanted.dtype}"
    if not tensor.isfinite().all():
        return "holds values that are not finite"
    return "is negative" if name.endswith("running_var") and tensor.min() < 0 else ""
