"""The page: one self-contained HTML file for looking through the sources of a result.

=============================  ========================================================================================
`write`                        `write_page`: which sources go on which page, where their images come from, the files
`columns`                      the table as JSON
`sprites`                      cutout and attention maps of a source as one small WebP
`labelling`                    what is asked where people give labels
`serve`                        the page by HTTP to this machine alone, each label kept in a file at once
`document`                     the HTML around them: style, script, content security policy
``*.html``, ``*.css``, *.js``  what the browser sees and runs
=============================  ========================================================================================
"""

from radio_ag.catalog_io.export.page.labelling import ORDERS, Labelling
from radio_ag.catalog_io.export.page.serve import serve_page
from radio_ag.catalog_io.export.page.write import PER_PAGE, write_page

__all__ = ["ORDERS", "PER_PAGE", "Labelling", "serve_page", "write_page"]
