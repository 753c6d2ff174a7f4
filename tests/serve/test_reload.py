"""Another model takes over while clients ask: no answer is of both, none is refused."""

import gc
import random
import signal
import threading
import time
import weakref

import httpx
import numpy as np
import pytest
from events import DAY, FIRST, ITEMS
from fastapi.testclient import TestClient
from serving import post, problem, served
from stores import event

from hydrarec import InputError, Recommender
from hydrarec.serve.engine import Engine
from hydrarec.serve.http.app import make_app
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.states import UserStates
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore

AT = FIRST + 60 * DAY


@pytest.fixture(scope="module")
def other(trained, tmp_path_factory):
    """The settings of the run ``time``, learned otherwise."""
    settings = trained["time"].run.settings.to_dict()
    return Recommender.fit(
        trained["time"].dataset,
        out=tmp_path_factory.mktemp("other") / "run",
        settings={"model": settings["model"], "train": {**settings["train"], "epochs": 4}},
        seed=9,
    )


def scores(recommender, history):
    """item -> score, by ``recommend``."""
    items, times = [[item for item, _ in history]], [[moment for _, moment in history]]
    found = recommender.recommend(items, times=times, at=AT, k=ITEMS).to_pylist()
    return {row["item"]: row["score"] for row in found}


def scores_of(answer):
    assert answer.status_code == 200, answer.text
    return {each["item"]: each["score"] for each in answer.json()["recommendations"]}


def wait(client, *doing, seconds=60):
    deadline = time.monotonic() + seconds
    while (status := client.get("/admin/reload").json())["doing"] not in doing:
        assert time.monotonic() < deadline, status
        time.sleep(0.01)
    return status


def wait_for_reloads(client, number):
    """Until so many are done: what a reload does may be over before anyone has asked for it."""
    deadline = time.monotonic() + 60
    while f'hydrarec_reloads_total{{was="done"}} {number}.0' not in client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Shop:
    """A service in this process; what ``opens`` is or makes takes over at a reload."""

    def __init__(self, recommender, store):
        self.store = store
        self.opens = None
        self.app = make_app(Engine(recommender, store), Guard("127.0.0.1", []), reopen=lambda run: self.opens())

    @property
    def engine(self):
        return self.app.state.service.engine

    def client(self):
        return TestClient(self.app, base_url="http://localhost")


def test_the_old_answer_is_served_until_the_states_are_made(trained, other, monkeypatch):
    users = [f"u{n}" for n in range(70)]
    shop = Shop(trained["time"], MemoryStore())
    shop.engine.apply([event(user, "3", FIRST) for user in users])
    old, new = (scores(each, [(3, FIRST)]) for each in (trained["time"], other))
    assert old != pytest.approx(new, abs=1e-2)
    path = f"/users/u1/recommendations?k={ITEMS}&at={AT}"
    going, go, of = threading.Event(), threading.Event(), UserStates.of

    def held(self, asked):
        if len(asked) > 1:  # those of the background
            going.set()
            assert go.wait(60)
        return of(self, asked)

    monkeypatch.setattr(UserStates, "of", held)
    shop.opens = lambda: Engine(other, shop.store)
    with shop.client() as client:
        before = shop.engine
        assert client.post("/admin/reload").status_code == 202
        assert going.wait(60)
        assert problem(client.post("/admin/reload"), 409) == "a reload is under way"
        assert client.get("/admin/reload").json()["doing"] == "making states"
        assert scores_of(client.get(path)) == pytest.approx(old, abs=1e-4)
        post(client, ("u2", 4, FIRST + 1))  # goes on with the old one
        assert shop.store.accounts(["u2"], before.version)[0].state is not None
        assert client.delete("/users/u3").status_code == 204
        go.set()
        status = wait(client, "serving")
        assert status["made"] >= 69
        assert shop.engine is not before
        made = shop.engine.states.made
        assert scores_of(client.get(path)) == pytest.approx(new, abs=1e-4)
        two = [(3, FIRST), (4, FIRST + 1)]
        assert scores_of(client.get(path.replace("u1", "u2"))) == pytest.approx(scores(other, two), abs=1e-4)
        assert client.get(path.replace("u1", "u3")).status_code == 404
        assert shop.engine.states.made == made  # all were there
        deadline = time.monotonic() + 60
        while any(account.state for account in shop.store.accounts(users, before.version)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert all(account.state for account in shop.store.accounts(set(users) - {"u3"}))
        found = client.get("/metrics").text
        assert 'hydrarec_reloads_total{was="done"} 1.0' in found
        assert f'hydrarec_model_info{{version="{shop.engine.version}"}} 1.0' in found


def test_items_that_come_and_go_meanwhile_are_not_lost(readers):
    text, lora = (Recommender.load(readers[name].run.path) for name in ("text", "lora"))
    shop = Shop(text, MemoryStore())
    with shop.client() as client:

        def opens():
            engine = Engine(lora, shop.store)
            new = {"items": [{"item": 300, "title": "Rose hip"}]}
            assert client.post("/items", json=new).json()["added"] == 1
            assert client.delete("/items/5").status_code == 204
            assert client.post("/items", json={"items": [{"item": 7}]}).json()["changed"] == 1
            return engine

        assert client.delete("/items/7").status_code == 204
        shop.opens = opens
        post(client, ("a", 3, FIRST))
        assert client.post("/admin/reload").status_code == 202
        wait(client, "serving")
        found = scores_of(client.get(f"/users/a/recommendations?k=99&at={AT}"))
        assert set(found) == {*range(1, ITEMS + 1), 300} - {5}
        assert client.get("/items?query=rose hip").json()["items"][0]["item"] == 300


@pytest.mark.parametrize("error", [InputError("run is not a run folder"), RuntimeError("no memory")])
def test_a_reload_that_fails_leaves_the_old_model(trained, other, error, capsys):
    shop = Shop(trained["time"], MemoryStore())

    def opens():
        raise error

    shop.opens = opens
    with shop.client() as client:
        post(client, ("a", 3, FIRST))
        before = scores_of(client.get(f"/users/a/recommendations?at={AT}"))
        assert client.post("/admin/reload").status_code == 202
        assert str(error) in wait(client, "failed")["error"]
        assert scores_of(client.get(f"/users/a/recommendations?at={AT}")) == before
        assert 'hydrarec_reloads_total{was="failed"} 1.0' in client.get("/metrics").text
        shop.opens = lambda: Engine(other, shop.store)
        assert client.post("/admin/reload").status_code == 202
        wait(client, "serving")
        assert scores_of(client.get(f"/users/a/recommendations?at={AT}")) != before
    assert "the reload failed, the old model answers" in capsys.readouterr().err.replace("\n", " ")


def test_a_reload_follows_one_whose_states_could_not_be_made(trained, other, monkeypatch, capsys):
    shop, of = Shop(trained["time"], MemoryStore()), UserStates.of

    def fails(states, *asked):
        if fail and threading.current_thread().name.startswith("reload"):
            raise InputError("the language model is gone")
        return of(states, *asked)

    fail = True
    shop.engine.apply([event("a", "3", FIRST)])
    monkeypatch.setattr(UserStates, "of", fails)
    shop.opens = lambda: Engine(other, shop.store)
    monkeypatch.setattr(shop.store, "outdated", lambda version, after, most: (["a"], None))
    with shop.client() as client:
        fail = True
        while "is gone" not in (said := capsys.readouterr().err.replace("\n", " ")):
            time.sleep(0.01)
        assert "states of another model stay as they are" in said
        fail = False
        assert client.post("/admin/reload").status_code == 202
        wait(client, "serving")
        assert client.post("/admin/reload").status_code == 202
        wait(client, "serving")


def test_states_of_another_model_are_made_when_a_server_starts(trained, other, tmp_path, monkeypatch):
    monkeypatch.setattr("hydrarec.serve.stores.disk._PATIENCE", 60.0)  # one that could not be kept would be made again
    users = [f"u{n}" for n in range(40)]
    with DiskStore(tmp_path) as store:
        old = Engine(trained["time"], store)
        old.apply([event(user, "3", FIRST) for user in users])
        shop = Shop(other, store)
        with shop.client():
            deadline = time.monotonic() + 60
            while any(account.state for account in store.accounts(users, old.version)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert all(account.state for account in store.accounts(users, shop.engine.version))
        assert shop.engine.states.made == 40


def test_the_end_of_a_server_does_not_wait_for_states(trained, other, monkeypatch):
    shop = Shop(trained["time"], MemoryStore())
    shop.engine.apply([event(f"u{n}", "3", FIRST) for n in range(70)])
    shop.opens = lambda: Engine(other, shop.store)
    going = threading.Event()

    def slow(self, *arguments):
        going.set()
        return made_again(self, *arguments)

    made_again = UserStates._made_again
    monkeypatch.setattr(UserStates, "_made_again", slow)
    monkeypatch.setattr("hydrarec.serve.reload._SHARE", 10**9)  # the pause after the first ones never ends by itself
    with shop.client() as client:
        assert client.post("/admin/reload").status_code == 202
        assert going.wait(60)
    assert shop.engine.version != Engine(other, shop.store).version


def test_models_that_change_under_concurrent_clients(trained, other, tmp_path):
    """A real server, many reloads by signal and by request; every answer is one model's alone, and none is refused."""
    runs = [trained["time"], other]
    link = tmp_path / "run"
    link.symlink_to(runs[0].run.path.resolve())

    def point_to(run):
        (tmp_path / "next").symlink_to(run.run.path.resolve())
        (tmp_path / "next").replace(link)

    seen, done = [], threading.Event()

    def click(user, url):
        draw, history = random.Random(user), []
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                item, moment = draw.randrange(1, ITEMS + 1), FIRST + 60 * len(history)
                answer = post(client, (user, item, moment, len(history)))
                assert answer.status_code == 200, answer.text
                history.append((item, moment))
                answer = client.get(f"/users/{user}/recommendations", params={"k": ITEMS, "at": AT})
                assert answer.json()["events"] == len(history)
                seen.append((list(history), scores_of(answer)))
        finished.append(user)

    users, finished, chosen = [f"u{n}" for n in range(4)], [], []
    with served(link, "--state", tmp_path / "store") as server:
        post(server.client, *[(f"quiet-{n}", 3, FIRST) for n in range(300)])
        threads = [threading.Thread(target=click, args=(user, server.url), daemon=True) for user in users]
        for thread in threads:
            thread.start()
        for number in range(3):
            point_to(runs[(number + 1) % 2])
            if number % 2:
                server.process.send_signal(signal.SIGHUP)
            else:
                assert server.client.post("/admin/reload").status_code == 202
            wait_for_reloads(server.client, number + 1)
            status = wait(server.client, "serving")
            assert number or status["made"] >= 300  # those of the first may still be there when it comes again
            so_far = len(seen)
            while len(seen) < so_far + 8 and any(thread.is_alive() for thread in threads):
                time.sleep(0.01)
            chosen += seen[so_far : so_far + 8]  # half of them, and more, were asked for by now
        done.set()
        for thread in threads:
            thread.join()
        code, said = server.end()
    print(said)
    assert code == 0
    assert said.count(" answers") == 3
    assert sorted(finished) == users
    by = [0, 0]
    for history, found in [*chosen, *random.Random(0).sample(seen, min(len(seen), 50))]:
        fits = [found == pytest.approx(scores(run, history), abs=1e-3) for run in runs]
        assert sum(fits) == 1
        by[int(np.argmax(fits))] += 1
    assert min(by) > 0


def test_models_that_gave_way_leave_memory(trained):
    """Though they hold themselves: Python is told to look for them."""
    shop = Shop(trained["plain"], MemoryStore())
    shop.opens = lambda: Engine(Recommender.load(trained["plain"].run.path), shop.store)
    gone = []
    gc.disable()
    try:
        with shop.client() as client:
            for _ in range(3):
                gone.append(weakref.ref(shop.engine.model.encoder))
                assert client.post("/admin/reload").status_code == 202
                wait(client, "serving")
            gone = gone[1:]  # the first is the fixture's
            deadline = time.monotonic() + 60
            while any(model() is not None for model in gone):
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        gc.enable()


def test_a_catalog_that_gave_way_leaves_memory(trained):
    engine = Engine(trained["plain"], MemoryStore())
    engine.catalog.allowed(domain="odd")
    old = weakref.ref(engine.catalog)
    gc.disable()
    try:
        assert engine.items.remove("3")
        assert old() is None
        assert 3 not in {engine.catalog.ids[row] for row in engine.catalog.allowed(domain="odd").tolist()}
    finally:
        gc.enable()
