"""Write ``options.md`` from the option records themselves: ``python docs/make_options.py``."""

from pathlib import Path

from radio_ag.options import CatalogueOptions, Declared, ImageOptions, OptionRecord, RunOptions, declared

PAGE = Path(__file__).with_name("options.md")
RECORDS = CatalogueOptions, ImageOptions, RunOptions
INTRODUCTION = """\
# Options that are rarely given

`radio_ag.classify` has fifteen keywords of its own. What is rarer goes into three frozen records. `classify_bdsf`,
`classify_hats`, `classify_partition` and `fetch_images` take those that mean something to them.

```python
from radio_ag import CatalogueOptions, ImageOptions, RunOptions, classify

classify(
    "catalog.csv",
    catalogue_options=CatalogueOptions(ra_col="RA_peak", dec_col="DEC_peak"),
    image_options=ImageOptions(cache_dir="cutouts", offline=True),
    run_options=RunOptions(max_failed=0.02, chunk=512),
    output="classes.fits",
)
```

A name that is none of theirs is a `TypeError`, a value out of bounds an `InputError`. The command line has an option
for each field but those without one below. This page is written from the records by `docs/make_options.py`.
"""


def page() -> str:
    """Return the text of the page."""
    return INTRODUCTION + "".join(map(section, RECORDS))


def section(record: type[OptionRecord]) -> str:
    """Return the table of a record's fields."""
    rows = "\n".join(row(field, getattr(record(), field.name)) for field in declared(record))
    title = (record.__doc__ or "").partition("\n")[0]
    head = "| field | type | default | command line | meaning |\n|---|---|---|---|---|\n"
    return f"\n## `{record.__name__}`\n\n{title}\n\n{head}{rows}\n"


def row(field: Declared, default: object) -> str:
    """Return the line of a field."""
    option = field.option
    meaning = f"{option.help} {option.bounds.capitalize()}." if option.bounds else option.help
    flag = f"`{field.flags}`" if option.panel else ""
    kind = field.type_in_words.replace(", optional", "").replace("|", "\\|")
    return f"| `{field.name}` | {kind} | {option.shown or f'`{default!r}`'} | {flag} | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
