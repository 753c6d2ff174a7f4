"""An engine behind queues: what clients send waits, is done in batches, and is counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, TypeVar

from hydrarec.progress import say
from hydrarec.serve.batching import Batcher
from hydrarec.serve.catalog.indexed import IndexedRanking
from hydrarec.serve.catalog.indexing import StoppedError, unless
from hydrarec.serve.catalog.items import Became
from hydrarec.serve.catalog.table import Told
from hydrarec.serve.engine import Answer, Engine, Request
from hydrarec.serve.metrics import Metrics, Reading
from hydrarec.serve.stores.contract import Event, StoreError

EVENTS, REQUESTS = 256, 64  # of a batch
EVENTS_ROOM, REQUESTS_ROOM, ITEMS_ROOM, SEARCHES_ROOM, CALLS_ROOM = 8_192, 1_024, 1_024, 64, 1_024  # that may wait
_TIDY_SECONDS = 10.0  # between evictions
_INDEX_SECONDS = 2.0  # between looks whether an index is due
_TIDY_SHARE = 20  # scrubbing files after erasures takes one part in so many of the time, at most


R = TypeVar("R")
Call = Callable[[], Any]
Asked = tuple[Engine, Request]  # a request, and the engine whose rows of items it means


class Service:
    """The engine behind one thread that writes and one that answers.

    Attributes:
        engine: that serves; ``take`` puts another in its place.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._items_change = Lock()
        self.apply: Batcher[Event, bool] = Batcher(self._apply, most=EVENTS, room=EVENTS_ROOM, name="events")
        self.answer: Batcher[Asked, Answer] = Batcher(self._answer, most=REQUESTS, room=REQUESTS_ROOM, name="answers")
        self.put_items: Batcher[Told, Became] = Batcher(self._put_items, most=1, room=ITEMS_ROOM, name="items")
        self.remove_items: Batcher[str, bool] = Batcher(self._remove_items, most=1, room=ITEMS_ROOM, name="removals")
        self._follow: Batcher[None, None] = Batcher(self._follow_items, most=CALLS_ROOM, room=CALLS_ROOM, name="follow")
        self._search: Batcher[Call, Any] = Batcher(_each, most=1, room=SEARCHES_ROOM, name="searches")
        self._aside: Batcher[Call, Any] = Batcher(_each, most=1, room=CALLS_ROOM, name="calls")
        self.metrics = Metrics(self._reading)
        self.erased = asyncio.Event()
        self.stopping = False
        self._stopped = Flag()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        changing = (self.put_items, self.remove_items, self._follow)
        batchers = (self.apply, self.answer, *changing, self._search, self._aside)
        for batcher in batchers:
            batcher.start()
        tidying = asyncio.create_task(self._tidy())
        indexing = Thread(target=self._index, name="index")
        indexing.start()
        try:
            yield
        finally:
            self.stopping = True
            self._stopped.set()
            tidying.cancel()
            for batcher in batchers:
                await batcher.close()
            await asyncio.to_thread(indexing.join)

    async def up_to_date(self) -> Engine:
        """The engine, when it knows all items that there are by now, which may take long: texts are read.

        Raises:
            BusyError: too many others wait.
        """
        await self._follow([None])
        return self.engine

    async def search(self, call: Callable[[], R]) -> R:
        """What ``call`` returns, in the thread that looks through the catalog.

        Raises:
            BusyError: too many others wait.
        """
        found: R = (await self._search([call]))[0]
        return found

    async def aside(self, call: Callable[[], R]) -> R:
        """As ``search``, for what is quick and would hold up all others if the event loop did it."""
        found: R = (await self._aside([call]))[0]
        return found

    def take(self, engine: Engine) -> None:
        """Let another engine on the same store take over. It knows of all items that came and went meanwhile."""
        with self._items_change:
            engine.items.follow()
            self.engine = engine

    def _apply(self, events: Sequence[Event]) -> list[bool]:
        return self.engine.apply(events)

    def _answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Each by the engine that it was put to: when another takes over there are two for a moment."""
        answers: dict[int, Answer] = {}
        for engine in {id(engine): engine for engine, _ in asked}.values():
            places = [place for place, (each, _) in enumerate(asked) if each is engine]
            answers |= zip(places, engine.answer([asked[place][1] for place in places]), strict=True)
        return [answers[place] for place in range(len(asked))]

    def _put_items(self, items: Sequence[Told]) -> list[Became]:
        with self._items_change:
            return self.engine.items.put(items)

    def _remove_items(self, items: Sequence[str]) -> list[bool]:
        with self._items_change:
            return [self.engine.items.remove(item) for item in items]

    def _follow_items(self, waiting: Sequence[None]) -> list[None]:
        self.engine.items.follow()
        return [None] * len(waiting)

    def _reading(self) -> Reading:
        engine = self.engine
        ranking = engine.items.view.ranking
        try:
            store_bytes = engine.store.size()
        except StoreError:
            store_bytes = None
        return Reading(
            queues={
                "events": self.apply.waiting,
                "answers": self.answer.waiting,
                "items": self.put_items.waiting,
                "removals": self.remove_items.waiting,
                "follow": self._follow.waiting,
                "searches": self._search.waiting,
                "calls": self._aside.waiting,
            },
            states_made=engine.states.made,
            items=len(engine.catalog),
            store_bytes=store_bytes,
            version=engine.version,
            index=(ranking.recall, ranking.stale) if isinstance(ranking, IndexedRanking) else None,
        )

    def _index(self) -> None:
        while not self._stopped.is_set():
            try:
                self.engine.reindex(unless(self._stopped))
            except StoppedError:
                return
            except StoreError as error:  # users to measure with are in the store, which may be back soon
                say(f"warning: there is no index yet: {error}")
                self._stopped.wait(_TIDY_SECONDS)
            except Exception as error:  # answers go on without it
                say(f"warning: no index was built: {error}")
                return
            self._stopped.wait(_INDEX_SECONDS)

    async def _tidy(self) -> None:
        while True:
            self.erased.clear()
            began = time.monotonic()
            try:
                done = await asyncio.to_thread(self.engine.tidy)
            except StoreError as error:
                say(f"warning: {error}")
                done = False
            await asyncio.sleep(_TIDY_SHARE * (time.monotonic() - began))
            try:
                await asyncio.wait_for(self.erased.wait(), _TIDY_SECONDS if done else 1.0)
            except TimeoutError:
                continue


def _each(calls: Sequence[Call]) -> list[Any]:
    return [call() for call in calls]
