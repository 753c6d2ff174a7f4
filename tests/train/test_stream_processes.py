"""A run that goes on in several processes: what one process makes of it, whatever holds its table."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs import close, several, train, weights

from hydrarec.data.prepare import prepare
from hydrarec.train.run import open_run

DAY, START = 86_400, 1_600_000_000
SAMPLED = ["loss.kind=sampled", "loss.negatives=6", "train.lr=0.02", "model.n_layers=1"]


def events(day, base, items, users=24):
    """An event an hour of users who count through ``items`` ids from ``base`` on."""
    rows = [(u, base + (u + h) % items, START + day * DAY + h * 3600) for h in range(12) for u in range(users)]
    return pa.table(dict(zip(("user", "item", "time"), map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs after a day in which 5 of 11 items are new and 3 old ones out of use, by storage and world."""
    folder = tmp_path_factory.mktemp("runs")
    prepare(events(0, 0, 9), folder / "data")
    pq.write_table(events(4, 3, 11), folder / "day.parquet")
    begun = {"rows": 1, "sharded": 2}
    names = [("rows", 1), ("rows", 2), ("sharded", 1), ("sharded", 2), ("sharded", 3)]
    outs = {name: folder / "-".join(map(str, name)) for name in names}
    first, then = [], []
    for (storage, world), out in outs.items():
        arguments = train(folder / "data", out, [f"items.storage={storage}", *SAMPLED])
        first.append({"arguments": [arguments] * begun[storage]})
        words = ["train", str(folder / "day.parquet"), "--continue", str(out), "--keep-days", "3", "--json"]
        then.append({"arguments": [words] * world})
    printed = several(first + then)
    assert {code for each in printed[: len(first)] for code, _, _ in each} == {0}
    return {name: (outs[name], each) for name, each in zip(names, printed[len(first) :], strict=True)}


def test_it_is_what_one_process_makes_of_a_plain_table(runs, subtests):
    alone = runs["rows", 1][0]
    first = open_run(alone)
    for name, (run, printed) in runs.items():
        with subtests.test(name):
            assert [(code, errors) for code, _, errors in printed] == [(0, "")] * name[1]
            assert [out for _, out, _ in printed][1:] == [""] * (name[1] - 1)
            day = json.loads(printed[0][1])
            assert (day["new"], day["evicted"], day["items"]) == (5, 3, 11)
            assert day["metrics"] == pytest.approx(first.metrics["day"]["metrics"], abs=1e-9)
            close(weights(run), weights(alone))
            assert open_run(run).items().equals(first.items())


def test_the_shards_are_those_of_the_processes(runs):
    for world in (1, 2, 3):
        run = runs["sharded", world][0]
        names = sorted(file.name for file in (run / "table").iterdir())
        assert names == [f"shard-{rank:05d}-of-{world:05d}.safetensors" for rank in range(world)]
