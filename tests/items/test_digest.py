from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrarec.errors import InputError
from hydrarec.items.digest import digest

NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=12)
TEXT = st.lists(st.text(st.characters(codec="utf-8"), max_size=4), max_size=12)


@given(NUMBERS | TEXT, st.lists(st.integers(0, 12), max_size=4), st.integers(0, 3))
def test_chunks_and_slices_do_not_matter(ids, cuts, before):
    array = pa.array(ids, pa.int64() if ids and isinstance(ids[0], int) else pa.string())
    places = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    chunks = [array[start:end] for start, end in pairwise(places)]
    assert digest(pa.chunked_array(chunks, array.type)) == digest(array)
    if ids:
        longer = pa.concat_arrays([array[:1]] * before + [array])
        assert digest(longer.slice(before)) == digest(array)


@given(NUMBERS | TEXT, NUMBERS | TEXT)
def test_other_ids_have_another(one, other):
    assert (digest(pa.array(one)) == digest(pa.array(other))) == (one == other)


def test_whatever_the_type_and_not_whatever_the_cut(tmp_path):
    numbers, text = pa.array([3, 1, 2]), pa.array(["ab", "c"])
    assert digest(numbers.cast(pa.int32())) == digest(numbers) != digest(pa.array([1, 3, 2]))
    for same in (text.cast(pa.large_string()), text.dictionary_encode()):
        assert digest(same) == digest(text)
    for others in (["a", "bc"], ["c", "ab"], ["abc"], ["ab", "c", ""]):
        assert digest(pa.array(others)) != digest(text)
    pq.write_table(pa.table({"item": text}), tmp_path / "items.parquet")
    assert digest(pq.read_table(tmp_path / "items.parquet")["item"]) == digest(text)
    with pytest.raises(InputError, match="whole numbers or text"):
        digest(pa.array([1.5]))
