"""Writers killed at random moments: nothing acknowledged is lost, nothing doubled, states are those of the history."""

import collections
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from killing_writers import USERS, again, batch, visitor
from stores import file_bytes

from hydrarec.serve.engine import Engine
from hydrarec.serve.stores.contract import Event
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore

HERE = Path(__file__).parent
KILLS = int(os.environ.get("HYDRAREC_TEST_KILLS", "8"))


def kill_writers(run, place, durability):
    seed = random.SystemRandom().randrange(2**32)
    print(f"moments drawn with seed {seed}")  # shown when a test fails
    paths = [str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(HERE / "killing_writers.py"), str(run), str(place), durability, str(KILLS), str(seed)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600 + KILLS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("name", "durability"), [("plain", "event"), ("plain", "batch"), ("time", "event")])
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(trained, tmp_path, name, durability):
    recommender = trained[name]
    told = kill_writers(recommender.run.path, tmp_path / "store", durability)
    assert set(told["codes"]) == {-9}  # none failed by itself
    acknowledged = told["acknowledged"]
    assert acknowledged > 0
    users = [f"u{user}" for user in range(USERS)]
    with DiskStore(tmp_path / "store") as store:
        engine = Engine(recommender, store)
        engine.apply(again(acknowledged))  # the client of the last process comes back, too
        histories = {user: store.history(user) for user in users}
        counts = collections.Counter(
            (user, item, time)
            for user, history in histories.items()
            for item, time in zip(history.items, history.times.tolist(), strict=True)
        )
        accounts = store.accounts(users)
        gone = [number for number in range(0, acknowledged, 7) if store.accounts([visitor(number).user])[0].events == 0]
        assert store.scrub()
        assert not [number for number in gone if visitor(number).user.encode() in file_bytes(tmp_path)]
    assert set(counts.values()) == {1}
    sent = {(event.user, event.item, event.time) for number in range(acknowledged + 1) for event in batch(number)}
    assert set(counts) <= sent
    # An event without an id may be lost if it was not acknowledged: the first of a process that was killed early.
    certain = [event for number in range(acknowledged + 1) for event in again(number)]
    assert {(event.user, event.item, event.time) for event in certain} <= set(counts)
    assert sum(counts.values()) == sum(account.events for account in accounts)
    assert accounts == replayed(recommender, histories)


def replayed(recommender, histories):
    """Accounts of a fresh store that is told the histories."""
    events = [
        Event(user=user, item=item, time=time)
        for user, history in histories.items()
        for item, time in zip(history.items, history.times.tolist(), strict=True)
    ]
    with MemoryStore() as store:
        Engine(recommender, store).apply(events)
        return store.accounts(list(histories))
