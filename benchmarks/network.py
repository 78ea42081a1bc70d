"""Images a second of the network: as served on this device, against the plain layers in eager PyTorch.

    python benchmarks/network.py [--threads 2] [--batch 16] [--seconds 5] [--json FILE]

Both run the same architecture (range normalisation, fine-tuned aggregation, three gates) with the same random weights,
in float32, one view an image, mean attention included, in turns. "plain" is the network as written layer by layer,
contiguous (NCHW); "served" is what `Classifier` uses.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from statistics import median

import torch

from radio_ag.model import AGCNN, Architecture, AttentionGate, fold_batch_norm


class _PlainGate(AttentionGate):
    score_by_tiles = AttentionGate.score


def plain(network: AGCNN) -> AGCNN:
    """The network with its gates computed layer by layer."""
    for gate in network.gates:
        gate.__class__ = _PlainGate
    return network


def build() -> AGCNN:
    torch.manual_seed(0)
    network = AGCNN(Architecture(features="average"))
    network(torch.rand(16, 1, 150, 150))
    return network.eval()


def rate(network: AGCNN, images: torch.Tensor, seconds: float) -> float:
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        network(images).mean_attention()
        done += len(images)
    return done / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    images = torch.rand(options.batch, 1, 150, 150)
    images = images * (images > 0.97)  # mostly zero, as clipped images are
    networks = {"plain": plain(build()), "served": fold_batch_norm(build()).to(memory_format=torch.channels_last)}
    with torch.inference_mode():
        outputs = {name: network(images) for name, network in networks.items()}
        rates = {name: [] for name in networks}
        for _ in range(options.turns):
            for name, network in networks.items():
                rates[name].append(rate(network, images, options.seconds))
    a, b = outputs["plain"], outputs["served"]
    result = {
        "images_per_s": {name: round(median(values), 1) for name, values in rates.items()},
        "ratio": round(median(s / p for p, s in zip(rates["plain"], rates["served"], strict=True)), 2),
        "largest_probability_difference": float((a.logits.softmax(1) - b.logits.softmax(1)).abs().max()),
        "largest_attention_difference": max(float((x - y).abs().max()) for x, y in zip(a.gates, b.gates, strict=True)),
        "batch": options.batch,
        "threads": options.threads,
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
    }
    for name, value in result["images_per_s"].items():
        print(f"{name:8} {value:8.1f} images/s")
    print(f"ratio    {result['ratio']:8.2f}")
    for name in ("probability", "attention"):
        print(f"largest difference in {name}: {result[f'largest_{name}_difference']:.1e}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
