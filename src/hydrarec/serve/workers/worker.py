"""A process that serves: a model, its store, a socket, and an end without loss."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from hydrarec.progress import say
from hydrarec.recommender import Recommender
from hydrarec.serve.catalog.indexing import IndexChoice
from hydrarec.serve.engine import Engine
from hydrarec.serve.garbage import settle
from hydrarec.serve.http.app import make_app
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.http.head_limit import HeadLimit
from hydrarec.serve.packing import Precision
from hydrarec.serve.reload import Reloader
from hydrarec.serve.stores.disk import Durability
from hydrarec.serve.stores.open import open_store
from hydrarec.serve.workers.peers import Peers
from hydrarec.sharing import at_rest
from hydrarec.train.run import files_of

STOP_SECONDS = 20  # for requests under way when the server is told to stop


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a server is told, and each of its workers.

    Attributes:
        state: the store, as of ``open_store``.
    """

    run: Path
    host: str
    state: str | None
    keys: Sequence[str]
    rate: float | None
    durability: Durability
    precision: Precision
    state_limit: int | None
    index: IndexChoice


def work(options: Options, listener: socket.socket, *, up: Callable[[], None], peers: Peers | None = None) -> None:
    """Serve at a socket until SIGINT or SIGTERM, one of several workers where there are ``peers``.

    Args:
        up: is called when clients are answered.

    Raises:
        InputError: the run or the store cannot be used.
    """
    with open_store(options.state, options.durability) as store:
        if options.state is None:
            say("warning: without --state users are kept in memory and gone when the server ends")
        if store.read_only:
            say(f"warning: {store.read_only}; events are refused, requests are answered")

        def open_engine(run: Path) -> Engine:
            run = run.resolve()  # a link may point elsewhere the next moment; all of a run comes from one folder

            def engine() -> Engine:
                return Engine(
                    Recommender.load(run),
                    store,
                    precision=options.precision,
                    state_limit=options.state_limit,
                    index=options.index,
                )

            opened = at_rest(files_of(run), engine)  # its version is that of the weights it has
            opened.warm_up()
            return opened

        if peers is not None:
            peers.serves = peers.edition
        app = make_app(
            open_engine(options.run if peers is None else peers.serves.run),
            Guard(options.host, options.keys),
            rate=options.rate,
            reopen=open_engine,
            run=options.run,
            peers=peers,
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would hold the ids of users
            http=HeadLimit,
            proxy_headers=False,  # a caller would choose the address that its rate is limited by
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        _Server(config, app.state.reloader, up, lonely=peers is None).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Args:
    lonely: there is no process above that tells it to stop.
    """

    def __init__(self, config: uvicorn.Config, reloader: Reloader, up: Callable[[], None], *, lonely: bool) -> None:
        super().__init__(config)
        self._reloader, self._up, self._lonely, self._parent = reloader, up, lonely, os.getppid()
        self._reloads = set[asyncio.Task[bool]]()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):  # not on Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        settle()
        self._up()

    async def on_tick(self, counter: int) -> bool:
        orphaned = not self._lonely and os.getppid() != self._parent
        return await super().on_tick(counter) or orphaned

    def _reload(self) -> None:
        self._reloads.add(task := asyncio.create_task(self._reloader.begin()))
        task.add_done_callback(self._reloads.discard)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a server that was told to stop and did has not failed."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        # A terminal sends SIGINT to workers too; the process above them decides.
        handled = (signal.SIGINT, signal.SIGTERM) if self._lonely else (signal.SIGTERM,)
        before = {number: signal.signal(number, stop) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
