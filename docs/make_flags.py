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
"masked" means that the row has neither class nor probability: there is nothing to classify. Every other flag leaves
them filled, and warns. Mind `UNRESOLVED`: a point source has no morphology, the network gives it a class all the same,
and most rows of a survey catalogue are of this kind.
"""


def page() -> str:
    """The whole page in Markdown."""
    rows = (
        f"| {flag.value} | `{flag.name}` | {flag.description} | {'masked' if flag & UNCLASSIFIED else 'given'} |\n"
        for flag in Flag
    )
    return INTRODUCTION + "".join(rows) + CLOSING


if __name__ == "__main__":
    (Path(__file__).parent / "flags.md").write_text(page())
