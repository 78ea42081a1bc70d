"""Count the modules that one source enters on its way from a catalogue row and a local mosaic to the product.

    python benchmarks/traced_modules.py [--most 38]

A module is entered when a function of its own runs; what runs while modules are imported does not count, nor do the
``__init__`` of folders. They are printed by room; with ``--most`` a larger number is exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from radio_ag import classify
from radio_ag.simulated import make_mosaic


def entered(run: Callable[[], object]) -> set[str]:
    """Return the names of the package's modules of which something runs, in whichever thread."""
    seen = set()

    def look(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("radio_ag.") and name not in seen and not importing(frame):
            seen.add(name)

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {name for name in seen if not hasattr(sys.modules[name], "__path__")}


def importing(frame: FrameType | None) -> bool:
    """Return whether a call is part of an import."""
    while frame is not None and frame.f_code.co_name != "_call_with_frames_removed":
        frame = frame.f_back
    return frame is not None


def by_room(names: set[str]) -> dict[str, list[str]]:
    """Return the modules of each folder, by the path of the folder."""
    rooms = defaultdict(list)
    for name in sorted(names):
        room, _, module = name.removeprefix("radio_ag.").rpartition(".")
        rooms[room.replace(".", "/") or "radio_ag"].append(module)
    return dict(sorted(rooms.items()))


def main() -> int:
    """Classify a source of a simulated mosaic, and print what it entered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, help="how many modules may be entered")
    most = parser.parse_args().most
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        mosaic, truth = make_mosaic(size=700, n_sources=1, seed=3)
        mosaic.writeto(folder / "mosaic.fits")
        truth["ra", "dec"].write(folder / "catalogue.csv")
        paths = {"images": folder / "mosaic.fits", "output": folder / "product.fits"}
        names = entered(lambda: classify(folder / "catalogue.csv", device="cpu", **paths))
    for room, modules in by_room(names).items():
        print(f"{room:20} {len(modules):2}  {' '.join(modules)}")
    print(f"{'together':20} {len(names):2}")
    return int(most is not None and len(names) > most)


if __name__ == "__main__":
    raise SystemExit(main())
