"""Make an example to classify: a simulated FIRST-like mosaic and the catalogue of its sources.

    python examples/make_example.py FOLDER
    radio-ag classify FOLDER/catalogue.csv --images FOLDER/mosaic.fits

The sources are caricatures (see `radio_ag.simulated`): good for trying the program out, never for scoring it.
"""

import argparse
from pathlib import Path

from radio_ag.simulated import make_mosaic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where mosaic.fits and catalogue.csv are written")
    parser.add_argument("--sources", type=int, default=40)
    parser.add_argument("--size", type=int, default=2000, help="side of the mosaic in pixels of 1.8 arcsec")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    mosaic, truth = make_mosaic(size=options.size, n_sources=options.sources, seed=options.seed)
    options.folder.mkdir(parents=True, exist_ok=True)
    mosaic.writeto(options.folder / "mosaic.fits", overwrite=True)
    truth["ra", "dec", "kind"].write(options.folder / "catalogue.csv", overwrite=True)
    print(f"{len(truth)} simulated sources in {options.folder / 'mosaic.fits'} and {options.folder / 'catalogue.csv'}")


if __name__ == "__main__":
    main()
