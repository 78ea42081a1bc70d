"""Time of ``radio-ag --help`` and ``import radio_ag`` in a fresh interpreter: best and median of several runs."""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python, empty program": [sys.executable, "-c", "pass"],
    "import radio_ag": [sys.executable, "-c", "import radio_ag"],
    "radio-ag --help": [
        sys.executable,
        "-c",
        "import sys; from radio_ag.cli import main; sys.argv[1:] = ['--help']; main()",
    ],
}


def measure(command: list[str], repeats: int) -> list[float]:
    """Wall-clock durations of a command in seconds."""
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        durations.append(time.perf_counter() - start)
    return durations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    for name, command in COMMANDS.items():
        measure(command, 1)  # fills the file cache and writes the byte code
        durations = measure(command, repeats)
        print(f"{name:24s} best {min(durations):.3f} s, median {statistics.median(durations):.3f} s of {repeats}")


if __name__ == "__main__":
    main()
