"""A load on a real server, and on servers that do wrong."""

import asyncio
import json
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from unittest.mock import AsyncMock

import numpy as np
import pytest
from events import event_table
from serving import KEY, served

from hydrarec.cli import main
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.load import soak
from hydrarec.load.client import Answer, Client, NoAnswerError
from hydrarec.load.memory import Memory
from hydrarec.load.server import Reading, read
from hydrarec.load.target import Target
from hydrarec.load.users import Users
from hydrarec.serve.stores.disk import DiskStore


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    place = tmp_path_factory.mktemp("load") / "events.csv"
    lines = [",".join(map(str, row.values())) for row in event_table().to_pylist()]
    place.write_text("\n".join(["user,item,time", *lines]) + "\n")
    return place


def load(capsys, *words):
    """Exit code, report, and what was said."""
    code = main(["load", *map(str, words), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


@contextmanager
def listening(answer):
    """A server whose ``answer(method, path, body)`` gives bytes to send and whether to go on; its URL and requests."""
    asked, loop, ready = [], asyncio.new_event_loop(), threading.Event()

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                body = await reader.readexactly(int(length[1])) if length else b""
                method, path, _ = head.decode().split(" ", 2)
                asked.append((method, path, body))
                data, goes_on = answer(method, path, body)
                writer.write(data)
                await writer.drain()
                if not goes_on:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    async def run():
        nonlocal port
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()  # else it listens until Python looks for what holds itself

    port, stop = 0, asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def reply(body, status="200 OK", more=""):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\n{more}content-length: {len(data)}\r\n\r\n".encode() + data, True


METRICS = b"# hydrarec_requests\nprocess_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 2.0e+08\n"


def wrong(**answers):
    """A server that is good but for what ``answers`` has."""
    counts = Counter()

    def answer(method, path, body):
        if path == "/metrics":
            return reply(METRICS)
        if path.startswith("/items?"):
            return answers.get("items", reply({"items": [{"item": 3}]}))
        kind = "event" if method == "POST" else "recommendation"
        if kind == "event":
            counts[json.loads(body)["events"][0]["user"]] += 1
        user = path.split("/")[2] if kind == "recommendation" else ""
        good = {
            "event": {"accepted": 1, "duplicates": 0},
            "recommendation": {"recommendations": [{"item": 3, "score": 1.0}], "events": counts[user]},
        }
        return answers.get(kind, reply(good[kind]))

    return answer


def test_a_server_of_several_workers_is_their_sum():
    said = b"""# hydrarec_requests
process_cpu_seconds_total{worker="0"} 1.5
process_cpu_seconds_total{worker="1"} 2.0
process_resident_memory_bytes{worker="0"} 2.0e+08
process_resident_memory_bytes{worker="1"} 1.0e+08
"""

    class Told:
        async def request(self, method, target):
            return Answer(status=200, body=said)

    assert asyncio.run(read(Told())) == Reading(cpu_seconds=3.5, memory_bytes=3e8)


@pytest.mark.parametrize(("refusals", "cpu"), [(2, 1.5), (99, None)])
def test_a_server_that_is_busy_is_asked_again(refusals, cpu, monkeypatch):
    async def soon(seconds):
        waited.append(seconds)

    waited, answers = [], [Answer(status=429, body=b"{}")] * refusals + [Answer(status=200, body=METRICS)]

    class Busy:
        async def request(self, method, target):
            return answers.pop(0)

    monkeypatch.setattr("hydrarec.load.server.asyncio.sleep", soon)
    assert asyncio.run(read(Busy())).cpu_seconds == cpu
    assert len(waited) == min(refusals, 5)


def test_at_a_rate_every_pair_is_sent_and_counted(trained, events, tmp_path, capsys):
    with served(trained["plain"].run.path, "--state", tmp_path, "--durability", "batch") as server:
        code, report, _ = load(capsys, events, "--url", server.url, "--rate", 60, "--seconds", 2, "-k", 5)
        text = server.client.get("/metrics").text
    assert (code, report["failed"], report["refused"], report["failures"]) == (0, 0, 0, {})
    requests = report["requests"]
    assert set(requests) == {"event", "recommendation", "pair"}
    assert 60 < report["pairs"] < 200  # 120 are expected, at random moments
    for kind in requests.values():
        assert kind["good"] == report["pairs"]
        assert 0 < kind["p50_ms"] <= kind["p95_ms"] <= kind["p99_ms"] <= kind["max_ms"]
    assert requests["pair"]["p50_ms"] >= max(requests["event"]["p50_ms"], requests["recommendation"]["p50_ms"])
    assert 0 < report["cpu_ms_per_pair"]["load"] < report["cpu_ms_per_pair"]["server"]
    stored = re.search(r'hydrarec_events_total\{was="new"\} (\d+)', text)
    with DiskStore(tmp_path) as store:
        users = [f"load-{user}.0000" for user in range(1, 31)]
        accounts = store.accounts(users)
        assert sum(account.events for account in accounts) == int(stored[1]) > report["pairs"]  # and the warm-up's
        busiest = users[int(np.argmax([account.events for account in accounts]))]
        items = store.history(busiest).items
    user = int(busiest[5:].split(".")[0])
    expected = [str((user - 1 + place) % 12 + 1) for place in range(len(items))]  # the history, again and again
    assert Counter(items) == Counter(expected)  # two clicks at once may come in either order


def test_as_fast_as_it_goes_and_in_words(trained, events, capsys, monkeypatch):
    monkeypatch.setenv("HYDRAREC_API_KEY", KEY)
    with served(trained["time"].run.path, key=KEY) as server:
        code = main(["load", str(events), "--url", server.url, "--clients", "4", "--seconds", "0.4", "--users", "5"])
        said = capsys.readouterr()
        assert code == 0
        assert re.search(r"^ pair +[\d,]+ +0 +0 ", said.out, re.MULTILINE)
        assert re.search(r"CPU of a pair: [\d.]+ ms by the server, [\d.]+ ms by the load", said.out)
        assert max(map(len, said.out.splitlines())) <= 100
        monkeypatch.delenv("HYDRAREC_API_KEY")
        code, _, said = load(capsys, events, "--url", server.url, "--seconds", 1)
    assert code == 1
    assert "HYDRAREC_API_KEY" in said


def test_a_name_is_found_wherever_it_lies_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "_BLOCK", 16)
    (tmp_path / "empty").touch()
    (tmp_path / "a").write_bytes(b"." * 10 + b"load-one.0000" + b"load-" * 8 + b"load-load-two.0000")
    names = ["load-two.0000", "load-three.0000", "load-one.0000"]
    assert soak._named_in(tmp_path, names) == ["load-two.0000", "load-one.0000"]
    assert soak._named_in(tmp_path, []) == []


def test_files_are_searched_once_more_when_a_search_took_long(tmp_path, monkeypatch):
    """What it saw may have been from before the files were scrubbed."""
    monkeypatch.setattr(soak, "_SCRUB_SECONDS", 0.05)
    found = [["load-a.0000"], ["load-a.0000"], []]

    def search(folder, names):
        time.sleep(0.06)
        return found.pop(0)

    monkeypatch.setattr(soak, "_named_in", search)
    long = soak.Soak(None, None, None, None)
    long.erased = ["load-a.0000"]
    monkeypatch.setattr(long, "_unknown", AsyncMock(return_value=True))
    assert asyncio.run(long.still_there(tmp_path)) == ["load-a.0000"]
    assert len(found) == 1
    found.pop()
    found += [["load-a.0000"], []]
    assert asyncio.run(long.still_there(tmp_path)) == []


def test_a_soak(readers, events, tmp_path, capsys):
    with served(readers["text"].run.path, "--state", tmp_path, "--durability", "batch") as server:
        words = ["--url", server.url, "--rate", 20, "--seconds", 6, "--soak", "--store", tmp_path]
        code, report, said = load(capsys, events, *words)
        items = server.client.get("/items?limit=100").json()["items"]
    assert (code, report["failed"]) == (0, 0), said
    done = report["soak"]
    assert min(done[name] for name in ("reloads", "items_removed", "items_added", "erasures")) >= 1
    assert done["items_returned"] == done["items_removed"]
    assert (done["still_there"], done["files_searched"]) == (0, True)
    assert len(items) == 12  # what came is gone, what went is back
    assert report["memory"]["end_mb"] > 50


def test_a_server_of_another_catalog(events, trained, tmp_path, capsys):
    other, half = tmp_path / "other.csv", tmp_path / "half.csv"
    lines = events.read_text().splitlines()
    other.write_text("\n".join([lines[0], *(f"{n},{n + 100},{n}" for n in range(1, 30))]))
    half.write_text("\n".join([lines[0], *(f"{n},{n},{n}" for n in range(1, 25))]))
    with served(trained["plain"].run.path) as server:
        code, _, said = load(capsys, other, "--url", server.url, "--seconds", 0.2)
        assert code == 2
        assert re.search(r"none of \d+ items drawn from the data, such as '?1\d\d", said)
        stored = re.findall(r"^hydrarec_events_total.* (\S+)$", server.client.get("/metrics").text, re.MULTILINE)
        assert all(float(each) == 0 for each in stored)
        code = main(["load", str(half), "--url", server.url, "--rate", "20", "--seconds", "0.3"])
        assert code == 0
        had, asked = re.search(r"the server has (\d+) of (\d+) items", capsys.readouterr().out).groups()
        assert 0 < int(had) <= 12 < int(asked) <= 24


def test_a_server_that_will_not_say_which_items_it_has(events, capsys, monkeypatch):
    monkeypatch.setattr("hydrarec.load.server._TRIES", 1)
    busy = reply({}, "503 Service Unavailable", "Retry-After: 1\r\n")
    for silent in (busy, reply({}, "431 Request Header Fields Too Large")):
        with listening(wrong(items=silent)) as (url, _):
            code, report, _ = load(capsys, events, "--url", url, "--rate", 20, "--seconds", 0.3)
        assert (code, report["items"]["known"]) == (0, None)
    with listening(wrong(items=reply({}, "400 Bad Request"))) as (url, _):
        code, _, said = load(capsys, events, "--url", url, "--rate", 20, "--seconds", 0.3)
    assert code == 1
    assert "GET /items: status 400" in said


@pytest.mark.parametrize(
    ("answers", "failure"),
    [
        ({"event": reply({}, "500 Internal Server Error")}, "event: status 500"),
        ({"event": reply({}, "503 Service Unavailable")}, "event: status 503"),  # without Retry-After
        ({"event": reply({"accepted": 0, "duplicates": 1})}, "event: status 200"),
        ({"recommendation": reply({}, "404 Not Found")}, "recommendation: status 404"),
        ({"recommendation": reply({"recommendations": [], "events": 0})}, "fewer events than were acknowledged"),
        ({"recommendation": (b"", False)}, "ended without an answer"),
        ({"event": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", False)}, "ended without an answer"),
        ({"event": (b"nothing of HTTP\r\n\r\n", True)}, "ended without an answer"),
    ],
)
def test_what_is_neither_good_nor_a_stated_refusal(answers, failure, events, capsys):
    with listening(wrong(**answers)) as (url, _):
        code, report, said = load(capsys, events, "--url", url, "--rate", 20, "--seconds", 0.5)
    assert code == 1
    assert report["failed"] > 0
    assert failure in " ".join(report["failures"])
    assert "neither good nor a stated refusal" in said


def test_a_stated_refusal_is_none_of_these(events, capsys):
    refusal = reply({}, "503 Service Unavailable", "Retry-After: 1\r\n")
    with listening(wrong(event=refusal)) as (url, asked):
        code, report, _ = load(capsys, events, "--url", url, "--rate", 30, "--seconds", 0.5)
    assert (code, report["failed"], report["pairs"]) == (0, 0, 0)
    assert report["refused"] > 0
    assert not [path for _, path, _ in asked if path.startswith("/users")]


def test_seconds_count_from_when_a_request_was_due(events, capsys):
    """Of a server that stands still for a while, not only one request is late."""
    good, seen = wrong(), []

    def answer(method, path, body):
        seen.append(path)
        if len(seen) == 300:  # after a warm-up of about 200
            time.sleep(0.6)
        return good(method, path, body)

    with listening(answer) as (url, _):
        _, report, _ = load(capsys, events, "--url", url, "--rate", 100, "--seconds", 1.5)
    assert len(seen) > 300
    assert report["requests"]["pair"]["p95_ms"] > 200  # a third of all were due while it stood still


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1:8000",
        "http://0.0.0.0:8000",
        "http://127.0.0.1.example.invalid",
        "https://127.0.0.1",
        "http://user@192.0.2.1#127.0.0.1",
        "http://127.0.0.1:99999",
        "http://127.0.0.1/path",
        "127.0.0.1:8000",
    ],
)
def test_only_this_machine(url, events, capsys):
    code, _, said = load(capsys, events, "--url", url)
    assert code == 2
    assert "--url" in said


def test_localhost_is_this_machine():
    assert Target.of("http://localhost:8000").host in ("127.0.0.1", "::1")
    assert Target.of("http://[::1]:8000") == Target(host="::1", port=8000)


@pytest.mark.parametrize("words", [["--rate", 0], ["--seconds", -1], ["--users", 0], ["--zipf", -1], ["--store", "no"]])
def test_settings_that_make_no_sense(words, events, capsys):
    code, _, said = load(capsys, events, *words)
    assert code == 2
    assert str(words[0]) in said


def test_without_its_library(events, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("hydrarec.load")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httptools", None)
    code, _, said = load(capsys, events)
    assert code == 2
    assert "pip install 'hydrarec[serve]'" in said


def test_nobody_listens(events, capsys):
    with listening(wrong()) as (url, _):
        pass
    code, _, said = load(capsys, events, "--url", url)
    assert code == 1
    assert "cannot connect" in said


def test_zipf_users():
    items, offsets = np.arange(400) % 7, np.arange(0, 401, 4)
    dataset = Dataset.from_arrays(items, offsets, item_ids=np.arange(7))
    users = Users(dataset, most=50, zipf=1.0, seed=3)
    assert len(users) == 50
    drawn = Counter(users.draw()[0].name for _ in range(40_000))
    shares = np.array(sorted(drawn.values(), reverse=True)) / 40_000
    expected = (1 / np.arange(1, 51)) / (1 / np.arange(1, 51)).sum()
    np.testing.assert_allclose(shares[:10], expected[:10], rtol=0.15)
    gone = users.retire()
    assert gone is None  # nobody has had an event
    user, _ = users.draw()
    user.events = 1
    assert users.retire() is user
    assert user.name not in {users.draw()[0].name for _ in range(20_000)}
    with pytest.raises(InputError, match="--users"):
        Users(dataset, most=0)


def test_a_user_goes_through_a_history_again_and_again():
    items, offsets = np.arange(20) % 7, np.array([0, 3, 9, 20])
    users, sent = Users(Dataset.from_arrays(items, offsets, item_ids=np.arange(7)), seed=1), defaultdict(list)
    for _ in range(200):
        user, body = users.draw()
        sent[user.name].append(json.loads(body)["events"][0]["item"])
    assert len(sent) == 3
    for name, found in sent.items():
        user = int(name[5:].split(".")[0])
        history = items[offsets[user] : offsets[user + 1]].tolist()
        assert found == [history[place % len(history)] for place in range(len(found))]


def test_connections_are_kept_and_no_more_than_there_may_be():
    async def ask():
        client = Client("127.0.0.1", int(url.rsplit(":", 1)[1]), connections=2)
        answers = await asyncio.gather(*[client.request("GET", f"/{n}") for n in range(20)])
        client.close()
        return [int(answer.body) for answer in answers]

    def answer(method, path, body):
        connections.add(asyncio.current_task())
        return reply(path[1:].encode())

    connections = set()
    with listening(answer) as (url, asked):
        assert asyncio.run(ask()) == list(range(20))
    assert len(asked) == 20
    assert len(connections) == 2


def test_a_connection_that_the_server_closed_meanwhile():
    """Once it is tried again: the server had no reason to read the request."""

    def answer(method, path, body):
        asked_of.append(path)
        if path == "/closing" and asked_of.count(path) == 1:
            return b"", False
        return reply(b"1")

    async def ask():
        client = Client("127.0.0.1", int(url.rsplit(":", 1)[1]), connections=1)
        await client.request("GET", "/first")
        again = await client.request("GET", "/closing")
        client.close()
        return again.body

    asked_of = []
    with listening(answer) as (url, _):
        assert asyncio.run(ask()) == b"1"
    assert asked_of == ["/first", "/closing", "/closing"]

    async def fresh():
        await Client("127.0.0.1", int(url.rsplit(":", 1)[1])).request("GET", "/closing")

    asked_of = []
    with listening(answer) as (url, _), pytest.raises(NoAnswerError):
        asyncio.run(fresh())


def test_an_answer_that_nobody_waits_for_is_not_taken_for_another():
    async def ask():
        client = Client("127.0.0.1", int(url.rsplit(":", 1)[1]), connections=1)
        await client.request("GET", "/first")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.request("GET", "/slow"), 0.1)
        given_up.set()
        answer = await client.request("GET", "/last")
        client.close()
        return answer.body

    def answer(method, path, body):
        assert path != "/slow" or given_up.wait(60)
        return reply(path.encode())

    given_up = threading.Event()
    with listening(answer) as (url, _):
        assert asyncio.run(ask()) == b"/last"


def test_growth_is_that_of_the_second_half():
    memory = Memory(client=None)
    memory.bytes = [100e6] * 20 + [150e6] * 10 + [500e6] + [150e6] * 5 + [153e6] * 4
    assert memory.to_dict() == {"begin_mb": 100.0, "middle_mb": 150.0, "end_mb": 153.0, "growth": 0.02}
    memory.bytes = [1e6]
    assert memory.to_dict()["growth"] is None
