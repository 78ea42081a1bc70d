"""Networks as ONNX, for programs that have no PyTorch."""

from __future__ import annotations

import copy
import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from radio_ag.errors import InputError
from radio_ag.network.checkpoints import Weights
from radio_ag.network.model import INPUT_SIZE, AttentionGate, Network, fold_batch_norm
from radio_ag.writing import check_output, written_beside

OPSET = 17
"""Version of the operators: ONNX Runtime 1.12 and later have them."""


class _Ensemble(nn.Module):
    """Logits of each network, and the mean of all their maps."""

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = [network(images) for network in self.networks]
        logits = torch.stack([output.logits for output in outputs], 1)
        if not outputs[0].gates:
            return (logits,)
        return logits, torch.stack([output.mean_attention() for output in outputs]).mean(0)


def export_onnx(weights: Weights, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """Write networks as an ONNX file, which appears when it is complete.

    Its input ``image`` (batch, 1, 150, 150) float32 is a crop, clipped and normalised as ``input`` of the card says.
    Its outputs are ``logits`` (batch, members, classes), before temperature and softmax, and ``attention``
    (batch, 150, 150), the mean of the gates and members. The metadata hold the card, as JSON, under ``card``.

    Parameters
    ----------
    weights : Weights
        From `radio_ag.network.checkpoints.load_weights`.
    path : path-like
        The file.
    overwrite : bool
        Replace a file of that name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the package onnx is not installed.
    OutputError
        If the file exists, or cannot be written.
    """
    try:
        import onnx
    except ImportError as exc:
        raise InputError("ONNX files need the package onnx: pip install 'radio-ag[onnx]'") from exc
    path = check_output(path, overwrite)
    model = onnx.load_model_from_string(_traced([_plain(network) for network in weights.networks]))
    onnx.helper.set_model_props(model, {"card": json.dumps(weights.card.content), "name": weights.card.name})
    model.doc_string = weights.card.description
    onnx.checker.check_model(model)
    with written_beside(path) as stream:
        stream.write(model.SerializeToString())
    return path


def _plain(network: Network) -> Network:
    """A copy of a network of standard operators alone, on the CPU too."""
    plain = fold_batch_norm(copy.deepcopy(network).eval())
    for module in plain.modules():
        if isinstance(module, AttentionGate):
            vars(module)["score_by_tiles"] = module.score
    return plain


def _traced(networks: Sequence[Network]) -> bytes:
    """ONNX of what the networks do to one batch, of any length."""
    ensemble = _Ensemble(networks).eval()
    image = torch.zeros(2, 1, INPUT_SIZE, INPUT_SIZE)
    with torch.no_grad():
        names = ["logits", "attention"][: len(ensemble(image))]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # the exporter that needs no more than onnx
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python")  # sizes, the same for all images
        torch.onnx.export(
            ensemble,
            (image,),
            os.path.join(folder, "network.onnx"),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ("image", *names)},
        )
        return Path(folder, "network.onnx").read_bytes()
