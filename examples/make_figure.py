"""Draw simulated sources with the attention of the bundled network: the picture in the README.

python examples/make_figure.py docs/images/example.png
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from radio_ag import Classifier
from radio_ag.network.model import CLASSES
from radio_ag.preprocess.images import crop
from radio_ag.preprocess.noise import estimate_rms
from radio_ag.simulated import make_field

SOURCES = [("FRI", 1), ("FRI", 5), ("FRI", 8), ("FRII", 2), ("FRII", 3), ("FRII", 9)]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("output", type=Path)
options = parser.parse_args()

fields = np.stack([make_field(kind, seed=seed)[0] for kind, seed in SOURCES])
prediction = Classifier.load(device="cpu").predict(fields)
snr = crop(fields) / estimate_rms(fields).rms[:, None, None]
half = 75 * 1.8
extent = (half, -half, -half, half)  # east is left

figure, axes = plt.subplots(2, len(SOURCES), figsize=(12, 4.3), sharex=True, sharey=True, layout="constrained")
for column, (kind, _) in enumerate(SOURCES):
    above, below = axes[:, column]
    above.imshow(np.arcsinh(snr[column] / 3), origin="lower", extent=extent, cmap="Greys")
    image = below.imshow(prediction.attention[column], origin="lower", extent=extent, cmap="viridis", vmin=0, vmax=1)
    levels = 3 * 4.0 ** np.arange(5)
    below.contour(snr[column], levels, origin="lower", extent=extent, colors="white", linewidths=0.7)
    p = prediction.probability[column]
    above.set_title(f"simulated {kind}", fontsize=10)
    name = CLASSES[int(np.argmax(prediction.probabilities[column]))]
    below.set_title(f"{name}, {min(p, 0.999):.1%} ± {prediction.std[column]:.1%}", fontsize=10)
for label, row in zip(("image", "mean attention"), axes[:, 0], strict=True):
    row.set_ylabel(f"{label}\nΔDec [arcsec]")
for below in axes[1]:
    below.set_xlabel("ΔRA [arcsec]")
figure.colorbar(image, ax=axes[1], shrink=0.8, label="attention")
options.output.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output, dpi=110)
