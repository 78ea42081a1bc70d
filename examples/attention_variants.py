"""Networks of every kind beside each other: 16 combinations of normalisation and aggregation, and 0 to 3 gates.

    python examples/attention_variants.py FOLDER [--data LABELLED.fits] [--samples 64] [--times 4]

Each network is trained briefly, on so many augmented images only: that shows how the kinds differ, not how well any of
them classifies; the figures say so. The images are simulated unless a file of labelled ones is given. FOLDER gets the
weights of each, and after the paper's Figures 5 (one source of each class), 6 (numbers of gates) and 13 (means by
class): ``combinations-FRI``, ``combinations-FRII``, ``gates``, ``means-FRI`` and ``means-FRII``. A second run goes on
where the first one stopped.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from radio_ag.attention import figures
from radio_ag.attention.augmented import Sources, aggregate
from radio_ag.attention.inside import trace_source
from radio_ag.attention.statistics import AggregateMaps
from radio_ag.labelled.data import Labelled, load_labelled
from radio_ag.network.checkpoints import load_weights, save_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import AGGREGATIONS, CLASSES, NORMALISATIONS, Architecture
from radio_ag.preprocess.images import clip, crop
from radio_ag.simulated import make_field
from radio_ag.training.loop import Recipe, train

COMBINATIONS = {
    f"{normalisation}-{aggregation.replace('_', '-')}": Architecture(normalisation, aggregation)
    for normalisation in NORMALISATIONS
    for aggregation in AGGREGATIONS
}
GATES = {f"gates-{gates}": Architecture(gates=gates) for gates in range(3)} | {"gates-3": Architecture()}
RMS = 0.15e-3


def simulated(count: int = 32) -> Labelled:
    """As many FRI as FRII, without neighbours."""
    numbers = np.arange(count) % len(CLASSES)
    fields = np.stack([make_field(CLASSES[k], peak_flux=15e-3, rms=RMS, seed=n)[0] for n, k in enumerate(numbers)])
    return Labelled(
        fields=clip(fields, RMS),
        label=numbers,
        certain=np.ones(count, bool),
        ra=np.arange(count, dtype=float),
        dec=np.zeros(count),
        origin=np.full(count, "simulated"),
        group=np.arange(count),
    )


def trained(name: str, architecture: Architecture, data: Labelled, samples: int, folder: Path) -> Classifier:
    """The network of that name in the folder, trained now if it is not there."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        recipe = Recipe(
            architecture, samples, windowed=0, batch=16, stretch="linear", offset=2.0, mixed_precision=False
        )
        rows = np.arange(len(data))
        network = train(data, rows, rows[:4], recipe, folder / name, every=samples, log=lambda line: None)
        card = {"name": name, "description": f"trained briefly, on {samples} images: for looking at, not for use"}
        save_weights(path, [network], card | {"input": {"clip": 3.0, "stretch": "linear", "value_range": [0.0, 1.0]}})
        print(f"trained {name}", flush=True)
    return Classifier(load_weights(path), device="cpu", orbit=1)


def draw_sources(
    names: list[str], classifiers: dict[str, Classifier], data: Labelled, rows: list[int], title: str
) -> figures.Figure:
    """Mean attention of each network for some sources, four networks a line."""
    lines, titles, images, emission = [], [], [], []
    for row in rows:
        shown = [trace_source(classifiers[name], data.fields[row]).gates for name in names]
        maps = [gates.mean(0) if len(gates) else None for gates in shown]
        central = crop(data.fields[[row]])[0]
        lines += in_lines(maps)
        titles += in_lines([label(name) for name in names])
        images += [central, *[None] * (len(in_lines(maps)) - 1)]
        emission += [central] * len(in_lines(maps))
    return figures.grid_figure(lines, titles, images=images, emission=emission, title=title)


def draw_means(names: list[str], means: dict[str, AggregateMaps], number: int, title: str) -> figures.Figure:
    """Mean attention of each network over one class, four networks a line."""
    maps = [means[name].attention(label=number) for name in names]
    return figures.grid_figure(in_lines(maps), in_lines([label(name) for name in names]), title=title)


def label(name: str) -> str:
    """What a figure calls a network: normalisation over aggregation, or the number of gates."""
    first, second = name.split("-", 1)
    return f"{second} {'gate' if second == '1' else 'gates'}" if first == "gates" else f"{first}\n{second}"


def in_lines(items: list) -> list[list]:
    return [items[start : start + 4] for start in range(0, len(items), 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="FITS file of labelled images")
    parser.add_argument("--samples", type=int, default=64, help="augmented images that each network sees")
    parser.add_argument("--times", type=int, default=4, help="augmentations of each source in the means")
    options = parser.parse_args()

    data = load_labelled(options.data) if options.data else simulated()
    few = np.concatenate([np.flatnonzero(data.label == k)[:4] for k in range(len(CLASSES))])
    options.folder.mkdir(parents=True, exist_ok=True)
    classifiers = {
        name: trained(name, architecture, data, options.samples, options.folder)
        for name, architecture in (COMBINATIONS | GATES).items()
    }
    said = f"networks trained briefly: {options.samples:,} images each"

    def save(name: str, draw: Callable[..., figures.Figure], *arguments) -> None:
        print(*figures.save_figure(draw(*arguments), options.folder / name, overwrite=True), flush=True)

    rows = [int(np.flatnonzero(data.label == k)[0]) for k in range(len(CLASSES))]
    for row, name in zip(rows, CLASSES, strict=True):
        save(f"combinations-{name}", draw_sources, list(COMBINATIONS), classifiers, data, [row], f"{name}; {said}")
    save("gates", draw_sources, list(GATES), classifiers, data, rows, said)
    some = data[few]
    chunks = [Sources(some.fields, some.label, some.certain)]
    means = {name: aggregate(classifiers[name], chunks, times=options.times) for name in COMBINATIONS}
    for number, name in enumerate(CLASSES):
        title = f"⟨{name}⟩, {means[next(iter(means))].count(label=number):,} augmented images; {said}"
        save(f"means-{name}", draw_means, list(COMBINATIONS), means, number, title)


if __name__ == "__main__":
    main()
