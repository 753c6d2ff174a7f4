"""A server with the states of many users: memory, and seconds from its start to being ready.

    python many_users.py --out work                   # bar 2: a million users, 21 GB on disk
    python many_users.py --out work --users 20000

The store's pages are dropped from the system's cache before the server starts. Prints one JSON object.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from fixture import make_log, make_run
from process import cpu_seconds, load, memory_mb, server
from speed import hydrarec_serve

from hydrarec.progress import Lines
from hydrarec.recommender import Recommender
from hydrarec.serve.engine import Engine
from hydrarec.serve.stores.contract import Event
from hydrarec.serve.stores.disk import FILE, DiskStore

_AT_ONCE = 1_000


def fill(run: Path, folder: Path, users: int, items: int) -> None:
    """Give each of ``users``, called as ``hydrarec load`` calls them, three events."""
    drawn = np.random.default_rng(0).integers(1, items + 1, (users, 3)).tolist()
    with DiskStore(folder, durability="batch") as store, Lines().task("fill", users, unit="users") as task:
        engine = Engine(Recommender.load(run), store)
        for first in range(0, users, _AT_ONCE):
            chosen = range(first, min(first + _AT_ONCE, users))
            engine.apply(
                [
                    Event(user=f"load-{user + 1}.0000", item=str(item), time=1_700_000_000)
                    for user in chosen
                    for item in drawn[user]
                ]
            )
            task.advance(len(chosen))


def forget_pages(folder: Path) -> None:
    """Let the system drop what it has of the files in memory."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=300)
    arguments = parser.parse_args()
    out, users = arguments.out, arguments.users
    run = make_run(out / "hydra", n_items=arguments.items)
    folder = out / f"store-of-{users}"
    if not (folder / FILE).exists():
        fill(run, folder, users, arguments.items)
    data = make_log(out / f"log-of-{users}", n_items=arguments.items, events=3 * users, users=users)
    forget_pages(folder)
    with server(*hydrarec_serve(run, folder, "batch")) as (url, process, ready):
        fresh, cpu = memory_mb(process), cpu_seconds(process)
        time.sleep(1)
        report = load(data, url, "--rate", arguments.rate, "--seconds", arguments.seconds, "--zipf", 0)
        found = {
            "users": users,
            "store_gb": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e9, 2),
            "seconds_to_ready": round(ready, 2),
            "cpu_seconds_to_ready": round(cpu, 2),
            "memory_mb_ready": round(fresh),
            "memory_mb_after_load": round(memory_mb(process)),
            "load": {key: report[key] for key in ("pairs", "pairs_per_second", "failed", "refused", "requests")},
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
