"""A vocabulary over a stream of days, against a dictionary that is kept beside it."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier, Event, local

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.errors import InputError
from hydrarec.items.vocabulary import Vocabulary

NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
SMALL = st.integers(0, 12)


def days(ids):
    day = st.tuples(st.lists(ids, max_size=8), st.sets(st.integers(0, 30), max_size=6))
    return st.tuples(st.lists(ids, min_size=1, max_size=5, unique=True), st.lists(day, max_size=8))


@settings(max_examples=150)
@given(st.one_of(days(SMALL), days(NUMBERS), days(TEXT)))
def test_an_id_has_one_row_and_keeps_it_until_it_is_evicted(stream):
    first, later = stream
    vocabulary, beside = Vocabulary(pa.array(first)), {each: row for row, each in enumerate(first)}
    for ids, offered in later:
        free = np.array([row for row in offered if row < len(vocabulary)], np.int64)
        size = len(vocabulary)
        new = [each for each in dict.fromkeys(ids) if each not in beside]
        in_use = {beside[each] for each in ids if each in beside}
        admitted = vocabulary.admit(ids, free)

        owner = {row: each for each, row in beside.items()}
        assert set(admitted.reused.tolist()) <= set(free.tolist()) - in_use
        assert admitted.evicted.to_pylist() == [owner[row] for row in admitted.reused.tolist()]
        usable = [row for row in free.tolist() if row not in in_use]
        assert admitted.reused.tolist() == usable[: len(new)]
        assert admitted.grown == len(new) - len(admitted.reused) == len(vocabulary) - size
        for each in admitted.evicted.to_pylist():
            del beside[each]
        beside |= dict(zip(new, [*admitted.reused.tolist(), *range(size, len(vocabulary))], strict=True))

        assert vocabulary.values.to_pylist() == [each for each, _ in sorted(beside.items(), key=lambda pair: pair[1])]
        rows = vocabulary.rows(list(beside))
        assert rows.tolist() == list(beside.values())
        assert len(set(rows.tolist())) == len(beside)


@given(days(TEXT))
@settings(max_examples=20)
def test_saved_and_loaded_it_goes_on_alike(tmp_path_factory, stream):
    first, later = stream
    vocabulary = Vocabulary(pa.array(first))
    for number, (ids, offered) in enumerate(later):
        file = tmp_path_factory.mktemp("vocabulary") / f"{number}.parquet"
        pq.write_table(pa.table({"item": vocabulary.values}), file)
        loaded = Vocabulary(pq.read_table(file)["item"])
        free = np.array([row for row in offered if row < len(vocabulary)], np.int64)
        vocabulary.admit(ids, free)
        loaded.admit(ids, free)
        assert loaded.values.equals(vocabulary.values)


def test_rows_are_reused_in_the_order_they_are_offered():
    vocabulary = Vocabulary(pa.array([10, 11, 12, 13]))
    admitted = vocabulary.admit([20, 11, 21, 22, 20], np.array([3, 1, 0, 3]))
    assert admitted.reused.tolist() == [3, 0]  # row 1 is that of 11
    assert admitted.evicted.to_pylist() == [13, 10]
    assert admitted.grown == 1
    assert vocabulary.values.to_pylist() == [21, 11, 12, 20, 22]
    assert vocabulary.admit([10]).grown == 1  # it comes back as any new one


def test_what_cannot_be_admitted_changes_nothing():
    vocabulary = Vocabulary(pa.array([10, 11]))
    for ids in (["x"], [12, None]):
        with pytest.raises(InputError):
            vocabulary.admit(ids, np.array([0]))
        assert vocabulary.values.to_pylist() == [10, 11]


class Dawdling(Vocabulary):
    """A thread may tell it to wait between looking ids up and appending those that are new."""

    pause = local()

    def rows(self, ids):
        found = super().rows(ids)
        time.sleep(getattr(self.pause, "seconds", 0))
        return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.lists(SMALL, max_size=4), st.integers(0, 3)), min_size=1, max_size=4),
        min_size=2,
        max_size=4,
    )
)
def test_adds_of_several_threads(threads):
    """Each thread does its adds, (ids, tenths of a millisecond to wait in the midst of them), while another reads."""
    vocabulary, together, done = Dawdling(pa.array([100])), Barrier(len(threads) + 1), Event()

    def add(adds):
        together.wait()
        found = {}
        for ids, tenths in adds:
            vocabulary.pause.seconds = tenths * 1e-4
            for each, row in zip(ids, vocabulary.add(ids).tolist(), strict=True):
                assert found.setdefault(each, row) == row
        return found

    def read():
        together.wait()
        seen = [vocabulary.values]
        while not done.is_set():
            seen.append(vocabulary.values)
            assert vocabulary.rows(seen[-1]).tolist() == list(range(len(seen[-1])))
        return seen

    with ThreadPoolExecutor(len(threads) + 1) as pool:
        reader = pool.submit(read)
        try:
            rows = [future.result(timeout=60) for future in [pool.submit(add, adds) for adds in threads]]
        finally:
            done.set()
    ids = vocabulary.values.to_pylist()
    assert sorted(ids) == sorted({100} | {each for adds in threads for some, _ in adds for each in some})
    assert all(ids[row] == each for found in rows for each, row in found.items())
    for before, after in pairwise(reader.result()):
        assert after.slice(0, len(before)).equals(before)
