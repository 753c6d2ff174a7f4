"""Several workers, as they are run: one address, one store, signals, kills."""

import collections
import os
import random
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from events import DAY, FIRST, ITEMS
from prometheus_client.parser import text_string_to_metric_families
from serving import Server, post, problem, served, workers_of
from stores import file_bytes

from hydrarec import Recommender
from hydrarec.cli import main
from hydrarec.serve.engine import Engine
from hydrarec.serve.metrics import by_worker
from hydrarec.serve.stores.contract import Event
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore

AT = FIRST + 60 * DAY
KILLS = int(os.environ.get("HYDRAREC_TEST_KILLS", "2"))


@pytest.fixture(scope="module")
def shop(readers, tmp_path_factory):
    """(server of a run that reads text, its store's folder, connections: to which worker, chance says each time)."""
    place = tmp_path_factory.mktemp("workers") / "store"
    with served(readers["both"].run.path, "--state", place, "--workers", 2) as server, ExitStack() as stack:
        every = httpx.Limits(max_keepalive_connections=0)
        clients = [httpx.Client(base_url=server.url, timeout=60, limits=every) for _ in range(4)]
        yield server, place, [stack.enter_context(client) for client in clients]


def requests(client):
    """(worker, route) -> how many."""
    counts = collections.Counter()
    for labels, value in samples(client, "hydrarec_requests_total"):
        counts[int(labels["worker"]), labels["route"]] += value
    return counts


def samples(client, name):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return [(sample.labels, sample.value) for each in families for sample in each.samples if sample.name == name]


def recommended(client, user, **query):
    answer = client.get(f"/users/{user}/recommendations", params={"k": 99, "at": AT, **query})
    assert answer.status_code == 200, answer.text
    return {each["item"]: each["score"] for each in answer.json()["recommendations"]}, answer.json()["events"]


def test_the_next_request_knows_whichever_worker_it_comes_to(shop):
    clients = shop[2]
    for number in range(20):
        client, other = (clients[(number + step) % len(clients)] for step in (0, 1))
        event = ("click", 1 + number % ITEMS, FIRST + number, f"click-{number}")
        assert post(client, event).json() == {"accepted": 1, "duplicates": 0}
        assert post(other, event).json() == {"accepted": 0, "duplicates": 1}
        assert recommended(other, "click")[1] == number + 1
    answers = [recommended(client, "click")[0] for client in clients]
    assert all(answer == pytest.approx(answers[0], abs=1e-4) for answer in answers)
    assert clients[0].delete("/users/click").status_code == 204
    for client in clients:
        problem(client.get("/users/click/recommendations"), 404)


def test_items_of_one_worker_are_known_to_the_others(shop):
    clients = shop[2]
    post(clients[0], ("buyer", 3, FIRST))
    for number in range(8):
        here, there = (clients[(number + step) % len(clients)] for step in (0, 1))
        item = {"item": 500 + number, "title": f"Lamp {number}", "shelf": f"lamps {number}", "domain": "odd"}
        assert here.post("/items", json={"items": [item]}).json()["added"] == 1
        assert there.post("/items", json={"items": [item]}).json()["unchanged"] == 1
        assert there.get("/items", params={"query": f"lamp {number}"}).json()["items"][0]["item"] == 500 + number
        assert list(recommended(there, "buyer", filter=f"shelf:lamps {number}")[0]) == [500 + number]
        assert 500 + number in recommended(there, "buyer")[0]
        body = {"history": [{"item": 500 + number, "time": FIRST}], "k": 3}
        assert len(there.post("/recommend", json=body).json()["recommendations"]) == 3
        # A worker that does not know the item yet must read its event all the same.
        user = f"lamp-{number}"
        post(there, (user, 500 + number, FIRST))
        assert recommended(here, user)[0] == pytest.approx(recommended(there, user)[0], abs=1e-4)
        assert recommended(here, user)[0]
        if number % 3 == 0:
            assert there.delete(f"/items/{500 + number}").status_code == 204
            assert all(500 + number not in recommended(client, "buyer")[0] for client in clients)
            assert here.get("/items", params={"id": 500 + number}).json()["items"] == []


def test_workers_that_add_the_same_item_at_once_agree(shop):
    clients, became = shop[2], []

    def add(client, number):
        items = [{"item": 700, "title": f"Chair {number}", "domain": "odd"}, {"item": 701 + number, "title": "Tea"}]
        items[1]["domain"] = "even"
        became.append(client.post("/items", json={"items": items}).json())

    threads = [threading.Thread(target=add, args=each, daemon=True) for each in zip(clients, range(4), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each["added"] for each in became) == 5
    assert sum(each["changed"] for each in became) == 3
    found = [client.get("/items?id=700&id=701&id=702&id=703&id=704").json()["items"] for client in clients]
    assert all(each == found[0] for each in found)
    assert len(found[0]) == 5


def test_the_erased_are_gone_from_every_file(shop):
    _, place, clients = shop
    post(clients[0], *[(f"SECRET-{n}", 3, FIRST, f"SECRET-ID-{n}") for n in range(20)])
    for number, client in enumerate(clients):
        assert client.delete(f"/users/SECRET-{number + 1}").status_code == 204
        recommended(client, "SECRET-9")
    deadline = time.monotonic() + 300
    while any(f"SECRET-ID-{n}".encode() in file_bytes(place) for n in range(2, 5)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert all(recommended(client, "SECRET-9")[1] == 1 for client in clients)


def test_metrics_say_which_worker(shop):
    clients, asked, counts = shop[2], 0, [0, 0]
    before, deadline = requests(clients[0]), time.monotonic() + 60
    while not (asked and min(counts)):  # one that has more to do may not come to take any for a while
        assert time.monotonic() < deadline
        for client in clients * 10:
            client.get("/readyz")
        asked += 40
        for client in clients:
            after = requests(client)
            counts = [after[worker, "/readyz"] - before[worker, "/readyz"] for worker in (0, 1)]
            assert sum(counts) == asked


def test_texts_of_workers_become_one():
    one = '# HELP x_total Many.\n# TYPE x_total counter\nx_total{a="b"} 3.0\n# HELP g Now.\n# TYPE g gauge\ng 1.0\n'
    merged = by_worker({1: one, 0: one.replace("3.0", "4.0")}).decode()
    assert merged.count("# TYPE x_total counter") == merged.count("# TYPE g gauge") == 1
    assert 'x_total{a="b",worker="0"} 4.0' in merged
    assert 'x_total{a="b",worker="1"} 3.0' in merged
    assert 'g{worker="1"} 1.0' in merged


@pytest.fixture
def two_runs(trained, tmp_path):
    """Runs of the same settings that learned otherwise."""
    settings = {"model": trained["time"].run.settings.to_dict()["model"], "train": {"epochs": 1}}
    other = Recommender.fit(trained["time"].dataset, out=tmp_path / "other", settings=settings, seed=9)
    return [trained["time"], other]


@contextmanager
def asking(url, threads=4):
    """What clients are answered meanwhile: scores by item, and when they asked."""
    seen, done = [], threading.Event()

    def ask():
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                began = time.monotonic()
                with suppress(httpx.HTTPError):  # its worker was killed
                    seen.append((recommended(client, "quiet-1")[0], began))

    asked = [threading.Thread(target=ask, daemon=True) for _ in range(threads)]
    for thread in asked:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in asked:
            thread.join()


def test_all_workers_take_over_at_a_reload(two_runs, tmp_path):
    """Reloads by request and by signal; one that fails; a worker killed after it; each answer is one model's."""
    link, expected, done = tmp_path / "run", [scores(run) for run in two_runs], 0
    link.symlink_to(two_runs[0].run.path.resolve())

    def point_to(place):
        (tmp_path / "next").symlink_to(place)
        (tmp_path / "next").replace(link)

    with served(link, "--state", tmp_path / "store", "--workers", 2) as server:
        post(server.client, *[(f"quiet-{n}", 3, FIRST) for n in range(200)])
        with asking(server.url) as seen:
            for number in range(3):
                point_to(two_runs[(number + 1) % 2].run.path.resolve())
                done += 1
                if number == 1:
                    server.process.send_signal(signal.SIGHUP)
                else:
                    assert server.client.post("/admin/reload").status_code == 202
                    again = server.client.post("/admin/reload")
                    if again.status_code == 202:  # it came so late that the first one was over
                        assert done_by_all(server.client, done)
                        done += 1
                    else:
                        problem(again, 409)
                wait_for(lambda done=done: done_by_all(server.client, done))
                status = wait(server.client, "serving")
                assert number or status["made"] >= 200
                began, so_far = time.monotonic(), len(seen)
                wait_for(lambda so_far=so_far: len(seen) > so_far + 12)
                later = [found for found, asked in seen[so_far:] if asked > began]
                assert later
                assert all(found == pytest.approx(expected[(number + 1) % 2], abs=1e-3) for found in later)
            point_to(tmp_path)  # no run
            assert server.client.post("/admin/reload").status_code == 202
            assert "is not a run folder" in wait(server.client, "failed")["error"]
            # A worker that is started again opens what the others serve, and not what the link points to.
            so_far, gone = len(seen), workers_of(server)[0]
            os.kill(gone, signal.SIGKILL)
            wait_for(lambda: gone not in workers_of(server))
            wait_for(lambda: len(both(server.url)) == 2)
        code, said = server.end()
    assert code == 0, said
    for found, _ in random.Random(0).sample(seen[:so_far], min(so_far, 200)):
        assert sum(found == pytest.approx(each, abs=1e-3) for each in expected) == 1
    assert all(found == pytest.approx(expected[1], abs=1e-3) for found, _ in seen[so_far:])


def scores(recommender):
    found = recommender.recommend([[3]], times=[[FIRST]], at=AT, k=ITEMS).to_pylist()
    return {row["item"]: row["score"] for row in found}


def done_by_all(client, number):
    """Whether each of the two workers has done so many reloads."""
    found = samples(client, "hydrarec_reloads_total")
    counts = [value for labels, value in found if labels["was"] == "done"]
    return len(counts) == 2 and min(counts) >= number


def wait(client, *doing):
    status = {}

    def there():
        nonlocal status
        status = client.get("/admin/reload").json()
        return status["doing"] in doing

    wait_for(there)
    return status


def wait_for(happens, seconds=60):
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def both(url):
    """The workers that say something."""
    with httpx.Client(base_url=url, timeout=60) as client:
        return {worker for worker, _ in requests(client)}


def test_workers_killed_while_they_write(trained, tmp_path):
    """Clients send again what had no answer, to whichever worker is there; users are shared between clients."""
    users = [f"u{n}" for n in range(4)]
    acknowledged, done = set(), threading.Event()

    def write(number, url):
        draw, sent = random.Random(number), 0
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                events = [
                    (draw.choice(users), draw.randrange(1, ITEMS + 1), FIRST + sent, f"{number}-{sent}-{n}")
                    for n in range(draw.choice([1, 5]))
                ]
                for _ in range(200):
                    try:
                        answer = post(client, *events)
                        break
                    except httpx.HTTPError:
                        time.sleep(0.05)
                assert answer.status_code == 200, answer.text
                acknowledged.update((user, id) for user, _, _, id in events)
                sent += 1
        finished.append(number)

    finished, draw = [], random.Random()
    with served(trained["plain"].run.path, "--state", tmp_path, "--workers", 2) as server:
        threads = [threading.Thread(target=write, args=(number, server.url), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(KILLS):
            so_far = len(acknowledged)
            wait_for(lambda so_far=so_far: len(acknowledged) > so_far + 30)
            wait_for(lambda: len(both(server.url)) == 2)
            time.sleep(1.05 + draw.uniform(0, 0.05))  # a worker that has been up for a second is started again at once
            gone = draw.choice(workers_of(server))
            os.kill(gone, signal.SIGKILL)
            wait_for(lambda gone=gone: gone not in workers_of(server))
        done.set()
        for thread in threads:
            thread.join()
        code, said = server.end()
    assert (code, sorted(finished)) == (0, [0, 1, 2, 3]), said
    assert said.count("(exit code -9); it is started again") == KILLS
    with DiskStore(tmp_path) as store, MemoryStore() as memory:
        rows = store._reader.execute("SELECT name, id FROM events JOIN users ON number = user").fetchall()
        assert len(rows) == len(set(rows))  # every event has an id
        assert acknowledged <= set(rows)
        engine = Engine(trained["plain"], memory)
        for user in users:
            history = store.history(user)
            pairs = zip(history.items, history.times.tolist(), strict=True)
            engine.apply([Event(user=user, item=item, time=moment) for item, moment in pairs])
        assert store.accounts(users) == memory.accounts(users)


def test_workers_end_with_the_process_above_them(trained, tmp_path):
    server = Server(trained["plain"].run.path, "--state", tmp_path, "--workers", 2)
    server.process.kill()
    port = int(server.url.rpartition(":")[2])

    def refused():
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) != 0

    wait_for(refused)
    server.gone()


def test_what_is_refused(trained, tmp_path, capsys):
    def refused(run, *arguments):
        assert main(["serve", str(run), "--port", "0", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    run = trained["plain"].run.path
    assert "--workers is 0" in refused(run, "--workers", 0)
    assert "a store that they share: give --state" in refused(run, "--workers", 2)
    said = refused(trained["markov"].run.path, "--workers", 2, "--state", tmp_path)
    assert said.count("keeps no state of a user") == 1
