from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data.store import Dataset
from hydrarec.data.stretches import places, stretch_batch, stretch_pairs

bounds = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=8)


@settings(max_examples=50)
@given(bounds)
def test_stretches_end_to_end(stretches):
    first = np.array([start for start, _ in stretches], np.int64)
    end = first + np.array([length for _, length in stretches], np.int64)
    where, offsets = places(first, end)
    expected = [list(range(a, b)) for a, b in zip(first, end, strict=True)]
    assert where.tolist() == [place for stretch in expected for place in stretch]
    assert [where[a:b].tolist() for a, b in pairwise(offsets)] == expected
    numbers, items = stretch_pairs(np.arange(100, 126), first, end)
    assert list(zip(numbers.tolist(), items.tolist(), strict=True)) == [
        (number, 100 + place) for number, stretch in enumerate(expected) for place in stretch
    ]


def test_a_batch_has_all_columns():
    dataset = Dataset.from_arrays(
        np.array([3, 1, 2, 0]),
        np.array([0, 4]),
        times=np.array([5, 6, 7, 8]),
        columns={"rating": np.ones(4, np.float32)},
    )
    batch = stretch_batch(dataset, np.array([1, 0]), np.array([3, 1]))
    assert batch.items.tolist() == [1, 2, 3]
    assert batch.times.tolist() == [6, 7, 5]
    assert batch.offsets.tolist() == [0, 2, 3]
    assert batch.columns["rating"].tolist() == [1, 1, 1]
