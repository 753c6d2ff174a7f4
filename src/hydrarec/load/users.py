"""The users of a load: a few are there all the time, most of them seldom, each with a history of the data set."""

import json
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from hydrarec.data.store import Dataset
from hydrarec.errors import InputError

PREFIX = "load-"  # of the names of all users: no real one's
_DRAWN = 4096  # at once
_NAME_LENGTH = 64  # characters of a user id of the data set in the name


@dataclass(slots=True)
class User:
    """Attributes:
    name: ``load-ID.NUMBER``. The number tells a user from one of the same ID who was erased.
    events: that the server has acknowledged.
    under_way: requests.
    """

    name: str
    events: int = 0
    under_way: int = 0


class Users:
    """Args:
    dataset: whose users these are; each goes on with the history of one, and begins it again at its end.
    most: users at most.
    zipf: the user of rank r comes as often as r to the power of minus this; 0: all alike.
    """

    def __init__(self, dataset: Dataset, *, most: int | None = None, zipf: float = 1.0, seed: int = 0) -> None:
        if not zipf >= 0:
            raise InputError(f"--zipf is {zipf}; it must not be negative")
        self._random = np.random.default_rng(seed)
        lengths = np.diff(dataset.offsets)
        chosen = self._random.permutation(np.flatnonzero(lengths))[:most]
        if not len(chosen):
            raise InputError("there are no users to replay; --users must be at least 1")
        ids = dataset.user_table["user"].take(chosen).to_pylist()
        self._ids = [str(each)[:_NAME_LENGTH] for each in ids]
        self._begins, self._lengths = dataset.offsets[chosen].tolist(), lengths[chosen].tolist()
        self._items, self._item_ids = dataset.items, dataset.item_table["item"].to_pylist()
        self._places, self._numbers = [0] * len(chosen), Counter[int]()
        self._users: dict[int, User] = {}
        weights = np.arange(1, len(chosen) + 1) ** -zipf
        self._sums = np.cumsum(weights) / weights.sum()
        self._drawn: list[int] = []
        self._sent = 0

    def __len__(self) -> int:
        return len(self._ids)

    def draw(self) -> tuple[User, bytes]:
        """Who comes next, and the body of the event."""
        if not self._drawn:
            self._drawn = np.searchsorted(self._sums, self._random.random(_DRAWN)).clip(max=len(self) - 1).tolist()
        rank = self._drawn.pop()
        user = self._users.get(rank) or self._users.setdefault(rank, self._named(rank))
        row = self._items[self._begins[rank] + self._places[rank]]
        self._places[rank] = (self._places[rank] + 1) % self._lengths[rank]
        return user, self.event(user, self._item_ids[row])

    def items(self, count: int) -> list[int | str]:
        """Ids of so many events at most, those of one item once."""
        drawn = self._random.integers(len(self), size=count).tolist()
        places = [self._begins[rank] + int(self._random.integers(self._lengths[rank])) for rank in drawn]
        return [self._item_ids[row] for row in np.unique(self._items[places]).tolist()]

    def event(self, user: User, item: int | str) -> bytes:
        """A body of an event that happens now."""
        self._sent += 1
        number = f"{user.name}.{int(time.time() * 1000)}.{self._sent}"
        event = {"user": user.name, "item": item, "time": int(time.time()), "id": number}
        return json.dumps({"events": [event]}).encode()

    def retire(self) -> User | None:
        """A user who has had events and from now on is drawn no more; another one takes the place."""
        known = [rank for rank, user in self._users.items() if user.events]
        if not known:
            return None
        rank = known[int(self._random.integers(len(known)))]
        self._numbers[rank] += 1
        return self._users.pop(rank)

    def _named(self, rank: int) -> User:
        return User(f"{PREFIX}{self._ids[rank]}.{self._numbers[rank]:04}")
