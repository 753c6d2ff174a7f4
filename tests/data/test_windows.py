from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import dataset_of, ragged

from hydrarec.data.windows import EpochBatches, fill, window_batch, windows


def shop(lengths):
    """Histories whose items are the events' own positions, so that a pair of items names a pair of events."""
    starts = np.cumsum([0, *lengths])
    return dataset_of([list(range(start, start + n)) for start, n in zip(starts, lengths, strict=False)])


def pairs(data, chosen):
    batch = window_batch(data, chosen)
    return list(zip(batch.items.tolist(), batch.columns["targets"].tolist(), strict=True))


def test_known_windows():
    data = shop([6, 1, 2, 0, 3])
    ends = data.offsets[1:]
    last = windows(data, ends, 2, "last")
    assert list(zip(last.first.tolist(), last.end.tolist(), strict=True)) == [(3, 6), (7, 9), (9, 12)]
    every = windows(data, ends, 2, "all")
    assert list(zip(every.first.tolist(), every.end.tolist(), strict=True)) == [
        (3, 6), (1, 4), (0, 2), (7, 9), (9, 12),
    ]  # fmt: skip
    assert every.inputs.tolist() == [2, 2, 1, 1, 2]
    carried = windows(data, ends, 2, "carried")
    assert list(zip(carried.first.tolist(), carried.end.tolist(), strict=True)) == [
        (0, 3), (2, 5), (4, 6), (7, 9), (9, 12),
    ]  # fmt: skip
    whole = windows(data, ends, 0, "all")
    assert list(zip(whole.first.tolist(), whole.end.tolist(), strict=True)) == [(0, 6), (7, 9), (9, 12)]
    shorter = windows(data, np.array([4, 6, 7, 9, 10]), 0, "last")  # training parts of 4, 0, 0, 0 and 1 events
    assert list(zip(shorter.first.tolist(), shorter.end.tolist(), strict=True)) == [(0, 4)]


histories = given(lengths=ragged(30, users=6), max_len=st.integers(0, 12), data=st.data())


@histories
@settings(max_examples=60)
def test_all_windows_cover_each_training_pair_once(lengths, max_len, data):
    shelf = shop(lengths)
    kept = np.array([data.draw(st.integers(0, length)) for length in lengths])
    ends = shelf.offsets[:-1] + kept
    every = windows(shelf, ends, max_len, "all")
    expected = [(p, p + 1) for start, end in zip(shelf.offsets, ends, strict=False) for p in range(start, end - 1)]
    assert sorted(pairs(shelf, every)) == expected
    assert (every.inputs >= 1).all()
    assert not max_len or (every.inputs <= max_len).all()

    last = windows(shelf, ends, max_len, "last")
    assert len(last.first) == sum(kept > 1)
    assert last.end.tolist() == ends[kept > 1].tolist()
    assert last.inputs.tolist() == [min(n - 1, max_len or n) for n in kept if n > 1]


@histories
@settings(max_examples=30)
def test_an_epoch_shows_every_window_once_in_an_order_of_its_own(lengths, max_len, data):
    shelf = shop(lengths)
    every = windows(shelf, shelf.offsets[1:], max_len, "all")
    size, seed, epoch = (data.draw(st.integers(1, 40)), data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3)))
    batches = EpochBatches(shelf, every, size, seed, epoch)
    shown = list(batches.start_at(0))
    assert len(shown) == len(batches)
    inputs = [item for batch in shown for item in batch.items.tolist()]
    assert Counter(inputs) == Counter(item for item, _ in pairs(shelf, every))
    for batch in shown:
        assert len(batch.items) <= size or batch.n_users == 1
        assert batch.lengths.sum() == len(batch.items) == len(batch.times) == len(batch.columns["targets"])
    again = EpochBatches(shelf, every, size, seed, epoch)
    for index in range(len(batches) + 1):
        rest = list(again.start_at(index))
        assert [b.items.tolist() for b in rest] == [b.items.tolist() for b in shown[index:]]
        assert [b.offsets.tolist() for b in rest] == [b.offsets.tolist() for b in shown[index:]]


@pytest.mark.parametrize("other", [(1, 1), (2, 0)])
def test_the_order_changes_with_epoch_and_seed(other):
    shelf = shop([4] * 30)
    every = windows(shelf, shelf.offsets[1:], 0, "all")

    def order(seed, epoch):
        return [b.items.tolist() for b in EpochBatches(shelf, every, 9, seed, epoch).start_at(0)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(*other)


@given(sizes=st.lists(st.integers(1, 20), max_size=30), limit=st.integers(1, 40))
@settings(max_examples=60)
def test_fill_is_greedy_and_keeps_the_limit(sizes, limit):
    runs = fill(np.array(sizes, np.int64), limit)
    assert [i for run in runs for i in range(run.start, run.stop)] == list(range(len(sizes)))
    for run in runs:
        total = sum(sizes[run])
        assert total <= limit or run.stop - run.start == 1
        assert run.stop == len(sizes) or total + sizes[run.stop] > limit


def test_a_batch_of_known_windows():
    data = dataset_of([[5, 6, 7], [1, 2]])
    batch = window_batch(data, windows(data, data.offsets[1:], 0, "all"))
    assert batch.items.tolist() == [5, 6, 1]
    assert batch.columns["targets"].tolist() == [6, 7, 2]
    assert batch.offsets.tolist() == [0, 2, 3]
