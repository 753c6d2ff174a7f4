"""A server as it is run: its own process, a socket, a store on disk, signals."""

import http.client
import json
import random
import socket
import sys
import threading
import time
from contextlib import suppress

import httpx
import numpy as np
import pytest
from events import DAY, FIRST, ITEMS
from serving import KEY, Server, post, problem, served
from stores import file_bytes

from hydrarec.cli import main
from hydrarec.serve.engine import Engine
from hydrarec.serve.stores.contract import Event
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """(server, its store's folder) of the model that does not read time."""
    place = tmp_path_factory.mktemp("served") / "store"
    with served(trained["plain"].run.path, "--state", place) as server:
        yield server, place


def events_of(draw, user, n):
    times = sorted(FIRST + draw.randrange(40 * DAY) for _ in range(n))
    return [(user, draw.randrange(1, ITEMS + 1), moment, f"{user}-{k}") for k, moment in enumerate(times)]


def test_each_event_is_known_to_the_very_next_answer(plain):
    client = plain[0].client
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "store": "ok"}
    previous = None
    for k, (user, item, moment, name) in enumerate(events_of(random.Random(1), "click", 5)):
        assert post(client, (user, item, moment, name)).json() == {"accepted": 1, "duplicates": 0}
        assert post(client, (user, item, moment, name)).json() == {"accepted": 0, "duplicates": 1}
        answer = client.get("/users/click/recommendations", params={"k": 3}).json()
        assert (answer["user"], answer["events"], len(answer["recommendations"])) == ("click", k + 1, 3)
        assert answer != previous
        previous = answer


def test_ranks_over_http_are_those_of_the_recommender(trained, plain):
    compare_ranks(trained["plain"], plain[0].client)


def test_ranks_that_depend_on_the_time_of_the_request(trained, tmp_path):
    with served(trained["time"].run.path, "--state", tmp_path) as server:
        compare_ranks(trained["time"], server.client)


def compare_ranks(recommender, client):
    """The same events through ``Recommender.recommend``, users of the store, and histories in the request."""
    draw = random.Random(2)
    histories = {f"user {n}/ü": events_of(draw, f"user {n}/ü", draw.randrange(1, 12)) for n in range(25)}
    every = sorted((each for history in histories.values() for each in history), key=lambda each: each[2])
    at = FIRST + 60 * DAY
    items = {user: [item for _, item, _, _ in history] for user, history in histories.items()}
    times = {user: [moment for _, _, moment, _ in history] for user, history in histories.items()}
    expected = recommender.recommend(items, times=times, at=at, exclude_seen=True, k=5).to_pylist()
    for place in range(0, len(every), 40):
        assert post(client, *every[place : place + 40]).json()["duplicates"] == 0
    for user in histories:
        path = httpx.URL("/users/{}/recommendations".format(user.replace("/", "%2F").replace(" ", "%20")))
        query = {"k": 5, "at": at, "exclude_seen": "true"}
        known = client.get(path, params=query).json()
        history = [{"item": i, "time": t} for i, t in zip(items[user], times[user], strict=True)]
        told = client.post("/recommend", json={"history": history, **query}).json()
        rows = [row for row in expected if row["user"] == user]
        for answer in (known, told):
            assert answer["events"] == len(history)
            assert [each["item"] for each in answer["recommendations"]] == [row["item"] for row in rows]
            scores = [each["score"] for each in answer["recommendations"]]
            np.testing.assert_allclose(scores, [row["score"] for row in rows], rtol=1e-4, atol=1e-4)
        assert (known["user"], told["user"]) == (user, None)


def test_concurrent_clients(plain):
    server, _ = plain
    users = [f"many-{n}" for n in range(6)]

    def click(user):
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for k, each in enumerate(events_of(random.Random(user), user, 12)):
                assert post(client, each, ("shared", each[1], each[2], each[3])).json()["accepted"] == 2
                assert client.get(f"/users/{user}/recommendations").json()["events"] == k + 1
            done.append(user)

    done = []
    threads = [threading.Thread(target=click, args=(user,), daemon=True) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == users
    assert server.client.get("/users/shared/recommendations").json()["events"] == 6 * 12


def test_an_erased_user_is_gone_from_every_file_soon(plain):
    server, place = plain
    post(server.client, *[(f"SECRET-{n:03}", 3, FIRST, f"SECRET-ID-{n:03}") for n in range(40)])
    assert b"SECRET-007" in file_bytes(place)
    assert server.client.delete("/users/SECRET-007").status_code == 204
    assert server.client.delete("/users/SECRET-007").status_code == 204
    problem(server.client.get("/users/SECRET-007/recommendations"), 404)
    assert server.client.get("/users/SECRET-008/recommendations").json()["events"] == 1
    deadline = time.monotonic() + 300
    while any(word in file_bytes(place) for word in (b"SECRET-007", b"SECRET-ID-007")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert b"SECRET-008" in file_bytes(place)


def test_told_to_stop_it_finishes_and_says_nothing_of_users(trained, tmp_path):
    with served(trained["plain"].run.path, "--state", tmp_path) as server:
        post(server.client, ("secret-user", "secret-item", FIRST, "secret-id"), ("secret-user", 3, FIRST))
        problem(server.client.get("/users/secret-nobody/recommendations"), 404)
        problem(server.client.get("/users/secret-user/recommendations", params={"domain": "secret-domain"}), 422)
        code, said = server.end()
    assert code == 0
    assert "secret" not in said
    assert len(said.splitlines()) == 1
    with DiskStore(tmp_path) as store:
        assert store.accounts(["secret-user"])[0].events == 2


def test_items_outlive_a_kill(readers, tmp_path):
    run = readers["text"].run.path
    with served(run, "--state", tmp_path) as server:
        new = [{"item": 100 + n, "title": f"Rose {n}"} for n in range(3)]
        assert server.client.post("/items", json={"items": new}).json() == {"added": 3, "changed": 0, "unchanged": 0}
        post(server.client, ("a", 101, FIRST))
        assert server.client.delete("/items/100").status_code == server.client.delete("/items/3").status_code == 204
        before = server.client.get("/users/a/recommendations", params={"k": 99, "at": FIRST}).json()
        server.kill()
    with served(run, "--state", tmp_path) as server:
        after = server.client.get("/users/a/recommendations", params={"k": 99, "at": FIRST}).json()
        assert after == before
        assert {each["item"] for each in after["recommendations"]} == {*range(1, ITEMS + 1), 101, 102} - {3}
        assert [each["item"] for each in server.client.get("/items?query=rose").json()["items"]][-2:] == [101, 102]


def test_a_key_and_no_folder(trained):
    with served(trained["plain"].run.path, key=KEY, host="0.0.0.0") as server:
        assert server.lines[0].startswith("warning: without --state users are kept in memory")
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, timeout=60) as client:
            for path in ("/healthz", "/readyz", "/items?query=3"):  # what is of no user
                assert client.get(path).status_code == 200
            wrong = [b"", KEY.encode(), f"Bearer {KEY}x".encode(), f"Bearer {KEY[:-1]}".encode(), b"Bearer \xff"]
            for headers in ({}, *({b"Authorization": given} for given in wrong)):
                for method, path, body in (
                    ("POST", "/events", {"events": [{"user": "a", "item": 3, "time": FIRST}]}),
                    ("GET", "/users/a/recommendations", None),
                    ("POST", "/recommend", {"history": [{"item": 3}]}),
                    ("DELETE", "/users/a", None),
                    ("POST", "/items", {"items": [{"item": 3}]}),
                    ("DELETE", "/items/3", None),
                ):
                    answer = client.request(method, path, json=body, headers=headers)
                    assert "Bearer KEY" in problem(answer, 401)
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
            client.headers["Authorization"] = f"Bearer {KEY}"
            assert post(client, ("a", 3, FIRST)).json()["accepted"] == 1
            assert client.get("/users/a/recommendations", headers={"Host": "shop.example"}).json()["events"] == 1


def test_without_a_key_it_answers_to_this_machine_alone(plain):
    client = plain[0].client
    assert "localhost alone" in problem(client.get("/users/a/recommendations", headers={"Host": "evil.example"}), 421)
    problem(client.get("/items", headers={"Host": "evil.example"}), 421)
    for name in ("localhost", "127.0.0.1:80", "[::1]:8000"):
        assert client.get("/users/nobody/recommendations", headers={"Host": name}).status_code == 404


@pytest.mark.parametrize("start", [b"GET /healthz?", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_head_without_end_is_refused(plain, start):
    url = httpx.URL(plain[0].url)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(start)
        with suppress(OSError):  # closed meanwhile
            for _ in range(4_000):
                connection.sendall(b"a" * 10_000)
        answer = connection.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"the request line and headers are too long; send 65,536 bytes at most" in answer


def test_a_long_body_is_no_long_head(plain):
    """Of several requests on one connection, in pieces as they may come."""
    url, body = httpx.URL(plain[0].url), json.dumps({"events": [], "more": "a" * 200_000}).encode()
    head = (
        f"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        for _ in range(3):
            for part in (head.encode()[:30], head.encode()[30:] + b"\r\n" + body[:1_000], body[1_000:]):
                connection.sendall(part)
                time.sleep(0.01)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == 422
            assert answer.read()


def test_a_caller_does_not_choose_its_address(trained):
    with served(trained["plain"].run.path, "--rate", "0.01") as server:
        answers = [server.client.get("/items", headers={"X-Forwarded-For": f"10.0.0.{n}"}) for n in range(6)]
    assert [answer.status_code for answer in answers] == [200] + [429] * 5


def test_what_is_refused_at_the_start(trained, plain, tmp_path, capsys, monkeypatch):
    def refused(run, *arguments, key=""):
        monkeypatch.setenv("HYDRAREC_API_KEY", key)
        assert main(["serve", str(trained[run].run.path), *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "give a key (HYDRAREC_API_KEY)" in refused("plain", "--host", "0.0.0.0")
    assert "it needs 16 or more" in refused("plain", key="short")
    port = plain[0].url.rpartition(":")[2]
    assert f"cannot listen at 127.0.0.1 port {port} (" in refused("plain", "--port", port)
    assert "keeps no state of a user" in refused("markov", "--port", "0")
    (tmp_path / "file").write_text("")
    assert "name another folder" in refused("plain", "--port", "0", "--state", tmp_path / "file")
    assert "--state-limit is 0" in refused("plain", "--port", "0", "--state-limit", "0")
    for name in ("fastapi", "uvicorn", "prometheus_client"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, name, None)
            assert "pip install 'hydrarec[serve]'" in refused("plain", "--port", "0")


def test_killed_servers_lose_nothing_that_was_acknowledged(trained, tmp_path):
    """Several clients write while the server is killed; they come back to the next one with what had no answer."""
    recommender, users = trained["plain"], [f"u{n}" for n in range(4)]
    draw = random.Random()
    plans = {user: events_of(random.Random(user), user, 400) for user in users}
    acknowledged = dict.fromkeys(users, 0)

    def write(user, url):
        with httpx.Client(base_url=url, timeout=60) as client:
            while acknowledged[user] < len(plans[user]):
                first = max(0, acknowledged[user] - 2)
                try:
                    answer = post(client, *plans[user][first : first + 5])
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200
                acknowledged[user] = min(first + 5, len(plans[user]))

    for _ in range(2):
        server = Server(recommender.run.path, "--state", tmp_path)
        threads = [threading.Thread(target=write, args=(user, server.url), daemon=True) for user in users]
        for thread in threads:
            thread.start()
        enough = sum(acknowledged.values()) + draw.randint(1, 200)
        while sum(acknowledged.values()) < enough and any(thread.is_alive() for thread in threads):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.02))
        assert server.kill()[0] == -9
        for thread in threads:
            thread.join()
    assert sum(acknowledged.values()) > 0
    with DiskStore(tmp_path) as store, MemoryStore() as memory:
        for user in users:
            history = store.history(user)
            assert len(history.items) >= acknowledged[user]
            assert history.items == [str(item) for _, item, _, _ in plans[user][: len(history.items)]]
        engine = Engine(recommender, memory)
        stored = {user: len(store.history(user).items) for user in users}
        engine.apply(
            [Event(user=u, item=str(i), time=t) for user in users for u, i, t, _ in plans[user][: stored[user]]]
        )
        assert store.accounts(users) == memory.accounts(users)


def test_a_store_that_cannot_be_written(trained, tmp_path):
    with DiskStore(tmp_path) as store:
        Engine(trained["plain"], store).apply([Event(user="a", item="3", time=FIRST)])
    most = 40_000 + sum(file.stat().st_size for file in tmp_path.iterdir())
    with served(trained["plain"].run.path, "--state", tmp_path, file_bytes=most) as server:
        for k in range(100):
            answer = post(server.client, ("a", "x" * 250, FIRST + k), *[("b", "y" * 250, FIRST)] * 50)
            if answer.status_code != 200:
                break
        assert "nothing was changed" in problem(answer, 503)
        assert answer.headers["Retry-After"] == "10"
        assert server.client.get("/users/a/recommendations").json()["events"] == k + 1
