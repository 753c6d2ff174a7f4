from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data.prepare import prepare
from hydrarec.data.simulation.clock import DAY, START
from hydrarec.data.simulation.traffic import Traffic, TrafficConfig, write_traffic
from hydrarec.data.split import split
from hydrarec.errors import HydrarecError, InputError
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.models.markov import Markov, MarkovConfig
from hydrarec.models.popularity import Popularity, PopularityConfig
from hydrarec.progress import Silent


def events_of(config, seed=0, at_once=1 << 20):
    return pa.concat_tables(Traffic(config, seed, at_once)).to_pandas()


@pytest.fixture(scope="module")
def events():
    return events_of(TrafficConfig(n_events=300_000, n_users=5000, n_items=2000), seed=2)


@settings(max_examples=40)
@given(data=st.data(), n_events=st.integers(1, 3000), seed=st.integers(0, 2**32))
def test_counts_are_as_asked(data, n_events, seed):
    n_users = data.draw(st.integers(1, n_events))
    new_items, days = data.draw(st.sampled_from([0, 1, 30])), data.draw(st.integers(1, 40))
    n_items = data.draw(st.sampled_from([2, 3, 100, 10**9]))
    config = TrafficConfig(n_events=n_events, n_users=n_users, n_items=n_items, new_items=new_items, days=days)
    found = events_of(config, seed, at_once=data.draw(st.sampled_from([7, 1000])))
    assert len(found) == n_events
    assert sorted(found.user.unique()) == list(range(1, n_users + 1))
    assert found.item.between(1, n_items + new_items * (days - 1)).all()
    assert found.time.min() >= START


def test_the_same_seed_gives_the_same_file(tmp_path):
    config = TrafficConfig(n_events=20_000, n_users=300, n_items=500)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_traffic(config, tmp_path / f"{name}.parquet", seed=seed, progress=Silent())
    first, again, other = ((tmp_path / f"{name}.parquet").read_bytes() for name in "abc")
    assert first == again
    assert first != other
    traffic = Traffic(config, 1)
    assert pa.concat_tables(traffic).equals(pa.concat_tables(traffic))


def test_popularity_is_zipf(events):
    counts = np.sort(np.bincount(events.item))[::-1]
    ranks = np.array([1, 4, 16, 64, 256])
    expected = ranks**-0.9
    share = counts[ranks - 1] / counts[0]
    # Successors are few hashes, so that single items stray; the slope does not.
    slope = np.polyfit(np.log(np.arange(10, 1000)), np.log(counts[10:1000]), 1)[0]
    assert -1.15 < slope < -0.75
    assert (share > 0.3 * expected).all()


def test_histories_have_a_heavy_tail(events):
    lengths = np.sort(events.user.value_counts())
    assert lengths[-1] > 10 * np.median(lengths)
    assert lengths[-500:].sum() > 0.3 * len(events)  # a tenth of the users


def test_the_log_is_in_order_of_time_but_for_sessions_that_go_on():
    config = TrafficConfig(n_events=100_000, n_users=2000, n_items=500, days=9)
    tables = [table.to_pandas() for table in Traffic(config, at_once=10_000)]
    assert all(table.time.is_monotonic_increasing for table in tables)
    assert all(a.time.iloc[0] <= b.time.iloc[0] for a, b in pairwise(tables))
    times = pd.concat(tables).time
    assert 8.9 * DAY < times.quantile(0.99) - START < 9 * DAY + 3600
    hours = (times // 3600) % 24
    assert (hours == 20).mean() > 3 * (hours == 3).mean()


def test_there_is_something_to_learn(events):
    dataset = prepare(events, protocol="loo")
    parts = split(dataset)
    options = {"protocol": dataset.protocol, "train_ends": parts.train_ends, "confidence": False}
    markov, popular = (
        evaluate(model.fit(config, dataset, parts), dataset, parts.test, **options).metrics["NDCG@10"]
        for model, config in ((Markov, MarkovConfig()), (Popularity, PopularityConfig()))
    )
    assert markov > 0.2
    assert markov > 3 * popular


def test_new_items_come_on_their_day_and_are_exchanged():
    config = TrafficConfig(n_events=100_000, n_users=2000, n_items=1000, new_items=50, days=10)
    found = events_of(config)
    new = found[found.item > 1000]
    since = (new.item - 1001) // 50 + 1
    age = (new.time - START) // DAY - since
    assert sorted(since.unique()) == list(range(1, 10))
    assert age.min() == 0
    assert age.quantile(0.99) <= config.renewal  # a session may last over midnight
    assert 0.03 < len(new) / len(found) < config.fresh


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_users": 11}, "11 users need an event each; there are 10 events"),
        ({"n_items": 1}, "n_items is 1; it must be at least 2"),
        ({"days": 0}, "days is 0"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        TrafficConfig(**{"n_events": 10, "n_users": 2, "n_items": 5, **change})


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    config = TrafficConfig(n_events=5000, n_users=10, n_items=50)
    with pytest.raises(InputError, match=r"should end in \.parquet"):
        write_traffic(config, tmp_path / "events.csv", progress=Silent())

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(HydrarecError, match="No space left"):
        write_traffic(config, tmp_path / "events.parquet", progress=Silent())
    assert not list(tmp_path.iterdir())
