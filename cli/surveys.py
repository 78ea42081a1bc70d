"""``radio-ag surveys``: the surveys whose images come by their name."""

import typer

from radio_ag.cli.console import check_answered, open_console, reporting
from radio_ag.cli.options import Debug


def surveys(debug: Debug = False) -> None:
    """List the surveys that --images takes, with beam, pixel scale and coverage."""
    with reporting():
        from radio_ag.catalog_io.open_images import named_sources
        from radio_ag.catalog_io.services.surveys import SURVEYS

        rows: list[tuple[str, ...]] = [
            (
                survey.name,
                survey.title,
                _SERVICES[survey.service],
                f"{survey.beam.fwhm:g}″" if survey.beam else "",
                f"{survey.pixel_scale:g}″",
                survey.coverage.words,
            )
            for survey in SURVEYS.values()
        ]
        rows += [(name, what, "plugin", "", "", "") for name, what in named_sources().items() if name not in SURVEYS]
    _print(rows)
    typer.echo(
        "\nAny other survey of a service: --images 'skyview:SUMSS 843 MHz', hips:ID, cadc:COLLECTION or casda:PREFIX,"
        "\nwith --beam and --pixel-scale in arcsec. Any other service: --url-template 'https://…{ra}…{dec}…'."
    )
    check_answered()


_SERVICES = {"first": "FIRST", "skyview": "SkyView", "hips": "hips2fits", "cadc": "CADC", "casda": "CASDA (login)"}


def _print(rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(show_edge=False)
    for title in ("--images", "survey", "service", "beam", "pixel", "coverage"):
        table.add_column(title, no_wrap=title == "--images", justify="right" if title in ("beam", "pixel") else "left")
    for row in rows:
        table.add_row(*row)
    open_console().print(table)
