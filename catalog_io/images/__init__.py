"""Images of the sky: headers, beams, geometry, and fields cut out of files and arrays."""
