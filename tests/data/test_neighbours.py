"""Neighbours in the packed store, against a list of who owns each event."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hydrarec.data.neighbours import same_user


@given(st.lists(st.integers(0, 3), max_size=8))
def test_events_of_one_user_are_told_from_those_of_two(lengths):
    owner = np.repeat(np.arange(len(lengths)), lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    assert same_user(offsets).tolist() == (owner[1:] == owner[:-1]).tolist()
