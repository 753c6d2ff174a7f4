from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import dataset_of, ragged

from hydrarec.data.carried import CarriedBatches
from hydrarec.data.windows import window_batch, windows


def shop(lengths):
    """Histories whose items are the events' own positions."""
    starts = np.cumsum([0, *lengths])
    return dataset_of([list(range(start, start + n)) for start, n in zip(starts, lengths, strict=False)])


def carried(data, ends, max_len, batch_events, seed=0, epoch=0):
    return CarriedBatches(data, windows(data, ends, max_len, "carried"), batch_events, seed, epoch)


def walked(batches):
    """The inputs of every history, joined from batch to batch as ``before`` says."""
    done, now = [], []
    for index, batch in enumerate(batches.start_at(0)):
        before = batches.before(index).tolist()
        pieces = [piece.tolist() for piece in batch.items.split(batch.lengths.tolist())]
        assert len({row for row in before if row >= 0}) == sum(row >= 0 for row in before)
        done += [history for row, history in enumerate(now) if row not in before]
        now = [(now[row] if row >= 0 else []) + piece for row, piece in zip(before, pieces, strict=True)]
    return done + now


@given(
    lengths=ragged(60, users=12),
    max_len=st.integers(1, 12),
    batch_events=st.integers(1, 60),
    seed=st.integers(0, 3),
    data=st.data(),
)
@settings(deadline=None, max_examples=80)
def test_histories_are_walked_in_order_to_their_end(lengths, max_len, batch_events, seed, data):
    shelf = shop(lengths)
    kept = np.array([data.draw(st.integers(0, length)) for length in lengths])
    ends = shelf.offsets[:-1] + kept
    batches = carried(shelf, ends, max_len, batch_events, seed)
    expected = [list(range(a, b - 1)) for a, b in zip(shelf.offsets, ends, strict=False) if b - a > 1]
    assert sorted(walked(batches)) == expected
    for batch in batches.start_at(0):
        assert len(batch.items) <= batch_events or batch.n_users == 1
        assert batch.columns["targets"].tolist() == [item + 1 for item in batch.items.tolist()]
    again = carried(shelf, ends, max_len, batch_events, seed)
    for index in range(len(batches)):
        assert [b.items.tolist() for b in again.start_at(index)] == [b.items.tolist() for b in batches.start_at(index)]
        assert again.before(index).tolist() == batches.before(index).tolist()


def test_a_known_walk():
    data = shop([8, 3])  # windows of 3, 3 and 1 inputs; and of 2
    batches = carried(data, data.offsets[1:], 3, 100)
    assert [batch.items.tolist() for batch in batches.start_at(0)] == [[0, 1, 2], [3, 4, 5], [6, 8, 9]]
    assert [batches.before(index).tolist() for index in range(3)] == [[-1], [0], [0, -1]]
    assert [batch.offsets.tolist() for batch in batches.start_at(0)] == [[0, 3], [0, 3], [0, 1, 3]]


def test_long_histories_begin_early_and_short_ones_keep_them_company():
    lengths = [2001] + [11] * 100
    data = shop(lengths)
    batches = carried(data, data.offsets[1:], 20, 10_000)
    sizes = [len(batch.items) for batch in batches.start_at(0)]
    assert len(sizes) <= 105  # the long history alone takes 100
    assert np.mean([batch.n_users > 1 for batch in batches.start_at(0)]) > 0.9
    assert max(sizes) <= 30

    many = shop([401] * 3 + [41] * 300)
    batches = carried(many, many.offsets[1:], 20, 400)
    full = [len(batch.items) for batch in batches.start_at(0)]
    assert len(full) <= 1.1 * sum(full) / 400


@pytest.mark.parametrize("other", [(1, 1), (2, 0)])
def test_the_order_changes_with_epoch_and_seed(other):
    data = shop([9] * 30)

    def order(seed, epoch):
        return [b.items.tolist() for b in carried(data, data.offsets[1:], 3, 12, seed, epoch).start_at(0)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(*other)


def test_every_window_is_shown_once():
    data = shop([50, 7, 1, 0, 23])
    source = windows(data, data.offsets[1:], 4, "carried")
    batches = CarriedBatches(data, source, 9, 0, 0)
    shown = Counter(item for batch in batches.start_at(0) for item in batch.items.tolist())
    assert shown == Counter(window_batch(data, source).items.tolist())


def test_nothing_to_walk_through():
    data = shop([1, 1])
    assert len(carried(data, data.offsets[1:], 4, 9)) == 0
