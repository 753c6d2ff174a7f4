"""Tell the disk about a file that grows, soon after it grew, once for all writes in between."""

import os
from pathlib import Path
from threading import Event, Thread

from hydrarec.serve.stores.contract import StoreError

SECONDS = 0.005  # that writes are gathered
_flush = getattr(os, "fdatasync", os.fsync)  # macOS has the second alone


class Flusher:
    """Flushes ``path``, which must exist, at most ``SECONDS`` and the time of a flush after each ``written()``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDONLY)
        self._dirty, self._closing = Event(), Event()
        self._error: OSError | None = None
        self._thread = Thread(target=self._run, name="flush", daemon=True)
        self._thread.start()

    def written(self) -> None:
        self._dirty.set()

    def check(self) -> None:
        """Raises:
        StoreError: the disk has refused a flush: what was written before may not outlive a loss of power.
        """
        if self._error is not None:
            raise StoreError(f"the disk does not take {self._path}: {self._error.strerror}; restart the server")

    def close(self) -> None:
        self._closing.set()
        self._dirty.set()
        self._thread.join()
        os.close(self._file)

    def _run(self) -> None:
        # Closing sets both, so that what was written during a flush is behind another one.
        while self._dirty.is_set() or not self._closing.is_set():
            self._dirty.wait()
            self._closing.wait(SECONDS)
            self._dirty.clear()
            try:
                _flush(self._file)
            except OSError as error:
                self._error = error
