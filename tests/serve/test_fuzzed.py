"""Malformed requests to a real server: from its own OpenAPI document, and bytes that are no HTTP."""

import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "fuzz"))

from fuzz import exchange, fuzz, served
from malformed import Sent, request

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    """(port, log) of a server that must not have said anything of a failure in the end."""
    folder = tmp_path_factory.mktemp("fuzzed")
    with served(trained["plain"].run.path, folder) as (port, _, log):
        yield port, log
    assert "Traceback" not in log.read_text()


def test_answers_are_what_the_document_says(server):
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server[0]}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:
        assert sum(cases(operation, mode) for mode in GenerationMode), operation.label


def cases(operation, mode):
    """How many requests of one operation were answered as its document says."""
    count = 0

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=8, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
    def holds(case):
        nonlocal count
        case.call_and_validate(checks=CHECKS)
        count += 1

    with suppress(Unsatisfiable):  # there is nothing to get wrong where nothing is taken
        holds()
    return count


def test_whatever_comes_the_server_answers_or_hangs_up(server):
    found = fuzz(server[0], range(1_050), seed=1, at_once=32)
    assert (found["failed"], found["hung"]) == ([], [])
    kinds = found["by_kind"]
    assert {"json", "text", "target", "headers", "lengths", "bytes", "noise"} == set(kinds)
    assert {"200", "422"} <= set(kinds["json"])
    assert "closed" not in kinds["json"]  # each is whole HTTP, and gets an answer
    ready = Sent(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "", True)
    assert exchange(server[0], ready) == [200]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "failed"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}HTTP/1.1 502 Bad Gateway\r\n\r\n", "failed"),
        (b"", "hung"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", None),
    ],
)
def test_a_server_that_fails_is_found_out(answer, told, monkeypatch):
    monkeypatch.setattr("fuzz.PATIENCE", 0.3 if told == "hung" else 60.0)
    connections = []

    def serve(listener):
        for _ in range(2):
            connection, _ = listener.accept()
            connections.append(connection)
            connection.recv(1 << 20)
            if answer:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        found = fuzz(listener.getsockname()[1], range(2), seed=0)
        thread.join()
    for connection in connections:
        connection.close()
    assert {name: found[name] for name in ("failed", "hung")} == {"failed": [], "hung": []} | (
        {told: [0, 1]} if told else {}
    )


def test_a_request_can_be_sent_again():
    assert [request(3, number) for number in range(70)] == [request(3, number) for number in range(70)]
    assert request(3, 0) != request(4, 0)
