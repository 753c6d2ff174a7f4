"""The store in a Redis or Valkey server: for servers on many hosts. How durable it is, that server's settings say."""

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from hydrarec.errors import InputError
from hydrarec.progress import say
from hydrarec.serve.stores import redis_scripts as scripts
from hydrarec.serve.stores.contract import (
    Account,
    Change,
    Event,
    History,
    State,
    Step,
    Store,
    StoredItem,
    StoreError,
    Transaction,
    in_order,
)

SCHEMES = ("redis://", "rediss://", "unix://")
_FORMAT = b"2"  # 1 had no set of each user's items
_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 10.0
_TRIES = 100  # of an append, when others write to the same users
_ITEMS = 1_000  # in one command
_EVICTED = 1_000  # in one go: the server does nothing else meanwhile


class RedisStore(Store):
    """Args:
    url: ``redis://HOST:PORT/DB``, ``rediss://`` (TLS) or ``unix://PATH?db=DB``. A password that is not in it may be in
        the environment, HYDRAREC_REDIS_PASSWORD.

    Raises:
        InputError: the library is not installed, the server is not there, or it is a cluster or a replica.
    """

    def __init__(self, url: str) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise InputError(
                f"a store at {url.partition(':')[0]}:// needs redis ({error}); "
                "install it: pip install 'hydrarec[serve-redis]'"
            ) from error
        self._error, self._name = redis.RedisError, _without_password(url)
        password = os.environ.get("HYDRAREC_REDIS_PASSWORD")
        try:
            self._redis: Any = redis.Redis.from_url(
                url,
                socket_connect_timeout=_CONNECT_SECONDS,
                socket_timeout=_ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),  # what was lost on the way may have been done
                **({} if password is None else {"password": password}),
            )
            told = self._redis.info()
            if told.get("cluster_enabled"):
                raise InputError(f"{self._name} is a cluster; a store is in one server (docs/serving.md)")
            if told.get("role") == "slave":
                raise InputError(f"{self._name} is a replica; name its primary")
            self._redis.set("hydrarec:format", _FORMAT, nx=True)
            found = self._redis.get("hydrarec:format")
            if found == b"1":
                found = self._from_first_format()
        except (redis.RedisError, ValueError) as error:
            raise InputError(f"the store {self._name} cannot be used ({error}); is the server up?") from error
        if found != _FORMAT:
            raise InputError(f"{self._name} has a store of format {found!r}, this hydrarec knows {_FORMAT!r}")
        every = (
            scripts.ACCOUNTS,
            scripts.APPEND,
            scripts.KEEP,
            scripts.EVICT,
            scripts.DROP_OTHERS,
            scripts.OUTDATED,
            scripts.ERASE,
            scripts.PUT_ITEMS,
        )
        self._scripts = {script: self._redis.register_script(script) for script in every}
        for warning in _warnings(told):
            say(f"warning: the store {self._name} {warning}")

    def append(self, events: Sequence[Event], step: Step, version: str | None = None) -> list[bool]:
        for number in range(_TRIES):
            try:
                return super().append(events, step, version)
            except _OthersError:
                time.sleep(random.uniform(0, min(0.05, 0.001 * 2**number)))
        raise StoreError(f"too many write to the same users of {self._name} at once; nothing was changed")

    @contextmanager
    def transaction(self, events: Sequence[Event]) -> Iterator[Transaction]:
        writes = _Writes(self, events)
        yield writes
        if writes.told and not self.do("write", scripts.APPEND, *writes.told):
            raise _OthersError

    def accounts(self, users: Sequence[str], version: str | None = None) -> list[Account]:
        return [account for _, account in self.numbered(users, version)]

    def numbered(self, users: Sequence[str], version: str | None) -> list[tuple[int, Account]]:
        """Accounts, each with the number of its user, 0 without one."""
        found = []
        for told in self.do("read", scripts.ACCOUNTS, version or "", *users):
            number, events, last, of, data = told or (0, 0, 0, b"", b"")
            state = State(version=of.decode(), data=data) if of else None
            found.append((int(number), Account(events=int(events), last=int(last), state=state)))
        return found

    def known(self, events: Sequence[tuple[int, str]]) -> list[bool]:
        """Whether the users of these numbers have events of these ids."""
        with self._errors("read"), self._redis.pipeline(transaction=False) as together:
            for number, name in events:
                together.sismember(f"hydrarec:i:{number}", name)
            return list(map(bool, together.execute()))

    def history(self, user: str) -> History:
        number, events = self._events(user, 0, -1)
        times = in_order(moment for _, moment in events)
        return History(items=[item for item, _ in events], times=times, owner=number)

    def latest(self, user: str, most: int) -> list[tuple[str, int]]:
        return self._events(user, -most, -1)[1][::-1]

    def seen(self, user: str) -> list[str]:
        return list({item for item, _ in self._events(user, 0, -1)[1]})

    def seen_among(self, user: str, items: Sequence[str]) -> set[str]:
        with self._errors("read"):
            number = int(self._redis.hget(f"hydrarec:u:{user}", "number") or 0)
            with self._redis.pipeline(transaction=False) as together:
                for item in items:
                    together.sismember(f"hydrarec:x:{number}", item)
                return {item for item, seen in zip(items, together.execute(), strict=True) if seen}

    def keep(self, made: Sequence[tuple[str, History, State]]) -> None:
        told = [(user, of.owner, len(of.items), state.version, state.data) for user, of, state in made]
        self.do("write", scripts.KEEP, *(word for each in told for word in each))

    def evict(self, most: int) -> int:
        dropped = 0
        while more := self.do("evict from", scripts.EVICT, most, _EVICTED):
            dropped += more
        return dropped

    def outdated(self, version: str, after: int, most: int) -> tuple[list[str], int | None]:
        last, *users = self.do("read", scripts.OUTDATED, version, after, most)
        return [user.decode() for user in users], int(last) if last else None

    def drop_others(self, version: str, most: int) -> int:
        return int(self.do("write", scripts.DROP_OTHERS, version, most))

    def erase(self, user: str) -> bool:
        return bool(self.do("erase from", scripts.ERASE, user))

    def scrub(self) -> bool:
        """Files are the server's own; docs/serving.md says what is left in them."""
        return True

    def items(self, after: int = 0) -> list[StoredItem]:
        with self._errors("read"), self._redis.pipeline(transaction=False) as together:
            for name in (names := self._redis.zrangebyscore("hydrarec:items", f"({after}", "+inf")):
                together.hgetall(b"hydrarec:item:" + name)
            found = sorted(zip(names, together.execute(), strict=True), key=lambda each: int(each[1][b"number"]))
        return [
            StoredItem(
                item=name.decode(),
                fields=json.loads(told[b"fields"]) if b"fields" in told else None,
                removed=told[b"removed"] == b"1",
                vector=told.get(b"vector"),
                version=told[b"version"].decode(),
            )
            for name, told in found
        ]

    def items_version(self) -> int:
        with self._errors("read"):
            return int(self._redis.get("hydrarec:items_version") or 0)

    def put_items(self, items: Sequence[StoredItem], known: int | None = None) -> bool:
        told = [
            (
                each.item,
                "" if each.fields is None else json.dumps(each.fields),
                int(each.removed),
                each.vector or b"",
                each.version,
            )
            for each in items
        ]
        words = (word for each in told for word in each)
        return bool(self.do("write", scripts.PUT_ITEMS, "" if known is None else known, *words))

    def size(self) -> int:
        with self._errors("read"):
            return int(self._redis.info("memory")["used_memory"])

    def close(self) -> None:
        self._redis.close()

    def do(self, what: str, script: str, *told: str | bytes | int) -> Any:
        with self._errors(what):
            return self._scripts[script](args=told)

    def _events(self, user: str, first: int, last: int) -> tuple[int, list[tuple[str, int]]]:
        """A user's number, 0 without one, and item and time of events."""
        with self._errors("read"):
            number = int(self._redis.hget(f"hydrarec:u:{user}", "number") or 0)
            events = self._redis.lrange(f"hydrarec:e:{number}", first, last) if number else []
        return number, [(item, moment) for item, moment in map(json.loads, events)]

    def _from_first_format(self) -> bytes:
        for _, number in self._redis.zscan_iter("hydrarec:users"):
            events = self._redis.lrange(f"hydrarec:e:{int(number)}", 0, -1)
            for first in range(0, len(events), _ITEMS):
                items = [json.loads(each)[0] for each in events[first : first + _ITEMS]]
                self._redis.sadd(f"hydrarec:x:{int(number)}", *items)
        self._redis.set("hydrarec:format", _FORMAT)
        return _FORMAT

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            # An answer that was lost on the way leaves it open whether the server has done it.
            raise StoreError(
                f"cannot {what} the store {self._name}: {error}; send it again, what has an id does not count twice"
            ) from error


class _OthersError(Exception):
    """Others have written to the same users meanwhile."""


class _Writes(Transaction):
    """What an append reads, in two questions for all its users, and what it writes, in one.

    The server does it if the users have as many events as they had when they were read.
    """

    def __init__(self, store: RedisStore, events: Sequence[Event]) -> None:
        self._store, self._asked = store, list(dict.fromkeys(event.user for event in events))
        self._events, self._found = events, dict[str, tuple[int, Account]]()
        self._known = set[tuple[str, str]]()
        self.told: list[str | bytes | int] = []

    def account(self, user: str, version: str | None) -> Account:
        if not self._found:
            self._found = dict(zip(self._asked, self._store.numbered(self._asked, version), strict=True))
            ids = {(each.user, each.id) for each in self._events if each.id is not None and self._found[each.user][0]}
            asked = [(user, name) for user, name in ids if name is not None]
            known = self._store.known([(self._found[user][0], name) for user, name in asked])
            self._known = {each for each, is_known in zip(asked, known, strict=True) if is_known}
        return self._found[user][1]

    def knows(self, user: str, event_id: str) -> bool:
        return (user, event_id) in self._known

    def extend(self, change: Change, state: State | None) -> None:
        number, account = self._found[change.user]
        made: tuple[str, bytes] = ("", b"") if state is None else (state.version, state.data)
        self.told += [change.user, number or "", account.events, change.times[-1], *made, len(change.events)]
        for event in change.events:
            self.told += [json.dumps([event.item, event.time]), "" if event.id is None else f"x{event.id}"]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _warnings(told: dict[str, Any]) -> Iterator[str]:
    """What a server's own account of itself means for users' data."""
    if told.get("maxmemory_policy", "noeviction") != "noeviction":
        yield f"may drop users when its memory is full (maxmemory-policy {told['maxmemory_policy']}); set noeviction"
    if not told.get("aof_enabled"):
        yield "may lose what it has acknowledged when it ends; set appendonly yes"
