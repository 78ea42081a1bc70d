"""Images a second of the network: as served on this device, against the plain layers in eager PyTorch, in one run.

    python benchmarks/network.py [--weights agcnn-first-fast] [--threads 2] [--batch 16] [--turns 5] [--json FILE]

"plain" is the network of `reference.py` in the same batches: layer by layer, float32, contiguous (NCHW); "one by one"
the same with a batch of one. "served" is what `Classifier` runs. All of them include the mean attention of one view.
"orbit of 8" is a whole prediction with the exact rotations and flips, from prepared images to probabilities and maps.
On a GPU the plain network runs there, too.
"""

from __future__ import annotations

import numpy as np
import torch
from _report import in_turns, parse_options, ratio, report, seconds
from reference import plain_network

from radio_ag.network.checkpoints import load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import fold_batch_norm
from radio_ag.preprocess.images import Prepared


def make_images(count: int) -> np.ndarray:
    """Images (count, 150, 150) that are mostly zero, as clipped ones are."""
    images = np.random.default_rng(0).random((count, 150, 150), np.float32)
    return np.where(images > 0.97, images, np.float32(0))


def main() -> None:
    options = parse_options(
        __doc__,
        weights={"default": "agcnn-first-fast"},
        device={"default": "auto"},
        threads={"type": int, "default": torch.get_num_threads()},
        batch={"type": int, "default": None, "help": "16 on a CPU, what the classifier chooses on a GPU"},
        batches={"type": int, "default": 8, "help": "of each turn"},
        turns={"type": int, "default": 5},
        compile={"action": "store_true", "help": "torch.compile of the plain layers too, and how long it takes"},
    )
    if options.small:
        options.batches, options.turns = 2, 2
    torch.set_num_threads(options.threads)
    weights = load_weights(options.weights)
    one, eight = (Classifier(weights, device=options.device, orbit=n, batch=options.batch) for n in (1, 8))
    options.batch, options.device = one.batch, str(one.device)
    plain = [plain_network(network).to(one.device) for network in weights.networks]
    images = make_images(options.batch * options.batches)
    known = prepared(images)

    def run_plainly(stack: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
        probabilities, maps = [], []
        with torch.inference_mode():
            for start in range(0, len(stack), batch):
                x = torch.from_numpy(stack[start : start + batch]).unsqueeze(1).to(one.device)
                outputs = [network(x) for network in plain]
                logits = torch.stack([output.logits for output in outputs]).mean(0)
                probabilities.append((logits / one.temperature).softmax(1).cpu().numpy())
                maps.append(torch.stack([output.mean_attention() for output in outputs]).mean(0).cpu().numpy())
        return np.concatenate(probabilities), np.concatenate(maps)

    few = images[: max(len(images) // 8, 1)]
    runs = {
        "plain": lambda: run_plainly(images, options.batch),
        "plain, one by one": lambda: run_plainly(few, 1),
        "served": lambda: one.predict(None, prepared=known),
        "served, no maps": lambda: one.predict(None, prepared=known, attention="none"),
        "served, orbit of 8": lambda: eight.predict(None, prepared=prepared(few)),
    }
    first = {}
    if options.compile:
        folded = torch.compile(fold_batch_norm(plain[0]).to(memory_format=torch.channels_last), dynamic=False)
        inputs = torch.from_numpy(images).unsqueeze(1).split(options.batch)

        def run_compiled() -> None:
            with torch.inference_mode():
                for batch in inputs:
                    folded(batch.to(one.device, memory_format=torch.channels_last)).mean_attention().cpu()

        runs["torch.compile"] = run_compiled
        first["seconds_to_compile"] = seconds(run_compiled)
    in_turns(runs, 1)  # what the first call alone prepares
    durations = in_turns(runs, options.turns)
    counts = {name: len(few) if "one by one" in name or "8" in name else len(images) for name in runs}
    median = {name: float(np.median(values)) for name, values in durations.items()}
    expected, maps = run_plainly(images, options.batch)
    got = one.predict(None, prepared=known)
    work = len(images), len(images)
    report(
        "network",
        options,
        [{"network": name, "sources_per_s": counts[name] / median[name]} for name in runs],
        {
            "times_plain": ratio(durations, "plain", "served", work),
            "times_plain_without_maps": ratio(durations, "plain", "served, no maps", work),
            "orbit_of_8_costs_single_views": ratio(durations, "served, orbit of 8", "served", (len(few), len(images))),
            "largest_probability_difference": float(np.abs(got.probabilities - expected).max()),
            "largest_attention_difference": float(np.abs(got.attention - maps).max()),
            **first,
        },
        weights=options.weights,
        orbit=1,
    )


def prepared(images: np.ndarray) -> Prepared:
    """What `prepare` would give for images that are ready."""
    n = len(images)
    return Prepared(images, np.ones(n, np.float32), np.zeros(n, bool), np.zeros(n, np.float32), np.ones(n, np.float32))


if __name__ == "__main__":
    main()
