"""What this machine can do at most: float32 products, copies of memory, a file written and read.

    python benchmarks/limits.py [--threads 2] [--folder FOLDER] [--json FILE]

The other benchmarks are to be held against it. A file is brought to the disk when it is written; when it is read again
it is in the system's file cache, as a mosaic is after its first fields.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from _report import parse_options, report, seconds

from radio_ag.network.model import AGCNN, INPUT_SIZE


def operations() -> float:
    """Floating-point operations of the network for one image, two for each multiplication of its convolutions."""
    count = 0

    def add(layer, inputs, output) -> None:
        nonlocal count
        count += 2 * output.numel() * layer.weight[0].numel()

    network = AGCNN().eval()
    for gate in network.gates:
        gate.score_by_tiles = gate.score  # layer by layer, so that each is seen
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(add)
    with torch.inference_mode():
        network(torch.zeros(1, 1, INPUT_SIZE, INPUT_SIZE))
    return count


def main() -> None:
    options = parse_options(
        __doc__,
        threads={"type": int, "default": torch.get_num_threads()},
        folder={"type": Path, "help": "where the file is written"},
    )
    torch.set_num_threads(options.threads)
    side, size, turns = (512, 1 << 24, 2) if options.small else (4096, 1 << 28, 5)
    a, b = torch.rand(2, side, side)
    source, target = torch.rand(size // 4), torch.empty(size // 4)
    content = source.numpy().tobytes()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        path = Path(name) / "file"

        def write() -> None:
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        product = min(seconds(lambda: torch.mm(a, b)) for _ in range(turns))
        copy = min(seconds(lambda: target.copy_(source)) for _ in range(turns))
        written, read = (min(seconds(function) for _ in range(turns)) for function in (write, path.read_bytes))
    gflops = 2 * side**3 / product / 1e9
    rows = [
        {"what": "matrix product, GFLOP/s", "value": gflops},
        {"what": "memory read and written, GB/s", "value": 2 * size / copy / 1e9},
        {"what": "file written, GB/s", "value": size / written / 1e9},
        {"what": "file read from the cache, GB/s", "value": size / read / 1e9},
    ]
    work = operations() / 1e9
    figures = {"network_GFLOP_an_image": work, "images_per_s_at_that_rate": gflops / work}
    report("limits", options, rows, figures, weights="any of the default architecture", orbit=1)


if __name__ == "__main__":
    main()
