"""``radio-ag catalogs``: the catalogues that are recognised, and where images can come from."""

from collections.abc import Sequence

import typer

from radio_ag.cli.console import check_answered, open_console, reporting
from radio_ag.cli.options import Debug


def catalogs(debug: Debug = False) -> None:
    """List the catalogues that are recognised, and the image sources that have a name."""
    with reporting():
        from radio_ag.catalog_io.catalogs.registry import dialects
        from radio_ag.catalog_io.open_images import named_sources

        catalogues = [(d.name, ", ".join(kind.name for kind in d.kinds), d.title) for d in dialects().values()]
        images = list(named_sources().items())
    _print_rows(("--dialect", "tables", "catalogue"), catalogues)
    typer.echo()
    _print_rows(("--images", "image source"), images)
    check_answered()


def _print_rows(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(show_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=title.startswith("--"))
    for row in rows:
        table.add_row(*row)
    open_console().print(table)
