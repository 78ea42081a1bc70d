"""Seconds until a command has done something, in a fresh interpreter; what an import or a first source costs.

    python benchmarks/startup.py [--repeats 10] [--weights agcnn-first-fast] [--json FILE]

"first class" ends when one field has its probabilities (orbit 8, mean attention); "100 sources" when a hundred have.
Both include all imports, loading the weights, and the noise fit. The file cache is warm.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from _report import parse_options, report, seconds

PREDICT = """
import numpy as np
from radio_ag import Classifier
fields = np.random.default_rng(0).normal(0, 1.5e-4, ({count}, 300, 300)).astype("f4")
fields[:, 140:160, 140:160] += 0.01
Classifier.load({weights!r}, device="cpu", orbit=8).predict(fields)
"""


def commands(weights: str) -> dict[str, str]:
    """Programs by what they do."""
    return {
        "python, empty program": "pass",
        "import radio_ag": "import radio_ag",
        "radio-ag --help": "import sys; from radio_ag.cli import main; sys.argv[1:] = ['--help']; main()",
        "import torch": "import torch",
        "first class": PREDICT.format(count=1, weights=weights),
        "100 sources": PREDICT.format(count=100, weights=weights),
    }


def main() -> None:
    options = parse_options(
        __doc__, repeats={"type": int, "default": 10}, weights={"default": "agcnn-first-fast", "help": "name or path"}
    )
    repeats = 1 if options.small else options.repeats
    rows = []
    for name, program in commands(options.weights).items():

        def run(program=program) -> None:
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

        run()  # fills the file cache and writes the byte code
        durations = [seconds(run) for _ in range(repeats)]
        rows.append({"program": name, "best_s": min(durations), "median_s": statistics.median(durations)})
    report("start-up", options, rows, {}, weights=options.weights, orbit=8)


if __name__ == "__main__":
    main()
