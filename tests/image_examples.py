"""Fields out of single images."""

from radio_ag.catalog_io.images.geometry import extract, locate


def field_at(data, frame, ra, dec):
    """The field of one position, degrees ICRS, from one image."""
    return extract(data, frame, ra, dec, *(part[0] for part in locate(frame, ra, dec)))
