"""Where the bundled networks and the published ones look, on the same FIRST sources.

    python benchmarks/attention.py [--every 1] [--json FILE]

Needs the folder of the real FIRST images in the environment variable RADIO_AG_DATA. The sources are those of the
MiraBest training batches that no bundled network has learnt from, nor from one within 270 arcsec; the published
networks may have learnt from them. All look at eight orientations, as served. Of each number the median over the
sources, with the interval of 95 % of 1000 bootstraps. ``--markdown`` prints the rows of the table in docs/attention.md.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _report import parse_options, report

from radio_ag import weights as registry
from radio_ag.attention.augmented import Sources
from radio_ag.attention.inside import measure_attention
from radio_ag.evaluation.served import learnt_positions
from radio_ag.labelled.data import Labelled, load_labelled
from radio_ag.labelled.splits import near
from radio_ag.network.checkpoints import import_checkpoint, load_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import CLASSES

PUBLISHED = {
    "range_norm_ft_3gates_exp1": "range",
    "range_norm_ft_2gates": "range",
    "sigmoid_mean_3gates": "sigmoid",
    "softmax_concat_3gates": "softmax",
    "softmax_deep_sup_3gates": "softmax",
    "std_mean_norm_concat_3gates": "standardisation",
}
"""Their normalisation, which the files do not tell; the first of each is what ours of that kind are compared with."""
SHOWN = ("emission_enrichment", "halo_enrichment", "emission_offset", "gate_agreement")
POINTING = SHOWN[:2]


def bundled_weights() -> list[str]:
    """Paths of the bundled weights, the default first."""
    paths = Path(registry.__file__).parent.glob("*.safetensors")
    return sorted(map(str, paths), key=lambda path: (Path(path).stem != registry.DEFAULT, path))


def unseen_sources(data_dir: Path) -> Labelled:
    """MiraBest sources that no bundled network has learnt from."""
    data = load_labelled(data_dir / "mirabest_train.fits")
    positions = np.concatenate([learnt_positions(load_weights(path)) for path in bundled_weights()])
    return data[~near(data.ra, data.dec, positions)]


def classifiers(data_dir: Path, folder: Path) -> Iterator[tuple[str, Classifier]]:
    """Whose networks, and the networks: first those that are bundled."""
    for path in bundled_weights():
        yield "bundled", Classifier.load(path, device="cpu")
    for name, normalisation in PUBLISHED.items():
        path = data_dir / "published" / "weights" / f"{name}.pt"
        imported = import_checkpoint(path, str(folder / f"{name}.safetensors"), normalisation=normalisation)
        yield "published", Classifier.load(imported, device="cpu")


def median_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    values, rng = values[np.isfinite(values)], np.random.default_rng(0)
    medians = np.median(rng.choice(values, (1000, len(values))), 1)
    return float(np.median(values)), *(float(v) for v in np.percentile(medians, (2.5, 97.5)))


def measure(whose: str, classifier: Classifier, data: Labelled) -> dict:
    values, classes = measure_attention(classifier, [Sources(data.fields, data.label, data.certain)])
    architecture = classifier.networks[0].architecture
    kind = {name: getattr(architecture, name) for name in ("normalisation", "aggregation", "gates")}
    about = {"network": classifier.card.name, "whose": whose, **kind}
    about["accuracy"] = float((classes == np.array(CLASSES)[data.label]).mean())
    return about | {column: median_with_interval(values[column]) for column in SHOWN}


def compared(rows: list[dict]) -> dict[str, float]:
    """How much more each bundled network points at the source than the published one of its normalisation."""
    theirs = {row["normalisation"]: row for row in reversed(rows) if row["whose"] == "published"}
    return {
        f"{row['network']}: {column} over that published": row[column][0] / theirs[row["normalisation"]][column][0]
        for row in rows
        if row["whose"] == "bundled"
        for column in POINTING
    }


def readable(row: dict) -> dict:
    """The row with each median and its interval as text."""
    return {name: "{:.2f} ({:.2f}-{:.2f})".format(*v) if isinstance(v, tuple) else v for name, v in row.items()}


def markdown(row: dict) -> str:
    kind = f"{row['normalisation']}, {row['aggregation'].replace('_', ' ')}, {row['gates']} gates"
    name = f"`{row['network']}` ({kind})" if row["whose"] == "bundled" else f"published: {kind}"
    cells = ("{:.1f} ({:.1f}\N{EN DASH}{:.1f})".format(*row[column]) for column in POINTING)
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    options = parse_options(
        __doc__,
        every={"type": int, "default": 1, "help": "take every so many sources"},
        markdown={"action": "store_true", "help": "print the table of the documentation instead"},
    )
    data_dir = Path(os.environ["RADIO_AG_DATA"])
    data = unseen_sources(data_dir)[:: 10 if options.small else options.every]
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(whose, classifier, data) for whose, classifier in classifiers(data_dir, Path(folder))]
    if options.markdown:
        print(f"{len(data)} sources", *map(markdown, rows), sep="\n")
        return
    figures = {"sources": len(data), **compared(rows)}
    report("attention on the emission", options, map(readable, rows), figures, weights="those bundled", orbit=8)


if __name__ == "__main__":
    main()
