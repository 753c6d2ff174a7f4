"""Our side of benchmarks/rectools: what is exported, and how scores come back."""

import json
from importlib import util
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from comparisons import HEAD, MARKOV, made_record

from hydrarec.compare.values import unpack
from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError

FOLDER = Path(__file__).parents[2] / "benchmarks" / "rectools"
ITEMS = 40


def _module(name):
    spec = util.spec_from_file_location(f"rectools_{name}", FOLDER / f"{name}.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


export, score = _module("export"), _module("score")


@pytest.fixture
def shop():
    """40 users with 1 to 20 events; many share a second with their neighbour."""
    rng = np.random.default_rng(0)
    lengths = np.concatenate([[1, 2, 3], rng.integers(4, 21, 37)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.concatenate([rng.permutation(ITEMS)[:length] for length in lengths])
    times = np.concatenate([np.sort(rng.integers(1_600_000_000, 1_600_000_008, length)) for length in lengths])
    return Dataset.from_arrays(items, offsets, times=times, item_ids=np.arange(ITEMS))


def _finished(dataset, protocol, folder, scores, **changes):
    """A folder as train.py leaves it."""
    entry = {"recall@10": 0.5, "NDCG@10": 0.3, "seconds": 4.0, "cpu_seconds": 3.0, "validating": 1.0}
    facts = {
        "order": {
            "model": "hstu",
            "seed": 2,
            "epochs": 100,
            "settings": {"n_blocks": 2},
            "export": export.about(dataset, protocol),
        },
        "sees_request_time": True,
        "epochs": 2,
        "best_epoch": 1,
        "curve": [{"epoch": 1, **entry}, {"epoch": 2, **entry, "seconds": 7.0, "cpu_seconds": 5.0, "NDCG@10": 0.2}],
        "events_an_epoch": 300,
        "parameters": {"items": 640, "encoder": 100},
        "peak_memory_bytes": 2**30,
        "machine": {"threads": 1, "torch": "2.13.0+cpu"},
        "versions": {"rectools": "0.19.0"},
    }
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(facts | changes))
    np.save(folder / "scores.npy", scores)
    return folder


@pytest.mark.parametrize("name", ["loo", "hstu"])
def test_an_export_holds_every_event_before_the_target_in_our_order(shop, tmp_path, name):
    protocol = Protocol.named(name)
    export.export(shop, protocol, tmp_path / "out")
    events = pq.read_table(tmp_path / "out" / "events.parquet").to_pydict()
    requests = pq.read_table(tmp_path / "out" / "requests.parquet").to_pydict()
    targets = {
        int(np.searchsorted(shop.offsets, place, side="right")) - 1: place for place in split(shop, protocol).test
    }
    assert requests == {"user": list(targets), "time": [int(shop.times[place]) for place in targets.values()]}
    for user in range(shop.n_users):
        own = slice(shop.offsets[user], targets.get(user, shop.offsets[user + 1]))
        rows = [row for row, owner in enumerate(events["user"]) if owner == user]
        assert [events["item"][row] for row in rows] == shop.items[own].tolist()
        assert [events["time"][row] for row in rows] == shop.times[own].tolist()
    kept = Protocol.from_dict(json.loads((tmp_path / "out" / "about.json").read_text())["protocol"])
    assert kept == protocol


def test_without_times_an_event_has_its_number(shop, tmp_path):
    timeless = Dataset.from_arrays(shop.items, shop.offsets, item_ids=np.arange(ITEMS))
    export.export(timeless, Protocol.named("hstu"), tmp_path / "out")
    events = pq.read_table(tmp_path / "out" / "events.parquet")
    last = events.filter(np.asarray(events["user"]) == shop.n_users - 1)
    assert last["time"].to_pylist() == list(range(len(last)))
    assert not json.loads((tmp_path / "out" / "about.json").read_text())["has_times"]


def test_a_protocol_that_rectools_cannot_validate_is_refused(shop, tmp_path):
    with pytest.raises(InputError, match="loo or hstu"):
        export.export(shop, Protocol.named("time"), tmp_path / "out")


@pytest.mark.parametrize("name", ["loo", "hstu"])
def test_scores_are_measured_as_by_hand(shop, tmp_path, name):
    protocol = Protocol.named(name)
    targets = split(shop, protocol).test
    scores = np.random.default_rng(1).normal(size=(len(targets), ITEMS)).astype(np.float32)
    scores[:, 7] = -np.inf  # an item that RecTools has not met
    found = score.result(shop, _finished(shop, protocol, tmp_path / "run", scores), "shop")
    hits, gains = [], []
    for row, place in enumerate(targets):
        user = np.searchsorted(shop.offsets, place, side="right") - 1
        own = scores[row].copy()
        if protocol.exclude_seen:
            own[shop.items[shop.offsets[user] : place]] = -np.inf
        rank = 1 + int((own > scores[row, shop.items[place]]).sum())
        hits.append(float(rank <= 10))
        gains.append(1 / np.log2(rank + 1) if hits[-1] else 0.0)
    assert found["metrics"]["HR@10"] == pytest.approx(np.mean(hits))
    assert found["metrics"]["NDCG@10"] == pytest.approx(np.mean(gains))
    np.testing.assert_allclose(unpack(found["ndcg10"], "f4", "test"), gains, atol=1e-6)
    assert (found["table"], found["model"], found["seed"]) == (f"shop-{name}", "rectools-hstu", 2)
    assert found["validation"] == ({"NDCG@10": 0.3} if name == "loo" else None)
    assert (found["seconds_to_best"], found["events_to_best"], found["events_per_second"]) == (4.0, 300, 100.0)
    assert found["sees_request_time"]


def test_a_result_has_all_that_those_of_a_comparison_have(shop, tmp_path, plan_of):
    plan = plan_of(HEAD + MARKOV)
    protocol = Protocol.named("loo")
    zeros = np.zeros((len(split(shop, protocol).test), ITEMS), np.float32)
    found = score.result(shop, _finished(shop, protocol, tmp_path / "run", zeros), "shop")
    assert set(made_record(plan, plan.slots()[0], [0.0])) <= set(found)


def test_the_same_history_asked_at_another_time_is_another_request(shop):
    items, times = np.array([1, 2, 3, 1, 2, 3]), np.array([5, 6, 7, 5, 6, 8])
    twins = Dataset.from_arrays(items, np.array([0, 3, 6]), times=times, item_ids=np.arange(4))
    targets, scores = np.array([2, 5]), np.eye(2, 4, dtype=np.float32)
    model = score.Scored.of(score.ScoredConfig(), twins, targets, scores)
    batch = score.stretch_batch(twins, np.array([3, 0]), np.array([5, 2]))
    ((first, given),) = model.score(batch)
    assert first == 0
    np.testing.assert_array_equal(given.numpy(), scores[::-1])
    again = score.Scored.from_tensors(model.config, model.n_items, model.tensors())
    np.testing.assert_array_equal(next(again.score(batch))[1].numpy(), scores[::-1])


def test_scores_of_other_data_are_refused(shop, tmp_path):
    protocol = Protocol.named("hstu")
    run = _finished(shop, protocol, tmp_path / "run", np.zeros((3, ITEMS), np.float32))
    with pytest.raises(InputError, match=r"scores.npy is \(3, 40\)"):
        score.result(shop, run, "shop")
    other = Dataset.from_arrays(shop.items[::-1], shop.offsets, item_ids=np.arange(ITEMS))
    with pytest.raises(InputError, match="other data"):
        score.result(other, run, "shop")


def test_training_that_is_not_finished_has_no_result(shop, tmp_path):
    with pytest.raises(InputError, match=r"run train.py"):
        score.result(shop, tmp_path, "shop")
