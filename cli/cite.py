"""``radio-ag --cite [RESULT]``: what to cite, as BibTeX."""

import typer

from radio_ag.cli.console import EXIT_INPUT, print_error, print_warning

_PAPER = """@article{Bowles2021,
  author = {Bowles, Micah and Scaife, Anna M. M. and Porter, Fiona and Tang, Hongming and Bastien, David J.},
  title = {Attention-gating for improved radio galaxy classification},
  journal = {Monthly Notices of the Royal Astronomical Society},
  year = {2021},
  volume = {501},
  pages = {4579--4595},
  doi = {10.1093/mnras/staa3946},
}"""
_SOFTWARE = """@software{{radio_ag,
  author = {{{{the radio-ag developers}}}},
  title = {{radio-ag}},
  version = {{{version}}},
  year = {{2026}},
}}"""
REFERENCES = {
    "FIRST": (
        "Becker1995",
        "Becker, Robert H. and White, Richard L. and Helfand, David J.",
        "The FIRST Survey: Faint Images of the Radio Sky at Twenty Centimeters",
        ("The Astrophysical Journal", 1995, 450, "559", "10.1086/176166"),
    ),
    "NVSS": (
        "Condon1998",
        "Condon, J. J. and Cotton, W. D. and Greisen, E. W. and Yin, Q. F. and Perley, R. A. and Taylor, G. B. and "
        "Broderick, J. J.",
        "The NRAO VLA Sky Survey",
        ("The Astronomical Journal", 1998, 115, "1693", "10.1086/300337"),
    ),
    "VLASS": (
        "Lacy2020",
        "Lacy, M. and others",
        "The Karl G. Jansky Very Large Array Sky Survey (VLASS). Science Case and Survey Design",
        ("Publications of the Astronomical Society of the Pacific", 2020, 132, "035001", "10.1088/1538-3873/ab63eb"),
    ),
    "RACS-low": (
        "McConnell2020",
        "McConnell, D. and others",
        "The Rapid ASKAP Continuum Survey I: Design and first results",
        ("Publications of the Astronomical Society of Australia", 2020, 37, "e048", "10.1017/pasa.2020.41"),
    ),
    "RACS-mid": (
        "Duchesne2023",
        "Duchesne, S. W. and others",
        "The Rapid ASKAP Continuum Survey IV: continuum imaging at 1367.5 MHz and the first data release of RACS-mid",
        ("Publications of the Astronomical Society of Australia", 2023, 40, "e034", "10.1017/pasa.2023.31"),
    ),
    "TGSS": (
        "Intema2017",
        "Intema, H. T. and Jagannathan, P. and Mooley, K. P. and Frail, D. A.",
        "The GMRT 150 MHz all-sky radio survey. First alternative data release TGSS ADR1",
        ("Astronomy and Astrophysics", 2017, 598, "A78", "10.1051/0004-6361/201628536"),
    ),
}
"""By a word of the survey's title: key, authors, title, and (journal, year, volume, page, DOI)."""


def print_citations(result: str | None) -> None:
    """Print BibTeX of the package and its paper, and with a product of the survey that its images are of.

    Parameters
    ----------
    result : str or None
        Path of a product; "" for none; None where it is not asked for.
    """
    if result is None:
        return
    from radio_ag import __version__

    entries = [_SOFTWARE.format(version=__version__), _PAPER]
    if result:
        from radio_ag.catalog_io.result import Result
        from radio_ag.errors import RadioAGError

        try:
            survey = str(Result.read(result).provenance.get("survey", ""))
        except RadioAGError as error:  # an option's callback runs outside of the application's boundary
            print_error(str(error))
            raise typer.Exit(EXIT_INPUT) from error
        known = [_article(*entry) for word, entry in REFERENCES.items() if word.lower() in survey.lower()]
        if not known:
            print_warning(f"no reference is known for the images of {result}: {survey or 'local files'}")
        entries += known
    typer.echo("\n\n".join(entries))
    raise typer.Exit


def _article(key: str, author: str, title: str, place: tuple[str, int, int, str, str]) -> str:
    journal, year, volume, page, doi = place
    fields = {"author": author, "title": title, "journal": journal, "year": year, "volume": volume, "pages": page}
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in (fields | {"doi": doi}).items())
    return f"@article{{{key},\n{lines}}}"
