"""Columns of new items find those of the item table."""

import pyarrow as pa
import pytest

from hydrarec.data.new_items import read_new_items

BOTH = pa.table({"item": ["a"], "events": [3], "title": ["old title"], "name": ["old name"]})
ONE = pa.table({"item": ["a"], "events": [3], "title": ["old title"]})


@pytest.mark.parametrize(
    ("known", "given", "expected"),
    [
        (BOTH, {"name": ["new"]}, {"title": "old title", "name": "new"}),
        (BOTH, {"Name": ["new"], "product_title": ["better"]}, {"title": "better", "name": "new"}),
        (BOTH, {"TITLE": ["new"]}, {"title": "new", "name": "old name"}),
        (ONE, {"name": ["new"]}, {"title": "new"}),
    ],
)
def test_a_name_is_a_title_only_where_the_run_has_no_names(known, given, expected):
    (found,) = read_new_items(pa.table({"item": ["a"], **given}), known).to_pylist()
    assert found == {"item": "a", "events": 0, **expected}
