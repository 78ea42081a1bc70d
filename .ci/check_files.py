"""Write every kind of file on a small example, and let the programs of others check them: fitsverify and stilts.

    python .ci/check_files.py FOLDER

Where a program is not to be had its checks are left out, with a line that says so. Exits with 1 if one complains.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

Check = tuple[str, list[str], str]
"""Name, command, and what its output must hold for a file without fault."""


def write_files(folder: Path) -> None:
    """Write products, exports, a table of found sources, and fetched images."""
    python, program = sys.executable, str(Path(sys.executable).with_name("radio-ag"))
    make = [python, "examples/make_example.py", f"{folder}/demo", "--sources", "6", "--size", "900"]
    where = ["--images", f"{folder}/demo/mosaic.fits", "--orbit", "1", "-q"]
    classify = [program, "classify", f"{folder}/demo/catalogue.csv", *where]
    commands = [make, [*classify, "--keep-cutouts", "--attention", "gates", "-o", f"{folder}/gates.fits"]]
    commands += [[*classify, "--attention", mode, "-o", f"{folder}/{mode}.fits"] for mode in ("mean", "hdus", "none")]
    commands += [[*classify, "-o", f"{folder}/rows.parquet"]]
    commands += [
        [program, "find", f"{folder}/demo/mosaic.fits", "-q", "-o", f"{folder}/found.{s}"] for s in ("fits", "xml")
    ]
    for name in ("sources.xml", "sources.csv", "sources.ecsv", "sources.reg", "sources.crtf"):
        commands.append([program, "export", f"{folder}/gates.fits", "-o", f"{folder}/{name}"])
        commands.append([program, "export", f"{folder}/gates.fits", "--rows", "-o", f"{folder}/rows_{name}"])
    commands.append([program, "export", f"{folder}/gates.fits", "--format", "cutouts", "-o", f"{folder}/cutouts"])
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def checks(folder: Path) -> Iterator[Check]:
    """Yield what is to be run on the files of a folder."""
    for path in [*sorted(folder.glob("*.fits")), *sorted((folder / "cutouts").glob("*.fits"))]:
        yield str(path), ["fitsverify", "-q", str(path)], "verification OK"
    for path in sorted(folder.glob("*.xml")):
        yield str(path), ["stilts", "votlint", f"votable={path}"], ""
    products = [folder / f"{mode}.fits" for mode in ("gates", "mean", "hdus", "none")]
    tables = [(f"{path}#{name}", "fits") for path in products for name in ("CLASSIFICATION", "SOURCES")]
    kinds = {"xml": "votable", "csv": "csv", "ecsv": "ecsv"}
    tables += [(str(path), kind) for suffix, kind in kinds.items() for path in sorted(folder.glob(f"*.{suffix}"))]
    for table, kind in [*tables, (f"{folder}/found.fits", "fits")]:
        yield table, ["stilts", "tpipe", f"in={table}", f"ifmt={kind}", "omode=count"], "rows:"


def main() -> int:
    """Check all that is written; return 1 if a program complains."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    programs = [name for name in ("fitsverify", "stilts") if shutil.which(name)]
    for name in {"fitsverify", "stilts"} - set(programs):
        print(f"{name} is not installed: its checks are skipped")
    if not programs:
        return 0
    write_files(folder)
    faults = count = 0
    for name, command, expected in checks(folder):
        if command[0] not in programs:
            continue
        count += 1
        done = subprocess.run(command, capture_output=True, text=True)
        output = done.stdout + done.stderr
        if done.returncode or (expected not in output if expected else output.strip()):
            faults += 1
            print(f"{' '.join(command[:2])}: {name}\n{output}")
    print(f"{count} checks of files, {faults} with faults")
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
