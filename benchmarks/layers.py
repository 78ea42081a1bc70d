"""Where the network's time goes on one CPU thread, layer by layer, as it is served.

    python benchmarks/layers.py [--weights agcnn-first-fast] [--turns 20] [--json FILE]

Times are of the processor, not of the clock, and the least of all turns, for one batch of 16 images in one orientation.
Convolutions are counted with their ReLU's input, gates with their normalisation. The rest is pooling, ReLU, features
and classes; "mean attention" places the maps on the image's pixels.
"""

from __future__ import annotations

import time
from collections import defaultdict

import torch
from _report import parse_options, report
from network import make_images

from radio_ag.network.checkpoints import load_weights
from radio_ag.network.model import fold_batch_norm

BATCH = 16


def main() -> None:
    options = parse_options(__doc__, weights={"default": "agcnn-first-fast"}, turns={"type": int, "default": 20})
    turns = 2 if options.small else options.turns
    torch.set_num_threads(1)
    network = fold_batch_norm(load_weights(options.weights).networks[0]).to(memory_format=torch.channels_last)
    images = torch.from_numpy(make_images(BATCH)).unsqueeze(1).contiguous(memory_format=torch.channels_last)
    spent: dict[str, list[float]] = defaultdict(list)
    operations: dict[str, int] = {}

    def watch(module: torch.nn.Module, name: str) -> None:
        def end(layer, inputs, output) -> None:
            spent[name][-1] += time.thread_time()
            if isinstance(layer, torch.nn.Conv2d):
                operations[name] = 2 * output.numel() * layer.weight[0].numel()

        module.register_forward_pre_hook(lambda layer, inputs: spent[name].append(-time.thread_time()))
        module.register_forward_hook(end)

    for number, block in enumerate(network.blocks, start=1):
        for k, layer in enumerate(layer for layer in block if isinstance(layer, torch.nn.Conv2d)):
            watch(layer, f"block {number}, convolution {k + 1}, {layer.in_channels} to {layer.out_channels}")
    for number, gate in enumerate(network.gates, start=1):
        watch(gate, f"gate {number}")
    with torch.inference_mode():
        for _ in range(turns):
            start = time.thread_time()
            output = network(images)
            middle = time.thread_time()
            output.mean_attention()
            spent["whole network"].append(middle - start)
            spent["mean attention"].append(time.thread_time() - middle)
    least = {name: 1e3 * min(values) for name, values in spent.items()}
    whole = least.pop("whole network")
    parts = sum(least.values()) - least["mean attention"]
    rows = [
        {
            "part": name,
            "ms": ms,
            "share": ms / (whole + least["mean attention"]),
            "GFLOP_per_s": operations[name] / ms / 1e6 if name in operations else "",
        }
        for name, ms in {**least, "the rest": whole - parts}.items()
    ]
    figures = {"ms_a_batch": whole + least["mean attention"]}
    figures["images_per_s"] = 1e3 * BATCH / figures["ms_a_batch"]
    report("layers", options, rows, figures, weights=options.weights, orbit=1)


if __name__ == "__main__":
    main()
