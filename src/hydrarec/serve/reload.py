"""Another model takes over while the old one answers."""

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Literal, TypeVar

from hydrarec.errors import HydrarecError
from hydrarec.progress import say
from hydrarec.serve.catalog.indexing import StoppedError, unless
from hydrarec.serve.engine import Engine
from hydrarec.serve.garbage import settle
from hydrarec.serve.service import Service

T = TypeVar("T")

_LOOKED_AT = 500  # users at once
_USERS = 32  # whose states are made in one go
_PASSES = 5  # over users who were active meanwhile; those that are left are made when they are asked for
_SHARE = 1  # of the time: after each go as long a pause, for clients
_DROPPED = 200  # states in one go: writes wait for it


@dataclass(frozen=True)
class Status:
    """Attributes:
    doing: ``serving``, or a step of a reload; ``failed``: the last reload did, and the old model answers.
    made: states, in this reload.
    """

    doing: Literal["serving", "opening", "making states", "taking over", "failed"] = "serving"
    made: int = 0
    error: str = ""


class Reloader:
    """Args:
    open_engine: the model of a run folder, on the store of the service.
    run: what is opened at a reload.
    """

    def __init__(self, service: Service, open_engine: Callable[[Path], Engine], run: Path) -> None:
        self._service, self._open, self.run = service, open_engine, run
        self.status = Status()
        self._stop, self._closing = Event(), False
        self._task: asyncio.Task[None] | None = None
        # One for all reloads: the allocator keeps what each thread has freed for this thread alone.
        self._thread = ThreadPoolExecutor(1, "reload")

    def start(self) -> None:
        """Make the states that the store has of other models anew, for the engine that serves already."""
        self._task = asyncio.create_task(self._settle(self._service.engine))

    async def begin(self) -> bool:
        """Let what is in the run's folder take over; false where a reload is under way."""
        return self.reload(self.run)

    async def progress(self) -> Status:
        return self.status

    def reload(self, run: Path) -> bool:
        """As ``begin``, with another folder."""
        if self.status.doing not in ("serving", "failed"):
            return False
        self.status = Status("opening")
        self._task = asyncio.create_task(self._reload(run, self._task))
        return True

    async def close(self) -> None:
        self._closing = True
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _agree(self) -> None:
        """Wait for what else must be ready before the engine takes over."""

    def _failed(self, said: str) -> None:
        say(f"warning: the reload failed, the old model answers: {said}")
        self.status = Status("failed", error=said)
        self._service.metrics.reloads.labels("failed").inc()

    async def _reload(self, run: Path, before: asyncio.Task[None] | None) -> None:
        """Args:
        before: what the last reload has left to do, which another will do.
        """
        if before is not None:
            self._stop.set()
            await asyncio.wait([before])
            if self._closing:
                return
            self._stop.clear()
        try:
            engine = await self._in_thread(self._open, run)
            await self._in_thread(engine.reindex, unless(self._stop))
            self.status = Status("making states")
            if not engine.store.read_only:
                await self._in_thread(self._make_states, engine)
            self.status = replace(self.status, doing="taking over")
            await self._agree()
            if self._stop.is_set():
                return
            await self._in_thread(self._service.take, engine)
        except StoppedError:
            return
        except Exception as error:
            said = str(error) if isinstance(error, HydrarecError) else f"{type(error).__name__}: {error}"
            self._failed(said)
            return
        self.status = replace(self.status, doing="serving")
        self._service.metrics.reloads.labels("done").inc()
        say(f"model {engine.version} answers")
        await self._settle(engine)
        await self._in_thread(settle)  # the old model holds itself

    async def _settle(self, engine: Engine) -> None:
        """What is left to do when an engine serves."""
        if engine.store.read_only:
            return
        try:
            await self._in_thread(self._make_states, engine)
            await self._in_thread(self._drop_others, engine)
        except Exception as error:  # those states are made when they are asked for
            say(f"warning: states of another model stay as they are: {error}")

    def _make_states(self, engine: Engine) -> None:
        """Make the states of all users who have one of another model, and of those who were active meanwhile."""
        for _ in range(_PASSES):
            after: int | None = 0
            before = self.status.made
            while after is not None:
                users, after = engine.store.outdated(engine.version, after, _LOOKED_AT)
                random.shuffle(users)  # so that workers who do this at the same time share it
                for first in range(0, len(users), _USERS):
                    began, some = time.monotonic(), users[first : first + _USERS]
                    engine.states.of(some)
                    self.status = replace(self.status, made=self.status.made + len(some))
                    if self._stop.wait(_SHARE * (time.monotonic() - began)):
                        return
            if self.status.made - before < _USERS:
                return

    def _drop_others(self, engine: Engine) -> None:
        while not self._stop.wait(0.01) and engine.store.drop_others(engine.version, _DROPPED):
            pass
