"""Workers that reload as one, two of them in this process: who is late, who fails, who is gone."""

import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
from fastapi.testclient import TestClient
from serving import problem

from hydrarec import InputError, Recommender
from hydrarec.serve.engine import Engine
from hydrarec.serve.http.app import make_app
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.stores.memory import MemoryStore
from hydrarec.serve.workers.peers import Edition, Peers


@pytest.fixture
def house(trained, monkeypatch):
    """Two workers' apps by number, not started, that serve ``house.link``; ``house.broken`` cannot open anything."""
    monkeypatch.setattr("hydrarec.serve.workers.peers.SECONDS", 20.0)  # who is slow here is not gone
    with tempfile.TemporaryDirectory(prefix="hydra") as place, ExitStack() as stack:
        yield House(Path(place), trained, stack)


class House:
    def __init__(self, place, trained, stack):
        self.runs = [trained[name].run.path.resolve() for name in ("plain", "time")]
        self.place, self.stack, self.store, self.broken = place, stack, MemoryStore(), set()
        self.link, self.may_open = place / "link", Event()
        self.may_open.set()
        self.point_to(0)
        self.peers().edition = self.first = Edition.now(self.runs[0])

    def peers(self, number=-1):
        return Peers(self.place, number, 2)

    def point_to(self, number):
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(self.runs[number])

    def worker(self, number, late=False):
        """A client of a worker. One that is ``late`` has opened what was served at first."""

        def opens(path):
            assert self.may_open.wait(60)
            if number in self.broken:
                raise InputError("no memory here")
            engine = Engine(Recommender.load(path.resolve()), self.store)
            engine.opened = path
            return engine

        peers = self.peers(number)
        peers.serves = self.first if late else peers.edition
        app = make_app(opens(peers.serves.run), Guard("127.0.0.1", []), reopen=opens, run=self.link, peers=peers)
        client = self.stack.enter_context(TestClient(app, base_url="http://localhost"))
        client.engine = lambda: app.state.service.engine
        client.serves = lambda: client.engine().opened
        return client


def wait_for(happens):
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait(client, doing):
    wait_for(lambda: client.get("/admin/reload").json()["doing"] == doing)
    return client.get("/admin/reload").json()


def test_both_take_over(house):
    one, other = house.worker(0), house.worker(1)
    house.point_to(1)
    house.may_open.clear()
    assert one.post("/admin/reload").status_code == 202
    problem(other.post("/admin/reload"), 409)
    house.may_open.set()
    wait(other, "serving")
    assert one.serves() == other.serves() == house.peers().edition.run == house.runs[1]


def test_the_same_folder_is_opened_anew(house):
    """What was learned is the same, and so is the version; there may be other items in it."""
    one, other = house.worker(0), house.worker(1)
    before = one.engine(), other.engine()
    assert one.post("/admin/reload").status_code == 202
    wait(other, "serving")
    assert all(now is not then for now, then in zip((one.engine(), other.engine()), before, strict=True))


def test_two_reloads_at_once_end_with_the_later_one(house):
    """Each worker is told of one of them."""
    one, other = house.worker(0), house.worker(1)
    first, later = Edition.now(house.runs[0]), Edition.now(house.runs[1])
    house.may_open.clear()  # else the first may tell the other one of its own before we do
    for number, edition in enumerate((first, later)):
        assert Peers(house.place, 1 - number, 2).ask("reload", str(edition)) == {number: True}
    house.may_open.set()
    wait_for(lambda: one.serves() == other.serves() == house.runs[1])
    wait(one, "serving")
    assert house.peers().edition == later


def test_one_that_cannot_open_it_keeps_the_others(house):
    one, other = house.worker(0), house.worker(1)
    house.broken = {1}
    house.point_to(1)
    assert one.post("/admin/reload").status_code == 202
    assert "no memory here" in wait(one, "failed")["error"]
    wait_for(lambda: "worker 1: no memory here" in wait(one, "failed")["error"])
    assert one.serves() == other.serves() == house.peers().edition.run == house.runs[0]
    house.broken = set()
    assert other.post("/admin/reload").status_code == 202
    wait(one, "serving")
    assert one.serves() == other.serves() == house.runs[1]


def test_one_that_starts_late_follows(house):
    """It has opened the run that was served before, and comes when the others have taken over."""
    one = house.worker(0)
    house.point_to(1)
    with socket.socket(socket.AF_UNIX) as dead:  # what a killed worker leaves
        dead.bind(str(house.place / "1.socket"))
    assert one.post("/admin/reload").status_code == 202
    wait(one, "serving")
    assert one.serves() == house.runs[1]
    other = house.worker(1, late=True)
    wait_for(lambda: other.serves() == house.runs[1])


def test_one_that_starts_after_the_folder_was_replaced_takes_the_others_along(house):
    """Nobody asked for a reload; all answer with one model nevertheless."""
    old, new = (Recommender.load(run) for run in house.runs)
    house.runs.append(house.place.resolve() / "run")
    old.save(house.runs[2])
    house.point_to(2)
    house.peers().edition = house.first = Edition.now(house.link)
    one = house.worker(0)
    before = one.engine().version
    new.save(house.runs[2], overwrite=True)
    other = house.worker(1)
    version = other.engine().version
    assert version != before
    wait_for(lambda: one.engine().version == version)
    wait(one, "serving")
    assert other.engine().version == version
    assert house.peers().edition.run == house.runs[2]


def test_what_one_says_of_the_other_is_as_it_says_itself(house):
    one, other = house.worker(0), house.worker(1)
    other.get("/healthz")
    for client in (one, other):
        found = client.get("/metrics").text
        assert 'hydrarec_requests_total{route="/healthz",status="200",worker="1"} 1.0' in found
        assert found.count("# TYPE hydrarec_requests_total counter") == 1
        assert 'hydrarec_catalog_items{worker="0"}' in found
