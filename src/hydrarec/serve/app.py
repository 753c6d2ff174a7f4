"""The HTTP application: requests in, batches to the engine, answers out."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Path, Query
from starlette.exceptions import HTTPException

from hydrarec._version import __version__
from hydrarec.progress import say
from hydrarec.serve.batching import Batcher
from hydrarec.serve.bodies import BODY_BYTES, ID_LENGTH, NewEvents, Question, Recommendations, Stored, Wanted
from hydrarec.serve.body_limit import BodyLimit
from hydrarec.serve.engine import Answer, Engine, Request
from hydrarec.serve.guard import Guard
from hydrarec.serve.item_bodies import FoundItems, ItemsStored, NewItems, Sought
from hydrarec.serve.item_table import Told
from hydrarec.serve.items import Became
from hydrarec.serve.problems import add_problems
from hydrarec.serve.store import Event, StoreError

EVENTS, REQUESTS = 256, 64  # of a batch
EVENTS_ROOM, REQUESTS_ROOM, ITEMS_ROOM = 8_192, 1_024, 1_024  # that may wait
_TIDY_SECONDS = 10.0  # between evictions
_TIDY_SHARE = 20  # scrubbing files after erasures takes one part in so many of the time, at most
User = Annotated[str, Path(min_length=1, max_length=ID_LENGTH)]
Item = User


class Service:
    """The engine behind one thread that writes and one that answers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.apply: Batcher[Event, bool] = Batcher(engine.apply, most=EVENTS, room=EVENTS_ROOM, name="events")
        self.answer: Batcher[Request, Answer] = Batcher(
            engine.answer, most=REQUESTS, room=REQUESTS_ROOM, name="answers"
        )
        self.put_items: Batcher[Told, Became] = Batcher(engine.items.put, most=1, room=ITEMS_ROOM, name="items")
        self.erased = asyncio.Event()
        self.stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        batchers = (self.apply, self.answer, self.put_items)
        for batcher in batchers:
            batcher.start()
        tidying = asyncio.create_task(self._tidy())
        try:
            yield
        finally:
            self.stopping = True
            tidying.cancel()
            for batcher in batchers:
                await batcher.close()

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


def make_app(engine: Engine, guard: Guard) -> FastAPI:
    """The application over an engine; the store is the caller's to close."""
    service = Service(engine)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="hydrarec",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads from elsewhere
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = service
    app.add_middleware(BodyLimit, most=BODY_BYTES)
    add_problems(app)
    app.include_router(_health(service))
    app.include_router(_users(service), dependencies=[Depends(guard)])
    app.include_router(_found_items(service), dependencies=[Depends(guard.anyone)])
    app.include_router(_changed_items(service), dependencies=[Depends(guard)])
    return app


def _health(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready() -> dict[str, str]:
        if service.stopping:
            raise HTTPException(503, "the server stops")
        return {"status": "ready", "store": service.engine.store.read_only or "ok"}

    return router


def _users(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/events")
    async def events(body: NewEvents) -> Stored:
        """Store events. The answer comes when they are durable and recommendations know of them."""
        new = await service.apply([event.event() for event in body.events])
        return Stored(accepted=sum(new), duplicates=len(new) - sum(new))

    @router.get("/users/{user:path}/recommendations")
    async def recommendations(user: User, wanted: Annotated[Wanted, Query()]) -> Recommendations:
        (answer,) = await service.answer([wanted.request(service.engine.catalog, user=user)])
        if not answer.events:
            raise HTTPException(404, "this user has no events; POST /events stores some, POST /recommend needs none")
        return Recommendations.of(answer, user)

    @router.post("/recommend")
    async def recommend(body: Question) -> Recommendations:
        """Recommend for a history; nothing of it is stored."""
        question = body.question(service.engine.catalog, needs_times=service.engine.model.sees_request_time)
        (answer,) = await service.answer([question])
        return Recommendations.of(answer)

    @router.delete("/users/{user:path}", status_code=204)
    async def erase(user: User) -> None:
        """Erase a user's events, ids and state, whether or not there are any. Files are scrubbed soon after."""
        await asyncio.to_thread(service.engine.erase, user)
        service.erased.set()

    return router


def _found_items(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/items")
    async def items(asked: Annotated[Sought, Query()]) -> FoundItems:
        """Items by their ids, or those whose id and text have all words of the query, best first."""
        catalog = service.engine.catalog
        if asked.id:
            rows = catalog.rows(asked.id)
            rows = rows[rows >= 0]
            rows = rows[catalog.there[rows]]
        else:
            rows = await asyncio.to_thread(lambda: catalog.search(asked.query, asked.limit))
        return FoundItems(items=catalog.records(rows))

    return router


def _changed_items(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/items")
    async def put(body: NewItems) -> ItemsStored:
        """Add items, or change known ones. The answer comes when they are durable and can be recommended."""
        counts = Counter(await service.put_items([item.told() for item in body.items]))
        return ItemsStored(added=counts["added"], changed=counts["changed"], unchanged=counts["unchanged"])

    @router.delete("/items/{item:path}", status_code=204)
    async def remove(item: Item) -> None:
        """Recommend an item no more, until it is posted again."""
        if not await asyncio.to_thread(service.engine.items.remove, item):
            raise HTTPException(404, "there is no such item")

    return router
