"""Answers through an index: as many as there are, with exact scores, of what is there now."""

import shutil
import time
from dataclasses import replace
from threading import Event

import numpy as np
import pyarrow as pa
import pytest
import torch
from events import DAY, FIRST, TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import post, served

from hydrarec import Recommender
from hydrarec.errors import InputError
from hydrarec.serve.catalog import indexing as indexing_module
from hydrarec.serve.catalog.indexed import IndexedRanking
from hydrarec.serve.catalog.indexing import Indexing, StoppedError, unless
from hydrarec.serve.catalog.ranking import Conditions, Ranking
from hydrarec.serve.engine import Engine
from hydrarec.serve.sample import sample_histories
from hydrarec.serve.stores.memory import MemoryStore

pytest.importorskip("faiss", reason="faiss (extra ann) is not installed")
V = 2_000
NONE = np.empty(0, np.int64)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A run of V items."""
    draw = np.random.default_rng(0)
    items = np.concatenate([np.arange(1, V + 1), draw.integers(1, V + 1, 4_000)])
    table = pa.table(
        {
            "user": np.arange(len(items)) % 100,
            "item": items,
            "time": FIRST + DAY * np.arange(len(items)),
            "domain": [("even", "odd")[item % 2] for item in items],
        }
    )
    how = {**TINY, "model.d_model": 16, "model.n_heads": 2}
    return Recommender.fit(table, out=tmp_path_factory.mktemp("many") / "run", settings=how, protocol="loo")


@pytest.fixture(scope="module")
def engine(many):
    engine = Engine(many, MemoryStore(), index="faiss")
    engine.reindex()
    assert isinstance(engine.items.view.ranking, IndexedRanking)
    return engine


@pytest.fixture(scope="module")
def hidden(engine):
    return engine._sampled[:8]


def exact_of(ranking):
    return Ranking(ranking.model, ranking.vectors, ranking.removed)


def fits(answers, asked, exact, hidden):
    """Each answer has as many items as exact search finds, none that is refused, and their exact scores in order."""
    every = exact.best(hidden, [replace(each, k=V) for each in asked])
    for (rows, scores), (all_rows, all_scores), each in zip(answers, every, asked, strict=True):
        assert len(rows) == len({*rows}) == min(each.k, len(all_rows))
        there = dict(zip(all_rows, all_scores, strict=True))
        assert scores == pytest.approx([there[row] for row in rows], abs=1e-4)
        assert scores == sorted(scores, reverse=True)


def rows(most=V, **how):
    return st.lists(st.integers(0, V - 1), max_size=most, **how).map(lambda found: np.unique(found).astype(np.int64))


def spread(step):
    return np.arange(0, V, step)


@given(st.data())
@settings(max_examples=40)
def test_whatever_is_asked_as_many_come_as_there_are(engine, hidden, data):
    ranking = engine.items.view.ranking
    ranking = ranking.changed(data.draw(rows(20)), data.draw(rows(50) | st.sampled_from([spread(2), spread(1)])))
    allowed = data.draw(st.none() | (rows(30, min_size=1) | st.sampled_from([spread(2), spread(3), spread(9)])))
    asked = [
        Conditions(
            k=data.draw(st.sampled_from([1, 7, 100, 1_000])),
            allowed=data.draw(st.sampled_from([None, None if allowed is None else torch.from_numpy(allowed)])),
            denied=data.draw(rows(40) | st.just(spread(2))),
        )
        for _ in range(len(hidden))
    ]
    fits(ranking.best(hidden, asked), asked, exact_of(ranking), hidden)


def test_the_best_come(engine, hidden):
    ranking, asked = engine.items.view.ranking, [Conditions(k=20, allowed=None, denied=NONE)] * len(hidden)
    assert ranking.recall >= indexing_module.FLOOR
    found, best = ranking.found(hidden, asked), exact_of(ranking).best(hidden, asked)
    assert np.mean([len({*a} & {*b}) / 20 for (a, _), (b, _) in zip(found, best, strict=True)]) > 0.9


def test_an_index_that_finds_nothing_costs_no_answer(engine, hidden, monkeypatch):
    ranking = engine.items.view.ranking
    monkeypatch.setattr(ranking.index, "search", lambda queries, n: torch.full((len(queries), n), -1))
    asked = [Conditions(k=k, allowed=None, denied=NONE) for k in range(1, len(hidden) + 1)]
    assert ranking.best(hidden, asked) == exact_of(ranking).best(hidden, asked)


def test_a_changed_item_is_ranked_as_it_is_now(many):
    engine = Engine(Recommender.load(many.run.path), MemoryStore(), index="faiss")
    engine.reindex()
    ranking, model, hidden = engine.items.view.ranking, engine.model, engine._sampled[:1]
    asked = [Conditions(k=3, allowed=None, denied=NONE)]
    ((before, _),) = ranking.best(hidden, asked)
    last = exact_of(ranking).best(hidden, [replace(asked[0], k=V)])[0][0][-1]
    with torch.no_grad():
        model.items.weight[last], model.items.weight[before[0]] = model.queries(hidden)[0], -model.queries(hidden)[0]
    after = ranking.changed(np.sort([last, before[0]]), NONE)
    assert after.best(hidden, asked)[0][0] == [last, *before[1:]]
    assert after.stale == 2
    gone = after.changed(NONE, np.array([last]))
    assert last not in gone.best(hidden, asked)[0][0]


def test_what_changes_while_an_index_is_built_is_beside_it(many, monkeypatch):
    engine = Engine(many, MemoryStore(), index="faiss")
    items, build = engine.items, Indexing.build

    def slow(self, ranking, go_on):
        built = build(self, ranking, go_on)
        assert items.remove("5")
        items._show(items.view.catalog.items, np.array([3, 8]), items.view.catalog.removed)
        return built

    monkeypatch.setattr(Indexing, "build", slow)
    engine.reindex()
    ranking = items.view.ranking
    assert (ranking.beside.tolist(), len(ranking.removed), ranking.stale) == ([3, 8], 1, 3)
    monkeypatch.setattr(indexing_module, "LEAST", 2)
    monkeypatch.setattr(indexing_module, "_STALE", V)
    monkeypatch.setattr(Indexing, "build", build)
    engine.reindex()
    ranking = items.view.ranking
    assert (ranking.beside.tolist(), ranking.stale, len(ranking.index)) == ([], 0, V - 1)
    (row,) = items.rows(["5"])
    items.put([("5", {})])
    back = items.view.ranking
    assert (back.beside.tolist(), back.stale) == ([row], 1)
    query, asked = back.vectors[row][None], [Conditions(k=1, allowed=None, denied=NONE)]
    assert back.found(query, asked)[0][0] == [row]
    assert items.remove("5")
    assert items.view.ranking.found(query, asked)[0][0] != [row]


def test_an_index_that_finds_too_little_is_not_used(many, monkeypatch, capsys):
    monkeypatch.setattr(indexing_module, "FLOOR", 1.1)
    engine = Engine(many, MemoryStore(), index="faiss")
    engine.reindex()
    engine.reindex()
    assert type(engine.items.view.ranking) is Ranking
    assert capsys.readouterr().err.count("every item is scored for every answer; an index finds too little") == 1


def test_which_catalogs_get_one(many, monkeypatch, capsys):
    ranking = Engine(many, MemoryStore()).items.view.ranking
    hidden = torch.empty(0, 16)
    due = {choice: Indexing(choice, V, lambda: hidden).due(ranking) for choice in ("auto", "exact", "faiss")}
    assert due == {"auto": False, "exact": False, "faiss": True}
    monkeypatch.setattr(indexing_module, "WORTH", V)
    assert Indexing("auto", V, lambda: hidden).due(ranking)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert not Indexing("auto", V, lambda: hidden).due(ranking)
    assert "pip install 'hydrarec[ann]'" in capsys.readouterr().err
    with pytest.raises(InputError, match="hydrarec"):
        Indexing("faiss", V, lambda: hidden)


def test_histories_to_measure_with(many, tmp_path):
    real = sample_histories(many, 50)
    known = {str(item) for item in range(1, V + 1)}
    shutil.copytree(many.run.path, tmp_path / "moved", ignore=shutil.ignore_patterns("dataset"))
    made_up = sample_histories(Recommender.load(tmp_path / "moved"), 50)
    for history in (*real, *made_up):
        assert {*history.items} <= known
        assert len(history.items) == len(history.times) > 0
        assert (np.diff(history.times) >= 0).all()
    assert len({len(history.items) for history in made_up}) > 5


def test_a_served_index_and_its_metrics(many):
    with served(many.run.path, "--index", "faiss") as server:
        client, deadline = server.client, time.monotonic() + 300
        while "hydrarec_index_recall" not in (metrics := client.get("/metrics").text):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        values = dict(line.split() for line in metrics.splitlines() if line.startswith("hydrarec_index"))
        assert float(values["hydrarec_index_recall"]) >= indexing_module.FLOOR
        assert float(values["hydrarec_index_stale"]) == 0
        post(client, *[("a", item, FIRST) for item in range(1, 21)])
        query = {"k": 50, "exclude_seen": "true", "domain": "even"}
        first = client.get("/users/a/recommendations", params=query).json()["recommendations"]
        gone = [each["item"] for each in first[:10]]
        for item in gone:
            assert client.delete(f"/items/{item}").status_code == 204
        found = client.get("/users/a/recommendations", params=query).json()["recommendations"]
        assert len(first) == len(found) == 50
        assert all(each["item"] % 2 == 0 and each["item"] > 20 for each in found)
        assert not {*gone} & {each["item"] for each in found}
        assert "hydrarec_index_stale 10.0" in client.get("/metrics").text
        code, said = server.end()
    assert code == 0
    assert "index of 2,000 items built in" in said


def after(n):
    """Gives up at the call after the first ``n``."""
    left = iter(range(n))

    def go_on():
        if next(left, None) is None:
            raise StoppedError("here")

    return go_on


def test_building_can_be_given_up(many):
    engine = Engine(many, MemoryStore(), index="faiss")
    for n in (0, 4, 10, 12, 17):  # while clusters are found, items are added, and answers are compared
        with pytest.raises(StoppedError):
            engine.reindex(after(n))
        assert type(engine.items.view.ranking) is Ranking
    engine.reindex(unless(Event()))
    assert isinstance(engine.items.view.ranking, IndexedRanking)


def test_nobody_waits_for_an_index_when_the_server_ends(many):
    with served(many.run.path, "--index", "faiss") as server:
        code, said = server.end()  # as soon as it listens
    assert code == 0
    assert "Traceback" not in said
