"""Files as such: FITS opened, appended and laid out as tables, and memory that maps them."""
