"""Catalogues of source finders and surveys: whatever format they come in, one fixed record comes out."""

from .catalogue import Catalogue, read_catalogue

__all__ = ["Catalogue", "read_catalogue"]
