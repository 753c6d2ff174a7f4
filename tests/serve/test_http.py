"""Bodies, limits and errors, in this process."""

import json
import threading

import pytest
from events import FIRST, ITEMS
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import post, problem

from hydrarec import Recommender
from hydrarec.serve import service as service_module
from hydrarec.serve.catalog.search import Search
from hydrarec.serve.engine import Engine
from hydrarec.serve.http.app import make_app
from hydrarec.serve.http.bodies import BATCH, BODY_BYTES, HISTORY, ID_LENGTH, LISTED, K
from hydrarec.serve.http.guard import Guard, is_loopback
from hydrarec.serve.http.item_bodies import ITEMS as ITEMS_OF_A_CALL
from hydrarec.serve.http.item_bodies import TEXT_LENGTH
from hydrarec.serve.stores.contract import StoreError
from hydrarec.serve.stores.memory import MemoryStore


def client_of(engine):
    app = make_app(engine, Guard("127.0.0.1", []))
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def clients(trained):
    """By name of the run."""
    made = {name: client_of(Engine(trained[name], MemoryStore())) for name in ("plain", "time")}
    with made["plain"], made["time"]:
        yield made


@pytest.fixture(scope="module")
def reader(readers):
    """A client of a model that reads the text of its items."""
    with client_of(Engine(Recommender.load(readers["text"].run.path), MemoryStore())) as client:
        yield client


@pytest.fixture
def client(clients):
    return clients["plain"]


def history(*items, **more):
    return {"history": [{"item": item} for item in items], **more}


def items_of(answer):
    assert answer.status_code == 200, answer.text
    return [each["item"] for each in answer.json()["recommendations"]]


def held(work):
    """(``work``, but that it waits; whether it was begun; to let it go on)."""
    began, go = threading.Event(), threading.Event()

    def waits(*arguments):
        began.set()
        assert go.wait(60)
        return work(*arguments)

    return waits, began, go


ONE = {"user": "a", "item": 3, "time": FIRST}
BAD_EVENTS = {
    "no list": ({"events": ONE}, "body.events: "),
    "nothing": ({}, "body.events: Field required"),
    "empty": ({"events": []}, "body.events: "),
    "too many": ({"events": [ONE] * (BATCH + 1)}, "body.events: "),
    "unknown field": ({"events": [{**ONE, "colour": 1}]}, "body.events.0.colour: "),
    "no time": ({"events": [ONE, {"user": "a", "item": 3}]}, "body.events.1.time: Field required"),
    "null": ({"events": [{**ONE, "user": None}]}, "body.events.0.user: "),
    "true": ({"events": [{**ONE, "item": True}]}, "body.events.0.item: "),
    "fraction": ({"events": [{**ONE, "item": 3.5}]}, "body.events.0.item: "),
    "list": ({"events": [{**ONE, "item": [3]}]}, "body.events.0.item: "),
    "empty id": ({"events": [{**ONE, "user": ""}]}, "body.events.0.user: "),
    "long id": ({"events": [{**ONE, "id": "x" * (ID_LENGTH + 1)}]}, "body.events.0.id: "),
    "huge number": ({"events": [{**ONE, "id": 10**300}]}, "body.events.0.id: "),
    "surrogate": ({"events": [{**ONE, "id": "\ud800"}]}, "body.events.0.id: "),
    "no date": ({"events": [{**ONE, "time": "yesterday"}]}, "body.events.0.time: "),
    "nan": ({"events": [{**ONE, "time": float("nan")}]}, "body.events.0.time: "),
    "infinite": ({"events": [{**ONE, "time": float("inf")}]}, "body.events.0.time: "),
    "far": ({"events": [{**ONE, "time": 1e300}]}, "body.events.0.time: "),
    "farther": ({"events": [{**ONE, "time": 10**400}]}, "body.events.0.time: "),
    "beyond": ({"events": [{**ONE, "time": "10000-01-01"}]}, "body.events.0.time: "),
}


def test_a_body_that_does_not_say_that_it_is_json(client):
    body = json.dumps({"events": [ONE]})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # as curl -d sends it
    told = problem(client.post("/events", content=body, headers=headers), 422)
    assert told == "body: say that it is JSON, with the header Content-Type: application/json"


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_events_that_are_none(client, name):
    body, message = BAD_EVENTS[name]
    headers = {"Content-Type": "application/json"}
    assert problem(client.post("/events", content=json.dumps(body), headers=headers), 422).startswith(message)
    assert client.get("/users/a/recommendations").status_code == 404  # of a batch all or nothing


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b'{"events": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"events": ' + b"9" * 5_000 + b"}", 400),
        (b'"' + b"x" * BODY_BYTES + b'"', 413),
    ],
    ids=["empty", "cut", "bytes", "deep", "digits", "large"],
)
def test_bodies_that_are_none(client, content, status):
    problem(client.post("/events", content=content, headers={"Content-Type": "application/json"}), status)


def test_a_large_body_of_unknown_length(client):
    chunks = (b'"' + b"x" * 2**18 for _ in range(8))
    problem(client.post("/events", content=chunks, headers={"Content-Type": "application/json"}), 413)


def test_a_form_of_another_site_is_not_read(client):
    answer = client.post("/events", content=json.dumps({"events": [ONE]}), headers={"Content-Type": "text/plain"})
    problem(answer, 422)


def test_paths_and_methods_that_are_not_there(client):
    assert problem(client.get("/nothing"), 404) == "Not Found"
    problem(client.put("/events"), 405)
    problem(client.get("/users/" + "x" * 300 + "/recommendations"), 422)
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").json()["info"]["title"] == "hydrarec"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("k=0", "query.k: "),
        (f"k={K + 1}", "query.k: "),
        ("k=x", "query.k: "),
        ("at=never", "query.at: "),
        ("exclude_seen=perhaps", "query.exclude_seen: "),
        ("colour=red", "query.colour: "),
        ("domain=evn", "there is no domain 'evn'; did you mean 'even'"),
        ("filter=domain", "filter must be COLUMN:VALUE"),
        ("filter=colour:red", "items have no column 'colour'"),
        ("filter=domain:%ff", "no item has"),
        ("domain=", "query.domain: "),
    ],
)
def test_questions_that_are_none(client, query, message):
    post(client, ("asker", 3, FIRST, "once"))
    assert problem(client.get(f"/users/asker/recommendations?{query}"), 422).startswith(message)


def test_answers_meet_their_conditions(client):
    post(client, ("b", 3, FIRST, "1"), ("b", "4", FIRST + 1, 2))
    path = "/users/b/recommendations"
    every = items_of(client.get(path, params={"k": K}))
    assert sorted(every) == list(range(1, ITEMS + 1))
    assert items_of(client.get(path)) == every[:10]
    assert items_of(client.get(path, params={"k": 2, "at": "2030-01-01T00:00:00Z"})) == every[:2]
    assert items_of(client.get(path, params={"k": K, "exclude_seen": "true"})) == [i for i in every if i not in (3, 4)]
    even = [item for item in every if item % 2 == 0]
    assert items_of(client.get(path, params={"k": K, "domain": "even"})) == even
    assert items_of(client.get(path, params={"k": K, "filter": "domain:even"})) == even
    assert client.get(path).json()["events"] == 2


def test_lists_of_items_in_a_query(client):
    post(client, ("lists", 3, FIRST, "1"))
    path = "/users/lists/recommendations"
    every = items_of(client.get(path, params={"k": K}))
    listed = [item for item in every if item in (2, 5, 8)]
    assert items_of(client.get(path, params={"candidates": [5, 2, "8", "nothing"]})) == listed
    assert items_of(client.get(path, params={"candidates": [5, 2, 8], "exclude": [2, "nothing"]})) == [
        item for item in listed if item != 2
    ]
    assert items_of(client.get(path, params={"k": K, "exclude": every[:3]})) == every[3:]
    assert items_of(client.get(path, params={"candidates": [5, 2, 8], "domain": "odd", "k": 1})) == [5]
    for name in ("candidates", "exclude"):
        assert problem(client.get(path, params={name: ["1"] * (LISTED + 1)}), 422).startswith(f"query.{name}: ")
        assert items_of(client.post("/recommend", json=history(3, k=K, **{name: [1, 2] * 1_000})))


@given(st.data())
@settings(max_examples=60)
def test_as_many_items_come_as_there_are(clients, data):
    """Whatever is allowed, denied, seen and removed: the best k of what is left, in the order that they have alone."""
    client, items = clients["plain"], range(1, ITEMS + 1)
    some = st.lists(st.sampled_from(items), max_size=ITEMS)
    seen, denied, removed = data.draw(some.filter(len)), data.draw(some), data.draw(some)
    allowed, domain, k = (
        data.draw(some.filter(len)),
        data.draw(st.sampled_from([None, "even"])),
        data.draw(st.integers(1, 15)),
    )
    ranks = items_of(client.post("/recommend", json=history(*seen, k=K)))
    left = {*allowed} - {*removed}
    left = {item for item in left if domain is None or item % 2 == 0}
    body = history(*seen, k=k, exclude_seen=True, candidates=allowed, exclude=denied, domain=domain)
    try:
        for item in removed:
            assert client.delete(f"/items/{item}").status_code == 204
        answer = client.post("/recommend", json=body)
    finally:
        put(client, *({"item": item} for item in {*removed, 1}))
    if left:
        best = [item for item in ranks if item in left - {*denied} - {*seen}]
        assert items_of(answer) == best[:k]
    else:
        problem(answer, 422)


def test_a_history_in_the_body(client):
    every = items_of(client.post("/recommend", json=history(3, "4", k=K)))
    assert items_of(client.post("/recommend", json=history(3, "unknown", 4, k=K))) == every
    answer = client.post("/recommend", json=history(3, 4, k=K, candidates=[5, "6", "?"], exclude=[6]))
    assert items_of(answer) == [5]
    assert answer.json()["user"] is None
    assert items_of(client.post("/recommend", json=history(3, 4, k=K, exclude_seen=True, domain="odd"))) == [
        item for item in every if item % 2 and item != 3
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (history(), "body.history: "),
        (history(*[3] * (HISTORY + 1)), "body.history: "),
        (history("?"), "history: the model knows none of the items"),
        ({"history": [{"item": 3, "time": 1}, {"item": 4}]}, "history: give the times of all events, or of none"),
        (history(3, candidates=[]), "body.candidates: "),
        (history(3, candidates=["?"]), "the model knows none of the candidates"),
        (history(3, user="a"), "body.user: "),
    ],
)
def test_histories_that_are_none(client, body, message):
    assert problem(client.post("/recommend", json=body), 422).startswith(message)


def test_a_model_that_reads_times_needs_them(clients):
    assert "reads when events happened" in problem(clients["time"].post("/recommend", json=history(3, 4)), 422)
    told = {"history": [{"item": 3, "time": "2020-09-13T12:26:40Z"}, {"item": 4, "time": FIRST * 1000}], "k": ITEMS}
    answers = [clients["time"].post("/recommend", json={**told, "at": at}) for at in (FIRST, 2 * FIRST)]
    assert len(items_of(answers[0])) == ITEMS
    assert answers[0].json() != answers[1].json()


def test_ids_of_any_kind_are_the_same_user(client):
    assert post(client, (42, 3, FIRST, 7)).json() == {"accepted": 1, "duplicates": 0}
    assert post(client, ("42", "3", FIRST, "7")).json() == {"accepted": 0, "duplicates": 1}
    for user in ("a/b", "ü n", "..", "x/recommendations", "%", "a?b#c"):
        assert post(client, (user, 3, FIRST, "1")).json()["accepted"] == 1
        path = "".join(f"%{byte:02X}" for byte in user.encode())
        assert client.get(f"/users/{path}/recommendations").json()["user"] == user
        assert client.delete(f"/users/{path}").status_code == 204
        assert client.get(f"/users/{path}/recommendations").status_code == 404


def test_a_line_break_is_a_letter_of_an_id(trained):
    with client_of(Engine(trained["plain"], MemoryStore())) as client:
        for user in ("alice", "alice\n", "al\nice"):
            assert post(client, (user, 3, FIRST)).status_code == 200
        for path in ("alice%0A", "al%0Aice"):
            assert client.get(f"/users/{path}/state").json()["events"] == 1
            assert client.delete(f"/users/{path}").status_code == 204
            assert client.get(f"/users/{path}/state").json()["events"] == 0
        assert client.get("/users/alice/state").json()["events"] == 1
        problem(client.delete("/items/3%0A"), 404)
        assert found(client, query="3")[0] == 3


def test_without_room_a_client_is_sent_away_for_a_moment(trained, monkeypatch):
    """The engine is held up; of the requests that come meanwhile, those beyond the room are refused at once."""
    monkeypatch.setattr(service_module, "EVENTS_ROOM", 3)
    engine = Engine(trained["plain"], MemoryStore())
    began, go, apply = threading.Event(), threading.Event(), engine.apply

    def held(events):
        began.set()
        assert go.wait(60)
        return apply(events)

    engine.apply = held
    answers = []
    with client_of(engine) as client:
        threads = [threading.Thread(target=lambda n=n: answers.append(post(client, ("a", 3, n)))) for n in range(9)]
        threads[0].start()
        assert began.wait(60)
        for thread in threads[1:]:
            thread.start()
        while len(answers) < 5:
            pass
        assert client.get("/healthz").status_code == 200
        go.set()
        for thread in threads:
            thread.join()
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) == 5
        for answer in refused:
            assert "others wait; try again soon" in problem(answer, 503)
            assert answer.headers["Retry-After"] == "1"
        assert client.get("/users/a/recommendations").json()["events"] == 4


def test_searches_beyond_what_can_wait_are_refused_and_hold_up_nothing_else(trained, monkeypatch):
    monkeypatch.setattr(service_module, "SEARCHES_ROOM", 2)
    engine = Engine(trained["plain"], MemoryStore())
    waits, began, go = held(Search.__call__)
    answers = []
    monkeypatch.setattr(Search, "__call__", waits)
    with client_of(engine) as client:
        ask = [threading.Thread(target=lambda: answers.append(client.get("/items?query=3"))) for _ in range(6)]
        ask[0].start()
        assert began.wait(60)
        for thread in ask[1:]:
            thread.start()
        while len(answers) < 3:
            pass
        for answer in answers:
            assert "others wait; try again soon" in problem(answer, 503)
        post(client, ("a", 3, FIRST))
        assert client.get("/users/a/state").json()["events"] == 1
        assert client.get("/users/a/recommendations").status_code == 200
        assert client.delete("/users/a").status_code == 204
        assert client.get("/metrics").status_code == 200
        go.set()
        for thread in ask:
            thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 3


def test_removals_that_wait_are_refused_beyond_a_number_and_hold_up_nothing_else(trained, monkeypatch):
    monkeypatch.setattr(service_module, "ITEMS_ROOM", 20)
    engine = Engine(trained["plain"], MemoryStore())
    engine.items.remove, began, go = held(engine.items.remove)
    answers = []
    with client_of(engine) as client:
        ask = [threading.Thread(target=lambda: answers.append(client.delete("/items/3"))) for _ in range(25)]
        ask[0].start()
        assert began.wait(60)
        for thread in ask[1:]:
            thread.start()
        while len(answers) < 4:
            pass
        for path in ("/items?query=3", "/metrics", "/readyz"):
            assert client.get(path).status_code == 200
        assert client.post("/recommend", json=history(3, 4)).status_code == 200
        go.set()
        for thread in ask:
            thread.join()
    assert sorted(answer.status_code for answer in answers) == [204] * 21 + [503] * 4


def test_requests_that_come_together_are_one_batch(trained):
    engine = Engine(trained["plain"], MemoryStore())
    sizes, began, go, answer = [], threading.Event(), threading.Event(), engine.answer

    def held(requests):
        sizes.append(len(requests))
        began.set()
        assert go.wait(60)
        return answer(requests)

    engine.answer = held
    with client_of(engine) as client:
        post(client, ("a", 3, FIRST))
        threads = [threading.Thread(target=client.get, args=("/users/a/recommendations",)) for _ in range(8)]
        threads[0].start()
        assert began.wait(60)
        for thread in threads[1:]:
            thread.start()
        while client.app.state.service.answer.waiting < 7:
            pass
        go.set()
        for thread in threads:
            thread.join()
    assert sizes == [1, 7]


def test_failures(trained):
    engine = Engine(trained["plain"], MemoryStore())
    with client_of(engine) as client:
        post(client, ("a", 3, FIRST))

        def full(*_):
            raise StoreError("cannot write the store: the disk is full; nothing was changed")

        def broken(*_):
            raise RuntimeError("of user a")

        engine.store.append, engine.store.erase = full, full
        assert "the disk is full" in problem(post(client, ("a", 3, FIRST)), 503)
        assert "the disk is full" in problem(client.delete("/users/a"), 503)
        assert client.get("/users/a/recommendations").json()["events"] == 1
        engine.store.accounts = broken
        assert problem(client.get("/users/a/recommendations"), 500) == "the server failed; its log says where"


def found(client, **query):
    answer = client.get("/items", params=query)
    assert answer.status_code == 200, answer.text
    return [each["item"] for each in answer.json()["items"]]


def put(client, *items):
    return client.post("/items", json={"items": list(items)})


def test_items_are_found(reader):
    assert found(reader, query="ECLAIR cafe") == [3, 11]
    assert found(reader, query="straße") == found(reader, query="STRASSE") == [6]
    assert found(reader, query="x") == []
    assert len(found(reader)) == ITEMS
    assert len(found(reader, limit=5)) == 5
    assert found(reader, id=["7", "nothing", "3"]) == [7, 3]
    assert reader.get("/items?query=spider").json() == {"items": [{"item": 7, "title": "Spider-Man 2", "shelf": "odd"}]}


def test_items_come_and_go(reader):
    post(reader, ("i", 3, FIRST))
    path = "/users/i/recommendations?k=1000"
    rose = {"item": 300, "title": "Rose hip", "shelf": 7}
    assert put(reader, rose, {"item": "2", "shelf": "low"}).json() == {"added": 1, "changed": 1, "unchanged": 0}
    assert put(reader, rose, {"item": 2}).json() == {"added": 0, "changed": 0, "unchanged": 2}
    assert found(reader, query="rose hip") == [300]
    assert items_of(reader.get(path + "&filter=shelf:7")) == [300]
    assert 300 in items_of(reader.post("/recommend", json={"history": [{"item": 300, "time": FIRST}], "k": 99}))
    for _ in range(2):
        assert reader.delete("/items/300").status_code == 204
        assert 300 not in items_of(reader.get(path))
        assert found(reader, query="rose hip") == found(reader, id=300) == []
    assert "no such item" in problem(reader.delete("/items/301"), 404)
    assert put(reader, {"item": 300}).json()["changed"] == 1
    assert 300 in items_of(reader.get(path))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "body.items: "),
        ([{"item": 1}] * (ITEMS_OF_A_CALL + 1), "body.items: "),
        ([{"title": "x"}], "body.items.0.item: Field required"),
        ([{"item": 1, "title": True}], "body.items.0.title: "),
        ([{"item": 1, "title": ["a"]}], "body.items.0.title: "),
        ([{"item": 1, "title": "x" * (TEXT_LENGTH + 1)}], "body.items.0.title: "),
        ([{"item": 1, "title": "\ud800"}], "body.items.0.title: "),
        ([{"item": 1, "colour": "red"}], "items have no column 'colour'"),
        ([{"item": 400}], "item '400' has no text"),
        ([{"item": 1}, {"item": "1"}], "item '1' is there twice"),
    ],
)
def test_items_that_are_none(reader, items, message):
    content = json.dumps({"items": items})
    answer = reader.post("/items", content=content, headers={"Content-Type": "application/json"})
    assert problem(answer, 422).startswith(message)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"query": "x" * 300}, {"id": ["1"] * 101}, {"q": "x"}])
def test_searches_that_are_none(reader, query):
    problem(reader.get("/items", params=query), 422)


def test_an_item_without_text_is_refused_where_ids_are_all_that_is_known(client):
    assert "knows its items by id alone" in problem(put(client, {"item": 99, "domain": "odd"}), 422)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
events = st.fixed_dictionaries({}, optional=dict.fromkeys(("user", "item", "time", "id", "other"), values))


@given(st.lists(events, max_size=3), st.dictionaries(st.text(max_size=5), values, max_size=2))
@settings(max_examples=150)
def test_no_body_makes_the_server_fail(clients, listed, more):
    for name, path in {"events": "/events", "history": "/recommend", "items": "/items"}.items():
        body = {name: listed, **more}
        content = json.dumps(body).encode("utf-8", "surrogatepass")
        answer = clients["time"].post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 400, 422), answer.text
        if answer.status_code != 200:
            problem(answer, answer.status_code)


@given(
    st.binary(max_size=30),
    st.dictionaries(
        st.sampled_from(["k", "at", "domain", "filter", "exclude_seen", "query", "id", "limit"]), st.text()
    ),
)
@settings(max_examples=100)
def test_no_path_or_query_makes_the_server_fail(clients, user, query):
    path = "".join(f"%{byte:02X}" for byte in user)
    query = {name: value.encode("utf-8", "replace") for name, value in query.items()}
    for answer in (
        clients["plain"].get(f"/users/{path}/recommendations", params=query),
        clients["plain"].delete(f"/users/{path}"),
        clients["plain"].delete(f"/items/x{path}"),
        clients["plain"].get("/items", params=query),
    ):
        assert answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("shop.example", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_addresses_of_this_machine(host, own):
    assert is_loopback(host) == own
