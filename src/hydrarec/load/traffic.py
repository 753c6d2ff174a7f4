"""Pairs of an event and the recommendation that follows it, at a rate or as fast as they are answered."""

import asyncio
import json
import time
from contextlib import suppress
from urllib.parse import quote

import numpy as np

from hydrarec.load.client import Client, NoAnswerError
from hydrarec.load.counts import Counts
from hydrarec.load.users import Users

_WAIT_SECONDS = 30.0  # for answers when no more is sent


class Traffic:
    """Attributes:
    gone: items that the server has taken out, and that no answer may hold.
    latest: items of a late answer.

    Args:
        k: items of a recommendation.
    """

    def __init__(self, client: Client, users: Users, counts: Counts, *, k: int) -> None:
        self._client, self._users, self._counts, self._k = client, users, counts, k
        self.gone: set[int | str] = set()
        self.latest: list[int | str] = []

    async def at_rate(self, rate: float, seconds: float, seed: int = 0) -> None:
        """Send pairs at random moments, as many people do, whether or not earlier ones are answered."""
        generator, tasks = np.random.default_rng(seed), set[asyncio.Task[None]]()
        due = time.perf_counter()
        end = due + seconds
        while (due := due + generator.exponential(1 / rate)) < end:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self.pair(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_WAIT_SECONDS)
            for task in late:
                task.cancel()
                self._counts.failed("pair", f"no answer within {_WAIT_SECONDS:.0f} s of the end")

    async def from_clients(self, clients: int, seconds: float) -> None:
        """Each of ``clients`` sends a pair when the one before is answered."""
        end = time.perf_counter() + seconds

        async def click() -> None:
            while (now := time.perf_counter()) < end:
                await self.pair(now)

        await asyncio.gather(*[click() for _ in range(clients)])

    async def pair(self, due: float) -> None:
        """An event that is due at this moment of ``time.perf_counter``, and a recommendation when it is acknowledged.

        The seconds of an event count from when it was due, those of a recommendation from when the event was
        acknowledged, those of a pair from the first to the last.
        """
        user, body = self._users.draw()
        user.under_way += 1
        try:
            with suppress(NoAnswerError):  # it is counted
                if await self._event(body, due):
                    user.events += 1
                    await self._recommendation(user.name, user.events, due)
        finally:
            user.under_way -= 1

    async def _event(self, body: bytes, due: float) -> bool:
        try:
            answer = await self._client.request("POST", "/events", body)
        except NoAnswerError as error:
            self._counts.failed("event", str(error))
            raise
        if answer.status == 200 and json.loads(answer.body) == {"accepted": 1, "duplicates": 0}:
            self._counts.good("event", time.perf_counter() - due)
            return True
        self._counts.refuses("event", answer)
        return False

    async def _recommendation(self, user: str, events: int, due: float) -> None:
        began, gone = time.perf_counter(), set(self.gone)
        try:
            answer = await self._client.request("GET", f"/users/{quote(user, safe='')}/recommendations?k={self._k}")
        except NoAnswerError as error:
            self._counts.failed("recommendation", str(error))
            raise
        if answer.status != 200:
            self._counts.refuses("recommendation", answer)
            return
        now, told = time.perf_counter(), json.loads(answer.body)
        items = [each["item"] for each in told["recommendations"]]
        if told["events"] < events:
            self._counts.failed("recommendation", "fewer events than were acknowledged")
        elif not gone.isdisjoint(items) and not gone.isdisjoint(self.gone.intersection(items)):
            self._counts.failed("recommendation", "an item that was removed")
        else:
            self._counts.good("recommendation", now - began)
            self._counts.good("pair", now - due)
            self.latest = items
