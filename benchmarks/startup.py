"""Seconds until a command has done something, in a fresh interpreter; what an import or a first source costs.

    python benchmarks/startup.py [--repeats 10] [--weights agcnn-first-fast] [--json FILE]

"first class" ends when one field has its probabilities (orbit 8, mean attention), "100 sources" when a hundred have,
and "100 sources, plain" when the loop of `reference.py` has done the same. All three include imports, loading the
weights, and the noise fit. The file cache is warm. The programs take turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from _report import in_turns, parse_options, ratio, report

FIELDS = """
import numpy as np
fields = np.random.default_rng(0).normal(0, 1.5e-4, ({count}, 300, 300)).astype("f4")
fields[:, 140:160, 140:160] += 0.01
"""
PREDICT = (
    FIELDS
    + """
from radio_ag import Classifier
Classifier.load({weights!r}, device="cpu", orbit=8).predict(fields)
"""
)
PLAIN = (
    FIELDS
    + """
import sys
sys.path.insert(0, {folder!r})
from reference import classify_image, plain_network, prepare_field
from radio_ag.network.checkpoints import load_weights
from radio_ag.weights import locate
weights = load_weights(locate({weights!r}))
network, stretch = plain_network(weights.networks[0]), weights.card.preprocessing.stretch
for field in fields:
    classify_image(network, prepare_field(field, stretch)[0], 8)
"""
)


def commands(weights: str) -> dict[str, str]:
    """Programs by what they do."""
    return {
        "python, empty program": "pass",
        "import radio_ag": "import radio_ag",
        "radio-ag --help": "import sys; from radio_ag.cli import main; sys.argv[1:] = ['--help']; main()",
        "import torch": "import torch",
        "first class": PREDICT.format(count=1, weights=weights),
        "100 sources": PREDICT.format(count=100, weights=weights),
        "100 sources, plain": PLAIN.format(count=100, weights=weights, folder=str(Path(__file__).parent)),
    }


def main() -> None:
    options = parse_options(
        __doc__, repeats={"type": int, "default": 10}, weights={"default": "agcnn-first-fast", "help": "name or path"}
    )
    repeats = 1 if options.small else options.repeats

    def runner(program: str):
        return lambda: subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

    runs = {name: runner(program) for name, program in commands(options.weights).items()}
    in_turns(runs, 1)  # fills the file cache and writes the byte code
    durations = in_turns(runs, repeats)
    rows = [
        {"program": name, "best_s": min(values), "median_s": statistics.median(values)}
        for name, values in durations.items()
    ]
    times_plain = ratio(durations, "100 sources, plain", "100 sources")
    report("start-up", options, rows, {"times_plain": times_plain}, weights=options.weights, orbit=8)


if __name__ == "__main__":
    main()
