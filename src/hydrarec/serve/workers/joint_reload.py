"""The workers of a server reload as one: all take over at the same moment, or none does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hydrarec.errors import HydrarecError
from hydrarec.serve.engine import Engine
from hydrarec.serve.reload import Reloader, Status
from hydrarec.serve.service import Service
from hydrarec.serve.workers.peers import Answer, Edition, Peers

_LOOK_SECONDS = 0.05
_STEPS = ("opening", "making states", "taking over")


class JointReloader(Reloader):
    """Args:
    run: that is served, and is opened again at a reload; a link may point elsewhere by then.
    """

    def __init__(self, service: Service, open_engine: Callable[[Path], Engine], run: Path, peers: Peers) -> None:
        super().__init__(service, open_engine, run)
        self._peers = peers
        self._next = peers.serves  # or what is served already
        self.answers: dict[str, Answer] = {"status": self._own, "reload": self._told}

    def start(self) -> None:
        self._task = asyncio.create_task(self._join())

    async def _join(self) -> None:
        """Serve what the others do; a worker that is started again may have missed a reload."""
        others = (await asyncio.to_thread(self._peers.ask, "status")).values()
        if (edition := self._peers.edition) != self._peers.serves:
            self._take_up(edition)
        elif any(each["version"] != self._service.engine.version for each in others):
            # The folder was replaced after the others had opened it. All open it now.
            await self._begin(Edition.now(edition.run))
        else:
            await self._settle(self._service.engine)

    async def begin(self) -> bool:
        if (await self.progress()).doing in _STEPS:
            return False
        return await self._begin(Edition.now(self.run))

    async def _begin(self, edition: Edition) -> bool:
        await asyncio.to_thread(self._peers.ask, "reload", str(edition))
        return self._take_up(edition)

    async def progress(self) -> Status:
        """Of all workers: what the last of them does, and the sum of the states that they made."""
        every = [self.status]
        for each in (await asyncio.to_thread(self._peers.ask, "status")).values():
            every.append(Status(doing=each["doing"], made=each["made"], error=each["error"]))
        order = ("serving", "failed", *reversed(_STEPS))
        last = max(every, key=lambda status: order.index(status.doing))
        return replace(last, made=sum(status.made for status in every))

    async def _agree(self) -> None:
        self._peers.edition = self._next  # first, so that who starts now and is not asked any more knows of it
        while not self._stop.is_set():
            others = await asyncio.to_thread(self._peers.ask, "status")
            if all(self._is_ready(number, each) for number, each in others.items()):
                break
            if any(self._missed(each) for each in others.values()):
                await asyncio.to_thread(self._peers.ask, "reload", str(self._next))
            await asyncio.sleep(_LOOK_SECONDS)
        self._peers.serves = self._peers.edition = self._next

    def _is_ready(self, number: int, other: dict[str, Any]) -> bool:
        """Raises:
        HydrarecError: another worker has failed, or is at another reload, which began later.
        """
        theirs = Edition.read(other["next"])
        if theirs.number > self._next.number:
            if theirs.run != self._next.run:
                raise HydrarecError("another reload began meanwhile")
            self._next = theirs
        if theirs == self._next and other["doing"] == "failed":
            raise HydrarecError(f"worker {number}: {other['error']}")
        return theirs == self._next and other["doing"] in ("taking over", "serving")

    def _missed(self, other: dict[str, Any]) -> bool:
        """Whether another was not told, as one that was started again."""
        return other["doing"] in ("serving", "failed") and Edition.read(other["next"]) != self._next

    def _failed(self, said: str) -> None:
        self._peers.edition = self._peers.serves
        super()._failed(said)

    def _take_up(self, edition: Edition) -> bool:
        begun = self.reload(edition.run)
        if begun:
            self._next = edition
        return begun

    async def _own(self, _: str) -> dict[str, Any]:
        return {**asdict(self.status), "next": str(self._next), "version": self._service.engine.version}

    async def _told(self, edition: str) -> bool:
        return self._take_up(Edition.read(edition))


def reloader_of(service: Service, open_engine: Callable[[Path], Engine], run: Path, peers: Peers | None) -> Reloader:
    if peers is None:
        return Reloader(service, open_engine, run)
    return JointReloader(service, open_engine, run, peers)


@asynccontextmanager
async def answering(service: Service, reloader: Reloader | None, peers: Peers | None) -> AsyncIterator[None]:
    """Answer the other workers, if there are any."""
    if peers is None:
        yield
        return

    async def metrics(_: str) -> str:
        return (await asyncio.to_thread(service.metrics.text)).decode()

    answers = reloader.answers if isinstance(reloader, JointReloader) else {}
    async with peers.answering({"metrics": metrics, **answers}):
        yield
