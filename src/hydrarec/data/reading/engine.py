"""DuckDB, set up to work within a memory limit and to keep the order of rows."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from hydrarec.amount import amount
from hydrarec.errors import HydrarecError, first_line

# How DuckDB and the system report that nothing more can be written.
_FULL_DISK = ("ould not write", "ailed to write", "ould not truncate", "No space left", "File too large")
_USUAL_MEMORY, _OTHERS, _LEAST = 4 * 10**9, 2 * 10**8, 10**8


@contextmanager
def engine(
    spill: Path, *, database: Path | None = None, memory: str | None = None, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database that spills to the folder ``spill``, which is gone afterwards.

    Args:
        database: a file to keep it in, with all that it had before; a damaged one is begun again. None: in memory.
        memory: what the process may take in all, such as ``"4GB"``; None: half of the machine's memory, at most 4 GB.
        threads: None: as many as the machine has.

    Raises:
        InputError: ``memory`` is no amount. HydrarecError: memory or disk did not suffice.
    """
    connection = None
    try:
        connection = _connect(database)
        connection.execute("SET preserve_insertion_order = true; SET TimeZone = 'UTC'")
        # Counted for ``watch``, which shows it in its own way.
        connection.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
        connection.execute("SET temp_directory = $1", [str(spill)])
        if threads is not None:
            connection.execute("SET threads = $1", [threads])
        _limit(connection, memory)
        with _interrupts():
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise HydrarecError(
            f"the work does not fit into memory and disk ({first_line(error)}); raise --memory or free disk space"
        ) from error
    except duckdb.Error as error:
        what = f"cannot write in {spill.parent}" if disk_is_full(error) else "DuckDB failed"
        raise HydrarecError(f"{what}: {first_line(error)}") from error
    finally:
        if connection is not None:
            connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def disk_is_full(error: duckdb.Error) -> bool:
    """Whether DuckDB says that nothing more can be written."""
    return any(sign in str(error) for sign in _FULL_DISK)


@contextmanager
def _interrupts() -> Iterator[None]:
    """What stops a query stops the program, whatever DuckDB, or Arrow that asks it, makes of the signal."""
    try:
        yield
    except Exception as error:
        if isinstance(error, duckdb.InterruptException) or "Query interrupted" in str(error):
            raise KeyboardInterrupt from error
        raise


def _connect(database: Path | None) -> duckdb.DuckDBPyConnection:
    if database is None:
        return duckdb.connect(":memory:")
    try:
        connection = duckdb.connect(database)
    except duckdb.Error:
        for file in database.parent.glob(f"{database.name}*"):
            file.unlink()
        connection = duckdb.connect(database)
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")  # at its end the file is removed
    return connection


def first_row(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None
) -> tuple[Any, ...] | None:
    """The first row of a small result, or None where it has none."""
    rows = connection.execute(query, parameters).fetchall()  # all: a result left open blocks the connection
    return rows[0] if rows else None


def to_table(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """The whole result; for results of the size of users or items."""
    return to_reader(connection, query, 1 << 16).read_all()


def to_reader(connection: duckdb.DuckDBPyConnection, query: str, rows: int) -> pa.RecordBatchReader:
    """The result as a stream of batches of about ``rows`` rows."""
    relation = connection.sql(query)
    assert relation is not None  # a SELECT always gives one
    return relation.to_arrow_reader(rows)


def _limit(connection: duckdb.DuckDBPyConnection, memory: str | None) -> None:
    """Let DuckDB have what is left for it: Python and its libraries come to some 200 MB, and DuckDB itself takes up to
    a twelfth more than it counts."""
    allowed = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2, _USUAL_MEMORY)
    if memory is not None:
        allowed = amount(memory, "--memory")
    limit = max(allowed * 11 // 12 - _OTHERS, min(allowed, _LEAST))
    connection.execute("SET memory_limit = $1", [f"{limit // 1000}KB"])
