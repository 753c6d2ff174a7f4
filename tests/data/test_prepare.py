import json
import resource
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hydrarec.amount import amount
from hydrarec.data.prepare import prepare
from hydrarec.data.protocol import Protocol
from hydrarec.data.reading.watch import watch
from hydrarec.data.simulation.traffic import Traffic, TrafficConfig
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.errors import HydrarecError, InputError
from hydrarec.progress import Silent

ML1M = Path(__file__).parents[3] / "shared" / "datasets" / "ml-1m"
FRAME = pd.DataFrame({"user": list("bbaac"), "item": [3, 5, 3, 3, 9], "time": [7, 7, 1, 1, 4]})


def test_the_whole_by_hand(tmp_path):
    lines = []
    dataset = prepare(FRAME, tmp_path / "set", log=lines.append)
    assert dataset.items.tolist() == [0, 0, 0, 1, 2]  # the repeated event is kept
    assert dataset.times.tolist() == [1, 1, 7, 7, 4]
    assert dataset.offsets.tolist() == [0, 2, 4, 5]
    assert dataset.item_table.to_pydict() == {"item": [3, 5, 9], "events": [3, 1, 1]}
    assert dataset.user_table.to_pydict() == {"user": ["a", "b", "c"], "events": [2, 2, 1]}
    assert dataset.protocol == Protocol.named("time")
    assert dataset.statistics["history_length"] == {"median": 2.0, "mean": 5 / 3, "max": 2}
    assert dataset.statistics["tied_times"] == 2 / 5
    assert (dataset.statistics["first_time"], dataset.statistics["last_time"]) == (1, 7)
    assert dataset.statistics["density"] == 5 / 9
    assert lines[0] == "columns: user = user, item = item, time = time"
    assert lines[-1] == "3 users, 3 items, 5 events"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert not (tmp_path / "set" / "spill").exists()
    json.loads((tmp_path / "set" / "dataset.json").read_text())
    dataset.verify()


def test_in_memory_and_on_disk_are_the_same(tmp_path):
    inside, outside = prepare(FRAME), prepare(FRAME, tmp_path / "set")
    assert inside.path is None
    assert not isinstance(inside.items, np.memmap)
    assert inside.fingerprint == outside.fingerprint
    assert inside.save(tmp_path / "again").fingerprint == inside.fingerprint


def test_a_user_with_one_event_is_kept_and_not_asked():
    dataset = prepare(FRAME, protocol="hstu")
    assert dataset.user_table["user"].to_pylist()[2] == "c"
    assert split(dataset).test.tolist() == [1, 3]


def test_a_catalog_of_one_item():
    with pytest.raises(InputError, match="single item, 3"):
        prepare(FRAME[FRAME["item"] == 3])


def test_an_existing_data_set_stays_without_overwrite(tmp_path):
    prepare(FRAME, tmp_path / "set")
    with pytest.raises(InputError, match="exists already"):
        prepare(FRAME, tmp_path / "set")
    assert prepare(FRAME[1:], tmp_path / "set", overwrite=True).n_events == 4


def test_nothing_but_a_data_set_is_overwritten(tmp_path):
    source = tmp_path / "place" / "events.csv"
    source.parent.mkdir()
    FRAME.to_csv(source, index=False)
    for out, message in ((source, "no data set"), (source.parent, "no data set"), (source / "x" / "y", "is a file")):
        with pytest.raises(InputError, match=message):
            prepare(source, out, overwrite=True)
    prepare(FRAME, tmp_path / "set")
    (tmp_path / "set" / "more.csv").write_bytes(source.read_bytes())
    with pytest.raises(InputError, match="would be replaced"):
        prepare(tmp_path / "set" / "more.csv", tmp_path / "set", overwrite=True)
    (tmp_path / "empty").mkdir()
    assert prepare(source, tmp_path / "empty", overwrite=True).n_events == 5
    assert source.exists()
    assert (tmp_path / "set" / "more.csv").exists()


@pytest.mark.parametrize("memory", ["much", "4", "0GB", "-1GB", "4GBit"])
def test_bad_memory(memory):
    with pytest.raises(InputError, match="write it like 4GB"):
        prepare(FRAME, memory=memory)


def test_amounts_of_memory():
    amounts = {"4GB": 4 * 10**9, "1.5 GiB": 3 * 2**29, "800mb": 8 * 10**8, "2k": 2000, "1TiB": 2**40}
    assert {text: amount(text, "--memory") for text in amounts} == amounts


LOG = TrafficConfig(n_events=20_000, n_users=500, n_items=300, days=5)


def test_fingerprints_never_change():
    """Of whole numbers, whose table is not copied, and of text and dates, whose table is."""
    events = pa.concat_tables(Traffic(LOG, seed=1))
    assert prepare(events).fingerprint.startswith("7d4908afa23de5bc69c9e4f640d5a0c4")
    frame = events.to_pandas()
    frame["user"], frame["time"] = "u" + frame["user"].astype(str), pd.to_datetime(frame["time"], unit="s")
    frame["rating"] = 1.5
    assert prepare(frame, threads=1).fingerprint.startswith("83463671b19462ba2dcdf1d6a3931879")


class Seen(Silent):
    """Notes how far each task came."""

    def __init__(self):
        self.tasks = {}

    @contextmanager
    def task(self, description, total=None, *, done=0, unit="events"):
        self.now = description
        self.tasks[description] = [0, total]
        yield self

    def advance(self, n=1, text=None):
        self.tasks[self.now][0] += n


def test_progress_of_every_stage():
    seen = Seen()
    prepare(FRAME, progress=seen)
    assert seen.tasks == {"read": [100, 100], "count": [100, 100], "sort": [100, 100], "write": [5, 5]}


def test_a_query_is_watched(monkeypatch):
    monkeypatch.setattr("hydrarec.data.reading.watch._SECONDS", 0.001)
    seen, done = Seen(), [-1.0, 3.5, 3.0, 40.0]

    class Connection:
        def query_progress(self):
            return done.pop(0) if done else 80.0

    with watch(Connection(), seen, "sort"):
        while seen.tasks["sort"][0] < 80:
            time.sleep(0.001)
        assert seen.tasks == {"sort": [80, 100]}
    assert seen.tasks == {"sort": [100, 100]}


def test_item_text():
    items = pd.DataFrame({"movie_id": ["3", "9", "11"], "name": ["Three", None, "Eleven"], "events": ["x", "y", "z"]})
    lines = []
    dataset = prepare(FRAME, items=items, log=lines.append)
    assert dataset.item_table.to_pydict() == {
        "item": [3, 5, 9],
        "events": [3, 1, 1],
        "title": ["Three", None, None],
        "events_": ["x", None, "y"],
    }
    assert "2 of 3 items, 1 rows without events" in lines[-2]
    assert "warning: 1 items have no row in the item file, such as 5; they are known by their id alone" in lines
    with pytest.raises(InputError, match="1 items have no row in the item file, such as 5; add them there"):
        prepare(FRAME, items=items, strict=True)
    whole = pd.concat([items, pd.DataFrame({"movie_id": ["5"], "name": ["Five"]})])
    assert prepare(FRAME, items=whole, strict=True).item_table["title"].to_pylist() == ["Three", "Five", None]
    assert dataset.fingerprint == prepare(FRAME).fingerprint


def test_item_text_joins_by_the_name_of_the_events_if_it_can():
    items = pd.DataFrame({"item": [3], "asin": ["B3"], "title": ["Three"]})
    assert prepare(FRAME, items=items).item_table["asin"].to_pylist() == ["B3", None, None]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"item": [3, 3], "title": ["a", "b"]}, "item 3 more than once"),
        ({"item": [3, None], "title": ["a", "b"]}, "row 2 after the header: item is empty"),
        ({"name": ["a"], "title": ["a"]}, r"which column .* is the item"),
    ],
)
def test_bad_item_text(items, message):
    with pytest.raises(InputError, match=message):
        prepare(FRAME, items=pd.DataFrame(items))


@pytest.fixture
def file_size_limit():
    """A stand-in for a full disk: writing past the limit fails like it, with an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("memory", ["1GB", "40MB"])  # fails in the arrays, fails in the spill
@pytest.mark.parametrize("kind", ["frame", "file"])
def test_a_full_disk_leaves_the_old_data_set_and_nothing_else(tmp_path, file_size_limit, memory, kind):
    old = prepare(FRAME, tmp_path / "set").fingerprint
    n = 400_000
    large = pd.DataFrame({"user": np.arange(n) % 1000, "item": np.arange(n) % 777, "time": np.arange(n)[::-1]})
    if kind == "file":
        large.to_parquet(tmp_path / "large.parquet")
        large = tmp_path / "large.parquet"
    before = sorted(tmp_path.iterdir())
    file_size_limit(200_000)
    with pytest.raises(HydrarecError) as caught:
        prepare(large, tmp_path / "set", overwrite=True, memory=memory, threads=1)
    assert not isinstance(caught.value, InputError)
    file_size_limit(resource.RLIM_INFINITY)
    assert sorted(tmp_path.iterdir()) == before
    dataset = Dataset.open(tmp_path / "set")
    dataset.verify()
    assert dataset.fingerprint == old


@pytest.mark.skipif(not ML1M.exists(), reason="../shared/datasets/ml-1m is not there")
def test_movielens_1m(tmp_path):
    dataset = prepare(ML1M / "interactions.parquet", tmp_path / "set", items=ML1M / "items.parquet", protocol="hstu")
    assert (dataset.n_users, dataset.n_items, dataset.n_events) == (6040, 3706, 1_000_209)
    assert len(split(dataset).test) == 6040
    assert dataset.item_table["title"].null_count == 0
    assert round(dataset.statistics["tied_times"], 2) == 0.53


@pytest.mark.parametrize("option", ["min_user", "min_item"])
def test_thresholds_below_one(option):
    with pytest.raises(InputError, match=f"{option.replace('_', '-')} is -5"):
        prepare(FRAME, **{option: -5})
