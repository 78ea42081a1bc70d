"""Draw five simulated sources with the components that were found and joined: the picture in docs/sources.md.

python examples/make_sources_figure.py docs/images/sources.png
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from astropy.wcs import WCS
from matplotlib.patches import Ellipse

from radio_ag import classify
from radio_ag.simulated import TYPICAL_RMS, make_mosaic

PIXEL = 1.8  # arcsec
HALF = 75  # pixels

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("output", type=Path)
options = parser.parse_args()

mosaic, _ = make_mosaic(size=1600, n_sources=20, kinds=("FRI", "FRII", "FRII"), seed=4, min_separation=180)
result = classify(mosaic, device="cpu")
sources, rows, wcs = result.sources, result.table, WCS(mosaic.header)
chosen = np.sort(np.argsort(-sources["n_components"], kind="stable")[:5])

figure, axes = plt.subplots(1, len(chosen), figsize=(13, 3.2), sharey=True, layout="constrained")
for axis, source in zip(axes, sources[chosen], strict=True):
    x, y = (float(v) for v in wcs.world_to_pixel_values(source["ra"], source["dec"]))
    left, low = round(x) - HALF, round(y) - HALF
    image = mosaic.data[low : low + 2 * HALF, left : left + 2 * HALF] / TYPICAL_RMS
    west, east = ((edge - 0.5 - x) * -PIXEL for edge in (left, left + 2 * HALF))
    south, north = ((edge - 0.5 - y) * PIXEL for edge in (low, low + 2 * HALF))
    axis.imshow(np.arcsinh(image / 3), origin="lower", extent=(west, east, south, north), cmap="Greys")
    for row in rows:
        component = np.array(wcs.world_to_pixel_values(row["ra"], row["dec"]), float) - (x, y)
        own = row["group_id"] == source["source"]
        ellipse = Ellipse(
            (-PIXEL * component[0], PIXEL * component[1]),
            max(row["minor_fwhm"], 5.4),
            max(row["major_fwhm"], 5.4),
            angle=-row["position_angle"],  # the axis of right ascension runs to the left
            fill=False,
            color="tab:red" if own else "tab:blue",
        )
        axis.add_patch(ellipse)
    axis.plot(0, 0, "+", color="tab:red", markersize=12)
    axis.set(xlim=(west, east), ylim=(south, north), xlabel="ΔRA [arcsec]")
    kind = source["class"] or "no class"
    count = source["n_components"]
    told = "" if np.ma.is_masked(source["association"]) else f", association {source['association']:.2f}"
    axis.set_title(f"{kind}, {count} component{'s' if count > 1 else ''}{told}", fontsize=9)
axes[0].set_ylabel("ΔDec [arcsec]")
options.output.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output, dpi=100)
