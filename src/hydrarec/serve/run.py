"""The server process: a run, a store, a socket, and an end without loss."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from hydrarec.errors import InputError
from hydrarec.progress import say
from hydrarec.recommender import Recommender
from hydrarec.serve.app import make_app
from hydrarec.serve.disk import DiskStore, Durability
from hydrarec.serve.engine import Engine
from hydrarec.serve.guard import Guard
from hydrarec.serve.indexing import IndexChoice
from hydrarec.serve.memory import MemoryStore
from hydrarec.serve.packing import Precision
from hydrarec.serve.reload import Reloader

_STOP_SECONDS = 20  # for requests under way when the server is told to stop


def serve(
    run: Path,
    *,
    host: str,
    port: int,
    folder: Path | None,
    keys: Sequence[str],
    rate: float | None,
    durability: Durability,
    precision: Precision,
    state_limit: int | None,
    index: IndexChoice,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        InputError: the run, the store, the address or the key cannot be used.
    """
    guard = Guard(host, keys)
    with (
        _listening(host, port) as listener,
        MemoryStore() if folder is None else DiskStore(folder, durability=durability) as store,
    ):
        if folder is None:
            say("warning: without --state users are kept in memory and gone when the server ends")
        if store.read_only:
            say(f"warning: {store.read_only}; events are refused, requests are answered")

        def open_engine() -> Engine:
            # A link may point elsewhere the next moment; all of a run comes from one folder.
            recommender = Recommender.load(run.resolve())
            engine = Engine(recommender, store, precision=precision, state_limit=state_limit, index=index)
            engine.warm_up()
            return engine

        app = make_app(open_engine(), guard, rate=rate, reopen=open_engine)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would hold the ids of users
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        _Server(config, run, host, app.state.reloader).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, run: Path, host: str, reloader: Reloader) -> None:
        super().__init__(config)
        self._serves, self._host, self._reloader = run, host, reloader

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):  # not on Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reloader.reload)
        if sockets:
            name = f"[{self._host}]" if ":" in self._host else self._host
            say(f"{self._serves} is served at http://{name}:{sockets[0].getsockname()[1]}")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a server that was told to stop and did has not failed."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen at {host} port {port} ({error}); choose another --host or --port") from error
