import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrarec.errors import InputError
from hydrarec.items.vocabulary import Vocabulary

numbers = st.integers(-(2**63), 2**63 - 1)
words = st.text(st.characters(codec="utf-8"), max_size=6)
catalogs = st.lists(numbers, unique=True, max_size=30) | st.lists(words, unique=True, min_size=1, max_size=30)


@given(catalogs, st.lists(numbers | words, max_size=10))
def test_round_trip_and_unknown_ids(ids, others):
    vocabulary = Vocabulary(pa.array(ids, pa.int64() if not ids else None))
    assert len(vocabulary) == len(ids)
    assert vocabulary.rows(ids).tolist() == list(range(len(ids)))
    assert vocabulary.rows([str(each) for each in ids]).tolist() == list(range(len(ids)))
    assert vocabulary.ids(np.arange(len(ids))).to_pylist() == ids
    place = {str(each): row for row, each in enumerate(ids)}
    assert vocabulary.rows(others).tolist() == [place.get(str(each), -1) for each in others]


@given(catalogs.filter(len), st.data())
def test_growth_appends_new_ids_once_and_moves_nothing(ids, data):
    vocabulary = Vocabulary(pa.array(ids))
    same_kind = numbers if isinstance(ids[0], int) else words
    new = data.draw(st.lists(same_kind | st.sampled_from(ids), max_size=12))
    rows = vocabulary.add(new)
    assert vocabulary.values.to_pylist() == list(dict.fromkeys([*ids, *new]))
    assert vocabulary.ids(rows).to_pylist() == new


@pytest.mark.parametrize(
    "asked",
    [
        [3, "1", 4],
        np.array([3, 1, 4], np.uint8),
        np.array(["3", "1", "4"]),
        pd.Series([3, 1, 4]),
        pd.Series(["3", "1", "4"], dtype="category"),
        pa.array([3, 1, None], pa.int32()),
        pa.chunked_array([["3"], ["1", "04"]]),
        pa.array([3, 1, 2**63], pa.uint64()),
        [3, 1, 2**70],
        (3, 1, -3),
    ],
)
def test_what_rows_accepts(asked):
    assert Vocabulary(pa.array([1, 2, 3])).rows(asked).tolist() == [2, 0, -1]
    assert Vocabulary(pa.array(["1", "2", "3"])).rows(asked).tolist() == [2, 0, -1]


def test_nothing_and_no_row():
    vocabulary = Vocabulary(pa.array([5, 6]))
    assert vocabulary.rows([]).tolist() == []
    assert vocabulary.rows([None]).tolist() == [-1]
    assert vocabulary.rows([]).dtype == np.int64
    assert vocabulary.ids(np.array([1, -1])).to_pylist() == [6, None]
    assert vocabulary.add([]).tolist() == []


@pytest.mark.parametrize("ids", [[1.5], [True], [{"a": 1}], [1, 2.5, "a"]])
def test_other_types_are_refused(ids):
    with pytest.raises(InputError, match="whole numbers or text"):
        Vocabulary(pa.array([1])).rows(ids)


def test_bad_vocabularies():
    with pytest.raises(InputError, match="'b' is there twice"):
        Vocabulary(pa.array(["a", "b", "b"]))
    with pytest.raises(InputError, match="null"):
        Vocabulary(pa.array([1, None]))
    vocabulary = Vocabulary(pa.array([1]))
    with pytest.raises(InputError, match="whole numbers"):
        vocabulary.add(["x"])
    with pytest.raises(InputError, match="null"):
        vocabulary.add([None])
    assert len(vocabulary) == 1
