import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data import quantile as module
from hydrarec.data import split
from hydrarec.data.quantile import Quantiles
from hydrarec.data.split import first_at_or_after

NUMBERS = st.one_of(st.integers(0, 9), st.integers(-(2**40), 2**40))


@settings(max_examples=200)
@given(
    st.lists(NUMBERS, min_size=1, max_size=40), st.floats(0, 1), st.integers(1, 40), st.sampled_from([1, 3]), st.data()
)
def test_as_numpy_has_it(numbers, quantile, bins, chunk, data):
    values = np.array(numbers, np.int64)
    among = data.draw(st.integers(1, len(numbers)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BINS", 1 + bins)
        patch.setattr(module, "_CHUNK", chunk)
        found = Quantiles(values)
        assert (found.low, found.high) == (values.min(), values.max())
        assert found.quantile(quantile, among=among) == np.quantile(np.sort(values)[:among], quantile)
        assert found.below(numbers[0]) == (values < numbers[0]).sum()


@settings(max_examples=100)
@given(st.lists(st.lists(st.integers(0, 9), max_size=9), min_size=1, max_size=6), st.integers(0, 10), st.integers(1, 7))
def test_boundaries_of_histories_longer_and_shorter_than_a_chunk(histories, boundary, chunk):
    offsets = np.cumsum([0, *map(len, histories)])
    times = np.array([time for history in histories for time in sorted(history)], np.int64)
    expected = [end - sum(time >= boundary for time in h) for h, end in zip(histories, offsets[1:], strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "_CHUNK", chunk)
        assert first_at_or_after(times, offsets, boundary).tolist() == expected


def test_a_boundary_is_a_whole_second():
    values = np.array([10, 13])
    assert math.ceil(Quantiles(values).quantile(0.5, among=2)) == 12
