"""Make weights with a card out of a network that ``train_bundled.py`` trained.

    RADIO_AG_DATA=/path/to/data python examples/bundle_weights.py training/default-0 weights/agcnn-first.safetensors

All figures are of the watched fold, whose sources the network has not learnt from; its temperature and threshold are
fitted there too.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from radio_ag.checkpoints import save_weights
from radio_ag.evaluation import confidence_threshold, figures, fit_temperature
from radio_ag.labelled import assign_folds, load_labelled
from radio_ag.model import AGCNN, CLASSES, Architecture
from radio_ag.novelty import FeatureModel
from radio_ag.training import predict

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("output", type=Path)
parser.add_argument(
    "--after", type=Path, nargs="*", default=[], help="folders of the runs that it went on from, in order"
)
parser.add_argument("--description", default="FRI/FRII from VLA FIRST images, 1.4 GHz")
options = parser.parse_args()

data_dir = Path(os.environ["RADIO_AG_DATA"])
data = load_labelled(data_dir / "mirabest_train.fits", data_dir / "rgd_train.fits")
recipe = torch.load(options.folder / "checkpoint.pt", weights_only=True)["recipe"]
watched = recipe["seed"]  # the fold that was left out
fold = assign_folds(data)
network = AGCNN(Architecture(**recipe["architecture"])).eval()
network.load_state_dict(torch.load(options.folder / "weights.pt", weights_only=True))

unseen = data[(fold == watched) & (data.origin == "mirabest_train")]
orbit, unseen_features = predict(network, unseen, recipe["stretch"], orbit=True)
logits = {"1": orbit[0], "8": orbit.mean(0)}
temperature = {size: round(fit_temperature(values, unseen.label), 4) for size, values in logits.items()}
served = softmax(logits["8"] / temperature["8"], 1)
subsets = {"certain": unseen.certain, "uncertain": ~unseen.certain, "all": np.ones(len(unseen), bool)}
others = data[(fold == watched) & (data.origin == "rgd_train")]
other_logits = predict(network, others, recipe["stretch"], orbit=True)[0].mean(0)
metrics = {
    f"orbit_{size}": {
        name: figures(values[rows], unseen.label[rows], temperature[size]) for name, rows in subsets.items()
    }
    for size, values in logits.items()
}
metrics["orbit_8"]["other literature"] = figures(other_logits, others.label, temperature["8"])
learnt = data[fold != watched]
learnt_features = predict(network, learnt, recipe["stretch"], orbit=True)[1].mean(0)
feature_model = FeatureModel.fit(learnt_features, learnt.label)
distance = feature_model.distance(unseen_features.mean(0))[unseen.certain]
card = {
    "name": options.output.stem,
    "description": options.description,
    "reference": "Bowles et al. 2021, MNRAS 501, 4579, arXiv:2012.01248",
    "licence": "BSD-3-Clause",
    "input": {
        "survey": "VLA FIRST 1.4 GHz",
        "size": 150,
        "pixel_scale": 1.8,
        "clip": 3.0,
        "stretch": recipe["stretch"],
        "value_range": [0.0, 1.0],
    },
    "calibration": {
        "temperature": temperature,
        "uncertain_below": round(confidence_threshold(served[unseen.certain], unseen.label[unseen.certain]), 4),
        "sources": "the watched fold, certain and uncertain; the threshold from the certain ones",
    },
    "novelty": {
        "threshold": round(float(np.quantile(distance, 0.97)), 4),
        "sources": "97 % of the certain sources of the watched fold are nearer",
    },
    "training": {
        "data": "MiraBest training batches (labels: Miraghaei & Best 2017; Porter & Scaife, CC BY 4.0) and further "
        "FIRST sources with literature labels (Griese et al. 2022: CoNFIG, FRICAT, FRIICAT, Proctor)",
        "images": "VLA FIRST: R. J. Becker, D. H. Helfand, R. L. White, M. D. Gregg, S. A. Laurent-Muehleisen; "
        "copyright 1994 University of California; use permitted for scholarly, educational and private "
        "non-commercial purposes",
        "sources": {
            f"{origin} {name} {sure}": int(
                ((learnt.origin == origin) & (learnt.label == i) & (learnt.certain == flag)).sum()
            )
            for origin in ("mirabest_train", "rgd_train")
            for i, name in enumerate(CLASSES)
            for flag, sure in ((True, "certain"), (False, "uncertain"))
        },
        "fold_left_out": watched,
        "recipe": recipe,
        "went_on_from": [torch.load(f / "checkpoint.pt", weights_only=True)["recipe"] for f in options.after],
        "software": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    },
    "metrics": metrics,
    "metrics_sources": "MiraBest sources of the fold left out, which share no source (within 270 arcsec) with "
    "training; 95 % Wilson intervals; temperature and threshold were fitted on the same sources",
    "metrics_command": " ".join(["python", "examples/bundle_weights.py", *sys.argv[1:]]),
}
extra = {f"novelty.{name}": torch.from_numpy(values).float() for name, values in asdict(feature_model).items()}
save_weights(options.output, [network], card, extra, overwrite=True)
print(json.dumps({"calibration": card["calibration"], "metrics": metrics}, indent=1))
