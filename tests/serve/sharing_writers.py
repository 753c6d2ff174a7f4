"""Write to a store that other processes write to as well. A script, not a test.

Says each acknowledged event, as ["user", "id"], and goes on until it is killed or has no more to do. The model is
``stores.fold``: anything that is lost, doubled or out of order shows in a state.

Arguments: the store, the number of this process, how many appends.
"""

import json
import random
import sys
from contextlib import suppress

from stores import VERSION, event, step

from hydrarec.serve.stores.contract import State, StoredItem, StoreError
from hydrarec.serve.stores.open import open_store

USERS = 6


def write(store, number, appends):
    draw = random.Random(number)
    for turn in range(appends):
        events = [
            event(
                f"user-{draw.randrange(USERS)}", f"item-{draw.randrange(9)}", draw.randrange(99), f"{number}-{turn}-{n}"
            )
            for n in range(draw.choice([1, 3, 10]))
        ]
        visitor = event(f"VISITOR-{number}-{turn}.", "x", 1, f"VISIT-{number}-{turn}.")
        assert all(store.append([*events, visitor], step))
        assert not any(store.append([*events, visitor], step))
        sys.stdout.write("".join(json.dumps([each.user, each.id]) + "\n" for each in events))
        sys.stdout.flush()
        assert store.erase(visitor.user)
        user = f"user-{draw.randrange(USERS)}"
        if draw.random() < 0.3:
            store.evict(draw.randrange(USERS))
        if draw.random() < 0.3:
            history = store.history(user)
            told = "".join(f"{item}@{time};" for item, time in zip(history.items, history.times, strict=True))
            with suppress(StoreError):  # others write for long
                store.keep([(user, history, State(version=VERSION, data=told.encode()))])
        if draw.random() < 0.2:
            store.scrub()
        while not store.put_items([StoredItem(item=f"{number}-{turn}")], store.items_version()):
            pass


if __name__ == "__main__":
    with open_store(sys.argv[1], "event") as opened:
        write(opened, int(sys.argv[2]), int(sys.argv[3]))
