"""Source finding in mosaics."""
