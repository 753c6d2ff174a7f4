"""A store in memory: for tests, and for trying a server out. Nothing of it outlives the process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Lock

from hydrarec.serve.store import Account, Change, Event, History, State, Store, StoredItem, Transaction, in_order

_numbers = count(1)


@dataclass
class _User:
    number: int = field(default_factory=lambda: next(_numbers))
    account: Account = field(default_factory=Account)
    events: list[Event] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


class MemoryStore(Store):
    def __init__(self) -> None:
        self._users: dict[str, _User] = {}  # those whose state is oldest first
        self._items: dict[str, StoredItem] = {}
        self._lock = Lock()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._lock:
            writes = _Writes(self._users)
            yield writes
            writes.take_effect()

    def accounts(self, users: Sequence[str]) -> list[Account]:
        with self._lock:
            return [self._users[user].account if user in self._users else Account() for user in users]

    def history(self, user: str) -> History:
        with self._lock:
            known = self._users.get(user) or _User(number=0)
            events = list(known.events)
        times = in_order(event.time for event in events)
        return History(items=[event.item for event in events], times=times, owner=known.number)

    def seen(self, user: str) -> list[str]:
        return list(dict.fromkeys(self.history(user).items))

    def keep(self, made: Sequence[tuple[str, History, State]]) -> None:
        with self._lock:
            for user, history, state in made:
                known = self._users.get(user)
                if known is not None and (known.number, len(known.events)) == (history.owner, len(history.items)):
                    known.account = replace(known.account, state=state)
                    self._users[user] = self._users.pop(user)

    def evict(self, most: int) -> int:
        with self._lock:
            kept = [user for user in self._users.values() if user.account.state is not None]
            for user in kept[: max(0, len(kept) - most)]:
                user.account = replace(user.account, state=None)
        return max(0, len(kept) - most)

    def erase(self, user: str) -> bool:
        with self._lock:
            return self._users.pop(user, None) is not None

    def scrub(self) -> bool:
        return True

    def items(self) -> list[StoredItem]:
        with self._lock:
            return list(self._items.values())

    def put_items(self, items: Sequence[StoredItem]) -> None:
        with self._lock:
            for item in items:
                before = self._items.get(item.item, item)
                made_by = item if item.vector is not None else before
                fields = before.fields if item.fields is None else item.fields
                self._items[item.item] = replace(item, fields=fields, vector=made_by.vector, version=made_by.version)

    def size(self) -> int:
        return 0

    def close(self) -> None:
        self._users = {}


class _Writes(Transaction):
    def __init__(self, users: dict[str, _User]) -> None:
        self._users, self._changes = users, list[tuple[Change, State | None]]()

    def account(self, user: str) -> Account:
        return self._users[user].account if user in self._users else Account()

    def knows(self, user: str, event_id: str) -> bool:
        return user in self._users and event_id in self._users[user].ids

    def extend(self, change: Change, state: State | None) -> None:
        self._changes.append((change, state))

    def take_effect(self) -> None:
        for change, state in self._changes:
            user = self._users.pop(change.user, None) or _User()
            user.events += change.events
            user.ids |= {event.id for event in change.events if event.id is not None}
            user.account = Account(events=len(user.events), last=change.times[-1], state=state)
            self._users[change.user] = user
