"""A store in memory: for tests, and for trying a server out. Nothing of it outlives the process."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, islice
from threading import RLock

from hydrarec.serve.stores.contract import (
    Account,
    Change,
    Event,
    History,
    State,
    Store,
    StoredItem,
    Transaction,
    in_order,
)

_numbers = count(1)


@dataclass
class _User:
    number: int = field(default_factory=lambda: next(_numbers))
    last: int = 0
    events: list[Event] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)

    def account(self, state: State | None) -> Account:
        return Account(events=len(self.events), last=self.last, state=state)


class _States:
    """By user and version, those that were written first first; of each user too."""

    def __init__(self) -> None:
        self.all: dict[tuple[str, str], State] = {}
        self._versions: dict[str, list[str]] = {}  # by user, the one that was written last at the end

    def of(self, user: str, version: str | None) -> State | None:
        versions = self._versions.get(user)
        if not versions:
            return None
        return self.all.get((user, versions[-1] if version is None else version))

    def put(self, user: str, state: State) -> None:
        self.drop([(user, state.version)])
        self.all[user, state.version] = state
        self._versions.setdefault(user, []).append(state.version)

    def drop(self, which: Iterable[tuple[str, str]]) -> int:
        dropped = 0
        for user, version in which:
            if self.all.pop((user, version), None) is None:
                continue
            dropped += 1
            self._versions[user].remove(version)
            if not self._versions[user]:
                del self._versions[user]
        return dropped

    def drop_user(self, user: str) -> None:
        self.drop([(user, version) for version in self._versions.get(user, ())])


class MemoryStore(Store):
    def __init__(self) -> None:
        self._users: dict[str, _User] = {}
        self._states = _States()
        self._items: dict[str, tuple[StoredItem, int]] = {}  # and its last change
        self._items_version = 0
        self._lock = RLock()

    @contextmanager
    def transaction(self, events: Sequence[Event]) -> Iterator[Transaction]:
        with self._lock:
            writes = _Writes(self._users, self._states)
            yield writes
            writes.take_effect()

    def accounts(self, users: Sequence[str], version: str | None = None) -> list[Account]:
        with self._lock:
            return [_account(self._users, self._states, user, version) for user in users]

    def history(self, user: str) -> History:
        with self._lock:
            known = self._users.get(user) or _User(number=0)
            events = list(known.events)
        times = in_order(event.time for event in events)
        return History(items=[event.item for event in events], times=times, owner=known.number)

    def latest(self, user: str, most: int) -> list[tuple[str, int]]:
        with self._lock:
            events = self._users[user].events[::-1][:most] if user in self._users else []
        return [(event.item, event.time) for event in events]

    def seen(self, user: str) -> list[str]:
        with self._lock:
            return list(self._users[user].items) if user in self._users else []

    def seen_among(self, user: str, items: Sequence[str]) -> set[str]:
        with self._lock:
            return self._users[user].items.intersection(items) if user in self._users else set()

    def keep(self, made: Sequence[tuple[str, History, State]]) -> None:
        with self._lock:
            for user, history, state in made:
                known = self._users.get(user)
                if known is not None and (known.number, len(known.events)) == (history.owner, len(history.items)):
                    self._states.put(user, state)

    def evict(self, most: int) -> int:
        dropped = 0
        with self._lock:
            for version in {version for _, version in self._states.all}:
                kept = [each for each in self._states.all if each[1] == version]
                dropped += self._states.drop(kept[: max(0, len(kept) - most)])
        return dropped

    def outdated(self, version: str, after: int, most: int) -> tuple[list[str], int | None]:
        with self._lock:
            names = {user for user, _ in self._states.all} - {user for user, v in self._states.all if v == version}
            numbers = sorted((user.number, name) for name, user in self._users.items() if user.number > after)[:most]
        return [name for _, name in numbers if name in names], numbers[-1][0] if numbers else None

    def drop_others(self, version: str, most: int) -> int:
        with self._lock:
            return self._states.drop(islice([each for each in self._states.all if each[1] != version], most))

    def erase(self, user: str) -> bool:
        with self._lock:
            self._states.drop_user(user)
            return self._users.pop(user, None) is not None

    def scrub(self) -> bool:
        return True

    def items(self, after: int = 0) -> list[StoredItem]:
        with self._lock:
            return [item for item, changed in self._items.values() if changed > after]

    def items_version(self) -> int:
        return self._items_version

    def put_items(self, items: Sequence[StoredItem], known: int | None = None) -> bool:
        with self._lock:
            if known not in (None, self._items_version):
                return False
            self._items_version += 1
            for item in items:
                before, _ = self._items.get(item.item, (item, 0))
                made_by = item if item.vector is not None else before
                fields = before.fields if item.fields is None else item.fields
                now = replace(item, fields=fields, vector=made_by.vector, version=made_by.version)
                self._items[item.item] = now, self._items_version
        return True

    def size(self) -> int:
        return 0

    def close(self) -> None:
        self._users, self._states = {}, _States()


class _Writes(Transaction):
    def __init__(self, users: dict[str, _User], states: _States) -> None:
        self._users, self._states, self._changes = users, states, list[tuple[Change, State | None]]()

    def account(self, user: str, version: str | None) -> Account:
        return _account(self._users, self._states, user, version)

    def knows(self, user: str, event_id: str) -> bool:
        return user in self._users and event_id in self._users[user].ids

    def extend(self, change: Change, state: State | None) -> None:
        self._changes.append((change, state))

    def take_effect(self) -> None:
        for change, state in self._changes:
            user = self._users.setdefault(change.user, _User())
            user.events += change.events
            user.ids |= {event.id for event in change.events if event.id is not None}
            user.items |= {event.item for event in change.events}
            user.last = change.times[-1]
            self._states.drop_user(change.user)
            if state is not None:
                self._states.put(change.user, state)


def _account(users: dict[str, _User], states: _States, user: str, version: str | None) -> Account:
    return users[user].account(states.of(user, version)) if user in users else Account()
