"""What is special about a store in a Redis or Valkey server: the server ends, comes back, or is set up otherwise."""

import sys

import pytest
from events import FIRST
from redis_servers import RedisServer
from serving import post, problem, served
from stores import event, step, told

from hydrarec import InputError
from hydrarec.serve.stores.contract import StoreError
from hydrarec.serve.stores.redis_store import RedisStore


def everything(client):
    """All that a server has, as bytes."""
    found = []
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        found.append(key)
        if kind == b"hash":
            found += [each for pair in client.hgetall(key).items() for each in pair]
        elif kind == b"zset":
            found += client.zrange(key, 0, -1)
        elif kind == b"list":
            found += client.lrange(key, 0, -1)
        else:
            found += client.smembers(key) if kind == b"set" else [client.get(key)]
    return b"\n".join(found)


def test_nothing_is_left_of_the_erased(redis_server):
    client = redis_server.client()
    client.flushall()
    with RedisStore(redis_server.url) as store:
        before = client.dbsize()
        store.append([event("SECRET", "SECRET-ITEM", 1, "SECRET-ID"), event("other", "x", 1, "1")], step)
        both = client.dbsize()
        assert everything(client).count(b"SECRET") >= 5
        assert store.erase("SECRET")
        assert b"SECRET" not in everything(client)
        assert client.dbsize() < both
        store.erase("other")
        left = set(client.scan_iter()) - {b"hydrarec:format", b"hydrarec:numbers", b"hydrarec:clock"}
        assert (before, left) == (1, set())


def test_a_store_of_the_first_format_gets_what_it_lacks(redis_server):
    client = redis_server.client()
    client.flushall()
    with RedisStore(redis_server.url) as store:
        store.append([event("a", f"x{k}", k) for k in range(2_500)], step)
        store.append([event("b", "y", 1)], step)
    client.delete(*client.scan_iter("hydrarec:x:*"))
    client.set("hydrarec:format", "1")
    for _ in range(2):
        with RedisStore(redis_server.url) as store:
            assert store.seen_among("a", ["x0", "x2499", "y"]) == {"x0", "x2499"}
            assert store.seen_among("b", ["x0", "y"]) == {"y"}
            assert client.get("hydrarec:format") == b"2"


def test_what_was_acknowledged_outlives_a_kill_of_the_server(tmp_path_factory, tmp_path):
    server = RedisServer(short(tmp_path_factory))
    try:
        with RedisStore(server.url) as store:
            for k in range(20):
                store.append([event("a", f"x{k}", k, f"{k}")], step)
                store.put_items([])
            server.kill()
            with pytest.raises(StoreError, match="send it again, what has an id does not count twice"):
                store.append([event("a", "y", 99, "99")], step)
            with pytest.raises(StoreError, match="cannot read the store"):
                store.accounts(["a"])
            server.start()
            assert store.append([event("a", "x19", 19, "19"), event("a", "y", 99, "99")], step) == [False, True]
            assert (store.accounts(["a"])[0].events, store.items_version()) == (21, 20)
            assert store.accounts(["a"])[0].state.data == told(store, "a")
    finally:
        server.kill()


def test_requests_are_refused_while_the_server_is_away(trained, tmp_path_factory):
    server = RedisServer(short(tmp_path_factory))
    try:
        with served(trained["plain"].run.path, "--state", server.url, "--workers", 2) as web:
            assert post(web.client, ("a", 3, FIRST, "1")).json() == {"accepted": 1, "duplicates": 0}
            server.kill()
            for answer in (post(web.client, ("a", 4, FIRST, "2")), web.client.get("/users/a/recommendations")):
                assert "send it again" in problem(answer, 503)
                assert answer.headers["Retry-After"] == "10"
            assert web.client.get("/healthz").status_code == 200
            server.start()
            assert post(web.client, ("a", 3, FIRST, "1"), ("a", 4, FIRST, "2")).json()["duplicates"] == 1
            assert web.client.get("/users/a/recommendations").json()["events"] == 2
            assert web.client.delete("/users/a").status_code == 204
            code, said = web.end()
        assert code == 0, said
    finally:
        server.kill()


def test_writers_of_one_user_go_on_after_each_other(redis_server):
    redis_server.client().flushall()
    with RedisStore(redis_server.url) as one, RedisStore(redis_server.url) as other:
        turns = []

        def late(changes):
            if not turns:  # the other is faster, once
                turns.append(other.append([event("a", "y", 2, "y")], step))
            return step(changes)

        assert one.append([event("a", "x", 1, "x"), event("a", "y", 2, "y")], late) == [True, False]
        assert turns == [[True]]
        assert one.accounts(["a"])[0].state.data == told(one, "a") == b"y@2;x@2;"


def test_a_server_that_may_lose_users_is_told_of(tmp_path_factory, redis_server, capsys):
    RedisStore(redis_server.url).close()
    assert capsys.readouterr().err == ""
    server = RedisServer(short(tmp_path_factory), "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    try:
        RedisStore(server.url).close()
        said = " ".join(capsys.readouterr().err.split())
        assert "(maxmemory-policy allkeys-lru); set noeviction" in said
        assert "may lose what it has acknowledged when it ends; set appendonly yes" in said
        server.client().config_set("maxmemory-policy", "noeviction")
        with RedisStore(server.url) as store:
            server.client().config_set("maxmemory", 1)
            with pytest.raises(StoreError, match="memory"):
                store.append([event("a", "x", 1)], step)
            assert store.accounts(["a"])[0].events == 0
        server.client().config_set("maxmemory", 0)
        assert server.client().set("hydrarec:format", "9")
        with pytest.raises(InputError, match="a store of format b'9', this hydrarec knows b'2'"):
            RedisStore(server.url)
        server.client().replicaof("127.0.0.1", 1)
        with pytest.raises(InputError, match="is a replica; name its primary"):
            RedisStore(server.url)
    finally:
        server.kill()


def test_what_cannot_be_used(tmp_path, monkeypatch):
    pytest.importorskip("redis")
    with pytest.raises(InputError, match="is the server up") as error:
        RedisStore(f"unix://:secret-password@{tmp_path}/nothing?password=secret-password")
    assert "secret-password" not in str(error.value)
    with pytest.raises(InputError, match="cannot be used"):
        RedisStore("redis://127.0.0.1:1/0")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(InputError, match=r"pip install 'hydrarec\[serve-redis\]'"):
        RedisStore("redis://127.0.0.1:1/0")


def short(tmp_path_factory):
    """A folder for a socket."""
    return tmp_path_factory.mktemp("s")
