"""Everything that touches the outside: catalogues, images, the FITS product.

Importing it registers the readers ``Table.read(path, format="radio_ag.<dialect>")`` with astropy.
"""

from radio_ag.catalog_io.astropy_formats import register

register()
