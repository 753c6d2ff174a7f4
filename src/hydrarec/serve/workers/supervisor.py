"""The process above several workers: starts them, starts again those that die, tells all to reload or to stop."""

import math
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from hydrarec.errors import HydrarecError, InputError
from hydrarec.progress import say
from hydrarec.serve.workers.peers import Edition, Peers
from hydrarec.serve.workers.worker import STOP_SECONDS, Options, work

if sys.platform == "linux":
    _CONTEXT = get_context("fork")  # what is imported is shared
else:
    _CONTEXT = get_context("spawn")
_STEADY_SECONDS = 1.0  # a worker that was up for so long is started again at once
_SHORTEST, _LONGEST = 0.5, 60.0  # seconds before one that fails again and again is
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BAD_INPUT = 2  # exit code


@dataclass
class _Worker:
    """Attributes:
    told: from it: nothing when it is up, or why it cannot be; None where it is not alive.
    began, due: when it was up, and when it is to be started again, in seconds of ``time.monotonic``.
    """

    number: int
    process: BaseProcess | None = None
    told: connection.Connection | None = None
    up: bool = False
    reason: str = ""
    began: float = math.inf
    due: float = 0.0
    delay: float = 0.0


class Workers:
    """Workers that share ``listener`` and the store of ``options``.

    The first is started alone, so that what is wrong with run or store is said once, and one makes the store.
    """

    def __init__(self, options: Options, listener: socket.socket, count: int) -> None:
        self._options, self._listener = options, listener
        self._workers = [_Worker(number) for number in range(count)]
        self._begun = False  # the first has been up

    def serve(self, up: Callable[[], None]) -> None:
        """Until SIGINT or SIGTERM.

        Args:
            up: is called once, when all workers are up.

        Raises:
            HydrarecError: the first worker could not begin.
        """
        said = False
        with TemporaryDirectory(prefix="hydrarec-") as place, _signals() as signals:
            self._place = Path(place)
            self._peers(-1).edition = Edition.now(self._options.run)
            try:
                self._start(self._workers[0])
                while self._look(signals):
                    if not said and all(worker.up for worker in self._workers):
                        up()
                        said = True
            finally:
                self._end(signals)

    def _look(self, signals: socket.socket) -> bool:
        """Wait for something to happen, and do what is due; false: it is time to stop."""
        alive = {worker.told: worker for worker in self._workers if worker.told is not None}
        dead = [worker for worker in self._workers if worker.told is None] if self._begun else []
        pause = max(0.0, min(worker.due for worker in dead) - time.monotonic()) if dead else None
        for ready in connection.wait([signals, *alive], pause):
            if isinstance(ready, connection.Connection):
                self._hear(alive[ready], ready)
            elif {signal.SIGTERM, signal.SIGINT} & set(signals.recv(64)):
                return False
            else:
                self._peers(-1).reload(self._options.run)
        for worker in dead:
            if worker.due <= time.monotonic():
                self._start(worker)
        return True

    def _hear(self, worker: _Worker, told: connection.Connection) -> None:
        try:
            worker.reason = told.recv_bytes().decode()
            if not worker.reason:
                worker.up = self._begun = True
                worker.began = time.monotonic()
        except EOFError:
            told.close()
            worker.told, worker.up = None, False
            self._gone(worker, _code(worker))

    def _gone(self, worker: _Worker, code: int | None) -> None:
        if not self._begun:
            raise (InputError if code == _BAD_INPUT else HydrarecError)(
                worker.reason or f"the server could not begin, with exit code {code}"
            )
        now = time.monotonic()
        steady = now - worker.began > _STEADY_SECONDS
        worker.delay = 0.0 if steady else min(_LONGEST, max(_SHORTEST, 2 * worker.delay))
        worker.due = now + worker.delay
        why = worker.reason or f"exit code {code}"
        say(f"warning: worker {worker.number} ended ({why}); it is started again in {worker.delay:.1f} s")

    def _start(self, worker: _Worker) -> None:
        worker.told, tell = _CONTEXT.Pipe(duplex=False)
        worker.reason, worker.began = "", math.inf
        told = (self._options, self._listener, self._peers(worker.number), tell)
        worker.process = _CONTEXT.Process(target=_work, args=told, name=f"worker {worker.number}")
        # A signal that comes before the worker is ready for it waits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            worker.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        tell.close()

    def _end(self, signals: socket.socket) -> None:
        """Let all finish what is under way; a second signal ends them at once."""
        self._listener.close()
        deadline = time.monotonic() + STOP_SECONDS + 10
        alive = [worker.process for worker in self._workers if worker.process is not None]
        for process in alive:
            process.terminate()
        while alive := [process for process in alive if process.is_alive()]:
            left = deadline - time.monotonic()
            if (
                signals in connection.wait([signals, *(process.sentinel for process in alive)], max(0.0, left))
                or left < 0
            ):
                for process in alive:
                    process.kill()
                    process.join()

    def _peers(self, number: int) -> Peers:
        return Peers(self._place, number, len(self._workers))


def _work(options: Options, listener: socket.socket, peers: Peers, tell: connection.Connection) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    torch.set_num_threads(max(1, torch.get_num_threads() // peers.workers))
    try:
        work(options, listener, up=lambda: tell.send_bytes(b""), peers=peers)
    except HydrarecError as error:
        tell.send_bytes(str(error).encode())
        sys.exit(_BAD_INPUT if isinstance(error, InputError) else 1)


def _code(worker: _Worker) -> int | None:
    assert worker.process is not None
    worker.process.join()
    return worker.process.exitcode


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """What reads the numbers of the signals that come."""
    read, write = socket.socketpair()
    write.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _HANDLED}
    wakeup = signal.set_wakeup_fd(write.fileno())
    try:
        yield read
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        read.close()
        write.close()
