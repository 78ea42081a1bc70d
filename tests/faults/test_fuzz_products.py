"""Products and kept images are untrusted: damaged at random, they are refused in a line, or read as far as they go."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import radio_ag
from radio_ag import Result
from radio_ag.catalog_io.images.geometry import tangent_wcs
from radio_ag.catalog_io.services.cache import FieldCache, FieldKey
from radio_ag.errors import InputError

KEY = FieldKey("FIRST", 180.0, 30.0, 306)

# What astropy leaves open when it raises, it closes when the error is forgotten.
pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

wounds = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.booleans()), min_size=1, max_size=4
)


def damaged(content, wounds):
    """Some bytes replaced, here and there; the file may end behind them."""
    for share, new, ends in wounds:
        place = int(share * len(content))
        content = content[:place] + new + (b"" if ends else content[place + len(new) :])
    return content


@given(wounds=wounds)
@example(wounds=[(0.0, b"", True)])
def test_a_damaged_product_is_refused_or_read(product, tmp_path, wounds):
    path = tmp_path / "damaged.fits"
    path.write_bytes(damaged(product.read_bytes(), wounds))
    message, maps = "", None
    with warnings.catch_warnings(action="ignore"):
        try:
            result = Result.read(path)
            maps = result.attention_maps(range(len(result))), result.cutouts(range(len(result)))
        except InputError as error:
            message = str(error)
    assert len(message.splitlines()) == (maps is None)


@given(wounds=wounds)
def test_a_damaged_kept_image_is_as_good_as_none(tmp_path, wounds):
    data = np.random.default_rng(0).normal(0, 1e-4, (306, 306)).astype(np.float32)
    cache = FieldCache(tmp_path / "cache")
    cache.put(KEY, data, tangent_wcs(180.0, 30.0, 306).to_header())
    path = cache.path(KEY)
    whole = path.read_bytes()
    expected, _ = cache.get(KEY)
    path.write_bytes(damaged(whole, wounds))
    same = path.read_bytes() == whole
    with warnings.catch_warnings(action="ignore"):
        found = cache.get(KEY)
    assert path.exists() == (found is not None)
    if same or found is not None:
        np.testing.assert_array_equal(found[0], expected)


def test_nothing_that_runs_what_it_reads():
    """No module runs pickles: they are read by a machine of our own. None starts a shell."""
    package = Path(radio_ag.__file__).parent
    roots = [package, package.parent / "catalog_io", package.parent / "cli", package.parent / "weights"]
    sources = {path: path.read_text(encoding="utf-8") for root in roots for path in root.rglob("*.py")}
    assert len(sources) > 100
    runs = re.compile(r"(import|from) pickle\b|allow_pickle=True|torch\.load\(|yaml\.load\(|subprocess|os\.system")
    assert not [path for path, text in sources.items() if runs.search(text)]
