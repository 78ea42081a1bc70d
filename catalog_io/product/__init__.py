"""The product: its columns, headers, stacks and parts, as FITS and as Parquet."""
