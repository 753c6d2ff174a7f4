"""How far a query of DuckDB is."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import duckdb

from hydrarec.progress import Progress

_SECONDS = 0.2


@contextmanager
def watch(connection: duckdb.DuckDBPyConnection, progress: Progress, description: str) -> Iterator[None]:
    """Show how far the queries are that run in the body, in percent; a later one never sets the bar back."""
    over, shown = Event(), 0
    with progress.task(description, total=100, unit="%") as task:

        def look() -> None:
            nonlocal shown
            while not over.wait(_SECONDS):
                step = int(connection.query_progress()) - shown  # -1 while DuckDB does not know
                if step > 0:
                    task.advance(step)
                    shown += step

        looking = Thread(target=look, daemon=True)
        looking.start()
        try:
            yield
        finally:
            over.set()
            looking.join()
        task.advance(100 - shown)
