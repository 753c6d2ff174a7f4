"""Write events in forked processes, and kill each at a random moment. A script, not a test.

A process writes batch after batch and says which were acknowledged; it goes on where the one before was killed, some
batches earlier, as a client does that has had no answer. Prints {"acknowledged": batches, "codes": [...]}, -9 for the
killed.

Arguments: run folder, store folder, durability, how many kills, seed.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from events import FIRST, ITEMS

from hydrarec import Recommender
from hydrarec.serve.engine import Engine
from hydrarec.serve.stores.contract import Event
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore

USERS, AGAIN = 12, 3  # batches sent again
MOST, SECONDS = 6, 0.03  # a kill comes after up to so many acknowledgements, and then up to so many seconds later


def batch(number):
    """Events of a batch; each has a time of its own, which tells it from all others."""
    draw = random.Random(number)
    return [
        Event(
            user=f"u{draw.randrange(USERS)}",
            item=str(draw.randrange(1, ITEMS + 1)),
            time=FIRST + 100 * number + place,
            id=f"{number}-{place}" if draw.random() < 0.8 else None,
        )
        for place in range(draw.choice([1, 2, 12, 30]))
    ]


def again(number):
    """What a client sends that does not know whether the batch was stored: what cannot be counted twice."""
    return [event for event in batch(number) if event.id is not None]


def visitor(number):
    """An event of a user who is erased right after it."""
    return Event(user=f"visitor-{number:06}", item="3", time=FIRST, id=f"visit-{number}")


def write(recommender, place, durability, first, tell):
    store = DiskStore(place, durability=durability)
    engine = Engine(recommender, store)
    for number in range(max(0, first - AGAIN), first + 10**6):
        engine.apply(again(number) if number <= first else batch(number))
        os.write(tell, f"{number}\n".encode())
        if number % 7 == 0:
            engine.apply([visitor(number)])
            engine.erase(visitor(number).user)
            engine.tidy()


def killed(recommender, place, durability, first, draw):
    """(number of the first batch that was not acknowledged, exit code) of a process killed at a random moment."""
    read, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            write(recommender, place, durability, first, tell)
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(read) as answers:
        told = [answers.readline() for _ in range(draw.randint(0, MOST))]
        time.sleep(draw.uniform(0, SECONDS))
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told += answers.readlines()
    return max([first, *(int(line) + 1 for line in told if line)]), code


if __name__ == "__main__":
    recommender, place, durability = Recommender.load(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    Engine(recommender, MemoryStore()).warm_up()  # before the forks, so that they have time to write
    draw = random.Random(sys.argv[5])
    number, codes = 0, []
    for _ in range(int(sys.argv[4])):
        number, code = killed(recommender, place, durability, number, draw)
        codes.append(code)
    print(json.dumps({"acknowledged": number, "codes": codes}))
