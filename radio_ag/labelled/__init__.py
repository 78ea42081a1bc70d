"""Labelled radio galaxies: what is read, checked, split and augmented."""
