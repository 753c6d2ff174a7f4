"""The engine answers as ``Recommender.recommend`` does from the same histories."""

import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from events import DAY, FIRST, ITEMS
from stores import event

from hydrarec import InputError, Recommender
from hydrarec.serve.catalog.catalog import Catalog
from hydrarec.serve.engine import Engine, Request
from hydrarec.serve.stores.contract import History, StoreError
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore
from hydrarec.serve.version import version_of

LATER = FIRST + 50 * DAY


def random_histories(users, seed=0, most=15):
    """User -> [(item, time), ...], oldest first."""
    draw = random.Random(seed)
    histories = {}
    for user in range(users):
        times = sorted(FIRST + draw.randrange(40 * DAY) for _ in range(draw.randrange(1, most)))
        histories[f"u{user}"] = [(draw.randrange(1, ITEMS + 1), time) for time in times]
    return histories


def as_events(histories, ids=True):
    return [
        event(user, str(item), time, f"{place}" if ids else None)
        for user, each in histories.items()
        for place, (item, time) in enumerate(each)
    ]


def expected(recommender, histories, **how):
    """User -> (items, scores) by ``recommend``."""
    items = {user: [item for item, _ in each] for user, each in histories.items()}
    times = {user: [time for _, time in each] for user, each in histories.items()}
    answer = recommender.recommend(items, times=times, **how).to_pylist()
    found = {user: ([], []) for user in histories}
    for row in answer:
        found[row["user"]][0].append(row["item"])
        found[row["user"]][1].append(row["score"])
    return found


def check(answers, expected):
    for answer, (items, scores) in zip(answers, expected.values(), strict=True):
        assert answer.items == items
        np.testing.assert_allclose(answer.scores, scores, rtol=1e-4, atol=1e-4)


@pytest.fixture
def engine(recommender):
    return Engine(recommender, MemoryStore())


def test_the_ranks_are_those_of_the_recommender(recommender, engine):
    histories = random_histories(40)
    events = as_events(histories)
    draw = random.Random(1)
    while events:  # in batches of any size, some of them twice
        size = draw.choice([1, 5, 60])
        assert all(engine.apply(events[:size]))
        assert not any(engine.apply(events[:size]))
        events = events[size:]
    for how in ({}, {"exclude_seen": True}, {"k": ITEMS}, {"at": LATER + 9 * DAY}):
        requests = [Request(user=user, **{"at": LATER, **how}) for user in histories]
        answers = engine.answer(requests)
        check(answers, expected(recommender, histories, **{"at": LATER, "k": 10, **how}))
        assert [answer.events for answer in answers] == [len(each) for each in histories.values()]


def test_a_history_in_the_request_is_answered_as_a_user_is(recommender, engine):
    histories = random_histories(12, seed=2)
    engine.apply(as_events(histories))
    told = [
        History(items=[str(item) for item, _ in each], times=np.array([time for _, time in each]))
        for each in histories.values()
    ]
    requests = [Request(history=each, at=LATER, exclude_seen=n % 2 == 0) for n, each in enumerate(told)]
    users = [Request(user=user, at=LATER, exclude_seen=n % 2 == 0) for n, user in enumerate(histories)]
    mixed = engine.answer([each for pair in zip(requests, users, strict=True) for each in pair])
    for one, other in zip(mixed[::2], mixed[1::2], strict=True):
        assert one.items == other.items
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-4)
    check(mixed[2::4], {u: v for n, (u, v) in enumerate(expected(recommender, histories, at=LATER).items()) if n % 2})


def test_a_history_in_the_request_is_cut_as_in_training(trained, tmp_path):
    settings = {"model.d_model": 8, "model.n_layers": 1, "model.n_heads": 2, "train.epochs": 1, "train.max_len": 5}
    short = Recommender.fit(trained["plain"].dataset, out=tmp_path / "run", settings=settings)
    history = random_histories(1, seed=3, most=60)["u0"]
    assert len(history) > 5
    told = History(items=[str(item) for item, _ in history], times=np.array([time for _, time in history]))
    answer = Engine(short, MemoryStore()).answer([Request(history=told, exclude_seen=True)])
    check(answer, expected(short, {"u0": history}, exclude_seen=True))
    assert answer[0].events == len(history)


def test_each_request_has_its_own_conditions(recommender, engine):
    histories = random_histories(4, seed=4)
    engine.apply(as_events(histories))
    everything = engine.answer([Request(user="u0", k=ITEMS, at=LATER)])[0]
    score = dict(zip(everything.items, everything.scores, strict=True))
    catalog = engine.catalog
    even = catalog.allowed(domain="even")
    requests = [
        Request(user="u0", k=3, at=LATER),
        Request(user="u0", k=ITEMS, at=LATER, allowed=even),
        Request(user="u1", k=2, at=LATER, allowed=even),
        Request(user="u0", at=LATER, allowed=catalog.allowed(candidates=["7", "4", "nothing"])),
        Request(user="u0", k=ITEMS, at=LATER, excluded=("3", "nothing")),
        Request(user="u0", k=10**9, at=LATER, allowed=catalog.allowed(domain="even", candidates=["4", "7"])),
        Request(user="u0", at=LATER, excluded=tuple(str(item) for item in range(ITEMS + 1))),
        Request(user="u0", k=ITEMS, at=LATER, allowed=catalog.allowed(where=(("domain", "odd"),))),
    ]
    first, evens, others, candidates, without, both, nothing, odd = engine.answer(requests)
    assert first.items == everything.items[:3]
    assert evens.items == [item for item in everything.items if item % 2 == 0]
    assert len(others.items) == 2
    assert all(item % 2 == 0 for item in others.items)
    assert candidates.items == sorted([7, 4], key=lambda item: -score[item])
    assert without.items == [item for item in everything.items if item != 3]
    assert both.items == [4]
    assert nothing.items == []
    assert odd.items == [item for item in everything.items if item % 2]
    np.testing.assert_allclose(evens.scores, [score[item] for item in evens.items], rtol=1e-5, atol=1e-5)
    check([evens], expected(recommender, {"u0": histories["u0"]}, k=ITEMS, at=LATER, domain="even"))


def test_the_time_of_the_request_matters_to_a_model_that_reads_it(trained):
    for name, differs in (("plain", False), ("time", True)):
        engine = Engine(trained[name], MemoryStore())
        engine.apply(as_events(random_histories(1)))
        last = engine.store.accounts(["u0"])[0].last
        early, now, later = (engine.answer([Request(user="u0", at=at)])[0].scores for at in (5, last, last + 90 * DAY))
        assert early == now == engine.answer([Request(user="u0")])[0].scores
        assert (later != now) == differs


def test_late_events_and_unknown_items(recommender, engine):
    told = [("3", 100), ("not an item", 150), ("5", 50), ("7", 200)]
    engine.apply([event("a", item, FIRST + time) for item, time in told[:2]])
    engine.apply([event("a", item, FIRST + time) for item, time in told[2:]])
    as_applied = [(3, FIRST + 100), (5, FIRST + 150), (7, FIRST + 200)]
    check(engine.answer([Request(user="a", at=LATER)]), expected(recommender, {"a": as_applied}, at=LATER))
    assert engine.answer([Request(user="a")])[0].events == 4


def test_users_about_whom_nothing_is_known(engine):
    engine.apply([event("strange", "not an item", FIRST), event("a", "3", FIRST)])
    nobody, strange, a, told = engine.answer(
        [
            Request(user="nobody"),
            Request(user="strange"),
            Request(user="a"),
            Request(history=History(items=["not an item"], times=np.array([FIRST]))),
        ]
    )
    assert (nobody.events, nobody.items) == (0, [])
    assert (strange.events, strange.items) == (1, [])
    assert (told.events, told.items) == (1, [])
    assert len(a.items) == 10
    assert engine.answer([]) == []
    engine.apply([event("strange", "3", FIRST)])
    assert engine.answer([Request(user="strange")])[0].items == a.items


FAULTS = {
    "evicted": lambda state: None,
    "of another model": lambda state: replace(state, version="other"),
    "damaged": lambda state: replace(state, data=b"?" + state.data[1:]),
    "cut": lambda state: replace(state, data=state.data[:-7]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_state_that_cannot_be_used_is_made_again(engine, fault):
    histories = random_histories(6, seed=5)
    engine.apply(as_events(histories))
    requests = [Request(user=user, at=LATER) for user in [*histories, "u2"]]
    before = engine.answer(requests)
    states = {user: engine.store.accounts([user])[0].state for user in histories}
    assert engine.store.evict(0) == 6
    bad = {user: FAULTS[fault](states[user]) for user in ("u0", "u2", "u3")}
    kept = {user: bad.get(user, state) for user, state in states.items()}
    engine.store.keep([(user, engine.store.history(user), state) for user, state in kept.items() if state])
    for _ in range(2):
        for one, other in zip(engine.answer(requests), before, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-4)
            assert sorted(one.items) == sorted(other.items)
    for user, state in states.items():
        stored = engine.store.accounts([user])[0].state
        assert (stored.version, len(stored.data)) == (state.version, len(state.data))
        assert user in bad or stored == state


def test_where_nothing_can_be_written_answers_go_on(recommender):
    class Full(MemoryStore):
        def keep(self, made):
            raise StoreError("the disk is full")

    engine = Engine(recommender, Full())
    engine.apply([event("a", "3", FIRST)])
    before = engine.answer([Request(user="a")])[0].items
    engine.store.evict(0)
    assert engine.answer([Request(user="a")])[0].items == before
    assert engine.store.accounts(["a"])[0].state is None


def test_an_event_upon_a_lost_state_waits_for_a_request(recommender, engine):
    histories = random_histories(1, seed=6, most=9)
    engine.apply(as_events(histories))
    engine.store.evict(0)
    engine.apply([event("u0", "4", LATER)])
    engine.apply([event("u0", "5", LATER), event("new", "4", LATER)])
    assert [account.state is None for account in engine.store.accounts(["u0", "new"])] == [True, False]
    answer = engine.answer([Request(user="u0", at=LATER)])[0]
    assert answer.events == len(histories["u0"]) + 2
    assert engine.store.accounts(["u0"])[0].state is not None
    other = Engine(recommender, MemoryStore())
    other.apply([*as_events(histories), event("u0", "4", LATER), event("u0", "5", LATER)])
    np.testing.assert_allclose(
        other.answer([Request(user="u0", at=LATER)])[0].scores, answer.scores, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_states_are_the_same_bits_however_events_were_gathered(recommender, tmp_path, precision):
    histories = random_histories(40, seed=7)
    events = as_events(histories)
    random.Random(3).shuffle(events)
    with DiskStore(tmp_path) as disk, MemoryStore() as memory:
        whole, alone = (Engine(recommender, store, precision=precision) for store in (disk, memory))
        for place in range(0, len(events), 100):
            whole.apply(events[place : place + 100])
        for each in events:
            alone.apply([each])
        assert disk.accounts(list(histories)) == memory.accounts(list(histories))


def test_half_precision_is_near(recommender):
    histories = random_histories(20, seed=8)
    engines = [Engine(recommender, MemoryStore(), precision=precision) for precision in ("float32", "float16")]
    for engine in engines:
        engine.apply(as_events(histories))
    requests = [Request(user=user, k=ITEMS, at=LATER) for user in histories]
    for one, other in zip(*(engine.answer(requests) for engine in engines), strict=True):
        there = dict(zip(other.items, other.scores, strict=True))
        assert [there[item] for item in one.items] == pytest.approx(one.scores, abs=0.1)  # cosines / 0.05
    sizes = [len(engine.store.accounts(["u0"])[0].state.data) for engine in engines]
    assert sizes[1] < 0.65 * sizes[0]


def test_warming_up_changes_nothing(recommender):
    engines = [Engine(recommender, MemoryStore()) for _ in range(2)]
    engines[0].warm_up()
    for engine in engines:
        engine.apply([event("a", "3", FIRST), event("a", "4", FIRST + 1)])
    accounts = [engine.store.accounts(["a", "b"]) for engine in engines]
    assert accounts[0] == accounts[1]


def test_the_limit_of_states(recommender):
    engine = Engine(recommender, MemoryStore(), state_limit=3)
    for user in "abcde":
        engine.apply([event(user, "3", FIRST)])
    assert engine.tidy()
    assert [account.state is not None for account in engine.store.accounts(list("abcde"))] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert engine.answer([Request(user="a")])[0].items == engine.answer([Request(user="e")])[0].items


def test_erasure(engine):
    engine.apply([event("a", "3", FIRST, "1"), event("b", "4", FIRST, "1")])
    before = engine.answer([Request(user="a"), Request(user="b")])
    assert engine.erase("a")
    assert not engine.erase("a")
    assert engine.tidy()
    a, b = engine.answer([Request(user="a"), Request(user="b")])
    assert (a.events, a.items, b.events, b.items) == (0, [], 1, before[1].items)


def test_versions_tell_models_apart(trained, tmp_path):
    names = {version_of(run.run, precision) for run in trained.values() for precision in ("float32", "float16")}
    assert len(names) == 8
    trained["plain"].save(tmp_path / "copy")
    copy = Recommender.load(tmp_path / "copy")
    assert version_of(copy.run, "float32") == version_of(trained["plain"].run, "float32")
    with DiskStore(tmp_path / "store") as store:
        Engine(trained["plain"], store).apply([event("a", "3", FIRST)])
        made = store.accounts(["a"])[0].state
        other = Engine(trained["time"], store)
        fresh = Engine(trained["time"], MemoryStore())
        fresh.apply([event("a", "3", FIRST)])
        assert other.answer([Request(user="a")]) == fresh.answer([Request(user="a")])
        assert store.accounts(["a"], other.version)[0].state == fresh.store.accounts(["a"])[0].state
        assert store.accounts(["a"], Engine(copy, store).version)[0].state == made


def test_only_models_with_a_state(trained):
    with pytest.raises(InputError, match="model markov keeps no state of a user; only hydra can be served"):
        Engine(trained["markov"], MemoryStore())


def test_a_column_may_list_several_values():
    genres = ["Comedy", "Crime|Comedy", "Comedy of errors", None, "comedy", "Crime|Comedy|Drama", ""]
    catalog = Catalog(pa.table({"item": range(7), "events": [0] * 7, "genres": genres}))

    def found(*values):
        return catalog.allowed(where=tuple(("genres", value) for value in values)).tolist()

    assert found("Comedy") == [0, 1, 5]
    assert found("Crime", "Comedy") == [1, 5]
    assert found("Crime|Comedy") == [1]
    assert found("") == [6]
    with pytest.raises(InputError, match="no item has 'Com' in column 'genres'"):
        found("Com")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"domain": "evn"}, "there is no domain 'evn'; did you mean 'even'"),
        ({"where": (("colour", "red"),)}, "items have no column 'colour'; there are item"),
        ({"where": (("domain", "red"),)}, "no item has 'red' in column 'domain'"),
        ({"candidates": ["x"]}, "the model knows none of the candidates"),
        ({"candidates": ["3"], "domain": "even"}, "or none that the filters allow"),
        ({"where": (("domain", "odd"),), "domain": "even"}, "none of the candidates belongs to domain 'even'"),
    ],
)
def test_filters_that_leave_nothing(engine, how, message):
    with pytest.raises(InputError, match=message):
        engine.catalog.allowed(**how)
    assert engine.catalog.allowed() is None


def test_an_item_that_goes_leaves_the_laid_out_catalog_as_it_is(engine):
    before = engine.items.view.ranking
    assert engine.items.remove("1")
    after = engine.items.view.ranking
    assert after is not before
    assert after.products is before.products
