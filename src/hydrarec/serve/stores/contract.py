"""The contract of a store of users: each one's events, and the state that the model made of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self

import numpy as np

from hydrarec.errors import HydrarecError


class StoreError(HydrarecError):
    """The store cannot do what was asked now; nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a user.

    Attributes:
        item: the caller's own id, as text.
        time: seconds since 1970, as the caller says.
        id: of two events of a user with the same id only the first counts; one without id is always new.
    """

    user: str
    item: str
    time: int
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """What a model remembers of a user, as bytes that only ``version`` of the model can read."""

    version: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the store knows of a user.

    Attributes:
        events: how many there are.
        last: the latest time of them; 0 before the first.
        state: after all of them, of the version that was asked for; None where it must be made from the history.
    """

    events: int = 0
    last: int = 0
    state: State | None = None


@dataclass(frozen=True, kw_only=True)
class History:
    """A user's events in the order in which they were applied: item ids, and (n,) int64 times that never fall.

    ``owner`` tells a user from one of the same name who has been erased.
    """

    items: list[str]
    times: np.ndarray
    owner: int = 0


@dataclass(frozen=True, kw_only=True)
class Change:
    """New events of one user, and the account before them."""

    user: str
    account: Account
    events: list[Event]

    @property
    def times(self) -> list[int]:
        """When each counts as having happened."""
        before = [self.account.last] if self.account.events else []
        times: list[int] = in_order([*before, *(event.time for event in self.events)]).tolist()
        return times[len(before) :]


@dataclass(frozen=True, kw_only=True)
class StoredItem:
    """What became of an item since training.

    Attributes:
        item: its id, as text.
        fields: its columns of the item table, where it is new or was changed; else None.
        removed: not to be recommended.
        vector: of its text, float32, as ``version`` of the model reads it; None where there is none.
    """

    item: str
    fields: dict[str, str | None] | None = None
    removed: bool = False
    vector: bytes | None = None
    version: str = ""


Step = Callable[[Sequence[Change]], Sequence[State | None]]
"""The states after the changes; None for one that shall be made from the history when it is needed."""


def in_order(times: Iterable[int]) -> np.ndarray:
    """The rule for late events: one with a time before the last one's comes after it, as if at the same moment."""
    return np.maximum.accumulate(np.fromiter(times, np.int64))


class Transaction(ABC):
    """What ``Store.append`` does with a store, all of it or nothing."""

    @abstractmethod
    def account(self, user: str, version: str | None) -> Account:
        """An empty one for a user without events; ``version`` as of ``Store.accounts``."""

    @abstractmethod
    def knows(self, user: str, event_id: str) -> bool:
        """Whether the user has an event of this id."""

    @abstractmethod
    def extend(self, change: Change, state: State | None) -> None:
        """Add a change's events to the history, and replace the states, of all versions."""


class Store(ABC):
    """Users, their events in order, and their states.

    Events and the state after them are written together: after a crash at any moment either both are there or neither
    is, and what ``append`` has returned from is there. A user may have states of several versions, each of which is
    after all events of the user.
    """

    read_only: str | None = None  # why nothing can be written

    def append(self, events: Sequence[Event], step: Step, version: str | None = None) -> list[bool]:
        """Add events to their users' histories in the order given, and replace the states by what ``step`` makes.

        Args:
            version: of the states that ``step`` goes on from; None: those that were written last.

        Returns:
            of each event, whether it was new; others change nothing.

        Raises:
            StoreError: it could not be written; nothing was changed.
        """
        new: list[bool] = []
        with self.transaction(events) as transaction:
            drafts: dict[str, _Draft] = {}
            for event in events:
                if event.user not in drafts:
                    drafts[event.user] = _Draft(event.user, transaction, version)
                new.append(drafts[event.user].add(event))
            changes = [draft.change for draft in drafts.values() if draft.change.events]
            for change, state in zip(changes, step(changes) if changes else [], strict=True):
                transaction.extend(change, state)
        return new

    @abstractmethod
    def transaction(self, events: Sequence[Event]) -> AbstractContextManager[Transaction]:
        """One at a time; it takes effect when its block ends without an error, durably. It is about these events."""

    @abstractmethod
    def accounts(self, users: Sequence[str], version: str | None = None) -> list[Account]:
        """Of each user, all as of one moment, with the states of ``version``; None: those that were written last."""

    @abstractmethod
    def history(self, user: str) -> History:
        """All events of a user; empty where there is none."""

    @abstractmethod
    def latest(self, user: str, most: int) -> list[tuple[str, int]]:
        """Item and time, as the caller said it, of a user's last events, the last one first."""

    @abstractmethod
    def seen(self, user: str) -> list[str]:
        """The items of a user's events, each once, in any order."""

    @abstractmethod
    def seen_among(self, user: str, items: Sequence[str]) -> set[str]:
        """Those of ``items`` that a user has an event of. It takes time by their number, not by the user's events."""

    @abstractmethod
    def keep(self, made: Sequence[tuple[str, History, State]]) -> None:
        """Store states of users made from histories, but not where the user has other events by now.

        Raises:
            StoreError: nothing was changed. That others write for long is a reason: who answers does not wait for them.
        """

    @abstractmethod
    def evict(self, most: int) -> int:
        """Drop the states that were written longest ago, so that ``most`` of a version stay; how many were dropped."""

    @abstractmethod
    def outdated(self, version: str, after: int, most: int) -> tuple[list[str], int | None]:
        """Of the next ``most`` users, those with a state of another version and none of this.

        Args:
            after: 0, or what the call before gave.

        Returns:
            users, and what to go on after; None when there is nobody left.
        """

    @abstractmethod
    def drop_others(self, version: str, most: int) -> int:
        """Drop states of other versions, ``most`` at most; how many were dropped."""

    @abstractmethod
    def erase(self, user: str) -> bool:
        """Forget a user for good: events, ids and state. Whether there was anything."""

    @abstractmethod
    def scrub(self) -> bool:
        """Remove what erased users may have left in files; whether nothing remains to be done."""

    @abstractmethod
    def items(self, after: int = 0) -> list[StoredItem]:
        """Items that came, changed or went since training, those that came first first.

        Args:
            after: only those of changes after this ``items_version``; later changes may be among them twice.
        """

    @abstractmethod
    def items_version(self) -> int:
        """How many changes of items there were, by whichever process; 0 before the first. It takes no time."""

    @abstractmethod
    def put_items(self, items: Sequence[StoredItem], known: int | None = None) -> bool:
        """Store items, durably, as one change. Fields and a vector that are None leave those that are stored.

        Args:
            known: the ``items_version`` that the change is meant for; if there is another by now, nothing is stored.

        Returns:
            whether they were stored.
        """

    @abstractmethod
    def size(self) -> int:
        """Bytes of its files; 0 without any."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files; the store cannot be used after that."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Draft:
    """The change of one user while its events are looked at."""

    def __init__(self, user: str, transaction: Transaction, version: str | None) -> None:
        self._transaction, self._ids = transaction, set[str]()
        self.change = Change(user=user, account=transaction.account(user, version), events=[])

    def add(self, event: Event) -> bool:
        if event.id is not None:
            if event.id in self._ids or self._transaction.knows(event.user, event.id):
                return False
            self._ids.add(event.id)
        self.change.events.append(event)
        return True
