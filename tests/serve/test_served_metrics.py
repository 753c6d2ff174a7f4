"""What /metrics says after what has happened."""

import threading
from unittest.mock import Mock

import pytest
from events import FIRST, ITEMS
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from serving import post

from hydrarec.serve.engine import Engine
from hydrarec.serve.http.app import make_app
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.stores.contract import StoreError
from hydrarec.serve.stores.disk import DiskStore

KEY = "a-key-for-the-tests-0123456789"
SAID = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def engine(trained, tmp_path):
    with DiskStore(tmp_path) as store:
        yield Engine(trained["plain"], store)


@pytest.fixture
def client(engine):
    app = make_app(engine, Guard("127.0.0.1", [KEY]))
    with TestClient(app, base_url="http://localhost", headers=SAID, raise_server_exceptions=False) as client:
        yield client


def samples(client):
    """(name, labels as sorted pairs) -> value."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(found, name, **labels):
    return found.get((name, tuple(sorted(labels.items()))))


def test_what_happened_is_counted(client, engine):
    post(client, ("secret-user", 3, FIRST, "secret-1"), ("other", 4, FIRST))
    post(client, ("secret-user", 3, FIRST, "secret-1"))
    path = "/users/secret-user/recommendations"
    for _ in range(3):
        assert client.get(path).status_code == 200
    assert client.get("/users/secret-nobody/recommendations").status_code == 404
    assert client.get(path + "?k=0").status_code == 422
    assert client.get("/secret-path").status_code == 404
    engine.store.evict(0)
    assert client.get(path).status_code == 200
    assert client.delete("/items/3").status_code == 204
    assert client.get("/items?query=secret").status_code == 200
    found = samples(client)
    route = "/users/{user:id}/recommendations"
    assert value(found, "hydrarec_requests_total", route=route, status="200") == 4
    assert value(found, "hydrarec_requests_total", route=route, status="404") == 1
    assert value(found, "hydrarec_requests_total", route=route, status="422") == 1
    assert value(found, "hydrarec_requests_total", route="none", status="404") == 1
    assert value(found, "hydrarec_requests_total", route="/events", status="200") == 2
    assert value(found, "hydrarec_request_seconds_count", route=route) == 6
    assert value(found, "hydrarec_request_seconds_bucket", route=route, le="+Inf") == 6
    assert 0 < value(found, "hydrarec_request_seconds_sum", route=route) < 60
    assert value(found, "hydrarec_events_total", was="new") == 2
    assert value(found, "hydrarec_events_total", was="known") == 1
    assert value(found, "hydrarec_states_made_total") == 1
    assert value(found, "hydrarec_catalog_items") == ITEMS - 1
    assert value(found, "hydrarec_store_bytes") == engine.store.size() > 0
    assert value(found, "hydrarec_model_info", version=engine.version) == 1
    assert [value(found, "hydrarec_waiting", queue=queue) for queue in ("events", "answers", "items")] == [0, 0, 0]
    assert "secret" not in client.get("/metrics").text


def test_refusals_are_counted_by_reason(client, engine):
    assert client.get("/users/a/recommendations", headers={"Authorization": "Bearer no"}).status_code == 401
    assert client.post("/events", content=b"x" * 2**21).status_code == 413
    assert client.post("/events", content=(b"x" * 2**20 for _ in range(2))).status_code == 413

    def full(*_):
        raise StoreError("the disk is full")

    engine.store.append = full
    assert post(client, ("a", 3, FIRST)).status_code == 503
    engine.store.accounts = lambda users: 1 / 0
    assert client.get("/users/a/recommendations").status_code == 500
    found = samples(client)
    reasons = {"key": 1, "size": 2, "store": 1, "busy": None}
    assert {reason: value(found, "hydrarec_refused_total", reason=reason) for reason in reasons} == reasons
    assert value(found, "hydrarec_requests_total", route="/users/{user:id}/recommendations", status="500") == 1


def test_what_waits_is_seen(client, engine):
    began, go, answer = threading.Event(), threading.Event(), engine.answer

    def held(requests):
        began.set()
        assert go.wait(60)
        return answer(requests)

    client.app.state.service.answer._work = held
    post(client, ("a", 3, FIRST))
    threads = [threading.Thread(target=client.get, args=("/users/a/recommendations",)) for _ in range(4)]
    threads[0].start()
    assert began.wait(60)
    for thread in threads[1:]:
        thread.start()
    while value(samples(client), "hydrarec_waiting", queue="answers") < 3:
        pass
    go.set()
    for thread in threads:
        thread.join()


def test_a_store_that_is_away_has_no_size(client, engine, monkeypatch):
    assert "hydrarec_store_bytes" in client.get("/metrics").text
    monkeypatch.setattr(engine.store, "size", Mock(side_effect=StoreError("away")))
    found = client.get("/metrics")
    assert found.status_code == 200
    assert "hydrarec_store_bytes" not in found.text


def test_the_key_is_needed(client):
    assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401
