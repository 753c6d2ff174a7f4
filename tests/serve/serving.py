"""A real server process on a free port."""

import os
import re
from contextlib import contextmanager
from pathlib import Path

import httpx
from forked import Forked

KEY = "a-key-for-the-tests-0123456789"


class Server:
    """``hydrarec serve``, ready; ``client`` speaks to it. Its files grow to ``file_bytes`` and no further."""

    def __init__(self, run, *arguments, key=None, host="127.0.0.1", file_bytes=None):
        environment = {name: value for name, value in os.environ.items() if name != "HYDRAREC_API_KEY"}
        if key is not None:
            environment["HYDRAREC_API_KEY"] = key
        command = ["serve", run, "--host", host, "--port", "0", *arguments]
        self.process = Forked(command, environment, file_bytes)
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if found := re.search(r" is served at (http://\S+)$", line):
                self.url = found[1]
                break
        else:
            raise AssertionError(f"the server did not start: {self.lines}")
        # The server closes connections that were idle for 5 seconds; none must be in use just then.
        self.client = httpx.Client(base_url=self.url, timeout=60, limits=httpx.Limits(keepalive_expiry=2))

    def end(self):
        """Stop it as a service manager does; its exit code, and all that it has said."""
        self.process.terminate()
        return self.gone()

    def kill(self):
        self.process.kill()
        return self.gone()

    def gone(self):
        said = self.process.communicate(timeout=300)
        self.client.close()
        return self.process.returncode, "\n".join([*self.lines, *said]).strip()


@contextmanager
def served(run, *arguments, **how):
    server = Server(run, *arguments, **how)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def workers_of(server):
    """The process ids of a server's workers."""
    number = server.process.pid
    return [int(word) for word in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def post(client, *events):
    """Events as (user, item, time, id) or shorter."""
    body = {"events": [dict(zip(("user", "item", "time", "id"), each, strict=False)) for each in events]}
    return client.post("/events", json=body)


def problem(answer, status):
    """The detail of a problem document of this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["title"]
    return body["detail"]
