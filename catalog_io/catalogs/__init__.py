"""Catalogues of source finders and surveys: whatever format they come in, one fixed record comes out."""

from radio_ag.catalog_io.catalogs.read import Catalogue, read_catalogue

__all__ = ["Catalogue", "read_catalogue"]
