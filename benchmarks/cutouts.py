"""Fields a second cut from mosaics on disk: mapped, tile-compressed, and resampled, against `Cutout2D` and `reproject`.

    python benchmarks/cutouts.py [--positions 1000] [--side 4000] [--turns 3] [--json FILE]

The mosaic is in FIRST's pixels (aligned), the same packed by tiles (fpack's rows, and squares), and another with pixels
of 1.5 arcsec, turned by 20 degrees, which has to be resampled. Positions come in chunks, neighbours together, as in a
run. The plain way opens the mosaic once, cuts each field with `Cutout2D`, and takes `reproject_interp` where pixels
differ; of the packed mosaic it cuts from ``hdu.section``, which decodes what it needs each time.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
from _report import in_turns, parse_options, ratio, report
from astropy.io import fits
from astropy.wcs import WCS
from reference import cut_field

from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.images.local import LocalImages
from radio_ag.chunks import CHUNK, sky_order

CENTRE = 180.0, 30.0  # degrees


def write_mosaics(folder: Path, side: int) -> dict[str, Path]:
    """The same noise four times, and in other pixels."""
    rng = np.random.default_rng(0)
    data = rng.normal(scale=1.5e-4, size=(side, side)).astype(np.float32)
    header = tangent_wcs(*CENTRE, side).to_header()
    header["BUNIT"], header["BMAJ"], header["BMIN"], header["BPA"] = "Jy/beam", 5.4 / 3600, 5.4 / 3600, 0.0
    turned = header.copy()
    cos, sin = np.cos(np.radians(20.0)), np.sin(np.radians(20.0))
    turned["CDELT1"], turned["CDELT2"] = -1.5 / 3600, 1.5 / 3600
    turned["PC1_1"], turned["PC1_2"], turned["PC2_1"], turned["PC2_2"] = cos, -sin, sin, cos
    paths = {name: folder / f"{number}.fits" for number, name in enumerate(("aligned", "rows", "squares", "resampled"))}
    fits.writeto(paths["aligned"], data, header)
    fits.writeto(paths["resampled"], data, turned)
    for name, tile in (("rows", (1, side)), ("squares", (100, 100))):
        packed = fits.CompImageHDU(data, header, compression_type="RICE_1", tile_shape=tile, quantize_method=2)
        packed.writeto(paths[name])
    return paths


def cut_plainly(path: Path, ra: np.ndarray, dec: np.ndarray, resample: bool) -> list[np.ndarray]:
    """Fields of some positions, one after the other."""
    from reproject import reproject_interp

    with fits.open(path) as hdus:
        hdu = hdus[-1]
        wcs = WCS(hdu.header).celestial
        pixels = hdu.section if isinstance(hdu, fits.CompImageHDU) else hdu.data
        if not resample:
            return [np.array(cut_field(pixels, wcs, *place)) for place in zip(ra, dec, strict=True)]
        targets = (tangent_wcs(*place, 300) for place in zip(ra, dec, strict=True))
        return [reproject_interp((pixels, wcs), target, (300, 300), order="bicubic")[0] for target in targets]


def main() -> None:
    options = parse_options(
        __doc__,
        positions={"type": int, "default": 1000},
        side={"type": int, "default": 4000, "help": "of the mosaics, pixels"},
        turns={"type": int, "default": 3},
        folder={"type": Path, "help": "for the mosaics"},
    )
    if options.small:
        options.positions, options.side, options.turns = 40, 1000, 1
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(1)
    reach = (options.side * 1.5 / 2 / 1.3 - 300) / 3600  # degrees: whole fields in the turned one, too
    ra, dec = (
        CENTRE[0] + rng.uniform(-reach, reach, options.positions),
        CENTRE[1] + rng.uniform(-reach, reach, options.positions),
    )
    order = sky_order(ra, dec)
    ra, dec = ra[order], dec[order]
    rows, ratios = [], {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for kind, path in write_mosaics(Path(name), options.side).items():
            few = slice(0, options.positions // (10 if kind == "aligned" else 50) or 1)

            def cut(path=path) -> list:
                source = LocalImages(path)
                return [source.fetch(ra[k : k + CHUNK], dec[k : k + CHUNK]) for k in range(0, len(ra), CHUNK)]

            def plainly(path=path, few=few, kind=kind) -> list:
                return cut_plainly(path, ra[few], dec[few], kind == "resampled")

            durations = in_turns({"plain": plainly, "ours": cut}, options.turns)
            counts = few.stop, len(ra)
            ours, plain = cut()[0].data[: few.stop], np.array(plainly()[: len(ra[:CHUNK])])
            ratios[f"{kind}_times_plain"] = ratio(durations, "plain", "ours", counts)
            rows.append(
                {
                    "mosaic": kind,
                    "fields_per_s": counts[1] / float(np.median(durations["ours"])),
                    "plain_fields_per_s": counts[0] / float(np.median(durations["plain"])),
                    "largest_difference_in_noise": float(np.nanmax(np.abs(ours - plain)) / 1.5e-4),
                }
            )
    report("cutouts", options, rows, ratios)


if __name__ == "__main__":
    main()
