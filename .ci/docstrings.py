#!/usr/bin/env python3
"""Check the docstrings of what is public: a summary that begins with a verb, and sections that numpydoc accepts.

    .ci/docstrings.py [--count] [FOLDER ...]

Prints a line for each fault and their number by folder, of the modules that lie in the folders named, without what lies
in folders below; of all without a name. `--count` prints the numbers alone.
"""

import ast
import sys
from collections import Counter
from pathlib import Path

from numpydoc.hooks.validate_docstrings import AstValidator
from numpydoc.validate import validate

ROOT = Path(__file__).parents[1]
FOLDERS = ("radio_ag", "catalog_io", "cli", "weights")
# No docstring; a parameter without a line, unknown, out of order, without a type, without a description; no Returns.
CHECKS = {"GL08", "PR01", "PR02", "PR03", "PR04", "PR07", "RT01"}
SECTIONS = CHECKS - {"GL08"}
VERBS = """
    Add Answer Append Apply Ask Assess Average Become Begin Blank Bring Build Calibrate Check Choose Classify Close
    Collect Compare Compress Compute Convert Convolve Copy Count Cut Decode Describe Detect Distribute Divide Download
    Draw Drop Encode End Estimate Evaluate Export Fetch Fill Find Fit Follow Forget Give Go Group Hash Import Inflate
    Interpolate Iterate Join Keep Learn Let List Load Locate Log Look Make Map Mark Match Measure Merge Name Normalise
    Open Order Pack Parse Place Plan Predict Prepare Preprocess Print Put Quote Raise Rank Read Rebuild Record Refuse
    Register Remember Remove Rename Render Replace Report Resample Reserve Resume Return Rotate Round Run Save Say Scale
    Scan Score Search See Select Send Serve Set Show Shuffle Simulate Smooth Sort Split Start Stop Store Stretch Sum
    Summarise Take Tell Train Translate Try Turn Undo Unpack Update Use Validate Verify View Wait Walk Warn Weight Work
    Write Yield
"""


def public(node: ast.AST, ancestry: list[ast.AST]):
    """Yield the public functions and classes below a node, with what they lie in."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield child, [*ancestry, node]
            if isinstance(child, ast.ClassDef):
                yield from public(child, [*ancestry, node])


def decorators(node: ast.AST) -> set[str]:
    """Return the last part of each decorator's name."""
    return {ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in node.decorator_list}


def faults(path: Path):
    """Yield line, name and fault of each public object in a module."""
    for node, ancestry in public(ast.parse(path.read_text()), []):
        marks = decorators(node)
        if marks & {"overload", "setter"}:
            continue
        is_noun = isinstance(node, ast.ClassDef) or bool(marks & {"property", "cached_property"})
        # typer shows a command's docstring as its help, and takes the help of each option from its annotation
        checks = CHECKS - SECTIONS if is_noun or path.is_relative_to(ROOT / "cli") else CHECKS
        checks = checks | {"PR01", "PR02"} if isinstance(node, ast.ClassDef) else checks
        found = validate(node.name, AstValidator, ast_node=node, filename=str(path), ancestry=ancestry)["errors"]
        yield from ((node.lineno, node.name, f"{code} {text}") for code, text in found if code in checks)
        words = (ast.get_docstring(node) or "").split()
        if words and not is_noun and words[0] not in VERBS.split():
            yield node.lineno, node.name, f"the summary begins with {words[0]!r}, which is no verb of the list here"


def main() -> int:
    """Print what was found."""
    counts = Counter()
    named = [ROOT / name for name in sys.argv[1:] if name != "--count"]
    if missing := [str(folder) for folder in named if not folder.is_dir()]:
        raise SystemExit(f"no folder {', '.join(missing)}")
    everything = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    for path in sorted(path for folder in named for path in folder.glob("*.py")) if named else sorted(everything):
        for line, name, fault in faults(path):
            counts[str(path.parent.relative_to(ROOT)), fault[:4] if fault[:2].isupper() else "verb"] += 1
            if "--count" not in sys.argv:
                print(f"{path.relative_to(ROOT)}:{line} {name}: {fault}")
    for folder in sorted({folder for folder, _ in counts}):
        found = {code: number for (place, code), number in sorted(counts.items()) if place == folder}
        print(f"{folder}: {sum(found.values())} ({', '.join(f'{code} {number}' for code, number in found.items())})")
    return 1 if counts else 0


if __name__ == "__main__":
    raise SystemExit(main())
