"""What users have seen is left out of their answers, and long histories are not read for it."""

import pytest
from events import FIRST, ITEMS
from test_engine import LATER, as_events, check, expected, random_histories

from hydrarec.serve.catalog import unseen
from hydrarec.serve.engine import Engine, Request
from hydrarec.serve.stores.memory import MemoryStore


@pytest.fixture
def engine(recommender):
    return Engine(recommender, MemoryStore())


@pytest.mark.parametrize("k", [1, 5, ITEMS])
@pytest.mark.parametrize(
    ("short", "more", "most"), [(0, 1, 4), (0, 2, 1_000), (8, 3, 50), (0, 1, 0), (1_000, 64, 4_096)]
)
def test_answers_are_those_of_the_recommender(recommender, engine, monkeypatch, k, short, more, most):
    for name, value in {"_SHORT": short, "_MORE": more, "_MOST": most}.items():
        monkeypatch.setattr(unseen, name, value)
    histories = random_histories(30, most=40)
    engine.apply(as_events(histories))
    answers = engine.answer([Request(user=user, k=k, at=LATER, exclude_seen=True) for user in histories])
    check(answers, expected(recommender, histories, k=k, at=LATER, exclude_seen=True))


def test_beside_other_conditions(recommender, engine, monkeypatch):
    monkeypatch.setattr(unseen, "_SHORT", 0)
    monkeypatch.setattr(unseen, "_MORE", 1)
    history = {"u0": [(item, FIRST + item) for item in range(1, 5)]}
    engine.apply(as_events(history))
    everything = expected(recommender, history, k=ITEMS, at=LATER)["u0"][0]
    seen = {item for item, _ in history["u0"]}
    left = [item for item in everything if item not in seen]
    allowed = engine.catalog.allowed(candidates=[str(item) for item in everything[::2]])
    asked = [
        Request(user="u0", k=3, at=LATER, exclude_seen=True, excluded=(str(left[0]),)),
        Request(user="u0", k=3, at=LATER, exclude_seen=True, allowed=allowed),
        Request(user="u0", k=3, at=LATER),
    ]
    wanted = [left[1:4], [item for item in everything[::2] if item not in seen][:3], everything[:3]]
    assert [answer.items for answer in engine.answer(asked)] == wanted


def test_a_long_history_is_not_read(engine, monkeypatch):
    monkeypatch.setattr(unseen, "_SHORT", 3)
    engine.apply(as_events({"long": [(1 + n % 5, n) for n in range(9)], "short": [(1, 1)]}))

    def refuse(user):
        raise AssertionError

    monkeypatch.setattr(engine.store, "history", refuse)
    monkeypatch.setattr(engine.store, "seen", refuse)
    (answer,) = engine.answer([Request(user="long", k=5, at=LATER, exclude_seen=True)])
    assert len(answer.items) == 5
    assert not {1, 2, 3, 4, 5} & set(answer.items)
    with pytest.raises(AssertionError):
        engine.answer([Request(user="short", k=5, at=LATER, exclude_seen=True)])
