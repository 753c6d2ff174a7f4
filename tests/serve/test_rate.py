"""How often callers may ask."""

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from serving import problem

from hydrarec.cli import main
from hydrarec.serve.engine import Engine
from hydrarec.serve.http import rate as rate_module
from hydrarec.serve.http.app import make_app
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.http.rate import Buckets
from hydrarec.serve.stores.memory import MemoryStore

KEYS = ["a-key-for-the-tests-0123456789", "another-key-for-the-tests-0123"]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_bucket_runs_empty_and_fills():
    clock = Clock()
    buckets = Buckets(4, clock)
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.25]
    assert buckets.take("b") == 0  # has its own
    clock.now += 0.125
    assert buckets.take("a") == 0.125
    clock.now += 0.125
    assert [buckets.take("a") for _ in range(2)] == [0, 0.25]
    clock.now += 1e6
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.25]


def test_less_than_one_a_second():
    clock = Clock()
    buckets = Buckets(0.1, clock)
    assert [buckets.take("a") for _ in range(2)] == [0, 10]
    clock.now += 9
    assert buckets.take("a") == pytest.approx(1)
    clock.now += 1.01
    assert buckets.take("a") == 0


@given(st.floats(0.1, 50), st.lists(st.floats(0, 3), max_size=60))
def test_no_more_than_the_rate_and_no_less(rate, pauses):
    """Who comes back when told gets in, and nobody gets more than a second's worth beyond the rate."""
    clock = Clock()
    buckets, begin = Buckets(rate, clock), clock.now
    for taken, pause in enumerate(pauses, 1):
        clock.now += pause
        wait = buckets.take("a")
        if wait:
            clock.now += wait * (1 + 1e-9) + 1e-9
            assert buckets.take("a") == 0
        assert taken <= max(1, rate) + rate * (clock.now - begin) + 1e-6


def test_callers_are_forgotten_when_there_are_many(monkeypatch):
    monkeypatch.setattr(rate_module, "_CALLERS", 3)
    buckets = Buckets(1, Clock())
    for caller in "abc":
        assert buckets.take(caller) == 0
    assert buckets.take("a") == 1
    assert buckets.take("d") == 0  # b is forgotten: it asked longest ago
    assert [buckets.take(caller) for caller in "acd"] == [1, 1, 1]
    assert buckets.take("b") == 0


def test_over_http(trained):
    app = make_app(Engine(trained["plain"], MemoryStore()), Guard("127.0.0.1", KEYS), rate=0.01)
    with TestClient(app, base_url="http://localhost") as client:

        def asked(key=None, path="/users/a/recommendations"):
            return client.get(path, headers={"Authorization": f"Bearer {key}"} if key else {})

        assert asked(KEYS[0]).status_code == 404
        answer = asked(KEYS[0])
        assert "too often" in problem(answer, 429)
        assert 90 <= int(answer.headers["Retry-After"]) <= 100
        assert asked(KEYS[1]).status_code == 404  # another key, another caller
        assert asked("wrong" * 5).status_code == 401
        for wrong in ("wrong" * 6, None):  # one address, whatever it sends
            problem(asked(wrong), 429)
        problem(asked(path="/items"), 429)
        for _ in range(3):
            assert asked(path="/healthz").status_code == asked(path="/readyz").status_code == 200


def test_rates_that_are_none(trained, capsys):
    for rate in ("0", "-1", "nan"):
        assert main(["serve", str(trained["plain"].run.path), "--rate", rate]) == 2
        assert "it must be above 0" in capsys.readouterr().err
