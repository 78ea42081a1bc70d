"""VOTables as they are written."""

import os
import subprocess
import sys

import numpy as np
from astropy.table import Table

WRITE = """
import sys
from astropy.table import Table
from radio_ag.catalog_io.files.votable import make_document, write_document

table = Table({"ra": [200.0 + row / 1000 for row in range(600)], "text": ["x" * (row // 2) for row in range(600)]})
with open(sys.argv[1], "wb") as file:
    write_document(make_document(table), file)
"""


def test_long_texts_stay_within_memory(tmp_path):
    """Python's debug allocator aborts where anything is written beyond its memory."""
    path = tmp_path / "long.vot"
    subprocess.run([sys.executable, "-c", WRITE, path], check=True, env=os.environ | {"PYTHONMALLOC": "debug"})
    table = Table.read(path, format="votable")
    np.testing.assert_allclose(table["ra"], 200 + np.arange(600) / 1000)
    assert [len(text) for text in table["text"].filled("")] == [row // 2 for row in range(600)]
