"""Weights on disk: safetensors beside a JSON card, and the import of published checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from radio_ag import weights as registry
from radio_ag.errors import InputError, OutputError, WeightsError
from radio_ag.network.baselines import AnyArchitecture, architecture_of, build
from radio_ag.network.model import AGCNN, CLASSES, INPUT_SIZE, NORMALISATIONS, Architecture, count_parameters
from radio_ag.writing import check_output


@dataclass(frozen=True)
class Weights:
    """Networks ready to run, with their card.

    Attributes
    ----------
    networks : tuple of Module
        The members of an ensemble, or a single network; in evaluation mode, on the CPU. AG-CNNs, or baselines of
        `radio_ag.network.baselines`.
    card : dict
        Architecture, input, calibration, training and metrics.
    extra : dict of Tensor
        Further tensors of the file, such as the statistics of the training features.
    """

    networks: tuple[nn.Module, ...]
    card: dict
    extra: dict[str, Tensor]


def load_weights(name: str | os.PathLike = registry.DEFAULT) -> Weights:
    """Build the networks that a card describes and fill them.

    Parameters
    ----------
    name : str or path-like
        A name that ``radio-ag weights list`` shows, or a path to a safetensors file.

    Raises
    ------
    WeightsError
        Unknown or damaged weights; a tensor that is missing, superfluous, or of another shape is named.
    """
    path, card = locate(name), card_of(name)
    found = sha256(path)
    if card.get("sha256") != found:
        raise WeightsError(
            f"{path.name} is damaged or not the file of its card: sha256 {found}, the card says {card.get('sha256')}"
        )
    try:
        tensors = load_file(path)
    except SafetensorError as exc:
        raise WeightsError(f"{path.name} is not a safetensors file: {exc}") from exc
    try:
        architecture = architecture_of(card["architecture"])
    except InputError as exc:
        raise WeightsError(f"the card of {path.name} is of no use: {exc}") from exc
    networks = []
    for member in range(card.get("members", 1)):
        prefix = f"{member}."
        own = {key.removeprefix(prefix): tensors.pop(key) for key in list(tensors) if key.startswith(prefix)}
        networks.append(_fill(architecture, own, path.name))
    return Weights(tuple(networks), card, tensors)


def card_of(name: str | os.PathLike) -> dict:
    """The card of some weights, as ``radio_ag.weights.card`` gives it, with errors of this package."""
    try:
        return registry.card(name)
    except (LookupError, ValueError) as exc:
        raise WeightsError(str(exc)) from exc


def locate(name: str | os.PathLike) -> Path:
    """Path of the safetensors file, as ``radio_ag.weights.locate`` gives it, with errors of this package."""
    try:
        return registry.locate(name)
    except LookupError as exc:
        raise WeightsError(str(exc)) from exc


def save_weights(
    path: Path, networks, card: dict, extra: dict[str, Tensor] | None = None, *, overwrite: bool = False
) -> Path:
    """Write networks of one architecture and their card.

    Parameters
    ----------
    path : Path
        The safetensors file; the card takes its name with ``.json``.
    networks : sequence of Module
        AG-CNNs, or baselines of `radio_ag.network.baselines`.
    card : dict
        ``name``, ``description``, ``input``, ``calibration``, and so on; architecture, parameters, members and sha256
        are added.
    extra : dict of Tensor, optional
        Further tensors to keep in the file.
    overwrite : bool

    Raises
    ------
    OutputError
        The file exists already, or cannot be written.
    """
    tensors = {f"{i}.{k}": v.contiguous() for i, net in enumerate(networks) for k, v in net.state_dict().items()}
    beside = path.with_suffix(".safetensors.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in (path, path.with_suffix(".json")):
            check_output(file, overwrite)
        beside.write_bytes(save(tensors | (extra or {})))
        full = {
            **card,
            "architecture": asdict(networks[0].architecture),
            "classes": list(CLASSES),
            "parameters": count_parameters(networks[0]),
            "members": len(networks),
            "sha256": sha256(beside),
        }
        card_beside = path.with_suffix(".json.part")
        card_beside.write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)
        os.replace(card_beside, path.with_suffix(".json"))
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc
    return path


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def import_checkpoint(path, name: str, *, normalisation: str, overwrite: bool = False) -> Path:
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
    try:
        tensors = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as exc:
        raise WeightsError(f"no file {path}") from exc
    except Exception as exc:  # torch.load raises many kinds for a file that is not a checkpoint
        raise WeightsError(
            f"{path.name} cannot be read as a PyTorch checkpoint of tensors alone: {type(exc).__name__}"
        ) from exc
    if not isinstance(tensors, dict) or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise WeightsError(f"{path.name} is not a dictionary of tensors")
    return tensors


def convert_checkpoint(tensors: dict[str, Tensor], normalisation: str, source: str = "the checkpoint") -> AGCNN:
    """Network of a published checkpoint; gates and aggregation are found from the tensors' names and shapes."""
    gates = sum(f"attention{n}.theta.weight" in tensors for n in (1, 2, 3))
    architecture = Architecture(
        normalisation=normalisation,
        aggregation=_aggregation(tensors, gates),
        gates=gates,
        classes=_output_classes(tensors, source),
        published_details=True,
    )
    ours = {_our_name(k, gates): v for k, v in tensors.items() if not re.match(r"fc\d\.", k)}
    return _fill(architecture, ours, source)


def _output_classes(tensors: dict[str, Tensor], source: str) -> int:
    for key in ("classifier.bias", "classifiers.0.bias"):
        if key in tensors:
            return len(tensors[key])
    raise WeightsError(f"{source} has neither classifier.bias nor classifiers.0.bias: not an AG-CNN checkpoint")


def _aggregation(tensors: dict[str, Tensor], gates: int) -> str:
    final, per_gate = tensors.get("classifier.weight"), "classifiers.0.weight" in tensors
    if final is None:
        return "mean"
    if not per_gate or not gates:
        return "concatenation" if gates else "fine_tuned"
    return "fine_tuned" if final.shape[1] == gates * final.shape[0] else "deep_supervised"


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


def _fill(architecture: AnyArchitecture, tensors: dict[str, Tensor], source: str) -> nn.Module:
    network = build(architecture)
    wanted = network.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in tensors]
    problems += [f"{key} is not part of the network" for key in tensors if key not in wanted]
    problems += [
        f"{key} has shape {tuple(tensors[key].shape)}, expected {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if problems:
        raise WeightsError(f"{source} does not fit the architecture: " + "; ".join(problems[:5]))
    network.load_state_dict(tensors)
    return network.eval()
