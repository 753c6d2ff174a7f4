"""A run that goes on, day by day."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import csv

from hydrarec import Recommender
from hydrarec.cli import main
from hydrarec.data.append import append
from hydrarec.data.prepare import prepare
from hydrarec.data.protocol import Protocol
from hydrarec.errors import InputError
from hydrarec.progress import Silent
from hydrarec.train import stream
from hydrarec.train.run import open_run
from hydrarec.train.settings import resolve
from hydrarec.train.stream import continue_run
from hydrarec.train.train import train

DAY, START = 86_400, 1_600_000_000
SMALL = {
    "model.d_model": 8,
    "model.n_layers": 1,
    "model.n_heads": 2,
    "model.d_state": 4,
    "model.dropout": 0.0,
    "train.epochs": 8,
    "train.batch_events": 100,
    "train.lr": 0.02,
    "loss.kind": "sampled",
    "loss.negatives": 16,
}


def events(first, last, items, users=20, base=0):
    """Users who count through ``items`` ids from ``base`` on, an event an hour from ``first`` to ``last`` (days)."""
    rows = [
        (user, base + (user + hour) % items, START + hour * 3600)
        for hour in range(int(first * 24), int(last * 24))
        for user in range(users)
    ]
    return pa.table({"user": [r[0] for r in rows], "item": [r[1] for r in rows], "time": [r[2] for r in rows]})


def make(folder, storage="rows", **changes):
    data = prepare(events(0, 1, 8), folder / "data")
    chosen = {**SMALL, "items.storage": storage, **changes}
    settings, _ = resolve(overrides=[f"{key}={value}" for key, value in chosen.items()])
    return train(data, folder / "run", settings, Protocol.named("time"), progress=Silent())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run, and of its data set where it looks for it."""
    shutil.copytree(trained.path.parent, tmp_path / "all")
    folder = tmp_path / "all" / "run"
    config = json.loads((folder / "config.json").read_text())
    config["dataset"]["path"] = str(tmp_path / "all" / "data")
    (folder / "config.json").write_text(json.dumps(config))
    return open_run(folder)


def go_on(run, source, **others):
    return continue_run(run.path, source, progress=Silent(), **others)


def vectors(run):
    """Id -> its vector."""
    with torch.inference_mode():
        catalog = run.model().items.catalog()
    return dict(zip(run.items()["item"].to_pylist(), catalog, strict=True))


@pytest.mark.parametrize("storage", ["full", "rows", "half", "int8", "hashed", "mapped"])
def test_new_items_are_learned_and_recommended(tmp_path, storage):
    more = {"items.buckets": 20} if storage == "hashed" else {}
    run = make(tmp_path, storage, **more)
    again, day = go_on(run, events(1, 3, 12), overrides=["train.epochs=8", "train.row_lr=0.1"])
    assert (day.events, day.users, day.items, day.new, day.evicted) == (48 * 20, 20, 12, 4, 0)
    assert again.items()["item"].to_pylist() == list(range(12))
    assert again.vocabulary["items"] == 12
    assert again.metrics["parameters"]["items"] >= (12 if storage != "hashed" else 20) * 8
    recommender = Recommender.load(run.path)
    found = recommender.recommend([[8, 9], [2, 3]], k=1)["item"].to_pylist()
    assert found == [10, 4]
    assert recommender.dataset.n_events == 72 * 20
    assert recommender.recommend(users=[3], k=1).num_rows == 1


def test_the_day_is_measured_before_it_is_learned(run):
    same, day = go_on(run, events(1, 1.5, 8))
    assert day.metrics["HR@1"] > 0.8  # the counting goes on
    _, other = go_on(same, events(1.5, 2, 8, base=100))
    assert other.metrics["HR@10"] == 0  # of what has never been seen nothing can be known
    assert other.new == 8
    entries = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert [entry["day"] for entry in entries if "day" in entry] == [1, 2]


def test_rows_out_of_use_are_evicted_and_reused(run):
    before = vectors(run)
    again, day = go_on(run, events(2, 3, 5, base=100), keep_days=2.5)
    assert (day.items, day.new, day.evicted) == (8 + 5, 5, 0)  # two days ago
    third, day = go_on(again, events(4, 5, 6, base=200), keep_days=2.5)
    assert (day.items, day.new, day.evicted) == (13, 6, 6)
    kept = set(third.items()["item"].to_pylist())
    assert set(range(200, 206)) | set(range(100, 105)) <= kept
    assert len(kept & set(range(8))) == 2
    fourth, day = go_on(third, events(5, 5.5, 8), keep_days=2.4)  # six of them come back
    assert (day.items, day.new, day.evicted) == (13 + 1, 6, 5)
    assert set(range(8)) <= set(fourth.items()["item"].to_pylist())
    assert len(before) == 8
    data = Recommender.load(run.path).dataset  # without the events of those that are evicted
    assert set(np.unique(data.items)) <= set(range(14))
    assert data.n_items == 14


def test_a_renewed_row_begins_without_the_past_of_its_former_item(run):
    before = vectors(run)
    again, day = go_on(run, events(9, 9.1, 2, base=50, users=1), keep_days=1, overrides=["train.lr=1e-9"])
    after = vectors(again)
    assert day.evicted == 2
    evicted = set(before) - set(after)
    for new in (50, 51):
        assert not any(torch.allclose(after[new], before[old], atol=1e-3) for old in evicted)
    assert len(set(before) & set(after)) == 6


def test_an_appended_data_set_is_the_same_as_its_events(run, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(run.path, twin)
    day = events(1, 1.5, 10)
    go_on(run, day)
    append(day, tmp_path / "all" / "data")
    go_on(open_run(twin), tmp_path / "all" / "data")
    mine, other = vectors(open_run(run.path)), vectors(open_run(twin))
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[each], other[each]) for each in mine)
    with pytest.raises(InputError, match="no events that were added"):
        go_on(open_run(twin), tmp_path / "all" / "data")
    # A run of before still knows its own part of the data set.
    before = json.loads((twin / "config.json").read_text())["dataset"]
    assert open_run(twin).open_events().n_events == before["events"]


def test_what_fails_leaves_the_run_as_it_was(run, monkeypatch):
    files = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"}

    def check():
        now = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"}
        assert now == files
        assert [path.name for path in run.path.parent.iterdir() if path.name.startswith(".")] == []

    with pytest.raises(InputError, match="item ids are whole numbers"):
        go_on(run, pa.table({"user": [1], "item": ["x"], "time": [START + 9 * DAY]}))
    check()
    with pytest.raises(InputError, match="only settings of train and loss"):
        go_on(run, events(1, 1.2, 8), overrides=["model.d_model=16"])
    check()
    monkeypatch.setattr("hydrarec.train.stream.finish_run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        go_on(run, events(1, 1.2, 8))
    check()


def test_two_at_once_go_one_after_the_other_and_no_id_has_two_rows(run):
    parts = [events(1, 1.3, 12), events(1.3, 1.5, 14), events(1.5, 1.7, 11, base=4)]
    with ThreadPoolExecutor(3) as pool:
        days = [result[1] for result in pool.map(lambda part: go_on(run, part), parts)]
    ids = open_run(run.path).items()["item"].to_pylist()
    assert len(ids) == len(set(ids)) == 15
    assert sum(day.new for day in days) == 7
    assert open_run(run.path).dataset["days"] == 3
    assert Recommender.load(run.path).dataset.n_events == 20 * 24 + sum(day.events for day in days)


def in_shops(table, name=lambda item: "even" if item % 2 == 0 else "odd"):
    """The items of each shop have every other id."""
    return table.append_column("shop", pa.array([name(item) for item in table["item"].to_pylist()]))


def test_domains(tmp_path):
    data = prepare(in_shops(events(0, 1, 8)), tmp_path / "data", domain="shop")
    settings, _ = resolve(overrides=[f"{key}={value}" for key, value in {**SMALL, "items.storage": "rows"}.items()])
    run = train(data, tmp_path / "run", settings, Protocol.named("time"), progress=Silent())
    held = run.model().domains.weight.detach().clone()
    day = in_shops(events(1, 3, 12))
    run, told = go_on(run, day, overrides=["train.epochs=8", "train.row_lr=0.1"], columns={"domain": "shop"})
    assert (told.items, told.new, told.evicted) == (12, 4, 0)
    assert run.items()["domain"].to_pylist() == ["even", "odd"] * 6
    assert run.model().domains.item_domains.tolist() == [0, 1] * 6
    assert not torch.equal(run.model().domains.weight, held)
    recommender = Recommender.load(run.path)
    assert recommender.recommend([[8, 9], [2, 3]], k=1, domain="even")["item"].to_pylist() == [10, 4]
    # A row that another item takes has that one's domain.
    late = in_shops(events(9, 9.5, 3, base=100), lambda item: "odd")
    run, told = go_on(run, late, keep_days=1, columns={"domain": "shop"})
    assert (told.items, told.evicted) == (12, 3)
    by_id = dict(zip(run.items()["item"].to_pylist(), run.model().domains.item_domains.tolist(), strict=True))
    assert [by_id[item] for item in (100, 101, 102)] == [1, 1, 1]
    with pytest.raises(InputError, match="item 100 is of domain 'odd' in the data set and of 'even' in what is app"):
        go_on(run, in_shops(events(10, 10.5, 2, base=100), lambda item: "even"), columns={"domain": "shop"})
    kept = {path: path.read_bytes() for path in run.path.rglob("*.parquet")}
    with pytest.raises(InputError, match=r"new events are of domain third, and .* knows even, odd"):
        go_on(run, in_shops(events(10, 10.5, 2, base=200), lambda item: "third"), columns={"domain": "shop"})
    with pytest.raises(InputError, match="the data set has domains, and the day has none"):
        go_on(run, events(10, 10.5, 2), columns={"domain": False})
    assert kept == {path: path.read_bytes() for path in run.path.rglob("*.parquet")}


def test_every_event_of_a_day_is_learned_whatever_its_domain(tmp_path, monkeypatch):
    """Nine tenths of the day are of one shop: a mixture that draws both shops' windows alike would leave some out."""
    owner = lambda item: "small" if item == 0 else "large"  # noqa: E731
    data = prepare(in_shops(events(0, 1, 10), owner), tmp_path / "data", domain="shop")
    settings, _ = resolve(overrides=[f"{key}={value}" for key, value in {**SMALL, "items.storage": "rows"}.items()])
    run = train(data, tmp_path / "run", settings, Protocol.named("time"), progress=Silent())
    learned = []
    epoch = stream.Fit._epoch

    def seen(self, dataset, source):
        learned.append(len(np.unique(source.first)))
        return epoch(self, dataset, source)

    monkeypatch.setattr(stream.Fit, "_epoch", seen)
    day = in_shops(events(1, 2, 10), owner)
    go_on(run, day, columns={"domain": "shop"})
    assert learned == [len(set(day["user"].to_pylist()))]


def test_a_domain_that_was_quiet_for_long_is_still_known(tmp_path):
    data = prepare(in_shops(events(0, 1, 8)), tmp_path / "data", domain="shop")
    settings, _ = resolve(overrides=[f"{key}={value}" for key, value in {**SMALL, "items.storage": "rows"}.items()])
    run = train(data, tmp_path / "run", settings, Protocol.named("time"), progress=Silent())
    day = in_shops(events(9, 9.5, 12, base=100), lambda item: "odd")
    run, told = go_on(run, day, keep_days=1, columns={"domain": "shop"})
    assert (told.items, told.new, told.evicted) == (8 + 6, 12, 6)
    assert sorted(run.items()["domain"].to_pylist()) == ["even"] + ["odd"] * 13
    day = in_shops(events(19, 19.5, 12, base=200), lambda item: "odd")
    run, told = go_on(run, day, keep_days=1, columns={"domain": "shop"})
    assert (told.items, told.evicted) == (14, 12)
    run, told = go_on(run, in_shops(events(20, 20.5, 4, base=300)), keep_days=30, columns={"domain": "shop"})
    by_id = dict(zip(run.items()["item"].to_pylist(), run.model().domains.item_domains.tolist(), strict=True))
    assert [by_id[item] for item in range(300, 304)] == [0, 1, 0, 1]


def test_bad_runs(tmp_path, run):
    counted = train(
        prepare(events(0, 1, 8)), tmp_path / "counted", resolve(model="popularity")[0], Protocol(), progress=Silent()
    )
    with pytest.raises(InputError, match="popularity, which is fitted by counting events"):
        go_on(counted, events(1, 2, 8))
    with pytest.raises(InputError, match="is not a run folder"):
        continue_run(tmp_path / "nothing", events(1, 2, 8), progress=Silent())
    assert not (tmp_path / "nothing").exists()
    for days in (-1.0, float("nan")):
        with pytest.raises(InputError, match=f"--keep-days is {days}"):
            go_on(run, events(1, 2, 8), keep_days=days)


def test_a_mapped_table_learns_in_memory_alone(tmp_path, monkeypatch):
    run = make(tmp_path, "mapped")
    monkeypatch.setattr(stream, "usable_device", lambda name: name)
    with pytest.raises(InputError, match=r"items\.storage=mapped works on the CPU's memory, not on cuda"):
        go_on(run, events(1, 2, 8), device="cuda")


def test_a_data_set_that_moved_is_named(run, tmp_path, capsys):
    (tmp_path / "all" / "data").rename(tmp_path / "moved")
    csv.write_csv(events(1, 1.5, 8), tmp_path / "day.csv")
    words = ["train", str(tmp_path / "day.csv"), "--continue", str(run.path)]
    assert main(words) == 2
    assert "name it with --dataset" in capsys.readouterr().err
    assert main([*words, "--dataset", str(tmp_path / "moved"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == 240
    assert Recommender.load(run.path).dataset.n_events == 36 * 20
    assert main(["train", "x.csv", "--out", str(tmp_path / "x"), "--dataset", "y"]) == 2
    assert "with --continue" in capsys.readouterr().err


def test_a_link_to_a_run_stays_one(run, tmp_path):
    (tmp_path / "latest").symlink_to(run.path)
    continue_run(tmp_path / "latest", events(1, 1.5, 8), progress=Silent())
    assert (tmp_path / "latest").is_symlink()
    assert open_run(run.path).dataset["days"] == 1
    assert Recommender.load(tmp_path / "latest").dataset.n_events == 36 * 20


def test_settings_of_a_day_take_bare_names(run):
    with pytest.raises(InputError, match="did you mean 'epochs'"):
        go_on(run, events(1, 1.5, 8), overrides=["epcohs=1"])
    with pytest.raises(InputError, match="only settings of train and loss"):
        go_on(run, events(1, 1.5, 8), overrides=["d_state=8"])
    _, day = go_on(run, events(1, 1.5, 8), overrides=["lr=1e-3"])
    assert day.events == 240


@pytest.mark.parametrize(
    ("file", "message"), [("metrics.json", "is not finished"), ("model.safetensors", "is damaged")]
)
def test_errors_name_the_run_and_not_its_copy(run, file, message):
    path = run.path / file
    path.unlink() if file == "metrics.json" else path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=message) as caught:
        go_on(run, events(1, 1.5, 8))
    assert f" {run.path}" in f" {caught.value}"


@pytest.mark.parametrize("target", ["every", "next", "last"])
def test_late_events_are_measured_and_learned_in_their_place(run, monkeypatch, target):
    protocol = json.loads((run.path / "protocol.json").read_text())
    (run.path / "protocol.json").write_text(json.dumps({**protocol, "target": target}))
    hour = 3600
    late = {"user": [3, 3, 3, 4], "item": [7, 7, 1, 1], "time": [5 * hour, 5 * hour + 1, 30 * hour, 9 * hour]}
    late["time"] = [START + each for each in late["time"]]
    seen = {}

    def measured(model, data, positions, **others):
        seen["measured"] = [(int(data.times[p]) - START, int(data.items[p])) for p in positions]
        return evaluate(model, data, positions, **others)

    def learned(data, ends, config, fresh):
        seen["learned"] = {user: int(fresh[user]) for user in np.flatnonzero(fresh)}
        return training_windows(data, ends, config, fresh)

    evaluate, training_windows = stream.evaluate, stream.training_windows
    monkeypatch.setattr(stream, "evaluate", measured)
    monkeypatch.setattr(stream, "training_windows", learned)
    _, day = go_on(run, pa.table(late))
    assert (day.events, day.users) == (4, 2)
    found = [(5 * hour, 7), (5 * hour + 1, 7), (30 * hour, 1), (9 * hour, 1)]
    assert seen["measured"] == {"every": found, "next": [found[0], found[3]], "last": found[2:]}[target]
    assert seen["learned"] == {3: (24 - 6) + 3, 4: (24 - 10) + 1}


def test_the_command(run, tmp_path, capsys):
    csv.write_csv(events(1, 1.5, 9), tmp_path / "day.csv")
    words = ["train", str(tmp_path / "day.csv"), "--continue", str(run.path)]
    assert main([*words, "--json", "--set", "train.epochs=2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["events"], found["new"], found["evicted"]) == (240, 1, 0)
    assert 0 <= found["metrics"]["NDCG@10"] <= 1
    csv.write_csv(events(1.5, 2, 9), tmp_path / "day.csv")
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "240 events of 20 users" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if str(run.path) not in line)
    with pytest.warns(UserWarning, match="trained on this split"):
        Recommender.load(run.path).evaluate()
    assert main([*words, "--out", str(tmp_path / "x")]) == 2
    assert main(["train", str(tmp_path / "day.csv")]) == 2
