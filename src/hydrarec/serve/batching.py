"""Requests that arrive while others are worked on become one batch; more than there is room for are refused at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from hydrarec.errors import HydrarecError

T = TypeVar("T")
R = TypeVar("R")


class BusyError(HydrarecError):
    """There is no room for more; try again soon."""


class Batcher(Generic[T, R]):
    """Calls ``work`` in a thread of its own with what has come together, each caller getting the part that is its own.

    Nobody is made to wait for a batch to fill: a batch is what arrived while the one before was worked on.

    Args:
        work: one result for each thing of a batch, in order. What it raises reaches every caller of the batch.
        most: things of a batch; those of one call are never parted, however many there are.
        room: things that may wait.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], *, most: int, room: int, name: str) -> None:
        self._work, self._most, self._room = work, most, room
        self._waiting: deque[tuple[list[T], asyncio.Future[list[R]]]] = deque()
        self._size, self._closing = 0, False
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, name)
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Things that wait."""
        return self._size

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __call__(self, things: list[T]) -> list[R]:
        """Raises:
        BusyError: nothing was done.
        """
        if self._size + len(things) > self._room:
            raise BusyError(f"{self._size:,} others wait; try again soon")
        future: asyncio.Future[list[R]] = asyncio.get_running_loop().create_future()
        self._waiting.append((things, future))
        self._size += len(things)
        self._arrived.set()
        return await future

    async def close(self) -> None:
        """Finish what waits and what is under way."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._arrived.wait()
            if not self._waiting:  # closing woke it
                continue
            calls = self._take()
            things = [thing for call, _ in calls for thing in call]
            try:
                results = list(await asyncio.get_running_loop().run_in_executor(self._thread, self._work, things))
            except Exception as error:
                for _, future in calls:
                    if not future.done():  # a caller that is gone has cancelled it
                        future.set_exception(error)
                continue
            first = 0
            for call, future in calls:
                if not future.done():
                    future.set_result(results[first : first + len(call)])
                first += len(call)

    def _take(self) -> list[tuple[list[T], "asyncio.Future[list[R]]"]]:
        calls = [self._waiting.popleft()]
        size = len(calls[0][0])
        while self._waiting and size + len(self._waiting[0][0]) <= self._most:
            calls.append(self._waiting.popleft())
            size += len(calls[-1][0])
        self._size -= size
        if not self._waiting:
            self._arrived.clear()
        return calls
