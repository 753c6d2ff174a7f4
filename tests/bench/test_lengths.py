import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydrarec.bench import lengths
from hydrarec.bench.lengths import in_batches, length_buckets


def test_lengths_are_real_where_the_data_set_is(tmp_path):
    path = tmp_path / "interactions.parquet"
    pq.write_table(pa.table({"user_id": [1, 1, 1, 2, 2, 2, 2, 2]}), path)
    found, origin = lengths.window_lengths(50, 4, path)
    assert (set(found), origin) == ({3, 4}, "ML-1M")


def test_lengths_are_simulated_where_it_is_not(tmp_path):
    found, origin = lengths.window_lengths(6000, 2314, tmp_path / "nothing")
    assert origin == "simulated"
    assert (min(found), max(found)) == (20, 2314)
    assert np.mean(found) == pytest.approx(165.6, rel=0.05)
    assert found == lengths.window_lengths(6000, 2314, tmp_path / "nothing")[0]
    assert max(lengths.window_lengths(100, 200, tmp_path / "nothing")[0]) == 200


def test_buckets_are_equally_many_and_in_order():
    assert length_buckets([5, 1, 9, 3, 7, 2, 8, 4]) == [[1, 2], [3, 4], [5, 7], [8, 9]]
    assert [len(bucket) for bucket in length_buckets(list(range(10)))] == [3, 3, 2, 2]
    assert length_buckets([3, 1], 1) == [[1, 3]]


def test_batches_keep_the_order_and_lose_nothing():
    assert in_batches([5, 1, 9, 3, 7], 2) == [[5, 1], [9, 3], [7]]
    assert in_batches([5], 2) == [[5]]


def test_users_are_drawn_once_each_where_there_are_enough(tmp_path):
    path = tmp_path / "interactions.parquet"
    users = np.repeat(np.arange(1, 21), np.arange(1, 21))  # user u has u events
    pq.write_table(pa.table({"user_id": users}), path)
    assert sorted(lengths.window_lengths(20, 99, path)[0]) == list(range(1, 21))
    assert len(lengths.window_lengths(50, 99, path)[0]) == 50
