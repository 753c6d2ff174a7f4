"""What the tests of stores share."""

import random
from contextlib import suppress

from hydrarec.serve.stores.contract import Event, State

VERSION = "v1"


def event(user, item, time=0, id=None):
    return Event(user=user, item=item, time=time, id=id)


def fold(change):
    """A model whose state is all that it was told, in order: anything lost, doubled or out of order shows."""
    if change.account.events and change.account.state is None:
        return None
    before = change.account.state.data.decode() if change.account.state else ""
    told = "".join(f"{event.item}@{time};" for event, time in zip(change.events, change.times, strict=True))
    return State(version=VERSION, data=(before + told).encode())


def step(changes):
    return [fold(change) for change in changes]


def told(store, user):
    """What the state of ``fold`` must be, by the history."""
    history = store.history(user)
    return "".join(f"{item}@{time};" for item, time in zip(history.items, history.times, strict=True)).encode()


def file_bytes(folder):
    """What all files hold; one that goes meanwhile holds nothing."""
    found = []
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):
            found.append(path.read_bytes() if path.is_file() else b"")
    return b"".join(found)


def random_events(draw: random.Random, n, users=5, ids=20):
    return [
        event(
            f"user-{draw.randrange(users)}",
            f"item-{draw.randrange(9)}",
            draw.randrange(100),
            f"id-{draw.randrange(ids)}" if draw.random() < 0.7 else None,
        )
        for _ in range(n)
    ]
