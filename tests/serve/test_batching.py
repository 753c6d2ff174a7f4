"""Calls that come together are one batch; calls that find no room are refused."""

import asyncio
import threading

import pytest

from hydrarec.serve.batching import Batcher, BusyError


class Slow:
    """Doubles numbers; the first batch waits until it is let go."""

    def __init__(self):
        self.go, self.began, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, things):
        self.batches.append(list(things))
        self.began.set()
        assert self.go.wait(30)
        if "bad" in things:
            raise ValueError("bad")
        return [2 * thing for thing in things]


def run(scenario, **how):
    async def whole():
        work = Slow()
        batcher = Batcher(work, **{"most": 4, "room": 100, "name": "test", **how})
        batcher.start()
        try:
            return await asyncio.wait_for(scenario(work, batcher), 30)
        finally:
            work.go.set()
            await batcher.close()

    return asyncio.run(whole())


async def first_under_way(work, batcher):
    call = asyncio.create_task(batcher([1]))
    await asyncio.to_thread(work.began.wait)
    return call


def test_what_comes_together_is_one_batch_and_calls_are_never_parted():
    async def scenario(work, batcher):
        calls = [await first_under_way(work, batcher)]
        calls += [asyncio.create_task(batcher(things)) for things in ([2], [3, 4], [5, 6], [7, 8, 9, 10, 11, 12], [13])]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(*calls) == [[2], [4], [6, 8], [10, 12], [14, 16, 18, 20, 22, 24], [26]]
        assert work.batches == [[1], [2, 3, 4], [5, 6], [7, 8, 9, 10, 11, 12], [13]]

    run(scenario)


def test_without_room_calls_are_refused_and_those_that_wait_are_answered():
    async def scenario(work, batcher):
        first = await first_under_way(work, batcher)
        waiting = [asyncio.create_task(batcher([n])) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="3 others wait; try again soon"):
            await batcher([9])
        work.go.set()
        assert await asyncio.gather(first, *waiting) == [[2], [0], [2], [4]]
        assert await batcher([9]) == [18]

    run(scenario, room=3)


def test_an_error_reaches_the_callers_of_its_batch_and_no_others():
    async def scenario(work, batcher):
        first = await first_under_way(work, batcher)
        calls = [asyncio.create_task(batcher(things)) for things in ([2, "bad", 3, 4], [5])]
        await asyncio.sleep(0)
        work.go.set()
        results = await asyncio.gather(first, *calls, return_exceptions=True)
        assert (results[0], str(results[1]), results[2]) == ([2], "bad", [10])

    run(scenario)


def test_a_caller_that_is_gone_does_not_disturb():
    async def scenario(work, batcher):
        first = await first_under_way(work, batcher)
        gone, stays = (asyncio.create_task(batcher([n])) for n in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        work.go.set()
        assert await asyncio.gather(first, stays) == [[2], [6]]

    run(scenario)


def test_closing_finishes_what_is_under_way():
    async def scenario(work, batcher):
        call = await first_under_way(work, batcher)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        work.go.set()
        await closing
        assert await call == [2]

    run(scenario)


def test_closing_finishes_what_waits():
    async def scenario(work, batcher):
        calls = [await first_under_way(work, batcher), asyncio.create_task(batcher([2]))]
        await asyncio.sleep(0)
        work.go.set()
        await batcher.close()
        assert [await call for call in calls] == [[2], [4]]

    run(scenario)
