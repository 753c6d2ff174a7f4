"""Histories with items that have no row: a fallback reads them, in the same way everywhere."""

import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch
from events import DAY, FIRST, ITEMS, TINY, event_table
from fastapi.testclient import TestClient

from hydrarec import InputError, Recommender
from hydrarec.asked import of_histories
from hydrarec.progress import Silent
from hydrarec.serve.engine import Engine, Request
from hydrarec.serve.http.app import make_app
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.stores.contract import Event
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore
from hydrarec.train.run import open_run
from hydrarec.train.stream import continue_run

SETTINGS = {**TINY, "train.max_len": 0, "items.unseen": 0.2}
HISTORY = [3, "never heard of", 4, "never heard of", "nor of this"]
TIMES = [FIRST + DAY * day for day in range(5)]


@pytest.fixture(scope="module", params=["order", "time"])
def recommender(request, tmp_path_factory):
    settings = {**SETTINGS, "model.time": request.param == "time"}
    out = tmp_path_factory.mktemp("unknown") / "run"
    return Recommender.fit(event_table(), out=out, settings=settings)


def answers(recommender, history, times=TIMES, **how):
    """(items, scores)."""
    found = recommender.recommend([history], times=[times[: len(history)]], k=ITEMS, **how)
    return found["item"].to_pylist(), np.array(found["score"])


def test_they_are_read_without_a_warning(recommender):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        items, scores = answers(recommender, HISTORY)
    assert sorted(items) == list(range(1, ITEMS + 1))
    _, without = answers(recommender, [3, 4], [TIMES[0], TIMES[2]], at=TIMES[-1])
    assert not np.allclose(np.sort(scores), np.sort(without), atol=1e-4)
    assert answers(recommender, ["new"])[0]  # alone too
    assert set(answers(recommender, HISTORY, exclude_seen=True)[0]) == set(items) - {3, 4}


def test_a_server_reads_them_in_a_history_of_a_request(recommender):
    app = make_app(Engine(recommender, MemoryStore()), Guard("127.0.0.1", []))
    history = [{"item": item, "time": moment} for item, moment in zip(["new", "newer"], TIMES, strict=False)]
    with TestClient(app, base_url="http://localhost") as client:
        found = client.post("/recommend", json={"history": history, "at": TIMES[1], "k": ITEMS}).json()
    items, scores = answers(recommender, ["new", "newer"], at=TIMES[1])
    assert [each["item"] for each in found["recommendations"]] == items
    assert np.allclose([each["score"] for each in found["recommendations"]], scores, atol=1e-4)


def test_an_item_is_the_same_whenever_it_comes(recommender):
    model = recommender.model
    rows = torch.from_numpy(of_histories(recommender.vocabulary, [HISTORY], times=[TIMES], unknown_too=True).items)
    vectors = model.items.encode_history(rows)
    assert torch.equal(vectors[1], vectors[3])
    assert torch.equal(vectors[[0, 2]], model.items.encode(rows[[0, 2]]))


def test_strict_refuses_them_and_candidates_are_known_ones(recommender):
    with pytest.raises(InputError, match="unknown item ids: never heard of"):
        answers(recommender, HISTORY, strict=True)
    with pytest.warns(UserWarning, match="nobody's"):
        found = recommender.recommend([[3]], times=[[FIRST]], candidates=[1, "nobody's"])
    assert found["item"].to_pylist() == [1]


def test_events_one_by_one_give_the_answers_of_the_history(recommender):
    state = recommender.initial_state()
    for item, time in zip(HISTORY, TIMES, strict=True):
        state = recommender.observe(state, [[item]], times=[[time]])
    answer = recommender.recommend(states=state, k=ITEMS, at=TIMES[-1] + DAY)
    items, scores = answers(recommender, HISTORY, at=TIMES[-1] + DAY)
    assert answer["item"].to_pylist() == items
    np.testing.assert_allclose(answer["score"], scores, rtol=1e-4, atol=1e-4)


def test_the_server_reads_them_as_the_recommender_does_and_after_a_restart(recommender, tmp_path):
    events = [Event(user="u", item=str(item), time=time, id=None) for item, time in zip(HISTORY, TIMES, strict=True)]
    request = [Request(user="u", k=ITEMS, at=TIMES[-1] + DAY)]
    items, scores = answers(recommender, HISTORY, at=TIMES[-1] + DAY)
    with DiskStore(tmp_path / "store") as store:
        engine = Engine(recommender, store)
        for each in events:
            engine.apply([each])
        (answer,) = engine.answer(request)
        assert (answer.items, answer.events) == (items, 5)
        np.testing.assert_allclose(answer.scores, scores, rtol=1e-4, atol=1e-4)
    with DiskStore(tmp_path / "store") as store:
        again = Engine(recommender, store)
        assert again.answer(request) == [answer]
        assert again.states.made == 0  # the state that waits for the gap after an unknown item was kept
    fresh = Engine(recommender, MemoryStore())
    fresh.apply(events)
    assert fresh.answer(request)[0].items == items


def test_what_training_did_not_see_is_unknown_and_a_day_makes_it_known(recommender, tmp_path):
    recommender.save(tmp_path / "run")
    known = open_run(tmp_path / "run").model().items.fallback.known
    assert known.all()
    later = event_table(length=3)
    names = pa.array([item + 100 for item in later["item"].to_pylist()])
    times = pa.array([time + 40 * DAY for time in later["time"].to_pylist()])
    day = pa.table({"user": later["user"], "item": names, "time": times})
    run, found = continue_run(tmp_path / "run", day, progress=Silent())
    assert (found.new, found.evicted) == (ITEMS, ITEMS)
    assert run.model().items.fallback.known.sum() == ITEMS
    assert answers(Recommender.load(run.path), [101, 102, 1])[0]  # 1 is evicted, and unknown
