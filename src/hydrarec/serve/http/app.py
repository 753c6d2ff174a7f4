"""The HTTP application: requests in, batches to the engine, answers out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Response
from starlette.exceptions import HTTPException

from hydrarec._version import __version__
from hydrarec.serve.engine import Engine
from hydrarec.serve.http.bodies import BODY_BYTES
from hydrarec.serve.http.body_limit import BodyLimit
from hydrarec.serve.http.click_route import ClickRoute
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.http.item_routes import changed_items, found_items
from hydrarec.serve.http.page import page_routes
from hydrarec.serve.http.problems import RESPONSES, add_problems
from hydrarec.serve.http.rate import RateLimit
from hydrarec.serve.http.user_routes import user_routes
from hydrarec.serve.metrics import MEDIA_TYPE, Measured, by_worker
from hydrarec.serve.reload import Reloader, Status
from hydrarec.serve.service import Service
from hydrarec.serve.workers.joint_reload import answering, reloader_of
from hydrarec.serve.workers.peers import Peers


def make_app(
    engine: Engine,
    guard: Guard,
    *,
    rate: float | None = None,
    reopen: Callable[[Path], Engine] | None = None,
    run: Path = Path(),
    peers: Peers | None = None,
) -> FastAPI:
    """The application over an engine; the store is the caller's to close.

    Args:
        rate: requests a second that a caller may send.
        reopen: opens the model that takes over at a reload, on the same store; None: there is no reload.
        run: the folder that it opens.
        peers: the other workers of the server.
    """
    service = Service(engine)
    reloader = None if reopen is None else reloader_of(service, reopen, run, peers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running(), answering(service, reloader, peers):
            if reloader is not None:
                reloader.start()
            yield
            if reloader is not None:
                await reloader.close()

    app = FastAPI(
        title="hydrarec",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads from elsewhere
        redoc_url=None,
        responses=RESPONSES,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service, app.state.reloader = service, reloader
    app.add_middleware(BodyLimit, most=BODY_BYTES)
    if rate is not None:
        app.add_middleware(RateLimit, guard=guard, rate=rate)
    app.add_middleware(Measured, metrics=service.metrics)
    add_problems(app)
    app.router.routes.insert(0, ClickRoute(service, guard))
    app.include_router(_health(service))
    app.include_router(page_routes(), dependencies=[Depends(guard.anyone)])
    app.include_router(_metrics(service, peers), dependencies=[Depends(guard)])
    if reloader is not None:
        app.include_router(_reload(reloader), dependencies=[Depends(guard)])
    app.include_router(user_routes(service), dependencies=[Depends(guard)])
    app.include_router(found_items(service), dependencies=[Depends(guard.anyone)])
    app.include_router(changed_items(service), dependencies=[Depends(guard)])
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


def _metrics(service: Service, peers: Peers | None) -> APIRouter:
    router = APIRouter()

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts and times, as Prometheus reads them; with several workers those of each."""
        text = await asyncio.to_thread(service.metrics.text)
        if peers is not None:
            text = by_worker({peers.number: text.decode(), **await asyncio.to_thread(peers.ask, "metrics")})
        return Response(text, media_type=MEDIA_TYPE)

    return router


def _reload(reloader: Reloader) -> APIRouter:
    router = APIRouter()

    @router.post("/admin/reload", status_code=202)
    async def reload() -> Status:
        """Open the run's folder again, and let what is there take over."""
        if not await reloader.begin():
            raise HTTPException(409, "a reload is under way")
        return await reloader.progress()

    @router.get("/admin/reload")
    async def progress() -> Status:
        """How far the last reload is."""
        return await reloader.progress()

    return router
