"""A load from its settings to its report."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.load.client import Client
from hydrarec.load.counts import Counts
from hydrarec.load.memory import Memory
from hydrarec.load.report import measured
from hydrarec.load.server import known, read
from hydrarec.load.soak import Soak
from hydrarec.load.target import Target
from hydrarec.load.traffic import Traffic
from hydrarec.load.users import Users
from hydrarec.progress import Progress

WARM_UP = 1.0  # seconds that count for nothing
SAMPLE = 50  # events of whose items the server is asked before


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """Attributes:
    rate: pairs a second; None: as many as ``clients`` get answered, each of which sends one at a time.
    seconds: how long, after the warm-up.
    users, zipf: as of ``Users``.
    k: items of a recommendation.
    soak: mix in reloads, items that come and go, and erasures.
    store: folder of the server's store, whose files are searched for erased users at the end.
    """

    rate: float | None = None
    clients: int = 64
    seconds: float = 30.0
    users: int | None = None
    zipf: float = 1.0
    k: int = 20
    soak: bool = False
    store: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "clients", "seconds", "users", "k"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"--{name} is {value}; it must be above 0")
        if self.store is not None and not self.store.is_dir():
            raise InputError(f"--store {self.store} is no folder; name that of the server's --state")


def run_load(
    target: Target, key: str | None, dataset: Dataset, config: LoadConfig, progress: Progress
) -> dict[str, Any]:
    """Send the load and report.

    Raises:
        HydrarecError: there is no server, or not one of ours.
    """
    work = _run(target, key, dataset, config, progress)
    try:
        import uvloop
    except ImportError:  # as on Windows
        return asyncio.run(work)
    return uvloop.run(work)


async def _run(
    target: Target, key: str | None, dataset: Dataset, config: LoadConfig, progress: Progress
) -> dict[str, Any]:
    users = Users(dataset, most=config.users, zipf=config.zipf, seed=config.seed)
    client, counts = Client(target.host, target.port, key=key), Counts()
    traffic = Traffic(client, users, counts, k=config.k)
    memory, soak = Memory(client), Soak(client, users, traffic, counts)
    await read(client)  # whether there is a server
    sample = users.items(SAMPLE)
    items = {"asked": len(sample), "known": await known(client, sample)}
    counts.counting = False
    await _send(traffic, config, min(WARM_UP, config.seconds))
    counts.counting = True
    before, began, cpu = await read(client), time.perf_counter(), time.process_time()
    watching = [asyncio.create_task(memory.watch()), asyncio.create_task(_show(progress, counts, config.seconds))]
    also = [soak.run(config.seconds)] if config.soak else []
    await asyncio.gather(_send(traffic, config, config.seconds), *also)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    after = await read(client)
    for task in watching:
        task.cancel()
    report = measured(counts, len(users), seconds, cpu=cpu, before=before, after=after) | {"items": items}
    if config.soak:
        still = await soak.still_there(config.store)
        for name in still:
            counts.failed("erasure", f"{name} is still there")
        report["soak"] = soak.done | {"still_there": len(still), "files_searched": config.store is not None}
        report["memory"] = memory.to_dict()
    client.close()
    total = counts.total
    return report | {"refused": total["refused"], "failed": total["failed"], "failures": dict(counts.failures)}


async def _send(traffic: Traffic, config: LoadConfig, seconds: float) -> None:
    if config.rate is None:
        await traffic.from_clients(config.clients, seconds)
    else:
        await traffic.at_rate(config.rate, seconds, config.seed)


async def _show(progress: Progress, counts: Counts, seconds: float) -> None:
    with progress.task("load", total=round(seconds), unit="s") as task:
        for _ in range(round(seconds)):
            await asyncio.sleep(1.0)
            total = counts.total
            task.advance(1, f"{total['refused']:,} refused, {total['failed']:,} failed")
