"""Write ``flags.md`` from the registry of flags: ``python docs/make_flags.py``."""

from pathlib import Path

from radio_ag.flags import UNCLASSIFIED, Flag

INTRODUCTION = """\
# Quality flags

The column `flags` of the table `CLASSIFICATION` is a bit mask: the sum of the values below. `flags == 0` is the clean
sample. `radio_ag.flags.decode(value)` gives the names. This page is written from the registry by `docs/make_flags.py`.

| value | flag | meaning | class |
|---:|---|---|---|
"""

CLOSING = """
"masked" means that the row has neither class, probability nor attention: there is nothing to classify. Every other flag
leaves them filled, and warns. A point source has no morphology, and most rows of a survey catalogue are of this kind:
`UNRESOLVED` masks where the card of the weights says that their classes need a morphology (`needs_morphology`, as FRI
and FRII do), and no network runs for such a source. With `--classify-unresolved`, or
`RunOptions(classify_unresolved=True)`, it gets a class all the same.

The class belongs to the source at the position. Where other islands of the cutout have more flux than it, or one of
them is brighter, the network is shown the cutout without them, and so are the maps and statistics of attention; kept
cutouts show all. `benchmarks/neighbours.py` measures what that does: of 36 certain FRI and FRII of FIRST beside such
islands, on networks that had not learnt them, 35 get the right class, 33 with the others in sight.
"""


def page() -> str:
    """The whole page in Markdown."""
    rows = (
        f"| {flag.value} | `{flag.name}` | {flag.description} | "
        f"{'masked' if flag & (UNCLASSIFIED | Flag.UNRESOLVED) else 'given'} |\n"
        for flag in Flag
    )
    return INTRODUCTION + "".join(rows) + CLOSING


if __name__ == "__main__":
    (Path(__file__).parent / "flags.md").write_text(page())
