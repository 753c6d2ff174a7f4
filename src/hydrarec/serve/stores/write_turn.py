"""Whose turn it is to write, among the processes that share a store."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows, where SQLite's own lock does, with waits
    fcntl = None  # type: ignore[assignment]


_LOOK_SECONDS = 0.002


class WriteTurn:
    """``with turn:`` waits until no other process has the turn. One thread at a time.

    Entering raises OSError where the file cannot be made or opened.

    SQLite has a lock of its own, but who waits for that one looks again at growing intervals, and is late under load. A
    process that is killed gives its turn back.

    Args:
        path: an empty file, made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, -1

    def __enter__(self) -> None:
        self._lock(wait=True)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """As ``with turn:``, if it is this process's turn before so many seconds have passed.

        Raises:
            TimeoutError: it was not.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                self._lock(wait=False)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError("another process writes for long") from None
                time.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            self._unlock()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._unlock()

    def _lock(self, *, wait: bool) -> None:
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

    def _unlock(self) -> None:
        if fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
