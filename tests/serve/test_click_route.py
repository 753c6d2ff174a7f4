"""What goes the short way is answered as the documented routes answer it."""

import json
from unittest.mock import Mock

import pytest
from events import FIRST
from fastapi.testclient import TestClient
from serving import KEY

from hydrarec.serve.engine import Engine
from hydrarec.serve.http.app import make_app
from hydrarec.serve.http.click_route import ClickRoute
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.stores.memory import MemoryStore

JSON = {"content-type": "application/json"}


def post(body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return "POST", "/events", {"content": data, "headers": JSON | headers}


def get(path, **headers):
    return "GET", path, {"headers": headers}


def event(**changes):
    return post({"events": [{"user": "a", "item": 3, "time": FIRST} | changes]})


REQUESTS = [
    event(),
    event(id="x"),
    event(id="x"),
    event(item="4", time="2024-05-31T12:00:00Z", user=7),
    event(time=FIRST + 0.5),
    event(user=""),
    event(user="u" * 257),
    event(time="never"),
    event(time=True),
    event(time=1e300),
    event(item=None),
    event(more=1),
    event(user="\u00fc/\u05d0"),
    post({"events": []}),
    post({}),
    post([]),
    post(b""),
    post(b"{"),
    post(b"\xff\xfe"),
    post(json.dumps({"events": [{"user": "\ud800", "item": 3, "time": FIRST}]}).encode()),
    post({"events": [{"user": "a", "item": 3, "time": FIRST}]}, **{"content-type": "text/plain"}),
    post({"events": [{"user": "a", "item": 3, "time": FIRST}]}, **{"content-type": "application/json; charset=utf-8"}),
    post(b" " * (2**20 + 1)),
    ("PUT", "/events", {}),
    ("POST", "/events/", {}),
    *[
        get(f"/users/{user}/recommendations{query}")
        for user in ("a", "7", "nobody", "%C3%BC%2F%D7%90", "", "u" * 257)
        for query in ("", f"?at={FIRST}")
    ],
    *[
        get(f"/users/a/recommendations?at={FIRST}&{query}")
        for query in (
            "k=3",
            "k=03",
            "k=+3",
            "k=%2B3",
            "k=3.0",
            "k=0",
            "k=",
            "k",
            "k=3&k=4",
            "exclude_seen=true",
            "exclude_seen=on",
            "exclude_seen=perhaps",
            "domain=odd",
            "domain=nothing",
            "domain=",
            "filter=domain:even",
            "filter=domain:even&filter=item:4",
            "filter=nothing",
            "candidates=3&candidates=4",
            "exclude=3",
            "more=1",
            "&k=3",
            "k=3;domain=odd",
            "%ff=1",
            f"exclude={'9' * 300}",
        )
    ],
    get("/users/a/recommendations", host="evil.example"),
    get("/users/a/recommendations", host="[::1]:80"),
    get("/users/a/recommendations", host="[evil"),
    get("/users/a/recommendations", authorization="Bearer wrong"),
    get("/users/a/recommendations", authorization=f"Bearer {KEY}"),
    ("HEAD", "/users/a/recommendations", {}),
]


@pytest.mark.parametrize("keys", [[], [KEY]])
def test_both_ways_answer_alike(trained, keys, monkeypatch):
    short = []
    handle = ClickRoute._recommendations, ClickRoute._events

    async def recommendations(self, scope):
        short.append(await handle[0](self, scope))
        return short[-1]

    async def events(self, receive, came):
        short.append(await handle[1](self, receive, came))
        return short[-1]

    monkeypatch.setattr(ClickRoute, "_recommendations", recommendations)
    monkeypatch.setattr(ClickRoute, "_events", events)
    monkeypatch.setattr(
        "hydrarec.serve.http.bodies.time", Mock(time=lambda: 2 * FIRST)
    )  # both are asked at the same moment

    def answers(is_short):
        app = make_app(Engine(trained["time"], MemoryStore()), Guard("127.0.0.1", keys))
        if not is_short:
            app.router.routes = [route for route in app.router.routes if not isinstance(route, ClickRoute)]
        headers = {"authorization": f"Bearer {KEY}"} if keys else {}
        with TestClient(app, base_url="http://127.0.0.1", headers=headers, raise_server_exceptions=False) as client:
            for method, path, more in REQUESTS:
                answer = client.request(method, path, **more, follow_redirects=False)
                yield answer.status_code, answer.headers.get("content-type"), answer.text
            counted = client.get("/metrics").text
            yield [line for line in counted.splitlines() if line.startswith("hydrarec_requests_total")]

    for request, one, other in zip([*REQUESTS, "metrics"], answers(True), answers(False), strict=True):
        assert one == other, request
    done = [answer for answer in short if answer is not None]
    assert len(done) >= 12
    assert len(short) > len(done)
