"""The contract of stores, on every one of them."""

import random
import shutil
import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import VERSION, event, random_events, step, told

from hydrarec.serve.stores.contract import Account, History, State, StoredItem
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore
from hydrarec.serve.stores.redis_store import RedisStore

KINDS = ("memory", "disk", "disk, batch", "redis")


@pytest.fixture
def opened(tmp_path, request):
    """A new store of a kind."""

    def open_(kind):
        if kind == "redis":
            server = request.getfixturevalue("redis_server")
            server.client().flushall()
            return RedisStore(server.url)
        durability = "batch" if "batch" in kind else "event"
        return MemoryStore() if kind == "memory" else DiskStore(tmp_path / "store", durability=durability)

    return open_


@pytest.fixture(params=KINDS)
def store(request, opened):
    with opened(request.param) as store:
        yield store


def test_events_of_many_users_in_order(store):
    assert store.append([event("a", "x", 1), event("b", "y", 2), event("a", "z", 3)], step) == [True] * 3
    a, b, nobody = store.accounts(["a", "b", "c"])
    assert (a.events, a.last, a.state) == (2, 3, State(version=VERSION, data=b"x@1;z@3;"))
    assert (b.events, b.last, b.state.data) == (1, 2, b"y@2;")
    assert nobody == Account()
    assert store.history("a").items == ["x", "z"]
    assert store.history("a").times.tolist() == [1, 3]
    assert store.history("c").items == store.latest("c", 9) == []
    assert store.latest("a", 9) == [("z", 3), ("x", 1)]
    assert store.latest("a", 1) == [("z", 3)]
    store.append([event("a", "x", 4)], step)
    assert store.accounts(["a"])[0].state.data == b"x@1;z@3;x@4;"
    assert sorted(store.seen("a")) == ["x", "z"]


def test_which_items_were_seen(store):
    some = ["x", "", "a\x00b", "ünï 🐍", "'\"\\", "%"]
    assert store.seen_among("a", some) == store.seen_among("a", []) == set()
    store.append([event("a", item, place) for place, item in enumerate([*some, "x", "x"])], step)
    store.append([event("b", "y", 1)], step)
    assert store.seen_among("a", []) == set()
    assert store.seen_among("a", ["y", *some, "x", "X", "a"]) == set(some) == set(store.seen("a"))
    assert store.seen_among("b", [*some, "y"]) == {"y"}
    assert store.seen_among("a", [str(number) for number in range(5_000)]) == set()


def test_an_id_counts_once_for_a_user(store):
    first = [event("a", "x", 1, "1"), event("a", "x", 1, "1"), event("b", "x", 1, "1"), event("a", "x", 1)]
    assert store.append(first, step) == [True, False, True, True]
    assert store.append(first, step) == [False, False, False, True]  # without an id it is always new
    assert store.append([event("a", "other", 99, "1")], step) == [False]
    assert [account.events for account in store.accounts(["a", "b"])] == [3, 1]
    assert store.accounts(["a"])[0].state.data == told(store, "a")


def test_a_late_event_counts_as_of_the_one_before(store):
    store.append([event("a", "x", 50), event("a", "late", 20), event("a", "y", 40)], step)
    store.append([event("a", "later", 10), event("a", "z", 60)], step)
    assert store.history("a").items == ["x", "late", "y", "later", "z"]
    assert store.history("a").times.tolist() == [50, 50, 50, 50, 60]
    assert store.accounts(["a"])[0].last == 60
    assert store.accounts(["a"])[0].state.data == told(store, "a")


def test_times_before_1970(store):
    store.append([event("a", "x", -50)], step)
    store.append([event("a", "y", -20)], step)
    assert store.history("a").times.tolist() == [-50, -20]
    assert store.accounts(["a"])[0].state.data == b"x@-50;y@-20;"


@pytest.mark.parametrize("text", ["", "\x00", "a\x00b", "ünïcödé 🐍", "%_' OR 1=1 --", "x" * 1000])
def test_ids_are_any_text(store, text):
    store.append([event(text, text, 1, text), event(text, text, 1, text), event(text + "2", "i", 1)], step)
    assert store.accounts([text])[0].events == 1
    assert store.history(text).items == [text]
    assert store.erase(text)
    assert store.accounts([text, text + "2"])[1].events == 1


def test_a_step_that_fails_changes_nothing(store):
    store.append([event("a", "x", 1, "1")], step)

    def broken(changes):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        store.append([event("a", "y", 2, "2"), event("b", "y", 2)], broken)
    assert [account.events for account in store.accounts(["a", "b"])] == [1, 0]
    assert store.append([event("a", "y", 2, "2")], step) == [True]


def test_no_state_and_a_state_made_later(store):
    store.append([event("a", "x", 1)], step)
    store.append([event("a", "y", 2)], lambda changes: [None])
    assert store.accounts(["a"])[0] == Account(events=2, last=2)
    made = State(version="v2", data=b"made")
    history = store.history("a")
    shorter = History(items=["x"], times=history.times[:1], owner=history.owner)
    store.keep([("a", shorter, made), ("nobody", store.history("nobody"), made)])
    assert store.accounts(["a"])[0].state is None
    store.keep([("nobody", store.history("nobody"), made), ("a", history, made)])
    assert store.accounts(["a", "nobody"]) == [Account(events=2, last=2, state=made), Account()]


def test_the_oldest_states_are_evicted(store):
    for user in "abcd":
        store.append([event(user, "x", 1)], step)
    store.append([event("a", "y", 1)], step)
    store.keep([("b", store.history("b"), State(version=VERSION, data=b"x@1;"))])
    assert store.evict(9) == 0
    assert store.evict(2) == 2
    kept = [account.state is not None for account in store.accounts(list("abcd"))]
    assert kept == [True, True, False, False]
    assert store.accounts(["c"])[0].events == 1
    store.append([event("c", "y", 2)], step)  # its state is to be made when needed
    assert store.history("c").items == ["x", "y"]
    assert store.evict(0) == 2


def test_states_of_two_versions(store):
    for user in "abc":
        store.append([event(user, "x", 1)], step)
    store.append([event("new", "x", 1)], lambda changes: [None])

    def outdated(version, most=99):
        found, after = [], 0
        while after is not None:
            users, after = store.outdated(version, after, most)
            found.append(users)
        return found

    assert outdated("v2") == [["a", "b", "c"], []]
    assert outdated("v2", 2) == [["a", "b"], ["c"], []]
    assert outdated("v2", 1) == [["a"], ["b"], ["c"], [], []]
    assert outdated(VERSION) == [[], []]
    made = {user: State(version="v2", data=f"v2 of {user}".encode()) for user in "abc"}
    store.keep([(user, store.history(user), state) for user, state in made.items()])
    assert outdated("v2") == outdated(VERSION) == [[], []]
    for user in "abc":
        assert store.accounts([user], "v2")[0].state == store.accounts([user])[0].state == made[user]
        assert store.accounts([user], VERSION)[0].state == State(version=VERSION, data=b"x@1;")
        assert store.accounts([user], "v3")[0] == Account(events=1, last=1)
    store.append([event("a", "y", 2)], step, VERSION)  # goes on from its own, and ends the other
    assert store.accounts(["a"], VERSION)[0].state.data == b"x@1;y@2;"
    assert store.accounts(["a"], "v2")[0].state is None
    store.append([event("b", "y", 2)], lambda changes: [None], VERSION)
    assert [store.accounts(["b"], version)[0].state for version in (VERSION, "v2")] == [None, None]
    assert outdated("v2") == [["a"], []]
    assert store.evict(1) == 1  # of the first version, where a's is the later one
    assert [store.accounts(["c"], version)[0].state is None for version in (VERSION, "v2")] == [True, False]
    assert store.drop_others("v2", 99) == 1
    assert store.drop_others("v2", 99) == 0
    assert store.accounts(["c"])[0].state == made["c"]
    store.erase("c")
    store.append([event("c", "x", 1)], lambda changes: [None])
    assert store.accounts(["c"], "v2")[0].state is None
    assert (store.drop_others("v3", 1), store.evict(0)) == (0, 0)


def test_an_erased_user_is_nobody(store):
    store.append([event("a", "x", 1, "1"), event("b", "x", 1, "1")], step)
    assert store.erase("a")
    assert not store.erase("a")
    assert store.scrub()
    assert store.accounts(["a"]) == [Account()]
    assert store.history("a").items == store.seen("a") == []
    assert store.seen_among("a", ["x"]) == set()
    assert store.append([event("a", "x", 1, "1"), event("b", "x", 1, "1")], step) == [True, False]
    assert store.accounts(["a"])[0].state.data == b"x@1;"


def test_a_state_of_an_erased_user_is_not_kept_for_the_next_of_that_name(store):
    store.append([event("a", "x", 1)], lambda changes: [None])
    before = store.history("a")
    store.erase("a")
    store.append([event("a", "y", 1)], lambda changes: [None])
    store.keep([("a", before, State(version=VERSION, data=b"of the erased"))])
    assert store.accounts(["a"])[0].state is None


def test_items(store):
    rose, tea = StoredItem(item="rose", fields={"title": "Rose", "x": None}), StoredItem(item="tea", removed=True)
    assert store.items() == []
    store.put_items([rose, tea])
    assert store.items() == [rose, tea]
    store.put_items([StoredItem(item="tea", fields={}, vector=b"\x00\x01", version="v1")])
    read = StoredItem(item="tea", fields={}, vector=b"\x00\x01", version="v1")
    assert store.items() == [rose, read]
    store.put_items([StoredItem(item="rose", removed=True), StoredItem(item="tea", fields={"a": "b"}, version="v2")])
    assert store.items() == [replace(rose, removed=True), replace(read, fields={"a": "b"})]


def test_changes_of_items_since(store):
    assert store.items_version() == 0
    store.put_items([StoredItem(item="rose"), StoredItem(item="tea")])
    first = store.items_version()
    assert store.items(first) == []
    assert store.put_items([StoredItem(item="tea", removed=True)], first)
    assert store.items_version() == first + 1
    assert store.items(first) == [StoredItem(item="tea", removed=True)]
    assert not store.put_items([StoredItem(item="rose", removed=True), StoredItem(item="new")], first)  # is outdated
    assert store.items() == [StoredItem(item="rose"), StoredItem(item="tea", removed=True)]
    assert (store.items_version(), store.items(first + 1)) == (first + 1, [])


def test_threads(store):
    def work(number):
        for k in range(10):
            store.append([event("shared", f"{number}-{k}", k, f"{number}-{k}"), event(f"own-{number}", "x", k)], step)
            store.accounts(["shared"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared = store.accounts(["shared"])[0]
    assert (shared.events, shared.state.data) == (40, told(store, "shared"))
    assert [account.events for account in store.accounts([f"own-{number}" for number in range(4)])] == [10] * 4


@pytest.mark.parametrize("kind", ["disk", "redis"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stores_agree(opened, tmp_path, kind, seed):
    draw = random.Random(seed)
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    users = [f"user-{n}" for n in range(5)]
    with MemoryStore() as memory, opened(kind) as disk:
        for _ in range(8):
            events = random_events(draw, draw.choice([1, 5, 20]))
            assert memory.append(events, step) == disk.append(events, step)
            if draw.random() < 0.3:
                user = draw.choice(users)
                assert memory.erase(user) == disk.erase(user)
            if draw.random() < 0.2:
                most = draw.randrange(5)
                assert memory.evict(most) == disk.evict(most)
            assert memory.accounts(users) == disk.accounts(users)
        for user in users:
            assert memory.history(user).items == disk.history(user).items
            assert memory.history(user).times.tolist() == disk.history(user).times.tolist()
